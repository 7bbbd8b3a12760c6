"""The calls of samna 0.14: nodes, `samna.device`, and a graph."""

from types import SimpleNamespace

import mock_samna
from mock_samna import dynapse1, open_remote_node, setup_local_node
from mock_samna import samna_node as SamnaNode  # noqa: N812
from mock_samna import sink_node as BasicSinkNode_dynapse1_dynapse1_event  # noqa: N812

device = SimpleNamespace(
    get_unopened_devices=mock_samna.unopened, open_device=mock_samna.open_device, close_device=lambda model: model.close()
)
graph = SimpleNamespace(EventFilterGraph=mock_samna.Graph)

__all__ = [
    "BasicSinkNode_dynapse1_dynapse1_event",
    "SamnaNode",
    "device",
    "dynapse1",
    "graph",
    "open_remote_node",
    "setup_local_node",
]
