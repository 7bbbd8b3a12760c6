"""A recording with rates changed neuron by neuron, by leaving spikes out: what a changed board would have done to this data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import FloatArray
from bcall_hw.compare.sides import Observed, matched
from bcall_hw.recording import SpikeRecording
from bcall_hw.recording.spikes import indices_in


def thinned(side: Observed, nominal: Observed, changed: Observed, seed: int) -> tuple[Observed, Observed]:
    """A side twice, with rates in the ratio of two others neuron by neuron: what would rise is left out of the first.

    With r the ratio changed / nominal of a neuron's rates under one stimulus, its spikes are kept with probability
    min(1, 1 / r) in the first and min(1, r) in the second. A neuron that is silent before the change stays as it is.

    Raises:
        InvalidValue: the others did not play the same.
    """
    before, after = matched(side, nominal)[1], matched(side, changed)[1]
    kept = matched(side, changed)[0]
    first, second = list[tuple[SpikeRecording, ...]](), list[tuple[SpikeRecording, ...]]()
    for condition, repeats in enumerate(kept.conditions):
        ratios = {name: _ratio(before, after, name, condition) for name in kept.populations}
        lower = {name: 1.0 / np.maximum(1.0, ratio) for name, ratio in ratios.items()}
        upper = {name: np.minimum(1.0, ratio) for name, ratio in ratios.items()}
        for probabilities, label, found in ((lower, "first", first), (upper, "second", second)):
            stream = f"compare/thinned/{label}/{condition}"
            found.append(tuple(_kept(kept, run, probabilities, seed, f"{stream}/{k}") for k, run in enumerate(repeats)))
    return replace(kept, conditions=tuple(first)), replace(kept, conditions=tuple(second))


def _ratio(before: Observed, after: Observed, population: str, condition: int) -> FloatArray:
    """Rate after / rate before of each neuron; 1 for one that is silent before."""
    size = len(before.populations[population])
    counts = [side.trains(population, condition).counts.reshape(-1, size).mean(axis=0) for side in (before, after)]
    return np.where(counts[0] > 0, counts[1] / np.where(counts[0] > 0, counts[0], 1.0), 1.0)


def _kept(
    side: Observed, run: SpikeRecording, probabilities: Mapping[str, FloatArray], seed: int, stream: str
) -> SpikeRecording:
    """Each spike of a population with the probability of its neuron; all others."""
    keep = np.ones(len(run.spikes), dtype=bool)
    for name, places in side.populations.items():
        index = indices_in(run.spikes, places)
        mine = np.flatnonzero(index >= 0)
        drawn = random_bits.uniform(seed, f"{stream}/{name}", len(mine))
        keep[mine] = drawn < probabilities[name][index[mine]]
    return replace(run, spikes=run.spikes[keep])
