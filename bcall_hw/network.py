"""A spiking network in physical units: inputs, populations, connections.

It knows no hardware; a user may add wishes for the mapper (`Input.tags`, `Population.place`).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import tomlkit
from pydantic import Field

from bcall_hw import files, random_bits
from bcall_hw.arrays import IntArray
from bcall_hw.chip_model import SynapseType
from bcall_hw.errors import EmptyNetwork, ForeignFile, InvalidValue, UnknownName
from bcall_hw.records import Record

PositiveSeconds = Annotated[float, Field(gt=0, strict=True)]
Amperes = Annotated[float, Field(ge=0, strict=True)]
PositiveAmperes = Annotated[float, Field(gt=0, strict=True)]
# Bounded so that every later product fits 64 bits.
Count = Annotated[int, Field(gt=0, le=2**31 - 1, strict=True)]
Index = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
Seed = Annotated[int, Field(ge=0, le=random_bits.MAX_SEED, strict=True)]
Name = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")]


class SynapseParameters(Record):
    """Targets of one synapse type of a population.

    Attributes:
        tau_s: time constant (s).
        weight_a: current that one isolated event on one CAM entry adds (A).
    """

    tau_s: PositiveSeconds
    weight_a: PositiveAmperes


class NeuronParameters(Record):
    """Targets of a population's neurons.

    Attributes:
        tau_s: membrane time constant (s).
        refractory_s: refractory period (s).
        gain_a: membrane gain current I_th (A): above it the input's effect saturates.
        pulse_width_s: width of a synaptic pulse (s), shared by all synapses of a core.
        dc_a: constant input current (A).
        synapses: targets of each synapse type that the population's inputs use.
        adaptation: spike-frequency adaptation: time constant (s) and current per own spike (A).
    """

    tau_s: PositiveSeconds
    refractory_s: PositiveSeconds
    gain_a: PositiveAmperes
    pulse_width_s: PositiveSeconds
    dc_a: Amperes = 0.0
    synapses: dict[SynapseType, SynapseParameters] = Field(default_factory=dict)
    adaptation: SynapseParameters | None = None

    def scaled_currents(self, factor: float) -> NeuronParameters:
        """The same with every current times a factor, times as they are.

        A membrane of another capacitance answers these currents as the first one answered its own: what a network was tuned
        for on the nominal chip holds on a board with `factor` = its soma's measured / nominal capacitance.
        """
        synapses = {name: s.model_copy(update={"weight_a": s.weight_a * factor}) for name, s in self.synapses.items()}
        own = self.adaptation
        adaptation = None if own is None else own.model_copy(update={"weight_a": own.weight_a * factor})
        currents = {"gain_a": self.gain_a * factor, "dc_a": self.dc_a * factor}
        return self.model_copy(update=currents | {"synapses": synapses, "adaptation": adaptation})


class Place(Record):
    """A wished address on the board: the population's first neuron."""

    chip: Index
    core: Index
    neuron: Index


class Input(Record):
    """A group of external sources.

    Attributes:
        size: number of sources.
        tags: wire tags (virtual core * neurons per core + neuron) if they must be certain ones; else the mapper chooses.
        poisson: driven by the board's Poisson generators, which all reach the same cores of one chip; else by the list.
    """

    name: Name
    size: Count
    tags: tuple[Index, ...] | None = None
    poisson: bool = False


class Population(Record):
    """A group of neurons with the same targets.

    Attributes:
        place: where to put the first neuron, if it matters; the others follow it.
    """

    name: Name
    size: Count
    neuron: NeuronParameters
    place: Place | None = None


class AllToAll(Record):
    """Every source neuron to every target neuron."""

    kind: Literal["all_to_all"] = "all_to_all"


class OneToOne(Record):
    """Source i to target i."""

    kind: Literal["one_to_one"] = "one_to_one"


class RandomFanIn(Record):
    """Each target neuron draws `fan_in` different sources.

    Attributes:
        fan_in: sources per target neuron.
        seed: of the draw.
        candidates: source indices to draw from; all of them if absent.
    """

    kind: Literal["random_fan_in"] = "random_fan_in"
    fan_in: Count
    seed: Seed = 0
    candidates: tuple[Index, ...] | None = None


