"""Routing: a tag for every source, and the SRAM entries of every neuron that has targets.

A CAM entry sees (virtual core, neuron) and not the source chip, so within one target core every source needs a tag of
its own, whatever its synapse type.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.chip_config import SRAM_DTYPE, Registers
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import (
    BcallError,
    DestinationsExceeded,
    ReservedTag,
    SourcesExceeded,
    StimulusProblem,
    TagCollision,
    TagsExhausted,
)
from bcall_hw.mapper.place import Core, Placement
from bcall_hw.network import Network


@dataclass
class Routes:
    """Tags and destinations.

    Attributes:
        tags: for each group with targets, the tag of each of its sources; -1 for a source without targets.
        reaches: for each group, the target cores of each source.
        warnings: links that the vendor warns of.
    """

    tags: dict[str, IntArray] = field(default_factory=dict)
    reaches: dict[str, list[frozenset[Core]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def reached_cores(network: Network, placement: Placement) -> dict[str, list[frozenset[Core]]]:
    """For each input and population, the cores that each of its sources must reach."""
    names = [i.name for i in network.inputs] + [p.name for p in network.populations]
    found: dict[str, list[set[Core]]] = {name: [set() for _ in range(network.size_of(name))] for name in names}
    for connection in network.connections:
        source, target, _ = network.synapses(connection)
        cores = placement.addresses[connection.target][target, :2]
        for s, chip, core in np.unique(np.column_stack([source, cores]), axis=0).tolist():
            found[connection.source][s].add((chip, core))
    return {name: [frozenset(cores) for cores in sets] for name, sets in found.items()}


def source_problems(network: Network, chip: ChipModel) -> list[BcallError]:
    """Whether the inputs have more sources than the FPGA."""
    used, limit = sum(i.size for i in network.inputs), chip.stimulus.sources
    if used <= limit:
        return []
    return [SourcesExceeded("more input sources than the board has", where="inputs", used=used, limit=limit, fix="Use fewer.")]


def assign_tags(network: Network, chip: ChipModel, placement: Placement) -> tuple[Routes, list[BcallError]]:
    """Tags such that no target core sees two sources under one tag: wished tags, then neurons, then free inputs."""
    assigning = _Assigning(chip, reached_cores(network, placement))
    for group in network.inputs:
        if group.tags is not None:
            assigning.wished(group.name, group.tags)
    for population in network.populations:
        assigning.neurons(population.name, placement.addresses[population.name])
    for group in network.inputs:
        if group.tags is None:
            assigning.free_inputs(group.name, group.size)
    return assigning.routes, assigning.problems


class _Assigning:
    def __init__(self, chip: ChipModel, reaches: dict[str, list[frozenset[Core]]]) -> None:
        self.chip, self.routes = chip, Routes(reaches=reaches)
        self.problems: list[BcallError] = []
        self.owner: dict[Core, dict[int, str]] = defaultdict(dict)
        self.input_tags: set[int] = set()

    def _claim(self, tag: int, name: str, cores: frozenset[Core]) -> None:
        for core in cores:
            self.owner[core][tag] = name

    def _clash(self, tag: int, cores: frozenset[Core]) -> tuple[Core, str] | None:
        return next(((core, self.owner[core][tag]) for core in sorted(cores) if tag in self.owner[core]), None)

    def wished(self, group: str, tags: tuple[int, ...]) -> None:
        assigned = np.full(len(tags), -1, dtype=np.int64)
        for index, tag in enumerate(tags):
            name, cores = f"input {group!r} source {index}", self.routes.reaches[group][index]
            if tag >= self.chip.stimulus.sources:
                limit = self.chip.stimulus.sources - 1
                self.problems.append(StimulusProblem("tag beyond the FPGA's sources", where=name, used=tag, limit=limit))
            elif tag in self.chip.reserved_tags:
                self.problems.append(self._reserved(name, tag))
            elif clash := self._clash(tag, cores):
                self.problems.append(self._collision(name, tag, *clash))
            elif cores:
                self._claim(tag, name, cores)
                self.input_tags.add(tag)
                assigned[index] = tag
        self.routes.tags[group] = assigned

    def neurons(self, group: str, addresses: IntArray) -> None:
        tags = np.full(len(addresses), -1, dtype=np.int64)
        for index, (_, own_core, neuron) in enumerate(addresses.tolist()):
            cores = self.routes.reaches[group][index]
            if not cores:
                continue
            name = f"population {group!r} neuron {index}"
            order = [own_core, *(v for v in range(self.chip.sram.virtual_cores) if v != own_core)]
            candidates = [v * self.chip.geometry.neurons + neuron for v in order]
            allowed = [t for t in candidates if t not in self.chip.reserved_tags]
            free = next((t for t in allowed if not self._clash(t, cores)), None)
            if free is None:
                clash = self._clash(allowed[0], cores)
                self.problems.append(self._collision(name, allowed[0], *(clash or ((0, 0), ""))))
                continue
            self._claim(free, name, cores)
            tags[index] = free
        self.routes.tags[group] = tags

    def free_inputs(self, group: str, size: int) -> None:
        """Inputs take tags from the top, where small networks' neurons seldom are."""
        tags = np.full(size, -1, dtype=np.int64)
        for index in range(size):
            cores, name = self.routes.reaches[group][index], f"input {group!r} source {index}"
            if not cores:
                continue
            candidates = range(self.chip.stimulus.sources - 1, -1, -1)
            unused = (t for t in candidates if t not in self.input_tags and t not in self.chip.reserved_tags)
            free = next((t for t in unused if not self._clash(t, cores)), None)
            if free is None:
                limit = self.chip.tags_per_core - len(self.chip.reserved_tags)
                reached = ", ".join(f"chip {c} core {k}" for c, k in sorted(cores))
                self.problems.append(
                    TagsExhausted(
                        "no free tag is left", where=name, used=f"sources of {reached}", limit=limit, fix="Use fewer sources."
                    )
                )
                continue
            self._claim(free, name, cores)
            self.input_tags.add(free)
            tags[index] = free
        self.routes.tags[group] = tags

    def _reserved(self, name: str, tag: int) -> ReservedTag:
        return ReservedTag(
            "uses a tag that every unused CAM entry listens to",
            where=name,
            used=self.chip.tag_name(tag),
            fix="Choose another tag.",
        )

    def _collision(self, name: str, tag: int, core: Core, other: str) -> TagCollision:
        where, fix = (
            f"chip {core[0]} core {core[1]}",
            "Wish another tag or place for one of them, or let them reach other cores.",
        )
        return TagCollision(f"{name} and {other} arrive under one tag", where=where, used=self.chip.tag_name(tag), fix=fix)


