"""Which neurons should share cores and chips: the traffic that a placement causes, and moves that lower it.

Every source costs a tag in each core that it reaches and an SRAM entry for each chip, and both are scarce. So the sources of
a core's neurons should be few, and neurons that hear the same should stand together: hypergraph partitioning, improved here by
exchanges in the manner of Kernighan and Lin (Bell System Technical Journal 49(2), 1970), many at once. Everything is counted
in integers, so that a network is placed alike on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.synapses import Synapses

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# What a placement pays: 1 for each (source, core). These are choices, not numbers of a chip.
_INPUT_CHIP, _ENTRY, _HOP, _WARNED = 2, 1, 4, 16
#: For each chip beyond the destinations of a source, and for each source beyond the tags of a core.
_OVER = 1_000_000
_ROUNDS, _PATIENCE = 60, 12
_SMOOTHINGS, _SMOOTH_BITS = 16, 30


@dataclass(frozen=True, eq=False)
class Reach:
    """Where the sources of a placement must send.

    Attributes:
        cores: int, shape (sources, cores): targets of each source on each core.
        chips: int, shape (sources, chips): the same by chip.
    """

    cores: IntArray
    chips: IntArray


class Traffic:
    """The traffic of a network on a board, whatever the placement."""

    def __init__(self, synapses: Synapses, board: Board) -> None:
        from scipy.sparse import csr_array

        self.board, self.inputs = board, synapses.inputs
        pairs = np.unique(synapses.source * synapses.neurons + synapses.target)
        source, target = pairs // max(synapses.neurons, 1), pairs % max(synapses.neurons, 1)
        source, target, self.poisson = _poisson_together(synapses, source, target)
        shape = (synapses.sources, synapses.neurons)
        self.targets: csr_array = csr_array((np.ones(source.size, dtype=np.int64), (source, target)), shape=shape)
        self.heard: csr_array = self.targets.T.tocsr()
        self.most_chips = np.full(synapses.sources, len(board.chips))
        self.most_chips[self.inputs :] = len(board.chip.sram.usable)
        self.most_chips[self.poisson] = board.chip.poisson.target_chips
        n = len(board.chips)
        self.link_cost = _ENTRY + _HOP * board.hops + _WARNED * board.warned + _OVER * board.too_far
        self.no_cost_of_place = np.full((self.inputs, n), _INPUT_CHIP)

    def reach(self, core_of: IntArray) -> Reach:
        """Counts of each source's targets, for a placement: the core of each neuron."""
        n_cores = len(self.board.cores)
        at = np.zeros((core_of.size, n_cores), dtype=np.int64)
        at[np.arange(core_of.size), core_of] = 1
        cores = np.asarray(self.targets @ at)
        starts = np.arange(0, n_cores, self.board.chip.geometry.cores)
        return Reach(cores, np.add.reduceat(cores, starts, axis=1))

    def _chip_cost(self, core_of: IntArray) -> IntArray:
        """What each source pays for each chip it reaches, shape (sources, chips)."""
        return np.concatenate([self.no_cost_of_place, self.link_cost[self.board.chip_index[core_of]]])

    def arrivals(self, core_of: IntArray) -> BoolArray:
        """Cores at which each source's events arrive, shape (sources, cores).

        Those with its targets; for Poisson sources every core of their chip in the model's Poisson core mask, which no register
        narrows.
        """
        cores = self.reach(core_of).cores > 0
        if self.poisson.size:
            board = self.board
            core_number = np.array([core for _, core in board.cores])
            masked = board.chip.poisson.core_mask >> core_number & 1 == 1
            same_chip = board.chip_index[:, None] == board.chip_index[None, :]
            cores[self.poisson] |= (cores[self.poisson].astype(np.int64) @ same_chip > 0) & masked
        return cores

    def cost(self, core_of: IntArray, reach: Reach | None = None) -> int:
        """What a placement costs, see the constants; `reach` saves counting it again."""
        reach = reach or self.reach(core_of)
        chips, cores = reach.chips > 0, reach.cores > 0
        total = int(cores.sum()) + int((self._chip_cost(core_of) * chips).sum())
        total += _OVER * int(np.maximum(chips.sum(axis=1) - self.most_chips, 0).sum())
        return total + _OVER * int(np.maximum(cores.sum(axis=0) - self.board.usable_tags, 0).sum())

    def gains(self, core_of: IntArray) -> IntArray:
        """What moving one neuron to another core would save, shape (neurons, cores)."""
        reach, own = self.reach(core_of), np.arange(core_of.size)
        tags, n_chips = (reach.cores > 0).sum(axis=0), (reach.chips > 0).sum(axis=1)[:, None]
        limit, most = self.board.usable_tags, self.most_chips[:, None]
        chip_cost, chip = self._chip_cost(core_of), self.board.chip_index
        arrive_core = self.heard @ ((reach.cores == 0) * (1 + _OVER * (tags >= limit)))
        leave_core = (self.heard @ ((reach.cores == 1) * (1 + _OVER * (tags > limit))))[own, core_of]
        arrive_chip = self.heard @ ((reach.chips == 0) * (chip_cost + _OVER * (n_chips >= most)))
        leave_chip = (self.heard @ ((reach.chips == 1) * (chip_cost + _OVER * (n_chips > most))))[own, chip[core_of]]
        elsewhere = chip[None, :] != chip[core_of][:, None]
        as_source = (reach.chips[self.inputs :] > 0) @ self.link_cost.T
        gains = leave_core[:, None] - arrive_core + elsewhere * (leave_chip[:, None] - arrive_chip[:, chip])
        return np.asarray(gains + as_source[own, chip[core_of]][:, None] - as_source[:, chip], dtype=np.int64)


