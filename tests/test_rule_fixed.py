"""The fixed-point engine against the clocked oracle, the float engine, closed forms, its bad inputs and its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp
from typing import Any

import numpy as np
import pytest
from fixed_point_oracle import Event, FixedPointOracle
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bcall_hw.errors import InvalidValue, UnknownName
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.fixed_engine import FixedPointEngine
from bcall_hw.rule.parameters import PRESETS, Bistability, RuleParameters, StopLearning, preset
from bcall_hw.rule.reference import SynapseState, run_synapse

IMPLEMENTATIONS = ("numba", "numpy")
BOTH = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
NO_TIMES, NO_IDS = np.zeros(0), np.zeros(0, dtype=np.int64)
PLAIN = preset("D").model_copy(update={"stop_learning": None, "bistability": None})
LAST_STEP = 2**31 - 1


@dataclass
class Span:
    """One call of `advance`, in steps."""

    steps: int
    pre: list[Event]
    post: list[Event]
    learn: list[bool] | None = None
    backwards: bool = False  # hand the spikes over in the wrong order of time


@dataclass
class Case:
    parameters: RuleParameters
    sources: list[list[int]]
    n_sources: int
    w_hid: list[list[float]]
    dt_us: int = 100
    trace_bits: int = 30
    weight_bits: int = 30

    def engine(self, implementation: str) -> FixedPointEngine:
        return FixedPointEngine(
            self.parameters, np.array(self.sources), self.n_sources, np.array(self.w_hid), dt_us=self.dt_us,
            trace_bits=self.trace_bits, weight_bits=self.weight_bits, implementation=implementation,
        )  # fmt: skip

    def oracle(self) -> FixedPointOracle:
        widths = (self.trace_bits, self.weight_bits)
        return FixedPointOracle(self.parameters, self.sources, self.n_sources, self.w_hid, self.dt_us, *widths)


def feed(engine: FixedPointEngine, span: Span, dt_us: int = 100) -> Any:
    spikes = []
    for events in (span.pre, span.post):
        ordered = np.array(sorted(events, reverse=span.backwards), dtype=np.int64).reshape(-1, 2)
        spikes += [ordered[:, 0] * dt_us / 1e6, ordered[:, 1]]
    learn = None if span.learn is None else np.array(span.learn)
    return engine.advance(span.steps * dt_us / 1e6, *spikes, learn=learn)


def check_range(engine: FixedPointEngine, case: Case) -> None:
    for name, words in engine.words().items():
        assert words.dtype == np.int64
        bits = case.weight_bits if name == "w_hid" else case.trace_bits
        assert words.min(initial=0) >= 0, name
        assert words.max(initial=0) <= 2**bits, name


def check_words(engine: FixedPointEngine, oracle: FixedPointOracle, where: Any) -> None:
    words = engine.words()
    assert set(words) == {"x_i", "x_j", "x_s", "w_hid"}
    for name, wanted in oracle.words().items():
        assert words[name].tolist() == wanted, (name, where)


def check_views(engine: FixedPointEngine, oracle: FixedPointOracle, case: Case) -> None:
    """What the engine derives from its words."""
    words = engine.words()
    assert np.array_equal(engine.hidden_weights(), words["w_hid"] / 2.0**case.weight_bits)
    for name, trace in engine.traces().items():
        assert np.array_equal(trace, words[name] / 2.0**case.trace_bits)
    assert engine.efficacy.tolist() == oracle.efficacy()
    assert engine.steps == oracle.step
    assert engine.time_s == pytest.approx(oracle.step * case.dt_us * 1e-6, rel=1e-12)


def run_against_oracle(case: Case, spans: list[Span], implementations: tuple[str, ...] = IMPLEMENTATIONS) -> int:
    """Run all spans, checking everything after each; returns how many flips there were."""
    oracle, engines, flipped = case.oracle(), [case.engine(name) for name in implementations], 0
    for number, span in enumerate([Span(0, [], []), *spans]):
        before = np.array(oracle.efficacy(), dtype=np.bool_).reshape(np.shape(case.sources))
        oracle.advance(span.steps, sorted(span.pre), sorted(span.post), span.learn)
        after = np.array(oracle.efficacy(), dtype=np.bool_).reshape(before.shape)
        changed = [(int(p), int(k), bool(after[p, k])) for p, k in np.argwhere(before != after)]
        for engine, implementation in zip(engines, implementations, strict=True):
            flips = feed(engine, span, case.dt_us)
            check_words(engine, oracle, (implementation, number))
            check_views(engine, oracle, case)
            check_range(engine, case)
            assert sorted(zip(flips.post.tolist(), flips.slot.tolist(), flips.on.tolist(), strict=True)) == changed
            assert len(flips) == len(changed)
        flipped += len(changed)
    return flipped


# Against the oracle ---------------------------------------------------------------------------------------------------


def options(name: str, stop: bool, drift: str, silent: bool) -> RuleParameters:
    of_preset = preset(name)
    fast = Bistability(tau_w_s=0.05, alpha=1.0, beta=2.0)
    window = (of_preset.stop_learning or preset("D").stop_learning) if stop else None
    bistability = {"none": None, "preset": of_preset.bistability, "fast": fast}[drift]
    return of_preset.model_copy(update={"bistability": bistability, "stop_learning": window, "gate_silent_pre": silent})


TAUS = st.sampled_from([1e-7, 3e-5, 1e-4, 1e-3, 0.01, 0.03, 0.45, 20.0, 1e5, 1e6, 1e13])
UNIT = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.0, 1.0))
JUMPS = st.one_of(st.just(1.0), st.floats(1e-6, 1.0))
WINDOWS = st.tuples(UNIT, UNIT).filter(lambda w: w[0] != w[1]).map(sorted)
WEIGHTS = st.one_of(st.sampled_from([0.0, 0.5, 0.499, 0.501, 1.0]), st.floats(0.0, 1.0))


@st.composite
def wild(draw: st.DrawFn, dt_us: int) -> RuleParameters:
    """Any parameters that the form takes, up to their limits."""
    lo, hi = draw(WINDOWS)
    stop = StopLearning(tau_s=draw(TAUS), a=draw(JUMPS), theta_lo=lo, theta_hi=hi)
    tau_w = dt_us * 1e-6 * draw(st.one_of(st.just(1.001), st.floats(1.001, 1e6)))
    drift = Bistability(tau_w_s=tau_w, alpha=draw(UNIT), beta=draw(UNIT))
    large = st.one_of(st.sampled_from([0.0, 4.0]), st.floats(0.0, 4.0), st.floats(0.0, 0.1))
    return RuleParameters(
        tau_i_s=draw(TAUS), tau_j_s=draw(TAUS), a_i=draw(JUMPS), a_j=draw(JUMPS), theta_i=draw(UNIT), theta_j=draw(UNIT),
        c_p=draw(large), c_d1=-draw(large), c_d2=-draw(large), theta_w=draw(UNIT), gate_silent_pre=draw(st.booleans()),
        stop_learning=draw(st.sampled_from([None, stop])), bistability=draw(st.sampled_from([None, drift])), source="test",
    )  # fmt: skip


def presets() -> st.SearchStrategy[RuleParameters]:
    drift, flags = st.sampled_from(["none", "preset", "fast"]), st.booleans()
    return st.builds(options, name=st.sampled_from(sorted(PRESETS)), stop=flags, drift=drift, silent=flags)


@st.composite
def wirings(draw: st.DrawFn, parameters: RuleParameters, dt_us: int) -> Case:
    n_sources, slots = draw(st.one_of(st.tuples(st.integers(1, 5), st.integers(1, 6)), st.just((40, 2))))
    posts = draw(st.integers(1, 3))
    row = st.lists(st.integers(-1, n_sources - 1), min_size=slots, max_size=slots)
    sources = draw(st.lists(row, min_size=posts, max_size=posts))
    weights = draw(st.lists(st.lists(WEIGHTS, min_size=slots, max_size=slots), min_size=posts, max_size=posts))
    widths = st.one_of(st.just(30), st.integers(4, 30))
    return Case(parameters, sources, n_sources, weights, dt_us, draw(widths), draw(widths))


GAPS = st.one_of(st.just(0), st.integers(1, 4), st.integers(5, 60), st.integers(100, 400))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, list[Span]]:
    dt_us = draw(st.sampled_from([100, 200, 1000]))
    case = draw(wirings(draw(st.one_of(presets(), wild(dt_us))), dt_us))
    posts = len(case.sources)
    wired = [source for row in case.sources for source in row if source >= 0]
    pool = [*range(case.n_sources), *wired * (1 + case.n_sources // 8)]  # most spikes reach a synapse
    event = st.tuples(GAPS, st.sampled_from(["pre", "post", "pair"]), st.integers(0, 10**4), st.integers(1, 3))
    ticks, pre, post = 0, [], []
    for gap, kind, who, count in draw(st.lists(event, max_size=30)):
        ticks += gap
        pre += [(ticks, pool[who % len(pool)])] * (count if kind != "post" else 0)
        post += [(ticks, who % posts)] * (count if kind != "pre" else 0)
    end = ticks + draw(st.integers(0, 20))
    cuts = [0, *sorted(draw(st.lists(st.integers(0, end), max_size=4))), end]
    return case, [
        Span(
            steps=stop - begin,
            pre=[(at - begin, who) for at, who in pre if begin <= at < stop or at == stop == end],
            post=[(at - begin, who) for at, who in post if begin <= at < stop or at == stop == end],
            learn=draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=posts, max_size=posts))),
            backwards=draw(st.booleans()),
        )
        for begin, stop in pairwise(cuts)
    ]


@settings(max_examples=130, deadline=None)
@given(drawn=cases())
def test_both_implementations_equal_the_oracle(drawn: tuple[Case, list[Span]]) -> None:
    assume(holds_all_words(drawn[0]))
    run_against_oracle(*drawn)


def holds_all_words(case: Case) -> bool:
    """Whether no jump and no decay rounds to nothing: such a width is refused."""
    oracle = case.oracle()
    traces = [oracle.pre, oracle.post, *([oracle.slow] if oracle.stop else [])]
    return all(trace.jump > 0 and trace.m > 0 for trace in traces)


def test_a_trace_that_is_gone_within_a_step() -> None:
    """tau far below dt: d is 1, s is 30 and m is 2^30, so that every step takes the whole trace."""
    case = Case(PLAIN.model_copy(update={"tau_i_s": 1e-7, "a_i": 1.0}), [[0]], 1, [[0.5]], dt_us=1000)
    oracle = case.oracle()
    assert (oracle.pre.m, oracle.pre.s) == (2**30, 30)
    run_against_oracle(case, [Span(3, [(0, 0), (2, 0)], [(2, 0), (3, 0)])])
    for implementation in IMPLEMENTATIONS:
        engine = case.engine(implementation)
        feed(engine, Span(1, [(0, 0)], []), 1000)
        assert engine.words()["x_i"].tolist() == [0]


def test_a_jump_that_rounds_to_nothing_is_refused() -> None:
    narrow = Case(preset("D"), [[0]], 1, [[0.5]], trace_bits=4)  # a_s = 0.06 is 0.96 units: kept
    assert holds_all_words(narrow)
    narrow.engine("numba")
    small = Case(preset("2.0"), [[0]], 1, [[0.5]], trace_bits=4)  # a_s = 0.03 is 0.48 units: lost
    assert not holds_all_words(small)
    with pytest.raises(InvalidValue, match="x_s: jump: is too small for its word"):
        small.engine("numba")
    slow = Case(preset("D").model_copy(update={"tau_i_s": 1e16}), [[0]], 1, [[0.5]])
    with pytest.raises(InvalidValue, match="x_i: decay in a step: is too small"):
        slow.engine("numba")


def random_span(rng: np.random.Generator, case: Case, steps: int, per_step: float) -> Span:
    trains = []
    for count in (case.n_sources, len(case.sources)):
        number = int(rng.poisson(per_step * steps * count))
        at, who = rng.integers(0, steps + 1, number).tolist(), rng.integers(0, count, number).tolist()
        trains.append(list(zip(at, who, strict=True)))
    learn = None if rng.random() < 0.5 else (rng.random(len(case.sources)) < 0.7).tolist()
    return Span(steps, *trains, learn)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("drift", ["none", "preset", "fast"])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_dense_random_trains_equal_the_oracle(name: str, stop: bool, drift: str, silent: bool) -> None:
    rng = np.random.default_rng([*name.encode(), stop, *drift.encode(), silent])
    sources, weights = rng.integers(-1, 6, (3, 5)).tolist(), rng.random((3, 5)).tolist()
    widths = int(rng.integers(4, 31)), int(rng.integers(4, 31))
    case = Case(options(name, stop, drift, silent), sources, 6, weights, int(rng.choice([100, 200, 1000])), *widths)
    run_against_oracle(case, [random_span(rng, case, steps, 0.03) for steps in (150, 0, 100, 80)])


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("stop", [False, True])
def test_random_trains_flip_weights_like_the_oracle(stop: bool, silent: bool) -> None:
    rng = np.random.default_rng([stop, silent])
    case = Case(options("2.0", stop, "preset", silent), rng.integers(0, 40, (3, 2)).tolist(), 40, [[0.48, 0.52]] * 3)
    assert run_against_oracle(case, [random_span(rng, case, 400, 0.02) for _ in range(4)]) > 0


@pytest.mark.parametrize(
    ("implementations", "dt_us", "bits"), [(("numba",), 100, 30), (("numba",), 1000, 11), (IMPLEMENTATIONS, 200, 30)]
)
def test_long_silences_equal_the_oracle(implementations: tuple[str, ...], dt_us: int, bits: int) -> None:
    stop = StopLearning(tau_s=3.0, a=0.5, theta_lo=0.01, theta_hi=0.9)
    drift = Bistability(tau_w_s=0.05 if dt_us == 1000 else 400.0, alpha=0.7, beta=0.3)
    case = Case(
        preset("4.0").model_copy(update={"stop_learning": stop, "bistability": drift}),
        [[0, 1]], 2, [[0.4, 0.6]], dt_us, bits, bits,
    )  # fmt: skip
    steps = 100_000 if len(implementations) == 1 else 30_000
    burst = Span(40, [(1, 0), (1, 1), (30, 1)], [(3, 0), (9, 0), (40, 0)])
    run_against_oracle(case, [burst, Span(steps, [(steps, 0)], [(steps - 7, 0), (steps, 0)]), burst], implementations)


@BOTH
@pytest.mark.parametrize("slope", [1.0, 0.37])
def test_steep_drift_late_in_a_run_equals_the_oracle(implementation: str, slope: float) -> None:
    """Here n U passes 2^64."""
    parameters = preset("4.0").model_copy(update={"bistability": Bistability(tau_w_s=1e-4, alpha=slope, beta=slope * 1e-3)})
    both = [(4000, 0), (4003, 0)]
    run_against_oracle(
        Case(parameters, [[0, -1]], 1, [[0.3, 0.7]]), [Span(4010, both, both), Span(5, [], [])], (implementation,)
    )


def late(case: Case, implementation: str, steps: int) -> tuple[FixedPointEngine, FixedPointOracle]:
    """Engine and oracle as if `steps` steps without a spike had gone by, the weights as at the start."""
    oracle, engine = case.oracle(), case.engine(implementation)
    oracle.step = steps
    engine.restore(engine.state() | {"steps": steps})
    check_words(engine, oracle, "late")
    return engine, oracle


@BOTH
def test_the_last_steps_equal_the_oracle(implementation: str) -> None:
    case = Case(options("4.0", True, "fast", False), [[0, 1]], 2, [[0.3, 0.9]])
    engine, oracle = late(case, implementation, LAST_STEP - 300)
    rng = np.random.default_rng(4)
    for _ in range(2):
        span = random_span(rng, case, 150, 0.05)
        oracle.advance(span.steps, sorted(span.pre), sorted(span.post), span.learn)
        feed(engine, span)
        check_words(engine, oracle, engine.steps)
    assert engine.steps == LAST_STEP
    assert any(0 < word < 2**30 for word in oracle.w[0])
    with pytest.raises(InvalidValue, match="step"):
        feed(engine, Span(1, [], []))


@BOTH
def test_the_drift_is_right_to_the_last_bit_of_its_words(implementation: str) -> None:
    """After 2^30 steps one unit of U or D moves C(n) by a quarter."""
    rng = np.random.default_rng(21)
    for tau_w in (0.05, 0.5, 1.0, 20.0, 40.0, 350.0, *rng.uniform(0.2, 2.0, 20), *rng.uniform(2.0, 900.0, 20)):
        drift = Bistability(tau_w_s=float(tau_w), alpha=float(rng.choice([1.0, 0.3])), beta=float(rng.choice([1.0, 2.0])))
        parameters, dt_us = PLAIN.model_copy(update={"bistability": drift}), int(rng.choice([100, 200, 1000]))
        case = Case(parameters, [[0, 0]], 1, [[0.51, 0.49]], dt_us, weight_bits=int(rng.choice([30, 30, 25, 12])))
        engine, oracle = late(case, implementation, 2**30 + int(rng.integers(0, 2**30 - 400)))
        for steps in rng.integers(1, 12, 25).tolist():
            oracle.advance(steps, [], [])
            feed(engine, Span(steps, [], []), dt_us)
            check_words(engine, oracle, (dt_us, case.weight_bits, drift))


def test_a_decay_within_a_step_equals_the_oracle() -> None:
    """m would be 2^31 and is held at 2^31 - 1: a full trace leaves one unit in about half of the steps."""
    case = Case(PLAIN.model_copy(update={"a_i": 1.0, "tau_i_s": 3e-5}), [[0]], 1, [[0.5]], dt_us=1000)
    run_against_oracle(case, [Span(1, [(0, 0)], []) for _ in range(20)])
    left, oracle = [], case.oracle()
    for _ in range(20):
        oracle.advance(1, [(0, 0)], [])
        left.append(oracle.x_i[0])
    assert sorted(set(left)) == [0, 1]


@BOTH
def test_halves_are_rounded_away_from_zero(implementation: str) -> None:
    half = 1 / 32  # of a unit of 4 bits
    changes = {"a_i": 1.0, "c_p": 3 * half, "c_d1": -half, "c_d2": -3 * half, "theta_w": 0.5 + half}
    case = Case(PLAIN.model_copy(update=changes), [[0, 1, 1]], 2, [[0.5, 0.5, 0.5 + half]], trace_bits=4, weight_bits=4)
    engine = case.engine(implementation)
    assert engine.words()["w_hid"].tolist() == [[8, 8, 9]]
    assert engine.efficacy.tolist() == [[False, False, False]]
    feed(engine, Span(0, [(0, 0)], [(0, 0)]))
    assert engine.words()["w_hid"].tolist() == [[8 + 2, 8 - 2, 9 - 2]]
    feed(engine, Span(0, [(0, 0), (0, 1)], []))
    assert engine.words()["w_hid"].tolist() == [[10 - 1, 6 - 1, 7 - 1]]
    run_against_oracle(case, [Span(0, [(0, 0)], [(0, 0)]), Span(0, [(0, 0), (0, 1)], [])], (implementation,))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_oracle_follows_the_float_reference(name: str) -> None:
    """The oracle itself, so that engine and oracle do not share a mistake."""
    rng = np.random.default_rng(list(name.encode()))
    case = Case(preset(name), [[0]], 1, [[0.5]])
    span = random_span(rng, case, 20_000, 0.006)
    oracle, state = case.oracle(), SynapseState(w_hid=0.5)
    oracle.advance(span.steps, sorted(span.pre), sorted(span.post))
    run_synapse(case.parameters, state, *([at * 1e-4 for at, _ in events] for events in (span.pre, span.post)), 2.0)
    wanted = [state.x_i, state.x_j, state.x_s if case.parameters.stop_learning else 0.0, state.w_hid]
    words = [oracle.x_i[0], oracle.x_j[0], oracle.x_s[0], oracle.w[0][0]]
    assert abs(state.w_hid - 0.5) > 1e-3
    np.testing.assert_allclose(np.array(words) / 2.0**30, wanted, rtol=0, atol=1e-6)


# Order of the spikes, spans -------------------------------------------------------------------------------------------


@BOTH
def test_a_spike_at_time_zero_comes_after_the_end_of_the_span_before(implementation: str) -> None:
    changes = []
    for spans in (
        [Span(10, [(10, 0)], [(10, 0)])],
        [Span(10, [(10, 0)], []), Span(0, [], [(0, 0)])],
        [Span(10, [], [(10, 0)]), Span(3, [(0, 0)], [])],
    ):
        engine = FixedPointEngine(PLAIN, [[0]], 1, [[0.5]], implementation=implementation)
        for span in spans:
            feed(engine, span)
        changes.append(float(engine.hidden_weights()[0, 0]) - 0.5)
    assert changes[:2] == pytest.approx([0.02 * 0.4] * 2, abs=1e-8)  # pre before post: potentiation alone
    assert changes[2] == pytest.approx(-0.002 - 0.005, abs=1e-8)  # post before pre


@BOTH
def test_splitting_a_span_at_any_step_changes_no_word(implementation: str) -> None:
    rng, end = np.random.default_rng(8), 40
    case = Case(options("4.0", True, "fast", True), rng.integers(-1, 4, (3, 4)).tolist(), 4, rng.random((3, 4)).tolist())
    warm, whole = random_span(rng, case, 300, 0.03), random_span(rng, case, end, 0.3)
    learn = [True, False, True]
    ends = []
    for cut in range(end + 1):
        for pre_first, post_first in ((True, True), (False, False), (True, False)):  # where spikes at the cut go
            parts = []
            for events, first in ((whole.pre, pre_first), (whole.post, post_first)):
                parts.append([e for e in events if e[0] < cut or (first and e[0] == cut)])
                parts.append([(at - cut, who) for at, who in events if at > cut or (not first and at == cut)])
            engine = case.engine(implementation)
            feed(engine, warm)
            feed(engine, Span(cut, parts[0], parts[2], learn))
            feed(engine, Span(end - cut, parts[1], parts[3], learn))
            ends.append({name: words.tolist() for name, words in engine.words().items()})
    assert ends[0]["w_hid"] != np.round(np.array(case.w_hid) * 2**30).astype(int).tolist()
    assert all(other == ends[0] for other in ends)


def test_lazy_equals_clocked_over_a_long_run() -> None:
    rng, posts, slots, n_sources, steps = np.random.default_rng(12), 30, 50, 120, 2500
    parameters = options("1.X1", True, "preset", False)
    case = Case(
        parameters, rng.integers(-1, n_sources, (posts, slots)).tolist(), n_sources, rng.random((posts, slots)).tolist()
    )
    lazy, clocked = (case.engine(name) for name in IMPLEMENTATIONS)
    start = lazy.words()["w_hid"]
    for per_step in (0.005, 0.008, 0.0001, 0.005, 0.003, 0.005):
        span = random_span(rng, case, steps, per_step)
        flips = [feed(engine, span) for engine in (lazy, clocked)]
        assert all(np.array_equal(a, b) for a, b in zip(*([f.post, f.slot, f.on] for f in flips), strict=True))
        for name, words in lazy.words().items():
            assert np.array_equal(words, clocked.words()[name]), name
        check_range(lazy, case)
    assert np.mean(np.abs(lazy.words()["w_hid"] - start)) > 2**30 / 100
    assert np.mean((lazy.words()["w_hid"] > 0) & (lazy.words()["w_hid"] < 2**30)) > 0.5


# Range ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(data=st.data(), implementation=st.sampled_from(IMPLEMENTATIONS), seed=st.integers(0, 2**32 - 1))
def test_words_stay_in_range(data: st.DataObject, implementation: str, seed: int) -> None:
    dt_us = data.draw(st.sampled_from([100, 200, 1000]))
    case, rng = data.draw(wirings(data.draw(wild(dt_us)), dt_us)), np.random.default_rng(seed)
    assume(holds_all_words(case))
    engine = case.engine(implementation)
    for steps, per_step in ((0, 1.0), (1, 3.0), (20, 1.0), (100, 0.05), (20, 1.0)):
        feed(engine, random_span(rng, case, steps, per_step if steps else 0.0), dt_us)
        check_range(engine, case)


@BOTH
@pytest.mark.parametrize("bits", [4, 17, 30])
def test_words_reach_both_ends_and_stop_there(implementation: str, bits: int) -> None:
    changes = {"a_i": 1.0, "a_j": 1.0, "c_p": 4.0, "c_d1": -4.0, "c_d2": 0.0, "tau_i_s": 0.5}
    case = Case(PLAIN.model_copy(update=changes), [[0, 1]], 2, [[0.5, 0.5]], trace_bits=bits, weight_bits=bits)
    engine, one = case.engine(implementation), 2**bits
    feed(engine, Span(3, [(1, 0), (1, 0), (3, 0)], [(1, 0), (3, 0), (3, 0)]))
    words = {name: words.tolist() for name, words in engine.words().items()}
    assert words == {"x_i": [one, 0], "x_j": [one], "x_s": [0], "w_hid": [[one, one // 2]]}
    feed(engine, Span(0, [(0, 0), (0, 1)], []))
    assert engine.words()["w_hid"].tolist() == [[0, 0]]


# Against the float engine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["D", "1.X1", "2.0", "3.0", "4.0"])
def test_hidden_weights_stay_near_the_float_engine(name: str, seed: int) -> None:
    rng, pairs, seconds, per_second = np.random.default_rng([seed, *name.encode()]), 80, 60, 10_000
    sources, w_hid = np.arange(pairs)[:, None], rng.random((pairs, 1))
    fixed, exact = (kind(preset(name), sources, pairs, w_hid) for kind in (FixedPointEngine, PlasticityEngine))
    worst, moved = 0.0, 0.0
    for _ in range(seconds):
        trains = []
        for _ in range(2):
            ids = np.repeat(np.arange(pairs), rng.poisson(50.0, pairs))
            trains += [rng.integers(1, per_second + 1, ids.size) / per_second, ids]
        for engine in (fixed, exact):
            engine.advance(1.0, *trains)
        worst = max(worst, float(np.max(np.abs(fixed.hidden_weights() - exact.hidden_weights()))))
        moved = max(moved, float(np.mean(np.abs(exact.hidden_weights() - w_hid))))
    assert moved > 0.1
    assert worst <= 2**-10


# Closed forms ---------------------------------------------------------------------------------------------------------


def one_pair(implementation: str, dt_ms: int) -> int:
    """Change of the word of the hidden weight."""
    pre, post = 3000, 3000 + dt_ms * 10
    case, span = Case(PLAIN, [[0]], 1, [[0.5]]), Span(4000, [(pre, 0)], [(post, 0)])
    if implementation == "oracle":
        oracle = case.oracle()
        oracle.advance(span.steps, span.pre, span.post)
        return oracle.w[0][0] - 2**29
    engine = case.engine(implementation)
    feed(engine, span)
    return int(engine.words()["w_hid"][0, 0]) - 2**29


@pytest.mark.parametrize("implementation", [*IMPLEMENTATIONS, "oracle"])
@pytest.mark.parametrize(("dt_ms", "listed"), [(5, 6.772), (10, 3.732), (20, 2.107), (-10, -7.0), (-30, -2.0)])
def test_one_pair_equals_the_closed_form(implementation: str, dt_ms: int, listed: float) -> None:
    x_i, x_j = (0.4 * exp(-dt_ms / 30), 0.0) if dt_ms > 0 else (0.0, 0.5 * exp(dt_ms / 45))
    wanted = 0.02 * x_i - 0.002 * (x_i < 0.3) - 0.005 * (x_j > 0.3)
    assert wanted * 1e3 == pytest.approx(listed, abs=5.1e-4)
    assert one_pair(implementation, dt_ms) == pytest.approx(wanted * 2**30, abs=3)


@BOTH
def test_drift_has_its_slope(implementation: str) -> None:
    """Of words: U = round(2^62 / 3.5e6), and after n steps the whole part of n U / 2^32 has gone by."""
    parameters = PLAIN.model_copy(update={"bistability": Bistability(tau_w_s=350.0, alpha=1.0, beta=0.0)})
    engine = FixedPointEngine(parameters, [[0, 0]], 1, [[0.5, 0.6]], implementation=implementation)
    start = engine.words()["w_hid"][0].tolist()
    for steps in (1, 500, 6):
        feed(engine, Span(steps, [], []))
    risen = (507 * round(2.0**62 / 3.5e6)) >> 32
    assert risen == pytest.approx(507 * 2**30 / 3.5e6, abs=1)
    assert engine.words()["w_hid"][0].tolist() == [start[0], start[1] + risen]


@BOTH
@pytest.mark.parametrize("bits", [30, 12])
def test_a_trace_reaches_zero_and_then_a_silent_pre_is_gated(implementation: str, bits: int) -> None:
    gated = PLAIN.model_copy(update={"gate_silent_pre": True, "c_p": 0.0, "c_d2": -0.125})
    oracle = Case(gated, [[0]], 1, [[0.5]], trace_bits=bits).oracle()
    oracle.advance(5, [(5, 0)], [])
    while oracle.x_i[0] > 0:
        oracle.tick()
    assert 0.03 * np.log(0.4 * 2**bits) / 2 < (oracle.step - 5) * 1e-4 < 3.0
    for parameters, at, wanted in (
        (gated, oracle.step - 1, -0.125),
        (gated, oracle.step, 0.0),
        (gated.model_copy(update={"gate_silent_pre": False}), oracle.step, -0.125),
    ):
        engine = Case(parameters, [[0]], 1, [[0.5]], trace_bits=bits).engine(implementation)
        feed(engine, Span(5, [(5, 0)], []))
        assert engine.traces()["x_i"][0] == pytest.approx(0.4, abs=2.0**-bits)
        feed(engine, Span(at - 5, [], []))
        assert (engine.words()["x_i"][0] == 0) == (at == oracle.step)
        feed(engine, Span(0, [], [(0, 0)]))
        assert engine.hidden_weights()[0, 0] == 0.5 + wanted


# Refusals -------------------------------------------------------------------------------------------------------------


def small_engine(implementation: str = "numba", **options: Any) -> FixedPointEngine:
    arguments: dict[str, Any] = {"parameters": preset("4.0"), "sources": [[0, 1], [2, -1]], "n_sources": 3}
    arguments |= {"w_hid": [[0.4, 0.6], [0.9, 0.5]], "implementation": implementation} | options
    return FixedPointEngine(**arguments)


def same_state(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


@BOTH
@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize("off", [0.5, 0.01, -5e-6])
def test_spikes_off_the_grid_are_refused_and_change_nothing(implementation: str, side: str, off: float) -> None:
    engine = small_engine(implementation)
    feed(engine, Span(20, [(3, 0)], [(5, 0)]))
    before = engine.state()
    bad = (np.array([5e-4, (7 + off) * 1e-4]), np.array([0, 0]))
    with pytest.raises(InvalidValue):
        engine.advance(0.002, *((*bad, NO_TIMES, NO_IDS) if side == "pre" else (NO_TIMES, NO_IDS, *bad)))
    assert same_state(before, engine.state())


@BOTH
def test_a_duration_off_the_grid_is_refused_and_changes_nothing(implementation: str) -> None:
    engine = small_engine(implementation)
    before = engine.state()
    with pytest.raises(InvalidValue, match="duration"):
        engine.advance(0.00205, NO_TIMES, NO_IDS, NO_TIMES, NO_IDS)
    assert same_state(before, engine.state())


@BOTH
def test_rounding_of_times_is_forgiven(implementation: str) -> None:
    ends = []
    for off in (0.0, 5e-7, -5e-7):
        engine = small_engine(implementation)
        times = (np.array([3, 7]) + off) * 1e-4
        engine.advance((20 + off) * 1e-4, times, np.array([0, 2]), times, np.array([0, 1]))
        assert engine.steps == 20
        ends.append(engine.words())
    assert all(same_state(ends[0], other) for other in ends[1:])


@BOTH
@pytest.mark.parametrize("bits", [3, 31, 0, -4, 64])
@pytest.mark.parametrize("which", ["trace_bits", "weight_bits"])
def test_widths_out_of_range_are_refused(implementation: str, which: str, bits: int) -> None:
    with pytest.raises(InvalidValue, match=which):
        small_engine(implementation, **{which: bits})


@BOTH
@pytest.mark.parametrize(("name", "most"), [("c_p", 4.0), ("c_d1", -4.0), ("c_d2", -4.0)])
def test_coefficients_above_four_are_refused_by_name(implementation: str, name: str, most: float) -> None:
    small_engine(implementation, parameters=PLAIN.model_copy(update={name: most}))
    with pytest.raises(InvalidValue, match=name):
        small_engine(implementation, parameters=PLAIN.model_copy(update={name: most * 1.0001}))


@BOTH
@pytest.mark.parametrize("side", ["alpha", "beta"])
def test_drift_above_one_per_step_is_refused(implementation: str, side: str) -> None:
    for slope, dt_us in ((1.0, 1000), (1.001, 1000), (5.0, 200), (5.01, 200)):
        drift = Bistability(**({"tau_w_s": 0.001, "alpha": 0.5, "beta": 0.5} | {side: slope}))
        parameters = PLAIN.model_copy(update={"bistability": drift})
        if slope in (1.0, 5.0):
            small_engine(implementation, parameters=parameters, dt_us=dt_us)
        else:
            with pytest.raises(InvalidValue, match=r"drift|alpha|beta|tau_w"):
                small_engine(implementation, parameters=parameters, dt_us=dt_us)


@pytest.mark.parametrize("implementation", ["", "cuda", "Numba", "python"])
def test_an_unknown_implementation_is_refused(implementation: str) -> None:
    with pytest.raises((InvalidValue, UnknownName), match="implementation"):
        small_engine(implementation)


@BOTH
def test_more_steps_than_the_counter_holds_are_refused_at_once(implementation: str) -> None:
    engine = small_engine(implementation)
    feed(engine, Span(10, [(4, 0)], [(5, 0)]))
    before = engine.state()
    for steps in (LAST_STEP - 9, 2**31, 2**40):
        with pytest.raises(InvalidValue, match="step"):
            feed(engine, Span(steps, [], []))
    assert same_state(before, engine.state())


# Checkpoints ----------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_restored_engine_goes_on_to_the_same_words(implementation: str, name: str) -> None:
    rng = np.random.default_rng(9)
    case = Case(options(name, True, "fast", False), rng.integers(-1, 6, (4, 3)).tolist(), 6, rng.random((4, 3)).tolist())
    spans = [random_span(rng, case, steps, 0.02) for steps in (333, 200, 77)]
    one, two = case.engine(implementation), case.engine(implementation)
    feed(one, spans[0])
    kept = one.state()
    two.restore(kept)
    assert two.steps == one.steps == 333
    assert np.array_equal(two.efficacy, one.efficacy)
    ends, first = [], one.words()
    for engine in (one, two):
        flips = [feed(engine, span) for span in spans[1:]]
        ends.append([(f.post.tolist(), f.slot.tolist(), f.on.tolist()) for f in flips])
    assert ends[0] == ends[1]
    assert same_state(one.words(), two.words())
    assert not same_state(one.words(), first)
    one.restore(kept)  # the checkpoint itself was not touched by going on
    assert same_state(one.state(), kept)
    assert same_state(one.words(), first)


@BOTH
@pytest.mark.parametrize("other", [{"trace_bits": 29}, {"weight_bits": 12}, {"dt_us": 200}, {"parameters": preset("3.0")}])
def test_a_checkpoint_of_another_form_is_refused_and_changes_nothing(implementation: str, other: dict[str, Any]) -> None:
    given, engine = small_engine(implementation, **other), small_engine(implementation)
    feed(engine, Span(20, [(3, 0)], [(5, 0)]))
    before = engine.state()
    with pytest.raises(InvalidValue, match="checkpoint of another engine"):
        engine.restore(given.state())
    assert same_state(before, engine.state())


def test_engine_keeps_arrays_of_its_own() -> None:
    for implementation in IMPLEMENTATIONS:
        engine = small_engine(implementation)
        feed(engine, Span(20, [(3, 0)], [(5, 0)]))
        before = engine.words()
        for words in engine.words().values():
            words[:] = 1
        engine.state()["w_hid"][:] = 1
        engine.hidden_weights()[:] = 0.0
        assert same_state(before, engine.words())
