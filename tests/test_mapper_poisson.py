"""Inputs that the board's Poisson generators drive: where they reach, their tags and rates, and what they do to neurons."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from mapper_helpers import CHIP, asked, at, delivered, link, network, neuron, pairs, population

from bcall_hw.backend import open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.errors import BcallError, InvalidValue, NetworkDoesNotFit, StimulusProblem, TagsExhausted, UnknownName
from bcall_hw.mapper import MapOptions, MappedNetwork, map_network
from bcall_hw.network import Input, Network, SynapseParameters
from benchmarks.mapper_oracle import mismatches


def noise(name: str, size: int, **more: Any) -> Input:
    return Input(name=name, size=size, poisson=True, **more)


def cores_with_poisson(mapped: MappedNetwork) -> set[tuple[int, int]]:
    """Every core of the chips with targets of Poisson inputs, by the network and the addresses: no register narrows it."""
    names = {i.name for i in mapped.network.inputs if i.poisson}
    targets = {t for s, t, _ in asked(mapped.network) if s[0] in names}
    chips = {int(mapped.addresses[n][i][0]) for n, i in targets}
    return {(chip, core) for chip in chips for core in range(CHIP.geometry.cores)}


def random_case(seed: int) -> Network:
    rng = random.Random(seed)
    kinds = [neuron(0.02), neuron(0.03), neuron(0.05)]
    parts: list[Any] = [population(f"p{k}", rng.randint(5, 150), None, kinds[k % 3]) for k in range(rng.randint(2, 5))]
    names = [p.name for p in parts]
    for k in range(rng.randint(1, 3)):
        parts.append(noise(f"n{k}", rng.randint(1, 60)))
        some = rng.sample(names, rng.randint(1, len(names)))
        parts += [link(f"n{k}{t}", f"n{k}", t, {"kind": "random_fan_in", "fan_in": 1, "seed": seed}, "NMDA") for t in some]
    parts.append(Input(name="x", size=50))
    parts += [link(f"x{t}", "x", t, {"kind": "random_fan_in", "fan_in": 10, "seed": seed}) for t in names]
    parts += [
        link(f"r{s}{t}", s, t, {"kind": "random_fan_in", "fan_in": 3, "seed": seed}, "GABA_A") for s in names for t in names
    ]
    return network(*parts)


@pytest.mark.parametrize("seed", range(7))
def test_poisson_sources_reach_every_core_of_one_chip_under_tags_of_their_own(seed: int) -> None:
    mapped = map_network(random_case(seed), CHIP)
    assert mismatches(mapped) == []
    cores = cores_with_poisson(mapped)
    assert len({chip for chip, _ in cores}) == 1
    names = [i.name for i in mapped.network.inputs if i.poisson]
    used = [(n, i) for n in names for i, tag in enumerate(mapped.input_tags[n].tolist()) if tag >= 0]
    assert used
    assert all(mapped.input_reach[n][i] == cores for n, i in used)
    arriving: Counter[tuple[Any, int]] = Counter()
    for name, tags in mapped.input_tags.items():
        for tag, reach in zip(tags.tolist(), mapped.input_reach[name], strict=True):
            arriving.update((core, tag) for core in reach)
    for core in cores:
        assert all(arriving[core, mapped.input_tags[n][i]] == 1 for n, i in used)


def test_targets_are_drawn_onto_one_chip_where_others_take_more() -> None:
    """2,000 neurons of one kind, of which 600 hear Poisson sources, scattered over the population."""
    members = np.random.default_rng(1).choice(2000, 600, replace=False).tolist()
    net = network(
        noise("n", 40), population("p", 2000), link("n", "n", "p", pairs(*((k % 40, t) for k, t in enumerate(members)))),
        link("r", "p", "p", {"kind": "one_to_one"}, "GABA_B"),
    )  # fmt: skip
    mapped = map_network(net, CHIP)
    assert mismatches(mapped) == []
    assert len(mapped.config.chips) == 2
    assert len({chip for chip, _ in cores_with_poisson(mapped)}) == 1


def test_more_targets_than_a_chip_holds_are_refused_by_name() -> None:
    net = network(
        noise("rain", 10), population("p", 1025), link("c", "rain", "p", {"kind": "random_fan_in", "fan_in": 2, "seed": 1})
    )
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP)
    assert any(isinstance(v, StimulusProblem) and "rain" in str(v) and v.fix for v in caught.value.violations), str(
        caught.value
    )


def test_targets_wished_on_two_chips_are_refused_by_name() -> None:
    net = network(
        noise("rain", 3), noise("calm", 2), population("p", 2, at(0, 3)), population("q", 2, at(3, 3)),
        population("z", 2, at(0, 1)), link("a", "rain", "p"), link("b", "rain", "q", pairs((2, 1))), link("c", "calm", "z"),
    )  # fmt: skip
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP)
    (found,) = caught.value.violations
    assert isinstance(found, StimulusProblem)
    for piece in ("rain", "chip 0", "chip 3", "got 2", "limit 1"):
        assert piece in str(found)
    assert found.fix


def test_all_1023_tags_may_be_poisson() -> None:
    net = network(
        noise("n", 1023), population("p", 256, at(1, 1)), link("c", "n", "p", pairs(*((s, s % 256) for s in range(1023))))
    )
    mapped = map_network(net, CHIP)
    assert sorted(mapped.input_tags["n"].tolist()) == list(range(1, 1024))
    more = network(
        noise("n", 1024), population("p", 256, at(1, 1)), link("c", "n", "p", pairs(*((s, s % 256) for s in range(1024))))
    )
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(more, CHIP)
    assert {type(v) for v in caught.value.violations} == {TagsExhausted}


def test_poisson_sources_of_two_cores_need_tags_in_the_union_of_both() -> None:
    """600 sources for each core would fit apart; both sets reach both cores, and 1,200 tags are too many."""
    parts = [population("p", 256, at(2, 0)), population("q", 256, at(2, 1))]
    for poisson in (False, True):
        groups = [Input(name=n, size=512, poisson=poisson) for n in ("a", "b")]
        listed = pairs(*((s, s % 256) for s in range(512)))
        net = network(*groups, *parts, link("a", "a", "p", listed), link("b", "b", "q", listed))
        if poisson:
            with pytest.raises(NetworkDoesNotFit) as caught:
                map_network(net, CHIP)
            assert all(isinstance(v, TagsExhausted) for v in caught.value.violations)
            assert "1023" in str(caught.value)
        else:
            with pytest.raises(NetworkDoesNotFit):
                map_network(net, CHIP)  # 1,024 FPGA sources, 1,023 tags
    fewer = pairs(*((s, s % 256) for s in range(511)))
    groups = [noise(n, 511) for n in ("a", "b")]
    assert mismatches(map_network(network(*groups, *parts, link("a", "a", "p", fewer), link("b", "b", "q", fewer)), CHIP)) == []


# Rates --------------------------------------------------------------------------------------------------------------


def two_noises() -> MappedNetwork:
    net = network(
        noise("n", 4, tags=(300, 20, 21, 900)), noise("m", 2), Input(name="x", size=2, tags=(5, 6)),
        population("p", 2, at(2, 1)), population("q", 2, at(2, 3)), population("z", 1, at(2, 0)),
        link("a", "n", "p", pairs((0, 0), (1, 1), (3, 1))), link("b", "m", "q"), link("c", "x", "p"), link("d", "x", "z"),
    )  # fmt: skip
    return map_network(net, CHIP)


def test_rates_go_to_the_tags_on_the_chip_and_its_cores() -> None:
    mapped = two_noises()
    assert mapped.input_tags["n"].tolist() == [300, 20, -1, 900]
    made = mapped.stimulus({}, rates_hz={"n": [10.0, 20.0, 0.0, 40.0], "m": 7.5})
    expected = np.zeros(1024)
    expected[[300, 20, 900]] = (10, 20, 40)
    expected[mapped.input_tags["m"]] = 7.5
    found = np.zeros(1024)
    found[: len(made.poisson_rates_hz)] = made.poisson_rates_hz
    assert np.array_equal(found, expected)
    assert (made.poisson_chip, made.poisson_core_mask) == (2, 0b1111)
    assert len(made.events) == 0


def test_a_list_and_rates_together() -> None:
    mapped = two_noises()
    trains = {"x": (np.array([0, 1, 1]), np.array([100.0, 50.0, 300.0]))}
    alone, both = mapped.stimulus(trains), mapped.stimulus(trains, rates_hz={"n": 3.0})
    assert np.array_equal(both.events, alone.events)
    assert both.isi_base == alone.isi_base
    assert not np.any(alone.poisson_rates_hz > 0)
    assert set(both.events["core_mask"].tolist()) == {0b0011}
    assert set(both.poisson_rates_hz[[300, 20, 900]].tolist()) == {3.0}


WRONG: dict[str, tuple[dict[str, Any], type[BcallError], str]] = {
    "list input": ({"x": 5.0}, InvalidValue, "input 'x'.*Poisson"),
    "unknown": ({"none": 5.0}, UnknownName, "none"),
    "population": ({"p": 5.0}, UnknownName, "p"),
    "too few": ({"n": [1.0, 2.0]}, InvalidValue, r"input 'n'.*\(2,\)"),
    "too many": ({"n": [1.0] * 5}, InvalidValue, r"input 'n'.*\(5,\)"),
    "table": ({"n": [[1.0] * 4]}, InvalidValue, "input 'n'"),
    "negative": ({"n": [1.0, -2.0, 0.0, 0.0]}, StimulusProblem, "Poisson source 20.*-2"),
    "too fast": ({"n": 4301.0}, StimulusProblem, "4301"),
    "nan": ({"m": float("nan")}, StimulusProblem, "nan"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rates(case: str) -> None:
    rates, kind, said = WRONG[case]
    with pytest.raises(kind, match=said):
        two_noises().stimulus({}, rates_hz=rates)


@pytest.mark.parametrize("rate", ["fast", None, [1.0, "x", 0.0, 0.0]])
def test_rates_that_are_no_numbers(rate: Any) -> None:
    with pytest.raises(BcallError, match="n"):
        two_noises().stimulus({}, rates_hz={"n": rate})


def test_trains_for_a_poisson_input_are_refused_or_played_from_the_list() -> None:
    """Its sources are FPGA sources too: what is made must send their tags to their cores, or be refused by name."""
    mapped = two_noises()
    try:
        made = mapped.stimulus({"n": (np.array([1]), np.array([10.0]))})
    except BcallError as problem:
        text = str(problem)
        assert "n" in text
    else:
        assert made.events[["chip", "core_mask", "tag"]].tolist() == [(2, 0b1111, 20)]


def test_a_rate_for_a_source_without_targets_is_not_sent() -> None:
    """Source 2 has no tag: its rate must go nowhere, above all not to another tag."""
    made = two_noises().stimulus({}, rates_hz={"n": [0.0, 0.0, 99.0, 0.0]})
    assert not np.any(made.poisson_rates_hz > 0)


# On the emulator ----------------------------------------------------------------------------------------------------


def strong() -> Any:
    """One event, one spike, for events some milliseconds apart."""
    synapses = {"AMPA": SynapseParameters(tau_s=0.0005, weight_a=1e-8)}
    return neuron(tau_s=0.002, gain_a=5e-9, refractory_s=1e-3, synapses=synapses)


def test_measured_rates_are_right_within_statistics() -> None:
    """60 sources at three rates with one target each; dead time takes a few percent at the highest."""
    net = network(noise("n", 60), population("p", 60, at(2, 1), strong()), link("c", "n", "p", {"kind": "one_to_one"}))
    mapped = map_network(net, CHIP, options=MapOptions())
    rates = np.repeat([5.0, 20.0, 40.0], 20)
    board = open_backend("emulator", chip=CHIP, chips=mapped.config.chips, profile=BoardProfile(seed=4), dt_us=100)
    board.apply(mapped.config)
    seconds = 6.0
    ids, times = mapped.spikes_of(board.run(mapped.stimulus({}, rates_hz={"n": rates}), seconds))["p"]
    for number, rate in enumerate((5.0, 20.0, 40.0)):
        mine = (ids >= 20 * number) & (ids < 20 * number + 20)
        events = rate * seconds * 20
        lost = 1 - rate * 0.003  # of intervals below 3 ms
        assert events * lost - 4 * np.sqrt(events) < mine.sum() < events + 4 * np.sqrt(events)
    intervals = np.concatenate([np.diff(times[ids == k]) for k in range(20, 40)])
    assert 0.85 < intervals.std() / intervals.mean() < 1.15


def test_list_and_poisson_drive_one_network() -> None:
    """The list's target fires at the list's times, the noise's target by the noise, the third by neither."""
    net = network(
        Input(name="x", size=3), noise("n", 5), population("a", 3, None, strong()), population("b", 5, None, strong()),
        population("c", 2, None, strong()), link("x", "x", "a", {"kind": "one_to_one"}),
        link("n", "n", "b", {"kind": "one_to_one"}),
    )  # fmt: skip
    mapped = map_network(net, CHIP)
    assert delivered(mapped) == asked(net)
    board = open_backend("emulator", chip=CHIP, chips=mapped.config.chips, profile=BoardProfile(), dt_us=100)
    board.apply(mapped.config)
    listed = np.arange(5000.0, 900_000.0, 10_000.0)
    stimulus = mapped.stimulus({"x": (np.arange(len(listed)) % 3, listed)}, rates_hz={"n": [0.0, 30.0, 0.0, 30.0, 0.0]})
    spikes = mapped.spikes_of(board.run(stimulus, 1.0))
    ids, times = spikes["a"]
    assert len(times) == len(listed)
    assert ids.tolist() == [k % 3 for k in range(len(listed))]
    assert np.all((times > listed) & (times <= listed + 500))
    assert set(spikes["b"][0].tolist()) == {1, 3}
    assert len(spikes["b"][0]) > 20
    assert len(spikes["c"][0]) == 0


@pytest.mark.parametrize("order", ["abc", "acb", "cab", "bca"])
def test_the_order_of_populations_does_not_keep_poisson_targets_apart(order: str) -> None:
    """Three kinds of two cores each; a and b hear Poisson sources and so must share a chip."""
    kinds = {name: population(name, 257, None, neuron(0.02 + 0.01 * k)) for k, name in enumerate("abc")}
    links = [link(f"to_{name}", "n", name, {"kind": "random_fan_in", "fan_in": 3}) for name in "ab"]
    mapped = map_network(network(Input(name="n", size=9, poisson=True), *(kinds[name] for name in order), *links), CHIP)
    assert len({int(chip) for name in "ab" for chip in mapped.addresses[name][:, 0]}) == 1
