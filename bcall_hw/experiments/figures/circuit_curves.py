"""The emulated curves of a check: on the nominal board, on boards with mismatch, and with finite pulses."""

from __future__ import annotations

from bcall_hw.errors import BcallError
from bcall_hw.experiments.figures.curves import Curve, FigureData, curve
from bcall_hw.experiments.figures.emulated import emulated_changes
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.experiments.figures.trains import Pairs
from bcall_hw.rule.parameters import RuleParameters

MISMATCH_COPIES = 24  # of every pair, each on other neurons


def emulated_curves(
    data: FigureData, settings: FigureSettings, check: str, rule: RuleParameters, pairs: Pairs, over: Curve, per: int = 1
) -> None:
    """Add the change of each pair on every emulated board; with mismatch mean and spread over copies on other neurons.

    A board that cannot hold the traces (a = 1 needs an endless pulse) leaves a note instead of a curve.

    Args:
        over: gives x and its unit.
        per: divide the changes by this.
    """
    for form, board in settings.boards().items():
        copies = MISMATCH_COPIES if board.mismatch_cv else 1
        try:
            changes = emulated_changes(rule, pairs.repeated(copies), board).reshape(copies, pairs.n) / per
        except BcallError as problem:
            data.notes.append(f"{check}/{form} is missing: {problem}")
            continue
        sd = changes.std(axis=0, ddof=1) if copies > 1 else None
        data.curves.append(curve(f"{check}/{form}", over.x, over.x_unit, changes.mean(axis=0), sd=sd))
