"""The report page of a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bcall_hw import report
from bcall_hw.calibrate import page_figures
from bcall_hw.calibrate.findings import TRIM_COPIES, Jump
from bcall_hw.calibrate.reasons import EXCLUDED
from bcall_hw.calibrate.run import Outcome
from bcall_hw.calibrate.summary import (
    QuantitySummary,
    by_quantity,
    core_names,
    cv,
    left_out,
    percent,
    why_failed,
    with_unit,
)
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Measured
from bcall_hw.chip_model import ChipModel
from bcall_hw.mapping import load_mapping

#: Letters of a name that the lead tells.
_LONGEST = 120


def write_page(path: Path, outcome: Outcome, chip: ChipModel) -> None:
    """Write the page: what succeeded, residuals of every core, histograms, F-I curves, what is left out, what to do next.

    Raises:
        FileProblem: it cannot be written.
    """
    record, summaries = outcome.record, by_quantity(outcome.measured)
    page = report.Page(f"Calibration of {chip.title}", _lead(outcome, chip, summaries))
    page.text(
        "Everything comes from spikes: no current and no voltage was measured, and amperes are those of the chip model's "
        "constants. Calibrated means that the core's median, measured once more on the final codes with other stimuli, lies "
        "within the tolerance of its target; a core that missed narrowly was corrected and measured again. The same estimators "
        "are used each time: intervals hold the scatter of spikes and an error of the equations as seen on virtual boards, not "
        "what real transistors do beyond these equations."
    )
    page.heading("Quantities")
    _quantities(page, summaries)
    failed = why_failed(outcome.measured)
    if failed:
        page.heading("What failed")
        page.items(failed)
    if summaries:
        page.heading("Residual of every core")
        page.text("Residual: achieved / target - 1 of the core's median. What failed is marked and gives the reason.")
        _residuals(page, summaries)
    if record is not None:
        _neurons(page, record, chip, summaries)
    if outcome.jumps:
        _jumps(page, outcome.jumps)
    figure = page_figures.curves(outcome.curves)
    if figure is not None:
        page.heading("F-I curves")
        caption = "Rate under a constant current, by core: line, the median neuron; band, lower to upper quartile."
        page.figure(figure, caption, tight=False)
    if record is not None:
        _left_out(page, record, chip)
        _mismatch(page, record, summaries)
    page.heading("What to do next")
    page.items(_next(outcome))
    page.save(path)


def _lead(outcome: Outcome, chip: ChipModel, summaries: Sequence[QuantitySummary]) -> str:
    record, pairs = outcome.record, len(outcome.measured)
    good = sum(m.ok for m in outcome.measured)
    cores = len({(m.chip, m.core) for m in outcome.measured})
    asked = f"{len(summaries)} quantities on {cores} core{'s' * (cores != 1)}"
    told = f"{good} of {pairs} calibrated ({asked}), {pairs - good} failed"
    spent = f"in {outcome.board_s:.1f} s of board time"
    if record is None:
        return (
            f"Nothing could be measured on this board, chip model {chip.name}: {told}, {spent}. There is no record, and "
            "nothing here describes a chip."
        )
    lead = f"Board {_short(record.board)}, chip model {chip.name}, {record.backend}, {record.date}: {told}, {spent}."
    if _emulated(record):
        lead += " This board is an emulated one: no chip was measured."
    return lead


def _emulated(record: Calibration) -> bool:
    """Whether the board is the emulator, in this process or behind samna."""
    return record.backend.startswith("emulator") or "virtual" in record.backend


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 2]}.."


def _place(m: Measured) -> str:
    return f"{m.chip}/{m.core}"


def _quantities(page: report.Page, summaries: Sequence[QuantitySummary]) -> None:
    if not summaries:
        page.text("No quantity was asked for, or the calibration ended before any was looked at.")
        return
    rows = []
    for s in summaries:
        worst = f"{percent(s.worst.residual)} (core {_place(s.worst)})" if s.worst else "-"
        widest = f"\u00b1{s.widest[0]:.1%} (core {_place(s.widest[1])})" if s.widest else "-"
        reasons = ", ".join(f"{reason.value} {count}" for reason, count in s.failed.most_common())
        failed = report.Mark(reasons) if s.failed else "0"
        rows.append([s.quantity, s.target, with_unit(s.median, s.unit), worst, widest, f"{s.good} of {len(s.cores)}", failed])
    header = ["quantity", "target", "median of core medians", "worst residual", "largest 95 % interval", "cores ok", "failed"]
    page.table(header, rows, wide=True)


def _residuals(page: report.Page, summaries: Sequence[QuantitySummary]) -> None:
    at = {(m.chip, m.core, s.quantity): m for s in summaries for m in s.cores}
    rows = [
        [f"{chip}/{core}", *(_residual(at.get((chip, core, s.quantity))) for s in summaries)]
        for chip, core in sorted({place[:2] for place in at})
    ]
    page.table(["core", *(s.quantity for s in summaries)], rows, wide=True)


def _residual(m: Measured | None) -> str:
    if m is None:
        return ""
    if m.ok:
        return percent(m.residual)
    return report.Mark(m.reason.value if m.residual is None else f"{percent(m.residual)} {m.reason.value}")


def _neurons(page: report.Page, record: Calibration, chip: ChipModel, summaries: Sequence[QuantitySummary]) -> None:
    mapping, without = load_mapping(chip), []
    figures = [(s, page_figures.histograms(record, mapping, s)) for s in summaries]
    if not any(figure for _, figure in figures):
        return
    page.heading("Neurons before and after")
    page.text(
        "Each neuron under nominal codes (grey) and under the record's codes (blue), and the target (red line). A core's codes "
        "move all its neurons together: they shift a histogram and do not narrow it. Both are computed from the measured "
        "medians and gains; of weights, grey has pulse width and time constant already in place. Without trim and second "
        "leak. The outermost bars hold what lies beyond."
    )
    for s, figure in figures:
        if figure is None:
            without.append(s.quantity)
        else:
            page.figure(figure, f"{s.quantity}, before and after, target {s.target}.", tight=False)
    if without:
        page.text(f"The record holds no values of single neurons for {', '.join(without)}.")


def _jumps(page: report.Page, jumps: Sequence[Jump]) -> None:
    """What one event does to a BCaLL trace: over cores, and core by core."""
    page.heading("BCaLL traces: jump of one event")
    page.text("The jump a = 1 - exp(-T / tau), from the pulse width T and the time constant tau of the held-out measurement.")
    types, rows = list(dict.fromkeys(j.synapse for j in jumps)), list[list[object]]()
    for kind in types:
        mine = [j for j in jumps if j.synapse == kind]
        width, at = max((max(abs(end / j.achieved - 1.0) for end in j.interval), (j.chip, j.core)) for j in mine)
        spreads = [j.spread for j in mine if j.spread is not None]
        rows.append(
            [
                kind, mine[0].target, float(np.median([j.achieved for j in mine])), f"\u00b1{width:.1%} ({core_names([at])})",
                cv(float(np.median(spreads)) if spreads else None),
            ]
        )  # fmt: skip
    page.table(["synapse type", "target a", "median over cores", "largest 95 % interval", "spread (CV)"], rows)
    at_core = {(j.chip, j.core, j.synapse): f"{j.achieved:.4g} ({percent(j.achieved / j.target - 1.0)})" for j in jumps}
    cores = sorted({place[:2] for place in at_core})
    told = [[f"{chip}/{core}", *(at_core.get((chip, core, kind), "") for kind in types)] for chip, core in cores]
    page.table(["core, median a", *types], told, wide=True)


def _left_out(page: report.Page, record: Calibration, chip: ChipModel) -> None:
    page.heading("What is left out")
    rows: list[list[object]] = [
        [f"neurons, {reason.value}", count, EXCLUDED[reason]] for reason, count in left_out(record).items() if count
    ]
    rows += [
        ["neurons, in all", sum(left_out(record).values()), "the mapper does not use them"],
        ["CAM entries, dead or unclear", len(record.dead_cam), "hear nothing, or not what they were told to"],
        ["CAM tag bits, stuck", len(record.stuck_tag_bits), "the entry hears another tag than its register says"],
    ]
    page.table(["what", "how many", "why"], rows)
    page.figure(
        page_figures.board(record, chip),
        "The board, each small square a neuron: in use, or left out by reason; a dot: some of its CAM entries are bad.",
    )


def _mismatch(page: report.Page, record: Calibration, summaries: Sequence[QuantitySummary]) -> None:
    """What the record does about the differences of neurons on one core."""
    page.heading("Second leak and trim")
    page.text(
        "Neurons of a core share its codes. Two things bring them nearer to each other: the second leak bias, for neurons "
        "whose membrane time constant it suits better, and trim, which gives a neuron with weak events more CAM entries. "
        f"Spread is the CV over the neurons of a core, median over cores; after, weights are those of {TRIM_COPIES} entries, "
        "computed from the measured values and not measured again."
    )
    rows = [[s.quantity, cv(s.before), cv(s.after), _remedy(s)] for s in summaries if s.before is not None]
    if rows:
        page.table(["quantity", "spread before", "spread after", "by"], rows)
    if record.second_leak:
        ratios = [leak.ratio for leak in record.second_leak]
        on_second = sum(len(leak.neurons) for leak in record.second_leak)
        page.text(
            f"{on_second:,} neurons of {len(ratios)} core{'s' * (len(ratios) != 1)} take the second leak, whose current is "
            + (f"{min(ratios):.3g} to {max(ratios):.3g}" if len(ratios) > 1 else f"{ratios[0]:.3g}")
            + " times the first's."
        )
    else:
        page.text("No neuron takes the second leak.")


def _remedy(s: QuantitySummary) -> str:
    if s.after is None or s.before is None or abs(s.after - s.before) < 5e-4:
        return "-"
    return "second leak" if s.quantity == "tau_s" else "trim"


def _next(outcome: Outcome) -> list[str]:
    record = outcome.record
    if record is None:
        return [
            "There is nothing to map with: the chip's nominal values stay in use.",
            "See to what failed, then calibrate again: bcall-hw calibrate; with --quick it tries one core alone.",
        ]
    told = [
        "Map with the record that was written beside this page: bcall-hw map NETWORK --calibration record.json; emulate and "
        "deploy take the same option. It is for this board alone, and is refused on another.",
        "Ask from time to time whether it still holds: bcall-hw calibrate --check record.json."
        + (f" It expires on {record.expires}." if record.expires else ""),
    ]
    if record.sha256:
        told.append(f"The record's hash: {record.sha256}.")
    bad = sorted({(m.chip, m.core) for m in outcome.measured if not m.ok})
    if bad:
        told.insert(
            0,
            f"Something failed on {core_names(bad)}. The mapper takes what the record has and does not avoid these cores: "
            "see to what failed and calibrate again, or keep networks on other chips with --chips.",
        )
    return told
