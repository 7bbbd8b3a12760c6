"""What a calibration found, as tables and as plain values."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from bcall_hw.calibrate.reasons import FAILED
from bcall_hw.cli.show import console
from bcall_hw.failure_reasons import FailureReason

if TYPE_CHECKING:
    from bcall_hw.calibrate.check import Drift
    from bcall_hw.calibrate.run import Outcome
    from bcall_hw.calibration import Calibration
    from bcall_hw.calibration_parts import Measured


def by_quantity(measured: tuple[Measured, ...]) -> dict[str, list[Measured]]:
    """The measurements of each quantity, core by core."""
    found: dict[str, list[Measured]] = defaultdict(list)
    for one in measured:
        found[one.quantity].append(one)
    return found


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain values."""
    record = outcome.record
    excluded = Counter(e.reason.value for e in record.excluded) if record else Counter[str]()
    return {
        "ok": outcome.ok, "board": record.board if record else None, "backend": record.backend if record else None,
        "record_sha256": record.sha256 if record else None, "board_s": round(outcome.board_s, 3),
        "calibrated": sum(m.ok for m in outcome.measured), "asked": len(outcome.measured),
        "neurons": {"dead": len(record.dead_neurons) if record else 0} | dict(excluded),
        "cam": {
            "dead": len(record.dead_cam) if record else 0, "stuck_bits": len(record.stuck_tag_bits) if record else 0,
        },
        "jumps": [asdict(jump) for jump in outcome.jumps],
        "parameters": [
            {
                "chip": m.chip, "core": m.core, "parameter": m.quantity, "unit": m.unit, "target": m.target,
                "achieved_median": m.achieved, "error": m.residual, "interval": m.interval, "spread_before": m.spread_before,
                "spread_after": m.spread_after, "neurons": m.neurons, "ok": m.ok, "reason": m.reason.value,
                "codes": {name: [code.coarse, code.fine] for name, code in m.codes.items()},
            }
            for m in outcome.measured
        ],
    }  # fmt: skip


def show_outcome(outcome: Outcome) -> None:
    """One row for each quantity, and a sentence for each reason of failure."""
    table = Table(title=f"calibration: {sum(m.ok for m in outcome.measured)} of {len(outcome.measured)} (core, parameter) ok")
    for column in ("parameter", "target", "median over cores", "worst error", "spread", "with trim or 2nd leak", "cores ok"):
        table.add_column(column, justify="left" if column == "parameter" else "right")
    reasons: Counter[FailureReason] = Counter()
    for quantity, cores in by_quantity(outcome.measured).items():
        values = [m.achieved for m in cores if m.achieved is not None]
        errors = [m.residual for m in cores if m.residual is not None]
        first = cores[0]
        table.add_row(
            quantity, f"{first.target:.4g} {first.unit}", f"{np.median(values):.4g}" if values else "-",
            f"{max(errors, key=abs):+.1%}" if errors else "-", _mean(m.spread_before for m in cores),
            _mean(m.spread_after for m in cores), f"{sum(m.ok for m in cores)} / {len(cores)}",
        )  # fmt: skip
        reasons.update(m.reason for m in cores if not m.ok)
    console.print(table)
    for reason, count in reasons.most_common():
        console.print(f"{count} x {reason.value}: {FAILED[reason]}")
    record = outcome.record
    if record is not None:
        excluded = Counter(e.reason.value for e in record.excluded)
        parts = [f"{len(record.dead_neurons)} dead", *(f"{count} {reason}" for reason, count in sorted(excluded.items()))]
        cam = f"{len(record.dead_cam)} CAM entries dead, {len(record.stuck_tag_bits)} tag bits stuck"
        console.print(f"neurons left out: {', '.join(parts)}; {cam}; board time {outcome.board_s:.0f} s")


def show_drift(found: list[Drift], record: Calibration) -> None:
    """One row for each quantity: its largest change."""
    table = Table(title=f"board {record.board}: measured again, against the record of {record.date}")
    for column in ("parameter", "largest change", "where", "cores drifted"):
        table.add_column(column, justify="right" if column == "largest change" else "left")
    groups: dict[str, list[Drift]] = defaultdict(list)
    for drift in found:
        groups[drift.quantity].append(drift)
    for quantity, drifts in groups.items():
        worst = max(drifts, key=lambda d: float("inf") if d.change is None else abs(d.change))
        change = "not measurable" if worst.change is None else f"{worst.change:+.2%}"
        count = sum(d.drifted for d in drifts)
        table.add_row(quantity, change, f"chip {worst.chip} core {worst.core}", f"{count} / {len(drifts)}")
    console.print(table)
    console.print("Calibrate again." if any(d.drifted for d in found) else "Nothing drifted beyond the tolerance.")


def _mean(values: Any) -> str:
    known = [v for v in values if v is not None]
    return f"{np.mean(known):.3f}" if known else "-"
