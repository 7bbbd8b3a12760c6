"""Metrics between two spike trains, for many pairs of trains at once.

All functions take `left` and `right`, int64 arrays of shape (pairs,) with indices into one `Trains`, and return float64 of
shape (pairs,). All are exact: nothing is sampled, all six are symmetric, and no pair depends on another one, so that the pairs
may be cut into pieces and given to threads (the kernels release the interpreter's lock) with the same bits.

The conventions are those of elephant 1.2 (`sttc`, `victor_purpura`, `van_rossum`) and of pyspike 0.9 with its default settings
(the other three: auxiliary spikes at the edges, no minimum time scale); `make oracles` compares.

| two trains | sttc | victor_purpura | van_rossum | isi_distance | spike_distance | spike_synchronisation |
|---|---|---|---|---|---|---|
| equal | 1 | 0 | 0 | 0 | 0 | 1 |
| both empty | 1 | 0 | 0 | 0 | 0 | 1 |
| n spikes and none | 0 | n | as in the formula | spikes at 0 and at the end stand for the empty one | the same | 0 |

Spikes of one train at the same time count one by one in the first three, and once in the other three, whose intervals must not
be empty. Importing this module does not import the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.compare.trains import Trains
from bcall_hw.errors import InvalidValue


def sttc(trains: Trains, left: IntArray, right: IntArray, window_s: float) -> FloatArray:
    """Spike time tiling coefficient: correlation of two trains within a window, whatever their rates.

    STTC = 1/2 (P_A - T_B) / (1 - P_A T_B) + 1/2 (P_B - T_A) / (1 - P_B T_A), where P_A is the share of A's spikes that have one
    of B's at most `window_s` away, and T_A the share of the interval that is at most `window_s` from one of A's spikes. A term
    with P = 1 is 1, its limit. Distances that equal the window up to the rounding of times (4 units of the last place of the
    duration) are within it. Source: Cutts and Eglen, Journal of Neuroscience 34, 2014, equation 1.

    Two empty trains are equal: 1. Where one is empty, nothing is known of its spikes' neighbours, and P is what chance gives
    (P = T): 0. Elephant has NaN for both.

    Args:
        trains: the trains.
        left, right: indices of the two trains of each pair, shape (pairs,).
        window_s: half width of the window (s).

    Returns:
        Coefficients from -1 to 1, no unit, shape (pairs,).

    Raises:
        InvalidValue: indices that are no trains, or a window that is not positive and finite.
    """
    left, right = _pairs(trains, left, right, "sttc")
    _positive(window_s, "the window (s)", "sttc", "window_s")
    slack = 4 * float(np.finfo(np.float64).eps) * trains.duration_s
    from bcall_hw.compare.kernels import sttc_pairs

    covered = _covered(trains, window_s)
    return _run(sttc_pairs, trains.times_s, trains.start, left, right, covered, window_s + slack)


def victor_purpura(trains: Trains, left: IntArray, right: IntArray, cost_hz: float) -> FloatArray:
    """Victor and Purpura's distance: the least cost of making one train out of the other.

    Adding or deleting a spike costs 1, moving it by t costs `cost_hz` * t. Worked out as n_A + n_B less the most that moves
    save, 2 - cost_hz |t_A - t_B| for each, over all matchings that do not cross: only pairs of spikes nearer than 2 / cost_hz
    are looked at, which loses nothing. A metric. Source: Victor and Purpura, Journal of Neurophysiology 76, 1996 (D^spike).

    Args:
        trains: the trains.
        left, right: indices of the two trains of each pair, shape (pairs,).
        cost_hz: cost of moving a spike by one second (1/s).

    Returns:
        Distances, no unit (1 = one spike too many), from 0 to n_A + n_B, shape (pairs,).

    Raises:
        InvalidValue: indices that are no trains, or a cost that is not positive and finite.
    """
    left, right = _pairs(trains, left, right, "victor_purpura")
    _positive(cost_hz, "the cost of a move (1/s)", "victor_purpura", "cost_hz")
    from bcall_hw.compare.kernels import victor_purpura_pairs

    return _run(victor_purpura_pairs, trains.times_s, trains.start, left, right, cost_hz)


def van_rossum(trains: Trains, left: IntArray, right: IntArray, tau_s: float) -> FloatArray:
    """Van Rossum's distance: of the two trains, each filtered with a causal exponential of time constant `tau_s`.

    D^2 = 2 / tau * integral from 0 to infinity of (f_A - f_B)^2 dt, f = sum over spikes of exp(-(t - t_i) / tau), which is the
    double sum over all spikes of both trains of +-exp(-|t_i - t_j| / tau). One spike against none: 1; two spikes far apart, in
    different trains: sqrt(2). The same as elephant's (factor 1); sqrt(2) times the value of the paper, whose D^2 has 1 / tau
    instead of 2 / tau. The filtered trains go on after the end of the interval. A metric.

    Worked out in O(n_A + n_B) as a sum of squares, between one spike and the next: sum of g_k^2 (1 - exp(-2 (t_(k+1) - t_k) /
    tau)), g_k = f_A - f_B just after spike k. No terms cancel, so that equal trains are at 0 and near ones at their true
    distance. Source: van Rossum, Neural Computation 13, 2001; running sums as in Houghton and Kreuz, Network 23, 2012.

    Args:
        trains: the trains.
        left, right: indices of the two trains of each pair, shape (pairs,).
        tau_s: time constant of the filter (s).

    Returns:
        Distances, no unit, shape (pairs,).

    Raises:
        InvalidValue: indices that are no trains, or a time constant that is not positive and finite.
    """
    left, right = _pairs(trains, left, right, "van_rossum")
    _positive(tau_s, "the time constant (s)", "van_rossum", "tau_s")
    from bcall_hw.compare.kernels import van_rossum_pairs

    return _run(van_rossum_pairs, trains.times_s, trains.start, left, right, tau_s)


def isi_distance(trains: Trains, left: IntArray, right: IntArray) -> FloatArray:
    """ISI-distance: mean over time of |nu_A - nu_B| / max(nu_A, nu_B), nu the interval between spikes that the time lies in.

    The interval before the first spike of a train is the larger one of its time from 0 and the first interval between spikes;
    after the last one likewise. A train of one spike has the two intervals to the edges. In an empty train the whole duration
    is one interval. Source: Kreuz, Haas, Morelli, Abarbanel and Politi, Journal of Neuroscience Methods 165, 2007, without
    sign; edges as in Kreuz, Mulansky and Bozanic, Journal of Neurophysiology 113, 2015.

    Args:
        trains: the trains.
        left, right: indices of the two trains of each pair, shape (pairs,).

    Returns:
        Distances from 0 to 1, no unit, shape (pairs,).

    Raises:
        InvalidValue: indices that are no trains.
    """
    left, right = _pairs(trains, left, right, "isi_distance")
    from bcall_hw.compare.profile_kernels import isi_distance_pairs

    times, start = _distinct(trains)
    return _run(isi_distance_pairs, times, start, left, right, trains.duration_s, _longest(start))


def spike_distance(trains: Trains, left: IntArray, right: IntArray) -> FloatArray:
    """SPIKE-distance: mean over time of S(t) = (S_A nu_B + S_B nu_A) / (2 <nu>^2), <nu> = (nu_A + nu_B) / 2.

    S_A(t) goes, between two spikes of A, on a line from the distance of the one to B's nearest spike to that of the other; nu
    is the interval as in `isi_distance`. At the edges auxiliary spikes count as neighbours: as far outside the interval as the
    first (last) interval between spikes reaches beyond it, or on its edge; S_A is constant before the first and after the last
    spike. An empty train has spikes at 0 and at the end. A train of one spike at exactly 0 counts the end as its second spike
    (so does pyspike). Source: Kreuz, Chicharro, Houghton, Andrzejak and Mormann, Journal of Neurophysiology 109, 2013; edges as
    in Kreuz, Mulansky and Bozanic, Journal of Neurophysiology 113, 2015.

    Args:
        trains: the trains.
        left, right: indices of the two trains of each pair, shape (pairs,).

    Returns:
        Distances, 0 for equal trains, no unit, shape (pairs,).

    Raises:
        InvalidValue: indices that are no trains.
    """
    left, right = _pairs(trains, left, right, "spike_distance")
    from bcall_hw.compare.profile_kernels import spike_distance_pairs

    times, start = _distinct(trains)
    return _run(spike_distance_pairs, times, start, left, right, trains.duration_s, _longest(start))


def spike_synchronisation(trains: Trains, left: IntArray, right: IntArray) -> FloatArray:
    """SPIKE-synchronisation: the share of spikes that coincide with one of the other train.

    Two spikes coincide where they are less than half of the shortest of the up to four intervals before and after them apart,
    and less than half of the duration. A spike on the middle between two others may be on either side, as its time is rounded.
    Source: Kreuz, Mulansky and Bozanic, Journal of Neurophysiology 113, 2015, equations 6 to 8.

    Args:
        trains: the trains.
        left, right: indices of the two trains of each pair, shape (pairs,).

    Returns:
        Shares from 0 (or one train is empty) to 1 (or both are), no unit, shape (pairs,).

    Raises:
        InvalidValue: indices that are no trains.
    """
    left, right = _pairs(trains, left, right, "spike_synchronisation")
    from bcall_hw.compare.profile_kernels import synchronisation_pairs

    times, start = _distinct(trains)
    return _run(synchronisation_pairs, times, start, left, right, trains.duration_s)


def _run(kernel: Callable[..., Any], times: FloatArray, start: IntArray, left: IntArray, *more: Any) -> FloatArray:
    """What a kernel writes, one value for each pair."""
    out = np.empty(len(left))
    kernel(times, start, left, *more, out)
    return out


def _pairs(trains: Trains, left: IntArray, right: IntArray, where: str) -> tuple[IntArray, IntArray]:
    """Both index arrays, checked: the kernels do not look at bounds."""
    left, right = np.asarray(left), np.asarray(right)
    if left.dtype != np.int64 or right.dtype != np.int64 or left.ndim != 1 or right.ndim != 1:
        found = (str(left.dtype), left.shape, str(right.dtype), right.shape)
        raise InvalidValue("indices of pairs are two rows of int64", where=where, used=found)
    if len(left) != len(right):
        raise InvalidValue("a pair has a left and a right train", where=where, used=(len(left), len(right)))
    for side, index in (("left", left), ("right", right)):
        wrong = (index < 0) | (index >= len(trains))
        if wrong.any():
            used, limit = int(index[wrong][0]), f"0 to {len(trains) - 1}"
            raise InvalidValue("there is no train of this index", where=f"{where}, {side}", used=used, limit=limit)
    return np.ascontiguousarray(left), np.ascontiguousarray(right)


def _positive(value: float, what: str, where: str, name: str) -> None:
    if not (np.isfinite(value) and value > 0):
        raise InvalidValue(f"{what} must be positive and finite", where=where, used=value, fix=f"Give {name} > 0.")


def _covered(trains: Trains, window_s: float) -> FloatArray:
    """Share of the interval that is at most `window_s` from a spike of each train, shape (trains,)."""
    owner, filled = np.repeat(np.arange(len(trains)), trains.counts), trains.counts > 0
    inner = owner[1:] == owner[:-1]
    gaps = np.minimum(np.diff(trains.times_s)[inner], 2 * window_s)
    found = np.bincount(owner[1:][inner], weights=gaps, minlength=len(trains)).astype(np.float64)  # int64 of no gap
    first, last = trains.times_s[trains.start[:-1][filled]], trains.times_s[trains.start[1:][filled] - 1]
    found[filled] += np.minimum(first, window_s) + np.minimum(trains.duration_s - last, window_s)
    return found / trains.duration_s


def _distinct(trains: Trains) -> tuple[FloatArray, IntArray]:
    """Times and starts with the spikes of a train that have the same time as one, which intervals between spikes need."""
    owner = np.repeat(np.arange(len(trains)), trains.counts)
    new = np.ones(len(owner), dtype=bool)
    new[1:] = (np.diff(trains.times_s) > 0) | (owner[1:] != owner[:-1])
    if new.all():
        return trains.times_s, trains.start
    number = np.bincount(owner[new], minlength=len(trains))
    return trains.times_s[new], np.concatenate([[0], np.cumsum(number)]).astype(np.int64)


def _longest(start: IntArray) -> int:
    return int(np.diff(start).max(initial=0))
