"""Networks for the mapper to prove itself on: many sizes and structures, some that do not fit.

`random_network(seed)` is what the benchmark and the tests take. Each case belongs to a style and knows whether it fits by
construction; most that are not known to fit do.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.network import Connection, Input, Network, NeuronParameters, Place, Population, SynapseParameters

TYPES = ("AMPA", "NMDA", "GABA_A", "GABA_B")
NEURONS, BOARD, CAM, TAGS = 256, 4096, 64, 1023
FULL = (255, 256, 257, 512, 768, 1023, 1024, 1025, 1280, 2048, 2049, 3072, 4095, 4096)
#: Work that the expansion of one network may cost: explicit pairs, and draws of random fan-in.
MAX_PAIRS, MAX_DRAWS = 40_000, 2_000_000

Chips = tuple[int, ...] | None


@dataclass(frozen=True)
class Case:
    """A network to map.

    Attributes:
        chips: those that may be used; None for as many as needed.
        style: how it was made.
        fits: whether it is known to fit; None if not known.
    """

    network: Network
    chips: Chips
    style: str
    fits: bool | None


def random_network(seed: int) -> tuple[Network, Chips]:
    """The network of a seed, and the chips that it may use."""
    case = random_case(seed)
    return case.network, case.chips


def random_case(seed: int, largest: int = BOARD) -> Case:
    """The network of a seed with what is known of it; `largest` bounds the neurons of most styles."""
    rng = random.Random(seed)
    style = rng.choices([s.__name__[1:] for s, _ in STYLES], [weight for _, weight in STYLES])[0]
    build = Builder(rng, largest)
    make = next(s for s, _ in STYLES if s.__name__[1:] == style)
    fits = make(build)
    chips = build.chips
    return Case(build.network(f"{style}-{seed}"), chips, style, fits)


def neuron(number: int = 0, types: Sequence[str] = TYPES, weight: int = 1) -> NeuronParameters:
    """Parameters that a core can be set to; another number is another kind, another weight other synapses."""
    synapses: dict[Any, SynapseParameters] = {
        name: SynapseParameters(tau_s=0.01 + 0.005 * TYPES.index(name), weight_a=weight * 4e-11) for name in types
    }
    return NeuronParameters(tau_s=0.02 + 0.004 * number, refractory_s=2e-3, gain_a=1e-9, pulse_width_s=2e-5, synapses=synapses)


def as_pairs(source: IntArray, target: IntArray) -> dict[str, Any]:
    """An explicit rule from two columns."""
    return {"kind": "explicit", "pairs": tuple(zip(source.tolist(), target.tolist(), strict=True))}


def fan_in_pairs(rng: np.random.Generator, sources: IntArray, targets: IntArray, fan_in: int) -> tuple[IntArray, IntArray]:
    """For each target `fan_in` different ones of the sources, as two columns."""
    drawn = np.argsort(rng.random((len(targets), len(sources))), axis=1)[:, :fan_in]
    return sources[drawn].ravel(), np.repeat(targets, fan_in)


class Builder:
    """A network in the making: it keeps within the CAM entries of its neurons unless told not to."""

    def __init__(self, rng: random.Random, largest: int = BOARD) -> None:
        self.rng, self.largest = rng, largest
        self.columns = np.random.default_rng(rng.getrandbits(32))
        self.inputs: dict[str, Input] = {}
        self.populations: dict[str, Population] = {}
        self.connections: list[Connection] = []
        self.room: dict[str, int] = {}
        self.chips: Chips = None

    def network(self, name: str) -> Network:
        return Network(
            name=name,
            inputs=tuple(self.inputs.values()),
            populations=tuple(self.populations.values()),
            connections=tuple(self.connections),
        )

    def add_input(self, size: int, tags: Sequence[int] | None = None) -> str:
        name = f"in{len(self.inputs)}"
        self.inputs[name] = Input(name=name, size=size, tags=None if tags is None else tuple(tags))
        return name

    def add(self, size: int, kind: NeuronParameters | None = None, place: tuple[int, int, int] | None = None) -> str:
        name = f"p{len(self.populations)}"
        wish = None if place is None else Place(chip=place[0], core=place[1], neuron=place[2])
        self.populations[name] = Population(name=name, size=size, neuron=kind or neuron(), place=wish)
        self.room[name] = CAM
        return name

    def size(self, name: str) -> int:
        return self.inputs[name].size if name in self.inputs else self.populations[name].size

    def link(self, source: str, target: str, rule: dict[str, Any], cost: int, multiplicity: int = 1, **more: Any) -> bool:
        """Add a connection if the targets have room for `cost` synapses of this multiplicity each."""
        if cost * multiplicity > self.room[target] or cost < 1:
            return False
        self.room[target] -= cost * multiplicity
        types = sorted(self.populations[target].neuron.synapses)
        values: dict[str, Any] = {"synapse": self.rng.choice(types), "plastic": self.rng.random() < 0.25} | more
        name = f"c{len(self.connections)}"
        self.connections.append(
            Connection(name=name, source=source, target=target, rule=rule, multiplicity=multiplicity, **values)
        )
        return True

    def random_fan_in(self, source: str, target: str, fan_in: int, pool: int = 10**9, multiplicity: int = 1) -> bool:
        """Random fan-in, from at most `pool` candidates, as few as the work allows."""
        n_source, n_target = self.size(source), self.size(target)
        pool = min(pool, n_source, max(1, MAX_DRAWS // n_target))
        fan_in = min(fan_in, pool, self.room[target] // multiplicity)
        candidates = None if pool == n_source else tuple(sorted(self.rng.sample(range(n_source), pool)))
        rule = {"kind": "random_fan_in", "fan_in": fan_in, "seed": self.rng.randrange(1000), "candidates": candidates}
        return fan_in > 0 and self.link(source, target, rule, fan_in, multiplicity)

    def total(self, largest: int = BOARD, smallest: int = 1) -> int:
        """Log-uniform, with a share of exactly full cores, chips and boards."""
        largest = min(largest, self.largest)
        smallest = min(smallest, largest)
        full = [size for size in FULL if smallest <= size <= largest]
        if full and self.rng.random() < 0.2:
            return self.rng.choice(full)
        return int(math.exp(self.rng.uniform(math.log(smallest), math.log(largest + 0.999))))

    def split(self, total: int, parts: int) -> list[int]:
        """Random sizes that sum up to the total."""
        parts = min(parts, total)
        cuts = [0, *sorted(self.rng.sample(range(1, total), parts - 1)), total]
        return [b - a for a, b in itertools.pairwise(cuts)]

    def fan_in(self, targets: int, most: int = CAM) -> int:
        """Fan-in within what explicit pairs may cost, sometimes the largest."""
        most = max(1, min(most, MAX_PAIRS // max(1, targets)))
        return most if self.rng.random() < 0.25 else self.rng.randint(1, most)

    def limit_chips(self) -> None:
        """Sometimes name the chips; enough for the neurons of one kind."""
        if self.rng.random() < 0.3:
            least = math.ceil(sum(p.size for p in self.populations.values()) / 1024)
            if least <= 4:
                self.chips = tuple(sorted(self.rng.sample(range(4), self.rng.randint(least, 4))))


# Styles: each builds a network and says whether it is known to fit ----------------------------------------------------


def _mixed(b: Builder) -> bool | None:
    """Populations of several kinds, inputs, all rules, multiplicities."""
    rng, total = b.rng, b.total()
    kinds = _kinds(b)
    for size in b.split(total, rng.randint(1, 20 if rng.random() < 0.4 else 5)):
        b.add(size, rng.choice(kinds))
    for _ in range(rng.randint(0, 4)):
        b.add_input(b.total(250))
    pool = 120 if total > 600 else 300
    for _ in range(rng.randint(1, 14)):
        _any_link(b, pool)
    b.limit_chips()
    return None


def _kinds(b: Builder) -> list[NeuronParameters]:
    """1 to 6 kinds; some differ in nothing but the synapse types that they declare, or in these types' weights."""
    rng, kinds = b.rng, []
    for number in range(rng.choice([1, 1, 1, 2, 2, 3, 4, 6])):
        kinds.append(neuron(number, rng.sample(TYPES, rng.randint(1, 4))))
        if rng.random() < 0.4:
            kinds.append(neuron(number, rng.sample(TYPES, rng.randint(1, 4)), rng.choice([1, 1, 2])))
    return kinds[:6]


