"""The bistable drift: a hidden weight without jumps goes to 1 or to 0, in a straight line."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from bcall_hw.errors import InvalidValue
from bcall_hw.experiments.figures import drawing, trains
from bcall_hw.experiments.figures.curves import CLOSED_FORM, INFERRED, Check, FigureData, Report, curve
from bcall_hw.experiments.figures.forms import CLOSED, FIXED, FLOAT
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.fixed_engine import FixedPointEngine
from bcall_hw.rule.parameters import Bistability
from bcall_hw.rule.synapses import SynapseEngine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STARTS = (0.1, 0.3, 0.49, 0.5, 0.51, 0.7, 0.9)
_POINTS, _RATE_HZ = 60, 5.0
_FIXED_LIMIT = 1e-8  # ten units of the last bit


def compute(settings: FigureSettings, report: Report) -> FigureData:
    """The numbers of the bistability figure."""
    data = FigureData("bistability", "Drift of hidden weights without jumps", settings.preset)
    drift = settings.rule.bistability
    if drift is None:
        where, fix = "figure bistability", "Take another preset."
        raise InvalidValue("this preset has no bistability: nothing drifts", where=where, used=settings.preset, fix=fix)
    rule = settings.rule.model_copy(update={"c_p": 0.0, "c_d1": 0.0, "c_d2": 0.0})
    longest = 0.6 * drift.tau_w_s / min(drift.alpha or 1.0, drift.beta or 1.0)
    times = np.rint(np.linspace(0, longest, _POINTS) * 1e6 / settings.dt_us) * settings.dt_us * 1e-6
    weights, table = np.array([STARTS]), np.zeros((1, len(STARTS)), dtype=np.int64)
    data.settings = settings.as_dict(tau_w_s=drift.tau_w_s, alpha=drift.alpha, beta=drift.beta, rate_hz=_RATE_HZ)
    data.notes = [
        "Up with slope alpha / tau_w above theta_w, else down with slope beta / tau_w.",
        "inferred: a tie goes down, from the authors' earlier code.",
        f"Jumps of the rule are set to zero; {_RATE_HZ:g} Hz Poisson spikes make the lazy form evaluate drift in pieces.",
        "No emulated curve: these chips have no bistable circuit, the hidden weight lives in the host.",
    ]
    engines: dict[str, SynapseEngine] = {
        FLOAT: PlasticityEngine(rule, table, 1, weights),
        FIXED: FixedPointEngine(rule, table, 1, weights, dt_us=settings.dt_us),
    }
    spikes, _ = trains.poisson(settings.seed, "bistability", [_RATE_HZ], longest, settings.dt_us)
    for done, (form, engine) in enumerate(engines.items(), start=1):
        courses = [weights[0].copy()]
        for begin, end in pairwise(times.tolist()):
            inside = spikes[(spikes >= begin - trains.SAME_S) & (spikes < end - trains.SAME_S)]
            at, who = np.clip(inside - begin, 0.0, end - begin), np.zeros(inside.size, dtype=np.int64)
            engine.advance(end - begin, at, who, at, who)
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
    """A hidden weight after a time without jumps: a line to 1 at (1 - w) tau_w / alpha, or to 0 at w tau_w / beta."""
    if w > theta_w:
        arrives = (1.0 - w) * drift.tau_w_s / drift.alpha if drift.alpha else inf
        return 1.0 if time_s >= arrives else w + (1.0 - w) * time_s / arrives
    arrives = w * drift.tau_w_s / drift.beta if drift.beta else inf
    return 0.0 if time_s >= arrives else w * (1.0 - time_s / arrives)


def _checks(data: FigureData, drift: Bistability) -> list[Check]:
    names = [f"drift-w{start:g}" for start in STARTS]
    checks = [data.deviation(f"{name}/{FLOAT}", f"{name}/{CLOSED}", 1e-9, CLOSED_FORM) for name in names]
    checks += [data.deviation(f"{name}/{FIXED}", f"{name}/{CLOSED}", _FIXED_LIMIT, CLOSED_FORM) for name in names]
    for form in (FLOAT, FIXED):
        tie = data.curve(f"drift-w0.5/{form}").y
        down = bool(tie[1] < tie[0] and tie[-1] == 0.0)
        what = f"w_hid = 0.5, {form} (tau_w = {drift.tau_w_s:g} s)"
        found = "goes down, to 0" if down else "does not"
        checks.append(Check(what, "goes down, to 0", found, down, INFERRED))
    return checks


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
    courses.set(title="hidden weights without jumps", xlabel="time (s)", ylabel="w_hid", ylim=(-0.02, 1.02))
    errors.axhline(_FIXED_LIMIT, color="#b0413e", linewidth=0.8)
    errors.set(
        title="distance from the closed form; red: limit of fixed point", xlabel="time (s)", ylabel="|w_hid - closed form|"
    )
    if data.curves:
        drawing.legend(courses, data, data.curves[0].check)
    return figure
