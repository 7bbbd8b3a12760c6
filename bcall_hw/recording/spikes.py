"""SpikeRecording: what a backend returns, whichever backend it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bcall_hw import __version__
from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.errors import InvalidValue

SPIKE_DTYPE = np.dtype([("time_us", "<i8"), ("chip", "u1"), ("core", "u1"), ("neuron", "<u2")])
#: The largest chip, core and neuron that a spike can tell.
ADDRESS_TOPS = (255, 255, 65535)
#: What a recording can note of its run: spikes that the link dropped, rounds of the board's time stamps, spikes from before
#: and from after the run, spikes left out because they followed one of their neuron too soon.
NOTED = ("dropped", "wraps", "before", "after", "bounced")

Spikes = npt.NDArray[np.void]
#: More places than any board has; a table of them still fits memory.
_MOST_PLACES = 1 << 24


@dataclass(frozen=True, eq=False)
class SpikeRecording:
    """Spikes of one run, sorted by time, then chip, core, neuron.

    Attributes:
        spikes: structured array of `SPIKE_DTYPE`; times in us since the start of the run, in (0, duration].
        duration_us: length of the run.
        backend: which backend made it, with its implementation.
        seed: seed of the board profile, or None where there is none.
        version: version of the software that made it.
        board: serial number, or what stands for it; "" where it is not known.
        noted: counts by name, of `NOTED`; none where there is nothing to tell.
    """

    spikes: Spikes
    duration_us: int
    backend: str
    seed: int | None
    version: str = __version__
    board: str = ""
    noted: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.spikes.dtype != SPIKE_DTYPE:
            raise InvalidValue("spikes have another dtype", where="SpikeRecording", used=self.spikes.dtype, limit=SPIKE_DTYPE)
        unknown = sorted(set(self.noted) - set(NOTED))
        if unknown:
            raise InvalidValue("no such note", where="SpikeRecording", used=unknown[0], limit=", ".join(NOTED))
        self.spikes.setflags(write=False)

    def __len__(self) -> int:
        return len(self.spikes)

    @property
    def sha256(self) -> str:
        """Hash of the spikes alone: equal spikes, equal hash, whatever made them."""
        return hashlib.sha256(np.ascontiguousarray(self.spikes).tobytes()).hexdigest()

    # Views -----------------------------------------------------------------------------------------------------------

    def between(self, from_us: int, to_us: int) -> SpikeRecording:
        """The part of the run after `from_us` and up to `to_us`, with times since `from_us`; from 0 on, a spike at 0 too.

        Raises:
            InvalidValue: not a part of the run.
        """
        if not 0 <= from_us < to_us <= self.duration_us:
            used, limit = (from_us, to_us), (0, self.duration_us)
            raise InvalidValue("is no part of the run (us)", where="SpikeRecording.between", used=used, limit=limit)
        low, high = np.searchsorted(self.spikes["time_us"], (from_us if from_us else -1, to_us), side="right")
        part = self.spikes[low:high].copy()
        part["time_us"] -= from_us
        return replace(self, spikes=part, duration_us=to_us - from_us)

    def of_neurons(self, addresses: IntArray) -> SpikeRecording:
        """The spikes of some neurons.

        Args:
            addresses: int, shape (neurons, 3): chip, core, neuron; e.g. `mapped.addresses["out"]`.
        """
        return replace(self, spikes=self.spikes[self.indices_of(addresses) >= 0])

    def indices_of(self, addresses: IntArray) -> IntArray:
        """For each spike, the row of `addresses` that its neuron has, or -1.

        Raises:
            InvalidValue: `addresses` is no table of places, or holds one twice.
        """
        return indices_in(self.spikes, addresses)

    def trains_of(self, addresses: IntArray) -> tuple[IntArray, FloatArray]:
        """Row of `addresses` and time (us) of each spike of these neurons, by time."""
        index = self.indices_of(addresses)
        mine = index >= 0
        return index[mine], self.spikes["time_us"][mine].astype(np.float64)

    # Several ---------------------------------------------------------------------------------------------------------

    @classmethod
    def joined(cls, parts: Sequence[SpikeRecording]) -> SpikeRecording:
        """Runs one after the other, as one long run; what made them must be the same.

        Raises:
            InvalidValue: none, or of several backends or boards.
        """
        first = cls._same(parts, "joined")
        spikes, began = [], 0
        for part in parts:
            later = part.spikes.copy()
            later["time_us"] += began
            spikes.append(later)
            began += part.duration_us
        return replace(first, spikes=np.concatenate(spikes), duration_us=began, noted=_sums(parts))

    @classmethod
    def merged(cls, parts: Sequence[SpikeRecording]) -> SpikeRecording:
        """Recordings of other neurons over the same time, as one.

        Raises:
            InvalidValue: none, of several lengths, of several backends or boards, or two hold spikes of one neuron.
        """
        first = cls._same(parts, "merged")
        lengths = sorted({part.duration_us for part in parts})
        if len(lengths) > 1:
            raise InvalidValue("runs of several lengths (us)", where="SpikeRecording.merged", used=lengths[:4])
        neurons = [np.unique(_codes(part.spikes)) for part in parts]
        all_codes, times = np.unique(np.concatenate(neurons), return_counts=True)
        if np.any(times > 1):
            code = int(all_codes[times > 1][0])
            used = f"chip {code >> 24} core {code >> 16 & 255} neuron {code & 65535}"
            raise InvalidValue("two recordings hold spikes of one neuron", where="SpikeRecording.merged", used=used)
        spikes = np.concatenate([part.spikes for part in parts])
        order = np.lexsort((spikes["neuron"], spikes["core"], spikes["chip"], spikes["time_us"]))
        return replace(first, spikes=spikes[order], noted=_sums(parts))

    @staticmethod
    def _same(parts: Sequence[SpikeRecording], what: str) -> SpikeRecording:
        where = f"SpikeRecording.{what}"
        if not parts:
            raise InvalidValue("needs a recording", where=where, used="none")
        made = {(part.backend, part.board, part.seed, part.version) for part in parts}
        if len(made) > 1:
            raise InvalidValue(
                "recordings of several backends, boards or versions", where=where, used=sorted(made, key=str)[:2]
            )
        return parts[0]

    # Files -----------------------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write the recording as a session of one run, without registers and stimulus (`Session` holds those too)."""
        from bcall_hw.recording.session import save_recording

        save_recording(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> SpikeRecording:
        """Read the recording of a file with one run.

        Raises:
            FileProblem, CorruptFile, ForeignFile: the file is missing, damaged or something else.
            InvalidValue: it holds several runs; `Session.load` reads them.
        """
        from bcall_hw.recording.session import Session

        return Session.load(Path(path)).only_run


def indices_in(spikes: Spikes, addresses: IntArray) -> IntArray:
    """See `SpikeRecording.indices_of`."""
    whole = addresses.ndim == 2 and addresses.shape[1] == 3 and addresses.dtype.kind in "iu"
    if not whole or (addresses.size and addresses.min() < 0):
        used = (addresses.shape, str(addresses.dtype))
        raise InvalidValue("addresses are rows of chip, core, neuron", where="SpikeRecording", used=used)
    if not len(addresses):
        return np.full(len(spikes), -1, dtype=np.int64)
    tops = addresses.max(axis=0) + 1
    if np.prod(tops.astype(np.float64)) > _MOST_PLACES:
        raise InvalidValue("addresses beyond any board", where="SpikeRecording", used=(tops - 1).tolist())
    table = np.full(tuple(tops + 1), -1, dtype=np.int64)  # one more in each direction: of nobody
    table[tuple(addresses.T)] = np.arange(len(addresses))
    if np.count_nonzero(table >= 0) < len(addresses):
        rows, counts = np.unique(addresses, axis=0, return_counts=True)
        twice = rows[counts > 1][0].tolist()
        raise InvalidValue("a neuron stands twice among the addresses", where="SpikeRecording", used=twice)
    places = tuple(np.minimum(spikes[name], top) for name, top in zip(("chip", "core", "neuron"), tops.tolist(), strict=True))
    return np.asarray(table[places], dtype=np.int64)


def _codes(spikes: Spikes) -> IntArray:
    """One number for each neuron."""
    chip, core = spikes["chip"].astype(np.int64), spikes["core"].astype(np.int64)
    return np.asarray((chip << 24) | (core << 16) | spikes["neuron"], dtype=np.int64)


def _sums(parts: Sequence[SpikeRecording]) -> dict[str, int]:
    return {name: sum(part.noted.get(name, 0) for part in parts) for name in NOTED if any(name in part.noted for part in parts)}
