"""The chip's thirteen rules, one table: each broken once, or shown to be impossible to break by trying."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from mapper_helpers import CHIP, asked, at, delivered, link, network, neuron, pairs, population, random_network

from bcall_hw.backend import open_backend
from bcall_hw.chip_config import WORD_DTYPE, ChipConfig
from bcall_hw.errors import (
    BcallError,
    DestinationsExceeded,
    FieldOverflow,
    InvalidValue,
    IsiOverflow,
    NetworkDoesNotFit,
    ReservedTag,
    StimulusProblem,
    StimulusTooLong,
    TagCollision,
)
from bcall_hw.mapper import MappedNetwork, map_network, network_of
from bcall_hw.mapper.check import check
from bcall_hw.network import Connection, Input, Network
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.stimulus import EVENT_DTYPE, Stimulus

ALL = (0, 1, 2, 3)
EMPTY = ChipConfig.after_opening(CHIP, ALL)


def refused(net: Network, kind: type[BcallError], *said: str, chips: tuple[int, ...] | None = None) -> BcallError:
    """The only violation of a network, which must be of this class and say these things."""
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP, chips)
    assert [type(v) for v in caught.value.violations] == [kind], str(caught.value)
    for piece in said:
        assert piece in str(caught.value.violations[0]), str(caught.value.violations[0])
    return caught.value.violations[0]


def changed(array: str, place: tuple[int, ...], **fields: int) -> ChipConfig:
    """The opened board with some fields of one register set."""
    values = getattr(EMPTY, array).copy()
    for name, value in fields.items():
        values[name][place] = value
    return EMPTY.with_registers(**{array: values})


def words(config: ChipConfig, kind: str) -> tuple[Any, dict[str, Any]]:
    """Chips and unpacked fields of all words of one kind."""
    number = ("cam", "sram", "bias", "tau2").index(kind)
    every = config.words()
    mine = every[every["kind"] == number]
    return mine["chip"], CHIP.words[kind].unpack(mine["word"])  # type: ignore[index]


def sends(mapped: MappedNetwork) -> list[tuple[int, ...]]:
    """Every connected destination: chip, core, neuron, entry, virtual core, sy, dy, sx, dx, core mask."""
    chips, fields = words(mapped.config, "sram")
    names = ("core", "neuron", "entry", "virtual_core", "sy", "dy", "sx", "dx", "core_mask")
    rows = zip(chips.tolist(), *(fields[n].tolist() for n in names), strict=True)
    return [row for row in rows if row[-1]]


# 1: a target core knows a source by its tag alone -------------------------------------------------------------------


def test_rule_01_two_sources_under_one_tag_in_one_core() -> None:
    """A neuron number that the wished tags use up on every virtual core: the neuron cannot be told from an input."""
    net = network(
        Input(name="x", size=4, tags=tuple(v * 256 + 77 for v in range(4))),
        population("s", 1, at(2, 1, 77)),
        population("t", 5, at(3, 2, 10)),
        link("a", "x", "t", pairs(*((k, k) for k in range(4)))),
        link("b", "s", "t", pairs((0, 4)), "GABA_A"),
    )
    found = refused(net, TagCollision, "population 's' neuron 0", "chip 3 core 2", "input 'x'", "neuron 77)")
    assert found.fix


def test_rule_01_the_same_tags_in_two_cores_are_no_collision() -> None:
    parts = [Input(name=f"x{k}", size=2, tags=(77, 400)) for k in range(3)]
    targets = [population(f"t{k}", 2, at(1, k)) for k in range(3)]
    net = network(*parts, *targets, *(link(f"c{k}", f"x{k}", f"t{k}") for k in range(3)))
    assert delivered(map_network(net, CHIP)) == asked(net)


def test_rule_01_poisson_and_list_sources_collide_too() -> None:
    net = network(
        Input(name="noise", size=1, tags=(600,), poisson=True), Input(name="x", size=1, tags=(600,)),
        population("p", 2, at(0, 2)), link("a", "noise", "p", pairs((0, 0))), link("b", "x", "p", pairs((0, 1)), "NMDA"),
    )  # fmt: skip
    refused(net, TagCollision, "chip 0 core 2", "input 'noise' source 0", "input 'x' source 0", "(core 2, neuron 88)")


def test_rule_01_poisson_sources_reach_the_cores_of_each_other() -> None:
    """All Poisson sources reach the same cores, so a list source with the tag of one collides where only another is heard."""
    net = network(
        Input(name="noise", size=2, tags=(600, 601), poisson=True), Input(name="x", size=1, tags=(600,)),
        population("p", 1, at(0, 1)), population("q", 1, at(0, 2)),
        link("a", "noise", "p", pairs((0, 0))), link("b", "noise", "q", pairs((1, 0))), link("c", "x", "q"),
    )  # fmt: skip
    refused(net, TagCollision, "chip 0 core 2", "input 'noise' source 0", "input 'x' source 0", "(core 2, neuron 88)")


# 2: collisions whatever the type, and no spill into other cores -----------------------------------------------------


@pytest.mark.parametrize("synapse", ["AMPA", "NMDA", "GABA_A", "GABA_B"])
def test_rule_02_cross_type_collision_of_two_inputs(synapse: str) -> None:
    net = network(
        Input(name="x", size=2, tags=(5, 900)), Input(name="y", size=1, tags=(900,)), population("p", 2, at(1, 0)),
        link("a", "x", "p", pairs((1, 0)), "GABA_B"), link("b", "y", "p", pairs((0, 1)), synapse),
    )  # fmt: skip
    refused(net, TagCollision, "chip 1 core 0", "input 'x' source 1", "input 'y' source 0", "(core 3, neuron 132)")


def test_rule_02_cross_type_collision_in_registers() -> None:
    """Registers by hand: the vendor's generator would pass them, because the two synapses differ in type."""
    sram, cam = EMPTY.sram.copy(), EMPTY.cam.copy()
    sram[1, 0, 40, 0] = (2, 0, 0, 0, 0, 0b0100)
    sram[3, 1, 40, 2] = (2, 0, 1, 0, 0, 0b0100)
    cam[1, 2, 5, 0], cam[1, 2, 6, 0] = (2, 40, 3), (2, 40, 1)
    config = EMPTY.with_registers(sram=sram, cam=cam)
    found = check(config)
    assert [type(p) for p in found] == [TagCollision]
    for piece in ("chip 1 core 2", "chip 1 core 0 neuron 40", "chip 3 core 1 neuron 40", "(core 2, neuron 40)"):
        assert piece in str(found[0])
    with pytest.raises(NetworkDoesNotFit, match=r"chip 1 core 2.*\(core 2, neuron 40\)"):
        network_of(config)


