"""Random pairs of spike trains of many kinds, for comparisons with other programs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ticks = npt.NDArray[np.int64]

TICK_HZ = 1_000_000  # times are whole microseconds, as a chip's time stamps are


@dataclass(frozen=True)
class Pair:
    """Two trains, ticks from 0 to `end`, and what to compare them with; lengths in s, cost in 1/s."""

    kind: str
    left: Ticks
    right: Ticks
    end: int
    window_s: float
    cost_hz: float
    tau_s: float
    bins: int

    @property
    def times_s(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return self.left / TICK_HZ, self.right / TICK_HZ

    @property
    def duration_s(self) -> float:
        return self.end / TICK_HZ


# Of each, so many in a hundred.
KINDS = {
    "both empty": 1, "one empty": 3, "one spike each": 5, "one spike at an edge": 8, "one spike, many": 4, "identical": 3,
    "shifted a little": 8, "poisson": 14, "two rates": 8, "bursts": 9, "regular": 8, "regular, jittered": 6, "shared spikes": 9,
    "spikes at the edges": 5, "same times in a train": 3, "grid of 1 ms": 4, "60 s": 2,
}  # fmt: skip


def draw(seed: int, number: int) -> list[Pair]:
    """So many pairs; the same ones for the same seed."""
    rng = np.random.default_rng([seed, 7])
    weights = np.array(list(KINDS.values()), dtype=float)
    kinds = rng.choice(list(KINDS), size=number, p=weights / weights.sum())
    return [_pair(rng, str(kind)) for kind in kinds]


def _pair(rng: np.random.Generator, kind: str) -> Pair:
    end = 60 * TICK_HZ if kind == "60 s" else int(rng.choice([100_000, 500_000, 1_000_000, 2_000_000, 5_000_000]))
    left, right = (np.sort(t).astype(np.int64) for t in _trains(rng, kind, end))
    if rng.random() < 0.5:
        left, right = right, left
    cost, tau = 10 ** rng.uniform(-1, 3), 10 ** rng.uniform(-3.3, 0.3)
    window = 0.0
    for _ in range(60):
        window = float(np.round(10 ** rng.uniform(-3.3, -0.7), 6))
        if not widened(left / TICK_HZ, right / TICK_HZ, window).any():
            break
    return Pair(kind, left, right, end, window, float(cost), float(tau), int(rng.choice([2, 5, 10, 20, 50])))


def widened(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], window_s: float) -> npt.NDArray[np.bool_]:
    """Pairs of spikes, (left, right), which only a relative tolerance of 1e-5 of the time takes to be within the window."""
    apart = np.abs(left[:, None] - right[None, :])
    latest = np.maximum(left[:, None], right[None, :])
    return (apart > window_s + 1e-12) & (apart <= window_s + 1.01e-5 * latest)


def _poisson(rng: np.random.Generator, end: int, spikes: float) -> Ticks:
    return np.unique(rng.integers(0, end + 1, rng.poisson(spikes)))


def _trains(rng: np.random.Generator, kind: str, end: int) -> tuple[Ticks, Ticks]:
    some = 10 ** rng.uniform(0.3, 2.2)
    a = _poisson(rng, end, some)
    none = np.zeros(0, dtype=np.int64)
    if kind == "both empty":
        return none, none
    if kind == "one empty":
        return none, np.append(a, end // 3)
    if kind == "one spike each":
        return rng.integers(0, end + 1, 1), rng.integers(0, end + 1, 1)
    if kind == "one spike at an edge":
        few = np.unique(rng.integers(0, end + 1, 3))
        others = [np.array([0]), np.array([end]), rng.integers(0, end + 1, 1), few, few, np.append(a, end // 2), none]
        return np.array([int(rng.choice([0, end]))]), others[rng.integers(len(others))]
    if kind == "one spike, many":
        return rng.integers(0, end + 1, 1), np.append(a, end // 2)
    if kind == "identical":
        return a, a.copy()
    if kind == "shifted a little":
        jitter = 10 ** rng.uniform(0, 4)
        return a, np.unique(np.clip(a + np.rint(rng.normal(0, jitter, len(a))).astype(np.int64), 0, end))
    if kind == "poisson":
        return a, _poisson(rng, end, some)
    if kind == "two rates":
        return a, _poisson(rng, end, 10 ** rng.uniform(0.3, 2.2))
    if kind == "bursts":
        return _bursts(rng, end), _bursts(rng, end)
    if kind in ("regular", "regular, jittered"):
        jitter = 0.2 if kind == "regular, jittered" else 0.0
        return _regular(rng, end, jitter), _regular(rng, end, jitter)
    if kind == "shared spikes":
        common = _poisson(rng, end, some / 2)
        return np.union1d(common, _poisson(rng, end, some / 3)), np.union1d(common, _poisson(rng, end, some / 3))
    if kind == "spikes at the edges":
        b = _poisson(rng, end, some)
        return np.union1d(a, [0, end]), np.union1d(b, [0, end][: rng.integers(3)])
    if kind == "same times in a train":
        return np.append(a, a[: len(a) // 2]), np.append(a[len(a) // 3 :], _poisson(rng, end, some))
    if kind == "grid of 1 ms":
        return a // 1000 * 1000, _poisson(rng, end, some) // 1000 * 1000
    if kind == "60 s":
        return _poisson(rng, end, 400), _poisson(rng, end, 400)
    raise KeyError(kind)


def _bursts(rng: np.random.Generator, end: int) -> Ticks:
    first = rng.integers(0, end, rng.integers(1, 12))
    steps = rng.integers(1, max(2, end // 500), (len(first), rng.integers(2, 10)))
    return np.unique(np.minimum(first[:, None] + np.cumsum(steps, axis=1), end))


def _regular(rng: np.random.Generator, end: int, jitter: float) -> Ticks:
    period = max(1, int(end / 10 ** rng.uniform(0.3, 2)))
    times = np.arange(rng.integers(0, period + 1), end + 1, period)
    return np.unique(np.clip(times + np.rint(rng.normal(0, jitter * period, len(times))).astype(np.int64), 0, end))
