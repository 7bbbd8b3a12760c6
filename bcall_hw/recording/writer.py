"""SessionWriter: a session's file while it grows; what was written is on disk, whatever happens to this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bcall_hw import files, h5_files
from bcall_hw.arrays import IntArray
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel, write_chip
from bcall_hw.errors import FileProblem, InvalidValue
from bcall_hw.recording import layout
from bcall_hw.recording.made import Made
from bcall_hw.recording.spikes import ADDRESS_TOPS, NOTED, SpikeRecording, Spikes
from bcall_hw.stimulus import Stimulus

if TYPE_CHECKING:
    import h5py

    from bcall_hw.recording.session import Learned


#: Bytes that ending a file may take beside the state after learning.
_ROOM = 1 << 16


class SessionWriter:
    """A new session's file.

    Every call leaves on disk what it was given: a killed process loses nothing but what it had not given yet.

    Args:
        path: the new file.
        made: where the session comes from.
        chip: the chip model; needed before registers or a stimulus can be written.
        populations: for each population, int (size, 3): chip, core, neuron.

    Raises:
        FileProblem: something is there already, or it cannot be written.
        InvalidValue: a population without neurons, or two that share one.
    """

    def __init__(
        self, path: Path, made: Made, chip: ChipModel | None = None, populations: Mapping[str, IntArray] | None = None
    ) -> None:
        self.path, self._chip, self._final = path, chip, path
        self._config: ChipConfig | None = None
        self._stimuli: dict[str, int] = {}
        self._running: npt.NDArray[np.void] | None = None
        self._learned: dict[str, Learned] = {}
        self._closed = False
        check_populations(populations or {})
        self._file, self._held = h5_files.h5_growing(path, layout.KIND, layout.VERSION)
        with self._told():
            write_head(self._file, made, chip, populations or {})
            self._tables: dict[str, h5py.Dataset] = {}
            for name, (dtype, rows) in layout.TABLES.items():
                self._tables[name] = self._file.create_dataset(
                    name, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(rows,), fletcher32=True
                )
            self._rows = dict.fromkeys(layout.TABLES, 0)
            self._file.swmr_mode = True

    @classmethod
    def replacing(
        cls, path: Path, made: Made, chip: ChipModel | None = None, populations: Mapping[str, IntArray] | None = None
    ) -> SessionWriter:
        """As a new file that takes the place of `path` when it is closed, whole or not at all.

        Raises:
            FileProblem: it cannot be written, or is being written by another run.
        """
        files.check_writable(path)
        files.check_not_held(path)
        part = path.resolve().with_name(f".{path.name[:100]}.{os.getpid()}{files.PART}")
        part.unlink(missing_ok=True)
        try:
            writer = cls(part, made, chip, populations)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        writer._final = path.resolve()
        return writer

    # What happens ----------------------------------------------------------------------------------------------------

    def applied(self, config: ChipConfig, written: int) -> None:
        """The registers are `config` from here on; nothing is noted where they were so before.

        Args:
            written: how many words the backend says that it wrote.

        Raises:
            InvalidValue: for another chip model.
        """
        if config.chip != self._chip:
            raise InvalidValue("registers for another chip model", where=str(self.path), used=config.chip.name)
        fresh = self._config is None or self._config.chips != config.chips
        before = ChipConfig.after_opening(config.chip, config.chips) if self._config is None or fresh else self._config
        words = before.diff(config)
        if not len(words) and not fresh:
            return
        row = np.zeros(1, dtype=layout.APPLIED_DTYPE)
        row[0] = (self._rows["words"], len(words), written, sum(1 << chip for chip in config.chips), fresh)
        with self._told():
            self._append("words", words)
            self._step("apply", self._append("applied", row))
        self._config = config

    def began(self, stimulus: Stimulus | None, duration_us: int, kind: str = "run") -> None:
        """A run of so many us begins under the registers applied last."""
        row = np.zeros(1, dtype=layout.RUN_DTYPE)
        config = self._rows["applied"] - 1 if self._config is not None else -1
        with self._told():
            played = -1 if stimulus is None else self._stimulus(stimulus)
            notes = [-1] * len(NOTED)
            row[0] = (self._rows["spikes"], 0, duration_us, 0, layout.RUN_KINDS.index(kind), 0, config, played, *notes)
            self._running = row
            self._step("run", self._append("runs", row))

    def spikes(self, spikes: Spikes, reached_us: int) -> None:
        """More spikes of the run: all up to `reached_us`.

        Raises:
            InvalidValue: no run has begun.
        """
        row = self._run()
        with self._told():
            if len(spikes):
                self._append("spikes", spikes)
            row["spikes"] += len(spikes)
            row["reached_us"] = reached_us
            self._rewrite(row)

    def restarted(self) -> None:
        """The spikes of the run come once more, from its beginning; those before do not count."""
        row = self._run()
        row["first_spike"], row["spikes"] = self._rows["spikes"], 0

    def ended(self, noted: Mapping[str, int] | None = None) -> None:
        """The run went to its end."""
        row = self._run()
        row["reached_us"], row["complete"] = row["duration_us"], 1
        for name, count in (noted or {}).items():
            row[name] = count
        with self._told():
            self._rewrite(row)
        self._running = None

    def add(
        self, recording: SpikeRecording, stimulus: Stimulus | None = None, kind: str = "run", complete: bool = True
    ) -> None:
        """A whole run at once; or one that was cut, as far as it came."""
        self.began(stimulus, recording.duration_us, kind)
        self.spikes(recording.spikes, recording.duration_us)
        if complete:
            self.ended(recording.noted)

    def learned(self, connection: str, state: Learned) -> None:
        """The state of a plastic connection at the end of the session; written by `close`."""
        self._learned[connection] = state

    # Its end ---------------------------------------------------------------------------------------------------------

    def close(self, complete: bool = True) -> None:
        """End the file; closing twice is allowed.

        Args:
            complete: whether the session went to its end.

        Raises:
            FileProblem: it cannot be written.
        """
        if self._closed:
            return
        self._closed = True
        import h5py

        with self._held, self._told():
            self._file.flush()
            self._file.close()
            # Room first: a disk that is full just now must not spoil what is there.
            h5_files.make_room(self._held, _ROOM + sum(state.nbytes for state in self._learned.values()))
            with h5py.File(self._held, "r+", libver="latest") as file:
                file.attrs["complete"] = complete
                for name, state in self._learned.items():
                    group = file.create_group(f"learned/{len(file.get('learned', ()))}")
                    group.attrs["connection"] = name
                    for part in ("sources", "efficacy", "hidden"):
                        group.create_dataset(part, data=getattr(state, part), compression="gzip", shuffle=True)
            h5_files.seal_grown(self._held)
        if self._final != self.path:
            self.path.replace(self._final)

    def discard(self) -> None:
        """Leave no file."""
        if not self._closed:
            self._closed = True
            self._file.close()
            self._held.close()
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> SessionWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and self._final != self.path:
            self.discard()
        else:
            self.close(complete=kind is None)

    # Inside ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the HDF5 library says of a full disk becomes our error; nothing more is written then."""
        try:
            yield
        except (OSError, RuntimeError) as problem:
            self._closed = True
            h5_files.abandon(self._file)
            self._held.close()
            fix = "Make room if the disk is full, and record again."
            if self._final == self.path:
                fix = f"What came before is in the file. {fix}"
            else:
                self.path.unlink(missing_ok=True)
            used = h5_files.reason_of(problem)
            raise FileProblem("cannot be written on", where=str(self.path)[:200], used=used, fix=fix) from None

    def _append(self, name: str, rows: npt.NDArray[Any]) -> int:
        """Add rows and bring them to disk; returns the index of the first."""
        first, table = self._rows[name], self._tables[name]
        table.resize((first + len(rows),))
        table[first:] = rows
        table.flush()
        self._rows[name] = first + len(rows)
        return first

    def _step(self, what: str, index: int) -> None:
        row = np.zeros(1, dtype=layout.STEP_DTYPE)
        row[0] = (layout.STEP_KINDS.index(what), index)
        self._append("steps", row)

    def _run(self) -> npt.NDArray[np.void]:
        if self._running is None:
            raise InvalidValue("no run has begun", where=str(self.path))
        return self._running

    def _rewrite(self, row: npt.NDArray[np.void]) -> None:
        self._tables["runs"][self._rows["runs"] - 1 :] = row
        self._tables["runs"].flush()

    def _stimulus(self, stimulus: Stimulus) -> int:
        """Index of a stimulus; each is written once."""
        if stimulus.chip != self._chip:
            raise InvalidValue("stimulus for another chip model", where=str(self.path), used=stimulus.chip.name)
        key = stimulus.sha256
        if key not in self._stimuli:
            row = np.zeros(1, dtype=layout.STIMULUS_DTYPE)
            events, rates = self._rows["events"], self._rows["poisson_rates_hz"]
            row[0] = (events, len(stimulus.events), rates, len(stimulus.poisson_rates_hz), stimulus.isi_base,
                      stimulus.poisson_chip, stimulus.poisson_core_mask)  # fmt: skip
            self._append("events", stimulus.events)
            self._append("poisson_rates_hz", stimulus.poisson_rates_hz)
            self._stimuli[key] = self._append("stimuli", row)
        return self._stimuli[key]


