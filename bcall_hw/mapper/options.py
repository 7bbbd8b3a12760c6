"""What the user may choose about a mapping."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bcall_hw import random_bits
from bcall_hw.records import Record

FanInPolicy = Literal["refuse", "sample", "relay"]


class MapOptions(Record):
    """Choices of a mapping.

    Attributes:
        fan_in: what becomes of a neuron with more inputs than CAM entries. refuse: nothing is mapped. sample: it keeps a
            random part of its synapses. relay: other neurons gather some of its fixed inputs and fire for them.
        seed: of the random part.
        reserve: CAM entries of every neuron that are kept free, for what comes later.
    """

    fan_in: FanInPolicy = "refuse"
    seed: Annotated[int, Field(ge=0, le=random_bits.MAX_SEED)] = 0
    reserve: Annotated[int, Field(ge=0)] = 0
