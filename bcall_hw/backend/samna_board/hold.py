"""One holder for each board on this machine, told at once instead of by a crash inside samna."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bcall_hw.backend.samna_board.worker.frames import VIRTUAL_VARIABLE
from bcall_hw.errors import BoardBusy


class BoardLock:
    """Held from opening to closing.

    Raises:
        BoardBusy: another process of ours holds the board.
    """

    def __init__(self, serial: str, environment: Mapping[str, str] | None = None) -> None:
        self.serial, self._file = serial, None  # type: str, int | None
        if {**os.environ, **(environment or {})}.get(VIRTUAL_VARIABLE):
            return  # virtual boards may all have one serial number, and each answers one process alone
        path = Path(tempfile.gettempdir()) / f"bcall-hw-board-{hashlib.sha256(serial.encode()).hexdigest()[:16]}.lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError:
            return  # another user's file: samna itself will tell
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(file, 32, 0).decode(errors="replace").strip()
            os.close(file)
            used, fix = f"process {holder}" if holder else None, "Close it there; only one program can hold a board."
            raise BoardBusy("the board is in use", where=f"board {serial}", used=used, fix=fix) from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let go; twice is allowed."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
