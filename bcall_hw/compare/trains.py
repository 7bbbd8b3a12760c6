"""Spike trains side by side, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.errors import InvalidValue


@dataclass(frozen=True, eq=False)
class Trains:
    """Many spike trains over the same interval [0, duration].

    Attributes:
        times_s: spike times of all trains, one train after the other, ascending within a train (s).
        start: int, shape (trains + 1,): train k is times_s[start[k] : start[k + 1]].
        duration_s: length of the interval (s).
    """

    times_s: FloatArray
    start: IntArray
    duration_s: float

    def __post_init__(self) -> None:
        times, start = self.times_s, self.start
        if times.dtype != np.float64 or start.dtype != np.int64 or times.ndim != 1 or start.ndim != 1:
            used = (str(times.dtype), str(start.dtype))
            raise InvalidValue("trains are rows of float64 times and int64 starts", where="Trains", used=used)
        if not len(start) or start[0] != 0 or start[-1] != len(times) or np.any(np.diff(start) < 0):
            raise InvalidValue("starts do not cut the times into trains", where="Trains", used=len(start), limit=len(times))
        if not (np.isfinite(self.duration_s) and self.duration_s > 0):
            raise InvalidValue("impossible duration (s)", where="Trains", used=self.duration_s)
        if times.size:
            within = np.ones(len(times), dtype=bool)
            within[start[:-1][start[:-1] < len(times)]] = False
            if np.any(np.diff(times, prepend=0.0)[within] < 0):
                raise InvalidValue("spike times of a train are not ascending", where="Trains", fix="Sort them.")
            if not (times.min() >= 0 and times.max() <= self.duration_s):
                found, limit = (float(times.min()), float(times.max())), f"0 to {self.duration_s}"
                raise InvalidValue("spike times lie outside the interval (s)", where="Trains", used=found, limit=limit)
        for array in (times, start):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def counts(self) -> IntArray:
        """Spikes of each train."""
        return np.diff(self.start)

    def followed_by(self, other: Trains) -> Trains:
        """These trains, then those of another.

        Raises:
            InvalidValue: over another length of time.
        """
        if other.duration_s != self.duration_s:
            used, limit = other.duration_s, self.duration_s
            raise InvalidValue("trains over another length of time (s)", where="Trains", used=used, limit=limit)
        start = np.concatenate([self.start, self.start[-1] + other.start[1:]])
        return Trains(np.concatenate([self.times_s, other.times_s]), start, self.duration_s)

    @classmethod
    def of(cls, trains: list[FloatArray], duration_s: float) -> Trains:
        """From one array of times (s) for each train."""
        start = np.concatenate([[0], np.cumsum([len(t) for t in trains])]).astype(np.int64)
        times = np.concatenate([np.zeros(0), *[np.asarray(t, dtype=np.float64) for t in trains]])
        return cls(times, start, duration_s)
