"""Shapes that the rule must show, against closed forms: STDP, SRDP, bistability, stop-learning, zero drift."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import numpy as np
import numpy.typing as npt
import pytest

from bcall_hw.rule.calcium_trace import poisson_mean
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.parameters import Bistability, RuleParameters, StopLearning, preset
from bcall_hw.rule.reference import SynapseState, drifted, run_synapse

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
NO_TIMES, NO_IDS = np.zeros(0), np.zeros(0, dtype=np.int64)
TAU_I, TAU_J, A_I, A_J, THETA_I, THETA_J = 30.0, 45.0, 0.4, 0.5, 0.3, 0.3  # ms
C_P, C_D1, C_D2 = 0.02, -0.005, -0.002
PLAIN = preset("D").model_copy(update={"stop_learning": None, "bistability": None})
GATED = PLAIN.model_copy(update={"gate_silent_pre": True})


def by_engine(parameters: RuleParameters, pre: Floats, post: Floats, w: float = 0.5, until: float = 1.0) -> float:
    engine = PlasticityEngine(parameters, [[0]], 1, [[w]])
    engine.advance(until, pre, np.zeros(pre.size, dtype=np.int64), post, np.zeros(post.size, dtype=np.int64))
    return float(engine.hidden_weights()[0, 0]) - w


def by_reference(parameters: RuleParameters, pre: Floats, post: Floats, w: float = 0.5, until: float = 1.0) -> float:
    state = SynapseState(w_hid=w)
    run_synapse(parameters, state, pre.tolist(), post.tolist(), until)
    return state.w_hid - w


BOTH = pytest.mark.parametrize("change", [by_engine, by_reference], ids=["engine", "reference"])
Change = Callable[..., float]

# STDP -----------------------------------------------------------------------------------------------------------------


def stdp(dt_ms: float, gated: bool) -> float:
    if dt_ms >= 0:
        x_i = A_I * exp(-dt_ms / TAU_I)
        return C_P * x_i + C_D2 * (x_i < THETA_I)
    return C_D1 * (A_J * exp(dt_ms / TAU_J) > THETA_J) + (0.0 if gated else C_D2)


def pair(change: Change, dt_ms: float, gated: bool = False) -> float:
    pre = 0.3
    return change(GATED if gated else PLAIN, np.array([pre]), np.array([pre + dt_ms * 1e-3]))


@BOTH
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dt_ms", [5, 10, 20, -10, -30, 0.5, 8.62, 8.64, 41.58, 41.60, 100, -0.5, -22.98, -23.0, -100])
def test_one_pair_equals_the_closed_form(change: Change, dt_ms: float, gated: bool) -> None:
    assert pair(change, dt_ms, gated) == pytest.approx(stdp(dt_ms, gated), abs=1e-12)


@BOTH
@pytest.mark.parametrize(
    ("dt_ms", "wanted", "wanted_gated"),
    [(5, 6.772, 6.772), (10, 3.732, 3.732), (20, 2.107, 2.107), (-10, -7, -5), (-30, -2, 0)],
)
def test_one_pair_has_the_listed_values(change: Change, dt_ms: float, wanted: float, wanted_gated: float) -> None:
    assert pair(change, dt_ms) * 1e3 == pytest.approx(wanted, abs=5.1e-4)
    assert pair(change, dt_ms, gated=True) * 1e3 == pytest.approx(wanted_gated, abs=5.1e-4)


@BOTH
def test_edges_of_the_stdp_curve(change: Change) -> None:
    assert TAU_J * log(A_J / THETA_J) == pytest.approx(22.99, abs=0.005)
    assert TAU_I * log(A_I / THETA_I) == pytest.approx(8.63, abs=0.005)
    assert TAU_I * log(C_P * A_I / -C_D2) == pytest.approx(41.59, abs=0.005)
    assert pair(change, -22.98) - pair(change, -23.0) == pytest.approx(C_D1, abs=1e-12)
    assert pair(change, 8.62) - pair(change, 8.64) == pytest.approx(-C_D2, abs=1e-5)
    assert pair(change, 41.58) > 0 > pair(change, 41.60)
    zero = TAU_I * log(C_P * A_I / -C_D2)
    assert pair(change, zero) == pytest.approx(0.0, abs=1e-12)


@BOTH
def test_depression_is_a_rectangle(change: Change) -> None:
    inside = [pair(change, -dt) for dt in np.linspace(0.1, 22.9, 20)]
    outside = [pair(change, -dt) for dt in np.linspace(23.1, 200, 20)]
    assert inside == pytest.approx([C_D1 + C_D2] * 20, abs=1e-12)
    assert outside == pytest.approx([C_D2] * 20, abs=1e-12)


@BOTH
def test_simultaneous_pair_counts_as_pre_before_post(change: Change) -> None:
    assert pair(change, 0.0) == pytest.approx(C_P * A_I, abs=1e-12)
    assert pair(change, 0.0) > 0


@BOTH
def test_one_isolated_pair_changes_nothing_under_stop_learning(change: Change) -> None:
    stopped = preset("D").model_copy(update={"bistability": None})
    for dt_ms in (-10.0, 0.0, 10.0):
        assert change(stopped, np.array([0.3]), np.array([0.3 + dt_ms * 1e-3])) == 0.0


@BOTH
def test_step_function_is_zero_at_zero(change: Change) -> None:
    at_edge = PLAIN.model_copy(update={"a_i": 0.3})  # the pre trace is exactly theta_i: no c_d2
    assert change(at_edge, np.array([0.25]), np.array([0.25])) == pytest.approx(C_P * 0.3, abs=1e-15)


def test_step_function_is_zero_at_zero_for_the_post_trace() -> None:
    at_edge = PLAIN.model_copy(update={"a_j": 0.3, "c_d2": 0.0})
    for a_j, wanted in ((0.3, 0.0), (0.30001, C_D1)):
        engine = PlasticityEngine(at_edge.model_copy(update={"a_j": a_j}), [[0]], 1, [[0.5]])
        engine.advance(0.25, NO_TIMES, NO_IDS, np.array([0.25]), np.array([0]))
        engine.advance(0.25, np.array([0.0]), np.array([0]), NO_TIMES, NO_IDS)
        assert engine.hidden_weights()[0, 0] - 0.5 == pytest.approx(wanted, abs=1e-15)


@BOTH
def test_hidden_weight_is_clipped_at_both_ends(change: Change) -> None:
    many = np.arange(100) * 1e-3 + 0.1
    assert change(PLAIN, many, many + 1e-4, w=0.999) == pytest.approx(0.001, abs=1e-15)
    assert change(PLAIN, NO_TIMES, many, w=0.05) == pytest.approx(-0.05, abs=1e-15)


# SRDP -----------------------------------------------------------------------------------------------------------------


def srdp(rate: float, dt_ms: float) -> float:
    period = 1e3 / rate
    peak_i = A_I / (1 - (1 - A_I) * exp(-period / TAU_I))
    peak_j = A_J / (1 - (1 - A_J) * exp(-period / TAU_J))
    since_pre, since_post = (dt_ms, period - dt_ms) if dt_ms >= 0 else (period + dt_ms, -dt_ms)
    x_i, x_j = peak_i * exp(-since_pre / TAU_I), peak_j * exp(-since_post / TAU_J)
    return C_D1 * (x_j > THETA_J) + C_P * x_i + C_D2 * (x_i < THETA_I)


def srdp_by_engine(rate: float, dt_ms: float) -> float:
    """Change per pair, measured over ten pairs after eighty pairs that only fill the traces."""
    period, warm, pairs = 1 / rate, 80, 10
    first, second = 2e-4, 2e-4 + abs(dt_ms) * 1e-3
    pre, post = (first, second) if dt_ms >= 0 else (second, first)
    engine = PlasticityEngine(PLAIN, [[0]], 1, [[0.5]])
    for count, learn in ((warm, False), (pairs, True)):
        starts, ids = np.arange(count) * period, np.zeros(count, dtype=np.int64)
        engine.advance(count * period, starts + pre, ids, starts + post, ids, learn=np.array([learn]))
    return (float(engine.hidden_weights()[0, 0]) - 0.5) / pairs


def srdp_by_reference(rate: float, dt_ms: float) -> float:
    period, warm, pairs = 1 / rate, 80, 10
    first, second = 2e-4, 2e-4 + abs(dt_ms) * 1e-3
    pre, post = (first, second) if dt_ms >= 0 else (second, first)
    state = SynapseState(w_hid=0.5)
    for begin, end, learn in ((0, warm, False), (warm, warm + pairs, True)):
        starts = np.arange(begin, end) * period
        run_synapse(PLAIN, state, (starts + pre).tolist(), (starts + post).tolist(), end * period, learn)
    return (state.w_hid - 0.5) / pairs


SRDP = pytest.mark.parametrize("steady", [srdp_by_engine, srdp_by_reference], ids=["engine", "reference"])
Steady = Callable[[float, float], float]


@SRDP
@pytest.mark.parametrize(
    ("rate", "wanted"), [(1, -7.000), (10, -6.593), (20, -4.622), (30, -2.420), (40, 1.564), (50, 3.284), (80, 7.177)]
)
def test_srdp_post_before_pre_has_the_listed_values(steady: Steady, rate: float, wanted: float) -> None:
    assert steady(rate, -10) * 1e3 == pytest.approx(wanted, abs=5.1e-4)
    assert steady(rate, -10) == pytest.approx(srdp(rate, -10), abs=1e-12)


@SRDP
def test_srdp_post_before_pre_rises_and_flips_in_a_step(steady: Steady) -> None:
    curve = [steady(rate, -10) for rate in np.arange(2.0, 90.0, 4.0)]
    assert np.all(np.diff(curve) > 0)
    assert steady(36.9, -10) < -1e-3 < 1e-3 < steady(37.1, -10)


@SRDP
def test_srdp_pre_before_post_is_never_negative_and_not_monotone(steady: Steady) -> None:
    rates = [float(rate) for rate in np.arange(1.0, 81.0, 1.5)]
    curve = np.array([steady(rate, 10) for rate in rates])
    assert curve == pytest.approx([srdp(rate, 10) for rate in rates], abs=1e-12)
    assert 1.70e-3 <= curve.min() <= curve.max() <= 6.70e-3
    assert np.any(np.diff(curve) > 0)
    assert np.any(np.diff(curve) < 0)


# Bistability ----------------------------------------------------------------------------------------------------------


def drift_by_engine(parameters: RuleParameters, w: float, after: float) -> float:
    engine = PlasticityEngine(parameters, [[-1, 0]], 1, [[0.5, w]])
    for _ in range(3):
        engine.advance(after / 3, NO_TIMES, NO_IDS, NO_TIMES, NO_IDS)
    return float(engine.hidden_weights()[0, 1])


def drift_by_reference(parameters: RuleParameters, w: float, after: float) -> float:
    state = SynapseState(w_hid=w)
    run_synapse(parameters, state, [], [], after)
    assert state.w_hid == drifted(parameters, w, after)
    return state.w_hid


DRIFT = pytest.mark.parametrize("drift", [drift_by_engine, drift_by_reference], ids=["engine", "reference"])
Drift = Callable[[RuleParameters, float, float], float]


@DRIFT
@pytest.mark.parametrize("name", ["D", "2.0", "4.0"])
@pytest.mark.parametrize("w", [0.0, 0.1, 0.4999, 0.5, 0.5001, 0.8, 1.0])
def test_drift_is_linear_until_it_reaches_the_end(drift: Drift, name: str, w: float) -> None:
    parameters = preset(name)
    assert parameters.bistability is not None
    tau_w = parameters.bistability.tau_w_s
    goal = 1.0 if w > 0.5 else 0.0
    needed = abs(goal - w) * tau_w
    for part in (0.0, 0.25, 0.5, 0.999, 1.0):
        assert drift(parameters, w, part * needed) == pytest.approx(w + part * (goal - w), abs=1e-9)
    assert drift(parameters, w, 2 * needed + 1) == goal


@DRIFT
def test_both_slopes_have_their_own_number(drift: Drift) -> None:
    parameters = PLAIN.model_copy(update={"bistability": Bistability(tau_w_s=10.0, alpha=2.0, beta=0.5)})
    assert drift(parameters, 0.6, 1.0) == pytest.approx(0.8, abs=1e-9)
    assert drift(parameters, 0.4, 1.0) == pytest.approx(0.35, abs=1e-9)


@DRIFT
def test_a_tie_goes_down_and_stays_without_bistability(drift: Drift) -> None:
    assert drift(preset("4.0"), 0.5, 0.25) == pytest.approx(0.25, abs=1e-9)
    assert drift(PLAIN, 0.5, 100.0) == 0.5


# Stop-learning --------------------------------------------------------------------------------------------------------


def window_edge(theta: float, a: float, tau: float) -> float:
    return theta / ((1 - theta) * a * tau)


def test_window_edges_are_where_the_mean_slow_trace_meets_the_thresholds() -> None:
    stop = preset("D").stop_learning
    assert stop is not None
    for theta, wanted in ((stop.theta_lo, 9.3), (stop.theta_hi, 86.4)):
        edge = window_edge(theta, stop.a, stop.tau_s)
        assert edge == pytest.approx(wanted, abs=0.05)
        assert poisson_mean(stop.a, edge, stop.tau_s) == pytest.approx(theta, abs=1e-12)


def poisson(rng: np.random.Generator, rate: float, duration: float, count: int) -> tuple[Floats, Ids]:
    ids = np.repeat(np.arange(count), rng.poisson(rate * duration, count))
    return rng.uniform(0, duration, ids.size), ids


@pytest.mark.parametrize(
    ("rate", "least", "most"), [(2, 0, 0.05), (15, 0.97, 1), (25, 0.97, 1), (40, 0.97, 1), (80, 0.3, 0.6), (120, 0, 0.05)]
)
def test_fraction_of_post_spikes_that_find_the_window_open(rate: float, least: float, most: float) -> None:
    """The slow trace jumps before it is read, so this is not the fraction of time (0.91 at 15 Hz, 0.63 at 80 Hz)."""
    step = 2.0**-12  # every post spike in the open window lowers the weight by this much, exactly
    changes = {"bistability": None, "c_p": 0.0, "c_d2": -step}
    count, rng, duration = 3000, np.random.default_rng(7), 1.0
    engine = PlasticityEngine(preset("D").model_copy(update=changes), np.zeros((count, 1)), 1, np.ones((count, 1)))
    engine.advance(3.0, NO_TIMES, NO_IDS, *poisson(rng, rate, 3.0, count), learn=np.zeros(count, dtype=np.bool_))
    times, ids = poisson(rng, rate, duration, count)
    engine.advance(duration, NO_TIMES, NO_IDS, times, ids)
    found_open = np.sum(1.0 - engine.hidden_weights()) / step
    assert found_open == int(found_open)
    assert least <= found_open / times.size <= most


@pytest.mark.parametrize(("rate", "least", "most"), [(150, 0.0, 0.01), (50, 0.85, 1.15)])
def test_drift_of_weights_under_stop_learning(rate: float, least: float, most: float) -> None:
    count, change = 3000, {}
    gated = preset("D").model_copy(update={"bistability": None})
    for name, parameters in (("gated", gated), ("open", PLAIN)):
        rng = np.random.default_rng(11)
        engine = PlasticityEngine(parameters, np.arange(count)[:, None], count, np.full((count, 1), 0.5))
        for duration, learn in ((3.0, False), (0.1, True)):
            pre, post = poisson(rng, 75.0, duration, count), poisson(rng, rate, duration, count)
            engine.advance(duration, *pre, *post, learn=np.full(count, learn))
        change[name] = float(np.mean(engine.hidden_weights() - 0.5))
    assert change["open"] > 0
    assert least <= abs(change["gated"] / change["open"]) <= most


@BOTH
@pytest.mark.parametrize(
    ("spikes", "lo", "hi", "is_open"),
    [
        (1, 0.25, 0.9, False),  # x_s is exactly theta_lo
        (1, 0.2499, 0.9, True),  # the spike itself opens the window
        (2, 0.1, 0.4375, False),  # x_s is exactly theta_hi at the second spike: that one is closed
        (2, 0.3, 0.4376, True),
    ],
)
def test_window_is_open_strictly_between_its_edges(change: Change, spikes: int, lo: float, hi: float, is_open: bool) -> None:
    stop = StopLearning(tau_s=0.5, a=0.25, theta_lo=lo, theta_hi=hi)
    parameters = PLAIN.model_copy(update={"stop_learning": stop, "c_d1": 0.0, "c_p": 0.0, "c_d2": -0.125})
    first_counts = spikes == 2 and lo < 0.25
    wanted = -0.125 * (int(is_open) + int(first_counts))
    assert change(parameters, NO_TIMES, np.full(spikes, 0.25)) == wanted


@BOTH
def test_a_pre_spike_reads_the_decayed_slow_trace(change: Change) -> None:
    stop = StopLearning(tau_s=0.01, a=0.5, theta_lo=0.2, theta_hi=0.9)
    parameters = PLAIN.model_copy(update={"stop_learning": stop, "c_p": 0.0, "c_d2": 0.0})
    closes_after = 0.01 * log(0.5 / 0.2)
    post = np.array([0.5])
    assert change(parameters, post + closes_after - 1e-5, post) == pytest.approx(C_D1, abs=1e-15)
    assert change(parameters, post + closes_after + 1e-5, post) == 0.0


@pytest.mark.parametrize(("lo", "hi", "wanted"), [(0.25, 0.9, 0.0), (0.2499, 0.9, C_D1), (0.1, 0.25, 0.0), (0.1, 0.2501, C_D1)])
def test_a_pre_spike_needs_the_window_open_strictly(lo: float, hi: float, wanted: float) -> None:
    stop = StopLearning(tau_s=0.5, a=0.25, theta_lo=lo, theta_hi=hi)
    engine = PlasticityEngine(PLAIN.model_copy(update={"stop_learning": stop}), [[0]], 1, [[0.5]])
    engine.advance(0.25, NO_TIMES, NO_IDS, np.array([0.25]), np.array([0]), learn=np.array([False]))  # the slow trace is 0.25
    engine.advance(0.25, np.array([0.0]), np.array([0]), NO_TIMES, NO_IDS)
    assert engine.hidden_weights()[0, 0] - 0.5 == pytest.approx(wanted, abs=1e-15)


@pytest.mark.parametrize("kind", ["pre", "post"])
def test_a_tie_goes_down_at_a_synapse_that_a_spike_touches(kind: str) -> None:
    parameters = preset("4.0").model_copy(update={"bistability": Bistability(tau_w_s=1.0)})
    engine = PlasticityEngine(parameters, [[0]], 1, [[0.5]])
    engine.advance(0.25, NO_TIMES, NO_IDS, np.array([0.25]), np.array([0]), learn=np.array([False]))
    spike = (np.array([0.0]), np.array([0]))
    engine.advance(0.0, *((*spike, NO_TIMES, NO_IDS) if kind == "pre" else (NO_TIMES, NO_IDS, *spike)))
    assert engine.hidden_weights()[0, 0] == pytest.approx(0.25 - 0.05, abs=1e-15)


# Zero drift -----------------------------------------------------------------------------------------------------------


def test_root_of_the_mean_drift_for_full_jumps() -> None:
    def drift(rate: float) -> float:
        of_i, of_j = rate * TAU_I * 1e-3, rate * TAU_J * 1e-3
        return C_D1 * (1 - THETA_J**of_j) + C_P * of_i / (1 + of_i) + C_D2 * THETA_I**of_i

    assert drift(5.815) < 0 < drift(5.825)


@pytest.mark.parametrize(("a", "zero"), [(0.1, 39.9), (0.2, 25.9), (0.4, 15.9), (0.6, 10.2), (0.8, 7.6), (1.0, 5.8)])
def test_mean_drift_changes_sign_within_15_percent_of_the_listed_rate(a: float, zero: float) -> None:
    parameters = PLAIN.model_copy(update={"a_i": a, "a_j": a})
    count, change = 6000, []
    for rate in (0.85 * zero, 1.15 * zero):
        rng = np.random.default_rng(3)
        engine = PlasticityEngine(parameters, np.arange(count)[:, None], count, np.full((count, 1), 0.5))
        for duration, learn in ((0.5, False), (0.5, True)):
            pre, post = poisson(rng, rate, duration, count), poisson(rng, rate, duration, count)
            engine.advance(duration, *pre, *post, learn=np.full(count, learn))
        change.append(float(np.mean(engine.hidden_weights() - 0.5)))
    assert change[0] < 0 < change[1]
