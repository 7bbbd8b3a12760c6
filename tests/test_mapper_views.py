"""Looks at a mapped network: explain, utilisation, memory, compatibility, the picture, and reading registers back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mapper_helpers import (
    CHIP,
    TYPE_CODES,
    TYPE_NAMES,
    asked,
    at,
    delivered,
    link,
    network,
    neuron,
    pairs,
    population,
    random_efficacy,
    random_network,
)

from bcall_hw.board_figure import ENDINGS, save_board_figure
from bcall_hw.chip_config import ChipConfig
from bcall_hw.defects import Defects
from bcall_hw.errors import BcallError, FanInExceeded, FileProblem, InvalidValue, NetworkDoesNotFit, UnknownName
from bcall_hw.mapper import (
    MapOptions,
    MappedNetwork,
    differences,
    explain,
    is_compatible,
    map_network,
    memory_summary,
    network_of,
    utilisation,
)
from bcall_hw.network import Input, Network, SynapseParameters

ALL = (0, 1, 2, 3)


def mapped_case(seed: int, chips: tuple[int, ...] = ALL) -> tuple[Network, MappedNetwork, dict[str, Any]]:
    net = random_network(seed, chips)
    efficacy = random_efficacy(net, seed)
    return net, map_network(net, CHIP, chips, efficacy=efficacy), efficacy


def some_neurons(mapped: MappedNetwork) -> list[tuple[str, int]]:
    return [(n, i) for n, table in mapped.addresses.items() for i in {0, len(table) // 2, len(table) - 1}]


# Explain ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30, 35))
def test_explain_tells_what_the_words_hold(seed: int) -> None:
    net, mapped, efficacy = mapped_case(seed)
    registers = {tuple(k): v for k, v in decoded(mapped.config).items()}
    wanted = asked(net, efficacy)
    for name, index in some_neurons(mapped):
        chip, core, number = mapped.addresses[name][index].tolist()
        told = explain(mapped, f"{name}/{index}")
        assert told == explain(mapped, f"{chip}/{core}/{number}")
        assert (told["neuron"], told["chip"], told["core"], told["number"]) == (f"{name}/{index}", chip, core, number)
        found: Counter[Any] = Counter()
        used: list[int] = []
        for row in told["inputs"]:
            source, at_index = row["source"].split("/")
            connection = net.connection(row["connection"])
            assert connection.source == source
            assert connection.synapse == row["synapse"]
            assert row["plastic"] == connection.plastic
            assert row["tag"] == row["tag_core"] * 256 + row["tag_neuron"]
            assert len(row["entries"]) == len(row["words"])
            for entry, word in zip(row["entries"], row["words"], strict=True):
                fields = CHIP.words["cam"].unpack(int(word, 16))
                assert (int(fields["core"]), int(fields["neuron"]), int(fields["entry"])) == (core, number, entry)
                assert registers["cam", chip, core, number, entry] == int(word, 16)
                assert int(fields["type"]) == TYPE_CODES[row["synapse"]]
                tag = int(fields["source_core"]) * 256 + int(fields["source_neuron"])
                assert tag == (row["tag"] if row["present"] else 0)
                if row["present"]:
                    found[(source, int(at_index)), (name, index), row["synapse"]] += 1
            used += row["entries"]
        assert found == Counter({key: count for key, count in wanted.items() if key[1] == (name, index)})
        assert len(set(used)) == len(used)
        assert told["free_cam_entries"] == 64 - len(used)
        for row in told["destinations"]:
            fields = CHIP.words["sram"].unpack(int(row["word"], 16))
            assert registers["sram", chip, core, number, row["entry"]] == int(row["word"], 16)
            for field in ("virtual_core", "sy", "dy", "sx", "dx", "core_mask"):
                assert int(fields[field]) == row[field]
            assert row["tag"] == row["virtual_core"] * 256 + number
            assert row["cores"] == [k for k in range(4) if row["core_mask"] >> k & 1]
            east, south = row["chip"] % 2 - chip % 2, row["chip"] // 2 - chip // 2
            assert (east, south) == (-row["dx"] if row["sx"] else row["dx"], row["dy"] if row["sy"] else -row["dy"])
        connected = [r for r in mapped.config.sram[mapped.config.chips.index(chip), core, number].tolist() if r[5]]
        assert len(told["destinations"]) == len(connected)


def decoded(config: ChipConfig) -> dict[tuple[Any, ...], int]:
    """Every CAM and SRAM word of an image by its place."""
    found: dict[tuple[Any, ...], int] = {}
    every = config.words()
    for number, kind in enumerate(("cam", "sram")):
        mine = every[every["kind"] == number]
        fields = CHIP.words[kind].unpack(mine["word"])  # type: ignore[index]
        columns = (fields[n].tolist() for n in ("core", "neuron", "entry"))
        for chip, core, row, entry, word in zip(mine["chip"].tolist(), *columns, mine["word"].tolist(), strict=True):
            found[kind, chip, core, row, entry] = word
    return found


def test_explain_shows_parked_plastic_synapses_with_their_tag() -> None:
    net = network(
        Input(name="x", size=3, tags=(700, 701, 702)), population("p", 2, at(1, 3, 4)),
        link("w", "x", "p", synapse="NMDA", plastic=True, multiplicity=2),
    )  # fmt: skip
    on = np.array([[True, False, True], [False, False, False]])
    mapped = map_network(net, CHIP, efficacy={"w": on})
    for post in range(2):
        rows = explain(mapped, f"p/{post}")["inputs"]
        assert [(r["source"], r["tag"], r["present"]) for r in rows] == [
            (f"x/{s}", 700 + s, bool(on[post, s])) for s in range(3)
        ]
        for row in rows:
            tags = {int(w, 16) >> 18 & 3 for w in row["words"]}
            assert tags == ({2} if row["present"] else {0})
            assert len(row["words"]) == 2
        assert explain(mapped, f"p/{post}")["free_cam_entries"] == 58


def test_explain_counts_only_working_entries_as_free() -> None:
    net = network(Input(name="x", size=3), population("p", 1, at(0, 1, 9)), link("c", "x", "p"))
    mapped = map_network(net, CHIP, defects=Defects(dead_cam=tuple((0, 1, 9, e) for e in range(5))))
    assert explain(mapped, "p/0")["free_cam_entries"] == 64 - 3 - 5


def test_explain_tells_the_codes_of_the_core() -> None:
    mapped = map_network(network(population("p", 1, at(2, 2, 2), neuron(0.03))), CHIP)
    for row in explain(mapped, "2/2/2")["biases"]:
        code = mapped.config.bias(2, 2, row["bias"])
        assert (row["coarse"], row["fine"]) == (code.coarse, code.fine)
        if row["wanted"]:
            assert row["error"] == pytest.approx(row["predicted"] / row["wanted"] - 1)


@pytest.mark.parametrize("name", ["p", "", "p/x", "p/", "a/b/c", "0/1", "0/0/x", "1/2/3/4", "p/1.5"])
def test_explain_of_what_is_no_neuron(name: str) -> None:
    mapped = map_network(network(population("p", 3, at(0, 0, 1))), CHIP)
    with pytest.raises((InvalidValue, UnknownName)):
        explain(mapped, name)


@pytest.mark.parametrize(("name", "said"), [("q/0", "q"), ("p/3", "3"), ("p/-1", "-1"), ("0/0/4", "0/0/4"), ("3/0/1", "3/0/1")])
def test_explain_of_a_neuron_that_is_not_there(name: str, said: str) -> None:
    mapped = map_network(network(population("p", 3, at(0, 0, 1))), CHIP)
    with pytest.raises((InvalidValue, UnknownName)) as caught:
        explain(mapped, name)
    assert said in str(caught.value)


# Utilisation and memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40, 45))
def test_utilisation_and_memory_by_brute_force(seed: int) -> None:
    net, mapped, _ = mapped_case(seed)
    told, memory = utilisation(mapped), memory_summary(mapped)
    wanted, chips = asked(net), mapped.config.chips
    core_of = {(n, i): tuple(a[:2]) for n, t in mapped.addresses.items() for i, a in enumerate(t.tolist())}
    entries: Counter[Any] = Counter()
    for (_, target, _), count in wanted.items():
        entries[target] += count
    connected = {
        (n, i): sum(1 for r in mapped.config.sram[chips.index(a[0]), a[1], a[2]].tolist() if r[5])
        for n, t in mapped.addresses.items() for i, a in enumerate(t.tolist())
    }  # fmt: skip
    reaching: dict[Any, set[Any]] = {}
    for source, target, _ in wanted:
        reaching.setdefault(core_of[target], set()).add(source)
    assert [row["population"] for row in memory] == [p.name for p in net.populations]
    for row in memory:
        mine = [key for key in core_of if key[0] == row["population"]]
        assert row["neurons"] == len(mine)
        assert row["cores"] == len({core_of[key] for key in mine})
        assert row["cam_used"] == sum(entries[key] for key in mine)
        assert row["cam_most"] == max(entries[key] for key in mine)
        assert row["cam_mean"] == pytest.approx(row["cam_used"] / len(mine), abs=0.051)
        assert row["sram_used"] == sum(connected[key] for key in mine)
    assert told["populations"] == memory
    assert told["sram"]["used"] == sum(connected.values())
    inputs = {i.name for i in net.inputs}
    for row in told["cores"]:
        here = (row["chip"], row["core"])
        heard = reaching.get(here, set())
        assert row["tags"] == len(heard)
        assert row["input_tags"] == len({s for s in heard if s[0] in inputs})
        assert (row["tags_of"], row["neurons_of"], row["cam_of"], row["sram_of"]) == (1023, 256, 16384, 768)
        assert row["sram_used"] == sum(connected[key] for key in core_of if core_of[key] == here)
        assert row["populations"] == Counter(n for (n, _), core in core_of.items() if core == here)
    traffic: dict[Any, set[Any]] = {}
    for source, target, _ in wanted:
        if source[0] not in inputs:
            traffic.setdefault((core_of[source], core_of[target]), set()).add(source)
    found = {(tuple(r["from"]), tuple(r["to"])): r["neurons"] for r in told["traffic"]}
    assert found == {key: len(sources) for key, sources in traffic.items()}


# Compatibility ------------------------------------------------------------------------------------------------------


def test_a_network_that_fits_is_compatible() -> None:
    net = network(Input(name="x", size=9), population("p", 1500), link("c", "x", "p"))
    answer = is_compatible(net, CHIP)
    assert answer
    assert bool(answer) is True
    assert answer.violations == ()
    assert answer.chips == map_network(net, CHIP).config.chips
    assert answer.memory == memory_summary(map_network(net, CHIP))
    assert is_compatible(net, "dynapse1").chips == answer.chips
    assert len(answer.chips) == 2


def test_a_network_that_does_not_fit_says_every_reason_and_raises_nothing() -> None:
    net = network(
        Input(name="x", size=70), population("p", 2), population("q", 1, at(0, 0), neuron(100.0)), link("c", "x", "p")
    )
    answer = is_compatible(net, CHIP)
    assert not answer
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP)
    assert [str(v) for v in answer.violations] == [str(v) for v in caught.value.violations]
    assert len(answer.violations) == 3
    assert isinstance(answer.violations[0], BcallError)
    assert any(isinstance(v, FanInExceeded) for v in answer.violations)


def test_compatibility_takes_the_choices_of_the_mapper() -> None:
    net = network(Input(name="x", size=70), population("p", 200), link("c", "x", "p"))
    assert not is_compatible(net, CHIP)
    sampled = is_compatible(net, CHIP, options=MapOptions(fan_in="sample"))
    assert sampled
    assert any("sample" in w for w in sampled.warnings)
    assert not is_compatible(network(population("p", 1025)), CHIP, chips=(2,))
    dead = Defects(dead_neurons=((0, 0, 0),))
    assert not is_compatible(network(population("p", 4096)), CHIP, defects=dead)
    assert is_compatible(network(population("p", 4095)), CHIP, defects=dead)


@pytest.mark.parametrize("choices", [{"chips": (7,)}, {"chips": ()}, {"options": MapOptions(reserve=64)},
                                     {"defects": Defects(dead_neurons=((0, 0, 999),))}])  # fmt: skip
def test_wrong_choices_are_errors_and_no_answer(choices: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        is_compatible(network(population("p", 1)), CHIP, **choices)


# The picture --------------------------------------------------------------------------------------------------------


def pictured() -> MappedNetwork:
    net = network(
        Input(name="x", size=9), population("left", 300), population("right", 40, at(1, 2, 3)),
        link("c", "x", "left", {"kind": "random_fan_in", "fan_in": 4, "seed": 1}),
        link("d", "left", "right", {"kind": "random_fan_in", "fan_in": 9, "seed": 1}),
    )  # fmt: skip
    return map_network(net, CHIP, defects=Defects(dead_neurons=((0, 0, 9),)))


MAGIC = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.mark.parametrize("ending", sorted(MAGIC))
def test_the_picture_is_written_and_the_same_twice(ending: str, tmp_path: Path) -> None:
    mapped = pictured()
    first, second = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    save_board_figure(mapped, first)
    save_board_figure(mapped, second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(MAGIC[ending])
    assert len(first.read_bytes()) > 2000
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{ending}", f"b{ending}"]
    assert set(ENDINGS) == set(MAGIC)


def test_the_picture_names_the_populations(tmp_path: Path) -> None:
    save_board_figure(pictured(), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "left" in text
    assert "right" in text


@pytest.mark.parametrize("name", ["a.jpg", "a.txt", "a", "a.svg.gz", "svg"])
def test_other_endings_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"\.svg.*\.png.*\.pdf") as caught:
        save_board_figure(pictured(), tmp_path / name)
    assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = pictured()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    (tmp_path / "old.png").write_bytes(b"old")
    for name in ("new.png", "old.png"):
        with pytest.raises(FileProblem, match=name):
            save_board_figure(mapped, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


# Reading back -------------------------------------------------------------------------------------------------------


def read_synapses(net: Network) -> Counter[Any]:
    """(source, target place, type) of a network that was read back; sources as places or FPGA tags."""
    place = {p.name: p.place for p in net.populations}
    tags = {i.name: i.tags for i in net.inputs}

    def seat(name: str, index: int) -> Any:
        where = place[name]
        assert where is not None
        return (where.chip, where.core, where.neuron + index)

    found: Counter[Any] = Counter()
    for c in net.connections:
        for s, t, m in zip(*(a.tolist() for a in net.synapses(c)), strict=True):
            tag = tags.get(c.source)
            found[("tag", tag[s]) if tag else seat(c.source, s), seat(c.target, t), c.synapse] += m
    return found


def wanted_synapses(mapped: MappedNetwork) -> Counter[Any]:
    seat = {(n, i): tuple(a) for n, t in mapped.addresses.items() for i, a in enumerate(t.tolist())}
    tags = {(n, i): ("tag", tag) for n, t in mapped.input_tags.items() for i, tag in enumerate(t.tolist())}
    return Counter({(seat.get(s) or tags[s], seat[t], k): m for (s, t, k), m in delivered(mapped).items()})


def demo_like() -> Network:
    """Two classes of plastic neurons with their inhibition and a teacher, as the classifier has them."""
    kind = neuron(0.02, adaptation=SynapseParameters(tau_s=0.1, weight_a=1e-12))
    parts: list[Any] = [Input(name="pixels", size=64), Input(name="teacher", size=2)]
    for k in range(2):
        parts += [population(f"class{k}", 20, None, kind), population(f"inh{k}", 4, None, neuron(0.01))]
        rule = {"kind": "random_fan_in", "fan_in": 40, "seed": k}
        parts += [link(f"w{k}", "pixels", f"class{k}", rule, "AMPA", plastic=True, multiplicity=1)]
        parts += [link(f"t{k}", "teacher", f"class{k}", pairs(*((k, t) for t in range(20))), "NMDA")]
        parts += [link(f"e{k}", f"class{k}", f"inh{k}"), link(f"i{k}", f"inh{k}", f"class{1 - k}", synapse="GABA_B")]
    return network(*parts)


@pytest.mark.parametrize("seed", [None, 50, 51])
def test_a_mapped_network_is_read_from_words_that_were_saved_and_loaded(seed: int | None, tmp_path: Path) -> None:
    net = demo_like() if seed is None else random_network(seed, ALL)
    mapped = map_network(net, CHIP, efficacy=random_efficacy(net, 3))
    mapped.config.save(tmp_path / "c.h5")
    loaded = ChipConfig.load(tmp_path / "c.h5")
    remade = ChipConfig.from_words(CHIP, mapped.config.chips, mapped.config.words())
    for config in (mapped.config, loaded, remade):
        read = network_of(config)
        assert read_synapses(read) == wanted_synapses(mapped)
        assert {i.name for i in read.inputs} <= {"fpga"}
    assert network_of(loaded) == network_of(mapped.config)
    assert differences(mapped) == []


def test_a_network_that_was_read_can_be_mapped_again_to_the_same_words() -> None:
    mapped = map_network(demo_like(), CHIP)
    read = network_of(mapped.config)
    again = map_network(read, CHIP, mapped.config.chips)
    assert read_synapses(network_of(again.config)) == read_synapses(read)
    for config in (mapped.config, again.config):
        assert np.array_equal(config.tau2, mapped.config.tau2)


def test_the_parameters_that_are_read_are_the_predicted_ones() -> None:
    mapped = map_network(network(Input(name="x", size=2), population("p", 5, at(0, 2, 3)), link("c", "x", "p")), CHIP)
    (found,) = network_of(mapped.config).populations
    predicted = {c.quantity: c.predicted for c in mapped.biases[0, 2]}
    assert found.size == 5
    assert found.neuron.tau_s == pytest.approx(predicted["tau_s"], rel=1e-9)
    assert found.neuron.synapses["AMPA"].weight_a == pytest.approx(predicted["AMPA.weight_a"], rel=1e-9)
    assert found.neuron.refractory_s == pytest.approx(predicted["refractory_s"], rel=1e-9)


@pytest.mark.parametrize("chips", [(0,), (1, 3), ALL])
def test_an_opened_board_reads_as_neurons_without_synapses(chips: tuple[int, ...]) -> None:
    """After opening every neuron uses the first leak, which counts as being in use."""
    read = network_of(ChipConfig.after_opening(CHIP, chips))
    assert sum(p.size for p in read.populations) == 1024 * len(chips)
    assert {p.place.chip for p in read.populations if p.place} == set(chips)
    assert read.connections == read.inputs == ()


def test_foreign_registers_with_two_sources_under_one_tag_are_refused() -> None:
    config = ChipConfig.after_opening(CHIP, ALL)
    sram, cam = config.sram.copy(), config.cam.copy()
    sram[0, 1, 60, 0] = (3, 0, 0, 0, 1, 0b0001)
    sram[1, 2, 60, 1] = (3, 0, 0, 0, 0, 0b0001)
    cam[1, 0, 8, 63] = (3, 60, 2)
    with pytest.raises(NetworkDoesNotFit) as caught:
        network_of(config.with_registers(sram=sram, cam=cam))
    for piece in ("chip 1 core 0", "chip 0 core 1 neuron 60", "chip 1 core 2 neuron 60", "(core 3, neuron 60)"):
        assert piece in str(caught.value)


def test_types_of_the_reader_are_those_of_the_chip() -> None:
    assert {t.code: t.name for t in CHIP.synapse_types} == TYPE_NAMES
