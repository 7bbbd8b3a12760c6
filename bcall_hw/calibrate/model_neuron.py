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
    pulse_s: float = 0.0

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
        times, counts = _spikes(
            self.charge_c, self.net_a, self.v_spike, self.refractory_s, self.tau_s, self.jump_a, self.pulse_s, start,
            constants.leak_current_a.value, exponent, at, int(np.ceil(duration_s / dt)), dt, own, clocked,
        )  # fmt: skip
        kept = np.arange(times.shape[1]) < counts[:, None]
        return SpikeTrains(times[kept], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), duration_s)


@numba.njit(cache=True, nogil=True)
def _spikes(
    charge: FloatArray, net: FloatArray, v_spike: FloatArray, refractory: FloatArray, tau: FloatArray, jump: FloatArray,
    pulse: float, start: FloatArray, i_0: float, exponent: float, causes: IntArray, steps: int, dt: float, own: bool,
    clocked: bool,
) -> tuple[FloatArray, IntArray]:  # fmt: skip
    """Heun's method, or Euler's where the board is clocked; a refractory period ends within a step, or with one."""
    neurons = charge.size
    times, counts = np.zeros((neurons, 4096)), np.zeros(neurons, dtype=np.int64)
    for n in range(neurons):
        v, current, free_at, cause = start[n], 0.0, 0.0, 0
        decay = np.exp(-dt / tau[n])
        for step in range(steps):
            now = step * dt
            while cause < causes.size and causes[cause] == step:
                current += jump[n]
                cause += 1
            after = current * decay
            share = min(1.0, max(0.0, (now + dt - free_at) / dt))
            if share > 1e-6:
                h = share * dt
                drive = net[n] + current
                if not own and drive < 0.0:
                    drive = 0.0
                slope = (drive + i_0 * np.exp(v * exponent)) / charge[n]
                if clocked:
                    up = max(v + h * slope, 0.0)
                else:
                    drive = net[n] + after
                    if not own and drive < 0.0:
                        drive = 0.0
                    later = (drive + i_0 * np.exp((v + h * slope) * exponent)) / charge[n]
                    up = max(v + 0.5 * h * (slope + later), 0.0)
                if up >= v_spike[n]:
                    at = now + dt if clocked else now + (dt - h) + h * (v_spike[n] - v) / (up - v)
                    if counts[n] < times.shape[1]:
                        times[n, counts[n]] = at
                        counts[n] += 1
                    v = 0.0
                    free_at = at + (np.rint(refractory[n] / dt) * dt if clocked else refractory[n])
                    if own:
                        after = after * np.exp(-pulse / tau[n]) + jump[n] * np.exp(-(now + dt - at) / tau[n])
                else:
                    v = up
            current = after
    return times, counts
