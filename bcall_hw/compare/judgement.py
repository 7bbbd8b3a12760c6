"""One quantity of one population: from its evidence to a verdict and its reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from bcall_hw.compare import quantities
from bcall_hw.compare.result import Quantity, Verdict
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.verdict import Judged, ratio_of


@dataclass(frozen=True)
class Evidence:
    """What a quantity is judged by.

    Attributes:
        judged: distances, and p-values before correction.
        p, p_equivalence: corrected over all quantities and populations.
        order_matters: repeats follow from one another.
        farthest: the largest mean distance within a side over all lags between repeats.
        repeats: of A and of B.
        same: the spikes of both sides are the same.
    """

    judged: Judged
    p: float
    p_equivalence: float
    order_matters: bool
    farthest: float
    repeats: tuple[int, int]
    same: bool


def judged_quantity(population: str, name: str, evidence: Evidence, stimuli: int, settings: Settings) -> Quantity:
    """The quantity's verdict.

    Where the order of repeats matters they are not exchangeable: a difference is then believed only if it exceeds the distance
    of those repeats of one side that are farthest apart, which is not 0, by more than the margin, with a bound at the level of
    the test; and nothing is called equivalent.

    Args:
        stimuli: under which it is defined.
    """
    judged, same = evidence.judged, evidence.same
    defined = bool(np.isfinite(judged.across))
    ratio, across, p, p_equivalence, upper = judged.ratio, judged.across, evidence.p, evidence.p_equivalence, judged.ratio_upper
    z = float(stats.norm.isf(settings.alpha))
    order_matters = evidence.order_matters
    if same and defined:
        across, ratio, p, p_equivalence, upper = 0.0, ratio_of(0.0, judged.within), 1.0, 0.0, 0.0
        verdict = Verdict.EQUIVALENT
    elif not defined or min(evidence.repeats) < settings.min_repeats:
        verdict = Verdict.NOT_ENOUGH_DATA
    elif p < settings.alpha and (
        not order_matters or across * np.exp(-z * judged.spread) > settings.margin * evidence.farthest > 0
    ):
        verdict = Verdict.DIFFERENT
    elif p_equivalence < settings.alpha_equivalence and p >= settings.alpha and not order_matters:
        verdict = Verdict.EQUIVALENT
    else:
        verdict = Verdict.NOT_ENOUGH_DATA
    return Quantity(
        name=name, population=population, unit=quantities.QUANTITIES[name].unit, distance=_known(across),
        within=_known(judged.within), ratio=_known(ratio), ratio_upper=_known(upper), p=_known(p),
        p_equivalence=_known(p_equivalence), stimuli=stimuli,
        equivalent=verdict is Verdict.EQUIVALENT, verdict=verdict,
        reason=_reason(verdict, ratio, upper, defined, evidence, settings),
    )  # fmt: skip


def too_few(repeats: int, settings: Settings) -> str:
    """That there are not enough repeats."""
    return f"{repeats} {'repeat' if repeats == 1 else 'repeats'} on a side, {settings.min_repeats} are needed"


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _reason(verdict: Verdict, ratio: float, upper: float, defined: bool, evidence: Evidence, settings: Settings) -> str:
    if not defined:
        return "too few spikes for it"
    if evidence.same:
        return "the spikes are the same, repeat by repeat"
    if min(evidence.repeats) < settings.min_repeats:
        return too_few(min(evidence.repeats), settings)
    shown = "infinitely often" if np.isinf(ratio) else f"{ratio:.3g} times"
    if verdict is Verdict.DIFFERENT:
        small = f"; below the margin of {settings.margin:g}, yet more than chance" if upper < settings.margin else ""
        return f"the distance across is {shown} that within, and the labels of the repeats matter{small}"
    if verdict is Verdict.EQUIVALENT:
        return f"the ratio is {ratio:.3g}, at most {upper:.3g}"
    if evidence.order_matters:
        return f"the ratio is {ratio:.3g}, but repeats follow from one another: they cannot show more"
    return f"no difference found, but the ratio may be as large as {upper:.3g} (margin {settings.margin:g})"
