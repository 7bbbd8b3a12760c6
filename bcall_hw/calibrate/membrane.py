"""The membrane between two spikes: how long a constant drive takes from reset to threshold.

The subthreshold soma (Chicca et al. 2014), with v = ln(I_mem / I_0) and Q = C U_T / kappa:

    Q dv/dt = I_net(v) = I_dc / (1 + I_mem / I_th) - I_leak + I_0 exp(v kappa / (kappa + 1))

so the rise from v = 0 to v_spike = ln(I_spike / I_0) takes Q times the integral of dv / I_net.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import FloatArray
from bcall_hw.chip_model import ChipModel

_POINTS = 40


def spike_potential(chip: ChipModel, threshold_scale: npt.ArrayLike = 1.0) -> FloatArray:
    """v_spike of a neuron whose spike threshold is `threshold_scale` times the chip model's."""
    constants = chip.constants
    ratio = constants.spike_threshold_a.value / constants.leak_current_a.value
    return np.asarray(np.log(ratio * np.asarray(threshold_scale)), dtype=np.float64)


def rise_time_s(
    chip: ChipModel, charge_c: npt.ArrayLike, drive_a: FloatArray, leak_a: FloatArray, gain_a: npt.ArrayLike,
    threshold_scale: FloatArray, grain_s: float = 0.0,
) -> FloatArray:  # fmt: skip
    """Time from reset to spike (s), by the midpoint rule in v.

    Args:
        charge_c: Q (C).
        drive_a, leak_a: constant input and leak (A).
        gain_a: I_th (A).
        threshold_scale: spike threshold / the chip model's; all arguments broadcast.
        grain_s: time step of the board's own clock (s), 0 for none. A spike waits for the end of its step, half a step on
            average, and a membrane that moves in steps takes each with the speed of its beginning (explicit Euler): the rise
            is longer by grain / 2 (1 + ln(I_net at the end / I_net at the start)).

    Returns:
        The time; infinity where the drive never reaches the threshold.
    """
    i_0, kappa = chip.constants.leak_current_a.value, chip.constants.kappa.value
    drive, leak, gain, scale = np.broadcast_arrays(drive_a, leak_a, gain_a, threshold_scale)
    v_spike = spike_potential(chip, scale)
    total, slowest = np.zeros(v_spike.shape), np.full(v_spike.shape, np.inf)
    first = last = slowest
    for point in range(_POINTS):
        v = v_spike * ((point + 0.5) / _POINTS)
        membrane = i_0 * np.exp(v)
        last = drive / (1.0 + membrane / gain) - leak + i_0 * np.exp(v * (kappa / (kappa + 1.0)))
        first = last if point == 0 else first
        slowest = np.minimum(slowest, last)
        with np.errstate(divide="ignore"):
            total = total + 1.0 / last
    stuck = slowest <= 0
    with np.errstate(invalid="ignore", divide="ignore"):
        clock = 0.5 * grain_s * (1.0 + np.log(last / first))
        return np.asarray(np.where(stuck, np.inf, np.asarray(charge_c) * v_spike * total / _POINTS + clock))
