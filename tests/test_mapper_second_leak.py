"""The second leak of a record: which neurons take it, what their codes are, and how registers tell used from unused neurons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from calibration_helpers import measured
from hypothesis import given, settings
from hypothesis import strategies as st
from mapper_helpers import CHIP, asked, at, delivered, link, network, neuron, population, random_efficacy, random_network

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.bias_codes import code_current_a, nearest_code
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Excluded, SecondLeak
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import NetworkDoesNotFit
from bcall_hw.mapper import MappedNetwork, differences, explain, map_network, network_of
from bcall_hw.mapping import idle_codes, load_mapping
from bcall_hw.network import Input, Network
from bcall_hw.stimulus import Stimulus

TAU_C = 3.2e-12 * 0.025 / 0.705
STRONG = idle_codes(CHIP, load_mapping(CHIP))["IF_TAU2_N"]
#: Every third neuron of a core.
THIRD = tuple(range(0, 256, 3))


def record(ratio: float = 1.5, neurons: tuple[int, ...] = THIRD, core: tuple[int, int] = (0, 1), **changes: Any) -> Calibration:
    return measured(second_leak=(SecondLeak(chip=core[0], core=core[1], ratio=ratio, neurons=neurons),), **changes)


def hearing(**changes: Any) -> Network:
    """Twenty neurons that hear an input, and ten on another core that hear them."""
    return network(
        Input(name="x", size=4), population("p", 20, at(0, 1, 30), neuron(**changes)), population("q", 10, at(0, 2, 5)),
        link("a", "x", "p"), link("b", "p", "q", {"kind": "random_fan_in", "fan_in": 5, "seed": 2}, "GABA_A"),
    )  # fmt: skip


def tau2_of(mapped: MappedNetwork, chip: int, core: int) -> list[int]:
    return np.flatnonzero(mapped.config.tau2[mapped.config.chips.index(chip), core]).tolist()


def kept(mapped: MappedNetwork, chip: int = 0, core: int = 1) -> str:
    """That a core has the old scheme, and why: neurons without a population on the strong second leak."""
    used = {n for table in mapped.addresses.values() for c, k, n in table.tolist() if (c, k) == (chip, core)}
    assert tau2_of(mapped, chip, core) == sorted(set(range(256)) - used)
    assert mapped.config.bias(chip, core, "IF_TAU2_N") == STRONG
    assert differences(mapped) == []
    (departure,) = mapped.departures
    assert departure.kind == "second_leak"
    assert f"chip {chip} core {core}: the second leak is not used" in departure.text
    assert departure.text in mapped.warnings
    return departure.text


def test_the_chosen_neurons_of_populations_take_the_second_leak() -> None:
    calibration = record(1.5, core_scales=((0, 1, "tau2_s", 1.4), (0, 1, "tau_s", 1.1)))
    mapped = map_network(hearing(), CHIP, calibration=calibration)
    assert tau2_of(mapped, 0, 1) == [n for n in range(30, 50) if n % 3 == 0]
    assert mapped.departures == []
    choices = {c.quantity: c for c in mapped.biases[0, 1]}
    first, second = (code_current_a(CHIP, choices[q].code) for q in ("tau_s", "tau2_s"))
    assert choices["tau2_s"].bias == "IF_TAU2_N"
    assert mapped.config.bias(0, 1, "IF_TAU2_N") == choices["tau2_s"].code
    assert second / first == pytest.approx(1.5, rel=0.016)
    assert choices["tau_s"].predicted == pytest.approx(1.1 * TAU_C / first, rel=1e-12)
    assert choices["tau2_s"].predicted == pytest.approx(1.4 * TAU_C / second, rel=1e-12)
    assert choices["tau2_s"].wanted == 0.02
    assert delivered(mapped) == asked(hearing())
    assert differences(mapped) == []
    # The other core keeps its ways.
    assert tau2_of(mapped, 0, 2) == [n for n in range(256) if not 5 <= n < 15]
    assert mapped.config.bias(0, 2, "IF_TAU2_N") == STRONG


@pytest.mark.parametrize("scales", [{}, {"tau_s": 0.8}])
@pytest.mark.parametrize(("soma", "second"), [(0.6, 1.0), (1.0, 1.4), (0.6, 1.4), (1.7, 0.8)])
def test_capacitance_and_scale_each_count_once_for_the_second_leak(
    scales: dict[str, float], soma: float, second: float
) -> None:
    """tau2_s is capacitance_scale x core scale x nominal, as predicted and as read back, whatever the first leak's scale."""
    rows = tuple((0, 1, quantity, scale) for quantity, scale in (scales | {"tau2_s": second}).items())
    calibration = record(1.2, capacitance_scale={"soma": soma}, core_scales=rows)
    mapped = map_network(hearing(tau_s=0.01), CHIP, calibration=calibration)
    nominal = TAU_C / code_current_a(CHIP, mapped.config.bias(0, 1, "IF_TAU2_N"))
    (predicted,) = (c.predicted for c in mapped.biases[0, 1] if c.quantity == "tau2_s")
    assert predicted == pytest.approx(soma * second * nominal, rel=1e-12)
    read = network_of(mapped.config, calibration=calibration)
    on_core = [p for p in read.populations if p.place and (p.place.chip, p.place.core) == (0, 1)]
    taus = {p.place.neuron + k: p.neuron.tau_s for p in on_core if p.place for k in range(p.size)}
    assert taus.keys() == set(range(30, 50))
    for number in range(30, 50, 3):
        assert taus[number] == pytest.approx(soma * second * nominal, rel=1e-9)


