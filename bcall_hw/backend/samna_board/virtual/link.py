"""Messages between the stand-in library (`stand_in.c`) and the server: a head of four numbers, then 32-bit words."""

from __future__ import annotations

import socket
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

HEAD_DTYPE = np.dtype([("what", "<u4"), ("a", "<u4"), ("b", "<u4"), ("count", "<u4")])
EVENT_DTYPE = np.dtype([("data", "<u4"), ("timestamp", "<i4")])
Events = npt.NDArray[np.void]
WordArray = npt.NDArray[np.uint32]


class What(IntEnum):
    """What a message asks for; `stand_in.c` has the same numbers."""

    DISCOVER = 1
    OPEN = 2
    CLOSE = 3
    DEFAULTS = 4
    SET = 5
    WORDS = 6
    MEMORY = 7
    POISSON = 8
    SLEEP = 9
    DATA = 10
    GET = 11


#: Flag of the answer to OPEN: a sleep of the script is the board's time.
SLEEP_IS_TIME = 1
#: Flags of a packet of spikes.
WRAPPED, DROPPED = 1, 2


class Gone(Exception):
    """The other side has gone; no other failure of the system is taken for that."""


class Message(NamedTuple):
    """One message: what it asks for, two numbers, and words."""

    what: What
    a: int
    b: int
    words: WordArray

    @property
    def address(self) -> tuple[int, int]:
        """(module, parameter) of a SET or GET."""
        return self.a >> 8, self.a & 0xFF


def receive(connection: socket.socket) -> Message | None:
    """The next message, or None where the other side has gone.

    Raises:
        ValueError: it is no message of ours.
    """
    raw = _exactly(connection, HEAD_DTYPE.itemsize)
    if raw is None:
        return None
    what, a, b, count = (int(value) for value in np.frombuffer(raw, dtype=HEAD_DTYPE)[0])
    body = _exactly(connection, 4 * count) if count else b""
    if body is None:
        return None
    return Message(What(what), a, b, np.frombuffer(body, dtype="<u4"))


def answer(connection: socket.socket, a: int = 0, b: int = 0, text: bytes = b"") -> None:
    """Answer a message that waits: two numbers and up to 63 bytes.

    Raises:
        Gone: there is nobody to answer.
    """
    _send(connection, _head(0, a, b, len(text)) + text)


def send_events(connection: socket.socket, events: Events, flags: int = 0) -> None:
    """A packet of spikes (`EVENT_DTYPE`).

    Raises:
        Gone: nobody takes it.
    """
    _send(connection, _head(What.DATA, 0, flags, len(events)) + events.tobytes())


def _send(connection: socket.socket, raw: bytes) -> None:
    try:
        connection.sendall(raw)
    except OSError as problem:
        raise Gone from problem


def _head(what: int, a: int, b: int, count: int) -> bytes:
    return np.array([(what, a & 0xFFFFFFFF, b & 0xFFFFFFFF, count)], dtype=HEAD_DTYPE).tobytes()


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(min(1 << 20, size - len(parts)))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
