"""Compiled loops of `pairwise`, of the metrics that compare intervals; indices are checked there.

Spikes of one train must have different times here. Between two events of either train, both intervals are constant and the
distances of spikes go on a line, so that every integral is a finite sum.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _knots(spikes, duration, knots):  # type: ignore[no-untyped-def]
    """Spikes with an auxiliary one before and one behind, none for each edge that has a spike of a lone one at 0; how many.

    The interval between two knots is what counts as the interval between spikes; an empty train has spikes at both edges.
    """
    n = len(spikes)
    if n == 0:
        knots[0], knots[1], knots[2], knots[3] = -duration, 0.0, duration, 2.0 * duration
        return 4
    first, last = spikes[0], spikes[n - 1]
    before, behind = (spikes[1] - first, last - spikes[n - 2]) if n > 1 else (0.0, 0.0)
    knots[0] = min(0.0, first - before)
    knots[1 : n + 1] = spikes
    knots[n + 1] = max(duration, last + behind)
    return n + 2


@numba.njit(cache=True, nogil=True)
def _nearest(knots, n, others, n_others, lone_at_0, found):  # type: ignore[no-untyped-def]
    """Distance of each knot to the nearest one of the other train; auxiliary knots have that of the spike beside them.

    Of a train with one spike, at 0 (`lone_at_0`), the knot at the end is taken for a spike.
    """
    j = 0
    for i in range(1, n if lone_at_0 else n - 1):
        t = knots[i]
        while j < n_others - 1 and others[j + 1] <= t:
            j += 1
        found[i] = abs(t - others[j])
        if j < n_others - 1:
            found[i] = min(found[i], others[j + 1] - t)
    found[0] = found[1]
    if not lone_at_0:
        found[n - 1] = found[n - 2]


@numba.njit(cache=True, nogil=True)
def isi_distance_pairs(times, start, left, right, duration, longest, out):  # type: ignore[no-untyped-def]
    """Relative difference of the intervals, piece by piece."""
    a_knots, b_knots = np.empty(longest + 4), np.empty(longest + 4)
    for pair in range(len(left)):
        _knots(times[start[left[pair]] : start[left[pair] + 1]], duration, a_knots)
        _knots(times[start[right[pair]] : start[right[pair] + 1]], duration, b_knots)
        i, j, t, total = 0, 0, 0.0, 0.0
        while t < duration:
            # The pieces that reach beyond t.
            while a_knots[i + 1] <= t:
                i += 1
            while b_knots[j + 1] <= t:
                j += 1
            a_isi, b_isi = a_knots[i + 1] - a_knots[i], b_knots[j + 1] - b_knots[j]
            until = min(a_knots[i + 1], b_knots[j + 1], duration)
            total += abs(a_isi - b_isi) / max(a_isi, b_isi) * (until - t)
            t = until
        out[pair] = total / duration


@numba.njit(cache=True, nogil=True)
def spike_distance_pairs(times, start, left, right, duration, longest, out):  # type: ignore[no-untyped-def]
    """Mean of S at the ends of each piece, times its length: exact, as S is linear within it."""
    size = longest + 4
    a_knots, b_knots, a_far, b_far = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    for pair in range(len(left)):
        a, b = times[start[left[pair]] : start[left[pair] + 1]], times[start[right[pair]] : start[right[pair] + 1]]
        n, m = _knots(a, duration, a_knots), _knots(b, duration, b_knots)
        _nearest(a_knots, n, b_knots, m, len(a) == 1 and a[0] == 0.0, a_far)
        _nearest(b_knots, m, a_knots, n, len(b) == 1 and b[0] == 0.0, b_far)
        i, j, t, total = 0, 0, 0.0, 0.0
        while t < duration:
            while a_knots[i + 1] <= t:
                i += 1
            while b_knots[j + 1] <= t:
                j += 1
            a_isi, b_isi = a_knots[i + 1] - a_knots[i], b_knots[j + 1] - b_knots[j]
            until = min(a_knots[i + 1], b_knots[j + 1], duration)
            # Twice the mean over the piece is the sum at its ends, each weighted by its distance to the other knot.
            a_sum = (a_far[i] * (2 * a_knots[i + 1] - t - until) + a_far[i + 1] * (t + until - 2 * a_knots[i])) / a_isi
            b_sum = (b_far[j] * (2 * b_knots[j + 1] - t - until) + b_far[j + 1] * (t + until - 2 * b_knots[j])) / b_isi
            both = a_isi + b_isi
            total += (a_sum * b_isi + b_sum * a_isi) / (both * both) * (until - t)
            t = until
        out[pair] = total / duration


@numba.njit(cache=True, nogil=True)
def synchronisation_pairs(times, start, left, right, duration, out):  # type: ignore[no-untyped-def]
    """Spikes of both trains in turn; only a spike and the last one of the other train before it can coincide."""
    for pair in range(len(left)):
        a, b = times[start[left[pair]] : start[left[pair] + 1]], times[start[right[pair]] : start[right[pair] + 1]]
        n, m = len(a), len(b)
        if n == 0 or m == 0:
            out[pair] = 1.0 if n == m else 0.0
            continue
        i, j, together = -1, -1, 0
        while i < n - 1 or j < m - 1:
            of_a = j == m - 1 or (i < n - 1 and a[i + 1] <= b[j + 1])
            of_b = i == n - 1 or (j < m - 1 and b[j + 1] <= a[i + 1])
            i, j = i + of_a, j + of_b
            if i < 0 or j < 0:
                continue
            shortest = duration
            if i > 0:
                shortest = min(shortest, a[i] - a[i - 1])
            if i < n - 1:
                shortest = min(shortest, a[i + 1] - a[i])
            if j > 0:
                shortest = min(shortest, b[j] - b[j - 1])
            if j < m - 1:
                shortest = min(shortest, b[j + 1] - b[j])
            together += abs(a[i] - b[j]) < 0.5 * shortest
        out[pair] = 2.0 * together / (n + m)
