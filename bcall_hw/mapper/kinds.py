"""Which neurons may share a core: those whose targets do not contradict each other, because a core has one set of biases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.network import NeuronParameters, Population


@dataclass
class Kind:
    """Populations that may share cores.

    Attributes:
        parameters: what all of them ask for together.
        members: names of the populations.
    """

    parameters: NeuronParameters
    members: list[str]


def merged(a: NeuronParameters, b: NeuronParameters) -> NeuronParameters | None:
    """What two populations ask for together, or None where one asks for something else than the other.

    A synapse type that only one of them declares does not concern the other: it has no synapse of that type.
    """
    if a == b:
        return a
    if any(getattr(a, name) != getattr(b, name) for name in NeuronParameters.model_fields if name != "synapses"):
        return None
    if any(a.synapses[name] != b.synapses[name] for name in a.synapses.keys() & b.synapses.keys()):
        return None
    return a.model_copy(update={"synapses": {**a.synapses, **b.synapses}})


def kinds_of(populations: Sequence[Population], together: Iterable[Sequence[str]] = ()) -> list[Kind]:
    """Group populations into kinds, in the order in which the first member of each appears.

    Populations that declare most go first, so that those who declare less find a kind to join.

    Args:
        together: populations that stand on one core already, and so are of one kind.
    """
    by_name = {p.name: p for p in populations}
    standing = [list(names) for names in together]
    alone = [[p.name] for p in populations if not any(p.name in names for names in standing)]
    distinct: dict[str, Kind] = {}
    for names in [*standing, *alone]:
        parameters = by_name[names[0]].neuron
        for name in names[1:]:
            parameters = merged(parameters, by_name[name].neuron) or parameters
        distinct.setdefault(parameters.model_dump_json(), Kind(parameters, [])).members.extend(names)
    kinds: list[Kind] = []
    for candidate in sorted(distinct.values(), key=lambda kind: -len(kind.parameters.synapses)):
        for kind in kinds:
            both = merged(kind.parameters, candidate.parameters)
            if both is not None:
                kind.parameters, kind.members = both, kind.members + candidate.members
                break
        else:
            kinds.append(candidate)
    order = {p.name: index for index, p in enumerate(populations)}
    for kind in kinds:
        kind.members.sort(key=order.__getitem__)
    return sorted(kinds, key=lambda kind: order[kind.members[0]])


def share_cores(needs: Sequence[int], rooms: Sequence[int], spread: bool = False) -> list[list[int]] | None:
    """Deal cores to kinds so that each has room for its neurons, or None where that is impossible.

    Args:
        needs: neurons of each kind that need a place.
        rooms: working neurons of each core.
        spread: deal out all cores, to those who fill theirs most; else as few as needed.
    """
    shares = _in_turn(needs, rooms)
    if shares is None:
        shares = _exactly(needs, rooms)
    if shares is None or not spread:
        return shares
    counts = [len(share) for share in shares]
    for _ in range(len(rooms) - sum(counts)):
        fullest = max(range(len(needs)), key=lambda kind: needs[kind] / counts[kind] if counts[kind] else 0.0)
        if not needs[fullest]:
            break
        counts[fullest] += 1
    cores = iter(range(len(rooms)))
    wider = [[next(cores) for _ in range(count)] for count in counts]
    fits = all(sum(rooms[core] for core in share) >= need for share, need in zip(wider, needs, strict=True))
    return wider if fits else shares


def _in_turn(needs: Sequence[int], rooms: Sequence[int]) -> list[list[int]] | None:
    shares: list[list[int]] = []
    core = 0
    for need in needs:
        share, left = [], need
        while left > 0:
            if core == len(rooms):
                return None
            share.append(core)
            left -= rooms[core]
            core += 1
        shares.append(share)
    return shares


def _exactly(needs: Sequence[int], rooms: Sequence[int]) -> list[list[int]] | None:
    """The same as an integer programme: it matters which core goes to whom once dead neurons make them differ."""
    if len(set(rooms)) <= 1 or sum(needs) > sum(rooms):
        return None  # equal cores: dealing in turn was optimal already
    from scipy.optimize import Bounds, LinearConstraint, milp

    n_kinds, n_cores = len(needs), len(rooms)
    once = np.kron(np.ones(n_kinds), np.eye(n_cores))
    enough = np.kron(np.eye(n_kinds), np.asarray(rooms, dtype=np.float64))
    constraints = [LinearConstraint(once, ub=1), LinearConstraint(enough, lb=np.asarray(needs, dtype=np.float64))]
    whole = np.ones(n_kinds * n_cores, dtype=np.int64)
    found = milp(np.ones(n_kinds * n_cores), constraints=constraints, integrality=whole, bounds=Bounds(0, 1))
    if found.x is None:
        return None
    chosen: IntArray = np.rint(found.x).astype(np.int64).reshape(n_kinds, n_cores)
    return [np.flatnonzero(row).tolist() for row in chosen]
