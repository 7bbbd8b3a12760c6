"""The calls of samna 0.36 where nothing is started and `graph.sink_from` makes sinks."""

from types import SimpleNamespace

import mock_samna
from mock_samna import dynapse1

device = SimpleNamespace(
    get_unopened_devices=mock_samna.unopened, open_device=mock_samna.open_device, close_device=lambda model: model.close()
)
graph = SimpleNamespace(EventFilterGraph=mock_samna.Graph, sink_from=mock_samna.sink_from)

__all__ = ["device", "dynapse1", "graph"]
