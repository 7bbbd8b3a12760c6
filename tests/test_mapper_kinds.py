"""Which populations share a core: what both declare must agree, and kinds fit if any way of dealing out cores does."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from emulator_helpers import CALIBRATION, MAPPING, small_chip
from mapper_helpers import CHIP, asked, at, delivered, link, network, neuron, population

from bcall_hw.chip_model import ChipModel
from bcall_hw.defects import Defects
from bcall_hw.errors import BiasConflict, NetworkDoesNotFit, PlacementFull
from bcall_hw.mapper import MappedNetwork, is_compatible, map_network
from bcall_hw.network import Input, NeuronParameters, Population, SynapseParameters
from benchmarks.mapper_oracle import mismatches

FAST = SynapseParameters(tau_s=0.005, weight_a=5e-11)
SLOW = SynapseParameters(tau_s=0.1, weight_a=2e-11)


def with_synapses(tau_s: float = 0.02, **synapses: SynapseParameters) -> NeuronParameters:
    return neuron(tau_s, synapses=synapses)


def cores(mapped: MappedNetwork, name: str) -> set[tuple[int, int]]:
    return {(chip, core) for chip, core, _ in mapped.addresses[name].tolist()}


def agree(a: NeuronParameters, b: NeuronParameters) -> bool:
    """What both declare is equal, by the fields of the records."""
    base = {"tau_s", "refractory_s", "gain_a", "pulse_width_s", "dc_a", "adaptation"}
    same = all(getattr(a, f) == getattr(b, f) for f in base)
    return same and all(a.synapses[t] == b.synapses[t] for t in a.synapses.keys() & b.synapses.keys())


# What may share -----------------------------------------------------------------------------------------------------

SAME: dict[str, tuple[NeuronParameters, NeuronParameters]] = {
    "equal": (with_synapses(AMPA=FAST), with_synapses(AMPA=FAST)),
    "one without synapses": (with_synapses(AMPA=FAST), with_synapses()),
    "other types": (with_synapses(AMPA=FAST), with_synapses(NMDA=SLOW)),
    "one type more": (with_synapses(AMPA=FAST, GABA_A=SLOW), with_synapses(AMPA=FAST)),
    "overlap": (with_synapses(AMPA=FAST, GABA_A=SLOW), with_synapses(GABA_A=SLOW, GABA_B=FAST)),
    "equal adaptation": (neuron(adaptation=SLOW), neuron(adaptation=SLOW)),
}
DIFFERENT: dict[str, tuple[NeuronParameters, NeuronParameters]] = {
    "synapse": (with_synapses(AMPA=FAST), with_synapses(AMPA=SLOW)),
    "one of two synapses": (with_synapses(AMPA=FAST, NMDA=SLOW), with_synapses(AMPA=FAST, NMDA=FAST)),
    "synapse tau": (with_synapses(AMPA=FAST), with_synapses(AMPA=SynapseParameters(tau_s=0.0050001, weight_a=5e-11))),
    "synapse weight": (with_synapses(AMPA=FAST), with_synapses(AMPA=SynapseParameters(tau_s=0.005, weight_a=6e-11))),
    "tau": (neuron(0.02), neuron(0.0200001)),
    "refractory": (neuron(refractory_s=2e-3), neuron(refractory_s=3e-3)),
    "gain": (neuron(gain_a=1e-9), neuron(gain_a=2e-9)),
    "pulse": (neuron(pulse_width_s=2e-5), neuron(pulse_width_s=3e-5)),
    "dc": (neuron(), neuron(dc_a=1e-10)),
    "with and without adaptation": (neuron(), neuron(adaptation=SLOW)),
    "adaptation": (neuron(adaptation=SLOW), neuron(adaptation=FAST)),
}


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("swap", [False, True])
def test_populations_that_agree_share_a_core(case: str, swap: bool) -> None:
    a, b = SAME[case][::-1] if swap else SAME[case]
    mapped = map_network(network(population("a", 100, None, a), population("b", 100, None, b)), CHIP)
    assert cores(mapped, "a") == cores(mapped, "b")
    assert mismatches(mapped) == []
    map_network(network(population("a", 9, at(0, 1), a), population("b", 9, at(0, 1, 9), b)), CHIP)


@pytest.mark.parametrize("case", DIFFERENT)
@pytest.mark.parametrize("swap", [False, True])
def test_populations_that_differ_do_not_share_a_core(case: str, swap: bool) -> None:
    a, b = DIFFERENT[case][::-1] if swap else DIFFERENT[case]
    mapped = map_network(network(population("a", 3, None, a), population("b", 3, None, b)), CHIP)
    assert not cores(mapped, "a") & cores(mapped, "b")
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(network(population("a", 9, at(1, 1), a), population("b", 9, at(1, 1, 9), b)), CHIP)
    assert [type(v) for v in caught.value.violations] == [BiasConflict]
    for piece in ("'a'", "'b'", "chip 1 core 1"):
        assert piece in str(caught.value)


def test_a_shared_core_has_the_codes_of_all_its_populations() -> None:
    net = network(
        Input(name="x", size=3), population("a", 5, at(0, 0, 1), with_synapses(AMPA=FAST)),
        population("b", 5, at(0, 0, 9), with_synapses(NMDA=SLOW)), population("c", 5, at(0, 0, 20), with_synapses()),
        link("a", "x", "a"), link("b", "x", "b", synapse="NMDA"),
    )  # fmt: skip
    mapped = map_network(net, CHIP)
    predicted = {c.quantity: c.predicted for c in mapped.biases[0, 0]}
    assert predicted["AMPA.tau_s"] == pytest.approx(0.005, rel=0.02)
    assert predicted["NMDA.tau_s"] == pytest.approx(0.1, rel=0.02)


def test_three_that_agree_in_pairs_do_not_all_share() -> None:
    """b goes with a and with c, but a and c contradict each other."""
    a, b, c = with_synapses(AMPA=FAST), with_synapses(NMDA=FAST), with_synapses(AMPA=SLOW)
    mapped = map_network(network(*(population(n, 5, None, k) for n, k in zip("bac", (b, a, c), strict=True))), CHIP)
    assert not cores(mapped, "a") & cores(mapped, "c")
    assert mismatches(mapped) == []
    assert len(cores(mapped, "a") | cores(mapped, "b") | cores(mapped, "c")) == 2


# How many -----------------------------------------------------------------------------------------------------------


def test_17_kinds_are_refused_by_name_and_16_fit() -> None:
    kinds = [population(f"k{n}", 256, None, neuron(0.01 + 0.001 * n)) for n in range(17)]
    mapped = map_network(network(*kinds[:16]), CHIP)
    assert len({core for k in kinds[:16] for core in cores(mapped, k.name)}) == 16
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(network(*kinds), CHIP)
    assert all(isinstance(v, PlacementFull) for v in caught.value.violations)
    for piece in ("population 'k16'", "17 kinds", "16 cores"):
        assert piece in str(caught.value)
    assert not is_compatible(network(*kinds), CHIP)


@pytest.mark.parametrize("order", list(itertools.permutations("abcd"))[::3])
def test_kinds_that_only_fit_when_merged_well(order: tuple[str, ...]) -> None:
    """15 kinds, and four populations that fit the last core only as a with b and c with d of two kinds that are there."""
    kinds = [population(f"k{n}", 1, None, neuron(0.05 + 0.001 * n)) for n in range(14)]
    four = {
        "a": with_synapses(AMPA=FAST, NMDA=FAST),
        "b": with_synapses(GABA_A=FAST),
        "c": with_synapses(AMPA=SLOW),
        "d": with_synapses(NMDA=SLOW, GABA_A=SLOW),
    }
    mapped = map_network(network(*kinds, *(population(n, 1, None, four[n]) for n in order)), CHIP)
    assert mismatches(mapped) == []
    assert cores(mapped, "a") == cores(mapped, "b")
    assert cores(mapped, "c") == cores(mapped, "d")


def fewest_kinds(all_of: list[NeuronParameters]) -> int:
    """Brute force: the smallest number of groups within which all agree in pairs."""
    best = len(all_of)

    def place(number: int, groups: list[list[NeuronParameters]]) -> None:
        nonlocal best
        if len(groups) >= best:
            return
        if number == len(all_of):
            best = len(groups)
            return
        for group in groups:
            if all(agree(all_of[number], other) for other in group):
                group.append(all_of[number])
                place(number + 1, groups)
                group.pop()
        place(number + 1, [*groups, [all_of[number]]])

    place(0, [])
    return best


def random_kinds(seed: int) -> list[NeuronParameters]:
    rng = random.Random(seed)
    made = []
    for _ in range(rng.randint(4, 7)):
        types = rng.sample(["AMPA", "NMDA", "GABA_A", "GABA_B"], rng.randint(0, 3))
        made.append(with_synapses(**{t: rng.choice([FAST, SLOW]) for t in types}))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_random_kinds_take_as_few_cores_as_they_can(seed: int) -> None:
    """On as many cores as the fewest groups take: one chip, with the cores beyond that dead."""
    kinds = random_kinds(seed)
    fewest = fewest_kinds(kinds)
    if fewest > 4:
        pytest.skip("needs more than a chip")
    net = network(*(population(f"p{n}", 2, None, kind) for n, kind in enumerate(kinds)))
    dead = tuple((0, core, n) for core in range(fewest, 4) for n in range(256))
    mapped = map_network(net, CHIP, chips=(0,), defects=Defects(dead_neurons=dead))
    assert mismatches(mapped) == []
    assert len({core for p in net.populations for core in cores(mapped, p.name)}) <= fewest


#: The shipped files of the large chip, for the small one.
FILES: dict[str, Any] = {"mapping": MAPPING, "calibration": CALIBRATION}


# Cores of unequal size ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ChipModel:
    """4 chips of 2 cores with 16 neurons each."""
    return small_chip(tmp_path_factory.mktemp("chip"))


def any_assignment(needs: list[int], rooms: list[int]) -> bool:
    """Brute force: some way of giving each core to one kind has room for all."""
    for owners in itertools.product(range(len(needs)), repeat=len(rooms)):
        given = [0] * len(needs)
        for owner, room in zip(owners, rooms, strict=True):
            given[owner] += room
        if all(have >= need for have, need in zip(given, needs, strict=True)):
            return True
    return False


FITTED: list[bool] = []


@pytest.mark.parametrize("seed", range(40))
def test_kinds_fit_cores_of_unequal_size_if_any_assignment_does(seed: int, small: ChipModel) -> None:
    rng = random.Random(seed)
    chips = (0, 2) if seed % 2 else (0, 1, 3)
    rooms = [rng.randint(0, 16) for _ in range(2 * len(chips))]
    dead = tuple(
        (chips[k // 2], k % 2, n) for k, room in enumerate(rooms) for n in rng.sample(range(16), 16 - room)
    )  # fmt: skip
    total, count = sum(rooms), rng.randint(2, 4)
    cuts = sorted(rng.sample(range(1, max(total, count + 1)), count - 1))
    slack = rng.randint(0, 6)
    needs = [max(1, high - low) for low, high in zip([0, *cuts], [*cuts, max(total - slack, cuts[-1] + 1)], strict=True)]
    parts = [Population(name=f"p{n}", size=need, neuron=neuron(0.01 + 0.01 * n)) for n, need in enumerate(needs)]
    net = network(Input(name="x", size=4), *parts, *(link(f"c{p.name}", "x", p.name) for p in parts))
    fits = any_assignment(needs, rooms)
    answer = is_compatible(net, small, chips=chips, defects=Defects(dead_neurons=dead), **FILES)
    assert bool(answer) == fits, (needs, rooms, [str(v) for v in answer.violations])
    FITTED.append(fits)
    if not fits:
        assert all(isinstance(v, PlacementFull) for v in answer.violations)
        return
    mapped = map_network(net, small, chips=chips, defects=Defects(dead_neurons=dead), **FILES)
    used: dict[Any, str] = {}
    for p in parts:
        for address in map(tuple, mapped.addresses[p.name].tolist()):
            assert address not in dead
            assert used.setdefault(address[:2], p.name) == p.name
    assert sum(len(a) for a in mapped.addresses.values()) == sum(needs)


def test_the_cases_hold_both_kinds_of_answers() -> None:
    """Only when the whole file ran."""
    if len(FITTED) == 40:
        assert 10 <= sum(FITTED) <= 35


def test_a_tight_case_by_hand(small: ChipModel) -> None:
    """Rooms 5, 9, 16, 2 on two chips; kinds of 14, 16 and 2: only 5 + 9, 16, 2 will do."""
    rooms = {(0, 0): 5, (0, 1): 9, (2, 0): 16, (2, 1): 2}
    dead = Defects(dead_neurons=tuple((*core, n) for core, room in rooms.items() for n in range(room, 16)))
    parts = [Population(name=n, size=s, neuron=neuron(t)) for n, s, t in (("a", 2, 0.01), ("b", 16, 0.02), ("c", 14, 0.03))]
    mapped = map_network(network(*parts), small, chips=(0, 2), defects=dead, **FILES)
    assert cores(mapped, "a") == {(2, 1)}
    assert cores(mapped, "b") == {(2, 0)}
    assert cores(mapped, "c") == {(0, 0), (0, 1)}


def test_wishes_and_kinds_together() -> None:
    """A wished population brings its core to its kind: 15 kinds elsewhere, and the 16th finds the rest of that core."""
    kinds = [population(f"k{n}", 1, None, neuron(0.05 + 0.001 * n)) for n in range(15)]
    wished = population("w", 6, at(2, 1, 100), neuron(0.02))
    late = population("late", 250, None, neuron(0.02))
    net = network(*kinds, wished, late, link("c", "w", "late", {"kind": "random_fan_in", "fan_in": 3, "seed": 1}))
    mapped = map_network(net, CHIP)
    assert cores(mapped, "late") == cores(mapped, "w") == {(2, 1)}
    assert delivered(mapped) == asked(net)


def test_a_chip_from_a_file_is_mapped_by_its_own_numbers(small: ChipModel) -> None:
    net = network(
        Input(name="x", size=8), *(population(f"p{n}", 16) for n in range(8)), *(link(f"c{n}", "x", f"p{n}") for n in range(8))
    )
    assert is_compatible(net, small, **FILES)
    assert not is_compatible(network(*net.populations, population("more", 1)), small, **FILES)
    over = network(Input(name="x", size=9), population("p", 1), link("c", "x", "p"))
    (found,) = is_compatible(over, small, **FILES).violations
    assert (found.used, found.limit) == (9, 8)
