"""Metrics of spike trains, against plain forms of their definitions, closed forms, and values of elephant and pyspike.

tests/data/compare_metrics.npz is made by tests/oracles/metrics.py (`--seed 2026 --golden FILE`); `make oracles` compares on new
trains.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise as neighbours
from math import exp, sqrt
from pathlib import Path
from typing import Any

import metric_definitions as plain
import numpy as np
import pytest

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.compare import pairwise, single
from bcall_hw.compare.pairwise import isi_distance, spike_distance, spike_synchronisation, sttc, van_rossum, victor_purpura
from bcall_hw.compare.trains import Trains
from bcall_hw.errors import InvalidValue

GOLDEN = dict(np.load(Path(__file__).parent / "data" / "compare_metrics.npz"))
NAMES = GOLDEN["names"].tolist()
PAIRS = len(GOLDEN["end"])
TICKS = np.split(GOLDEN["ticks"].astype(np.int64), np.cumsum(GOLDEN["lengths"])[:-1])
ONE, TWO = np.array([0]), np.array([1])
# Each with its own value, where it takes one.
ALL: dict[str, tuple[Callable[..., FloatArray], tuple[float, ...]]] = {
    "sttc": (sttc, (0.01,)), "victor_purpura": (victor_purpura, (50.0,)), "van_rossum": (van_rossum, (0.02,)),
    "isi_distance": (isi_distance, ()), "spike_distance": (spike_distance, ()),
    "spike_synchronisation": (spike_synchronisation, ()),
}  # fmt: skip
SIMILARITIES = ("sttc", "spike_synchronisation")


def of_two(name: str, a: Any, b: Any, duration_s: float, *values: float) -> float:
    trains = Trains.of([np.array(a, dtype=float), np.array(b, dtype=float)], duration_s)
    found = getattr(pairwise, name)(trains, ONE, TWO, *values)
    assert found.dtype == np.float64
    assert found.shape == (1,)
    return float(found[0])


def golden_pair(k: int) -> tuple[IntArray, IntArray, FloatArray, FloatArray, float]:
    """Ticks of both trains, their times (s), and the duration (s)."""
    a, b = TICKS[2 * k], TICKS[2 * k + 1]
    return a, b, a / 1e6, b / 1e6, float(GOLDEN["end"][k]) / 1e6


def short(most: int) -> list[int]:
    return [k for k in range(PAIRS) if len(TICKS[2 * k]) <= most and len(TICKS[2 * k + 1]) <= most]


def some_trains(seed: int, number: int = 24, duration_s: float = 2.0) -> Trains:
    """Of all sizes, one of them empty and one with one spike; some share spikes."""
    rng = np.random.default_rng(seed)
    rows = [np.zeros(0), rng.uniform(0, duration_s, 1)]
    common = rng.uniform(0, duration_s, 15)
    rows += [np.concatenate([common[: rng.integers(16)], rng.uniform(0, duration_s, rng.integers(1, 60))]) for _ in rows]
    rows += [np.concatenate([common, rng.uniform(0, duration_s, rng.integers(1, 60))]) for _ in range(number - len(rows))]
    return Trains.of([np.sort(row) for row in rows], duration_s)


# Other programs -------------------------------------------------------------------------------------------------------


def ours(k: int) -> dict[str, float]:
    *_, a, b, duration = golden_pair(k)
    values = {"sttc": GOLDEN["window_s"][k], "victor_purpura": GOLDEN["cost_hz"][k], "van_rossum": GOLDEN["tau_s"][k]}
    found = {name: of_two(name, a, b, duration, *([float(values[name])] if name in values else [])) for name in ALL}
    trains = Trains.of([a, b], duration)
    counts = single.counts(trains, duration / int(GOLDEN["bins"][k]))
    rows = {"rate_hz": single.rates_hz(trains), "mean_isi_s": single.mean_isi_s(trains), "isi_cv": single.isi_cv(trains),
            "local_variation": single.local_variation(trains), "fano_factor": single.fano_factor(counts)}  # fmt: skip
    for name, row in rows.items():
        found[f"{name}, left"], found[f"{name}, right"] = row.tolist()
    return found | {"count_correlation": float(single.count_correlation(counts)[0, 1])}


@pytest.fixture(scope="module")
def table() -> FloatArray:
    """Ours, in the order of the golden file."""
    return np.array([[row[name] for name in NAMES] for row in map(ours, range(PAIRS))])


@pytest.mark.parametrize("name", NAMES)
def test_values_of_elephant_and_pyspike(name: str, table: FloatArray) -> None:
    column = NAMES.index(name)
    mine, theirs = table[:, column].copy(), GOLDEN["values"][:, column].copy()
    why = Counter(GOLDEN["reasons"][GOLDEN["why"][:, column]].tolist())
    compared = np.isfinite(theirs)
    assert why.pop("", 0) == compared.sum()
    if name == "van_rossum":  # elephant takes the root of a difference of sums: below that, squares are what it knows
        squared = theirs < 1e-2
        mine[squared], theirs[squared] = mine[squared] ** 2, theirs[squared] ** 2
    apart = np.abs(mine - theirs)[compared].max()
    print(f"{name}: {compared.sum()} compared, {apart:.1e} apart at most, excluded {dict(why)}")
    assert apart <= 1e-9
    # The exclusions: few, and what ours is there.
    left, right = GOLDEN["lengths"][::2], GOLDEN["lengths"][1::2]
    if name == "sttc":
        assert set(why) <= {"empty", "widened"}
        assert why["empty"] <= 45
        assert why["widened"] <= 10
        empty = (left == 0) | (right == 0)
        assert np.array_equal(mine[empty], (left == right)[empty].astype(float))
    elif name in ALL:
        assert set(why) <= {"lone at the end"}
        assert why.total() <= 10
        assert np.all(mine[~compared] == 0)  # the same trains
    elif name == "count_correlation":
        constant = GOLDEN["reasons"][GOLDEN["why"][:, column]] == "constant"
        assert np.isnan(mine[constant]).all()
        assert compared.sum() > 350
    else:
        assert np.isnan(mine[~compared]).all()
        assert compared.sum() > 350


# Definitions ----------------------------------------------------------------------------------------------------------


def test_sttc_is_its_definition() -> None:
    for k in short(60):
        a, b, *times, duration = golden_pair(k)
        window = round(float(GOLDEN["window_s"][k]) * 1e6)
        if len(a) and len(b):
            wanted = plain.sttc(a, b, int(GOLDEN["end"][k]), window)
            assert of_two("sttc", *times, duration, window / 1e6) == pytest.approx(wanted, abs=1e-12)


def test_sttc_takes_spikes_at_the_edge_of_the_window() -> None:
    # On a grid of 1 ms the distance is 5 ms for each, and rounded to either side of it.
    left = np.arange(0, 4000, 40)
    apart = (left + 5) / 1000 - left / 1000
    assert (apart > 0.005).any()
    assert (apart < 0.005).any()
    wanted = plain.sttc(left, left + 5, 4000, 5)
    assert of_two("sttc", left / 1000, (left + 5) / 1000, 4.0, 0.005) == pytest.approx(wanted, abs=1e-12)
    assert wanted == pytest.approx(1)
    assert of_two("sttc", left / 1000, (left + 5) / 1000, 4.0, 0.005 - 1e-9) < 0


def test_victor_purpura_is_its_definition() -> None:
    for k in short(50):
        _, _, a, b, duration = golden_pair(k)
        cost = float(GOLDEN["cost_hz"][k])
        wanted = plain.victor_purpura(a, b, cost)
        assert of_two("victor_purpura", a, b, duration, cost) == pytest.approx(wanted, abs=1e-11)
    rng = np.random.default_rng(3)
    for _ in range(60):
        a, b = (np.sort(rng.uniform(0, 1, rng.integers(6))) for _ in range(2))
        cost = float(10 ** rng.uniform(-1, 2))
        wanted = plain.victor_purpura_by_recursion(tuple(a.tolist()), tuple(b.tolist()), cost)
        assert of_two("victor_purpura", a, b, 1.0, cost) == pytest.approx(wanted, abs=1e-12)


def test_van_rossum_is_its_definition() -> None:
    for k in short(60):
        _, _, a, b, duration = golden_pair(k)
        tau = float(GOLDEN["tau_s"][k])
        wanted = plain.van_rossum(a, b, tau)
        assert of_two("van_rossum", a, b, duration, tau) ** 2 == pytest.approx(wanted**2, abs=1e-11, rel=1e-12)
    rng = np.random.default_rng(4)
    for tau in (0.01, 0.1, 0.5):
        a, b = np.sort(rng.uniform(0, 1, 7)), np.sort(rng.uniform(0, 1, 9))
        wanted = plain.van_rossum_by_integral(a, b, tau, 1 + 20 * tau)
        assert of_two("van_rossum", a, b, 1.0, tau) == pytest.approx(wanted, rel=2e-3)


@pytest.mark.parametrize("name", ["isi_distance", "spike_distance"])
def test_distances_are_means_of_their_profiles(name: str) -> None:
    for number, k in enumerate(short(150)):
        _, _, a, b, duration = golden_pair(k)
        distinct = np.unique(a), np.unique(b)
        mine = of_two(name, a, b, duration)
        profile = getattr(plain, name)
        wanted = profile(*distinct, duration, *plain.samples(*distinct, duration, 0))
        assert mine == pytest.approx(wanted, abs=1e-12)
        if number % 40 == 0:  # and knowing nothing of where the profile bends
            wanted = profile(*distinct, duration, *plain.samples(*distinct, duration, 100_000))
            assert mine == pytest.approx(wanted, abs=2e-3)


def test_synchronisation_is_its_definition() -> None:
    for k in short(30):
        _, _, a, b, duration = golden_pair(k)
        wanted = plain.spike_synchronisation(np.unique(a), np.unique(b), duration)
        assert of_two("spike_synchronisation", a, b, duration) == pytest.approx(wanted, abs=1e-15)


# Closed forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ALL))
@pytest.mark.parametrize("train", [[], [0.0], [1.0], [0.3], [0.0, 1.0], [0.2, 0.2], [0.0, 0.0, 0.5, 1.0, 1.0], [0.1, 0.2, 0.7]])
def test_a_train_is_equal_to_itself(name: str, train: list[float]) -> None:
    assert of_two(name, train, train, 1.0, *ALL[name][1]) == (1.0 if name in SIMILARITIES else 0.0)


@pytest.mark.parametrize("spike", [0.0, 0.25, 1.0])
def test_one_spike_against_none(spike: float) -> None:
    assert of_two("sttc", [spike], [], 1.0, 0.01) == 0
    assert of_two("victor_purpura", [spike], [], 1.0, 30.0) == 1
    assert of_two("van_rossum", [], [spike], 1.0, 0.01) == 1
    assert of_two("spike_synchronisation", [spike], [], 1.0) == 0
    # Intervals of spike and of 1 - spike against one of 1.
    wanted = spike * (1 - spike) + (1 - spike) * spike
    assert of_two("isi_distance", [spike], [], 1.0) == pytest.approx(wanted, abs=1e-15)


def test_n_spikes_against_none() -> None:
    train = [0.1, 0.1, 0.4, 0.9]
    assert of_two("victor_purpura", train, [], 1.0, 30.0) == 4
    assert of_two("van_rossum", train, [], 1.0, 1e-4) == pytest.approx(sqrt(6), abs=1e-12)  # 2^2 + 1 + 1
    assert of_two("van_rossum", train, [], 1.0, 1e9) == pytest.approx(4, rel=1e-8)


@pytest.mark.parametrize("shift", [1e-6, 1e-3, 0.01, 0.019, 0.021, 0.3])
def test_one_spike_moved(shift: float) -> None:
    a, b = [0.5], [0.5 + shift]
    assert of_two("victor_purpura", a, b, 1.0, 100.0) == pytest.approx(min(2, 100 * shift), abs=1e-12)
    assert of_two("van_rossum", a, b, 1.0, 0.02) == pytest.approx(sqrt(2 * (1 - exp(-shift / 0.02))), abs=1e-12, rel=1e-9)
    assert of_two("spike_synchronisation", a, b, 1.0) == 1


@pytest.mark.parametrize("spike", [0.0, 1.0])
@pytest.mark.parametrize("other", [[0.3, 0.7, 0.8], [0.2, 0.3, 0.7], [0.4], [0.1, 0.9], [0.0], [1.0]])
@pytest.mark.parametrize("name", ["isi_distance", "spike_distance"])
def test_a_lone_spike_at_an_edge(name: str, spike: float, other: list[float]) -> None:
    a, b = np.array([spike]), np.array(other)
    wanted = getattr(plain, name)(a, b, 1.0, *plain.samples(a, b, 1.0, 0))
    assert of_two(name, a, b, 1.0) == pytest.approx(wanted, abs=1e-14)


def test_lone_spikes_further_than_half_the_duration_do_not_coincide() -> None:
    assert of_two("spike_synchronisation", [0.1], [0.59], 1.0) == 1
    assert of_two("spike_synchronisation", [0.1], [0.61], 1.0) == 0


def test_regular_trains() -> None:
    fast, slow = np.arange(0, 1.001, 0.01), np.arange(0, 1.001, 0.04)
    assert of_two("isi_distance", fast, slow, 1.0) == pytest.approx(0.75, abs=1e-12)
    shifted = np.arange(0.002, 1, 0.01)
    middle = of_two("spike_distance", np.arange(0, 10, 0.01), np.arange(0.002, 10, 0.01), 10.0)
    assert middle == pytest.approx(0.2, abs=1e-3)  # each spike is 2 ms of 10 from its neighbour
    assert of_two("spike_synchronisation", fast[:-1], shifted, 1.0) == 1


def test_long_trains_stay_exact() -> None:
    rng = np.random.default_rng(8)
    a = np.sort(rng.uniform(0, 60, 900))
    moved = np.minimum(a + 1e-7, 60)
    for tau in (1e-3, 0.1):
        b = np.sort(rng.uniform(0, 60, 700))
        assert of_two("van_rossum", a, b, 60.0, tau) == pytest.approx(plain.van_rossum(a, b, tau), rel=1e-12)
    # Far from the others, each move of d costs 2 (1 - exp(-d / tau)): nothing cancels. Spikes nearer to each other add more.
    alone = np.arange(0.5, 60, 0.5)
    wanted = sqrt(len(alone) * -2 * np.expm1(-1e-7 / 1e-3))
    assert of_two("van_rossum", alone, alone + 1e-7, 60.0, 1e-3) == pytest.approx(wanted, rel=1e-6)
    assert of_two("victor_purpura", a, moved, 60.0, 100.0) == pytest.approx(100 * np.abs(moved - a).sum(), rel=1e-6)


# What every metric has ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ALL))
def test_symmetric_bounded_and_independent_of_other_pairs(name: str) -> None:
    metric, values = ALL[name]
    trains = some_trains(1)
    left, right = (index.astype(np.int64) for index in np.triu_indices(len(trains)))
    found = metric(trains, left, right, *values)
    assert np.isfinite(found).all()
    assert np.array_equal(found, metric(trains, right, left, *values))
    assert np.array_equal(found[::-1], metric(trains, left[::-1], right[::-1], *values))
    assert np.all(found[left == right] == (1 if name in SIMILARITIES else 0))
    assert found.min() >= (-1 if name == "sttc" else 0)
    if name not in ("victor_purpura", "van_rossum"):
        assert found.max() <= 1
    # The same bits in pieces, on threads.
    cuts = [0, 5, 6, 100, 200, len(left)]
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda cut: metric(trains, left[slice(*cut)], right[slice(*cut)], *values), neighbours(cuts))
        assert np.array_equal(found, np.concatenate(list(parts)))
    assert metric(trains, left[:0], right[:0], *values).shape == (0,)


@pytest.mark.parametrize("name", ["victor_purpura", "van_rossum", "isi_distance"])
@pytest.mark.parametrize("seed", [1, 2])
def test_triangle_inequality(name: str, seed: int) -> None:
    trains = some_trains(seed)
    n = len(trains)
    left, right = (index.ravel() for index in np.indices((n, n)))
    metric = ALL[name][0]
    for value in ALL[name][1] and (1e-3, 0.05, 5.0, 80.0):
        far = metric(trains, left, right, value).reshape(n, n)
        assert np.all(far[:, None, :] <= far[:, :, None] + far[None, :, :] + 1e-12)
    if not ALL[name][1]:
        far = metric(trains, left, right).reshape(n, n)
        assert np.all(far[:, None, :] <= far[:, :, None] + far[None, :, :] + 1e-12)


@pytest.mark.parametrize("name", ["isi_distance", "spike_distance", "spike_synchronisation"])
def test_spikes_of_a_train_at_the_same_time_count_once_where_intervals_count(name: str) -> None:
    assert of_two(name, [0.2, 0.2, 0.5, 0.9, 0.9], [0.3, 0.3], 1.0) == of_two(name, [0.2, 0.5, 0.9], [0.3], 1.0)


@pytest.mark.parametrize("name", list(ALL))
def test_what_is_refused(name: str) -> None:
    metric, values = ALL[name]
    trains = some_trains(5, 6)
    with pytest.raises(InvalidValue, match=r"right: there is no train of this index \(got 6, limit 0 to 5\)"):
        metric(trains, np.array([0, 1]), np.array([0, 6]), *values)
    with pytest.raises(InvalidValue, match="left: there is no train"):
        metric(trains, np.array([-1]), np.array([0]), *values)
    with pytest.raises(InvalidValue, match="a left and a right"):
        metric(trains, np.array([0, 1]), np.array([0]), *values)
    with pytest.raises(InvalidValue, match="two rows of int64"):
        metric(trains, np.array([0.0]), np.array([0]), *values)
    with pytest.raises(InvalidValue, match="there is no train"):
        metric(Trains.of([], 1.0), np.array([0]), np.array([0]), *values)
    for wrong in (0.0, -1.0, float("nan"), float("inf")) if values else ():
        with pytest.raises(InvalidValue, match="must be positive and finite"):
            metric(trains, np.array([0]), np.array([1]), wrong)


def test_importing_costs_no_compiler() -> None:
    script = "import sys, bcall_hw.compare.pairwise, bcall_hw.compare.single; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


# Single trains --------------------------------------------------------------------------------------------------------


def test_statistics_of_few_spikes() -> None:
    trains = Trains.of([np.array(t) for t in ([], [0.5], [0.2, 0.6], [0.0, 1.0, 2.0], [1.0] * 3, [0.0, 1.0, 4.0])], 4.0)
    assert single.rates_hz(trains).tolist() == [0, 0.25, 0.5, 0.75, 0.75, 0.75]
    nan = float("nan")
    assert np.allclose(single.mean_isi_s(trains), [nan, nan, 0.4, 1, 0, 2], rtol=1e-15, equal_nan=True)
    assert np.allclose(single.isi_cv(trains), [nan, nan, nan, 0, nan, 0.5], rtol=1e-15, equal_nan=True)
    assert np.allclose(single.local_variation(trains), [nan, nan, nan, 0, nan, 3 / 4], rtol=1e-15, equal_nan=True)
    for statistic in (single.rates_hz, single.mean_isi_s, single.isi_cv, single.local_variation):
        assert statistic(Trains.of([], 1.0)).shape == (0,)
        assert statistic(Trains.of([np.zeros(0)], 1.0)).shape == (1,)
        assert statistic(trains).dtype == np.float64


def test_long_poisson_trains_have_the_known_statistics() -> None:
    rng = np.random.default_rng(2)
    trains = Trains.of([np.sort(rng.uniform(0, 1000, 20_000)) for _ in range(3)], 1000.0)
    assert single.isi_cv(trains) == pytest.approx(np.ones(3), abs=0.03)
    assert single.local_variation(trains) == pytest.approx(np.ones(3), abs=0.03)
    assert single.fano_factor(single.counts(trains, 0.5)) == pytest.approx(np.ones(3), abs=0.15)


def test_counts_of_whole_bins() -> None:
    ticks = [np.arange(0, 1001, 100), np.array([300, 300, 599, 600, 1000]), np.zeros(0)]
    trains = Trains.of([t / 1000 for t in ticks], 1.0)
    found = single.counts(trains, 0.1)  # 0.3 / 0.1 and 0.6 / 0.1 are rounded below 3 and 6; the end is in the last bin
    assert found.dtype == np.int64
    assert found.tolist() == [[1] * 9 + [2], [0, 0, 0, 2, 0, 1, 1, 0, 0, 1], [0] * 10]
    # The rest from 0.9 on makes no bin.
    assert single.counts(trains, 0.3).tolist() == [[3, 3, 3], [0, 3, 1], [0, 0, 0]]
    assert single.counts(trains, 1.0).tolist() == [[11], [5], [0]]
    assert single.counts(Trains.of([], 1.0), 0.5).shape == (0, 2)
    for wrong in (0.0, -0.1, float("nan"), float("inf")):
        with pytest.raises(InvalidValue, match="a bin has a positive length"):
            single.counts(trains, wrong)
    with pytest.raises(InvalidValue, match=r"longer than the interval \(s\) \(got 1.01, limit 1.0\)"):
        single.counts(trains, 1.01)


def test_fano_factor_and_correlation_of_counts() -> None:
    counts = np.array([[1, 2, 3, 4], [2, 4, 6, 8], [4, 3, 2, 1], [5, 5, 5, 5], [0, 0, 0, 0]])
    assert np.allclose(single.fano_factor(counts), [0.5, 1, 0.5, 0, np.nan], rtol=1e-15, equal_nan=True)
    found = single.count_correlation(counts)
    assert np.allclose(found[:3, :3], [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], rtol=1e-14)
    assert np.isnan(found[3:]).all()
    assert np.isnan(found[:, 3:]).all()
    random = np.random.default_rng(1).poisson(3, (5, 40))
    assert np.allclose(single.count_correlation(random), np.corrcoef(random), rtol=0, atol=1e-14)
    one = counts[:, :1]
    assert np.isnan(single.fano_factor(one)).all()
    assert np.isnan(single.count_correlation(one)).all()
    assert single.count_correlation(one).shape == (5, 5)
    for statistic in (single.fano_factor, single.count_correlation):
        with pytest.raises(InvalidValue, match="shape"):
            statistic(counts[0])
