"""bcall-hw virtual-board run: a program on the virtual board, and what may go wrong beside it.

The programs call the stand-in library as samna would; the contract tests have the real one.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
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


# Forked children -------------------------------------------------------------------------------------------------------

FORKS = """
child = os.fork()
if child == 0:
    took = sleep(0.2)
    os._exit(int(not 0.2 <= took < 5) + 2 * cam_words(7) + 4 * close())
sleep(0.3)
assert os.waitpid(child, 0)[1] == 0
assert cam_words(10)
sleep(0.4)
assert close()
"""


def test_a_forked_child_sleeps_by_itself_and_leaves_its_parents_board_alone(run: Run) -> None:
    code, summary, _ = ran(run, FORKS)
    assert code == 0
    assert summary["words"]["cam"] == 10
    assert summary["board_s"] == pytest.approx(0.7)


def test_a_forked_child_that_stays_does_not_keep_the_board(run: Run) -> None:
    """It is told as soon as the program itself has ended."""
    program = """
cam_words(10)
if os.fork() == 0:
    os.close(1), os.close(2)
    time.sleep(8)
    os._exit(0)
print(time.monotonic(), flush=True)
os._exit(0)
"""
    code, summary, said = ran(run, program)
    assert (code, summary["words"]["cam"]) == (0, 10)
    assert time.monotonic() - float(said[0]) < 2.5


def test_a_forked_child_may_look_for_a_board_of_its_own(run: Run) -> None:
    program = """
child = os.fork()
if child == 0:
    os._exit(int(lib.caerDeviceOpen(1, 3, 0, 0, None) is not None))
assert os.waitpid(child, 0)[1] == 0  # it is in use
close()
child = os.fork()
if child == 0:
    handle = ctypes.c_void_p(lib.caerDeviceOpen(1, 3, 0, 0, None))
    sleep(0.5)
    os._exit(int(handle.value is None) + 2 * (not close()))
assert os.waitpid(child, 0)[1] == 0
"""
    code, summary, _ = ran(run, program)
    assert code == 0
    assert summary["board_s"] == 0.5


# Signals ---------------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_sleep_soon_and_the_next_answers_are_the_right_ones(run: Run) -> None:
    program = """
def interrupt(): time.sleep(0.5); os.kill(os.getpid(), signal.SIGINT)
import threading
signal.signal(signal.SIGINT, signal.default_int_handler)
for turn in range(2):
    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    try:
        sleep(10_000_000)
        print("slept")
    except KeyboardInterrupt:
        print(time.monotonic() - began)
    value = ctypes.c_uint32(77)
    assert not lib.caerDeviceConfigGet(handle, 0, 0, ctypes.byref(value)) and value.value == 0
sleep(0.25)
assert close()
sys.exit(9)
"""
    code, summary, said = ran(run, program)
    assert code == 9
    assert [float(text) < 2 for text in said] == [True, True]
    assert summary["board_s"] == pytest.approx(round(summary["board_s"] / 0.05) * 0.05)


def test_signals_that_a_program_handles_leave_its_sleeps_as_long_as_they_are(run: Run) -> None:
    program = """
calls = []
signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
cam_words(10)
for _ in range(3):
    sleep(700.05)
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(calls))
assert close()
"""
    code, summary, said = ran(run, program)
    assert code == 0
    assert int(said[0]) > 5
    assert summary["board_s"] == pytest.approx(2100.15)


# The end of the command itself -----------------------------------------------------------------------------------------


def test_killed_the_command_takes_its_program_with_it(tmp_path: Path) -> None:
    program = PROGRAM + "print(os.getpid(), flush=True); time.sleep(60)"
    command = [sys.executable, "-m", "bcall_hw.cli", "virtual-board", "run", "--", sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, text=True) as process:
        assert process.stdout is not None
        theirs = int(process.stdout.readline())
        process.kill()
    for _ in range(500):
        if not Path(f"/proc/{theirs}/stat").exists() or Path(f"/proc/{theirs}/stat").read_text().rpartition(")")[2][1] == "Z":
            return
        time.sleep(0.01)
    os.kill(theirs, 9)
    pytest.fail("the program goes on")
