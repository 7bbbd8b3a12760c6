"""The mapped network: flips of plastic synapses, stimuli from its inputs, spikes back to its neurons, utilisation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mapper_helpers import CHIP, asked, at, delivered, link, network, neuron, pairs, population, random_efficacy, random_network

from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import BcallError, InvalidValue, StimulusOrder, UnknownName
from bcall_hw.mapper import MappedNetwork, map_network, utilisation
from bcall_hw.network import Connection, Input, Network
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording

ALL = (0, 1, 2, 3)


def plastic_network(synapse: str = "AMPA") -> Network:
    """Posts 0 to 2 with 3, 2 and 0 synapses of two CAM entries each, and a fixed connection that fills post 1."""
    return network(
        Input(name="x", size=5),
        population("p", 3, at(0, 2, 30)),
        link("w", "x", "p", pairs((0, 0), (2, 0), (4, 0), (1, 1), (3, 1)), synapse, multiplicity=2, plastic=True),
        link("fixed", "x", "p", pairs(*((s, 1, 12) for s in range(5))), "NMDA"),
    )


def all_synapses(mapped: MappedNetwork, name: str) -> tuple[Any, Any]:
    return np.nonzero(mapped.plastic[name].sources >= 0)


def with_config(mapped: MappedNetwork, config: ChipConfig) -> MappedNetwork:
    return replace(mapped, config=config)


# Plastic slots and flips ---------------------------------------------------------------------------------------------


def test_slots_say_where_the_synapses_are() -> None:
    net = plastic_network()
    mapped = map_network(net, CHIP)
    slots = mapped.plastic["w"]
    assert set(mapped.plastic) == {"w"}
    assert slots.sources.tolist() == [[0, 2, 4], [1, 3, -1], [-1, -1, -1]]
    assert slots.addresses.tolist() == [[0, 2, 30], [0, 2, 31], [0, 2, 32]]
    assert slots.entries.shape == (3, 3, 2)
    assert slots.type_code == 3
    tags = mapped.input_tags["x"]
    for post, slot in zip(*all_synapses(mapped, "w"), strict=True):
        assert slots.tags[post, slot] == tags[slots.sources[post, slot]]
        for entry in slots.entries[post, slot].tolist():
            chip, core, number = slots.addresses[post].tolist()
            found = mapped.config.cam[chip, core, number, entry].item()
            assert found == (*divmod(int(slots.tags[post, slot]), 256), 3)
    for post in (0, 1):
        used = slots.entries[post][slots.sources[post] >= 0].ravel().tolist()
        assert len(set(used)) == len(used)


@pytest.mark.parametrize("seed", [s for s in range(40) if any(c.plastic for c in random_network(s, (0,)).connections)][:12])
def test_flips_and_back_give_the_same_image(seed: int) -> None:
    net = random_network(seed, (0,))
    efficacy = random_efficacy(net, seed)
    mapped = map_network(net, CHIP, efficacy=efficacy)
    config, rng = mapped.config, np.random.default_rng(seed)
    wanted = {name: table.copy() for name, table in efficacy.items()}
    for name in mapped.plastic:
        post, slot = all_synapses(mapped, name)
        chosen = rng.random(len(post)) < 0.4
        post, slot = post[chosen], slot[chosen]
        config = mapped.with_flips(config, name, post, slot, ~efficacy[name][post, slot])
        wanted[name][post, slot] ^= True
    assert delivered(with_config(mapped, config)) == asked(net, wanted)
    assert config == map_network(net, CHIP, efficacy=wanted).config
    for name in mapped.plastic:
        post, slot = all_synapses(mapped, name)
        config = mapped.with_flips(config, name, post, slot, efficacy[name][post, slot])
    assert config == mapped.config
    assert len(mapped.config.diff(config)) == 0


def test_a_flip_writes_the_synapses_entries_and_nothing_else() -> None:
    mapped = map_network(plastic_network(), CHIP)
    new = mapped.with_flips(mapped.config, "w", np.array([1]), np.array([1]), np.array([False]))
    words = mapped.config.diff(new)
    assert words["kind"].tolist() == [0, 0]
    own = 1 << 17 | 2 << 15 | (31 >> 4) << 11 | (31 & 15)
    entries = mapped.plastic["w"].entries[1, 1].tolist()
    assert sorted(words["word"].tolist()) == sorted(3 << 28 | own | e << 5 for e in entries)
    assert mapped.config == map_network(plastic_network(), CHIP).config
    assert not new.cam.flags.writeable


def test_no_flips() -> None:
    mapped = map_network(plastic_network(), CHIP)
    none = np.zeros(0, dtype=np.int64)
    assert mapped.with_flips(mapped.config, "w", none, none, none.astype(bool)) == mapped.config


def test_flips_on_the_other_chips_of_a_board() -> None:
    net = network(
        Input(name="x", size=3), population("p", 4, at(3, 1, 200)), population("q", 1, at(1, 0)),
        link("w", "x", "p", plastic=True), link("v", "x", "q", plastic=True),
    )  # fmt: skip
    mapped = map_network(net, CHIP, (1, 3))
    new = mapped.with_flips(mapped.config, "w", np.array([0, 3]), np.array([2, 0]), np.array([False, False]))
    words = mapped.config.diff(new)
    assert words["chip"].tolist() == [3, 3]
    off = {"w": np.ones((4, 3), dtype=bool)}
    off["w"][[0, 3], [2, 0]] = False
    assert delivered(with_config(mapped, new)) == asked(net, off)


@pytest.mark.parametrize("on", [True, False])
def test_a_flip_of_an_unused_slot_never_touches_the_cam(on: bool) -> None:
    """Post 1 has two synapses and 64 entries in use: its third slot is none, and must not become its last entry."""
    mapped = map_network(plastic_network(), CHIP)
    try:
        new = mapped.with_flips(mapped.config, "w", np.array([1]), np.array([2]), np.array([on]))
    except BcallError as problem:
        assert "w" in str(problem)  # noqa: PT017 (refusing it is right, ignoring it too)
    else:
        assert new == mapped.config


@pytest.mark.parametrize(("post", "slot"), [(3, 0), (0, 3), (-1, 0), (0, -1)])
def test_a_flip_outside_the_table_is_refused(post: int, slot: int) -> None:
    mapped = map_network(plastic_network(), CHIP)
    with pytest.raises(BcallError, match="w"):
        mapped.with_flips(mapped.config, "w", np.array([post]), np.array([slot]), np.array([True]))


@pytest.mark.parametrize("name", ["nothing", "fixed"])
def test_flips_of_no_plastic_connection(name: str) -> None:
    mapped = map_network(plastic_network(), CHIP)
    with pytest.raises(UnknownName, match=name):
        mapped.with_flips(mapped.config, name, np.array([0]), np.array([0]), np.array([True]))


# Stimulus ------------------------------------------------------------------------------------------------------------


def stimulated() -> MappedNetwork:
    """An input of six sources: 0 reaches one core, 1 two cores, 2 two chips, 3 four chips, 4 nothing, 5 one core."""
    targets = [population(f"t{c}{k}", 1, at(c, k, 9)) for c in range(4) for k in (1, 3)]
    reached = {0: ["t01"], 1: ["t01", "t03"], 2: ["t03", "t21"], 3: ["t01", "t11", "t13", "t21", "t33"], 5: ["t33"]}
    links = [link(f"c{s}{t}", "x", t, pairs((s, 0))) for s, names in reached.items() for t in names]
    more = (Input(name="y", size=2, tags=(700, 3)), link("yt", "y", "t11"))
    return map_network(network(Input(name="x", size=6), *targets, *links, *more), CHIP, ALL)


REACHED: dict[tuple[str, int], list[tuple[int, int]]] = {
    ("x", 0): [(0, 0b0010)],
    ("x", 1): [(0, 0b1010)],
    ("x", 2): [(0, 0b1000), (2, 0b0010)],
    ("x", 3): [(0, 0b0010), (1, 0b1010), (2, 0b0010), (3, 0b1000)],
    ("x", 4): [],
    ("x", 5): [(3, 0b1000)],
    ("y", 0): [(1, 0b0010)],
    ("y", 1): [(1, 0b0010)],
}


@pytest.mark.parametrize("seed", range(5))
def test_stimulus_sends_exactly_what_was_asked(seed: int) -> None:
    mapped, rng = stimulated(), np.random.default_rng(seed)
    trains, expected = {}, []
    for name, size in (("x", 6), ("y", 2)):
        ids = rng.integers(0, size, 200)
        times = rng.uniform(0, 30_000, 200)
        trains[name] = (ids, times)
        for index, time in zip(ids.tolist(), times.tolist(), strict=True):
            tag = int(mapped.input_tags[name][index])
            expected += [(time, chip, mask, tag) for chip, mask in REACHED[name, index]]
    made = mapped.stimulus(trains)
    half = made.isi_base / 90 / 2
    assert np.all(np.diff(made.times_us) >= 0)
    found = [
        (float(t), int(e["chip"]), int(e["core_mask"]), int(e["tag"])) for t, e in zip(made.times_us, made.events, strict=True)
    ]
    assert Counter(f[1:] for f in found) == Counter(e[1:] for e in expected)
    for key in {e[1:] for e in expected}:
        wanted = sorted(e[0] for e in expected if e[1:] == key)
        assert sorted(f[0] for f in found if f[1:] == key) == pytest.approx(wanted, abs=half * 1.0001)


def test_the_tags_of_different_sources_differ_and_sources_without_targets_have_none() -> None:
    mapped = stimulated()
    assert mapped.input_tags["y"].tolist() == [700, 3]
    assert len(set(mapped.input_tags["x"][[0, 1, 2, 3, 5]].tolist()) | {700, 3}) == 7
    assert mapped.input_reach["x"][4] == frozenset()
    assert mapped.input_reach["x"][2] == {(0, 3), (2, 1)}


def test_an_empty_stimulus() -> None:
    mapped, none = stimulated(), (np.zeros(0, dtype=np.int64), np.zeros(0))
    assert len(mapped.stimulus({}).events) == 0
    assert len(mapped.stimulus({"x": none}).events) == 0
    assert len(mapped.stimulus({"x": (np.array([4, 4]), np.array([1.0, 2.0]))}).events) == 0


def test_unknown_input() -> None:
    with pytest.raises(UnknownName, match=r"z.*Known: x, y"):
        stimulated().stimulus({"z": (np.array([0]), np.array([1.0]))})
    with pytest.raises(UnknownName, match="t01"):
        stimulated().stimulus({"t01": (np.array([0]), np.array([1.0]))})


@pytest.mark.parametrize(("ids", "bad"), [([0, 6, 1], 6), ([-1], -1), ([3, -2, 1], -2)])
def test_source_index_out_of_range_names_it(ids: list[int], bad: int) -> None:
    with pytest.raises(InvalidValue, match=f"input 'x'.*got {bad},") as caught:
        stimulated().stimulus({"x": (np.array(ids), np.arange(float(len(ids))))})
    assert caught.value.used == bad


@pytest.mark.parametrize("lengths", [(3, 2), (2, 3), (0, 1)])
def test_ids_and_times_of_different_length(lengths: tuple[int, int]) -> None:
    with pytest.raises(InvalidValue, match="input 'x'"):
        stimulated().stimulus({"x": (np.zeros(lengths[0], dtype=np.int64), np.zeros(lengths[1]))})


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0])
def test_stimulus_times_that_are_none(time: float) -> None:
    with pytest.raises(StimulusOrder):
        stimulated().stimulus({"x": (np.array([0, 1]), np.array([5.0, time]))})


# Spikes back ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "chips"), [(1, (0,)), (2, ALL), (3, ALL), (4, (0,)), (5, (1, 3))])
def test_spikes_come_back_as_population_indices(seed: int, chips: tuple[int, ...]) -> None:
    mapped = map_network(random_network(seed, chips), CHIP, chips)
    rng = np.random.default_rng(seed)
    neurons = [(name, index, *a) for name, table in mapped.addresses.items() for index, a in enumerate(table.tolist())]
    picked = rng.integers(0, len(neurons), 300).tolist()
    spikes = np.zeros(320, dtype=SPIKE_DTYPE)
    spikes["time_us"] = np.sort(rng.integers(1, 10_000, 320))
    mine = np.sort(rng.permutation(320)[:300])
    for row, pick in zip(mine.tolist(), picked, strict=True):
        _, _, spikes["chip"][row], spikes["core"][row], spikes["neuron"][row] = neurons[pick]
    strangers = sorted({(c, k, n) for c in range(4) for k in range(4) for n in range(256)} - {tuple(n[2:]) for n in neurons})
    for row in sorted(set(range(320)) - set(mine.tolist())):
        spikes["chip"][row], spikes["core"][row], spikes["neuron"][row] = strangers[rng.integers(0, len(strangers))]
    found = mapped.spikes_of(SpikeRecording(spikes, 10_000, "test", None))
    assert list(found) == list(mapped.addresses)
    for name, (ids, times) in found.items():
        expected = [
            (neurons[p][1], float(spikes["time_us"][r]))
            for r, p in zip(mine.tolist(), picked, strict=True)
            if neurons[p][0] == name
        ]
        assert list(zip(ids.tolist(), times.tolist(), strict=True)) == expected


def test_no_spikes() -> None:
    mapped = map_network(network(population("p", 3)), CHIP)
    ids, times = mapped.spikes_of(SpikeRecording(np.zeros(0, dtype=SPIKE_DTYPE), 10, "test", None))["p"]
    assert ids.size == times.size == 0


# Utilisation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "chips"), [(11, (0,)), (12, (0,)), (13, ALL), (14, ALL), (15, (1, 3)), (16, (0,))])
def test_utilisation_by_brute_force(seed: int, chips: tuple[int, ...]) -> None:
    net = random_network(seed, chips)
    mapped = map_network(net, CHIP, chips)
    found = utilisation(mapped)
    size = sum(p.size for p in net.populations)
    assert found["neurons"] == {"used": size, "of": 1024 * len(chips)}
    wanted = asked(net)
    assert found["cam"] == {"used": sum(wanted.values()), "of": 65536 * len(chips)}
    chip_of = {(n, i): a[0] for n, t in mapped.addresses.items() for i, a in enumerate(t.tolist())}
    core_of = {(n, i): (a[0], a[1]) for n, t in mapped.addresses.items() for i, a in enumerate(t.tolist())}
    inputs = {i.name for i in net.inputs}
    used_sram = {(source, chip_of[target]) for source, target, _ in wanted if source[0] not in inputs}
    assert found["sram"] == {"used": len(used_sram), "of": 3072 * len(chips)}
    assert found["fpga_sources"] == {"used": len({s for s, _, _ in wanted if s[0] in inputs}), "of": 1024}
    assert [(c["chip"], c["core"]) for c in found["cores"]] == [(c, k) for c in chips for k in range(4)]
    for core in found["cores"]:
        here = (core["chip"], core["core"])
        members = [m for m, c in core_of.items() if c == here]
        entries = Counter(t for (_, t, _), m in wanted.items() for _ in range(m) if core_of[t] == here)
        assert core["neurons"] == len(members)
        assert sorted(core["populations"]) == sorted({m[0] for m in members})
        assert core["cam_used"] == sum(entries.values())
        assert core["cam_most"] == max(entries.values(), default=0)
        assert core["input_tags"] == len({s for s, t, _ in wanted if s[0] in inputs and core_of[t] == here})


@pytest.mark.parametrize("synapse", ["AMPA", "NMDA", "GABA_A", "GABA_B"])
def test_parked_synapses_still_use_their_cam_entries(synapse: str) -> None:
    net = plastic_network(synapse)
    off = {"w": np.zeros((3, 3), dtype=bool)}
    assert utilisation(map_network(net, CHIP))["cam"]["used"] == 70
    assert utilisation(map_network(net, CHIP, efficacy=off))["cam"]["used"] == 70


# Biases --------------------------------------------------------------------------------------------------------------


def test_chosen_codes_are_in_the_registers_of_used_cores_and_others_idle() -> None:
    net = network(population("a", 3, at(0, 1), neuron(0.02)), population("b", 3, at(2, 3), neuron(0.05, dc_a=1e-10)))
    mapped = map_network(net, CHIP, (0, 2))
    assert set(mapped.biases) == {(0, 1), (2, 3)}
    for (chip, core), choices in mapped.biases.items():
        for choice in choices:
            assert mapped.config.bias(chip, core, choice.bias) == choice.code
    assert mapped.config.bias(0, 1, "IF_TAU1_N") != mapped.config.bias(2, 3, "IF_TAU1_N")
    idle = {"IF_DC_P": (0, 0), "IF_TAU1_N": (2, 100), "PS_WEIGHT_EXC_F_N": (0, 0), "PULSE_PWLK_P": (4, 106), "R2R_P": (3, 85)}
    for chip, core in [(c, k) for c in (0, 2) for k in range(4) if (c, k) not in mapped.biases]:
        for name, code in idle.items():
            found = mapped.config.bias(chip, core, name)
            assert (found.coarse, found.fine, found.high) == (*code, True)
    placed = np.zeros(mapped.config.tau2.shape, dtype=bool)
    for address in mapped.addresses.values():
        placed[np.searchsorted(mapped.config.chips, address[:, 0]), address[:, 1], address[:, 2]] = True
    assert np.array_equal(mapped.config.tau2, ~placed)  # neurons without a population take the strong second leak


def test_two_connections_share_a_pair() -> None:
    links: list[Connection] = [link("a", "x", "p"), link("b", "x", "p", synapse="GABA_B"), link("c", "x", "p", multiplicity=3)]
    net = network(Input(name="x", size=4), population("p", 2), *links)
    assert delivered(map_network(net, CHIP)) == asked(net)