def sram_entries(
    network: Network, chip: ChipModel, chips: tuple[int, ...], placement: Placement, routes: Routes
) -> tuple[Registers, list[BcallError]]:
    """One SRAM entry per target chip of each neuron, with the mask of the cores it must reach there."""
    g, usable = chip.geometry, len(chip.sram.usable)
    sram = np.zeros((len(chips), g.cores, g.neurons, usable), dtype=SRAM_DTYPE)
    problems: list[BcallError] = []
    warned: set[tuple[int, int]] = set()
    for population in network.populations:
        tags = routes.tags[population.name]
        for index, (own_chip, own_core, neuron) in enumerate(placement.addresses[population.name].tolist()):
            cores = routes.reaches[population.name][index]
            where = f"population {population.name!r} neuron {index}"
            targets = sorted({c for c, _ in cores})
            if len(targets) > usable:
                fix = "One entry reaches one chip, and one is the monitor: keep its targets on fewer chips."
                problems.append(
                    DestinationsExceeded("too many destinations", where=where, used=len(targets), limit=usable, fix=fix)
                )
                continue
            for entry, there in enumerate(targets):
                east, north = g.hops(own_chip, there)
                if max(abs(east), abs(north)) > chip.sram.max_hops:
                    used, limit = (east, north), chip.sram.max_hops
                    problems.append(DestinationsExceeded("hop too long for its field", where=where, used=used, limit=limit))
                    continue
                mask = sum(1 << core for c, core in cores if c == there)
                virtual_core = int(tags[index]) // g.neurons
                place = (chips.index(own_chip), own_core, neuron, entry)
                sram[place] = (virtual_core, int(north < 0), abs(north), int(east < 0), abs(east), mask)
                if (own_chip, there) in chip.sram.warned_links:
                    warned.add((own_chip, there))
    routes.warnings += [
        f"on-chip link from chip {a} to chip {b}: the vendor warns that it may harm the chips" for a, b in sorted(warned)
    ]
    return sram, problems
