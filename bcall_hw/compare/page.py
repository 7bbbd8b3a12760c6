"""The interactive report page of a comparison: one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw import __version__, files
from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.compare.result import Comparison, Pictures, PopulationPicture, Verdict

_SCRIPTS = (
    "values.js",
    "tables.js",
    "summary.js",
    "tabs.js",
    "plot.js",
    "raster.js",
    "scatter.js",
    "matrix.js",
    "board.js",
    "main.js",
)
_SIGN = {Verdict.EQUIVALENT: "=", Verdict.DIFFERENT: "\u2260", Verdict.NOT_ENOUGH_DATA: "?"}
#: Steps of a time in the page: finer than a spike's microsecond in every raster that a page can hold.
_TICKS = 2**32 - 1
#: Larger integers lose digits in JavaScript.
_EXACT = 2**53 - 1


def write_page(path: Path, comparison: Comparison, pictures: Pictures) -> None:
    """Write the page: verdict, sides, what to do next, and tabs with tables and pictures that can be zoomed.

    Raises:
        FileProblem: it cannot be written.
    """
    style, script = _part("page.css"), _script()
    parts = {
        "title": html.escape(f"A against B: {comparison.verdict.value}"),
        "kind": comparison.verdict.name.lower().replace("_", "-"),
        "sign": _SIGN[comparison.verdict],
        "verdict": html.escape(comparison.verdict.value),
        "why": html.escape(comparison.why),
        "version": __version__,
        "style": style, "style_hash": _hash(style), "script": script, "script_hash": _hash(script),
        "data": _json({"comparison": comparison.model_dump(), "pictures": _pictures(pictures)}),
    }  # fmt: skip
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _part("page.html"))
    files.write_text(path, text)


def _part(name: str) -> str:
    return (resources.files("bcall_hw.compare") / "page_parts" / name).read_text(encoding="utf-8")


def _script() -> str:
    return "\n".join(['(() => {\n"use strict";', *map(_part, _SCRIPTS), "})();"])


def _hash(text: str) -> str:
    """Of an inline style or script, as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that no HTML parser takes for the end of a script or a comment."""
    text = json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _plain(value: Any) -> Any:
    """Only what JavaScript reads back: NaN becomes null, infinities and huge integers become words."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Verdict):
        return value.value
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else f"{'-' if value < 0 else ''}infinity"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _pictures(pictures: Pictures) -> dict[str, Any]:
    return {
        "populations": [_population(name, picture, pictures.raster_s) for name, picture in pictures.populations.items()],
        "raster_s": pictures.raster_s, "geometry": pictures.geometry, "chip_columns": pictures.chip_columns,
    }  # fmt: skip


def _population(name: str, picture: PopulationPicture, raster_s: tuple[float, float]) -> dict[str, Any]:
    return {
        "name": name, "size": len(picture.addresses), "addresses": _packed(picture.addresses, "<u4"),
        "rate_hz": [_packed(side, "<f4") for side in picture.rate_hz],
        "isi_s": [_packed(side, "<f4") for side in picture.isi_s],
        "z": _packed(picture.z, "<f4"), "shown": _packed(picture.shown, "<u4"),
        "raster": [_spikes(*side, picture.shown, raster_s) for side in picture.raster],
        "matrices": {
            quantity: {"side": len(matrix), "values": _packed(matrix, "<f4")} for quantity, matrix in picture.matrices.items()
        },
    }  # fmt: skip


def _spikes(times_s: FloatArray, index: IntArray, shown: IntArray, raster_s: tuple[float, float]) -> dict[str, Any]:
    """Spikes in the order of their times: a time as a fraction of the raster's, a neuron as its place in `shown`."""
    start, end = raster_s
    ranked = np.argsort(shown, kind="stable")
    row = np.searchsorted(shown, index, sorter=ranked)
    known = (row < len(shown)) & np.isfinite(times_s) & (times_s >= start) & (times_s <= end)
    row[known] = ranked[row[known]]
    known[known] = shown[row[known]] == index[known]
    times, rows = times_s[known], row[known]
    order = np.argsort(times, kind="stable")
    ticks = np.rint((times[order] - start) / max(end - start, 1e-12) * _TICKS)
    small = len(shown) <= 2**16
    return {
        "count": len(times), "times": _packed(ticks, "<u4"), "rows": _packed(rows[order], "<u2" if small else "<u4"),
        "row_bytes": 2 if small else 4,
    }  # fmt: skip


def _packed(values: npt.NDArray[Any], dtype: str) -> str:
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite on the page
        return base64.b64encode(np.ascontiguousarray(values).astype(dtype).tobytes()).decode()
