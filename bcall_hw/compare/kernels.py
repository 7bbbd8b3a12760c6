"""Compiled loops of `pairwise`, of the metrics that compare spike with spike; indices are checked there.

Every kernel takes all times, the starts of the trains, the two trains of each pair, its own values, and what it writes to.
"""

from __future__ import annotations

from math import expm1, sqrt

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def sttc_pairs(times, start, left, right, covered, reach, out):  # type: ignore[no-untyped-def]
    """Shares of spikes with a neighbour within `reach` (s), and what they say given the covered shares of the interval."""
    for pair in range(len(left)):
        a_index, b_index = left[pair], right[pair]
        a, b = times[start[a_index] : start[a_index + 1]], times[start[b_index] : start[b_index + 1]]
        if len(a) == 0 or len(b) == 0:
            out[pair] = 1.0 if len(a) == len(b) else 0.0
            continue
        total = 0.0
        for turn in range(2):
            own, other = (a, b) if turn == 0 else (b, a)
            tiled = covered[b_index] if turn == 0 else covered[a_index]
            near, j = 0, 0
            for t in own:
                while j < len(other) and t - other[j] > reach:
                    j += 1
                if j < len(other) and other[j] - t <= reach:
                    near += 1
            if near == len(own):
                total += 1.0
            else:
                share = near / len(own)
                total += (share - tiled) / (1.0 - share * tiled)
        out[pair] = 0.5 * total


@numba.njit(cache=True, nogil=True)
def victor_purpura_pairs(times, start, left, right, cost, out):  # type: ignore[no-untyped-def]
    """`saved[j]`: the most that moves save between the spikes of the longer train so far and the first j of the shorter one.

    A row (a spike of the longer train) changes it only from the first spike in reach of a move on; behind the last one in reach
    it is constant, and not written before it is needed.
    """
    longest = 0
    for pair in range(len(left)):
        m = min(start[left[pair] + 1] - start[left[pair]], start[right[pair] + 1] - start[right[pair]])
        longest = max(longest, m)
    saved = np.zeros(longest + 1)
    for pair in range(len(left)):
        a = times[start[left[pair]] : start[left[pair] + 1]]
        b = times[start[right[pair]] : start[right[pair] + 1]]
        if len(a) < len(b):
            a, b = b, a
        low, end = 0, 0
        for t in a:
            while end < len(b) and (b[end] - t) * cost < 2.0:
                saved[end + 1] = saved[end]
                end += 1
            while low < end and (t - b[low]) * cost >= 2.0:
                low += 1
            diagonal, best = saved[low], saved[low]
            for j in range(low, end):
                above = saved[j + 1]
                best = max(best, above, diagonal + (2.0 - abs(b[j] - t) * cost))
                saved[j + 1], diagonal = best, above
        out[pair] = len(a) + len(b) - saved[end]


@numba.njit(cache=True, nogil=True)
def van_rossum_pairs(times, start, left, right, tau, out):  # type: ignore[no-untyped-def]
    """Squares of the difference of the filtered trains, from one spike to the next; `gap` is that difference just after one."""
    for pair in range(len(left)):
        a = times[start[left[pair]] : start[left[pair] + 1]]
        b = times[start[right[pair]] : start[right[pair] + 1]]
        i, j, gap, total, last = 0, 0, 0.0, 0.0, 0.0
        while i < len(a) or j < len(b):
            change = 0
            if j == len(b) or (i < len(a) and a[i] < b[j]):
                t, change, i = a[i], 1, i + 1
            elif i == len(a) or b[j] < a[i]:
                t, change, j = b[j], -1, j + 1
            else:
                t, i, j = a[i], i + 1, j + 1
            if gap != 0.0:
                lost = expm1((last - t) / tau)  # exp - 1
                total -= gap * gap * lost * (2.0 + lost)
                gap += gap * lost
            gap += change
            last = t
        out[pair] = sqrt(total + gap * gap)
