"""Soma: refractory period, capacitance, constant current, spike threshold and leak, from intervals between spikes.

Every estimator sets codes, reads mean intervals, and inverts `membrane.rise_time_s`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.bias_codes import current_range_a
from bcall_hw.calibrate.bench import Bench
from bcall_hw.calibrate.estimate import LEAST_ERROR, MODEL_ERROR, Estimate, inverted, medians

#: Rise (s) of the median neuron in a fast and in a slow measurement, and with a gain so low that the threshold shows.
_FAST_S, _SLOW_S, _THRESHOLD_S = 0.010, 0.080, 0.010
#: Share of a refractory period, beyond the short one, below which it is not told.
_LEAST_SHARE = 0.2
#: Spike threshold / I_th where the threshold is measured.
_THRESHOLD_RATIO = 20.0
#: Where the capacitance is looked for, ln over the rough one; a gap (ln) that counts as closed, and how often to try.
_BRACKET, _CLOSED, _MOST_GUESSES = (-1.5, 1.2), 1e-4, 20
_SHORTEST_S, _SPIKES = 0.3, 28
#: Membrane time constant (s) under which the leak is told roughly.
_LEAK_S = 0.02
#: Drive / leak in the measurement of the leak: near the rheobase, where the interval depends on the leak most.
_LEAK_LADDER = (1.7, 2.3, 3.5)
#: Net current / I_0 below which positive feedback, not the drive, makes the neuron fire.
_FEEBLE = 6.0
#: Error of all neurons / squared CV of intervals in the slow rise: noise moves them beyond what is put back.
_OF_NOISE = 0.5
#: Rise (s) below which a constant current is measured under a longer refractory period, how much longer, and below which it is
#: not told at all.
_FASTEST_S, _LONGER, _HIDDEN_S = 2e-3, 2.5, 0.7e-3
#: Relative error of a neuron's constant current that its intervals do not show: leak, noise and steps in a rise.
NEURON_ERROR = 0.0033


def find_grain(bench: Bench) -> None:
    """The finest time by which the board's spikes differ, and roughly how fast its somas charge."""
    bench.rest_currents()
    bench.set_currents(dc=bench.drive_for(_FAST_S), refractory=bench.switching_charge_c("refractory") / 1e-3)
    trains = bench.rig.run(_SHORTEST_S, settle_s=0.05)
    stamps = np.unique(np.rint(trains.times_s * 1e6).astype(np.int64))
    bench.grain_s = float(np.gcd.reduce(stamps)) * 1e-6 if stamps.size > 1 else 0.0
    mean, _ = bench.intervals(trains)
    bench.alive &= np.isfinite(mean)
    silent = np.asarray(~bench.alive.any(axis=1))
    typical = medians(np.where(silent[:, None], 1.0, mean))
    predicted = np.median(bench.rise_s(), axis=1)
    # All of the difference goes to the capacitance until `drive` tells it from the constant current.
    bench.charge_scale = np.where(silent, 1.0, np.maximum(typical - 1e-3, 0.3 * typical) / predicted)


def refractory(bench: Bench, current_a: FloatArray) -> Estimate:
    """Refractory period (s) of every neuron under a code: the interval that it adds to that of a short one.

    What the rise takes, and what a time step cuts off, is the same in both and drops out.

    Args:
        current_a: current of the bias, shape (cores,).
    """
    charge = bench.switching_charge_c("refractory")
    bench.rest_currents()
    bench.set_currents(dc=bench.drive_for(_FAST_S), refractory=bench.short_refractory_a)
    short_a = bench.current_a["refractory"]
    short, short_error = bench.intervals(bench.rig.run(_duration(2 * _FAST_S), settle_s=0.05))
    bench.set_currents(refractory=current_a)
    long_a = bench.current_a["refractory"]
    longest = float(np.max(np.nan_to_num(charge / long_a))) * 2.0
    long, long_error = bench.intervals(bench.rig.run(_duration(longest + _FAST_S), settle_s=longest))
    # R is proportional to 1 / I: the difference is the share (1 - I_long / I_short) of the long one.
    share = (1.0 - long_a / short_a)[:, None]
    share = np.where(share < _LEAST_SHARE, np.nan, share)
    period = (long - short) / share
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.hypot(short_error, long_error) / np.abs(long - short)
    # Under one code more the scale of the others is known.
    # A period of 0 or less tells that the bias did not move; it counts as seen, not as measured.
    found = Estimate(period, error)
    bench.refractory_scale = _filled(found.value / (charge / long_a)[:, None], found.measured)
    return found


