"""Convolution, pooling and flattening written out: against loops that know nothing of the importer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

nir = pytest.importorskip("nir", reason="needs the package nir")

from nir_helpers import Array, chain, imported, lif, linear  # noqa: E402

from bcall_hw.errors import FanInExceeded, InvalidValue  # noqa: E402


def brute_force(
    image: Array, weight: Array, stride: list[int], pad: list[tuple[int, int]], dilation: list[int], groups: int
) -> Array:
    """A 2-d convolution by the definition, one multiplication at a time."""
    channels, rows, columns = image.shape
    outs, ins, *kernel = weight.shape
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [(n + sum(p) - r) // s + 1 for n, p, r, s in zip((rows, columns), pad, reach, stride, strict=True)]
    found = np.zeros((outs, *size))
    for o, y, x in np.ndindex(found.shape):
        group = o // (outs // groups)
        for i, ky, kx in np.ndindex(ins, *kernel):
            at_y = y * stride[0] + ky * dilation[0] - pad[0][0]
            at_x = x * stride[1] + kx * dilation[1] - pad[1][0]
            if 0 <= at_y < rows and 0 <= at_x < columns:
                found[o, y, x] += weight[o, i, ky, kx] * image[group * (channels // groups) + i, at_y, at_x]
    return found


def through(node: Any, image: Array, **more: Any) -> Array:
    """What the imported real weights make of an image of spikes: the layer's drive, flat."""
    found = imported(chain(node, lif(), shape=image.shape), **more)
    return np.asarray(found.layers[0].weights @ image.ravel())


RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("shape", "outs", "kernel", "stride", "padding", "dilation", "groups"),
    [
        ((1, 5, 4), 2, (3, 3), 1, 0, 1, 1), ((2, 5, 6), 3, (2, 3), (2, 1), (1, 2), 1, 1),
        ((4, 5, 5), 2, (3, 2), 1, (0, 1), (1, 2), 2), ((2, 4, 4), 4, (2, 2), 2, 0, 1, 2),
        ((1, 5, 6), 1, (3, 2), 1, "same", 1, 1), ((1, 6, 5), 2, (2, 2), (1, 2), "valid", 2, 1),
    ],
)  # fmt: skip
def test_conv2d(shape: Any, outs: int, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    weight = RANDOM.normal(size=(outs, shape[0] // groups, *kernel))
    node = nir.Conv2d(None, weight, stride, padding, dilation, groups, np.zeros(outs))
    strides, dilations = (list(v) if isinstance(v, tuple) else [v, v] for v in (stride, dilation))
    if padding == "same":
        spans = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        pads = [(s // 2, s - s // 2) for s in spans]
    else:
        pads = [(p, p) for p in ((0, 0) if padding == "valid" else (padding, padding) if isinstance(padding, int) else padding)]
    image = (RANDOM.random(shape) < 0.5).astype(float)
    wanted = brute_force(image, weight, strides, pads, dilations, groups)
    assert through(node, image) == pytest.approx(wanted.ravel())


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 1, 1, 2), (1, "same", 2, 1)])
def test_conv1d(stride: int, padding: Any, dilation: int, groups: int) -> None:
    weight = RANDOM.normal(size=(2, 2 // groups, 3))
    node = nir.Conv1d(None, weight, stride, padding, dilation, groups, np.zeros(2))
    image = (RANDOM.random((2, 9)) < 0.5).astype(float)
    sides = (dilation, dilation) if padding == "same" else (padding, padding)
    wanted = brute_force(image[:, None], weight[:, :, None], [1, stride], [(0, 0), sides], [1, dilation], groups)
    assert through(node, image) == pytest.approx(wanted.ravel())


def test_sum_pool() -> None:
    image = (RANDOM.random((3, 6, 4)) < 0.5).astype(float)
    node = nir.SumPool2d(kernel_size=np.array([3, 2]), stride=np.array([3, 2]), padding=np.array([0, 0]))
    wanted = [image[c, 3 * y : 3 * y + 3, 2 * x : 2 * x + 2].sum() for c, y, x in np.ndindex(3, 2, 2)]
    assert through(node, image) == pytest.approx(wanted)


def test_a_convolutional_chain_is_the_product_of_its_parts() -> None:
    """Conv, pool, flatten, linear, with one spiking layer at the end: a spike count in, the same drive out."""
    weight, readout = RANDOM.normal(size=(2, 1, 3, 3)), RANDOM.normal(size=(5, 8))
    image = (RANDOM.random((1, 6, 6)) < 0.5).astype(float)
    convolved = brute_force(image, weight, [1, 1], [(0, 0), (0, 0)], [1, 1], 1)
    pooled = convolved.reshape(2, 2, 2, 2, 2).sum(axis=(2, 4))
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    nodes = (nir.Conv2d(None, weight, 1, 0, 1, 1, np.zeros(2)), pool,
             nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1), linear(readout), lif(5))  # fmt: skip
    found = imported(chain(*nodes, shape=(1, 6, 6)))
    assert found.layers[0].weights @ image.ravel() == pytest.approx(readout @ pooled.ravel())


def test_bias_of_a_convolution_is_one_current_or_refused() -> None:
    weight = np.ones((2, 1, 2, 2))
    same = imported(chain(nir.Conv2d(None, weight, 1, 0, 1, 1, np.full(2, 0.1)), lif(), shape=(1, 3, 3)))
    assert same.layers[0].bias == pytest.approx(np.full(8, 0.1))
    with pytest.raises(InvalidValue, match="neuron 4: bias differs"):
        imported(chain(nir.Conv2d(None, weight, 1, 0, 1, 1, np.array([0.1, 0.2])), lif(), shape=(1, 3, 3)))


@pytest.mark.parametrize(("dims", "shape"), [((0, -1), (24,)), ((0, 1), (6, 4)), ((1, 2), (2, 12)), ((-2, -1), (2, 12))])
def test_flatten_shapes(dims: tuple[int, int], shape: tuple[int, ...]) -> None:
    node = nir.Flatten({"input": None}, *dims)
    values = chain(node, lif(), shape=(2, 3, 4)).to_dict()
    values["nodes"]["n1"] = lif().to_dict() | {name: np.full(shape, v) for name, v in (("tau", 0.02), ("r", 1.0))}
    values["nodes"]["n1"] |= {"v_threshold": np.ones(shape), "v_leak": np.zeros(shape)}

    class Graph:
        nodes, edges = {}, ()

        def to_dict(self) -> Any:
            return values

    assert imported(Graph()).network.populations[0].size == math.prod(shape)
    values["nodes"]["n1"]["tau"] = np.full((5, 5), 0.02)
    with pytest.raises(InvalidValue):
        imported(Graph())


@pytest.mark.parametrize(
    ("node", "shape", "what"),
    [
        (nir.Conv2d(None, np.ones((1, 1, 3, 3)), 1, 0, 1, 1, np.zeros(1)), (1, 2, 2), "kernel is larger"),
        (nir.Conv2d(None, np.ones((1, 2, 2, 2)), 1, 0, 1, 1, np.zeros(1)), (1, 4, 4), "weight does not fit"),
        (nir.Conv2d(None, np.ones((1, 1, 2, 2)), 1, 0, 1, 1, np.zeros(3)), (1, 4, 4), "one bias per channel"),
        (nir.Conv2d(None, np.ones((1, 1, 2, 2)), 0, 0, 1, 1, np.zeros(1)), (1, 4, 4), "is too small"),
        (nir.Conv2d(None, np.ones((1, 1, 2, 2)), 2, "same", 1, 1, np.zeros(1)), (1, 4, 4), "needs stride 1"),
        (nir.Conv2d(None, np.ones((1, 1, 2, 2)), 1, 0, 1, 1, np.zeros(1)), (16,), "another input shape"),
        (nir.Conv1d(None, np.ones((1, 1, 2, 2)), 1, 0, 1, 1, np.zeros(1)), (1, 4), "wrong shape of the weight"),
        (nir.Flatten({"input": None}, 0, 5), (2, 2), "dimensions out of range"),
    ],
)  # fmt: skip
def test_windows_that_do_not_fit_are_refused(node: Any, shape: Any, what: str) -> None:
    with pytest.raises(InvalidValue, match=what):
        imported(chain(node, lif(), shape=shape))


def test_fan_in_of_a_convolution_is_checked() -> None:
    node = nir.Conv2d(None, np.ones((1, 3, 5, 5)), 1, 0, 1, 1, np.zeros(1))
    with pytest.raises(FanInExceeded) as caught:
        imported(chain(node, lif(), shape=(3, 6, 6)))
    assert (caught.value.used, caught.value.limit) == (75, 64)


def test_weights_too_many_to_write_out_are_refused_before_they_are_made() -> None:
    node = nir.Conv2d(None, np.ones((4096, 1, 1, 1)), 1, 0, 1, 1, np.zeros(4096))
    pool = nir.SumPool2d(np.array([32, 32]), np.array([32, 32]), np.array([0, 0]))
    with pytest.raises(InvalidValue, match="weights are too many"):
        imported(chain(node, pool, lif(), shape=(1, 32, 32)))
