"""SRAM: the destinations of every neuron that has targets, one entry for each chip that it reaches."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import BoolArray
from bcall_hw.chip_config import SRAM_DTYPE, Registers
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, DestinationsExceeded, SourcesExceeded, StimulusProblem
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.place import Placement
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapper.tags import Routes
from bcall_hw.network import Input, Network


def source_problems(network: Network, chip: ChipModel) -> list[BcallError]:
    """Whether the inputs have more sources than the FPGA."""
    used, limit = sum(i.size for i in network.inputs), chip.stimulus.sources
    if used <= limit:
        return []
    return [SourcesExceeded("more input sources than the board has", where="inputs", used=used, limit=limit, fix="Use fewer.")]


def destination_problems(synapses: Synapses, placement: Placement, board: Board, reach: BoolArray) -> list[BcallError]:
    """Neurons that reach more chips than they have destinations, or chips too far away; Poisson sources that reach too many."""
    usable = len(board.chip.sram.usable)
    problems: list[BcallError] = []
    chips = _by_chip(board, reach)
    for neuron in range(synapses.neurons):
        source = neuron + synapses.inputs
        there = np.flatnonzero(chips[source])
        names = ", ".join(f"chip {board.chips[c]}" for c in there.tolist())
        if there.size > usable:
            fix = f"It reaches {names}. One entry reaches one chip, and one is the monitor: keep its targets on fewer chips."
            fix += " (In the best placement that was found.)"
            name = synapses.name(source)
            problems.append(
                DestinationsExceeded("too many destinations", where=name, used=int(there.size), limit=usable, fix=fix)
            )
        own = int(board.chip_index[placement.core_of[neuron]])
        for target in there[board.too_far[own, there]].tolist():
            hops, limit = board.chip.geometry.hops(board.chips[own], board.chips[target]), board.chip.sram.max_hops
            fix = "Keep its targets nearer."
            name = synapses.name(source)
            problems.append(DestinationsExceeded("hop too long for its field", where=name, used=hops, limit=limit, fix=fix))
    return problems + _poisson_problems(synapses, board, chips)


def crowded_poisson_problems(synapses: Synapses, chip: ChipModel) -> list[BcallError]:
    """Poisson inputs with more targets than the chips hold that they can reach: no placement helps."""
    mine = [i for i in synapses.network.inputs if i.poisson]
    is_poisson = np.zeros(synapses.sources, dtype=bool)
    for group in mine:
        is_poisson[synapses.rows[group.name]] = True
    targets = np.unique(synapses.target[is_poisson[synapses.source]]).size
    limit = chip.poisson.target_chips * chip.geometry.cores * chip.geometry.neurons
    if targets <= limit:
        return []
    fix = "Give them fewer targets, or drive some inputs by the list."
    what, where = "Poisson sources all reach one chip, which has not so many neurons", _names(mine)
    return [StimulusProblem(what, where=where, used=targets, limit=limit, fix=fix)]


def _poisson_problems(synapses: Synapses, board: Board, chips: BoolArray) -> list[BcallError]:
    mine = [i for i in synapses.network.inputs if i.poisson]
    rows = [chips[synapses.rows[i.name]] for i in mine]
    reached = np.flatnonzero(np.concatenate(rows).any(axis=0)) if rows else np.zeros(0, dtype=np.int64)
    limit = board.chip.poisson.target_chips
    if reached.size <= limit:
        return []
    names = ", ".join(f"chip {board.chips[c]}" for c in reached.tolist())
    fix = "Place their targets on one chip, or drive some inputs by the list."
    what = f"Poisson sources all reach one chip, but their targets are on {names}"
    return [StimulusProblem(what, where=_names(mine), used=int(reached.size), limit=limit, fix=fix)]


def _names(inputs: list[Input]) -> str:
    return "inputs " + ", ".join(repr(i.name) for i in inputs)


def _by_chip(board: Board, reach: BoolArray) -> BoolArray:
    starts = np.arange(0, len(board.cores), board.chip.geometry.cores)
    return np.asarray(np.logical_or.reduceat(reach, starts, axis=1))


def sram_entries(synapses: Synapses, placement: Placement, board: Board, routes: Routes) -> Registers:
    """One SRAM entry per target chip of each neuron, shape (chips, cores, neurons, usable entries).

    Destinations were checked before.
    """
    g, chip = board.chip.geometry, board.chip
    sram = np.zeros((len(board.chips), g.cores, g.neurons, len(chip.sram.usable)), dtype=SRAM_DTYPE)
    reach = routes.reach[synapses.inputs :].reshape(synapses.neurons, len(board.chips), g.cores)
    mask = (reach * (1 << np.arange(g.cores))).sum(axis=2)
    neuron, target = np.nonzero(mask)
    own = board.chip_index[placement.core_of[neuron]]
    hops = np.array([[g.hops(a, b) for b in board.chips] for a in board.chips])[own, target]
    words = np.zeros(neuron.size, dtype=SRAM_DTYPE)
    words["virtual_core"] = routes.tag[synapses.inputs :][neuron, target] // g.neurons
    words["sx"], words["dx"] = hops[:, 0] < 0, np.abs(hops[:, 0])
    words["sy"], words["dy"] = hops[:, 1] < 0, np.abs(hops[:, 1])
    words["core_mask"] = mask[neuron, target]
    entry = np.arange(neuron.size) - np.searchsorted(neuron, neuron)
    core = np.array([c for _, c in board.cores])[placement.core_of[neuron]]
    sram[own, core, routes.seat[neuron], entry] = words
    return sram
