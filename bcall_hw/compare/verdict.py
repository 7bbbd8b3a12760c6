"""From distances between repeats to a verdict: permutation test, equivalence test, Holm's correction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.compare.settings import Settings

#: A sum of distances may be off by so much of itself through rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Judged:
    """One quantity of one population before correction for the others; NaN where it is undefined.

    Attributes:
        across: mean distance between a repeat of A and one of B; `within`: between two of one side, both sides alike.
        p: of so large an excess of across over within if labels meant nothing (permutation).
        p_equivalence: of so small a ratio across / within if it were the margin (jackknife over repeats, Student's t).
        ratio_upper: one-sided upper bound of the ratio at the level.
    """

    across: float
    within: float
    p: float
    p_equivalence: float
    ratio_upper: float

    @property
    def ratio(self) -> float:
        """Across / within; 1 where both are 0, infinite where only within is."""
        return ratio_of(self.across, self.within)


def ratio_of(across: float, within: float) -> float:
    """Across / within; 1 where both are 0, infinite where only within is."""
    if within > 0:
        return across / within
    return 1.0 if across == 0 else float("inf") if across > 0 else float("nan")


def labellings(n_a: int, n_b: int, settings: Settings, tests: int) -> BoolArray:
    """Random ways to call n_a of n_a + n_b repeats "A", shape (ways, repeats).

    So many that the smallest p still counts after Holm's correction over all tests.
    """
    ways = max(settings.permutations, int(np.ceil(10 * tests / settings.alpha)))
    draws = random_bits.raw_bits(settings.seed, f"compare/labels/{n_a}/{n_b}", ways * (n_a + n_b)).reshape(ways, -1)
    labels = np.zeros(draws.shape, dtype=bool)
    np.put_along_axis(labels, np.argsort(draws, axis=1, kind="stable")[:, :n_a], True, axis=1)
    return labels


def judge(matrix: FloatArray, n_a: int, labels: BoolArray, settings: Settings) -> Judged:
    """Judge a symmetric matrix of distances between all repeats, A's first.

    The statistic is the energy distance, twice the mean across less the mean within A and within B (Szekely and Rizzo 2013);
    under exchange of labels its rank among `labels` is the p-value (Phipson and Smyth 2010: the observed one counts too). The
    ratio's spread comes from leaving each repeat out (jackknife of a two-sample U-statistic, Arvesen 1969).
    """
    n = len(matrix)
    if not np.isfinite(matrix).all():
        return Judged(*(float("nan"),) * 5)
    own = np.zeros((1, n), dtype=bool)
    own[0, :n_a] = True
    across, within_a, within_b = (float(v[0]) for v in _means(matrix, own))
    within = (within_a + within_b) / 2
    observed = across - within
    drawn_across, drawn_a, drawn_b = _means(matrix, labels)
    slack = _ROUNDING * float(matrix.max(initial=0.0))
    as_large = np.count_nonzero(drawn_across - (drawn_a + drawn_b) / 2 >= observed - slack)
    p = (1 + as_large) / (1 + len(labels))
    p_equivalence, upper = _equivalence(matrix, own[0], across, within, settings)
    return Judged(across, within, p, p_equivalence, upper)


def _means(matrix: FloatArray, labels: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean distance across, within A, within B, for each labelling."""
    a = labels.astype(np.float64)
    b = 1.0 - a
    to_a = a @ matrix
    n_a, n_b = a.sum(axis=1), b.sum(axis=1)
    across = np.sum(to_a * b, axis=1) / (n_a * n_b)
    within_a = np.sum(to_a * a, axis=1) / (n_a * (n_a - 1))
    within_b = np.sum((b @ matrix) * b, axis=1) / (n_b * (n_b - 1))
    return across, within_a, within_b


def _equivalence(matrix: FloatArray, is_a: BoolArray, across: float, within: float, settings: Settings) -> tuple[float, float]:
    """P of a ratio at the margin, and the ratio's upper bound."""
    if within <= 0:
        return (0.0, 1.0) if across == 0 else (1.0, float("inf"))
    if across <= 0:
        return 0.0, 0.0
    n, variance = len(matrix), 0.0
    for side in (is_a, ~is_a):
        left_out = []
        for row in np.flatnonzero(side):
            kept = np.delete(np.arange(n), row)
            means = _means(matrix[np.ix_(kept, kept)], is_a[kept][None])
            inside = float(means[1][0] + means[2][0]) / 2
            left_out.append(np.log(max(float(means[0][0]), 1e-300)) - np.log(max(inside, 1e-300)))
        size = len(left_out)
        variance += (size - 1) / size * float(np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
    log_ratio, error, freedom = float(np.log(across / within)), float(np.sqrt(variance)), n - 2
    if error == 0:
        return float(log_ratio >= np.log(settings.margin)), across / within
    p = float(stats.t.sf((np.log(settings.margin) - log_ratio) / error, freedom))
    return p, float(np.exp(log_ratio + error * stats.t.isf(settings.alpha_equivalence, freedom)))


def holm(p_values: FloatArray) -> FloatArray:
    """Holm's (1979) adjusted p-values; NaN takes no part."""
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted
