"""CAM entries: one per unit of multiplicity; a plastic synapse keeps its entries whether they are present or parked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.calibration import Calibration
from bcall_hw.chip_config import ChipConfig, Registers
from bcall_hw.errors import BcallError, InvalidValue
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.defective import Unit, entries_around_defects, silence
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.place import Placement
from bcall_hw.mapper.plastic import PlasticSlots, write_flips
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapper.tags import Routes
from bcall_hw.mapper.trim import trimmed


@dataclass(frozen=True, eq=False)
class Cam:
    """The CAM of a mapping.

    Attributes:
        registers: shape (chips, cores, neurons, entries).
        copies: int, shape (synapses,): CAM entries of each synapse.
        plastic: for each plastic connection, where its synapses are.
        departures: trims.
    """

    registers: Registers
    copies: IntArray
    plastic: dict[str, PlasticSlots]
    departures: list[Departure]


def cam_entries(
    synapses: Synapses, placement: Placement, board: Board, routes: Routes, calibration: Calibration,
    present: Mapping[str, BoolArray],
) -> tuple[Cam, list[BcallError]]:  # fmt: skip
    """Fill the CAM of every neuron; fan-ins were checked before.

    Args:
        present: see `present_at_first`; all plastic synapses of other connections are present.

    Returns:
        The CAM, and what defects stand in its way.
    """
    copies, departures = trimmed(synapses, placement, board, routes, calibration)
    cam = ChipConfig.after_opening(board.chip, board.chips).cam.copy()
    made = Cam(cam, copies, {}, departures)
    chip, neurons = board.chip, board.chip.geometry.neurons
    types = np.array([chip.synapse_type(c.synapse).code for c in synapses.network.connections], dtype=np.int64)
    core, seat = placement.core_of[synapses.target], routes.seat[synapses.target]
    tag = routes.tag[synapses.source, board.chip_index[core]]
    # Number each neuron's entries in the order of the table.
    order = np.argsort(synapses.target, kind="stable")
    before = np.cumsum(copies[order]) - copies[order]
    first = np.empty(order.size, dtype=np.int64)
    first[order] = before - before[np.searchsorted(synapses.target[order], synapses.target[order])]
    row = np.repeat(np.arange(copies.size), copies)
    entry = first[row] + np.arange(row.size) - np.repeat(np.cumsum(copies) - copies, copies)
    flat = cam.reshape(len(board.cores), neurons, chip.cam.entries)
    problems: list[BcallError] = []
    is_plastic = np.array([c.plastic for c in synapses.network.connections], dtype=np.bool_)
    for (k, number), neuron in _on_defects(placement, routes, board).items():
        mine = np.flatnonzero(synapses.target[row] == neuron)
        units = [Unit(int(tag[row[i]]), bool(is_plastic[synapses.connection[row[i]]])) for i in mine.tolist()]
        chosen, problem = entries_around_defects(board, (k, number), units, synapses.name(neuron + synapses.inputs))
        if problem is not None:
            problems.append(problem)
        else:
            entry[mine] = chosen
    if problems:
        return made, problems
    words = np.zeros(row.size, dtype=cam.dtype)
    words["source_core"], words["source_neuron"] = tag[row] // neurons, tag[row] % neurons
    words["type"] = types[synapses.connection[row]]
    flat[core[row], seat[row], entry] = words
    problems = silence(board, flat, routes)
    start = np.concatenate([[0], np.cumsum(copies)])
    for index, connection in enumerate(synapses.network.connections):
        if not connection.plastic:
            continue
        slots = _slots(synapses, index, copies, start, entry, tag, addresses(placement, board, routes), int(types[index]))
        made.plastic[connection.name] = slots
        if connection.name in present:
            post, slot = np.nonzero(slots.sources >= 0)  # the order of the table
            write_flips(cam, chip, board.chips, slots, post, slot, present[connection.name])
    return made, problems


def addresses(placement: Placement, board: Board, routes: Routes) -> IntArray:
    """Chip, core and neuron number of each neuron, shape (neurons, 3)."""
    cores = np.array(board.cores, dtype=np.int64)[placement.core_of]
    return np.column_stack([cores, routes.seat])


def _on_defects(placement: Placement, routes: Routes, board: Board) -> dict[tuple[int, int], int]:
    """Neurons whose seat has a dead or stuck CAM entry, by seat."""
    listed = {tuple(place[:3]) for place in (*board.defects.dead_cam, *board.defects.stuck_tag_bits)}
    seats = {(board.cores.index((chip, core)), number) for chip, core, number in listed if chip in board.chips}
    sitting = {(int(k), int(n)): i for i, (k, n) in enumerate(zip(placement.core_of, routes.seat, strict=True))}
    return {seat: sitting[seat] for seat in sorted(seats) if seat in sitting}


def _slots(
    synapses: Synapses, index: int, copies: IntArray, start: IntArray, entry: IntArray, tag: IntArray, address: IntArray,
    code: int,
) -> PlasticSlots:  # fmt: skip
    connection, rows = synapses.network.connections[index], synapses.of(index)
    multiplicity = synapses.multiplicity[rows]
    if multiplicity.size and int(multiplicity.min()) != int(multiplicity.max()):
        used = (int(multiplicity.min()), int(multiplicity.max()))
        fix = "Give every synapse of a plastic connection the same multiplicity."
        where = f"connection {connection.name!r}"
        raise InvalidValue("plastic synapses need one multiplicity", where=where, used=used, fix=fix)
    neurons = synapses.neurons_of(connection.target)
    source = synapses.source[rows] - synapses.first_source[connection.source]
    target = synapses.target[rows] - neurons.start
    counts = np.bincount(target, minlength=neurons.stop - neurons.start)
    shape = (counts.size, int(counts.max(initial=0)))
    slot = np.arange(source.size) - np.searchsorted(target, target, side="left")
    sources, tags = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    most = int(copies[rows].max(initial=connection.multiplicity))
    entries = np.full((*shape, most), -1, dtype=np.int64)
    sources[target, slot], tags[target, slot] = source, tag[rows]
    for copy in range(most):
        has = copies[rows] > copy
        entries[target[has], slot[has], copy] = entry[start[:-1][rows][has] + copy]
    return PlasticSlots(sources, tags, address[neurons], entries, code)
