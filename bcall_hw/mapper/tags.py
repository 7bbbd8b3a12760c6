"""A seat for every neuron and a tag for every source, so that no core hears two sources under one tag.

A CAM entry sees (virtual core, neuron number) and not the source chip. So this is a list colouring: tags are the colours,
sources that reach a common core must differ, whatever their synapse type; a neuron can have only the tags with its own
number, one for each virtual core, and gets its number with its seat, but its destinations on different chips may use
different virtual cores; an input can have any tag that no other input has. Wished seats and tags come first, coloured
exactly; then neurons in order, then inputs. Whoever finds nothing free turns out whoever is cheapest to turn out, and who was
turned out before is dearer: the breakout local search of Morris (AAAI 1993) on ejection chains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.errors import (
    BcallError,
    DefectInTheWay,
    TagCollision,
    TagsExhausted,
)
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.colour import colour_exactly
from bcall_hw.mapper.place import Placement
from bcall_hw.mapper.synapses import Synapses

#: Turnings-out before the search gives up: so many, and so many for each source.
_TURNS, _TURNS_EACH = 20_000, 10
#: The price of turning out a wished tag, or of a seat or tag that cannot be had.
_NEVER = 1 << 40

Seat = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Routes:
    """Seats and tags.

    Attributes:
        seat: int, shape (neurons,): neuron number within its core.
        tag: int, shape (sources, chips): tag of each source's events on each chip that it reaches, else -1.
        reach: bool, shape (sources, cores): where each source must be heard.
    """

    seat: IntArray
    tag: IntArray
    reach: BoolArray


@dataclass(frozen=True)
class Leg:
    """The events of a source on one chip, or of an input on all: they share a tag.

    Attributes:
        chips: indices of the chips.
        mask: the cores as one number, a bit for each; of an input also that of the FPGA.
        columns: the same as indices.
    """

    chips: tuple[int, ...]
    mask: int
    columns: IntArray


@dataclass(frozen=True)
class Option:
    """Where a source could be: its seat (None for an input), and a tag for each of its legs."""

    seat: Seat | None
    tags: tuple[int, ...]


def assign_tags(
    synapses: Synapses, placement: Placement, board: Board, reach: BoolArray
) -> tuple[Routes | None, list[BcallError]]:
    """Seats and tags for all, or None and who found none."""
    task = _Task(synapses, placement, board, reach)
    problems = task.wishes()
    if problems:
        return None, problems
    waiting = task.in_order()
    if waiting:
        waiting = task.search(waiting)
    if waiting:
        return None, [task.problem(source) for source in waiting]
    return task.routes(), []


class _Task:
    """Who sits where and has which tag, while that is being found."""

    def __init__(self, synapses: Synapses, placement: Placement, board: Board, reach: BoolArray) -> None:
        self.synapses, self.placement, self.board, self.reach = synapses, placement, board, reach
        g, chip = board.chip.geometry, board.chip
        self.neurons, self.virtual = g.neurons, chip.sram.virtual_cores
        self.legs = [self._legs(source) for source in range(synapses.sources)]
        self.used = [0] * chip.tags_per_core
        self.holders: list[dict[int, int]] = [{} for _ in range(chip.tags_per_core)]
        self.owner = np.full((chip.tags_per_core, len(board.cores) + 1), -1, dtype=np.int64)
        self.sitter = np.full((len(board.cores), g.neurons), -1, dtype=np.int64)
        self.free = [dict.fromkeys(order) for order in board.seat_order]
        self.placed: dict[int, Option] = {}
        # What it costs to turn each source out; the last one stands for nobody.
        self.price = np.append(np.ones(synapses.sources, dtype=np.int64), 0)
        self.input_tags = [t for t in range(chip.stimulus.sources - 1, -1, -1) if t not in chip.reserved_tags]
        self.wished: dict[int, int] = {}
        for group in synapses.network.inputs:
            first, possible = synapses.first_source[group.name], set(self.input_tags)
            tags = enumerate(group.tags or ())  # those that are not possible are among the problems already
            self.wished |= {first + i: tag for i, tag in tags if self.legs[first + i] and tag in possible}

    def _legs(self, source: int) -> list[Leg]:
        """The FPGA knows its sources by their tags: to it they are all in one more core, and have one leg."""
        columns = np.flatnonzero(self.reach[source])
        chips = self.board.chip_index[columns]
        if not columns.size:
            return []
        if source < self.synapses.inputs:
            every = np.append(columns, len(self.board.cores))
            return [Leg(tuple(np.unique(chips).tolist()), _bits(every), every)]
        parts = ((chip, columns[chips == chip]) for chip in np.unique(chips).tolist())
        return [Leg((chip,), _bits(part), part) for chip, part in parts]

    # Placing and turning out ------------------------------------------------------------------------------------------

    def _put(self, source: int, option: Option) -> None:
        self.placed[source] = option
        if option.seat is not None:
            self.sitter[option.seat] = source
            self.free[option.seat[0]].pop(option.seat[1], None)
        for leg, tag in zip(self.legs[source], option.tags, strict=True):
            self.used[tag] |= leg.mask
            self.owner[tag, leg.columns] = source
            self.holders[tag][source] = self.holders[tag].get(source, 0) | leg.mask

    def _out(self, source: int) -> None:
        option = self.placed.pop(source)
        if option.seat is not None:
            self.sitter[option.seat] = -1
            self.free[option.seat[0]][option.seat[1]] = None
        for leg, tag in zip(self.legs[source], option.tags, strict=True):
            self.used[tag] &= ~leg.mask
            self.owner[tag, leg.columns] = -1
            self.holders[tag].pop(source, None)

    def _in_the_way(self, source: int, option: Option) -> list[int]:
        """Who holds the seat or a tag in one of the cores."""
        legs = zip(self.legs[source], option.tags, strict=True)
        found = [h for leg, tag in legs for h, mask in self.holders[tag].items() if mask & leg.mask]
        if option.seat is not None and self.sitter[option.seat] >= 0:
            found.append(int(self.sitter[option.seat]))
        return list(dict.fromkeys(found))

    def _tags(self, source: int, number: int) -> list[int]:
        """Tags that a neuron can have in a seat with this number, its own core's first."""
        own = self.board.cores[self._core(source)][1] % self.virtual
        order = [own, *(v for v in range(self.virtual) if v != own)]
        tags = (v * self.neurons + number for v in order)
        return [t for t in tags if t not in self.board.chip.reserved_tags]

    def _core(self, source: int) -> int:
        return int(self.placement.core_of[source - self.synapses.inputs])

    def _wished_seat(self, source: int) -> int:
        return int(self.placement.wished_seat[source - self.synapses.inputs])

    def _lacks_entries(self, source: int, seat: Seat) -> bool:
        """Whether a seat has too few working CAM entries; a neuron that no seat can hold is among the problems already."""
        demand = int(self.synapses.cam_demand[source - self.synapses.inputs])
        return int(self.board.entries[seat]) < demand <= self.board.chip.cam.entries - self.board.reserve

    def _needs_a_sound_seat(self, source: int) -> bool:
        """Whether the worst seat of its core is not good enough for a neuron."""
        core = self._core(source)
        demand = int(self.synapses.cam_demand[source - self.synapses.inputs])
        return demand > int(self._worst_seat[core])

    @cached_property
    def _worst_seat(self) -> IntArray:
        """Sound entries of each core's worst working seat, shape (cores,)."""
        board = self.board
        return np.asarray(np.where(board.alive, board.sound_entries, board.chip.cam.entries).min(axis=1), dtype=np.int64)

    # The three steps --------------------------------------------------------------------------------------------------

    def wishes(self) -> list[BcallError]:
        """Wished tags, then the tags of neurons in wished seats: an exact colouring for each neuron number."""
        problems: list[BcallError] = []
        fpga = 1 << len(self.board.cores)
        for source, tag in self.wished.items():
            mask = self.legs[source][0].mask & ~fpga  # two wishes for one tag are granted where no core hears both
            clash = {h: m for h, m in self.holders[tag].items() if m & mask}
            if clash:
                problems.append(self._collision(source, tag, mask, clash))
            else:
                self._put(source, Option(None, (tag,)))
        by_number: dict[int, list[int]] = {}
        for source in (np.flatnonzero(self.placement.wished_seat >= 0) + self.synapses.inputs).tolist():
            seat = (self._core(source), self._wished_seat(source))
            if self._lacks_entries(source, seat):
                problems.append(self._too_few_entries(source, seat))
            by_number.setdefault(seat[1], []).append(source)
        for number, sources in sorted(by_number.items()):
            problems += self._colour(number, sources)
        return problems

    def _colour(self, number: int, sources: list[int]) -> list[BcallError]:
        """Tags for the neurons in wished seats with one number, exactly, chip by chip; wished tags of inputs are taken."""
        chosen: dict[tuple[int, int], int] = {}
        for chip in range(len(self.board.chips)):
            legs = [(source, leg) for source in sources for leg in self.legs[source] if leg.chips == (chip,)]
            allowed = [[t for t in self._tags(s, number) if not self.used[t] & leg.mask] for s, leg in legs]
            clashes = [[k for k, (_, b) in enumerate(legs) if k != i and b.mask & leg.mask] for i, (_, leg) in enumerate(legs)]
            colours, stuck = colour_exactly(allowed, clashes)
            if colours is None:
                source, leg = legs[stuck]
                tags = self._tags(source, number)
                inputs = {h: m for tag in tags for h, m in self.holders[tag].items() if m & leg.mask}
                others = {legs[k][0]: legs[k][1].mask for k in clashes[stuck]} | inputs
                return [self._collision(source, tags[0] if tags else number, leg.mask, others)]
            chosen |= {(source, chip): colour for (source, _), colour in zip(legs, colours, strict=True)}
        for source in sources:
            tags_of_legs = tuple(chosen[source, leg.chips[0]] for leg in self.legs[source])
            self._put(source, Option((self._core(source), number), tags_of_legs))
        return []

    def in_order(self) -> list[int]:
        """Give every other source its first free option; returns who found none."""
        self._keep_poor_numbers_for_the_silent()
        neurons = [s for s in range(self.synapses.inputs, self.synapses.sources) if s not in self.placed]
        neurons.sort(key=lambda s: not self._needs_a_sound_seat(s))
        inputs = [s for s in range(self.synapses.inputs) if self.legs[s] and s not in self.placed]
        return [source for source in (*neurons, *inputs) if not self._take_free(source)]

    def _keep_poor_numbers_for_the_silent(self) -> None:
        """In a full core, seats whose number has fewer tags go to neurons without targets, where there are such."""
        poor = sorted({number for _, number in self.board.chip.tags.reserved})
        for core in range(len(self.board.cores)):
            mine = np.flatnonzero(self.placement.core_of == core)
            if mine.size < self.board.room[core]:
                continue
            sources = (mine + self.synapses.inputs).tolist()
            silent = [s for s in sources if not self.legs[s] and self._wished_seat(s) < 0]
            for number in poor:
                seat = (core, number)
                fits = [s for s in silent if s not in self.placed and not self._lacks_entries(s, seat)]
                if fits and self.sitter[seat] < 0 and self.board.alive[seat]:
                    self._put(fits[0], Option(seat, ()))

    def _take_free(self, source: int) -> bool:
        """The first seat and tags that nobody holds; one tag for all legs where there is one."""
        legs = self.legs[source]
        if source < self.synapses.inputs:
            free = next((t for t in self.input_tags if not self.used[t] & legs[0].mask), None)
            if free is not None:
                self._put(source, Option(None, (free,)))
            return free is not None
        core, wished = self._core(source), self._wished_seat(source)
        for number in [wished] if wished >= 0 else list(self.free[core]):
            seat = (core, number)
            if self.sitter[seat] >= 0 or (wished < 0 and self._lacks_entries(source, seat)):
                continue
            tags = self._tags(source, number)
            common = next((t for t in tags if not any(self.used[t] & leg.mask for leg in legs)), None)
            found = [common or next((t for t in tags if not self.used[t] & leg.mask), None) for leg in legs]
            if None not in found:
                self._put(source, Option(seat, tuple(t for t in found if t is not None)))
                return True
        return False

    def search(self, waiting: list[int]) -> list[int]:
        """Turn out whoever is cheapest to turn out, again and again; returns who is left without a place."""
        turns = _TURNS + _TURNS_EACH * self.synapses.sources
        self.price[list(self.wished)] = _NEVER
        best = list(waiting)
        for draw in random_bits.raw_bits(0, "tags", turns).tolist():
            source = waiting.pop(draw % len(waiting))
            option = self._cheapest(source, draw >> 20)
            if option is None:
                waiting.append(source)
                continue
            for other in self._in_the_way(source, option):
                self._out(other)
                self.price[other] += 1
                waiting.append(other)
            self._put(source, option)
            if len(waiting) < len(best):
                best = list(waiting)
            if not waiting:
                return []
        return best

    def _cheapest(self, source: int, draw: int) -> Option | None:
        """One of the options whose holders are cheapest to turn out; a holder counts in each core where it is in the way."""
        reserved = list(self.board.chip.reserved_tags)
        prices = []
        for leg in self.legs[source]:
            price = self.price[self.owner[:, leg.columns]].sum(axis=1)
            price[reserved] = _NEVER
            prices.append(price)
        if source < self.synapses.inputs:
            tag = _one_of(prices[0][: self.board.chip.stimulus.sources], draw)
            return None if tag is None else Option(None, (tag,))
        core, wished = self._core(source), self._wished_seat(source)
        seats = self.price[self.sitter[core]].copy()
        possible = np.zeros(self.neurons, dtype=np.bool_)
        possible[[wished] if wished >= 0 else self.board.seat_order[core]] = True
        if wished < 0:
            demand = int(self.synapses.cam_demand[source - self.synapses.inputs])
            if demand <= self.board.chip.cam.entries - self.board.reserve:
                possible &= self.board.entries[core] >= demand
            seats[self._wished_seats[core]] = _NEVER
        seats[~possible] = _NEVER
        tables = [price.reshape(self.virtual, self.neurons) for price in prices]
        number = _one_of(seats + sum(table.min(axis=0) for table in tables), draw)
        if number is None:
            return None
        tags = tuple(int(table[:, number].argmin()) * self.neurons + number for table in tables)
        return Option((core, number), tags)

    @cached_property
    def _wished_seats(self) -> BoolArray:
        """Seats that were wished, shape (cores, neurons): nobody else may have them."""
        seats = np.zeros(self.sitter.shape, dtype=np.bool_)
        wished = self.placement.wished_seat >= 0
        seats[self.placement.core_of[wished], self.placement.wished_seat[wished]] = True
        return seats

    def routes(self) -> Routes:
        """What was found."""
        tag = np.full((self.synapses.sources, len(self.board.chips)), -1, dtype=np.int64)
        seat = np.full(self.synapses.neurons, -1, dtype=np.int64)
        for source, option in self.placed.items():
            for leg, found in zip(self.legs[source], option.tags, strict=True):
                tag[source, list(leg.chips)] = found
            if option.seat is not None:
                seat[source - self.synapses.inputs] = option.seat[1]
        return Routes(seat, tag, self.reach)

    # What to say --------------------------------------------------------------------------------------------------------

    def problem(self, source: int) -> BcallError:
        """Why a source found nothing."""
        not_proved = "The search gave up; that none exists is not proved."
        if source < self.synapses.inputs:
            reached = ", ".join(self.board.core_name(core) for core in np.flatnonzero(self.reach[source]).tolist())
            name, used = self.synapses.name(source), f"a source that reaches {reached}"
            fix = f"Use fewer sources, or let them reach fewer cores. {not_proved}"
            what = "no tag is free in every core that it reaches"
            return TagsExhausted(what, where=name, used=used, limit=self.board.usable_tags, fix=fix)
        core, wished = self._core(source), self._wished_seat(source)
        seats = [(core, number) for number in ([wished] if wished >= 0 else self.board.seat_order[core])]
        seats = [seat for seat in seats if wished >= 0 or not self._lacks_entries(source, seat)]
        if not seats or not self.legs[source] or (wished < 0 and self._crowded(source)):
            return self._too_few_entries(source, None)
        tags = self._tags(source, seats[0][1])
        tag = tags[0] if tags else seats[0][1]
        leg = max(self.legs[source], key=lambda leg: sum(bool(m & leg.mask) for m in self.holders[tag].values()))
        others = {h: m for h, m in self.holders[tag].items() if m & leg.mask}
        return self._collision(source, tag, leg.mask, others, not_proved)

    def _crowded(self, source: int) -> bool:
        """Whether more neurons of a core need a seat with so many working CAM entries than there are such seats."""
        core = self._core(source)
        demands = self.synapses.cam_demand[self.placement.core_of == core]
        return any(needing > seats for needing, seats in (self._rivals(core, d) for d in np.unique(demands).tolist()))

    def _rivals(self, core: int, demand: int) -> tuple[int, int]:
        """Neurons of a core that need so many working CAM entries, and seats that have them."""
        mine = self.synapses.cam_demand[self.placement.core_of == core]
        seats = self.board.entries[core][self.board.alive[core]]
        return int((mine >= demand).sum()), int((seats >= demand).sum())

    def _too_few_entries(self, source: int, seat: Seat | None) -> DefectInTheWay:
        name, demand = self.synapses.name(source), int(self.synapses.cam_demand[source - self.synapses.inputs])
        fix = "Lower its fan-in, or place it elsewhere."
        if seat is not None:
            where, most = f"{self.board.core_name(seat[0])} neuron {seat[1]}", int(self.board.entries[seat])
            what = f"needs more CAM entries than work in {where}"
            return DefectInTheWay(what, where=name, used=demand, limit=most, fix=fix)
        core = self._core(source)
        levels = [d for d in np.unique(self.synapses.cam_demand[self.placement.core_of == core]).tolist() if d <= demand]
        demand = next((d for d in levels if self._rivals(core, d)[0] > self._rivals(core, d)[1]), demand)
        needing, seats = self._rivals(core, demand)
        what = f"no seat with {demand} working CAM entries is left in {self.board.core_name(core)}"
        return DefectInTheWay(what, where=name, used=f"{needing} neurons that need one", limit=f"{seats} such seats", fix=fix)

    def _collision(self, source: int, tag: int, mask: int, others: dict[int, int], note: str = "") -> TagCollision:
        """Names the source, and those who have the tag in the core where most of them meet."""
        cores = [core for core in range(len(self.board.cores)) if mask >> core & 1]
        core = max(cores, key=lambda core: sum(m >> core & 1 for m in others.values()))
        there = [other for other, m in others.items() if m >> core & 1]
        names = " and ".join(self.synapses.name(s) for s in (source, *there))
        fix = "Wish another tag or place for one of them, or let them reach other cores."
        return TagCollision(
            f"{names} arrive under one tag", where=self.board.core_name(core), used=self.board.chip.tag_name(tag),
            fix=f"{fix} {note}".rstrip(),
        )  # fmt: skip


def _bits(columns: IntArray) -> int:
    return sum(1 << int(column) for column in columns)


def _one_of(prices: IntArray, draw: int) -> int | None:
    """Index of one of the least prices, or None where nothing can be had."""
    least = prices.min()
    ties = np.flatnonzero(prices == least)
    return None if least >= _NEVER else int(ties[draw % ties.size])
