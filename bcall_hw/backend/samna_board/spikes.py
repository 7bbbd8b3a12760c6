"""From the time stamps that a board sends to spikes of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import IntArray
from bcall_hw.backend import Sink
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import TimestampsBroken
from bcall_hw.recording import SPIKE_DTYPE
from bcall_hw.recording.spikes import Spikes

#: A spike may carry a stamp so much later than the host's clock says (us): clocks differ.
_SLACK_US = 50_000
#: Stamps come in order; a step back by more than this (us) is the reset of the time stamps.
_RESET_US = 1_000
#: Part of a round of time stamps by which they may run ahead of the host.
_AHEAD = 0.25


@dataclass(frozen=True, eq=False)
class Read:
    """Spikes as they came.

    Attributes:
        stamps: int32 time stamps as the board sends them.
        chip, core, neuron: of each spike.
        readings: (spikes, us that the run had lasted by the host's clock) of each reading, in order.
    """

    stamps: npt.NDArray[np.int32]
    chip: npt.NDArray[np.uint16]
    core: npt.NDArray[np.uint16]
    neuron: npt.NDArray[np.uint16]
    readings: list[tuple[int, int]]

    @classmethod
    def unpack(cls, body: bytes, given: list[list[int]]) -> Read:
        """From the worker's answer."""
        readings = [(count, at) for count, at in given]
        n = sum(count for count, _ in readings)
        stamps = np.frombuffer(body, dtype="<i4", count=n)
        rest = np.frombuffer(body, dtype="<u2", offset=4 * n).reshape(3, n)
        return cls(stamps, rest[0], rest[1], rest[2], readings)

    def joined(self, later: Read) -> Read:
        """Both, in order."""
        parts = [np.concatenate([getattr(self, n), getattr(later, n)]) for n in ("stamps", "chip", "core", "neuron")]
        return Read(parts[0], parts[1], parts[2], parts[3], [*self.readings, *later.readings])

    @property
    def host_us(self) -> IntArray:
        """For each spike, us that the run had lasted by the host's clock when it was read."""
        counts = [count for count, _ in self.readings]
        return np.repeat(np.array([at for _, at in self.readings], dtype=np.int64), counts)


@dataclass(frozen=True, eq=False)
class Sorted:
    """Spikes of a run, and how many are not part of it.

    Attributes:
        spikes: `SPIKE_DTYPE`, times in us since the reset of the time stamps, in (0, duration]; sorted.
        late: spikes after the end of the run.
        stale: spikes from before the reset.
        bounced: spikes that followed one of the same neuron too soon.
        wraps: how often the time stamps began anew.
    """

    spikes: npt.NDArray[np.void]
    late: int
    stale: int
    bounced: int
    wraps: int


class Forerunner:
    """Gives a sink the spikes of a run that goes on, as far as they can be told by then.

    Args:
        duration_us: of the run; later spikes and those from before it are left out.
    """

    def __init__(self, chip: ChipModel, duration_us: int, sink: Sink) -> None:
        self._chip, self._duration_us, self._sink, self._last_us = chip, duration_us, sink, 0
        self._given = [np.zeros(0, dtype=SPIKE_DTYPE)]

    def __call__(self, readings: list[list[int]], body: bytes) -> None:
        """What the worker sent ahead; a stamp from before the reset is no spike of the run, and is left to its end."""
        read = Read.unpack(body, readings)
        times = unwrapped_us(read, self._chip)
        kept = np.flatnonzero((times > 0) & (times <= np.minimum(self._duration_us, read.host_us + _SLACK_US)))
        spikes = _in_order(read, times, kept)
        spikes = spikes[spikes["time_us"] >= self._last_us]
        if len(spikes):
            self._last_us = int(spikes["time_us"][-1])
            self._given.append(spikes)
            self._sink(spikes, self._last_us)

    def end(self, spikes: Spikes) -> None:
        """Give the rest of the run's spikes, if those before were its first ones; else the recording alone tells."""
        given = np.concatenate(self._given)
        if np.array_equal(given, spikes[: len(given)]):
            self._sink(spikes[len(given) :], self._duration_us)


def unwrapped_us(read: Read, chip: ChipModel) -> IntArray:
    """Time of each spike since the reset of the time stamps (us).

    A stamp begins anew after `timestamps.max_us`; which round it belongs to is told by the host's clock at the time of its
    reading, whatever time lies between two spikes.
    """
    period = chip.timestamps.max_us + 1
    stamps = read.stamps.astype(np.int64)
    rounds = np.maximum(0, np.floor((read.host_us // chip.timestamps.unit_us - stamps) / period + _AHEAD)).astype(np.int64)
    return np.asarray((stamps + rounds * period) * chip.timestamps.unit_us, dtype=np.int64)


def spikes_of_run(read: Read, chip: ChipModel, duration_us: int, debounce_us: int) -> Sorted:
    """Sort what was read into the run.

    Raises:
        TimestampsBroken: no stamp lies within the run although there are spikes: the reset did not reach the board.
    """
    times = unwrapped_us(read, chip)
    stale = times > read.host_us + _SLACK_US
    stale[: _after_reset(times)] = True
    late = ~stale & (times > duration_us)
    if times.size and stale.all():
        used, fix = f"first stamp {int(times[0])} us", "Open the board again; its clock did not follow the reset."
        raise TimestampsBroken(
            "time stamps do not belong to the run", where="samna", used=used, limit=f"{duration_us} us", fix=fix
        )
    kept = np.flatnonzero(~stale & ~late)
    spikes = _in_order(read, times, kept)
    debounced = without_bounces(spikes, debounce_us)
    last_us = int(debounced["time_us"].max(initial=0))
    wraps = last_us // ((chip.timestamps.max_us + 1) * chip.timestamps.unit_us)
    return Sorted(debounced, int(late.sum()), int(stale.sum()), len(spikes) - len(debounced), wraps)


def _in_order(read: Read, times: IntArray, kept: IntArray) -> Spikes:
    spikes = np.zeros(kept.size, dtype=SPIKE_DTYPE)
    spikes["time_us"] = times[kept]
    for name in ("chip", "core", "neuron"):
        spikes[name] = getattr(read, name)[kept]
    return spikes[np.lexsort((spikes["neuron"], spikes["core"], spikes["chip"], spikes["time_us"]))]


def _after_reset(times: IntArray) -> int:
    """Where the spikes after the reset begin: they come through one stream, and their stamps step back there.

    Raises:
        TimestampsBroken: they step back more than once.
    """
    back = np.flatnonzero(np.diff(times) < -_RESET_US) + 1
    if back.size > 1:
        used = f"{int(times[back[1] - 1])} us, then {int(times[back[1]])} us"
        raise TimestampsBroken("time stamps step back more than once in a run", where="samna", used=used)
    return int(back[0]) if back.size else 0


def without_bounces(spikes: npt.NDArray[np.void], debounce_us: int) -> npt.NDArray[np.void]:
    """Spikes without those that follow a kept one of the same neuron by less than `debounce_us`."""
    if debounce_us <= 0 or not len(spikes):
        return spikes
    last: dict[tuple[int, int, int], int] = {}
    kept = []
    for index, (time_us, *neuron) in enumerate(spikes.tolist()):
        key = (neuron[0], neuron[1], neuron[2])
        if time_us - last.get(key, -debounce_us) >= debounce_us:
            last[key] = time_us
            kept.append(index)
    return spikes[kept]
