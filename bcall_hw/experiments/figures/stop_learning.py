"""Stop-learning: at which post rates the window is open, and what that does to the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.errors import BcallError, InvalidValue
from bcall_hw.experiments.figures import drawing, trains
from bcall_hw.experiments.figures.curves import Check, FigureData, Report, curve
from bcall_hw.experiments.figures.emulated import changes_from_readings, emulated_readings
from bcall_hw.experiments.figures.forms import FIXED, FLOAT, fixed_changes, float_changes, scaled
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.rule.calcium_trace import poisson_mean
from bcall_hw.rule.parameters import RuleParameters, StopLearning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES_HZ = np.array([2.0, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100, 120, 150])
_PRE_HZ, _WARM_TAU, _LEARN_S = 75.0, 6.0, 1.0
_UNCLIPPED = 1e-3


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
    copies = settings.pairs_of_a_board // RATES_HZ.size
    warm_s = float(np.ceil(_WARM_TAU * stop.tau_s * 10) / 10)
    low, high = window_edges_hz(stop)
    data.settings = settings.as_dict(
        pairs_per_rate=copies, warm_s=warm_s, learn_s=_LEARN_S, pre_hz=_PRE_HZ, edges_hz=[low, high],
        theta_lo=stop.theta_lo, theta_hi=stop.theta_hi,
    )  # fmt: skip
    data.notes = [
        "open: share of post spikes that find the window open; the slow trace jumps before it is read: not the share of time.",
        "gain-gated, gain-ungated: mean change of w_hid per second at pre 75 Hz, with and without stop-learning, unclipped.",
        "Drift is off. The slow trace is filled before learning begins.",
    ]
    rates = np.repeat(RATES_HZ, copies)
    pre = np.full(rates.size, _PRE_HZ)
    pairs = trains.poisson_pairs(settings.seed, "stop-learning", pre, rates, warm_s + _LEARN_S, settings.dt_us, warm_s)
    edge = [poisson_mean(stop.a, r, stop.tau_s) for r in RATES_HZ]
    data.curves.append(curve("mean-slow-trace/closed-form", RATES_HZ, "Hz", edge))
    learned = np.bincount(pairs.post_ids[pairs.post_s >= warm_s], minlength=rates.size)
    for done, form in enumerate((FLOAT, FIXED), start=1):
        _engines(data, settings, form, rule, pairs, learned)
        report("stop-learning", done, 5)
    for done, (form, board) in enumerate(settings.boards().items(), start=3):
        try:
            read = emulated_readings(rule, pairs, board)
        except BcallError as problem:
            data.notes.append(f"*/{form} is missing: {problem}")
            continue
        if read.x_s_post is not None:
            opened = (stop.theta_lo < read.x_s_post) & (read.x_s_post < stop.theta_hi) & (pairs.post_s >= warm_s)
            _add_open(data, form, np.bincount(pairs.post_ids[opened], minlength=rates.size), learned)
        for name, p in (("gated", rule), ("ungated", settings.plain_rule)):
            gained, _ = changes_from_readings(scaled(p, _UNCLIPPED), pairs, read)
            _add_gain(data, f"gain-{name}/{form}", gained)
        report("stop-learning", done, 5)
    data.checks = _checks(data, settings, stop)
    return data


def _engines(
    data: FigureData, settings: FigureSettings, form: str, rule: RuleParameters, pairs: trains.Pairs, learned: IntArray
) -> None:
    def changes(p: RuleParameters, w_hid: float) -> FloatArray:
        return float_changes(p, pairs, w_hid) if form == FLOAT else fixed_changes(p, pairs, settings.dt_us, w_hid)

    step = 2.0**-12  # every post spike in the open window lowers the weight by this much, exactly
    counting = rule.model_copy(update={"c_p": 0.0, "c_d1": 0.0, "c_d2": -step, "theta_i": 1.0, "a_i": 0.5})
    _add_open(data, form, np.rint(-changes(counting, 1.0) / step).astype(np.int64), learned)
    for name, p in (("gated", rule), ("ungated", settings.plain_rule)):
        _add_gain(data, f"gain-{name}/{form}", changes(scaled(p, _UNCLIPPED), 0.5))


def _add_open(data: FigureData, form: str, opened: IntArray, learned: IntArray) -> None:
    share = opened.reshape(RATES_HZ.size, -1).sum(axis=1) / np.maximum(1, learned.reshape(RATES_HZ.size, -1).sum(axis=1))
    data.curves.append(curve(f"open/{form}", RATES_HZ, "Hz", share))


def _add_gain(data: FigureData, name: str, changes: FloatArray) -> None:
    gain = changes.reshape(RATES_HZ.size, -1).mean(axis=1) / (_UNCLIPPED * _LEARN_S)
    data.curves.append(curve(name, RATES_HZ, "Hz", gain, "1/s"))


def _checks(data: FigureData, settings: FigureSettings, stop: StopLearning) -> list[Check]:
    d = settings.preset == "D"
    low, high = window_edges_hz(stop)
    near = (abs(low - 9.3) < 0.05 and abs(high - 86.4) < 0.05) if d else None
    checks = [Check("window edges", "9.3 and 86.4 Hz" if d else "from the closed form", f"{low:.1f} and {high:.1f} Hz", near)]
    for form in (FLOAT, FIXED):
        share = dict(zip(data.curve(f"open/{form}").x, data.curve(f"open/{form}").y, strict=True))
        inside = min(share[r] for r in (15.0, 20.0, 25.0, 30.0, 40.0))
        met = (inside >= 0.97, max(share[2.0], share[120.0]) <= 0.05, 0.3 <= share[80.0] <= 0.6)
        asked = (("15 to 40 Hz", "at least 0.97", inside), ("2 and 120 Hz", "at most 0.05", max(share[2.0], share[120.0])),
                 ("80 Hz", "0.3 to 0.6", share[80.0]))  # fmt: skip
        for (where, wanted, found), good in zip(asked, met, strict=True):
            checks.append(Check(f"open share at {where}, {form}", wanted, f"{found:.3f}", bool(good) if d else None))
        gated, ungated = (dict(zip(RATES_HZ, data.curve(f"gain-{k}/{form}").y, strict=True)) for k in ("gated", "ungated"))
        for rate, wanted, limits in ((150.0, "at most 1 %", (0.0, 0.01)), (50.0, "at least 85 %", (0.85, 1.15))):
            ratio = abs(gated[rate] / ungated[rate])
            held = bool(limits[0] <= ratio <= limits[1]) if d else None
            checks.append(Check(f"gated against ungated change at {rate:g} Hz, {form}", wanted, f"{ratio:.1%}", held))
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
