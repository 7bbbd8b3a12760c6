"""The board's stimulus generator: memory, registers, and which events fall into a stretch of time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.backend.samna_board.virtual.link import WordArray
from bcall_hw.chip_model import ChipModel


@dataclass(frozen=True, eq=False)
class ListedEvents:
    """Events in order of time: int64 arrays of equal length.

    Attributes:
        tick: clock ticks since the generator was started.
    """

    tick: IntArray
    chip: IntArray
    core_mask: IntArray
    tag: IntArray

    def where(self, heard: BoolArray) -> ListedEvents:
        """Some of the events."""
        return ListedEvents(self.tick[heard], self.chip[heard], self.core_mask[heard], self.tag[heard])

    def count(self, first: int, end: int, period: int | None) -> int:
        """How many events `between` gives, without making them: a short period makes more than any memory holds."""
        return self._before(end, period) - self._before(first, period)

    def _before(self, end: int, period: int | None) -> int:
        rounds = 0 if period is None else max(0, -(-end // period) - 1)  # whole ones: no tick is beyond the period
        return rounds * self.tick.size + int(np.searchsorted(self.tick, end - rounds * (period or 0)))

    def between(self, first: int, end: int, period: int | None) -> ListedEvents:
        """Events with first <= tick < end; with a period (ticks) the list is played again and again."""
        if period is None or not self.tick.size:
            part = slice(*np.searchsorted(self.tick, [first, end]))
            return ListedEvents(self.tick[part], self.chip[part], self.core_mask[part], self.tag[part])
        rounds = np.arange(first // period - 1, end // period + 1).clip(0)
        rounds = np.unique(rounds)
        tick = (rounds[:, None] * period + self.tick[None, :]).ravel()
        here = np.flatnonzero((tick >= first) & (tick < end))
        index = here % self.tick.size
        return ListedEvents(tick[here], self.chip[index], self.core_mask[index], self.tag[index])


@dataclass
class Generator:
    """Registers and memory of the stimulus generator.

    Attributes:
        started: the list that plays, since it was started; None while it stands still.
        period: ticks after which the list begins again; None where it plays once.
    """

    chip: ChipModel
    memory: IntArray = field(init=False)
    base: int = 0
    count: int = 0
    variable_isi: bool = False
    isi: int = 0
    isi_base: int = 0
    repeat: bool = False
    started: ListedEvents | None = None
    period: int | None = None

    def __post_init__(self) -> None:
        self.memory = np.zeros(2 * (self.chip.stimulus.max_events + 2), dtype=np.int64)

    def write_memory(self, base: int, words: WordArray) -> None:
        """Put 16-bit words into the memory.

        Raises:
            ValueError: they reach beyond it.
        """
        if base + len(words) > len(self.memory):
            raise ValueError(f"stimulus memory holds {len(self.memory)} words, {len(words)} were written at {base}")
        self.memory[base : base + len(words)] = words & 0xFFFF

    def set(self, address: tuple[int, int], value: int) -> bool:
        """Write a register; False where the address is none of the generator's."""
        known = self.chip.device.generator
        if address == known.run:
            self.started = self.listed() if value else None
            return True
        for name in ("base", "count", "variable_isi", "isi", "isi_base", "repeat"):
            if address == getattr(known, "base_address" if name == "base" else name):
                setattr(self, name, bool(value) if name in ("variable_isi", "repeat") else value)
                return True
        return False

    def listed(self) -> ListedEvents:
        """The list as memory and registers hold it."""
        per_event = 2 if self.variable_isi else 1
        events = (self.count + 1) & 0xFFFFFFFF  # an empty list sets 2^32 - 1
        room = (len(self.memory) - self.base) // per_event
        words = self.memory[self.base : self.base + per_event * min(events, room)].reshape(-1, per_event)
        isi = words[:, 1] if self.variable_isi else np.full(len(words), self.isi, dtype=np.int64)
        tick = np.cumsum(isi) * self.isi_base
        self.period = max(1, int(tick[-1])) if self.repeat and tick.size else None
        fields = self.chip.words["stimulus"].unpack(words[:, 0])
        tag = fields["source_core"] * self.chip.geometry.neurons + fields["source_neuron"]
        return ListedEvents(tick, fields["chip"], fields["core_mask"], tag)
