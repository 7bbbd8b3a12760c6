"""The report page of a calibration."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bcall_hw import report
from bcall_hw.arrays import FloatArray
from bcall_hw.calibrate.reasons import EXCLUDED, FAILED
from bcall_hw.calibrate.run import Outcome
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Measured
from bcall_hw.chip_model import ChipModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BEFORE, _AFTER, _TARGET = "#b9c4ce", "#1f4e79", "#b0413e"
#: Circuit whose capacitance is a part of a quantity's scale.
_CIRCUITS = {"tau_s": "soma", "refractory_s": "refractory", "pulse_width_s": "pulse", "adaptation.tau_s": "AHP"}
_COLUMNS = 4


def write_page(path: Path, outcome: Outcome, chip: ChipModel) -> None:
    """Write the page: what succeeded, residuals of every core, histograms, F-I curves, and what is left out."""
    record, measured = outcome.record, outcome.measured
    good = sum(m.ok for m in measured)
    board = f"Board {record.board}, {record.backend}, {record.date}" if record else "Nothing could be measured"
    emulated = record is not None and record.backend.startswith("emulator")
    lead = (
        f"{board}: {good} of {len(measured)} pairs of core and parameter calibrated in {outcome.board_s:.0f} s of board time. "
    )
    lead += "Everything comes from spikes; success is a held-out measurement on the final codes."
    lead += " The board is an emulated one: no chip was measured." if emulated else ""
    page = report.Page(f"Calibration of {chip.title}", lead)
    groups = _by_quantity(measured)
    page.heading("Parameters")
    page.table(
        [
            "parameter",
            "target",
            "unit",
            "median over cores",
            "worst residual (%)",
            "spread (CV)",
            "with trim or 2nd leak",
            "cores ok",
        ],
        [_row(quantity, cores) for quantity, cores in groups.items()],
    )
    failed = Counter(m.reason for m in measured if not m.ok)
    if failed:
        page.heading("What failed")
        page.items([f"{count} x {reason.value}: {FAILED[reason]}." for reason, count in failed.most_common()])
    page.heading("Residual of every core")
    page.table(["core", *groups], _residuals(groups))
    if record is not None:
        page.heading("Neurons before and after")
        for quantity in groups:
            figure = _histograms(record, quantity, groups[quantity])
            if figure is not None:
                caption = (
                    f"{quantity}: every neuron under nominal codes (grey) and under the record's codes (blue); red: target."
                )
                page.figure(figure, caption)
    if outcome.jumps:
        page.heading("BCaLL traces: jump of one event")
        page.table(
            ["core", "synapse type", "target a", "median a", "95 % interval", "spread (CV)"],
            [
                [f"chip {j.chip} core {j.core}", j.synapse, j.target, j.achieved, f"{j.interval[0]:.4g} to {j.interval[1]:.4g}",
                 j.spread if j.spread is not None else "-"]
                for j in outcome.jumps
            ],
        )  # fmt: skip
    if outcome.curves:
        page.heading("F-I curves")
        page.figure(_curves(outcome), "Rate under a constant current, by core: median neuron and quartiles, final codes.")
    if record is not None:
        page.heading("What is left out")
        _left_out(page, record, chip)
        page.heading("What next")
        page.text(
            "Give the record to every command that maps: bcall-hw map NETWORK --calibration record.json, deploy, emulate."
        )
        page.text("Ask from time to time whether it still holds: bcall-hw calibrate --check record.json.")
    page.save(path)


def _by_quantity(measured: tuple[Measured, ...]) -> dict[str, list[Measured]]:
    groups: dict[str, list[Measured]] = defaultdict(list)
    for one in measured:
        groups[one.quantity].append(one)
    return groups


def _row(quantity: str, cores: list[Measured]) -> list[object]:
    values = [m.achieved for m in cores if m.achieved is not None]
    residuals = [m.residual for m in cores if m.residual is not None]
    before = [m.spread_before for m in cores if m.spread_before is not None]
    after = [m.spread_after for m in cores if m.spread_after is not None]
    return [
        quantity, cores[0].target, cores[0].unit, float(np.median(values)) if values else "-",
        100 * max(residuals, key=abs) if residuals else "-", float(np.mean(before)) if before else "-",
        float(np.mean(after)) if after else "-", f"{sum(m.ok for m in cores)} of {len(cores)}",
    ]  # fmt: skip


def _residuals(groups: dict[str, list[Measured]]) -> list[list[object]]:
    """Residuals in per cent; a failed one with its reason."""
    places = list(dict.fromkeys((m.chip, m.core) for cores in groups.values() for m in cores))
    rows: list[list[object]] = []
    for chip, core in places:
        cells: list[object] = [f"chip {chip} core {core}"]
        for cores in groups.values():
            mine = next(m for m in cores if (m.chip, m.core) == (chip, core))
            text = "-" if mine.residual is None else f"{mine.residual:+.1%}"
            cells.append(text if mine.ok else f"{text} {mine.reason.value}")
        rows.append(cells)
    return rows


def _histograms(record: Calibration, quantity: str, cores: list[Measured]) -> Figure | None:
    """Neurons of each core in one quantity; None where the record has no gains of it."""
    gains = {(g.chip, g.core): g.gain for g in record.gains if g.quantity == quantity}
    shown = [m for m in cores if (m.chip, m.core) in gains and m.achieved is not None]
    if not shown:
        return None
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.6, 1.5 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    scale_of = {(c, k): s for c, k, q, s in record.core_scales if q == quantity}
    circuit = _CIRCUITS.get(quantity) or (quantity.partition(".")[0] if quantity.endswith(".tau_s") else "")
    whole = {str(name): value for name, value in record.capacitance_scale.items()}.get(circuit, 1.0)
    for axes, m in zip(panels, shown, strict=False):
        gain: FloatArray = np.array([g for g in gains[m.chip, m.core] if g is not None])
        before = m.target * whole * scale_of.get((m.chip, m.core), 1.0) * gain
        after = (m.achieved or np.nan) * gain
        every = np.concatenate([before, after])
        lowest, highest = (float(edge) for edge in np.percentile(every, [0.5, 99.5]))
        bins = np.geomspace(lowest, max(highest, lowest * 1.01), 30).tolist()
        axes.hist(before, bins=bins, color=_BEFORE)
        axes.hist(after, bins=bins, color=_AFTER, alpha=0.75)
        axes.axvline(m.target, color=_TARGET, linewidth=1)
        axes.set_xscale("log")
        axes.set_title(f"chip {m.chip} core {m.core}", fontsize=7)
        axes.tick_params(labelsize=6)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    figure.supxlabel(f"{quantity} ({shown[0].unit})", fontsize=8)
    figure.supylabel("neurons", fontsize=8)
    return figure


def _curves(outcome: Outcome) -> Figure:
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(outcome.curves))
    rows = -(-len(outcome.curves) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.6, 1.7 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (core, points) in zip(panels, sorted(outcome.curves.items()), strict=False):
        current, low, middle, high = np.array(sorted(points)).T
        axes.fill_between(current * 1e12, low, high, color=_BEFORE)
        axes.plot(current * 1e12, middle, ".-", color=_AFTER, markersize=4)
        axes.set_title(f"chip {core[0]} core {core[1]}", fontsize=7)
        axes.tick_params(labelsize=6)
    for axes in panels[len(outcome.curves) :]:
        axes.set_axis_off()
    figure.supxlabel("constant current as the code says (pA)", fontsize=8)
    figure.supylabel("rate (Hz)", fontsize=8)
    return figure


def _left_out(page: report.Page, record: Calibration, chip: ChipModel) -> None:
    reasons = Counter(e.reason for e in record.excluded)
    page.table(
        ["what", "how many", "why"],
        [
            ["neurons, dead", len(record.dead_neurons), "never fires"],
            *([f"neurons, {reason.value}", count, EXCLUDED[reason]] for reason, count in reasons.items()),
            ["CAM entries, dead or unclear", len(record.dead_cam), "hears nothing, or not what it was told to"],
            ["CAM tag bits, stuck", len(record.stuck_tag_bits), "the entry hears another tag than its register says"],
            ["neurons on the second leak", sum(len(s.neurons) for s in record.second_leak), "nearer to the core's median"],
        ],
    )
    page.figure(_board(record, chip), "The board's cores; each square is a neuron: grey in use, red dead, orange left out.")


def _board(record: Calibration, chip: ChipModel) -> Figure:
    """Every neuron of the board, core by core."""
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    g = chip.geometry
    side = int(np.ceil(np.sqrt(g.neurons)))
    measured = {(m.chip, m.core) for m in record.measured}
    figure = Figure(figsize=(1.3 * g.cores + 0.4, 1.45 * g.chips + 0.3), layout="constrained")
    panels = figure.subplots(g.chips, g.cores, squeeze=False)
    for of_chip in range(g.chips):
        for core in range(g.cores):
            base = to_rgb("#d5dce3" if (of_chip, core) in measured else "#ffffff")
            picture = np.tile(np.array(base), (side * side, 1))
            for c, k, neuron in record.dead_neurons:
                if (c, k) == (of_chip, core):
                    picture[neuron] = to_rgb(_TARGET)
            for e in record.excluded:
                if (e.chip, e.core) == (of_chip, core):
                    picture[e.neuron] = to_rgb("#e08a1e")
            axes = panels[of_chip, core]
            axes.imshow(picture.reshape(side, side, 3), interpolation="nearest")
            axes.set_title(f"chip {of_chip} core {core}", fontsize=7)
            axes.set_xticks([])
            axes.set_yticks([])
    return figure
