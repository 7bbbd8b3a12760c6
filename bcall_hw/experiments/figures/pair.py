"""Figure 2: one second of a Poisson pair, its traces and its hidden weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.experiments.figures import drawing, trains
from bcall_hw.experiments.figures.curves import FORMS, RULE, Check, FigureData, Report, curve
from bcall_hw.experiments.figures.emulated import changes_from_readings, emulated_readings
from bcall_hw.experiments.figures.forms import EMULATED, FIXED, FLOAT, fixed_engine, float_engine
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.rule.synapses import SynapseEngine
from bcall_hw.trace_circuit import rule_traces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RATE_HZ, _DURATION_S, _W_START = 20.0, 1.0, 0.5
_EVERY_US = 2000


def compute(settings: FigureSettings, report: Report) -> FigureData:
    """The numbers of figure 2."""
    data = FigureData("2", "One second of a Poisson pair", settings.preset)
    data.settings = settings.as_dict(
        rate_hz=_RATE_HZ, duration_s=_DURATION_S, w_start=_W_START, theta_i=settings.rule.theta_i, theta_j=settings.rule.theta_j
    )
    data.notes = ["Stop-learning and drift are off.", "inferred: w_hid begins at 0.5; the trains are this project's own."]
    rule, unit = settings.plain_rule, settings.dt_us * 1e-6
    pairs = trains.poisson_pairs(settings.seed, "figure 2", [_RATE_HZ], [_RATE_HZ], _DURATION_S, settings.dt_us)
    times_ms: FloatArray = np.arange(1, round(_DURATION_S * 1e6 / _EVERY_US) + 1, dtype=np.float64) * (_EVERY_US * 1e-3)
    for name, times in (("pre", pairs.pre_s), ("post", pairs.post_s)):
        data.curves.append(curve(f"pair-spikes-{name}/given", np.sort(times) * 1e3, "ms", np.ones(times.size)))
    engines = {FLOAT: float_engine(rule, 1, _W_START), FIXED: fixed_engine(rule, 1, settings.dt_us, _W_START)}
    for form, engine in engines.items():
        for name, course in _course(engine, pairs, times_ms * 1e-3, unit).items():
            data.curves.append(curve(f"pair-{name}/{form}", times_ms, "ms", course))
    report("figure 2", 1, 2)
    boards, reason = settings.boards(rule_traces(rule))
    data.notes += [reason] if reason else []
    for form, board in boards.items():
        read = emulated_readings(rule, pairs, board)
        looks = np.rint(times_ms * 1e3 / settings.dt_us).astype(np.int64) - 1
        for name in ("x_i", "x_j"):
            data.curves.append(curve(f"pair-{name}/{form}", times_ms, "ms", read.course[name][looks]))
        _, steps = changes_from_readings(rule, pairs, read, _W_START)
        at, w = np.array(steps).T
        level = w[np.searchsorted(at, times_ms * 1e-3 - unit / 2, side="right") - 1]
        data.curves.append(curve(f"pair-w_hid/{form}", times_ms, "ms", level))
    report("figure 2", 2, 2)
    data.checks = _checks(data, settings)
    return data


def _course(engine: SynapseEngine, pairs: trains.Pairs, times_s: FloatArray, unit: float) -> dict[str, FloatArray]:
    """Traces and hidden weight of the only pair just before each time; a spike at that very time comes later."""
    none: dict[str, list[float]] = {"x_i": [], "x_j": [], "w_hid": []}
    begin = 0.0
    for end in times_s:
        spikes = []
        for times, ids in ((pairs.pre_s, pairs.pre_ids), (pairs.post_s, pairs.post_ids)):
            inside = (times >= begin - unit / 2) & (times < end - unit / 2)
            spikes.append((np.clip(times[inside] - begin, 0.0, end - begin), ids[inside]))
        engine.advance(float(end - begin), *spikes[0], *spikes[1])
        traces = engine.traces()
        for name, value in (("x_i", traces["x_i"][0]), ("x_j", traces["x_j"][0]), ("w_hid", engine.hidden_weights()[0, 0])):
            none[name].append(float(value))
        begin = float(end)
    return {name: np.array(values) for name, values in none.items()}


def _checks(data: FigureData, settings: FigureSettings) -> list[Check]:
    checks = []
    for form in (FLOAT, FIXED):
        ys = [y for name in ("x_i", "x_j", "w_hid") for y in data.curve(f"pair-{name}/{form}").y]
        inside = min(ys) >= 0.0 and max(ys) <= 1.0
        found = f"{min(ys):.3f} to {max(ys):.3f}"
        checks.append(Check(f"traces and hidden weight, {form}", "within [0, 1]", found, inside, RULE))
    for name in ("x_i", "x_j", "w_hid"):
        checks.append(data.deviation(f"pair-{name}/{FIXED}", f"pair-{name}/{FLOAT}", 1e-6, FORMS))
        if not data.has(f"pair-{name}/{EMULATED}"):
            checks.append(data.not_emulated(f"pair-{name}/{EMULATED}"))
            continue
        limit = settings.emulated_limit * float(np.ptp(data.curve(f"pair-{name}/{FLOAT}").y))
        checks.append(data.deviation(f"pair-{name}/{EMULATED}", f"pair-{name}/{FLOAT}", limit, FORMS))
    return checks


def draw(data: FigureData) -> Figure:
    """Spikes, the two traces and the hidden weight over time."""
    figure, (spikes, x_i, x_j, w) = drawing.panels(4, 1, 11.0, 8.5)
    for y, (name, colour) in enumerate((("post", "#b0413e"), ("pre", "#1f4e79"))):
        spikes.vlines(data.curve(f"pair-spikes-{name}/given").x, y - 0.4, y + 0.4, color=colour)
    spikes.set(yticks=[0, 1], xlim=(0, _DURATION_S * 1e3), title=f"{_RATE_HZ:g} Hz Poisson pair")
    spikes.set_yticklabels(["post", "pre"])
    for axes, name, label in ((x_i, "x_i", "x_i"), (x_j, "x_j", "x_j"), (w, "w_hid", "w_hid")):
        for found in data.forms(f"pair-{name}"):
            drawing.line(axes, found, **drawing.SOLID.get(found.form, {}))
        axes.set(ylabel=label, xlim=(0, _DURATION_S * 1e3))
    for axes, theta in ((x_i, data.settings["theta_i"]), (x_j, data.settings["theta_j"])):
        axes.axhline(theta, color="0.6", linewidth=0.7, linestyle="--")
    w.set(xlabel="time (ms)")
    drawing.legend(x_i, data, "pair-x_i", solid=True, loc="lower left", bbox_to_anchor=(0, 1), ncols=5)
    return figure
