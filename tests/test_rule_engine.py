"""The plasticity engine against the one-synapse reference, its bad inputs and its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcall_hw.errors import InvalidValue
from bcall_hw.rule._kernel import exp as kernel_exp
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.parameters import PRESETS, Bistability, RuleParameters, preset
from bcall_hw.rule.reference import SynapseState, run_synapse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
TICK = 2.0**-11  # s; multiples of it add up without rounding, so simultaneous spikes stay simultaneous
NO_TIMES, NO_IDS = np.zeros(0), np.zeros(0, dtype=np.int64)


@dataclass
class Span:
    """One call of `advance`."""

    start: float
    duration: float
    pre: tuple[Floats, Ints]
    post: tuple[Floats, Ints]
    learn: Bools | None


def options(name: str, stop: bool, drift: str, silent: bool) -> RuleParameters:
    of_preset = preset(name)
    bistability = {"none": None, "preset": of_preset.bistability, "fast": Bistability(tau_w_s=0.5, alpha=1.0, beta=2.0)}[drift]
    window = (of_preset.stop_learning or preset("D").stop_learning) if stop else None
    return of_preset.model_copy(update={"bistability": bistability, "stop_learning": window, "gate_silent_pre": silent})


class Oracle:
    """Every synapse and every trace of an engine, each by itself."""

    def __init__(self, parameters: RuleParameters, sources: Ints, n_sources: int, w_hid: Floats) -> None:
        self.parameters, self.sources = parameters, sources
        self.synapses = {(int(p), int(k)): SynapseState(w_hid=float(w_hid[p, k])) for p, k in np.argwhere(sources >= 0)}
        self.pre_only = [SynapseState(w_hid=0.5) for _ in range(n_sources)]
        self.post_only = [SynapseState(w_hid=0.5) for _ in range(len(sources))]

    def advance(self, span: Span) -> None:
        until = span.start + span.duration
        pre = [(span.start + span.pre[0][span.pre[1] == i]).tolist() for i in range(len(self.pre_only))]
        post = [(span.start + span.post[0][span.post[1] == i]).tolist() for i in range(len(self.post_only))]
        for (p, k), state in self.synapses.items():
            learn = span.learn is None or bool(span.learn[p])
            run_synapse(self.parameters, state, pre[self.sources[p, k]], post[p], until, learn)
        for i, state in enumerate(self.pre_only):
            run_synapse(self.parameters, state, pre[i], [], until)
        for i, state in enumerate(self.post_only):
            run_synapse(self.parameters, state, [], post[i], until)

    def check(self, engine: PlasticityEngine) -> None:
        traces, weights = engine.traces(), engine.hidden_weights()
        np.testing.assert_allclose(traces["x_i"], [s.x_i for s in self.pre_only], rtol=0, atol=1e-12)
        np.testing.assert_allclose(traces["x_j"], [s.x_j for s in self.post_only], rtol=0, atol=1e-12)
        np.testing.assert_allclose(traces["x_s"], [s.x_s for s in self.post_only], rtol=0, atol=1e-12)
        for synapse, state in self.synapses.items():
            assert weights[synapse] == pytest.approx(state.w_hid, rel=0, abs=1e-12), synapse


def run_against_oracle(
    parameters: RuleParameters, sources: Ints, n_sources: int, w_hid: Floats, spans: list[Span]
) -> tuple[PlasticityEngine, int]:
    """Run all spans, checking everything after each; returns the engine and how many flips there were."""
    engine, oracle = PlasticityEngine(parameters, sources, n_sources, w_hid), Oracle(parameters, sources, n_sources, w_hid)
    used, all_flips = sources >= 0, 0
    assert np.array_equal(engine.efficacy, used & (w_hid > parameters.theta_w))
    for span in spans:
        before = engine.efficacy.copy()
        flips = engine.advance(span.duration, *span.pre, *span.post, learn=span.learn)
        oracle.advance(span)
        assert engine.time_s == span.start + span.duration
        oracle.check(engine)
        weights = engine.hidden_weights()
        assert weights.min(initial=0.0) >= 0.0
        assert weights.max(initial=1.0) <= 1.0
        assert np.array_equal(engine.efficacy, used & (weights > parameters.theta_w))
        changed = {(int(p), int(k)) for p, k in np.argwhere(before != engine.efficacy)}
        reported = list(zip(flips.post.tolist(), flips.slot.tolist(), strict=True))
        assert len(reported) == len(set(reported)) == len(flips)
        assert set(reported) == changed
        assert flips.on.tolist() == [bool(engine.efficacy[synapse]) for synapse in reported]
        all_flips += len(flips)
    return engine, all_flips


# Against the reference ------------------------------------------------------------------------------------------------

PARAMETERS = st.builds(
    options,
    name=st.sampled_from(sorted(PRESETS)),
    stop=st.booleans(),
    drift=st.sampled_from(["none", "preset", "fast"]),
    silent=st.booleans(),
)
WEIGHTS = st.one_of(st.sampled_from([0.0, 0.5, 0.499, 0.501, 1.0]), st.floats(0.0, 1.0))
GAPS = st.one_of(st.just(0), st.integers(1, 4), st.integers(5, 100), st.integers(2_000, 60_000))


@st.composite
def cases(draw: st.DrawFn) -> tuple[RuleParameters, Ints, int, Floats, list[Span]]:
    n_sources, posts, slots = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    row = st.lists(st.integers(-1, n_sources - 1), min_size=slots, max_size=slots)
    sources = np.array(draw(st.lists(row, min_size=posts, max_size=posts)), dtype=np.int64)
    flat = draw(st.lists(WEIGHTS, min_size=posts * slots, max_size=posts * slots))
    event = st.tuples(GAPS, st.booleans(), st.integers(0, 11))
    events = draw(st.lists(event, max_size=60))
    gaps = np.array([gap for gap, _, _ in events], dtype=np.int64)
    ticks = np.cumsum(gaps)
    is_post = np.array([post for _, post, _ in events], dtype=np.bool_)
    who = np.array([number for _, _, number in events], dtype=np.int64)
    who = np.where(is_post, who % posts, who % n_sources)
    end = int(ticks[-1]) + draw(st.integers(0, 100)) if events else draw(st.integers(0, 100))
    cuts = [0, *sorted(draw(st.lists(st.integers(0, end), max_size=4))), end]
    cut_takes_the_spike = draw(st.booleans())  # does a spike at a cut belong to the span that ends there?
    which = np.searchsorted(cuts[1:-1], ticks, side="left" if cut_takes_the_spike else "right")
    gates = st.one_of(st.none(), st.lists(st.booleans(), min_size=posts, max_size=posts))
    spans = []
    for number, (begin, stop) in enumerate(pairwise(cuts)):
        learn, mine = draw(gates), which == number
        pre, post = mine & ~is_post, mine & is_post
        spans.append(
            Span(
                start=begin * TICK,
                duration=(stop - begin) * TICK,
                pre=((ticks[pre] - begin) * TICK, who[pre]),
                post=((ticks[post] - begin) * TICK, who[post]),
                learn=None if learn is None else np.array(learn),
            )
        )
    return draw(PARAMETERS), sources, n_sources, np.array(flat).reshape(posts, slots), spans


@settings(max_examples=250, deadline=None)
@given(case=cases())
def test_engine_equals_the_reference(case: tuple[RuleParameters, Ints, int, Floats, list[Span]]) -> None:
    run_against_oracle(*case)


def poisson_spans(rng: np.random.Generator, n_sources: int, posts: int, durations: list[float]) -> list[Span]:
    spans, start = [], 0.0
    for duration in durations:
        trains = []
        for count, rate in ((n_sources, 30.0), (posts, 40.0)):
            ids = np.repeat(np.arange(count), rng.poisson(rate * duration, count))
            trains.append((rng.uniform(0, duration, ids.size), ids))
        learn = None if rng.random() < 0.5 else rng.random(posts) < 0.7
        spans.append(Span(start, duration, trains[0], trains[1], learn))
        start += duration
    return spans


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("drift", ["none", "fast"])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_engine_equals_the_reference_over_poisson_trains(name: str, stop: bool, drift: str, silent: bool) -> None:
    rng = np.random.default_rng([ord(c) for c in name] + [stop, len(drift), silent])
    n_sources, posts, slots = 12, 5, 8
    sources = rng.integers(-1, n_sources, (posts, slots))
    spans = poisson_spans(rng, n_sources, posts, [0.5, 0.25, 1.0, 0.0, 0.25])
    _, flips = run_against_oracle(options(name, stop, drift, silent), sources, n_sources, rng.random((posts, slots)), spans)
    assert flips > 0 or name == "D" or drift == "fast"  # slow weights, or weights that are pulled to their end at once


def test_cutting_a_span_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    ticks, ids = np.sort(rng.integers(0, 4096, 400)), rng.integers(0, 6, 400)
    is_post = rng.random(400) < 0.4
    sources, w_hid = rng.integers(0, 6, (6, 4)), rng.random((6, 4))
    ends = []
    for cuts in ([0, 4096], [0, 1, 700, 701, 2048, 4096], list(range(0, 4097, 64))):
        engine = PlasticityEngine(options("2.0", True, "preset", False), sources, 6, w_hid)
        for begin, end in pairwise(cuts):
            mine = (ticks >= begin) & (ticks < end)
            pre, post = mine & ~is_post, mine & is_post
            at = (ticks - begin) * TICK
            engine.advance((end - begin) * TICK, at[pre], ids[pre], at[post], ids[post])
        ends.append((engine.hidden_weights(), engine.efficacy, *engine.traces().values()))
    for other in ends[1:]:
        for one, two in zip(ends[0], other, strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-14)


def test_order_of_the_spikes_in_a_call_does_not_matter() -> None:
    rng = np.random.default_rng(6)
    span = poisson_spans(rng, 5, 4, [1.0])[0]
    sources, w_hid = rng.integers(-1, 5, (4, 3)), rng.random((4, 3))
    ends = []
    for shuffled in (False, True):
        pre, post = ((rng.permutation(len(t[0])) if shuffled else np.argsort(t[0])) for t in (span.pre, span.post))
        engine = PlasticityEngine(preset("4.0"), sources, 5, w_hid)
        engine.advance(1.0, span.pre[0][pre], span.pre[1][pre], span.post[0][post], span.post[1][post])
        ends.append(engine.hidden_weights())
    assert np.array_equal(*ends)


def test_two_slots_of_one_source_learn_alike() -> None:
    engine = PlasticityEngine(preset("4.0"), [[0, -1, 0]], 1, [[0.6, 0.6, 0.6]])
    engine.advance(1.0, np.array([0.1, 0.2]), np.array([0, 0]), np.array([0.11, 0.19]), np.array([0, 0]))
    weights = engine.hidden_weights()[0]
    assert weights[0] == weights[2] != 0.6


def test_neurons_outside_the_host_gate_keep_traces_and_drift_only() -> None:
    parameters = options("4.0", False, "fast", False)
    engine = PlasticityEngine(parameters, [[0], [0]], 1, [[0.6], [0.6]])
    pre, post = np.array([0.01, 0.03]), np.array([0.02, 0.02])
    engine.advance(0.05, pre, np.zeros(2, dtype=np.int64), post, np.array([0, 1]), learn=np.array([True, False]))
    weights, traces = engine.hidden_weights()[:, 0], engine.traces()
    assert weights[1] == pytest.approx(0.6 + 0.05 / 0.5, abs=1e-12)
    assert abs(weights[0] - weights[1]) > 1e-3
    assert traces["x_j"][0] == traces["x_j"][1] > 0


def test_efficacy_changes_at_advance_only_and_flips_report_it() -> None:
    parameters = PRESETS["D"].model_copy(update={"stop_learning": None, "bistability": None})
    engine = PlasticityEngine(parameters, [[0, 0, -1]], 1, [[0.499, 0.7, 0.499]])
    first = engine.efficacy
    assert first.tolist() == [[False, True, False]]
    flips = engine.advance(0.1, np.array([0.01]), np.array([0]), np.array([0.012]), np.array([0]))
    assert first.tolist() == [[False, True, False]]  # an array that was handed out is not changed behind one's back
    assert engine.efficacy.tolist() == [[True, True, False]]
    assert (flips.post.tolist(), flips.slot.tolist(), flips.on.tolist()) == ([0], [0], [True])
    flips = engine.advance(0.1, np.array([0.01, 0.02]), np.array([0, 0]), np.array([0.005]), np.array([0]))
    assert (flips.post.tolist(), flips.slot.tolist(), flips.on.tolist()) == ([0], [0], [False])
    assert len(engine.advance(0.1, NO_TIMES, NO_IDS, NO_TIMES, NO_IDS)) == 0


def test_engine_keeps_arrays_of_its_own() -> None:
    sources, w_hid = np.array([[0, 1]], dtype=np.int64), np.array([[0.2, 0.8]])
    engine = PlasticityEngine(preset("D"), sources, 2, w_hid)
    w_hid[:] = 0.0
    engine.hidden_weights()[:] = 0.0
    engine.efficacy[:] = False
    engine.traces()["x_i"][:] = 1.0
    engine.state()["w_hid"][:] = 0.0
    assert engine.hidden_weights().tolist() == [[0.2, 0.8]]
    assert engine.efficacy.tolist() == [[False, True]]
    assert engine.traces()["x_i"].tolist() == [0.0, 0.0]
    sources[:] = -1
    assert engine.sources.tolist() == [[0, 1]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_engine_without_a_synapse_runs(shape: tuple[int, int]) -> None:
    engine = PlasticityEngine(preset("D"), np.zeros(shape, dtype=np.int64), 2, np.zeros(shape))
    assert len(engine.advance(0.1, np.array([0.05]), np.array([1]), NO_TIMES, NO_IDS)) == 0
    assert engine.traces()["x_i"][1] > 0


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [float("nan"), -1e-9, 1.0000001, float("inf"), -float("inf")])
def test_weights_outside_the_unit_interval_are_refused_with_their_place(weight: float) -> None:
    with pytest.raises(InvalidValue, match=r"hidden weight.*") as caught:
        PlasticityEngine(preset("D"), [[0, 1], [1, 0]], 2, [[0.5, 0.5], [weight, 0.5]])
    assert "(1, 0)" in str(caught.value)


@pytest.mark.parametrize("source", [2, 100, -2, -100])
def test_source_index_out_of_range_is_refused(source: int) -> None:
    with pytest.raises(InvalidValue, match="source index out of range"):
        PlasticityEngine(preset("D"), [[0, source]], 2, [[0.5, 0.5]])


@pytest.mark.parametrize(
    ("sources", "w_hid"),
    [([[0, 1]], [[0.5]]), ([[0], [1]], [[0.5, 0.5]]), ([0, 1], [0.5, 0.5]), ([[[0]]], [[[0.5]]]), ([[0, 1]], [0.5, 0.5])],
)
def test_shapes_that_differ_are_refused(sources: Any, w_hid: Any) -> None:
    with pytest.raises(InvalidValue, match="shape"):
        PlasticityEngine(preset("D"), sources, 2, w_hid)


def small_engine() -> PlasticityEngine:
    return PlasticityEngine(preset("4.0"), [[0, 1], [2, -1]], 3, [[0.4, 0.6], [0.9, 0.5]])


def advance_one(engine: PlasticityEngine, side: str, time: Any, who: Any, duration: float = 0.1) -> None:
    times, ids = np.atleast_1d(np.asarray(time)), np.atleast_1d(np.asarray(who))
    spikes = (times, ids, NO_TIMES, NO_IDS) if side == "pre" else (NO_TIMES, NO_IDS, times, ids)
    engine.advance(duration, *spikes)


@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize("time", [-0.001, 0.1001, 5.0, float("nan"), float("inf"), -float("inf")])
def test_spikes_outside_the_span_are_refused(side: str, time: float) -> None:
    with pytest.raises(InvalidValue, match=f"{side} spikes outside the span"):
        advance_one(small_engine(), side, time, 0)
    with pytest.raises(InvalidValue, match=f"{side} spikes outside the span"):
        advance_one(small_engine(), side, [0.05, time], [0, 1])


@pytest.mark.parametrize(("side", "who"), [("pre", 3), ("pre", -1), ("pre", 10**6), ("post", 2), ("post", -1), ("post", 10**6)])
def test_ids_out_of_range_are_refused_with_the_id(side: str, who: int) -> None:
    with pytest.raises(InvalidValue, match=f"{side} id out of range") as caught:
        advance_one(small_engine(), side, [0.01, 0.02], [1, who])
    assert caught.value.used == who


@pytest.mark.parametrize("side", ["pre", "post"])
def test_times_and_ids_of_different_length_are_refused(side: str) -> None:
    with pytest.raises(InvalidValue, match=f"{side} times and ids differ in length"):
        advance_one(small_engine(), side, [0.01, 0.02], [0])
    with pytest.raises(InvalidValue, match=f"{side} times and ids differ in length"):
        advance_one(small_engine(), side, [], [0])


@pytest.mark.parametrize("duration", [-0.1, float("nan"), float("inf")])
def test_bad_duration_is_refused(duration: float) -> None:
    with pytest.raises(InvalidValue, match="duration"):
        small_engine().advance(duration, NO_TIMES, NO_IDS, NO_TIMES, NO_IDS)


@pytest.mark.parametrize("learn", [[True], [True, False, True], [], [[True, True]]])
def test_a_host_gate_of_another_shape_is_refused(learn: Any) -> None:
    with pytest.raises(InvalidValue, match="learn"):
        small_engine().advance(0.1, NO_TIMES, NO_IDS, NO_TIMES, NO_IDS, learn=np.array(learn, dtype=np.bool_))


def test_a_refused_call_changes_nothing() -> None:
    engine = small_engine()
    advance_one(engine, "post", 0.05, 0)
    before = engine.state()
    for bad in ((0.2, 0), (0.05, 7)):
        with pytest.raises(InvalidValue):
            advance_one(engine, "post", *bad)
    after = engine.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


# Checkpoints ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_restored_engine_goes_on_identically(name: str) -> None:
    rng = np.random.default_rng(9)
    sources, w_hid = rng.integers(-1, 10, (6, 5)), rng.random((6, 5))
    spans = poisson_spans(rng, 10, 6, [0.7, 0.5, 0.3])
    one = PlasticityEngine(preset(name), sources, 10, w_hid)
    one.advance(spans[0].duration, *spans[0].pre, *spans[0].post)
    kept = one.state()
    two = PlasticityEngine(preset(name), sources, 10, np.full((6, 5), 0.5))
    two.restore(kept)
    assert two.time_s == one.time_s
    assert np.array_equal(two.efficacy, one.efficacy)
    ends = []
    for engine in (one, two):
        flips = [engine.advance(s.duration, *s.pre, *s.post, learn=s.learn) for s in spans[1:]]
        ends.append([(f.post.tolist(), f.slot.tolist(), f.on.tolist()) for f in flips])
    assert ends[0] == ends[1]
    assert np.array_equal(one.hidden_weights(), two.hidden_weights())
    assert all(np.array_equal(one.traces()[side], two.traces()[side]) for side in one.traces())
    one.restore(kept)  # the checkpoint itself was not touched by going on
    again = one.state()
    assert all(np.array_equal(kept[name], again[name]) for name in kept)


@pytest.mark.parametrize(
    ("sources", "n_sources"), [([[0, 1], [2, -1]], 4), ([[0, 1], [2, -1], [0, 0]], 3), ([[0, 1, 2], [2, -1, 0]], 3)]
)
def test_a_checkpoint_of_another_engine_is_refused_and_changes_nothing(sources: Any, n_sources: int) -> None:
    other = PlasticityEngine(preset("4.0"), sources, n_sources, np.full(np.shape(sources), 0.7))
    other.advance(0.1, np.array([0.05]), np.array([0]), np.array([0.06]), np.array([0]))
    engine = small_engine()
    before = engine.state()
    with pytest.raises(InvalidValue, match="checkpoint of another engine"):
        engine.restore(other.state())
    after = engine.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("missing", sorted(small_engine().state()))
def test_a_checkpoint_without_a_part_is_refused_by_its_name(missing: str) -> None:
    engine = small_engine()
    part = {name: value for name, value in engine.state().items() if name != missing}
    with pytest.raises(InvalidValue, match=missing):
        engine.restore(part)


def test_kernel_exp_is_the_exponential() -> None:
    """Against 40-digit decimal arithmetic: within two units in the last place, zero far down, one at zero."""
    for x in [
        0.0,
        -1e-12,
        -1e-3,
        -0.3,
        -0.34657,
        -0.35,
        -1.0,
        -7.7,
        -30.0,
        -300.0,
        *(-(10.0 ** (k / 7)) for k in range(-40, 19)),
    ]:
        exact = Decimal(x).exp()
        assert abs(Decimal(float(kernel_exp(x))) - exact) <= exact * Decimal("5e-16"), x
    assert kernel_exp(-746.0) == 0.0
    assert kernel_exp(-740.0) == pytest.approx(float(Decimal(-740).exp()), rel=1e-3)
    assert kernel_exp(0.0) == 1.0
