"""The log of a virtual board, which may fail: a full disk ends the log, not the board."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

from bcall_hw.errors import FileProblem


class BoardLog:
    """A file of lines, or standard error for "-".

    Attributes:
        problem: what ended it too early, or None.

    Raises:
        FileProblem: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self.problem: FileProblem | None = None
        try:
            self._file = sys.stderr if path == Path("-") else path.open("w", buffering=1 << 16)
        except OSError as problem:
            raise self._problem("cannot be written", problem) from None
        self._open = True

    def __call__(self, line: str) -> None:
        """Write a line; nothing happens once the log has ended."""
        with self._lock:
            if self._open:
                try:
                    self._file.write(line + "\n")
                except OSError as problem:
                    self._give_up(problem)

    def close(self) -> None:
        """Write what is left; `problem` is final then. Closing twice is allowed."""
        with self._lock:
            if self._open:
                self._open = False
                try:
                    self._file.flush()
                    self._let_go()
                except OSError as problem:
                    self._give_up(problem)

    def _give_up(self, problem: OSError) -> None:
        self._open, self.problem = False, self._problem("the log ends early, it cannot be written", problem)
        with contextlib.suppress(OSError):
            self._let_go()

    def _let_go(self) -> None:
        if self._file is not sys.stderr:
            self._file.close()

    def _problem(self, what: str, problem: OSError) -> FileProblem:
        return FileProblem(what, where=str(self._path)[:200], used=problem.strerror)
