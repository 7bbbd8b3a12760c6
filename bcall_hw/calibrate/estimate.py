"""A quantity of every neuron with its error, and what it says of a core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, FloatArray

Predict = Callable[[FloatArray], FloatArray]
#: Two-sided 95 % of a normal distribution, in standard deviations.
Z95 = 1.959964
#: Error of a core's median that no estimate falls below (relative), seen on boards whose truth was known.
MODEL_ERROR = 0.002
#: Neurons with a relative error above this are not measured; fewer measured ones than this share do not make a core.
LARGEST_ERROR, SMALLEST_SHARE = 0.25, 0.5
#: Error of a measurement that no weight goes beyond.
LEAST_ERROR = 1e-4
_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Estimate:
    """A positive quantity of every neuron.

    Attributes:
        value: shape (cores, neurons); NaN where it was not measured.
        error: relative standard error, same shape.
        common: relative error that the neurons of a core share: what the equations leave out.
        each: part of `error` that another measurement of the same neuron has too, so that both together do not lessen it.
    """

    value: FloatArray
    error: FloatArray
    common: float = MODEL_ERROR
    each: float = 0.0

    @cached_property
    def measured(self) -> BoolArray:
        """Neurons with a value that is good for something."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.value > 0) & (self.error <= LARGEST_ERROR))

    @cached_property
    def median(self) -> FloatArray:
        """Median of each core, shape (cores,); NaN where fewer than half of its neurons were measured."""
        found = np.full(len(self.value), np.nan)
        for core in np.flatnonzero(self.measured.mean(axis=1) >= SMALLEST_SHARE):
            # Those that are known badly count too: they are the weakest or strongest, and leaving them out moves the median.
            with np.errstate(invalid="ignore"):
                kept = (self.value[core] > 0) & np.isfinite(self.error[core])
            found[core] = np.exp(_median(np.log(self.value[core, kept]), np.minimum(self.error[core, kept], 1.0)))
        return found

    @cached_property
    def spread(self) -> FloatArray:
        """Coefficient of variation over the measured neurons of each core, shape (cores,)."""
        kept = np.where(self.measured, self.value, np.nan)
        found = np.full(len(kept), np.nan)
        some = self.measured.sum(axis=1) > 1
        found[some] = np.nanstd(kept[some], axis=1) / np.nanmean(kept[some], axis=1)
        return found

    @cached_property
    def median_error(self) -> FloatArray:
        """Relative standard error of the core medians, shape (cores,): from errors drawn anew, and the model's error."""
        draws = random_bits.standard_normal_256(0, "calibrate/median", _DRAWS * self.value.shape[1]) / 256.0
        found = np.full(len(self.value), np.nan)
        for core in np.flatnonzero(np.isfinite(self.median)):
            kept = self.measured[core]
            logs, error = np.log(self.value[core, kept]), self.error[core, kept]
            noise = draws.reshape(_DRAWS, -1)[:, kept] * error
            found[core] = np.hypot(np.median(logs + noise, axis=1).std(), self.common)
        return found

    def combined(self, other: Estimate) -> Estimate:
        """Both measurements together, weighted by their errors."""
        with np.errstate(divide="ignore", invalid="ignore"):
            each = max(self.each, other.each)
            a, b = (np.where(e.measured, 1.0 / np.maximum(e.error**2 - each**2, LEAST_ERROR**2), 0.0) for e in (self, other))
            total = a + b
            logs = (_times_log(a, self.value) + _times_log(b, other.value)) / total
            error = np.sqrt(1.0 / total + each**2)
        known, common = total > 0, max(self.common, other.common)
        return Estimate(np.where(known, np.exp(logs), np.nan), np.where(known, error, np.nan), common, each)

    def reshaped(self, shape: tuple[int, int]) -> Estimate:
        """The same neurons in another shape."""
        return replace(self, value=self.value.reshape(shape), error=self.error.reshape(shape))

    def scaled(self, factor: FloatArray) -> Estimate:
        """Every value times a factor that is known."""
        return replace(self, value=self.value * factor)


def _median(values: FloatArray, errors: FloatArray) -> float:
    """Median of values that are known to within normal errors: where half of their probability lies below.

    Values that time stamps have cut to a few steps have a median between steps too.
    """
    from scipy.special import ndtr

    errors = np.maximum(errors, 1e-6)
    below, above = float(values.min()), float(values.max())
    for _ in range(40):
        middle = 0.5 * (below + above)
        if float(ndtr((middle - values) / errors).mean()) < 0.5:
            below = middle
        else:
            above = middle
    return 0.5 * (below + above)


def _times_log(weight: FloatArray, value: FloatArray) -> FloatArray:
    return np.where(weight > 0, weight * np.log(np.where(value > 0, value, 1.0)), 0.0)


def medians(values: FloatArray) -> FloatArray:
    """Median of each row's numbers; NaN where there are none."""
    return np.array([np.nanmedian(row) if np.isfinite(row).any() else np.nan for row in values])


def inverted(predict: Predict, wanted: FloatArray, low: float, high: float, rising: bool) -> tuple[FloatArray, FloatArray]:
    """The argument at which a monotonic function of every neuron has a wanted value, by bisection in its logarithm.

    Args:
        predict: from arguments (cores, neurons) to values of the same shape.
        wanted: values; NaN stays NaN.
        low, high: where to look.
        rising: whether the function rises.

    Returns:
        The argument, and d ln(argument) / d(value) there; NaN where the wanted value lies outside.
    """
    below, above = np.full(wanted.shape, np.log(low)), np.full(wanted.shape, np.log(high))
    found = 0.5 * (below + above)
    for step in range(14):
        with np.errstate(invalid="ignore"):
            value = predict(np.exp(found))
            too_low = (value < wanted) == rising
            below, above = np.where(too_low, found, below), np.where(too_low, above, found)
            middle = 0.5 * (below + above)
            if step < 8:
                found = middle
                continue
            slope = (predict(np.exp(found + 0.002)) - value) / 0.002
            newton = found + (wanted - value) / np.where(slope == 0, np.nan, slope)
        found = np.where(np.isfinite(newton), np.clip(newton, below, above), middle)
    ends = predict(np.full(wanted.shape, low)), predict(np.full(wanted.shape, high))
    lowest, highest = ends if rising else ends[::-1]
    with np.errstate(invalid="ignore"):
        outside = ~((wanted >= lowest) & (wanted <= highest))
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = 0.02 / (predict(np.exp(found + 0.01)) - predict(np.exp(found - 0.01)))
    return np.where(outside, np.nan, np.exp(found)), np.where(outside, np.nan, slope)
