"""Training of the linear classifiers of figure 5: one layer on binarised images, float or binary weights.

The read-out is one layer: 784 pixels to `pool` neurons per class. What a neuron gets is the sum of its weights over the
active pixels; the score of a class is the mean over its pool, and the highest score is the answer. That is linear, so the
gradient of the loss is the same for all neurons of one pool: images are multiplied with one sum of weights per class,
whatever the pool size, and all initialisations go through one batched product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from bcall_hw import random_bits
from bcall_hw.errors import InvalidValue
from bcall_hw.experiments.figures.vision import ByteArray
from bcall_hw.records import Record

Kind = Literal["float", "binary"]
KINDS: tuple[Kind, ...] = ("float", "binary")
CLASSES = 10

Grey = Annotated[int, Field(ge=0, le=255, strict=True)]
Count = Annotated[int, Field(ge=1, le=100, strict=True)]
Images = Annotated[int, Field(ge=1, le=60_000, strict=True)]
Positive = Annotated[float, Field(gt=0, le=100)]


class LinearSettings(Record):
    """All that the numbers of figure 5 depend on, beside seed and data.

    Attributes:
        thresholds: grey levels; a pixel is active where its grey level is above.
        pools: output neurons per class.
        initialisations: repeats that differ in their initial weights and in the order of images.
        images: training images, a random choice where it is less than all.
        epochs: passes over them.
        batch: images per step; what is left over at the end of an epoch is not used.
        momentum: of the steps.
        float_rate, binary_rate: step size at the start; it falls linearly to zero.
        float_scale, binary_scale: factor on a class's score before the softmax.
        float_spread: initial float weights are uniform in [-float_spread, float_spread].
        theta_w: a binary weight is 1 where its hidden weight, in [0, 1], is above.
    """

    thresholds: tuple[Grey, ...] = tuple(range(0, 251, 10))
    pools: tuple[Count, ...] = (1, 5, 10, 20)
    initialisations: Annotated[int, Field(ge=2, le=100, strict=True)] = 5
    images: Images = 60_000
    epochs: Count = 4
    batch: Images = 250
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    float_rate: Positive = 0.5
    binary_rate: Positive = 0.3
    float_scale: Positive = 1.0
    binary_scale: Positive = 0.5
    float_spread: Positive = 0.1
    theta_w: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        for name, values in (("thresholds", self.thresholds), ("pools", self.pools)):
            if not values or list(values) != sorted(set(values)):
                raise InvalidValue("must rise, each value once, and not be empty", where=f"LinearSettings.{name}", used=values)
        if self.batch > self.images:
            raise InvalidValue(
                "a step takes more images than there are", where="LinearSettings.batch", used=self.batch, limit=self.images
            )


@dataclass(frozen=True)
class Cell:
    """One point of one line: all its initialisations are trained together."""

    threshold: int
    pool: int
    kind: Kind

    @property
    def name(self) -> str:
        """Threshold, pool size and kind."""
        return f"{self.threshold}/{self.pool}/{self.kind}"


@contextmanager
def one_thread(torch: Any) -> Iterator[None]:
    """One thread inside torch: the products are small, so more would mostly wait for each other, and sums stay in order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def binarised(torch: Any, images: ByteArray, threshold: int) -> Any:
    """1 where the grey level is above the threshold, else 0: float32, shape (images, 784)."""
    return torch.from_numpy((images > threshold).astype(np.float32))


class Readout:
    """The read-outs of all initialisations of one cell.

    Their weights, or hidden weights, have the shape (pool, initialisations, 784, 10), float32.
    """

    def __init__(self, torch: Any, settings: LinearSettings, cell: Cell, seed: int) -> None:
        self._torch, self._settings, self._cell, self._seed = torch, settings, cell, seed
        self._binary = cell.kind == "binary"
        shape = (cell.pool, settings.initialisations, 28 * 28, CLASSES)
        hidden = random_bits.uniform(seed, f"figure-5/{cell.name}/weights", int(np.prod(shape))).reshape(shape)
        if not self._binary:
            hidden = settings.float_spread * (2.0 * hidden - 1.0)
        self._hidden = torch.from_numpy(hidden.astype(np.float32))
        self._velocity = torch.zeros(shape[1:], dtype=torch.float32)
        self._buffer = torch.empty_like(self._hidden)

    def train(self, images: Any, labels: Any) -> None:
        """Descend the cross-entropy of the softmax of the scaled scores, in steps of one batch.

        Args:
            images: float32 of 0 and 1, shape (images, 784).
            labels: int64, shape (images,).
        """
        s = self._settings
        first_rate = s.binary_rate if self._binary else s.float_rate
        per_epoch = len(images) // s.batch
        steps = s.epochs * per_epoch
        for epoch in range(s.epochs):
            for k, batch in enumerate(self._batches(epoch, len(images))):
                rate = first_rate * (1.0 - (epoch * per_epoch + k) / steps)
                shown = images.index_select(0, batch.view(-1)).view(*batch.shape, -1)
                self._step(shown, labels[batch], rate)

    def _batches(self, epoch: int, count: int) -> Any:
        """Which images each step shows to each initialisation: int64, shape (steps, initialisations, batch)."""
        s = self._settings
        stream = f"figure-5/{self._cell.name}/order/{epoch}"
        steps = count // s.batch
        orders = [random_bits.permutation(self._seed, f"{stream}/{n}", count) for n in range(s.initialisations)]
        used = np.stack(orders)[:, : steps * s.batch].reshape(s.initialisations, steps, s.batch)
        return self._torch.from_numpy(np.ascontiguousarray(used.swapaxes(0, 1)))

    def _step(self, images: Any, labels: Any, rate: float) -> None:
        """One step. The straight-through estimator lets the gradient of a binary weight act on its hidden weight.

        Args:
            images: float32, shape (initialisations, batch, 784).
            labels: int64, shape (initialisations, batch).
            rate: step size.
        """
        s = self._settings
        scale = s.binary_scale if self._binary else s.float_scale
        scores = self._torch.bmm(images, self._sums()).mul_(scale / self._cell.pool)
        # The gradient of the loss by the scaled score: the softmax, less 1 at the right class.
        error = self._torch.softmax(scores, dim=2).sub_(self._torch.nn.functional.one_hot(labels, CLASSES))
        gradient = self._torch.bmm(images.transpose(1, 2), error)
        self._velocity.mul_(s.momentum).add_(gradient, alpha=-rate / s.batch)
        self._hidden.add_(self._velocity)
        if self._binary:
            self._hidden.clamp_(0.0, 1.0)

    def _sums(self) -> Any:
        """Weights summed over each pool: shape (initialisations, 784, 10). Whole numbers for binary weights."""
        weights = self._hidden
        if self._binary:
            weights = self._torch.gt(self._hidden, self._settings.theta_w, out=self._buffer)
        return weights.sum(dim=0)

    def correct(self, images: Any, labels: Any) -> list[int]:
        """Right answers of each initialisation; a tie counts for the lower class."""
        truth = labels.numpy()
        return [int(((images @ sums).numpy().argmax(axis=1) == truth).sum()) for sums in self._sums()]
