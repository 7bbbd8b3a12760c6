"""Where events go: CAM matching turned into lists, SRAM destinations, and the steps of a stimulus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import FloatArray, Int32Array
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.stimulus import Stimulus


@dataclass(frozen=True, eq=False)
class Listeners:
    """For each core and tag, the CAM entries that listen to it.

    Attributes:
        start: int32, shape (cores, tags + 1): where each tag's list begins within the core's row of `cells`.
        cells: uint16, shape (cores, neurons * CAM entries): synapse row * neurons + neuron. Dead entries stand after the
            last tag's list.
        kinds: uint8, shape (cores, tags): which synapse rows stand in a tag's list, one bit each.
        factors: float64, shape of `cells`: what each entry adds / nominal; None where all are equal.
    """

    start: Int32Array
    cells: npt.NDArray[np.uint16]
    kinds: npt.NDArray[np.uint8]
    factors: FloatArray | None


def effective_tags(config: ChipConfig, profile: BoardProfile) -> npt.NDArray[np.uint16]:
    """The tag that each CAM entry hears on a board, shape of `config.cam`.

    One more than the last tag stands for what no event has: of dead entries, and of tags that only stuck bits can make.
    """
    # 16-bit keys: numpy sorts them by radix.
    tag = config.cam["source_core"] * np.uint16(config.chip.geometry.neurons) + config.cam["source_neuron"]
    index = {chip: k for k, chip in enumerate(config.chips)}
    for chip, *at, bit, value in profile.stuck_tag_bits:
        if chip in index:
            place = (index[chip], *at)
            tag[place] = (tag[place] & ~np.uint16(1 << bit)) | np.uint16(value << bit)
    for chip, *at in profile.dead_cam:
        if chip in index:
            tag[(index[chip], *at)] = config.chip.tags_per_core
    return np.asarray(np.minimum(tag, config.chip.tags_per_core), dtype=np.uint16)


def listeners(
    config: ChipConfig,
    profile: BoardProfile,
    entry_factors: FloatArray | None = None,
    before: tuple[ChipConfig, Listeners] | None = None,
) -> Listeners:
    """All CAM entries by the tag they hear on a board; cleared entries too: on the chip they listen.

    Args:
        entry_factors: mismatch of the whole board's entries (`BoardProfile.entry_factors`), or None for none.
        before: an earlier configuration of the same board and its lists: cores that did not change are taken from it.
    """
    chip, g = config.chip, config.chip.geometry
    cores, n_rows, n_tags = len(config.chips) * g.cores, len(words.EFFECTS), chip.tags_per_core
    row_of_type = np.zeros(max(t.code for t in chip.synapse_types) + 1, dtype=np.uint16)
    for synapse in chip.synapse_types:
        row_of_type[synapse.code] = words.EFFECTS.index(synapse.effect)
    tag, kind = (a.reshape(cores, -1) for a in (effective_tags(config, profile), config.cam["type"]))
    neuron = np.repeat(np.arange(g.neurons, dtype=np.uint16), chip.cam.entries)
    if before is None:
        start, kinds = np.zeros((cores, n_tags + 1), dtype=np.int32), np.zeros((cores, n_tags), dtype=np.uint8)
        cells, changed = np.zeros(tag.shape, dtype=np.uint16), list(range(cores))
        factors = None if entry_factors is None else entry_factors[list(config.chips)].reshape(tag.shape)
    else:
        old = before[1]
        start, cells, kinds = old.start.copy(), old.cells.copy(), old.kinds.copy()
        factors = None if old.factors is None else old.factors.copy()
        pairs = [a.cam.view(np.uint16).reshape(cores, -1) for a in (config, before[0])]
        changed = np.flatnonzero([not np.array_equal(a, b) for a, b in zip(*pairs, strict=True)]).tolist()
    for core in changed:
        order, row = np.argsort(tag[core], kind="stable"), row_of_type[kind[core]]
        by_row = np.bincount(tag[core].astype(np.int64) * n_rows + row, minlength=(n_tags + 1) * n_rows)
        counts = by_row.reshape(-1, n_rows)[:n_tags]
        start[core, 1:] = np.cumsum(counts.sum(axis=1))
        kinds[core] = (counts > 0) @ (1 << np.arange(n_rows))
        cells[core] = (row * np.uint16(g.neurons) + neuron)[order]
        if factors is not None and entry_factors is not None:
            chip_id = config.chips[core // g.cores]
            factors[core] = entry_factors[chip_id, core % g.cores].ravel()[order]
    return Listeners(start, cells, kinds, factors)


@dataclass(frozen=True, eq=False)
class Destinations:
    """For each neuron, the events that its spikes become, as lists one after another.

    Attributes:
        start: int32, shape (neurons of all emulated cores + 1,).
        events: int32, shape (n, 3): index of the emulated chip, core mask, tag.
        lost: SRAM entries that lead to a chip that is not emulated, or off the board.
    """

    start: Int32Array
    events: Int32Array
    lost: int


def destinations(config: ChipConfig) -> Destinations:
    """SRAM entries followed to the chips they reach; those that lead to chips that are not emulated are counted."""
    g, sram = config.chip.geometry, config.sram
    used = np.argwhere(sram["core_mask"] > 0)
    chip_index, core, neuron, _ = used.T
    word = sram[tuple(used.T)]
    here = np.asarray(config.chips)[chip_index]
    signed = {name: word[name].astype(np.int64) for name in ("dx", "dy", "virtual_core", "core_mask")}
    column = here % g.chip_columns + np.where(word["sx"] == 1, -1, 1) * signed["dx"]
    row = here // g.chip_columns + np.where(word["sy"] == 1, 1, -1) * signed["dy"]
    there = row * g.chip_columns + column
    on_board = (column >= 0) & (column < g.chip_columns) & (row >= 0) & (there < g.chips)
    emulated = np.full(g.chips, -1)
    emulated[list(config.chips)] = np.arange(len(config.chips))
    target = np.where(on_board, emulated[np.where(on_board, there, 0)], -1)
    kept = target >= 0
    tag = signed["virtual_core"] * g.neurons + neuron
    source = (chip_index * g.cores + core) * g.neurons + neuron
    counts = np.bincount(source[kept], minlength=len(config.chips) * g.cores * g.neurons)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    events = np.column_stack([target, signed["core_mask"], tag])[kept].astype(np.int32)
    return Destinations(start, events, int(np.sum(~kept)))


@dataclass(frozen=True, eq=False)
class InputEvents:
    """Stimulus events by step: int32 arrays of equal length, steps ascending; chips by their index among the emulated."""

    step: Int32Array
    chip: Int32Array
    core_mask: Int32Array
    tag: Int32Array

    def part(self, first: int, last: int) -> InputEvents:
        """Those of steps first to last - 1."""
        here = slice(*np.searchsorted(self.step, [first, last]))
        return InputEvents(self.step[here], self.chip[here], self.core_mask[here], self.tag[here])

    def later(self, steps: int) -> InputEvents:
        """The same, so many steps later."""
        return InputEvents((self.step + steps).astype(np.int32), self.chip, self.core_mask, self.tag)

    def merged(self, other: InputEvents) -> InputEvents:
        """Both, by step."""
        order = np.argsort(np.concatenate([self.step, other.step]), kind="stable")
        pairs = ((self.step, other.step), (self.chip, other.chip), (self.core_mask, other.core_mask), (self.tag, other.tag))
        return InputEvents(*(np.concatenate(pair)[order] for pair in pairs))


def input_events(stimulus: Stimulus, chips: tuple[int, ...], dt_us: int, n_steps: int) -> InputEvents:
    """The list stimulus by step; an event in [k dt, (k+1) dt) belongs to step k.

    Raises:
        StimulusProblem: an event for a chip that is not emulated, for no core, or after the run.
    """
    ticks_per_step = round(stimulus.chip.stimulus.clock_hz * dt_us * 1e-6)
    events = stimulus.events
    index = np.full(stimulus.chip.geometry.chips, -1, dtype=np.int32)
    index[list(chips)] = np.arange(len(chips))
    stimulus.check_run(chips, n_steps * dt_us, "emulated")
    target, mask, step = index[events["chip"]], events["core_mask"].astype(np.int32), stimulus.ticks // ticks_per_step
    return InputEvents(step.astype(np.int32), target, mask, events["tag"].astype(np.int32))