def _any_link(b: Builder, pool: int) -> None:
    rng = b.rng
    source = rng.choice([*b.inputs, *b.populations])
    target = rng.choice(list(b.populations))
    n_source, n_target = b.size(source), b.size(target)
    multiplicity = rng.choice([1, 1, 1, 2, 3])
    kind = rng.choice(["all_to_all", "one_to_one", "random_fan_in", "random_fan_in", "explicit"])
    if kind == "all_to_all" and n_source <= CAM:
        b.link(source, target, {"kind": kind}, n_source, multiplicity)
    elif kind == "one_to_one" and n_source == n_target:
        b.link(source, target, {"kind": kind}, 1, multiplicity)
    elif kind == "explicit":
        sources = np.array(rng.sample(range(n_source), min(n_source, pool)))
        targets = np.array(rng.sample(range(n_target), min(n_target, 300)))
        fan_in = min(rng.randint(1, 8), len(sources))
        one, other = fan_in_pairs(b.columns, sources, targets, fan_in)
        plastic = rng.random() < 0.2
        listed: Any = zip(one.tolist(), other.tolist(), strict=True)
        weighted = tuple((s, t) if plastic or rng.random() < 0.7 else (s, t, 2) for s, t in listed)
        b.link(source, target, {"kind": kind, "pairs": weighted}, 2 * fan_in, multiplicity, plastic=plastic)
    else:
        b.random_fan_in(source, target, rng.choice([1, 4, 16, 40, 64]), pool, multiplicity)


