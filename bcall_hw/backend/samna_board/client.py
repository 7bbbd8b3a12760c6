"""The parent's end of the worker process: start, requests with a time limit, and an end whatever samna does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bcall_hw import errors
from bcall_hw.backend.samna_board.worker import frames
from bcall_hw.errors import (
    BackendProblem,
    BackendUnavailable,
    BcallError,
    BoardBusy,
    BoardClosed,
    BoardLost,
    WorkerDied,
    WorkerHangs,
)

#: Names the interpreter that has samna, where it is not the one that runs.
PYTHON_VARIABLE = "BCALL_SAMNA_PYTHON"

# The worker is found by path, not by import: its interpreter need not have this package.
_START = """
import importlib.util, sys
sys.path[:] = [folder for folder in sys.path if folder]
folder = sys.argv[1]
find = importlib.util.spec_from_file_location
spec = find("bcall_samna_worker", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["bcall_samna_worker"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from bcall_samna_worker.main import main
main(int(sys.argv[2]))
"""
_FOLDER = Path(__file__).with_name("worker")
_CLOSING_S = 5.0
_LINES_S = 5.0
_LINES = 40
_UNKNOWN = "The board's registers are unknown: open it again, the first apply writes all of them."
#: What the first request does.
_FIRST = "looking for samna"
_LOST = "USB transfer failed"
_DROPPED = "Dropped EventPacket"
_NOT_OPENED = "Failed to open"
#: Words of samna when it dies because the board took nothing.
_REFUSED = ("failed to set configuration", "failed to write")


def samna_python() -> str:
    """The interpreter for the worker: `BCALL_SAMNA_PYTHON`, else the one that runs."""
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


def _inherited(python: str) -> dict[str, str]:
    """The environment, without what would lead another interpreter to this one's modules."""
    own = python == sys.executable
    return {name: value for name, value in os.environ.items() if own or name not in ("PYTHONPATH", "PYTHONHOME")}


#: Takes readings and bytes that the worker sends ahead of its answer.
Part = Callable[[list[list[int]], bytes], None]


class Client:
    """A running worker.

    Args:
        python: interpreter that has samna.
        environment: what is added to the environment of the process.

    Attributes:
        dropped: how often libcaer told that it dropped spikes.
        holds_board: whether a board was opened, or may have been.
        state: "running", "closed" (the worker let the board go) or "unknown" (it was ended by force).

    Raises:
        BackendUnavailable: the interpreter cannot be started.
    """

    def __init__(self, python: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.python = python or samna_python()
        self.dropped, self.state = 0, "running"
        self.holds_board = False
        self._lost_line = ""
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._lock, self._answered = threading.Lock(), threading.Condition()
        self._asked = self._seen = 0
        ours, theirs = socket.socketpair()
        command = [self.python, "-c", _START, str(_FOLDER), str(theirs.fileno())]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for this process, which then closes the board
                env={**_inherited(self.python), **(environment or {})},
                text=True,
                errors="replace",
            )
        except OSError as problem:
            ours.close()
            fix = f"{PYTHON_VARIABLE} names the interpreter that has samna."
            raise BackendUnavailable("cannot be started", where=self.python, used=problem.strerror, fix=fix) from None
        finally:
            theirs.close()
        self._socket = ours
        self._reader = threading.Thread(target=self._read_lines, daemon=True)
        self._reader.start()

    @property
    def process_id(self) -> int:
        """The worker's process."""
        return self._process.pid

    def _read_lines(self) -> None:
        for line in self._process.stderr or ():
            text = line.strip()
            if text.startswith(frames.ANSWERED):
                number = text.rpartition(" ")[2]
                with self._answered:
                    self._seen = int(number) if number.isdigit() else self._asked
                    self._answered.notify()
                continue
            if _DROPPED in text:
                self.dropped += 1
            elif _LOST in text:
                self._lost_line = text
            if text:
                self._lines.append(text)

    def request(
        self, do: str, doing: str, seconds: float, body: bytes = b"", *, part: Part | None = None, **head: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Ask the worker for something and wait for the answer.

        Args:
            do: the request, as in `worker/main.py`.
            doing: the same for people: "opening board X".
            seconds: time limit.
            part: is given what the worker sends ahead of its answer.

        Raises:
            WorkerDied, WorkerHangs: it ended, or did not answer in time; it is gone then.
            BoardLost: the board did not take what was sent.
            BoardClosed: the worker is gone already.
            NoSuchBoard, PortInUse, BackendProblem: as the worker says.
        """
        if self.state != "running":
            raise self.gone()
        if not self._lock.acquire(blocking=False):
            raise BackendProblem("is busy with another request", where="samna", fix="Use one board from one thread at a time.")
        try:
            self._socket.settimeout(seconds)
            self._asked += 1
            self.holds_board = self.holds_board or do == "open"
            frames.send(self._socket, {"do": do, "seconds": seconds, "number": self._asked, **head}, body)
            while (answer := frames.receive(self._socket)) is not None and "part" in answer[0]:
                if part is not None:
                    part(answer[0]["part"], answer[1])
            if answer is not None:
                with self._answered:
                    if not self._answered.wait_for(lambda: self._seen >= self._asked, _LINES_S):
                        raise OSError("what libcaer said is lost")
            if answer is not None and answer[0].get("number") != self._asked:
                raise OSError("an answer to another request")
        except TimeoutError:
            self._kill()
            fix = _UNKNOWN if self.holds_board else "No board was opened."
            raise WorkerHangs(
                f"samna did not answer while {doing} and was ended", where=self.python, used=f"{seconds:g} s", fix=fix
            ) from None
        except OSError:
            answer = None
        except BaseException:  # Ctrl-C: the answer is still to come, and nobody would read it
            self.abandon()
            raise
        finally:
            self._lock.release()
        if answer is None:
            raise self._died(doing)
        if self._lost_line:
            line, self._lost_line = self._lost_line, ""
            self._kill()
            raise self._lost(doing, line)
        found, rest = answer
        if "problem" in found:
            raise _worker_problem(found, doing)
        return found, rest

    def gone(self) -> BoardClosed:
        """The error for a request after the end."""
        known = "it was closed" if self.state == "closed" else "its registers are unknown"
        return BoardClosed(f"the board is not open any more; {known}", where="samna", fix="Open it again.")

    def _died(self, doing: str) -> BcallError:
        code = self._ended()
        self.state = "unknown"
        self._release()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = [line for line in self._lines if not line.startswith("File ")]
        last = "; ".join(said[-2:])[-300:] or "nothing"
        if any(_NOT_OPENED in line for line in self._lines):
            fix = "Close the other program, or give your user the right to open its USB device (a udev rule)."
            what = "the board cannot be opened: another program holds it, or you may not open it"
            return BoardBusy(what, where="samna", used=last, fix=fix)
        if self._lost_line or any(text in line for line in self._lines for text in _REFUSED):
            return self._lost(doing, self._lost_line or last)
        if doing == _FIRST and not any(frames.ANSWERED in line for line in self._lines):
            fix = f"{PYTHON_VARIABLE} names the interpreter that has samna."
            return BackendUnavailable("is no Python that can run samna", where=self.python, used=f"{how}: {last}", fix=fix)
        fix = _UNKNOWN if self.holds_board else "No board was opened."
        return WorkerDied(f"samna ended ({how}) while {doing}", where=self.python, used=last, fix=fix)

    @staticmethod
    def _lost(doing: str, line: str) -> BoardLost:
        fix = "Is it plugged in? Its registers are unknown: open it again, the first apply writes all of them."
        return BoardLost(f"the board did not take what was sent while {doing}", where="samna", used=line[-200:], fix=fix)

    def _ended(self) -> int:
        try:
            return self._process.wait(_CLOSING_S)
        except subprocess.TimeoutExpired:
            self._kill_group()
            return self._process.wait()

    def _kill(self) -> None:
        self.state = "unknown"
        self._kill_group()
        self._process.wait()
        self._release()

    def _kill_group(self) -> None:
        """The interpreter may stand behind a script: its children go too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _release(self) -> None:
        self._socket.close()
        self._reader.join(1.0)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def abandon(self) -> None:
        """Close where nobody knows what the board's registers hold."""
        self.close()
        self.state = "unknown"

    def close(self) -> str:
        """End the worker: it lets the board go first, and is killed where it does not. Returns the state."""
        if self.state == "running":
            self.state = "closed"
            with contextlib.suppress(OSError):  # it may have ended already: its exit code tells how
                self._socket.settimeout(_CLOSING_S)
                frames.send(self._socket, {"do": "quit", "seconds": _CLOSING_S, "number": 0})
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)  # an answer that is on its way goes nowhere
            try:
                if self._process.wait(_CLOSING_S) != 0:
                    self.state = "unknown"
            except subprocess.TimeoutExpired:
                self._kill()
            self._release()
        return self.state


def _worker_problem(found: dict[str, Any], doing: str) -> BackendProblem | BackendUnavailable:
    kind, text = found["problem"], found["text"]
    if kind == "NoSuchBoard":
        used, fix = (f"there: {text}" if text else "no board at all"), "Plug it in, or see `bcall-hw boards`."
        return errors.NoSuchBoard("no such board", where="samna", used=used, fix=fix)
    if kind == "PortInUse":
        return errors.PortInUse(
            "samna's network ports are in use", where="samna", used=text[:200], fix="Leave the ports to chance."
        )
    return BackendProblem(f"samna failed while {doing}", where="samna", used=text[:300])
