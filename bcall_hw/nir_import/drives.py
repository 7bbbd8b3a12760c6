"""What drives each neuron node: the linear nodes before it multiplied out, back to inputs and spiking layers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.errors import InvalidValue
from bcall_hw.nir_import.expand import Shape, Window, checked_size, field, flatten_shape, whole
from bcall_hw.nir_import.neurons import SHARED, parameter_shape
from bcall_hw.nir_import.read import Graph, Node
from bcall_hw.nir_import.result import Note

NEURONS = frozenset(SHARED)
WINDOWS = frozenset({"Conv1d", "Conv2d", "SumPool2d"})
PASSING = frozenset({"Pass", "Output"})
ACCEPTED = NEURONS | WINDOWS | PASSING | {"Input", "Linear", "Affine", "Scale", "Flatten"}
#: Nodes that are known and have no counterpart, and why.
REFUSED = {
    "LI": "a leaky integrator does not spike, and nothing but spikes leaves a chip",
    "CubaLI": "a leaky integrator does not spike, and nothing but spikes leaves a chip",
    "I": "an integrator does not spike, and nothing but spikes leaves a chip",
    "Threshold": "a threshold without a membrane has no circuit",
    "AvgPool2d": "averages analogue values; use SumPool2d, which sums spikes",
    "Delay": "the chip has no axonal delays",
}
#: Linear nodes in a row: more are taken for a mistake.
LONGEST_CHAIN = 200


@dataclass(frozen=True, eq=False)
class Drive:
    """A linear function of the spikes of inputs and layers.

    Attributes:
        maps: for each source (an Input or neuron node), the matrix, shape (size, source size).
        bias: the constant part, shape (size,).
    """

    maps: dict[str, FloatArray]
    bias: FloatArray

    def through(self, matrix: FloatArray, bias: FloatArray) -> Drive:
        """This, then a matrix of shape (outputs, size) and a bias of shape (outputs,)."""
        return Drive({name: matrix @ m for name, m in self.maps.items()}, matrix @ self.bias + bias)


class Drives:
    """Shapes of all nodes, and the drive of each.

    Raises:
        InvalidValue: refused or unknown nodes, shapes that do not fit or are not known.
    """

    def __init__(self, graph: Graph, notes: list[Note]) -> None:
        self.graph, self.notes = graph, notes
        for node in graph.nodes.values():
            if node.kind not in ACCEPTED:
                why = REFUSED.get(node.kind, "unknown node")
                limit = ", ".join(sorted(ACCEPTED - {"Pass"}))
                raise InvalidValue(
                    f"{node.kind} cannot be imported: {why}", where=f"node {node.name!r}", used=node.kind, limit=limit
                )
        self.shapes: dict[str, Shape] = {}
        self._all_shapes()
        # A linear node that several nodes hear is multiplied out once, and kept until the last of them has asked.
        self._waiting = Counter(pre for pres in graph.feeds.values() for pre in pres)
        self._kept: dict[str, tuple[Drive, int]] = {}

    def size(self, name: str) -> int:
        """Elements of a node's output."""
        return math.prod(self.shapes[name])

    def of(self, name: str) -> Drive:
        """The summed input of a node."""
        return self._input(name, (name,))[0]

    # Shapes ----------------------------------------------------------------------------------------------------------

    def _all_shapes(self) -> None:
        """Carry shapes forward until nothing new is known: cycles need more than one pass."""
        nodes = self.graph.nodes
        known = -1
        while len(self.shapes) > known:
            known = len(self.shapes)
            for name, node in nodes.items():
                if name not in self.shapes:
                    found = self._out_shape(node)
                    if found is not None:
                        self.shapes[name] = found
        for name in nodes:
            if name not in self.shapes:
                fix = "Give its parameters one value per neuron, or feed it from an Input or a layer of known size."
                raise InvalidValue("shape is not known", where=f"node {name!r}", fix=fix)
            self._out_shape(nodes[name])  # with all of its inputs known: do they fit?

    def _out_shape(self, node: Node) -> Shape | None:
        if node.kind == "Input":
            if self.graph.feeds[node.name]:
                raise InvalidValue("is fed by another node", where=f"Input {node.name!r}", used=self.graph.feeds[node.name][0])
            return whole(node, "shape", max(1, field(node, "shape").size), 1)
        given = self._in_shape(node)
        if node.kind in ("Linear", "Affine"):
            weight = field(node, "weight")
            if weight.ndim != 2 or 0 in weight.shape:
                raise InvalidValue("weight must be a matrix", where=f"node {node.name!r}", used=weight.shape)
            if given is not None and given != (weight.shape[1],):
                fix = "Put a Flatten before it." if math.prod(given) == weight.shape[1] else ""
                if len(given) > 1 and given[-1] == weight.shape[1]:
                    fix = "If the Input counts time too, export again: sinabs' Squeeze layers, sample data of (steps, size)."
                raise _misfit(node, given, (weight.shape[1],), fix)
            return (weight.shape[0],)
        if node.kind in NEURONS:
            own = parameter_shape(node)
            if own is not None and given is not None and math.prod(own) != math.prod(given):
                raise _misfit(node, given, own)
            return given or own or self._heard_shape(node)
        if given is None:
            return None
        if node.kind in WINDOWS:
            return Window(node, given).out_shape
        if node.kind == "Scale":
            scale = field(node, "scale").shape
            try:
                fits = np.broadcast_shapes(scale, given) == given
            except ValueError:
                fits = False
            if not fits:
                raise _misfit(node, given, scale)
        return flatten_shape(node, given) if node.kind == "Flatten" else given

    def _in_shape(self, node: Node) -> Shape | None:
        """The one shape of all known nodes that feed it."""
        found: Shape | None = None
        for pre in self.graph.feeds[node.name]:
            shape = self.shapes.get(pre)
            if found is not None and shape is not None and shape != found:
                raise _misfit(node, shape, found, f"Its other input has shape {found}.")
            found = found or shape
        return found

    def _heard_shape(self, node: Node) -> Shape | None:
        """Of scalar neurons that nothing of known shape feeds: the columns of a weight that hears them, else one neuron."""
        for name, pres in self.graph.feeds.items():
            post = self.graph.nodes[name]
            if node.name in pres and post.kind in ("Linear", "Affine"):
                return (field(post, "weight").shape[-1],)
        return None if self.graph.feeds[node.name] else (1,)

    # Drives ----------------------------------------------------------------------------------------------------------

    def _input(self, name: str, path: tuple[str, ...]) -> tuple[Drive, int]:
        """The summed input of a node, and the most linear nodes in a row behind it; `path` is the way here, with the node."""
        size = longest = 0
        total: Drive | None = None
        for pre in self.graph.feeds[name]:
            self._check_chain(name, len(path))
            part, length = self._output(pre, path)
            self._check_chain(name, len(path) + length)
            longest = max(longest, length)
            size = part.bias.size
            if total is None:
                total = part
            else:
                maps = dict(total.maps)
                for source, matrix in part.maps.items():
                    maps[source] = maps[source] + matrix if source in maps else matrix
                total = Drive(maps, total.bias + part.bias)
        if total is None:
            return Drive({}, np.zeros(size or self.size(name))), 0
        return total, longest

    @staticmethod
    def _check_chain(name: str, length: int) -> None:
        if length > LONGEST_CHAIN:
            raise InvalidValue("too many linear nodes in a row", where=f"node {name!r}", used=length, limit=LONGEST_CHAIN)

    def _output(self, name: str, path: tuple[str, ...]) -> tuple[Drive, int]:
        """What a node gives, and the most linear nodes in a row up to it, itself included."""
        node = self.graph.nodes[name]
        size = self.size(name)
        if node.kind == "Input" or node.kind in NEURONS:
            checked_size(size, size, f"node {name!r}")
            return Drive({name: np.eye(size)}, np.zeros(size)), 0
        self._waiting[name] -= 1
        if name in self._kept:
            return self._kept[name] if self._waiting[name] > 0 else self._kept.pop(name)
        if name in path:
            fix = "Put a spiking layer into the loop."
            raise InvalidValue("linear nodes feed themselves", where=f"node {name!r}", used=" <- ".join(path[-4:]), fix=fix)
        if not self.graph.feeds[name]:
            raise InvalidValue("nothing feeds the node", where=f"{node.kind} {name!r}", fix="Add an edge, or remove it.")
        drive, length = self._input(name, (*path, name))
        found = self._through(node, size, drive), length + 1
        if self._waiting[name] > 0:
            self._kept[name] = found
        return found

    def _through(self, node: Node, size: int, drive: Drive) -> Drive:
        """What a linear node with `size` outputs makes of its input."""
        name = node.name
        if node.kind in ("Linear", "Affine"):
            return drive.through(field(node, "weight"), self._affine_bias(node, size))
        if node.kind in WINDOWS:
            window = Window(node, self.shapes[self.graph.feeds[name][0]])
            return drive.through(window.matrix(), window.bias())
        if node.kind == "Scale":
            scale = np.broadcast_to(field(node, "scale"), self.shapes[name]).ravel()
            self.notes.append(Note(name, "folded", "scale into the weights"))
            return Drive({source: scale[:, None] * m for source, m in drive.maps.items()}, scale * drive.bias)
        return drive

    @staticmethod
    def _affine_bias(node: Node, size: int) -> FloatArray:
        if node.kind == "Linear":
            return np.zeros(size)
        bias = field(node, "bias").ravel()
        if bias.size not in (1, size):
            raise InvalidValue("one bias per row is needed", where=f"Affine {node.name!r}", used=bias.size, limit=size)
        return np.asarray(np.broadcast_to(bias, (size,)), dtype=np.float64)


def _misfit(node: Node, given: Shape, wanted: Shape, fix: str = "") -> InvalidValue:
    where = f"{node.kind} {node.name!r}"
    return InvalidValue("shape of its input does not fit", where=where, used=given, limit=wanted, fix=fix)
