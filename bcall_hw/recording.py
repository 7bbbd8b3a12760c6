"""SpikeRecording: what a backend returns, whichever backend it was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bcall_hw import __version__, files
from bcall_hw.errors import InvalidValue

SPIKE_DTYPE = np.dtype([("time_us", "<i8"), ("chip", "u1"), ("core", "u1"), ("neuron", "<u2")])
_KIND, _VERSION = "spike_recording", 1


@dataclass(frozen=True, eq=False)
class SpikeRecording:
    """Spikes of one run, sorted by time, then chip, core, neuron.

    Attributes:
        spikes: structured array of `SPIKE_DTYPE`; times in us since the start of the run, in (0, duration].
        duration_us: length of the run.
        backend: which backend made it, with its implementation.
        seed: seed of the board profile, or None where there is none.
        version: version of the software that made it.
    """

    spikes: npt.NDArray[np.void]
    duration_us: int
    backend: str
    seed: int | None
    version: str = __version__

    def __post_init__(self) -> None:
        if self.spikes.dtype != SPIKE_DTYPE:
            raise InvalidValue("spikes have another dtype", where="SpikeRecording", used=self.spikes.dtype, limit=SPIKE_DTYPE)
        self.spikes.setflags(write=False)

    def __len__(self) -> int:
        return len(self.spikes)

    @property
    def sha256(self) -> str:
        """Hash of the spikes alone: equal spikes, equal hash, whatever made them."""
        return hashlib.sha256(self.spikes.tobytes()).hexdigest()

    def save(self, path: Path | str) -> None:
        """Write the recording as HDF5."""
        path = Path(path)
        with files.h5_written_whole(path, _KIND, _VERSION) as file:
            file.create_dataset("spikes", data=self.spikes)
            file.attrs["duration_us"] = self.duration_us
            file.attrs["backend"] = self.backend
            file.attrs["seed"] = -1 if self.seed is None else self.seed
            file.attrs["version"] = self.version

    @classmethod
    def load(cls, path: Path | str) -> SpikeRecording:
        """Read a recording.

        Raises:
            FileProblem, CorruptFile, ForeignFile: the file is missing, damaged or something else.
        """
        path = Path(path)
        with files.h5_read(path, _KIND, _VERSION) as file:
            seed = int(file.attrs["seed"])
            spikes = files.array_of(file, "spikes", SPIKE_DTYPE)
            attrs = file.attrs
            known = None if seed < 0 else seed
            return cls(spikes, int(attrs["duration_us"]), str(attrs["backend"]), known, str(attrs["version"]))
