"""The C yardstick of the emulator's step behind the face of a step function; compiled at bench time."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.machine import Machine, Probe
from bcall_hw.backend.emulator.noise import Drawn
from bcall_hw.backend.emulator.routing import InputEvents

_ROWS = (
    "ROWS", "V", "REFRACTORY", "I_SYN", "I_AHP", "V_SPIKE", "REFRACTORY_STEPS", "LEAK", "DC", "EVENT", "JUMP_AHP", "FULL",
    "FULL_AHP", "DECAY", "SUM",
)  # fmt: skip
FLAGS = ("-O3", "-march=native", "-fno-strict-aliasing", "-shared", "-fPIC")


class _Board(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int64) for n in ("cores", "cores_per_chip", "tags", "entries", "gain")] + [
        (n, ctypes.c_void_p) for n in ("blocks", "tables", "start", "cells", "sent_start", "sent", "pending", "next")
    ] + [("n_pending", ctypes.c_int64), ("clock", ctypes.c_int64)]  # fmt: skip


def compiler() -> str | None:
    """The system's C compiler, if there is one."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def version() -> str:
    """The compiler and its flags, in words."""
    found = compiler()
    first = subprocess.run([str(found), "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return f"{first} {' '.join(FLAGS[:2])}"


@lru_cache(maxsize=2)
def _library(neurons: int) -> ctypes.CDLL:
    found = compiler()
    if found is None:
        raise SystemExit("no C compiler (cc, gcc or clang) on PATH: leave c out of --against")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "board.so"
        defines = [f"-DN={neurons}", *(f"-D{name}={getattr(words, name)}" for name in _ROWS)]
        source = Path(__file__).parent / "board_reference.c"
        subprocess.run([found, *FLAGS, *defines, str(source), "-o", str(target)], check=True)
        library = ctypes.CDLL(str(target))
    library.run.restype = ctypes.c_int64
    return library


def advance(
    machine: Machine, events: InputEvents, first: int, last: int, noise: Drawn, probe: Probe | None = None
) -> Int32Array:
    """See `machine.StepFunction`; ideal pulses, no noise, no mismatch of CAM entries, no probe."""
    if noise.pieces.size or probe is not None or machine.finite_pulses or machine.entries.size:
        raise SystemExit("the C yardstick knows ideal pulses alone, without noise, probe and mismatch of CAM entries")
    cores, _, neurons = machine.rows.shape
    lists, routes, parameters = machine.listeners, machine.destinations, machine.parameters
    room = max(1, len(routes.events), len(machine.pending))
    pending, following = (np.zeros((room, 3), dtype=np.int32) for _ in range(2))
    pending[: len(machine.pending)] = machine.pending
    out = np.empty((cores * neurons * (last - first), 3), dtype=np.int32)  # room for all; the system gives what is written
    rows = machine.rows.copy()
    arrays = (rows, parameters.tables, lists.start, lists.cells, routes.start, routes.events, pending, following)
    board = _Board(
        cores, machine.cores_per_chip, lists.start.shape[1] - 1, lists.cells.shape[1], parameters.step_gain,
        *(array.ctypes.data for array in arrays), len(machine.pending), machine.clock,
    )  # fmt: skip
    parts = [array.ctypes.data_as(ctypes.c_void_p) for array in (events.step, events.chip, events.core_mask, events.tag)]
    count = _library(neurons).run(
        ctypes.byref(board), *parts, ctypes.c_int64(len(events.step)), ctypes.c_int64(first), ctypes.c_int64(last),
        out.ctypes.data_as(ctypes.c_void_p),
    )  # fmt: skip
    left = pending if board.pending == pending.ctypes.data else following
    machine.commit(rows, left[: board.n_pending].copy(), board.clock)
    return out[:count].copy()