@pytest.mark.parametrize("seed", range(6))
def test_rule_02_events_reach_the_cores_of_their_targets_and_no_other(seed: int) -> None:
    net = random_network(seed, ALL)
    mapped = map_network(net, CHIP, ALL)
    core_of = {(n, i): tuple(a[:2]) for n, t in mapped.addresses.items() for i, a in enumerate(t.tolist())}
    owner = {tuple(a): (n, i) for n, t in mapped.addresses.items() for i, a in enumerate(t.tolist())}
    wanted: dict[Any, set[Any]] = {}
    for source, target, _ in asked(net):
        wanted.setdefault(source, set()).add(core_of[target])
    reached: dict[Any, set[Any]] = {}
    for chip, core, number, _, _, sy, dy, sx, dx, mask in sends(mapped):
        there = chip + (-dx if sx else dx) + 2 * (dy if sy else -dy)
        reached.setdefault(owner[chip, core, number], set()).update((there, k) for k in range(4) if mask >> k & 1)
    for name, reach in mapped.input_reach.items():
        reached |= {(name, i): set(cores) for i, cores in enumerate(reach) if cores}
    assert reached == wanted


# 3: the virtual core ------------------------------------------------------------------------------------------------


def test_rule_03_the_virtual_core_dodges_a_collision() -> None:
    places = [at(0, 0, 9), at(1, 2, 9), at(2, 3, 9)]
    sources = [population(f"s{n}", 1, place) for n, place in enumerate(places)]
    net = network(
        Input(name="x", size=1, tags=(256 + 9,)), *sources, population("t", 1, at(1, 0, 3)), link("x", "x", "t"),
        *(link(s.name, s.name, "t", synapse=t) for s, t in zip(sources, ("AMPA", "NMDA", "GABA_A"), strict=True)),
    )  # fmt: skip
    mapped = map_network(net, CHIP)
    assert sorted(row[4] for row in sends(mapped)) == [0, 2, 3]
    assert all(row[2] == 9 for row in sends(mapped))  # the low byte is the neuron's own number
    assert delivered(mapped) == asked(net)


