"""The command line: bcall-hw demo | import | map | read-back | learn | calibrate | deploy | boards | emulate | figures | ..."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from bcall_hw import __version__
from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import boards, calibrate, compare, convert, deploy, emulate, figures, nir, read_back, record, show
from bcall_hw.cli import map as map_module
from bcall_hw.cli.inputs import board_profile, open_board, refuse_for_real, refuse_overwriting
from bcall_hw.cli.shared import (
    AsJson,
    Chip,
    DataOption,
    Implementation,
    MaybeBoardSeed,
    MaybeMismatch,
    Mismatch,
    Profile,
    Resume,
    Seed,
    StepUs,
    Variant,
    app,
    notes,
    progress_bars,
)  # fmt: skip
from bcall_hw.errors import InvalidValue
from bcall_hw.files import folder_of_one_run

if TYPE_CHECKING:
    from bcall_hw.experiments.classifier import ClassifierSettings


def _terminated(number: int, frame: FrameType | None) -> None:
    """End as if by an error, so that half-written files are cleared away."""
    del frame
    raise SystemExit(128 + number)


def main() -> None:
    """Entry point: a wrong option is told as JSON too where JSON was asked for."""
    usage_error: type[Exception] = typer.BadParameter.__mro__[1]  # the base class of all wrong options
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _terminated)
    try:
        code = app(standalone_mode=False)
    except usage_error as problem:
        what = problem.format_message() if hasattr(problem, "format_message") else str(problem)  # it names the option
        if "--json" in sys.argv:
            print(
                json.dumps({"error": "UsageError", "what": what or type(problem).__name__, "where": "", "fix": "See --help."})
            )
        notes.print(f"[bold red]error[/]: {escape(what)} (see --help)", soft_wrap=True, highlight=False)
        raise SystemExit(2) from None
    except typer.Abort:
        raise SystemExit(130) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Networks with the BCaLL rule on DYNAP-SE-style chips, emulated. Every command takes --json."""
    del version


