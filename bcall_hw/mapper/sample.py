"""A random part of the inputs of neurons that have more than CAM entries."""

from __future__ import annotations

import numpy as np

from bcall_hw import random_bits
from bcall_hw.chip_model import ChipModel
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.network import Network


def sampled(synapses: Synapses, chip: ChipModel, reserve: int, seed: int) -> tuple[Network, list[Departure]]:
    """The network with a random part of the inputs of every neuron that has too many.

    A neuron keeps its synapses in a random order of its own for as long as they find room; every synapse is as likely.
    """
    limit, network = chip.cam.entries - reserve, synapses.network
    over = np.flatnonzero(synapses.cam_demand > limit)
    if not over.size:
        return network, []
    keep = np.ones(synapses.source.size, dtype=np.bool_)
    order = np.argsort(synapses.target, kind="stable")
    starts = np.searchsorted(synapses.target[order], np.arange(synapses.neurons + 1))
    for neuron in over.tolist():
        rows = order[starts[neuron] : starts[neuron + 1]]
        rows = rows[random_bits.permutation(seed, f"sample/{synapses.name(neuron + synapses.inputs)}", rows.size)]
        keep[rows] = np.cumsum(synapses.multiplicity[rows]) <= limit
    lost = np.bincount(synapses.connection[~keep], minlength=len(network.connections))
    total = np.bincount(synapses.connection, minlength=len(network.connections))
    counts = zip(network.connections, lost.tolist(), total.tolist(), strict=True)
    parts = [f"{c.name} {n:,} of {t:,}" for c, n, t in counts if n]
    worst = int(np.bincount(synapses.target[~keep], minlength=synapses.neurons).max())
    text = f"sample: {over.size} neurons lose {int(lost.sum()):,} of {synapses.source.size:,} synapses"
    text += f" (at most {worst} each; by connection: {', '.join(parts)})"
    names = [synapses.name(int(n) + synapses.inputs) for n in over]
    changed = np.flatnonzero(lost).tolist()
    connections = [synapses.kept(i, keep) if i in changed else c for i, c in enumerate(network.connections)]
    return network.model_copy(update={"connections": tuple(connections)}), [Departure("sample", text, names)]
