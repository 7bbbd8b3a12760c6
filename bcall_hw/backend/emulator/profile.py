"""A virtual board: how its transistors differ from nominal, its noise, and its defects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from bcall_hw import files, portable_math, random_bits
from bcall_hw.arrays import FloatArray
from bcall_hw.chip_model import ChipModel
from bcall_hw.defects import Defects

#: Every current that differs from neuron to neuron, in the order in which the random stream is dealt out.
MISMATCHED = (
    "spike_threshold", "leak1", "leak2", "dc", "refractory", "pulse_width", "ahp_tau", "ahp_weight",
    "AMPA_tau", "NMDA_tau", "GABA_A_tau", "GABA_B_tau", "AMPA_weight", "NMDA_weight", "GABA_A_weight", "GABA_B_weight",
)  # fmt: skip

_FORMAT = "bcall_hw/board_profile"
Cv = Annotated[float, Field(ge=0, le=1)]


class BoardProfile(Defects):
    """What is particular to one emulated board, defects included; see `docs/emulator_specification.md`.

    Attributes:
        seed: which board; the same seed is the same board.
        mismatch_cv: coefficient of variation of every current in `MISMATCHED`; 0 is a board without mismatch.
        cam_mismatch_cv: coefficient of variation of what the CAM entries add; 0 for none.
        noise_a: standard deviation (A) of the mean over 1 ms of a white current into every membrane; 0 for none.
    """

    seed: Annotated[int, Field(ge=0, le=random_bits.MAX_SEED)] = 0
    mismatch_cv: Cv = 0.0
    cam_mismatch_cv: Cv = 0.0
    noise_a: Annotated[float, Field(ge=0)] = 0.0

    def factors(self, chip: ChipModel) -> dict[str, FloatArray]:
        """Current / nominal current for each quantity, shape (chips, cores, neurons) of the whole board.

        A neuron's factors depend on its address and the seed alone, not on which chips are emulated.
        """
        g = chip.geometry
        shape = (len(MISMATCHED), g.chips, g.cores, g.neurons)
        return dict(zip(MISMATCHED, self._log_normal("mismatch", self.mismatch_cv, shape), strict=True))

    def entry_factors(self, chip: ChipModel) -> FloatArray | None:
        """What each CAM entry adds / nominal, shape (chips, cores, neurons, entries), or None where all are equal."""
        if not self.cam_mismatch_cv:
            return None
        g = chip.geometry
        return self._log_normal("mismatch/cam", self.cam_mismatch_cv, (g.chips, g.cores, g.neurons, chip.cam.entries))

    def _log_normal(self, stream: str, cv: float, shape: tuple[int, ...]) -> FloatArray:
        """Median 1: exp(sigma * z), sigma^2 = ln(1 + CV^2), z near normal in steps of 1/256."""
        if not cv:
            return np.ones(shape)
        sigma = float(np.sqrt(portable_math.log(1.0 + cv * cv)))
        z256 = random_bits.standard_normal_256(self.seed, stream, int(np.prod(shape))).reshape(shape)
        steps, index = np.unique(z256, return_inverse=True)
        return portable_math.exp(sigma * (steps / 256.0))[index.reshape(shape)]

    def save(self, path: Path | str) -> None:
        """Write the profile as JSON."""
        files.write_json(Path(path), {"format": _FORMAT, "format_version": 1} | self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path | str) -> BoardProfile:
        """Read a profile from JSON or TOML, by the file's ending.

        Raises:
            FileProblem, CorruptFile, ForeignFile: the file is missing, damaged or something else.
            InvalidValue: its content is not a valid profile.
        """
        values = files.read_document(Path(path), _FORMAT, 1)
        return cls(**{name: value for name, value in values.items() if name not in ("format", "format_version")})
