"""Time constant and weight of each synapse type, from how volleys of events shift the phase of neurons that fire steadily."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.calibrate import listeners, phase
from bcall_hw.calibrate.bench import Bench
from bcall_hw.calibrate.correction import Correction, known
from bcall_hw.calibrate.estimate import Estimate
from bcall_hw.calibrate.membrane import spike_potential
from bcall_hw.calibrate.model_neuron import ModelNeurons
from bcall_hw.calibrate.spike_trains import SpikeTrains

#: Rise (s) of the median neuron while it waits for volleys.
RISE_S = 0.008
#: Current of a volley / net current of the drive: exciting types, and inhibiting ones, which must not stop the neuron.
_EXCITING, _INHIBITING = 1.0, 0.35
#: Time between volleys, and of the fit, in time constants; shortest and longest time between volleys (s).
_APART, _FITTED, _SHORTEST_S, _LONGEST_S = 6.0, 4.0, 0.03, 0.6
#: Relative errors of a neuron's weight and time constant that its trials do not show: the velocity per ampere, the short cut.
_NEURON_ERROR, _NEURON_TAU_ERROR = 0.008, 0.0022
#: Errors of time constants, over what the scatter of trials says: seen on boards whose truth was known.
_UNDERSTATED = 2.1
#: Error that the weights of a core share: capacitance, constant current and pulse width act on all of them.
WEIGHT_ERROR = 0.004
#: The same with pulses that last.
_LASTING_ERROR = 0.006
#: Error of all of a core's neurons / squared CV of their intervals: noise bends phases, and the model neurons have none.
_OF_NOISE = 3.0
#: Model neurons on which the estimator is tried, of all cores together.
_TRIED = 384
#: Share of a volley's events that a neuron's working CAM entries have to hear.
_FEWEST_HEARD = 0.1
_GOLDEN = 0.6180339887498949
_BASE_S, _FEWEST, _MOST = 0.6, 12, 40


@dataclass(frozen=True, eq=False)
class SynapseEstimate:
    """Of one synapse type under the codes that were set.

    Attributes:
        tau: time constant (s).
        weight: current of one event (A), mean over the neuron's working CAM entries.
    """

    tau: Estimate
    weight: Estimate


def is_exciting(bench: Bench, synapse: str) -> bool:
    """Whether a type drives neurons."""
    return bench.chip.synapse_type(synapse).effect in ("excitatory", "gated")


def wanted_volley_a(bench: Bench, synapse: str) -> float:
    """Current of a volley that shows well on the bench's drive (A), of the median core."""
    return bench.net_for(RISE_S) * (_EXCITING if is_exciting(bench, synapse) else _INHIBITING)


def events_for(bench: Bench, synapse: str, weight_a: float, jump_of_event: float) -> int:
    """How many events make a volley that shows well: at least one, and together below the full scale."""
    most = max(1, int(0.8 / max(jump_of_event, 1e-9)))
    return int(np.clip(round(wanted_volley_a(bench, synapse) / weight_a), 1, most))


def measure(
    bench: Bench,
    synapse: str,
    tau_s: float,
    events: int,
    apart_s: float,
    pulse_s: float,
    offset: int = 0,
) -> SynapseEstimate:
    """Time constant and weight under the codes that are set for the type's tau, gain, weight and the pulse width.

    Args:
        tau_s: time constant that is expected, of the median core.
        events: events of a volley.
        apart_s: time between them; 0 where events at one time add up.
        pulse_s: pulse width, for pulses that last (`apart_s` > 0).
        offset: shifts the volleys against the spikes, so that another measurement sees other phases.
    """
    bench.set_currents(dc=bench.drive_for(RISE_S), refractory=bench.short_refractory_a)
    waiting = bench.rig.run(_BASE_S, settle_s=0.1)
    base, _ = bench.intervals(waiting)
    dead = (bench.refractory_s + 0.5 * bench.grain_s).ravel()
    velocity = 1.0 / (base.ravel() - dead)
    plan = _Plan.of(tau_s, events * apart_s)
    times = plan.times_s + shift_s(offset)
    train, use = listeners.volleys(bench.chip, times, events, apart_s)
    heard = bench.rig.run(float(times[-1]) + plan.between_s, train, settle_s=0.1)
    after_s = np.asarray(np.arange(events) * apart_s, dtype=np.float64)
    causes = _as_clocked(times[:, None] + after_s, bench.grain_s).mean(axis=1) + (0.5 * pulse_s if apart_s else 0.0)
    tau, size = plan.fit(heard, causes, velocity, dead)
    working = (bench.entries * use).sum(axis=2).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        per_event = size.scaled(1.0 / np.where(working > _FEWEST_HEARD * events, working, np.nan))
    tau, weight = _corrected(bench, synapse, plan, tau, per_event, events, after_s if apart_s else after_s[:1])
    if apart_s:
        # The fit tells the jump of a pulse as if it came at its middle; the pulse has made it when it ends.
        weight = replace(weight.scaled(np.exp(-0.5 * pulse_s / tau.value)), common=_LASTING_ERROR)
    noise = _OF_NOISE * float(np.max(bench.squared_cv(waiting)))
    return SynapseEstimate(*(replace(e, common=float(np.hypot(e.common, noise))) for e in (tau, weight)))


