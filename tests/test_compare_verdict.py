"""The verdict's statistics against closed forms, brute force and other authors' libraries."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy import stats

from bcall_hw.compare.order import farthest, order_p
from bcall_hw.compare.places import differences
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.verdict import hochberg, holm, judge, labellings, ratio_of, smallest_p

SETTINGS = Settings()


def matrix_of(values: np.ndarray) -> np.ndarray:
    return np.abs(values[:, None] - values[None, :])


def energy(matrix: np.ndarray, a: tuple[int, ...], numbers: list[int]) -> tuple[float, float]:
    """Mean across and mean of the means within, by brute force; repeats of one number are no pair."""
    pairs: dict[str, list[float]] = {"across": [], "a": [], "b": []}
    for i, j in combinations(range(len(matrix)), 2):
        if numbers[i] != numbers[j]:
            kind = "across" if (i in a) != (j in a) else "a" if i in a else "b"
            pairs[kind].append(matrix[i, j])
    return float(np.mean(pairs["across"])), float(np.mean(pairs["a"]) + np.mean(pairs["b"])) / 2


@pytest.mark.parametrize(("n_a", "n_b"), [(4, 4), (3, 6), (5, 3)])
def test_p_is_the_rank_among_all_labellings(n_a: int, n_b: int) -> None:
    """With every labelling p is exact; repeats of the same number on both sides take no part, since they may share inputs."""
    rng, n = np.random.default_rng(3), n_a + n_b
    matrix = rng.integers(1, 100, (n, n)).astype(np.float64)
    matrix[:n_a, n_a:] += 30
    matrix = np.triu(matrix, 1) + np.triu(matrix, 1).T
    numbers = [*range(n_a), *range(n_b)]
    every = labellings(n_a, n_b, SETTINGS, 1)
    assert len(every) == comb(n, n_a)
    found = judge([matrix], n_a, every, SETTINGS)[0]
    across, within = energy(matrix, tuple(range(n_a)), numbers)
    assert (found.across, found.within) == pytest.approx((across, within))
    drawn = [energy(matrix, chosen, numbers) for chosen in combinations(range(n), n_a)]
    as_large = sum(one - other >= across - within - 1e-9 for one, other in drawn)
    assert found.p == as_large / len(drawn)  # the observed one is among them
    assert found.p >= smallest_p(every) == (2 if n_a == n_b else 1) / len(drawn)
    changed = matrix.copy()
    for k in range(min(n_a, n_b)):
        changed[k, n_a + k] = changed[n_a + k, k] = 0.0
    again = judge([changed], n_a, every, SETTINGS)[0]
    assert (again.across, again.p, again.p_equivalence) == (found.across, found.p, found.p_equivalence)


def test_holm_against_its_definition() -> None:
    p = np.array([0.01, 0.04, 0.03, np.nan, 0.005])
    # 0.005 * 4, 0.01 * 3, 0.03 * 2, then the running maximum
    assert holm(p)[[0, 1, 2, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(holm(p)[3])
    assert holm(np.array([np.nan])).tolist() == pytest.approx([np.nan], nan_ok=True)
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


def test_hochberg_against_its_definition() -> None:
    p = np.array([0.01, 0.04, 0.03, np.nan, 0.005])
    # from the largest: 0.04, 0.03 * 2, 0.01 * 3, 0.005 * 4, then the running minimum
    assert hochberg(p)[[1, 2, 0, 4]] == pytest.approx([0.04, 0.04, 0.03, 0.02])
    assert np.isnan(hochberg(p)[3])
    assert hochberg(np.array([0.6, 0.9])).tolist() == [0.9, 0.9]
    assert hochberg(np.zeros(0)).tolist() == []


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


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_rates_of_errors_over_many_draws(shared: float) -> None:
    """Under no difference p is uniform; at the margin equivalence is found in about 5 %, however neurons vary together.

    With `shared` 1 all neurons have one noise and a repeat is one number: the ratio of distances is most skewed there.
    """
    rng, labels = np.random.default_rng(8), labellings(10, 10, Settings(permutations=999), 1)[:999]
    shift = _shift_to_the_margin(shared) * (np.arange(20) >= 10)[:, None]
    draws = [_noise(rng, 20, shared) for _ in range(300)]
    equal = judge([_euclid(draw) for draw in draws], 10, labels, SETTINGS)
    at_margin = judge([_euclid(draw + shift) for draw in draws], 10, labels[:1], SETTINGS)
    assert stats.kstest([judged.p for judged in equal], "uniform").pvalue > 0.001
    assert sum(judged.p_equivalence < 0.05 for judged in equal) >= {0.0: 290, 0.5: 200, 1.0: 60}[shared]
    # 15 expected; 28 is the 99.9 % point of that binomial
    assert sum(judged.p_equivalence < 0.05 for judged in at_margin) <= 28


def _noise(rng: np.random.Generator, repeats: int, shared: float) -> np.ndarray:
    return np.sqrt(shared) * rng.normal(0, 1, (repeats, 1)) + np.sqrt(1 - shared) * rng.normal(0, 1, (repeats, 50))


def _shift_to_the_margin(shared: float) -> float:
    """The shift of all neurons at which the expected distances have a ratio of 1.2, from many draws."""
    rng = np.random.default_rng(5)
    x, y, z = (_noise(rng, 20_000, shared) for _ in range(3))

    def mean(difference: np.ndarray) -> float:
        return float(np.sqrt((difference**2).mean(axis=1)).mean())

    low, high = 0.0, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(x - y + middle) < 1.2 * mean(x - z) else (low, middle)
    return low


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


# The order of repeats ------------------------------------------------------------------------------------------------


def test_repeats_that_follow_from_one_another_are_found() -> None:
    """A drift, a walk, a clock hand and a stimulus that rises are found in nearly all draws, repeats in any order in few."""
    rng = np.random.default_rng(11)
    kinds: dict[str, Callable[[int], np.ndarray]] = {
        "apart": lambda n: np.zeros((n, 30)),
        "drift": lambda n: np.linspace(0, 3, n)[:, None],
        "walk": lambda n: np.cumsum(rng.normal(0, 1, (n, 30)), axis=0),
        "clock": lambda n: 2 * np.sin(np.outer(np.arange(n), np.full(30, 2.4)) + rng.uniform(0, 7, 30)),
    }
    found = dict.fromkeys(kinds, 0)
    for _ in range(100):
        for kind, form in kinds.items():
            repeats = np.concatenate([form(10) + rng.normal(0, 1, (10, 30)) for _ in range(2)])
            found[kind] += order_p([_euclid(repeats), _euclid(repeats[:, :5])], 10, SETTINGS) < SETTINGS.alpha_order
    assert found["apart"] <= 5  # 1 expected
    assert min(found["drift"], found["walk"], found["clock"]) >= 95, found


def test_the_farthest_repeats_of_a_side() -> None:
    places = np.concatenate([np.arange(10.0), 100 + 3 * np.arange(12.0)])
    # lags with at least four pairs: up to 6 of ten repeats, up to 8 of twelve
    assert farthest(matrix_of(places), 10) == (6 + 3 * 8) / 2
    assert order_p([np.zeros((20, 20)), np.full((20, 20), np.nan)], 10, SETTINGS) == 1.0
    assert order_p([matrix_of(places[:4])], 2, SETTINGS) == 1.0
