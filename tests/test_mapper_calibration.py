"""What a calibration record makes of a mapping: scales of single cores, excluded neurons, the board that it is for."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from calibration_helpers import measured
from conftest import Run, only_json
from hypothesis import given, settings
from hypothesis import strategies as st
from mapper_helpers import CHIP, asked, at, delivered, link, network, neuron, population

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibration import Calibration, load_calibration, save_calibration
from bcall_hw.calibration_parts import CoreQuantity, Excluded
from bcall_hw.defects import Defects
from bcall_hw.errors import InvalidValue, NetworkDoesNotFit, UnknownName, WrongBoard
from bcall_hw.learn import LearningLoop
from bcall_hw.mapper import differences, explain, map_network, network_of
from bcall_hw.mapping import CodeProblems, choose_codes, load_mapping
from bcall_hw.network import Input, NeuronParameters, SynapseParameters
from bcall_hw.read_biases import parameters_of
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.parameters import preset

MAPPING = load_mapping(CHIP)
NOMINAL = load_calibration(CHIP)
QUANTITIES: tuple[str, ...] = get_args(CoreQuantity)
DPIS = ("AMPA", "NMDA", "GABA_A", "GABA_B", "adaptation")
TAU_C = 3.2e-12 * 0.025 / 0.705


def scaled(scales: dict[str, float], core: tuple[int, int] = (0, 1), **changes: Any) -> Calibration:
    """A record with the scales of one core."""
    return measured(core_scales=tuple((*core, quantity, scale) for quantity, scale in scales.items()), **changes)


def target_of(rng: random.Random) -> NeuronParameters:
    def log_uniform(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    dpis = {n: SynapseParameters(tau_s=log_uniform(4e-3, 4e-2), weight_a=log_uniform(6e-11, 1e-10)) for n in DPIS}
    return NeuronParameters(
        tau_s=log_uniform(2e-3, 1e-2), refractory_s=log_uniform(1e-4, 3e-2), gain_a=log_uniform(1e-10, 1e-7),
        pulse_width_s=log_uniform(5e-6, 1e-4), dc_a=log_uniform(1e-11, 1e-6), adaptation=dpis.pop("adaptation"), synapses=dpis,
    )  # fmt: skip


# Scales --------------------------------------------------------------------------------------------------------------

SCALES = st.dictionaries(st.sampled_from(QUANTITIES), st.floats(0.5, 2.0))


@settings(max_examples=150, deadline=None)
@given(scales=SCALES, capacitance=st.floats(0.5, 2.0), seed=st.integers(0, 10_000))
def test_predicted_values_are_read_back_and_follow_the_scales(scales: dict[str, float], capacitance: float, seed: int) -> None:
    """The codes' nominal values, read without scales, times the scales are what was predicted and what is read with them."""
    record = scaled(scales, capacitance_scale={"soma": capacitance, "NMDA": capacitance})
    target = target_of(random.Random(seed))
    choices = choose_codes(CHIP, MAPPING, record, target, "here", (0, 1))
    codes = {bias.name: bias.samna_default for bias in CHIP.biases} | {c.bias: c.code for c in choices}
    predicted = {c.quantity: c.predicted for c in choices}
    read = parameters_of(CHIP, MAPPING, record, codes, False, "here", (0, 1))
    plain = parameters_of(CHIP, MAPPING, record, codes, False, "here")
    for name in ("tau_s", "refractory_s", "pulse_width_s", "gain_a", "dc_a"):
        assert predicted[name] == pytest.approx(scales.get(name, 1.0) * getattr(plain, name), rel=1e-12)
        assert getattr(read, name) == pytest.approx(predicted[name], rel=1e-9)
        assert predicted[name] == pytest.approx(getattr(target, name), rel=0.016)
    for name in DPIS:
        of_read, of_plain = (p.adaptation if name == "adaptation" else p.synapses[name] for p in (read, plain))  # type: ignore[index]
        assert of_read is not None
        assert of_plain is not None
        tau_s = scales.get(f"{name}.tau_s", 1.0) * of_plain.tau_s
        full_scale = of_plain.weight_a / -math.expm1(-plain.pulse_width_s / of_plain.tau_s)
        weight = scales.get(f"{name}.weight_a", 1.0) * full_scale * -math.expm1(-predicted["pulse_width_s"] / tau_s)
        assert predicted[f"{name}.tau_s"] == pytest.approx(tau_s, rel=1e-12)
        assert predicted[f"{name}.weight_a"] == pytest.approx(weight, rel=1e-9)
        assert of_read.tau_s == pytest.approx(predicted[f"{name}.tau_s"], rel=1e-9)
        assert of_read.weight_a == pytest.approx(predicted[f"{name}.weight_a"], rel=1e-9)


