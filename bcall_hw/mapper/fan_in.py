"""Neurons with more inputs than CAM entries: refused, or given a part of their inputs (`sample`), or helped (`relay`)."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, FanInExceeded
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.options import MapOptions
from bcall_hw.mapper.relay import relayed
from bcall_hw.mapper.sample import sampled
from bcall_hw.mapper.synapses import Synapses, expand
from bcall_hw.mapping import Mapping
from bcall_hw.network import AllToAll, Network

#: More synapses than this of neurons that cannot have them are not listed.
_MANY = 4_000_000
_ADVICE = "Lower the fan-in or the multiplicity, or choose fan-in sample or relay."


def crowded_problems(network: Network, chip: ChipModel, options: MapOptions) -> list[BcallError]:
    """Neurons that hear all of a group that is larger than a CAM, found without listing every synapse."""
    limit = chip.cam.entries - options.reserve
    if options.fan_in != "refuse":
        return []
    problems: list[BcallError] = []
    for population in network.populations:
        every = [c for c in network.connections if c.target == population.name and isinstance(c.rule, AllToAll)]
        least = {c.name: network.size_of(c.source) * c.multiplicity for c in every}
        if sum(least.values()) > limit and sum(least.values()) * population.size > _MANY:
            detail = ", ".join(f"{name} {n}" for name, n in least.items())
            where, fix = f"population {population.name!r}, every neuron", f"Its inputs: {detail}. {_ADVICE}"
            what = "more CAM entries than it has"
            problems.append(FanInExceeded(what, where=where, used=sum(least.values()), limit=limit, fix=fix))
    return problems


def fan_in_problems(synapses: Synapses, chip: ChipModel, reserve: int) -> list[BcallError]:
    """Every neuron with more inputs than CAM entries that may be filled."""
    limit, network = chip.cam.entries - reserve, synapses.network
    over = np.flatnonzero(synapses.cam_demand > limit)
    if not over.size:
        return []
    counts = counts_by_connection(synapses, over)
    problems: list[BcallError] = []
    for column, neuron in enumerate(over.tolist()):
        detail = ", ".join(f"{c.name} {n}" for c, n in zip(network.connections, counts[:, column].tolist(), strict=True) if n)
        kept = f" ({reserve} of its {chip.cam.entries} are reserved)" if reserve else ""
        fix = f"Its inputs: {detail}. {_ADVICE}"
        where, used = synapses.name(neuron + synapses.inputs), int(synapses.cam_demand[neuron])
        problems.append(FanInExceeded(f"more CAM entries than it has{kept}", where=where, used=used, limit=limit, fix=fix))
    return problems


def counts_by_connection(synapses: Synapses, neurons: IntArray) -> IntArray:
    """CAM entries that each connection takes of some neurons, shape (connections, neurons)."""
    column = np.full(synapses.neurons, -1)
    column[neurons] = np.arange(neurons.size)
    mine = column[synapses.target] >= 0
    counts = np.zeros((len(synapses.network.connections), neurons.size), dtype=np.int64)
    np.add.at(counts, (synapses.connection[mine], column[synapses.target[mine]]), synapses.multiplicity[mine])
    return counts


def prepared(
    network: Network, chip: ChipModel, options: MapOptions, mapping: Mapping
) -> tuple[Synapses, list[Departure], list[BcallError]]:
    """The synapses of the network after the fan-in policy, what it changed, and the neurons with too many inputs still."""
    synapses = expand(network)
    if options.fan_in == "refuse":
        return synapses, [], fan_in_problems(synapses, chip, options.reserve)
    if options.fan_in == "sample":
        changed, departures = sampled(synapses, chip, options.reserve, options.seed)
        return expand(changed), departures, []
    changed, departures, problems = relayed(synapses, chip, options.reserve, mapping.relay)
    return expand(changed), departures, problems