@app.command()
def demo(
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for report.html, result.json and the artefacts.")] = Path("out/demo"),
    variant: Variant = "error-triggered",
    data: DataOption = "digits",
    mismatch_cv: Mismatch = 0.2,
    implementation: Implementation = "numba",
    dt_us: StepUs = DEFAULT_STEP_US,
    chip: Chip = DEFAULT_CHIP,
    alone: Annotated[bool, typer.Option("--alone", help="Do not learn the other variant beside it.")] = False,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Learn digits with BCaLL on the emulated chip, evaluate them, and write a report page."""
    from bcall_hw.experiments.dataset import load_dataset
    from bcall_hw.experiments.demo import run_demo
    from bcall_hw.experiments.presets import settings_for

    other = "pure" if variant == "error-triggered" else "error-triggered"
    settings, beside = settings_for(variant), None if alone else settings_for(other)
    with folder_of_one_run(out), progress_bars(as_json) as report:
        result = run_demo(
            settings, load_dataset(data), seed, out, mismatch_cv, implementation, dt_us,
            beside=beside, resume=resume, report=report, chip_name=chip,
        )  # fmt: skip
    if as_json:
        print(json.dumps(result))
        return
    show.demo(result, out / "report.html")


@app.command()
def learn(
    out: Annotated[Path, typer.Option(help="Folder for network, registers, checkpoint and result.")],
    data: DataOption = "digits",
    variant: Variant = "error-triggered",
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="JSON file with settings that differ from the variant's.")
    ] = None,
    neurons_per_class: Annotated[int | None, typer.Option(help="Neurons of each class.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    images: Annotated[int | None, typer.Option(help="Use only the first so many training images.")] = None,
    seed: Seed = 0,
    mismatch_cv: MaybeMismatch = None,
    profile: Profile = None,
    board_seed: MaybeBoardSeed = None,
    implementation: Implementation = "numba",
    dt_us: StepUs = DEFAULT_STEP_US,
    backend: Annotated[str, typer.Option(help="Address of the backend.")] = "emulator",
    record_to: Annotated[
        Path | None, typer.Option("--record", help="Write every word and spike into this session's file (.h5); a new one.")
    ] = None,
    chip: Chip = DEFAULT_CHIP,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Learn a classifier in the loop and leave network, registers and result in a folder."""
    from bcall_hw import files
    from bcall_hw.backend.recorder import Recorder
    from bcall_hw.chip_model import load_chip
    from bcall_hw.experiments.dataset import load_dataset
    from bcall_hw.experiments.training import learn_classifier, map_classifier
    from bcall_hw.record import made_by
    from bcall_hw.recording.writer import SessionWriter

    settings = _settings(variant, settings_file, neurons_per_class=neurons_per_class, epochs=epochs)
    dataset = load_dataset(data)
    if images is not None:
        dataset = dataset.first(images)
    refuse_for_real(backend, board_seed=board_seed)
    # With a board of its own the seed is that of network and trains alone.
    board = board_profile(profile, seed if profile is None and board_seed is None else None, mismatch_cv, board_seed, chip)
    mapped = map_classifier(settings, dataset, load_chip(chip), seed, board if board_seed is None else None)
    if record_to is not None and resume:
        fix = "Start anew, or leave --record out."
        raise InvalidValue("a recording begins at the beginning", where="--record", used="--resume", fix=fix)
    if record_to is not None:
        refuse_overwriting(record_to)
        files.check_new(record_to)
    opened = open_board(backend, mapped.config, board, implementation, dt_us)
    writer = None
    try:
        if record_to is not None:
            made = made_by(opened, f"learn {variant}")
            writer = SessionWriter(record_to, made, mapped.config.chip, mapped.addresses)
            opened = Recorder(opened, writer)
        with folder_of_one_run(out), progress_bars(as_json) as report:
            run, _, result = learn_classifier(settings, dataset, seed, out, opened, mapped, resume, report)
            if writer is not None:
                writer.learned("learned", run.learned())
            mapped.network.save(out / "network.json")
            run.loop.config.save(out / "config.h5")
            result |= {"backend": opened.name, "seed": seed, "data": dataset.name, "settings": settings.model_dump(mode="json")}
            files.write_json(out / "result.json", result)
    except BaseException:
        if writer is not None:
            writer.close(complete=False)
        raise
    finally:
        opened.close()
    if as_json:
        print(json.dumps(result))
        return
    show.figures("learned", {k: v for k, v in result.items() if k != "settings"})


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What is installed, what is missing, and what to do."""
    from bcall_hw.doctor import examine

    found = examine()
    if as_json:
        print(json.dumps(found))
    else:
        show.doctor(found)
    if found["problems"]:
        raise typer.Exit(1)


app.command("map")(map_module.map_command)
app.command("read-back")(read_back.read_back)
app.command("deploy")(deploy.deploy)
app.command("boards")(boards.boards)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(boards.virtual_board, name="virtual-board")
app.command("compare")(compare.compare)
app.command("convert")(convert.convert)
app.command("record")(record.record)
app.command("emulate")(emulate.emulate)
app.command("figures")(figures.figures)
app.command("traces")(figures.traces)
app.command("import")(nir.import_command)


# Helpers -------------------------------------------------------------------------------------------------------------


def _settings(variant: str, path: Path | None, **given: Any) -> ClassifierSettings:
    from bcall_hw import files
    from bcall_hw.experiments.classifier import ClassifierSettings
    from bcall_hw.experiments.presets import settings_for

    base = settings_for(variant).model_dump()
    if path is not None:
        own = files.read_json(path)
        if not isinstance(own, dict):
            raise InvalidValue("settings must be a JSON object", where=str(path), used=type(own).__name__)
        base |= own
    return ClassifierSettings(**(base | {k: v for k, v in given.items() if v is not None}))
