"""A virtual board: how far each neuron's transistors are from their nominal values."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from bcall_hw import portable_math, random_bits
from bcall_hw.arrays import FloatArray
from bcall_hw.chip_model import ChipModel
from bcall_hw.records import Record

#: Every current that differs from neuron to neuron, in the order in which the random stream is dealt out.
MISMATCHED = (
    "spike_threshold", "leak1", "leak2", "dc", "refractory", "pulse_width", "ahp_tau", "ahp_weight",
    "AMPA_tau", "NMDA_tau", "GABA_A_tau", "GABA_B_tau", "AMPA_weight", "NMDA_weight", "GABA_A_weight", "GABA_B_weight",
)  # fmt: skip


class BoardProfile(Record):
    """What is particular to one emulated board.

    Attributes:
        seed: which board; the same seed is the same board.
        mismatch_cv: coefficient of variation of every current in `MISMATCHED`; 0 is a board without mismatch.
    """

    seed: Annotated[int, Field(ge=0, le=random_bits.MAX_SEED)] = 0
    mismatch_cv: Annotated[float, Field(ge=0, le=1)] = 0.0

    def factors(self, chip: ChipModel) -> dict[str, FloatArray]:
        """Current / nominal current for each quantity, shape (chips, cores, neurons) of the whole board.

        Log-normal with median 1: exp(sigma * z), sigma^2 = ln(1 + CV^2), z a sum of twelve uniforms (|z| <= 6) in steps
        of 1/256. A neuron's factors depend on its address and the seed alone, not on which chips are emulated.
        """
        g = chip.geometry
        shape = (len(MISMATCHED), g.chips, g.cores, g.neurons)
        sigma = float(np.sqrt(portable_math.log(1.0 + self.mismatch_cv**2))) if self.mismatch_cv else 0.0
        z256 = random_bits.standard_normal_256(self.seed, "mismatch", int(np.prod(shape))).reshape(shape)
        steps, index = np.unique(z256, return_inverse=True)
        factor = portable_math.exp(sigma * (steps / 256.0))[index.reshape(shape)]
        return dict(zip(MISMATCHED, factor, strict=True))
