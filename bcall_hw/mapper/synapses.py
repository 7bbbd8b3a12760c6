"""Every synapse of a network in one flat table: what placing, routing, CAM and the checks all read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.network import Connection, Explicit, Network


@dataclass(frozen=True, eq=False)
class Synapses:
    """A network, expanded. Sources are numbered through: first those of the inputs, then the neurons.

    Attributes:
        network: what was expanded.
        source: int, shape (synapses,): number of the source.
        target: int, same shape: number of the target neuron (0 is the first neuron, not the first source).
        multiplicity: int, same shape: CAM entries.
        connection: int, same shape: index of the connection, ascending; within one sorted by target, then source.
    """

    network: Network
    source: IntArray
    target: IntArray
    multiplicity: IntArray
    connection: IntArray

    @cached_property
    def rows(self) -> dict[str, slice]:
        """Numbers of the sources of each input and population."""
        sizes = {i.name: i.size for i in self.network.inputs} | {p.name: p.size for p in self.network.populations}
        ends = np.cumsum(list(sizes.values())).tolist()
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @cached_property
    def first_source(self) -> dict[str, int]:
        """Number of the first source of each input and population."""
        return {name: rows.start for name, rows in self.rows.items()}

    @cached_property
    def inputs(self) -> int:
        """Sources that are inputs: the number of the first neuron among the sources."""
        return sum(i.size for i in self.network.inputs)

    @cached_property
    def neurons(self) -> int:
        """Neurons of the network."""
        return sum(p.size for p in self.network.populations)

    @cached_property
    def population_index(self) -> dict[str, int]:
        """Index of each population among the network's, by name."""
        return {p.name: index for index, p in enumerate(self.network.populations)}

    @property
    def sources(self) -> int:
        """Inputs and neurons."""
        return self.inputs + self.neurons

    @cached_property
    def population(self) -> IntArray:
        """Index of each neuron's population, shape (neurons,)."""
        return np.repeat(np.arange(len(self.network.populations)), [p.size for p in self.network.populations])

    @cached_property
    def cam_demand(self) -> IntArray:
        """CAM entries that each neuron's inputs take, shape (neurons,)."""
        # Sums of float64 are exact below 2^53; what is cut off is far beyond any CAM.
        weights = np.minimum(self.multiplicity, 2**32)
        return np.bincount(self.target, weights=weights, minlength=self.neurons).astype(np.int64)

    @cached_property
    def used_sources(self) -> IntArray:
        """Numbers of the sources that have targets, ascending."""
        return np.unique(self.source)

    def neurons_of(self, population: str) -> slice:
        """Numbers of a population's neurons."""
        rows = self.rows[population]
        return slice(rows.start - self.inputs, rows.stop - self.inputs)

    def of(self, connection: int) -> slice:
        """Rows of a connection."""
        return slice(*np.searchsorted(self.connection, [connection, connection + 1]).tolist())

    def kept(self, connection: int, keep: BoolArray) -> Connection:
        """A connection as the list of those of its synapses that are kept; `keep` has a value for each synapse."""
        old, rows = self.network.connections[connection], self.of(connection)
        mine = np.flatnonzero(keep[rows]) + rows.start
        source = self.source[mine] - self.first_source[old.source]
        target = self.target[mine] - self.neurons_of(old.target).start
        multiplicity = self.multiplicity[mine] // old.multiplicity
        pairs = list(zip(source.tolist(), target.tolist(), multiplicity.tolist(), strict=True))
        return old.model_copy(update={"rule": Explicit(pairs=pairs)})

    def name(self, source: int) -> str:
        """A source in words."""
        kind = "input" if source < self.inputs else "population"
        group, index = self.member(source)
        return f"{kind} {group!r} {'source' if kind == 'input' else 'neuron'} {index}"

    def member(self, source: int) -> tuple[str, int]:
        """Group and index within it of a source."""
        group = next(name for name, rows in self.rows.items() if rows.start <= source < rows.stop)
        return group, source - self.rows[group].start


def expand(network: Network) -> Synapses:
    """All synapses of a network.

    Raises:
        InvalidValue: a connection's rule cannot be carried out.
    """
    empty = np.zeros(0, dtype=np.int64)
    table = Synapses(network, empty, empty, empty, empty)
    parts: list[list[IntArray]] = []
    for index, connection in enumerate(network.connections):
        source, target, multiplicity = network.synapses(connection)
        first = table.first_source
        row = [source + first[connection.source], target + first[connection.target] - table.inputs, multiplicity]
        parts.append([*row, np.full(source.size, index, dtype=np.int64)])
    if not parts:
        return table
    return Synapses(network, *(np.concatenate(column) for column in zip(*parts, strict=True)))
