"""Where events go: CAM matching turned into lists, SRAM destinations, and the steps of a stimulus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import words
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import StimulusProblem
from bcall_hw.stimulus import Stimulus


@dataclass(frozen=True, eq=False)
class Listeners:
    """For each core and tag, the CAM entries that listen to it.

    Attributes:
        start: int32, shape (cores, tags + 1): where each tag's list begins within the core's row of `cells`.
        cells: int32, shape (cores, neurons * CAM entries): synapse row * neurons + neuron.
    """

    start: Int32Array
    cells: Int32Array


def listeners(config: ChipConfig) -> Listeners:
    """All CAM entries by tag, cleared entries under the reserved tag included: on the chip they listen too."""
    chip, g = config.chip, config.chip.geometry
    cores = len(config.chips) * g.cores
    row_of_type = np.zeros(max(t.code for t in chip.synapse_types) + 1, dtype=np.int32)
    for synapse in chip.synapse_types:
        row_of_type[synapse.code] = words.EFFECTS.index(synapse.effect) * g.neurons
    cam = config.cam.reshape(cores, g.neurons * chip.cam.entries)
    # 16-bit keys: numpy sorts them by radix.
    tag = cam["source_core"] * np.uint16(g.neurons) + cam["source_neuron"]
    neuron = np.repeat(np.arange(g.neurons, dtype=np.int32), chip.cam.entries)
    start = np.zeros((cores, chip.tags_per_core + 1), dtype=np.int32)
    cells = np.zeros(tag.shape, dtype=np.int32)
    for core in range(cores):
        start[core, 1:] = np.cumsum(np.bincount(tag[core], minlength=chip.tags_per_core))
        cells[core] = (row_of_type[cam["type"][core]] + neuron)[np.argsort(tag[core], kind="stable")]
    return Listeners(start, cells)


@dataclass(frozen=True, eq=False)
class Destinations:
    """For each neuron, the (core, tag) pairs that its spikes reach, as lists one after another.

    Attributes:
        start: int32, shape (neurons of all emulated cores + 1,).
        core, tag: int32.
        lost: SRAM entries that lead to a chip that is not emulated, or off the board.
    """

    start: Int32Array
    core: Int32Array
    tag: Int32Array
    lost: int = 0


def destinations(config: ChipConfig) -> Destinations:
    """SRAM entries followed to the cores they reach; those that lead to chips that are not emulated are counted."""
    g, sram = config.chip.geometry, config.sram
    found, lost = [], 0
    for chip_index, core, neuron, entry in np.argwhere(sram["core_mask"] > 0):
        word = sram[chip_index, core, neuron, entry]
        here = config.chips[int(chip_index)]
        column = here % g.chip_columns + int(word["dx"]) * (-1 if word["sx"] else 1)
        row = here // g.chip_columns + int(word["dy"]) * (1 if word["sy"] else -1)
        there = row * g.chip_columns + column
        if not 0 <= column < g.chip_columns or there not in config.chips:
            lost += 1
            continue
        source = (int(chip_index) * g.cores + int(core)) * g.neurons + int(neuron)
        tag = int(word["virtual_core"]) * g.neurons + int(neuron)
        first = config.chips.index(there) * g.cores
        found += [(source, first + target, tag) for target in range(g.cores) if int(word["core_mask"]) >> target & 1]
    table = np.array(sorted(found), dtype=np.int32).reshape(-1, 3)
    counts = np.bincount(table[:, 0], minlength=len(config.chips) * g.cores * g.neurons)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return Destinations(start, np.ascontiguousarray(table[:, 1]), np.ascontiguousarray(table[:, 2]), lost)


@dataclass(frozen=True, eq=False)
class InputEvents:
    """Stimulus events by step: int32 arrays of equal length, steps ascending."""

    step: Int32Array
    core: Int32Array
    tag: Int32Array


def input_events(stimulus: Stimulus, chips: tuple[int, ...], dt_us: int) -> InputEvents:
    """The list stimulus, one entry per core that it reaches; an event in [k dt, (k+1) dt) belongs to step k.

    Raises:
        StimulusProblem: an event for a chip that is not emulated, or for no core.
    """
    cores = stimulus.chip.geometry.cores
    ticks_per_step = round(stimulus.chip.stimulus.clock_hz * dt_us * 1e-6)
    step = stimulus.ticks // ticks_per_step
    chip_index = np.full(stimulus.chip.geometry.chips, -1)
    chip_index[list(chips)] = np.arange(len(chips))
    first_core = chip_index[stimulus.events["chip"]] * cores
    reaches = (stimulus.events["core_mask"][:, None].astype(np.int64) >> np.arange(cores)) & 1
    elsewhere, nowhere = np.flatnonzero(first_core < 0), np.flatnonzero(reaches.sum(axis=1) == 0)
    if elsewhere.size:
        where, used = f"stimulus event {elsewhere[0]}", f"chip {stimulus.events['chip'][elsewhere[0]]}"
        raise StimulusProblem("targets a chip that is not emulated", where=where, used=used, limit=f"chips {chips}")
    if nowhere.size:
        where, fix = f"stimulus event {nowhere[0]}", "Set the core mask."
        raise StimulusProblem("reaches no core", where=where, used="core mask 0", fix=fix)
    event, core = np.nonzero(reaches == 1)
    return InputEvents(
        step[event].astype(np.int32),
        (first_core[event] + core).astype(np.int32),
        stimulus.events["tag"][event].astype(np.int32),
    )
