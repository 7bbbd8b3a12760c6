"""Gains of a calibration trim the number of CAM entries of each synapse."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from calibration_helpers import gains_of, measured
from mapper_helpers import CHIP, TYPE_CODES, asked, at, delivered, link, network, pairs, population

from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Gains
from bcall_hw.errors import InvalidValue
from bcall_hw.mapper import MappedNetwork, differences, map_network, utilisation
from bcall_hw.network import Input, Network

GainOf = dict[tuple[int, int, int, str], float]


def record(gains: GainOf) -> Calibration:
    return measured(gains=gains_of(CHIP, gains))


def wanted(net: Network, mapped: MappedNetwork, gains: GainOf) -> Counter[Any]:
    """What the network asks for, each synapse with its trimmed number of entries."""
    counts: Counter[Any] = Counter()
    for c in net.connections:
        for source, target, multiplicity in zip(*(a.tolist() for a in net.synapses(c)), strict=True):
            seat = (*mapped.addresses[c.target][target].tolist(), c.synapse)
            copies = max(1, round(multiplicity / gains.get(seat, 1.0)))
            counts[(c.source, source), (c.target, target), c.synapse] += copies
    return counts


def trimmed(net: Network, gains: GainOf, **choices: Any) -> MappedNetwork:
    return map_network(net, CHIP, calibration=record(gains), **choices)


def wide() -> Network:
    return network(
        Input(name="x", size=12), population("p", 40, at(1, 2, 30)), population("q", 10, at(3, 0, 5)),
        link("a", "x", "p", {"kind": "random_fan_in", "fan_in": 4, "seed": 1}, multiplicity=3),
        link("b", "x", "q", synapse="NMDA", multiplicity=2),
        link("c", "p", "q", {"kind": "random_fan_in", "fan_in": 5, "seed": 2}, "GABA_A", multiplicity=4),
        link("d", "x", "p", {"kind": "random_fan_in", "fan_in": 3, "seed": 3}, "GABA_B", plastic=True, multiplicity=2),
    )  # fmt: skip


def random_gains(mapped: MappedNetwork, seed: int, low: float, high: float) -> GainOf:
    rng = np.random.default_rng(seed)
    seats = [tuple(a) for table in mapped.addresses.values() for a in table.tolist()]
    return {(*seat, kind): float(rng.uniform(low, high)) for seat in seats for kind in TYPE_CODES if rng.random() < 0.7}  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(6))
def test_copies_follow_the_gain_of_the_seat_and_type(seed: int) -> None:
    net = wide()
    gains = random_gains(map_network(net, CHIP), seed, 0.7, 4.0)
    mapped = trimmed(net, gains)
    assert delivered(mapped) == wanted(net, mapped, gains)
    assert delivered(mapped) != asked(net)
    assert differences(mapped) == []
    assert mapped.network == mapped.asked == net
    assert int(mapped.copies.sum()) == sum(delivered(mapped).values()) == utilisation(mapped)["cam"]["used"]


@pytest.mark.parametrize(
    ("multiplicity", "gain", "copies"),
    [
        (4, 2.0, 2),
        (4, 3.0, 1),
        (4, 100.0, 1),
        (1, 0.45, 2),
        (1, 0.05, 20),
        (3, 0.7, 4),
        (5, 1.0, 5),
        (7, 0.99, 7),
        (10, 0.3, 33),
    ],
)
def test_the_number_of_copies(multiplicity: int, gain: float, copies: int) -> None:
    net = network(Input(name="x", size=1), population("p", 2, at(0, 1, 7)), link("c", "x", "p", multiplicity=multiplicity))
    found = delivered(trimmed(net, {(0, 1, 8, "AMPA"): gain, (0, 1, 7, "NMDA"): 0.1, (2, 1, 7, "AMPA"): 0.1}))
    assert found == {(("x", 0), ("p", 0), "AMPA"): multiplicity, (("x", 0), ("p", 1), "AMPA"): copies}


def test_departures_name_the_neurons_and_the_change() -> None:
    net = network(Input(name="x", size=5), population("p", 4, at(0, 0, 9)), link("c", "x", "p", multiplicity=4))
    mapped = trimmed(net, {(0, 0, 10, "AMPA"): 2.0, (0, 0, 12, "AMPA"): 0.8, (0, 0, 9, "AMPA"): 1.01})
    (departure,) = mapped.departures
    assert departure.kind == "trim"
    assert departure.neurons == ["population 'p' neuron 1", "population 'p' neuron 3"]
    assert "2 neurons" in departure.text
    assert re.search(r"-5 CAM entries", departure.text)  # 5 x -2 and 5 x +1
    assert departure.text in mapped.warnings
    assert departure.as_dict() == {"kind": "trim", "text": departure.text, "neurons": departure.neurons}


def test_a_gain_of_one_changes_nothing() -> None:
    net = wide()
    plain = map_network(net, CHIP)
    gains = dict.fromkeys(random_gains(plain, 1, 1, 2), 1.0)
    mapped = trimmed(net, gains)
    assert mapped.config == plain.config
    assert mapped.departures == []


def test_neurons_without_room_keep_their_multiplicities_and_are_named() -> None:
    """Neuron 0 needs 80 entries, neuron 1 exactly 64, neuron 2 is trimmed down."""
    net = network(Input(name="x", size=16), population("p", 3, at(2, 2, 0)), link("c", "x", "p", multiplicity=2))
    gains: GainOf = {(2, 2, 0, "AMPA"): 0.4, (2, 2, 1, "AMPA"): 0.5, (2, 2, 2, "AMPA"): 2.0}
    mapped = trimmed(net, gains)
    found: Counter[int] = Counter()
    for (_, (_, index), _), count in delivered(mapped).items():
        found[index] += count
    assert found == {0: 32, 1: 64, 2: 16}
    by_kind = {d.kind: d for d in mapped.departures}
    assert set(by_kind) == {"trim", "untrimmed"}
    assert by_kind["untrimmed"].neurons == ["population 'p' neuron 0"]
    assert by_kind["trim"].neurons == ["population 'p' neuron 1", "population 'p' neuron 2"]
    assert "room" in by_kind["untrimmed"].text
    assert differences(mapped) == []


@pytest.mark.parametrize("place", [(4, 0), (0, 4), (9, 9)])
def test_gains_at_places_that_are_none_are_refused(place: tuple[int, int]) -> None:
    with pytest.raises(InvalidValue, match=r"gains\[1\].*no such place") as caught:
        trimmed(network(population("p", 1)), {(0, 0, 1, "AMPA"): 2.0, (*place, 5, "AMPA"): 1.0})
    assert caught.value.used == max(place)


@pytest.mark.parametrize("count", [1, 255, 257])
def test_gains_of_another_number_of_neurons_are_refused(count: int) -> None:
    gains = Gains(chip=0, core=2, quantity="AMPA.weight_a", gain=(1.0,) * count, low=(1.0,) * count, high=(1.0,) * count)
    with pytest.raises(InvalidValue, match=r"gains\[0\]") as caught:
        map_network(network(population("p", 1)), CHIP, calibration=measured(gains=(gains,)))
    assert (caught.value.used, caught.value.limit) == (count, 256)


@pytest.mark.parametrize(
    ("core", "quantity", "gain"),
    [(0, "AMPA.weight_a", 0.0), (0, "AMPA.weight_a", -1.0), (0, "GLU.weight_a", 1.0), (-1, "AMPA.weight_a", 1.0)],
)
def test_gains_that_are_none_are_refused(core: int, quantity: str, gain: float) -> None:
    with pytest.raises(InvalidValue, match=r"Gains.*core"):
        measured(gains=({"chip": 0, "core": core, "quantity": quantity, "gain": (gain,), "low": (1.0,), "high": (1.0,)},))


def test_gains_of_other_quantities_and_unknown_ones_trim_nothing() -> None:
    net = network(Input(name="x", size=3), population("p", 2, at(0, 0, 9)), link("c", "x", "p", multiplicity=4))
    other = tuple(
        Gains(chip=0, core=0, quantity=quantity, gain=(2.0,) * 256, low=(None,) * 256, high=(None,) * 256)
        for quantity in ("tau_s", "AMPA.tau_s", "NMDA.weight_a", "adaptation.weight_a")
    )
    unknown = Gains(chip=0, core=0, quantity="AMPA.weight_a", gain=(None,) * 256, low=(None,) * 256, high=(None,) * 256)
    mapped = map_network(net, CHIP, calibration=measured(gains=(*other, unknown)))
    assert delivered(mapped) == asked(net)
    assert mapped.departures == []


def test_gains_of_chips_that_are_not_used_do_not_matter() -> None:
    net = network(Input(name="x", size=3), population("p", 2, at(0, 0, 9)), link("c", "x", "p", multiplicity=4))
    mapped = trimmed(net, {(3, 0, 9, "AMPA"): 3.0, (0, 0, 11, "AMPA"): 3.0})
    assert delivered(mapped) == asked(net)
    assert mapped.departures == []


@pytest.mark.parametrize("seed", range(4))
def test_flips_move_all_copies_of_a_trimmed_plastic_synapse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = wide()
    gains = random_gains(map_network(net, CHIP), seed, 0.4, 3.0)
    mapped = trimmed(net, gains)
    slots = mapped.plastic["d"]
    post, slot = np.nonzero(slots.sources >= 0)
    for p, s in zip(post.tolist(), slot.tolist(), strict=True):
        gain = gains.get((*slots.addresses[p].tolist(), "GABA_B"), 1.0)
        assert int((slots.entries[p, s] >= 0).sum()) == max(1, round(2 / gain))
    on = rng.random(len(post)) < 0.5
    flipped = mapped.with_flips(mapped.config, "d", post, slot, on)
    expected = wanted(net, mapped, gains)
    for p, s, present in zip(post.tolist(), slot.tolist(), on.tolist(), strict=True):
        if not present:
            del expected[("x", int(slots.sources[p, s])), ("p", p), "GABA_B"]
    assert delivered(replace(mapped, config=flipped)) == expected
    back = mapped.with_flips(flipped, "d", post, slot, np.ones(len(post), dtype=bool))
    assert back == mapped.config
    table = np.zeros(slots.sources.shape, dtype=bool)
    table[post[on], slot[on]] = True
    assert trimmed(net, gains, efficacy={"d": table}).config == flipped


def test_several_connections_of_one_type_are_trimmed_alike() -> None:
    """The gain belongs to the neuron and the type, so each synapse of the type gets its share."""
    net = network(
        Input(name="x", size=3), population("p", 1, at(0, 3, 3)), link("a", "x", "p", pairs((0, 0, 6), (1, 0, 2))),
        link("b", "x", "p", pairs((0, 0, 4), (2, 0, 1))), link("n", "x", "p", pairs((0, 0, 6)), "NMDA"),
    )  # fmt: skip
    found = delivered(trimmed(net, {(0, 3, 3, "AMPA"): 2.0}))
    assert found == {
        (("x", 0), ("p", 0), "AMPA"): 5,
        (("x", 1), ("p", 0), "AMPA"): 1,
        (("x", 2), ("p", 0), "AMPA"): 1,
        (("x", 0), ("p", 0), "NMDA"): 6,
    }
