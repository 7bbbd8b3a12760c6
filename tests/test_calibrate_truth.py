"""Boards on which a short cut would show: pulses that last, long pulses, an unexpected constant current, second leaks."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest
from calibration_truth import true_values

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibrate.run import Outcome, calibrate
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_model import load_chip
from bcall_hw.failure_reasons import FailureReason
from bcall_hw.network import NeuronParameters, SynapseParameters

CHIP = load_chip("dynapse1")
CORE = (0, 2)
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
SOMA = NeuronParameters(tau_s=0.02, refractory_s=0.003, pulse_width_s=3e-4, gain_a=1e-9)


def calibrated(profile: BoardProfile, neuron: NeuronParameters, dt_us: int = 100, pulses: str = "ideal") -> Outcome:
    board = Emulator(CHIP, (0,), profile, dt_us=dt_us, pulses=pulses)
    return calibrate(board, CHIP, cores=(CORE,), targets=Targets(neuron=neuron), now=NOW)


def assert_true(outcome: Outcome, profile: BoardProfile) -> None:
    """Everything is called calibrated, and is."""
    for m in outcome.measured:
        assert m.ok, (m.quantity, m.reason)
        truth = np.nanmedian(true_values(profile, CHIP, CORE, m.quantity, m.codes))
        assert truth == pytest.approx(m.target, rel=0.03), m.quantity


def test_pulses_that_last() -> None:
    profile = hidden_board(CHIP, 51, cam_mismatch_cv=0.0, noise_a=0.0)
    ampa = SynapseParameters(tau_s=0.02, weight_a=2e-11)
    assert_true(
        calibrated(profile, SOMA.model_copy(update={"pulse_width_s": 8e-4, "synapses": {"AMPA": ampa}}), 50, "finite"), profile
    )


def test_adaptation_under_long_pulses() -> None:
    """An own pulse that is a jump takes a part of the adaptation that is there: at 0.6 ms several per cent of the decay."""
    profile = hidden_board(CHIP, 42, cam_mismatch_cv=0.0)
    adaptation = SynapseParameters(tau_s=0.1, weight_a=3e-12)
    neuron = SOMA.model_copy(update={"pulse_width_s": 6e-4, "adaptation": adaptation})
    assert_true(calibrated(profile, neuron), profile)


def test_second_leaks_bring_neurons_nearer_and_are_proven() -> None:
    profile = hidden_board(CHIP, 44, defects=False)
    record = calibrated(profile, SOMA).record
    assert record is not None
    (leak,) = record.second_leak
    assert record.capacitance_scale["soma"] == pytest.approx(profile.capacitance_scale["soma"], rel=0.01)
    factors = {name: profile.factors(CHIP)[name][CORE] for name in ("leak1", "leak2")}
    tau = {name: np.median(f) / f for name, f in factors.items()}
    chosen = np.isin(np.arange(256), leak.neurons)
    with_second = np.where(chosen, tau["leak2"], tau["leak1"])
    assert np.std(with_second) < 0.14 < np.std(tau["leak1"])
    assert leak.ratio == pytest.approx(np.median(factors["leak1"]) / np.median(factors["leak2"]), rel=0.02)
    (measured,) = (m for m in record.measured if m.quantity == "tau_s")
    assert measured.spread_after == pytest.approx(np.std(with_second) / np.mean(with_second), abs=0.01)


def test_a_dead_core_does_not_falsify_the_one_beside_it() -> None:
    profile = hidden_board(CHIP, 47, defects=False)
    profile = profile.model_copy(update={"dead_neurons": tuple((0, 3, n) for n in range(256))})
    board = Emulator(CHIP, (0,), profile, dt_us=100)
    outcome = calibrate(board, CHIP, cores=(CORE, (0, 3)), targets=Targets(neuron=SOMA), now=NOW)
    for m in outcome.measured:
        assert m.ok == (m.core == CORE[1]), (m.core, m.quantity, m.reason)
        if m.ok:
            truth = np.nanmedian(true_values(profile, CHIP, CORE, m.quantity, m.codes))
            assert truth == pytest.approx(m.target, rel=0.03), m.quantity


def test_a_soma_whose_refractory_period_is_unknown_is_not_believed() -> None:
    """A period too short to be told is part of every interval: the leak that fits them is wrong by as much."""
    profile = hidden_board(CHIP, 5, capacitances=False, defects=False)
    profile = profile.model_copy(update={"capacitance_scale": {"refractory": 1.9}})
    outcome = calibrated(profile, SOMA.model_copy(update={"refractory_s": 5.5e-4, "tau_s": 0.003}))
    reasons = {m.quantity: m.reason for m in outcome.measured}
    if reasons["refractory_s"] is not FailureReason.NONE:
        assert reasons["tau_s"] is FailureReason.UNOBSERVABLE
    for m in outcome.measured:
        if m.ok:
            truth = np.nanmedian(true_values(profile, CHIP, CORE, m.quantity, m.codes))
            assert truth == pytest.approx(m.target, rel=0.03), m.quantity
