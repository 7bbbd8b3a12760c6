"""A placement that breaks few limits is mended source by source.

Min-conflicts (Minton et al., Artificial Intelligence 58, 1992): a source that reaches too many chips has few targets on one of
them, and a core that hears too many sources has single targets of some; one of these is exchanged with a neuron of a core where
the source is heard anyway, whichever exchange costs least, also where nothing is gained, until no limit is broken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.mapper.locality import Traffic

#: Exchanges that are tried, and partners that are looked at for each.
_STEPS, _PARTNERS = 1_200, 24


@dataclass
class _State:
    """A placement with the counts that a move changes."""

    traffic: Traffic
    core_of: IntArray
    cores: IntArray
    chips: IntArray

    def nets(self, neuron: int) -> IntArray:
        """The sources that a neuron hears."""
        heard = self.traffic.heard
        return np.asarray(heard.indices[heard.indptr[neuron] : heard.indptr[neuron + 1]], dtype=np.int64)

    def over(self) -> IntArray:
        """Sources that reach too many chips."""
        return np.flatnonzero((self.chips > 0).sum(axis=1) > self.traffic.most_chips)

    def move(self, neuron: int, there: int) -> int:
        """Move a neuron to a core; returns by how much the limits are broken more."""
        nets, chip = self.nets(neuron), self.traffic.board.chip_index
        here, most, tags = int(self.core_of[neuron]), self.traffic.most_chips[nets], self.traffic.board.usable_tags
        before = self._broken(nets, most, (here, there), tags)
        self.cores[nets, here] -= 1
        self.cores[nets, there] += 1
        self.chips[nets, chip[here]] -= 1
        self.chips[nets, chip[there]] += 1
        self.core_of[neuron] = there
        return self._broken(nets, most, (here, there), tags) - before

    def _broken(self, nets: IntArray, most: IntArray, cores: tuple[int, int], tags: int) -> int:
        chips = int(np.maximum((self.chips[nets] > 0).sum(axis=1) - most, 0).sum())
        return chips + sum(max(int((self.cores[:, core] > 0).sum()) - tags, 0) for core in cores)


def repaired(traffic: Traffic, core_of: IntArray, allowed: BoolArray, room: IntArray) -> IntArray:
    """The placement after the exchanges; the better of it and the one that was given.

    Args:
        core_of: core of each neuron.
        allowed: bool, shape (neurons, cores): where each may stand.
        room: neurons that each core can hold.
    """
    reach = traffic.reach(core_of)
    state = _State(traffic, core_of.copy(), reach.cores.copy(), reach.chips.copy())
    draws = random_bits.generator(0, "repair")
    chip = traffic.board.chip_index
    for _ in range(_STEPS):
        first, second = (int(draw) for draw in draws.random_raw(2))
        over = state.over()
        full = np.flatnonzero((state.cores > 0).sum(axis=0) > traffic.board.usable_tags)
        if over.size:
            source = int(over[first % over.size])
            counts = state.chips[source]
            reached = np.flatnonzero(counts)
            fewest = reached[counts[reached] == counts[reached].min()]
            leave = chip == fewest[second % fewest.size]
            _step(state, source, leave, counts[chip] > 0, allowed, room, second)
        elif full.size:
            core = int(full[first % full.size])
            single = np.flatnonzero(state.cores[:, core] == 1)
            if not single.size:
                break
            source = int(single[second % single.size])
            _step(state, source, np.arange(room.size) == core, state.cores[source] > 0, allowed, room, second)
        else:
            break
    return state.core_of if traffic.cost(state.core_of) < traffic.cost(core_of) else core_of


def _step(
    state: _State, source: int, leave: BoolArray, heard_at: BoolArray, allowed: BoolArray, room: IntArray, draw: int
) -> None:
    """Take one target of a source off some cores, in exchange for the best of some partners.

    Args:
        leave: bool, shape (cores,): where it should not be.
        heard_at: bool, same shape: where the source is heard.
    """
    traffic = state.traffic
    targets = traffic.targets.indices[traffic.targets.indptr[source] : traffic.targets.indptr[source + 1]]
    targets = targets[leave[state.core_of[targets]]]
    neuron = int(targets[(draw >> 8) % targets.size])
    here = int(state.core_of[neuron])
    there = allowed[neuron] & heard_at & ~leave
    partners = np.flatnonzero(there[state.core_of] & allowed[:, here])
    if partners.size > _PARTNERS:
        partners = partners[((draw >> 16) + np.arange(_PARTNERS) * (partners.size // _PARTNERS)) % partners.size]
    held = np.bincount(state.core_of, minlength=room.size)
    free = np.flatnonzero(there & (held < room))
    options = [(int(core), -1) for core in free] + [(int(state.core_of[p]), int(p)) for p in partners]
    best: tuple[int, int, int] | None = None
    for core, partner in options:
        worse = _exchange(state, neuron, core, partner)
        _exchange(state, neuron, here, partner, core)
        if best is None or worse < best[0]:
            best = (worse, core, partner)
    if best is not None and best[0] <= 0:
        _exchange(state, neuron, best[1], best[2])


def _exchange(state: _State, neuron: int, core: int, partner: int, partner_core: int | None = None) -> int:
    """Move a neuron to a core and its partner (-1 for none) back, or to `partner_core`; returns by how much that is worse."""
    here = int(state.core_of[neuron])
    worse = state.move(neuron, core)
    return worse + (state.move(partner, here if partner_core is None else partner_core) if partner >= 0 else 0)
