"""Requests and answers between the worker and its parent: a JSON object and some bytes, each with its length before it."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

#: Begins a line on standard error that comes before each answer; the number of the request follows.
ANSWERED = "bcall-hw answered"

#: In the environment of a process whose samna sees a virtual board: its socket.
VIRTUAL_VARIABLE = "BCALL_VIRTUAL_BOARD"

_LENGTHS = struct.Struct("<QQ")
_AT_ONCE = 1 << 20


def send(connection: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
    """Send one."""
    text = json.dumps(head).encode()
    connection.sendall(_LENGTHS.pack(len(text), len(body)) + text)
    connection.sendall(body)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """The next one, or None where the other side has gone.

    Raises:
        TimeoutError: nothing came within the socket's time limit.
    """
    lengths = _exactly(connection, _LENGTHS.size)
    if lengths is None:
        return None
    of_text, of_body = _LENGTHS.unpack(lengths)
    text, body = _exactly(connection, of_text), _exactly(connection, of_body)
    if text is None or body is None:
        return None
    return json.loads(text), body


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        try:
            part = connection.recv(min(_AT_ONCE, size - len(found)))
        except ConnectionError:
            return None
        if not part:
            return None
        found += part
    return bytes(found)
