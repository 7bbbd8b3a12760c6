"""Boards that go wrong in one way each: wrappers around the emulator that speak the Backend protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BoardLost
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.stimulus import Stimulus

#: Every code by role that keeps its value whatever is written.
Stuck = dict[str, tuple[int, int]]


class FaultyBoard(Emulator):
    """An emulated chip with one fault.

    Args:
        stuck: bias codes (coarse, fine) by role that do not move.
        silent: no spike arrives.
        fails_at: number of the run that fails; every later call too with `for_good`.
        changes_at_s: board time after which `changed` is the board's profile.
    """

    def __init__(
        self, chip: ChipModel, profile: BoardProfile, *, stuck: Stuck | None = None, silent: bool = False,
        fails_at: int | None = None, for_good: bool = False, changes_at_s: float = np.inf, changed: BoardProfile | None = None,
        before_run: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(chip, (0,), profile, dt_us=100)
        self.profile, self.stuck, self.silent = profile, stuck or {}, silent
        self.fails_at, self.for_good, self.changes_at_s, self.changed = fails_at, for_good, changes_at_s, changed
        self.runs, self.seconds, self.lost, self.before_run = 0, 0.0, False, before_run
        self._asked = super().read_back()
        self._other: Emulator | None = None

    @property
    def board(self) -> str:
        """The board stays the same when it changes."""
        return self.profile.board

    def apply(self, config: ChipConfig) -> int:
        """Write registers; stuck biases keep their codes."""
        if self.lost:
            raise BoardLost("is gone", where="board")
        self._asked = config
        if self.stuck:
            biases = config.biases.copy()
            for role, (coarse, fine) in self.stuck.items():
                biases[:, :, config.chip.bias_index(role)] = (coarse, fine, 1)
            config = config.with_registers(biases=biases)
        if self._other is not None:
            self._other.apply(config)
        return super().apply(config)

    def read_back(self) -> ChipConfig:
        """What was written."""
        return self._asked

    def run(self, stimulus: Stimulus, duration_s: float, report: Any = None, *, sink: Any = None) -> SpikeRecording:
        """Play."""
        del report, sink
        self.runs += 1
        if self.before_run:
            self.before_run(self.runs)
        if self.lost or self.runs == self.fails_at:
            self.lost = self.for_good
            raise BoardLost("did not answer", where="board", used=self.runs)
        self.seconds += duration_s
        if self.changed is not None and self._other is None and self.seconds > self.changes_at_s:
            self._other = Emulator(self.read_back().chip, (0,), self.changed, dt_us=100)
            self._other.apply(super().read_back())
            self._other.load_state(self.save_state())
        played = (self._other or super()).run(stimulus, duration_s)
        if self.silent:
            return SpikeRecording(np.zeros(0, dtype=SPIKE_DTYPE), played.duration_us, played.backend, played.seed)
        return played


class StuckCores(FaultyBoard):
    """Codes that do not move, by core and role, on the only chip."""

    def __init__(self, chip: ChipModel, profile: BoardProfile, stuck_on: dict[int, Stuck], **more: Any) -> None:
        super().__init__(chip, profile, **more)
        self.stuck_on = stuck_on

    def apply(self, config: ChipConfig) -> int:
        """Write registers; stuck biases keep their codes."""
        biases = config.biases.copy()
        for core, stuck in self.stuck_on.items():
            for role, (coarse, fine) in stuck.items():
                biases[:, core, config.chip.bias_index(role)] = (coarse, fine, 1)
        written = super().apply(config.with_registers(biases=biases))
        self._asked = config
        return written


class FailsToApply(FaultyBoard):
    """Refuses the n-th configuration, counted from when `armed` is set, and with `for_good` all after it."""

    def __init__(self, chip: ChipModel, profile: BoardProfile, at: int, problem: BaseException, **more: Any) -> None:
        super().__init__(chip, profile, **more)
        self.at, self.problem, self.armed, self.applied = at, problem, False, 0

    def apply(self, config: ChipConfig) -> int:
        """Write registers, or do not."""
        self.applied += self.armed
        if self.applied == self.at or (self.for_good and self.applied > self.at):
            raise self.problem
        return super().apply(config)
