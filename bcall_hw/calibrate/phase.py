"""Fits of decaying currents by the phase of a neuron that fires all the time.

A neuron under a constant drive goes from spike to spike with a constant velocity; its phase is a whole number at each spike.
A further current speeds it up or slows it down in proportion, so what the current did up to a spike is known to the precision
of a time stamp: the number of spikes less what the drive alone would have made. An exponential in time since its cause has two
parameters, and the spikes after one cause, repeated, give both. A neuron feels nothing in its refractory period.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.calibrate.estimate import Estimate
from bcall_hw.calibrate.spike_trains import SpikeTrains

_GRID, _REACH = 13, 5.0


@dataclass(frozen=True, eq=False)
class Excess:
    """What spikes say of a current: for each spike of each trial, in the order neuron within trial.

    Attributes:
        neuron, trial: whose spike it is.
        first: index of the first spike of its group (one neuron in one trial).
        time_s: since the cause.
        since_s: from when the neuron could feel the current: the end of the refractory period before, at least 0.
        excess: phase that the current made up to this spike.
        before_s: time of the spike before, since the cause (negative before it).
    """

    neuron: IntArray
    trial: IntArray
    first: IntArray
    time_s: FloatArray
    since_s: FloatArray
    excess: FloatArray
    before_s: FloatArray


def after_causes(
    trains: SpikeTrains, causes_s: FloatArray, span_s: float, velocity_hz: FloatArray, dead_s: FloatArray, skip: int = 0
) -> Excess:
    """The spikes within `span_s` after each cause.

    Args:
        causes_s: times of the causes.
        velocity_hz: phase velocity of each neuron under the drive alone, while it is not refractory.
        dead_s: refractory period of each neuron, with what a time step cuts off.
        skip: count from the `skip`-th spike after the cause; 0 counts from the last one before it.
    """
    neurons, owner = velocity_hz.size, trains.owner
    parts: list[tuple[npt.NDArray[np.generic], ...]] = []
    base = 0
    for trial, cause in enumerate(causes_s.tolist()):
        time = trains.times_s - cause
        after = (time > 0) & (time <= span_s)
        earlier = np.bincount(owner[time <= 0], minlength=neurons)
        start = trains.start[:-1] + earlier + skip - 1  # the spike from which is counted
        counts = np.bincount(owner[after], minlength=neurons) - skip
        usable = (counts > 0) & (start >= trains.start[:-1]) & np.isfinite(velocity_hz)
        index = np.concatenate([[0], np.cumsum(np.where(usable, counts, 0))])
        who = np.repeat(np.arange(neurons), np.diff(index))
        number = np.arange(who.size) - index[who] + 1
        at = start[who] + number
        now, origin, before = time[at], time[start[who]], time[at - 1]
        made = number - velocity_hz[who] * (now - origin - number * dead_s[who])
        since = np.minimum(np.maximum(before + dead_s[who], 0.0), now)
        parts.append((who, np.full(who.size, trial), base + index[who], now, since, made, before))
        base += who.size
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Excess(*columns)


def joined(parts: list[Excess]) -> Excess:
    """Several runs of one cause each; trial is the run's number."""
    offsets = np.concatenate([[0], np.cumsum([part.neuron.size for part in parts])])
    trial = np.repeat(np.arange(len(parts)), np.diff(offsets))
    first = np.concatenate([part.first + offset for part, offset in zip(parts, offsets[:-1].tolist(), strict=True)])
    neuron = np.concatenate([part.neuron for part in parts])
    times = (np.concatenate([getattr(part, name) for part in parts]) for name in ("time_s", "since_s", "excess", "before_s"))
    return Excess(neuron, trial, first, *times)


Kernel = Callable[[Excess, FloatArray], FloatArray]


def _summed(values: FloatArray, first: IntArray) -> FloatArray:
    """Running sum within each group."""
    total = np.cumsum(values)
    return np.asarray(total - (total[first] - values[first]))


def decay_of_cause(spikes: Excess, tau_s: FloatArray) -> FloatArray:
    """Phase that a current of 1, decaying with each neuron's tau since the cause, makes up to each spike, per unit velocity."""
    tau = tau_s[spikes.neuron]
    return _summed(tau * (np.exp(-spikes.since_s / tau) - np.exp(-spikes.time_s / tau)), spikes.first)


