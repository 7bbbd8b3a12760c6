"""Neurons with many inputs go where enough CAM entries work."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.mapper.board import Board


def fit_demands(core_of: IntArray, demand: IntArray, board: Board, allowed: BoolArray, wished_seat: IntArray) -> IntArray:
    """Exchange neurons between cores until every core has seats with enough sound CAM entries, as far as that goes.

    Args:
        core_of: int, shape (neurons,): core of each neuron.
        demand: int, same shape: CAM entries that each needs.
        allowed: bool, shape (neurons, cores): where each may stand.
        wished_seat: int, shape (neurons,): seat of those who may not move, else -1.
    """
    core_of = core_of.copy()
    seats = [_seats(board, core, core_of, wished_seat) for core in range(len(board.cores))]
    movable = wished_seat < 0
    for core in range(len(board.cores)):
        mine = np.flatnonzero((core_of == core) & movable)
        for neuron in mine[np.argsort(-demand[mine], kind="stable")].tolist():
            if not _lacking(demand[(core_of == core) & movable], seats[core]):
                break
            _move(neuron, core_of, demand, allowed, movable, seats)
    return core_of


def _seats(board: Board, core: int, core_of: IntArray, wished_seat: IntArray) -> IntArray:
    """Sound entries of the seats that nobody wished, most first."""
    free = board.alive[core].copy()
    free[wished_seat[(core_of == core) & (wished_seat >= 0)]] = False
    return np.sort(board.sound_entries[core][free])[::-1]


def _lacking(demands: IntArray, seats: IntArray) -> int:
    """How many neurons find no seat with enough entries, or none at all."""
    most_first = np.sort(demands)[::-1]
    common = min(most_first.size, seats.size)
    return int((most_first[:common] > seats[:common]).sum()) + most_first.size - common


def _move(
    neuron: int, core_of: IntArray, demand: IntArray, allowed: BoolArray, movable: BoolArray, seats: list[IntArray]
) -> None:
    """Move a neuron to another core, or exchange it with one that needs less, if both cores are better for it."""
    here = int(core_of[neuron])
    stay = np.flatnonzero((core_of == here) & movable)
    stay = stay[stay != neuron]
    for there in np.flatnonzero(allowed[neuron]).tolist():
        residents = np.flatnonzero((core_of == there) & movable)
        if there == here or seats[there].size == 0:
            continue
        if _lacking(np.append(demand[residents], demand[neuron]), seats[there]) == _lacking(demand[residents], seats[there]):
            core_of[neuron] = there
            return
        fitting = residents[allowed[residents, here] & (demand[residents] < demand[neuron])]
        if not fitting.size:
            continue
        other = int(fitting[np.argmin(demand[fitting])])
        others = residents[residents != other]
        before = _lacking(np.append(demand[stay], demand[neuron]), seats[here]) + _lacking(demand[residents], seats[there])
        after = _lacking(np.append(demand[stay], demand[other]), seats[here])
        if after + _lacking(np.append(demand[others], demand[neuron]), seats[there]) < before:
            core_of[[neuron, other]] = there, here
            return
