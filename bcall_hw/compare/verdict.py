"""From distances between repeats to a verdict: permutation test, equivalence test, Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.compare.settings import Settings

#: A sum of distances may be off by so much of itself through rounding.
_ROUNDING = 1e-9
#: Labellings that are worked out together.
_AT_ONCE = 4096


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


def judge(matrices: Sequence[FloatArray], n_a: int, labels: BoolArray, settings: Settings) -> list[Judged]:
    """Judge symmetric matrices of distances between all repeats, A's first.

    The statistic is the energy distance, twice the mean across less the mean within A and within B (Szekely and Rizzo 2013);
    under exchange of labels its rank among `labels` is the p-value (Phipson and Smyth 2010: the observed one counts too). The
    ratio's spread comes from leaving each repeat out (jackknife of a two-sample U-statistic, Arvesen 1969).
    """
    if not matrices:
        return []
    n = len(matrices[0])
    pairs = np.stack([matrix[np.triu_indices(n, k=1)] for matrix in matrices], axis=1)
    own = np.arange(n) < n_a
    (across,), (within,) = _means(pairs, own[None])
    slack = _ROUNDING * np.nan_to_num(pairs).max(axis=0)
    as_large = np.zeros(len(matrices), dtype=np.int64)
    for first in range(0, len(labels), _AT_ONCE):
        drawn_across, drawn_within = _means(np.nan_to_num(pairs), labels[first : first + _AT_ONCE])
        as_large += np.count_nonzero(drawn_across - drawn_within >= across - within - slack, axis=0)
    found = []
    for k, matrix in enumerate(matrices):
        if not np.isfinite(matrix).all():
            found.append(Judged(*(float("nan"),) * 5))
            continue
        p = (1 + int(as_large[k])) / (1 + len(labels))
        p_equivalence, upper = _equivalence(matrix, own, float(across[k]), float(within[k]), settings)
        found.append(Judged(float(across[k]), float(within[k]), p, p_equivalence, upper))
    return found


def _means(pairs: FloatArray, labels: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Mean distance across, and within both sides, for each labelling and matrix.

    Args:
        pairs: distances of each two repeats, by upper triangle, shape (pairs, matrices).
        labels: which repeats are A's, shape (labellings, repeats); as many in each.
    """
    first, second = np.triu_indices(labels.shape[1], k=1)
    n_a = int(labels[0].sum())
    n_b = labels.shape[1] - n_a
    both_a = (labels[:, first] & labels[:, second]).astype(np.float64)
    both_b = (~labels[:, first] & ~labels[:, second]).astype(np.float64)
    in_a, in_b = both_a @ pairs, both_b @ pairs
    across = (pairs.sum(axis=0) - in_a - in_b) / (n_a * n_b)
    return across, (in_a * (2 / (n_a * (n_a - 1))) + in_b * (2 / (n_b * (n_b - 1)))) / 2


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
            rest, labels = matrix[np.ix_(kept, kept)], is_a[kept]
            inside = sum(_mean_within(rest[np.ix_(mine, mine)]) for mine in (labels, ~labels)) / 2
            left_out.append(np.log(max(float(rest[np.ix_(labels, ~labels)].mean()), 1e-300)) - np.log(max(inside, 1e-300)))
        size = len(left_out)
        variance += (size - 1) / size * float(np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
    log_ratio, error, freedom = float(np.log(across / within)), float(np.sqrt(variance)), n - 2
    if error == 0:
        return float(log_ratio >= np.log(settings.margin)), across / within
    p = float(stats.t.sf((np.log(settings.margin) - log_ratio) / error, freedom))
    return p, float(np.exp(log_ratio + error * stats.t.isf(settings.alpha_equivalence, freedom)))


def _mean_within(matrix: FloatArray) -> float:
    return float(matrix.sum() / (len(matrix) * (len(matrix) - 1)))


def holm(p_values: FloatArray) -> FloatArray:
    """Holm's (1979) adjusted p-values; NaN takes no part."""
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted
