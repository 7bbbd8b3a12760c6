"""Width of the synaptic pulse, from how far a fast train of events brings a synapse towards its full scale.

One event moves a DPI by the fraction a = 1 - exp(-T / tau) of what is left to full scale, so a train settles where the fraction
and the decay between volleys balance; the ratio of that current to a single volley's tells the fraction, and so the width T.
Where pulses last instead (`apart_s` > 0), events that come within a pulse keep it going, and the train reaches full scale.
"""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.bias_codes import current_range_a
from bcall_hw.calibrate import listeners, synapse
from bcall_hw.calibrate.bench import Bench
from bcall_hw.calibrate.estimate import Estimate, inverted
from bcall_hw.calibrate.synapse import SynapseEstimate

#: Time constant of the synapse that is used (s), and in widths; jump of a volley; share of time that pulses of the train cover.
_TAU_S, _PULSES, _VOLLEY_JUMP, _COVERED = 0.005, 20.0, 0.2, 0.8
#: Full scale of the synapse / net current of the drive, which pulses that last reach; largest current of the bias / leak's.
FULL_SCALE, LASTING_FULL_SCALE, WEIGHT_RATIO = 5.0, 2.5, 8.0
_TICK_S, _SETTLED, _LONGEST_S, _RUNS = 1e-4, 8.0, 0.6, 3
#: Events of a train that keeps a lasting pulse going, in each width; the width may be off by a factor of two.
_OVERLAPPED = 6
#: Error that a core's neurons share: that of a weight, seen through the jump.
_COMMON = 0.002


def events_of_volley(pulse_s: float) -> int:
    """Events of a volley whose jump shows well."""
    return max(1, round(_VOLLEY_JUMP * tau_for(pulse_s) / pulse_s))


def tau_for(pulse_s: float) -> float:
    """Time constant (s) of the synapse through which a width is told: so long that a pulse stays a small jump."""
    return max(_TAU_S, _PULSES * pulse_s)


def measure(bench: Bench, seen: SynapseEstimate, pulse_s: float, apart_s: float, offset: int) -> Estimate:
    """Pulse width (s) of every neuron.

    Args:
        seen: time constant and weight of the exciting type that the bench listens to, under codes for `tau_for` and a full
            scale of `FULL_SCALE` net currents.
        pulse_s: width that is expected.
        apart_s, offset: as in `synapse.measure`.
    """
    lasting = apart_s > 0
    events = 1 if lasting else events_of_volley(pulse_s)
    wished = pulse_s / _OVERLAPPED if lasting else events * pulse_s / _COVERED
    period = max(_TICK_S, round(wished / _TICK_S) * _TICK_S) if not lasting else wished
    most = bench.chip.stimulus.max_events // (len(bench.rig.chips) * events)
    length = min(_LONGEST_S, most * period)
    volleys = int(length / period)
    settle, shift = _SETTLED * tau_for(pulse_s), synapse.shift_s(offset)
    means, errors = [], []
    for _ in range(_RUNS):
        times = np.asarray(0.001 + shift + np.arange(volleys) * period, dtype=np.float64)
        train, use = listeners.volleys(bench.chip, times, events, 0.0)
        heard = bench.rig.run(0.001 + shift + volleys * period, train, settle_s=0.1).within(
            settle + shift, shift + volleys * period
        )
        mean, error = bench.intervals(heard)
        means.append(mean)
        errors.append(error)
    interval, error = np.mean(means, axis=0), np.mean(errors, axis=0) / np.sqrt(_RUNS)
    current, slope = inverted(
        lambda a: bench.rise_s(more_a=a), interval - bench.refractory_s, *current_range_a(bench.chip), rising=False
    )
    working = (bench.entries * use).sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        single = seen.weight.value * working  # of a volley
        tau, ratio = seen.tau.value, current / single
        of_ratio = np.sqrt((slope * error) ** 2 + seen.weight.error**2)
        if lasting:
            jump = working / ratio
            sensitivity = np.ones_like(jump)
        else:
            left = np.exp(-period / tau)
            shape = _held_mean(period, tau, bench.grain_s)
            volley = 1.0 - (1.0 - shape / ratio) / left
            sensitivity = shape / ratio / left / volley
            jump = volley / working
        jump = np.where((jump > 0) & (jump < 1), jump, np.nan)
        width = -tau * np.log1p(-jump)
    common = 2.0 * seen.weight.common if lasting else _COMMON
    return Estimate(width, np.hypot(sensitivity * of_ratio, seen.tau.error), common)


def _held_mean(period_s: float, tau_s: FloatArray, grain_s: float) -> FloatArray:
    """Mean over a period of a current that decays from 1; a clocked board holds it through each step."""
    gone = 1.0 - np.exp(-period_s / tau_s)
    step = grain_s if grain_s >= 1e-5 else 0.0
    return gone * (step / (1.0 - np.exp(-step / tau_s)) if step else tau_s) / period_s


def jump_at(width: Estimate, tau: Estimate) -> Estimate:
    """The BCaLL jump a = 1 - exp(-T / tau) of one event at another time constant."""
    return Estimate(
        synapse.jump_of(tau.value, width.value), np.hypot(width.error, tau.error), np.hypot(width.common, tau.common)
    )