def test_the_network_is_read_back_with_the_time_constant_of_each_leak() -> None:
    calibration = record(1.5, core_scales=((0, 1, "tau2_s", 1.4),))
    mapped = map_network(hearing(), CHIP, calibration=calibration)
    predicted = {c.quantity: c.predicted for c in mapped.biases[0, 1]}
    read = network_of(mapped.config, calibration=calibration)
    found = {}
    for p in read.populations:
        assert p.place is not None
        found |= {(p.place.chip, p.place.core, p.place.neuron + k): p.neuron.tau_s for k in range(p.size)}
    assert found.keys() == {tuple(a) for table in mapped.addresses.values() for a in table.tolist()}
    for number in range(30, 50):
        quantity = "tau2_s" if number % 3 == 0 else "tau_s"
        assert found[0, 1, number] == pytest.approx(predicted[quantity], rel=1e-9)
    # Who is in use stands in the registers: a reader without the record sees it too.
    assert {p.place for p in network_of(mapped.config).populations} == {p.place for p in read.populations}


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_with_second_leaks_on_every_core(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = random_network(seed, (0, 1, 2, 3))
    leaks = tuple(
        SecondLeak(chip=c, core=k, ratio=float(rng.uniform(0.6, 1.6)), neurons=tuple(rng.permutation(256)[:80].tolist()))
        for c in range(4)
        for k in range(4)
    )
    efficacy = random_efficacy(net, seed)
    calibration = measured(second_leak=leaks)
    mapped = map_network(net, CHIP, calibration=calibration, efficacy=efficacy)
    plain = map_network(net, CHIP, efficacy=efficacy)
    assert differences(mapped) == []
    assert delivered(mapped) == asked(net, efficacy)
    for name in ("cam", "sram"):
        assert np.array_equal(getattr(mapped.config, name), getattr(plain.config, name))
    read = network_of(mapped.config, calibration=calibration)
    assert sum(p.size for p in read.populations) == sum(p.size for p in net.populations)
    served = {(c, k) for c, k in mapped.biases if any(b.quantity == "tau2_s" for b in mapped.biases[c, k])}
    for departure in mapped.departures:
        assert not any(f"chip {c} core {k}:" in departure.text for c, k in served)


@settings(max_examples=25, deadline=None)
@given(ratio=st.floats(0.3, 3.0), tau_s=st.floats(0.002, 0.05), scale=st.floats(0.5, 2.0), scale2=st.floats(0.5, 2.0))
def test_codes_follow_ratio_and_scales(ratio: float, tau_s: float, scale: float, scale2: float) -> None:
    calibration = record(ratio, core_scales=((0, 1, "tau_s", scale), (0, 1, "tau2_s", scale2)))
    net = network(Input(name="x", size=1), population("p", 4, at(0, 1), neuron(tau_s)), link("a", "x", "p"))
    mapped = map_network(net, CHIP, calibration=calibration)
    first = code_current_a(CHIP, mapped.config.bias(0, 1, "IF_TAU1_N"))
    if first <= 4 * 5e-13:
        assert "dark currents" in kept(mapped)
        return
    second = code_current_a(CHIP, mapped.config.bias(0, 1, "IF_TAU2_N"))
    assert second / first == pytest.approx(ratio, rel=0.1 if second < 5e-12 else 0.016)
    assert tau2_of(mapped, 0, 1) == [0, 3]
    assert differences(mapped) == []


# Cores that keep the strong second leak ---------------------------------------------------------------------------------


LEAK_A = TAU_C / 0.02


def test_a_core_whose_constant_current_drives_unused_neurons_keeps_the_strong_leak() -> None:
    for dc_a in (1e-11, LEAK_A / 3.9):
        assert "constant current" in kept(map_network(hearing(dc_a=dc_a), CHIP, calibration=record()))
    assert map_network(hearing(dc_a=LEAK_A / 4.2), CHIP, calibration=record()).departures == []


@pytest.mark.parametrize("scales", [{"tau_s": 1.5}, {"tau_s": 0.6, "dc_a": 0.5}, {"dc_a": 2.0}])
def test_constant_current_and_leak_are_held_against_each_other_in_real_amperes(scales: dict[str, float]) -> None:
    """A network asks for real seconds and amperes: the leak that gives 20 ms is the same whatever its code."""
    core_scales = tuple((0, 1, quantity, scale) for quantity, scale in scales.items())
    assert "constant current" in kept(
        map_network(hearing(dc_a=LEAK_A / 3.8), CHIP, calibration=record(core_scales=core_scales))
    )
    assert map_network(hearing(dc_a=LEAK_A / 4.3), CHIP, calibration=record(core_scales=core_scales)).departures == []


@pytest.mark.parametrize("seed", range(3))
def test_unused_neurons_rest_under_the_largest_constant_current_that_is_allowed(seed: int) -> None:
    """With mismatch and noise no neuron fires without an event; under a constant current of twice the leak most would."""
    fired = {}
    for part in (1 / 4.2, 2.0):
        mapped = map_network(hearing(dc_a=LEAK_A * part), CHIP, calibration=record())
        config = mapped.config.with_registers(tau2=np.zeros_like(mapped.config.tau2))
        board = Emulator(CHIP, config.chips, BoardProfile(seed=seed, mismatch_cv=0.2, noise_a=2e-12))
        board.apply(config)
        spikes = board.run(Stimulus(CHIP), 1.0).spikes
        fired[part] = np.unique(spikes["neuron"][spikes["core"] == 1]).size
    assert fired[1 / 4.2] == 0
    assert fired[2.0] > 128


def test_a_core_whose_leak_does_not_hold_against_dark_currents_keeps_it() -> None:
    assert "dark currents" in kept(map_network(hearing(tau_s=TAU_C / 1.9e-12), CHIP, calibration=record()))
    assert map_network(hearing(tau_s=TAU_C / 2.1e-12), CHIP, calibration=record()).departures == []


def test_a_core_with_a_hot_neuron_keeps_it() -> None:
    hot, silent = (Excluded(chip=0, core=1, neuron=9, reason=reason) for reason in ("hot", "silent"))  # type: ignore[arg-type]
    assert "neuron 9" in kept(map_network(hearing(), CHIP, calibration=record(excluded=(hot,))))
    assert map_network(hearing(), CHIP, calibration=record(excluded=(silent,))).departures == []


@pytest.mark.parametrize("ratio", [0.01, 0.05])
def test_a_ratio_that_no_code_gives_keeps_it(ratio: float) -> None:
    assert "no code" in kept(map_network(hearing(), CHIP, calibration=record(ratio)))


def test_a_code_that_is_the_strong_leak_keeps_it() -> None:
    strong_a = code_current_a(CHIP, STRONG)
    _, first_a = nearest_code(CHIP, strong_a / 2, "test")
    mapped = map_network(hearing(tau_s=TAU_C / first_a), CHIP, calibration=record(strong_a / first_a))
    assert "strong leak" in kept(mapped)


def test_neurons_that_only_their_leak_tells_keep_it() -> None:
    """Without a synapse, or with plastic ones alone, which may all be parked: used and unused neurons would look alike."""
    lonely = network(
        Input(name="x", size=4), population("p", 20, at(0, 1, 30)), population("l", 2, at(0, 1)), link("a", "x", "p")
    )
    assert "2 of the core's neurons" in kept(map_network(lonely, CHIP, calibration=record()))
    plastic = network(Input(name="x", size=4), population("p", 20, at(0, 1, 30)), link("a", "x", "p", plastic=True))
    mapped = map_network(plastic, CHIP, calibration=record())
    assert "20 of the core's neurons" in kept(mapped)
    sending = network(*plastic.inputs, *plastic.populations, *plastic.connections, population("q", 1), link("b", "p", "q"))
    mapped = map_network(sending, CHIP, calibration=record())
    assert mapped.departures == []
    post, slot = np.nonzero(mapped.plastic["a"].sources >= 0)
    parked = mapped.with_flips(mapped.config, "a", post, slot, np.zeros(post.size, dtype=bool))
    assert differences(replace(mapped, config=parked)) == []


def test_no_chosen_neuron_in_use_changes_nothing() -> None:
    plain = map_network(hearing(), CHIP)
    for calibration in (record(neurons=(1, 2, 255)), record(core=(3, 3)), record(core=(0, 3)), record(neurons=())):
        mapped = map_network(hearing(), CHIP, calibration=calibration)
        assert mapped.config == plain.config
        assert mapped.departures == []


# What follows ------------------------------------------------------------------------------------------------------------


def test_the_round_trip_sees_a_wrong_leak() -> None:
    mapped = map_network(hearing(), CHIP, calibration=record())
    tau2 = mapped.config.tau2.copy()
    tau2[0, 1] = False
    tau2[0, 1, 100] = True  # nobody's
    assert differences(replace(mapped, config=mapped.config.with_registers(tau2=tau2))) == []
    biases = mapped.config.biases.copy()
    biases["fine"][0, 1, CHIP.bias_index("leak2")] += 9
    assert any("tau2_s" in text for text in differences(replace(mapped, config=mapped.config.with_registers(biases=biases))))


def test_explain_names_the_leak_that_a_neuron_has() -> None:
    mapped = map_network(hearing(), CHIP, calibration=record())
    for name, own, other in (("0/1/30", "tau2_s", "tau_s"), ("0/1/31", "tau_s", "tau2_s")):
        quantities = [b["quantity"] for b in explain(mapped, name)["biases"]]
        assert own in quantities
        assert other not in quantities


def test_an_opened_board_still_reads_as_neurons_in_use() -> None:
    """No neuron has the second leak there, so its code says nothing."""
    assert sum(p.size for p in network_of(ChipConfig.after_opening(CHIP, (0,))).populations) == 1024


@pytest.mark.parametrize("seed", range(3))
def test_unused_neurons_rest_on_the_first_leak(seed: int) -> None:
    """With mismatch and noise, at the largest time constant that is allowed: no spike without an event."""
    net = network(Input(name="x", size=4), population("p", 20, at(0, 1, 30), neuron(TAU_C / 2.1e-12)), link("a", "x", "p"))
    mapped = map_network(net, CHIP, calibration=record())
    assert mapped.departures == []
    board = Emulator(CHIP, mapped.config.chips, BoardProfile(seed=seed, mismatch_cv=0.2, noise_a=2e-12))
    board.apply(mapped.config)
    assert len(board.run(Stimulus(CHIP), 2.0)) == 0


def test_neurons_with_the_second_leak_fire_as_the_ratio_says() -> None:
    """Neurons whose leak is weak by mismatch fire like the others once they have the second leak that makes up for it."""
    weak = tuple((0, 1, n, leak, 0.5) for n in THIRD for leak in ("leak1", "leak2"))
    profile = BoardProfile(seed=1, odd_currents=weak)
    spikes = {}
    for name, calibration in (("plain", measured()), ("second", record(2.0))):
        mapped = map_network(hearing(), CHIP, calibration=calibration)
        board = Emulator(CHIP, mapped.config.chips, profile)
        board.apply(mapped.config)
        train = np.arange(80) % 4, np.arange(80) * 5e4
        ids, _ = mapped.spikes_of(board.run(mapped.stimulus({"x": train}), 4.0))["p"]
        spikes[name] = np.bincount(ids, minlength=20).astype(float)
    third = np.array([n % 3 == 0 for n in range(30, 50)])
    assert spikes["plain"][third].mean() > 1.2 * spikes["plain"][~third].mean()
    assert spikes["second"][third].mean() == pytest.approx(spikes["second"][~third].mean(), rel=0.05)


def test_a_network_whose_leaks_differ_is_not_mapped_again_onto_one_core() -> None:
    """Read as it is, its neurons want two time constants of one core."""
    calibration = record(2.0)
    read = network_of(map_network(hearing(), CHIP, calibration=calibration).config, calibration=calibration)
    with pytest.raises(NetworkDoesNotFit, match="other neuron parameters"):
        map_network(read, CHIP, calibration=calibration)