def test_rule_03_no_virtual_core_is_left() -> None:
    """Neuron number 0 has three usable virtual cores, because (core 0, neuron 0) is reserved."""
    sources = [population(f"s{n}", 1, at(n, 3, 0)) for n in range(3)]
    parts = (Input(name="x", size=1, tags=(512,)), *sources, population("t", 1, at(0, 1, 7)))
    net = network(*parts, link("x", "x", "t"), *(link(s.name, s.name, "t", synapse="NMDA") for s in sources))
    refused(net, TagCollision, "chip 0 core 1", "neuron 0)")


def test_rule_03_a_virtual_core_for_each_destination() -> None:
    """Four neurons 0, one on each chip: every core hears three of them and has three tags for that number."""
    parts = [population(f"p{c}", 1, at(c, 0)) for c in range(4)]
    links = [link(f"c{a}{b}", f"p{a}", f"p{b}") for a in range(4) for b in range(4) if a != b]
    net = network(*parts, *links)
    assert delivered(map_network(net, CHIP)) == asked(net)


def test_rule_03_a_collision_names_only_neurons_that_arrive() -> None:
    """Five neurons 9 must reach one core, which is one too many; a sixth one sends elsewhere and is none of them."""
    places = [at(0, 0, 9), at(0, 1, 9), at(0, 2, 9), at(0, 3, 9), at(1, 0, 9)]
    crowd = [population(f"crowd{n}", 1, place) for n, place in enumerate(places)]
    parts = [
        *crowd,
        population("bystander", 1, at(2, 0, 9)),
        population("t", 1, at(1, 2, 100)),
        population("u", 1, at(3, 0, 50)),
    ]
    links = [*(link(f"c{p.name}", p.name, "t") for p in crowd), link("far", "bystander", "u")]
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(network(*parts, *links), CHIP, (0, 1, 2, 3))
    (violation,) = caught.value.violations
    assert violation.where == "chip 1 core 2"
    assert all(f"'crowd{n}'" in str(violation) for n in range(5))
    assert "bystander" not in str(violation)


# 4: the weight is a number of CAM entries ---------------------------------------------------------------------------


@pytest.mark.parametrize("multiplicity", [0, -1, 1.5, True])
def test_rule_04_a_weight_that_is_no_number_of_entries(multiplicity: Any) -> None:
    with pytest.raises(InvalidValue, match="multiplicity"):
        Connection(name="c", source="x", target="p", synapse="AMPA", multiplicity=multiplicity)


def test_rule_04_a_weight_is_so_many_identical_entries() -> None:
    net = network(
        Input(name="x", size=3, tags=(300, 301, 302)), population("p", 1, at(0, 3, 8)),
        link("c", "x", "p", pairs((0, 0, 1), (1, 0, 20), (2, 0, 43)), "GABA_A"),
    )  # fmt: skip
    _, fields = words(map_network(net, CHIP).config, "cam")
    mine = (fields["core"] == 3) & (fields["neuron"] == 8)
    found = np.stack([fields[n][mine] for n in ("source_core", "source_neuron", "type")], axis=1).tolist()
    assert sorted(map(tuple, found)) == [(1, 44, 1)] * 1 + [(1, 45, 1)] * 20 + [(1, 46, 1)] * 43


