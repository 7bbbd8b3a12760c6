"""Shared by the mapper's tests: small networks, random networks, and a matcher that looks at the registers alone."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from bcall_hw.chip_model import load_chip
from bcall_hw.mapper import MappedNetwork
from bcall_hw.network import Connection, Input, Network, NeuronParameters, Place, Population, SynapseParameters

CHIP = load_chip("dynapse1")
TYPE_CODES = {"GABA_B": 0, "GABA_A": 1, "NMDA": 2, "AMPA": 3}
TYPE_NAMES = {code: name for name, code in TYPE_CODES.items()}

Source = tuple[str, int]
Delivery = tuple[Source, tuple[Any, int], str]


def neuron(tau_s: float = 0.02, **changes: Any) -> NeuronParameters:
    """Neuron parameters that fit the chip, with all four synapse types."""
    synapses = {name: SynapseParameters(tau_s=0.01, weight_a=5e-11) for name in TYPE_CODES}
    values = {"tau_s": tau_s, "refractory_s": 2e-3, "gain_a": 1e-9, "pulse_width_s": 2e-5, "synapses": synapses}
    return NeuronParameters(**(values | changes))


def at(chip: int, core: int, first: int = 0) -> Place:
    return Place(chip=chip, core=core, neuron=first)


def population(name: str, size: int, place: Place | None = None, kind: NeuronParameters | None = None) -> Population:
    return Population(name=name, size=size, neuron=kind or neuron(), place=place)


def pairs(*listed: tuple[int, ...]) -> dict[str, Any]:
    return {"kind": "explicit", "pairs": listed}


def link(name: str, source: str, target: str, rule: Any = None, synapse: str = "AMPA", **more: Any) -> Connection:
    return Connection(name=name, source=source, target=target, synapse=synapse, rule=rule or {"kind": "all_to_all"}, **more)


def network(*parts: Any) -> Network:
    """A network from inputs, populations and connections in any order."""
    return Network(
        inputs=tuple(p for p in parts if isinstance(p, Input)),
        populations=tuple(p for p in parts if isinstance(p, Population)),
        connections=tuple(p for p in parts if isinstance(p, Connection)),
    )


def delivered(mapped: MappedNetwork) -> Counter[Delivery]:
    """What the registers deliver: (source, target neuron, synapse type) with its multiplicity. Plain loops, no shortcut."""
    config = mapped.config
    owner: dict[tuple[int, ...], Source] = {}
    for name, addresses in mapped.addresses.items():
        for index, address in enumerate(addresses.tolist()):
            assert tuple(address) not in owner, f"two neurons at {address}"
            owner[tuple(address)] = (name, index)
    arrivals: dict[tuple[int, int], dict[int, list[Source]]] = defaultdict(lambda: defaultdict(list))
    for name, tags in mapped.input_tags.items():
        for index, tag in enumerate(tags.tolist()):
            for chip, core in mapped.input_reach[name][index]:
                arrivals[chip, core][tag].append((name, index))
    for chip, cores in zip(config.chips, config.sram.tolist(), strict=True):
        for core, neurons in enumerate(cores):
            for number, entries in enumerate(neurons):
                for virtual_core, sy, dy, sx, dx, mask in entries:
                    if mask == 0:
                        continue
                    column = (chip & 1) - dx if sx else (chip & 1) + dx
                    row = (chip >> 1) + dy if sy else (chip >> 1) - dy
                    assert column in (0, 1), "destination off the board"
                    assert row in (0, 1), "destination off the board"
                    source = owner[chip, core, number]
                    for target in range(4):
                        if (mask >> target) & 1:
                            arrivals[row * 2 + column, target][virtual_core * 256 + number].append(source)
    found: Counter[Delivery] = Counter()
    for chip, cores in zip(config.chips, config.cam.tolist(), strict=True):
        for core, neurons in enumerate(cores):
            here = arrivals[chip, core]
            for number, entries in enumerate(neurons):
                target = owner.get((chip, core, number), ("nobody at", chip * 1024 + core * 256 + number))
                for source_core, source_neuron, code in entries:
                    for source in here.get(source_core * 256 + source_neuron, ()):
                        found[source, target, TYPE_NAMES[code]] += 1
    return found


def asked(net: Network, efficacy: dict[str, Any] | None = None) -> Counter[Delivery]:
    """What the network asks for; a plastic synapse that is parked delivers nothing."""
    wanted: Counter[Delivery] = Counter()
    for connection in net.connections:
        seen: Counter[int] = Counter()
        for source, target, multiplicity in zip(*(a.tolist() for a in net.synapses(connection)), strict=True):
            slot = seen[target]
            seen[target] += 1
            if connection.plastic and efficacy and connection.name in efficacy and not efficacy[connection.name][target, slot]:
                continue
            wanted[(connection.source, source), (connection.target, target), connection.synapse] += multiplicity
    return wanted


def slots_of(net: Network, connection: Connection) -> tuple[int, int]:
    """Shape of a plastic connection's efficacy."""
    _, target, _ = net.synapses(connection)
    counts = np.bincount(target, minlength=net.size_of(connection.target))
    return len(counts), int(counts.max(initial=0))


