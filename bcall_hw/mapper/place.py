"""Placing: a core for every neuron, and a seat in it where one was wished.

A core has one set of biases, so it holds neurons of one kind. Kinds get cores, neurons are dealt out evenly, and exchanges
between cores keep the traffic local. Which seat of its core a neuron takes is decided with its tag, see `tags`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.errors import BcallError, BiasConflict, DefectInTheWay, PlacementFull
from bcall_hw.mapper.board import Board
from bcall_hw.mapper.demand import fit_demands
from bcall_hw.mapper.kinds import Kind, kinds_of, merged, share_cores
from bcall_hw.mapper.locality import Traffic, exchange_cores, feasible, hopeless, improve, local_order, smooth_orders
from bcall_hw.mapper.repair import repaired
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.network import Network, NeuronParameters, Population

#: A placement with scattered populations must save this share of the traffic to be preferred to one in order.
_WORTH_SCATTERING = 0.05
#: An end of a group within one part in so many of a core's even share is a better cut than the even one.
_NEAR = 4
#: Orders by smoothed random numbers that are tried.
_SMOOTH_ORDERS = 3
#: Starts from which exchanges set out, as long as they find no placement that keeps within the limits.
_STARTS = 2
#: A placement with less than one broken limit for so many sources is mended one by one.
_FEW = 10


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the neurons are.

    Attributes:
        core_of: int, shape (neurons,): core of each, as `Board.cores` numbers them.
        wished_seat: int, same shape: neuron number in the core where it was wished, else -1.
        kind: the neuron parameters that each used core holds.
        cost: of the traffic.
    """

    core_of: IntArray
    wished_seat: IntArray
    kind: dict[int, NeuronParameters]
    cost: int


@dataclass(frozen=True, eq=False)
class Wishes:
    """Populations with a wished place that can be had.

    Attributes:
        core_of, seat: int, shape (neurons,): of each neuron with a wish, else -1.
        residents: for each core with such populations, their names.
    """

    core_of: IntArray
    seat: IntArray
    residents: dict[int, list[str]]


def wished_places(network: Network, synapses: Synapses, board: Board) -> tuple[Wishes, list[BcallError]]:
    """Seat the populations with a wished place, and name every wish that cannot be had."""
    wishes = Wishes(np.full(synapses.neurons, -1), np.full(synapses.neurons, -1), {})
    owner = np.full((len(board.cores), board.chip.geometry.neurons), "", dtype=object)
    problems: list[BcallError] = []
    for population in network.populations:
        if population.place is None:
            continue
        problem = _refused(network, population, board, owner, wishes)
        if problem is not None:
            problems.append(problem)
            continue
        core = board.cores.index((population.place.chip, population.place.core))
        seats = np.arange(population.place.neuron, population.place.neuron + population.size)
        owner[core, seats] = population.name
        neurons = synapses.neurons_of(population.name)
        wishes.core_of[neurons], wishes.seat[neurons] = core, seats
        wishes.residents.setdefault(core, []).append(population.name)
    return wishes, problems


def _refused(
    network: Network, population: Population, board: Board, owner: np.ndarray[tuple[int, int], np.dtype[np.object_]],
    wishes: Wishes,
) -> BcallError | None:  # fmt: skip
    wish, neurons, where = population.place, board.chip.geometry.neurons, f"population {population.name!r}"
    if wish is None:
        return None
    name = f"chip {wish.chip} core {wish.core}"
    if (wish.chip, wish.core) not in board.cores:
        limit = ", ".join(f"chip {c}" for c in board.chips) + f", cores 0 to {board.chip.geometry.cores - 1}"
        fix = "Wish another core, or allow its chip."
        return PlacementFull("wished core is not among the allowed ones", where=where, used=name, limit=limit, fix=fix)
    core, stop = board.cores.index((wish.chip, wish.core)), wish.neuron + population.size
    if stop > neurons:
        fix = "Split the population or start it lower."
        return PlacementFull(f"runs past the end of {name}", where=where, used=stop, limit=neurons, fix=fix)
    taken = [n for n in owner[core, wish.neuron : stop].tolist() if n]
    if taken:
        what = f"overlaps with population {taken[0]!r} on {name}"
        return PlacementFull(what, where=where, used=f"neurons {wish.neuron} to {stop - 1}", fix="Wish another place.")
    dead = np.flatnonzero(~board.alive[core, wish.neuron : stop]) + wish.neuron
    if dead.size:
        used = ", ".join(map(str, dead[:8].tolist())) + (f" and {dead.size - 8} more" if dead.size > 8 else "")
        fix = "Wish another place, or none."
        return DefectInTheWay(f"its wished place on {name} holds dead or excluded neurons", where=where, used=used, fix=fix)
    for resident in wishes.residents.get(core, []):
        if merged(network.population(resident).neuron, population.neuron) is None:
            what = f"has other neuron parameters than {resident!r} on the same core"
            fix = "Give them different cores, or the same parameters."
            return BiasConflict(what, where=where, used=name, fix=fix)
    return None


