"""A self-contained report page: pictures and tables in one HTML file that needs no network."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bcall_hw import __version__, files
from bcall_hw.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b2733; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
figure { margin: 1rem 0; } img { max-width: 100%; } figcaption { color: #51606e; font-size: .92rem; }
table { border-collapse: collapse; margin: .6rem 0; }
td, th { padding: .25rem .8rem; border-bottom: 1px solid #d5dce3; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
td.bad { color: #9b1c1c; background: #fbeaea; font-weight: 600; }
.wide { overflow-x: auto; font-size: .75rem; line-height: 1.3; } .wide td, .wide th { padding: .25rem .4rem; }
p, li, td, th, h1 { overflow-wrap: break-word; } code { font-size: .85rem; overflow-wrap: anywhere; }
"""


class Mark(str):
    """Text of a cell that stands out, by a sign and by colour: something failed."""

    __slots__ = ()


class Page:
    """A page under construction: add parts in order, then save."""

    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1><p>{html.escape(lead)}</p>"]

    def heading(self, text: str) -> None:
        """A section heading."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]], *, wide: bool = False) -> None:
        """A table; numbers are set flush right.

        Args:
            wide: small type, lines may end at a dot or an underscore, and what is wider than the page scrolls.
        """
        head = "".join(f"<th>{html.escape(h)}</th>" for h in header)
        body = "".join("<tr>" + "".join(_cell(c) for c in row) + "</tr>" for row in rows)
        if wide:
            head, body = (re.sub(r"([a-zA-Z][._])(?=[a-zA-Z]{2})", r"\1<wbr>", part) for part in (head, body))
            self._parts.append(f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>')
        else:
            self._parts.append(f"<table><tr>{head}</tr>{body}</table>")

    def figure(self, figure: Figure, caption: str, *, tight: bool = True) -> None:
        """A picture with a caption, embedded as PNG.

        Args:
            tight: cut white margins off, for which everything is drawn twice.
        """
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight" if tight else None)
        data = base64.b64encode(buffer.getvalue()).decode()
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
        )

    def picture(self, source: str, caption: str) -> None:
        """A picture that lies beside the page."""
        text = html.escape(caption)
        self._parts.append(f'<figure><img alt="{text}" src="{html.escape(source)}"></figure>')

    def items(self, texts: Sequence[str]) -> None:
        """A list of short texts."""
        self._parts.append("<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>")

    def save(self, path: Path) -> None:
        """Write the page."""
        body = "\n".join(self._parts)
        text = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(self._title)}</title>'
            f'<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>{_STYLE}</style></head>'
            f"<body>{body}<hr><p>bcall_hw {__version__}</p></body></html>"
        )
        files.write_text(path, text)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, float):
        return f'<td class="n">{value:.4g}</td>'
    if isinstance(value, int):
        return f'<td class="n">{value:,}</td>'
    if isinstance(value, Mark):
        return f'<td class="bad">\u2717 {html.escape(value)}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def confusion_figure(confusion: IntArray) -> Figure:
    """Rows are true classes, columns are answers."""
    figure, (axes,) = _figure(5.2, 4.6)
    axes.imshow(confusion, cmap="Blues")
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if count > confusion.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    axes.set(xlabel="answer (class)", ylabel="true class", xticks=range(len(confusion)), yticks=range(len(confusion)))
    return figure


def raster_figure(trains: Mapping[str, tuple[IntArray, FloatArray]], duration_s: float, start_s: float = 0.0) -> Figure:
    """One panel per group: a dot for each spike, time in ms."""
    figure, panels = _figure(8.5, 2.2 * len(trains), len(trains), 1)
    for axes, (name, (ids, times_us)) in zip(panels, trains.items(), strict=True):
        axes.plot(times_us / 1000, ids, ".", markersize=1.6, color="#1f4e79")
        axes.set(ylabel=f"{name} (index)", xlim=(0, duration_s * 1000))
        if start_s:
            axes.axvline(start_s * 1000, color="#b0413e", linewidth=0.8)
    panels[-1].set(xlabel="time (ms)")
    return figure


def weights_figure(images: FloatArray, names: Sequence[str], colour_label: str) -> Figure:
    """One small picture per class, shape (classes, rows, columns), values in [0, 1]."""
    columns = min(len(images), 10)
    rows = -(-len(images) // columns)
    figure, panels = _figure(9.0, 1.25 * rows + 0.2, rows, columns)
    shown = None
    for axes in panels:
        axes.set_axis_off()
    for axes, image, name in zip(panels, images, names, strict=False):
        shown = axes.imshow(image, cmap="viridis", vmin=0, vmax=1)
        axes.set_title(name, fontsize=8)
    if shown is not None:
        figure.colorbar(shown, ax=panels, shrink=0.8, label=colour_label)
    return figure


def histogram_figure(values: FloatArray, threshold: float, label: str) -> Figure:
    """Histogram of values in [0, 1] with a threshold line."""
    figure, (axes,) = _figure(6.0, 2.8)
    axes.hist(values, bins=50, range=(0.0, 1.0), color="#1f4e79")
    axes.axvline(threshold, color="#b0413e", linewidth=1)
    axes.set(xlabel=label, ylabel="synapses", xlim=(0, 1))
    return figure
