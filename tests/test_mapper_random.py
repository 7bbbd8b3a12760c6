"""Random networks of 1 to 4,096 neurons, each mapped and proved or refused and explained; and that the oracle can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mapper_helpers import CHIP, at, link, network, neuron, pairs, population

from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import FanInExceeded, InvalidValue, TagsExhausted
from bcall_hw.mapper import MappedNetwork, map_network
from bcall_hw.network import Input, Network, Population
from benchmarks import mapper_oracle
from benchmarks.mapper import ALL, judge, summary
from benchmarks.mapper_networks import STYLES, random_case, random_network
from benchmarks.mapper_oracle import asked, delivered, expand, mismatches, names_limits, proof_of_refusal, round_trip

#: Every third network with more than so many neurons or synapses is tried, so that all take a minute at most.
LARGE_NEURONS, LARGE_SYNAPSES, SEEDS = 1500, 40_000, range(120)


def is_left_out(seed: int) -> bool:
    net, _ = random_network(seed)
    if seed % 3 == 0:
        return False
    synapses = sum(len(sources) for _, sources, _, _ in expand(net))
    return sum(p.size for p in net.populations) > LARGE_NEURONS or synapses > LARGE_SYNAPSES


@pytest.mark.parametrize("tens", range(12))
def test_random_networks_are_proved_or_refused_with_a_reason(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        if not is_left_out(seed):
            result = judge(seed)
            assert result.outcome in ("mapped", "proved", "named"), f"seed {seed}: {result.said}"
            assert result.mismatches[:5] == [], f"seed {seed} ({result.style})"
            assert not (result.fits is True and result.outcome == "proved"), f"seed {seed}: it fits, {result.said}"
            assert not (result.fits is False and result.outcome == "mapped"), f"seed {seed} ({result.style})"


def test_the_generator_covers_what_it_should() -> None:
    cases = [random_case(seed) for seed in range(400)]
    seen: Counter[str] = Counter()
    sizes = [sum(p.size for p in c.network.populations) for c in cases]
    for case in cases:
        net = case.network
        seen[case.style] += 1
        seen["chips given"] += case.chips is not None
        seen["cannot fit"] += case.fits is False
        seen["plastic"] += any(c.plastic for c in net.connections)
        seen["wished tags"] += any(i.tags for i in net.inputs)
        seen["wished places"] += any(p.place for p in net.populations)
        seen["kinds"] += len({p.neuron.model_dump_json() for p in net.populations}) > 1
        seen["other types"] += len({frozenset(p.neuron.synapses) for p in net.populations}) > 1
        for kind in {c.rule.kind for c in net.connections} | {str(c.synapse) for c in net.connections}:
            seen[kind] += 1
        seen["multiplicity"] += any(c.multiplicity > 1 for c in net.connections)
    assert {style.__name__[1:] for style, _ in STYLES} <= set(seen)
    assert min(seen.values()) >= 4, seen
    assert min(sizes) <= 4
    assert sum(size > 2048 for size in sizes) >= 20
    assert sum(size in (256, 512, 768, 1024, 2048, 3072, 4096) for size in sizes) >= 15
    assert max(len(c.network.populations) for c in cases) >= 15
    assert any(sum(i.size for i in c.network.inputs) > 1000 for c in cases)


def test_the_generator_is_deterministic() -> None:
    assert [random_network(seed) for seed in (3, 14)] == [random_network(seed) for seed in (3, 14)]


def test_the_summary_counts() -> None:
    results = [judge(seed) for seed in range(4)]
    found = summary(results, 1.0)
    assert found["networks"] == 4 == found["mapped"] + found["refused"] + len(found["errors"])
    assert found["mismatches"] == 0
    results[0].outcome, results[0].mismatches = "unnamed", ["names no limit"]
    results[1].outcome, results[1].said = "error", "ValueError"
    found = summary(results, 1.0)
    assert (found["mismatches"], [e["seed"] for e in found["errors"]]) == (1, [1])


# The oracle can fail --------------------------------------------------------------------------------------------------


def small() -> Network:
    return network(
        Input(name="x", size=6),
        population("a", 5, at(0, 1, 7)),
        population("b", 4, at(3, 2, 40)),
        link("xa", "x", "a", multiplicity=2),
        link("ab", "a", "b", synapse="NMDA"),
        link("xb", "x", "b", pairs((0, 0), (5, 3)), plastic=True),
    )


@pytest.fixture
def mapped() -> MappedNetwork:
    found = map_network(small(), CHIP, ALL)
    assert mismatches(found, network=small(), chips=ALL) == []
    return found


def with_cam(mapped: MappedNetwork, place: tuple[int, ...], field: str, value: int) -> MappedNetwork:
    cam = mapped.config.cam.copy()
    cam[field][place] = value
    return replace(mapped, config=mapped.config.with_registers(cam=cam))


def with_sram(mapped: MappedNetwork, place: tuple[int, ...], **fields: int) -> MappedNetwork:
    sram = mapped.config.sram.copy()
    for name, value in fields.items():
        sram[name][place] = value
    return replace(mapped, config=mapped.config.with_registers(sram=sram))


def used_entry(mapped: MappedNetwork, place: tuple[int, int, int], kind: int = 3) -> tuple[int, ...]:
    entries = mapped.config.cam[place].tolist()
    return (*place, next(i for i, (c, n, t) in enumerate(entries) if (c or n) and t == kind))


@pytest.mark.parametrize(("field", "bit"), [("source_core", 1), ("source_core", 2), ("source_neuron", 64), ("type", 1)])
def test_one_changed_cam_word_shows(mapped: MappedNetwork, field: str, bit: int) -> None:
    place = used_entry(mapped, (0, 1, 9))
    value = int(mapped.config.cam[field][place]) ^ bit
    assert any("registers: ('x'" in line for line in mismatches(with_cam(mapped, place, field, value)))


def test_a_used_tag_in_an_unused_cam_entry_shows(mapped: MappedNetwork) -> None:
    tag = int(mapped.input_tags["x"][0])
    for neuron_id in (9, 200):  # one of the population's, and one that holds nothing
        changed = with_cam(mapped, (0, 1, neuron_id, 63), "source_core", tag // 256)
        changed = with_cam(changed, (0, 1, neuron_id, 63), "source_neuron", tag % 256)
        assert mismatches(changed)
    assert any("neuron 200 holds nothing and hears" in line for line in mismatches(changed))


def test_a_tag_that_nobody_sends_shows(mapped: MappedNetwork) -> None:
    assert any("nobody sends" in line for line in mismatches(with_cam(mapped, (0, 1, 9, 63), "source_neuron", 250)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"virtual_core": 9}, "no such word"),
        ({"core_mask": 0}, "0 instead of 1"),
        ({"core_mask": 0b0010}, "0 instead of 1"),
        ({"dx": 0}, "0 instead of 1"),
        ({"dy": 0}, "0 instead of 1"),
        ({"dx": 2}, "off the board"),
        ({"sy": 0, "dy": 1}, "off the board"),
    ],
)
def test_one_changed_sram_word_shows(mapped: MappedNetwork, fields: dict[str, int], said: str) -> None:
    entries = mapped.config.sram[0, 1, 8].tolist()
    place = (0, 1, 8, next(i for i, entry in enumerate(entries) if entry[5]))
    assert any(said in line for line in mismatches(with_sram(mapped, place, **fields)))


def test_another_virtual_core_shows(mapped: MappedNetwork) -> None:
    entries = mapped.config.sram[0, 1, 8].tolist()
    index = next(i for i, entry in enumerate(entries) if entry[5])
    other = (entries[index][0] + 1) % 4
    assert any("0 instead of 1" in line for line in mismatches(with_sram(mapped, (0, 1, 8, index), virtual_core=other)))


def test_a_second_entry_to_the_same_core_shows(mapped: MappedNetwork) -> None:
    entries = mapped.config.sram[0, 1, 8].tolist()
    used = next(entry for entry in entries if entry[5])
    free = next(i for i, entry in enumerate(entries) if not entry[5])
    fields = dict(zip(mapped.config.sram.dtype.names or (), used, strict=True))
    lines = mismatches(with_sram(mapped, (0, 1, 8, free), **fields))
    assert any("one source twice" in line for line in lines)
    assert any("2 instead of 1" in line for line in lines)


def test_a_neuron_that_holds_nothing_and_sends_shows(mapped: MappedNetwork) -> None:
    lines = mismatches(with_sram(mapped, (1, 0, 3, 0), core_mask=1, virtual_core=2))
    assert any("sends, but the neuron holds nothing" in line for line in lines)


def test_a_send_under_the_reserved_tag_shows(mapped: MappedNetwork) -> None:
    lines = mismatches(with_sram(mapped, (1, 0, 0, 0), core_mask=1, virtual_core=0))
    assert any("sends under the reserved tag" in line for line in lines)
    tags = mapped.input_tags["x"].copy()
    tags[2] = 0
    lines = mismatches(replace(mapped, input_tags={"x": tags}))
    assert any("input 'x' source 2 sends under the reserved tag" in line for line in lines)


def test_one_changed_tag_shows(mapped: MappedNetwork) -> None:
    tags = mapped.input_tags["x"].copy()
    tags[3] = next(t for t in range(1, 1024) if t not in tags)
    assert any("('x', 3) to ('a', 0)" in line for line in mismatches(replace(mapped, input_tags={"x": tags})))


def test_a_tag_of_two_sources_shows(mapped: MappedNetwork) -> None:
    tags = mapped.input_tags["x"].copy()
    tags[3] = tags[4]
    lines = mismatches(replace(mapped, input_tags={"x": tags}))
    assert any("comes from two sources" in line for line in lines)
    assert any("share tag" in line for line in lines)


def test_a_changed_reach_shows(mapped: MappedNetwork) -> None:
    reach = list(mapped.input_reach["x"])
    for other in (frozenset(), reach[1] | {(9, 0)}):
        changed = replace(mapped, input_reach={"x": [reach[0], other, *reach[2:]]})
        assert mismatches(changed)


@pytest.mark.parametrize("other", [(0, 1, 250), (0, 1, 8), (2, 1, 7), (4, 0, 0), (0, 1, 256)])
def test_one_changed_address_shows(mapped: MappedNetwork, other: tuple[int, int, int]) -> None:
    table = mapped.addresses["a"].copy()
    table[0] = other
    lines = mismatches(replace(mapped, addresses={**mapped.addresses, "a": table}))
    assert any("registers: " in line for line in lines)
    assert any("neuron 0 is not at its wished place" in line for line in lines)


def test_a_changed_plastic_slot_shows(mapped: MappedNetwork) -> None:
    slots = mapped.plastic["xb"]
    for name in ("tags", "entries", "sources", "addresses"):
        table = getattr(slots, name).copy()
        table[0] += 1
        lines = mismatches(replace(mapped, plastic={"xb": replace(slots, **{name: table})}))
        assert any("plastic 'xb'" in line for line in lines), name


def test_a_parked_synapse_is_no_delivery() -> None:
    parked = {"xb": np.array([[False], [True], [True], [True]])}
    found = map_network(small(), CHIP, ALL, efficacy=parked)
    assert mismatches(found, parked) == []
    assert mismatches(found) != []
    assert sum(delivered(found).values()) == sum(asked(small()).values()) - 1


def test_kinds_that_share_a_core_show() -> None:
    other = neuron(0.03)
    net = network(population("a", 2, at(0, 0, 1)), population("b", 2, at(0, 0, 9)))
    found = map_network(net, CHIP, (0,))
    changed = net.model_copy(update={"populations": (net.populations[0], population("b", 2, at(0, 0, 9), other))})
    assert any("share core" in line for line in mismatches(replace(found, network=changed)))


# Reading back ---------------------------------------------------------------------------------------------------------


def read_slowly(config: ChipConfig) -> Network:
    """The network of some registers, neuron by neuron: a stand-in that shows what the round trip expects."""
    sends: dict[tuple[int, int], dict[int, str]] = {}
    used: dict[str, tuple[int, int, int]] = {}
    for row, chip in enumerate(config.chips):
        for core in range(4):
            for number in range(256):
                name = f"n{chip}-{core}-{number}"
                if config.cam[row, core, number]["source_neuron"].any() or config.sram[row, core, number]["core_mask"].any():
                    used[name] = (chip, core, number)
                for virtual, sy, dy, sx, dx, mask in config.sram[row, core, number].tolist():
                    there = (chip & 1) + (-dx if sx else dx) + 2 * ((chip >> 1) + (dy if sy else -dy))
                    for target in range(4):
                        if mask >> target & 1:
                            sends.setdefault((there, target), {})[virtual * 256 + number] = name
    tags: list[int] = []
    links: dict[tuple[str, str, str], Counter[tuple[int, int]]] = {}
    for name, (chip, core, number) in used.items():
        for virtual, low, code in config.cam[config.chips.index(chip), core, number].tolist():
            tag = virtual * 256 + low
            if tag == 0:
                continue
            source = sends.get((chip, core), {}).get(tag, "fpga")
            if source == "fpga" and tag not in tags:
                tags.append(tag)
            key = (source, name, ("GABA_B", "GABA_A", "NMDA", "AMPA")[code])
            links.setdefault(key, Counter())[tags.index(tag) if source == "fpga" else 0, 0] += 1
    parts: list[Any] = [population(name, 1, at(*place)) for name, place in used.items()]
    parts += [Input(name="fpga", size=len(tags), tags=tuple(tags))] if tags else []
    for number, ((source, target, kind), listed) in enumerate(links.items()):
        rule = pairs(*((*pair, count) for pair, count in listed.items()))
        parts.append(link(f"c{number}", source, target, rule, kind))
    return network(*parts)


def test_the_round_trip_agrees_with_a_slow_reader(mapped: MappedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapper_oracle, "network_of", read_slowly)
    assert round_trip(mapped) == []
    monkeypatch.setattr(mapper_oracle, "network_of", lambda config: _without_last(read_slowly(config)))
    assert round_trip(mapped) != []
    monkeypatch.setattr(mapper_oracle, "network_of", lambda config: _moved(read_slowly(config)))
    assert any("holds nothing" in line for line in round_trip(mapped))


def _without_last(net: Network) -> Network:
    return net.model_copy(update={"connections": net.connections[:-1]})


def _moved(net: Network) -> Network:
    first: Population = net.populations[0]
    return net.model_copy(update={"populations": (first.model_copy(update={"place": at(2, 2, 2)}), *net.populations[1:])})


def test_the_round_trip_sees_one_changed_word(mapped: MappedNetwork) -> None:
    place = used_entry(mapped, (3, 2, 41), kind=2)
    assert round_trip(with_cam(mapped, place, "type", 1)) != []
    entries = mapped.config.sram[0, 1, 8].tolist()
    index = next(i for i, entry in enumerate(entries) if entry[5])
    assert round_trip(with_sram(mapped, (0, 1, 8, index), core_mask=0)) != []


# Proofs and names -----------------------------------------------------------------------------------------------------


def test_a_proof_is_given_for_each_kind_of_impossible_network() -> None:
    x64 = Input(name="x", size=64)
    one = population("p", 1)
    five = [population(f"s{n}", 1, at(n % 4, n // 4, 9)) for n in range(5)]
    four = [population(f"s{n}", 1, at(n, 0, 0)) for n in range(4)]
    chips = [population(f"t{n}", 1, at(n, 1)) for n in range(4)]
    impossible: dict[str, tuple[Network, tuple[int, ...]]] = {
        "1025 neurons": (network(population("p", 1025)), (0,)),
        "kinds": (network(*(population(f"p{n}", 1, None, neuron(0.02 + n / 1000)) for n in range(5))), (0,)),
        "65 CAM": (network(x64, population("p", 2), link("a", "x", "p"), link("b", "p", "p", pairs((0, 1)))), ALL),
        "1025 sources": (network(Input(name="x", size=1025), one, link("c", "x", "p", pairs((0, 0)))), ALL),
        "reserved": (network(Input(name="x", size=1, tags=(0,)), one, link("c", "x", "p")), ALL),
        "last": (network(Input(name="x", size=1, tags=(1024,)), one, link("c", "x", "p")), ALL),
        "wish tag 5": (network(Input(name="x", size=2, tags=(5, 5)), one, link("c", "x", "p")), ALL),
        "both wish": (network(population("p", 9, at(0, 0)), population("q", 1, at(0, 0, 8))), ALL),
        "do not fit": (network(population("p", 257, at(0, 0))), ALL),
        "other biases": (network(population("p", 1, at(0, 0)), population("q", 1, at(0, 0, 8), neuron(0.5))), ALL),
        "neuron number 9": (network(*five, one, *(link(f"c{p.name}", p.name, "p") for p in five)), ALL),
        "neuron number 0": (network(*four, one, *(link(f"c{p.name}", p.name, "p") for p in four)), ALL),
        "4 chips": (network(one, *chips, *(link(f"c{p.name}", "p", p.name) for p in chips)), ALL),
        "3073 targets": (network(one, population("q", 3073), link("c", "p", "q")), ALL),
    }
    for said, (net, allowed) in impossible.items():
        proof = proof_of_refusal(net, chips=allowed)
        assert proof is not None, said
        assert said in proof


def test_no_proof_for_what_fits() -> None:
    assert proof_of_refusal(small()) is None
    assert proof_of_refusal(network(population("p", 4096))) is None


def test_only_violations_with_numbers_name_a_limit() -> None:
    assert names_limits([TagsExhausted("no tag is left", where="chip 0 core 0", used=1024, limit=1023)])
    assert not names_limits([TagsExhausted("no tag is left", where="chip 0 core 0")])
    assert not names_limits([FanInExceeded("too many", used=65, limit=64)])
    assert not names_limits([InvalidValue("wrong", where="network", used=1, limit=2)])
    assert not names_limits([])


DISABLED = {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_ICL AVX2 FMA3 X86_V3 X86_V4"}


def test_processors_and_hash_seeds_make_no_difference() -> None:
    """Mapped in processes with other instructions and another hash seed: the same registers."""
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from benchmarks.mapper_networks import random_network\n"
        "from bcall_hw.mapper import map_network\n"
        "from bcall_hw.errors import NetworkDoesNotFit\n"
        "for seed in (1, 5, 6, 14):\n"
        "    net, chips = random_network(seed)\n"
        "    try: print(seed, map_network(net, 'dynapse1', chips).config.sha256)\n"
        "    except NetworkDoesNotFit as problem: print(seed, len(problem.violations))\n"
    )
    told = []
    for changes in ({"PYTHONHASHSEED": "1"}, DISABLED | {"PYTHONHASHSEED": "2"}):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=os.environ | changes, check=False
        )
        if "NPY_DISABLE_CPU_FEATURES" in changes and "RuntimeError" in done.stderr:
            pytest.skip("this numpy cannot do without these instructions")
        told.append(done.stdout)
    assert told[0] == told[1]
    assert told[0].count("\n") == 4
