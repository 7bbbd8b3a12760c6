"""Metrics of spike trains once more: plain forms, written from the papers' definitions, slow and for short trains."""

from __future__ import annotations

from math import exp, fsum, sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def sttc(a: Ints, b: Ints, end: int, window: int) -> float:
    """Cutts and Eglen 2014, in whole ticks: no rounding but in the last line."""

    def share(own: Ints, other: Ints) -> float:
        return sum(any(abs(int(x) - int(y)) <= window for y in other) for x in own) / len(own)

    def tiled(own: Ints) -> float:
        """Length of the union of all [t - window, t + window] within the interval, over that of the interval."""
        covered, upto = 0, 0
        for t in own.tolist():
            covered += max(0, min(t + window, end) - max(t - window, upto))
            upto = max(upto, min(t + window, end))
        return covered / end

    def term(p: float, t: float) -> float:
        return 1.0 if p * t == 1 else (p - t) / (1 - p * t)

    return 0.5 * term(share(a, b), tiled(b)) + 0.5 * term(share(b, a), tiled(a))


def victor_purpura(a: Floats, b: Floats, cost_hz: float) -> float:
    """Victor and Purpura 1996: the whole matrix of costs."""
    cost = np.zeros((len(a) + 1, len(b) + 1))
    cost[:, 0], cost[0, :] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i, s in enumerate(a.tolist(), 1):
        for j, t in enumerate(b.tolist(), 1):
            cost[i, j] = min(cost[i - 1, j] + 1, cost[i, j - 1] + 1, cost[i - 1, j - 1] + cost_hz * abs(s - t))
    return float(cost[-1, -1])


def victor_purpura_by_recursion(a: tuple[float, ...], b: tuple[float, ...], cost_hz: float) -> float:
    """Every way to make one of the other; for a handful of spikes."""
    if not a or not b:
        return len(a) + len(b)
    rest = victor_purpura_by_recursion(a[1:], b[1:], cost_hz) + cost_hz * abs(a[0] - b[0])
    gone, come = victor_purpura_by_recursion(a[1:], b, cost_hz) + 1, victor_purpura_by_recursion(a, b[1:], cost_hz) + 1
    return min(rest, gone, come)


def van_rossum(a: Floats, b: Floats, tau_s: float) -> float:
    """The double sum that the integral is."""
    spikes = [(t, 1) for t in a.tolist()] + [(t, -1) for t in b.tolist()]
    return sqrt(max(0.0, fsum(v * w * exp(-abs(s - t) / tau_s) for s, v in spikes for t, w in spikes)))


def van_rossum_by_integral(a: Floats, b: Floats, tau_s: float, until_s: float) -> float:
    """Van Rossum 2001, equation 2, times 2: both trains filtered, sampled finely, and their squared difference summed."""
    step = tau_s / 2000
    t = np.arange(0.5, until_s / step) * step
    f = np.zeros(len(t))
    for train, sign in ((a, 1), (b, -1)):
        for s in train:
            f[t >= s] += sign * np.exp(-(t[t >= s] - s) / tau_s)
    return float(np.sqrt(2 / tau_s * np.sum(f**2) * step))


def isi_profile(own: Floats, duration_s: float, t: Floats) -> Floats:
    """The interval between spikes that each time lies in, with the rules for the edges; `own` has distinct times."""
    if not len(own):
        return np.full(len(t), duration_s)
    gaps = np.diff(own)
    first = max(own[0], gaps[0]) if len(gaps) else own[0]
    last = max(duration_s - own[-1], gaps[-1]) if len(gaps) else duration_s - own[-1]
    return np.concatenate([[first], gaps, [last]])[np.searchsorted(own, t)]


def distance_profile(own: Floats, other: Floats, duration_s: float, t: Floats) -> Floats:
    """S_own(t): the distance to the other train's nearest spike, of the spikes around each time, on a line between them."""

    def with_auxiliary(train: Floats) -> Floats:
        if not len(train):
            return np.array([0.0, duration_s])
        gaps = np.diff(train) if len(train) > 1 else np.zeros(1)
        return np.concatenate([[min(0.0, train[0] - gaps[0])], train, [max(duration_s, train[-1] + gaps[-1])]])

    if not len(own):
        own = np.array([0.0, duration_s])
    elif len(own) == 1 and own[0] == 0:
        own = np.array([0.0, duration_s])  # the end counts as its second spike
    neighbours = with_auxiliary(other)
    nearest = np.abs(own[:, None] - neighbours[None, :]).min(axis=1)
    return np.interp(t, own, nearest)  # constant outside


def isi_distance(a: Floats, b: Floats, duration_s: float, t: Floats, weight: Floats) -> float:
    """Kreuz et al. 2007, with values at `t`."""
    nu_a, nu_b = isi_profile(a, duration_s, t), isi_profile(b, duration_s, t)
    return float(np.sum(weight * np.abs(nu_a - nu_b) / np.maximum(nu_a, nu_b)) / duration_s)


def spike_distance(a: Floats, b: Floats, duration_s: float, t: Floats, weight: Floats) -> float:
    """Kreuz et al. 2013, with values at `t`."""
    nu_a, nu_b = isi_profile(a, duration_s, t), isi_profile(b, duration_s, t)
    s_a, s_b = distance_profile(a, b, duration_s, t), distance_profile(b, a, duration_s, t)
    mean = (nu_a + nu_b) / 2
    return float(np.sum(weight * (s_a * nu_b + s_b * nu_a) / (2 * mean**2)) / duration_s)


def spike_synchronisation(a: Floats, b: Floats, duration_s: float) -> float:
    """Kreuz et al. 2015: all spikes with all."""
    if not len(a) and not len(b):
        return 1.0

    def shortest(train: Floats, i: int) -> float:
        return min([duration_s, *np.diff(train)[max(0, i - 1) : i + 1].tolist()])

    def coincides(own: Floats, other: Floats, i: int) -> bool:
        return any(abs(own[i] - other[j]) < min(shortest(own, i), shortest(other, j)) / 2 for j in range(len(other)))

    both = sum(coincides(a, b, i) for i in range(len(a))) + sum(coincides(b, a, j) for j in range(len(b)))
    return both / (len(a) + len(b))


def samples(a: Floats, b: Floats, duration_s: float, dense: int) -> tuple[Floats, Floats]:
    """Times at which to take a profile, and the length that each stands for: the middles of pieces.

    Without `dense` the pieces end at the spikes, and sums over lines are exact; else they are so many equal ones.
    """
    edges = np.linspace(0, duration_s, dense + 1) if dense else np.unique(np.concatenate([[0.0, duration_s], a, b]))
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)
