"""The bistable drift: a hidden weight that nobody touches goes to 1 or to 0, in a straight line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bcall_hw.errors import InvalidValue
from bcall_hw.experiments.figures import drawing
from bcall_hw.experiments.figures.curves import Check, FigureData, Report, curve
from bcall_hw.experiments.figures.forms import CLOSED, FIXED, FLOAT
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.fixed_engine import FixedPointEngine
from bcall_hw.rule.parameters import Bistability
from bcall_hw.rule.synapses import SynapseEngine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STARTS = (0.1, 0.3, 0.49, 0.5, 0.51, 0.7, 0.9)
_POINTS = 60


def compute(settings: FigureSettings, report: Report) -> FigureData:
    """The numbers of the bistability figure."""
    data = FigureData("bistability", "Drift of untouched hidden weights", settings.preset)
    drift = settings.rule.bistability
    if drift is None:
        where, fix = "figure bistability", "Take another preset."
        raise InvalidValue("this preset has no bistability: nothing drifts", where=where, used=settings.preset, fix=fix)
    rule, longest = settings.rule, 0.6 * drift.tau_w_s / min(drift.alpha or 1.0, drift.beta or 1.0)
    times = np.rint(np.linspace(0, longest, _POINTS) * 1e6 / settings.dt_us) * settings.dt_us * 1e-6
    weights, table = np.array([STARTS]), np.zeros((1, len(STARTS)), dtype=np.int64)
    data.settings = settings.as_dict(tau_w_s=drift.tau_w_s, alpha=drift.alpha, beta=drift.beta)
    data.notes = [
        "Up with slope alpha / tau_w above theta_w = 0.5, else down with slope beta / tau_w; a tie goes down (inferred).",
        "No emulated curve: these chips have no bistable circuit, the hidden weight lives in the host.",
    ]
    engines: dict[str, SynapseEngine] = {
        FLOAT: PlasticityEngine(rule, table, 1, weights),
        FIXED: FixedPointEngine(rule, table, 1, weights, dt_us=settings.dt_us),
    }
    for done, (form, engine) in enumerate(engines.items(), start=1):
        courses, none, nobody = [weights[0].copy()], np.zeros(0), np.zeros(0, dtype=np.int64)
        for step in np.diff(times):
            engine.advance(float(step), none, nobody, none, nobody)
            courses.append(engine.hidden_weights()[0])
        for start, course in zip(STARTS, np.array(courses).T, strict=True):
            data.curves.append(curve(f"drift-w{start:g}/{form}", times, "s", course))
        report("bistability", done, 2)
    for start in STARTS:
        closed = [closed_form(drift, rule.theta_w, start, t) for t in times]
        data.curves.append(curve(f"drift-w{start:g}/{CLOSED}", times, "s", closed))
    data.checks = _checks(data, drift)
    return data


def closed_form(drift: Bistability, theta_w: float, w: float, time_s: float) -> float:
    """A hidden weight after a silent time: it reaches 1 after (1 - w) tau_w / alpha, or 0 after w tau_w / beta."""
    if w > theta_w:
        return min(1.0, w + time_s * drift.alpha / drift.tau_w_s)
    return max(0.0, w - time_s * drift.beta / drift.tau_w_s)


def _checks(data: FigureData, drift: Bistability) -> list[Check]:
    checks = [data.agreement(f"drift-w{start:g}", 1e-9) for start in STARTS]
    checks += [data.deviation(f"drift-w{start:g}/{FIXED}", f"drift-w{start:g}/{FLOAT}", 2.0**-10) for start in STARTS]
    tie = data.curve(f"drift-w0.5/{FLOAT}").y
    down = bool(tie[1] < tie[0] and tie[-1] == 0.0)
    what = f"w_hid = 0.5 without spikes (tau_w = {drift.tau_w_s:g} s)"
    return [*checks, Check(what, "goes down, to 0", "goes down, to 0" if down else "does not", down)]


def draw(data: FigureData) -> Figure:
    """Hidden weights over time, and how far the forms are from the closed form."""
    figure, (courses, errors) = drawing.panels(1, 2, 11.0, 4.2)
    for found in data.curves:
        drawing.line(courses, found)
        if found.form != CLOSED:
            closed = np.array(data.curve(f"{found.check}/{CLOSED}").y)
            off = np.abs(np.array(found.y) - closed)
            errors.semilogy(found.x, np.maximum(off, 1e-18), **drawing.STYLES[found.form])
    courses.axhline(0.5, color="0.6", linewidth=0.7, linestyle="--")
    courses.set(title="untouched hidden weights", xlabel="time (s)", ylabel="w_hid", ylim=(-0.02, 1.02))
    errors.axhline(2.0**-10, color="#b0413e", linewidth=0.8)
    errors.set(title="distance from the closed form; red line: 2^-10", xlabel="time (s)", ylabel="|w_hid - closed form|")
    if data.curves:
        drawing.legend(courses, data, data.curves[0].check)
    return figure
