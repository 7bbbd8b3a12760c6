"""Figure 4: the change by one second of spikes against both rates, for independent trains and for trains with an order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.experiments.figures import drawing, trains
from bcall_hw.experiments.figures.curves import ANCHOR, FORMS, SHAPE, Check, FigureData, Report, curve
from bcall_hw.experiments.figures.emulated import emulated_changes
from bcall_hw.experiments.figures.forms import EMULATED, FIXED, FLOAT, LABELS, MISMATCHED, fixed_changes, float_changes
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.trace_circuit import rule_traces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES_HZ = np.array([5.0, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100])
_EMULATED_HZ = np.array([5.0, 10, 20, 40, 60, 80, 100])
_TRIALS, _EMULATED_TRIALS, _TRIAL_S, _SHIFT_S = 60, 10, 1.0, 8e-3
#: Shift of the slower train against its faster original, as t_post - t_pre; independent trains have none.
ORDERS = {"pre-post": _SHIFT_S, "independent": None, "post-pre": -_SHIFT_S}
#: Share of cells whose mean change is positive.
LISTED_POSITIVE = {"pre-post": 0.95, "independent": 0.67, "post-pre": 0.43}


def compute(settings: FigureSettings, report: Report) -> FigureData:
    """The numbers of figure 4."""
    data = FigureData("4", "Change by one second of spikes against both rates", settings.preset)
    data.settings = settings.as_dict(
        trials=_TRIALS, emulated_trials=_EMULATED_TRIALS, trial_s=_TRIAL_S, shift_s=_SHIFT_S,
        rates_hz=RATES_HZ.tolist(), emulated_rates_hz=_EMULATED_HZ.tolist(),
    )  # fmt: skip
    data.notes = [
        "map-ORDER-preRATEHz: mean change of w_hid against the post rate, from w_hid = 0.5; no stop-learning, no drift.",
        f"Order: the slower train is the faster one thinned and shifted by {_SHIFT_S * 1e3:g} ms; in pre-post pre leads.",
        "inferred: the rates and the way in which order is made. The shares of positive cells depend on the choice of rates.",
        f"Emulated: {_EMULATED_HZ.size} rates squared, {_EMULATED_TRIALS} trials each on other neurons; no finite pulses.",
    ]
    rule = settings.plain_rule
    boards, reason = settings.boards(rule_traces(rule), EMULATED, MISMATCHED)
    data.notes += [reason] if reason else []
    for done, order in enumerate(ORDERS, start=1):
        pairs = _pairs(settings, order, RATES_HZ, _TRIALS)
        _add(data, order, FLOAT, RATES_HZ, float_changes(rule, pairs))
        _add(data, order, FIXED, RATES_HZ, fixed_changes(rule, pairs, settings.dt_us))
        data.checks += _fixed_agrees(data, order)
        fewer = _pairs(settings, order, _EMULATED_HZ, _EMULATED_TRIALS)
        for form, board in boards.items():
            _add(data, order, form, _EMULATED_HZ, emulated_changes(rule, fewer, replace(board, seed=board.seed + 100)))
        what = f"map-{order}, {EMULATED} against {FLOAT} on the same trains"
        if EMULATED in boards:
            ideal = float_changes(rule, fewer).reshape(_EMULATED_HZ.size, _EMULATED_HZ.size, -1).mean(axis=2)
            worst = float(np.max(np.abs(_map(data, order, EMULATED, _EMULATED_HZ) - ideal)))
            limit = settings.emulated_limit * float(np.max(np.abs(ideal)))
            data.checks.append(Check(what, f"within {limit:.2g}", f"{worst:.2g}", worst <= limit, FORMS))
        else:
            data.checks.append(data.not_emulated(what))
        report("figure 4", done, len(ORDERS))
    for form in (FLOAT, FIXED):
        shares = [float(np.mean(_map(data, order, form, RATES_HZ) > 0)) for order in ORDERS]
        data.curves.append(curve(f"positive-cells/{form}", [0, 1, 2], "order: " + ", ".join(ORDERS), shares))
    if settings.preset == "D":
        data.checks += [check for form in (FLOAT, FIXED) for check in _shapes(data, form)]
    return data


def _fixed_agrees(data: FigureData, order: str) -> list[Check]:
    """All cells at once; a trial whose trace lies within rounding of a threshold may go the other way."""
    worst = float(np.max(np.abs(_map(data, order, FIXED, RATES_HZ) - _map(data, order, FLOAT, RATES_HZ))))
    return [Check(f"map-{order}, {FIXED} against {FLOAT}", "within 0.0002", f"{worst:.2g}", worst <= 2e-4, FORMS)]


def _pairs(settings: FigureSettings, order: str, rates_hz: FloatArray, trials: int) -> trains.Pairs:
    """All cells and trials: pair ((pre rate) * rates + post rate) * trials + trial."""
    grid = np.repeat(np.stack(np.meshgrid(rates_hz, rates_hz, indexing="ij")).reshape(2, -1), trials, axis=1)
    pre_hz, post_hz = grid
    stream, shift = f"figure 4/{order}/{rates_hz.size}", ORDERS[order]
    if shift is None:
        return trains.poisson_pairs(settings.seed, stream, pre_hz, post_hz, _TRIAL_S, settings.dt_us)
    return trains.ordered_pairs(settings.seed, stream, pre_hz, post_hz, _TRIAL_S, settings.dt_us, shift)


def _add(data: FigureData, order: str, form: str, rates_hz: FloatArray, changes: FloatArray) -> None:
    for rate, row in zip(rates_hz, changes.reshape(rates_hz.size, rates_hz.size, -1), strict=True):
        name = f"map-{order}-pre{rate:g}Hz/{form}"
        data.curves.append(curve(name, rates_hz, "Hz", row.mean(axis=1), sd=row.std(axis=1, ddof=1)))


def _map(data: FigureData, order: str, form: str, rates_hz: FloatArray) -> FloatArray:
    """Mean change, shape (pre rates, post rates)."""
    return np.array([data.curve(f"map-{order}-pre{rate:g}Hz/{form}").y for rate in rates_hz])


def _shapes(data: FigureData, form: str) -> list[Check]:
    first, middle, last = (_map(data, order, form, RATES_HZ) for order in ORDERS)
    above, beside = float(np.mean(first > last)), float(np.mean(first > middle))
    checks = [
        Check(f"pre-post above post-pre, {form}", "in every cell", f"in {above:.1%}", above == 1.0, SHAPE),
        Check(f"pre-post above independent, {form}", "in at least 98 %", f"in {beside:.1%}", beside >= 0.98, ANCHOR),
    ]
    for order, wanted in LISTED_POSITIVE.items():
        share = float(np.mean(_map(data, order, form, RATES_HZ) > 0))
        met = abs(share - wanted) <= 0.07
        checks.append(Check(f"share of positive cells, {order}, {form}", f"{wanted} +- 0.07", f"{share:.3f}", met, ANCHOR))
    return checks


def draw(data: FigureData) -> Figure:
    """A map for each order, and for each form that has one."""
    shown = [
        f for f in (FLOAT, FIXED, EMULATED, MISMATCHED) if any(c.form == f and c.check.startswith("map") for c in data.curves)
    ]
    figure, panels = drawing.panels(len(shown), len(ORDERS), 11.0, 2.9 * len(shown) + 0.6)
    mesh = None
    for index, axes in enumerate(panels):
        form, order = shown[index // len(ORDERS)], list(ORDERS)[index % len(ORDERS)]
        rates = RATES_HZ if form in (FLOAT, FIXED) else _EMULATED_HZ
        values = _map(data, order, form, rates)
        mesh = axes.pcolormesh(
            range(rates.size + 1), range(rates.size + 1), values, cmap="RdBu_r", vmin=-0.5, vmax=0.5, rasterized=True
        )
        ticks = np.arange(0, rates.size, 2)
        labels = [f"{r:g}" for r in rates[ticks]]
        axes.set(
            title=f"{order}: {LABELS[form]}", xticks=ticks + 0.5, yticks=ticks + 0.5, xticklabels=labels, yticklabels=labels
        )
        axes.title.set_fontsize(9)
        axes.set(xlabel="post rate (Hz)", ylabel="pre rate (Hz)")
    if mesh is not None:
        figure.colorbar(mesh, ax=panels, label="mean change of w_hid in 1 s", shrink=0.6)
    return figure
