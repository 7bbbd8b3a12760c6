"""Making figures: numbers to JSON, pictures to PNG and SVG, and one gallery page of all that lie in a folder."""

from __future__ import annotations

import html
import io
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bcall_hw import files
from bcall_hw.errors import BackendProblem, FileProblem, UnknownName
from bcall_hw.experiments.figures import (
    bistability,
    linear_classifier,
    mean_trace,
    pair,
    rate_map,
    stdp_srdp,
    stop_learning,
)
from bcall_hw.experiments.figures.curves import FigureData, Report
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.report import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FigureModule(Protocol):
    """What the module of a figure offers; figure 5 has a face of its own, because it trains for minutes."""

    def compute(self, settings: FigureSettings, report: Report) -> FigureData:
        """The numbers."""
        ...

    def draw(self, data: FigureData) -> Figure:
        """The picture."""
        ...


MODULES: dict[str, FigureModule] = {
    "1": mean_trace, "2": pair, "3": stdp_srdp, "4": rate_map, "bistability": bistability, "stop-learning": stop_learning,
}  # fmt: skip
FIGURES = ("1", "2", "3", "4", "5", "bistability", "stop-learning")


def figure_names(wanted: str) -> list[str]:
    """The names of the figures that a word asks for: one of them, or "all".

    Raises:
        UnknownName: with the known names.
    """
    if wanted == "all":
        return list(FIGURES)
    if wanted not in FIGURES:
        raise UnknownName("no such figure", used=wanted, fix=f"Known: {', '.join(FIGURES)}, all")
    return [wanted]


def not_applicable(name: str, settings: FigureSettings, data: Path | None) -> str:
    """Why a figure is left out when all are asked for; empty if it is not."""
    if name == "5" and data is None:
        return "needs torch and torchvision (make figure-5) and the MNIST files: name their folder with --data"
    if name == "stop-learning" and settings.rule.stop_learning is None:
        return f"preset {settings.preset} has no stop-learning"
    return ""


def make_all(names: Sequence[str], settings: FigureSettings, out: Path, report: Report) -> dict[str, FigureData]:
    """Make several figures (not 5), one process each up to the number of processors, and report how many are done.

    Only this process writes: what a killed run leaves behind cannot write into the folder of a later one.

    Raises:
        As `make`. BackendProblem: a process ended without a result.
    """
    workers = min(len(names), os.cpu_count() or 1)
    if workers < 2:
        return {name: make(name, settings, out, report) for name in names}
    made: dict[str, FigureData] = {}
    others = active_children()
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_end_with_the_parent, initargs=(os.getpid(),)
    )
    try:
        jobs = {pool.submit(_computed, name, settings, _silent): name for name in names}
        report("figures", 0, len(names))
        for job in as_completed(jobs):
            name, (found, pictures) = jobs[job], job.result()
            _write(out, found, pictures)
            made[name] = found
            report("figures", len(made), len(names))
    except BrokenProcessPool:
        fix = "Make the figures one by one."
        raise BackendProblem("a process ended without a result; out of memory?", where="figures", fix=fix) from None
    finally:
        if len(made) < len(names):
            for child in active_children():
                if child not in others:
                    child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
    return {name: made[name] for name in names}


def _end_with_the_parent(parent: int) -> None:
    """Leave interrupts to the parent, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total


def make(
    name: str, settings: FigureSettings, out: Path, report: Report, data: Path | None = None, resume: bool = False
) -> FigureData:
    """Compute one figure and write NAME.json, NAME.png and NAME.svg into a folder.

    Args:
        data: folder with the MNIST files, for figure 5.
        resume: go on with what an interrupted figure 5 left.

    Raises:
        As the figure's own `compute`; FileProblem: the folder cannot be written.
    """
    if name != "5":
        found, pictures = _computed(name, settings, report)
    else:
        found = linear_classifier.compute(settings.preset, settings.seed, out, data, resume, report)
        pictures = _pictures(linear_classifier.draw(found))
    _write(out, found, pictures)
    if name == "5":
        (out / linear_classifier.PARTIAL).unlink(missing_ok=True)
    return found


def _computed(name: str, settings: FigureSettings, report: Report) -> tuple[FigureData, dict[str, bytes]]:
    """A figure's numbers and pictures."""
    found = MODULES[name].compute(settings, report)
    return found, _pictures(MODULES[name].draw(found))


