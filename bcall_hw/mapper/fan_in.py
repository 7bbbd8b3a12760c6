"""Neurons with more inputs than CAM entries: refused, or given a part of their inputs (`sample`), or helped (`relay`)."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, FanInExceeded
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.efficacy import present_at_first
from bcall_hw.mapper.options import MapOptions
from bcall_hw.mapper.relay import relayed
from bcall_hw.mapper.sample import sampled
from bcall_hw.mapper.synapses import Synapses, expand
from bcall_hw.mapping import Mapping
from bcall_hw.network import AllToAll, Connection, Network, RandomFanIn

#: More synapses than this of one population are not listed.
_MANY = 8_000_000
_ADVICE = "Lower the fan-in or the multiplicity, or choose fan_in sample or relay (--fan-in)."


def crowded_problems(network: Network, chip: ChipModel, options: MapOptions) -> list[BcallError]:
    """Populations whose synapses are too many to list one by one, found without listing them."""
    limit = chip.cam.entries - options.reserve
    problems: list[BcallError] = []
    for population in network.populations:
        least = {
            c.name: _sources_of_each(network, c) * c.multiplicity for c in network.connections if c.target == population.name
        }
        fan_in = sum(least.values())
        if fan_in <= limit or fan_in * population.size <= _MANY:
            continue
        detail = ", ".join(f"{name} {n:,}" for name, n in least.items() if n)
        where, fix = f"population {population.name!r}, every neuron", f"Its inputs: {detail}. {_ADVICE}"
        if options.fan_in != "refuse":
            fix = f"Its inputs: {detail}. Beyond {_MANY:,} synapses there is no {options.fan_in}: lower the fan-in."
        problems.append(FanInExceeded("more CAM entries than it has", where=where, used=fan_in, limit=limit, fix=fix))
    return problems


def _sources_of_each(network: Network, connection: Connection) -> int:
    """Sources of each target neuron, where the rule tells that for all alike; else 0."""
    if isinstance(connection.rule, AllToAll):
        return network.size_of(connection.source)
    return connection.rule.fan_in if isinstance(connection.rule, RandomFanIn) else 0


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


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network after the fan-in policy.

    Attributes:
        synapses: of the network that is to be mapped.
        present: see `present_at_first`, of these synapses.
        departures: what the policy changed.
        problems: neurons that still have too many inputs.
    """

    synapses: Synapses
    present: dict[str, BoolArray]
    departures: list[Departure]
    problems: list[BcallError]


def prepared(
    network: Network, chip: ChipModel, options: MapOptions, mapping: Mapping, efficacy: MappingOf[str, npt.ArrayLike]
) -> Prepared:
    """Expand a network and carry out the fan-in policy.

    Args:
        efficacy: of the network as it was given.

    Raises:
        InvalidValue: a connection's rule or an efficacy cannot be carried out.
    """
    synapses = expand(network)
    present = present_at_first(synapses, efficacy)
    if options.fan_in == "sample":
        changed, keep, departures = sampled(synapses, chip, options.reserve, options.seed)
        numbers = {c.name: index for index, c in enumerate(network.connections)}
        kept = {name: values[keep[synapses.of(numbers[name])]] for name, values in present.items()}
        return Prepared(expand(changed), kept, departures, [])
    if options.fan_in == "relay":  # plastic synapses stay as they are
        changed, departures, problems = relayed(synapses, chip, options.reserve, mapping.relay)
        relays = expand(changed)
        return Prepared(relays, present, departures, problems or fan_in_problems(relays, chip, options.reserve))
    return Prepared(synapses, present, [], fan_in_problems(synapses, chip, options.reserve))
