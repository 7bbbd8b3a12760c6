"""What the mapped registers deliver is exactly what the network asks for: a brute-force matcher over random networks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from mapper_helpers import (
    CHIP,
    asked,
    at,
    delivered,
    link,
    network,
    neuron,
    pairs,
    population,
    random_efficacy,
    random_network,
)

from bcall_hw.chip_config import ChipConfig
from bcall_hw.mapper import MappedNetwork, map_network, utilisation
from bcall_hw.mapper.check import check
from bcall_hw.network import Input

CASES: list[tuple[int, tuple[int, ...]]] = [(seed, (0,)) for seed in range(45)]
CASES += [(seed, (0, 1, 2, 3)) for seed in range(45, 75)]
CASES += [(seed, (1, 3)) for seed in range(75, 85)]


def reach(mapped: MappedNetwork) -> list[Any]:
    return [
        (int(tag), f"{name} {index}", cores)
        for name, tags in mapped.input_tags.items()
        for index, (tag, cores) in enumerate(zip(tags, mapped.input_reach[name], strict=True))
        if cores
    ]


@pytest.mark.parametrize(("seed", "chips"), CASES)
def test_random_network_is_delivered(seed: int, chips: tuple[int, ...]) -> None:
    net = random_network(seed, chips)
    efficacy = random_efficacy(net, seed)
    mapped = map_network(net, CHIP, chips, efficacy=efficacy)
    assert delivered(mapped) == asked(net, efficacy)
    assert check(mapped.config, reach(mapped)) == []
    words = mapped.config.words()
    assert not np.any(((words["word"][words["kind"] == 1] >> 5) & 3) == 0)
    assert ChipConfig.from_words(CHIP, chips, words) == mapped.config


def test_the_random_networks_cover_what_they_should() -> None:
    seen: Counter[str] = Counter()
    for seed, chips in CASES:
        net = random_network(seed, chips)
        populations = {p.name: p for p in net.populations}
        seen["two kinds"] += len({p.neuron.tau_s for p in net.populations}) == 2
        seen["one kind"] += len(populations) > 1 and len({p.neuron.tau_s for p in net.populations}) == 1
        seen["wished place"] += any(p.place for p in net.populations)
        seen["wished tags"] += any(i.tags for i in net.inputs)
        seen["big"] += any(p.size > 256 for p in net.populations)
        for c in net.connections:
            seen[c.rule.kind] += 1
            seen[c.synapse] += 1
            seen["plastic"] += c.plastic
            seen["multiple"] += c.multiplicity > 1
            seen["recurrent"] += c.source in populations
            seen["self"] += c.source == c.target
            seen["input"] += c.source not in populations
    expected = {"two kinds", "one kind", "wished place", "wished tags", "big", "all_to_all", "one_to_one", "random_fan_in"}
    expected |= {"explicit", "AMPA", "NMDA", "GABA_A", "GABA_B", "plastic", "multiple", "recurrent", "self", "input"}
    assert {name for name in expected if seen[name] < 4} == set()


@pytest.mark.parametrize("seed", range(6))
def test_mapping_is_deterministic(seed: int) -> None:
    chips = (0, 1, 2, 3) if seed % 2 else (0,)
    net = random_network(seed, chips)
    first, second = map_network(net, CHIP, chips), map_network(net, CHIP, chips)
    assert first.config == second.config
    assert all(np.array_equal(first.input_tags[n], second.input_tags[n]) for n in first.input_tags)


def test_plastic_synapses_default_to_present_and_parked_ones_deliver_nothing() -> None:
    parts = (Input(name="x", size=10), population("p", 4), link("c", "x", "p", multiplicity=2, plastic=True))
    net = network(*parts)
    assert delivered(map_network(net, CHIP)) == asked(net)
    off = {"c": np.zeros((4, 10), dtype=bool)}
    mapped = map_network(net, CHIP, efficacy=off)
    assert delivered(mapped) == Counter()
    # Each parked synapse keeps its places: the reserved tag under its own type.
    cam = mapped.config.cam[tuple(mapped.addresses["p"].T)]
    assert np.all((cam["type"] == 3).sum(axis=1) == 20)
    assert not cam["source_core"].any()
    assert not cam["source_neuron"].any()


@pytest.mark.parametrize("own", range(4))
@pytest.mark.parametrize("there", range(4))
def test_every_way_between_two_chips(own: int, there: int) -> None:
    net = network(
        population("a", 3, at(own, 1, 7)), population("b", 3, at(there, 2, 9)), link("c", "a", "b", {"kind": "one_to_one"})
    )
    mapped = map_network(net, CHIP, (0, 1, 2, 3))
    assert delivered(mapped) == asked(net)
    east, south = (there & 1) - (own & 1), (there >> 1) - (own >> 1)
    # virtual core, sy, dy, sx, dx, core mask
    expected = (1, int(south > 0), abs(south), int(east < 0), abs(east), 0b0100)
    assert mapped.config.sram[own, 1, 8, 0].item() == expected
    warned = (own, there) in {(0, 1), (0, 3), (2, 1), (2, 3)}
    assert len(mapped.warnings) == warned
    if warned:
        assert f"chip {own} to chip {there}" in mapped.warnings[0]


def test_a_neuron_may_reach_three_chips_and_all_their_cores() -> None:
    targets = [population(f"t{c}{k}", 2, at(c, k, 40)) for c in (0, 2, 3) for k in range(4)]
    links = [link(f"c{p.name}", "s", p.name) for p in targets]
    net = network(population("s", 2, at(1, 0, 50)), *targets, *links)
    mapped = map_network(net, CHIP, (0, 1, 2, 3))
    assert delivered(mapped) == asked(net)
    assert sorted(mapped.config.sram[1, 0, 50]["core_mask"].tolist()) == [15, 15, 15]


def test_neurons_with_one_low_byte_are_told_apart_by_the_virtual_core() -> None:
    """Four neurons 7 of four chips reach one core: only four virtual cores tell them apart."""
    sources = [population(f"s{c}", 1, at(c, 2, 7)) for c in range(4)]
    net = network(*sources, population("t", 1, at(3, 0, 100)), *(link(f"c{s.name}", s.name, "t") for s in sources))
    mapped = map_network(net, CHIP, (0, 1, 2, 3))
    assert delivered(mapped) == asked(net)


def test_a_source_neuron_at_core_0_neuron_0_gets_another_tag() -> None:
    net = network(population("a", 1, at(0, 0, 0)), population("b", 1, at(0, 1, 3)), link("c", "a", "b"))
    mapped = map_network(net, CHIP)
    assert delivered(mapped) == asked(net)
    assert mapped.config.sram[0, 0, 0, 0]["virtual_core"] != 0


def test_types_do_not_separate_sources() -> None:
    """An input and a neuron of other synapse types still get different tags in their common core."""
    net = network(
        Input(name="x", size=1, tags=(256 + 5,)),
        population("a", 1, at(0, 1, 5)),
        population("b", 1, at(0, 2, 3)),
        link("xb", "x", "b", synapse="NMDA"),
        link("ab", "a", "b", synapse="GABA_A"),
    )
    mapped = map_network(net, CHIP)
    assert delivered(mapped) == asked(net)
    assert mapped.config.sram[0, 1, 5, 0]["virtual_core"] != 1


def test_small_populations_of_four_kinds_may_all_reach_one_core() -> None:
    """Each kind needs a core of its own, and there is room for them all without four neurons 0."""
    kinds = [population(f"p{n}", 4, None, kind) for n, kind in enumerate(neuron(tau_s) for tau_s in (0.02, 0.03, 0.04, 0.05))]
    net = network(*kinds, *(link(f"c{p.name}", p.name, "p0") for p in kinds))
    assert delivered(map_network(net, CHIP)) == asked(net)


def test_64_inputs_fill_a_neuron() -> None:
    net = network(Input(name="x", size=64), population("p", 256), link("c", "x", "p"))
    assert delivered(map_network(net, CHIP)) == asked(net)


def test_all_1023_usable_tags_of_a_core() -> None:
    listed = pairs(*((s, s % 256) for s in range(1023)))
    net = network(Input(name="x", size=1023), population("p", 256, at(0, 3)), link("c", "x", "p", listed))
    mapped = map_network(net, CHIP)
    assert sorted(mapped.input_tags["x"].tolist()) == list(range(1, 1024))
    assert delivered(mapped) == asked(net)


def test_a_source_without_targets_takes_no_tag() -> None:
    listed = pairs(*((s, s % 256) for s in range(1023)))
    net = network(Input(name="x", size=1024), population("p", 256, at(0, 3)), link("c", "x", "p", listed))
    mapped = map_network(net, CHIP)
    assert mapped.input_tags["x"][1023] == -1
    assert utilisation(mapped)["fpga_sources"] == {"used": 1023, "of": 1024}


def test_inputs_that_reach_different_cores_still_have_tags_of_their_own() -> None:
    net = network(
        Input(name="x", size=5),
        Input(name="y", size=5),
        population("a", 2, at(0, 0, 1)),
        population("b", 2, at(0, 1, 1)),
        link("xa", "x", "a"),
        link("yb", "y", "b"),
    )
    mapped = map_network(net, CHIP)
    tags = [*mapped.input_tags["x"].tolist(), *mapped.input_tags["y"].tolist()]
    assert len(set(tags)) == 10
    assert delivered(mapped) == asked(net)


def test_a_network_without_connections_delivers_nothing() -> None:
    mapped = map_network(network(Input(name="x", size=3), population("p", 300)), CHIP)
    assert delivered(mapped) == Counter()
    assert mapped.config.sram["core_mask"].max() == 0