def feasible(cost: int) -> bool:
    """Whether a placement of this cost keeps within the limits of tags and destinations."""
    return cost < _OVER


def hopeless(cost: int, sources: int) -> bool:
    """Whether a placement of this cost breaks the limits so often that another start will not mend it."""
    return cost > _OVER * sources


def _poisson_together(synapses: Synapses, source: IntArray, target: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """All Poisson sources reach the same cores: each gets the targets of all of them."""
    mine = np.zeros(synapses.sources, dtype=np.bool_)
    for group in synapses.network.inputs:
        mine[synapses.rows[group.name]] = group.poisson
    poisson = synapses.used_sources[mine[synapses.used_sources]]
    if not poisson.size:
        return source, target, poisson
    of_poisson = np.isin(source, poisson)
    union = np.unique(target[of_poisson])
    source = np.concatenate([source[~of_poisson], np.repeat(poisson, union.size)])
    return source, np.concatenate([target[~of_poisson], np.tile(union, poisson.size)]), poisson


def local_order(traffic: Traffic) -> tuple[IntArray, IntArray]:
    """Neurons in an order that keeps those with common sources near each other, and the component of each in that order.

    Connected components one after the other, each breadth first from a neuron far out, as Cuthill and McKee number a sparse
    matrix; of equals the lower number comes first.
    """
    from scipy.sparse import csr_array

    links, inputs = traffic.targets.tocoo(), traffic.inputs
    row, column = links.coords[0].astype(np.int64), links.coords[1].astype(np.int64) + inputs
    size = traffic.targets.shape[0]
    graph = csr_array((np.ones(2 * row.size), (np.append(row, column), np.append(column, row))), shape=(size, size))
    graph.sum_duplicates()  # and sorts
    starts, ends = graph.indptr.tolist(), graph.indices.tolist()
    near = [ends[starts[node] : starts[node + 1]] for node in range(size)]
    seen, order, component = [False] * size, list[int](), list[int]()
    for number, first in enumerate(range(inputs, size)):
        if not seen[first]:
            far_out = _breadth_first(near, first)[-1]
            for node in _breadth_first(near, far_out):
                seen[node] = True
                if node >= inputs:
                    order.append(node - inputs)
                    component.append(number)
    return np.array(order, dtype=np.int64), np.array(component, dtype=np.int64)


def _breadth_first(near: list[list[int]], first: int) -> list[int]:
    found, seen = [first], {first}
    for node in found:
        for other in near[node]:
            if other not in seen:
                seen.add(other)
                found.append(other)
    return found


def smooth_orders(traffic: Traffic, count: int) -> list[IntArray]:
    """Neurons ordered by random numbers that were averaged over common sources again and again.

    Neurons of one community come to have nearly one number, which communities do not share: power iteration towards the
    slowest modes of the network, in whole numbers so that it is the same on every machine.
    """
    orders = []
    n_heard, n_targets = (np.maximum(m.sum(axis=1), 1) for m in (traffic.heard, traffic.targets))
    weight = traffic.heard.sum(axis=1)
    for draw in range(count):
        bits = random_bits.raw_bits(draw, "placement", traffic.heard.shape[0])
        value = (bits >> np.uint64(64 - _SMOOTH_BITS)).astype(np.int64)
        for _ in range(_SMOOTHINGS):
            value -= int((weight * value).sum()) // max(int(weight.sum()), 1)
            value *= 2**_SMOOTH_BITS // max(int(np.abs(value).max()), 1)
            by_source = (traffic.targets @ value) // n_targets
            value = ((traffic.heard @ by_source) // n_heard + by_source[traffic.inputs :] + value) // 3
        orders.append(np.argsort(value, kind="stable"))
    return orders


def improve(traffic: Traffic, core_of: IntArray, allowed: BoolArray, room: IntArray) -> tuple[IntArray, int]:
    """Exchange neurons between cores while that lowers the cost.

    Args:
        core_of: core of each neuron.
        allowed: bool, shape (neurons, cores): where each may stand.
        room: neurons that each core can hold.

    Returns:
        The core of each neuron, and the cost.
    """
    best, best_cost, most, failed = core_of, traffic.cost(core_of), max(1, core_of.size // 4), 0
    for _ in range(_ROUNDS):
        candidate = _exchange(traffic.gains(best), best, allowed, room, most, failed)
        if candidate is None or failed == _PATIENCE:
            break
        cost = traffic.cost(candidate)
        if cost < best_cost:
            best, best_cost, failed = candidate, cost, 0
        else:  # too many moves at once undid each other
            most, failed = max(1, most // 4), failed + 1
    return best, best_cost


def _exchange(gains: IntArray, core_of: IntArray, allowed: BoolArray, room: IntArray, most: int, later: int) -> IntArray | None:
    """A placement after at most so many exchanges between pairs of cores, each of which would save something, or None.

    Args:
        later: pairs of cores, of those that would save most, that are left for the end.
    """
    moved, after = np.zeros(core_of.size, dtype=np.bool_), core_of.copy()
    free = room - np.bincount(core_of, minlength=room.size)
    members = [np.flatnonzero(core_of == core) for core in range(room.size)]
    candidates = []
    for a in range(room.size):
        for b in range(a + 1, room.size):
            there = [_best_first(gains, members[a], allowed, b), _best_first(gains, members[b], allowed, a)]
            potential = sum(int(np.maximum(gain, 0).sum()) for _, gain in there)
            if potential > 0:
                candidates.append((-potential, a, b, there))
    candidates.sort(key=lambda c: c[:3])
    for _, a, b, there in candidates[later:] + candidates[:later]:
        (to_b, gain_b), (to_a, gain_a) = ((who[~moved[who]], gain[~moved[who]]) for who, gain in there)
        # An empty place is a neuron that does not mind where it stands.
        to_b, gain_b = _with_empty(to_b, gain_b, int(free[a]))
        to_a, gain_a = _with_empty(to_a, gain_a, int(free[b]))
        pairs = min(to_a.size, to_b.size)
        worth = int((gain_a[:pairs] + gain_b[:pairs] > 0).sum())
        count = min(-(-worth // 2), most)
        most -= count
        for who, core in ((to_b[:count], b), (to_a[:count], a)):
            real = who[who >= 0]
            after[real], moved[real] = core, True
        arrived_b, arrived_a = int((to_b[:count] >= 0).sum()), int((to_a[:count] >= 0).sum())
        free[a] += arrived_b - arrived_a
        free[b] += arrived_a - arrived_b
    return after if moved.any() else None


def _best_first(gains: IntArray, members: IntArray, allowed: BoolArray, core: int) -> tuple[IntArray, IntArray]:
    who = members[allowed[members, core]]
    gain = gains[who, core]
    order = np.argsort(-gain, kind="stable")
    return who[order], gain[order]


def _with_empty(who: IntArray, gain: IntArray, empty: int) -> tuple[IntArray, IntArray]:
    at = int(np.searchsorted(-gain, 0, side="right"))
    return np.insert(who, at, np.full(empty, -1)), np.insert(gain, at, np.zeros(empty, dtype=np.int64))


def exchange_cores(traffic: Traffic, core_of: IntArray, movable: BoolArray, room: IntArray) -> tuple[IntArray, int]:
    """Exchange the contents of whole cores while that lowers the cost.

    Args:
        core_of: core of each neuron.
        movable: cores whose content may go elsewhere.
        room: neurons that each core can hold.
    """
    reach, cost = traffic.reach(core_of), traffic.cost(core_of)
    held = np.bincount(core_of, minlength=room.size)
    chip, starts = traffic.board.chip_index, np.arange(0, room.size, traffic.board.chip.geometry.cores)
    for _ in range(3):
        before = cost
        for a in range(room.size):
            for b in range(a + 1, room.size):
                fits = held[a] <= room[b] and held[b] <= room[a]
                if chip[a] == chip[b] or not (movable[a] and movable[b] and fits) or not held[a] + held[b]:
                    continue
                exchanged = np.arange(room.size)
                exchanged[[a, b]] = b, a
                candidate, cores = exchanged[core_of], reach.cores[:, exchanged]
                there = Reach(cores, np.add.reduceat(cores, starts, axis=1))
                candidate_cost = traffic.cost(candidate, there)
                if candidate_cost < cost:
                    core_of, reach, cost, held = candidate, there, candidate_cost, held[exchanged]
        if cost == before:
            break
    return core_of, cost