def too_short(bench: Bench, current_a: FloatArray) -> BoolArray:
    """Cores whose refractory period under a code is too near to the short one to be told, shape (cores,)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(1.0 - current_a / bench.short_refractory_a < _LEAST_SHARE)


def drive(bench: Bench) -> tuple[Estimate, Estimate]:
    """Capacitance of each core, and constant current and spike threshold of every neuron, all over nominal.

    A fast rise gives constant current / capacitance, a slow one both (there the positive feedback, a current that is known,
    takes part), a low gain the spike threshold, a strong leak how much leaks in all of them. Sets them, and needs the
    refractory scale.

    Returns:
        Scale of the constant current, and of the spike threshold.
    """
    lowest, highest = current_range_a(bench.chip)
    bench.rest_currents()
    bench.set_currents(refractory=bench.short_refractory_a)
    measured = {}
    threshold_a = bench.chip.constants.spike_threshold_a.value
    # The feedback does not grow with the capacitance: a large one charges longer, so that the drive is as small beside it.
    slow_s = _SLOW_S * np.maximum(1.0, bench.charge_scale)
    for name, rises_s, gain_a in (
        ("fast", _FAST_S, highest), ("slow", slow_s, highest), ("threshold", _THRESHOLD_S, threshold_a / _THRESHOLD_RATIO),
    ):  # fmt: skip
        bench.set_currents(dc=np.maximum(bench.drive_for(rises_s), lowest * 6), gain=gain_a)
        longest_s = 2.0 * float(np.max(rises_s))
        trains = bench.rig.run(_duration(longest_s), settle_s=longest_s)
        if name == "slow":
            bench.soma_error = float(np.hypot(MODEL_ERROR, _OF_NOISE * np.max(bench.squared_cv(trains))))
        mean, error = bench.intervals(trains)
        measured[name] = dict(bench.current_a), mean - bench.refractory_s, error
    leak_a = bench.charge_c * bench.charge_scale / _LEAK_S
    bench.set_currents(leak1=leak_a, dc=_LEAK_LADDER[1] * leak_a / np.nanmedian(bench.dc_scale, axis=1), gain=highest)
    mean, error = bench.intervals(bench.rig.run(_duration(4 * _LEAK_S), settle_s=4 * _LEAK_S))
    measured["leak"] = dict(bench.current_a), mean - bench.refractory_s, error
    bench.leak_scale = np.ones_like(bench.leak_scale)
    rough = bench.charge_scale.copy()

    def gap(log_scale: FloatArray) -> FloatArray:
        """Median ln(constant current from the slow / from the fast rise) of each core, with another capacitance."""
        bench.charge_scale = rough * np.exp(log_scale)
        for _ in range(3):
            fast = _dc(bench, *measured["fast"])
            bench.dc_scale = _filled(fast.value, fast.measured)
            threshold = _threshold(bench, *measured["threshold"])
            bench.threshold_scale = _filled(threshold.value, threshold.measured)
            leak = _leak(bench, *measured["leak"])
            bench.leak_scale = _filled(leak.value, leak.measured)
        slow = _dc(bench, *measured["slow"])
        both, found = fast.measured & slow.measured, np.zeros(len(rough))
        for core in np.flatnonzero(both.any(axis=1)):
            found[core] = np.median(np.log(slow.value[core, both[core]] / fast.value[core, both[core]]))
        return found

    # A capacitance that is too large asks for too much current, and for relatively more of it where feedback helps: the gap
    # rises with it, nearly in a straight line.
    low, high = np.full(len(rough), _BRACKET[0]), np.full(len(rough), _BRACKET[1])
    of_low, of_high = gap(low), gap(high)
    bench.bracketed = (of_low < 0) & (of_high > 0)
    for _ in range(_MOST_GUESSES):
        with np.errstate(invalid="ignore", divide="ignore"):
            guess = low - of_low * (high - low) / (of_high - of_low)
        guess = np.clip(np.where(np.isfinite(guess), guess, 0.0), low, high)
        found = gap(guess)
        if np.all(np.abs(found[bench.bracketed]) < _CLOSED):
            break
        # The end that stays counts half (Illinois): else one end may stay for ever.
        below = found < 0
        low, of_low = np.where(below, guess, low), np.where(below, found, 0.5 * of_low)
        high, of_high = np.where(below, high, guess), np.where(below, 0.5 * of_high, found)
    gap(guess)
    threshold = _threshold(bench, *measured["threshold"])
    constant = _dc(bench, *measured["fast"])
    of_threshold = 0.1 * np.nan_to_num(threshold.error)  # the rise grows with its logarithm, which is about 10
    error = np.sqrt(constant.error**2 + of_threshold**2 + NEURON_ERROR**2)
    constant = Estimate(constant.value, error, bench.soma_error, NEURON_ERROR)
    bench.dc_scale, bench.dc_error = _filled(constant.value, constant.measured), _filled(constant.error, constant.measured)
    return constant, threshold


Measured = tuple[dict[str, FloatArray], FloatArray, FloatArray]


def _dc(bench: Bench, current_a: dict[str, FloatArray], rise: FloatArray, error_s: FloatArray) -> Estimate:
    bench.current_a = dict(current_a)
    value, slope = inverted(lambda scale: bench.rise_s(dc_scale=scale), rise, 0.02, 50.0, rising=False)
    return Estimate(value, np.abs(slope) * error_s)


def _threshold(bench: Bench, current_a: dict[str, FloatArray], rise: FloatArray, error_s: FloatArray) -> Estimate:
    bench.current_a = dict(current_a)
    value, slope = inverted(lambda scale: bench.rise_s(threshold_scale=scale), rise, 0.05, 20.0, rising=True)
    return Estimate(value, np.abs(slope) * error_s)


def _leak(
    bench: Bench, current_a: dict[str, FloatArray], rise: FloatArray, error_s: FloatArray, role: str = "leak1"
) -> Estimate:
    bench.current_a = dict(current_a)
    value, slope = inverted(lambda scale: bench.rise_s(leak_scale=scale, leak=role), rise, 0.02, 50.0, rising=True)
    return Estimate(value, np.abs(slope) * error_s)


def constant_current(bench: Bench, current_a: FloatArray) -> Estimate:
    """Constant current (A) of every neuron under a code; needs what `drive` finds.

    Args:
        current_a: current of the code, shape (cores,).
    """
    lowest, highest = current_range_a(bench.chip)
    bench.rest_currents()
    bench.set_currents(dc=current_a, refractory=bench.short_refractory_a, gain=highest, leak1=lowest)
    fastest_s = float(np.min(np.nan_to_num(medians(bench.rise_s()), nan=np.inf)))
    if fastest_s < _FASTEST_S:  # a strong current would fire faster than the guard allows
        bench.set_currents(refractory=bench.short_refractory_a / _LONGER)
    typical_s = float(np.max(np.nanmedian(_finite(bench.rise_s()), axis=1)))
    mean, error = bench.intervals(bench.rig.run(_duration(2 * typical_s), settle_s=2 * typical_s))
    given = dict(bench.current_a)
    found = _dc(bench, given, mean - bench.refractory_s, error)
    return Estimate(found.value * given["dc"][:, None], np.hypot(found.error, NEURON_ERROR), bench.soma_error, NEURON_ERROR)


def too_fast(bench: Bench, current_a: FloatArray) -> BoolArray:
    """Cores that rise faster under a constant current than spikes can tell, shape (cores,)."""
    bench.set_currents(dc=current_a)
    with np.errstate(invalid="ignore"):
        return np.asarray(medians(bench.rise_s()) < _HIDDEN_S)


def leak(bench: Bench, current_a: FloatArray, role: str = "leak1", quick: bool = False) -> Estimate:
    """Membrane time constant (s) of every neuron under a code of the first or second leak bias.

    Needs everything that `drive` finds. The drive is a ladder of multiples of the leak: a neuron takes part where it fires.

    Args:
        current_a: current of the bias, shape (cores,).
        quick: one rung of the ladder alone.
    """
    lowest, highest = current_range_a(bench.chip)
    second = role == "leak2"
    bench.rest_currents()
    bench.rig.second_leak(np.full(bench.rig.shape, second))
    bench.set_currents(**{role: current_a}, refractory=bench.short_refractory_a, gain=highest)
    given, feeble_a = bench.current_a[role], _FEEBLE * bench.chip.constants.leak_current_a.value
    nothing = np.full(bench.rig.shape, np.nan)
    found, moved, total = Estimate(nothing, nothing), np.zeros(bench.rig.shape), np.zeros(bench.rig.shape)
    for ratio in _LEAK_LADDER[1:2] if quick else _LEAK_LADDER:
        drive_a = np.maximum(ratio * given, given + feeble_a) / np.nanmedian(bench.dc_scale, axis=1)
        bench.set_currents(dc=np.maximum(drive_a, lowest))
        typical_s = float(np.max(np.nanmedian(_finite(bench.rise_s(leak_scale=np.ones(bench.rig.shape), leak=role)), axis=1)))
        typical_s = min(typical_s, 0.5)
        mean, error = bench.intervals(bench.rig.run(_duration(1.5 * typical_s), settle_s=typical_s))
        this = _leak(bench, bench.current_a, mean - bench.refractory_s, error, role)
        weight = np.where(this.measured, 1.0 / np.maximum(this.error, LEAST_ERROR) ** 2, 0.0)
        total += weight
        moved += weight * np.where(this.measured, _share_of_drive(bench, role, this.value), 0.0)
        found = found.combined(this)
    bench.rig.second_leak(np.zeros(bench.rig.shape, dtype=bool))
    # An error of the constant current moves all rungs of the ladder to the same side.
    with np.errstate(invalid="ignore", divide="ignore"):
        of_drive = moved / total
    typical = medians(np.where(found.measured, of_drive, np.nan).reshape(1, -1))
    found = Estimate(found.value, np.hypot(found.error, of_drive), bench.soma_error, float(np.nan_to_num(typical[0])))
    if not second:
        bench.leak_scale = _filled(found.value, found.measured)
    tau = bench.charge_c * bench.charge_scale[:, None] / (given[:, None] * found.value)
    return replace(found, value=tau)


def _share_of_drive(bench: Bench, role: str, leak_scale: FloatArray) -> FloatArray:
    """How much the constant current's error moves the leak (relative)."""
    base = bench.rise_s(leak_scale=leak_scale, leak=role)
    by_drive = bench.rise_s(leak_scale=leak_scale, leak=role, dc_scale=bench.dc_scale * 1.003) - base
    by_leak = bench.rise_s(leak_scale=leak_scale * 1.003, leak=role) - base
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(bench.dc_error * by_drive / by_leak)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, 0.5)


def _duration(interval_s: float) -> float:
    """Board time for enough intervals of this length."""
    return max(_SHORTEST_S, min(6.0, _SPIKES * interval_s))


def _filled(values: FloatArray, known: BoolArray) -> FloatArray:
    """Values where they are known, else the core's median, else 1."""
    filled = np.array(values)
    for core, mine in enumerate(known):
        filled[core, ~mine] = np.median(values[core, mine]) if mine.any() else 1.0
    return filled
