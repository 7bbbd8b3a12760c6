"""A virtual board: how its transistors differ from nominal, its noise, and its defects."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bcall_hw import files, portable_math, random_bits
from bcall_hw.arrays import FloatArray
from bcall_hw.chip_model import Capacitances, ChipModel
from bcall_hw.defects import Defects
from bcall_hw.errors import InvalidValue

#: Every current that differs from neuron to neuron, in the order in which the random stream is dealt out.
MISMATCHED = (
    "spike_threshold", "leak1", "leak2", "dc", "refractory", "pulse_width", "ahp_tau", "ahp_weight",
    "AMPA_tau", "NMDA_tau", "GABA_A_tau", "GABA_B_tau", "AMPA_weight", "NMDA_weight", "GABA_A_weight", "GABA_B_weight",
)  # fmt: skip

_FORMAT = "bcall_hw/board_profile"
Cv = Annotated[float, Field(ge=0, le=1)]
Circuit = Literal["soma", "AMPA", "NMDA", "GABA_A", "GABA_B", "AHP", "pulse", "refractory"]
Scale = Annotated[float, Field(ge=0.01, le=100)]
Id = Annotated[int, Field(ge=0)]


class BoardProfile(Defects):
    """What is particular to one emulated board, defects included; see `docs/emulator_specification.md`.

    Attributes:
        seed: which board; the same seed is the same board.
        mismatch_cv: coefficient of variation of every current in `MISMATCHED`; 0 is a board without mismatch.
        cam_mismatch_cv: coefficient of variation of what the CAM entries add; 0 for none.
        noise_a: standard deviation (A) of the mean over 1 ms of a white current into every membrane; 0 for none.
        capacitance_scale: the board's capacitance / the chip model's, by circuit; 1 where none is given.
        current_scale: the board's current / nominal, by quantity of `MISMATCHED`, for all its neurons.
        odd_currents: (chip, core, neuron, quantity, factor): single currents that are far off; 0.01 to 100.
    """

    seed: Annotated[int, Field(ge=0, le=random_bits.MAX_SEED)] = 0
    mismatch_cv: Cv = 0.0
    cam_mismatch_cv: Cv = 0.0
    noise_a: Annotated[float, Field(ge=0)] = 0.0
    capacitance_scale: dict[Circuit, Scale] = Field(default_factory=dict)
    current_scale: dict[str, Scale] = Field(default_factory=dict)
    odd_currents: tuple[tuple[Id, Id, Id, str, Scale], ...] = ()

    def check(self, chip: ChipModel) -> None:
        """Refuse what the chip does not have; see `Defects.check`.

        Raises:
            InvalidValue: with the address or the quantity, and the limit.
        """
        super().check(chip)
        g = chip.geometry
        limits = (("chip", g.chips), ("core", g.cores), ("neuron", g.neurons))
        for number, (*address, quantity, _) in enumerate(self.odd_currents):
            for (part, limit), used in zip(limits, address, strict=True):
                if used >= limit:
                    where = f"board profile odd_currents[{number}], {part}"
                    raise InvalidValue("no such place on this chip", where=where, used=used, limit=limit - 1)
            _check_quantity(quantity, f"board profile odd_currents[{number}]")
        for quantity in self.current_scale:
            _check_quantity(quantity, "board profile current_scale")

    def capacitances_f(self, chip: ChipModel) -> Capacitances:
        """The board's capacitances."""
        nominal = chip.capacitances_f
        return nominal.model_copy(update={name: getattr(nominal, name) * by for name, by in self.capacitance_scale.items()})

    def factors(self, chip: ChipModel) -> dict[str, FloatArray]:
        """Current / nominal current for each quantity, shape (chips, cores, neurons) of the whole board.

        A neuron's factors depend on its address and the seed alone, not on which chips are emulated.
        """
        g = chip.geometry
        shape = (len(MISMATCHED), g.chips, g.cores, g.neurons)
        factors = dict(zip(MISMATCHED, self._log_normal("mismatch", self.mismatch_cv, shape), strict=True))
        for quantity, scale in self.current_scale.items():
            factors[quantity] = factors[quantity] * scale
        for of_chip, core, neuron, quantity, factor in self.odd_currents:
            factors[quantity][of_chip, core, neuron] *= factor
        return factors

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

    @property
    def board(self) -> str:
        """What stands for the serial number of this virtual board: equal profiles, equal name."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"emulated-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

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


def _check_quantity(quantity: str, where: str) -> None:
    if quantity not in MISMATCHED:
        raise InvalidValue("no such current", where=where, used=quantity[:80], limit=", ".join(MISMATCHED))
