"""The scalar reference behind the face of an engine."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.decode import check_sums, decode
from bcall_hw.backend.emulator.engine import State, StepReport, warnings_of
from bcall_hw.backend.emulator.machine import Probe
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.emulator.reference import ReferenceBoard
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.stimulus import Stimulus


class ReferenceEngine:
    """See `engine.Engine`. Refusals are those of the fast decoder; every number comes from the reference alone."""

    def __init__(self, chip: ChipModel, chips: tuple[int, ...], profile: BoardProfile, dt_us: int, finite_pulses: bool) -> None:
        self._board = ReferenceBoard(chip, chips, profile, dt_us, finite_pulses)
        self._chips, self._profile, self._dt_us, self._finite = chips, profile, dt_us, finite_pulses
        self._factors = profile.factors(chip)
        self._parameters: Int32Array = np.zeros((0, 0, 0), dtype=np.int32)
        self._config: ChipConfig | None = None

    @property
    def warnings(self) -> list[str]:
        """See `engine.Engine`."""
        return warnings_of(self._board.lost, tuple(f"chip {chip} core {core}" for chip, core in self._board.saturated))

    def apply(self, config: ChipConfig) -> None:
        """See `engine.Engine`."""
        rows = decode(config, self._factors, self._dt_us, self._finite, self._profile.dead_neurons).rows
        if self._config is not None:
            rows[:, : words.STATE_ROWS] = self.state().rows
        check_sums(rows, config)
        self._board.apply(config)
        self._parameters, self._config = rows, config

    def run(self, stimulus: Stimulus, n_steps: int, probe: Probe | None = None, report: StepReport | None = None) -> Int32Array:
        """See `engine.Engine`."""
        row, every = (probe.row, probe.every) if probe else (-1, 0)
        spikes, looks = self._board.run(stimulus, n_steps, row, every, report)
        if probe:
            probe.found[...] = looks
        return np.array(spikes, dtype=np.int32).reshape(-1, 3)

    def state(self) -> State:
        """See `engine.Engine`."""
        rows, pending = (np.array(v, dtype=np.int32) for v in (self._board.rows, self._board.pending))
        return State(rows, pending.reshape(-1, 3), self._board.clock)

    def restore(self, state: State) -> None:
        """See `engine.Engine`."""
        rows = self._parameters.copy()
        rows[:, : words.STATE_ROWS] = state.rows
        if self._config is not None:
            check_sums(rows, self._config)
        self._board.rows = state.rows.tolist()
        self._board.pending = [(chip, mask, tag) for chip, mask, tag in state.pending.tolist()]
        self._board.clock = state.clock
