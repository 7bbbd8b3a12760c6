"""The calls of samna 0.36 where `init_samna` starts it and sinks are nodes."""

from types import SimpleNamespace

import mock_samna
from mock_samna import dynapse1, init_samna
from mock_samna import sink_node as BasicSinkNode_dynapse1_dynapse1_event  # noqa: N812

device = SimpleNamespace(
    get_unopened_devices=mock_samna.unopened, open_device=mock_samna.open_device, close_device=lambda model: model.close()
)
graph = SimpleNamespace(EventFilterGraph=mock_samna.Graph)

__all__ = ["BasicSinkNode_dynapse1_dynapse1_event", "device", "dynapse1", "graph", "init_samna"]