def _write(out: Path, found: FigureData, pictures: Mapping[str, bytes]) -> None:
    files.write_json(out / f"{found.figure}.json", found.as_dict())
    for kind, content in pictures.items():
        files.write_bytes(out / f"{found.figure}.{kind}", content)


def _pictures(figure: Figure) -> dict[str, bytes]:
    import matplotlib

    found = {}
    # Neither a date nor random names: the same numbers give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "bcall_hw"}):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
            found[kind] = buffer.getvalue()
    return found


def read_figures(out: Path) -> list[dict[str, Any]]:
    """The figures that lie in a folder as JSON, in the order of `FIGURES`; files that are not of ours are left alone."""
    found = []
    for name in FIGURES:
        path = out / f"{name}.json"
        try:
            values = files.read_json(path) if files.is_file(path) else None
        except FileProblem:
            continue
        if isinstance(values, dict) and values.get("figure") == name and _is_ours(values):
            found.append(values)
    return found


def _is_ours(values: dict[str, Any]) -> bool:
    """Whether a JSON object has what the page shows of a figure."""
    texts = [values.get(key) for key in ("title", "preset", "bcall_hw")]
    checks, notes = values.get("checks"), values.get("notes")
    if not isinstance(checks, list) or not isinstance(notes, list) or not isinstance(values.get("settings"), dict):
        return False
    for check in checks:
        if not isinstance(check, dict) or check.get("met", 0) not in (True, False, None):
            return False
        texts += [check.get(key) for key in ("what", "wanted", "found", "origin")]
    return all(isinstance(text, str) for text in [*texts, *notes])


def write_gallery(out: Path) -> None:
    """One page of all figures in a folder, as gallery.md and as index.html."""
    figures = read_figures(out)
    files.write_text(out / "gallery.md", _markdown(figures))
    page = Page("The figures of the BCaLL rule", _LEAD)
    for values in figures:
        page.heading(_title(values))
        page.picture(f"{values['figure']}.svg", values["title"])
        page.table(_COLUMNS, _rows(values))
        page.items([*values["notes"], f"Settings: {_settings(values)}."])
    page.save(out / "index.html")


_COLUMNS = ("asked", "wanted", "found", "holds", "where the demand comes from")
_LEAD = (
    "Each figure shows what a figure of the paper shows, in float64, in fixed point and, where it applies, on emulated "
    "circuits, and checks it. Demands come from closed forms, from shapes that the paper's captions describe, from the "
    "agreement of the forms with each other, and from anchors: numbers of this project's own that tell a change. The "
    "paper's own numbers are not known here: nothing on this page claims to reproduce its accuracies, and every choice "
    "that is not in the published equations is marked as inferred. On emulated circuits a trace is the current of a DPI "
    "synapse on the emulated chip; thresholds, gate and hidden weight are computed from these currents, which a real "
    "chip does not show to its host. Mismatch lies on other neurons at each point, so its curves are jagged. The "
    "emulated circuits are a model, not a measured chip."
)


def _title(values: dict[str, Any]) -> str:
    name = values["figure"]
    return f"{f'Figure {name}: ' if name.isdigit() else ''}{values['title']} (preset {values['preset']})"


def _rows(values: dict[str, Any]) -> list[list[str]]:
    words = {True: "yes", False: "NO", None: "nothing to compare with"}
    return [[c["what"], c["wanted"], c["found"], words[c["met"]], c["origin"]] for c in values["checks"]]


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values["settings"].items())


def _markdown(figures: Sequence[dict[str, Any]]) -> str:
    def cell(text: str) -> str:
        return html.escape(text, quote=False).replace("|", "\\|")

    versions = ", ".join(sorted({values["bcall_hw"] for values in figures}))
    lines = ["# The figures of the BCaLL rule", "", f"Made by `bcall-hw figures`, version {versions}.", "", _LEAD, ""]
    for values in figures:
        name = values["figure"]
        lines += [
            f"## {_title(values)}",
            "",
            f"![{values['title']}]({name}.png)",
            "",
            f"[SVG]({name}.svg) · [numbers]({name}.json)",
            "",
        ]
        lines += ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
        lines += ["| " + " | ".join(cell(part) for part in row) + " |" for row in _rows(values)]
        lines += ["", *[f"- {cell(note)}" for note in values["notes"]], f"- Settings: {cell(_settings(values))}.", ""]
    return "\n".join(lines)
