"""The verdict's statistics against closed forms, brute force and other authors' libraries."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from bcall_hw.compare.places import differences
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.verdict import holm, judge, labellings, ratio_of

SETTINGS = Settings()


def matrix_of(values: np.ndarray) -> np.ndarray:
    return np.abs(values[:, None] - values[None, :])


def test_p_is_the_rank_among_all_labellings() -> None:
    """With every labelling of 4 + 4 repeats, p is exact; the closed form is scipy's permutation test of the same statistic."""
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.integers(0, 64, 4), rng.integers(24, 88, 4)]).astype(np.float64)  # sums without rounding
    every = np.zeros((70, 8), dtype=bool)
    for row, chosen in enumerate(combinations(range(8), 4)):
        every[row, list(chosen)] = True
    found = judge([matrix_of(values)], 4, every, SETTINGS)[0]

    def energy(x: np.ndarray, y: np.ndarray) -> float:
        across = np.abs(x[:, None] - y[None, :]).mean()
        inside = [np.abs(z[:, None] - z[None, :]).sum() / (4 * 3) for z in (x, y)]
        return float(across - np.mean(inside))

    told = stats.permutation_test((values[:4], values[4:]), energy, alternative="greater", n_resamples=np.inf)
    assert found.across - found.within == pytest.approx(told.statistic)
    assert (found.p * 71 - 1) / 70 == pytest.approx(told.pvalue)


def test_holm_against_its_definition() -> None:
    p = np.array([0.01, 0.04, 0.03, np.nan, 0.005])
    # 0.005 * 4, 0.01 * 3, 0.03 * 2, then the running maximum
    assert holm(p)[[0, 1, 2, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(holm(p)[3])
    assert holm(np.array([np.nan])).tolist() == pytest.approx([np.nan], nan_ok=True)
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


def test_equal_and_deterministic_sides() -> None:
    labels = labellings(10, 10, SETTINGS, 11)
    assert labels.sum(axis=1).tolist() == [10] * len(labels)
    nothing = judge([np.zeros((20, 20))], 10, labels, SETTINGS)[0]
    assert (nothing.across, nothing.within, nothing.p, nothing.p_equivalence, nothing.ratio) == (0.0, 0.0, 1.0, 0.0, 1.0)
    values = np.repeat([0.0, 1.0], 10)
    apart = judge([matrix_of(values)], 10, labels, SETTINGS)[0]
    assert (apart.ratio, apart.p_equivalence) == (np.inf, 1.0)
    assert apart.p <= 2e-4
    assert np.isnan(judge([np.full((20, 20), np.nan)], 10, labels, SETTINGS)[0].p)
    assert np.isnan(ratio_of(np.nan, 0.0))


def test_more_labellings_where_more_tests_share_the_level() -> None:
    for tests in (11, 176, 700):
        smallest = 1 / (1 + len(labellings(10, 10, SETTINGS, tests)))
        assert smallest * tests < SETTINGS.alpha


def test_rates_of_errors_over_many_draws() -> None:
    """Under no difference p is uniform and equivalence is found; at the margin equivalence is found in at most 5 % and some."""
    rng, labels = np.random.default_rng(8), labellings(10, 10, Settings(permutations=999), 1)[:999]
    p, found, at_margin = [], 0, 0
    for _ in range(300):
        repeats = rng.normal(0, 1, (20, 50))
        judged = judge([_euclid(repeats)], 10, labels, SETTINGS)[0]
        p.append(judged.p)
        found += judged.p_equivalence < 0.05
        # A shift delta of each neuron's mean makes across^2 / within^2 about 1 + delta^2 / 2: the margin of 1.2.
        repeats[10:] += np.sqrt(2 * (1.2**2 - 1))
        at_margin += judge([_euclid(repeats)], 10, labels, SETTINGS)[0].p_equivalence < 0.05
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert found >= 290
    assert at_margin <= 30  # 15 expected; the 99.9 % point of that binomial is 28


def _euclid(values: np.ndarray) -> np.ndarray:
    return np.sqrt(((values[:, None] - values[None, :]) ** 2).mean(axis=2))


def test_neurons_that_differ_are_found_by_welchs_test() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(20, 2, (10, 30)), rng.normal(21, 3, (12, 30))
    t, p = differences((a, b))
    told = stats.ttest_ind(a, b, equal_var=False)
    assert t == pytest.approx(told.statistic)
    assert p == pytest.approx(told.pvalue)
    t, p = differences((np.full((10, 2), [5.0, 6.0]), np.full((10, 2), [5.0, 7.0])))
    assert np.isnan(t).all()
    assert p.tolist() == [1.0, 0.0]
