"""The scalar reference behind the face of an engine."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator.engine import PartReport, State, StepReport, warnings_of
from bcall_hw.backend.emulator.machine import Probe
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.emulator.reference import ReferenceBoard
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.stimulus import Stimulus


class ReferenceEngine:
    """See `engine.Engine`. Every number and every refusal comes from the reference alone."""

    def __init__(self, chip: ChipModel, chips: tuple[int, ...], profile: BoardProfile, dt_us: int, finite_pulses: bool) -> None:
        self.board = ReferenceBoard(chip, chips, profile, dt_us, finite_pulses)

    @property
    def warnings(self) -> list[str]:
        """See `engine.Engine`."""
        return warnings_of(self.board.lost, tuple(f"chip {chip} core {core}" for chip, core in self.board.saturated))

    def apply(self, config: ChipConfig) -> None:
        """See `engine.Engine`."""
        self.board.apply(config)

    def run(
        self, stimulus: Stimulus, n_steps: int, probe: Probe | None = None, report: StepReport | None = None,
        part: PartReport | None = None,
    ) -> Int32Array:  # fmt: skip
        """See `engine.Engine`; the spikes are known at the end."""
        row, every = (probe.row, probe.every) if probe else (-1, 0)
        spikes, looks = self.board.run(stimulus, n_steps, row, every, report)
        if probe:
            probe.found[...] = looks
        found = np.array(spikes, dtype=np.int32).reshape(-1, 3)
        if part:
            part(found, n_steps)
        return found

    def state(self) -> State:
        """See `engine.Engine`."""
        rows, pending = (np.array(v, dtype=np.int32) for v in (self.board.rows, self.board.pending))
        return State(rows, pending.reshape(-1, 3), self.board.clock)

    def restore(self, state: State) -> None:
        """See `engine.Engine`."""
        pending = [(chip, mask, tag) for chip, mask, tag in state.pending.tolist()]
        self.board.restore(state.rows.tolist(), pending, state.clock)
