"""From distances between repeats to a verdict: permutation test and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import comb

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.compare.equivalence import equivalence
from bcall_hw.compare.settings import Settings

#: A sum of distances may be off by so much of itself through rounding.
_ROUNDING = 1e-9
#: The most labellings; how many are drawn together, and cells of a table of labellings and pairs.
_MOST_LABELLINGS, _AT_ONCE, _CELLS = 200_000, 4096, 1 << 22
#: Repeats of a side below which a spread cannot be told.
FEWEST = 3


@dataclass(frozen=True)
class Judged:
    """One quantity of one population before correction for the others; NaN where it is undefined.

    Attributes:
        across: mean distance between a repeat of A and one of B; `within`: between two of one side, both sides alike.
        p: of so large an excess of across over within if labels meant nothing (permutation).
        p_equivalence: of so small a ratio across / within if it were the margin.
        ratio_upper: one-sided upper bound of the ratio at the level; `spread`: standard deviation of its logarithm.
    """

    across: float
    within: float
    p: float
    p_equivalence: float
    ratio_upper: float
    spread: float

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
    """Ways to call n_a of n_a + n_b repeats "A", shape (ways, repeats): random ones, or all where those are fewer.

    So many that the smallest p still counts after Holm's correction over all tests, and no more than 200,000.
    """
    n = n_a + n_b
    ways = min(max(settings.permutations, int(np.ceil(10 * tests / settings.alpha))), _MOST_LABELLINGS)
    if comb(n, n_a) <= ways:
        chosen = np.fromiter(chain.from_iterable(combinations(range(n), n_a)), dtype=np.int64).reshape(-1, n_a)
        labels = np.zeros((len(chosen), n), dtype=bool)
        np.put_along_axis(labels, chosen, True, axis=1)
        return labels
    labels = np.zeros((ways, n), dtype=bool)
    for first in range(0, ways, _AT_ONCE):
        part = labels[first : first + _AT_ONCE]
        stream = f"compare/labels/{n_a}/{n_b}/{first}"
        draws = random_bits.raw_bits(settings.seed, stream, part.size).reshape(part.shape)
        np.put_along_axis(part, np.argsort(draws, axis=1, kind="stable")[:, :n_a], True, axis=1)
    return labels


def _are_all(labels: BoolArray) -> bool:
    return len(labels) == comb(labels.shape[1], int(labels[0].sum()))


def smallest_p(labels: BoolArray) -> float:
    """The smallest p that `judge` can find: of two equal sides each labelling counts twice, since A and B can change names."""
    if not _are_all(labels):
        return 1 / (1 + len(labels))
    return (2 if 2 * int(labels[0].sum()) == labels.shape[1] else 1) / len(labels)


def pairs_that_count(n_a: int, n_b: int) -> tuple[IntArray, IntArray]:
    """Every two repeats that are a pair: their indices, the lower first.

    Repeats of the same number on both sides are none: boards of one seed draw the same Poisson inputs there, and such pairs are
    nearer than all others.
    """
    first, second = np.triu_indices(n_a + n_b, k=1)
    counts = (first >= n_a) | (second != first + n_a)
    return first[counts].astype(np.int64), second[counts].astype(np.int64)


def judge(matrices: Sequence[FloatArray], n_a: int, labels: BoolArray, settings: Settings) -> list[Judged]:
    """Judge symmetric matrices of distances between all repeats, A's first; at least three repeats of each side.

    The statistic is the energy distance, twice the mean across less the mean within A and within B (Szekely and Rizzo 2013);
    under exchange of labels its rank among `labels` is the p-value; the observed labelling counts (Phipson and Smyth 2010),
    once more where they are random.
    """
    known = [k for k, matrix in enumerate(matrices) if np.isfinite(matrix).all()]
    found = [Judged(*(float("nan"),) * 6)] * len(matrices)
    if not known:
        return found
    pairs = pairs_that_count(n_a, len(matrices[0]) - n_a)
    distances = np.stack([matrices[k][pairs] for k in known], axis=1)
    own = np.arange(len(matrices[0])) < n_a
    (across,), (within,) = _means(distances, own[None], pairs)
    slack, as_large = _ROUNDING * distances.max(axis=0), np.zeros(len(known), dtype=np.int64)
    at_once = max(1, _CELLS // len(distances))
    for first in range(0, len(labels), at_once):
        drawn_across, drawn_within = _means(distances, labels[first : first + at_once], pairs)
        as_large += np.count_nonzero(drawn_across - drawn_within >= across - within - slack, axis=0)
    more = 0 if _are_all(labels) else 1
    bounds = equivalence(distances, (across, within), pairs, own, settings)
    for column, k in enumerate(known):
        p = (more + int(as_large[column])) / (more + len(labels))
        found[k] = Judged(float(across[column]), float(within[column]), p, *bounds[column])
    return found


def _means(distances: FloatArray, labels: BoolArray, pairs: tuple[IntArray, IntArray]) -> tuple[FloatArray, FloatArray]:
    """Mean distance across, and mean of the means within both sides, for each labelling and quantity.

    Args:
        distances: of the pairs, shape (pairs, quantities); `labels`: which repeats are A's, shape (labellings, repeats).
    """
    first, second = labels[:, pairs[0]], labels[:, pairs[1]]
    both_a, both_b = (first & second).astype(np.float64), (~first & ~second).astype(np.float64)
    in_a, in_b = both_a @ distances, both_b @ distances
    pairs_a, pairs_b = both_a.sum(axis=1, keepdims=True), both_b.sum(axis=1, keepdims=True)
    across = (distances.sum(axis=0) - in_a - in_b) / (len(distances) - pairs_a - pairs_b)
    return across, (in_a / pairs_a + in_b / pairs_b) / 2


def holm(p_values: FloatArray) -> FloatArray:
    """Holm's (1979) adjusted p-values; NaN takes no part."""
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted


def hochberg(p_values: FloatArray) -> FloatArray:
    """Hochberg's (1988) adjusted p-values: Holm's factors stepped up, so that all pass where the largest does.

    For claims that stand together: that all quantities are equivalent is one claim, and needs no correction (Berger 1982).
    Valid for tests that do not depend on each other negatively (Sarkar 1998). NaN takes no part.
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")][::-1]
    steps = p_values[order] * np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum.accumulate(steps) if len(order) else steps
    return adjusted
