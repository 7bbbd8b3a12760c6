"""Linear nodes as matrices: convolution and pooling written out, with the output shapes that they give.

Shapes leave the batch out: (channels, rows, columns), (channels, length) or (size,); rows of a matrix are outputs, its
columns inputs, both flattened with the last dimension fastest. Equations: NIR's Conv1d, Conv2d and SumPool2d, those of torch.nn
with zero padding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.errors import InvalidValue
from bcall_hw.nir_import.read import Node

Shape = tuple[int, ...]
#: Largest matrix that is written out (elements): 256 MB.
MAX_ELEMENTS = 2**25


def checked_size(rows: int, columns: int, where: str) -> None:
    """Refuse a matrix that is too large to write out, before it is made."""
    if rows * columns > MAX_ELEMENTS:
        fix = "A layer of this size fits no board."
        raise InvalidValue("weights are too many", where=where, used=f"{rows} x {columns}", limit=MAX_ELEMENTS, fix=fix)


def field(node: Node, name: str) -> FloatArray:
    """A numeric field as float64.

    Raises:
        InvalidValue: it is missing.
    """
    if name not in node.numbers:
        raise InvalidValue(f"{node.kind} lacks its field", where=f"node {node.name!r}", used=name)
    return np.asarray(node.numbers[name], dtype=np.float64)


def whole(node: Node, name: str, count: int, low: int) -> tuple[int, ...]:
    """A field of `count` whole numbers, or one for all, each at least `low`.

    Raises:
        InvalidValue: others.
    """
    values = field(node, name).ravel()
    where = f"node {node.name!r}, field {name!r}"
    if values.size not in (1, count) or not bool(np.all(values == np.rint(values))) or not bool(np.all(np.abs(values) < 2**31)):
        raise InvalidValue(f"needs one whole number or {count}", where=where, used=values.tolist()[:8])
    found = tuple(int(v) for v in np.broadcast_to(values, (count,)))
    if min(found) < low:
        raise InvalidValue("is too small", where=where, used=min(found), limit=low)
    return found


def flatten_shape(node: Node, shape: Shape) -> Shape:
    """The shape that a Flatten gives: dimensions `start_dim` to `end_dim` become one."""
    first, last = (whole(node, name, 1, -len(shape))[0] if name in node.numbers else default
                   for name, default in (("start_dim", 0), ("end_dim", -1)))  # fmt: skip
    first, last = first % len(shape), last + len(shape) if last < 0 else last
    if not first <= last < len(shape):
        raise InvalidValue("dimensions out of range", where=f"node {node.name!r}", used=(first, last), limit=len(shape) - 1)
    return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])


class Window:
    """The sliding window of a Conv1d, Conv2d or SumPool2d node over one input shape.

    Raises:
        InvalidValue: shapes or parameters that do not go together.
    """

    def __init__(self, node: Node, shape: Shape) -> None:
        self.where, self.node, self.shape = f"node {node.name!r}", node, shape
        dims = 1 if node.kind == "Conv1d" else 2
        if len(shape) != dims + 1:
            limit = "(channels, rows, columns)" if dims == 2 else "(channels, length)"
            raise InvalidValue(f"{node.kind} needs another input shape", where=self.where, used=shape, limit=limit)
        self.dims, self.spatial = dims, shape[1:]
        if node.kind == "SumPool2d":
            self.kernel: Shape = whole(node, "kernel_size", dims, 1)
            self.groups, self.weight = shape[0], np.ones((shape[0], 1, *self.kernel))
            self.dilation: Shape = (1,) * dims
        else:
            self.weight = field(node, "weight")
            if self.weight.ndim != dims + 2 or 0 in self.weight.shape:
                limit = f"{dims + 2} dimensions"
                raise InvalidValue("wrong shape of the weight", where=self.where, used=self.weight.shape, limit=limit)
            self.kernel = self.weight.shape[2:]
            self.groups = whole(node, "groups", 1, 1)[0]
            self.dilation = whole(node, "dilation", dims, 1)
        self.stride = whole(node, "stride", dims, 1)
        self.before, self.out = self._padding()
        self._check()

    def _padding(self) -> tuple[Shape, Shape]:
        spans = tuple(d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True))
        word = self.node.words.get("padding")
        if word == "same":
            if set(self.stride) != {1}:
                raise InvalidValue('padding "same" needs stride 1', where=self.where, used=self.stride)
            return tuple(span // 2 for span in spans), self.spatial
        if word not in (None, "valid"):
            raise InvalidValue("unknown padding", where=self.where, used=word, limit="same, valid or numbers")
        pads = (0,) * self.dims if word else whole(self.node, "padding", self.dims, 0)
        out = tuple((n + 2 * p - s - 1) // t + 1 for n, p, s, t in zip(self.spatial, pads, spans, self.stride, strict=True))
        return pads, out

    def _check(self) -> None:
        channels, groups = self.shape[0], self.groups
        if self.weight.shape[0] % groups or self.weight.shape[1] * groups != channels:
            used = f"{channels} channels, {groups} groups"
            raise InvalidValue("weight does not fit its input", where=self.where, used=used, limit=self.weight.shape)
        if min(self.out) < 1:
            raise InvalidValue("kernel is larger than its input", where=self.where, used=self.kernel, limit=self.spatial)

    @property
    def out_shape(self) -> Shape:
        """Shape of the output."""
        return (self.weight.shape[0], *self.out)

    def bias(self) -> FloatArray:
        """The bias of each output, shape (outputs,)."""
        outputs = self.out_shape
        values = field(self.node, "bias").ravel() if "bias" in self.node.numbers else np.zeros(outputs[0])
        if values.size != outputs[0]:
            raise InvalidValue("one bias per channel is needed", where=self.where, used=values.size, limit=outputs[0])
        return np.repeat(values, math.prod(self.out))

    def _taps(self, axis: int, tap: int) -> tuple[IntArray, IntArray]:
        """Output positions along an axis that see an input through kernel element `tap`, and those inputs."""
        outputs = np.arange(self.out[axis])
        inputs = outputs * self.stride[axis] - self.before[axis] + tap * self.dilation[axis]
        inside = (inputs >= 0) & (inputs < self.spatial[axis])
        return outputs[inside], inputs[inside]

    def matrix(self) -> FloatArray:
        """The node as a matrix, shape (outputs, inputs)."""
        checked_size(math.prod(self.out_shape), math.prod(self.shape), self.where)
        pad = (1,) * (2 - self.dims)  # a Conv1d is a Conv2d of one row
        full: Any = np.zeros((self.weight.shape[0], *pad, *self.out, self.shape[0], *pad, *self.spatial))
        each_out, each_in = self.weight.shape[0] // self.groups, self.weight.shape[1]
        for tap in np.ndindex(self.kernel):
            places = [self._taps(axis, k) for axis, k in enumerate(tap)]
            if self.dims == 1:
                places.insert(0, (np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)))
            (rows, from_rows), (columns, from_columns) = places
            for group in range(self.groups):
                outs = slice(group * each_out, (group + 1) * each_out)
                ins = slice(group * each_in, (group + 1) * each_in)
                weights = self.weight[(outs, slice(None), *tap)]
                full[outs, :, :, ins][:, rows[:, None], columns[None, :], :, from_rows[:, None], from_columns[None, :]] = (
                    weights[None, None]
                )
        return np.asarray(full.reshape(math.prod(self.out_shape), -1), dtype=np.float64)
