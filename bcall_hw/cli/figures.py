"""bcall-hw figures and traces: the rule as checks and pictures, and what a core can hold of it."""

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
from bcall_hw.errors import FileProblem, InvalidValue
from bcall_hw.files import folder_of_one_run, is_file


def figures(
    figure: Annotated[str, typer.Argument(help="1, 2, 3, 4, 5, bistability, stop-learning, or all.")] = "all",
    out: Annotated[Path, typer.Option(help="Folder for pictures, numbers and gallery page.")] = Path("out/figures"),
    preset: Annotated[str, typer.Option(help="Preset of the rule: D, 1.X1, 2.0, 3.0 or 4.0.")] = "D",
    seed: Seed = 0,
    mismatch_cv: Mismatch = 0.2,
    data: Annotated[Path | None, typer.Option(help="Folder with the MNIST files, for figure 5 (extra \\[vision]).")] = None,
    chip: Chip = DEFAULT_CHIP,
    dt_us: StepUs = DEFAULT_STEP_US,
    resume: Resume = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if a check does not hold.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw the paper's figures in float, fixed point and on emulated circuits, and check what their captions ask.

    Leaves FIGURE.json, .png and .svg of each, gallery.md and index.html. Figure 5 is left out of "all" without --data.
    """
    from bcall_hw.experiments.figures.gallery import figure_names, make, make_all, not_applicable, write_gallery
    from bcall_hw.experiments.figures.linear_classifier import PARTIAL
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
    if "5" not in due and (resume or (data is not None and figure != "all")):
        raise InvalidValue("are for figure 5", where="--data and --resume", used=f"figure {figure}")
    quick, slow = [name for name in due if name != "5"], [name for name in due if name == "5"]
    with folder_of_one_run(out), progress_bars(as_json) as report:
        unfinished = is_file(out / PARTIAL)
        if slow and unfinished and not resume:
            fix = f"Go on with --resume, or remove {PARTIAL} to begin anew."
            raise FileProblem("an unfinished figure 5 lies here", where=str(out), fix=fix)
        if len(quick) > 1:
            made |= {name: found.as_dict() for name, found in make_all(quick, settings, out, report).items()}
            write_gallery(out)  # there to look at while figure 5 takes its minutes
        for name in (quick if len(quick) == 1 else []) + slow:
            going_on = resume and (figure != "all" or unfinished)
            made[name] = make(name, settings, out, report, data, going_on).as_dict()
        write_gallery(out)
    checks = {name: values["checks"] for name, values in made.items()}
    failed = sum(check["met"] is False for rows in checks.values() for check in rows)
    if as_json:
        files = {name: [str(out / f"{name}.{kind}") for kind in ("json", "png", "svg")] for name in made}
        elapsed = time.perf_counter() - started
        print(json.dumps({"files": files, "checks": checks, "failed": failed, "skipped": skipped, "elapsed_s": elapsed}))
    else:
        for name, values in made.items():
            show.checks(f"figure {name}: {values['title']}", values["checks"])
        for name, reason in skipped.items():
            notes.print(f"figure {name} is left out: {reason}", markup=False, highlight=False, soft_wrap=True)
        asked = sum(check["met"] is not None for rows in checks.values() for check in rows)
        text = f"{asked - failed} of {asked} checks hold; gallery: {out / 'index.html'}"
        show.console.print(text, soft_wrap=True, highlight=False, markup=False)
    if strict and failed:
        raise typer.Exit(1)


def traces(
    preset: Annotated[str | None, typer.Option(help="Preset of the rule: D (if nothing is said), 1.X1, 2.0, 3.0, 4.0.")] = None,
    tau_s: Annotated[float | None, typer.Option(help="Time constant of one trace of your own (s), with --jump.")] = None,
    jump: Annotated[float | None, typer.Option(help="Jump a of that trace, between 0 and 1.")] = None,
    rate_hz: Annotated[float, typer.Option(help="Poisson rate at which means are compared (Hz).")] = 50.0,
    chip: Chip = DEFAULT_CHIP,
    as_json: AsJson = False,
) -> None:
    """Tell how well a core of the chip holds the traces of a rule: pulse width, codes, and the error of each."""
    from bcall_hw.calibration import load_calibration
    from bcall_hw.chip_model import load_chip
    from bcall_hw.rule.parameters import preset as named
    from bcall_hw.trace_circuit import TraceTarget, overview, rule_traces

    if (tau_s is None) != (jump is None):
        raise InvalidValue("a trace of your own needs both", where="--tau-s and --jump", used=(tau_s, jump))
    if preset is not None and tau_s is not None:
        raise InvalidValue("a preset, or a trace of your own", where="--preset and --tau-s", used=(preset, tau_s))
    if not 0.0 < rate_hz <= 1e4:
        raise InvalidValue("impossible rate (Hz)", where="--rate-hz", used=rate_hz, limit="0 to 10,000")
    asked = rule_traces(named(preset or "D")) if tau_s is None or jump is None else {"own": TraceTarget(tau_s, jump)}
    model = load_chip(chip)
    rows = overview(asked, model, load_calibration(model), rate_hz)
    if as_json:
        print(json.dumps({"chip": chip, "preset": None if tau_s else preset or "D", "rate_hz": rate_hz, "traces": rows}))
    else:
        show.traces(rows, rate_hz)
    if all("problem" in row for row in rows):
        raise typer.Exit(2)