def own_spikes_after(earlier: int, pulse_s: FloatArray) -> Kernel:
    """The kernel of a current that every own spike raises by 1 (adaptation).

    `earlier` spikes came before the one from which is counted, at intervals about as long as the next. Where pulses are jumps
    towards a full scale (`pulse_s` > 0, shape (neurons,)), each takes the fraction 1 - exp(-pulse / tau) of what is there, as
    if time went on.
    """

    def kernel(spikes: Excess, tau_s: FloatArray) -> FloatArray:
        tau, n = tau_s[spikes.neuron], spikes.time_s.size
        level, place = np.zeros(n), np.arange(n) - spikes.first
        interval = spikes.time_s - spikes.before_s
        apart = interval + pulse_s[spikes.neuron]
        for number in range(int(place.max(initial=-1)) + 1):  # spike number k of every group at once
            at = np.flatnonzero(place == number)
            if number == 0:
                level[at] = sum(np.exp(-k * apart[at] / tau[at]) for k in range(earlier + 1))
            else:
                level[at] = level[at - 1] * np.exp(-apart[at - 1] / tau[at]) + 1.0
        start = spikes.since_s - spikes.before_s
        return _summed(level * tau * (np.exp(-start / tau) - np.exp(-interval / tau)), spikes.first)

    return kernel


def fitted(spikes: Excess, kernel: Kernel, guess_s: FloatArray, trials: int) -> tuple[Estimate, Estimate]:
    """Time constant and amplitude of each neuron's current by least squares, with errors from the scatter of trials.

    Args:
        kernel: `decay_of_cause`, or one of `own_spikes_after`.
        guess_s: time constants to start from, shape (neurons,).
        trials: number of causes.

    Returns:
        Time constant (s), and |amplitude| (velocity per cause, Hz), both of shape (1, neurons).
    """
    neurons = guess_s.size

    def sums(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(spikes.neuron, values, minlength=neurons), dtype=np.float64)

    def misfit(tau: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        made = kernel(spikes, tau)
        with np.errstate(invalid="ignore", divide="ignore"):
            amplitude = sums(spikes.excess * made) / sums(made * made)
        rest = spikes.excess - amplitude[spikes.neuron] * made
        return sums(rest * rest), amplitude, made

    grid = np.geomspace(1 / _REACH, _REACH, _GRID)
    table = np.array([misfit(guess_s * factor)[0] for factor in grid])
    best = np.clip(np.nan_to_num(table, nan=np.inf).argmin(axis=0), 1, _GRID - 2)
    tau, step = guess_s * grid[best], np.log(grid[1] / grid[0])
    for _ in range(5):
        low, here, high = (misfit(tau * np.exp(shift))[0] for shift in (-step, 0.0, step))
        with np.errstate(invalid="ignore", divide="ignore"):
            move = 0.5 * (low - high) / (low - 2 * here + high)
        tau = tau * np.exp(np.clip(np.nan_to_num(move), -1, 1) * step)
        step *= 0.4
    _, amplitude, made = misfit(tau)
    slope = (kernel(spikes, tau * 1.01) - made) / 0.01 * amplitude[spikes.neuron]
    rest = spikes.excess - amplitude[spikes.neuron] * made
    of_tau, of_amplitude = _errors(spikes, made, slope, rest, trials, neurons)
    edge = (np.abs(np.log(tau / guess_s)) > np.log(_REACH)) | ~np.isfinite(amplitude)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = of_amplitude / np.abs(amplitude)
    tau, size = np.where(edge, np.nan, tau), np.where(edge, np.nan, np.abs(amplitude))
    return Estimate(tau[None], of_tau[None]), Estimate(size[None], relative[None])


def _errors(
    spikes: Excess, made: FloatArray, slope: FloatArray, rest: FloatArray, trials: int, neurons: int
) -> tuple[FloatArray, FloatArray]:
    """Standard errors of ln(tau) and of the amplitude: the scores of each trial scatter, the curvature tells how much."""
    key, size = spikes.neuron * trials + spikes.trial, neurons * trials

    def sums(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(spikes.neuron, values, minlength=neurons), dtype=np.float64)

    def scores(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(key, values * rest, minlength=size), dtype=np.float64).reshape(neurons, trials)

    a, b, c = sums(made * made), sums(made * slope), sums(slope * slope)
    u, v = scores(made), scores(slope)
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = 1.0 / (a * c - b * b)
        of_amplitude = (c[:, None] * u - b[:, None] * v) * inverse[:, None]
        of_tau = (a[:, None] * v - b[:, None] * u) * inverse[:, None]
        more = trials / max(1, trials - 2)  # two parameters were fitted to the same trials
        return np.sqrt((of_tau**2).sum(axis=1) * more), np.sqrt((of_amplitude**2).sum(axis=1) * more)
