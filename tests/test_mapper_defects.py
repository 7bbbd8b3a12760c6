"""Boards with defects: dead neurons, dead CAM entries and stuck tag bits, against a matcher that knows what they do."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from mapper_helpers import (
    CHIP,
    TYPE_NAMES,
    asked,
    at,
    delivered,
    link,
    network,
    neuron,
    population,
    random_efficacy,
    random_network,
)

from bcall_hw.backend import open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.defects import Defects
from bcall_hw.errors import DefectInTheWay, InvalidValue, NetworkDoesNotFit, PlacementFull
from bcall_hw.mapper import MappedNetwork, differences, map_network, network_of
from bcall_hw.network import Input, Network, SynapseParameters

ALL = (0, 1, 2, 3)
#: Told with the first of the tests; without that check the registers deliver what was asked for.


def refused(net: Network, defects: Defects, **choices: Any) -> tuple[Any, ...]:
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP, defects=defects, **choices)
    return caught.value.violations


def places(mapped: MappedNetwork) -> dict[tuple[int, ...], tuple[str, int]]:
    return {tuple(a): (n, i) for n, table in mapped.addresses.items() for i, a in enumerate(table.tolist())}


def heard(mapped: MappedNetwork, defects: Defects, config: ChipConfig | None = None) -> Counter[Any]:
    """What the board delivers: like `mapper_helpers.delivered`, with the tag that each CAM entry really hears."""
    config = config or mapped.config
    owner, dead = places(mapped), set(defects.dead_cam)
    stuck: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for *entry, bit, value in defects.stuck_tag_bits:
        stuck[tuple(entry)].append((bit, value))
    arrivals: dict[Any, list[Any]] = defaultdict(list)
    for name, tags in mapped.input_tags.items():
        for index, tag in enumerate(tags.tolist()):
            for chip, core in mapped.input_reach[name][index]:
                arrivals[chip, core, tag].append((name, index))
    for chip, core, number, place in np.argwhere(config.sram["core_mask"] > 0).tolist():
        virtual_core, sy, dy, sx, dx, mask = config.sram[chip, core, number, place].tolist()
        own = config.chips[chip]
        there = own + (-dx if sx else dx) + 2 * (dy if sy else -dy)
        source = owner[own, core, number]
        if (own, core, number) in defects.dead_neurons:
            continue
        for target in range(4):
            if mask >> target & 1:
                arrivals[there, target, virtual_core * 256 + number].append(source)
    found: Counter[Any] = Counter()
    for chip, of_chip in zip(config.chips, config.cam.tolist(), strict=True):
        for core, of_core in enumerate(of_chip):
            for number, entries in enumerate(of_core):
                for entry, (source_core, source_neuron, code) in enumerate(entries):
                    where = (chip, core, number, entry)
                    if where in dead:
                        continue
                    tag = source_core * 256 + source_neuron
                    for bit, value in stuck.get(where, ()):
                        tag = tag | 1 << bit if value else tag & ~(1 << bit)
                    for source in arrivals.get((chip, core, tag), ()):
                        found[source, owner.get(where[:3], ("nobody", *where[:3])), TYPE_NAMES[code]] += 1
    return found


# Dead neurons -------------------------------------------------------------------------------------------------------


def dead_of(rng: np.random.Generator, count: int, chips: tuple[int, ...] = ALL) -> tuple[Any, ...]:
    picked = rng.choice(len(chips) * 1024, count, replace=False).tolist()
    return tuple((chips[p // 1024], p // 256 % 4, p % 256) for p in picked)


@pytest.mark.parametrize("seed", range(2))
def test_dead_neurons_are_never_used(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 600))
    defects = Defects(dead_neurons=dead_of(rng, count))
    net = network(population("p", 4096 - count), link("c", "p", "p", {"kind": "one_to_one"}))
    mapped = map_network(net, CHIP, defects=defects)
    assert not set(places(mapped)) & set(defects.dead_neurons)
    assert len(places(mapped)) == 4096 - count
    assert heard(mapped, defects) == asked(net)
    found = refused(network(population("p", 4097 - count)), defects)
    assert [type(v) for v in found] == [PlacementFull]
    assert (found[0].used, found[0].limit) == (4097 - count, 4096 - count)
    assert "population 'p'" in str(found[0])


def test_a_core_with_dead_neurons_overflows_to_another() -> None:
    net = network(population("p", 256), link("c", "p", "p", {"kind": "one_to_one"}))
    whole = map_network(net, CHIP)
    (chip, core), *more = {(c, k) for c, k, _ in places(whole)}
    assert not more
    defects = Defects(dead_neurons=((chip, core, 0), (chip, core, 200)))
    mapped = map_network(net, CHIP, chips=(chip,), defects=defects)
    assert not set(places(mapped)) & set(defects.dead_neurons)
    assert heard(mapped, defects) == asked(net)


def test_a_dead_chip_leaves_room_for_no_neuron() -> None:
    defects = Defects(dead_neurons=tuple((2, k, n) for k in range(4) for n in range(256)))
    found = refused(network(population("p", 1)), defects, chips=(2,))
    assert [type(v) for v in found] == [PlacementFull]
    assert set(map_network(network(population("p", 1)), CHIP, chips=(2, 3), defects=defects).addresses["p"][:, 0].tolist()) == {
        3
    }


@pytest.mark.parametrize("first", [0, 100, 250])
def test_a_wished_place_on_dead_neurons_is_refused(first: int) -> None:
    defects = Defects(dead_neurons=((1, 2, first + 3), (1, 2, first + 5), (0, 0, 7)))
    found = refused(network(population("p", 6, at(1, 2, first)), population("q", 3)), defects)
    assert [type(v) for v in found] == [DefectInTheWay]
    for piece in ("population 'p'", "chip 1 core 2", "dead"):
        assert piece in str(found[0])
    assert found[0].fix
    beside = network(population("p", 3, at(1, 2, first)), population("q", 3))
    assert not set(places(map_network(beside, CHIP, defects=defects))) & set(defects.dead_neurons)


def test_defects_beyond_the_board_are_refused() -> None:
    net = network(population("p", 1))
    for wrong in (
        {"dead_neurons": ((4, 0, 0),)}, {"dead_neurons": ((0, 4, 0),)}, {"dead_neurons": ((0, 0, 256),)},
        {"dead_cam": ((0, 0, 0, 64),)}, {"stuck_tag_bits": ((0, 0, 0, 0, 10, 1),)},
        {"stuck_tag_bits": ((0, 0, 0, 0, 3, 1), (0, 0, 0, 0, 3, 0))},
    ):  # fmt: skip
        with pytest.raises(InvalidValue, match=next(iter(wrong))):
            map_network(net, CHIP, defects=Defects(**wrong))  # type: ignore[arg-type]


def test_defects_on_chips_that_are_not_used_do_not_matter() -> None:
    net = random_network(4, (0,))
    defects = Defects(dead_neurons=((3, 1, 2),), dead_cam=((2, 0, 0, 5),), stuck_tag_bits=((1, 3, 255, 63, 9, 1),))
    assert map_network(net, CHIP, chips=(0,), defects=defects).config == map_network(net, CHIP, chips=(0,)).config


# Dead CAM entries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_dead_entries_hold_no_synapse(seed: int) -> None:
    """Wished places, so that the entries are dead under the very neurons."""
    rng = np.random.default_rng(seed)
    net = network(
        Input(name="x", size=60), population("p", 40, at(0, 1, 10)),
        link("c", "x", "p", {"kind": "random_fan_in", "fan_in": 30, "seed": seed}),
        link("w", "x", "p", {"kind": "random_fan_in", "fan_in": 5, "seed": seed}, "NMDA", plastic=True, multiplicity=2),
    )  # fmt: skip
    dead = {(0, 1, int(n), int(e)) for n in range(10, 50) for e in rng.choice(64, rng.integers(0, 25), replace=False)}
    defects = Defects(dead_cam=tuple(sorted(dead)))
    mapped = map_network(net, CHIP, defects=defects)
    assert heard(mapped, defects) == asked(net) == delivered(mapped)
    slots = mapped.plastic["w"]
    for post, entries in enumerate(slots.entries):
        assert not dead & {(*slots.addresses[post].tolist(), e) for e in entries.ravel().tolist()}
    cam = mapped.config.cam
    for chip, core, number, entry in dead:
        assert tuple(cam[chip, core, number, entry].tolist())[:2] == (0, 0)


def test_a_full_neuron_is_not_put_where_an_entry_is_dead() -> None:
    net = network(Input(name="x", size=64), population("p", 200), link("c", "x", "p"))
    whole = map_network(net, CHIP, chips=(0,))
    dead = sorted(places(whole))[::3]
    defects = Defects(dead_cam=tuple((*place, 7 + n % 50) for n, place in enumerate(dead)))  # type: ignore[misc]
    mapped = map_network(net, CHIP, chips=(0,), defects=defects)
    assert not set(places(mapped)) & set(dead)
    assert heard(mapped, defects) == asked(net)


def test_neurons_with_few_inputs_take_the_places_with_dead_entries() -> None:
    """A whole chip where each second neuron has dead entries: those that need all 64 go to the others."""
    net = network(
        Input(name="x", size=64), population("p", 512), population("q", 512), link("c", "x", "p"),
        link("d", "x", "q", {"kind": "random_fan_in", "fan_in": 10, "seed": 1}, "NMDA"),
    )  # fmt: skip
    bad = {(0, k, n) for k in range(4) for n in range(1, 256, 2)}
    defects = Defects(dead_cam=tuple((*place, e) for place in sorted(bad) for e in (0, 63)))  # type: ignore[misc]
    mapped = map_network(net, CHIP, chips=(0,), defects=defects)
    assert not {tuple(a) for a in mapped.addresses["p"].tolist()} & bad
    assert heard(mapped, defects) == asked(net)


def test_a_full_neuron_wished_on_a_dead_entry_is_refused_by_name() -> None:
    net = network(Input(name="x", size=64), population("p", 4, at(0, 3, 20)), link("c", "x", "p"))
    found = refused(net, Defects(dead_cam=((0, 3, 22, 0), (0, 3, 22, 9), (0, 3, 50, 1))))
    assert [type(v) for v in found] == [DefectInTheWay]
    for piece in ("population 'p' neuron 2", "chip 0 core 3 neuron 22", "got 64", "limit 62"):
        assert piece in str(found[0])
    assert found[0].fix


def test_reserved_entries_do_not_have_to_work() -> None:
    """54 entries are wanted, 55 work; 9 of 64 are reserved, and the dead ones may be among these."""
    net = network(Input(name="x", size=54), population("p", 1, at(0, 3, 20)), link("c", "x", "p"))
    defects = Defects(dead_cam=tuple((0, 3, 20, e) for e in range(9)))
    mapped = map_network(net, CHIP, defects=defects)
    assert heard(mapped, defects) == asked(net)
    over = network(Input(name="x", size=56), population("p", 1, at(0, 3, 20)), link("c", "x", "p"))
    assert [type(v) for v in refused(over, defects)] == [DefectInTheWay]


def full_chip(dead: tuple[Any, ...]) -> tuple[Any, ...]:
    net = network(Input(name="x", size=64), population("p", 1024), link("c", "x", "p"))
    return refused(net, Defects(dead_cam=dead), chips=(0,))


def test_a_full_neuron_that_has_no_other_place_is_refused_by_name() -> None:
    found = full_chip(((0, 2, 9, 5),))
    assert [type(v) for v in found] == [DefectInTheWay]
    assert found[0].where.startswith("population 'p' neuron ")
    assert "chip 0 core 2" in str(found[0])


def test_the_refusal_of_a_full_neuron_names_a_limit_that_is_broken() -> None:
    (found,) = full_chip(((0, 2, 9, 5),))
    assert found.used > found.limit


@pytest.mark.parametrize("bit", [0, 9])
def test_an_entry_may_be_dead_and_stuck(bit: int) -> None:
    net = network(Input(name="x", size=1, tags=(1 << bit,)), population("p", 1, at(0, 0, 1)), link("c", "x", "p"))
    defects = Defects(dead_cam=((0, 0, 1, 5),), stuck_tag_bits=((0, 0, 1, 5, bit, 1),))
    assert heard(map_network(net, CHIP, defects=defects), defects) == asked(net)


# Stuck tag bits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neuron_number", [30, 31, 200])
def test_one_bit_stuck_at_1_in_an_unused_entry_is_no_synapse(neuron_number: int) -> None:
    """Under a neuron with inputs, under one without, under no neuron at all."""
    net = network(
        Input(name="x", size=1), population("p", 2, at(0, 1, 30)), link("c", "x", "p", {"kind": "explicit", "pairs": [(0, 0)]})
    )
    defects = Defects(stuck_tag_bits=((0, 1, neuron_number, 9, 8, 1),))
    mapped = map_network(net, CHIP, defects=defects)
    assert heard(mapped, defects) == asked(net)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("bit", [0, 4, 7, 8, 9])
def test_an_unused_entry_hears_nothing_whatever_is_stuck(bit: int, value: int) -> None:
    """63 entries of the neuron are unused and all have one bit stuck: no source may have the tag 2^bit there."""
    tags = (1 << bit, 1022, 1023) if not value else None
    net = network(Input(name="x", size=3, tags=tags), population("p", 20, at(0, 1, 30)), link("c", "x", "p"))
    stuck = tuple((0, 1, n, e, bit, value) for n in range(30, 50, 2) for e in range(60))
    defects = Defects(stuck_tag_bits=stuck)
    mapped = map_network(net, CHIP, defects=defects)
    assert heard(mapped, defects) == asked(net)


def test_a_source_wished_on_the_tag_that_a_stuck_entry_hears() -> None:
    """One entry can hold the synapse itself; a second one has to be set to a tag that nobody has."""
    parts = (Input(name="x", size=1, tags=(512,)), population("p", 2, at(0, 1, 30)), link("c", "x", "p"))
    one = Defects(stuck_tag_bits=((0, 1, 31, 5, 9, 1),))
    mapped = map_network(network(*parts), CHIP, defects=one)
    assert heard(mapped, one) == asked(network(*parts))
    two = Defects(stuck_tag_bits=((0, 1, 31, 5, 9, 1), (0, 1, 31, 6, 9, 1)))
    mapped = map_network(network(*parts), CHIP, defects=two)
    assert heard(mapped, two) == asked(network(*parts))


@pytest.mark.parametrize("synapse", ["AMPA", "GABA_B"])
@pytest.mark.parametrize("values", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_parked_synapses_hear_nothing_whatever_is_stuck(seed: int, values: int, synapse: str) -> None:
    rng = np.random.default_rng(seed)
    net = network(
        Input(name="x", size=90), population("p", 30, at(0, 2, 40)),
        link("w", "x", "p", {"kind": "random_fan_in", "fan_in": 40, "seed": seed}, synapse, plastic=True),
        link("c", "x", "p", {"kind": "random_fan_in", "fan_in": 10, "seed": seed}, "NMDA"),
    )  # fmt: skip
    stuck = {(0, 2, int(rng.integers(40, 70)), int(rng.integers(0, 64)), int(rng.integers(0, 10))) for _ in range(150)}
    defects = Defects(stuck_tag_bits=tuple((*place, int(rng.integers(0, values))) for place in sorted(stuck)))  # type: ignore[misc]
    mapped = map_network(net, CHIP, defects=defects)
    assert heard(mapped, defects) == asked(net)
    config = mapped.config
    for _ in range(3):
        on = rng.random(mapped.plastic["w"].sources.shape) < 0.5
        post, slot = np.nonzero(mapped.plastic["w"].sources >= 0)
        config = mapped.with_flips(config, "w", post, slot, on[post, slot])
        assert heard(mapped, defects, config) == asked(net, {"w": on})
    none = {"w": np.zeros_like(on)}
    assert heard(map_network(net, CHIP, defects=defects, efficacy=none), defects) == asked(net, none)


def test_stuck_entries_are_used_when_only_they_are_left_and_the_tag_fits() -> None:
    """64 inputs to a wished neuron: entry 5 hears odd tags only, entry 6 tags from 512 on only."""
    tags = (*range(2, 128, 2), 513)
    net = network(Input(name="x", size=64, tags=tags), population("p", 1, at(0, 1, 3)), link("c", "x", "p"))
    defects = Defects(stuck_tag_bits=((0, 1, 3, 5, 0, 1), (0, 1, 3, 8, 9, 0), (0, 1, 3, 9, 0, 0)))
    mapped = map_network(net, CHIP, defects=defects)
    assert tuple(mapped.config.cam[0, 1, 3, 5].tolist())[:2] in ((2, 1), (2, 0))
    assert heard(mapped, defects) == asked(net)
    hopeless = Defects(stuck_tag_bits=((0, 1, 3, 5, 0, 1), (0, 1, 3, 6, 0, 1)))
    found = refused(net, hopeless)
    assert [type(v) for v in found] == [DefectInTheWay]
    for piece in ("population 'p' neuron 0", "chip 0 core 1 neuron 3"):
        assert piece in str(found[0])


def test_the_one_assignment_of_tags_to_stuck_entries_is_found() -> None:
    """Entry k hears tags whose low six bits are k: each of 64 tags has one entry, in another order."""
    order = np.random.default_rng(2).permutation(64)
    tags = tuple(int(t) for t in 256 + order)
    net = network(Input(name="x", size=64, tags=tags), population("p", 1, at(3, 3, 100)), link("c", "x", "p"))
    stuck = tuple((3, 3, 100, e, bit, e >> bit & 1) for e in range(64) for bit in range(6))
    defects = Defects(stuck_tag_bits=stuck)
    mapped = map_network(net, CHIP, defects=defects)
    assert heard(mapped, defects) == asked(net)


# All of them --------------------------------------------------------------------------------------------------------


def defects_under(mapped: MappedNetwork, rng: np.random.Generator, net: Network, values: int) -> Defects:
    """Defects at and beside the neurons of a mapped network; no dead neuron where a population is wished.

    Tag bits are stuck at a value below `values`.
    """
    wished = {(p.place.chip, p.place.core, p.place.neuron + i) for p in net.populations if p.place for i in range(p.size)}
    used = sorted(places(mapped))
    near = sorted({(c, k, min(n + d, 255)) for c, k, n in used for d in (0, 1, 7)})

    def some(of: Any, share: float) -> Any:
        return [place for place in of if rng.random() < share]

    dead_cam = {(*p, int(e)) for p in some(near, 0.3) for e in rng.choice(64, rng.integers(1, 4), replace=False)}
    stuck = {(*p, int(e)) for p in some(near, 0.5) for e in rng.choice(64, rng.integers(1, 9), replace=False)}
    return Defects(
        dead_neurons=tuple(p for p in some(near, 0.2) if p not in wished),
        dead_cam=tuple(sorted(dead_cam)),
        stuck_tag_bits=tuple(
            (*entry, int(rng.integers(0, 10)), int(rng.integers(0, values))) for entry in sorted(stuck - dead_cam)
        ),
    )


def random_case(seed: int, values: int) -> tuple[Network, tuple[int, ...], Defects]:
    chips = ALL if seed % 3 == 0 else (seed % 4,)
    net = random_network(1000 + seed, chips)
    return net, chips, defects_under(map_network(net, CHIP, chips), np.random.default_rng(seed), net, values)


@pytest.mark.parametrize(("seed", "values"), [*((s, 1) for s in range(30)), *((s, 2) for s in range(6))])
def test_random_networks_on_boards_with_random_defects(seed: int, values: int) -> None:
    net, chips, defects = random_case(seed, values)
    efficacy = random_efficacy(net, seed)
    mapped = map_network(net, CHIP, chips, efficacy=efficacy, defects=defects)
    assert not set(places(mapped)) & set(defects.dead_neurons)
    assert heard(mapped, defects) == asked(net, efficacy)
    assert mapped.defects == defects
    assert differences(mapped) == []


@pytest.mark.parametrize("values", [1, 2])
def test_the_network_is_read_back_from_a_board_with_defects(values: int) -> None:
    """The reader knows the defects: with them it finds as many synapses as were asked for."""
    net, chips, defects = random_case(7, values)
    mapped = map_network(net, CHIP, chips, defects=defects)
    read = network_of(mapped.config, defects=defects)
    total = sum(int(read.synapses(c)[2].sum()) for c in read.connections)
    assert total == sum(asked(net).values())


# End to end ---------------------------------------------------------------------------------------------------------


def strong(**changes: Any) -> Any:
    types = {"AMPA": 4e-10, "NMDA": 3e-10, "GABA_A": 1e-10, "GABA_B": 1e-10}
    return neuron(synapses={n: SynapseParameters(tau_s=0.01, weight_a=w) for n, w in types.items()}, **changes)


@pytest.mark.parametrize(("seed", "values"), [(0, 1), (2, 2)])
def test_a_board_with_defects_gives_the_spikes_of_a_whole_one(seed: int, values: int) -> None:
    net = network(
        Input(name="x", size=60), population("p", 300, None, strong()), population("q", 60, None, strong(tau_s=0.03)),
        link("xp", "x", "p", {"kind": "random_fan_in", "fan_in": 20, "seed": seed}),
        link("pp", "p", "p", {"kind": "random_fan_in", "fan_in": 8, "seed": seed}, "GABA_A"),
        link("pq", "p", "q", {"kind": "random_fan_in", "fan_in": 30, "seed": seed}, "NMDA"),
        link("qp", "q", "p", {"kind": "random_fan_in", "fan_in": 2, "seed": seed}, "GABA_B", plastic=True),
    )  # fmt: skip
    whole = map_network(net, CHIP, (0, 2))
    defects = defects_under(whole, np.random.default_rng(seed), net, values)
    broken = map_network(net, CHIP, (0, 2), defects=defects)
    assert broken.config != whole.config
    rng = np.random.default_rng(seed)
    ids, times = rng.integers(0, 60, 3000), np.sort(rng.uniform(0, 290_000, 3000))
    found = []
    for mapped, profile in ((whole, BoardProfile()), (broken, BoardProfile(**defects.model_dump()))):
        board = open_backend("emulator", chip=CHIP, chips=mapped.config.chips, profile=profile, dt_us=100)
        board.apply(mapped.config)
        spikes = mapped.spikes_of(board.run(mapped.stimulus({"x": (ids, times)}, isi_base=90), 0.3))
        found.append({name: sorted(zip(i.tolist(), t.tolist(), strict=True)) for name, (i, t) in spikes.items()})
    assert len(found[0]["p"]) > 300
    assert len(found[0]["q"]) > 30
    assert found[0] == found[1]


def test_a_sound_chip_is_taken_where_the_first_has_a_dead_neuron() -> None:
    mapped = map_network(network(population("p", 1024)), CHIP, defects=Defects(dead_neurons=((0, 0, 0),)))
    assert len(mapped.config.chips) == 1
    assert 0 not in mapped.config.chips


def test_one_full_neuron_finds_a_core_with_sound_entries() -> None:
    """Every seat of core 0 has a dead entry."""
    net = network(Input(name="x", size=64), population("p", 1), link("c", "x", "p"))
    mapped = map_network(net, CHIP, defects=Defects(dead_cam=tuple((0, 0, n, 7) for n in range(256))))
    assert tuple(mapped.addresses["p"][0][:2]) != (0, 0)


def test_many_stuck_bits_do_not_take_long() -> None:
    stuck = tuple((0, core, n, e, 3, 1) for core in range(4) for n in range(256) for e in range(0, 64, 8))
    net = network(Input(name="x", size=20), population("p", 200), link("c", "x", "p"))
    mapped = map_network(net, CHIP, defects=Defects(stuck_tag_bits=stuck))
    assert differences(mapped) == []
