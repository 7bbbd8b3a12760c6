"""The chip's rules, checked on the finished registers alone: an independent look at what the mapper made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.chip_config import ChipConfig
from bcall_hw.defects import Defects
from bcall_hw.errors import BcallError, DefectInTheWay, FieldOverflow, ReservedTag, TagCollision, UnheardTag

InputReach = Sequence[tuple[int, str, frozenset[tuple[int, int]]]]


def check(config: ChipConfig, inputs: InputReach | None = None, defects: Defects | None = None) -> list[BcallError]:
    """Every rule that a configuration breaks: reserved tags, tag collisions per target core, destinations off the board.

    Args:
        inputs: FPGA sources: (tag, name, the (chip, core) pairs it reaches). Where they are given, every CAM entry must
            listen to a source that reaches its core, or be parked on a reserved tag.
        defects: of the board: dead entries must be left alone, and stuck ones must hear what they say, or nothing.
    """
    chip, g = config.chip, config.chip.geometry
    problems = _too_wide(config)
    if problems:  # what such words say is not what is written
        return problems
    arrivals: dict[tuple[int, int], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for tag, name, cores in inputs or ():
        if tag in chip.reserved_tags:
            problems.append(ReservedTag("uses a reserved tag", where=name, used=chip.tag_name(tag)))
        for reached in cores:
            arrivals[reached][tag].add(name)
    for index, core, neuron, entry in np.argwhere(config.sram["core_mask"] > 0).tolist():
        word, here = config.sram[index, core, neuron, entry], config.chips[index]
        name = f"chip {here} core {core} neuron {neuron}"
        tag = int(word["virtual_core"]) * g.neurons + neuron
        if tag in chip.reserved_tags:
            problems.append(ReservedTag("sends under a reserved tag", where=name, used=chip.tag_name(tag)))
        column = here % g.chip_columns + (-1 if word["sx"] else 1) * int(word["dx"])
        row = here // g.chip_columns + (1 if word["sy"] else -1) * int(word["dy"])
        there = row * g.chip_columns + column
        if not 0 <= column < g.chip_columns or not 0 <= there < g.chips:
            problems.append(FieldOverflow("destination lies off the board", where=name, used=(column, row)))
            continue
        for target in range(g.cores):
            if int(word["core_mask"]) >> target & 1:
                arrivals[there, target][tag].add(name)
    heard = heard_tags(config, defects or Defects())
    problems += _defective(config, heard, arrivals, defects or Defects())
    if inputs is not None:
        problems += _unheard(config, heard, arrivals)
    for (there, target), tags in sorted(arrivals.items()):
        for tag, names in sorted(tags.items()):
            if len(names) > 1:
                where, used = f"chip {there} core {target}", chip.tag_name(tag)
                problems.append(TagCollision(" and ".join(sorted(names)) + " arrive under one tag", where=where, used=used))
    return problems


def _too_wide(config: ChipConfig) -> list[BcallError]:
    """The first value of each field that its bits, or the chip's geometry, cannot hold."""
    chip, g = config.chip, config.chip.geometry
    hops, tags = chip.sram.max_hops, chip.sram.virtual_cores - 1
    types = max(t.code for t in chip.synapse_types)
    limits: dict[str, dict[str, int]] = {
        "cam": {"source_core": tags, "source_neuron": g.neurons - 1, "type": types},
        "sram": {"virtual_core": tags, "sy": 1, "dy": hops, "sx": 1, "dx": hops, "core_mask": 2**g.cores - 1},
    }
    problems: list[BcallError] = []
    for kind, fields in limits.items():
        for field, limit in fields.items():
            values = getattr(config, kind)[field]
            for index, core, neuron, entry in np.argwhere(values > limit)[:1].tolist():
                number = chip.sram.usable[entry] if kind == "sram" else entry
                where = f"chip {config.chips[index]} core {core} neuron {neuron} {kind.upper()} entry {number}"
                used = int(values[index, core, neuron, entry])
                fix = "Write a value that the field holds."
                problems.append(FieldOverflow(f"{field} is too large", where=where, used=used, limit=limit, fix=fix))
    table = chip.current_table
    for field, limit in {"coarse": table.coarse_values - 1, "fine": table.fine_values - 1, "high": 1}.items():
        for index, core, bias in np.argwhere(config.biases[field] > limit)[:1].tolist():
            where = f"chip {config.chips[index]} core {core} {chip.biases[bias].name}"
            used = int(config.biases[field][index, core, bias])
            fix = "Write a code of the current table."
            problems.append(FieldOverflow(f"{field} is too large", where=where, used=used, limit=limit, fix=fix))
    return problems


def heard_tags(config: ChipConfig, defects: Defects) -> IntArray:
    """The tag that each CAM entry hears, shape of `config.cam`; -1 for dead entries."""
    heard: IntArray = config.cam["source_core"].astype(np.int64) * config.chip.geometry.neurons + config.cam["source_neuron"]
    for chip, *at, bit, value in defects.stuck_tag_bits:
        if chip in config.chips:
            place = (config.chips.index(chip), *at)
            heard[place] = (heard[place] & ~(1 << bit)) | value << bit
    for chip, *at in defects.dead_cam:
        if chip in config.chips:
            heard[(config.chips.index(chip), *at)] = -1
    return heard


def _defective(
    config: ChipConfig, heard: IntArray, arrivals: Mapping[tuple[int, int], Mapping[int, set[str]]], defects: Defects
) -> list[BcallError]:
    """Dead entries that hold something, and stuck ones that hear a source which they do not name."""
    chip, g = config.chip, config.chip.geometry
    problems: list[BcallError] = []
    for place in sorted({tuple(p[:4]) for p in (*defects.dead_cam, *defects.stuck_tag_bits) if p[0] in config.chips}):
        at = (config.chips.index(place[0]), *place[1:])
        word = config.cam[at]
        said, hears = int(word["source_core"]) * g.neurons + int(word["source_neuron"]), int(heard[at])
        where = f"chip {place[0]} core {place[1]} neuron {place[2]} CAM entry {place[3]}"
        if hears < 0 and said not in chip.reserved_tags:
            problems.append(DefectInTheWay("is dead but holds a source", where=where, used=chip.tag_name(said)))
        elif hears >= 0 and hears != said and hears in arrivals.get((place[0], place[1]), {}):
            what = f"says {chip.tag_name(said)} but hears another source"
            problems.append(DefectInTheWay(what, where=where, used=chip.tag_name(hears)))
    return problems


def _unheard(
    config: ChipConfig, heard: IntArray, arrivals: Mapping[tuple[int, int], Mapping[int, set[str]]]
) -> list[BcallError]:
    """Sound entries that listen to what nobody sends."""
    chip, g = config.chip, config.chip.geometry
    problems: list[BcallError] = []
    said = config.cam["source_core"].astype(np.int64) * g.neurons + config.cam["source_neuron"]
    for index, chip_id in enumerate(config.chips):
        for core in range(g.cores):
            sent = [*arrivals.get((chip_id, core), {}), *chip.reserved_tags]
            silent = ~np.isin(said[index, core], sent)
            deaf = np.argwhere(silent & (heard[index, core] == said[index, core]))
            for neuron, entry in deaf[:1].tolist():
                where = f"chip {chip_id} core {core} neuron {neuron} CAM entry {entry}"
                used = chip.tag_name(int(said[index, core, neuron, entry]))
                what = f"listens to a tag that no source sends here; {len(deaf)} such entries on this core"
                problems.append(UnheardTag(what, where=where, used=used))
    return problems
