"""Networks at the edge of the chip, each by its name: what must map, and what must be refused for the right reason.

Mapped ones are proved by `benchmarks/mapper_oracle.py`, which shares no code with the mapper.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from mapper_helpers import at, link, network, neuron, pairs, population

from bcall_hw.errors import BcallError, DestinationsExceeded, NetworkDoesNotFit, TagsExhausted
from bcall_hw.mapper import MappedNetwork, map_network
from bcall_hw.network import Input, Network, Population
from benchmarks.mapper import ALL, FINDS_CHIPS, full_network, mapped_on
from benchmarks.mapper_networks import as_pairs, fan_in_pairs
from benchmarks.mapper_oracle import mismatches, names_limits, proof_of_refusal

CHIP, BOARD = 1024, 4096
Chips = tuple[int, ...] | None


def proved(net: Network, chips: Chips = None) -> MappedNetwork:
    """The mapped network, when nothing in it differs from what was asked."""
    mapped = mapped_on(net, chips)
    assert mismatches(mapped, network=net, chips=chips)[:5] == []
    return mapped


def refused(net: Network, *kinds: type[BcallError], chips: Chips = None) -> tuple[BcallError, ...]:
    """The violations, when all these kinds are among them and the network is impossible by a bound of the oracle's."""
    with pytest.raises(NetworkDoesNotFit) as caught:
        mapped_on(net, chips)
    violations = caught.value.violations
    assert names_limits(violations), str(caught.value)
    assert {kind.__name__ for kind in kinds} <= {type(v).__name__ for v in violations}, str(caught.value)
    assert proof_of_refusal(net, violations, chips) is not None
    return violations


def limits(violations: tuple[BcallError, ...], kind: type[BcallError]) -> set[Any]:
    return {v.limit for v in violations if isinstance(v, kind)}


def cores_of(mapped: MappedNetwork) -> set[tuple[int, int]]:
    return {(chip, core) for table in mapped.addresses.values() for chip, core, _ in table.tolist()}


# One core and two -----------------------------------------------------------------------------------------------------


def recurrent(size: int, fan_in: int) -> Network:
    rule = {"kind": "random_fan_in", "fan_in": fan_in, "seed": 1}
    return network(population("p", size), link("c", "p", "p", rule))


def test_256_neurons_lie_on_one_core() -> None:
    assert len(cores_of(proved(recurrent(256, 60)))) == 1


def test_257_neurons_lie_on_two_cores() -> None:
    mapped = proved(recurrent(257, 60))
    assert len(cores_of(mapped)) == 2
    if FINDS_CHIPS:
        assert len(mapped.config.chips) == 1


@pytest.mark.skipif(not FINDS_CHIPS, reason="this mapper has to be told its chips")
@pytest.mark.parametrize(("size", "chips"), [(1, 1), (1024, 1), (1025, 2), (2048, 2), (2049, 3), (3073, 4), (4096, 4)])
def test_no_more_chips_than_the_neurons_need(size: int, chips: int) -> None:
    assert len(proved(network(population("p", size))).config.chips) == chips


# Random fan-in within chips, and across them --------------------------------------------------------------------------


@functools.cache
def within_chips(silent: int) -> tuple[Any, Any]:
    """Source and target of random fan-in 60 within four groups of 1,024, where one of each group is no source."""
    rng, columns = np.random.default_rng(5), []
    for first in range(0, BOARD, CHIP):
        members = np.arange(first, first + CHIP)
        columns.append(fan_in_pairs(rng, members[members != first + silent], members, 60))
    return np.concatenate([s for s, _ in columns]), np.concatenate([t for _, t in columns])


@pytest.mark.parametrize("silent", [0, 700])
def test_random_fan_in_60_within_each_chip_as_four_populations(silent: int) -> None:
    parts: list[Any] = []
    candidates = tuple(i for i in range(CHIP) if i != silent)
    for number in range(4):
        rule = {"kind": "random_fan_in", "fan_in": 60, "seed": number, "candidates": candidates}
        parts += [population(f"p{number}", CHIP), link(f"c{number}", f"p{number}", f"p{number}", rule)]
    proved(network(*parts))


@pytest.mark.parametrize("silent", [0, 700])
def test_random_fan_in_60_within_each_chip_as_one_population(silent: int) -> None:
    source, target = within_chips(silent)
    proved(network(population("p", BOARD), link("c", "p", "p", as_pairs(source, target))))


def test_random_fan_in_60_within_each_chip_shuffled_over_the_board() -> None:
    source, target = within_chips(0)
    order = np.random.default_rng(6).permutation(BOARD)
    mapped = proved(network(population("p", BOARD), link("c", "p", "p", as_pairs(order[source], order[target]))))
    chip = mapped.addresses["p"][:, 0]
    for first in range(0, BOARD, CHIP):
        assert len(set(chip[order[first : first + CHIP]].tolist())) == 1


