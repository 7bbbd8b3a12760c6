"""How each generation of samna is started, how it lists, opens and closes a board, and how its events are reached.

| generation | samna | how it is known |
|---|---|---|
| `DeviceNode` | 0.7 and older | 0.7.1.0 verified: the real binary, on the virtual board; others read |
| `DeviceModule` | 0.8 to 0.14 | read: the vendor's documents and public scripts of 0.14.10 |
| `InOneProcess` | 0.15 and newer | read: the vendor's documents of 0.3x to 0.48; no public source shows a DYNAP-SE1 on them |

What stands here is all that differs; configuration objects, updates and generators are called alike.
"""

from __future__ import annotations

import re
import socket
import time
from typing import Any

_TRIES = 5
_NAME = "bcall_hw_board"


class NoSuchBoard(Exception):
    """No board, or none with this serial number."""


class PortInUse(Exception):
    """samna's own connections found their ports taken."""


class DeviceNode:
    """samna 0.7: a node with remote objects; a board opened under a name."""

    #: The version that was tried.
    verified = "0.7.1.0"
    #: It opens the first board that it can, whichever was asked for (seen with two boards listed).
    opens_any = True

    def __init__(self, samna: Any, ports: tuple[int, int] | None) -> None:
        self._samna = samna
        self._node = _local_nodes(samna, ports)
        self._controller = samna.device_node.DeviceController

    def boards(self) -> list[Any]:
        """Boards that nobody has opened here."""
        return list(self._controller.get_unopened_devices())

    def open(self, board: Any) -> Any:
        """The board's model."""
        self._controller.open_device(board, _NAME)
        return getattr(self._samna.device_node, _NAME)

    def close(self, model: Any) -> None:
        """Let the board go."""
        del model
        self._controller.close_device(_NAME)

    def sink(self, model: Any) -> Any:
        """Where the board's events arrive; `get_events()` takes them."""
        sink = self._samna.BufferSinkNode_dynapse1_dynapse1_event()
        model.get_source_node().add_destination(sink.get_input_channel())
        return sink


class DeviceModule:
    """samna 0.8 to 0.14: the same nodes, but boards are opened by `samna.device`, and events run through a graph."""

    verified = ""
    opens_any = False

    def __init__(self, samna: Any, ports: tuple[int, int] | None) -> None:
        self._samna = samna
        self._start(ports)

    def _start(self, ports: tuple[int, int] | None) -> None:
        self._node = _local_nodes(self._samna, ports)

    def boards(self) -> list[Any]:
        """Boards that nobody has opened."""
        return list(self._samna.device.get_unopened_devices())

    def open(self, board: Any) -> Any:
        """The board's model."""
        return self._samna.device.open_device(board)

    def close(self, model: Any) -> None:
        """Let the board go."""
        self._samna.device.close_device(model)

    def sink(self, model: Any) -> Any:
        """Where the board's events arrive."""
        self._graph = self._samna.graph.EventFilterGraph()
        sink = self._samna.BasicSinkNode_dynapse1_dynapse1_event()
        self._graph.sequential([model.get_source_node(), sink])
        self._graph.start()
        return sink


class InOneProcess(DeviceModule):
    """samna 0.15 and newer: no nodes to start, or `init_samna` does."""

    def _start(self, ports: tuple[int, int] | None) -> None:
        del ports
        if hasattr(self._samna, "init_samna"):
            self._node = self._samna.init_samna()

    def sink(self, model: Any) -> Any:
        """Where the board's events arrive."""
        if hasattr(self._samna.graph, "sink_from"):
            return self._samna.graph.sink_from(model.get_source_node())
        return super().sink(model)


Adapter = DeviceNode | DeviceModule


def adapter_for(version: str) -> type[DeviceNode] | type[DeviceModule]:
    """The adapter of a samna version; the newest where the version is not known."""
    found = re.match(r"(\d+)\.(\d+)", version)
    generation = (int(found[1]), int(found[2])) if found else (99, 0)
    if generation < (0, 8):
        return DeviceNode
    return DeviceModule if generation < (0, 15) else InOneProcess


def _local_nodes(samna: Any, ports: tuple[int, int] | None) -> Any:
    """Samna's two nodes, on free ports unless some are asked for; the connection is tried several times: it may time out."""
    last: Exception | None = None
    for _ in range(_TRIES):
        receive, send = ports or (_free_port(), _free_port())
        to_node, from_node = f"tcp://127.0.0.1:{receive}", f"tcp://127.0.0.1:{send}"
        try:
            node = samna.SamnaNode(to_node, from_node, 1)
            samna.setup_local_node(from_node, to_node, 2)
            break
        except Exception as problem:
            last = problem
            if "in use" not in str(problem):
                raise
            if ports is not None:
                break
            time.sleep(0.1)
    else:
        raise PortInUse(str(last))
    if last is not None and ports is not None:
        raise PortInUse(str(last))
    for attempt in range(_TRIES):
        try:
            samna.open_remote_node(1, "device_node")
            return node
        except Exception:
            if attempt == _TRIES - 1:
                raise
    return node


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