def check_populations(populations: Mapping[str, IntArray]) -> None:
    """Refuse populations that have no neurons or share some.

    Raises:
        InvalidValue: with the population's name.
    """
    owner: dict[tuple[int, ...], str] = {}
    for name, addresses in populations.items():
        if "\0" in name:
            raise InvalidValue("a name with a NUL character", where=f"population {name!r}"[:200], fix="Rename it.")
        if not len(addresses):
            raise InvalidValue("a population without neurons", where=f"population {name!r}"[:200], fix="Leave it out.")
        beyond = np.argwhere((np.asarray(addresses) < 0) | (np.asarray(addresses) > ADDRESS_TOPS))
        if beyond.size:
            used = "chip {}, core {}, neuron {}".format(*np.asarray(addresses)[beyond[0, 0]])
            raise InvalidValue("no place of a board", where=f"population {name!r}"[:200], used=used, limit=ADDRESS_TOPS)
        for place in map(tuple, np.asarray(addresses).tolist()):
            if place in owner:
                used = "chip {}, core {}, neuron {}".format(*place)
                fix = f"Give each neuron to one population; {owner[place]!r} has it too."
                raise InvalidValue("a neuron stands twice", where=f"population {name!r}"[:200], used=used, fix=fix[:200])
            owner[place] = name


def write_head(file: h5py.File, made: Made, chip: ChipModel | None, populations: Mapping[str, IntArray]) -> None:
    """What is known before the first run."""
    if chip is not None:
        write_chip(file.attrs, chip)
    file.create_dataset("made", data=made.model_dump_json())
    group = file.create_group("populations", track_order=True)
    for number, (name, addresses) in enumerate(populations.items()):
        table = group.create_dataset(str(number), data=np.asarray(addresses, dtype=np.int64))
        table.attrs["name"] = name
