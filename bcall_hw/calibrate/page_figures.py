"""Pictures of a calibration: neurons before and after, F-I curves, and the board with what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.board_figure import draw_cores, seat_centre
from bcall_hw.calibrate.summary import Core, QuantitySummary, left_out, total_scale
from bcall_hw.calibration import Calibration
from bcall_hw.chip_model import ChipModel
from bcall_hw.failure_reasons import ExclusionReason
from bcall_hw.mapping import Mapping as BiasMapping

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEFORE, _AFTER, _TARGET = "#aab6c2", "#1f4e79", "#b0413e"
_IN_USE, _NOT_CALIBRATED, _BAD_CAM = "#d5dce3", "#f4f6f8", "#1f4e79"
#: One colour for each reason; apart for colour-blind eyes too.
_REASONS = {
    ExclusionReason.DEAD: "#1b2733",
    ExclusionReason.SILENT: "#7a5195",
    ExclusionReason.HOT: "#b0413e",
    ExclusionReason.OUTLIER: "#e08a1e",
    ExclusionReason.UNMEASURED: "#8a7f55",
    ExclusionReason.DESELECTED: "#e8c547",
}
_COLUMNS, _BINS = 4, 30
#: What the axis reaches beyond the outermost bars' neurons (decades).
_MARGIN = 0.002
#: Share of the neurons (%) at each end that the outermost bars hold together.
_TAIL = 0.5
#: Size of a panel (inch), and of one that stands alone.
_PANEL, _ALONE = (2.3, 1.45), (5.0, 2.6)


def histograms(record: Calibration, mapping: BiasMapping, summary: QuantitySummary) -> Figure | None:
    """Neurons of each core in one quantity; None where the record has no gains of it."""
    gains = {(g.chip, g.core): g for g in record.gains if g.quantity == summary.quantity}
    shown: list[tuple[Core, float, FloatArray, FloatArray]] = []
    for m in summary.cores:
        of_core = gains.get((m.chip, m.core))
        gain = np.array([g for g in of_core.gain if g is not None]) if of_core else np.array([])
        if of_core is None or not gain.size or not m.achieved or m.target <= 0 or m.achieved <= 0:
            continue
        before = m.target * total_scale(record, mapping, (m.chip, m.core), of_core.quantity) * gain
        shown.append(((m.chip, m.core), m.target, before, m.achieved * gain))
    if not shown:
        return None
    size, prefix = _readable(float(np.median([target for _, target, _, _ in shown])))
    every = np.concatenate([values for _, _, before, after in shown for values in (before, after)]) / size
    lowest, highest = (float(edge) for edge in np.percentile(every, [_TAIL, 100 - _TAIL]))
    # Logarithms on a plain axis: a logarithmic one has no ticks that can be read within less than a decade.
    edges = np.linspace(np.log10(lowest) - _MARGIN, np.log10(highest) + _MARGIN, _BINS + 1)
    ticks = np.unique([float(f"{tick:.2g}") for tick in np.logspace(edges[0], edges[-1], 6)[1:-1]])
    counts = [[_counts(values / size, edges) for values in (before, after)] for _, _, before, after in shown]
    figure, panels = _grid([core for core, *_ in shown], (edges[0], edges[-1]), (0.0, 1.08 * float(np.max(counts))))
    for axes, (_, target, _, _), pair in zip(panels, shown, counts, strict=True):
        for bars, colour, alpha in zip(pair, (_BEFORE, _AFTER), (1.0, 0.7), strict=True):
            axes.stairs(bars, edges, fill=True, color=colour, alpha=alpha)
        axes.axvline(float(np.log10(target / size)), color=_TARGET, linewidth=1)
        axes.set_xticks(np.log10(ticks).tolist(), [f"{tick:g}" for tick in ticks])
    _labels(figure, f"{summary.quantity} ({prefix}{summary.unit})", "neurons")
    return figure


def _counts(values: FloatArray, edges: FloatArray) -> IntArray:
    """How many values lie in each bin of log10; what lies beyond is in the outermost."""
    return np.histogram(np.clip(np.log10(values), edges[0], edges[-1]), bins=edges)[0]


def curves(found: Mapping[Core, Sequence[tuple[float, float, float, float]]]) -> Figure | None:
    """Rate of each core's neurons under constant currents: median and quartiles; None where no core has a point."""
    shown = sorted((core, points) for core, points in found.items() if points)
    if not shown:
        return None
    size, prefix = _readable(max(point[0] for _, points in shown for point in points))
    largest, fastest = (float(np.max([p[i] for _, points in shown for p in points])) for i in (0, 3))
    across = (0.0, 1.05 * largest / size or 1.0)
    figure, panels = _grid([core for core, _ in shown], across, (0.0, 1.05 * fastest or 1.0))
    for axes, (_, points) in zip(panels, shown, strict=True):
        current, low, middle, high = np.array(sorted(points)).T
        axes.fill_between(current / size, low, high, color=_BEFORE, linewidth=0)
        axes.plot(current / size, middle, ".-", color=_AFTER, markersize=4, linewidth=1)
    _labels(figure, f"constant current as the codes say ({prefix}A)", "rate (Hz)")
    return figure


