"""Replay: a recorded session answers in the place of the board."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bcall_hw.backend import Sink
from bcall_hw.chip_config import KINDS, ChipConfig, Words
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.errors import BackendProblem, InvalidValue, NotRecorded
from bcall_hw.recording import SpikeRecording
from bcall_hw.recording.session import Run, Session, same_stimulus
from bcall_hw.stimulus import Stimulus

_FIX = "Ask what was recorded, in its order: the same network, stimulus, seeds and options; or record anew."


class Replay:
    """A backend without a board: what was recorded, asked in the same order, is answered with the same spikes.

    Registers and stimuli are compared word by word with those of the session; whatever else is asked is refused.

    Args:
        path: file of the session.
        chip: the chip model that is wanted, if any.

    Raises:
        FileProblem, CorruptFile, ForeignFile: see `Session.load`.
        InvalidValue: the session holds no registers, or those of another chip model.
    """

    def __init__(self, path: Path, chip: str | ChipModel | None = None) -> None:
        self._session, self._path = Session.load(path), path
        wanted = load_chip(chip) if isinstance(chip, str) else chip
        if self._session.chip is None or not self._session.applied:
            fix = "Record it with bcall-hw record, or with learn --record."
            raise InvalidValue("holds spikes and no registers: nothing to replay", where=str(path), fix=fix)
        if wanted is not None and wanted != self._session.chip:
            used, limit = self._session.chip.name, wanted.name
            raise InvalidValue("is a session of another chip model", where=str(path), used=used, limit=limit)
        self._position = 0
        self._config: ChipConfig | None = None

    @property
    def name(self) -> str:
        """That it is a replay, and of what."""
        return f"replay/{self._session.made.backend}"

    @property
    def board(self) -> str:
        """The board that was recorded."""
        return self._session.made.board

    def describe(self) -> dict[str, Any]:
        """What the recorded backend told of itself, and where it is replayed from."""
        return self._session.made.describe | {"backend": self.name, "replayed": self._path.name}

    @property
    def warnings(self) -> list[str]:
        """What was found while the file was read."""
        return list(self._session.notes)

    @property
    def left(self) -> int:
        """Steps of the session that were not asked yet."""
        return len(self._session.steps) - self._position

    def preview(self, config: ChipConfig) -> Words:
        """The words that differ from the registers before.

        Raises:
            NotRecorded: other registers were applied at this point.
        """
        self._accept(config)
        before = self._config
        if before is None or before.chips != config.chips:
            before = ChipConfig.after_opening(config.chip, config.chips)
        return before.diff(config)

    def apply(self, config: ChipConfig) -> int:
        """Go one step on, if these registers were applied next; returns how many words were written then.

        Raises:
            NotRecorded: other registers were applied at this point, or none.
        """
        index = self._accept(config)
        if index is None:
            return 0
        self._position += 1
        self._config = config
        return self._session.applied[index].written

    def _accept(self, config: ChipConfig) -> int | None:
        """Index of the recorded registers that these are; None where they stand already.

        Raises:
            NotRecorded: they are others.
        """
        if not isinstance(config, ChipConfig):
            used, fix = type(config).__name__, "Of a mapped network it is `mapped.config`."
            raise InvalidValue("apply takes a ChipConfig", where=self.name, used=used, fix=fix)
        if self._config is not None and config == self._config:
            return None
        index = self._next("apply", "registers")
        recorded = self._session.config(index)
        if config == recorded:
            return index
        if config.chip != recorded.chip or config.chips != recorded.chips:
            used, limit = f"chips {config.chips}", f"chips {recorded.chips}"
            raise self._refusal("registers of other chips than those recorded here", used, limit)
        differ = recorded.diff(config)
        first = f"the first: {KINDS[differ['kind'][0]]} word {int(differ['word'][0]):#010x} of chip {int(differ['chip'][0])}"
        raise self._refusal("other registers than those recorded here", f"{len(differ)} words differ, {first}")

    def run(self, stimulus: Stimulus, duration_s: float, *, sink: Sink | None = None) -> SpikeRecording:
        """The recorded spikes, if this stimulus was played next for this long.

        Raises:
            BackendProblem: nothing applied yet.
            NotRecorded: something else was played at this point, or the run was cut.
        """
        if self._config is None:
            raise BackendProblem("no configuration applied yet", where=self.name, fix="Call apply(config) first.")
        run = self._session.runs[self._next("run", "a run")]
        self._check(run, stimulus, round(duration_s * 1e6))
        self._position += 1
        recording = replace(run.recording, backend=self.name)
        if sink is not None:
            sink(recording.spikes, recording.duration_us)
        return recording

    def _check(self, run: Run, stimulus: Stimulus, duration_us: int) -> None:
        if not isinstance(stimulus, Stimulus):
            raise InvalidValue("run takes a Stimulus", where=self.name, used=type(stimulus).__name__)
        reached_us = run.recording.duration_us
        if not run.complete:
            raise self._refusal("the recording of this run was cut (us)", reached_us)
        if run.stimulus < 0:
            raise self._refusal("what was played here was not recorded", _told(stimulus))
        if reached_us != duration_us:
            raise self._refusal("a run of another length was recorded here (us)", duration_us, reached_us)
        recorded = self._session.stimuli[run.stimulus]
        if not same_stimulus(stimulus, recorded):
            raise self._refusal("another stimulus was recorded here", _told(stimulus), _told(recorded))

    def _next(self, what: str, words: str) -> int:
        """Index of the next step, which must be of this kind."""
        if not self.left:
            raise self._refusal("the session has ended", f"{words} after its end", len(self._session.steps))
        kind, index = self._session.steps[self._position]
        if kind != what:
            raise self._refusal("something else was recorded here", words, "registers" if kind == "apply" else "a run")
        return index

    def _refusal(self, what: str, used: object, limit: object = None) -> NotRecorded:
        where = f"{self._path}, step {self._position}"
        return NotRecorded(what, where=where, used=used, limit=limit, fix=_FIX)

    def read_back(self) -> ChipConfig:
        """The registers at this point of the session.

        Raises:
            BackendProblem: nothing applied yet.
        """
        if self._config is None:
            raise BackendProblem("no configuration applied yet", where=self.name, fix="Call apply(config) first.")
        return self._config

    def save_state(self) -> dict[str, Any]:
        """The point of the session."""
        return {"position": np.int64(self._position)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to a point of the session.

        Raises:
            InvalidValue: no such point.
        """
        try:
            position = int(state["position"])
        except (KeyError, TypeError, ValueError):
            raise InvalidValue("state is incomplete or damaged", where=self.name) from None
        if not 0 <= position <= len(self._session.steps):
            raise InvalidValue("no such point of the session", where=self.name, used=position, limit=len(self._session.steps))
        applied = [index for what, index in self._session.steps[:position] if what == "apply"]
        self._position, self._config = position, self._session.config(applied[-1]) if applied else None

    def close(self) -> None:
        """Nothing to let go."""


def _told(stimulus: Stimulus) -> str:
    rates = stimulus.poisson_played_hz
    poisson = f"{np.count_nonzero(rates)} Poisson sources of together {rates.sum():g} Hz"
    digest = hashlib.sha256(stimulus.events.tobytes()).hexdigest()[:12]
    return f"{len(stimulus.events)} events (sha256 {digest}), unit {stimulus.unit_us:g} us, {poisson}"
