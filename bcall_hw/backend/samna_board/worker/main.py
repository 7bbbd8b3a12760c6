"""The worker's loop: requests in, answers out, until the parent goes."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import platform
import select
import signal
import socket
import sys
from typing import Any

from . import frames
from .adapters import NoSuchBoard, PortInUse, adapter_for
from .device import Broken, Device, describe
from .find import find_samna

_GRACE_S = 5.0
_IDLE_S = 0.5
#: libcaer's log level at which it tells of dropped spikes.
_NOTICE = 5


class Worker:
    """Answers requests; `device` is the open board."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._samna: Any = None
        self._adapter: Any = None
        self.device: Device | None = None

    def next_request(self) -> tuple[dict[str, Any], bytes] | None:
        """Wait for the parent; meanwhile spikes of an open board must not pile up."""
        while not select.select([self._parent], [], [], _IDLE_S)[0]:
            if self.device is not None:
                self.device.idle()
        return frames.receive(self._parent)

    def answer(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """The answer to one request."""
        found: tuple[dict[str, Any], bytes] = getattr(self, "do_" + head["do"])(head, body)
        return found

    def do_find(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Which samna is here; nothing is imported."""
        del head, body
        found = find_samna()
        return {"kind": found.kind, "version": found.version, "advice": found.advice, "python": platform.python_version()}, b""

    def do_start(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Import samna and start its nodes."""
        del body
        version = find_samna().version or "unknown"
        self._samna = importlib.import_module("samna")
        tell_notices()
        adapter = adapter_for(version)
        self._adapter = adapter(self._samna, tuple(head["ports"]) if head["ports"] else None)
        evidence = "verified" if version == adapter.verified else "read"
        found = {"version": version, "adapter": adapter.__name__, "evidence": evidence, "opens_any": adapter.opens_any}
        return found, b""

    def do_boards(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """The boards that are there."""
        del head, body
        return {"boards": [describe(board) for board in self._adapter.boards()]}, b""

    def do_open(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Open a board."""
        del body
        wanted = (head["serial"], head["biases"], head["types"], head["probe"])
        self.device = Device(self._samna, self._adapter, *wanted)
        return {"board": self.device.info}, b""

    def do_write(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """CAM and SRAM entries."""
        self._open().write(body[: head["cam"]], body[head["cam"] :])
        return {}, b""

    def do_biases(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Bias codes."""
        del head
        self._open().write_biases(body)
        return {}, b""

    def do_leaks(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Leak choices."""
        del head
        self._open().write_leak_choices(body)
        return {}, b""

    def do_copy(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """The registers as samna's copy has them."""
        del head, body
        return {}, self._open().copy()

    def do_load(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """A stimulus list."""
        self._open().load(body, head["isi_base"])
        return {}, b""

    def do_rates(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Poisson rates."""
        del body
        self._open().set_rates(head["chip"], {int(source): rate for source, rate in head["rates"].items()})
        return {}, b""

    def do_run(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """A run."""
        del body
        wanted = (head["duration_us"], head["listed"], head["poisson"], head["quiet_s"], head["most"])
        part = self._send_part if head["parts"] else None
        readings, columns, stale = self._open().run(self._parent, *wanted, part=part)
        return {"readings": readings, "stale": stale}, b"".join(columns)

    def _send_part(self, readings: list[tuple[int, int]], columns: list[bytes]) -> None:
        """Spikes of a run that goes on, ahead of its answer."""
        frames.send(self._parent, {"part": readings}, b"".join(columns))

    def do_more(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Spikes that came after a run was read."""
        del head, body
        readings, columns = self._open().more()
        return {"readings": readings}, b"".join(columns)

    def do_close(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Let the board go."""
        del head, body
        device, self.device = self.device, None
        if device is not None:
            device.close()
        return {}, b""

    do_quit = do_close

    def _open(self) -> Device:
        if self.device is None:
            raise NoSuchBoard("no board is open")
        return self.device


def tell_notices() -> None:
    """Let libcaer tell of dropped spikes; samna leaves its log at errors. Where no libcaer is loaded nothing is changed."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        loaded = {line.split(maxsplit=5)[-1].strip() for line in maps if "/libcaer" in line}
    for path in sorted(loaded):
        ctypes.CDLL(path).caerLogLevelSet(_NOTICE)


def main(descriptor: int) -> None:
    """Serve the parent on an inherited socket; ends the process, samna's own way out would crash with a board open."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = socket.socket(fileno=descriptor)
    os.dup2(2, 1)  # samna prints
    worker = Worker(parent)
    while (request := worker.next_request()) is not None:
        head, body = request
        # Should samna hang with nobody left to kill this process, it ends itself.
        faulthandler.dump_traceback_later(head["seconds"] + _GRACE_S, exit=True)
        try:
            answer, found = worker.answer(head, body)
        except (NoSuchBoard, PortInUse) as problem:
            answer, found = {"problem": type(problem).__name__, "text": str(problem)}, b""
        except Broken:
            break
        except Exception as problem:
            answer, found = {"problem": "Exception", "text": f"{type(problem).__name__}: {problem}"}, b""
        faulthandler.cancel_dump_traceback_later()
        answer["number"] = head["number"]
        # What libcaer complained of before this line belongs to this answer.
        os.write(2, f"\n{frames.ANSWERED} {head['number']}\n".encode())
        try:
            frames.send(parent, answer, found)
        except OSError:
            break
        if head["do"] == "quit":
            break
    faulthandler.dump_traceback_later(_GRACE_S, exit=True)
    try:
        worker.do_close({}, b"")
    finally:
        sys.stderr.flush()
        os._exit(0)