# 5: the reserved tag ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poisson", [False, True])
def test_rule_05_a_source_that_wishes_the_reserved_tag(poisson: bool) -> None:
    net = network(Input(name="x", size=3, tags=(9, 0, 8), poisson=poisson), population("p", 2), link("c", "x", "p"))
    refused(net, ReservedTag, "input 'x' source 1", "(core 0, neuron 0)")


@pytest.mark.parametrize("seed", range(4))
def test_rule_05_no_source_has_the_reserved_tag_and_unused_entries_hold_it(seed: int) -> None:
    net = random_network(seed, (0,))
    mapped = map_network(net, CHIP, (0,))
    assert not any(row[4] == row[2] == 0 for row in sends(mapped))
    used = [t for n, tags in mapped.input_tags.items() for t, r in zip(tags, mapped.input_reach[n], strict=True) if r]
    assert 0 not in used
    cam = mapped.config.cam
    unused = (cam["source_core"] == 0) & (cam["source_neuron"] == 0)
    assert int((~unused).sum()) == sum(asked(net).values())


@pytest.mark.parametrize("synapse", ["AMPA", "NMDA", "GABA_A", "GABA_B"])
def test_rule_05_parked_entries_listen_to_the_reserved_tag(synapse: str) -> None:
    net = network(
        Input(name="x", size=9), population("p", 4), link("c", "x", "p", synapse=synapse, plastic=True),
        link("d", "p", "p", {"kind": "one_to_one"}),
    )  # fmt: skip
    mapped = map_network(net, CHIP, efficacy={"c": np.zeros((4, 9), dtype=bool)})
    slots = mapped.plastic["c"]
    for post, entries in enumerate(slots.entries):
        chip, core, number = slots.addresses[post].tolist()
        held = mapped.config.cam[mapped.config.chips.index(chip), core, number][entries.ravel()]
        assert set(map(tuple, held.tolist())) == {(0, 0, slots.type_code)}
    assert sum(delivered(mapped).values()) == 4


def test_rule_05_a_neuron_that_sends_the_reserved_tag_is_refused() -> None:
    found = check(changed("sram", (2, 0, 0, 1), virtual_core=0, core_mask=0b0010))
    assert [type(p) for p in found] == [ReservedTag]
    assert "chip 2 core 0 neuron 0" in str(found[0])
    mapped = map_network(network(population("p", 1, at(0, 0, 0)), link("c", "p", "p")), CHIP)
    assert [row[4] > 0 for row in sends(mapped)] == [True]


# 6: the monitor's entry ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_rule_06_the_monitor_entry_is_never_written(seed: int) -> None:
    """Neither by the words of an image nor by those from one image to another."""
    mapped = map_network(random_network(seed, ALL), CHIP, ALL)
    _, fields = words(mapped.config, "sram")
    assert set(fields["entry"].tolist()) == {1, 2, 3}
    for change in (EMPTY.diff(mapped.config), mapped.config.diff(EMPTY)):
        mine = change[change["kind"] == 1]["word"]
        assert 0 not in CHIP.words["sram"].unpack(mine)["entry"].tolist()


@pytest.mark.parametrize("fields", [{}, {"core_mask": 15}, {"dx": 1, "core_mask": 1, "virtual_core": 2}])
def test_rule_06_a_word_for_the_monitor_entry_is_refused(fields: dict[str, int]) -> None:
    names = ("virtual_core", "sy", "dy", "sx", "dx", "core_mask")
    value = CHIP.words["sram"].pack(**(dict.fromkeys(names, 0) | fields), core=1, neuron=33, entry=0)
    word = np.array([(1, 2, int(value))], dtype=WORD_DTYPE)
    with pytest.raises(FieldOverflow, match="monitor"):
        ChipConfig.from_words(CHIP, ALL, word)


