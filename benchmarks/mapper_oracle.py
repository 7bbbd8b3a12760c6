"""A second opinion on the mapper: what the registers deliver, what the network asks for, and why a network cannot fit.

Written apart from the mapper and sharing no code with it. Plain loops over plain lists; the chip's numbers stand here once
more, as its documentation gives them, so that a wrong number in the chip model would show.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bcall_hw.errors import (
    BcallError,
    BiasConflict,
    CurrentOutOfRange,
    DestinationsExceeded,
    EmptyNetwork,
    FanInExceeded,
    MappingViolation,
    PlacementFull,
    ReservedTag,
    SourcesExceeded,
    StimulusProblem,
    TagCollision,
    TagsExhausted,
)
from bcall_hw.mapper import network_of
from bcall_hw.network import Connection, Network, NeuronParameters

if TYPE_CHECKING:
    from bcall_hw.mapper import MappedNetwork

CHIPS, CORES, NEURONS, CAM, DESTINATIONS, VIRTUAL_CORES = 4, 4, 256, 64, 3, 4
TAGS, FPGA_SOURCES = VIRTUAL_CORES * NEURONS - 1, 1024  # tag 0 is what unused CAM entries listen to
TYPES = ("GABA_B", "GABA_A", "NMDA", "AMPA")

Source = tuple[Any, ...]  # (population or input, index); ("nobody", chip, core, neuron) for what holds nothing
Delivery = tuple[Source, Source, str]
Core = tuple[int, int]
Efficacy = Mapping[str, Any]
Expanded = list[tuple[Connection, list[int], list[int], list[int]]]


@dataclass
class Walk:
    """What the registers of a board do.

    Attributes:
        counts: (source, target, synapse type) with its CAM entries.
        arrivals: for each core and each tag, who sends it there; a source that sends twice stands there twice.
        problems: everything that no right configuration has.
    """

    counts: Counter[Delivery] = field(default_factory=Counter)
    arrivals: dict[Core, dict[int, list[Source]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


# What the registers say -----------------------------------------------------------------------------------------------


def delivered(mapped: MappedNetwork) -> Counter[Delivery]:
    """What the registers deliver: (source, target, synapse type) with its multiplicity."""
    return walk(mapped).counts


def walk(mapped: MappedNetwork) -> Walk:
    """Every SRAM entry along its hops, every FPGA source along its reach, every CAM entry of every neuron."""
    found = Walk()
    config, chips = mapped.config, [int(chip) for chip in mapped.config.chips]
    owners = _owners(mapped, found.problems)
    found.arrivals = {(chip, core): {} for chip in chips for core in range(CORES)}
    _walk_inputs(mapped, found)
    for chip, of_chip in zip(chips, config.sram.tolist(), strict=True):
        for core, of_core in enumerate(of_chip):
            for number, entries in enumerate(of_core):
                for entry in entries:
                    if entry[5]:  # a core mask: without one the entry is not connected
                        _walk_entry(found, owners, (chip, core, number), entry)
    _collisions(found)
    for chip, of_chip in zip(chips, config.cam.tolist(), strict=True):
        for core, of_core in enumerate(of_chip):
            here = found.arrivals[chip, core]
            for number, entries in enumerate(of_core):
                _walk_cam(found, owners, here, (chip, core, number), entries)
    return found


def _walk_cam(
    found: Walk, owners: dict[tuple[int, ...], Source], here: dict[int, list[Source]], place: tuple[int, ...], entries: Any
) -> None:
    target = owners.get(place)
    counts, heard = found.counts, 0
    for core, neuron, code in entries:
        if core >= VIRTUAL_CORES or neuron >= NEURONS or code >= len(TYPES):
            found.problems.append(f"CAM of {_at(place)}: no such word {(core, neuron, code)}")
            continue
        sources = here.get(core * NEURONS + neuron)
        if not sources:
            if (core or neuron) and target is None:
                found.problems.append(f"CAM of {_at(place)}: listens to {(core, neuron)}, but the neuron holds nothing")
            elif core or neuron:
                found.problems.append(f"CAM of {_at(place)}: listens to {(core, neuron)}, which nobody sends there")
            continue
        for source in sources:
            counts[source, target or ("nobody", *place), TYPES[code]] += 1
        heard += len(sources)
    if heard and target is None:
        found.problems.append(f"{_at(place)} holds nothing and hears {heard} sends per round of its sources")


def _owners(mapped: MappedNetwork, problems: list[str]) -> dict[tuple[int, ...], Source]:
    """Who lives at which address."""
    owners: dict[tuple[int, ...], Source] = {}
    chips = {int(chip) for chip in mapped.config.chips}
    for name, table in mapped.addresses.items():
        for index, row in enumerate(table.tolist()):
            address = tuple(row)
            if len(address) != 3 or address[0] not in chips or not 0 <= address[1] < CORES or not 0 <= address[2] < NEURONS:
                problems.append(
                    f"population {name!r} neuron {index} lies at {address}, which is no neuron of chips {sorted(chips)}"
                )
            elif address in owners:
                problems.append(f"{_at(address)} holds two neurons: {owners[address]} and {(name, index)}")
            else:
                owners[address] = (name, index)
    return owners


def _walk_inputs(mapped: MappedNetwork, found: Walk) -> None:
    for name, tags in mapped.input_tags.items():
        for index, (tag, cores) in enumerate(zip(tags.tolist(), mapped.input_reach[name], strict=True)):
            if not cores:
                continue
            source = (name, index)
            if not 0 <= tag < FPGA_SOURCES:
                found.problems.append(f"input {name!r} source {index}: tag {tag} is none of the FPGA's")
                continue
            if tag == 0:
                found.problems.append(f"input {name!r} source {index} sends under the reserved tag")
            for chip, core in cores:
                if (chip, core) not in found.arrivals:
                    found.problems.append(
                        f"input {name!r} source {index} is sent to chip {chip} core {core}, outside the image"
                    )
                    continue
                found.arrivals[chip, core].setdefault(tag, []).append(source)


def _walk_entry(found: Walk, owners: dict[tuple[int, ...], Source], place: tuple[int, int, int], entry: Any) -> None:
    virtual_core, sy, dy, sx, dx, mask = entry
    chip, _, number = place
    if virtual_core >= VIRTUAL_CORES or sy > 1 or sx > 1 or dx > 3 or dy > 3 or mask > 15:
        found.problems.append(f"SRAM of {_at(place)}: no such word {entry}")
        return
    source = owners.get(place)
    if source is None:
        source = ("nobody", *place)
        found.problems.append(f"SRAM of {_at(place)}: sends, but the neuron holds nothing")
    column, row = chip % 2, chip // 2  # chips lie 0 1 / 2 3
    for _ in range(dx):
        column += -1 if sx else 1
    for _ in range(dy):
        row += 1 if sy else -1
    if column not in (0, 1) or row not in (0, 1):
        found.problems.append(
            f"SRAM of {_at(place)}: {dx} {'west' if sx else 'east'}, {dy} {'south' if sy else 'north'} is off the board"
        )
        return
    tag, there = virtual_core * NEURONS + number, row * 2 + column
    if tag == 0:
        found.problems.append(f"SRAM of {_at(place)}: sends under the reserved tag")
    for core in range(CORES):
        if mask // 2**core % 2:
            if (there, core) not in found.arrivals:
                found.problems.append(f"SRAM of {_at(place)}: sends to chip {there}, outside the image")
                return
            found.arrivals[there, core].setdefault(tag, []).append(source)


def _collisions(found: Walk) -> None:
    for (chip, core), by_tag in found.arrivals.items():
        for tag, sources in by_tag.items():
            if len(sources) > 1:
                what = "two sources" if len(set(sources)) > 1 else "one source twice"
                found.problems.append(f"chip {chip} core {core}: tag {divmod(tag, NEURONS)} comes from {what}: {sources[:4]}")


def _at(place: Sequence[int]) -> str:
    return f"chip {place[0]} core {place[1]} neuron {place[2]}"


# What the network says ------------------------------------------------------------------------------------------------


def expand(network: Network) -> Expanded:
    """Each connection with its synapses as lists: source, target, multiplicity."""
    expanded = []
    for connection in network.connections:
        source, target, multiplicity = network.synapses(connection)
        expanded.append((connection, source.tolist(), target.tolist(), multiplicity.tolist()))
    return expanded


def asked(network: Network, efficacy: Efficacy | None = None, expanded: Expanded | None = None) -> Counter[Delivery]:
    """What the network asks for; a plastic synapse that is parked delivers nothing."""
    wanted: Counter[Delivery] = Counter()
    for connection, sources, targets, multiplicities in expanded or expand(network):
        parked = (efficacy or {}).get(connection.name) if connection.plastic else None
        one, other, kind = connection.source, connection.target, connection.synapse
        slots: Counter[int] = Counter()
        for source, target, multiplicity in zip(sources, targets, multiplicities, strict=True):
            if parked is not None:
                slot = slots[target]
                slots[target] += 1
                if not parked[target, slot]:
                    continue
            wanted[(one, source), (other, target), kind] += multiplicity
    return wanted


def compare(wanted: Counter[Delivery], found: Counter[Delivery], where: str) -> list[str]:
    """One line for each delivery whose multiplicity differs."""
    if wanted == found:
        return []
    differing = [key for key in {**wanted, **found} if wanted[key] != found[key]]
    return [f"{where}: {s} to {t} by {kind}: {found[s, t, kind]} instead of {wanted[s, t, kind]}" for s, t, kind in differing]


# The comparison -------------------------------------------------------------------------------------------------------


def mismatches(
    mapped: MappedNetwork,
    efficacy: Efficacy | None = None,
    network: Network | None = None,
    chips: Sequence[int] | None = None,
) -> list[str]:
    """Everything in which the registers differ from the network; an empty list proves them equal.

    Args:
        efficacy: the table that was given to the mapper.
        network: what was given to the mapper, if the mapped one must be equal to it.
        chips: those that the mapper might use.
    """
    problems: list[str] = []
    if network is not None and mapped.network != network:
        problems.append("the mapped network is not the one that was given")
    if chips is not None and not set(mapped.config.chips) <= set(chips):
        problems.append(f"chips {mapped.config.chips} are used, {tuple(chips)} were allowed")
    expanded = expand(mapped.network)
    found, wanted = walk(mapped), asked(mapped.network, efficacy, expanded)
    problems += found.problems
    problems += compare(wanted, found.counts, "registers")
    problems += wishes(mapped)
    problems += plastic_slots(mapped, found, expanded, efficacy)
    problems += round_trip(mapped, efficacy, wanted)
    return problems


def wishes(mapped: MappedNetwork) -> list[str]:
    """Wished tags and places that were not kept, sizes that differ, kinds that share a core, sources that share a tag."""
    problems: list[str] = []
    cores: dict[Core, dict[str, NeuronParameters]] = defaultdict(dict)
    if set(mapped.addresses) != {p.name for p in mapped.network.populations}:
        problems.append(f"addresses of {sorted(mapped.addresses)} are given")
    for population in mapped.network.populations:
        rows = mapped.addresses[population.name].tolist() if population.name in mapped.addresses else []
        if len(rows) != population.size:
            problems.append(f"population {population.name!r} has {len(rows)} addresses for {population.size} neurons")
        wish = population.place
        for index, (chip, core, neuron) in enumerate(rows):
            cores[chip, core].setdefault(population.name, population.neuron)
            if wish is not None and (chip, core, neuron) != (wish.chip, wish.core, wish.neuron + index):
                problems.append(f"population {population.name!r} neuron {index} is not at its wished place")
    for core, kinds in cores.items():
        listed = list(kinds.items())
        for number, (name, kind) in enumerate(listed):
            problems += [f"{name!r} and {n!r} share core {core}" for n, other in listed[:number] if not compatible(kind, other)]
    users: dict[int, list[tuple[str, int, bool]]] = defaultdict(list)
    for group in mapped.network.inputs:
        tags = mapped.input_tags[group.name].tolist()
        if len(tags) != group.size or len(mapped.input_reach[group.name]) != group.size:
            problems.append(f"input {group.name!r} has {len(tags)} tags for {group.size} sources")
        for index, tag in enumerate(tags):
            if not mapped.input_reach[group.name][index]:
                continue
            users[tag].append((group.name, index, group.tags is not None))
            if group.tags is not None and tag != group.tags[index]:
                problems.append(f"input {group.name!r} source {index}: tag {tag} instead of the wished {group.tags[index]}")
    for tag, named in users.items():
        if len(named) > 1 and not all(wished for _, _, wished in named):
            problems.append(f"FPGA sources {[n[:2] for n in named]} share tag {tag} without a wish")
    return problems


def compatible(one: NeuronParameters, other: NeuronParameters) -> bool:
    """Whether two kinds can share the biases of a core: they agree on all that both declare."""
    common = set(one.synapses) & set(other.synapses)
    return _base(one) == _base(other) and all(one.synapses[t] == other.synapses[t] for t in common)


def _base(kind: NeuronParameters) -> tuple[Any, ...]:
    """What all neurons of a core share whatever their synapses."""
    adaptation = kind.adaptation and (kind.adaptation.tau_s, kind.adaptation.weight_a)
    return (kind.tau_s, kind.refractory_s, kind.gain_a, kind.pulse_width_s, kind.dc_a, adaptation)


def plastic_slots(mapped: MappedNetwork, found: Walk, expanded: Expanded, efficacy: Efficacy | None = None) -> list[str]:
    """Slots of plastic synapses that are not where the mapped network says, or that no event would reach once present."""
    problems: list[str] = []
    config = mapped.config
    for connection, sources, targets, multiplicities in expanded:
        if not connection.plastic:
            continue
        where = f"plastic {connection.name!r}"
        if connection.name not in mapped.plastic:
            problems.append(f"{where} has no slots")
            continue
        slots = mapped.plastic[connection.name]
        listed, entries, tags = slots.sources.tolist(), slots.entries.tolist(), slots.tags.tolist()
        addresses = mapped.addresses[connection.target].tolist()
        if slots.addresses.tolist() != addresses or slots.type_code != TYPES.index(connection.synapse):
            problems.append(f"{where}: addresses or type differ")
            continue
        if sum(source >= 0 for row in listed for source in row) != len(sources):
            problems.append(f"{where}: not as many slots as synapses")
        taken: dict[int, set[int]] = defaultdict(set)
        next_slot: Counter[int] = Counter()
        words: dict[int, Any] = {}
        parked = (efficacy or {}).get(connection.name)
        for source, target, multiplicity in zip(sources, targets, multiplicities, strict=True):
            slot = next_slot[target]
            next_slot[target] += 1
            chip, core, neuron = addresses[target]
            mine = entries[target][slot] if slot < len(entries[target]) else []
            if slot >= len(listed[target]) or listed[target][slot] != source or len(mine) != multiplicity:
                problems.append(f"{where} target {target} slot {slot} is not source {source} with {multiplicity} entries")
                continue
            if taken[target] & set(mine) or len(set(mine)) != multiplicity:
                problems.append(f"{where} target {target} slot {slot}: entries {mine} are used twice")
            taken[target] |= set(mine)
            tag = tags[target][slot]
            if found.arrivals[chip, core].get(tag) != [(connection.source, source)]:
                problems.append(f"{where} target {target} slot {slot}: tag {tag} does not come from source {source} alone")
            if target not in words:
                words[target] = config.cam[config.chips.index(chip), core, neuron].tolist()
            on = parked is None or parked[target, slot]
            word = (*divmod(tag if on else 0, NEURONS), TYPES.index(connection.synapse))
            if any(words[target][entry] != word for entry in mine):
                problems.append(f"{where} target {target} slot {slot}: entries {mine} do not hold {word}")
    return problems


def round_trip(mapped: MappedNetwork, efficacy: Efficacy | None = None, wanted: Counter[Delivery] | None = None) -> list[str]:
    """Differences between the network and the one that is read back from the registers alone.

    Neurons without any synapse may be missing from the one read back: registers need not tell them from unused ones.
    """
    if wanted is None:
        wanted = asked(mapped.network, efficacy)
    try:
        read: Network = network_of(mapped.config)
    except EmptyNetwork:
        return ["reading back: no neuron is found"] if wanted else []
    except BcallError as problem:
        return [f"reading back: {problem}"]
    problems: list[str] = []
    owners = {tuple(a): (name, i) for name, table in mapped.addresses.items() for i, a in enumerate(table.tolist())}
    places: dict[Source, tuple[int, int, int]] = {}
    for population in read.populations:
        if population.place is None:
            problems.append(f"reading back: population {population.name!r} has no place")
            continue
        for index in range(population.size):
            place = (population.place.chip, population.place.core, population.place.neuron + index)
            if place not in owners:
                problems.append(f"reading back: {_at(place)} is said to be used, and holds nothing")
            places[population.name, index] = place
    if len(set(places.values())) != len(places):
        problems.append("reading back: a neuron stands there twice")
    by_tag: dict[tuple[int, int, int], Source] = {}
    for name, tags in mapped.input_tags.items():
        for index, tag in enumerate(tags.tolist()):
            for chip, core in mapped.input_reach[name][index]:
                by_tag[chip, core, tag] = (name, index)
    wire = {group.name: group.tags for group in read.inputs}
    found: Counter[Delivery] = Counter()
    for connection, sources, targets, multiplicities in expand(read):
        for source, target, multiplicity in zip(sources, targets, multiplicities, strict=True):
            place = places[connection.target, target]
            if connection.source in wire:
                tag = (wire[connection.source] or ())[source]
                who: Source = by_tag.get((place[0], place[1], tag), ("tag", tag))
            else:
                from_place = places[connection.source, source]
                who = owners.get(from_place, ("nobody", *from_place))
            found[who, owners.get(place, ("nobody", *place)), connection.synapse] += multiplicity
    return problems + compare(wanted, found, "reading back")


# Why a network cannot fit ---------------------------------------------------------------------------------------------


@dataclass
class _Facts:
    """What the bounds need to know of a network."""

    network: Network
    chips: tuple[int, ...]
    expanded: Expanded
    fan_in: Counter[Source] = field(default_factory=Counter)
    sources_of: dict[Source, set[Source]] = field(default_factory=lambda: defaultdict(set))
    targets_of: dict[Source, set[Source]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self.inputs = {group.name: group for group in self.network.inputs}
        self.kinds = {p.name: _base(p.neuron) for p in self.network.populations}
        self.place = {p.name: p.place for p in self.network.populations if p.place is not None}
        self.cores = len(self.chips) * CORES
        for connection, sources, targets, multiplicities in self.expanded:
            for source, target, multiplicity in zip(sources, targets, multiplicities, strict=True):
                one, other = (connection.source, source), (connection.target, target)
                self.fan_in[other] += multiplicity
                self.sources_of[other].add(one)
                self.targets_of[one].add(other)

    def core_of(self, neuron: Source) -> Core | None:
        """The core in which a neuron certainly lies."""
        place = self.place.get(neuron[0])
        return (place.chip, place.core) if place else None

    def cores_needed(self) -> dict[tuple[Any, ...], int]:
        """For each kind, cores that it needs at least; kinds differ where no core can serve both."""
        needed = {}
        for base in dict.fromkeys(self.kinds.values()):
            mine = [p for p in self.network.populations if self.kinds[p.name] == base]
            total = sum(p.size for p in mine)
            wished = {(p.place.chip, p.place.core) for p in mine if p.place is not None}
            least = max(math.ceil(total / NEURONS), len(wished) + math.ceil(max(0, total - NEURONS * len(wished)) / NEURONS))
            for kind in TYPES:
                sizes: Counter[Any] = Counter()
                for p in mine:
                    if kind in p.neuron.synapses:
                        parameters = p.neuron.synapses[kind]
                        sizes[parameters.tau_s, parameters.weight_a] += p.size
                least = max(least, sum(math.ceil(size / NEURONS) for size in sizes.values()))
            needed[base] = least
        return needed


def proof_of_refusal(network: Network, violations: Sequence[BcallError] = (), chips: Sequence[int] | None = None) -> str | None:
    """A bound of its own that no placement of the network on these chips can keep, in words; None if none was found.

    `violations` only say whether the costly bound on shared sources is worth its time.
    """
    facts = _Facts(network, tuple(range(CHIPS)) if chips is None else tuple(chips), expand(network))
    for bound in (_too_many_neurons, _too_many_inputs, _bad_places, _too_large_fan_in, _destinations, _shared_core, _per_kind):
        for words in bound(facts):
            return words
    if any(isinstance(v, TagsExhausted | TagCollision | DestinationsExceeded) for v in violations):
        return _mixing(facts)
    return None


def _too_many_neurons(facts: _Facts) -> Iterator[str]:
    neurons, room = sum(p.size for p in facts.network.populations), facts.cores * NEURONS
    if neurons > room:
        yield f"{neurons} neurons, {room} on these chips"
    needed = facts.cores_needed()
    if sum(needed.values()) > facts.cores:
        yield f"{len(needed)} kinds of neurons need at least {' + '.join(map(str, needed.values()))} cores of {facts.cores}"


def _too_large_fan_in(facts: _Facts) -> Iterator[str]:
    for neuron, fan_in in facts.fan_in.items():
        if fan_in > CAM:
            yield f"{neuron} needs {fan_in} CAM entries of {CAM}"


def _too_many_inputs(facts: _Facts) -> Iterator[str]:
    sources = sum(group.size for group in facts.inputs.values())
    if sources > FPGA_SOURCES:
        yield f"{sources} sources of inputs, {FPGA_SOURCES} in the FPGA"
    used, wished = 0, set()
    for name, group in facts.inputs.items():
        for index in range(group.size):
            if not facts.targets_of.get((name, index)):
                continue
            if group.tags is None:
                used += 1
                continue
            tag = group.tags[index]
            wished.add(tag)
            if tag == 0:
                yield f"input {name!r} source {index} wishes the reserved tag"
            if tag >= FPGA_SOURCES:
                yield f"input {name!r} source {index} wishes tag {tag}, and {FPGA_SOURCES - 1} is the last"
    if used + len(wished) > TAGS:
        yield f"{used + len(wished)} tags for inputs with targets, {TAGS} in all"


def _bad_places(facts: _Facts) -> Iterator[str]:
    placed = [p for p in facts.network.populations if p.place is not None]
    taken: dict[tuple[int, int, int], str] = {}
    in_core: dict[Core, list[Any]] = defaultdict(list)
    for p in placed:
        place = p.place
        assert place is not None  # noqa: S101 (for the reader and the type checker)
        if place.chip not in facts.chips or place.core >= CORES or place.neuron + p.size > NEURONS:
            yield f"{p.name!r}: {p.size} neurons do not fit chip {place.chip} core {place.core} from neuron {place.neuron} on"
        for neuron in range(place.neuron, min(place.neuron + p.size, NEURONS)):
            other = taken.setdefault((place.chip, place.core, neuron), p.name)
            if other != p.name:
                yield f"{p.name!r} and {other!r} both wish {_at((place.chip, place.core, neuron))}"
        for other_population in in_core[place.chip, place.core]:
            if not compatible(p.neuron, other_population.neuron):
                yield f"{p.name!r} and {other_population.name!r} wish one core and other biases"
        in_core[place.chip, place.core].append(p)


def _destinations(facts: _Facts) -> Iterator[str]:
    if len(facts.chips) <= DESTINATIONS:
        return
    for source, targets in facts.targets_of.items():
        if source[0] in facts.inputs:
            continue
        chips = {place.chip for place in (facts.place.get(t[0]) for t in targets) if place}
        if len(chips) > DESTINATIONS:
            yield f"{source} has targets wished on {len(chips)} chips, {DESTINATIONS} destinations"
        if len(targets) > DESTINATIONS * CORES * NEURONS:
            yield f"{source} has {len(targets)} targets, {DESTINATIONS} chips hold {DESTINATIONS * CORES * NEURONS}"
        if len(targets) > CORES * NEURONS:
            by_kind = Counter(facts.kinds[t[0]] for t in targets)
            cores = sum(math.ceil(size / NEURONS) for size in by_kind.values())
            if cores > DESTINATIONS * CORES:
                yield f"{source} has targets on {cores} cores at least, {DESTINATIONS} chips have {DESTINATIONS * CORES}"


def _shared_core(facts: _Facts) -> Iterator[str]:
    """Sources that certainly reach one core: those of one target, and of all targets wished on one core."""
    groups: dict[Any, list[Source]] = defaultdict(list)
    for target in facts.sources_of:
        groups[facts.core_of(target) or target].append(target)
    for base, number in _only_one_core(facts):
        groups[f"the one core of kind {number}"] = [t for t in facts.sources_of if facts.kinds[t[0]] == base]
    for where, targets in groups.items():
        sources = set[Source]().union(*(facts.sources_of[t] for t in targets))
        yield from _one_core(facts, where, sources)


def _only_one_core(facts: _Facts) -> Iterable[tuple[tuple[Any, ...], int]]:
    needed = facts.cores_needed()
    spare = facts.cores - sum(needed.values())
    return [(base, number) for number, (base, least) in enumerate(needed.items()) if least + spare == 1]


def _one_core(facts: _Facts, where: Any, sources: set[Source]) -> Iterator[str]:
    if len(sources) > TAGS:
        yield f"{len(sources)} sources must reach {where}, {TAGS} tags"
    by_number: dict[int, list[Source]] = defaultdict(list)
    tags: dict[int, Source] = {}
    for source in sorted(sources):
        group, place = facts.inputs.get(source[0]), facts.place.get(source[0])
        if group is not None and group.tags is not None:
            tag = group.tags[source[1]]
            if tag in tags:
                yield f"{tags[tag]} and {source} wish tag {tag} and must both reach {where}"
            tags[tag] = source
            by_number[tag % NEURONS].append(source)
        elif place is not None:
            by_number[place.neuron + source[1]].append(source)
    for number, named in by_number.items():
        most = VIRTUAL_CORES - 1 if number == 0 else VIRTUAL_CORES
        if len(named) > most:
            yield f"{len(named)} sources with neuron number {number} must reach {where}, {most} virtual cores"


def _per_kind(facts: _Facts) -> Iterator[str]:
    """All cores that a kind can have hear 1,023 sources each; a source needs a core for each 256 of its targets."""
    needed = facts.cores_needed()
    spare = facts.cores - sum(needed.values())
    for base, least in needed.items():
        sends = 0
        for targets in facts.targets_of.values():
            count = sum(facts.kinds[t[0]] == base for t in targets) if len(needed) > 1 else len(targets)
            sends += math.ceil(count / NEURONS)
        if sends > TAGS * (least + spare):
            yield f"{sends} pairs of a source and a core, {least + spare} cores hear {TAGS} each"


#: Beyond so many words of a matrix the bound on shared sources is not tried.
_LARGEST_MATRIX = 2**25


def _mixing(facts: _Facts) -> str | None:
    """Some core must hear more than 1,023 sources, however targets are grouped: the expander mixing lemma.

    The targets of kind k lie on c cores at most, so one core holds 1/c of their synapses. If it hears 1,023 sources only, all
    the others have no synapse there. A set of targets T and a set of sources S without a synapse between them satisfy
    vol(T) vol(S) <= s2^2 (V - vol(T)) (V - vol(S)), s2 the second singular value of the matrix normalised by degrees; the
    trace of a power bounds it, so that nothing rests on an iteration having converged.
    """
    needed = facts.cores_needed()
    spare = facts.cores - sum(needed.values())
    for base, least in needed.items():
        targets = [t for t in facts.sources_of if facts.kinds[t[0]] == base]
        numbers: dict[Source, int] = {}
        rows = [(i, numbers.setdefault(s, len(numbers))) for i, t in enumerate(targets) for s in facts.sources_of[t]]
        if len(numbers) <= TAGS or len(targets) * len(numbers) > _LARGEST_MATRIX:
            continue
        matrix = np.zeros((len(targets), len(numbers)))
        pairs = np.array(rows)
        matrix[pairs[:, 0], pairs[:, 1]] = 1.0
        of_target, of_source = matrix.sum(axis=1), matrix.sum(axis=0)
        matrix /= np.sqrt(of_target)[:, None]
        matrix /= np.sqrt(of_source)[None, :]
        volume = float(of_source.sum())
        matrix -= np.outer(np.sqrt(of_target), np.sqrt(of_source)) / volume  # the first singular value, which is 1
        gram = matrix @ matrix.T if len(targets) <= len(numbers) else matrix.T @ matrix
        power = gram
        for _ in range(3):
            power = power @ power
        second = float(np.sum(power * power)) ** (1 / 16) + 1e-6  # of gram: s2 squared
        on_core = 1.0 / (least + spare)
        silent = float(np.sort(of_source)[: len(numbers) - TAGS].sum()) / volume
        if on_core * silent > second * (1 - on_core) * (1 - silent):
            return (
                f"{len(numbers)} sources for {len(targets)} targets on {least + spare} cores: one core holds {on_core:.4f} of "
                f"the synapses, and {len(numbers) - TAGS} sources without any there would leave {silent:.4f} of all; sets "
                f"so large have a synapse between them (second singular value squared at most {second:.4f})"
            )
    return None


#: Refusals that count something: they must say how much was wanted and what the limit is.
_COUNTED = (FanInExceeded, TagsExhausted, DestinationsExceeded, PlacementFull, SourcesExceeded)
_LIMITS = (*_COUNTED, MappingViolation, CurrentOutOfRange, StimulusProblem)


def names_limits(violations: Sequence[BcallError]) -> bool:
    """Whether a refusal says which limits of the chip were broken, where, and with numbers."""
    if not violations:
        return False
    for violation in violations:
        if not isinstance(violation, _LIMITS) or not violation.where:
            return False
        if isinstance(violation, _COUNTED) and (violation.used is None or violation.limit is None):
            return False
        if not isinstance(violation, BiasConflict | ReservedTag) and not any(c.isdigit() for c in str(violation)):
            return False
    return True
