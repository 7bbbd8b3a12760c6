"""CAM entries: one per unit of multiplicity; a plastic synapse keeps its entries whether they are present or parked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.chip_config import Registers
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, FanInExceeded, InvalidValue, UnknownName
from bcall_hw.mapper.place import Placement
from bcall_hw.network import Connection, Network, Population


@dataclass(frozen=True, eq=False)
class PlasticSlots:
    """Where the synapses of a plastic connection are.

    Attributes:
        sources: int, shape (posts, slots): source index of each synapse, -1 for an unused slot.
        tags: int, same shape: the tag that the synapse listens to while it is present.
        addresses: int, shape (posts, 3): chip, core, neuron of each post neuron.
        entries: int, shape (posts, slots, multiplicity): its CAM entries.
        type_code: synapse type of all of them.
    """

    sources: IntArray
    tags: IntArray
    addresses: IntArray
    entries: IntArray
    type_code: int


def cam_entries(
    network: Network,
    chip: ChipModel,
    placement: Placement,
    tags: Mapping[str, IntArray],
    efficacy: Mapping[str, BoolArray],
    cam: Registers,
    chips: tuple[int, ...],
) -> dict[str, PlasticSlots]:
    """Fill `cam` in place, connection by connection, and return the plastic slots; fan-ins were checked before."""
    g = chip.geometry
    unknown = sorted(efficacy.keys() - {c.name for c in network.connections if c.plastic})
    if unknown:
        raise UnknownName(
            "efficacy given for what is no plastic connection", where=f"network {network.name!r}", used=unknown[0]
        )
    used = np.zeros((len(chips), g.cores, g.neurons), dtype=np.int64)
    plastic: dict[str, PlasticSlots] = {}
    for connection in network.connections:
        source, target, multiplicity = network.synapses(connection)
        address = placement.addresses[connection.target][target]
        index = (np.searchsorted(chips, address[:, 0]), address[:, 1], address[:, 2])
        tag = tags[connection.source][source]
        code = chip.synapse_type(connection.synapse).code
        # Synapses come sorted by target: number each one's entries from its neuron's first free entry.
        before = np.cumsum(multiplicity) - multiplicity
        first_of_target = np.searchsorted(target, target, side="left")
        first = used[index] + before - before[first_of_target]
        np.add.at(used, index, multiplicity)
        rows = np.repeat(np.arange(source.size), multiplicity)
        entry = first[rows] + np.arange(rows.size) - before[rows]
        written = np.zeros(rows.size, dtype=cam.dtype)
        written["source_core"], written["source_neuron"] = tag[rows] // g.neurons, tag[rows] % g.neurons
        written["type"] = code
        cam[index[0][rows], index[1][rows], index[2][rows], entry] = written
        if connection.plastic:
            slots = _slots(connection, source, target, multiplicity, first, tag, placement.addresses[connection.target], code)
            plastic[connection.name] = slots
            on = efficacy.get(connection.name)
            set_efficacy(
                cam, chip, chips, slots, np.ones(slots.sources.shape, dtype=bool) if on is None else on, connection.name
            )
    return plastic


def fan_in_counts(network: Network, population: Population) -> list[tuple[str, IntArray]]:
    """For each connection to a population: its name, and the CAM entries that it takes of each neuron."""
    counts = []
    for connection in network.connections:
        if connection.target == population.name:
            _, target, multiplicity = network.synapses(connection)
            count = np.bincount(target, weights=multiplicity, minlength=population.size)
            counts.append((connection.name, count.astype(np.int64)))
    return counts


def fan_in_problems(network: Network, chip: ChipModel) -> list[BcallError]:
    """Every neuron with more inputs than CAM entries."""
    problems: list[BcallError] = []
    for population in network.populations:
        parts = fan_in_counts(network, population)
        total = sum((count for _, count in parts), np.zeros(population.size, dtype=np.int64))
        for neuron in np.flatnonzero(total > chip.cam.entries).tolist():
            detail = ", ".join(f"{name} {int(count[neuron])}" for name, count in parts if count[neuron])
            where, used = f"population {population.name!r} neuron {neuron}", int(total[neuron])
            fix = f"Its inputs: {detail}. Lower the fan-in or the multiplicity."
            problems.append(
                FanInExceeded("more CAM entries than it has", where=where, used=used, limit=chip.cam.entries, fix=fix)
            )
    return problems


def _slots(
    connection: Connection, source: IntArray, target: IntArray, multiplicity: IntArray, first: IntArray, tag: IntArray,
    addresses: IntArray, code: int,
) -> PlasticSlots:  # fmt: skip
    if multiplicity.size and int(multiplicity.min()) != int(multiplicity.max()):
        used = (int(multiplicity.min()), int(multiplicity.max()))
        raise InvalidValue("plastic synapses need one multiplicity", where=f"connection {connection.name!r}", used=used)
    m = int(multiplicity[0]) if multiplicity.size else 1
    counts = np.bincount(target, minlength=len(addresses))
    shape = (len(addresses), int(counts.max(initial=0)))
    slot = np.arange(source.size) - np.searchsorted(target, target, side="left")
    sources, tags = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    entries = np.full((*shape, m), -1, dtype=np.int64)
    sources[target, slot], tags[target, slot] = source, tag
    entries[target, slot] = first[:, None] + np.arange(m)
    return PlasticSlots(sources, tags, addresses, entries, code)


def set_efficacy(
    cam: Registers, chip: ChipModel, chips: tuple[int, ...], slots: PlasticSlots, on: BoolArray, name: str
) -> None:
    """Make plastic synapses present or parked, in place, for a whole table of efficacies.

    Raises:
        InvalidValue: the table has another shape.
    """
    if on.shape != slots.sources.shape:
        where = f"efficacy of connection {name!r}"
        raise InvalidValue("wrong shape", where=where, used=on.shape, limit=slots.sources.shape)
    post, slot = np.nonzero(slots.sources >= 0)
    write_flips(cam, chip, chips, slots, post, slot, on[post, slot])


def write_flips(
    cam: Registers, chip: ChipModel, chips: tuple[int, ...], slots: PlasticSlots, post: IntArray, slot: IntArray, on: BoolArray
) -> None:
    """Make some plastic synapses present (their tag) or parked (the reserved tag, which no source uses), in place."""
    parked_core, parked_neuron = chip.tags.reserved[0]
    tag, neurons = slots.tags[post, slot], chip.geometry.neurons
    values = np.zeros((len(post), slots.entries.shape[2]), dtype=cam.dtype)
    values["source_core"] = np.where(on, tag // neurons, parked_core)[:, None]
    values["source_neuron"] = np.where(on, tag % neurons, parked_neuron)[:, None]
    values["type"] = slots.type_code
    address = slots.addresses[post]
    chip_index = np.searchsorted(chips, address[:, 0])
    cam[chip_index[:, None], address[:, 1:2], address[:, 2:3], slots.entries[post, slot]] = values
