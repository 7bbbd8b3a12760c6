"""CAM entries of a board that are dead, or hear another tag than their register says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.chip_config import Registers
from bcall_hw.errors import BcallError, DefectInTheWay
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.tags import Routes


@dataclass(frozen=True)
class Unit:
    """What one CAM entry must hold: a tag, and whether it must be able to park too."""

    tag: int
    plastic: bool


def heard(board: Board, seat: tuple[int, int], entry: int, tag: int) -> int:
    """The tag that an entry hears when `tag` is written to it."""
    bits, ones = board.stuck.get((*seat, entry), (0, 0))
    return (tag & ~bits) | ones


def entries_around_defects(
    board: Board, seat: tuple[int, int], units: list[Unit], name: str
) -> tuple[IntArray, BcallError | None]:
    """An entry for each unit of a neuron whose CAM has defects: sound entries first, then whatever a stuck one still hears."""
    every = range(board.chip.cam.entries)
    dead = {e for e in every if (*seat, e) in board.dead_entries}
    stuck = {e for e in every if (*seat, e) in board.stuck} - dead
    sound = [e for e in every if e not in dead | stuck]
    if len(units) <= len(sound):
        return np.array(sound[: len(units)], dtype=np.int64), None
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    parked = board.chip.parked_tag
    usable = sound + sorted(stuck)
    fits = np.zeros((len(units), len(usable)), dtype=np.int8)
    for column, entry in enumerate(usable):
        parks = heard(board, seat, entry, parked) == parked
        for row, unit in enumerate(units):
            fits[row, column] = heard(board, seat, entry, unit.tag) == unit.tag and (parks or not unit.plastic)
    match = np.asarray(maximum_bipartite_matching(csr_array(fits), perm_type="column"), dtype=np.int64)
    lost = np.flatnonzero(match < 0)
    if lost.size:
        where, tag = f"{name} ({board.core_name(seat[0])} neuron {seat[1]})", board.chip.tag_name(units[int(lost[0])].tag)
        fix = "Lower its fan-in by the number of defective entries, or wish it elsewhere."
        what = "no working CAM entry is left that can hear every one of its sources"
        return match, DefectInTheWay(what, where=where, used=f"{lost.size} inputs left, first {tag}", fix=fix)
    return np.asarray(usable, dtype=np.int64)[match], None


def silence(board: Board, cam: Registers, routes: Routes) -> list[BcallError]:
    """Make unused entries with stuck tag bits hear a tag that nobody sends to their core, in place.

    Args:
        cam: shape (cores, neurons, entries).
    """
    problems: list[BcallError] = []
    neurons, parked = board.chip.geometry.neurons, board.chip.parked_tag
    sent: dict[int, set[int]] = {}
    for k, number, entry in sorted(board.stuck.keys() - board.dead_entries):
        word = cam[k, number, entry]
        if int(word["source_core"]) * neurons + int(word["source_neuron"]) != parked:
            continue
        if k not in sent:
            sent[k] = set(routes.tag[routes.reach[:, k], board.chip_index[k]].tolist())
        arriving = sent[k]
        # What it says is not what it hears: so nobody takes it for a synapse.
        said_and_heard = ((t, heard(board, (k, number), entry, t)) for t in (parked, *range(board.chip.tags_per_core)))
        quiet = next((t for t, h in said_and_heard if h == parked or (h != t and h not in arriving)), None)
        if quiet is None:
            where = f"{board.core_name(k)} neuron {number} CAM entry {entry}"
            fix = "Use fewer sources on this core, wish other tags, or leave its chip out."
            what = "its stuck tag bits make it hear a source whatever is written"
            tag = board.chip.tag_name(heard(board, (k, number), entry, parked))
            problems.append(DefectInTheWay(what, where=where, used=tag, fix=fix))
        else:
            cam["source_core"][k, number, entry], cam["source_neuron"][k, number, entry] = divmod(quiet, neurons)
    return problems