def room_problems(network: Network, board: Board) -> list[BcallError]:
    """Populations that no placement can hold, because there are more neurons than seats."""
    if sum(p.size for p in network.populations) <= int(board.room.sum()):
        return []
    kinds = kinds_of(network.populations)
    waiting = [[network.population(name) for name in kind.members] for kind in kinds]
    return _no_room(kinds, waiting, [[] for _ in kinds], list(range(len(board.cores))), board.room, board)


def place(
    network: Network, synapses: Synapses, traffic: Traffic, wishes: Wishes, spread: bool
) -> tuple[Placement | None, list[BcallError]]:
    """A core for every neuron.

    Args:
        spread: use all cores; else as few as the neurons need.

    Returns:
        The placement, or None and what has no room.
    """
    board, standing = traffic.board, wishes.residents
    on_one_chip = _hears_poisson(network)
    kinds = kinds_of(network.populations, standing.values())
    kinds.sort(key=lambda kind: not on_one_chip & set(kind.members))
    held = np.bincount(wishes.core_of[wishes.core_of >= 0], minlength=len(board.cores))
    left = board.room - held
    kind_of = {core: next(k for k, kind in enumerate(kinds) if names[0] in kind.members) for core, names in standing.items()}
    open_cores = [core for core in np.argsort(board.ranks, kind="stable").tolist() if board.offered[core]]
    begun = [[core for core in sorted(kind_of) if kind_of[core] == k and board.offered[core]] for k in range(len(kinds))]
    waiting = [_waiting(network, kind) for kind in kinds]
    needs = [max(0, sum(p.size for p in waiting[k]) - int(left[begun[k]].sum())) for k in range(len(kinds))]
    fresh = [core for core in open_cores if core not in kind_of]
    shares = share_cores(needs, [int(left[core]) for core in fresh], spread)
    if shares is None:
        return None, _no_room(kinds, waiting, begun, fresh, left, board)
    cores = [begun[k] + [fresh[i] for i in shares[k]] for k in range(len(kinds))]
    core_of = _arranged(synapses, traffic, wishes, waiting, cores, left)
    kind: dict[int, NeuronParameters] = {}
    for core in np.unique(core_of).tolist():
        residents = np.unique(synapses.population[core_of == core]).tolist()
        kind[core] = _together([network.populations[p] for p in residents], board.core_name(core))
    return Placement(core_of, wishes.seat, kind, traffic.cost(core_of)), []


def _waiting(network: Network, kind: Kind) -> list[Population]:
    populations = (network.population(name) for name in kind.members)
    return [p for p in populations if p.place is None]


def _together(populations: list[Population], core: str) -> NeuronParameters:
    """What the populations of one core ask for together; that they agree is what placing is for."""
    result = populations[0].neuron
    for other in populations[1:]:
        both = merged(result, other.neuron)
        if both is None:
            what, where = "was placed with neurons of other parameters: a defect of the mapper", f"population {other.name!r}"
            raise BiasConflict(what, where=where, used=core, fix="Please report it.")
        result = both
    return result


def _no_room(
    kinds: list[Kind], waiting: list[list[Population]], begun: list[list[int]], fresh: list[int], left: IntArray, board: Board
) -> list[BcallError]:
    """Name the populations that find no room when cores are dealt out in order."""
    problems: list[BcallError] = []
    free = list(fresh)
    for k in range(len(kinds)):
        room = int(left[begun[k]].sum())
        for population in waiting[k]:
            while room < population.size and free:
                room += int(left[free.pop(0)])
            if room < population.size:
                n_kinds = sum(bool(w) for w in waiting) + sum(bool(b) for b in begun)
                fix = "Make it smaller, share neuron parameters, or allow more chips."
                what = f"neurons do not fit the cores that are left for its parameters ({n_kinds} kinds of neurons"
                what += f" on {len(board.cores)} cores)"
                where = f"population {population.name!r}"
                problems.append(PlacementFull(what, where=where, used=population.size, limit=room, fix=fix))
                room = 0
            else:
                room -= population.size
    return problems


