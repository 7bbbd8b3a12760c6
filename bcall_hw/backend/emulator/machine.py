"""What the two implementations of the emulator share: the state of a running board, and the face of an implementation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator.decode import CoreParameters
from bcall_hw.backend.emulator.routing import Destinations, InputEvents, Listeners


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
        rows: int32, shape (cores, words.ROWS, neurons): state, parameters and scratch of every neuron.
        pending: int32, shape (n, 2): (core, tag) of spikes of the last step, delivered in the next.
        finite_pulses: whether a pulse lasts, and restarts when another event falls into it; else it is a jump.
        dither: the rounding offset of the next step, see `words.DITHER_STEP`.
    """

    rows: Int32Array
    parameters: CoreParameters
    listeners: Listeners
    destinations: Destinations
    pending: Int32Array = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int32))
    finite_pulses: bool = False
    dither: int = 0


class Implementation(Protocol):
    """One way to run the machine; all give the same bits."""

    def __call__(self, machine: Machine, events: InputEvents, n_steps: int, probe: Probe | None = None) -> Int32Array:
        """Run `n_steps`, fill the probe, change the machine's state; returns spikes as rows (step, core, neuron), sorted."""
        ...