class Explicit(Record):
    """A list of (source index, target index) or (source index, target index, multiplicity)."""

    kind: Literal["explicit"] = "explicit"
    pairs: tuple[tuple[Index, Index] | tuple[Index, Index, Count], ...]


ProjectionRule = Annotated[AllToAll | OneToOne | RandomFanIn | Explicit, Field(discriminator="kind")]


class Connection(Record):
    """A projection between two groups.

    Attributes:
        source: name of an input or population.
        target: name of a population.
        synapse: synapse type, the same for all synapses of the connection.
        multiplicity: CAM entries per synapse: the integer weight.
        plastic: binary efficacy learned by the BCaLL rule; each synapse then needs a place in the CAM, used or not.
    """

    name: Name
    source: Name
    target: Name
    synapse: SynapseType
    rule: ProjectionRule = AllToAll()
    multiplicity: Count = 1
    plastic: bool = False


class Network(Record):
    """Inputs, populations and connections; names are unique and every reference is known.

    Raises:
        EmptyNetwork: no population.
        InvalidValue, UnknownName: a value or a reference is wrong.
    """

    format: Literal["bcall_hw/network"] = "bcall_hw/network"
    format_version: Literal[1] = 1
    name: Name = "network"
    inputs: tuple[Input, ...] = ()
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...] = ()

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        if not self.populations:
            raise EmptyNetwork("the network has no population", where=f"network {self.name!r}", fix="Add a population.")
        groups = [i.name for i in self.inputs] + [p.name for p in self.populations]
        for names in (groups, [c.name for c in self.connections]):
            for name, count in Counter(names).items():
                if count > 1:
                    where, fix = f"network {self.name!r}", "Rename one of them."
                    raise InvalidValue("the name is used twice", where=where, used=name, fix=fix)
        for group in self.inputs:
            if group.tags is not None and len(group.tags) != group.size:
                used, limit = len(group.tags), group.size
                raise InvalidValue("one tag per source is needed", where=f"input {group.name!r}", used=used, limit=limit)
        for connection in self.connections:
            self._check_references(connection)

    def _check_references(self, connection: Connection) -> None:
        where = f"connection {connection.name!r}"
        self.size_of(connection.source, where)
        target = self.population(connection.target, where)
        if connection.synapse not in target.neuron.synapses:
            raise UnknownName(
                f"population {target.name!r} has no parameters for this synapse type",
                where=where,
                used=connection.synapse,
                fix=f"Add synapses.{connection.synapse} to its neuron parameters.",
            )

    def population(self, name: str, where: str = "network") -> Population:
        """The population called `name`."""
        for population in self.populations:
            if population.name == name:
                return population
        known = ", ".join(p.name for p in self.populations)
        raise UnknownName("no population of that name", where=where, used=name, fix=f"Known: {known}")

    def connection(self, name: str) -> Connection:
        """The connection called `name`."""
        for connection in self.connections:
            if connection.name == name:
                return connection
        known = ", ".join(c.name for c in self.connections)
        raise UnknownName("no connection of that name", where="network", used=name, fix=f"Known: {known}")

    def size_of(self, name: str, where: str = "network") -> int:
        """Sources in the input or neurons in the population called `name`."""
        for group in self.inputs:
            if group.name == name:
                return group.size
        for population in self.populations:
            if population.name == name:
                return population.size
        known = ", ".join([i.name for i in self.inputs] + [p.name for p in self.populations])
        raise UnknownName("no input or population of that name", where=where, used=name, fix=f"Known: {known}")

    def synapses(self, connection: Connection) -> tuple[IntArray, IntArray, IntArray]:
        """The connection's synapses, sorted by target then source: source index, target index, multiplicity.

        Raises:
            InvalidValue: an index beyond the group, a fan-in beyond the candidates, a pair listed twice.
        """
        n_source, n_target = self.size_of(connection.source), self.size_of(connection.target)
        where, rule = f"connection {connection.name!r}", connection.rule
        ones = np.ones(0, dtype=np.int64)
        if isinstance(rule, AllToAll):
            source = np.tile(np.arange(n_source), n_target)
            target = np.repeat(np.arange(n_target), n_source)
        elif isinstance(rule, OneToOne):
            if n_source != n_target:
                raise InvalidValue("one-to-one needs equal sizes", where=where, used=n_source, limit=n_target)
            source = target = np.arange(n_source)
        elif isinstance(rule, RandomFanIn):
            source, target = _draw_fan_in(rule, connection.name, n_source, n_target, where)
        else:
            listed = np.array([(*pair, 1)[:3] for pair in rule.pairs], dtype=np.int64).reshape(-1, 3)
            order = np.lexsort((listed[:, 0], listed[:, 1]))
            source, target, ones = listed[order].T
            _check_pairs(source, target, n_source, n_target, where)
        multiplicity = connection.multiplicity * (ones if ones.size else np.ones(source.size, dtype=np.int64))
        return source.astype(np.int64), target.astype(np.int64), multiplicity

    def save(self, path: Path | str) -> None:
        """Write the network as JSON or TOML, by the file's ending."""
        path = Path(path)
        if path.suffix == ".json":
            files.write_text(path, self.model_dump_json(indent=1) + "\n")
        elif path.suffix == ".toml":
            files.write_text(path, tomlkit.dumps(self.model_dump(mode="json", exclude_none=True)))
        else:
            raise _unknown_ending(path)

    @classmethod
    def load(cls, path: Path | str) -> Network:
        """Read a network from JSON or TOML, by the file's ending.

        Raises:
            FileProblem, CorruptFile, ForeignFile: the file is missing, damaged or something else.
            InvalidValue, UnknownName, EmptyNetwork: its content is not a valid network.
        """
        return cls(**files.read_document(Path(path), "bcall_hw/network", 1))


