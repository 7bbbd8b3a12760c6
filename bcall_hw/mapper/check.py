"""The chip's rules, checked on the finished registers alone: an independent look at what the mapper made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import BcallError, FieldOverflow, ReservedTag, TagCollision

InputReach = Sequence[tuple[int, str, frozenset[tuple[int, int]]]]


def check(config: ChipConfig, inputs: InputReach = ()) -> list[BcallError]:
    """Every rule that a configuration breaks: reserved tags, tag collisions per target core, destinations off the board.

    Args:
        inputs: FPGA sources: (tag, name, the (chip, core) pairs it reaches).
    """
    chip, g = config.chip, config.chip.geometry
    problems: list[BcallError] = []
    arrivals: dict[tuple[int, int], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for tag, name, cores in inputs:
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
    for (there, target), tags in sorted(arrivals.items()):
        for tag, names in sorted(tags.items()):
            if len(names) > 1:
                where, used = f"chip {there} core {target}", chip.tag_name(tag)
                problems.append(TagCollision(" and ".join(sorted(names)) + " arrive under one tag", where=where, used=used))
    return problems