def test_scales_of_one_core_change_nothing_on_others() -> None:
    target = target_of(random.Random(1))
    record = scaled(dict.fromkeys(QUANTITIES, 1.7))
    nominal = choose_codes(CHIP, MAPPING, NOMINAL, target, "here")
    assert choose_codes(CHIP, MAPPING, record, target, "here", (1, 1)) == nominal
    assert choose_codes(CHIP, MAPPING, record, target, "here") == nominal
    assert choose_codes(CHIP, MAPPING, record, target, "here", (0, 1)) != nominal


def test_the_second_leak_has_a_scale_of_its_own() -> None:
    choices = choose_codes(CHIP, MAPPING, NOMINAL, neuron(), "here")
    codes = {bias.name: bias.samna_default for bias in CHIP.biases} | {c.bias: c.code for c in choices}
    record = scaled({"tau_s": 1.5, "tau2_s": 0.5})
    for second, scale in ((False, 1.5), (True, 0.5)):
        plain, read = (parameters_of(CHIP, MAPPING, record, codes, second, "here", core) for core in (None, (0, 1)))
        assert read.tau_s == pytest.approx(scale * plain.tau_s, rel=1e-12)


def test_ranges_are_told_as_the_core_has_them() -> None:
    lowest, highest = CHIP.sorted_codes[0][0], CHIP.sorted_codes[0][-1]
    record = scaled({"tau_s": 0.5, "gain_a": 2.0})
    target = neuron(TAU_C / lowest * 0.6, gain_a=highest * 2.1)
    with pytest.raises(CodeProblems) as caught:
        choose_codes(CHIP, MAPPING, record, target, "here", (0, 1))
    tau, gain = caught.value.problems
    assert f"the nearest possible value is {TAU_C / lowest * 0.5:.4g} s" in tau.fix
    assert f"outside {lowest * 2:.4g} to {highest * 2:.4g} A" in gain.fix


def two_cores() -> Any:
    return network(
        Input(name="x", size=4), population("p", 20, at(0, 1)), population("q", 10, at(2, 3)), link("a", "x", "p"),
        link("b", "p", "q", {"kind": "random_fan_in", "fan_in": 5, "seed": 2}, "GABA_A"),
    )  # fmt: skip


def test_each_core_has_the_codes_of_its_scales() -> None:
    record = scaled({"tau_s": 2.0, "GABA_A.weight_a": 0.6}, (0, 1))
    mapped, nominal = (map_network(two_cores(), CHIP, calibration=c) for c in (record, NOMINAL))
    assert differences(mapped) == []
    assert delivered(mapped) == asked(two_cores())
    assert mapped.biases[2, 3] == nominal.biases[2, 3]
    for core, other in (((0, 1), True), ((2, 3), False)):
        changed = {c.bias for c, n in zip(mapped.biases[core], nominal.biases[core], strict=True) if c.code != n.code}
        assert changed == ({"IF_TAU1_N", "PS_WEIGHT_INH_F_N"} if other else set())
        for choice in mapped.biases[core]:
            assert mapped.config.bias(*core, choice.bias) == choice.code
            assert abs(choice.error) < 0.05
    read = {
        (p.place.chip, p.place.core): p.neuron for p in network_of(mapped.config, calibration=record).populations if p.place
    }
    for core, parameters in read.items():
        predicted = {c.quantity: c.predicted for c in mapped.biases[core]}
        assert parameters.tau_s == pytest.approx(predicted["tau_s"], rel=1e-9)
        assert parameters.synapses["GABA_A"].weight_a == pytest.approx(predicted["GABA_A.weight_a"], rel=1e-9)


