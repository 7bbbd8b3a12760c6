"""Real weights to multiplicities: whole numbers of CAM entries of two currents, one for each sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.errors import FanInExceeded

#: Steps that are tried, from the finest that needs no saturation to be useful to one that leaves the largest weight alone.
_CANDIDATES = 300
#: The coarsest step, relative to the largest weight.
_COARSEST = 1.999
#: Times that each sign's step is searched with the other's held.
_ROUNDS = 2
#: Relative errors closer than this are equal.
_SAME = 1e-6
#: Weights that are rounded at a time.
_BLOCK = 2**15


@dataclass(frozen=True, eq=False)
class Quantised:
    """A layer's weights on the chip.

    Attributes:
        multiplicity: int, shape (targets, sources): signed number of CAM entries.
        excitatory_step, inhibitory_step: weight of one entry of each sign (0.0 where there is none).
        relative_rms: root of the summed squared error, relative to the weights' own.
        largest_error: largest |error| of one weight.
        zeroed, saturated: how many weights became 0, and how many lie half a step or more beyond the most levels.
        entries: int, shape (targets,): CAM entries that each neuron uses.
        limited_by: the neuron whose CAM would overflow at a finer step that fits better; None if the fan-in did not matter.
        tried: the steps at which each sign was rounded, before the fit, relative to the largest weight.
    """

    multiplicity: IntArray
    excitatory_step: float
    inhibitory_step: float
    relative_rms: float
    largest_error: float
    zeroed: int
    saturated: int
    entries: IntArray
    limited_by: int | None
    tried: tuple[float, float] = (0.0, 0.0)

    @property
    def weights(self) -> FloatArray:
        """The weights that the chip will have, shape (targets, sources)."""
        m = self.multiplicity
        return np.asarray(np.where(m > 0, self.excitatory_step, self.inhibitory_step) * m, dtype=np.float64)


def quantise(weights: FloatArray, levels: int, entries: int, layer: str) -> Quantised:
    """Round weights to multiplicities -levels to levels, by the step with the least squared error that fits the CAM.

    m = rint(w / step), held at +-levels. One step for both signs is searched first, then one for each sign while the other's
    stands, since excitation and inhibition have currents of their own. To each set of multiplicities the currents are fitted
    by least squares, sum(w m) / sum(m m).

    Args:
        weights: shape (targets, sources), finite.
        levels: largest multiplicity of one weight.
        entries: CAM entries that a neuron may use.
        layer: name, for the error.

    Raises:
        FanInExceeded: no step fits that keeps any weight; names the fullest neuron.
    """
    largest = max(float(weights.max(initial=0.0)), -float(weights.min(initial=0.0)))
    if largest == 0.0:
        nothing = np.zeros(weights.shape, dtype=np.int64)
        return Quantised(nothing, 0.0, 0.0, 0.0, 0.0, 0, 0, nothing.sum(axis=1), None)
    found = _search(weights / largest, levels, entries, layer)
    return replace(
        found, excitatory_step=found.excitatory_step * largest, inhibitory_step=found.inhibitory_step * largest,
        largest_error=found.largest_error * largest,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Tally:
    """What the search needs of one sign at every step, without the matrices.

    Attributes:
        squares: float64, shape (steps,): summed squared error after the fit.
        used: int64, shape (steps, targets): CAM entries that each neuron uses.
    """

    squares: FloatArray
    used: IntArray


def _search(weights: FloatArray, levels: int, entries: int, layer: str) -> Quantised:
    """As `quantise`, for weights of which the largest is 1 in size."""
    steps = np.geomspace(0.4 / (levels + 0.5), _COARSEST, _CANDIDATES)
    # No entry is saved by a finer step: what does not fit at the coarsest fits nowhere.
    coarsest = sum(tally.used[0] for tally in _tallies(weights, levels, steps[-1:]))
    neuron = int(np.argmax(coarsest))
    used = int(np.max(coarsest))
    if used > entries:
        fix, where = "Prune its inputs, or split the layer.", f"layer {layer!r} neuron {neuron}"
        raise FanInExceeded("needs more CAM entries at any step", where=where, used=used, limit=entries, fix=fix)
    tallies = _tallies(weights, levels, steps)
    own = float((weights * weights).sum())
    best, unlimited = _best([(k, k) for k in range(_CANDIDATES)], tallies, own, entries, None)
    for _ in range(_ROUNDS):
        for sign in (0, 1):
            other = best.pair[1 - sign]
            pairs = [(k, other) if sign == 0 else (other, k) for k in range(_CANDIDATES)]
            best, freer = _best(pairs, tallies, own, entries, best)
            unlimited = min(unlimited, freer, key=_cost)
    found = _at_steps(weights, levels, (float(steps[best.pair[0]]), float(steps[best.pair[1]])))
    if unlimited.cost[0] >= best.cost[0]:
        return found
    fullest = tallies[0].used[unlimited.pair[0]] + tallies[1].used[unlimited.pair[1]]
    return replace(found, limited_by=int(fullest.argmax()))


def _tallies(weights: FloatArray, levels: int, steps: FloatArray) -> tuple[_Tally, _Tally]:
    """The tally of each sign, which does not hang on the other's step, at ascending steps; some rows at a time.

    Dot products are einsum's: a BLAS would start threads for vectors that are too short to be worth it.
    """
    targets, sources = weights.shape
    height = max(1, _BLOCK // sources)
    found = []
    for sign in (1.0, -1.0):
        used = np.zeros((len(steps), targets), dtype=np.int64)
        product, square = np.zeros(len(steps)), np.zeros(len(steps))  # sum(w m), sum(m m)
        own = 0.0
        for first in range(0, targets, height):
            block = sign * weights[first : first + height]
            rows, columns = np.nonzero(block > 0)
            sizes = block[rows, columns]
            own += float(np.einsum("i,i", sizes, sizes))
            for k, step in enumerate(steps):
                m = np.minimum(np.rint(sizes / step), levels)
                used[k, first : first + height] = np.bincount(rows, m, len(block))
                product[k] += np.einsum("i,i", sizes, m)
                square[k] += np.einsum("i,i", m, m)
                kept = m > 0  # what is 0 at one step is 0 at every coarser one
                if 2 * int(np.count_nonzero(kept)) < kept.size:
                    rows, sizes = rows[kept], sizes[kept]
        found.append(_Tally(np.maximum(own - product**2 / np.maximum(1.0, square), 0.0), used))
    return found[0], found[1]


@dataclass(frozen=True)
class _Choice:
    """A pair of steps (their indices) and its cost: error first, in steps that are no difference; of equal ones the entries."""

    pair: tuple[int, int]
    cost: tuple[int, int]


def _cost(choice: _Choice) -> tuple[int, int]:
    return choice.cost


def _best(
    pairs: Sequence[tuple[int, int]], tallies: tuple[_Tally, _Tally], own: float, entries: int, best: _Choice | None
) -> tuple[_Choice, _Choice]:
    """The best of some pairs that fits the CAM (or the given one, if better), and the best whether it fits or not.

    Args:
        own: the weights' own summed square.
    """
    found, fitting = [], []
    for pair in pairs:
        squares = sum(float(tally.squares[k]) for tally, k in zip(tallies, pair, strict=True))
        used = tallies[0].used[pair[0]] + tallies[1].used[pair[1]]
        choice = _Choice(pair, (round((squares / own) ** 0.5 / _SAME), int(used.sum())))
        found.append(choice)
        if int(used.max()) <= entries:
            fitting.append(choice)
    return min(fitting + ([] if best is None else [best]), key=_cost), min(found, key=_cost)


def _at_steps(weights: FloatArray, levels: int, tried: tuple[float, float]) -> Quantised:
    """Weights rounded at a step for each sign; the steps are then fitted to the multiplicities."""
    m = np.clip(np.rint(weights / np.where(weights > 0, *tried)), -levels, levels)
    positive, negative = np.maximum(m, 0.0), np.minimum(m, 0.0)
    steps = [float((weights * part).sum() / max(1.0, float((part * part).sum()))) for part in (positive, negative)]
    error = weights - steps[0] * positive - steps[1] * negative
    beyond = np.abs(weights) > (levels + 0.5) * np.where(m > 0, *steps)
    return Quantised(
        multiplicity=m.astype(np.int64), excitatory_step=steps[0], inhibitory_step=steps[1],
        relative_rms=float(np.sqrt((error * error).sum() / (weights * weights).sum())),
        largest_error=float(np.abs(error).max()), zeroed=int(((m == 0) & (weights != 0)).sum()),
        saturated=int((beyond & (m != 0)).sum()), entries=np.abs(m).sum(axis=1).astype(np.int64), limited_by=None, tried=tried,
    )  # fmt: skip
