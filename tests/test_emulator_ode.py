"""Every circuit of the emulator against its equation in `docs/emulator_specification.md`, integrated in float64 at the real
currents of the codes. A bound is 2 % (3 % for rates at 100 us), or a sum of named errors of the step and of the tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from emulator_helpers import CHIP, FEMTO, NEURONS, SYNAPSE_ROW, Board, events, set_state, silence, started, state, target

from bcall_hw import circuits
from bcall_hw.arrays import FloatArray
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.network import NeuronParameters

KINDS = ("AMPA", "NMDA", "GABA_A", "GABA_B")
ROWS = [*(SYNAPSE_ROW[kind] for kind in KINDS), words.I_AHP]
STEPS_US, TAG = (10, 100, 1000), 700
KAPPA, RESET_A = CHIP.constants.kappa.value, CHIP.constants.leak_current_a.value
TOP = math.log(CHIP.constants.spike_threshold_a.value / RESET_A)
SOMA_C = circuits.thermal_charge_c(CHIP, CHIP.capacitances_f.soma)
ONE_V = 2**words.V_BITS
CELL = words.V_RANGE / words.TABLE_SIZE  # width of a cell of the look-up tables, in units of v
ALL: Any = slice(None)  # all cores, for `set_state`


def _hold(what: str, dt_us: int, deviation: Any, bound: Any) -> None:
    """A deviation is within its bound everywhere."""
    assert np.max(np.abs(deviation) / bound) <= 1.0, (what, dt_us)


class Core:
    """What the codes of a core really give, in A and s; `tau` and `full` of AMPA, NMDA, GABA_A, GABA_B, AHP."""

    def __init__(self, board: Board, number: int) -> None:
        registers = board.biases[number // 4, number % 4]

        def current(role: str) -> float:
            code = registers[CHIP.bias_index(role)]
            return max(float(CHIP.current_a[code["coarse"], code["fine"]]), CHIP.current_table.dark_current_a)

        def dpi(circuit: str, prefix: str) -> tuple[float, float]:
            tau, weight = current(f"{prefix}_tau"), current(f"{prefix}_weight")
            charge = circuits.thermal_charge_c(CHIP, getattr(CHIP.capacitances_f, circuit))
            return charge / tau, max(0.0, current(f"{prefix}_gain") * (weight / tau - 1.0))

        self.tau, self.full = np.array([*(dpi(kind, kind) for kind in KINDS), dpi("AHP", "ahp")]).T
        self.dc, self.gain, self.leak = current("dc"), current("gain"), current("leak1")
        self.gate = current("nmda_gate") if registers[CHIP.bias_index("nmda_gate")]["fine"] else 0.0
        self.refractory_s = circuits.switching_charge_c(CHIP, CHIP.capacitances_f.refractory) / current("refractory")
        self.pulse_s = circuits.switching_charge_c(CHIP, CHIP.capacitances_f.pulse) / current("pulse_width")

    def rise(self, v: Any, currents: Any = (0.0, 0.0, 0.0, 0.0, 0.0)) -> Any:
        """dv/dt of the membrane under the currents of the five DPIs."""
        excitatory, gated, shunting, subtractive, ahp = currents
        membrane = RESET_A * np.exp(v)
        drive = np.maximum(0.0, self.dc + excitatory + gated * membrane / (membrane + self.gate) - subtractive)
        feedback = RESET_A * np.exp(v * KAPPA / (KAPPA + 1.0))
        return (drive * self.gain / (membrane + self.gain) - self.leak - shunting - ahp + feedback) / SOMA_C

    def slope(self, y: FloatArray) -> FloatArray:
        """d/dt of (v, the five currents)."""
        return np.stack([self.rise(y[0], y[1:]), *(-y[1:].T / self.tau).T])

    def time_s(self, v: FloatArray, points: int = 20_001) -> FloatArray:
        """Time from v to the spike under the constant input alone: Simpson's integral of dv / (dv/dt)."""
        grid = v[:, None] + (TOP - v[:, None]) * np.linspace(0.0, 1.0, points)
        weights = np.r_[1.0, np.tile([4.0, 2.0], points // 2)[:-1], 1.0]
        return np.asarray((1.0 / self.rise(grid)) @ weights * (TOP - v) / (3.0 * (points - 1)))

    def lag(self, v: Any) -> Any:
        """Steps by which Euler's spike is late, from v: ln(f(top) / f(v)) / 2, and the mean time to the end of its step."""
        return 0.5 * np.log(self.rise(TOP) / self.rise(v)) + 0.5


def _rk4(slope: Callable[[FloatArray], FloatArray], y: FloatArray, seconds: float, longest_s: float = 1e-4) -> FloatArray:
    """Integrate over `seconds`, in steps of at most `longest_s`; nothing falls below 0."""
    steps = max(1, math.ceil(seconds / longest_s))
    h = seconds / steps
    for _ in range(steps):
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        y = np.maximum(0.0, y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3)))
    return y


