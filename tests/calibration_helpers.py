"""Shared by tests of calibration records: records of a board that nobody measured."""

from __future__ import annotations

from typing import Any

from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Gains
from bcall_hw.chip_model import ChipModel, load_chip

#: A record on 1 July 2026 holds: made before, expires after.
FIELDS: dict[str, Any] = {
    "kind": "measured", "chip": "dynapse1", "chip_sha256": load_chip("dynapse1").fingerprint, "board": "b7",
    "date": "2026-01-01T00:00:00Z", "expires": "2999-01-01T00:00:00Z", "software": "0.0", "backend": "emulator/numba",
}  # fmt: skip


def measured(**changes: Any) -> Calibration:
    """A measured record that does not expire in the life of this package."""
    return Calibration(**(FIELDS | changes))


def gains_of(chip: ChipModel, of_neurons: dict[tuple[int, int, int, str], float]) -> tuple[Gains, ...]:
    """Gains of events, from (chip, core, neuron, synapse type); neurons that are not named have none."""
    tables: dict[tuple[int, int, str], list[float | None]] = {}
    for (chip_id, core, neuron, synapse), gain in of_neurons.items():
        tables.setdefault((chip_id, core, f"{synapse}.weight_a"), [None] * chip.geometry.neurons)[neuron] = gain
    return tuple(
        Gains(chip=c, core=k, quantity=quantity, gain=tuple(table), low=tuple(table), high=tuple(table))  # type: ignore[arg-type]
        for (c, k, quantity), table in tables.items()
    )