def _arranged(
    synapses: Synapses,
    traffic: Traffic,
    wishes: Wishes,
    waiting: list[list[Population]],
    cores: list[list[int]],
    left: IntArray,
) -> IntArray:
    """A core for each neuron, where its inputs find enough working CAM entries."""
    board = traffic.board
    in_order = wishes.core_of.copy()
    allowed = np.zeros((synapses.neurons, len(board.cores)), dtype=np.bool_)
    kind_of = np.full(synapses.neurons, -1)
    for kind, (populations, mine) in enumerate(zip(waiting, cores, strict=True)):
        neurons = np.flatnonzero(np.isin(synapses.population, [synapses.population_index[p.name] for p in populations]))
        in_order[neurons] = _dealt(neurons, synapses.population[neurons], mine, left)
        allowed[np.ix_(neurons, np.array(mine, dtype=np.int64))] = True
        kind_of[neurons] = kind
    best = _exchanged(synapses, traffic, wishes, waiting, cores, left, in_order, allowed)
    if bool((board.sound_entries[board.alive] < board.chip.cam.entries - board.reserve).any()):
        for core in range(len(board.cores)):  # whole cores may have changed places
            residents = np.unique(kind_of[(best == core) & (kind_of >= 0)])
            if residents.size:
                allowed[:, core] = kind_of == residents[0]
        best = fit_demands(best, synapses.cam_demand, board, allowed, wishes.seat)
    return best


def _exchanged(
    synapses: Synapses, traffic: Traffic, wishes: Wishes, waiting: list[list[Population]], cores: list[list[int]],
    left: IntArray, in_order: IntArray, allowed: BoolArray,
) -> IntArray:  # fmt: skip
    """The placement in order, or what exchanges make of the best start where that saves enough."""
    board = traffic.board
    if len(np.unique(in_order)) == 1 or not synapses.source.size:
        return in_order
    orders = [(np.arange(synapses.neurons), synapses.population), local_order(traffic)]
    orders += [(order, np.zeros_like(order)) for order in smooth_orders(traffic, _SMOOTH_ORDERS)]
    even, full = [in_order], list[IntArray]()
    for (order, group), starts in product(orders, (even, full)):
        start = wishes.core_of.copy()
        for populations, mine in zip(waiting, cores, strict=True):
            chosen = np.isin(synapses.population[order], [synapses.population_index[p.name] for p in populations])
            start[order[chosen]] = _dealt(order[chosen], group[chosen], mine, left, evenly=starts is even)
        starts.append(start)
    best, cost = in_order, traffic.cost(in_order)
    chosen_starts = [start for starts in (even, full) for start in sorted(starts, key=traffic.cost)[:_STARTS]]
    for start in chosen_starts:
        found, found_cost = improve(traffic, start, allowed, board.room)
        if found_cost < cost:
            best, cost = found, found_cost
        if feasible(cost) or hopeless(cost, synapses.sources):
            break
    if not feasible(cost) and not hopeless(cost * _FEW, synapses.sources):
        best = repaired(traffic, best, allowed, board.room)
        cost = traffic.cost(best)
    movable = board.offered.copy()
    movable[list(wishes.residents)] = False
    best, cost = exchange_cores(traffic, best, movable, board.room)
    return in_order if cost > traffic.cost(in_order) * (1 - _WORTH_SCATTERING) else best


def _hears_poisson(network: Network) -> set[str]:
    """Populations that Poisson sources reach: they must all be on one chip."""
    poisson = {i.name for i in network.inputs if i.poisson}
    return {c.target for c in network.connections if c.source in poisson}


def _dealt(neurons: IntArray, group: IntArray, cores: list[int], left: IntArray, evenly: bool = True) -> IntArray:
    """Deal neurons out to cores in order and evenly; where a group ends near an even cut, cut there. Or fill core by core."""
    result = np.zeros(neurons.size, dtype=np.int64)
    ends = np.flatnonzero(np.diff(group)) + 1
    at = 0
    for index, core in enumerate(cores):
        rest, later = neurons.size - at, int(left[cores[index + 1 :]].sum())
        low, high = max(0, rest - later), min(int(left[core]), rest)
        even = at + min(max(-(-rest * int(left[core]) // max(int(left[core]) + later, 1)), low), high)
        near = ends[(ends >= at + low) & (ends <= at + high) & (np.abs(ends - even) <= (even - at) // _NEAR)]
        cut = int(near[np.argmin(np.abs(near - even))]) if near.size else even
        if not evenly:
            cut = at + high
        result[at:cut] = core
        at = cut
    return result
