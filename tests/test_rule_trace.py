"""The bounded calcium trace against its closed forms, written here again."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcall_hw.rule import calcium_trace
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.parameters import RuleParameters, preset

Floats = npt.NDArray[np.float64]
NO_TIMES, NO_IDS = np.zeros(0), np.zeros(0, dtype=np.int64)
SIDES = ("x_i", "x_j")
FORMS = [(0.4, 30.0, 0.030), (0.5, 50.0, 0.045), (0.1, 100.0, 0.030), (1.0, 20.0, 0.045), (0.06, 40.0, 0.45), (0.4, 5.0, 0.03)]


def mean_poisson(a: float, rate: float, tau: float) -> float:
    return a * rate * tau / (1 + a * rate * tau)


def second_moment_poisson(a: float, rate: float, tau: float) -> float:
    jump = 2 * a * (1 - a) * mean_poisson(a, rate, tau) + a * a
    return rate * jump / (2 / tau + rate * (1 - (1 - a) ** 2))


def peak_periodic(a: float, rate: float, tau: float) -> float:
    return a / (1 - (1 - a) * exp(-1 / (rate * tau)))


def mean_periodic(a: float, rate: float, tau: float) -> float:
    return rate * tau * peak_periodic(a, rate, tau) * (1 - exp(-1 / (rate * tau)))


def with_trace(a: float, tau: float) -> RuleParameters:
    """Both traces with these numbers."""
    changes = {"a_i": a, "a_j": a, "tau_i_s": tau, "tau_j_s": tau, "stop_learning": None, "bistability": None}
    return preset("D").model_copy(update=changes)


def traces_only(parameters: RuleParameters, count: int) -> PlasticityEngine:
    """An engine of `count` sources and `count` neurons without a synapse."""
    return PlasticityEngine(parameters, np.full((count, 1), -1), count, np.full((count, 1), 0.5))


def drive(engine: PlasticityEngine, duration: float, times: Floats, ids: npt.NDArray[np.int64]) -> None:
    """The same spikes on both sides."""
    engine.advance(duration, times, ids, times, ids)


@settings(max_examples=100, deadline=None)
@given(
    a=st.floats(0.01, 1.0),
    tau=st.floats(1e-3, 1.0),
    gaps=st.lists(st.one_of(st.just(0.0), st.floats(0, 0.01), st.floats(0, 10.0)), max_size=60),
)
def test_trace_stays_in_the_unit_interval_and_follows_the_recursion(a: float, tau: float, gaps: list[float]) -> None:
    engine, wanted = traces_only(with_trace(a, tau), 1), 0.0
    for gap in gaps:
        drive(engine, gap, np.array([gap]), np.array([0]))
        wanted = wanted * exp(-gap / tau)
        wanted += a * (1 - wanted)
        for side in SIDES:
            assert 0.0 <= engine.traces()[side][0] <= 1.0
            assert engine.traces()[side][0] == pytest.approx(wanted, abs=1e-12)


def test_full_jump_gives_one_after_a_spike() -> None:
    engine = traces_only(with_trace(1.0, 0.03), 1)
    drive(engine, 0.5, np.array([0.1, 0.2, 0.2, 0.5]), np.zeros(4, dtype=np.int64))
    assert [engine.traces()[side][0] for side in SIDES] == [1.0, 1.0]


def test_slow_trace_rises_with_own_spikes_only_and_decays_with_its_own_time_constant() -> None:
    engine = traces_only(preset("D"), 2)
    engine.advance(0.1, np.array([0.02]), np.array([1]), np.array([0.0]), np.array([0]))
    assert engine.traces()["x_s"] == pytest.approx([0.06 * exp(-0.1 / 0.45), 0.0], abs=1e-15)
    assert engine.traces()["x_j"] == pytest.approx([0.5 * exp(-0.1 / 0.045), 0.0], abs=1e-15)
    assert engine.traces()["x_i"] == pytest.approx([0.0, 0.4 * exp(-0.08 / 0.03)], abs=1e-15)


@pytest.mark.parametrize(("a", "rate", "tau"), FORMS)
def test_package_closed_forms_equal_ours(a: float, rate: float, tau: float) -> None:
    pairs: list[tuple[Callable[[float, float, float], float], Callable[[float, float, float], float]]] = [
        (calcium_trace.poisson_mean, mean_poisson),
        (calcium_trace.periodic_peak, peak_periodic),
        (calcium_trace.periodic_mean, mean_periodic),
    ]
    for theirs, ours in pairs:
        assert theirs(a, rate, tau) == pytest.approx(ours(a, rate, tau), abs=1e-14)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("a", "rate", "tau"), FORMS)
def test_periodic_peak_and_mean(a: float, rate: float, tau: float, side: str) -> None:
    period = 1 / rate
    spikes = 2 + int(40 / (period / tau - np.log1p(-min(a, 0.999))))  # the start is forgotten to below 1e-15
    engine = traces_only(with_trace(a, tau), 1)
    drive(engine, (spikes - 1) * period, np.arange(spikes) * period, np.zeros(spikes, dtype=np.int64))
    assert engine.traces()[side][0] == pytest.approx(peak_periodic(a, rate, tau), abs=1e-9)

    nodes, weights = np.polynomial.legendre.leggauss(40)
    mean, last = 0.0, 0.0
    for at, weight in zip((nodes + 1) / 2 * period, weights / 2, strict=True):
        drive(engine, at - last, NO_TIMES, NO_IDS)
        mean, last = mean + weight * engine.traces()[side][0], at
    assert mean == pytest.approx(mean_periodic(a, rate, tau), abs=1e-9)


@pytest.fixture(scope="module")
def poisson_samples() -> Callable[[float, float, float], dict[str, Floats]]:
    def samples(a: float, rate: float, tau: float) -> dict[str, Floats]:
        """The traces of many independent trains, long after the start: at least 2e4 spikes within the last tau."""
        count = int(max(4000, 2e4 / (rate * tau)))
        duration = 12 * tau
        rng = np.random.default_rng(20240406)
        ids = np.repeat(np.arange(count), rng.poisson(rate * duration, count))
        engine = traces_only(with_trace(a, tau), count)
        drive(engine, duration, rng.uniform(0, duration, ids.size), ids)
        return {side: engine.traces()[side] for side in SIDES}

    return samples


@pytest.mark.parametrize(("a", "rate", "tau"), FORMS)
def test_poisson_mean_and_second_moment(
    poisson_samples: Callable[[float, float, float], dict[str, Floats]], a: float, rate: float, tau: float
) -> None:
    for values in poisson_samples(a, rate, tau).values():
        assert values.mean() == pytest.approx(mean_poisson(a, rate, tau), rel=0.02)
        assert np.mean(values**2) == pytest.approx(second_moment_poisson(a, rate, tau), rel=0.03)


def test_full_jump_distribution_is_a_power_law(poisson_samples: Callable[[float, float, float], dict[str, Floats]]) -> None:
    rate, tau = 20.0, 0.045
    for values in poisson_samples(1.0, rate, tau).values():
        for theta in (0.1, 0.3, 0.5, 0.9):
            assert np.mean(values < theta) == pytest.approx(theta ** (rate * tau), abs=4 * 0.5 / np.sqrt(values.size))
