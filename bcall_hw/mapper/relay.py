"""Relays: neurons that gather some fixed inputs of a neuron with too many, and fire for them.

A relay hears up to as many sources as it has CAM entries, all of one connection and one multiplicity, and is wired so that
each of their spikes makes it fire once. The neuron then hears the relay in their place: one synapse of the connection's type
and multiplicity. Neurons with the same group of sources share the relay.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bcall_hw.arrays import BoolArray
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, FanInExceeded
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapping import RelayMapping
from bcall_hw.network import Connection, Explicit, Network, Population

Group = tuple[int, ...]


@dataclass
class _Relays:
    """Relays of one connection: their groups of sources, and the neurons that hear each, with the multiplicity."""

    number: dict[tuple[Group, int], int] = field(default_factory=dict)
    heard_by: list[tuple[int, int, int]] = field(default_factory=list)


def relayed(
    synapses: Synapses, chip: ChipModel, reserve: int, relay: RelayMapping
) -> tuple[Network, list[Departure], list[BcallError]]:
    """The network with relays for every neuron that has too many inputs.

    Returns:
        The network, what the relays cost, and the neurons that relays cannot help.
    """
    limit, network = chip.cam.entries - reserve, synapses.network
    over = np.flatnonzero(synapses.cam_demand > limit)
    if not over.size:
        return network, [], []
    keep = np.ones(synapses.source.size, dtype=np.bool_)
    relays = [_Relays() for _ in network.connections]
    order = np.argsort(synapses.target, kind="stable")
    starts = np.searchsorted(synapses.target[order], np.arange(synapses.neurons + 1))
    problems: list[BcallError] = []
    for neuron in over.tolist():
        rows = order[starts[neuron] : starts[neuron + 1]]
        left = _gather(synapses, neuron, rows.tolist(), limit, limit // relay.multiplicity, keep, relays)
        if left > limit:
            plastic = sum(
                int(synapses.multiplicity[r]) for r in rows.tolist() if network.connections[synapses.connection[r]].plastic
            )
            fix = f"{plastic} of its CAM entries are plastic, which relays do not carry, and each relay takes as many entries"
            fix += " as its synapses have multiplicity. Lower its fan-in or multiplicities."
            where = synapses.name(neuron + synapses.inputs)
            what = "more CAM entries than it has, with relays too"
            problems.append(FanInExceeded(what, where=where, used=left, limit=limit, fix=fix))
    if problems:
        return network, [], problems
    names = [synapses.name(int(n) + synapses.inputs) for n in over]
    return _rewired(synapses, keep, relays, relay), [_cost(synapses, over.size, keep, relays, relay, names)], []


def _gather(
    synapses: Synapses, neuron: int, rows: list[int], limit: int, most: int, keep: BoolArray, relays: list[_Relays]
) -> int:
    """Move groups of a neuron's inputs behind relays, the largest saving first, until it fits; returns what it then takes.

    Args:
        most: sources that a relay can hear.
    """
    connections = synapses.network.connections
    pools: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        if not connections[synapses.connection[row]].plastic:
            pools.setdefault((int(synapses.connection[row]), int(synapses.multiplicity[row])), []).append(row)
    groups = [
        (multiplicity * (len(part) - 1), connection, multiplicity, part)
        for (connection, multiplicity), pool in pools.items()
        for part in (pool[at : at + most] for at in range(0, len(pool), most))
    ]
    total = int(synapses.cam_demand[neuron])
    for saved, connection, multiplicity, part in sorted(groups, key=lambda g: (-g[0], g[1], g[3][0])):
        if total <= limit or not saved:
            break
        key = (tuple(int(synapses.source[row]) for row in part), multiplicity)
        mine = relays[connection]
        number = mine.number.setdefault(key, len(mine.number))
        mine.heard_by.append((number, neuron, multiplicity))
        keep[part] = False
        total -= saved
    return total


def _rewired(synapses: Synapses, keep: BoolArray, relays: list[_Relays], relay: RelayMapping) -> Network:
    network = synapses.network
    populations, connections = list(network.populations), list[Connection]()
    taken = {*synapses.rows, *(c.name for c in network.connections)}
    for index, connection in enumerate(network.connections):
        mine = relays[index]
        if not mine.number:
            connections.append(connection)
            continue
        if keep[synapses.of(index)].any():
            connections.append(synapses.kept(index, keep))
        name = f"{connection.name}.relays"
        while taken & {name, f"{name}.in", f"{name}.out"}:
            name += "_"
        taken |= {name, f"{name}.in", f"{name}.out"}
        populations.append(Population(name=name, size=len(mine.number), neuron=relay.neuron))
        first, target = synapses.first_source[connection.source], synapses.neurons_of(connection.target).start
        into = [(source - first, number) for (group, _), number in mine.number.items() for source in group]
        out = [(number, neuron - target, multiplicity) for number, neuron, multiplicity in mine.heard_by]
        connections.append(
            Connection(
                name=f"{name}.in",
                source=connection.source,
                target=name,
                synapse=relay.synapse,
                rule=Explicit(pairs=into),
                multiplicity=relay.multiplicity,
            )
        )
        rule = Explicit(pairs=out)
        connections.append(
            Connection(name=f"{name}.out", source=name, target=connection.target, synapse=connection.synapse, rule=rule)
        )
    return network.model_copy(update={"populations": tuple(populations), "connections": tuple(connections)})


def _cost(
    synapses: Synapses, helped: int, keep: BoolArray, relays: list[_Relays], relay: RelayMapping, names: list[str]
) -> Departure:
    count = sum(len(r.number) for r in relays)
    busiest = max((len(group) for r in relays for group, _ in r.number), default=0)
    behind = int((~keep).sum())
    text = f"relay: {helped} neurons hear {behind:,} of {synapses.source.size:,} synapses through {count} relay neurons"
    text += f" (up to {busiest} sources each): a relayed spike comes about {relay.delay_s * 1e3:.2g} ms later, and spikes of"
    text += f" one group within {relay.apart_s * 1e3:.2g} ms of each other may count once: less than a fifth is lost below"
    text += f" {1 / (relay.apart_s * busiest * 5):.2g} Hz per source"
    return Departure("relay", text, names)
