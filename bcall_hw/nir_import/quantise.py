"""Real weights to multiplicities: whole numbers of CAM entries of two currents, one for each sign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.errors import FanInExceeded

#: Steps that are tried, from the finest that needs no saturation to be useful to one that leaves the largest weight alone.
_CANDIDATES = 300
#: Times that each sign's step is searched with the other's held.
_ROUNDS = 2
#: Relative errors closer than this are equal.
_SAME = 1e-6


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
    largest = float(np.abs(weights).max(initial=0.0))
    if largest == 0.0:
        nothing = np.zeros(weights.shape, dtype=np.int64)
        return Quantised(nothing, 0.0, 0.0, 0.0, 0.0, 0, 0, nothing.sum(axis=1), None)
    found = _search(weights / largest, levels, entries, layer)
    return replace(
        found, excitatory_step=found.excitatory_step * largest, inhibitory_step=found.inhibitory_step * largest,
        largest_error=found.largest_error * largest,
    )  # fmt: skip


def _search(weights: FloatArray, levels: int, entries: int, layer: str) -> Quantised:
    """As `quantise`, for weights of which the largest is 1 in size."""
    steps = np.geomspace(0.4 / (levels + 0.5), 1.999, _CANDIDATES)
    best, unlimited = _best([(step, step) for step in steps], weights, levels, entries, None)
    for _ in range(_ROUNDS):
        for sign in (0, 1):
            if best is not None:
                other = best.tried[1 - sign]
                pairs = [(step, other) if sign == 0 else (other, step) for step in steps]
                best, freer = _best(pairs, weights, levels, entries, best)
                unlimited = min(unlimited, freer, key=_cost)
    if best is None:
        coarsest = _at_steps(weights, levels, (1.999, 1.999))
        neuron = int(coarsest.entries.argmax())
        used, fix = int(coarsest.entries[neuron]), "Prune its inputs, or split the layer."
        where = f"layer {layer!r} neuron {neuron}"
        raise FanInExceeded("needs more CAM entries at any step", where=where, used=used, limit=entries, fix=fix)
    if _cost(unlimited)[0] >= _cost(best)[0]:
        return best
    return replace(best, limited_by=int(unlimited.entries.argmax()))


def _best(
    pairs: Iterable[tuple[float, float]], weights: FloatArray, levels: int, entries: int, best: Quantised | None
) -> tuple[Quantised | None, Quantised]:
    """The best of some pairs of steps that fits the CAM (or the given one, if better), and the best whether it fits or not."""
    found = [_at_steps(weights, levels, pair) for pair in pairs]
    fitting = [one for one in found if int(one.entries.max()) <= entries] + ([] if best is None else [best])
    return min(fitting, key=_cost, default=None), min(found, key=_cost)


def _cost(found: Quantised) -> tuple[float, int]:
    """Error first, in steps that are no difference; of equal ones the fewest CAM entries."""
    return round(found.relative_rms / _SAME), int(found.entries.sum())


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
