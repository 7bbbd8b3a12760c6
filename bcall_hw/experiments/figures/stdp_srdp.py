"""Figure 3: the change by one pair of spikes against their difference, and by steady pairs against their rate."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np

from bcall_hw.errors import BcallError
from bcall_hw.experiments.figures import drawing, trains
from bcall_hw.experiments.figures.curves import Check, Curve, FigureData, Report, curve
from bcall_hw.experiments.figures.emulated import emulated_changes
from bcall_hw.experiments.figures.forms import CLOSED, FIXED, FLOAT, fixed_changes, float_changes
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.rule.calcium_trace import periodic_peak
from bcall_hw.rule.parameters import RuleParameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DTS_MS = np.arange(-60.0, 61.0)
RATES_HZ = np.array([1, 2, 4, 6, 8, 10, 12, 15, 18, 20, 22, 25, 28, 30, 32, 34, 36, 38, 40, 45, 50, 55, 60, 65, 70, 75, 80.0])
SRDP_DTS_MS = (-10.0, 10.0)
_WARM_S = 1.5  # e^-33 of the slower trace of preset D is left
_PAIRS = 2  # measured in each trial
_MISMATCH_COPIES = 24  # of every pair, each on other neurons
#: Changes per pair (x 1e3) for preset D.
LISTED_STDP = {5: 6.772, 10: 3.732, 20: 2.107, -10: -7.0, -30: -2.0}
LISTED_SRDP = {1: -7.000, 10: -6.593, 20: -4.622, 30: -2.420, 40: 1.564, 50: 3.284, 80: 7.177}


def stdp_closed_form(p: RuleParameters, dt_s: float) -> float:
    """Change of w_hid by one pair of spikes, dt = t_post - t_pre, without stop-learning and drift."""
    if dt_s >= 0:
        x_i = p.a_i * exp(-dt_s / p.tau_i_s)
        return p.c_p * x_i + (p.c_d2 if x_i < p.theta_i else 0.0)
    depress_pre = p.c_d1 if p.a_j * exp(dt_s / p.tau_j_s) > p.theta_j else 0.0
    return depress_pre + (0.0 if p.gate_silent_pre else p.c_d2)


def srdp_closed_form(p: RuleParameters, rate_hz: float, dt_s: float) -> float:
    """Change of w_hid per pair in the steady state of periodic pairs, |dt| below the period."""
    period = 1.0 / rate_hz
    since_pre, since_post = (dt_s, period - dt_s) if dt_s >= 0 else (period + dt_s, -dt_s)
    x_i = periodic_peak(p.a_i, rate_hz, p.tau_i_s) * exp(-since_pre / p.tau_i_s)
    x_j = periodic_peak(p.a_j, rate_hz, p.tau_j_s) * exp(-since_post / p.tau_j_s)
    return (p.c_d1 if x_j > p.theta_j else 0.0) + p.c_p * x_i + (p.c_d2 if x_i < p.theta_i else 0.0)


def compute(settings: FigureSettings, report: Report) -> FigureData:
    """The numbers of figure 3."""
    data = FigureData("3", "One pair of spikes (STDP), and steady pairs against their rate (SRDP)", settings.preset)
    data.settings = settings.as_dict(warm_s=_WARM_S, measured_pairs=_PAIRS)
    data.notes = [
        "Stop-learning and drift are off: one post spike leaves the slow trace below its window.",
        "stdp-gated: with gate_silent_pre, c_d2 acts only after a pre spike.",
        f"SRDP: change per pair over {_PAIRS} pairs after {_WARM_S:g} s that only fill the traces; nothing is clipped.",
        "Fixed point and emulated circuit take spikes on whole time steps; close to a threshold that moves a point.",
    ]
    parts = 4
    _stdp(data, settings, "stdp", settings.plain_rule)
    report("figure 3", 1, parts)
    _stdp(data, settings, "stdp-gated", settings.plain_rule.model_copy(update={"gate_silent_pre": True}))
    report("figure 3", 2, parts)
    for done, dt_ms in enumerate(SRDP_DTS_MS, start=3):
        _srdp(data, settings, dt_ms)
        report("figure 3", done, parts)
    data.checks = _checks(data, settings)
    return data


def _stdp(data: FigureData, settings: FigureSettings, check: str, p: RuleParameters) -> None:
    pairs = trains.single_pairs(DTS_MS * 1e-3)
    data.curves.append(curve(f"{check}/{CLOSED}", DTS_MS, "ms", [stdp_closed_form(p, dt * 1e-3) for dt in DTS_MS]))
    data.curves.append(curve(f"{check}/{FLOAT}", DTS_MS, "ms", float_changes(p, pairs)))
    data.curves.append(curve(f"{check}/{FIXED}", DTS_MS, "ms", fixed_changes(p, pairs, settings.dt_us)))
    _emulated(data, settings, check, p, pairs, curve(check, DTS_MS, "ms", DTS_MS))


def _srdp(data: FigureData, settings: FigureSettings, dt_ms: float) -> None:
    check, p = f"srdp{dt_ms:+.0f}ms", settings.plain_rule
    pairs = trains.periodic_pairs(RATES_HZ, dt_ms * 1e-3, _WARM_S, np.full(RATES_HZ.size, _PAIRS))
    data.curves.append(curve(f"{check}/{CLOSED}", RATES_HZ, "Hz", [srdp_closed_form(p, r, dt_ms * 1e-3) for r in RATES_HZ]))
    data.curves.append(curve(f"{check}/{FLOAT}", RATES_HZ, "Hz", float_changes(p, pairs) / _PAIRS))
    data.curves.append(curve(f"{check}/{FIXED}", RATES_HZ, "Hz", fixed_changes(p, pairs, settings.dt_us) / _PAIRS))
    _emulated(data, settings, check, p, pairs, curve(check, RATES_HZ, "Hz", RATES_HZ), _PAIRS)


def _emulated(
    data: FigureData, settings: FigureSettings, check: str, rule: RuleParameters, pairs: trains.Pairs, over: Curve, per: int = 1
) -> None:
    """Add the change of each pair on every emulated board; with mismatch mean and spread over copies on other neurons.

    A board that cannot hold the traces (a = 1 needs an endless pulse) leaves a note instead of a curve.

    Args:
        over: gives x and its unit.
        per: divide the changes by this.
    """
    for form, board in settings.boards().items():
        copies = _MISMATCH_COPIES if board.mismatch_cv else 1
        try:
            changes = emulated_changes(rule, pairs.repeated(copies), board).reshape(copies, pairs.n) / per
        except BcallError as problem:
            data.notes.append(f"{check}/{form} is missing: {problem}")
            continue
        sd = changes.std(axis=0, ddof=1) if copies > 1 else None
        data.curves.append(curve(f"{check}/{form}", over.x, over.x_unit, changes.mean(axis=0), sd=sd))


def _checks(data: FigureData, settings: FigureSettings) -> list[Check]:
    p, d = settings.plain_rule, settings.preset == "D"
    stdp, gated = data.curve(f"stdp/{FLOAT}"), data.curve(f"stdp-gated/{FLOAT}")
    before, after = data.curve(f"srdp-10ms/{FLOAT}"), data.curve(f"srdp+10ms/{FLOAT}")
    checks = [data.agreement(check, 1e-12) for check in ("stdp", "stdp-gated", "srdp-10ms", "srdp+10ms")]
    checks += [data.deviation(f"stdp/{FIXED}", f"stdp/{FLOAT}", 2.0**-10)]
    if d:
        checks.append(listed("STDP at +5, +10, +20, -10, -30 ms", stdp, LISTED_STDP, 5e-7))
        checks.append(listed("STDP with the gate at -10, -30 ms", gated, {-10: -5.0, -30: 0.0}, 5e-7))
        checks.append(listed("SRDP, post 10 ms before pre", before, LISTED_SRDP, 5e-7))
    edges = [p.tau_j_s * log(p.a_j / p.theta_j), p.tau_i_s * log(p.a_i / p.theta_i), p.tau_i_s * log(-p.c_p * p.a_i / p.c_d2)]
    wanted = "22.99, 8.63 and 41.59 ms" if d else "from the closed forms"
    shown = ", ".join(f"{1e3 * e:.2f}" for e in edges)
    met = np.allclose(1e3 * np.array(edges), [22.99, 8.63, 41.59], atol=0.006) if d else None
    checks.append(Check("edges of depression and of the added c_d2, zero of potentiation", wanted, f"{shown} ms", met))
    below = np.array(stdp.y)[(np.array(stdp.x) < 0) & (np.array(stdp.x) > -1e3 * edges[0])]
    flat = bool(below.size > 0 and np.ptp(below) < 1e-12)
    checks.append(Check("depression against dt", "a rectangle, not an exponential", "flat" if flat else "not flat", flat))
    rises = bool(np.all(np.diff(before.y) > 0))
    checks.append(Check("SRDP, post 10 ms before pre", "rises with the rate", "rises" if rises else "does not", rises))
    crossing = _sign_change(p)
    found = "none from 1 to 100 Hz" if crossing is None else f"{crossing:.2f} Hz"
    near = (crossing is not None and abs(crossing - 37.0) <= 0.1) if d else None
    checks.append(Check("SRDP sign change, post 10 ms before pre", "37.0 +- 0.1 Hz" if d else "one", found, near))
    low, high, turns = min(after.y), max(after.y), bool(np.any(np.diff(after.y) > 0) and np.any(np.diff(after.y) < 0))
    what = "SRDP, pre 10 ms before post (x 1e-3)"
    shown = f"{1e3 * low:.2f} to {1e3 * high:.2f}, {'not ' if turns else ''}monotone"
    good = (low >= 1.695e-3 and high <= 6.705e-3 and turns) if d else None
    return [*checks, Check(what, "1.70 to 6.70, not monotone" if d else "known for preset D only", shown, good)]


def listed(what: str, found: Curve, wanted: Mapping[int, float], tolerance: float) -> Check:
    """Compare points of a curve with listed values (x 1e3)."""
    ys = {x: found.y[found.x.index(float(x))] for x in wanted}
    met = all(abs(ys[x] - 1e-3 * y) <= tolerance for x, y in wanted.items())
    asked, shown = (", ".join(f"{y:.3f}" for y in values) for values in (wanted.values(), [1e3 * y for y in ys.values()]))
    return Check(f"{what} (x 1e-3)", asked, shown, met)


def _sign_change(p: RuleParameters) -> float | None:
    """The rate at which the steady change for dt = -10 ms turns positive (Hz), by bisection."""
    low, high = 1.0, 99.0
    if not srdp_closed_form(p, low, -0.01) < 0 < srdp_closed_form(p, high, -0.01):
        return None
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if srdp_closed_form(p, middle, -0.01) < 0 else (low, middle)
    return high


def draw(data: FigureData) -> Figure:
    """Left the STDP curve, right SRDP in both orders."""
    figure, (stdp, srdp, gated, other) = drawing.panels(2, 2, 11.0, 8.0)
    for axes, check, title in (
        (stdp, "stdp", "one pair"), (gated, "stdp-gated", "one pair, silent-pre gate on"),
        (srdp, "srdp-10ms", "steady pairs, post 10 ms before pre"), (other, "srdp+10ms", "steady pairs, pre 10 ms before post"),
    ):  # fmt: skip
        drawing.forms(axes, data, check, scale=1e3)
        axes.axhline(0, color="0.6", linewidth=0.7)
        xlabel = "t_post - t_pre (ms)" if check.startswith("stdp") else "rate of the pairs (Hz)"
        axes.set(title=title, xlabel=xlabel, ylabel="change of w_hid per pair (x 1e-3)")
    drawing.legend(stdp, data, "stdp")
    return figure
