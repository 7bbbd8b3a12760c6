"""What of a board does not work: neurons, CAM entries and tag bits that whoever uses the board has to avoid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import InvalidValue
from bcall_hw.records import Record

Id = Annotated[int, Field(ge=0)]
#: Chip, core, neuron.
Neuron = tuple[Id, Id, Id]
#: Chip, core, neuron, CAM entry.
Entry = tuple[Id, Id, Id, Id]
#: Chip, core, neuron, CAM entry, bit of its tag, the value that the bit always has.
StuckBit = tuple[Id, Id, Id, Id, Id, Annotated[int, Field(ge=0, le=1)]]


class Defects(Record):
    """Defects of one board. Chips by their id on the board.

    Attributes:
        dead_neurons: (chip, core, neuron): never fires.
        dead_cam: (chip, core, neuron, entry): hears nothing.
        stuck_tag_bits: (chip, core, neuron, entry, bit, value): the entry hears another tag than its register says.
    """

    dead_neurons: tuple[Neuron, ...] = ()
    dead_cam: tuple[Entry, ...] = ()
    stuck_tag_bits: tuple[StuckBit, ...] = ()

    def check(self, chip: ChipModel) -> None:
        """Refuse defects at addresses that the chip does not have.

        Raises:
            InvalidValue: with the address and the limit.
        """
        for name in ("dead_neurons", "dead_cam", "stuck_tag_bits"):
            check_places(chip, getattr(self, name), f"board profile {name}")
        check_stuck(self.stuck_tag_bits, "board profile stuck_tag_bits")

    def merged(self, other: Defects) -> Defects:
        """The defects of both.

        Raises:
            InvalidValue: one says of a tag bit that it is stuck at 0, the other at 1.
        """
        stuck = tuple(sorted({*self.stuck_tag_bits, *other.stuck_tag_bits}))
        check_stuck(stuck, "board profile and calibration record, stuck_tag_bits")
        return Defects(
            dead_neurons=tuple(sorted({*self.dead_neurons, *other.dead_neurons})),
            dead_cam=tuple(sorted({*self.dead_cam, *other.dead_cam})), stuck_tag_bits=stuck,
        )  # fmt: skip


def check_places(chip: ChipModel, places: Sequence[tuple[int, ...]], where: str) -> None:
    """Refuse places (chip, core, neuron, entry, bit, value, or the first few of them) that a chip does not have.

    Raises:
        InvalidValue: with the number of the place, the part of it that is wrong, and the limit.
    """
    g = chip.geometry
    limits = {
        "chip": g.chips, "core": g.cores, "neuron": g.neurons, "entry": chip.cam.entries,
        "bit": (chip.tags_per_core - 1).bit_length(), "value": 2,
    }  # fmt: skip
    for number, place in enumerate(places):
        for (part, limit), used in zip(limits.items(), place, strict=False):
            if used >= limit:
                what = "no such place on this chip"
                raise InvalidValue(what, where=f"{where}[{number}], {part}", used=used, limit=limit - 1)


def check_stuck(bits: Sequence[StuckBit], where: str) -> None:
    """Refuse a bit that is said to be stuck at both values."""
    stuck: dict[tuple[int, ...], int] = {}
    for *place, value in bits:
        if stuck.setdefault(tuple(place), value) != value:
            raise InvalidValue("a tag bit is stuck at both values", where=where, used=tuple(place))
