"""bcall-hw calibrate: bring the cores of a board to targets from spikes alone, with a record and a report page."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show_calibration
from bcall_hw.cli.inputs import EMULATED, board_profile, chosen_cores, refuse_for_real
from bcall_hw.cli.shared import AsJson, Chip, MaybeBoardSeed, Profile, notes, progress_bars
from bcall_hw.errors import FileProblem, InvalidValue

if TYPE_CHECKING:
    from bcall_hw.backend import Backend
    from bcall_hw.backend.emulator.profile import BoardProfile
    from bcall_hw.chip_model import ChipModel

#: Time step of an emulated board (us): what it cuts off of an interval is half of what the emulator's own default does.
_STEP_US = 50
#: A whole board's spikes in one measurement; the board backend's own limit is for networks.
_MOST_SPIKES = 20_000_000


#: Options that say how a record is made; a check takes the record as it is.
_OF_A_RECORD = ("targets", "out", "keep", "expires_days", "resume")


def calibrate(
    context: typer.Context,
    backend: Annotated[str, typer.Option(help="emulator, samna:auto, samna:<serial> or samna:virtual.")] = "emulator",
    targets: Annotated[Path | None, typer.Option(help="Targets (.toml, .json); the shipped ones if not given.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for record.json, report.html and the journal.")] = Path("out/calibration"),
    cores: Annotated[
        str | None, typer.Option(help="Cores as chip.core with commas between, e.g. 0.0,0.1; all of the board if not given.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One core (chip 0 core 0) alone.")] = False,
    budget_s: Annotated[float, typer.Option(help="Board time that may be used (s).")] = 300.0,
    keep: Annotated[
        float, typer.Option(help="Share of each core's neurons to keep; the rest, furthest off, is excluded.")
    ] = 1.0,
    expires_days: Annotated[float, typer.Option(help="How long the record holds (days).")] = 30.0,
    check: Annotated[
        Path | None, typer.Option(help="Does this record still hold? Measure a few of its quantities again.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="With --check: largest relative change that is no drift; 0.03 if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the journal in the output folder.")] = False,
    seed: Annotated[int, typer.Option(help="Shifts all stimuli against each other.", min=0, max=2**31)] = 0,
    board_seed: MaybeBoardSeed = None,
    profile: Profile = None,
    dt_us: Annotated[int, typer.Option("--dt-us", help="Time step of an emulated board (us).")] = _STEP_US,
    pulses: Annotated[str | None, typer.Option(help="ideal or finite pulses; what the backend says if not given.")] = None,
    chip: Chip = DEFAULT_CHIP,
    as_json: AsJson = False,
) -> None:
    """Measure every neuron from spikes, find codes for targets, prove them by a held-out measurement, and write a record.

    Exit code 0 when every quantity of every core was calibrated (with --check: when the record holds), 2 when not.
    """
    from bcall_hw.calibrate.page import write_page
    from bcall_hw.calibrate.run import calibrate as run
    from bcall_hw.calibrate.targets import Targets
    from bcall_hw.calibration import load_calibration, save_calibration
    from bcall_hw.chip_model import load_chip
    from bcall_hw.files import folder_of_one_run

    _require_sense(context, check)
    model, wanted = load_chip(chip), Targets.load(targets)
    chosen = _cores(cores, quick)
    record = None if check is None else load_calibration(model, check, allow_stale=True)
    board = _board(chip, backend, board_seed, profile)
    if record is not None:
        with notes.status(f"opening {backend}"):
            opened = _open(backend, model, board, dt_us, pulses, chosen or _cores_of(record))
        try:
            options = {} if tolerance is None else {"tolerance": tolerance}
            _check(opened, model, record, as_json, cores=chosen, budget_s=budget_s, seed=seed, pulses=pulses, **options)
        finally:
            opened.close()
        return
    with folder_of_one_run(out):
        journal = out / "journal.h5"
        if resume and not journal.is_file():
            raise InvalidValue("there is no journal to go on from", where="--resume", used=str(out), fix="Start without it.")
        if not resume:
            _set_aside(journal, "an unfinished run was there; its journal")
        with notes.status(f"opening {backend}"):
            opened = _open(backend, model, board, dt_us, pulses, chosen)
        try:
            with progress_bars(as_json) as report:
                outcome = run(
                    opened, model, cores=chosen, targets=wanted, budget_s=budget_s, seed=seed, keep=keep, report=report,
                    journal=journal, resume=resume, expires_days=expires_days, pulses=pulses,
                )  # fmt: skip
        finally:
            opened.close()
        _set_aside(out / "record.json", "the record that was there")  # whatever came of this run, it is not taken for it
        if outcome.record is not None:
            save_calibration(outcome.record, out / "record.json")
        write_page(out / "report.html", outcome, model)
        if not outcome.out_of_budget:
            journal.unlink(missing_ok=True)
    if as_json:
        written = str(out / "record.json") if outcome.record is not None else None
        print(json.dumps(show_calibration.as_json(outcome) | {"record": written, "report": str(out / "report.html")}))
    else:
        show_calibration.show_outcome(outcome)
        if outcome.record is not None:
            print(f"record: {out / 'record.json'}")
        print(f"report: {out / 'report.html'}")
    if not outcome.ok:
        raise typer.Exit(2)


def _set_aside(path: Path, what: str) -> None:
    """Keep an older file under another name."""
    if path.is_file():
        names = (path.with_suffix(f".before{number or ''}{path.suffix}") for number in itertools.count())
        aside = next(name for name in names if not name.exists())
        try:
            path.replace(aside)
        except OSError as problem:
            raise FileProblem(f"cannot be kept as {aside.name}: {problem.strerror}", where=str(path)) from problem
        notes.print(f"{what} is now {aside}", highlight=False)


def _require_sense(context: typer.Context, check: Path | None) -> None:
    """Refuse options that would do nothing."""
    given = {name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
    if check is None:
        if "tolerance" in given:
            fix = "Write the tolerance of a calibration into its targets (--targets)."
            raise InvalidValue("is for --check", where="--tolerance", used=context.params["tolerance"], fix=fix)
        return
    for name in _OF_A_RECORD:
        if name in given:
            where, used = "--" + name.replace("_", "-"), str(context.params[name])[:80]
            fix = "Leave it out: a check takes targets and codes from the record, and writes none."
            fix = fix if name != "targets" else f"{fix} Its tolerance is --tolerance."
            raise InvalidValue("has no meaning with --check", where=where, used=used, fix=fix)


def _cores(text: str | None, quick: bool) -> tuple[tuple[int, int], ...] | None:
    if text is None:
        return ((0, 0),) if quick else None
    if quick:
        raise InvalidValue("--quick and --cores are both given", where="--cores", used=text[:80], fix="Leave one of them out.")
    return chosen_cores(text, "--cores")


def _cores_of(record: Any) -> tuple[tuple[int, int], ...]:
    return tuple(sorted({(m.chip, m.core) for m in record.measured}))


def _board(chip: str, backend: str, seed: int | None, profile: Path | None) -> BoardProfile | None:
    """The emulated board: a hidden truth by seed (0 if neither is given), or a profile file; None for a real one."""
    refuse_for_real(backend, board_seed=seed, profile=profile)
    if backend not in EMULATED:
        return None
    return board_profile(profile, None, None, 0 if seed is None and profile is None else seed, chip)


def _open(
    backend: str, chip: ChipModel, board: BoardProfile | None, dt_us: int, pulses: str | None,
    cores: tuple[tuple[int, int], ...] | None,
) -> Backend:  # fmt: skip
    from bcall_hw.backend import open_backend

    every = tuple(range(chip.geometry.chips))
    emulated = {"profile": board, "dt_us": dt_us, "pulses": pulses or "ideal"}
    if backend == "emulator":
        chips = every if cores is None else tuple(sorted({c for c, _ in cores} & set(every))) or every
        return open_backend(backend, chip=chip, chips=chips, **emulated)
    if backend == "samna:virtual":
        return open_backend(backend, chip=chip, max_spikes=_MOST_SPIKES, **emulated)
    return open_backend(backend, chip=chip, **({"max_spikes": _MOST_SPIKES} if backend.startswith("samna:") else {}))


def _check(opened: Backend, chip: ChipModel, record: Any, as_json: bool, **options: Any) -> None:
    from bcall_hw.calibrate.check import check, overall

    with progress_bars(as_json) as report:
        found = check(opened, chip, record, report=report, **options)
    if as_json:
        print(json.dumps(show_calibration.drift_as_json(found, record)))
    else:
        show_calibration.show_drift(found, record)
    if overall(found) != "holds":
        raise typer.Exit(2)
