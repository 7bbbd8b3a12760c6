"""Stop-learning: at which post rates the window is open, and what that does to the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.errors import InvalidValue
from bcall_hw.experiments.figures import drawing, trains
from bcall_hw.experiments.figures.curves import ANCHOR, CLOSED_FORM, FORMS, Check, FigureData, Report, curve
from bcall_hw.experiments.figures.emulated import changes_from_readings, emulated_readings
from bcall_hw.experiments.figures.forms import EMULATED, FIXED, FLOAT, fixed_changes, float_changes, scaled
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.parameters import RuleParameters, StopLearning
from bcall_hw.trace_circuit import rule_traces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES_HZ = np.array([2.0, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100, 120, 150])
_PRE_HZ, _WARM_TAU, _LEARN_S = 75.0, 6.0, 1.0
_UNCLIPPED = 1e-3
_PAIRS = 150  # of each rate
_STEP = 2.0**-12


def window_edges_hz(stop: StopLearning) -> tuple[float, float]:
    """Post rates at which the mean slow trace meets the two thresholds: theta / ((1 - theta) a tau)."""
    low, high = (theta / ((1.0 - theta) * stop.a * stop.tau_s) for theta in (stop.theta_lo, stop.theta_hi))
    return low, high


def compute(settings: FigureSettings, report: Report) -> FigureData:
    """The numbers of the stop-learning figure."""
    data = FigureData("stop-learning", "The stop-learning window", settings.preset)
    stop = settings.rule.stop_learning
    if stop is None:
        where, fix = "figure stop-learning", "Take another preset."
        raise InvalidValue(
            "this preset has no stop-learning: the window is always open", where=where, used=settings.preset, fix=fix
        )
    rule = settings.rule.model_copy(update={"bistability": None})
    warm_s = float(np.ceil(_WARM_TAU * stop.tau_s * 10) / 10)
    edges = window_edges_hz(stop)
    fewer = settings.pairs_of_a_board // RATES_HZ.size
    data.settings = settings.as_dict(pairs_per_rate=_PAIRS, emulated_pairs_per_rate=fewer, warm_s=warm_s, learn_s=_LEARN_S)
    data.settings |= {"pre_hz": _PRE_HZ, "edges_hz": edges}
    data.notes = [
        "open: share of post spikes that find the window open; the trace jumps before it is read: not the share of time.",
        "gain-gated, gain-ungated: change of w_hid per second with and without the gate, unclipped, no drift.",
        f"inferred: pre {_PRE_HZ:g} Hz, {_WARM_TAU:g} tau of the slow trace before learning, {_LEARN_S:g} s of learning.",
        "Emulated: fewer pairs, the same trains; each pair lies on other neurons, so curves with mismatch are jagged.",
    ]
    rates = np.repeat(RATES_HZ, _PAIRS)
    pre = np.full(rates.size, _PRE_HZ)
    pairs = trains.poisson_pairs(settings.seed, "stop-learning", pre, rates, warm_s + _LEARN_S, settings.dt_us, warm_s)
    for done, form in enumerate((FLOAT, FIXED), start=1):
        _engines(data, settings, form, rule, pairs)
        report("stop-learning", done, 5)
    first = pairs.part(np.flatnonzero(np.arange(rates.size) % _PAIRS < fewer))
    boards, reason = settings.boards(rule_traces(rule))
    data.notes += [reason] if reason else []
    for done, (form, board) in enumerate(boards.items(), start=3):
        read = emulated_readings(rule, first, board)
        if read.x_s_post is not None:
            opened = (stop.theta_lo < read.x_s_post) & (read.x_s_post < stop.theta_hi)
            data.curves.append(curve(f"open/{form}", RATES_HZ, "Hz", _share(first, _learned(first, opened))))
        for name, p in (("gated", rule), ("ungated", settings.plain_rule)):
            gained, _ = changes_from_readings(scaled(p, _UNCLIPPED), first, read)
            _add_gain(data, f"gain-{name}/{form}", gained)
        report("stop-learning", done, 5)
    same = _open_share(first, float_changes(_counting(rule), first, 1.0))
    data.checks = _checks(data, settings, stop, same)
    return data


def _engines(data: FigureData, settings: FigureSettings, form: str, rule: RuleParameters, pairs: trains.Pairs) -> None:
    def changes(p: RuleParameters, w_hid: float) -> FloatArray:
        return float_changes(p, pairs, w_hid) if form == FLOAT else fixed_changes(p, pairs, settings.dt_us, w_hid)

    data.curves.append(curve(f"open/{form}", RATES_HZ, "Hz", _open_share(pairs, changes(_counting(rule), 1.0))))
    for name, p in (("gated", rule), ("ungated", settings.plain_rule)):
        _add_gain(data, f"gain-{name}/{form}", changes(scaled(p, _UNCLIPPED), 0.5))


def _counting(rule: RuleParameters) -> RuleParameters:
    """A rule by which every post spike in the open window lowers the weight by `_STEP`, exactly, and nothing else does."""
    return rule.model_copy(update={"c_p": 0.0, "c_d1": 0.0, "c_d2": -_STEP, "theta_i": 1.0, "a_i": 0.5})


def _open_share(pairs: trains.Pairs, changes: FloatArray) -> FloatArray:
    """Share of post spikes that found the window open while their pair learned, from changes by the counting rule."""
    return _share(pairs, np.rint(-changes / _STEP))


def _share(pairs: trains.Pairs, opened: FloatArray) -> FloatArray:
    learned = _learned(pairs)
    return np.asarray(opened.reshape(RATES_HZ.size, -1).sum(axis=1) / learned.reshape(RATES_HZ.size, -1).sum(axis=1))


def _learned(pairs: trains.Pairs, which: BoolArray | None = None) -> FloatArray:
    """How many post spikes of each pair come while it learns; of those that are chosen."""
    counted = pairs.learning(pairs.post_s, pairs.post_ids) & (True if which is None else which)
    return np.bincount(pairs.post_ids[counted], minlength=pairs.n).astype(np.float64)


def _add_gain(data: FigureData, name: str, changes: FloatArray) -> None:
    rows = changes.reshape(RATES_HZ.size, -1) / (_UNCLIPPED * _LEARN_S)
    data.curves.append(curve(name, RATES_HZ, "Hz", rows.mean(axis=1), "1/s"))


def _checks(data: FigureData, settings: FigureSettings, stop: StopLearning, same_trains: FloatArray) -> list[Check]:
    edges = zip(window_edges_hz(stop), (stop.theta_lo, stop.theta_hi), strict=True)
    checks = [_mean_at_edge(settings, stop, rate, theta) for rate, theta in edges]
    for name in ("open", "gain-gated", "gain-ungated"):
        limit = 1e-3 * max(map(abs, data.curve(f"{name}/{FLOAT}").y))  # one spike in a thousand on the other side of an edge
        checks.append(data.deviation(f"{name}/{FIXED}", f"{name}/{FLOAT}", limit, FORMS))
    what, limit = f"open/{EMULATED} against {FLOAT} on the same trains", settings.emulated_limit
    if data.has(f"open/{EMULATED}"):
        worst = float(np.max(np.abs(np.array(data.curve(f"open/{EMULATED}").y) - same_trains)))
        checks.append(Check(what, f"within {limit:.2g}", f"{worst:.2g}", worst <= limit, FORMS))
    else:
        checks.append(data.not_emulated(what))
    if settings.preset == "D":
        checks += [check for form in (FLOAT, FIXED) for check in _anchors(data, form)]
    return checks


def _mean_at_edge(settings: FigureSettings, stop: StopLearning, rate_hz: float, theta: float) -> Check:
    """The measured mean of the slow trace at the post rate at which it should be a threshold."""
    rule, n, none, nobody = settings.rule, 200, np.zeros(0), np.zeros(0, dtype=np.int64)
    warm_s, span_s, every_s = 10 * stop.tau_s, 10.0, 0.05
    times, ids = trains.poisson(
        settings.seed, f"stop-learning/edge {theta:g}", np.full(n, rate_hz), warm_s + span_s, settings.dt_us
    )
    engine = PlasticityEngine(rule, np.full((n, 1), -1), 1, np.full((n, 1), 0.5))
    early = times < warm_s
    engine.advance(warm_s, none, nobody, times[early], ids[early])
    looks = []
    for k in range(round(span_s / every_s)):
        begin = warm_s + k * every_s
        inside = (times >= begin) & (times < begin + every_s)
        engine.advance(every_s, none, nobody, np.clip(times[inside] - begin, 0.0, every_s), ids[inside])
        looks.append(engine.traces()["x_s"].mean())
    mean = float(np.mean(looks))
    what = f"mean slow trace at {rate_hz:.1f} Hz, the edge theta / ((1 - theta) a tau)"
    return Check(what, f"{theta:g} within 2 %", f"{mean:.4f}", bool(abs(mean / theta - 1.0) <= 0.02), CLOSED_FORM)


def _anchors(data: FigureData, form: str) -> list[Check]:
    share = dict(zip(data.curve(f"open/{form}").x, data.curve(f"open/{form}").y, strict=True))
    inside, outside = min(share[r] for r in (15.0, 20.0, 25.0, 30.0, 40.0)), max(share[2.0], share[120.0])
    checks = [
        Check(f"lowest open share at 15 to 40 Hz, {form}", "at least 0.97", f"{inside:.3f}", inside >= 0.97, ANCHOR),
        Check(f"larger open share of 2 and 120 Hz, {form}", "at most 0.05", f"{outside:.3f}", outside <= 0.05, ANCHOR),
        Check(f"open share at 80 Hz, {form}", "0.3 to 0.6", f"{share[80.0]:.3f}", 0.3 <= share[80.0] <= 0.6, ANCHOR),
    ]
    gated, ungated = (dict(zip(RATES_HZ, data.curve(f"gain-{k}/{form}").y, strict=True)) for k in ("gated", "ungated"))
    for rate, wanted, low, high in ((150.0, "at most 1 %", 0.0, 0.01), (50.0, "85 to 115 %", 0.85, 1.15)):
        ratio = abs(gated[rate] / ungated[rate])
        what = f"gated against ungated change at {rate:g} Hz, {form}"
        checks.append(Check(what, wanted, f"{ratio:.1%}", bool(low <= ratio <= high), ANCHOR))
    return checks


def draw(data: FigureData) -> Figure:
    """Open share and change of weight against the post rate."""
    figure, (opened, gain) = drawing.panels(1, 2, 11.0, 4.6)
    drawing.forms(opened, data, "open")
    for edge in data.settings.get("edges_hz", []):
        opened.axvline(edge, color="0.6", linewidth=0.8, linestyle="--")
    opened.set(
        title="open window (dashed: edges of the mean)", xlabel="post rate (Hz)", ylabel="share of post spikes", ylim=(0, 1.02)
    )
    for found in data.forms("gain-ungated"):
        drawing.line(gain, found, alpha=0.35)
    drawing.forms(gain, data, "gain-gated")
    gain.axhline(0, color="0.6", linewidth=0.7)
    gain.set(
        title="change of w_hid, pre 75 Hz (pale: without the gate)", xlabel="post rate (Hz)", ylabel="change per second (1/s)"
    )
    drawing.legend(gain, data, "open", loc="upper left")
    return figure