def shift_s(offset: int) -> float:
    """How much later the stimuli of a measurement come, another one for each: the golden ratio's multiples in a rise."""
    return RISE_S * (offset * _GOLDEN % 1.0)


def jump_of(tau_s: FloatArray, pulse_s: float | FloatArray) -> FloatArray:
    """The fraction 1 - exp(-T / tau) of full scale that one pulse moves (see `trace_circuit.jump`)."""
    return -np.expm1(-pulse_s / tau_s)


@dataclass(frozen=True, eq=False)
class _Plan:
    """When volleys come, and how far after each spikes are looked at."""

    times_s: FloatArray
    between_s: float
    span_s: float
    tau_s: float

    @classmethod
    def of(cls, tau_s: float, volley_s: float) -> _Plan:
        """For a time constant and the length of a volley."""
        between = float(np.clip(_APART * tau_s + volley_s, _SHORTEST_S, _LONGEST_S)) + RISE_S
        trials = int(np.clip(round(3.0 / between), _FEWEST, _MOST))
        # Not a multiple of anything: each volley meets another phase.
        times = np.asarray(0.02 + np.arange(trials) * (between + 0.00137), dtype=np.float64)
        return cls(times, between, min(_FITTED * tau_s, between - RISE_S - volley_s) + RISE_S, tau_s)

    def fit(self, heard: SpikeTrains, causes: FloatArray, velocity: FloatArray, dead: FloatArray) -> tuple[Estimate, Estimate]:
        """See `phase.fitted`."""
        spikes = phase.after_causes(heard, causes, self.span_s, velocity, dead)
        return phase.fitted(spikes, phase.decay_of_cause, np.full(velocity.size, self.tau_s), causes.size)


def _as_clocked(causes_s: FloatArray, grain_s: float) -> FloatArray:
    """When a current begins as spikes tell it.

    A clocked board adds an event from the beginning of its step on, holds currents through each step, and tells spikes half a
    step late on average.
    """
    return np.asarray((np.floor(causes_s / grain_s + 1e-6) + 1.0) * grain_s) if grain_s else causes_s


def _corrected(
    bench: Bench, synapse: str, plan: _Plan, tau: Estimate, per_event: Estimate, events: int, after_s: FloatArray
) -> tuple[Estimate, Estimate]:
    """From phase velocities to amperes, less what the fit gets wrong on model neurons like those of each core.

    Args:
        after_s: when the events of a volley come after its first one; one number where they come together.
    """
    shape = bench.rig.shape
    sign = 1.0 if is_exciting(bench, synapse) else -1.0
    base = 1.0 / bench.rise_s(clock=False)
    small = 0.02 * wanted_volley_a(bench, synapse) * sign
    with np.errstate(invalid="ignore", divide="ignore"):
        per_ampere = ((1.0 / bench.rise_s(clock=False, more_a=small) - base) / small).ravel()
        error = np.hypot(per_event.error, _NEURON_ERROR)
        weight = Estimate(per_event.value / per_ampere, error, WEIGHT_ERROR, _NEURON_ERROR)
    tau = Estimate(tau.value, np.hypot(_UNDERSTATED * tau.error, _NEURON_TAU_ERROR), each=_NEURON_TAU_ERROR)
    seen = tau.reshaped(shape), weight.reshaped(shape)
    found, end_s, grain = seen, float(plan.times_s[-1]) + plan.between_s, bench.grain_s
    if not (seen[0].measured.any() and seen[1].measured.any()):
        return seen
    times = plan.times_s[:, None] + after_s
    causes, at_once = _as_clocked(times, grain).mean(axis=1), events // after_s.size
    for _ in range(2):
        model, which = _model(bench, found[0], found[1], sign * at_once)
        heard = model.run(bench.chip, times.ravel(), end_s, grain_s=grain)
        dead = bench.refractory_s.ravel()[which] + 0.5 * grain
        of_tau, size = plan.fit(heard, causes, model.velocity_hz(bench.chip, grain), dead)
        of_jump = size.value[0] / per_ampere[which]
        truth = np.abs(model.jump_a) / at_once
        found = Correction(model.tau_s, truth, of_tau.value[0], of_jump / events).applied(seen[0], seen[1])
    return found


def _model(bench: Bench, tau: Estimate, weight: Estimate, events: float) -> tuple[ModelNeurons, IntArray]:
    """Some neurons of all cores as they were estimated."""
    which = bench.some_alive(_TRIED)

    def some(values: FloatArray) -> FloatArray:
        return np.broadcast_to(values, bench.rig.shape).ravel()[which]

    net = bench.current_a["dc"][:, None] * bench.dc_scale - bench.current_a["leak1"][:, None] * bench.leak_scale
    v_spike = spike_potential(bench.chip, bench.threshold_scale)
    charge = bench.charge_c * bench.charge_scale[:, None]
    return ModelNeurons(
        some(charge), some(net), some(v_spike), some(bench.refractory_s), some(known(tau)), some(known(weight)) * events,
        np.zeros(which.size),
    ), which  # fmt: skip
