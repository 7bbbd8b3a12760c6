"""Whether the ratio of distances across and within is below a margin: a bootstrap over repeats."""

from __future__ import annotations

from math import sqrt

import numpy as np
from scipy import stats

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.compare.settings import Settings

#: Draws of the bootstrap; cells of a table of draws and pairs that is worked out at once.
_DRAWS, _CELLS = 9999, 1 << 22
#: Draws beyond the margin below which their share is too coarse, and a normal distribution's tail stands for it.
_FEW = 10
#: What stands for the logarithm of an infinite ratio.
_LARGEST_LOG = 690.0


def equivalence(
    distances: FloatArray, means: tuple[FloatArray, FloatArray], pairs: tuple[IntArray, IntArray], is_a: BoolArray,
    settings: Settings,
) -> list[tuple[float, float, float]]:  # fmt: skip
    """For each quantity: p of a ratio across / within at the margin, the ratio's upper bound, the spread of its logarithm.

    Repeats of each side are drawn with replacement; a repeat and its copy are no pair. The share of draws beyond the margin is
    widened for few repeats as in the expanded percentile interval (Hesterberg 2015, section 5.3), with Welch's degrees of
    freedom from the jackknife of a two-sample U-statistic (Arvesen 1969): a ratio is skewed where all neurons vary together,
    and a symmetric interval would be too short on the side that counts.

    Args:
        distances: of the pairs of repeats, shape (pairs, quantities); `means`: observed, across and within.
        pairs: their repeats; `is_a`: whether a repeat is A's.
    """
    n_a, n_b = int(is_a.sum()), int((~is_a).sum())
    at_once = max(1, _CELLS // len(distances))
    copies = np.concatenate([_copies(n_a, settings.seed, "a"), _copies(n_b, settings.seed, "b")], axis=1)
    parts = [_logs(distances, copies[k : k + at_once], pairs, is_a) for k in range(0, _DRAWS, at_once)]
    logs = np.sort(np.concatenate(parts), axis=0)
    left_out = _logs(distances, 1.0 - np.eye(n_a + n_b), pairs, is_a)
    found = []
    for column, (across, within) in enumerate(zip(*means, strict=True)):
        if within <= 0:
            found.append((0.0, 1.0, 0.0) if across == 0 else (1.0, float("inf"), 0.0))
        else:
            found.append(_bounds(logs[:, column], _freedom(left_out[:, column], is_a), min(n_a, n_b), settings))
    return found


def _bounds(logs: FloatArray, freedom: float, repeats: int, settings: Settings) -> tuple[float, float, float]:
    """P at the margin, upper bound of the ratio and spread, from the sorted logarithms of drawn ratios."""
    widening = sqrt(repeats / (repeats - 1))
    centre, spread, margin = float(logs.mean()), float(logs.std()), float(np.log(settings.margin))
    if spread == 0:
        return float(centre >= margin), float(np.exp(centre)), 0.0
    beyond = len(logs) - int(np.searchsorted(logs, margin))
    share = min((1 + beyond) / (1 + len(logs)), 0.999)
    z = (centre - margin) / spread if beyond < _FEW else float(stats.norm.ppf(share))
    level = float(stats.norm.cdf(widening * stats.t.isf(settings.alpha_equivalence, freedom)))
    upper = float(np.quantile(logs, level))
    return float(stats.t.cdf(z / widening, freedom)), float(np.exp(upper)) if upper < _LARGEST_LOG else float("inf"), spread


def _copies(size: int, seed: int, side: str) -> FloatArray:
    """How often each repeat of a side is drawn, shape (draws, repeats)."""
    drawn = random_bits.uniform(seed, f"compare/bootstrap/{side}/{size}", _DRAWS * size) * size
    cells = np.repeat(np.arange(_DRAWS) * size, size) + drawn.astype(np.int64)
    return np.bincount(cells, minlength=_DRAWS * size).reshape(_DRAWS, size).astype(np.float64)


def _logs(distances: FloatArray, copies: FloatArray, pairs: tuple[IntArray, IntArray], is_a: BoolArray) -> FloatArray:
    """Logarithm of across / within for numbers of copies of each repeat, shape (draws, quantities)."""
    weights = copies[:, pairs[0]] * copies[:, pairs[1]]
    means = []
    for first_a, second_a in ((True, False), (True, True), (False, False)):
        mine = (is_a[pairs[0]] == first_a) & (is_a[pairs[1]] == second_a)
        sums, counts = weights[:, mine] @ distances[mine], weights[:, mine].sum(axis=1, keepdims=True)
        means.append(np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0))
    across, within = means[0], (means[1] + means[2]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where((across == 0) & (within == 0), 0.0, np.log(across) - np.log(within))
    undefined = np.isnan(logs)  # no two different repeats of a side were drawn: as far as could be
    return np.clip(np.where(undefined, np.inf, logs), -_LARGEST_LOG, _LARGEST_LOG)


def _freedom(logs: FloatArray, is_a: BoolArray) -> float:
    """Welch's degrees of freedom of the ratio's logarithm, from its values with each repeat left out."""
    variances, sizes = [], []
    for side in (is_a, ~is_a):
        size = int(side.sum())
        variances.append((size - 1) / size * float(((logs[side] - logs[side].mean()) ** 2).sum()))
        sizes.append(size - 1)
    below = sum(variance**2 / size for variance, size in zip(variances, sizes, strict=True))
    return sum(variances) ** 2 / below if below > 0 else float(min(sizes))
