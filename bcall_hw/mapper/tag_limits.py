"""What a core and the FPGA can tell apart by tags, whatever the assignment."""

from __future__ import annotations

from bcall_hw.arrays import BoolArray
from bcall_hw.errors import BcallError, ReservedTag, StimulusProblem, TagsExhausted
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.synapses import Synapses


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
            fix = f"Its sources: {detail}. Use fewer, or let them reach fewer cores. (In the best placement that was found.)"
            what = "more sources must reach it than it can tell apart by their tags"
            problems.append(TagsExhausted(what, where=board.core_name(core), used=count, limit=board.usable_tags, fix=fix))
    heard = [bool(row.any()) for row in reach[: synapses.inputs]]
    wishes: list[int] = [tag for group in synapses.network.inputs for tag in group.tags or [-1] * group.size]
    used_wishes = [tag for tag, used in zip(wishes, heard, strict=True) if used]
    tags = len({tag for tag in used_wishes if tag >= 0}) + used_wishes.count(-1)
    limit = len(set(range(board.chip.stimulus.sources)) - board.chip.reserved_tags)
    if not problems and tags > limit:
        what, fix = "more sources with targets than tags, and each needs one of its own", "Use fewer."
        problems.append(TagsExhausted(what, where="inputs", used=tags, limit=limit, fix=fix))
    return problems
