"""The cores that a network may use, and what of them works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, islice

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.defects import Defects
from bcall_hw.errors import InvalidValue
from bcall_hw.network import Network

Core = tuple[int, int]

#: Sets of chips of one size that are looked at: all of them on a board of four.
_SETS = 64


@dataclass(frozen=True, eq=False)
class Board:
    """Some chips of a board. Cores are numbered through, chip by chip; a seat is one neuron circuit of a core.

    Attributes:
        chip: the chip model.
        chips: ids of the chips, ascending.
        defects: what does not work.
        reserve: CAM entries of every neuron that are kept free.
        rank: of cores that differ in what a calibration knows of them; 0, the best, where none is given.
        worst_rank: cores of a higher rank are for populations that wish them alone.
    """

    chip: ChipModel
    chips: tuple[int, ...]
    defects: Defects
    reserve: int = 0
    rank: Mapping[Core, int] = field(default_factory=dict)
    worst_rank: int = 0

    @cached_property
    def cores(self) -> list[Core]:
        """Every core as (chip id, core)."""
        return [(chip, core) for chip in self.chips for core in range(self.chip.geometry.cores)]

    @cached_property
    def chip_index(self) -> IntArray:
        """Index in `chips` of each core's chip, shape (cores,)."""
        return np.repeat(np.arange(len(self.chips)), self.chip.geometry.cores)

    @cached_property
    def alive(self) -> BoolArray:
        """Seats whose neuron works, shape (cores, neurons)."""
        alive = np.ones((len(self.cores), self.chip.geometry.neurons), dtype=np.bool_)
        for chip, core, neuron in self.defects.dead_neurons:
            if chip in self.chips:
                alive[self.cores.index((chip, core)), neuron] = False
        return alive

    @cached_property
    def entries(self) -> IntArray:
        """CAM entries that may be filled, shape (cores, neurons): all, less the dead ones and the reserve."""
        entries = np.full(self.alive.shape, self.chip.cam.entries - self.reserve, dtype=np.int64)
        for core, neuron, _ in self.dead_entries:
            entries[core, neuron] -= 1
        return np.maximum(entries, 0)

    @cached_property
    def stuck(self) -> dict[tuple[int, int, int], tuple[int, int]]:
        """For each entry with stuck tag bits (core, neuron, entry): the bits that are stuck, and those stuck at 1."""
        found: dict[tuple[int, int, int], tuple[int, int]] = {}
        for chip, core, neuron, entry, bit, value in self.defects.stuck_tag_bits:
            if chip in self.chips:
                place = (self.cores.index((chip, core)), neuron, entry)
                bits, ones = found.get(place, (0, 0))
                found[place] = (bits | 1 << bit, ones | value << bit)
        return found

    @cached_property
    def dead_entries(self) -> set[tuple[int, int, int]]:
        """Dead CAM entries (core, neuron, entry)."""
        return {(self.cores.index((c, k)), n, e) for c, k, n, e in self.defects.dead_cam if c in self.chips}

    @cached_property
    def sound_entries(self) -> IntArray:
        """`entries` without those with stuck tag bits, shape (cores, neurons)."""
        entries = self.entries.copy()
        for core, neuron, _ in self.stuck.keys() - self.dead_entries:
            entries[core, neuron] -= 1
        return np.maximum(entries, 0)

    @cached_property
    def room(self) -> IntArray:
        """Working neurons of each core."""
        return np.asarray(self.alive.sum(axis=1), dtype=np.int64)

    @cached_property
    def ranks(self) -> IntArray:
        """Rank of each core, shape (cores,)."""
        return np.array([self.rank.get(core, 0) for core in self.cores], dtype=np.int64)

    @cached_property
    def offered(self) -> BoolArray:
        """Cores that populations without a wish may have, shape (cores,)."""
        return np.asarray(self.ranks <= self.worst_rank)

    @cached_property
    def seat_order(self) -> list[list[int]]:
        """For each core its working neurons in the order in which they are filled.

        Those whose number is also a reserved tag's have fewer tags to choose from, and those with defective CAM entries
        take fewer inputs: they come last.
        """
        fewer_tags = {neuron for _, neuron in self.chip.tags.reserved}
        full = self.chip.cam.entries - self.reserve
        order = []
        for alive, entries in zip(self.alive, self.sound_entries, strict=True):
            seats = np.flatnonzero(alive).tolist()
            order.append(sorted(seats, key=lambda n, e=entries: (full - int(e[n]), n in fewer_tags)))  # type: ignore[misc]
        return order

    @cached_property
    def hops(self) -> IntArray:
        """Hops from chip to chip, shape (chips, chips)."""
        geometry = self.chip.geometry
        return np.array([[sum(map(abs, geometry.hops(a, b))) for b in self.chips] for a in self.chips], dtype=np.int64)

    @cached_property
    def too_far(self) -> BoolArray:
        """Pairs of chips that a destination's hop fields cannot span, shape (chips, chips)."""
        geometry, limit = self.chip.geometry, self.chip.sram.max_hops
        return np.array([[max(map(abs, geometry.hops(a, b))) > limit for b in self.chips] for a in self.chips], dtype=np.bool_)

    @cached_property
    def warned(self) -> BoolArray:
        """Pairs of chips (from, to) between which the vendor warns of on-chip links, shape (chips, chips)."""
        return np.array([[(a, b) in self.chip.sram.warned_links for b in self.chips] for a in self.chips], dtype=np.bool_)

    @property
    def usable_tags(self) -> int:
        """Different sources that one core can tell apart."""
        return self.chip.tags_per_core - len(self.chip.reserved_tags)

    def core_name(self, core: int) -> str:
        """A core in words."""
        return f"chip {self.cores[core][0]} core {self.cores[core][1]}"


def boards_to_try(
    network: Network, chip: ChipModel, chips: Sequence[int] | None, defects: Defects, reserve: int, unlike: bool
) -> list[Board]:
    """The given chips; or, if none are given, sets of chips with room for all neurons and wished places, the smallest first.

    Of sets of one size those with the fewest links that the vendor warns of come first; where the board has no defects
    and all its cores are alike, one of each size is enough.

    Args:
        unlike: whether the cores reach different targets, or are not known alike.

    Raises:
        InvalidValue: no such chips or reserve.
    """
    if reserve >= chip.cam.entries:
        where, limit = "MapOptions.reserve", chip.cam.entries - 1
        raise InvalidValue("no CAM entry is left to fill", where=where, used=reserve, limit=limit, fix="Reserve fewer.")
    if chips is not None:
        given = tuple(int(c) if isinstance(c, np.integer) else c for c in chips)
        ChipConfig.check_chips(chip, given)
        return [Board(chip, given, defects, reserve)]
    every = range(chip.geometry.chips)
    wished = {p.place.chip for p in network.populations if p.place is not None} & set(every)
    neurons = sum(p.size for p in network.populations)
    boards = []
    for size in range(max(1, len(wished)), len(every) + 1):
        sets = [chosen for chosen in islice(combinations(every, size), _SETS) if wished <= set(chosen)]
        sets.sort(key=lambda chosen: sum((a, b) in chip.sram.warned_links for a in chosen for b in chosen))
        of_size = [Board(chip, chosen, defects, reserve) for chosen in sets]
        fitting = [board for board in of_size if neurons <= int(board.room.sum())]
        boards += fitting if unlike or any(defects.model_dump().values()) else fitting[:1]
    return boards or [Board(chip, tuple(every), defects, reserve)]