def test_the_round_trip_sees_codes_of_another_core() -> None:
    """Registers whose codes were chosen without the core's scale are not what the mapper predicts."""
    record = scaled({"tau_s": 2.0}, (0, 1))
    mapped = map_network(two_cores(), CHIP, calibration=record)
    wrong = replace(mapped, config=map_network(two_cores(), CHIP).config)
    assert any("chip 0 core 1: tau_s predicted" in text for text in differences(wrong))


LONGEST_S = TAU_C / CHIP.sorted_codes[0][0]


def test_a_target_that_one_core_cannot_reach_is_told_with_chip_and_core() -> None:
    slow = neuron(LONGEST_S * 0.9)
    wished = network(population("fast", 2, at(0, 0)), population("slow", 3, at(0, 1), slow))
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(wished, CHIP, calibration=scaled({"tau_s": 0.5}))
    (violation,) = caught.value.violations
    assert violation.where == "population 'slow' on chip 0 core 1: tau_s (IF_TAU1_N)"
    assert f"nearest possible value is {LONGEST_S * 0.5:.4g} s" in violation.fix
    map_network(wished, CHIP, calibration=scaled({"tau_s": 0.5}, (0, 2)))


def test_a_target_that_no_core_can_reach_is_told_once() -> None:
    net = network(population("slow", 3, None, neuron(LONGEST_S * 1.5)), population("too", 3, None, neuron(LONGEST_S * 1.5)))
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP, calibration=scaled({"tau_s": 1.4}, (3, 3)))
    assert [v.where for v in caught.value.violations] == ["population 'slow': tau_s (IF_TAU1_N)"]
    every = tuple((c, k, "tau_s", 1.4) for c in range(4) for k in range(4))
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP, calibration=measured(core_scales=every))
    assert [v.where for v in caught.value.violations] == ["population 'slow' on chip 0 core 0: tau_s (IF_TAU1_N)"]


def test_a_target_beyond_nominal_is_mapped_where_a_core_reaches_it() -> None:
    beyond = network(population("slow", 3, None, neuron(LONGEST_S * 1.1)))
    with pytest.raises(NetworkDoesNotFit):
        map_network(beyond, CHIP)
    mapped = map_network(beyond, CHIP, calibration=scaled({"tau_s": 1.4}, (2, 0)))
    assert mapped.config.chips == (2,)
    assert set(mapped.biases) == {(2, 0)}


# Defects and exclusions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_excluded_neurons_are_never_used(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reasons = ("dead", "silent", "hot", "outlier", "unmeasured")
    chosen = rng.permutation(1024)[:300].tolist()
    excluded = tuple(
        Excluded(chip=0, core=n // 256, neuron=n % 256, reason=reasons[i % 5])  # type: ignore[arg-type]
        for i, n in enumerate(chosen)
    )
    also = ((0, 3, 255),) if 1023 not in chosen else ()
    net = network(Input(name="x", size=8), population("p", 1024 - len(chosen) - len(also)), link("c", "x", "p"))
    mapped = map_network(net, CHIP, (0,), calibration=measured(excluded=excluded), defects=Defects(dead_neurons=also))
    used = {tuple(a) for a in mapped.addresses["p"].tolist()}
    assert not used & {(e.chip, e.core, e.neuron) for e in excluded} | used & set(also)
    assert delivered(mapped) == asked(net)
    more = network(population("p", len(used) + 1))
    with pytest.raises(NetworkDoesNotFit):
        map_network(more, CHIP, (0,), calibration=measured(excluded=excluded), defects=Defects(dead_neurons=also))


def test_defects_of_profile_and_record_are_both_avoided() -> None:
    net = network(Input(name="x", size=62), population("p", 1, at(0, 0, 5)), link("c", "x", "p"))
    record = measured(dead_cam=((0, 0, 5, 0),))
    mapped = map_network(net, CHIP, calibration=record, defects=Defects(dead_cam=((0, 0, 5, 1),)))
    assert mapped.defects.dead_cam == ((0, 0, 5, 0), (0, 0, 5, 1))
    word = mapped.config.cam[0, 0, 5, :2]
    assert not word["source_core"].any()
    assert not word["source_neuron"].any()
    stuck = measured(stuck_tag_bits=((0, 0, 5, 3, 1, 0),))
    with pytest.raises(InvalidValue, match=r"record.*stuck at both values"):
        map_network(net, CHIP, calibration=stuck, defects=Defects(stuck_tag_bits=((0, 0, 5, 3, 1, 1),)))


def test_a_network_on_stuck_entries_of_a_record_is_read_back() -> None:
    """An unused entry that would hear source 0 is written so that it hears nobody, which only the record explains."""
    net = network(Input(name="x", size=1, tags=(1,)), population("p", 1, at(0, 0, 5)), link("c", "x", "p"))
    record = measured(stuck_tag_bits=((0, 0, 5, 9, 0, 1),))
    mapped = map_network(net, CHIP, calibration=record)
    assert differences(mapped) == []
    assert [i.tags for i in network_of(mapped.config, calibration=record).inputs] == [(1,)]
    assert network_of(mapped.config).inputs[0].size == 2


def test_a_wish_on_an_excluded_neuron_is_refused() -> None:
    net = network(population("p", 4, at(0, 0, 5)))
    with pytest.raises(NetworkDoesNotFit, match=r"dead or excluded neurons.*7"):
        map_network(net, CHIP, calibration=measured(excluded=(Excluded(chip=0, core=0, neuron=7, reason="hot"),)))  # type: ignore[arg-type]


def test_places_that_a_record_made_in_python_has_wrong_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"calibration record core_scales\[0\], core"):
        map_network(network(population("p", 1)), CHIP, calibration=scaled({"tau_s": 1.1}, (0, 9)))


