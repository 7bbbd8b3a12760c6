"""bcall-hw figures: the paper's figures as checks of the rule."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show
from bcall_hw.cli.shared import AsJson, Chip, Mismatch, Resume, Seed, StepUs, notes, progress_bars
from bcall_hw.files import folder_of_one_run


def figures(
    figure: Annotated[str, typer.Argument(help="1, 2, 3, 4, 5, bistability, stop-learning, or all.")] = "all",
    out: Annotated[Path, typer.Option(help="Folder for pictures, numbers and gallery page.")] = Path("out/figures"),
    preset: Annotated[str, typer.Option(help="Preset of the rule: D, 1.X1, 2.0, 3.0 or 4.0.")] = "D",
    seed: Seed = 0,
    mismatch_cv: Mismatch = 0.2,
    data: Annotated[Path | None, typer.Option(help="Folder with the MNIST files, for figure 5 (extra [vision]).")] = None,
    chip: Chip = DEFAULT_CHIP,
    dt_us: StepUs = DEFAULT_STEP_US,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Draw the paper's figures in float, fixed point and on emulated circuits, and check what their captions ask.

    Leaves FIGURE.json, .png and .svg of each, gallery.md and index.html. Figure 5 is left out of "all" without --data.
    """
    from bcall_hw.experiments.figures.gallery import figure_names, make, make_all, not_applicable, write_gallery
    from bcall_hw.experiments.figures.settings import FigureSettings

    settings = FigureSettings(preset=preset, seed=seed, chip=chip, mismatch_cv=mismatch_cv, dt_us=dt_us)
    names, started = figure_names(figure), time.perf_counter()
    made: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for name in names if figure == "all" else []:
        reason = not_applicable(name, settings, data)
        if reason:
            skipped[name] = reason
    due = [name for name in names if name not in skipped]
    quick, slow = [name for name in due if name != "5"], [name for name in due if name == "5"]
    with folder_of_one_run(out), progress_bars(as_json) as report:
        if len(quick) > 1:
            made |= {name: found.as_dict() for name, found in make_all(quick, settings, out, report).items()}
        for name in (quick if len(quick) == 1 else []) + slow:
            going_on = resume and (figure != "all" or (out / f"{name}.partial.json").exists())
            made[name] = make(name, settings, out, report, data, going_on).as_dict()
        write_gallery(out)
    if as_json:
        files = {name: [str(out / f"{name}.{kind}") for kind in ("json", "png", "svg")] for name in made}
        checks = {name: values["checks"] for name, values in made.items()}
        elapsed = time.perf_counter() - started
        print(json.dumps({"files": files, "checks": checks, "skipped": skipped, "elapsed_s": elapsed}))
        return
    for name, values in made.items():
        show.checks(f"figure {name}: {values['title']}", values["checks"])
    for name, reason in skipped.items():
        notes.print(f"figure {name} is left out: {reason}", markup=False, highlight=False)
    failed = sum(check["met"] is False for values in made.values() for check in values["checks"])
    asked = sum(check["met"] is not None for values in made.values() for check in values["checks"])
    show.console.print(
        f"{asked - failed} of {asked} checks hold; gallery: {out / 'index.html'}", soft_wrap=True, highlight=False
    )
