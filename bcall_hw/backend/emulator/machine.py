"""A running board in arrays: what the vectorised and the compiled step share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator.decode import CoreParameters
from bcall_hw.backend.emulator.noise import Drawn
from bcall_hw.backend.emulator.routing import Destinations, InputEvents, Listeners
from bcall_hw.chip_config import ChipConfig


@dataclass(frozen=True, eq=False)
class Probe:
    """A state row to look at while the board runs.

    Attributes:
        row: which row (see `words`).
        every: steps from one look to the next.
        found: int32, shape (looks, cores, neurons): the row's words at the end of steps every - 1, 2 every - 1, ...
    """

    row: int
    every: int
    found: Int32Array


@dataclass(eq=False)
class Machine:
    """A running board: parameters, routing, and the state words that change.

    Attributes:
        config: the registers.
        rows: int32, shape (cores, words.ROWS, neurons): state, parameters and scratch of every neuron.
        entries: int32: what each CAM entry adds (`CoreParameters.entry_words`).
        finite_pulses: whether a pulse lasts, and restarts when another event falls into it; else it is a jump.
        pending: int32, shape (n, 3): index of the chip, core mask, tag of spikes of the last step, delivered in the next.
        clock: steps run since power-on.
        cores_per_chip: core index // this is the index of the chip.
    """

    config: ChipConfig
    rows: Int32Array
    parameters: CoreParameters
    listeners: Listeners
    destinations: Destinations
    entries: Int32Array
    finite_pulses: bool
    cores_per_chip: int
    pending: Int32Array = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int32))
    clock: int = 0

    def commit(self, rows: Int32Array, pending: Int32Array, clock: int) -> None:
        """Take over what some steps left: all of it or, where they are broken off, nothing."""
        self.rows, self.pending, self.clock = rows, pending, clock


class StepFunction(Protocol):
    """One way to run the machine; all give the same bits."""

    def __call__(
        self, machine: Machine, events: InputEvents, first: int, last: int, noise: Drawn, probe: Probe | None = None
    ) -> Int32Array:
        """Run steps first to last - 1 of a run, fill the probe, change the machine's state.

        Args:
            events: of the whole run.
            noise: of steps first to last - 1, or of none where there is no noise.

        Returns:
            Spikes as rows (step, core, neuron), ascending.
        """
        ...
