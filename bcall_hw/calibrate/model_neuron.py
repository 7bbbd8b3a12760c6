"""The equations of a soma with one decaying current, integrated in float64: spikes of neurons whose truth is known.

An estimator that takes a short cut through these equations is applied to such spikes too, and what it gets wrong there is
taken out of what it says of the board (`correction`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.calibrate.spike_trains import SpikeTrains
from bcall_hw.chip_model import ChipModel

_STEP_S = 50e-6
#: A grain from which on spikes tell a clocked board, not the unit of its time stamps (s).
_CLOCKED_S = 10e-6 - 1e-9
_GOLDEN = 0.6180339887498949
_BASE_S = 0.3


@dataclass(frozen=True, eq=False)
class ModelNeurons:
    """Neurons in SI units, each attribute of shape (neurons,).

    Attributes:
        charge_c: C U_T / kappa of the soma.
        net_a: constant input less leak.
        v_spike: potential of the threshold, ln(I_spike / I_0).
        refractory_s: refractory period.
        tau_s: time constant of the current.
        jump_a: what a cause adds to it, below 0 for an inhibiting one.
        pulse_s: width of own pulses that come as jumps: towards a full scale, so that each takes the fraction
            1 - exp(-pulse / tau) of the current that is there.
    """

    charge_c: FloatArray
    net_a: FloatArray
    v_spike: FloatArray
    refractory_s: FloatArray
    tau_s: FloatArray
    jump_a: FloatArray
    pulse_s: FloatArray

    def velocity_hz(self, chip: ChipModel, grain_s: float) -> FloatArray:
        """Phase velocity under the constant drive alone, from intervals as on the board."""
        mean, _, _ = self.run(chip, np.zeros(0), _BASE_S, grain_s=grain_s).mean_isi()
        return np.asarray(1.0 / (mean - self.refractory_s - 0.5 * grain_s))

    def run(
        self, chip: ChipModel, causes_s: FloatArray, duration_s: float, *, own: bool = False, ahead: float | None = None,
        grain_s: float = 0.0,
    ) -> SpikeTrains:  # fmt: skip
        """Spikes from many phases on (the golden ratio's multiples).

        Args:
            causes_s: when the current jumps; ignored with `own`, where every own spike is a cause.
            ahead: all neurons begin at this share of the threshold instead.
            grain_s: time step of a clocked board: explicit steps, spikes told at the end of a step. Without one the steps are
                fine, of second order, and times between them are interpolated.
        """
        clocked = grain_s >= _CLOCKED_S
        dt = grain_s if clocked else _STEP_S
        phases = (np.arange(self.tau_s.size) * _GOLDEN) % 1.0 if ahead is None else np.full(self.tau_s.size, ahead)
        start = phases * self.v_spike
        constants = chip.constants
        exponent = constants.kappa.value / (constants.kappa.value + 1.0)
        at = np.zeros(0, dtype=np.int64) if own else np.floor(causes_s / dt + 1e-6).astype(np.int64)
        most = _MOST
        while True:
            times, counts = _spikes(
                self.charge_c, self.net_a, self.v_spike, self.refractory_s, self.tau_s, self.jump_a, self.pulse_s, start,
                constants.leak_current_a.value, exponent, at, int(np.ceil(duration_s / dt)), dt, own, clocked, most,
            )  # fmt: skip
            if counts.max(initial=0) < most:
                break
            most *= 4  # some spikes had no room
        kept = np.arange(times.shape[1]) < counts[:, None]
        return SpikeTrains(times[kept], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), duration_s)


#: Neurons that are stepped side by side: a constant, which lets the compiler vectorise the loops over them.
_LANES = 64
#: Their numbers, each a row of one block: parameters, state, and scratch.
_CHARGE, _NET, _V_SPIKE, _REFRACTORY, _DECAY, _JUMP, _V, _CURRENT, _FREE_AT, _UP, _H = (row * _LANES for row in range(11))
_ROWS = 11
#: Spikes of a neuron for which there is room at first.
_MOST = 4096


@numba.njit(cache=True, inline="always", error_model="numpy")
def _exp(x: float) -> float:
    """exp(x) for x of 0 to 8, within 2e-14: the same bits on every machine, and open to vectorising, as libm's is not."""
    r = x * 0.015625
    y = 1.0 + r * 0.1
    y = 1.0 + r * y * (1.0 / 9.0)
    y = 1.0 + r * y * 0.125
    y = 1.0 + r * y * (1.0 / 7.0)
    y = 1.0 + r * y * (1.0 / 6.0)
    y = 1.0 + r * y * 0.2
    y = 1.0 + r * y * 0.25
    y = 1.0 + r * y * (1.0 / 3.0)
    y = 1.0 + r * y * 0.5
    y = 1.0 + r * y
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    return y * y


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _spikes(
    charge: FloatArray, net: FloatArray, v_spike: FloatArray, refractory: FloatArray, tau: FloatArray, jump: FloatArray,
    pulse: FloatArray, start: FloatArray, i_0: float, exponent: float, causes: IntArray, steps: int, dt: float, own: bool,
    clocked: bool, most: int,
) -> tuple[FloatArray, IntArray]:  # fmt: skip
    """Heun's method, or Euler's where the board is clocked; a refractory period ends within a step, or with one."""
    neurons = charge.size
    times, counts = np.zeros((neurons, most)), np.zeros(neurons, dtype=np.int64)
    least = -np.inf if own else 0.0  # drive
    block = np.zeros(_ROWS * _LANES)
    for base in range(0, neurons, _LANES):
        lanes = min(_LANES, neurons - base)
        block[:] = 0.0
        for i in range(_LANES):  # lanes without a neuron never fire
            block[_CHARGE + i], block[_V_SPIKE + i] = 1.0, np.inf
        for i in range(lanes):
            n = base + i
            block[_CHARGE + i], block[_NET + i], block[_V_SPIKE + i] = charge[n], net[n], v_spike[n]
            block[_REFRACTORY + i], block[_DECAY + i] = refractory[n], np.exp(-dt / tau[n])
            block[_JUMP + i], block[_V + i] = jump[n], start[n]
        cause = 0
        for step in range(steps):
            now = step * dt
            while cause < causes.size and causes[cause] == step:
                for i in range(_LANES):
                    block[_CURRENT + i] += block[_JUMP + i]
                cause += 1
            fired = 0
            if clocked:
                for i in range(_LANES):
                    share = (now + dt - block[_FREE_AT + i]) / dt
                    h = min(1.0, share) * dt if share > 1e-6 else 0.0
                    current, v = block[_CURRENT + i], block[_V + i]
                    drive = block[_NET + i] + current
                    drive = least if drive < least else drive
                    up = v + h * ((drive + i_0 * _exp(v * exponent)) / block[_CHARGE + i])
                    up = 0.0 if up < 0.0 else up
                    block[_CURRENT + i] = current * block[_DECAY + i]
                    block[_UP + i], block[_H + i] = up, h
                    fired += 1 if up >= block[_V_SPIKE + i] else 0
            else:
                for i in range(_LANES):
                    share = (now + dt - block[_FREE_AT + i]) / dt
                    h = min(1.0, share) * dt if share > 1e-6 else 0.0
                    current, v, charge_c = block[_CURRENT + i], block[_V + i], block[_CHARGE + i]
                    after = current * block[_DECAY + i]
                    drive, drive_after = block[_NET + i] + current, block[_NET + i] + after
                    drive = least if drive < least else drive
                    drive_after = least if drive_after < least else drive_after
                    slope = (drive + i_0 * _exp(v * exponent)) / charge_c
                    later = (drive_after + i_0 * _exp((v + h * slope) * exponent)) / charge_c
                    up = v + 0.5 * h * (slope + later)
                    up = 0.0 if up < 0.0 else up
                    block[_CURRENT + i] = after
                    block[_UP + i], block[_H + i] = up, h
                    fired += 1 if up >= block[_V_SPIKE + i] else 0
            if fired > 0:
                for i in range(lanes):
                    h, up, v, top, n = block[_H + i], block[_UP + i], block[_V + i], block[_V_SPIKE + i], base + i
                    if h > 0.0 and up >= top:
                        at = now + dt if clocked else now + (dt - h) + h * (top - v) / (up - v)
                        if counts[n] < most:
                            times[n, counts[n]] = at
                            counts[n] += 1
                        block[_UP + i] = 0.0
                        wait = block[_REFRACTORY + i]
                        block[_FREE_AT + i] = at + (np.rint(wait / dt) * dt if clocked else wait)
                        if own:
                            left = block[_CURRENT + i] * np.exp(-pulse[n] / tau[n])
                            block[_CURRENT + i] = left + block[_JUMP + i] * np.exp(-(now + dt - at) / tau[n])
            for i in range(_LANES):
                block[_V + i] = block[_UP + i]
    return times, counts