def _unknown_ending(path: Path) -> ForeignFile:
    return ForeignFile("networks are .json or .toml files", where=str(path), used=path.suffix or "no ending")


def _draw_fan_in(rule: RandomFanIn, name: str, n_source: int, n_target: int, where: str) -> tuple[IntArray, IntArray]:
    candidates = np.unique(np.arange(n_source) if rule.candidates is None else np.asarray(rule.candidates, dtype=np.int64))
    if candidates.size and int(candidates.max()) >= n_source:
        raise InvalidValue("candidate beyond the source group", where=where, used=int(candidates.max()), limit=n_source - 1)
    if rule.fan_in > candidates.size:
        raise InvalidValue("fan-in exceeds the candidates", where=where, used=rule.fan_in, limit=int(candidates.size))
    draws = random_bits.raw_bits(rule.seed, f"fan-in/{name}", n_target * candidates.size).reshape(n_target, -1)
    chosen = _smallest(draws, rule.fan_in)
    return candidates[chosen].ravel(), np.repeat(np.arange(n_target), rule.fan_in)


def _smallest(draws: npt.NDArray[np.uint64], count: int) -> IntArray:
    """Columns of the `count` smallest numbers of each row, ascending; of equal numbers the first ones."""
    if count == draws.shape[1]:
        return np.tile(np.arange(count), (len(draws), 1))
    last = np.partition(draws, count - 1, axis=1)[:, count - 1 : count]
    chosen = draws <= last
    if int(chosen.sum()) != count * len(draws):  # a tie at the limit, once in 2^40 draws
        return np.sort(np.argsort(draws, axis=1, kind="stable")[:, :count], axis=1)
    return np.nonzero(chosen)[1].reshape(-1, count)


def _check_pairs(source: IntArray, target: IntArray, n_source: int, n_target: int, where: str) -> None:
    for indices, size, what in ((source, n_source, "source"), (target, n_target, "target")):
        if indices.size and int(indices.max()) >= size:
            raise InvalidValue(f"{what} index beyond the group", where=where, used=int(indices.max()), limit=size - 1)
    twice = np.flatnonzero((np.diff(source) == 0) & (np.diff(target) == 0))
    if twice.size:
        pair = (int(source[twice[0]]), int(target[twice[0]]))
        raise InvalidValue("pair listed twice", where=where, used=pair, fix="Give it a multiplicity instead.")
