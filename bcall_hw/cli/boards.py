"""bcall-hw boards: which boards are there. bcall-hw virtual-board run: a samna script on the emulator."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.cli import show_boards
from bcall_hw.cli.board_log import BoardLog
from bcall_hw.cli.inputs import board_profile
from bcall_hw.cli.shared import AsJson, Chip, Implementation, MaybeBoardSeed, MaybeMismatch, MaybeSeed, Profile, Pulses, StepUs
from bcall_hw.errors import BackendUnavailable

if TYPE_CHECKING:
    from bcall_hw.backend.samna_board.virtual.server import Clock, VirtualBoardServer

virtual_board = typer.Typer(no_args_is_help=True, help="Run samna scripts unchanged against the emulator.")


def boards(as_json: AsJson = False) -> None:
    """The boards that are plugged in, and what drives them."""
    from bcall_hw.backend.samna_board.listing import list_boards

    found = list_boards()
    if as_json:
        print(json.dumps(found))
        return
    show_boards.found(found)


@virtual_board.command()
def run(
    command: Annotated[list[str], typer.Argument(help="The command, after --: python3.10 script.py ...")],
    clock: Annotated[
        str,
        typer.Option(
            help="wall: time passes as on a board. sleep: only while the script sleeps, at full speed; runs repeat exactly."
        ),
    ] = "wall",
    log: Annotated[
        Path | None, typer.Option(help="Write every word and call in human terms to this file; - is standard error.")
    ] = None,
    serial: Annotated[str, typer.Option(help="Serial number that samna sees.")] = "VIRTUAL1",
    chip: Chip = DEFAULT_CHIP,
    seed: MaybeSeed = None,
    mismatch_cv: MaybeMismatch = None,
    profile: Profile = None,
    board_seed: MaybeBoardSeed = None,
    implementation: Implementation = "numba",
    dt_us: StepUs = DEFAULT_STEP_US,
    pulses: Pulses = "ideal",
    fault: Annotated[
        list[str] | None,
        typer.Option(help="What goes wrong, for tests: unplug@SECONDS, hang@SECONDS, flood=HZ, drop, no-reset."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a command whose samna opens a virtual board; its exit code is passed on, or 1 where the board or the log failed."""
    from bcall_hw.backend.samna_board.virtual.board import VirtualBoard
    from bcall_hw.backend.samna_board.virtual.build import stand_in_library
    from bcall_hw.backend.samna_board.virtual.faults import Faults
    from bcall_hw.backend.samna_board.virtual.server import VirtualBoardServer, environment
    from bcall_hw.chip_model import load_chip

    library, faults = stand_in_library(), Faults.parse(fault or [])
    model, given = load_chip(chip), board_profile(profile, seed, mismatch_cv, board_seed, chip)
    lines = None if log is None else BoardLog(log)
    with contextlib.ExitStack() as stack:
        if lines is not None:
            stack.callback(lines.close)
        board = VirtualBoard(model, given, cast("Any", implementation), dt_us, cast("Any", pulses), lines)
        server = stack.enter_context(VirtualBoardServer(board, cast("Clock", clock), serial, faults))
        began = time.monotonic()
        mine = {"BCALL_VIRTUAL_PARENT": str(os.getpid())}  # the stand-in library ends the command with this process
        code = _run(command, os.environ | environment(library, server.path) | mine)
        wall_s = time.monotonic() - began
        server.wait_for_end()
        with server.at_rest():
            result = _summary(server, wall_s) | {"exit_code": code}
    result["log_problem"] = None if lines is None or lines.problem is None else str(lines.problem)
    if as_json:
        print(json.dumps(result))
    else:
        show_boards.run(result)
    failed = result["problem"] is not None or result["log_problem"] is not None
    raise typer.Exit(max(code if code >= 0 else 128 - code, int(failed)))


def _run(command: list[str], environment: dict[str, str]) -> int:
    """The exit code of a command; Ctrl-C is for the command alone."""
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as problem:
        raise BackendUnavailable(
            "cannot be started", where=command[0], used=problem.strerror, fix="Give the command after --."
        ) from None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _summary(server: VirtualBoardServer, wall_s: float) -> dict[str, Any]:
    from bcall_hw.chip_config import words_by_kind

    board = server.board
    resting = {f"chip {chip} core {core}": why for (chip, core), why in sorted(board.written_but_resting().items())}
    return {
        "opened": server.was_opened, "clock": server.clock, "board_s": board.time_us * 1e-6, "wall_s": wall_s,
        "words": words_by_kind(board.device.received), "unknown_words": board.device.unknown_words,
        "spikes": server.spikes_in_all,
        "emulated_chips": list(board.emulated_chips), "resting": resting, "behind_s": server.lost_us * 1e-6,
        "longest_lag_s": server.longest_lag_us * 1e-6,
        "problem": None if server.problem is None else str(server.problem), "board": board.describe(),
    }  # fmt: skip
