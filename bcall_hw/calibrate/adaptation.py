"""Spike-frequency adaptation: how a neuron that was held silent slows down from its first spike on.

A train of inhibiting volleys holds all neurons silent until adaptation is gone, then leaves off. The same is done without
adaptation; what the neurons lack against that is the adaptation current of their own spikes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.calibrate import listeners, phase
from bcall_hw.calibrate.bench import Bench
from bcall_hw.calibrate.correction import Correction, known
from bcall_hw.calibrate.estimate import Estimate, medians
from bcall_hw.calibrate.membrane import spike_potential
from bcall_hw.calibrate.model_neuron import ModelNeurons
from bcall_hw.calibrate.spike_trains import SpikeTrains
from bcall_hw.calibrate.synapse import WEIGHT_ERROR, shift_s
from bcall_hw.chip_model import BiasCode

#: Rise (s) of the median neuron; time constant of the holding synapse (s), and volleys apart in it.
_RISE_S, _HOLD_TAU_S, _VOLLEY_S = 0.008, 0.003, 0.003
#: Current of a holding volley / net current of the drive; length of the hold and of the look in time constants; longest (s).
_STRENGTH, _HELD, _LOOKED, _LONGEST_S = 12.0, 5.0, 4.0, 1.0
_TRIALS, _TRIED = 8, 256
#: Spikes after the hold that are left out: the holding current has not quite gone.
_SKIPPED = 3
_NEURON_ERROR = 0.0105
#: Error that the time constants of a core share: what the short cut leaves after it is corrected.
_TAU_ERROR = 0.005
#: Error of all neurons / (pulse width / time constant): seen on boards whose truth was known.
_OF_PULSE = 2.0
#: Errors of time constants, over what the scatter of trials says: seen on boards whose truth was known.
_UNDERSTATED = 1.8


def measure(
    bench: Bench, tau_s: float, hold_weight_a: float, enable: BiasCode, pulse_s: FloatArray, offset: int, trials: int = _TRIALS
) -> tuple[Estimate, Estimate]:
    """Time constant (s) and current of one own spike (A) under the codes that are set for the adaptation circuit.

    Args:
        tau_s: time constant that is expected.
        hold_weight_a: current (A) of one event of the type that the bench listens to: an inhibiting one of `_HOLD_TAU_S`.
        enable: code that lets the circuit work.
        pulse_s: pulse width of each neuron where a pulse is a jump towards full scale, 0 where pulses last; shape
            (cores, neurons).
        offset: as in `synapse.measure`.
    """
    cores, neurons = bench.rig.shape
    bench.set_currents(dc=bench.drive_for(_RISE_S), refractory=bench.short_refractory_a)
    net = bench.net_for(_RISE_S)
    events = max(1, round(_STRENGTH * net / hold_weight_a))
    held = _HELD * tau_s
    looked = min(_LOOKED * tau_s, _LONGEST_S) + 0.03
    runs: dict[bool, list[SpikeTrains]] = {True: [], False: []}
    for trial in range(trials):
        times = np.arange(0.001 + shift_s(offset), held - 0.0004 * trial, _VOLLEY_S)
        train, _ = listeners.volleys(bench.chip, times, events, 0.0)
        for on in (True, False):
            bench.rig.set({"ahp_enable": enable if on else BiasCode(coarse=0, fine=0)})
            trains = bench.rig.run(held + looked, train)
            runs[on].append(trains.within(float(times[-1]) + 1e-6, held + looked))
    bench.rig.set({"ahp_enable": enable})
    base = 1.0 / (_late_interval(runs[False]) - (bench.refractory_s.ravel() + 0.5 * bench.grain_s))
    dead = bench.refractory_s.ravel() + 0.5 * bench.grain_s
    tau, size = _fit(runs[True], base, dead, looked, tau_s, pulse_s.ravel())
    net_n = bench.current_a["dc"][:, None] * bench.dc_scale - bench.current_a["leak1"][:, None] * bench.leak_scale
    speed = 1.0 / bench.rise_s(clock=False)
    small = 0.02 * net
    with np.errstate(invalid="ignore", divide="ignore"):
        per_ampere = ((speed - 1.0 / bench.rise_s(clock=False, more_a=-small)) / small).ravel()
        weight = Estimate(size.value / per_ampere, np.hypot(size.error, _NEURON_ERROR), WEIGHT_ERROR, _NEURON_ERROR)
    shape = (cores, neurons)
    first = Estimate(tau.value, _UNDERSTATED * tau.error, _TAU_ERROR).reshaped(shape), weight.reshaped(shape)
    found, which = first, bench.some_alive(_TRIED)
    charge = np.broadcast_to(bench.charge_c * bench.charge_scale[:, None], shape)
    v_spike = spike_potential(bench.chip, bench.threshold_scale)
    if not (first[0].measured.any() and first[1].measured.any()):
        return first
    # Long pulses that come as jumps leave more than the correction takes out.
    of_pulse = _OF_PULSE * float(np.nanmax(np.append(medians(pulse_s), 0.0))) / tau_s
    for _ in range(2):
        truth_tau, truth = (known(e).ravel()[which] for e in found)
        charges, nets, spikes, dead_s = (x.ravel()[which] for x in (charge, net_n, v_spike, bench.refractory_s))
        model = ModelNeurons(charges, nets, spikes, dead_s, truth_tau, -truth, pulse_s.ravel()[which])
        phases = [trial / trials for trial in range(trials)]
        seen = [model.run(bench.chip, np.zeros(0), looked, own=True, grain_s=bench.grain_s, ahead=p) for p in phases]
        base = replace(model, jump_a=np.zeros_like(truth)).velocity_hz(bench.chip, bench.grain_s)
        of_tau, of_size = _fit(seen, base, dead[which], looked, tau_s, pulse_s.ravel()[which])
        found = Correction(truth_tau, truth, of_tau.value[0], of_size.value[0] / per_ampere[which]).applied(first[0], first[1])
    tau, weight = (replace(e, common=float(np.hypot(e.common, of_pulse))) for e in found)
    return tau, weight


def _late_interval(runs: list[SpikeTrains]) -> FloatArray:
    """Mean interval of each neuron without adaptation, without its first spikes."""
    means = np.array([trains.mean_isi(_SKIPPED + 1)[0] for trains in runs])
    known = np.isfinite(means)
    return np.asarray(np.where(known, means, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan))


def _fit(
    runs: list[SpikeTrains], base: FloatArray, dead: FloatArray, looked: float, tau_s: float, pulse_s: FloatArray
) -> tuple[Estimate, Estimate]:
    spikes = phase.joined([phase.after_causes(trains, np.zeros(1), looked, base, dead, skip=_SKIPPED) for trains in runs])
    kernel = phase.own_spikes_after(_SKIPPED - 1, pulse_s)
    tau, size = phase.fitted(spikes, kernel, np.full(base.size, tau_s), len(runs))
    return tau, size
