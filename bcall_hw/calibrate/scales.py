"""From what has been measured to codes, and back: the way of the mapper, with the scales of each core."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.calibrate.rig import Core
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import utc_text, utc_time
from bcall_hw.chip_model import ChipModel
from bcall_hw.mapping import BiasChoice, CodeProblems, Mapping, choose_codes
from bcall_hw.network import NeuronParameters

#: Scales that a record can hold.
_SMALLEST, _LARGEST = 0.01, 100.0
_NO_TIME = "2000-01-01T00:00:00Z"


@dataclass
class Scales:
    """Measured / nominal value of each quantity on each core, so far; 1 where nothing is known.

    Attributes:
        of: by quantity, shape (cores,).
    """

    chip: ChipModel
    mapping: Mapping
    cores: tuple[Core, ...]
    of: dict[str, FloatArray] = field(default_factory=dict)

    def record(self) -> Calibration:
        """The scales as a record, for the mapper's functions."""
        rows = [
            (*core, quantity, float(values[index]))
            for quantity, values in sorted(self.of.items())
            for index, core in enumerate(self.cores)
        ]
        time = utc_text(utc_time(_NO_TIME, "scales"))
        return Calibration(kind="nominal", chip=self.chip.name, board="on the bench", date=time, core_scales=tuple(rows))

    def choices(self, target: NeuronParameters) -> list[dict[str, BiasChoice]]:
        """The codes of each core for a target by quantity; those that are out of range on a core are missing there."""
        record, found = self.record(), []
        for core in self.cores:
            try:
                mine = choose_codes(self.chip, self.mapping, record, target, f"chip {core[0]} core {core[1]}", core)
            except CodeProblems as problem:
                mine = problem.choices
            found.append({choice.quantity: choice for choice in mine})
        return found

    def learn(self, quantity: str, measured: FloatArray, predicted: FloatArray) -> BoolArray:
        """Take a measurement in: the scale so far times measured / predicted; see `take`."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.take(quantity, self.so_far(quantity) * measured / predicted)

    def take(self, quantity: str, scales: FloatArray) -> BoolArray:
        """Take scales in; cores without one (NaN), or with one that no record holds, keep theirs.

        Returns:
            Where the latter is so, shape (cores,).
        """
        with np.errstate(invalid="ignore"):
            beyond = (scales < _SMALLEST) | (scales > _LARGEST)
        self.of[quantity] = np.where(np.isfinite(scales) & ~beyond, scales, self.so_far(quantity))
        return np.asarray(beyond)

    def so_far(self, quantity: str) -> FloatArray:
        """The scales of a quantity, 1 where nothing is known, shape (cores,)."""
        return self.of.get(quantity, np.ones(len(self.cores)))
