"""What an estimator gets wrong on model neurons, taken out of what it says of the board."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.calibrate.estimate import Estimate

#: A model neuron whose estimate is further off than this factor is a failed fit.
_FAILED = 2.0
#: Model neurons that a correction needs, and the error of all neurons where there are fewer.
_FEWEST, _UNCORRECTED = 12, 0.1


def known(estimate: Estimate) -> FloatArray:
    """The values, and a core's median in the place of those that were not measured; shape (cores, neurons).

    Needs a measured neuron; a core with too few of them takes the median of all cores.
    """
    median = np.nan_to_num(estimate.median, nan=float(np.median(estimate.value[estimate.measured])))
    return np.where(estimate.measured, estimate.value, median[:, None])


class Correction:
    """ln(seen / true) of time constant and weight on model neurons, as a plane over both truths.

    Args:
        tau_s, weight_a: truth of the model neurons.
        seen_tau_s, seen_weight_a: what the estimator says of them; NaN where it failed.
    """

    def __init__(self, tau_s: FloatArray, weight_a: FloatArray, seen_tau_s: FloatArray, seen_weight_a: FloatArray) -> None:
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = np.log(np.stack([seen_tau_s / tau_s, seen_weight_a / weight_a]))
        kept = np.isfinite(gap).all(axis=0) & (np.abs(gap) < np.log(_FAILED)).all(axis=0)
        self._centre = np.array([np.median(np.log(tau_s)), np.median(np.log(weight_a))])
        self._plane: FloatArray = np.zeros((3, 2))
        self.common = 0.0
        if kept.sum() < _FEWEST:
            self.common = _UNCORRECTED
            return
        features = self._features(tau_s[kept], weight_a[kept])
        weights: FloatArray = np.ones(int(kept.sum()))
        for _ in range(8):  # least absolute deviations, near enough
            scaled: FloatArray = features * weights[:, None]
            self._plane = np.asarray(
                np.linalg.lstsq(scaled, gap[:, kept].T * weights[:, None], rcond=None)[0], dtype=np.float64
            )
            rest = np.abs(gap[:, kept].T - features @ self._plane).max(axis=1)
            weights = 1.0 / np.sqrt(np.maximum(rest, 1e-3))

    def _features(self, tau_s: FloatArray, weight_a: FloatArray) -> FloatArray:
        # Bounded: a plane is for the bulk of the neurons.
        at = np.clip(np.stack([np.log(tau_s), np.log(weight_a)]) - self._centre[:, None], -0.7, 0.7)
        return np.column_stack([np.ones(tau_s.size), *at])

    def applied(self, tau: Estimate, weight: Estimate) -> tuple[Estimate, Estimate]:
        """Both estimates without the error; shapes (cores, neurons)."""
        gap = self._features(known(tau).ravel(), known(weight).ravel()) @ self._plane
        shape = tau.value.shape
        return tuple(  # type: ignore[return-value]
            replace(e.scaled(np.exp(-gap[:, column].reshape(shape))), common=float(np.hypot(e.common, self.common)))
            for column, e in enumerate((tau, weight))
        )
