"""Calibration records, and the way from amperes to (coarse, fine) codes and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bcall_hw import files
from bcall_hw.chip_model import BiasCode, ChipModel, SynapseType
from bcall_hw.errors import CurrentOutOfRange, FileProblem, ForeignFile
from bcall_hw.records import Record, data_folder

Id = Annotated[int, Field(ge=0)]
#: Beyond this a synapse is dead or something else was measured.
Gain = Annotated[float, Field(ge=0.01, le=100)]
Circuit = Literal["soma", "AMPA", "NMDA", "GABA_A", "GABA_B", "AHP", "pulse", "refractory"]


class Calibration(Record):
    """What is known of one board: how far its capacitances are from the chip model's nominal ones.

    Attributes:
        kind: nominal (nothing measured) or measured.
        board: serial number of the board, or "nominal".
        capacitance_scale: measured / nominal capacitance of each circuit.
        synapse_gains: (chip, core, neuron, synapse type, measured / nominal current of an event); 1 where none is given.
    """

    format: Literal["bcall_hw/calibration"] = "bcall_hw/calibration"
    format_version: Literal[1] = 1
    kind: Literal["nominal", "measured"]
    chip: str
    board: str
    date: str
    note: str = ""
    capacitance_scale: dict[Circuit, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    synapse_gains: tuple[tuple[Id, Id, Id, SynapseType, Gain], ...] = ()

    def capacitance_f(self, chip: ChipModel, circuit: Circuit) -> float:
        """Capacitance of a circuit on this board (F)."""
        return float(getattr(chip.capacitances_f, circuit)) * self.capacitance_scale.get(circuit, 1.0)


def load_calibration(chip: ChipModel, path: Path | None = None) -> Calibration:
    """The calibration record in `path`, or the chip's nominal one.

    Raises:
        FileProblem, CorruptFile, ForeignFile: missing, damaged, or for another chip.
    """
    path = path or data_folder("calibration") / f"{chip.name}_nominal.json"
    if not files.is_file(path):
        raise FileProblem("no such calibration record", where=str(path))
    values = files.read_json(path)
    if not isinstance(values, dict) or values.get("format") != "bcall_hw/calibration":
        raise ForeignFile("is not a calibration record", where=str(path))
    if values.get("format_version") != 1:
        used = values.get("format_version")
        raise ForeignFile("has another format version", where=str(path), used=used, limit=1, fix="Update bcall-hw.")
    record = Calibration(**values)
    if record.chip != chip.name:
        raise ForeignFile("is a record of another chip", where=str(path), used=record.chip, limit=chip.name)
    return record


def current_range_a(chip: ChipModel) -> tuple[float, float]:
    """Smallest and largest current that a bias can be set to, above the dark current (A)."""
    current, _ = chip.sorted_codes
    return float(current[0]), float(current[-1])


def nearest_code(chip: ChipModel, current_a: float, where: str) -> tuple[BiasCode, float]:
    """The code whose current is nearest on a log scale, and that current (A).

    Args:
        where: the parameter, for the error.

    Raises:
        CurrentOutOfRange: beyond the table, or not above the dark current; names the range and the nearest value.
    """
    current, codes = chip.sorted_codes
    lowest, highest = float(current[0]), float(current[-1])
    if not lowest <= current_a <= highest:
        nearest = lowest if current_a < lowest else highest
        raise CurrentOutOfRange(
            "no bias code gives this current",
            where=where,
            used=f"{current_a:.4g} A",
            limit=f"{lowest:.4g} to {highest:.4g} A",
            fix=f"The nearest possible current is {nearest:.4g} A.",
        )
    above = int(np.searchsorted(current, current_a))
    below = max(above - 1, 0)
    index = above if current[above] / current_a <= current_a / current[below] else below
    coarse, fine = (int(c) for c in codes[index])
    return BiasCode(coarse=coarse, fine=fine), float(current[index])


def code_current_a(chip: ChipModel, code: BiasCode) -> float:
    """The nominal current of a code (A)."""
    return float(chip.current_a[code.coarse, code.fine])
