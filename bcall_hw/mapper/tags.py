"""A seat for every neuron and a tag for every source, so that no core hears two sources under one tag.

A CAM entry sees (virtual core, neuron number) and not the source chip. So this is a list colouring: tags are the colours,
sources that reach a common core must differ, whatever their synapse type; a neuron can have only the tags with its own
number, one for each virtual core, and gets its number with its seat; an input can have any that no other input has. Wished
seats and tags come first, coloured exactly; then neurons in order, then inputs. Whoever finds nothing free turns out whoever
is cheapest to turn out, and who was turned out before is dearer: the breakout local search of Morris (AAAI 1993) on ejection
chains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.errors import (
    BcallError,
    DefectInTheWay,
    ReservedTag,
    StimulusProblem,
    TagCollision,
    TagsExhausted,
)
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.colour import colour_exactly
from bcall_hw.mapper.place import Placement
from bcall_hw.mapper.synapses import Synapses

#: Turnings-out before the search gives up: so many, and so many for each source.
_TURNS, _TURNS_EACH = 10_000, 4
#: The price of turning out a wished tag, or of a seat or tag that cannot be had.
_NEVER = 1 << 40

Seat = tuple[int, int]
#: Where a source could be: its seat (None for an input) and its tag (None for a neuron without targets).
Option = tuple[Seat | None, int | None]


@dataclass(frozen=True, eq=False)
class Routes:
    """Seats and tags.

    Attributes:
        seat: int, shape (neurons,): neuron number within its core.
        tag: int, shape (sources,): -1 for a source without targets.
        reach: bool, shape (sources, cores): where each source must be heard.
    """

    seat: IntArray
    tag: IntArray
    reach: BoolArray


def wished_tag_problems(synapses: Synapses, board: Board) -> list[BcallError]:
    """Wished tags that no source can have."""
    problems: list[BcallError] = []
    used = set(synapses.used_sources.tolist())
    for group in synapses.network.inputs:
        for index, tag in enumerate(group.tags or ()):
            name, limit = f"input {group.name!r} source {index}", board.chip.stimulus.sources - 1
            if tag > limit:
                fix = "Wish another tag, or none."
                problems.append(StimulusProblem("tag beyond the FPGA's sources", where=name, used=tag, limit=limit, fix=fix))
            elif tag in board.chip.reserved_tags and synapses.first_source[group.name] + index in used:
                what, fix = "uses a tag that every unused CAM entry listens to", "Choose another tag."
                problems.append(ReservedTag(what, where=name, used=board.chip.tag_name(tag), fix=fix))
    return problems


def full_core_problems(synapses: Synapses, board: Board, reach: BoolArray) -> list[BcallError]:
    """Cores that more sources must reach than there are tags, or more inputs than the FPGA has tags."""
    problems: list[BcallError] = []
    for core, count in enumerate(reach.sum(axis=0).tolist()):
        if count > board.usable_tags:
            parts = [(name, int(reach[rows, core].sum())) for name, rows in synapses.rows.items()]
            detail = ", ".join(f"{name} {part}" for name, part in parts if part)
            fix = f"Its sources: {detail}. Use fewer, or let them reach fewer cores."
            what = "more sources must reach it than it can tell apart by their tags"
            problems.append(TagsExhausted(what, where=board.core_name(core), used=count, limit=board.usable_tags, fix=fix))
    heard = reach[: synapses.inputs].any(axis=1)
    wishes = [tag for group in synapses.network.inputs for tag in group.tags or [-1] * group.size]
    wished = {tag for tag, used in zip(wishes, heard.tolist(), strict=True) if used and tag >= 0}
    tags = len(wished) + sum(used and tag < 0 for tag, used in zip(wishes, heard.tolist(), strict=True))
    if not problems and tags > board.usable_tags:
        what, fix = "more sources with targets than tags, and each needs one of its own", "Use fewer."
        problems.append(TagsExhausted(what, where="inputs", used=tags, limit=board.usable_tags, fix=fix))
    return problems


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
        bits = [1 << core for core in range(len(board.cores))]
        self.mask = [sum(bits[core] for core in np.flatnonzero(row).tolist()) for row in reach]
        # The FPGA knows its sources by their tags: to it they are all in one more core.
        self.fpga = 1 << len(board.cores)
        is_input = np.arange(synapses.sources) < synapses.inputs
        self.columns = np.column_stack([reach, is_input & reach.any(axis=1)])
        self.mask[: synapses.inputs] = [mask | self.fpga if mask else 0 for mask in self.mask[: synapses.inputs]]
        self.used = [0] * chip.tags_per_core
        self.holders: list[list[int]] = [[] for _ in range(chip.tags_per_core)]
        self.owner = np.full((chip.tags_per_core, len(board.cores) + 1), -1, dtype=np.int64)
        self.sitter = np.full((len(board.cores), g.neurons), -1, dtype=np.int64)
        self.free = [dict.fromkeys(order) for order in board.seat_order]
        self.tag: dict[int, int] = {}
        self.seat: dict[int, Seat] = {}
        # What it costs to turn each source out; the last one stands for nobody.
        self.price = np.append(np.ones(synapses.sources, dtype=np.int64), 0)
        self.wished: dict[int, int] = {}
        for group in synapses.network.inputs:
            first = synapses.first_source[group.name]
            possible = set(range(chip.stimulus.sources)) - chip.reserved_tags  # the others are among the problems already
            tags = enumerate(group.tags or ())
            self.wished |= {first + i: tag for i, tag in tags if self.mask[first + i] and tag in possible}

    # Placing and turning out ------------------------------------------------------------------------------------------

    def _put(self, source: int, option: Option) -> None:
        seat, tag = option
        if seat is not None:
            self.sitter[seat] = source
            self.seat[source] = seat
            self.free[seat[0]].pop(seat[1], None)
        if tag is not None:
            self.used[tag] |= self.mask[source]
            self.owner[tag, self.columns[source]] = source
            self.holders[tag].append(source)
            self.tag[source] = tag

    def _out(self, source: int) -> None:
        seat, tag = self.seat.pop(source, None), self.tag.pop(source, None)
        if seat is not None:
            self.sitter[seat] = -1
            self.free[seat[0]][seat[1]] = None
        if tag is not None:
            self.used[tag] &= ~self.mask[source]
            self.owner[tag, self.columns[source]] = -1
            self.holders[tag].remove(source)

    def _in_the_way(self, source: int, option: Option) -> list[int]:
        seat, tag = option
        found = [] if tag is None else [h for h in self.holders[tag] if self.mask[h] & self.mask[source]]
        sitter = int(self.sitter[seat]) if seat is not None else -1
        return found if sitter < 0 or sitter in found else [*found, sitter]

    def _tags(self, source: int, number: int) -> list[int]:
        """Tags that a neuron can have in a seat with this number, its own core's first."""
        own = self.board.cores[int(self.placement.core_of[source - self.synapses.inputs])][1] % self.virtual
        order = [own, *(v for v in range(self.virtual) if v != own)]
        tags = (v * self.neurons + number for v in order)
        return [t for t in tags if t not in self.board.chip.reserved_tags]

    def _options(self, source: int, free_only: bool = False) -> Iterator[Option]:
        """Everything that a source could have, the most wanted first; or only what no other sits on."""
        if source < self.synapses.inputs:
            if source in self.wished:
                yield None, self.wished[source]
                return
            for tag in range(self.board.chip.stimulus.sources - 1, -1, -1):
                if tag not in self.board.chip.reserved_tags:
                    yield None, tag
            return
        neuron = source - self.synapses.inputs
        core, wished = int(self.placement.core_of[neuron]), int(self.placement.wished_seat[neuron])
        seats = list(self.free[core]) if free_only else self.board.seat_order[core]
        for number in [wished] if wished >= 0 else seats:
            if wished < 0 and self._lacks_entries(neuron, core, number):
                continue
            if not self.mask[source]:
                yield (core, number), None
                continue
            for tag in self._tags(source, number):
                yield (core, number), tag

    def _seatable(self, neuron: int) -> bool:
        """Whether a sound seat could hold a neuron's inputs; one that none can hold is among the problems already."""
        return int(self.synapses.cam_demand[neuron]) <= self.board.chip.cam.entries - self.board.reserve

    def _lacks_entries(self, neuron: int, core: int, number: int) -> bool:
        """Whether a seat has too few working CAM entries."""
        return self._seatable(neuron) and int(self.board.entries[core, number]) < int(self.synapses.cam_demand[neuron])

    @cached_property
    def _wished_seats(self) -> BoolArray:
        """Seats that were wished, shape (cores, neurons): nobody else may have them."""
        seats = np.zeros(self.sitter.shape, dtype=np.bool_)
        wished = self.placement.wished_seat >= 0
        seats[self.placement.core_of[wished], self.placement.wished_seat[wished]] = True
        return seats

    # The three steps --------------------------------------------------------------------------------------------------

    def wishes(self) -> list[BcallError]:
        """Wished tags, then the tags of neurons in wished seats: an exact colouring for each neuron number."""
        problems: list[BcallError] = []
        for source, tag in self.wished.items():
            clash = [h for h in self._in_the_way(source, (None, tag)) if self.mask[h] & self.mask[source] & ~self.fpga]
            if clash:
                problems.append(self._collision(source, tag, clash[:1]))
            else:
                self._put(source, (None, tag))
        by_number: dict[int, list[int]] = {}
        for neuron in np.flatnonzero(self.placement.wished_seat >= 0).tolist():
            source, core = neuron + self.synapses.inputs, int(self.placement.core_of[neuron])
            number = int(self.placement.wished_seat[neuron])
            if self._lacks_entries(neuron, core, number):
                problems.append(self._too_few_entries(neuron, core, number))
            if self.mask[source]:
                by_number.setdefault(number, []).append(source)
            else:
                self._put(source, ((core, number), None))
        for number, sources in sorted(by_number.items()):
            problems += self._colour(number, sources)
        return problems

    def _colour(self, number: int, sources: list[int]) -> list[BcallError]:
        """Tags for the neurons in wished seats with one number, exactly; each must avoid the wished tags of inputs."""
        allowed = [[t for t in self._tags(s, number) if not self.used[t] & self.mask[s]] for s in sources]
        clashes = [[k for k in range(len(sources)) if k != i and self.mask[sources[k]] & self.mask[s]]
                   for i, s in enumerate(sources)]  # fmt: skip
        chosen, stuck = colour_exactly(allowed, clashes)
        if chosen is None:
            source = sources[stuck]
            tags = self._tags(source, number)
            inputs = sorted({other for tag in tags for other in self._in_the_way(source, (None, tag))})
            return [self._collision(source, tags[0], [*(sources[k] for k in clashes[stuck]), *inputs])]
        for source, tag in zip(sources, chosen, strict=True):
            self._put(source, ((int(self.placement.core_of[source - self.synapses.inputs]), number), tag))
        return []

    def in_order(self) -> list[int]:
        """Give every other source its first free option; returns who found none."""
        self._keep_poor_numbers_for_the_silent()
        neurons = [s for s in range(self.synapses.inputs, self.synapses.sources) if s not in self.seat]
        inputs = [s for s in range(self.synapses.inputs) if self.mask[s] and s not in self.tag]
        return [source for source in (*neurons, *inputs) if not self._take_free(source)]

    def _keep_poor_numbers_for_the_silent(self) -> None:
        """In a full core, seats whose number has fewer tags go to neurons without targets, where there are such."""
        poor = sorted({number for _, number in self.board.chip.tags.reserved})
        for core in range(len(self.board.cores)):
            mine = np.flatnonzero(self.placement.core_of == core)
            if mine.size < self.board.room[core]:
                continue
            silent = [n for n in mine.tolist() if not self.mask[n + self.synapses.inputs] and self.placement.wished_seat[n] < 0]
            for number in poor:
                seat = (core, number)
                if silent and self.sitter[seat] < 0 and self.board.alive[seat]:
                    fits = [n for n in silent if not self._lacks_entries(n, *seat)]
                    if fits:
                        silent.remove(fits[0])
                        self._put(fits[0] + self.synapses.inputs, (seat, None))

    def _take_free(self, source: int) -> bool:
        mask = self.mask[source]
        for seat, tag in self._options(source, free_only=True):
            if (seat is None or self.sitter[seat] < 0) and (tag is None or not self.used[tag] & mask):
                self._put(source, (seat, tag))
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
        g, neuron = self.board.chip.geometry, source - self.synapses.inputs
        price = self.price[self.owner[:, self.columns[source]]].sum(axis=1)
        price[list(self.board.chip.reserved_tags)] = _NEVER
        if neuron < 0:
            tag = self._one_of(price[: self.board.chip.stimulus.sources], draw)
            return None if tag is None else (None, tag)
        core, wished = int(self.placement.core_of[neuron]), int(self.placement.wished_seat[neuron])
        seats = self.price[self.sitter[core]].copy()
        possible = np.zeros(g.neurons, dtype=np.bool_)
        possible[[wished] if wished >= 0 else self.board.seat_order[core]] = True
        if wished < 0:
            possible &= ~((self.board.entries[core] < self.synapses.cam_demand[neuron]) & self._seatable(neuron))
            seats[self._wished_seats[core]] = _NEVER
        seats[~possible] = _NEVER
        if not self.mask[source]:
            number = self._one_of(seats, draw)
            return None if number is None else ((core, number), None)
        tag = self._one_of((price.reshape(self.virtual, g.neurons) + seats).ravel(), draw)
        return None if tag is None else ((core, tag % g.neurons), tag)

    @staticmethod
    def _one_of(prices: IntArray, draw: int) -> int | None:
        least = prices.min()
        ties = np.flatnonzero(prices == least)
        return None if least >= _NEVER else int(ties[draw % ties.size])

    def routes(self) -> Routes:
        """What was found."""
        tag = np.full(self.synapses.sources, -1, dtype=np.int64)
        tag[list(self.tag)] = list(self.tag.values())
        seat = np.full(self.synapses.neurons, -1, dtype=np.int64)
        for source, (_, number) in self.seat.items():
            seat[source - self.synapses.inputs] = number
        return Routes(seat, tag, self.reach)

    # What to say --------------------------------------------------------------------------------------------------------

    def problem(self, source: int) -> BcallError:
        """Why a source found nothing."""
        name, limit = self.synapses.name(source), self.board.usable_tags
        reached = ", ".join(self.board.core_name(core) for core in np.flatnonzero(self.reach[source]).tolist())
        not_proved = "The search gave up; that none exists is not proved."
        neuron = source - self.synapses.inputs
        if neuron < 0:
            used = f"a source that reaches {reached}"
            fix = f"Use fewer sources, or let them reach fewer cores. {not_proved}"
            return TagsExhausted("no tag is free in every core that it reaches", where=name, used=used, limit=limit, fix=fix)
        option = next(self._options(source), (None, None))
        if option[1] is None:
            return self._too_few_entries(neuron, int(self.placement.core_of[neuron]), None)
        return self._collision(source, option[1], self._in_the_way(source, option), not_proved)

    def _too_few_entries(self, neuron: int, core: int, number: int | None) -> DefectInTheWay:
        name, demand = self.synapses.name(neuron + self.synapses.inputs), int(self.synapses.cam_demand[neuron])
        most = int(self.board.entries[core, number] if number is not None else self.board.entries[core].max())
        where = self.board.core_name(core) + (f" neuron {number}" if number is not None else "")
        what, fix = f"needs more CAM entries than work in {where}", "Lower its fan-in, or place it elsewhere."
        return DefectInTheWay(what, where=name, used=demand, limit=most, fix=fix)

    def _collision(self, source: int, tag: int, others: list[int], note: str = "") -> TagCollision:
        """Names the source, those in its way, and a core that hears all of them."""
        shared = self.mask[source]
        common = shared & self.mask[others[0]] & ~self.fpga if others else shared
        core = (common & -common).bit_length() - 1 if common else 0
        names = " and ".join([self.synapses.name(source), *(self.synapses.name(o) for o in others)])
        fix = "Wish another tag or place for one of them, or let them reach other cores."
        return TagCollision(
            f"{names} arrive under one tag", where=self.board.core_name(core), used=self.board.chip.tag_name(tag),
            fix=f"{fix} {note}".rstrip(),
        )  # fmt: skip
