"""CAM trim: a neuron whose synapses are weak gets more copies of each, one whose synapses are strong gets fewer."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.calibration import Calibration
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.place import Placement
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapper.tags import Routes


def trimmed(
    synapses: Synapses, placement: Placement, board: Board, routes: Routes, calibration: Calibration
) -> tuple[IntArray, list[Departure]]:
    """CAM entries of each synapse: multiplicity / gain of its neuron and type, to the nearest whole number above zero.

    A neuron that has no room for its trim is left as it is, and named.

    Returns:
        Entries of each synapse, and what was changed.
    """
    types = sorted({c.synapse for c in synapses.network.connections})
    gain = np.ones((len(types), *board.alive.shape))
    for known in calibration.gains:
        synapse, _, quantity = known.quantity.rpartition(".")
        if quantity == "weight_a" and synapse in types and known.chip in board.chips:
            values = [1.0 if value is None else value for value in known.gain]
            gain[types.index(synapse), board.cores.index((known.chip, known.core))] = values
    if np.all(gain == 1.0):
        return synapses.multiplicity, []
    type_of = np.array([types.index(c.synapse) for c in synapses.network.connections], dtype=np.int64)[synapses.connection]
    of_synapse = gain[type_of, placement.core_of[synapses.target], routes.seat[synapses.target]]
    wanted = np.maximum(1, np.floor(synapses.multiplicity / of_synapse + 0.5)).astype(np.int64)
    demand = np.bincount(synapses.target, weights=wanted, minlength=synapses.neurons)
    no_room = demand > board.sound_entries[placement.core_of, routes.seat]
    copies = np.where(no_room[synapses.target], synapses.multiplicity, wanted)
    changed = np.unique(synapses.target[copies != synapses.multiplicity])
    departures = []
    if changed.size:
        used = int(copies.sum() - synapses.multiplicity.sum())
        what = f"CAM trim: {changed.size} neurons have other multiplicities than the network's ({used:+,} CAM entries in all)"
        departures.append(Departure("trim", what, [synapses.name(n + synapses.inputs) for n in changed.tolist()]))
    left = np.flatnonzero(no_room & (np.bincount(synapses.target, wanted != synapses.multiplicity, synapses.neurons) > 0))
    if left.size:
        what = f"CAM trim: {left.size} neurons have no room for it and keep their multiplicities"
        departures.append(Departure("untrimmed", what, [synapses.name(n + synapses.inputs) for n in left.tolist()]))
    return copies, departures