def random_efficacy(net: Network, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {c.name: rng.random(slots_of(net, c)) < 0.5 for c in net.connections if c.plastic}


def random_network(seed: int, chips: tuple[int, ...]) -> Network:
    """A network that fits by construction: fan-in at most 64, few sources with equal low tag bytes, at most 3 chips."""
    rng = random.Random(seed)
    kinds = [neuron(0.02), neuron(0.03)]
    allowed = [chips[0], *rng.sample(chips[1:], min(2, len(chips) - 1))]
    cores = rng.sample([(c, k) for c in allowed for k in range(4)], 4)
    big = rng.random() < 0.2
    populations = []
    for number in range(rng.randint(1, 3 if big else 4)):
        size = rng.choice([1, 5, 20, rng.randint(2, 40)])
        wish = None
        # On one chip at most two wished cores, so that two kinds always find room.
        if rng.random() < 0.5 and number < (4 if len(chips) > 1 else 2) and not big:
            wish = at(*cores[number], rng.randint(1, 205 - size))
        populations.append(population(f"p{number}", size, wish, rng.choice(kinds)))
    if big:
        populations[0] = population("p0", 300, None, kinds[0])
    inputs = []
    wished = rng.sample([v * 256 + low for v in (2, 3) for low in range(210, 256)], 80)
    for number in range(rng.randint(0, 3)):
        size = rng.choice([1, 5, 20, rng.randint(2, 50)])
        tags = None
        if rng.random() < 0.4 and size <= len(wished):
            tags = tuple(wished.pop() for _ in range(size))
        inputs.append(Input(name=f"i{number}", size=size, tags=tags))
    room = {p.name: 64 for p in populations}
    sizes = {g.name: g.size for g in (*inputs, *populations)}
    connections: list[Connection] = []
    for number in range(rng.randint(1, 8)):
        source, target = rng.choice(list(sizes)), rng.choice(populations).name
        made = _random_rule(rng, sizes[source], sizes[target], room[target])
        if made is None:
            continue
        rule, multiplicity, plastic, cost = made
        room[target] -= cost
        synapse = rng.choice(list(TYPE_CODES))
        connections.append(link(f"c{number}", source, target, rule, synapse, multiplicity=multiplicity, plastic=plastic))
    return network(*inputs, *populations, *connections)


def _random_rule(rng: random.Random, n_source: int, n_target: int, room: int) -> tuple[Any, int, bool, int] | None:
    multiplicity, plastic = rng.randint(1, 3), rng.random() < 0.4
    kind = rng.choice(["all_to_all", "one_to_one", "random_fan_in", "explicit"])
    rule: dict[str, Any] = {"kind": kind}
    if kind == "all_to_all":
        cost = n_source
    elif kind == "one_to_one":
        if n_source != n_target:
            return None
        cost = 1
    elif kind == "random_fan_in":
        candidates = None if rng.random() < 0.5 else tuple(rng.sample(range(n_source), rng.randint(1, n_source)))
        cost = rng.randint(1, min(8, len(candidates) if candidates else n_source))
        rule |= {"fan_in": cost, "seed": rng.randint(0, 999), "candidates": candidates}
    else:
        listed = [(s, t) for s in range(min(n_source, 12)) for t in range(min(n_target, 12)) if rng.random() < 0.3]
        rng.shuffle(listed)
        own = [1 if plastic else rng.randint(1, 3) for _ in listed]
        total: Counter[int] = Counter()
        for (_, t), m in zip(listed, own, strict=True):
            total[t] += m
        cost = max(total.values(), default=0)
        rule["pairs"] = tuple((s, t, m) if m > 1 else (s, t) for (s, t), m in zip(listed, own, strict=True))
    cost *= multiplicity
    return (rule, multiplicity, plastic, cost) if cost <= room else None
