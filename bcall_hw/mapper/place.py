"""Placing: every population's neurons on cores. A core has one set of biases, so it holds one kind of neuron."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, BiasConflict, PlacementFull
from bcall_hw.network import Network, NeuronParameters, Population

Core = tuple[int, int]


@dataclass
class Placement:
    """Where the neurons are.

    Attributes:
        addresses: for each population, int (size, 3): chip, core, neuron.
        kind: the neuron parameters that each used core holds.
    """

    addresses: dict[str, IntArray] = field(default_factory=dict)
    kind: dict[Core, NeuronParameters] = field(default_factory=dict)


def place(network: Network, chip: ChipModel, chips: Iterable[int]) -> tuple[Placement, list[BcallError]]:
    """Place populations: those with a wished place first, then the others in order, each in the first cores of its kind."""
    placing = _Placing(chip, tuple(chips))
    for population in network.populations:
        if population.place is not None:
            placing.fixed(population)
    for population in network.populations:
        if population.place is None:
            placing.free(population)
    return placing.result, placing.problems


class _Placing:
    def __init__(self, chip: ChipModel, chips: tuple[int, ...]) -> None:
        self.chip, self.result = chip, Placement()
        self.problems: list[BcallError] = []
        g = chip.geometry
        self.cores: list[Core] = [(c, k) for c in chips for k in range(g.cores)]
        self.used = {core: np.zeros(g.neurons, dtype=bool) for core in self.cores}
        self.owner = {core: np.full(g.neurons, "", dtype=object) for core in self.cores}
        # Neurons whose number is also a reserved tag's have fewer tags to choose from: they come last.
        last = sorted({neuron for _, neuron in chip.tags.reserved})
        self.order = np.array([n for n in range(g.neurons) if n not in last] + last)

    def fixed(self, population: Population) -> None:
        wish, neurons = population.place, self.chip.geometry.neurons
        if wish is None:
            return
        core, where = (wish.chip, wish.core), f"population {population.name!r}"
        if core not in self.used:
            used = f"chip {wish.chip} core {wish.core}"
            self.problems.append(
                PlacementFull("wished core is not among the allowed ones", where=where, used=used, limit=self.cores)
            )
            return
        span = slice(wish.neuron, wish.neuron + population.size)
        if span.stop > neurons:
            fix = "Split the population or start it lower."
            self.problems.append(
                PlacementFull("runs past the end of its core", where=where, used=span.stop, limit=neurons, fix=fix)
            )
            return
        if self.used[core][span].any():
            overlapped = next(name for name in self.owner[core][span] if name)
            self.problems.append(
                PlacementFull(f"overlaps with population {overlapped!r}", where=where, used=f"chip, core {core}")
            )
            return
        if self.result.kind.get(core, population.neuron) != population.neuron:
            resident = next(name for name in self.owner[core] if name)
            self.problems.append(
                BiasConflict(
                    f"has other neuron parameters than {resident!r} on the same core",
                    where=where,
                    used=f"chip, core {core}",
                    fix="Give them different cores, or the same parameters.",
                )
            )
            return
        self._take(core, population, np.arange(span.start, span.stop))
        self.result.addresses[population.name] = self._rows(core, np.arange(span.start, span.stop))

    def free(self, population: Population) -> None:
        same = [c for c in self.cores if self.result.kind.get(c) == population.neuron]
        fresh = [c for c in self.cores if c not in self.result.kind]
        chosen, left = [], population.size
        for core in same + fresh:
            if not left:
                break
            empty = self.order[~self.used[core][self.order]][:left]
            if empty.size:
                chosen.append((core, empty))
                left -= empty.size
        if left:
            room = population.size - left
            self.problems.append(
                PlacementFull(
                    "neurons do not fit the cores that are left for its parameters",
                    where=f"population {population.name!r}",
                    used=population.size,
                    limit=room,
                    fix="Make it smaller, share neuron parameters, or allow more chips.",
                )
            )
            return
        rows = []
        for core, empty in chosen:
            self._take(core, population, empty)
            rows.append(self._rows(core, empty))
        self.result.addresses[population.name] = np.concatenate(rows)

    def _take(self, core: Core, population: Population, neurons: IntArray) -> None:
        self.used[core][neurons] = True
        self.result.kind[core] = population.neuron
        self.owner[core][neurons] = population.name

    @staticmethod
    def _rows(core: Core, neurons: IntArray) -> IntArray:
        return np.column_stack([np.full(neurons.size, core[0]), np.full(neurons.size, core[1]), neurons]).astype(np.int64)
