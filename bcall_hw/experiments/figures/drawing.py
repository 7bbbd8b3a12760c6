"""How the figures are drawn: one style for each form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bcall_hw.experiments.figures.curves import Curve, FigureData
from bcall_hw.experiments.figures.forms import CLOSED, EMULATED, FINITE, FIXED, FLOAT, LABELS, MISMATCHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: dict[str, dict[str, Any]] = {
    CLOSED: {"color": "0.75", "linewidth": 5.0, "zorder": 1, "solid_capstyle": "butt"},
    MISMATCHED: {"color": "#d98c3f", "linewidth": 1.2, "zorder": 2},
    FINITE: {"color": "#4f8a5b", "linewidth": 1.2, "linestyle": "-.", "zorder": 3},
    EMULATED: {"color": "#b0413e", "linestyle": "none", "marker": "o", "markersize": 3.0, "zorder": 7},
    FLOAT: {"color": "#1b2733", "linewidth": 1.4, "zorder": 5},
    FIXED: {"color": "#4f9bd9", "linewidth": 1.4, "linestyle": (0, (1, 2)), "zorder": 6},
}


#: Where a form that is drawn as points elsewhere is a course over time.
SOLID: dict[str, dict[str, Any]] = {EMULATED: {"marker": "none", "linestyle": "-", "linewidth": 2.5, "zorder": 2}}


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """An empty figure (inch) with its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.ravel():
        one.tick_params(labelsize=9)
    return figure, list(axes.ravel())


def line(axes: Axes, found: Curve, *, scale: float = 1.0, **style: Any) -> None:
    """One curve in the style of its form; its spread as a band."""
    x, y = np.array(found.x), np.array(found.y) * scale
    look = STYLES.get(found.form, {}) | style
    axes.plot(x, y, **look)
    if found.sd is not None:
        sd = np.array(found.sd) * scale
        axes.fill_between(x, y - sd, y + sd, color=look.get("color"), alpha=0.18, linewidth=0, zorder=0)


def forms(axes: Axes, data: FigureData, check: str, scale: float = 1.0, **style: Any) -> None:
    """All forms of one check."""
    for found in data.forms(check):
        line(axes, found, scale=scale, **style)


def legend(axes: Axes, data: FigureData, check: str, solid: bool = False, **where: Any) -> None:
    """The legend of the forms that a check has."""
    from matplotlib.lines import Line2D

    present = [f for f in STYLES if any(c.form == f for c in data.forms(check))]
    banded = {c.form for c in data.forms(check) if c.sd is not None}
    handles = [
        Line2D(
            [], [], label=LABELS[f] + (" (mean, sd)" if f in banded else ""), **STYLES[f] | (SOLID if solid else {}).get(f, {})
        )
        for f in present
    ]
    axes.legend(handles=handles, fontsize=8, frameon=False, **where)
