"""Every circuit of the emulator against its differential equation, integrated in float64 at the real currents of the codes.

The equations are those of `docs/emulator_specification.md`; fourth-order Runge-Kutta, or a quadrature where the time is asked
for at which the membrane is somewhere. A bound is 2 % (3 % for rates at 100 us), or a sum of named errors of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from emulator_helpers import CHIP, FEMTO, NEURONS, SYNAPSE_ROW, Board, events, rates_hz, set_state, silence, started, state, target

from bcall_hw import circuits
from bcall_hw.arrays import FloatArray
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.stimulus import Stimulus

KINDS = ("AMPA", "NMDA", "GABA_A", "GABA_B")
CIRCUITS = (*KINDS, "AHP")
STEPS_US = (10, 100, 1000)
KAPPA = CHIP.constants.kappa.value
RESET_A = CHIP.constants.leak_current_a.value
TOP = math.log(CHIP.constants.spike_threshold_a.value / RESET_A)
SOMA_C = circuits.thermal_charge_c(CHIP, CHIP.capacitances_f.soma)
ONE_V = 2**words.V_BITS
CELL = words.V_RANGE / words.TABLE_SIZE  # width of a cell of the look-up tables, in units of v
TAG = 700


def _hold(what: str, dt_us: int, deviation: Any, bound: Any) -> None:
    """A deviation, anywhere, is within its bound."""
    deviation, bound = np.broadcast_arrays(np.abs(deviation), bound)
    worst = np.unravel_index(np.argmax(deviation / bound), deviation.shape)
    assert deviation[worst] <= bound[worst], (what, dt_us, worst)


# The equations -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Core:
    """What the codes of a core really give: currents in A, times in s; the five DPIs in the order of `CIRCUITS`."""

    dc: float
    gain: float
    gate: float
    leak: tuple[float, float]
    refractory_s: float
    pulse_s: float
    tau: FloatArray
    full: FloatArray

    @classmethod
    def of(cls, board: Board, core: int, chip: int = 0) -> Core:
        def current(role: str) -> float:
            coarse, fine, _ = (int(x) for x in board.biases[board.chips.index(chip), core, CHIP.bias_index(role)])
            return max(float(CHIP.current_a[coarse, fine]), CHIP.current_table.dark_current_a)

        c, tau, full = CHIP.capacitances_f, [], []
        for circuit in CIRCUITS:
            prefix = circuit.replace("AHP", "ahp")
            leak, weight = current(f"{prefix}_tau"), current(f"{prefix}_weight")
            tau.append(circuits.thermal_charge_c(CHIP, getattr(c, circuit)) / leak)
            full.append(max(0.0, current(f"{prefix}_gain") * (weight / leak - 1.0)))
        gated = board.biases[board.chips.index(chip), core, CHIP.bias_index("nmda_gate")]["fine"] > 0
        refractory_s, pulse_s = (
            circuits.switching_charge_c(CHIP, charge) / current(role)
            for charge, role in ((c.refractory, "refractory"), (c.pulse, "pulse_width"))
        )
        leaks, gate = (current("leak1"), current("leak2")), current("nmda_gate") if gated else 0.0
        return cls(current("dc"), current("gain"), gate, leaks, refractory_s, pulse_s, np.array(tau), np.array(full))

    def rise(self, v: Any, currents: Any = (0.0, 0.0, 0.0, 0.0, 0.0), leak: int = 0) -> Any:
        """dv/dt of the membrane under the currents of the five DPIs."""
        excitatory, gated, shunting, subtractive, ahp = currents
        membrane = RESET_A * np.exp(v)
        drive = np.maximum(0.0, self.dc + excitatory + gated * membrane / (membrane + self.gate) - subtractive)
        feedback = RESET_A * np.exp(v * KAPPA / (KAPPA + 1.0))
        return (drive * self.gain / (membrane + self.gain) - self.leak[leak] - shunting - ahp + feedback) / SOMA_C

    def slope(self, y: FloatArray, leak: int = 0) -> FloatArray:
        """d/dt of (v, the five currents); v does not fall below 0."""
        dv = self.rise(y[0], y[1:], leak)
        return np.stack([np.where((y[0] <= 0.0) & (dv < 0.0), 0.0, dv), *(-y[1:].T / self.tau).T])

    def time_s(self, v: FloatArray, top: float = TOP, points: int = 20_001) -> FloatArray:
        """Time from v to `top` under the constant input alone: Simpson's integral of dv / (dv/dt)."""
        grid = v[:, None] + (top - v[:, None]) * np.linspace(0.0, 1.0, points)
        weights = np.r_[1.0, np.tile([4.0, 2.0], points // 2)[:-1], 1.0]
        slowness = 1.0 / self.rise(grid)
        return np.where(slowness.min(axis=1) > 0, (slowness @ weights) * (top - v) / (3.0 * (points - 1)), np.inf)

    def rate_hz(self) -> float:
        return float(1.0 / (self.time_s(np.zeros(1))[0] + self.refractory_s))


def _rk4(slope: Callable[[FloatArray], FloatArray], y: FloatArray, seconds: float, longest_s: float = 2e-5) -> FloatArray:
    """Integrate over `seconds`, in steps of at most `longest_s`."""
    steps = max(1, math.ceil(seconds / longest_s))
    h = seconds / steps
    for _ in range(steps):
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3))
    return y


def _dpi(times: FloatArray, starts: Sequence[float], pulse_s: float, tau: float, full: float) -> FloatArray:
    """Current of a DPI and its integral over time, shape (2, times), under pulses (starts ascending, no overlap)."""
    edges = sorted({0.0, *times.tolist(), *starts, *(s + pulse_s for s in starts)})
    y, found = np.zeros(2), {edges[0]: np.zeros(2)}
    for a, b in zip(edges, edges[1:], strict=False):
        before = np.searchsorted(starts, (a + b) / 2) - 1
        goal = full if before >= 0 and (a + b) / 2 < starts[before] + pulse_s else 0.0
        y = _rk4(lambda y, goal=goal: np.array([(goal - y[0]) / tau, y[0]]), y, b - a, tau / 50)  # type: ignore[misc]
        found[b] = y
    return np.array([found[t] for t in times.tolist()]).T


def _course(emulator: Emulator, looks: int, every_steps: int) -> np.ndarray:
    """The state at the start and after every `every_steps` steps, shape (looks + 1, cores, rows, neurons)."""
    seen = [state(emulator)]
    for _ in range(looks):
        emulator.run(silence(), every_steps * emulator.dt_us * 1e-6)
        seen.append(state(emulator))
    return np.array(seen)
