"""Neurons with more inputs than CAM entries: refused, sampled or relayed, and what is kept free."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from mapper_helpers import CHIP, asked, at, delivered, link, network, neuron, pairs, population

from bcall_hw.backend import open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.errors import FanInExceeded, InvalidValue, NetworkDoesNotFit, PlacementFull
from bcall_hw.mapper import MapOptions, MappedNetwork, map_network
from bcall_hw.network import Input, Network
from benchmarks.mapper_oracle import mismatches

SAMPLE, RELAY = MapOptions(fan_in="sample"), MapOptions(fan_in="relay")


def random_fan_in(count: int, seed: int = 0) -> dict[str, Any]:
    return {"kind": "random_fan_in", "fan_in": count, "seed": seed}


def violations(net: Network, **choices: Any) -> tuple[Any, ...]:
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP, **choices)
    return caught.value.violations


def synapses(net: Network) -> dict[str, Counter[tuple[int, int]]]:
    """For each connection, (source, target) with its multiplicity."""
    found = {}
    for c in net.connections:
        rows = zip(*(a.tolist() for a in net.synapses(c)), strict=True)
        found[c.name] = Counter({(s, t): m for s, t, m in rows})
    return found


def entries_of(mapped: MappedNetwork) -> Counter[Any]:
    """CAM entries that each neuron of the mapped network uses."""
    taken: Counter[Any] = Counter()
    for (_, target, _), count in delivered(mapped).items():
        taken[target] += count
    return taken


def mixed(seed: int, sources: int = 150) -> Network:
    """Inputs and recurrence of several types and multiplicities; some neurons are far beyond 64 entries, some below."""
    rng = random.Random(seed)
    return network(
        Input(name="x", size=sources), Input(name="y", size=30), population("p", 20), population("q", 12, None, neuron(0.03)),
        link("xp", "x", "p", random_fan_in(rng.randint(50, 120), seed), "AMPA"),
        link("yp", "y", "p", random_fan_in(rng.randint(5, 25), seed), "NMDA", multiplicity=rng.randint(1, 2)),
        link("pq", "p", "q", synapse="GABA_A", multiplicity=rng.randint(1, 4)),
        link("yq", "y", "q", pairs(*((s, t, rng.randint(1, 3)) for s in range(30) for t in range(6))), "NMDA"),
        link("qq", "q", "q", {"kind": "one_to_one"}, "GABA_B"),
    )  # fmt: skip


# Refuse -------------------------------------------------------------------------------------------------------------


def test_refuse_is_what_happens_unless_something_else_is_asked() -> None:
    net = network(
        Input(name="x", size=40), population("p", 3, at(2, 1, 4)), link("b", "x", "p", synapse="NMDA"),
        link("a", "x", "p", pairs(*((s, 2) for s in range(35)))),
    )  # fmt: skip
    assert MapOptions().fan_in == "refuse"
    for options in (None, MapOptions(), MapOptions(fan_in="refuse", seed=9)):
        (found,) = violations(net, options=options)
        assert isinstance(found, FanInExceeded)
        assert (found.where, found.used, found.limit) == ("population 'p' neuron 2", 75, 64)
        for piece in ("a 35", "b 40", "Lower the fan-in", "sample", "relay"):
            assert piece in str(found)


@pytest.mark.parametrize("options", [SAMPLE, RELAY])
def test_a_network_that_fits_is_left_alone(options: MapOptions) -> None:
    net = network(Input(name="x", size=64), population("p", 5), link("c", "x", "p"))
    mapped = map_network(net, CHIP, options=options)
    assert mapped.network == mapped.asked == net
    assert mapped.departures == mapped.warnings == []
    assert mapped.config == map_network(net, CHIP).config


def test_unknown_policies_are_refused() -> None:
    with pytest.raises(InvalidValue, match="fan_in"):
        MapOptions(fan_in="drop")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="seed"):
        MapOptions(seed=-1)


# Sample -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_sample_keeps_whole_synapses_of_the_network_and_tells_the_rest(seed: int) -> None:
    net = mixed(seed)
    mapped = map_network(net, CHIP, options=MapOptions(fan_in="sample", seed=seed))
    assert mapped.asked == net
    assert mismatches(mapped) == []
    assert max(entries_of(mapped).values()) <= 64
    before, after = synapses(net), synapses(mapped.network)
    assert list(before) == list(after)
    lost: dict[Any, int] = Counter()
    by_connection: Counter[str] = Counter()
    for name, wanted in before.items():
        for key, count in after[name].items():
            assert wanted[key] == count
        for key in wanted.keys() - after[name].keys():
            lost[net.connection(name).target, key[1]] += 1
            by_connection[name] += 1
    (departure,) = mapped.departures
    assert departure.kind == "sample"
    assert departure.text in mapped.warnings
    assert departure.neurons == [f"population '{p}' neuron {i}" for p, i in sorted(lost)]
    of = sum(len(listed) for listed in before.values())
    assert f"{len(lost)} neurons lose {sum(lost.values()):,} of {of:,} synapses" in departure.text
    assert f"at most {max(lost.values())} each" in departure.text
    told = re.findall(
        r"([a-z]+) (\d+) of (\d+)(?=[,)])", re.sub(r"(?<=\d),(?=\d)", "", departure.text.split("by connection:")[1])
    )
    assert {name: int(count) for name, count, _ in told} == by_connection
    within = {name: len(before[name]) for name in by_connection}
    assert {name: int(total) for name, _, total in told} == within


def test_sample_leaves_neurons_that_fit_alone() -> None:
    net = network(Input(name="x", size=90), population("p", 4), link("c", "x", "p", pairs(
        *((s, 0) for s in range(90)), *((s, 1) for s in range(64)), *((s, 3) for s in range(65)))))  # fmt: skip
    mapped = map_network(net, CHIP, options=SAMPLE)
    fan_in = Counter(t for _, t in synapses(mapped.network)["c"])
    assert fan_in == {0: 64, 1: 64, 3: 64}
    assert {s for s, t in synapses(mapped.network)["c"] if t == 1} == set(range(64))


def test_sample_uses_what_room_there_is() -> None:
    """With synapses of one entry each the CAM is full afterwards; with larger ones no smaller one is left out for nothing."""
    net = network(Input(name="x", size=100), population("p", 50), link("c", "x", "p", multiplicity=3))
    mapped = map_network(net, CHIP, options=SAMPLE)
    assert set(entries_of(mapped).values()) == {63}
    net = network(Input(name="x", size=100), population("p", 50), link("c", "x", "p"))
    assert set(entries_of(map_network(net, CHIP, options=SAMPLE)).values()) == {64}


def test_sample_is_seeded() -> None:
    net = mixed(3)
    first, again, other = (map_network(net, CHIP, options=MapOptions(fan_in="sample", seed=s)) for s in (1, 1, 2))
    assert first.network == again.network
    assert first.config == again.config
    assert first.network != other.network


def test_sample_is_uniform_over_connections_sources_and_targets() -> None:
    """Two connections of 100 sources each: 32 of each are kept on average, every source alike (hypergeometric spread)."""
    parts = (Input(name="x", size=100), Input(name="y", size=100), population("p", 400))
    net = network(*parts, link("a", "x", "p"), link("b", "y", "p", synapse="NMDA"))
    kept = synapses(map_network(net, CHIP, options=MapOptions(fan_in="sample", seed=5)).network)
    of_a = np.zeros((400, 100))
    for source, target in kept["a"]:
        of_a[target, source] = 1
    share = 64 / 200
    spread = np.sqrt(64 * 0.5 * 0.5 * 136 / 199)
    assert abs(of_a.sum(axis=1).mean() - 32) < 4 * spread / np.sqrt(400)
    assert 0.85 * spread < of_a.sum(axis=1).std() < 1.15 * spread
    deviation = (of_a.mean(axis=0) - share) / np.sqrt(share * (1 - share) / 400)
    assert np.abs(deviation).max() < 4.5
    assert 0.75 < deviation.std() < 1.3
    first, second = of_a[:200].mean(), of_a[200:].mean()
    assert abs(first - second) < 4 * spread / 100 * np.sqrt(2 / 200)


@pytest.mark.parametrize("multiplicity", [1, 3])
def test_sampled_plastic_connections_keep_one_multiplicity_and_can_be_flipped(multiplicity: int) -> None:
    net = network(
        Input(name="x", size=80), population("p", 6), link("w", "x", "p", plastic=True, multiplicity=multiplicity),
        link("f", "x", "p", random_fan_in(20), "NMDA", multiplicity=2),
    )  # fmt: skip
    mapped = map_network(net, CHIP, options=SAMPLE)
    assert mapped.network.connection("w").plastic
    kept = synapses(mapped.network)["w"]
    assert set(kept.values()) == {multiplicity}
    slots = mapped.plastic["w"]
    listed = {(s, post) for post, row in enumerate(slots.sources.tolist()) for s in row if s >= 0}
    assert listed == set(kept)
    post, slot = np.nonzero(slots.sources >= 0)
    off = mapped.with_flips(mapped.config, "w", post, slot, np.zeros(len(post), dtype=bool))
    on = mapped.with_flips(off, "w", post, slot, np.ones(len(post), dtype=bool))
    assert on == mapped.config
    changed = np.count_nonzero(off.cam != mapped.config.cam)
    assert changed == sum(kept.values())


# Relay --------------------------------------------------------------------------------------------------------------


def relays_of(mapped: MappedNetwork) -> set[str]:
    return {p.name for p in mapped.network.populations} - {p.name for p in mapped.asked.populations}


def heard_through(mapped: MappedNetwork) -> Counter[Any]:
    """(source, target, type) with its multiplicity, direct or through one relay: from the registers alone."""
    relays, direct = relays_of(mapped), Counter[Any]()
    listens: dict[Any, set[Any]] = defaultdict(set)
    wire = delivered(mapped)
    for source, target, _ in wire:
        if target[0] in relays:
            assert source[0] not in relays, "a relay hears a relay"
            assert source not in listens[target], "a relay hears a source with two types"
            listens[target].add(source)
    for (source, target, kind), count in wire.items():
        if target[0] in relays:
            continue
        for member in listens[source] if source[0] in relays else {source}:
            direct[member, target, kind] += count
    return direct


@pytest.mark.parametrize("seed", range(8))
def test_relayed_targets_hear_what_they_ask_for_once(seed: int) -> None:
    net = mixed(seed, 100 + 30 * seed)
    mapped = map_network(net, CHIP, options=RELAY)
    assert mapped.asked == net
    assert mismatches(mapped) == []
    assert heard_through(mapped) == asked(net)
    assert max(entries_of(mapped).values()) <= 64
    relays = relays_of(mapped)
    assert relays
    (departure,) = mapped.departures
    assert departure.kind == "relay"
    assert departure.text in mapped.warnings
    size = sum(mapped.network.population(name).size for name in relays)
    wire = delivered(mapped)
    through = {(t, k, s) for (s, t, k) in asked(net) if (s, t, k) not in wire}
    assert f"through {size} relay neurons" in departure.text
    assert f"hear {len(through):,} of" in departure.text
    assert f"relay: {len(departure.neurons)} neurons" in departure.text
    assert set(departure.neurons) == {f"population '{p}' neuron {i}" for (p, i), _, _ in through}
    groups = Counter(t for s, t, _ in wire if t[0] in relays)
    assert f"up to {max(groups.values())} sources" in departure.text
    assert max(groups.values()) <= 64


def test_relays_are_shared_by_targets_that_hear_the_same() -> None:
    """300 sources to 200 neurons: 4 relays and some direct sources, and not 800 relays."""
    net = network(Input(name="x", size=300), population("p", 200), link("c", "x", "p"))
    mapped = map_network(net, CHIP, options=RELAY)
    (name,) = relays_of(mapped)
    assert mapped.network.population(name).size <= 5
    assert heard_through(mapped) == asked(net)
    assert "19" not in mapped.departures[0].text.split("through")[1].split("relay neurons")[0]


def test_relays_of_neurons_and_of_several_types() -> None:
    net = network(
        population("p", 150), population("t", 30), link("a", "p", "t", synapse="GABA_B", multiplicity=2),
        link("b", "p", "t", random_fan_in(40, 3), "AMPA"), link("c", "p", "p", {"kind": "one_to_one"}, "NMDA"),
    )  # fmt: skip
    mapped = map_network(net, CHIP, options=RELAY)
    assert mismatches(mapped) == []
    assert heard_through(mapped) == asked(net)


def test_plastic_synapses_are_never_relayed() -> None:
    net = network(
        Input(name="x", size=62), Input(name="y", size=120), population("p", 9),
        link("w", "x", "p", synapse="NMDA", plastic=True), link("f", "y", "p"),
    )  # fmt: skip
    mapped = map_network(net, CHIP, options=RELAY)
    assert synapses(mapped.network)["w"] == synapses(net)["w"]
    assert mapped.network.connection("w").plastic
    assert [c.name for c in mapped.network.connections if c.plastic] == ["w"]
    wire = delivered(mapped)
    assert all(wire[("x", s), ("p", t), "NMDA"] == 1 for s in range(62) for t in range(9))
    assert heard_through(mapped) == asked(net)


@pytest.mark.parametrize(("plastic", "multiplicity"), [(65, 1), (33, 2)])
def test_too_many_plastic_synapses_are_refused_and_said_so(plastic: int, multiplicity: int) -> None:
    net = network(
        Input(name="x", size=plastic), population("p", 2), link("f", "p", "p"),
        link("w", "x", "p", pairs(*((s, 1) for s in range(plastic))), plastic=True, multiplicity=multiplicity),
    )  # fmt: skip
    (found,) = violations(net, options=RELAY)
    assert isinstance(found, FanInExceeded)
    assert found.where == "population 'p' neuron 1"
    assert found.limit == 64
    assert f"{plastic * multiplicity} of its CAM entries are plastic" in str(found)
    assert "Lower its fan-in" in str(found)


def test_relays_take_no_names_of_populations_and_inputs() -> None:
    taken = [population(n, 2) for n in ("c.relays", "c.relays_")]
    net = network(
        Input(name="x", size=130), Input(name="c.relays__", size=2), population("p", 4), *taken, link("c", "x", "p"),
        link("c.relays.in", "x", "c.relays", pairs((0, 1))), link("c.relays_.out", "c.relays__", "p", pairs((1, 0)), "NMDA"),
    )  # fmt: skip
    mapped = map_network(net, CHIP, options=RELAY)
    assert mismatches(mapped) == []
    assert heard_through(mapped) == asked(net)
    assert len(relays_of(mapped)) == 1
    for name in ("c.relays", "c.relays_"):
        assert mapped.network.population(name) == net.population(name)


@pytest.mark.parametrize("name", ["c.relays.in", "c.relays.out"])
def test_relays_take_no_names_of_connections(name: str) -> None:
    net = network(
        Input(name="x", size=70),
        population("p", 2),
        population("q", 1),
        link("c", "x", "p"),
        link(name, "x", "q", pairs((0, 0))),
    )
    mapped = map_network(net, CHIP, options=RELAY)
    assert heard_through(mapped) == asked(net)


def test_relays_need_a_core_of_their_own_kind() -> None:
    kinds = [population(f"k{n}", 1, None, neuron(0.01 + 0.002 * n)) for n in range(16)]
    found = violations(network(Input(name="x", size=70), *kinds, link("c", "x", "k5")), options=RELAY)
    assert [type(v) for v in found] == [PlacementFull]
    assert "relays" in str(found[0])
    fits = network(Input(name="x", size=70), *kinds[:15], link("c", "x", "k5"))
    assert mismatches(map_network(fits, CHIP, options=RELAY)) == []


def test_wished_places_stay_free_of_relays() -> None:
    net = network(Input(name="x", size=200), population("p", 256, at(1, 2)), link("c", "x", "p"))
    mapped = map_network(net, CHIP, options=RELAY)
    assert mapped.addresses["p"].tolist() == [[1, 2, n] for n in range(256)]
    assert heard_through(mapped) == asked(net)


# Reserve ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reserve", [1, 20, 63])
def test_reserve_lowers_the_limit_and_is_named(reserve: int) -> None:
    room = 64 - reserve
    parts = (Input(name="x", size=64), population("p", 2))
    fits = network(*parts, link("c", "x", "p", pairs(*((s, 0) for s in range(room)))))
    over = network(*parts, link("c", "x", "p", pairs(*((s, 0) for s in range(room + 1)))))
    assert mismatches(map_network(fits, CHIP, options=MapOptions(reserve=reserve))) == []
    (found,) = violations(over, options=MapOptions(reserve=reserve))
    assert isinstance(found, FanInExceeded)
    assert (found.used, found.limit) == (room + 1, room)
    assert f"{reserve} of its 64 are reserved" in str(found)


@pytest.mark.parametrize("policy", ["sample", "relay"])
@pytest.mark.parametrize("reserve", [10, 40])
def test_reserve_holds_with_every_policy(policy: Any, reserve: int) -> None:
    net = mixed(1)
    mapped = map_network(net, CHIP, options=MapOptions(fan_in=policy, reserve=reserve))
    assert max(entries_of(mapped).values()) <= 64 - reserve
    assert mismatches(mapped) == []
    if policy == "relay":
        assert heard_through(mapped) == asked(net)


@pytest.mark.parametrize("reserve", [64, 65, 1000])
def test_a_reserve_of_all_entries_is_refused(reserve: int) -> None:
    with pytest.raises(InvalidValue, match=rf"reserve.*got {reserve}, limit 63"):
        map_network(network(population("p", 1)), CHIP, options=MapOptions(reserve=reserve))


def test_a_negative_reserve_is_refused() -> None:
    with pytest.raises(InvalidValue, match="reserve"):
        MapOptions(reserve=-1)


# On the emulator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 6])
def test_relay_neurons_fire_once_per_spike_within_the_delay_that_is_told(seed: int) -> None:
    """200 relays with a mismatch of CV 0.2: a spike of one of 130 sources every 4 ms, each relay hears 64 of them."""
    net = network(Input(name="x", size=130), population("p", 200), link("c", "x", "p", random_fan_in(100, 7)))
    mapped = map_network(net, CHIP, options=RELAY)
    (name,) = relays_of(mapped)
    count = mapped.network.population(name).size
    assert count == 200
    members: dict[int, set[int]] = defaultdict(set)
    for source, target, _ in delivered(mapped):
        if target[0] == name:
            members[target[1]].add(source[1])
    profile = BoardProfile(seed=seed, mismatch_cv=0.2)
    board = open_backend("emulator", chip=CHIP, chips=mapped.config.chips, profile=profile, dt_us=100)
    board.apply(mapped.config)
    ids = np.random.default_rng(1).permutation(np.repeat(np.arange(130), 2))
    times = 5000.0 + 4000.0 * np.arange(len(ids))
    recording = board.run(mapped.stimulus({"x": (ids, times)}), duration_s=1.1)
    fired, fired_us = mapped.spikes_of(recording)[name]
    told = re.search(r"about (\d+(?:\.\d+)?) ms later", mapped.departures[0].text)
    assert told is not None
    longest_us = float(told.group(1)) * 1000 + 100  # the claim, and the step in which it is seen
    for relay in range(count):
        mine = fired_us[fired == relay]
        wanted = times[[int(s) in members[relay] for s in ids]]
        assert len(mine) == len(wanted), f"relay {relay} fired {len(mine)} times for {len(wanted)} spikes"
        assert np.all((mine > wanted) & (mine <= wanted + longest_us))


def test_efficacies_stay_with_their_synapses_when_others_are_sampled_away() -> None:
    """Neuron 0 loses synapses and neuron 1 none: the states of what is kept are those that were asked for."""
    rows = [*((s, 0) for s in range(100)), *((s, 1) for s in range(60))]
    net = network(Input(name="x", size=100), population("p", 2), link("w", "x", "p", pairs(*rows), plastic=True))
    asked_on = np.zeros((2, 100), dtype=bool)
    asked_on[0, :20] = asked_on[1, 40:60] = True
    mapped = map_network(net, CHIP, efficacy={"w": asked_on}, options=MapOptions(fan_in="sample", seed=3))
    present = {(source, target): count for (source, target, _), count in delivered(mapped).items()}
    kept = {(source, target) for source, target, _ in asked(mapped.network)}
    wanted = {(("x", s), ("p", t)) for t in range(2) for s in range(100) if asked_on[t, s]} & kept
    assert set(present) == wanted
    assert len(wanted) > 20


@pytest.mark.parametrize("table", [np.ones((2, 64), dtype=bool), np.ones((2, 100)), [[True] * 100]])
def test_efficacies_have_the_shape_of_the_network_that_is_given(table: Any) -> None:
    net = network(Input(name="x", size=100), population("p", 2), link("w", "x", "p", plastic=True))
    with pytest.raises(InvalidValue, match="efficacy of connection 'w'"):
        map_network(net, CHIP, efficacy={"w": table}, options=MapOptions(fan_in="sample"))


def test_a_sample_passes_over_what_does_not_fit_and_takes_what_does() -> None:
    rows = [(0, t, 65) for t in range(20)] + [(s, t) for s in range(1, 70) for t in range(20)]
    net = network(Input(name="x", size=70), population("p", 20), link("c", "x", "p", pairs(*rows)))
    mapped = map_network(net, CHIP, options=MapOptions(fan_in="sample", seed=1))
    assert mapped.synapses.cam_demand.tolist() == [64] * 20


def test_neurons_that_keep_nothing_are_named() -> None:
    net = network(Input(name="x", size=1), population("p", 2), link("c", "x", "p", pairs((0, 0, 65), (0, 1, 3))))
    (departure,) = map_network(net, CHIP, options=MapOptions(fan_in="sample")).departures
    assert "1 of them keep none, first population 'p' neuron 0" in departure.text
