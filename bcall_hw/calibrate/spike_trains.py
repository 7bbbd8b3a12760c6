"""The spikes of one run, neuron by neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.recording import SpikeRecording


@dataclass(frozen=True, eq=False)
class SpikeTrains:
    """Spike times of every neuron of some cores; neuron number = index of its core x neurons per core + neuron.

    Attributes:
        times_s: all spikes, by neuron, then time (s since the start of the run).
        start: where each neuron's spikes begin in `times_s`, shape (neurons + 1,).
        duration_s: of the run.
    """

    times_s: FloatArray
    start: IntArray
    duration_s: float

    @classmethod
    def of(cls, recording: SpikeRecording, cores: Sequence[tuple[int, int]], neurons: int) -> SpikeTrains:
        """The spikes of `cores`, (chip id, core) each; others are left out."""
        spikes = recording.spikes
        widest = max((core for _, core in cores), default=0) + 1
        index = np.full((256, max(256, widest)), -1, dtype=np.int64)
        for number, (chip, core) in enumerate(cores):
            index[chip, core] = number
        core_of = index[spikes["chip"], spikes["core"]]
        kept = core_of >= 0
        number = (core_of * neurons + spikes["neuron"])[kept]
        order = np.argsort(number, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=len(cores) * neurons))])
        times = spikes["time_us"][kept][order] * 1e-6
        return cls(np.asarray(times, dtype=np.float64), start.astype(np.int64), recording.duration_us * 1e-6)

    @property
    def counts(self) -> IntArray:
        """Spikes of each neuron."""
        return np.asarray(np.diff(self.start), dtype=np.int64)

    @property
    def owner(self) -> IntArray:
        """The neuron of each spike."""
        return np.repeat(np.arange(self.start.size - 1), self.counts)

    def within(self, from_s: float, to_s: float) -> SpikeTrains:
        """The spikes in (from, to], times since `from_s`."""
        kept = (self.times_s > from_s) & (self.times_s <= to_s)
        counts = np.bincount(self.owner[kept], minlength=self.start.size - 1)
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return SpikeTrains(self.times_s[kept] - from_s, start, to_s - from_s)

    def mean_isi(self, skip: int = 1) -> tuple[FloatArray, FloatArray, IntArray]:
        """Mean interval between spikes of each neuron without its first `skip` ones (s), its standard error, and how many.

        NaN where a neuron has no interval; the error is NaN where it has one only.
        """
        first, last = self.start[:-1] + skip, self.start[1:] - 1
        intervals = np.maximum(last - first, 0)
        have = intervals > 0
        span = np.full(intervals.shape, np.nan)
        span[have] = self.times_s[last[have]] - self.times_s[first[have]]
        mean = span / np.where(have, intervals, 1)
        isi = np.diff(self.times_s, prepend=0.0)
        owner, place = self.owner, np.arange(self.times_s.size)
        inside = place > (self.start[:-1] + skip)[owner]
        squares = np.bincount(owner[inside], (isi[inside] - mean[owner[inside]]) ** 2, minlength=intervals.size)
        several = intervals > 1
        error = np.full(intervals.shape, np.nan)
        error[several] = np.sqrt(squares[several] / (intervals[several] - 1) / intervals[several])
        return mean, error, intervals
