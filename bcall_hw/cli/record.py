"""bcall-hw record: repeats of one protocol on a backend, written into a session's file while they are played."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show
from bcall_hw.cli.inputs import board_profile, open_board, poisson_rates, refuse_for_real, refuse_overwriting, source_of
from bcall_hw.cli.shared import (
    AsJson,
    Chip,
    MaybeBoardSeed,
    MaybeCalibration,
    MaybeChips,
    MaybeFanIn,
    MaybeMismatch,
    MaybeSeed,
    Profile,
    Pulses,
    StepUs,
    notes,
    progress_bars,
)
from bcall_hw.errors import BcallError, InvalidValue

if TYPE_CHECKING:
    from bcall_hw.recording.session import Session


RestJitter = Annotated[
    float, typer.Option(help="Each rest is longer by a random time up to this (s): repeats become independent of each other.")
]


def record(
    source: Annotated[Path, typer.Argument(help="Registers (.h5), or a network (.json, .toml) to map first.")],
    out: Annotated[Path, typer.Option(help="The session's file (.h5); a new one.")],
    duration_s: Annotated[float, typer.Option(help="Length of one repeat (s).")],
    repeats: Annotated[int, typer.Option(help="How often it is played; a comparison needs 10.", min=1, max=100_000)] = 10,
    rest_s: Annotated[
        float, typer.Option(help="Rest without input before each repeat (s); some of the slowest time constants.")
    ] = 0.3,
    rest_jitter_s: RestJitter = 0.5,
    warm_up_s: Annotated[float, typer.Option(help="Rest without input before the first repeat, besides (s).")] = 0.0,
    backend: Annotated[
        str, typer.Option(help="emulator, samna:auto, samna:<serial>, samna:virtual or replay:<file>.")
    ] = "emulator",
    stimulus: Annotated[Path | None, typer.Option(help="Stimulus (.h5 or .csv, see the README).")] = None,
    rate: Annotated[
        list[str] | None, typer.Option(help="Rate of the sources of a Poisson input: input=Hz; may be repeated.")
    ] = None,
    isi_base: Annotated[int | None, typer.Option(help="Clock ticks per unit of time of a .csv stimulus.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Take the place of a file that is there.")] = False,
    chip: Chip = DEFAULT_CHIP,
    chips: MaybeChips = None,
    fan_in: MaybeFanIn = None,
    calibration: MaybeCalibration = None,
    profile: Profile = None,
    seed: MaybeSeed = None,
    mismatch_cv: MaybeMismatch = None,
    board_seed: MaybeBoardSeed = None,
    dt_us: StepUs = DEFAULT_STEP_US,
    pulses: Pulses = "ideal",
    as_json: AsJson = False,
) -> None:
    """Record a session: registers, stimuli and spikes of several repeats, for replay and comparison.

    What was played is on disk at once: a killed recording holds all repeats before, and its own as far as it came.
    """
    from bcall_hw import files
    from bcall_hw.calibration import check_board
    from bcall_hw.experiments.emulation import played_stimulus, stimulus_warnings
    from bcall_hw.record import made_by
    from bcall_hw.record import record as write
    from bcall_hw.record import repeats as repeats_of
    from bcall_hw.recording.session import Session

    rates = poisson_rates(rate or [])
    if stimulus is None and not rates:
        raise InvalidValue("nothing to play", where="record", used="no --stimulus, no --rate", fix="Give one of them.")
    replayed = Path(backend.removeprefix("replay:")) if backend.startswith("replay:") else None
    refuse_overwriting(out, *(given for given in (source, stimulus, profile, calibration, replayed) if given is not None))
    files.check_new(out, overwrite)
    of_emulator = {"dt_us": (dt_us, DEFAULT_STEP_US), "pulses": (pulses, "ideal")}
    chosen = {name: None if value == usual else value for name, (value, usual) in of_emulator.items()}
    refuse_for_real(backend, seed=seed, mismatch_cv=mismatch_cv, board_seed=board_seed, **chosen)
    board = board_profile(profile, seed, mismatch_cv, board_seed, chip)
    # What is hidden of a board is hidden from the mapper too: it knows what the record says.
    config, mapped = source_of(source, chip, chips, fan_in, calibration, board if board_seed is None else None)
    played = played_stimulus(config, mapped, stimulus, rates, isi_base)
    times = (("--duration-s", duration_s), ("--rest-s", rest_s), ("--warm-up-s", warm_up_s), ("--rest-jitter-s", rest_jitter_s))
    duration_us, rest_us, warm_up_us, jitter_us = (microseconds(name, seconds) for name, seconds in times)
    steps = repeats_of(config, played, duration_us, repeats, rest_us, warm_up_us, jitter_us)
    with notes.status(f"opening {backend}"):
        opened = open_board(backend, config, board, "numba", dt_us, pulses)
    try:
        if mapped is not None:
            check_board(mapped.calibration, opened.board, f"--calibration {calibration}")
        made = made_by(opened, source.name, mapped.calibration if mapped else None)
        with progress_bars(as_json) as report, _taking_the_place_of(out):
            write(out, opened, steps, made, mapped.addresses if mapped else {}, report)
        warnings = list(dict.fromkeys([*opened.warnings, *stimulus_warnings(config, played, board)]))
    finally:
        opened.close()
    result = summary(Session.load(out)) | {"warnings": warnings, "file": str(out)}
    if as_json:
        print(json.dumps(result))
        return
    result.pop("warnings")
    show.figures("recorded", result)
    show.warnings(warnings)


@contextmanager
def _taking_the_place_of(out: Path) -> Iterator[None]:
    """A file that is there goes when the new one is whole; it comes back, or no file is left, where nothing was recorded."""
    from bcall_hw import files

    files.check_not_held(out)
    aside = files.set_aside(out) if out.exists() else None
    try:
        yield
    except BcallError:
        if out.exists() and not _holds_a_run(out):
            out.unlink()
        if aside is not None and not out.exists():
            aside.rename(out)
        raise
    if aside is not None:
        aside.unlink()


def _holds_a_run(path: Path) -> bool:
    from bcall_hw.recording.session import Session

    try:
        return any(run.kind == "run" for run in Session.load(path).runs)
    except BcallError:
        return True  # what cannot be told is kept


def summary(session: Session) -> dict[str, Any]:
    """Figures of a session, as plain values."""
    runs = [run for run in session.runs if run.kind == "run"]
    noted = Counter[str]()
    for run in runs:
        noted.update(run.recording.noted)
    result: dict[str, Any] = {
        "backend": session.made.backend, "board": session.made.board, "seed": session.made.seed, "repeats": len(runs),
        "duration_s": runs[0].recording.duration_us / 1e6 if runs else 0.0, "spikes": sum(len(run.recording) for run in runs),
        "spikes_sha256": hashlib.sha256(b"".join(bytes.fromhex(run.recording.sha256) for run in runs)).hexdigest(),
        "config_sha256": session.config(0).sha256 if session.applied else "",
    }  # fmt: skip
    return result | {f"noted_{name}": count for name, count in noted.items() if count}


def microseconds(name: str, seconds: float) -> int:
    """Whole microseconds of a time.

    Raises:
        InvalidValue: not finite, negative, or no whole microseconds.
    """
    if not 0 <= seconds < 1e9 or abs(seconds * 1e6 - round(seconds * 1e6)) > 1e-3:
        raise InvalidValue("impossible time (s)", where=name, used=seconds, limit="whole microseconds, not negative")
    return round(seconds * 1e6)