def _dpi(times: FloatArray, starts: Any, pulse_s: float, tau: float, full: float) -> FloatArray:
    """Current of a DPI and its integral, shape (2, times), under pulses that start at `starts` and do not overlap."""
    edges = sorted({0.0, *times.tolist(), *starts, *(s + pulse_s for s in starts)})
    found = {0.0: np.zeros(2)}
    for a, b in pairwise(edges):
        last = int(np.searchsorted(starts, (a + b) / 2)) - 1
        goal = full if last >= 0 and (a + b) / 2 < starts[last] + pulse_s else 0.0
        found[b] = _rk4(lambda y, goal=goal: np.array([(goal - y[0]) / tau, y[0]]), found[a], b - a, tau / 50)
    return np.array([found[t] for t in times.tolist()]).T


def _course(emulator: Emulator, times: FloatArray) -> np.ndarray:
    """The state at times (s, ascending) from now on, shape (times, cores, rows, neurons)."""
    seen = []
    for passed in np.diff(times, prepend=0.0).tolist():
        emulator.run(silence(), passed)
        seen.append(state(emulator))
    return np.array(seen)


def _cores(targets: Sequence[NeuronParameters], gates_a: Sequence[float] = (0.0,) * 4) -> tuple[Board, list[Core]]:
    """A board with one target a core, in as many chips as that takes."""
    board = Board(tuple(range(len(targets) // 4)))
    for n, one in enumerate(targets):
        board.neurons(n % 4, one, chip=n // 4)
        board.current(n % 4, "nmda_gate", gates_a[n % 4], chip=n // 4)
    return board, [Core(board, n) for n in range(len(targets))]


def _dpis(taus_s: Sequence[float], pulse_s: float, weight_a: float) -> tuple[Board, list[Core]]:
    """One time constant for each core; neuron 0 hears `TAG` with all four types."""
    dpis = [(tau_s, weight_a) for tau_s in taus_s]
    board, cores = _cores([target(pulse_width_s=pulse_s, synapses=dict.fromkeys(KINDS, d), adaptation=d) for d in dpis])
    for core, entry in ((c, e) for c in range(4) for e in range(4)):
        board.listen(core, 0, entry, TAG, KINDS[entry])
    return board, cores


@pytest.mark.parametrize("dt_us", STEPS_US)
def test_dpis_decay(dt_us: int) -> None:
    """Time constant over 0.2 to 3 of itself, from 1 nA and from 10 pA."""
    board, cores = _dpis((0.005, 0.02, 0.1, 0.5), 1e-4, 1e-11)
    emulator, starts, times = started(board.config(), dt_us=dt_us), np.array([1e-9, 1e-11]), 0.001 * 2.0 ** np.arange(11)
    for row in ROWS:
        set_state(emulator, ALL, row, np.resize(np.rint(starts / FEMTO), NEURONS))
    found = _course(emulator, times)[:, :, ROWS, :2] * FEMTO
    for core, real in enumerate(cores):
        y, tau = np.tile(starts, (5, 1)), real.tau[:, None]
        for k, passed in enumerate(np.diff(times, prepend=0.0)):
            y = _rk4(lambda y, tau=tau: -y / tau, y, passed, tau.min() / 50)
            if 0.2 < times[k] / tau.min() < 3.3:
                _hold("DPI: decay time constant", dt_us, np.log(y / starts) / np.log(found[k, core] / starts) - 1.0, 0.02)


@pytest.mark.parametrize("dt_us", STEPS_US)
@pytest.mark.parametrize(("pulses", "pulse_s"), [("finite", 0.15), ("ideal", 1e-4), ("ideal", 0.002)])
def test_synapses_answer_one_event(pulses: Any, pulse_s: float, dt_us: int) -> None:
    """A long pulse charges to I_g (I_w / I_tau - 1), and ends half a step off; an ideal one is over when its event comes."""
    board, cores = _dpis((0.005, 0.01, 0.02, 0.03), pulse_s, 1e-9 if pulses == "finite" else 1e-10)
    emulator = started(board.config(), dt_us=dt_us, pulses=pulses)
    emulator.run(events([(0.0, 0, 15, TAG)]), 0.001)
    times = np.array([0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.14, 0.17, 0.19][: None if pulses == "finite" else 5])
    found = _course(emulator, times - 0.001)[:, :, ROWS, 0] * FEMTO
    for core, k in ((c, k) for c in range(4) for k in range(4)):
        real, began_s = cores[core], 0.0 if pulses == "finite" else cores[core].pulse_s
        expected = _dpi(times + began_s, [0.0], real.pulse_s, real.tau[k], real.full[k])[0]
        off = found[:, core, k] / expected - 1.0
        _hold(f"synapse: {pulses} pulse of {pulse_s}", dt_us, off[:7], 0.02)
        if pulses == "finite":
            _hold("synapse: after the pulse", dt_us, off[7:], 0.005 + math.expm1(dt_us * 0.5e-6 / real.tau[k]))
            _hold("synapse: steady state", dt_us, found[6, core, k] / real.full[k] - 1.0, 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_under_a_regular_train(kind: str) -> None:
    """What the membrane sees: the current at the start of a step, too high by dt / (2 tau).
    An ideal pulse takes no time, so the current decays for longer by T in each period: the mean is lower by T / period."""
    k, starts = KINDS.index(kind), 0.01 * np.arange(60)
    board, cores = _dpis((0.01, 0.02, 0.05, 0.1), 1e-4, 1e-10)
    charges = [_dpi(np.array([0.59, 0.6]), starts, real.pulse_s, real.tau[k], real.full[k])[1] for real in cores]
    for dt_us in STEPS_US:
        train = events([(t * 1e6, 0, 15, TAG) for t in starts.tolist()])
        seen = started(board.config(), dt_us=dt_us).run_probed(train, 0.6, kind)[1][-10_000 // dt_us :, :, 0] * FEMTO
        for core, real in enumerate(cores):
            mean, duty = seen[:, core].mean() * math.exp(dt_us * 1e-6 / real.tau[k]), real.pulse_s / 0.01
            bound = 0.001 + duty + (dt_us * 0.5e-6 + real.pulse_s / 2) / real.tau[k]
            _hold("synapse: mean under a train", dt_us, mean * 0.01 / np.diff(charges[core]) - 1.0, bound)


@pytest.mark.parametrize("dt_us", STEPS_US)
def test_nmda_gate(dt_us: int) -> None:
    """Rise of the membrane by a gated over that by an ungated current: half a cell of the table, half a unit of 2^-16."""
    v, after = np.linspace(0.2, 6.5, NEURONS), []
    board, cores = _cores([target(gain_a=1e-8)] * 4, (1e-12, 1e-11, 1e-10, 1e-9))
    for row, current_a in ((words.I_SYN, 0.0), (SYNAPSE_ROW["NMDA"], 3e-7 / dt_us), (SYNAPSE_ROW["AMPA"], 3e-7 / dt_us)):
        emulator = started(board.config(), dt_us=dt_us)
        set_state(emulator, ALL, words.V, v * ONE_V)
        set_state(emulator, ALL, row, round(current_a / FEMTO))
        after.append(_course(emulator, np.array([dt_us * 1e-6]))[0, :, words.V].astype(float))
    for core, real in enumerate(cores):
        expected = 1.0 / (1.0 + real.gate / (RESET_A * np.exp(v)))
        found = (after[1][core] - after[0][core]) / (after[2][core] - after[0][core])
        bound = 0.001 + CELL / 2 * (1.0 - expected) + 2.0**-17 / expected
        _hold("NMDA gate", dt_us, found / expected - 1.0, np.minimum(0.02, bound))


#: For each core: time constant (s), gain (A), constant input (A); then v at the start, and the synapse that is active.
MEMBRANES = {
    "leak1": ([(t, 1e-9, 0.0) for t in (0.005, 0.01, 0.015, 0.02)], 5.003, ""),
    "leak2": ([(t, 1e-9, 0.0) for t in (0.004, 0.007, 0.014, 0.021)], 5.003, ""),
    "slow": ([(0.01, 1e-11, 1.5e-11), (0.01, 1e-11, 4e-11), (0.01, 1e-12, 6e-11), (0.005, 1e-11, 8e-11)], 0.0, ""),
    "fast": ([(0.001, 1e-10, 1.5e-10), (0.001, 1e-10, 6e-10), (0.001, 1e-9, 3e-10), (0.001, 1e-9, 6e-10)], 0.0, ""),
    **{kind: ([(t, 1e-11, 4e-13 / t) for t in (0.005, 0.006, 0.008, 0.01)], 2.003, kind) for kind in KINDS},
}


@pytest.mark.parametrize("case", MEMBRANES)
def test_membrane_below_the_spike(case: str) -> None:
    """v over time: 0.02 where a step is at most 2.5 % of the time constant, else Euler's dt/2 times the change of dv/dt.
    The stair of the tables puts the fixed point on the edge of a cell: half a cell off at most, 0.8 % of I_mem."""
    cells, v, active = MEMBRANES[case]
    synapses = [{active: (0.01 * core, 1e-11)} if active else {} for core in (1, 2, 3, 4)]
    targets = [target(tau_s=t, gain_a=g, dc_a=d, synapses=s) for (t, g, d), s in zip(cells, synapses, strict=True)]
    board, cores = _cores(targets, [1e-11] * 4)
    if case == "leak2":
        leaks = [CHIP.bias_index("leak1"), CHIP.bias_index("leak2")]
        board.biases[..., leaks], board.tau2[...] = board.biases[..., leaks[::-1]], True
    start, found = np.array([0.0, 1e-12, 3e-12, 1e-11, 2e-11]) * bool(active), {}
    times, row = np.array([0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.3, 0.301]), SYNAPSE_ROW[active or "AMPA"]
    for dt_us in STEPS_US:
        emulator = started(board.config(), dt_us=dt_us)
        set_state(emulator, ALL, words.V, round(v * ONE_V))
        set_state(emulator, ALL, row, np.resize(np.rint(start / FEMTO), NEURONS))
        found[dt_us] = _course(emulator, times)[:, :, words.V, :5] / ONE_V
    for core, real in enumerate(cores):
        y, bent = np.zeros((6, 5)), np.zeros(5)
        y[1 + KINDS.index(active or "AMPA")], y[0] = start, v
        for k, passed in enumerate(np.diff(times, prepend=0.0)):
            before, y = real.rise(y[0], y[1:]), _rk4(real.slope, y, passed)
            bent += np.abs(real.rise(y[0], y[1:]) - before)
            for dt_us in STEPS_US:
                bound = 0.02 if dt_us * 1e-6 * real.leak < 0.025 * SOMA_C else CELL / 2 + dt_us * 0.5e-6 * bent
                _hold(f"membrane {case}", dt_us, found[dt_us][k, core] - y[0], bound)
        for dt_us in STEPS_US:
            _hold(f"membrane {case}: settled, I_mem", dt_us, np.expm1(found[dt_us][6:, core] - y[0]), 0.001 + CELL / 2)


@pytest.mark.parametrize("dt_us", STEPS_US)
def test_positive_feedback_takes_a_membrane_to_its_spike(dt_us: int) -> None:
    """Time to the spike without input, from v above the point where feedback and leak are equal."""
    board, cores = _cores([target(tau_s=tau_s, gain_a=1e-9) for tau_s in (0.01, 0.02, 0.03, 0.05)])
    balance = np.log([real.leak / RESET_A for real in cores]) * (KAPPA + 1.0) / KAPPA
    start = np.linspace(balance + 0.2, TOP - 0.2, NEURONS, axis=1)
    emulator, step_s = started(board.config(), dt_us=dt_us), dt_us * 1e-6
    set_state(emulator, ALL, words.V, np.rint(start * ONE_V))
    spikes = emulator.run(silence(), 0.5).spikes
    for core, real in enumerate(cores):
        mine, expected = spikes[spikes["core"] == core], real.time_s(start[core])
        off = mine["time_us"][np.unique(mine["neuron"], return_index=True)[1]] * 1e-6 - expected
        _hold("feedback: spike, steps", dt_us, off / step_s - real.lag(start[core]), 0.5 + 0.002 * expected / step_s)
        if dt_us < 1000:
            _hold("feedback: spike, beyond a step", dt_us, np.maximum(0.0, np.abs(off) - step_s) / expected, 0.02)


def _rates(spikes: np.ndarray) -> FloatArray:
    """Rate of neuron 17 of each core of four chips, from its first to its last spike."""
    one = spikes[spikes["neuron"] == 17]
    trains = [one["time_us"][(one["chip"] == n // 4) & (one["core"] == n % 4)] for n in range(16)]
    return np.array([(len(t) - 1) * 1e6 / (t[-1] - t[0]) for t in trains])


@pytest.mark.parametrize(("gain_a", "highest_a"), [(1e-10, 3e-9), (1e-9, 7e-10), (1e-8, 5e-10)])
def test_charging_and_firing_under_constant_input(gain_a: float, highest_a: float) -> None:
    """4 to 200 Hz: Euler's lag, up to half a step to see the spike, half a step of the refractory period.
    A small gain holds the input back steeply (dv/dt falls 80-fold): above 125 Hz, 100 us give rates up to 5 % too high."""
    board, cores = _cores([target(gain_a=gain_a, dc_a=dc_a) for dc_a in np.geomspace(8.2e-12, highest_a, 16).tolist()])
    charging_s = np.array([real.time_s(np.zeros(1))[0] for real in cores])
    period_s = charging_s + [real.refractory_s for real in cores]
    times, rates = np.array([0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]), {}
    for dt_us, step_s in ((10, 1e-5), (100, 1e-4)):
        course = _course(started(board.config(), dt_us=dt_us), times)[:, :, words.V, 17] / ONE_V
        for n, real in enumerate(cores):
            early = times < 0.98 * charging_s[n]
            off = times[early] - charging_s[n] + real.time_s(course[early, n])
            late = real.lag(0.0) - real.lag(course[early, n])
            _hold(f"charging {gain_a}: steps", dt_us, off / step_s - late, 0.5 + 0.003 * charging_s[n] / step_s)
            if dt_us == 10 or gain_a > 1e-10:
                _hold(f"charging {gain_a}: share of the time", dt_us, off / charging_s[n], 0.02 if dt_us == 10 else 0.03)
        rates[dt_us] = _rates(started(board.config(), dt_us=dt_us).run(silence(), 1.0).spikes)
        steps = (1.0 / rates[dt_us] - period_s) / step_s - [real.lag(0.0) for real in cores]
        _hold(f"F-I {gain_a}: period, steps", dt_us, steps, 1.0 + 0.003 * period_s / step_s)
        bound = 0.02 if dt_us == 10 else np.where((gain_a < 1e-9) & (period_s < 1 / 125), 0.05, 0.03)
        _hold(f"F-I {gain_a}: rate", dt_us, rates[dt_us] * period_s - 1.0, bound)
    _hold(f"F-I {gain_a}: rate to that at 10 us", 100, rates[100] / rates[10] - 1.0, bound)


@pytest.mark.parametrize("dt_us", STEPS_US)
def test_refractory_period_is_right_to_half_a_step(dt_us: int) -> None:
    """An overwhelming input fires in the first step after the refractory period."""
    board, cores = _cores([target(gain_a=1e-7, dc_a=1e-6, refractory_s=t) for t in np.geomspace(0.001, 0.02, 16).tolist()])
    off = 1.0 / _rates(started(board.config(), dt_us=dt_us).run(silence(), 0.1).spikes) - [real.refractory_s for real in cores]
    _hold("refractory period, steps", dt_us, off / (dt_us * 1e-6) - 1.0, 0.5 + 1e-6)


def _adapting_spikes(real: Core, until_s: float, h: float = 1e-4) -> FloatArray:
    """Spike times (s) of membrane and adaptation, integrated together; a pulse of the AHP starts with each spike."""
    y, now, spikes = np.zeros(6), 0.0, []
    while now < until_s:
        last, y, now = y, _rk4(real.slope, y, h, h), now + h
        if y[0] >= TOP:
            share = (TOP - last[0]) / (y[0] - last[0])
            spikes.append(now - h * (1.0 - share))
            ahp = last[5:] + share * (y[5:] - last[5:])
            ahp = _rk4(lambda y: (real.full[4] - y) / real.tau[4], ahp, real.pulse_s)
            ahp = _rk4(lambda y: -y / real.tau[4], ahp, real.refractory_s - real.pulse_s)
            y, now = np.r_[np.zeros(5), ahp], spikes[-1] + real.refractory_s
    return np.array(spikes)


def test_adaptation() -> None:
    """Its current under the neuron's own spikes (an ideal pulse: lower by rate x T), and the rate interval by interval."""
    cases = [(1e-10, (0.1, 2e-12)), (2e-10, (0.1, 6e-12)), (2e-10, (0.1, 2e-11)), (4e-10, (0.3, 5e-12))]
    board, cores = _cores([target(dc_a=dc_a, pulse_width_s=5e-5, adaptation=ahp) for dc_a, ahp in cases])
    equations = [_adapting_spikes(real, 0.5) for real in cores]
    for dt_us, until_s in ((d, t) for d in STEPS_US for t in (0.1, 0.2, 0.5)):
        emulator = started(board.config(), dt_us=dt_us)
        spikes = emulator.run(silence(), until_s).spikes
        for core, real in enumerate(cores):
            train = spikes["time_us"][(spikes["core"] == core) & (spikes["neuron"] == 17)] * 1e-6
            ahp = _dpi(np.array([until_s + real.pulse_s]), train - dt_us * 1e-6, real.pulse_s, real.tau[4], real.full[4])[0]
            _hold("AHP: current", dt_us, state(emulator)[core, words.I_AHP, 17] * FEMTO / ahp - 1.0, 0.02)
            if until_s == 0.5 and dt_us < 1000:
                n, bound = min(len(train), len(equations[core])), 0.02 if dt_us == 10 else 0.03
                assert n >= max(8, len(train) - 1, len(equations[core]) - 1)
                train, expected = train[:n], equations[core][:n]
                assert np.diff(expected)[-1] > 1.1 * np.diff(expected)[0]
                _hold("adaptation: rate of each interval", dt_us, np.diff(expected) / np.diff(train) - 1.0, bound)
                _hold("adaptation: spike time / time", dt_us, train / expected - 1.0, bound)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mean_rate_of_recurrent_networks(seed: int) -> None:
    """Four networks, one a core: 205 excitatory, 51 inhibitory neurons; 20 and 8 entries for them, 16 for 64 Poisson trains.
    The same trains at both steps, mismatch 0.2."""
    rng = np.random.default_rng(seed)
    board, _ = _cores([target(synapses={"AMPA": (0.01, 8e-12), "GABA_B": (0.01, 1.2e-11)})] * 4)
    for core, neuron in ((c, n) for c in range(4) for n in range(NEURONS)):
        tags = np.r_[rng.integers(256, 461, 20), rng.integers(461, 512, 8), rng.integers(512, 576, 16)]
        for entry, tag in enumerate(tags.tolist()):
            board.listen(core, neuron, entry, tag, "GABA_B" if 20 <= entry < 28 else "AMPA")
        board.send(core, neuron, 0, 1 << core, 1)
    rows = [(t, 0, 1 << n // 64, 512 + n % 64) for n in range(256) for t in rng.uniform(0, 1e6, rng.poisson(40.0)).tolist()]
    boards = [started(board.config(), dt_us=d, profile=BoardProfile(seed=seed, mismatch_cv=0.2)) for d in (10, 100)]
    fine, coarse = (np.bincount(b.run(events(rows), 1.0).spikes["core"], minlength=4) / NEURONS for b in boards)
    assert 10 < fine.min() < fine.max() < 80
    _hold("network: mean rate, 100 us to 10 us", 100, coarse / fine - 1.0, 0.03)
