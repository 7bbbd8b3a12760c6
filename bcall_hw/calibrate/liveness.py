"""Which neurons fire: under a strong constant current, under a fair one, and in the dark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw import circuits
from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.bias_codes import current_range_a, nearest_code
from bcall_hw.calibrate.rig import Rig
from bcall_hw.chip_model import BiasCode, ChipModel

#: Nominal times to the threshold under the strong constant current, and under a desperate one (s).
_STRONG_S, _DESPERATE_S = 1e-3, 3e-4
#: Membrane time constant beside the fair constant current, and that current / leak: tried in turn until a core fires.
_FAIR_TAU_S, _FAIR = 5e-3, (10.0, 20.0, 40.0)
#: Leak / dark current in the dark: between a neighbour's constant current and that of a hot neuron; tried in turn.
_DARK_LEAK = (16.0, 64.0)
#: Share of a core's neurons that have to fire before the others count as silent, and above which a core is not quiet.
_MOST, _FEW = 0.75, 0.25
_SETTLE_S, _STRONG_RUN_S, _FAIR_RUN_S, _DARK_RUN_S = 0.03, 0.1, 0.2, 0.7
_REFRACTORY_S = 5e-3


@dataclass(frozen=True, eq=False)
class Liveness:
    """What each neuron does under constant currents; bool, shape (measured cores, neurons).

    Attributes:
        fires: under a strong one.
        hot: in the dark, against a leak that keeps its neighbours quiet.
        weak: not under a fair one, with either of the two leaks, though its neighbours do.
    """

    fires: BoolArray
    hot: BoolArray
    weak: BoolArray


def spike_charge_c(chip: ChipModel) -> float:
    """Nominal charge from reset to threshold (C)."""
    constants = chip.constants
    v_spike = np.log(constants.spike_threshold_a.value / constants.leak_current_a.value)
    return float(v_spike) * circuits.thermal_charge_c(chip, chip.capacitances_f.soma)


def code(chip: ChipModel, role: str, current_a: float) -> BiasCode:
    """The code nearest to a current, or to the end of the table that it lies beyond."""
    lowest, highest = current_range_a(chip)
    return nearest_code(chip, min(max(current_a, lowest), highest), f"scan, {role}")[0]


def base_codes(rig: Rig, leak_a: float, refractory_s: float) -> dict[str, BiasCode]:
    """A quiet core's codes but for both leaks, the refractory period and a gain that never saturates."""
    chip = rig.chip
    refractory_a = circuits.switching_charge_c(chip, chip.capacitances_f.refractory) / refractory_s
    given = {"leak1": leak_a, "leak2": leak_a, "refractory": refractory_a, "gain": current_range_a(chip)[1]}
    return rig.quiet | {role: code(chip, role, a) for role, a in given.items()}


def measure_liveness(rig: Rig) -> Liveness:
    """Fire all neurons of all cores by constant currents; see the module."""
    fires = _fires(rig)
    none = np.zeros(rig.shape, dtype=bool)
    if not fires.any():
        return Liveness(fires, none, none)
    return Liveness(fires, _hot(rig) & fires, _weak(rig, fires) & fires)


def _fires(rig: Rig) -> BoolArray:
    """Which neurons fire under a strong current; those that do not get more, with the other leak."""
    fires = np.zeros(rig.shape, dtype=bool)
    charge = spike_charge_c(rig.chip)
    for time_s, second in ((_STRONG_S, False), (_DESPERATE_S, True)):
        if not fires.all():
            rig.second_leak(np.full(rig.shape, second))
            fires |= _counts(rig, _dc_codes(rig, 0.0, charge / time_s), _STRONG_RUN_S) > 0
    rig.second_leak(np.zeros(rig.shape, dtype=bool))
    return fires


def _weak(rig: Rig, fires: BoolArray) -> BoolArray:
    """Which neurons do not fire where most of their core do, with the first leak or with the second."""
    leak_a = circuits.thermal_charge_c(rig.chip, rig.chip.capacitances_f.soma) / _FAIR_TAU_S
    weak = np.zeros(rig.shape, dtype=bool)
    alive = np.maximum(1, fires.sum(axis=1))
    for second in (False, True):
        rig.second_leak(np.full(rig.shape, second))
        left = fires.any(axis=1)
        for ratio in _FAIR:
            if left.any():
                fired = _counts(rig, _dc_codes(rig, leak_a, ratio * leak_a), _FAIR_RUN_S) > 0
                enough = left & ((fired & fires).sum(axis=1) >= _MOST * alive)
                weak[enough] |= ~fired[enough]
                left &= ~enough
    rig.second_leak(np.zeros(rig.shape, dtype=bool))
    return weak


def _hot(rig: Rig) -> BoolArray:
    """Which neurons fire in the dark where most of their core do not; a core that is never quiet is hot as a whole."""
    hot = np.zeros(rig.shape, dtype=bool)
    left = np.ones(len(rig.cores), dtype=bool)
    for ratio in _DARK_LEAK:
        if left.any():
            leak_a = ratio * rig.chip.current_table.dark_current_a
            fired = _counts(rig, base_codes(rig, leak_a, _REFRACTORY_S), _DARK_RUN_S) > 1
            hot[left] = fired[left]
            left &= fired.mean(axis=1) > _FEW
    return hot


def _dc_codes(rig: Rig, leak_a: float, dc_a: float) -> dict[str, BiasCode]:
    return base_codes(rig, leak_a, _REFRACTORY_S) | {"dc": code(rig.chip, "dc", dc_a)}


def _counts(rig: Rig, codes: dict[str, BiasCode], run_s: float) -> IntArray:
    rig.set(codes)
    return rig.run(run_s, settle_s=_SETTLE_S).counts.reshape(rig.shape)
