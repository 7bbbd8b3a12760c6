"""Statistics of single spike trains, all trains at once."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.compare.trains import Trains
from bcall_hw.errors import InvalidValue

_MOST_BINS = 10_000
_ROUNDING = 4 * float(np.finfo(np.float64).eps)  # of a quotient of two times, each of them rounded


def rates_hz(trains: Trains) -> FloatArray:
    """Spikes over the length of the interval.

    Returns:
        Rates (Hz), shape (trains,); 0 for an empty train.
    """
    return trains.counts / trains.duration_s


def mean_isi_s(trains: Trains) -> FloatArray:
    """Mean interval between one spike and the next.

    Returns:
        Mean intervals (s), shape (trains,); NaN for trains of fewer than two spikes.
    """
    intervals, owner = _intervals(trains)
    return _mean(intervals, owner, len(trains))


def isi_cv(trains: Trains) -> FloatArray:
    """Coefficient of variation of the intervals: standard deviation (of the population, ddof = 0) over mean.

    1 for a long Poisson train, 0 for a regular one. Source: Cox and Lewis, The Statistical Analysis of Series of Events, 1966.

    Returns:
        CV, no unit, shape (trains,); NaN for trains of fewer than three spikes (one interval has no variation), and where all
        spikes have the same time.
    """
    intervals, owner = _intervals(trains)
    mean = _mean(intervals, owner, len(trains))
    spread = np.sqrt(_mean((intervals - mean[owner]) ** 2, owner, len(trains)))
    defined = (trains.counts >= 3) & (mean > 0)
    found = np.full(len(trains), np.nan)
    np.divide(spread, mean, out=found, where=defined)
    return found


def local_variation(trains: Trains) -> FloatArray:
    """LV = 3 / (n - 1) * sum over i of ((I_i - I_(i+1)) / (I_i + I_(i+1)))^2, of n intervals I.

    1 for a long Poisson train, 0 for a regular one; slow changes of the rate leave it as it is. Source: Shinomoto, Shima and
    Tanji, Neural Computation 15, 2003, equation 2.2.

    Returns:
        LV, no unit, shape (trains,); NaN for trains of fewer than three spikes, and where three in a row have the same time.
    """
    intervals, owner = _intervals(trains)
    first, second = intervals[:-1], intervals[1:]
    together = owner[:-1] == owner[1:]
    first, second = first[together], second[together]
    total = first + second
    ratio = np.divide(first - second, total, out=np.full(len(total), np.nan), where=total > 0)
    return _mean(3 * ratio**2, owner[:-1][together], len(trains))


def counts(trains: Trains, bin_s: float) -> IntArray:
    """Spikes of each train in bins of equal length, the first from 0 on.

    Only whole bins: where the interval is no multiple of `bin_s`, the rest at its end makes no bin and its spikes are in none.
    A spike on the edge of two bins (up to the rounding of its time, 4 units of the last place) is in the later one; at the end
    of an interval without a rest it is in the last one.

    Args:
        trains: any number of trains.
        bin_s: length of a bin (s).

    Returns:
        Counts, shape (trains, bins).

    Raises:
        InvalidValue: the bin is not positive and finite, or longer than the interval.
    """
    if not (np.isfinite(bin_s) and bin_s > 0):
        raise InvalidValue("a bin has a positive length (s)", where="counts", used=bin_s, fix="Give bin_s > 0.")
    quotient = trains.duration_s / bin_s
    bins = int(quotient * (1 + _ROUNDING))
    if bins < 1:
        fix = "Take shorter bins."
        raise InvalidValue(
            "a bin is longer than the interval (s)", where="counts", used=bin_s, limit=trains.duration_s, fix=fix
        )
    if bins > _MOST_BINS:
        fix = "Take longer bins."
        raise InvalidValue("so many bins in the interval", where="counts", used=bins, limit=_MOST_BINS, fix=fix)
    index = np.floor(trains.times_s / bin_s * (1 + _ROUNDING)).astype(np.int64)
    if abs(quotient - bins) <= _ROUNDING * bins:
        index[index == bins] = bins - 1  # the end of the interval belongs to it
    owner = np.repeat(np.arange(len(trains)), trains.counts)
    within = index < bins
    cells = np.bincount(owner[within] * bins + index[within], minlength=len(trains) * bins)
    return cells.reshape(len(trains), bins).astype(np.int64)


def fano_factor(counts: IntArray) -> FloatArray:
    """Variance (of the population, ddof = 0) of a train's counts over their mean; 1 for a Poisson train.

    Source: Fano, Physical Review 72, 1947.

    Args:
        counts: shape (trains, bins), from `counts`.

    Returns:
        Fano factors, no unit, shape (trains,); NaN for trains without a spike, and for all where there are fewer than two bins.

    Raises:
        InvalidValue: the counts are not of two dimensions.
    """
    _check_table(counts, "fano_factor")
    found = np.full(len(counts), np.nan)
    if counts.shape[1] < 2:
        return found
    mean, variance = counts.mean(axis=1), counts.var(axis=1)
    np.divide(variance, mean, out=found, where=mean > 0)
    return found


def count_correlation(counts: IntArray) -> FloatArray:
    """Pearson's correlation of the counts of every two trains over their bins.

    Args:
        counts: shape (trains, bins), from `counts`.

    Returns:
        Correlations, no unit, shape (trains, trains), symmetric, 1 on the diagonal; NaN in the row and column of a train whose
        counts are all the same.

    Raises:
        InvalidValue: the counts are not of two dimensions.
    """
    _check_table(counts, "count_correlation")
    if counts.shape[1] < 2:
        return np.full((len(counts), len(counts)), np.nan)
    varies = counts.max(axis=1) > counts.min(axis=1)
    centred = counts - counts.mean(axis=1, keepdims=True)
    norm = np.where(varies, np.sqrt((centred**2).sum(axis=1)), np.nan)[:, None]
    scaled = centred / norm
    found: FloatArray = scaled @ scaled.T
    np.fill_diagonal(found, np.where(varies, 1.0, np.nan))
    return found


def _intervals(trains: Trains) -> tuple[FloatArray, IntArray]:
    """Intervals of all trains (s), and the train of each."""
    owner = np.repeat(np.arange(len(trains)), trains.counts)
    inner = owner[1:] == owner[:-1]
    return np.diff(trains.times_s)[inner], owner[1:][inner]


def _mean(values: FloatArray, owner: IntArray, trains: int) -> FloatArray:
    """Mean of the values of each train, NaN where it has none."""
    number = np.bincount(owner, minlength=trains)
    total = np.bincount(owner, weights=values, minlength=trains)
    found = np.full(trains, np.nan)
    np.divide(total, number, out=found, where=number > 0)
    return found


def _check_table(counts: IntArray, where: str) -> None:
    if counts.ndim != 2:
        raise InvalidValue("counts have the shape (trains, bins)", where=where, used=counts.shape)
