"""The calibrator's parts against closed forms and an ODE solver."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from bcall_hw.calibrate import phase
from bcall_hw.calibrate.correction import Correction
from bcall_hw.calibrate.estimate import Estimate, inverted
from bcall_hw.calibrate.membrane import rise_time_s, spike_potential
from bcall_hw.calibrate.model_neuron import ModelNeurons
from bcall_hw.calibrate.spike_trains import SpikeTrains
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_model import load_chip
from bcall_hw.errors import BcallError, ForeignFile, InvalidValue
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording

CHIP = load_chip("dynapse1")
I_0, KAPPA = CHIP.constants.leak_current_a.value, CHIP.constants.kappa.value
CHARGE = CHIP.capacitances_f.soma * CHIP.constants.thermal_voltage_v.value / KAPPA
V_SPIKE = float(spike_potential(CHIP))


def net_a(v: float, drive: float, leak: float, gain: float) -> float:
    return drive / (1.0 + I_0 * np.exp(v) / gain) - leak + I_0 * np.exp(v * KAPPA / (KAPPA + 1.0))


def solved_rise(drive: float, leak: float, gain: float, threshold: float) -> float:
    end = np.log(CHIP.constants.spike_threshold_a.value * threshold / I_0)

    def reached(_: float, v: np.ndarray) -> float:
        return float(v[0] - end)

    reached.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(
        lambda _, v: [net_a(v[0], drive, leak, gain) / CHARGE], (0, 60), [0.0], events=reached, rtol=1e-9, atol=1e-9
    )
    return float(found.t_events[0][0])


@pytest.mark.parametrize(
    ("drive", "leak", "gain", "threshold"),
    [
        (1e-10, 1e-12, 2e-5, 1.0), (8e-12, 5e-12, 2e-5, 1.0), (5e-11, 5e-13, 5e-10, 1.0), (2e-10, 1e-10, 2e-5, 0.7),
        (6e-12, 5.5e-12, 2e-5, 1.4), (1e-9, 1e-12, 1e-9, 1.3),
    ],
)  # fmt: skip
def test_rise_is_the_integral_of_the_membranes_equation(drive: float, leak: float, gain: float, threshold: float) -> None:
    found = rise_time_s(CHIP, CHARGE, np.array([drive]), np.array([leak]), gain, np.array([threshold]))
    assert found[0] == pytest.approx(solved_rise(drive, leak, gain, threshold), rel=2e-3)


def test_a_drive_below_the_leak_never_reaches_the_threshold() -> None:
    assert np.isinf(rise_time_s(CHIP, CHARGE, np.array([1e-12]), np.array([1e-11]), 1e-5, np.ones(1)))[0]


def test_rise_on_a_clocked_board_is_that_of_explicit_steps() -> None:
    """The correction for a time step against steps that are really taken, over many drives."""
    grain, errors = 1e-4, []
    for drive in np.geomspace(6e-11, 1.5e-10, 40):
        v, steps = 0.0, 0
        while v < V_SPIKE:
            v += grain * net_a(v, drive, 1e-12, 2.4e-5) / CHARGE
            steps += 1
        told = rise_time_s(CHIP, CHARGE, np.array([drive]), np.array([1e-12]), 2.4e-5, np.ones(1), grain)[0]
        errors.append(steps * grain - told)
    assert abs(np.mean(errors)) < 0.1 * grain
    assert np.abs(errors).max() < 0.65 * grain


def model(tau: float, jump: float, net: float = 1e-10, count: int = 24) -> ModelNeurons:
    ones = np.ones(count)
    return ModelNeurons(CHARGE * ones, net * ones, V_SPIKE * ones, 5e-4 * ones, tau * ones, jump * ones, 0.0 * ones)


def test_model_neurons_fire_as_the_equation_says() -> None:
    spikes = model(0.02, 0.0, net=8e-11).run(CHIP, np.zeros(0), 0.5)
    mean, error, count = spikes.mean_isi()
    wanted = solved_rise(8e-11, 0.0, 1.0, 1.0) + 5e-4
    assert count.min() > 30
    np.testing.assert_allclose(mean, wanted, rtol=1e-3)
    assert np.nanmax(error) < 1e-5


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("tau", "jump"), [(0.02, 6e-11), (0.05, -3e-11), (0.01, 5e-11)])
def test_phase_fit_gives_back_time_constant_and_size(tau: float, jump: float, own: bool) -> None:
    """Fitted on spikes of the full equations: the short cut is off by some per cent, and that is what `Correction` removes."""
    if own:
        tau, jump = 0.1, -2e-12
    neurons = model(tau, jump)
    causes = np.zeros(0) if own else 0.03 + np.arange(14) * (6 * tau + 0.0093)
    velocity = model(tau, 0.0).velocity_hz(CHIP, 0.0)
    dead = np.full(24, 5e-4)
    if own:
        runs = [neurons.run(CHIP, causes, 0.5, own=True, ahead=k / 8) for k in range(8)]
        spikes = phase.joined([phase.after_causes(r, np.zeros(1), 0.5, velocity, dead, skip=3) for r in runs])
        kernel, trials = phase.own_spikes_after(2, np.zeros(24)), 8
    else:
        heard = neurons.run(CHIP, causes, float(causes[-1]) + 6 * tau)
        spikes = phase.after_causes(heard, causes, 4 * tau + 0.008, velocity, dead)
        kernel, trials = phase.decay_of_cause, causes.size
    found, size = phase.fitted(spikes, kernel, np.full(24, 1.7 * tau), trials)
    np.testing.assert_allclose(np.median(found.value[0]), tau, rtol=0.08)
    per_ampere = (1 / solved_rise(1.01e-10, 0, 1.0, 1.0) - 1 / solved_rise(1e-10, 0, 1.0, 1.0)) / 1e-12
    np.testing.assert_allclose(np.median(size.value[0]) / per_ampere, abs(jump), rtol=0.08)
    right = Correction(np.full(24, tau), np.full(24, abs(jump)), found.value[0], size.value[0] / per_ampere)
    tau_now, jump_now = right.applied(found, Estimate(size.value / per_ampere, size.error))
    np.testing.assert_allclose(np.median(tau_now.value), tau, rtol=0.005)
    np.testing.assert_allclose(np.median(jump_now.value), abs(jump), rtol=0.005)


def test_median_lies_between_the_steps_of_cut_values() -> None:
    truth = np.random.default_rng(1).lognormal(0.0, 0.2, 4001) * 2.13e-3
    cut = np.rint(truth / 1e-4) * 1e-4
    found = Estimate(cut[None], np.full((1, cut.size), 0.014)).median[0]
    assert found == pytest.approx(np.median(truth), rel=5e-3)
    assert abs(np.median(cut) / np.median(truth) - 1.0) > 0.01


def test_a_core_with_few_measured_neurons_has_no_median() -> None:
    values = np.full((2, 10), 3.0)
    errors = np.full((2, 10), 0.01)
    errors[1, :6] = 0.9
    found = Estimate(values, errors)
    assert found.median[0] == pytest.approx(3.0)
    assert np.isnan(found.median[1])
    assert np.isnan(found.median_error[1])


def test_combined_weighs_by_error_and_takes_what_is_there() -> None:
    a = Estimate(np.array([[1.0, 2.0, np.nan]]), np.array([[0.1, 0.1, np.nan]]))
    b = Estimate(np.array([[4.0, np.nan, 5.0]]), np.array([[0.1, np.nan, 0.05]]))
    both = a.combined(b)
    np.testing.assert_allclose(both.value, [[2.0, 2.0, 5.0]])
    np.testing.assert_allclose(both.error, [[0.1 / np.sqrt(2), 0.1, 0.05]])


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 15.0), st.booleans())
def test_inverted_finds_the_argument(wanted: float, rising: bool) -> None:
    def predict(x: np.ndarray) -> np.ndarray:
        return x**1.7 if rising else x**-1.7

    value = np.array([[wanted**1.7 if rising else wanted**-1.7, np.nan]])
    found, slope = inverted(predict, value, 0.02, 50.0, rising)
    assert found[0, 0] == pytest.approx(wanted, rel=1e-6)
    assert np.isnan(found[0, 1])
    assert slope[0, 0] * value[0, 0] == pytest.approx((1 if rising else -1) / 1.7, rel=1e-3)


def test_inverted_says_nothing_where_the_value_lies_outside() -> None:
    found, _ = inverted(lambda x: x, np.array([[1e-6, 1e6]]), 0.01, 100.0, rising=True)
    assert np.isnan(found).all()


def test_trains_are_sorted_by_neuron_and_leave_other_cores_out() -> None:
    spikes = np.zeros(5, dtype=SPIKE_DTYPE)
    spikes["time_us"], spikes["core"], spikes["neuron"] = [10, 20, 30, 40, 50], [0, 1, 0, 0, 2], [3, 0, 3, 1, 7]
    found = SpikeTrains.of(SpikeRecording(spikes, 100, "x", 0), [(0, 0), (0, 1)], 4)
    assert found.counts.tolist() == [0, 1, 0, 2, 1, 0, 0, 0]
    np.testing.assert_allclose(found.times_s * 1e6, [40, 10, 30, 20])
    assert found.within(15e-6, 45e-6).counts.tolist() == [0, 1, 0, 1, 1, 0, 0, 0]


def test_targets_name_what_is_wrong(tmp_path) -> None:  # type: ignore[no-untyped-def]
    shipped = Targets.load()
    assert set(shipped.neuron.synapses) == {"AMPA", "NMDA", "GABA_A", "GABA_B"}
    path = tmp_path / "t.toml"
    path.write_text('format = "bcall_hw/board_profile"\nformat_version = 1\n')
    with pytest.raises(ForeignFile, match="calibration targets"):
        Targets.load(path)
    path.write_text('format = "bcall_hw/calibration_targets"\nformat_version = 1\ntolerance = 0.9\n')
    with pytest.raises(InvalidValue, match=r"neuron|tolerance"):
        Targets.load(path)
    with pytest.raises(BcallError, match="cannot be read"):
        Targets.load(tmp_path / "none.toml")
