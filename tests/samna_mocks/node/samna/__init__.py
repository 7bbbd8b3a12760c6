"""The calls of samna 0.7: nodes, a controller with named devices, a sink that is joined by hand."""

from typing import Any

import mock_samna
from mock_samna import dynapse1, open_remote_node, setup_local_node
from mock_samna import samna_node as SamnaNode  # noqa: N812
from mock_samna import sink_node as BufferSinkNode_dynapse1_dynapse1_event  # noqa: N812


class _Controller:
    @staticmethod
    def get_unopened_devices() -> list[Any]:
        return mock_samna.unopened()

    @staticmethod
    def open_device(info: Any, name: str) -> None:
        setattr(device_node, name, mock_samna.open_device(info, name))

    @staticmethod
    def close_device(name: str) -> None:
        mock_samna.MODEL.close(name)


class _DeviceNode:
    DeviceController = _Controller()


device_node = _DeviceNode()

__all__ = [
    "BufferSinkNode_dynapse1_dynapse1_event", "SamnaNode", "device_node", "dynapse1", "open_remote_node", "setup_local_node",
]  # fmt: skip