def test_1024_sources_of_every_core_of_a_chip_are_one_too_many() -> None:
    """With wished places: else a mapper may place one source's targets so that a core need not hear it."""
    parts: list[Any] = [population(f"p{core}", 256, at(0, core)) for core in range(4)]
    listed = as_pairs(np.repeat(np.arange(256), 15), (np.arange(256)[:, None] * 16 + np.arange(15)).ravel() % 256)
    parts += [link(f"c{k}{n}", f"p{k}", f"p{n}", listed, "NMDA") for k in range(4) for n in range(4)]
    violations = refused(network(*parts))
    assert any("1023" in str(v) for v in violations) or any("neuron 0)" in str(v) for v in violations)


def test_random_fan_in_60_across_the_board_is_refused_by_tags_and_destinations() -> None:
    members = np.arange(BOARD)
    pairs_of = fan_in_pairs(np.random.default_rng(7), members, members, 60)
    net = network(population("p", BOARD), link("c", "p", "p", as_pairs(*pairs_of)))
    violations = refused(net, TagsExhausted, DestinationsExceeded)
    assert limits(violations, TagsExhausted) == {1023}
    assert limits(violations, DestinationsExceeded) == {3}


@pytest.mark.parametrize("neurons", [1024, 4096])
def test_60_sources_and_4_inputs_within_each_chip(neurons: int) -> None:
    """As it is timed: inputs of four chips need 64 tags of 63 neuron numbers that are free, the same ones on each chip."""
    proved(full_network(neurons))


# All tags of a core ---------------------------------------------------------------------------------------------------


