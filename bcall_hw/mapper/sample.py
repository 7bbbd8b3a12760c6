"""A random part of the inputs of neurons that have more than CAM entries."""

from __future__ import annotations

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray
from bcall_hw.chip_model import ChipModel
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.network import Network


def sampled(synapses: Synapses, chip: ChipModel, reserve: int, seed: int) -> tuple[Network, BoolArray, list[Departure]]:
    """The network with a random part of the inputs of every neuron that has too many.

    A neuron takes its synapses in a random order of its own, each that still finds room: of synapses with the same
    multiplicity every one is as likely.

    Returns:
        The network, which synapses are kept, and what was lost.
    """
    limit, network = chip.cam.entries - reserve, synapses.network
    over = np.flatnonzero(synapses.cam_demand > limit)
    keep = np.ones(synapses.source.size, dtype=np.bool_)
    if not over.size:
        return network, keep, []
    order = np.argsort(synapses.target, kind="stable")
    starts = np.searchsorted(synapses.target[order], np.arange(synapses.neurons + 1))
    for neuron in over.tolist():
        rows = order[starts[neuron] : starts[neuron + 1]]
        rows = rows[random_bits.permutation(seed, f"sample/{synapses.name(neuron + synapses.inputs)}", rows.size)]
        room = limit
        for row, multiplicity in zip(rows.tolist(), synapses.multiplicity[rows].tolist(), strict=True):
            keep[row] = multiplicity <= room
            room -= multiplicity if keep[row] else 0
    lost = np.bincount(synapses.connection[~keep], minlength=len(network.connections))
    total = np.bincount(synapses.connection, minlength=len(network.connections))
    counts = zip(network.connections, lost.tolist(), total.tolist(), strict=True)
    parts = [f"{c.name} {n:,} of {t:,}" for c, n, t in counts if n]
    worst = int(np.bincount(synapses.target[~keep], minlength=synapses.neurons).max())
    deaf = over[np.bincount(synapses.target[keep], minlength=synapses.neurons)[over] == 0].tolist()
    text = f"sample: {over.size} neurons lose {int(lost.sum()):,} of {synapses.source.size:,} synapses"
    text += f" (at most {worst} each; by connection: {', '.join(parts)})"
    if deaf:
        text += f"; {len(deaf)} of them keep none, first {synapses.name(deaf[0] + synapses.inputs)}"
    names = [synapses.name(int(n) + synapses.inputs) for n in over]
    changed = np.flatnonzero(lost).tolist()
    connections = [synapses.kept(i, keep) if i in changed else c for i, c in enumerate(network.connections)]
    changed_network = network.model_copy(update={"connections": tuple(connections)})
    return changed_network, keep, [Departure("sample", text, names)]