def test_rule_06_a_fourth_destination_is_refused() -> None:
    targets = [population(f"t{c}", 2, at(c, 2)) for c in range(4)]
    net = network(population("s", 3, at(1, 0, 20)), *targets, *(link(t.name, "s", t.name, pairs((2, 1))) for t in targets))
    refused(net, DestinationsExceeded, "population 's' neuron 2", "got 4", "limit 3")
    three = network(*net.populations, *net.connections[:3])
    assert sorted(row[3] for row in sends(map_network(three, CHIP))) == [1, 2, 3]


# 7: to disconnect, set the core mask to 0 ---------------------------------------------------------------------------


def test_rule_07_unused_destinations_are_words_without_cores() -> None:
    net = random_network(3, ALL)
    mapped = map_network(net, CHIP, ALL)
    _, fields = words(mapped.config, "sram")
    idle = fields["core_mask"] == 0
    assert idle.sum() == 4 * 4 * 256 * 3 - len(sends(mapped))
    assert not any(fields[name][idle].any() for name in ("virtual_core", "sx", "dx", "sy", "dy"))


def test_rule_07_taking_a_connection_away_writes_a_core_mask_of_0() -> None:
    parts = (population("a", 2, at(0, 0, 5)), population("b", 2, at(3, 1, 6)))
    before, after = (map_network(network(*parts, *links), CHIP, (0, 3)) for links in ((link("c", "a", "b"),), ()))
    change = before.config.diff(after.config)
    fields = CHIP.words["sram"].unpack(change[change["kind"] == 1]["word"])
    assert sorted(fields["neuron"].tolist()) == [5, 6]
    assert set(fields["core_mask"].tolist()) == {0}


def test_rule_07_hops_without_a_core_mask_go_nowhere() -> None:
    """With a core mask the same fields are literal, and off the board."""
    away = {"dx": 3, "sx": 1, "dy": 2, "sy": 1, "virtual_core": 1}
    assert check(changed("sram", (0, 2, 19, 0), **away)) == []
    found = check(changed("sram", (0, 2, 19, 0), core_mask=1, **away))
    assert [type(p) for p in found] == [FieldOverflow]
    assert "chip 0 core 2 neuron 19" in str(found[0])