# The board -----------------------------------------------------------------------------------------------------------


def learning() -> Any:
    return network(Input(name="x", size=4), population("p", 3), link("c", "x", "p", plastic=True))


def test_a_network_does_not_learn_on_another_board_than_it_was_mapped_for() -> None:
    profile = BoardProfile(seed=3)
    mapped = map_network(learning(), CHIP, calibration=measured(board=profile.board))
    engine = PlasticityEngine(preset("2.0"), mapped.plastic["c"].sources, 4, np.full((3, 4), 0.4))
    LearningLoop(Emulator(CHIP, mapped.config.chips, profile), mapped, "c", engine)
    with pytest.raises(WrongBoard, match="limit emulated-"):
        LearningLoop(Emulator(CHIP, mapped.config.chips, BoardProfile(seed=4)), mapped, "c", engine)


@pytest.mark.parametrize("command", ["emulate", "deploy"])
def test_commands_refuse_a_record_of_another_board(run: Run, tmp_path: Path, command: str) -> None:
    learning().save(tmp_path / "net.json")
    BoardProfile(seed=3).save(tmp_path / "board.json")
    (tmp_path / "x.csv").write_text("time_us,input,source\n1000,x,0\n")
    save_calibration(measured(board=BoardProfile(seed=3).board), tmp_path / "record.json")
    rest = ("--duration-s", "0.01", "--stimulus", "x.csv", "--calibration", "record.json", "--json")
    done = run(command, "net.json", "--profile", "board.json", *rest)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(command, "net.json", "--seed", "4", "--mismatch-cv", "0", "--out", "spikes.h5", *rest)
    assert done.returncode == 2
    told = only_json(done)
    assert told["error"] == "WrongBoard"
    assert (told["used"], told["limit"]) == (BoardProfile(seed=3).board, BoardProfile(seed=4).board)
    assert told["fix"]
    assert not (tmp_path / "spikes.h5").exists()


def test_a_stale_record_is_refused_by_commands(run: Run, tmp_path: Path) -> None:
    learning().save(tmp_path / "net.json")
    save_calibration(measured(date="2001-01-01T00:00:00Z", expires="2001-02-01T00:00:00Z"), tmp_path / "record.json")
    done = run("map", "net.json", "--calibration", "record.json", "--json")
    assert done.returncode == 2
    assert only_json(done)["error"] == "StaleRecord"
    assert json.dumps(only_json(done)).count("Calibrate again.") == 1


def test_explain_says_that_an_excluded_neuron_is_empty() -> None:
    record = measured(excluded=(Excluded(chip=0, core=0, neuron=7, reason="outlier"),))  # type: ignore[arg-type]
    mapped = map_network(network(population("p", 4)), CHIP, calibration=record)
    with pytest.raises(UnknownName, match="excluded"):
        explain(mapped, "0/0/7")
