"""What the commands share: the application, its options, errors as one line, progress bars."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from bcall_hw.errors import BcallError, FileProblem


def _of_a_name(problem: BcallError | OSError | RuntimeError) -> BcallError:
    """What the system says of a name that can be no file's (too long, links in a ring) as our error; others go on."""
    if isinstance(problem, BcallError):
        return problem
    name = getattr(problem, "filename", None)
    if isinstance(problem, OSError) and problem.errno in (errno.ENAMETOOLONG, errno.ELOOP) and name is not None:
        return FileProblem("cannot be a file", where=str(name)[:200], used=problem.strerror, fix="Choose another name.")
    if isinstance(problem, RuntimeError) and str(problem).startswith("Symlink loop"):
        return FileProblem("cannot be a file", where=str(problem)[:200], fix="Choose another name.")
    raise problem


class Commands(TyperGroup):
    """Our errors become one line and exit code 2, Ctrl-C exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except (BcallError, OSError, RuntimeError) as any_problem:
            problem = _of_a_name(any_problem)
            if "--json" in sys.argv:
                print(json.dumps(problem.as_dict()))
            notes.print(f"[bold red]error[/] {type(problem).__name__}:", end=" ")
            notes.print(str(problem), markup=False, highlight=False, soft_wrap=True)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            resumes = ctx.invoked_subcommand in ("demo", "learn", "figures", "calibrate")
            notes.print(
                "interrupted" + ("; the last checkpoint, if there is one, is intact: go on with --resume" if resumes else "")
            )
            raise SystemExit(130) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
notes = Console(stderr=True)

Seed = Annotated[int, typer.Option(help="Seed of board, network and spike trains.", min=0, max=2**63 - 1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Implementation = Annotated[str, typer.Option(help="numba (fast), numpy or reference (scalar, very slow): the same bits.")]
StepUs = Annotated[int, typer.Option("--dt-us", help="Time step of the emulator (us).")]
Mismatch = Annotated[float, typer.Option("--mismatch-cv", help="Coefficient of variation of the board's mismatch.")]
MaybeSeed = Annotated[int | None, typer.Option(help="Seed of the board; 0 if not given.", min=0, max=2**63 - 1)]
MaybeMismatch = Annotated[
    float | None, typer.Option("--mismatch-cv", help="Coefficient of variation of the board's mismatch; 0.2 if not given.")
]
Profile = Annotated[
    Path | None,
    typer.Option(help="Board profile (.json, .toml): seed, mismatch, noise, defects."),
]
MaybeBoardSeed = Annotated[
    int | None,
    typer.Option(
        "--board-seed",
        help="Emulated board whose truth is hidden and drawn by this seed; calibrate takes 0 if none is given.",
        min=0,
        max=2**63 - 1,
    ),
]
DataOption = Annotated[str, typer.Option("--data", help='"digits", a folder with the four MNIST files, or an .npz file.')]
Pulses = Annotated[str, typer.Option(help="ideal: an event is a jump; finite: a pulse that lasts and restarts.")]
Variant = Annotated[str, typer.Option(help="error-triggered or pure.")]
Chip = Annotated[str, typer.Option(help="Chip model.")]
MaybeChips = Annotated[
    str | None, typer.Option("--chips", help="Ids of the chips that may be used, e.g. 0 or 0,1; as few as needed if not given.")
]
MaybeFanIn = Annotated[
    str | None, typer.Option("--fan-in", help="Neurons with more inputs than CAM entries: refuse (default), sample or relay.")
]
MaybeCalibration = Annotated[Path | None, typer.Option("--calibration", help="Calibration record of the board (.json).")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")]


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars on standard error, one per part of the work."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, disable=quiet and not notes.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks or progress.tasks[tasks[what]].finished:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield report
