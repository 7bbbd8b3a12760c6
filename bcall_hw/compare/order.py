"""Whether repeats follow from one another: a test of the order in which they were played."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.compare.settings import Settings

#: Random orders that the played one is held against, and how many are worked out together.
_ORDERS, _AT_ONCE = 999, 100
#: Pairs of a side that a lag must have to be told by itself.
_PAIRS_OF_A_LAG = 4


def order_p(matrices: Sequence[FloatArray], n_a: int, settings: Settings) -> float:
    """P of distances that depend so much on how far apart in time repeats were played, if their order meant nothing.

    Repeats that follow from one another (a neuron that fires by itself goes on where it was, a stimulus or a board drifts) are
    not exchangeable, and a permutation of their labels would call one and the same board different. For each quantity the
    statistic is the spread of the mean distance from lag to lag, within each side; the largest one over all quantities and
    populations, in units of its spread over random orders, is held against that of the random orders.

    Args:
        matrices: of all quantities and populations, A's repeats first; those with NaN take no part.

    Returns:
        1 where nothing can be told: no finite matrix, fewer than three repeats.
    """
    finite = [matrix for matrix in matrices if np.isfinite(matrix).all() and matrix.any()]
    if not finite or min(n_a, len(finite[0]) - n_a) < 3:
        return 1.0
    n = len(finite[0])
    sides = [(slice(0, n_a), n_a), (slice(n_a, n), n - n_a)]
    orders = [_orders(settings.seed, size) for _, size in sides]
    largest = np.full(1 + _ORDERS, -np.inf)
    for matrix in finite:
        total = np.zeros(1 + _ORDERS)
        for (side, _), order in zip(sides, orders, strict=True):
            total += _spread_over_lags(matrix[side, side], order)
        drawn = total[1:]
        if drawn.std() > 1e-12 * max(float(drawn.mean()), 1e-300):
            largest = np.maximum(largest, (total - drawn.mean()) / drawn.std())
    if not np.isfinite(largest[0]):
        return 1.0
    return float(np.count_nonzero(largest >= largest[0] - 1e-9)) / (1 + _ORDERS)


def farthest(matrix: FloatArray, n_a: int) -> float:
    """The largest mean distance within a side over all lags that are told by enough pairs, mean of both sides."""
    tops = []
    for side in (matrix[:n_a, :n_a], matrix[n_a:, n_a:]):
        lags = range(1, max(2, len(side) - _PAIRS_OF_A_LAG + 1))
        tops.append(max(float(np.diagonal(side, lag).mean()) for lag in lags))
    return sum(tops) / 2


def _orders(seed: int, size: int) -> IntArray:
    """The order as it is, then random ones, shape (1 + orders, size)."""
    draws = random_bits.raw_bits(seed, f"compare/order/{size}", _ORDERS * size).reshape(_ORDERS, size)
    return np.concatenate([np.arange(size)[None], np.argsort(draws, axis=1, kind="stable")]).astype(np.int64)


def _spread_over_lags(matrix: FloatArray, orders: IntArray) -> FloatArray:
    """For each order, the sum over the lags of (pairs of that lag) * (their mean distance - mean of all)^2."""
    n = len(matrix)
    first, second = np.triu_indices(n, k=1)
    by_lag = np.argsort(second - first, kind="stable")
    first, second = first[by_lag], second[by_lag]
    pairs = np.arange(n - 1, 0, -1)
    starts = np.concatenate([[0], np.cumsum(pairs)[:-1]])
    mean = float(matrix[first, second].mean())
    found = []
    for low in range(0, len(orders), _AT_ONCE):
        part = orders[low : low + _AT_ONCE]
        sums = np.add.reduceat(matrix[part[:, first], part[:, second]], starts, axis=1)
        found.append(((sums / pairs - mean) ** 2 * pairs).sum(axis=1))
    return np.concatenate(found)
