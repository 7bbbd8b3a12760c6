"""The virtual board behind a socket, for one process that runs samna with the stand-in library preloaded."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bcall_hw.backend.samna_board.virtual import link
from bcall_hw.backend.samna_board.virtual.board import VirtualBoard
from bcall_hw.backend.samna_board.virtual.faults import Faults
from bcall_hw.backend.samna_board.virtual.link import EVENT_DTYPE, Message, What
from bcall_hw.backend.samna_board.virtual.own_folder import OwnFolder
from bcall_hw.backend.samna_board.worker.frames import VIRTUAL_VARIABLE
from bcall_hw.errors import BackendProblem, BackendUnavailable, BcallError, InvalidValue

Clock = Literal["wall", "sleep"]
CLOCKS = ("wall", "sleep")

_EVENTS_AT_ONCE = 8192
_LONGEST_PATH = 100
_TICK_S = 0.005
_CHUNK_US = 20_000
_WRITING_US = 100_000
_TOO_FAR_BEHIND_US = 500_000
_SILENT_S, _WAIT_S = 3.0, 30.0


class VirtualBoardServer:
    """Serves a virtual board until it is closed.

    Args:
        board: the board.
        clock: "wall": the board's time is the clock on the wall, as far as the emulator keeps up. "sleep": it passes while
            the script sleeps (`time.sleep` in its main thread), at full speed, and at no other time: runs repeat exactly.
        serial: what samna sees as the serial number, up to 8 characters.
        faults: what goes wrong.

    Attributes:
        path: the socket.
        spikes_sent: to the host, since it opened the board; `spikes_in_all` since the server started.
        was_opened: whether some process opened the board.
        problem: what stopped the board, or None.
        lost_us: board time that the emulator did not keep up with (clock "wall").
        longest_lag_us: the longest time that the board's clock was behind (clock "wall").
    """

    def __init__(
        self, board: VirtualBoard, clock: Clock = "wall", serial: str = "VIRTUAL1", faults: Faults | None = None
    ) -> None:
        if clock not in CLOCKS:
            raise InvalidValue("no such clock", where="virtual board", used=clock, limit=" or ".join(CLOCKS))
        if not serial.isalnum() or not serial.isascii() or len(serial) > 8:
            raise InvalidValue("serial numbers are up to 8 letters and digits", where="virtual board", used=serial[:40])
        self.board, self.clock, self.serial, self.faults = board, clock, serial, faults or Faults()
        self.spikes_sent = self.spikes_in_all = self.lost_us = self.longest_lag_us = 0
        self._written_at = 0.0
        self.was_opened = False
        self.problem: BcallError | None = None
        self._lock, self._data_lock = threading.Lock(), threading.Lock()
        self._owner: socket.socket | None = None
        self._data: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._closed, self._opened_at, self._last_stamp, self._packets = threading.Event(), 0.0, 0, 0
        try:
            self._folder = OwnFolder()
        except OSError as problem:
            what, fix = "no folder for the virtual board's socket can be written", "Set TMPDIR."
            raise BackendUnavailable(what, where="virtual board", used=problem.strerror, fix=fix) from None
        self._end = weakref.finalize(self, self._folder.remove)  # also where nobody closes this
        self.path = str(self._folder.path / "board")
        if len(self.path) > _LONGEST_PATH:
            where, fix = self.path[:200], "Set TMPDIR to a folder with a shorter name."
            self._end()
            raise BackendUnavailable(
                "the path of the virtual board's socket is too long", where=where, limit=_LONGEST_PATH, fix=fix
            )
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen(16)
        self._start(self._accept)
        if clock == "wall":
            board.warm_up()
            self._start(self._follow_the_wall)

    def _start(self, what: Any, *args: Any) -> None:
        threading.Thread(target=what, args=args, daemon=True).start()

    def __enter__(self) -> VirtualBoardServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take the board away; whoever holds it sees it unplugged. Closing twice is allowed."""
        self._closed.set()
        self._unplug()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._end()

    def _unplug(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # Connections -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        """Answer one connection until it ends."""
        try:
            while (message := self._next(connection)) is not None:
                if message.what == What.DATA:  # the other side only listens from then on
                    with self._data_lock:
                        link.answer(connection)
                        self._data, self.spikes_sent = connection, 0
                elif not self._is_there() or not self._answer(connection, message):
                    return
        except link.Gone:
            return
        except Exception as problem:
            self._stop(problem)
        finally:
            self._forget(connection)

    @staticmethod
    def _next(connection: socket.socket) -> Message | None:
        """The next message; what is none ends the connection."""
        try:
            return link.receive(connection)
        except ValueError:
            return None

    def _forget(self, connection: socket.socket) -> None:
        with self._data_lock:
            if self._data is connection:
                self._data = None
        if self._owner is connection:
            self._owner = None
        connection.close()
        self._connections.discard(connection)

    def _stop(self, problem: Exception) -> None:
        if not isinstance(problem, BcallError):
            problem = BackendProblem("failed", where="virtual board", used=repr(problem)[:200], fix="Please report this.")
        self.problem = problem
        self.board.device.say(f"the virtual board stops: {problem}")
        self._unplug()

    def wait_for_end(self) -> bool:
        """Wait until all that was sent is read and those who sent it have gone; not long where no words come.

        Returns:
            False where somebody still holds a connection.
        """
        seen, began = -1, time.monotonic()
        until = began
        while self._connections:
            words, now = self.board.device.words_received, time.monotonic()
            if words != seen:
                seen, until = words, min(now + _SILENT_S, began + _WAIT_S)
            if now > until or self.faults.due("hang", self.board.time_us, words):
                return False
            time.sleep(_TICK_S)
        return True

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Nothing changes on the board meanwhile."""
        with self._lock:
            yield

    def _is_there(self) -> bool:
        """False once the board is pulled out; does not come back while it hangs."""
        words = self.board.device.words_received
        if self.faults.due("hang", self.board.time_us, words):
            self._closed.wait()
        if self.faults.due("unplug", self.board.time_us, words):
            self._unplug()
        return not self._closed.is_set() and self.problem is None and not self.faults.due("unplug", self.board.time_us, words)

    def _answer(self, connection: socket.socket, message: Message) -> bool:
        if message.what == What.DISCOVER:
            link.answer(connection, 1, text=self.serial.encode())
        elif message.what == What.OPEN:
            self._open(connection)
        elif self._owner is not connection:
            return False
        elif message.what == What.CLOSE:
            self._owner = None
            link.answer(connection)
        elif message.what == What.GET:
            link.answer(connection, 1)
        elif message.what == What.SLEEP:
            self._sleep(message.a | message.b << 32)
            if self._is_there():
                link.answer(connection, 0, self.spikes_sent)
        else:
            self._written_at = time.monotonic()
            with self._lock:
                ignored = self.faults.no_reset and message.address == self.board.chip.device.timestamp_reset
                if not ignored:
                    self.board.handle(message)
        return True

    def _open(self, connection: socket.socket) -> None:
        if self._owner is not None:
            link.answer(connection, 1)
            return
        self.was_opened = True
        self._owner, self._opened_at = connection, time.monotonic() - self.board.time_us * 1e-6
        link.answer(connection, 0, link.SLEEP_IS_TIME if self.clock == "sleep" else 0)

    # Time ------------------------------------------------------------------------------------------------------------

    def _sleep(self, us: int) -> None:
        while us > 0 and not self._closed.is_set() and not self.faults.due("hang", self.board.time_us, 0):
            part = min(us, 50 * _CHUNK_US)
            self._advance(part)
            us -= part

    def _follow_the_wall(self) -> None:
        while not self._closed.wait(_TICK_S):
            if self._owner is None or self.problem is not None or not self._is_there():
                continue
            behind = int((time.monotonic() - self._opened_at) * 1e6) - self.board.time_us
            if behind < _WRITING_US and time.monotonic() - self._written_at < _TICK_S:
                continue  # words are coming: they take effect together, instead of one by one with an effort each
            self.longest_lag_us = max(self.longest_lag_us, behind)
            if behind > _TOO_FAR_BEHIND_US:
                self.lost_us += behind - _TOO_FAR_BEHIND_US
                self._opened_at += (behind - _TOO_FAR_BEHIND_US) * 1e-6
            try:
                while behind > 0 and not self._closed.is_set():
                    self._advance(min(behind, _CHUNK_US))
                    behind -= _CHUNK_US
            except Exception as problem:  # nobody else would hear of it
                self._stop(problem)

    def _advance(self, us: int) -> None:
        with self._lock:
            before = self.board.stamp_us
            spikes = self.board.advance(us)
            passed = self.board.stamp_us - before
            spikes = self.faults.flooded(spikes, self.board.stamp_us, passed, self.board.chip.geometry.neurons)
        self._send(spikes)

    def _send(self, spikes: npt.NDArray[np.void]) -> None:
        chip = self.board.chip
        stamps, limit = spikes["time_us"] // chip.timestamps.unit_us, chip.timestamps.max_us + 1
        events = np.zeros(len(spikes), dtype=EVENT_DTYPE)
        events["timestamp"] = stamps % limit
        events["data"] = chip.words["spike"].pack(core=spikes["core"], chip=spikes["chip"], neuron=spikes["neuron"])
        with self._data_lock:
            if self._data is None:
                return
            for first in range(0, len(events), _EVENTS_AT_ONCE):
                part, flags = events[first : first + _EVENTS_AT_ONCE], 0
                self._packets += 1
                if self.faults.drop and self._packets % 2 == 0:
                    part, flags = part[:0], link.DROPPED
                if stamps[first] // limit > self._last_stamp // limit:
                    flags |= link.WRAPPED
                self._last_stamp = int(stamps[min(first + _EVENTS_AT_ONCE, len(stamps)) - 1])
                try:
                    link.send_events(self._data, part, flags)
                except link.Gone:
                    self._data = None
                    return
                self.spikes_sent += len(part)
                self.spikes_in_all += len(part)


def environment(library: Path, socket_path: str) -> dict[str, str]:
    """What a process needs in its environment to see the virtual board."""
    before = os.environ.get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{library}:{before}" if before else str(library), VIRTUAL_VARIABLE: socket_path}
