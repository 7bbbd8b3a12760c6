"""Playing repeats of one protocol on a backend, with everything written into a session's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from bcall_hw import random_bits
from bcall_hw.arrays import IntArray
from bcall_hw.backend import Backend
from bcall_hw.backend.recorder import Recorder
from bcall_hw.calibration import Calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import InvalidValue
from bcall_hw.mapper import MappedNetwork
from bcall_hw.recording import SpikeRecording
from bcall_hw.recording.made import Made
from bcall_hw.recording.session import Session
from bcall_hw.recording.writer import SessionWriter
from bcall_hw.stimulus import Stimulus

#: Called with (what is being done, done, total).
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Step:
    """Registers to apply, or a stimulus to play.

    Attributes:
        kind: "apply", "run", or "rest": a run that only lets the board come to rest.
        config: for "apply"; `stimulus` and `duration_us`: for the others.
    """

    kind: str
    config: ChipConfig | None = None
    stimulus: Stimulus | None = None
    duration_us: int = 0


#: Step of the random part of rests (us): a whole number of time steps of any emulator that divides a millisecond.
_JITTER_STEP_US = 1000


def repeats(
    config: ChipConfig, stimulus: Stimulus, duration_us: int, count: int, rest_us: int, warm_up_us: int = 0, jitter_us: int = 0
) -> list[Step]:
    """The same run several times, each after a rest without input; before the first one a longer rest.

    Args:
        jitter_us: each rest is longer by a random time up to this, in whole milliseconds and the same each time. Neurons that
            fire by themselves then meet the stimulus at another phase in each repeat; after equal rests a repeat would follow
            from the one before, as the hands of a clock do, and repeats could not be taken as independent.

    Raises:
        InvalidValue: no repeat, or an impossible time.
    """
    for name, used, least in (
        ("repeats", count, 1),
        ("duration (us)", duration_us, 1),
        ("rest (us)", min(rest_us, warm_up_us, jitter_us), 0),
    ):
        if used < least:
            raise InvalidValue(f"impossible {name}", where="record", used=used, limit=f"at least {least}")
    silence = Stimulus(config.chip)
    steps = [Step("apply", config)]
    longer = random_bits.uniform(0, "record/rests", count) * (jitter_us // _JITTER_STEP_US + 1)
    for repeat in range(count):
        pause_us = rest_us + int(longer[repeat]) * _JITTER_STEP_US + (0 if repeat else warm_up_us)
        steps += [Step("rest", None, silence, pause_us)] if pause_us else []
        steps.append(Step("run", None, stimulus, duration_us))
    return steps


class SessionSteps(Sequence[Step]):
    """What was done in a session, to be done again; register images are made as they are asked for.

    Args:
        steps: of the session: what, and its index.
        change: makes another step of each.
    """

    def __init__(
        self, session: Session, steps: Sequence[tuple[str, int]], change: Callable[[Step], Step] | None = None
    ) -> None:
        self._session, self._steps, self._change = session, steps, change

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        if isinstance(index, slice):
            return SessionSteps(self._session, self._steps[index], self._change)
        what, number = self._steps[index]
        if what == "apply":
            step = Step("apply", self._session.config(number))
        else:
            run = self._session.runs[number]
            step = Step(run.kind, None, self._session.stimuli[run.stimulus], run.recording.duration_us)
        return self._change(step) if self._change else step

    def changed(self, change: Callable[[Step], Step]) -> SessionSteps:
        """The same steps, each changed."""
        return SessionSteps(self._session, self._steps, change)


def steps_of(session: Session) -> SessionSteps:
    """What was done in a session, to be done again on another backend; runs that were cut are left out.

    Raises:
        InvalidValue: it holds no registers.
    """
    found = []
    for what, index in session.steps:
        if what == "apply" or (session.runs[index].complete and session.runs[index].stimulus >= 0):
            found.append((what, index))
    if not found or found[0][0] != "apply":
        used = session.made.backend
        raise InvalidValue("holds spikes and no registers: it cannot be played again", where="session", used=used)
    return SessionSteps(session, found)


def first_config(steps: Sequence[Step]) -> ChipConfig:
    """The registers of the first step.

    Raises:
        InvalidValue: it applies none.
    """
    config = steps[0].config if steps else None
    if config is None:
        raise InvalidValue("the first step applies no registers", where="record")
    return config


def made_by(backend: Backend, source: str = "", calibration: Calibration | None = None) -> Made:
    """Where a session comes from that this backend makes."""
    described = backend.describe()
    profile = Made(backend="", describe=described).profile
    return Made.now(
        backend.name, board=backend.board, seed=None if profile is None else profile["seed"], source=source, describe=described,
        calibration_sha256=calibration.sha256 if calibration is not None and calibration.kind == "measured" else "",
    )  # fmt: skip


def record(
    path: Path,
    backend: Backend,
    steps: Sequence[Step],
    made: Made,
    populations: Mapping[str, IntArray],
    report: Report | None = None,
) -> None:
    """Do the steps, and write each into a new session's file as it is done.

    Raises:
        FileProblem: something is there already, or it cannot be written.
        As the backend; the file holds what was done before.
    """
    chip = first_config(steps).chip
    with SessionWriter(path, made, chip, populations) as writer:
        recorder = Recorder(backend, writer)
        for number, step in enumerate(steps):
            if report:
                report("recording", number, len(steps))
            if step.config is not None:
                recorder.apply(step.config)
            elif step.stimulus is not None:
                recorder.kind = step.kind
                recorder.run(step.stimulus, step.duration_us * 1e-6)
        if report:
            report("recording", len(steps), len(steps))


def write_run(
    path: Path, backend: Backend, config: ChipConfig, stimulus: Stimulus, recording: SpikeRecording, source: str,
    mapped: MappedNetwork | None,
) -> None:  # fmt: skip
    """One run that was played already, as a session in the place of `path`.

    Raises:
        FileProblem: it cannot be written.
    """
    made = made_by(backend, source, mapped.calibration if mapped else None)
    with SessionWriter.replacing(path, made, config.chip, mapped.addresses if mapped else {}) as writer:
        writer.applied(config, len(ChipConfig.after_opening(config.chip, config.chips).diff(config)))
        writer.add(recording, stimulus)
