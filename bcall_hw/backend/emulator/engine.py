"""The face that every implementation of the emulator has, and the state that they exchange."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.machine import Probe
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import InvalidValue
from bcall_hw.stimulus import Stimulus

#: Called with (steps done, steps of the run) from time to time.
StepReport = Callable[[int, int], None]
#: Called with spikes as rows (step, core index, neuron) and the steps after which they are all known.
PartReport = Callable[[Int32Array, int], None]


@dataclass(frozen=True, eq=False)
class State:
    """Everything that a board remembers.

    Attributes:
        rows: int32, shape (cores, words.STATE_ROWS, neurons).
        pending: int32, shape (n, 3): chip id, core mask and tag of spikes on their way; ascending.
        clock: steps run since power-on.
    """

    rows: Int32Array
    pending: Int32Array
    clock: int

    @property
    def sha256(self) -> str:
        """Hash of every state word, as the specification lays them out."""
        digest = hashlib.sha256(np.ascontiguousarray(self.rows, dtype="<i4").tobytes())
        digest.update(np.ascontiguousarray(self.pending, dtype="<i4").tobytes())
        digest.update(self.clock.to_bytes(8, "little"))
        return digest.hexdigest()


class Engine(Protocol):
    """A board under one configuration at a time.

    Nothing is changed by a call that refuses; a run that is broken off on its way (Ctrl-C) leaves the board whole, at the end
    of a part of the run.
    """

    @property
    def warnings(self) -> list[str]:
        """What is worth knowing of the registers that were applied last."""
        ...

    def apply(self, config: ChipConfig) -> None:
        """Take parameters and routes from registers; state goes on.

        Raises:
            BackendProblem, EmulatorOverflow: registers that cannot be emulated.
        """
        ...

    def run(
        self, stimulus: Stimulus, n_steps: int, probe: Probe | None = None, report: StepReport | None = None,
        part: PartReport | None = None,
    ) -> Int32Array:  # fmt: skip
        """Run, and fill the probe; returns spikes as rows (step, core index, neuron), ascending.

        Args:
            part: is given the same spikes on the way.

        Raises:
            StimulusProblem, BackendProblem: a stimulus that cannot be played here.
        """
        ...

    def state(self) -> State:
        """A copy of the state."""
        ...

    def restore(self, state: State) -> None:
        """Go back to a state, which has been checked."""
        ...


def warnings_of(lost: int, saturated: tuple[str, ...]) -> list[str]:
    """What every engine tells of a configuration.

    Args:
        lost: SRAM entries that lead nowhere.
        saturated: names of cores whose leak is held at the largest word.
    """
    found, held = [], words.LEAK_MAX * words.FEMTOAMPERE * 1e6
    if lost:
        found.append(f"{lost} SRAM entries lead off the board or to chips that are not emulated: their spikes are lost")
    if saturated:
        shown = ", ".join(saturated[:3]) + (f" and {len(saturated) - 3} more" if len(saturated) > 3 else "")
        found.append(f"the leak of neurons in {shown} is held at the emulator's largest, {held:.2f} uA")
    return found


@dataclass(frozen=True)
class StateLimits:
    """What a state must fit: the board it is loaded into."""

    chips: tuple[int, ...]
    cores: int
    neurons: int
    tags: int
    finite_pulses: bool
    dt_us: int


def checked_state(values: Mapping[str, Any], limits: StateLimits) -> State:
    """A state from plain values.

    Raises:
        InvalidValue: it is incomplete, damaged, or of another board.
    """
    fix = "Start again without it."
    try:
        rows, pending = np.asarray(values["rows"]), np.asarray(values["pending"]).reshape(-1, 3)
        clock, dt_us = operator.index(values["clock"]), operator.index(values["dt_us"])
        chips = tuple(operator.index(chip) for chip in values["chips"])
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        raise InvalidValue("state is incomplete or damaged", where="emulator", used=str(problem)[:60], fix=fix) from None
    if (chips, dt_us) != (limits.chips, limits.dt_us):
        used, limit = f"chips {chips}, {dt_us} us", f"chips {limits.chips}, {limits.dt_us} us"
        raise InvalidValue("state of other chips or of another time step", where="emulator", used=used, limit=limit)
    shape = (len(limits.chips) * limits.cores, words.STATE_ROWS, limits.neurons)
    if rows.shape != shape:
        raise InvalidValue("state of another board", where="emulator", used=rows.shape, limit=shape)
    whole = rows.dtype.kind in "iu" and (pending.dtype.kind in "iu" or not pending.size)
    if not whole or rows.min() < 0 or rows.max() > words.INT32_MAX or not 0 <= clock <= words.CLOCK_MAX:
        raise InvalidValue("state is damaged", where="emulator", fix=fix)
    pending = pending if pending.size else np.zeros((0, 3), dtype=np.int32)
    low, high = (min(limits.chips), 1, 0), (max(limits.chips) + 1, 1 << limits.cores, limits.tags)
    if np.any(pending < low) or np.any(pending >= high) or not np.all(np.isin(pending[:, 0], limits.chips)):
        raise InvalidValue("state is damaged: spikes on their way to nowhere", where="emulator", fix=fix)
    if not limits.finite_pulses and np.any(rows[:, words.PULSE : words.PULSE + 4]):
        wanted = "Open the emulator with finite pulses."
        raise InvalidValue("state has pulses that this board cannot have", where="emulator", fix=wanted)
    if np.any(rows[:, words.V] >= words.V_LIMIT):
        raise InvalidValue("membrane beyond its range", where="emulator", fix=fix)
    ordered = pending.astype(np.int32)
    return State(rows.astype(np.int32), ordered[np.lexsort(ordered.T[::-1])], clock)
