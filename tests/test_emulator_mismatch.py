"""Virtual boards: how far each neuron's transistors are from nominal, and portable exp and log."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from emulator_helpers import CHIP, NEURONS, Board, rates_hz, silence, started, target
from hypothesis import given
from hypothesis import strategies as st

from bcall_hw import portable_math
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.decode import decode
from bcall_hw.backend.emulator.profile import MISMATCHED, BoardProfile
from bcall_hw.errors import InvalidValue


@pytest.mark.parametrize("cv", [0.05, 0.2, 0.5])
def test_factors_have_median_one_and_the_asked_spread(cv: float) -> None:
    factors = BoardProfile(seed=1, mismatch_cv=cv).factors(CHIP)
    assert tuple(factors) == MISMATCHED
    every = np.concatenate([f.ravel() for f in factors.values()])
    assert every.size == len(MISMATCHED) * CHIP.geometry.chips * CHIP.geometry.cores * NEURONS
    assert np.all(every > 0)
    # Four standard errors: of the median 1.25 sigma / sqrt(n), of the spread about cv (1 + cv^2) / sqrt(2 n) or a bit more.
    assert np.median(every) == pytest.approx(1.0, abs=4 * 1.3 * cv / math.sqrt(every.size))
    assert np.std(every) / np.mean(every) == pytest.approx(cv, rel=4 * (1 + 3 * cv**2) / math.sqrt(2 * every.size))
    for name, factor in factors.items():
        assert factor.shape == (CHIP.geometry.chips, CHIP.geometry.cores, NEURONS)
        assert np.median(factor) == pytest.approx(1.0, abs=5 * 1.3 * cv / math.sqrt(factor.size)), name
        assert np.std(factor) / np.mean(factor) == pytest.approx(cv, rel=0.12), name


def test_factors_of_different_currents_and_cores_are_independent() -> None:
    factors = BoardProfile(seed=2, mismatch_cv=0.2).factors(CHIP)
    by_current = np.corrcoef(np.log([f.ravel() for f in factors.values()]))
    by_core = np.corrcoef(np.log(factors["dc"].reshape(-1, NEURONS)))
    for correlation, samples in ((by_current, 4096), (by_core, NEURONS)):
        off_diagonal = correlation[~np.eye(len(correlation), dtype=bool)]
        assert np.abs(off_diagonal).max() < 5 / math.sqrt(samples)


def test_same_seed_same_board_and_other_seed_other_board() -> None:
    first, again, other = (BoardProfile(seed=s, mismatch_cv=0.2).factors(CHIP) for s in (7, 7, 8))
    for name in MISMATCHED:
        assert np.array_equal(first[name], again[name])
        assert np.mean(first[name] != other[name]) > 0.9


def test_a_larger_spread_scales_the_same_deviations() -> None:
    small, large = (BoardProfile(seed=7, mismatch_cv=cv).factors(CHIP)["dc"] for cv in (0.1, 0.3))
    ratio = np.log(large) / np.log(np.where(small == 1.0, np.nan, small))
    assert np.nanmin(ratio) == pytest.approx(np.nanmax(ratio))
    assert np.nanmin(ratio) == pytest.approx(math.sqrt(math.log(1.09) / math.log(1.01)))


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_no_mismatch_gives_ones(seed: int) -> None:
    for factor in BoardProfile(seed=seed).factors(CHIP).values():
        assert np.all(factor == 1.0)


@pytest.mark.parametrize("fields", [{"seed": -1}, {"seed": 2**63}, {"mismatch_cv": -0.1}, {"mismatch_cv": 1.1},
                                    {"mismatch_cv": math.nan}, {"cv": 0.2}])  # fmt: skip
def test_impossible_profiles_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InvalidValue):
        BoardProfile(**fields)  # type: ignore[arg-type]


def _driven(chips: tuple[int, ...]) -> Board:
    board = Board(chips)
    board.neurons(2, target(dc_a=2e-10, adaptation=(0.1, 5e-12), synapses={"AMPA": (0.01, 1e-11)}), chip=1)
    return board


def test_a_neurons_parameters_do_not_depend_on_the_emulated_chips() -> None:
    profile = BoardProfile(seed=3, mismatch_cv=0.2)
    factors = profile.factors(CHIP)
    alone = decode(_driven((1,)).config(), factors, 100)
    among = decode(_driven((0, 1, 3)).config(), factors, 100)
    assert np.array_equal(alone.rows, among.rows[4:8])
    assert np.array_equal(alone.tables, among.tables[4:8])
    assert not np.array_equal(among.rows[:4], among.rows[8:])


def test_mismatch_spreads_rates_and_its_absence_makes_neurons_equal() -> None:
    board = _driven((0, 1))
    equal = rates_hz(started(board.config()).run(silence(), 0.5), chip=1)[2]
    spread = rates_hz(started(board.config(), profile=BoardProfile(seed=1, mismatch_cv=0.2)).run(silence(), 0.5), chip=1)[2]
    other = rates_hz(started(board.config(), profile=BoardProfile(seed=2, mismatch_cv=0.2)).run(silence(), 0.5), chip=1)[2]
    assert np.ptp(equal) == 0
    assert equal[0] > 20
    assert np.std(spread) > 0.05 * np.mean(spread)
    assert np.mean(spread != other) > 0.5


def test_mismatch_reaches_every_parameter_that_it_names() -> None:
    """Each factor alone changes the words that depend on that current, and no others."""
    board = Board()
    synapses = dict.fromkeys(("AMPA", "NMDA", "GABA_A", "GABA_B"), (0.01, 1e-11))
    board.neurons(None, target(dc_a=2e-10, adaptation=(0.1, 5e-12), synapses=synapses))  # type: ignore[arg-type]
    board.tau2[0, 1] = True
    config = board.config()
    ones = BoardProfile().factors(CHIP)
    nominal = decode(config, ones, 100).rows
    rows = {
        "spike_threshold": {words.V_SPIKE}, "dc": {words.DC}, "refractory": {words.REFRACTORY_STEPS},
        "leak1": {words.LEAK}, "leak2": {words.LEAK}, "pulse_width": set(range(words.EVENT, words.EVENT + 5)),
        "ahp_tau": {words.JUMP_AHP, words.FULL_AHP, words.DECAY_AHP}, "ahp_weight": {words.FULL_AHP},
    }  # fmt: skip
    for k, name in enumerate(("AMPA", "NMDA", "GABA_A", "GABA_B")):
        rows[f"{name}_tau"] = {words.EVENT + k, words.FULL + k, words.DECAY + k}
        rows[f"{name}_weight"] = {words.FULL + k}
    assert set(rows) == set(MISMATCHED)
    for name in MISMATCHED:
        changed = decode(config, {**ones, name: ones[name] * 1.25}, 100).rows
        touched = {int(row) for row in np.unique(np.argwhere(changed != nominal)[:, 1])}
        assert touched == rows[name], name
        if name in ("leak1", "leak2"):
            assert np.all((changed[1] != nominal[1]).any() == (name == "leak2"))


def test_threshold_factor_moves_the_threshold_by_its_logarithm() -> None:
    ones = BoardProfile().factors(CHIP)
    config = Board().config()
    moved = decode(config, {**ones, "spike_threshold": ones["spike_threshold"] * 1.5}, 100).rows[:, words.V_SPIKE]
    rest = decode(config, ones, 100).rows[:, words.V_SPIKE]
    assert np.all(np.abs((moved - rest) / 2**words.V_BITS - math.log(1.5)) < 2e-6)


# Portable functions --------------------------------------------------------------------------------------------------


def _exp(x: float) -> Decimal:
    with localcontext() as context:
        context.prec = 50
        return Decimal(x).exp()


@given(st.floats(-700.0, 700.0))
def test_exp_equals_decimal_arithmetic(x: float) -> None:
    error = (Decimal(float(portable_math.exp(x))) - _exp(x)) / _exp(x)
    assert abs(error) < Decimal("1e-11")


@given(st.floats(-1.0, 1.0))
def test_exp_near_zero_is_precise_enough_to_subtract_from_one(x: float) -> None:
    assert abs(Decimal(float(portable_math.exp(x))) - _exp(x)) < Decimal("3e-12")


def test_exp_at_special_values() -> None:
    assert portable_math.exp(0.0) == 1.0
    assert portable_math.exp([-800.0, 800.0]).tolist() == portable_math.exp([-700.0, 700.0]).tolist()
    assert np.all(np.isfinite(portable_math.exp([-1e300, 1e300])))
    assert portable_math.exp(np.ones((2, 3))).shape == (2, 3)


def test_exp_grows() -> None:
    assert np.all(np.diff(portable_math.exp(np.linspace(-699, 699, 5001))) > 0)


def test_exp_of_an_array_is_the_exp_of_its_elements() -> None:
    """Vectorised or not, the same bits: that is what the function is for."""
    x = np.random.default_rng(0).uniform(-50, 50, 1001)
    assert portable_math.exp(x).tolist() == [float(portable_math.exp(float(v))) for v in x]
    assert portable_math.exp(x[::3]).tolist() == portable_math.exp(x).tolist()[::3]


@given(st.floats(1e-300, 1e300))
def test_log_equals_decimal_arithmetic(x: float) -> None:
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(x).ln()
        found = Decimal(portable_math.log(x))
        assert abs(found - exact) <= abs(exact) * Decimal(2) ** -53
    assert portable_math.log(x) == pytest.approx(math.log(x), rel=1e-15)
    assert portable_math.log(1.0) == 0.0
