"""Verdicts in words."""

from __future__ import annotations

import numpy as np

from bcall_hw.compare.result import Verdict
from bcall_hw.compare.settings import Settings


def too_few(repeats: int, settings: Settings) -> str:
    """That there are not enough repeats."""
    return f"{repeats} {'repeat' if repeats == 1 else 'repeats'} on a side, {settings.min_repeats} are needed"


def reason(
    verdict: Verdict, ratio: float, upper: float, same: bool, defined: bool, repeats: list[int], settings: Settings
) -> str:
    """Why one quantity of one population is judged so."""
    if same and defined:
        return "the spikes are the same, repeat by repeat"
    if not defined:
        return "too few spikes for it"
    if min(repeats) < settings.min_repeats:
        return too_few(min(repeats), settings)
    shown = "infinitely often" if np.isinf(ratio) else f"{ratio:.3g} times"
    if verdict is Verdict.DIFFERENT:
        small = f"; below the margin of {settings.margin:g}, yet more than chance" if upper < settings.margin else ""
        return f"the distance across is {shown} that within, and the labels of the repeats matter{small}"
    if verdict is Verdict.EQUIVALENT:
        return f"the ratio is {ratio:.3g}, at most {upper:.3g}"
    return f"no difference found, but the ratio may be as large as {upper:.3g} (margin {settings.margin:g})"
