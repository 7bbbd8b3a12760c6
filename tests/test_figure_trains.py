"""Spike trains of the figures, and the forms of the rule on them, against trains and references written again."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcall_hw.experiments.figures.emulated import Readings, changes_from_readings
from bcall_hw.experiments.figures.forms import fixed_changes, float_changes, float_engine, play
from bcall_hw.experiments.figures.trains import Pairs, ordered_pairs, periodic_pairs, poisson, poisson_pairs, single_pairs
from bcall_hw.rule.parameters import RuleParameters, preset
from bcall_hw.rule.reference import SynapseState, run_synapse

NAMES = ("1", "2", "3", "4", "bistability", "stop-learning")
FORMS = ("float", "fixed", "emulated", "emulated-mismatch", "emulated-finite")


# Trains ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dt_us", [100, 1000])
def test_poisson_trains_have_their_rate_and_at_most_one_spike_a_step(dt_us: int) -> None:
    rates, each, duration = [0.0, 2.0, 20.0, 100.0], 300, 4.0
    times, ids = poisson(3, "test", np.repeat(rates, each), duration, dt_us, start_s=-0.5)
    steps = np.rint(times * 1e6 / dt_us).astype(int)
    assert np.abs(times * 1e6 / dt_us - steps).max() < 1e-6
    first, count = round(-0.5e6 / dt_us), round(duration * 1e6 / dt_us)
    assert steps.min() >= first
    assert steps.max() < first + count
    assert len(set(zip(ids.tolist(), steps.tolist(), strict=True))) == times.size
    spikes = np.bincount(ids, minlength=4 * each).reshape(4, each)
    for rate, found in zip(rates, spikes, strict=True):
        p = rate * dt_us * 1e-6
        sd = sqrt(count * p * (1 - p))
        assert found.mean() == pytest.approx(count * p, abs=5 * sd / sqrt(each) + 1e-12)
        if rate:
            assert found.var() == pytest.approx(sd**2, rel=0.45)
    # Uniform over time: as many in each quarter.
    quarters = np.bincount((steps - first) * 4 // count, minlength=4)
    assert np.abs(quarters - times.size / 4).max() < 5 * sqrt(times.size / 4)
    # The gaps of the fastest trains are geometric.
    fast = ids >= 3 * each
    order = np.lexsort((steps[fast], ids[fast]))
    gaps = np.diff(steps[fast][order])[np.diff(ids[fast][order]) == 0]
    p = 100.0 * dt_us * 1e-6
    for k in (1, 2, 5):
        wanted = (1 - p) ** (k - 1) * p
        assert np.mean(gaps == k) == pytest.approx(wanted, abs=5 * sqrt(wanted / gaps.size) + 0.01 * wanted)


def test_poisson_trains_are_reproducible_and_streams_differ() -> None:
    one, two = poisson(1, "a", [50.0] * 5, 1.0, 100), poisson(1, "a", [50.0] * 5, 1.0, 100)
    assert all(np.array_equal(x, y) for x, y in zip(one, two, strict=True))
    for other in (poisson(2, "a", [50.0] * 5, 1.0, 100), poisson(1, "b", [50.0] * 5, 1.0, 100)):
        assert not np.array_equal(one[0], other[0])
    pairs = poisson_pairs(1, "c", [80.0] * 200, [80.0] * 200, 1.0, 100, warm_s=0.25)
    assert np.all(pairs.learn_from_s == 0.25)
    pre, post = (
        set(zip(i.tolist(), np.rint(t * 1e4).astype(int).tolist(), strict=True))
        for t, i in ((pairs.pre_s, pairs.pre_ids), (pairs.post_s, pairs.post_ids))
    )
    together = 200 * 1e4 * 0.008**2  # steps in which independent trains both spike
    assert len(pre & post) == pytest.approx(together, abs=5 * sqrt(together))


@pytest.mark.parametrize("shift_ms", [8, -8])
def test_ordered_pairs_keep_the_shift_and_thin_to_the_rate(shift_ms: int) -> None:
    rates, each, steps = [5.0, 30.0, 100.0], 60, 20_000
    pre_hz, post_hz = (np.repeat(g.ravel(), each) for g in np.meshgrid(rates, rates, indexing="ij"))
    pairs = ordered_pairs(4, "test", pre_hz, post_hz, 2.0, 100, shift_ms * 1e-3)
    assert (pairs.n, pairs.duration_s) == (pre_hz.size, 2.0)
    assert np.all(pairs.learn_from_s == 0)
    trains: list[list[set[int]]] = []
    for times, ids in ((pairs.pre_s, pairs.pre_ids), (pairs.post_s, pairs.post_ids)):
        whole = np.rint(times * 1e4).astype(int)
        assert np.abs(times * 1e4 - whole).max() < 1e-6
        assert whole.min() >= 0
        assert whole.max() < steps
        split = [set(whole[ids == k].tolist()) for k in range(pairs.n)]
        assert sum(map(len, split)) == times.size  # at most one spike a step
        trains.append(split)
    counts: dict[tuple[float, float], list[int]] = {}
    for k, (pre, post) in enumerate(zip(*trains, strict=True)):
        shifted = {t + shift_ms * 10 for t in pre if 0 <= t + shift_ms * 10 < steps}
        inside = {t for t in post if 0 <= t - shift_ms * 10 < steps}
        if pre_hz[k] >= post_hz[k]:
            assert inside <= shifted
        if pre_hz[k] <= post_hz[k]:
            assert shifted <= inside
        cell = counts.setdefault((pre_hz[k], post_hz[k]), [0, 0])
        cell[0] += len(pre)
        cell[1] += len(post)
    for cell_rates, found in counts.items():
        for rate, count in zip(cell_rates, found, strict=True):
            wanted = rate * 2.0 * each
            assert count == pytest.approx(wanted, abs=5 * sqrt(wanted))
    # No spike is missing near the edges, where the shift comes from outside.
    for times in (pairs.pre_s, pairs.post_s):
        wanted = (pre_hz.sum()) * 0.008
        for edge in (times < 0.008, times >= 1.992):
            assert edge.sum() == pytest.approx(wanted, abs=5 * sqrt(wanted))


@pytest.mark.parametrize("dt_ms", [-10, -3, 0, 10])
def test_periodic_pairs_have_the_exact_difference(dt_ms: int) -> None:
    rates, measured = np.array([1.0, 7.0, 30.0, 80.0]), np.array([2, 3, 2, 5])
    pairs = periodic_pairs(rates, dt_ms * 1e-3, 1.5, measured)
    assert pairs.n == 4
    for k, rate in enumerate(rates):
        pre, post = pairs.pre_s[pairs.pre_ids == k], pairs.post_s[pairs.post_ids == k]
        assert np.array_equal(post, pre + dt_ms * 1e-3)
        assert np.diff(pre) == pytest.approx(np.full(pre.size - 1, 1 / rate), rel=1e-9)
        assert min(pre.min(), post.min()) >= 0
        assert max(pre.max(), post.max()) <= pairs.duration_s
        start = pairs.learn_from_s[k]
        assert np.array_equal(pre > start, post > start)  # whole pairs
        assert np.sum(pre > start) == measured[k]
        assert start >= 1.5


def test_single_pairs_have_the_exact_difference() -> None:
    dts = np.array([-0.06, -0.0101, 0.0, 0.003, 0.05])
    pairs = single_pairs(dts)
    assert pairs.n == pairs.pre_s.size == pairs.post_s.size == 5
    assert pairs.post_s - pairs.pre_s == pytest.approx(dts, abs=1e-15)
    assert pairs.post_s.min() >= 0
    assert pairs.post_s.max() <= pairs.duration_s
    assert np.all(pairs.learn_from_s == 0)


def same(one: Pairs, two: Pairs) -> bool:
    """The same spikes of the same pairs, whatever their order."""

    def rows(p: Pairs) -> list[list[tuple[int, float]]]:
        sides = ((p.pre_ids, p.pre_s), (p.post_ids, p.post_s))
        return [sorted(zip(i.tolist(), t.tolist(), strict=True)) for i, t in sides]

    plain = (one.n, one.duration_s, one.learn_from_s.tolist()) == (two.n, two.duration_s, two.learn_from_s.tolist())
    return plain and rows(one) == rows(two)


@given(n=st.integers(1, 6), copies=st.integers(1, 4), seed=st.integers(0, 99))
def test_repeated_and_part_are_inverse(n: int, copies: int, seed: int) -> None:
    pairs = poisson_pairs(seed, "part", np.linspace(5, 60, n), np.linspace(60, 5, n), 0.5, 1000)
    pairs = Pairs(n, 0.5, pairs.pre_s, pairs.pre_ids, pairs.post_s, pairs.post_ids, np.linspace(0, 0.3, n))
    many = pairs.repeated(copies)
    assert many.n == n * copies
    assert many.pre_s.size == pairs.pre_s.size * copies
    for copy in range(copies):
        assert same(many.part(np.arange(n) + copy * n), pairs)
    order = np.random.default_rng(seed).permutation(n)
    shuffled = pairs.part(order)
    assert np.array_equal(shuffled.learn_from_s, pairs.learn_from_s[order])
    for new, old in enumerate(order):
        assert sorted(shuffled.pre_s[shuffled.pre_ids == new]) == sorted(pairs.pre_s[pairs.pre_ids == old])
    assert same(shuffled.part(np.argsort(order)), pairs)


@given(dt_us=st.sampled_from([50, 100, 300, 1000]), seed=st.integers(0, 50))
def test_on_grid_moves_spikes_to_the_nearest_step(dt_us: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.zeros(30, dtype=np.int64)
    pairs = Pairs(1, 1.0, rng.uniform(0, 0.9, 30), ids, rng.uniform(0, 0.9, 30), ids, np.array([0.1234]))
    moved = pairs.on_grid(dt_us)
    for was, now in ((pairs.pre_s, moved.pre_s), (pairs.post_s, moved.post_s), (pairs.learn_from_s, moved.learn_from_s)):
        assert np.abs(now - was).max() <= dt_us * 0.5e-6 + 1e-12
        assert np.abs(now * 1e6 / dt_us - np.rint(now * 1e6 / dt_us)).max() < 1e-6


# Forms ----------------------------------------------------------------------------------------------------------------

FULL, GATED = preset("D"), preset("D").model_copy(update={"gate_silent_pre": True, "bistability": None})
RULE_FORMS = {"D": FULL, "gated": GATED, "4.0": preset("4.0"), "2.0 plain": preset("2.0").model_copy(
    update={"stop_learning": None, "bistability": None})}  # fmt: skip


def random_pairs(rng: np.random.Generator, n: int = 12, duration: float = 0.6) -> Pairs:
    """Spikes on whole milliseconds, so that many coincide; learning begins at 0, at a spike, between, or never."""

    def side() -> tuple[np.ndarray, np.ndarray]:
        each = [np.sort(rng.choice(600, rng.integers(0, 40), replace=False)) * 1e-3 for _ in range(n)]
        return np.concatenate(each), np.repeat(np.arange(n), [e.size for e in each])

    (pre, pre_ids), (post, post_ids) = side(), side()
    learn = rng.choice([0.0, 0.1, 0.2505, 0.4, 2.0], n)
    for k in range(0, n, 4):
        own = post[post_ids == k]
        learn[k] = own[own.size // 2] if own.size else 0.3
    return Pairs(n, duration, pre, pre_ids, post, post_ids, learn)


def by_reference(p: RuleParameters, pairs: Pairs, k: int) -> float:
    state, start = SynapseState(w_hid=0.5), min(pairs.learn_from_s[k], pairs.duration_s)
    pre, post = (t[i == k] for t, i in ((pairs.pre_s, pairs.pre_ids), (pairs.post_s, pairs.post_ids)))
    for early, until, learn in ((True, start, False), (False, pairs.duration_s, True)):
        spikes = [times[(times < start) == early].tolist() for times in (pre, post)]
        run_synapse(p, state, spikes[0], spikes[1], until, learn)
    return state.w_hid


@pytest.mark.parametrize("p", RULE_FORMS.values(), ids=RULE_FORMS.keys())
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_play_equals_the_reference_pair_by_pair(p: RuleParameters, seed: int) -> None:
    pairs = random_pairs(np.random.default_rng(seed))
    wanted = [by_reference(p, pairs, k) for k in range(pairs.n)]
    assert play(float_engine(p, pairs.n), pairs) == pytest.approx(wanted, abs=1e-12)
    assert float_changes(p, pairs) + 0.5 == pytest.approx(wanted, abs=1e-12)


def test_fixed_changes_follow_the_reference() -> None:
    pairs = random_pairs(np.random.default_rng(8), n=40)
    p = RULE_FORMS["gated"]
    wanted = [by_reference(p, pairs, k) for k in range(pairs.n)]
    assert fixed_changes(p, pairs, 100) + 0.5 == pytest.approx(wanted, abs=2.0**-10)


def own_readings(p: RuleParameters, pairs: Pairs) -> Readings:
    """What ideal circuits show: x_i and x_s at post spikes with all that the moment brings, x_j and x_s at pre before it."""
    found = {key: np.zeros(size) for key, size in (
        ("x_i", pairs.post_s.size), ("x_j", pairs.pre_s.size), ("s_pre", pairs.pre_s.size), ("s_post", pairs.post_s.size)
    )}  # fmt: skip
    stop = p.stop_learning
    for k in range(pairs.n):
        pre, post = np.flatnonzero(pairs.pre_ids == k), np.flatnonzero(pairs.post_ids == k)
        x_i = x_j = x_s = now = 0.0
        events = sorted([(pairs.pre_s[i], 0, i) for i in pre] + [(pairs.post_s[i], 1, i) for i in post])
        for t, is_post, i in events:
            gap, now = t - now, t
            x_i, x_j = x_i * exp(-gap / p.tau_i_s), x_j * exp(-gap / p.tau_j_s)
            x_s *= exp(-gap / stop.tau_s) if stop else 0.0
            if is_post:
                x_s += stop.a * (1 - x_s) if stop else 0.0
                found["x_i"][i], found["s_post"][i] = x_i, x_s
                x_j += p.a_j * (1 - x_j)
            else:
                found["x_j"][i], found["s_pre"][i] = x_j, x_s
                x_i += p.a_i * (1 - x_i)
    slow = (found["s_pre"], found["s_post"]) if stop else (None, None)
    return Readings(found["x_i"], found["x_j"], *slow, {})


@pytest.mark.parametrize("p", RULE_FORMS.values(), ids=RULE_FORMS.keys())
def test_the_rule_on_ideal_readings_is_the_reference(p: RuleParameters) -> None:
    for seed in range(5):
        pairs = random_pairs(np.random.default_rng(seed))
        changes, course = changes_from_readings(p, pairs, own_readings(p, pairs))
        wanted = [by_reference(p, pairs, k) - 0.5 for k in range(pairs.n)]
        assert changes == pytest.approx(wanted, abs=1e-12)
        assert course[0] == (0.0, 0.5)
        assert len(course) == 1 + np.sum(pairs.pre_ids == 0) + np.sum(pairs.post_ids == 0)