def on_cores(inputs: int, senders: int, cores: list[tuple[int, int]]) -> Network:
    """Every source to every core, 256 wished neurons on each; the senders are the last neurons of the first cores."""
    parts: list[Any] = [Input(name="x", size=inputs)]
    total = inputs + senders
    share = -(-senders // len(cores)) if senders else 0
    for number, (chip, core) in enumerate(cores):
        parts.append(population(f"t{number}", 256, at(chip, core)))
    for number in range(len(cores)):
        name = f"t{number}"
        parts.append(link(f"x{number}", "x", name, pairs(*((s, s % 256) for s in range(inputs)))))
        left = inputs
        for other in range(len(cores)):
            mine = range(left, min(left + share, total))
            if mine:  # neuron 255 and below: never neuron 0
                listed = pairs(*((255 - (s - left), s % 256) for s in mine))
                parts.append(link(f"r{number}-{other}", f"t{other}", name, listed, "NMDA"))
            left += len(mine)
    return network(*parts)


ONE_CHIP = [(2, core) for core in range(4)]
SIXTEEN = [(chip, core) for chip in range(4) for core in range(4)]


def test_784_inputs_and_239_neurons_on_every_core_of_a_chip() -> None:
    mapped = proved(on_cores(784, 239, ONE_CHIP))
    assert len(set(mapped.input_tags["x"].tolist())) == 784


def test_784_inputs_and_240_neurons_on_every_core_of_a_chip_are_one_too_many() -> None:
    violations = refused(on_cores(784, 240, ONE_CHIP), TagsExhausted)
    assert limits(violations, TagsExhausted) == {1023}


def test_784_inputs_and_239_neurons_of_one_core_without_wishes() -> None:
    """The 239 must have different neuron numbers or share one by virtual cores: whatever the mapper chooses."""
    parts = (Input(name="x", size=784), population("p", CHIP))
    rng = np.random.default_rng(3)
    source, target = fan_in_pairs(rng, np.arange(1023), np.arange(CHIP), 60)
    first = source < 784
    links = (
        link("x", "x", "p", as_pairs(source[first], target[first])),
        link("r", "p", "p", as_pairs(source[~first] - 784, target[~first]), "GABA_A"),
    )
    proved(network(*parts, *links), (1,))


def test_1023_inputs_on_all_16_cores() -> None:
    mapped = proved(on_cores(1023, 0, SIXTEEN))
    assert sorted(mapped.input_tags["x"].tolist()) == list(range(1, 1024))
    assert all(reach == frozenset(SIXTEEN) for reach in mapped.input_reach["x"])


def test_1024_inputs_on_all_16_cores_are_one_too_many() -> None:
    violations = refused(on_cores(1024, 0, SIXTEEN), TagsExhausted)
    assert limits(violations, TagsExhausted) == {1023}


# Recurrent networks, pools, all to all --------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [1, 2])
def test_recurrent_256_excitatory_and_64_inhibitory(kinds: int) -> None:
    parts: list[Any] = [population("e", 256), population("i", 64, None, neuron(0.02 if kinds == 1 else 0.01))]
    parts += [Input(name="x", size=100)]
    for source, target, fan_in, synapse in (
        ("e", "e", 30, "AMPA"), ("i", "e", 14, "GABA_A"), ("x", "e", 20, "NMDA"), ("e", "i", 48, "AMPA"),
        ("i", "i", 16, "GABA_B"),
    ):  # fmt: skip
        rule = {"kind": "random_fan_in", "fan_in": fan_in, "seed": 2}
        parts.append(link(source + target, source, target, rule, synapse))
    proved(network(*parts))


def test_ten_pools_of_400_learn_from_784_inputs_over_four_chips() -> None:
    parts: list[Any] = [Input(name="x", size=784)]
    for number in range(10):
        rule = {"kind": "random_fan_in", "fan_in": 56, "seed": number}
        parts += [population(f"p{number}", 400), link(f"c{number}", "x", f"p{number}", rule, plastic=True)]
    net = network(*parts)
    mapped = proved(net)
    assert set(mapped.config.chips) == {0, 1, 2, 3}
    half = {f"c{n}": np.random.default_rng(n).random((400, 56)) < 0.5 for n in range(10)}
    mapped = map_network(net, "dynapse1", chips=ALL, efficacy=half)
    assert mismatches(mapped, half, net)[:5] == []


def test_all_to_all_64() -> None:
    proved(network(population("p", 64), link("c", "p", "p")))


def test_64_cliques_of_64_fill_the_board() -> None:
    parts = [p for n in range(64) for p in (population(f"p{n}", 64), link(f"c{n}", f"p{n}", f"p{n}"))]
    proved(network(*parts))


# Stars ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1024, 3072])
def test_a_star_from_one_neuron(size: int) -> None:
    """3,072 targets fill three chips, so that the source has to lie on the fourth."""
    mapped = proved(network(population("hub", 1), population("rim", size), link("c", "hub", "rim")))
    assert len(set(mapped.addresses["rim"][:, 0].tolist())) <= 3


def test_a_star_to_itself_on_three_chips() -> None:
    listed = as_pairs(np.full(3072, 9), np.arange(3072))
    proved(network(population("p", BOARD), link("c", "p", "p", listed)))


def test_a_star_from_an_input_to_the_whole_board() -> None:
    proved(network(Input(name="x", size=1), population("rim", BOARD), link("c", "x", "rim")))


def test_a_star_of_64_sources_to_one() -> None:
    proved(network(population("rim", 64), population("hub", 1), link("c", "rim", "hub")))


def test_a_star_of_64_sources_from_64_places_of_the_board() -> None:
    places = [at(chip, core, 10 * n + core) for chip in range(4) for core in range(4) for n in range(1, 5)]
    rims = [population(f"s{n}", 1, place) for n, place in enumerate(places)]
    proved(network(*rims, population("hub", 1), *(link(f"c{p.name}", p.name, "hub") for p in rims)))


@pytest.mark.parametrize("size", [4096])
def test_one_neuron_to_more_than_three_chips_is_refused(size: int) -> None:
    listed = as_pairs(np.zeros(size, dtype=np.int64), np.arange(size))
    violations = refused(network(population("p", BOARD), link("c", "p", "p", listed)), DestinationsExceeded)
    assert limits(violations, DestinationsExceeded) == {3}


# Hops -----------------------------------------------------------------------------------------------------------------

#: For each pair of chips of the board 0 1 / 2 3: steps east (negative: west) and south (negative: north), by hand.
HOPS = {
    (0, 1): (1, 0), (0, 2): (0, 1), (0, 3): (1, 1), (1, 0): (-1, 0), (1, 2): (-1, 1), (1, 3): (0, 1),
    (2, 0): (0, -1), (2, 1): (1, -1), (2, 3): (1, 0), (3, 0): (-1, -1), (3, 1): (0, -1), (3, 2): (-1, 0),
}  # fmt: skip


def two_places(own: int, there: int) -> tuple[Population, Population]:
    return population("a", 5, at(own, 3, 251)), population("b", 5, at(there, 1, 17))


@pytest.mark.parametrize(("own", "there"), list(HOPS))
def test_hops_between_two_chips(own: int, there: int) -> None:
    mapped = proved(network(*two_places(own, there), link("c", "a", "b", {"kind": "one_to_one"}, "GABA_B")))
    east, south = HOPS[own, there]
    row = mapped.config.chips.index(own)
    for number in range(251, 256):
        used = [entry for entry in mapped.config.sram[row, 3, number].tolist() if entry[5]]
        assert len(used) == 1
        _, sy, dy, sx, dx, mask = used[0]
        assert (dx, dy, mask) == (abs(east), abs(south), 0b0010)
        assert dx == 0 or sx == (east < 0)
        assert dy == 0 or sy == (south > 0)


@pytest.mark.parametrize(("own", "there"), [(0, 3), (1, 2), (3, 0), (2, 1)])
def test_corner_hops_there_and_back(own: int, there: int) -> None:
    proved(network(*two_places(own, there), link("c", "a", "b"), link("d", "b", "a", synapse="NMDA")))


def test_every_chip_to_three_others_at_once() -> None:
    parts: list[Any] = [population(f"p{c}", 40, at(c, c, 30)) for c in range(4)]
    for own, there in itertools.permutations(range(4), 2):
        rule = {"kind": "random_fan_in", "fan_in": 16, "seed": own}
        parts.append(link(f"c{own}{there}", f"p{own}", f"p{there}", rule))
    proved(network(*parts))
