"""What a calibration found, as tables and as plain values."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from bcall_hw.calibrate.reasons import FAILED
from bcall_hw.calibrate.summary import by_quantity, cv, left_out, percent, why_failed, with_unit
from bcall_hw.cli.show import console

if TYPE_CHECKING:
    from bcall_hw.calibrate.check import Drift, Verdict
    from bcall_hw.calibrate.run import Outcome
    from bcall_hw.calibration import Calibration
    from bcall_hw.calibration_parts import Measured

_MEANS: dict[Verdict, str] = {
    "holds": "The record holds: nothing changed by more than the tolerance.",
    "drifted": "The record does not hold any more. Calibrate again.",
    "unknown": "Nothing is known to have drifted, but not all could be told. Calibrate again, or widen the tolerance.",
}


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain values: SI units, relative errors, 95 % intervals; None for what is not known."""
    record = outcome.record
    return {
        "ok": outcome.ok, "board": record.board if record else None, "backend": record.backend if record else None,
        "record_sha256": (record.sha256 or None) if record else None, "expires": record.expires if record else None,
        "board_s": round(outcome.board_s, 3),
        "calibrated": sum(m.ok for m in outcome.measured), "asked": len(outcome.measured),
        "excluded": {reason.value: count for reason, count in left_out(record).items()},
        "cam": {
            "dead": len(record.dead_cam) if record else 0, "stuck_bits": len(record.stuck_tag_bits) if record else 0,
        },
        "second_leak": sum(len(leak.neurons) for leak in record.second_leak) if record else 0,
        "jumps": [asdict(jump) for jump in outcome.jumps],
        "parameters": [_parameter(m) for m in outcome.measured],
    }  # fmt: skip


def _parameter(m: Measured) -> dict[str, Any]:
    return {
        "chip": m.chip, "core": m.core, "parameter": m.quantity, "unit": m.unit, "target": m.target, "achieved": m.achieved,
        "error": m.residual, "interval": list(m.interval) if m.interval else None, "spread_before": m.spread_before,
        "spread_after": m.spread_after, "neurons": m.neurons, "ok": m.ok, "reason": m.reason.value,
        "why": None if m.ok else FAILED[m.reason],
        "codes": {name: [code.coarse, code.fine] for name, code in m.codes.items()},
    }  # fmt: skip


def show_outcome(outcome: Outcome) -> None:
    """One row for each quantity, a sentence for each reason of failure, and what is left out."""
    title = f"calibration: {sum(m.ok for m in outcome.measured)} of {len(outcome.measured)} (core, parameter) ok"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, show_edge=False)
    # Fits 80 letters: heads and reasons may take more lines, names and numbers do not. Wider than the terminal, rich would
    # cut letters off without a sign.
    table.add_column("parameter", min_width=19, overflow="fold")
    for head in ("target", "median\nover\ncores", "worst\nerror", "spread\nbefore\n-> after", "cores\nok"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("reasons", overflow="fold")
    for s in by_quantity(outcome.measured):
        reasons = "\n".join(f"{reason.value} {count}" for reason, count in s.failed.most_common())
        table.add_row(
            escape(s.quantity), s.target, with_unit(s.median, s.unit), percent(s.worst.residual if s.worst else None),
            "-" if s.before is None else f"{cv(s.before, 2)} -> {cv(s.after, 2)}", f"{s.good}/{len(s.cores)}",
            f"[bold red]{reasons}[/]" if reasons else "",
        )  # fmt: skip
    console.print(table)
    for sentence in why_failed(outcome.measured):
        _say(sentence)
    record = outcome.record
    if record is None:
        _say(f"nothing could be measured: there is no record; board time {outcome.board_s:.0f} s")
        return
    counts = ", ".join(f"{count} {reason.value}" for reason, count in left_out(record).items() if count) or "none"
    cam = f"{len(record.dead_cam)} CAM entries dead, {len(record.stuck_tag_bits)} tag bits stuck"
    _say(f"board {record.board}; neurons left out: {counts}; {cam}; board time {outcome.board_s:.0f} s")


def drift_as_json(found: list[Drift], record: Calibration) -> dict[str, Any]:
    """What a check found as plain values: SI units, relative changes, 95 % intervals; None for what is not known."""
    from bcall_hw.calibrate.check import overall

    measured = [asdict(d) | {"drifted": d.drifted} for d in found]
    verdict = overall(found)
    return {"board": record.board, "verdict": verdict, "drifted": verdict == "drifted", "measured": measured}


def show_drift(found: list[Drift], record: Calibration) -> None:
    """One row for each quantity: its largest change with its interval, where, and the verdicts of the cores."""
    from bcall_hw.calibrate.check import overall, worst

    table = Table(title=f"board {record.board}: measured again, against the record of {record.date}", box=SIMPLE_HEAD)
    for column in ("parameter", "largest change", "95 % interval", "core", "verdict, cores"):
        table.add_column(column, justify="right" if column in ("largest change", "95 % interval") else "left")
    groups: dict[str, list[Drift]] = defaultdict(list)
    for drift in found:
        groups[drift.quantity].append(drift)
    for quantity, drifts in groups.items():
        most = worst(drifts)
        change = "not measurable" if most.change is None else percent(most.change)
        interval = "-" if most.interval is None else " to ".join(percent(end) for end in most.interval)
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in Counter(d.verdict for d in drifts).most_common())
        table.add_row(escape(quantity), change, interval, f"{most.chip}/{most.core}", verdicts)
    console.print(table)
    _say(_MEANS[overall(found)])


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
