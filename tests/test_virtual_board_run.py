"""bcall-hw virtual-board run: a program on the virtual board, and what may go wrong beside it.

The programs call the stand-in library as samna would; the contract tests have the real one.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from bcall_hw.backend.samna_board.virtual.build import find_compiler

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64" or find_compiler() is None,
    reason="needs Linux x86-64 and a C compiler",
)

PROGRAM = """
import ctypes, os, select, signal, sys, time
lib = ctypes.CDLL(None)
lib.caerDeviceOpen.restype = ctypes.c_void_p
handle = ctypes.c_void_p(lib.caerDeviceOpen(1, 3, 0, 0, None))
def cam_words(count):
    raw = (ctypes.c_uint32 * count)(*[1 << 17 | k % 16 for k in range(count)])
    return lib.caerDynapseSendDataToUSB(handle, raw, ctypes.c_size_t(count))
def sleep(s):
    began = time.monotonic()
    select.select([], [], [], s)  # as time.sleep of CPython 3.10
    return time.monotonic() - began
def close():
    return lib.caerDeviceClose(ctypes.byref(handle))
"""


def ran(run: Run, program: str, *options: str, clock: str = "sleep") -> tuple[int, dict[str, Any], list[str]]:
    """Exit code, summary, and what the program printed."""
    board = ("virtual-board", "run", "--clock", clock, "--json", *options, "--", sys.executable, "-c", PROGRAM + program)
    done = run(*board)
    assert "Traceback" not in done.stderr, done.stderr
    *said, last = done.stdout.splitlines()
    return done.returncode, json.loads(last), said


# A log that cannot be written ------------------------------------------------------------------------------------------

SENDS = "cam_words({words}); sleep(0.25); close(); sys.exit({code})"
full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@full_disk
@pytest.mark.parametrize("words", [10, 5000])  # told when it is closed, and in the middle
@pytest.mark.parametrize(("code", "told"), [(0, 1), (1, 1), (3, 3)])
def test_a_full_disk_ends_the_log_and_not_the_board(run: Run, words: int, code: int, told: int) -> None:
    found, summary, _ = ran(run, SENDS.format(words=words, code=code), "--log", "/dev/full")
    assert (found, summary["exit_code"]) == (told, code)
    assert summary["words"]["cam"] == words
    assert summary["board_s"] == 0.25
    assert summary["problem"] is None
    assert summary["log_problem"].startswith("/dev/full: ")
    assert "No space left" in summary["log_problem"]


@full_disk
def test_a_full_disk_is_told_to_people_too(run: Run) -> None:
    program = PROGRAM + SENDS.format(words=5000, code=0)
    done = run("virtual-board", "run", "--clock", "sleep", "--log", "/dev/full", "--", sys.executable, "-c", program)
    assert done.returncode == 1
    assert "/dev/full: the log ends early, it cannot be written (got No space left on device)" in done.stderr
    assert "5,000 cam" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_that_can_be_written_is_whole(run: Run, tmp_path: Path) -> None:
    code, summary, _ = ran(run, "cam_words(5000); os._exit(0)", "--log", "words.log")
    assert (code, summary["log_problem"]) == (0, None)
    assert (tmp_path / "words.log").read_text().count("CAM") == 5000


# A program that just ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["sleep", "wall"])
def test_what_a_program_sent_before_it_ended_counts(run: Run, clock: str) -> None:
    code, summary, _ = ran(run, "[cam_words(30_000) for _ in range(3)]; os._exit(5)", clock=clock)
    assert code == 5
    assert summary["words"]["cam"] == 90_000