def _blocks(b: Builder) -> bool | None:
    """Blocks that talk within themselves: as populations, or as one population whose neurons may be shuffled."""
    rng = b.rng
    total = b.total(smallest=8)
    block = min(total, rng.choice([16, 50, 64, 100, 128, 200, 255, 256] if rng.random() < 0.6 else [400, 512, 700, 1000, 1023]))
    count = min(4 if block > NEURONS else 10**6, max(1, total // block))
    total = block * count
    fan_in = b.fan_in(total, min(CAM - 4, block))
    one, other = [], []
    for number in range(count):
        members = np.arange(number * block, (number + 1) * block)
        s, t = fan_in_pairs(b.columns, members, members, fan_in)
        one.append(s)
        other.append(t)
    source, target = np.concatenate(one), np.concatenate(other)
    if count <= 20 and rng.random() < 0.4:
        for s, t in zip(one, other, strict=True):
            name = b.add(block)
            b.link(name, name, as_pairs(s % block, t % block), fan_in)
    else:
        if rng.random() < 0.6:
            order = b.columns.permutation(total)
            source, target = order[source], order[target]
        name = b.add(total)
        b.link(name, name, as_pairs(source, target), fan_in)
    if block <= NEURONS and rng.random() < 0.5:
        drive = b.add_input(rng.randint(1, 200))
        for population in b.populations:
            b.random_fan_in(drive, population, 4)
    # Blocks of a core or less lie one after another: a core hears its neighbours at most, three of a neuron number. Larger
    # ones have a chip each, and 1,023 sources there.
    return True


def _ring(b: Builder) -> bool | None:
    """Each neuron hears its neighbours on a ring or a line, which lies around the cores."""
    rng = b.rng
    total = b.total(smallest=3)
    reach = min((total - 1) // 2, rng.choice([1, 2, 5, 16, 32]), max(1, MAX_PAIRS // total // 2))
    steps = np.array([d for d in range(-reach, reach + 1) if d])
    target = np.repeat(np.arange(total), len(steps))
    source = (target + np.tile(steps, total)) % total
    if rng.random() < 0.3:
        inside = np.abs(source - target) <= reach
        source, target = source[inside], target[inside]
    if rng.random() < 0.3:
        order = b.columns.permutation(total)
        source, target = order[source], order[target]
    name = b.add(total)
    b.link(name, name, as_pairs(source, target), len(steps))
    return True


def _layers(b: Builder) -> bool | None:
    """Feed-forward layers from an input."""
    rng = b.rng
    kinds = [neuron()] if rng.random() < 0.6 else [neuron(), neuron(1)]
    before = b.add_input(b.total(700))
    for size in b.split(b.total(smallest=4), rng.randint(2, 8)):
        layer = b.add(size, rng.choice(kinds))
        b.random_fan_in(before, layer, rng.choice([4, 20, 56, 60]), 500)
        if rng.random() < 0.3:
            b.random_fan_in(layer, layer, 4, 100)
        before = layer
    return None


def _excitatory_inhibitory(b: Builder) -> bool | None:
    """Modules of excitatory and inhibitory neurons, with an input each."""
    rng = b.rng
    modules = rng.choice([1, 1, 1, 2, 3, 4])
    two_kinds = rng.random() < 0.5
    for _ in range(modules):
        size = b.total(960, smallest=10)
        inhibitory = max(1, size // 5)
        e, i = b.add(size - inhibitory), b.add(inhibitory, neuron(1) if two_kinds else None)
        for source, target in ((e, e), (e, i), (i, e), (i, i)):
            b.random_fan_in(source, target, rng.randint(1, 14), multiplicity=rng.choice([1, 1, 2]))
        if rng.random() < 0.7:
            drive = b.add_input(rng.randint(1, 40))
            b.random_fan_in(drive, e, rng.randint(1, 8))
    return None


def _star(b: Builder) -> bool | None:
    """One source to many, or many sources to one."""
    rng = b.rng
    rim = b.add(b.total(4000))
    if rng.random() < 0.5:
        hub = b.add_input(1) if rng.random() < 0.4 else b.add(1)
        b.link(hub, rim, {"kind": "all_to_all"}, 1, rng.randint(1, 5))
        return hub in b.inputs or b.size(rim) <= 3072
    hub = b.add(rng.randint(1, 3))
    b.random_fan_in(rim, hub, rng.choice([8, 63, 64]))
    return True


def _pools(b: Builder) -> bool | None:
    """Pools that learn from shared inputs, as a classifier does."""
    rng = b.rng
    inputs = b.add_input(rng.choice([64, 200, 784, 1000]))
    teacher = b.add_input(10)
    total = b.total(4000, smallest=10)
    pools = min(10, total)
    fan_in = rng.choice([8, 20, 56])
    for number in range(pools):
        pool = b.add(total // pools)
        candidates = tuple(
            sorted(rng.sample(range(b.size(inputs)), min(b.size(inputs), max(fan_in, MAX_DRAWS // 10 // total))))
        )
        rule = {"kind": "random_fan_in", "fan_in": fan_in, "seed": number, "candidates": candidates}
        b.link(inputs, pool, rule, fan_in, plastic=True)
        b.link(teacher, pool, as_pairs(np.full(total // pools, number), np.arange(total // pools)), 1, plastic=False)
    return True  # no neuron is a source, and 1,010 tags go everywhere


def _all_to_all(b: Builder) -> bool | None:
    """Cliques of neurons and clusters that hear all of an input."""
    rng = b.rng
    for _ in range(rng.randint(1, 12)):
        size = rng.choice([1, 2, 16, 32, 63, 64])
        clique = b.add(size)
        b.link(clique, clique, {"kind": "all_to_all"}, size, max(1, rng.choice([1, 1, CAM // size])))
        if b.room[clique] and rng.random() < 0.5:
            b.link(b.add_input(rng.randint(1, b.room[clique])), clique, {"kind": "all_to_all"}, 1)
    for connection in list(b.connections):  # the inputs above cost as many entries as they have sources
        fan = sum(b.size(c.source) * c.multiplicity for c in b.connections if c.target == connection.target)
        if fan > CAM:
            b.connections.remove(connection)
    return True


def _tight_tags(b: Builder) -> bool | None:
    """Inputs and neurons that fill, or just overfill, the tags of one or several cores."""
    rng = b.rng
    over = rng.random() < 0.3
    sources = TAGS + (1 if over else -rng.choice([0, 0, 1, 10]))
    own = rng.choice([0, 1, 100, 200, 239])
    inputs = b.add_input(sources - own)
    cores = rng.sample([(c, k) for c in range(4) for k in range(4)], rng.choice([1, 1, 4]))
    sender = b.add(own, None, (cores[0][0], (cores[0][1] + 1) % 4, 1)) if own else ""
    home = (cores[0][0], (cores[0][1] + 1) % 4)
    ids = np.arange(sources)
    for core in cores:
        if core == home and own:
            continue  # its neurons are the senders
        target = b.add(NEURONS, None, (*core, 0))
        hears = ids % NEURONS
        first = ids < b.size(inputs)
        b.link(inputs, target, as_pairs(ids[first], hears[first]), 4)
        if own:
            b.link(sender, target, as_pairs(ids[~first] - b.size(inputs), hears[~first]), 4)
    reached = {core[0] for core in cores if core != home}
    return not over and (not own or len(reached) <= 3)


def _tight_destinations(b: Builder) -> bool | None:
    """Neurons with targets wished on some chips, sometimes on all four."""
    rng = b.rng
    over = rng.random() < 0.3
    sources = [b.add(rng.randint(1, 20), None, (c, 0, rng.randint(0, 200)) if rng.random() < 0.5 else None) for c in range(4)]
    targets = {c: b.add(rng.randint(1, 40), None, (c, rng.randint(1, 3), rng.randint(0, 200))) for c in range(4)}
    for source in sources:
        for chip in rng.sample(range(4), 3):
            b.random_fan_in(source, targets[chip], 3)
    if over:
        for chip in range(4):
            rule = {"kind": "random_fan_in", "fan_in": 1, "seed": chip, "candidates": (0,)}
            b.link(sources[0], targets[chip], rule, 1)
    return None if not over else False


def _wishes(b: Builder) -> bool | None:
    """Wished places and tags; sources with equal neuron numbers; some wishes clash."""
    rng = b.rng
    clash = rng.random() < 0.25
    cores = rng.sample([(c, k) for c in range(4) for k in range(4)], rng.randint(2, 10))
    number, size = rng.choice([0, 1, rng.randint(0, 100)]), rng.randint(1, 100)
    for core in cores:
        b.add(size, neuron(rng.randrange(2)), (*core, number + (0 if clash else rng.choice([0, 0, 100]))))
    tags = rng.sample(range(0 if clash else 1, 1024), 60)
    inputs = [b.add_input(20, tags[:20]), b.add_input(20, tags[20:40]), b.add_input(20, tags[:20] if clash else None)]
    names = list(b.populations)
    for _ in range(rng.randint(1, 12)):
        source, target = rng.choice([*names, *names, *inputs]), rng.choice(names)
        b.random_fan_in(source, target, rng.randint(1, 12), 40)
    if rng.random() < 0.3:
        b.add(b.total(400))
    return None


def _over(b: Builder) -> bool | None:
    """Something is too much: by one, or by a structure that no board can hold."""
    rng = b.rng
    what = rng.randrange(11)
    if what == 0:
        for size in b.split(BOARD + rng.choice([1, 2, 300]), rng.randint(1, 10)):
            b.add(size)
    elif what == 1:
        for number in range(17):
            b.add(rng.randint(1, 20), neuron(number))
    elif what == 2:
        target, inputs = b.add(b.total(200)), b.add_input(CAM + rng.choice([1, 1, 30]))
        b.room[target] = 100
        b.link(inputs, target, {"kind": "all_to_all"}, b.size(inputs))
    elif what == 3:
        inputs, target = b.add_input(1024 + rng.choice([0, 1])), b.add(300)
        ids = np.arange(b.size(inputs))
        b.link(inputs, target, as_pairs(ids, ids % 300), 4)
    elif what == 4:
        target, hub = b.add(rng.choice([3073, 4000])), b.add(1)
        b.link(hub, target, {"kind": "all_to_all"}, 1)
    elif what == 5:  # random fan-in among far more sources than a core can tell apart
        name, ids = b.add(2048), np.arange(2048)
        b.chips = tuple(sorted(rng.sample(range(4), 2)))
        b.link(name, name, as_pairs(*fan_in_pairs(b.columns, ids, ids, 60)), 60)
    elif what == 6:
        inputs, target = b.add_input(3, (rng.randrange(1, 1024), 0, 5)), b.add(b.total(300))
        b.link(inputs, target, {"kind": "all_to_all"}, 3)
    elif what == 7:
        b.add(10, neuron(0), (1, 2, 5))
        b.add(10, neuron(rng.choice([0, 1]), TYPES, 2), (1, 2, 100))
    elif what == 8:
        number, target = rng.choice([0, 77]), b.add(3)
        for chip, core in rng.sample([(c, k) for c in range(4) for k in range(4)], 5 if number else 4):
            b.link(b.add(1, None, (chip, core, number)), target, {"kind": "all_to_all"}, 1)
    elif what == 9:
        b.chips = (rng.randrange(4),)
        sizes = [(rng.choice([1025, 2000]), 1)] if rng.random() < 0.5 else [(250, 1), (300, 2), (5, 3), (1, 4), (40, 5)]
        for size, number in sizes:
            b.add(size, neuron(number))
    else:
        b.chips = (2,)  # one kind has one core, and it must tell 1,024 sources apart
        for number in range(1, 4):
            b.add(NEURONS, neuron(number))
        inputs, target = b.add_input(900), b.add(rng.randint(20, NEURONS))
        ids = np.arange(900)
        b.link(inputs, target, as_pairs(ids, ids % b.size(target)), math.ceil(900 / b.size(target)))
        for number in range(3):
            ids = np.arange(42)
            b.link(f"p{number}", target, as_pairs(ids, ids % b.size(target)), math.ceil(42 / b.size(target)))
    return False


STYLES: tuple[tuple[Callable[[Builder], bool | None], float], ...] = (
    (_mixed, 26), (_blocks, 13), (_ring, 7), (_layers, 9), (_excitatory_inhibitory, 9), (_star, 5), (_pools, 5),
    (_all_to_all, 5), (_tight_tags, 5), (_tight_destinations, 5), (_wishes, 8), (_over, 15),
)  # fmt: skip
