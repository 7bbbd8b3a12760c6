"""Session: everything that was applied and played on one backend, in order, and the spikes that came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.chip_config import ChipConfig, Words
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import InvalidValue
from bcall_hw.recording.made import Made
from bcall_hw.recording.spikes import SpikeRecording
from bcall_hw.stimulus import Stimulus


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a session.

    Attributes:
        recording: its spikes; as far as it came, where it is not complete.
        kind: "run", or "rest": it only let the board come to rest.
        config, stimulus: index of the registers and of the stimulus, -1 where the file does not hold them.
        complete: it went to its end.
    """

    recording: SpikeRecording
    kind: str
    config: int
    stimulus: int
    complete: bool


@dataclass(frozen=True, eq=False)
class Applied:
    """One change of the registers.

    Attributes:
        chips: that the image covers.
        words: that lead to it; from freshly opened chips where `fresh`, else from the image before.
        written: how many words the backend says that it wrote.
    """

    chips: tuple[int, ...]
    words: Words
    fresh: bool
    written: int


@dataclass(frozen=True, eq=False)
class Learned:
    """A plastic connection after learning; every array has the shape (post neurons, slots).

    Attributes:
        sources: index of the source of each slot, -1 for an unused one.
        efficacy: whether the binary synapse is on.
        hidden: hidden weights in [0, 1].
    """

    sources: IntArray
    efficacy: BoolArray
    hidden: FloatArray

    @property
    def nbytes(self) -> int:
        """Size of all arrays (bytes)."""
        return self.sources.nbytes + self.efficacy.nbytes + self.hidden.nbytes


@dataclass(frozen=True, eq=False)
class Session:
    """What a file of `SessionWriter` holds.

    Attributes:
        made: where it comes from.
        chip: the chip model, or None where no registers are known.
        populations: for each population, int (size, 3): chip, core, neuron; empty where the network is not known.
        steps: ("apply", index in `applied`) and ("run", index in `runs`), in order.
        stimuli: each once.
        learned: by connection, the state at the end.
        complete: the session was ended in order; not killed, not broken off.
        notes: what was found while reading: a cut, a run that never began.
    """

    made: Made
    chip: ChipModel | None
    populations: Mapping[str, IntArray]
    steps: tuple[tuple[str, int], ...]
    runs: tuple[Run, ...]
    applied: tuple[Applied, ...]
    stimuli: tuple[Stimulus, ...]
    learned: Mapping[str, Learned] = field(default_factory=dict)
    complete: bool = True
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path | str) -> Session:
        """Read a session; one that was cut by a kill too, as far as it came.

        Raises:
            FileProblem, CorruptFile, ForeignFile: the file is missing, damaged, or something else.
        """
        from bcall_hw.recording.reader import read_session

        return read_session(Path(path))

    @property
    def only_run(self) -> SpikeRecording:
        """The recording of a session with one run.

        Raises:
            InvalidValue: there are none, or several.
        """
        if len(self.runs) != 1:
            fix = "Read it with Session.load and choose of its runs, or join them: SpikeRecording.joined."
            raise InvalidValue("holds not one run", where="session", used=len(self.runs), limit=1, fix=fix)
        return self.runs[0].recording

    def config(self, index: int) -> ChipConfig:
        """The registers after the change of that index.

        Raises:
            InvalidValue: there is none.
        """
        if self.chip is None or not 0 <= index < len(self.applied):
            raise InvalidValue("holds no such registers", where="session", used=index, limit=len(self.applied) - 1)
        return self._configs.at(index)

    @cached_property
    def _configs(self) -> _Images:
        if self.chip is None:
            raise InvalidValue("holds no registers", where="session")
        return _Images(self.chip, self.applied)


class _Images:
    """Register images along a session; walking forward is cheap."""

    def __init__(self, chip: ChipModel, applied: tuple[Applied, ...]) -> None:
        self._chip, self._applied = chip, applied
        self._index, self._image = -1, ChipConfig.after_opening(chip)

    def at(self, index: int) -> ChipConfig:
        """The image after change `index`."""
        if index < self._index:
            self._index = -1
        for number in range(self._index + 1, index + 1):
            change = self._applied[number]
            before = ChipConfig.after_opening(self._chip, change.chips) if change.fresh else self._image
            self._image, self._index = before.written(change.words), number
        return self._image


def save_recording(recording: SpikeRecording, path: Path) -> None:
    """See `SpikeRecording.save`."""
    from bcall_hw.recording.writer import SessionWriter

    made = Made.now(recording.backend, board=recording.board, seed=recording.seed)
    made = made.model_copy(update={"version": recording.version})
    with SessionWriter.replacing(path, made) as writer:
        writer.add(recording)


def same_stimulus(one: Stimulus, other: Stimulus) -> bool:
    """Whether two stimuli play the same."""
    return one is other or (one.chip == other.chip and one.sha256 == other.sha256)
