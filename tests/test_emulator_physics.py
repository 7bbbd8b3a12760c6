"""The emulated circuits against closed forms and against their differential equations in floating point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from emulator_helpers import (
    CHIP,
    FEMTO,
    SYNAPSE_ROW,
    Board,
    events,
    poisson,
    rates_hz,
    set_state,
    silence,
    started,
    state,
    target,
)  # fmt: skip

from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.chip_model import BiasCode
from bcall_hw.errors import StimulusProblem

SYNAPSES = ("AMPA", "NMDA", "GABA_A", "GABA_B")
THERMAL_V = CHIP.constants.thermal_voltage_v.value / CHIP.constants.kappa.value
KAPPA = CHIP.constants.kappa.value
LEAKAGE_A = CHIP.constants.leak_current_a.value
ONE_V = 2**words.V_BITS
TAG = 700


def _current_a(board: Board, core: int, role: str) -> float:
    """Nominal current of the code that a core holds."""
    coarse, fine, _ = (int(x) for x in board.biases[0, core, CHIP.bias_index(role)])
    return max(float(CHIP.current_a[coarse, fine]), CHIP.current_table.dark_current_a)


def _tau_s(board: Board, core: int, prefix: str) -> float:
    capacitance = getattr(CHIP.capacitances_f, "AHP" if prefix == "ahp" else prefix)
    return float(capacitance * THERMAL_V / _current_a(board, core, f"{prefix}_tau"))


def _pulse_s(board: Board, core: int) -> float:
    charge = CHIP.capacitances_f.pulse * CHIP.constants.inverter_threshold_v.value
    return float(charge / _current_a(board, core, "pulse_width"))


def _full_scale_a(board: Board, core: int, prefix: str) -> float:
    ratio = _current_a(board, core, f"{prefix}_weight") / _current_a(board, core, f"{prefix}_tau")
    return _current_a(board, core, f"{prefix}_gain") * (ratio - 1.0)


def _one_neuron(kind: str, tau_s: float, weight_a: float, pulse_width_s: float = 1e-4, entries: int = 1) -> Board:
    """Neuron 0 of every core listens to `TAG` with one synapse type; a strong leak keeps it silent."""
    board = Board()
    parameters = target(tau_s=0.001, pulse_width_s=pulse_width_s, synapses={kind: (tau_s, weight_a)})
    board.neurons(None, parameters)
    for core in range(4):
        board.listen(core, 0, slice(0, entries), TAG, kind)
    return board


def _step(emulator: Emulator, n_steps: int = 1) -> None:
    emulator.run(silence(), n_steps * emulator.dt_us * 1e-6)


# Synapses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_a", "tau_s", "dt_us"),
    [
        (1e-10, 0.05, 100),
        (3e-11, 0.01, 100),
        (1e-11, 0.05, 100),
        (1e-11, 0.01, 10),
        (2e-12, 0.5, 100),
        (2e-12, 0.1, 10),
        (1e-12, 1.5, 1000),
        (1e-12, 1.0, 100),
    ],
)
def test_decay_time_constant_at_the_size_of_one_event(start_a: float, tau_s: float, dt_us: int) -> None:
    """Synaptic weights of the classifier are 6 to 30 pA: the decay must be right there too."""
    board = Board()
    board.neurons(None, target(synapses={"AMPA": (tau_s, 1e-11)}))
    emulator = started(board.config(), dt_us=dt_us)
    set_state(emulator, 0, SYNAPSE_ROW["AMPA"], round(start_a / FEMTO))
    n_steps = round(tau_s * 1e6 / dt_us)
    _step(emulator, n_steps)
    left_a = int(state(emulator)[0, SYNAPSE_ROW["AMPA"], 0]) * FEMTO
    assert n_steps * dt_us * 1e-6 / math.log(start_a / left_a) == pytest.approx(_tau_s(board, 0, "AMPA"), rel=0.02)


@pytest.mark.parametrize("kind", SYNAPSES)
def test_silence_ends_at_exactly_zero(kind: str) -> None:
    board = _one_neuron(kind, 0.02, 1e-10)
    emulator = started(board.config())
    emulator.run(events([(0.0, 0, 15, TAG)]), 0.001)
    assert np.all(state(emulator)[:, SYNAPSE_ROW[kind], 0] > 0)
    _step(emulator, 10_000)
    assert not state(emulator).any()


@pytest.mark.parametrize("kind", SYNAPSES)
@pytest.mark.parametrize(("tau_s", "weight_a", "pulse_s"), [(0.01, 6e-12, 2e-5), (0.05, 1e-10, 1e-3), (0.01, 1e-9, 8e-3)])
def test_jump_of_an_isolated_event(kind: str, tau_s: float, weight_a: float, pulse_s: float) -> None:
    board = _one_neuron(kind, tau_s, weight_a, pulse_s)
    emulator = started(board.config())
    emulator.run(events([(50.0, 0, 15, TAG)]), 1e-4)
    tau = _tau_s(board, 1, kind)
    expected = -math.expm1(-_pulse_s(board, 1) / tau) * _full_scale_a(board, 1, kind)
    # The event's own step ends with a decay.
    found = state(emulator)[1, SYNAPSE_ROW[kind], 0] * FEMTO * math.exp(1e-4 / tau)
    assert found == pytest.approx(expected, rel=0.01)
    assert expected == pytest.approx(weight_a, rel=0.03)
    assert state(emulator)[:, SYNAPSE_ROW[kind], 1:].max() == 0


def test_entries_of_one_event_add_up() -> None:
    """Three equal entries jump three times as far as one, far from saturation."""
    board = _one_neuron("AMPA", 0.02, 1e-11)
    board.listen(0, 1, slice(10, 13), TAG, "AMPA")
    emulator = started(board.config())
    emulator.run(events([(0.0, 0, 1, TAG)]), 1e-4)
    one, three = (int(x) for x in state(emulator)[0, SYNAPSE_ROW["AMPA"], :2])
    assert three == pytest.approx(3 * one, rel=0.001)


@pytest.mark.parametrize("rate_hz", [20, 40, 75, 100])
@pytest.mark.parametrize(("tau_s", "weight_a", "pulse_s"), [(0.01, 6e-12, 2e-5), (0.01, 1e-9, 4e-3), (0.05, 2e-10, 5e-3)])
def test_mean_current_under_periodic_events(rate_hz: int, tau_s: float, weight_a: float, pulse_s: float) -> None:
    """The normalised current is the bounded trace x -> x + J (1 - x) with decay exp(-t / tau)."""
    board = _one_neuron("AMPA", tau_s, weight_a, pulse_s)
    emulator = started(board.config())
    period_us = round(1e4 / rate_hz) * 100
    period_s, duration_us = period_us * 1e-6, 1_000_000 // period_us * period_us
    train = events([(float(t), 0, 1, TAG) for t in range(0, duration_us, period_us)])
    emulator.run(train, duration_us * 1e-6)
    values = []
    for step in range(period_us // 100):
        emulator.run(events([(0.0, 0, 1, TAG)]) if step == 0 else silence(), 1e-4)
        values.append(int(state(emulator)[0, SYNAPSE_ROW["AMPA"], 0]))
    full_a, tau = _full_scale_a(board, 0, "AMPA"), _tau_s(board, 0, "AMPA")
    jump = -math.expm1(-_pulse_s(board, 0) / tau)
    peak = jump / (1.0 - (1.0 - jump) * math.exp(-period_s / tau))
    expected = peak * tau / period_s * -math.expm1(-period_s / tau)
    # The words are taken after the step's decay: the mean over time lies half a step's decay higher.
    mean = float(np.mean(values)) * (1.0 + math.exp(1e-4 / tau)) / 2.0
    assert mean * FEMTO / full_a == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("kind", SYNAPSES)
def test_current_never_exceeds_full_scale(kind: str) -> None:
    board = _one_neuron(kind, 0.01, 1e-9, 2e-3, entries=64)
    emulator = started(board.config())
    full = round(_full_scale_a(board, 3, kind) / FEMTO)
    highest = 0
    for _ in range(60):
        emulator.run(events([(0.0, 0, 15, TAG)] * 20), 1e-4)
        highest = max(highest, int(state(emulator)[3, SYNAPSE_ROW[kind], 0]))
        assert 0 <= highest <= full
    assert highest > 0.98 * full


def test_weight_not_above_the_leak_current_gives_no_current() -> None:
    board = _one_neuron("AMPA", 0.01, 1e-9)
    board.code(0, "AMPA_weight", BiasCode(coarse=0, fine=0))
    tau = board.biases[0, 1, CHIP.bias_index("AMPA_tau")]
    board.code(1, "AMPA_weight", BiasCode(coarse=int(tau["coarse"]), fine=int(tau["fine"])))
    emulator = started(board.config())
    emulator.run(events([(0.0, 0, 15, TAG)]), 1e-4)
    assert (state(emulator)[:, SYNAPSE_ROW["AMPA"], 0] > 0).tolist() == [False, False, True, True]


def test_event_acts_in_its_own_step_and_spike_is_stamped_at_its_end() -> None:
    board = _one_neuron("AMPA", 0.005, 5e-9, 1e-3, entries=64)
    emulator = started(board.config())
    recording = emulator.run(events([(1250.0, 0, 1, TAG)]), 0.0025)
    assert recording.spikes["time_us"][0] == 1300
    assert set(recording.spikes["core"].tolist()) == {0}


# Soma ----------------------------------------------------------------------------------------------------------------


def _slope(v: float, dc_a: float, gain_a: float, leak_a: float) -> float:
    """dv/dt of the membrane, v in units of U_T / kappa."""
    membrane = LEAKAGE_A * math.exp(v)
    feedback = LEAKAGE_A * math.exp(v * KAPPA / (KAPPA + 1.0))
    return (dc_a * gain_a / (gain_a + membrane) - leak_a + feedback) / (CHIP.capacitances_f.soma * THERMAL_V)


def _refractory_s(board: Board, core: int) -> float:
    charge = CHIP.capacitances_f.refractory * CHIP.constants.inverter_threshold_v.value
    return float(charge / _current_a(board, core, "refractory"))


def test_idle_cores_fire_never() -> None:
    emulator = started(Board((0, 1, 2, 3)).config())
    assert len(emulator.run(silence(), 1.0)) == 0
    assert not state(emulator).any()


DC_A = (2e-11, 4e-11, 6e-11, 1e-10, 1.6e-10, 2.5e-10, 4e-10, 6e-10)


def test_rate_grows_with_constant_input() -> None:
    rates = []
    for chips in (DC_A[:4], DC_A[4:]):
        board = Board()
        for core, dc_a in enumerate(chips):
            board.neurons(core, target(tau_s=0.02, refractory_s=0.003, gain_a=1e-9, dc_a=dc_a))
        rates += rates_hz(started(board.config()).run(silence(), 2.0))[:, 17].tolist()
    assert np.all(np.diff(rates) > 0)
    assert rates[0] < 20
    assert rates[-1] > 80


@pytest.mark.parametrize("tau_s", [0.005, 0.02, 0.05])
def test_no_input_no_spike(tau_s: float) -> None:
    board = Board()
    board.neurons(None, target(tau_s=tau_s, refractory_s=0.001, gain_a=1e-8))
    assert len(started(board.config()).run(silence(), 2.0)) == 0


@pytest.mark.parametrize("refractory_s", [0.001, 0.002, 0.005, 0.01])
def test_refractory_period_sets_the_highest_rate(refractory_s: float) -> None:
    board = Board()
    for core, dc_a in enumerate((1e-9, 1e-8, 1e-7, 1e-6)):
        board.neurons(core, target(refractory_s=refractory_s, gain_a=1e-7, dc_a=dc_a))
    rates = rates_hz(started(board.config()).run(silence(), 1.0))[:, 0]
    period = _refractory_s(board, 0)
    assert period == pytest.approx(refractory_s, rel=0.02)
    assert np.all(rates <= 1.0 / (period - 5e-5) + 1)
    assert rates[-1] == pytest.approx(1.0 / period, rel=1.6e-4 / period)
    assert np.all(np.diff(rates) >= 0)


@pytest.mark.parametrize("kind", ["GABA_A", "GABA_B"])
def test_inhibition_lowers_the_rate(kind: str) -> None:
    """Stronger inhibition, lower rate; the strongest silences."""
    board = Board()
    for core, weight_a in enumerate((2e-12, 8e-12, 3e-11, 1e-9)):
        board.neurons(core, target(dc_a=1.5e-10, synapses={kind: (0.01, weight_a)}))
        board.listen(core, 0, 0, TAG, kind)
    rates = rates_hz(started(board.config()).run(poisson({TAG: 200.0}, core_mask=15), 1.0))
    free, inhibited = rates[0, 1], rates[:, 0]
    assert free > 20
    assert inhibited[0] < free
    assert np.all(np.diff(inhibited[:3]) < 0)
    assert inhibited[3] == 0


def test_shunting_drains_the_membrane_and_subtraction_only_the_input() -> None:
    board = Board()
    board.neurons(None, target(tau_s=0.02, dc_a=0.0))
    emulator = started(board.config())
    set_state(emulator, 0, words.V, 4 * ONE_V)
    set_state(emulator, 1, words.V, 4 * ONE_V)
    set_state(emulator, 2, words.V, 4 * ONE_V)
    set_state(emulator, 1, SYNAPSE_ROW["GABA_B"], 10**6)
    set_state(emulator, 2, SYNAPSE_ROW["GABA_A"], 10**4)
    # No input: the subtracting current has nothing to subtract from but the dark current.
    _step(emulator, 1)
    free, subtracted, shunted = (int(state(emulator)[core, words.V, 0]) for core in range(3))
    per_ampere = 1e-4 / (CHIP.capacitances_f.soma * THERMAL_V) * ONE_V
    assert free - subtracted == pytest.approx(CHIP.current_table.dark_current_a * per_ampere, rel=0.15)
    assert free - shunted == pytest.approx(1e-11 * per_ampere, rel=0.01)


def test_subtraction_takes_away_exactly_as_much_input() -> None:
    board = Board()
    board.neurons(None, target(dc_a=0.0))
    emulator = started(board.config())
    for core, (excitatory, subtractive) in enumerate(((10**5, 0), (3 * 10**5, 2 * 10**5), (10**5, 10**6), (0, 10**6))):
        set_state(emulator, core, SYNAPSE_ROW["AMPA"], excitatory)
        set_state(emulator, core, SYNAPSE_ROW["GABA_B"], subtractive)
        set_state(emulator, core, words.V, 2 * ONE_V)
    _step(emulator)
    v = state(emulator)[:, words.V, 0]
    assert v[0] == v[1] > v[2] == v[3]


def test_adaptation_lowers_the_rate_over_time() -> None:
    board = Board()
    for core in range(4):
        # Core 0 adapts; in core 1 it is switched off; core 2 has none; core 3 adapts more.
        adaptation = (None, (0.1, 6e-12), (0.1, 2e-11))[(1, 1, 0, 2)[core]]
        board.neurons(core, target(dc_a=2e-10, adaptation=adaptation))
    board.code(1, "ahp_enable", BiasCode(coarse=4, fine=0))
    emulator = started(board.config())
    rates = np.array([rates_hz(emulator.run(silence(), 0.2))[:, 0] for _ in range(5)])
    assert rates[0, 0] > 1.1 * rates[4, 0] > 0
    assert rates[4, 3] < rates[4, 0]
    assert rates[4, 1] == pytest.approx(rates[0, 1], abs=5.1)
    assert rates[:, 1].tolist() == rates[:, 2].tolist()
    assert np.all(np.diff(rates[:, 0]) <= 5.1)
    assert state(emulator)[1:3, words.I_AHP].max() == 0


def test_adaptation_current_jumps_at_a_spike() -> None:
    board = Board()
    board.neurons(0, target(dc_a=2e-10, adaptation=(0.1, 5e-12)))
    emulator = started(board.config())
    while not len(emulator.run(silence(), 1e-4)):
        assert state(emulator)[0, words.I_AHP, 0] == 0
    jump = -math.expm1(-_pulse_s(board, 0) / _tau_s(board, 0, "ahp")) * _full_scale_a(board, 0, "ahp")
    assert state(emulator)[0, words.I_AHP, 0] * FEMTO == pytest.approx(jump, rel=0.01)
    assert jump == pytest.approx(5e-12, rel=0.03)


@pytest.mark.parametrize("v", [0.0, 2.0, 5.0, 8.0])
def test_nmda_gate_follows_the_membrane(v: float) -> None:
    """Core 0: gate 0, no gating; the others: I_mem / (I_mem + I_gate) of the current passes."""
    board = Board()
    gates = (0.0, 1e-12, 1e-10, 1e-8)
    for core, gate_a in enumerate(gates):
        board.neurons(core, target(gain_a=1e-8))
        board.current(core, "nmda_gate", gate_a)
    emulator = started(board.config())
    given = 10**6
    for core in range(4):
        set_state(emulator, core, words.V, int((v + 0.5 / 64) * ONE_V))
        rows = np.zeros(256, dtype=np.int64)
        rows[0] = given
        set_state(emulator, core, SYNAPSE_ROW["NMDA"], rows)
        set_state(emulator, core, SYNAPSE_ROW["AMPA"], np.roll(rows, 1))
    _step(emulator)
    after = state(emulator)[:, words.V].astype(np.int64)
    before = int((v + 0.5 / 64) * ONE_V)
    rest = np.array([after[core, 2] for core in range(4)])
    assert after[0, 0] == after[0, 1]
    membrane = LEAKAGE_A * math.exp(v + 0.5 / 64)
    for core in (1, 2, 3):
        gate = membrane / (membrane + _current_a(board, core, "nmda_gate"))
        gain = _current_a(board, core, "gain")
        per_ampere = 1e-4 / (CHIP.capacitances_f.soma * THERMAL_V) * ONE_V * gain / (gain + membrane)
        # The membrane cannot fall below 0, so at rest count from where it would have gone.
        drift = rest[core] - before if v else _slope(0.5 / 64, 5e-13, gain, _current_a(board, core, "leak1")) * 1e-4 * ONE_V
        rise = max(0.0, before + drift + (given * FEMTO) * gate * per_ampere)
        assert after[core, 0] == pytest.approx(rise, rel=0.01, abs=0.005 * ONE_V)
        assert after[core, 0] <= after[0, 0]


def test_spike_resets_the_membrane_and_holds_it() -> None:
    board = Board()
    board.neurons(0, target(refractory_s=0.001, dc_a=1e-9))
    emulator = started(board.config())
    while not len(emulator.run(silence(), 1e-4)):
        pass
    steps = round(_refractory_s(board, 0) / 1e-4)
    for left in range(steps, 0, -1):
        assert state(emulator)[0, words.V, 0] == 0
        assert state(emulator)[0, words.REFRACTORY, 0] == left
        _step(emulator)
    assert state(emulator)[0, words.V, 0] == 0
    _step(emulator)
    assert state(emulator)[0, words.V, 0] > 0


# Poisson sources -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate_hz", "dt_us"), [(20.0, 100), (150.0, 100), (1000.0, 1000), (4300.0, 100)])
def test_poisson_sources_fire_at_their_rate(rate_hz: float, dt_us: int) -> None:
    """Counts of 40 sources over 2 s: mean and spread of a Poisson process, and no two trains alike."""
    from bcall_hw.backend.emulator.poisson import PoissonSources

    sources = range(100, 140)
    n_steps = 2_000_000 // dt_us
    found = PoissonSources(3, dt_us).events(poisson(dict.fromkeys(sources, rate_hz)), (0,), 0, n_steps)
    assert found is not None
    counts = np.bincount(found.tag, minlength=140)[100:]
    expected = math.floor(rate_hz / CHIP.poisson.step_hz) * CHIP.poisson.step_hz * 2.0
    assert np.mean(counts) == pytest.approx(expected, abs=4 * math.sqrt(expected / 40))
    assert 0.5 < np.var(counts, ddof=1) / expected < 1.8
    assert len({found.step[found.tag == t].tobytes() for t in sources}) == 40
    halves = np.bincount(found.step * 2 // n_steps)
    assert halves[0] == pytest.approx(halves[1], abs=6 * math.sqrt(expected * 40))


def test_poisson_rate_is_truncated_to_the_step_of_the_hardware() -> None:
    for code in (1, 31, 62, 124, 63999):  # a whole number of steps keeps its rate
        assert poisson({TAG: code * CHIP.poisson.step_hz}).poisson_played_hz[TAG] == pytest.approx(code * CHIP.poisson.step_hz)
    assert poisson({TAG: 1.9 * CHIP.poisson.step_hz}).poisson_played_hz[TAG] == pytest.approx(CHIP.poisson.step_hz)
    with pytest.raises(StimulusProblem, match=f"Poisson source {TAG}"):
        poisson({TAG: CHIP.poisson.step_hz * 0.99})
