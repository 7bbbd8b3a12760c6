"""What of a board does not work: neurons, CAM entries and tag bits that whoever uses the board has to avoid."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import InvalidValue
from bcall_hw.records import Record

Id = Annotated[int, Field(ge=0)]


class Defects(Record):
    """Defects of one board. Chips by their id on the board.

    Attributes:
        dead_neurons: (chip, core, neuron): never fires.
        dead_cam: (chip, core, neuron, entry): hears nothing.
        stuck_tag_bits: (chip, core, neuron, entry, bit, value): the entry hears another tag than its register says.
    """

    dead_neurons: tuple[tuple[Id, Id, Id], ...] = ()
    dead_cam: tuple[tuple[Id, Id, Id, Id], ...] = ()
    stuck_tag_bits: tuple[tuple[Id, Id, Id, Id, Id, Annotated[int, Field(ge=0, le=1)]], ...] = ()

    def check(self, chip: ChipModel) -> None:
        """Refuse defects at addresses that the chip does not have.

        Raises:
            InvalidValue: with the address and the limit.
        """
        g = chip.geometry
        limits = {
            "chip": g.chips, "core": g.cores, "neuron": g.neurons, "entry": chip.cam.entries,
            "bit": (chip.tags_per_core - 1).bit_length(), "value": 2,
        }  # fmt: skip
        for name in ("dead_neurons", "dead_cam", "stuck_tag_bits"):
            for number, address in enumerate(getattr(self, name)):
                for (part, limit), used in zip(limits.items(), address, strict=False):
                    if used >= limit:
                        where = f"board profile {name}[{number}], {part}"
                        raise InvalidValue("no such place on this chip", where=where, used=used, limit=limit - 1)
        stuck: dict[tuple[int, ...], int] = {}
        for *place, value in self.stuck_tag_bits:
            if stuck.setdefault(tuple(place), value) != value:
                raise InvalidValue("a tag bit is stuck at both values", where="board profile stuck_tag_bits", used=tuple(place))