# 8: hops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "there"), [(a, b) for a in range(4) for b in range(4)])
def test_rule_08_hops_of_the_words_on_the_wire(own: int, there: int) -> None:
    targets = [population(f"t{core}", 1, at(there, core, 100 + core)) for core in (0, 2, 3)]
    net = network(population("s", 1, at(own, 1, 200)), *targets, *(link(t.name, "s", t.name) for t in targets))
    (row,) = sends(map_network(net, CHIP))  # one destination reaches all the cores of its chip
    _, _, _, _, _, sy, dy, sx, dx, mask = row
    assert (dx, dy, mask) == (abs(there % 2 - own % 2), abs(there // 2 - own // 2), 0b1101)
    assert not dx or sx == (there % 2 < own % 2)
    assert not dy or sy == (there // 2 > own // 2)


@pytest.mark.parametrize(("own", "hop"), [(0, "sx"), (0, "sy0"), (3, "dx"), (3, "sy1"), (1, "dx"), (2, "sx")])
def test_rule_08_a_hop_off_the_board_is_refused(own: int, hop: str) -> None:
    fields = {"sx": {"sx": 1, "dx": 1}, "dx": {"dx": 1}, "sy0": {"dy": 1}, "sy1": {"sy": 1, "dy": 1}}[hop]
    found = check(changed("sram", (own, 3, 7, 2), core_mask=8, **fields))
    assert [type(p) for p in found] == [FieldOverflow]
    assert f"chip {own} core 3 neuron 7" in str(found[0])
    assert "off the board" in str(found[0])


# 9: links that the vendor warns of ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "there"), [(a, b) for a in range(4) for b in range(4)])
def test_rule_09_warned_links_are_told(own: int, there: int) -> None:
    """A warning for links from chips 0, 2 to 1, 3, with the link, the count and a neuron; none for others."""
    parts = (population("idle", 3, at(own, 1)), population("src", 6, at(own, 2)), population("dst", 2, at(there, 3)))
    net = network(*parts, link("c", "src", "dst", pairs((1, 0), (4, 0), (4, 1), (5, 1))))
    warnings = [w for w in map_network(net, CHIP).warnings if "link" in w]
    if (own, there) in ((0, 1), (0, 3), (2, 1), (2, 3)):
        (text,) = warnings
        for piece in (f"chip {own} to chip {there}", "3 neurons", "population 'src' neuron 1", "warns"):
            assert piece in text
    else:
        assert warnings == []


def test_rule_09_each_warned_link_is_told_once() -> None:
    parts = [population(f"p{c}", 20, at(c, 0, 5)) for c in range(4)]
    links = [link(f"c{a}{b}", f"p{a}", f"p{b}", {"kind": "one_to_one"}) for a in range(4) for b in range(4) if a != b]
    warnings = map_network(network(*parts, *links), CHIP).warnings
    assert [re.findall(r"chip (\d) to chip (\d)", w) for w in warnings] == [
        [("0", "1")],
        [("0", "3")],
        [("2", "1")],
        [("2", "3")],
    ]


# 10: Poisson sources ------------------------------------------------------------------------------------------------


def noise(rate_hz: float) -> Stimulus:
    net = network(Input(name="n", size=2, poisson=True, tags=(40, 41)), population("p", 1, at(2, 3)), link("c", "n", "p"))
    return map_network(net, CHIP).stimulus({}, rates_hz={"n": [7.0, rate_hz]})


@pytest.mark.parametrize("rate", [-1e-9, 4300.1, 1e9, float("nan"), float("inf")])
def test_rule_10_poisson_rate_out_of_range(rate: float) -> None:
    with pytest.raises(StimulusProblem, match=r"Poisson source 41: .*got .*limit 0 to 4300"):
        noise(rate)


@pytest.mark.parametrize("rate", [1e-6, 0.03, 0.067])
def test_rule_10_poisson_rate_below_one_step(rate: float) -> None:
    with pytest.raises(StimulusProblem, match=r"Poisson source 41: .*one step.*limit 0\.06706"):
        noise(rate)


@pytest.mark.parametrize(
    ("rate", "steps"), [(0.0, 0), (0.06706, 1), (0.1, 1), (0.1342, 2), (1.0, 14), (100.0, 1491), (4300.0, 64121)]
)
def test_rule_10_truncation_is_told(rate: float, steps: int) -> None:
    """Truncated, never rounded up: 0.1342 is two steps and a bit, 1.0 is 14.91 steps."""
    assert noise(rate).poisson_played_hz[41] == pytest.approx(steps * 0.06706, rel=1e-12)


def test_rule_10_poisson_targets_on_two_chips_are_refused_by_name() -> None:
    net = network(
        Input(name="calm", size=2), Input(name="wild", size=2, poisson=True), Input(name="storm", size=3, poisson=True),
        population("p", 2, at(1, 0)), population("q", 2, at(2, 0)), link("c", "calm", "q"),
        link("a", "wild", "p"), link("b", "storm", "q"),
    )  # fmt: skip
    found = refused(net, StimulusProblem, "wild", "storm", "chip 1", "chip 2", "got 2", "limit 1")
    assert "calm" not in str(found)
    assert found.fix


# 11: the stimulus list ----------------------------------------------------------------------------------------------


def events(count: int, isi: int = 1) -> Any:
    rows = np.zeros(count, dtype=EVENT_DTYPE)
    rows["isi"], rows["core_mask"], rows["tag"] = isi, 15, 9
    return rows


def test_rule_11_an_interval_of_65535_is_refused() -> None:
    Stimulus(CHIP, events(3, 65534))
    with pytest.raises(StimulusProblem, match=r"stimulus event 0.*got 65535, limit 65534"):
        Stimulus(CHIP, events(3, 65535))


def test_rule_11_32767_events_are_refused() -> None:
    assert len(Stimulus(CHIP, events(32766)).events) == 32766
    with pytest.raises(StimulusTooLong, match=r"got 32767, limit 32766.*several runs"):
        Stimulus(CHIP, events(32767))


def test_rule_11_a_gap_that_no_unit_holds() -> None:
    mapped = map_network(network(Input(name="x", size=1), population("p", 1), link("c", "x", "p")), CHIP)
    longest = 65534 * 65535 / 90
    with pytest.raises(IsiOverflow, match=r"event 1.*larger isi_base"):
        mapped.stimulus({"x": (np.zeros(2, dtype=np.int64), np.array([0.0, longest + 2000.0]))}, isi_base=65535)


@pytest.mark.parametrize("base", [1, 90, 450, 65535])
def test_rule_11_the_unit_is_isi_base_over_90_us(base: int) -> None:
    assert Stimulus(CHIP, events(4, 18), base).times_us.tolist() == pytest.approx([18 * k * base / 90 for k in range(1, 5)])
    for wrong in (0, -1, 65536):
        with pytest.raises(StimulusProblem, match=f"isi_base.*got {wrong}, limit 65535"):
            Stimulus(CHIP, events(4), wrong)


def test_rule_11_an_empty_list_plays_nothing() -> None:
    """It has no word that could be taken for a count, and the board runs in silence."""
    mapped = map_network(network(Input(name="x", size=1), population("p", 3), link("c", "x", "p")), CHIP)
    empty = mapped.stimulus({})
    assert len(empty.events) == len(empty.words()) == 0
    nothing = mapped.stimulus({"x": (np.zeros(0, dtype=np.int64), np.zeros(0))})
    assert len(nothing.events) == 0
    board = open_backend("emulator", chip=CHIP, chips=mapped.config.chips)
    board.apply(mapped.config)
    assert len(board.run(nothing, 0.05)) == 0


# 12: time stamps ----------------------------------------------------------------------------------------------------


def test_rule_12_a_run_beyond_the_time_stamps_is_refused_before_it_starts() -> None:
    mapped = map_network(network(population("p", 1)), CHIP)
    board = open_backend("emulator", chip=CHIP, chips=mapped.config.chips)
    board.apply(mapped.config)
    with pytest.raises(InvalidValue, match=r"time stamps.*got 2147\.5.*limit 2147\.48"):
        board.run(Stimulus(CHIP), 2147.5)


@pytest.mark.parametrize(("field", "value", "said"), [("chip", 4, "chip"), ("core", 4, "core"), ("neuron", 256, "neuron")])
def test_rule_12_a_spike_from_an_address_that_is_none(field: str, value: int, said: str) -> None:
    mapped = map_network(network(population("p", 1)), CHIP)
    spikes = np.zeros(1, dtype=SPIKE_DTYPE)
    spikes["time_us"], spikes[field] = 5, value
    with pytest.raises(InvalidValue, match=rf"{said}.*{value}"):
        mapped.spikes_of(SpikeRecording(spikes, 10, "test", None))


# 13: values that the wire would cut ---------------------------------------------------------------------------------

TOO_LARGE = [
    ("cam", (0, 1, 2, 3), "source_core", 7, 3), ("cam", (1, 1, 2, 3), "source_neuron", 300, 255),
    ("cam", (0, 1, 2, 3), "type", 4, 3), ("sram", (2, 1, 2, 1), "dx", 7, 3), ("sram", (0, 1, 2, 1), "dy", 4, 3),
    ("sram", (0, 3, 2, 1), "core_mask", 31, 15), ("sram", (0, 1, 2, 1), "virtual_core", 4, 3),
    ("sram", (0, 1, 2, 1), "sx", 2, 1), ("sram", (0, 1, 2, 1), "sy", 2, 1), ("biases", (0, 1, 3), "coarse", 9, 7),
    ("biases", (3, 1, 3), "fine", 256, 255), ("biases", (0, 1, 3), "high", 2, 1),
]  # fmt: skip


REGISTERS = [row for row in TOO_LARGE if row[0] != "biases"]


@pytest.mark.parametrize(("array", "place", "field", "value", "limit"), TOO_LARGE)
def test_rule_13_no_word_is_made_of_a_field_out_of_range(
    array: str, place: tuple[int, ...], field: str, value: int, limit: int
) -> None:
    with pytest.raises(FieldOverflow, match=rf"{field}.*got {value}, limit {limit}"):
        changed(array, place, **{field: value}).words()
    assert changed(array, place, **{field: limit}).words().size == EMPTY.words().size


@pytest.mark.parametrize(("array", "place", "field", "value", "limit"), REGISTERS)
def test_rule_13_the_check_names_the_place_of_a_field_out_of_range(
    array: str, place: tuple[int, ...], field: str, value: int, limit: int
) -> None:
    (found,) = check(changed(array, place, **{field: value}))
    assert isinstance(found, FieldOverflow)
    assert (found.used, found.limit) == (value, limit)
    for piece in ("chip {} core {} neuron {}".format(*place), field, array.upper()):
        assert piece in str(found)
    with pytest.raises(NetworkDoesNotFit, match=field):
        network_of(changed(array, place, **{field: value}))


@pytest.mark.parametrize(("array", "place", "field", "value", "limit"), [row for row in TOO_LARGE if row[0] == "biases"])
def test_rule_13_the_check_finds_a_bias_out_of_range(
    array: str, place: tuple[int, ...], field: str, value: int, limit: int
) -> None:
    found = check(changed(array, place, **{field: value}))
    assert [(type(p), p.used, p.limit) for p in found] == [(FieldOverflow, value, limit)]


@pytest.mark.parametrize("kind", ["cam", "sram", "bias", "tau2"])
def test_rule_13_words_with_bits_beyond_their_layout_are_refused(kind: str) -> None:
    layout = CHIP.words[kind]  # type: ignore[index]
    every = EMPTY.words()
    number = ("cam", "sram", "bias", "tau2").index(kind)
    good = every[every["kind"] == number][:1].copy()
    ChipConfig.from_words(CHIP, ALL, good)
    good["word"] |= np.uint32(1 << layout.bits)
    with pytest.raises(FieldOverflow, match="unused bits"):
        ChipConfig.from_words(CHIP, ALL, good)


def test_rule_13_packing_never_cuts() -> None:
    """The vendor's core 7, neuron 300 would become core 3, neuron 44."""
    cam = dict.fromkeys(CHIP.words["cam"].fields, 0)
    for name, value in (("source_core", 7), ("source_neuron", 300), ("entry", 64), ("core", 4), ("neuron", -1)):
        with pytest.raises(FieldOverflow, match=rf"{name}.*got {value}"):
            CHIP.words["cam"].pack(**(cam | {name: value}))


# The table ----------------------------------------------------------------------------------------------------------


def test_every_rule_has_a_test() -> None:
    numbers = {int(m.group(1)) for m in (re.match(r"test_rule_(\d\d)_", name) for name in globals()) if m}
    assert numbers == set(range(1, 14))


def test_kinds_of_neurons_do_not_hide_a_collision() -> None:
    """Two kinds on one chip, one tag wished for both: no collision, since they cannot share a core."""
    net = network(
        Input(name="x", size=1, tags=(50,)), Input(name="y", size=1, tags=(50,)), population("p", 3),
        population("q", 3, None, neuron(0.05)), link("a", "x", "p"), link("b", "y", "q", synapse="NMDA"),
    )  # fmt: skip
    assert delivered(map_network(net, CHIP)) == asked(net)