def board(record: Calibration, chip: ChipModel) -> Figure:
    """Every neuron of the board: in use or the reason why not, and a dot where CAM entries are bad."""
    from matplotlib.figure import Figure

    cores = {(m.chip, m.core) for m in record.measured}
    every = ((of_chip, core) for of_chip in range(chip.geometry.chips) for core in range(chip.geometry.cores))
    grounds: dict[Core, object] = {core: _IN_USE if core in cores else _NOT_CALIBRATED for core in every}
    seats: dict[tuple[int, int, int], object] = {(e.chip, e.core, e.neuron): _REASONS[e.reason] for e in record.excluded}
    seats |= dict.fromkeys(record.dead_neurons, _REASONS[ExclusionReason.DEAD])
    figure = Figure(figsize=(8.0, 8.6))
    axes = figure.add_axes((0.02, 0.1, 0.96, 0.88))
    draw_cores(axes, chip, seats, {of_chip for of_chip, _ in cores}, grounds)
    bad = sorted({place[:3] for place in (*record.dead_cam, *record.stuck_tag_bits)})
    if bad:
        across, up = np.array([seat_centre(chip, *place) for place in bad]).T
        axes.scatter(across, up, s=3.5, color=_BAD_CAM, zorder=4, linewidths=0)
    handles = [axes.plot([], [], "s", color=_IN_USE, label="in use")[0]]
    if len(cores) < len(grounds):
        handles += axes.plot([], [], "s", color=_NOT_CALIBRATED, markeredgecolor=_BEFORE, label="core not calibrated")
    handles += [
        axes.plot([], [], "s", color=_REASONS[reason], label=f"{reason.value} ({count:,})")[0]
        for reason, count in left_out(record).items()
        if count
    ]
    if bad:
        handles += axes.plot([], [], ".", color=_BAD_CAM, label=f"bad CAM entries ({len(bad):,} neurons)")
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, fontsize=8, frameon=False)
    return figure


def _grid(cores: Sequence[Core], across: tuple[float, float], up: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A small panel for each core, a larger one for one that stands alone; the outer ones have the labels.

    Panels are placed by hand and share no axes: a layout engine, shared ticks and titles that look for their own place take
    longer than everything else on a page.

    Args:
        across, up: limits of all panels.
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(cores))
    rows = -(-len(cores) // columns)
    wide, high = _ALONE if len(cores) == 1 else _PANEL
    left, right, bottom, top, gap_x, gap_y = 0.65, 0.12, 0.6, 0.25, 0.12, 0.27
    width = left + columns * wide + (columns - 1) * gap_x + right
    height = bottom + rows * high + (rows - 1) * gap_y + top
    figure, panels = Figure(figsize=(width, height)), []
    for number, (chip, core) in enumerate(cores):
        row, column = divmod(number, columns)
        x, y = left + column * (wide + gap_x), bottom + (rows - 1 - row) * (high + gap_y)
        axes = figure.add_axes((x / width, y / height, wide / width, high / height), xlim=across, ylim=up)
        axes.set_title(f"chip {chip} core {core}", fontsize=8, pad=3, y=1.0)
        lowest = number + columns >= len(cores)  # of its column, maybe above an empty place
        axes.tick_params(labelsize=7, labelbottom=lowest, labelleft=column == 0)
        panels.append(axes)
    return figure, panels


def _labels(figure: Figure, across: str, up: str) -> None:
    figure.supxlabel(across, fontsize=9, y=0.08 / figure.get_figheight())
    figure.supylabel(up, fontsize=9, x=0.08 / figure.get_figwidth())


def _readable(value: float) -> tuple[float, str]:
    """Size and prefix of the unit in which a value is easy to read."""
    for size, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p")):
        if abs(value) >= size * (1 - 1e-9):
            return size, prefix
    return 1e-15, "f"
