"""The description of a network: its files, the expansion of its connections, and what it refuses."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcall_hw.errors import BcallError, CorruptFile, EmptyNetwork, FileProblem, ForeignFile, InvalidValue, UnknownName
from bcall_hw.network import (
    AllToAll,
    Connection,
    Explicit,
    Input,
    Network,
    NeuronParameters,
    OneToOne,
    Place,
    Population,
    RandomFanIn,
    SynapseParameters,
)

NAN, INFINITY = float("nan"), float("inf")
ENDINGS = [".json", ".toml"]


def neuron(**changes: Any) -> NeuronParameters:
    values: dict[str, Any] = {
        "tau_s": 0.02, "refractory_s": 0.002, "gain_a": 1e-10, "pulse_width_s": 1e-5,
        "synapses": {"AMPA": SynapseParameters(tau_s=0.0035, weight_a=2e-11), "GABA_B": {"tau_s": 0.01, "weight_a": 1e-9}},
    }  # fmt: skip
    return NeuronParameters(**values | changes)


def network(**changes: Any) -> Network:
    values: dict[str, Any] = {
        "inputs": [Input(name="in", size=4)],
        "populations": [Population(name="exc", size=3, neuron=neuron())],
        "connections": [Connection(name="c", source="in", target="exc", synapse="AMPA")],
    }
    return Network(**values | changes)


def joined(rule: Any, n_source: int, n_target: int, multiplicity: int = 1, name: str = "c") -> list[tuple[int, int, int]]:
    """The synapses of a network of one connection, as (source, target, multiplicity)."""
    connection = Connection(name=name, source="in", target="exc", synapse="AMPA", rule=rule, multiplicity=multiplicity)
    inputs, populations = [Input(name="in", size=n_source)], [Population(name="exc", size=n_target, neuron=neuron())]
    made = Network(inputs=inputs, populations=populations, connections=[connection])
    source, target, count = made.synapses(made.connection(name))
    assert source.dtype == target.dtype == count.dtype == np.int64
    assert source.shape == target.shape == count.shape
    return list(zip(source.tolist(), target.tolist(), count.tolist(), strict=True))


def by_target(synapses: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    return sorted(synapses, key=lambda synapse: (synapse[1], synapse[0]))


# Files ----------------------------------------------------------------------------------------------------------------


def rich_network() -> Network:
    adapting = neuron(dc_a=1e-12, adaptation={"tau_s": 0.3, "weight_a": 1e-13})
    return Network(
        name="all.of_it-1",
        inputs=[Input(name="in", size=4, tags=(1, 300, 7, 0)), Input(name="teacher", size=3)],
        populations=[
            Population(name="exc", size=3, neuron=adapting, place=Place(chip=1, core=2, neuron=255)),
            Population(name="inh", size=2, neuron=neuron(synapses={"NMDA": {"tau_s": 0.1, "weight_a": 1.0 / 3e11}})),
        ],
        connections=[
            Connection(name="a", source="in", target="exc", synapse="AMPA", plastic=True),
            Connection(name="b", source="teacher", target="exc", synapse="GABA_B", rule=OneToOne(), multiplicity=5),
            Connection(name="d", source="exc", target="inh", synapse="NMDA", rule=RandomFanIn(fan_in=2, seed=2**62)),
            Connection(name="e", source="in", target="inh", synapse="NMDA", rule=RandomFanIn(fan_in=1, candidates=(3, 1))),
            Connection(name="f", source="exc", target="exc", synapse="AMPA", rule=Explicit(pairs=((0, 1), (2, 0, 3)))),
        ],
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("made", [network(), rich_network(), network(inputs=[], connections=[])], ids=["plain", "rich", "bare"])
def test_saved_network_loads_as_the_same(tmp_path: Path, made: Network, ending: str) -> None:
    path = tmp_path / "new folder" / f"network{ending}"
    made.save(path)
    loaded = Network.load(path)
    assert loaded == made
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    for connection in made.connections:
        for one, two in zip(made.synapses(connection), loaded.synapses(loaded.connection(connection.name)), strict=True):
            assert np.array_equal(one, two)


POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.tuples(*[POSITIVE] * 4),
    dc=st.floats(0, 1),
    size=st.integers(1, 2**31 - 1),
    name=st.text("abcXYZ019_.-", min_size=1, max_size=12),
)
def test_every_value_survives_its_file(
    tmp_path: Path, ending: str, numbers: tuple[float, ...], dc: float, size: int, name: str
) -> None:
    keys = ("tau_s", "refractory_s", "gain_a", "pulse_width_s")
    target = neuron(**dict(zip(keys, numbers, strict=True)), dc_a=dc)
    made = Network(name=name, populations=[Population(name=name, size=size, neuron=target)])
    made.save(tmp_path / f"network{ending}")
    assert Network.load(tmp_path / f"network{ending}") == made


@pytest.mark.parametrize("ending", ENDINGS)
def test_saving_twice_gives_the_same_bytes_and_replaces_the_old(tmp_path: Path, ending: str) -> None:
    one, two = tmp_path / f"one{ending}", tmp_path / f"two{ending}"
    one.write_text("something else", encoding="utf-8")
    rich_network().save(one)
    Network.load(one).save(two)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", ["network.txt", "network", "network.yaml", "network.json.gz"])
def test_unknown_ending_is_refused_both_ways(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ForeignFile, match=r"\.json or \.toml") as caught:
        network().save(path)
    assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ForeignFile, match=r"\.json or \.toml"):
        Network.load(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_missing_file_is_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"nowhere{ending}"
    with pytest.raises(FileProblem, match="cannot be read") as caught:
        Network.load(path)
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, CorruptFile | ForeignFile)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_is_no_network_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"folder{ending}"
    path.mkdir()
    with pytest.raises(FileProblem) as caught:
        Network.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_of_a_save_that_fails(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "file"
    file.write_text("here first", encoding="utf-8")
    folder = tmp_path / f"folder{ending}"
    folder.mkdir()
    for path in (file / f"network{ending}", file / "deeper" / f"network{ending}", folder, tmp_path / ("n" * 400 + ending)):
        with pytest.raises(FileProblem, match=r"cannot be written|is no regular file") as caught:
            network().save(path)
        assert str(path)[:200] in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", folder.name]
    assert list(folder.iterdir()) == []
    assert file.read_text(encoding="utf-8") == "here first"


def saved_text(tmp_path: Path, ending: str) -> str:
    path = tmp_path / f"good{ending}"
    rich_network().save(path)
    return path.read_text(encoding="utf-8")


def test_no_truncated_toml_is_taken_for_the_network(tmp_path: Path) -> None:
    """TOML has no closing mark: whole tables may be missing without a trace, but nothing else may happen than our errors."""
    text, path = saved_text(tmp_path, ".toml"), tmp_path / "cut.toml"
    for length in range(0, len(text.rstrip()), 23):
        path.write_text(text[:length], encoding="utf-8")
        with suppress(BcallError):
            assert Network.load(path) != rich_network()


def test_truncated_json_is_corrupt(tmp_path: Path) -> None:
    text, path = saved_text(tmp_path, ".json"), tmp_path / "cut.json"
    for length in [*range(0, len(text.rstrip()), 23), len(text.rstrip()) - 1]:
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(CorruptFile, match="is not JSON") as caught:
            Network.load(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00\x81",
        b"{",
        b"= 1",
        b"[[[",
        b"\x00" * 100,
        b"a=1\na=2\n",
        b"[a]\n[a]\n",
        b"x=" + b"[" * 10**5,
        b"[" * 10**5,
    ],
    ids=["not text", "brace", "no key", "brackets", "zeros", "key twice", "table twice", "deep value", "deep"],
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_file_is_corrupt(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"damaged{ending}"
    path.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        Network.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "1", "null", '"text"', "{}", '{"format": "bcall_hw/chip"}', '{"format": ["a"]}'])
def test_foreign_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "foreign.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ForeignFile, match="is not a network file") as caught:
        Network.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["", "a = 1", 'format = "bcall_hw/mapping"\nformat_version = 1\n', "[format]\na = 1\n"])
def test_foreign_toml_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "foreign.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ForeignFile, match="is not a network file") as caught:
        Network.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("version", [2, 0, 99, "1", None])
def test_other_format_version_is_refused(tmp_path: Path, version: Any) -> None:
    path = tmp_path / "newer.json"
    path.write_text(json.dumps(json.loads(saved_text(tmp_path, ".json")) | {"format_version": version}), encoding="utf-8")
    with pytest.raises(ForeignFile, match="another format version") as caught:
        Network.load(path)
    assert str(path) in str(caught.value)
    if version is not None:
        path = tmp_path / "newer.toml"
        values = tomlkit.parse(saved_text(tmp_path, ".toml")) | {"format_version": version}
        path.write_text(tomlkit.dumps(values), encoding="utf-8")
        with pytest.raises(ForeignFile, match="another format version"):
            Network.load(path)


@pytest.mark.parametrize(
    ("change", "error", "fragment"),
    [
        ({"populations": []}, EmptyNetwork, "no population"),
        ({"populations": None}, InvalidValue, "populations"),
        ({"speed": 1}, InvalidValue, "speed"),
        ({"self": 1}, InvalidValue, "self"),
        ({"inputs": [{"name": "in", "size": 0}]}, InvalidValue, "size"),
        ({"inputs": [{"name": "in", "size": 1, "self": 2}]}, InvalidValue, "self"),
        ({"inputs": {"name": "in"}}, InvalidValue, "inputs"),
        ({"connections": [{"name": "z"}]}, InvalidValue, "source"),
    ],
)
def test_bad_content_of_a_file_is_named(tmp_path: Path, change: dict[str, Any], error: type[BcallError], fragment: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(json.loads(saved_text(tmp_path, ".json")) | change), encoding="utf-8")
    with pytest.raises(error, match=fragment):
        Network.load(path)


@pytest.mark.parametrize(("ending", "old"), [(".json", '"weight_a": 1e-13'), (".toml", "weight_a = 1e-13")])
@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-1e-13", "0"])
def test_bad_number_in_a_file_is_named(tmp_path: Path, ending: str, old: str, bad: str) -> None:
    text, path = saved_text(tmp_path, ending), tmp_path / f"bad{ending}"
    spelled = {"NaN": "nan", "Infinity": "inf"}.get(bad, bad) if ending == ".toml" else bad
    compact = text.replace('"weight_a":1e-13', '"weight_a": 1e-13')
    assert old in compact
    path.write_text(compact.replace(old, old.replace("1e-13", spelled)), encoding="utf-8")
    with pytest.raises(InvalidValue, match="weight_a"):
        Network.load(path)


# Expansion of connections ---------------------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(1, 8), st.integers(1, 8))


@settings(max_examples=30, deadline=None)
@given(sizes=SIZES, multiplicity=st.integers(1, 9))
def test_all_to_all_is_every_pair(sizes: tuple[int, int], multiplicity: int) -> None:
    wanted = [(i, j, multiplicity) for i in range(sizes[0]) for j in range(sizes[1])]
    assert joined(AllToAll(), *sizes, multiplicity) == by_target(wanted)


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 12), multiplicity=st.integers(1, 9))
def test_one_to_one_is_the_diagonal(size: int, multiplicity: int) -> None:
    assert joined(OneToOne(), size, size, multiplicity) == [(i, i, multiplicity) for i in range(size)]


@settings(max_examples=50, deadline=None)
@given(data=st.data(), sizes=SIZES, multiplicity=st.integers(1, 3))
def test_explicit_is_the_list_with_its_multiplicities(data: st.DataObject, sizes: tuple[int, int], multiplicity: int) -> None:
    cells = st.tuples(st.integers(0, sizes[0] - 1), st.integers(0, sizes[1] - 1))
    chosen = data.draw(st.dictionaries(cells, st.one_of(st.none(), st.integers(1, 5)), max_size=20))
    pairs = [cell if count is None else (*cell, count) for cell, count in chosen.items()]
    wanted = [(*cell, (count or 1) * multiplicity) for cell, count in chosen.items()]
    assert joined(Explicit(pairs=pairs), *sizes, multiplicity) == by_target(wanted)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), sizes=SIZES, seed=st.integers(0, 2**63 - 1))
def test_fan_in_draws_distinct_sources_from_the_candidates(data: st.DataObject, sizes: tuple[int, int], seed: int) -> None:
    n_source, n_target = sizes
    indices = st.lists(st.integers(0, n_source - 1), min_size=1, max_size=12)
    candidates = data.draw(st.one_of(st.none(), indices))
    allowed = set(range(n_source)) if candidates is None else set(candidates)
    fan_in = data.draw(st.integers(1, len(allowed)))
    rule = RandomFanIn(fan_in=fan_in, seed=seed, candidates=candidates)
    found = joined(rule, n_source, n_target, 2)
    assert found == by_target(found)
    assert found == joined(rule, n_source, n_target, 2)
    for target in range(n_target):
        mine = [source for source, at, _ in found if at == target]
        assert len(mine) == len(set(mine)) == fan_in
        assert set(mine) <= allowed
    assert len(found) == fan_in * n_target
    assert {count for _, _, count in found} == {2}
    if fan_in == len(allowed):
        assert found == by_target([(i, j, 2) for i in allowed for j in range(n_target)])


def test_fan_in_differs_by_seed_by_connection_and_by_target() -> None:
    draws = [joined(RandomFanIn(fan_in=5, seed=seed), 100, 10) for seed in range(20)]
    draws += [joined(RandomFanIn(fan_in=5, seed=0), 100, 10, name="other")]
    assert len({tuple(draw) for draw in draws}) == 21
    assert len({tuple(source for source, at, _ in draws[0] if at == target) for target in range(10)}) == 10


def test_fan_in_favours_no_source() -> None:
    found = joined(RandomFanIn(fan_in=10, seed=4), 40, 2000)
    counts = np.bincount([source for source, _, _ in found], minlength=40)
    assert counts.min() > 400
    assert counts.max() < 600  # mean 500, sd 19


def test_fan_in_ignores_the_order_and_repeats_of_candidates() -> None:
    one, two = (joined(RandomFanIn(fan_in=2, candidates=given_), 9, 5) for given_ in ((1, 4, 7), (7, 1, 4, 4, 1)))
    assert one == two


@pytest.mark.parametrize(
    ("rule", "sizes", "fragment"),
    [
        (OneToOne(), (4, 3), "equal sizes"),
        (OneToOne(), (3, 4), "equal sizes"),
        (RandomFanIn(fan_in=5), (4, 3), "fan-in exceeds"),
        (RandomFanIn(fan_in=3, candidates=(1, 2, 2, 1)), (4, 3), "fan-in exceeds"),
        (RandomFanIn(fan_in=1, candidates=()), (4, 3), "fan-in exceeds"),
        (RandomFanIn(fan_in=1, candidates=(0, 4)), (4, 3), "candidate beyond"),
        (Explicit(pairs=((4, 0),)), (4, 3), "source index beyond"),
        (Explicit(pairs=((0, 0), (0, 3))), (4, 3), "target index beyond"),
        (Explicit(pairs=((1, 2), (0, 0), (1, 2))), (4, 3), r"pair listed twice.*\(1, 2\)"),
        (Explicit(pairs=((1, 2, 2), (1, 2, 3))), (4, 3), r"pair listed twice.*\(1, 2\)"),
    ],
)
def test_rule_that_does_not_fit_its_groups_is_refused(rule: Any, sizes: tuple[int, int], fragment: str) -> None:
    with pytest.raises(InvalidValue, match=fragment) as caught:
        joined(rule, *sizes)
    assert "connection 'c'" in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"kind": "random_fan_in", "fan_in": 0}, "fan_in"),
        ({"kind": "random_fan_in", "fan_in": 1, "seed": -1}, "seed"),
        ({"kind": "random_fan_in", "fan_in": 1, "candidates": [-1]}, "candidates"),
        ({"kind": "explicit", "pairs": [[-1, 0]]}, "pairs"),
        ({"kind": "explicit", "pairs": [[0, 0, 0]]}, "pairs"),
        ({"kind": "explicit", "pairs": [[0]]}, "pairs"),
        ({"kind": "explicit"}, "pairs"),
        ({"kind": "some_to_some"}, "rule"),
        ({}, "rule"),
        ("all_to_all", "rule"),
    ],
)
def test_bad_rule_is_refused_and_its_field_named(rule: Any, field: str) -> None:
    with pytest.raises(InvalidValue, match=field):
        Connection(name="c", source="in", target="exc", synapse="AMPA", rule=rule)


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [NAN, INFINITY, -INFINITY, 0.0, -1e-12, None, "much"])
@pytest.mark.parametrize("field", ["tau_s", "weight_a"])
def test_synapse_numbers_are_refused_by_name(field: str, bad: Any) -> None:
    values = {"tau_s": 0.01, "weight_a": 1e-11} | {field: bad}
    with pytest.raises(InvalidValue, match=f"SynapseParameters.{field}"):
        SynapseParameters(**values)
    with pytest.raises(InvalidValue, match=field):
        neuron(synapses={"AMPA": values})
    with pytest.raises(InvalidValue, match=field):
        neuron(adaptation=values)


@pytest.mark.parametrize("bad", [NAN, INFINITY, -INFINITY, -0.01, None, "long"])
@pytest.mark.parametrize("field", ["tau_s", "refractory_s", "gain_a", "pulse_width_s", "dc_a"])
def test_neuron_numbers_are_refused_by_name(field: str, bad: Any) -> None:
    with pytest.raises(InvalidValue, match=f"NeuronParameters.{field}"):
        neuron(**{field: bad})


@pytest.mark.parametrize("field", ["tau_s", "refractory_s", "gain_a", "pulse_width_s"])
def test_zero_is_refused_where_it_makes_no_sense(field: str) -> None:
    with pytest.raises(InvalidValue, match=field):
        neuron(**{field: 0.0})
    assert neuron(dc_a=0.0).dc_a == 0.0


@pytest.mark.parametrize("size", [0, -1, 1.5, NAN, None, "many", [1]])
def test_bad_sizes_are_refused_with_the_group(size: Any) -> None:
    with pytest.raises(InvalidValue, match=r"Input 'in'\.size"):
        Input(name="in", size=size)
    with pytest.raises(InvalidValue, match=r"Population 'exc'\.size"):
        Population(name="exc", size=size, neuron=neuron())


@pytest.mark.parametrize("multiplicity", [0, -1, 1.5, None])
def test_bad_multiplicity_is_refused(multiplicity: Any) -> None:
    with pytest.raises(InvalidValue, match=r"Connection 'c'\.multiplicity"):
        Connection(name="c", source="in", target="exc", synapse="AMPA", multiplicity=multiplicity)


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "\u00e4", "a/b", None, 3])
def test_bad_names_are_refused(name: Any) -> None:
    for made in (lambda: Input(name=name, size=1), lambda: network(name=name)):
        with pytest.raises(InvalidValue, match="name"):
            made()


@pytest.mark.parametrize("place", [{"chip": -1}, {"core": -1}, {"neuron": -1}, {"neuron": 0.5}, {"board": 1}])
def test_bad_places_are_refused(place: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(place))):
        Place(**{"chip": 0, "core": 0, "neuron": 0} | place)


@pytest.mark.parametrize("synapse", ["ampa", "GABA", "", None])
def test_unknown_synapse_type_is_refused(synapse: Any) -> None:
    with pytest.raises(InvalidValue, match=r"Connection 'c'\.synapse"):
        Connection(name="c", source="in", target="exc", synapse=synapse)
    with pytest.raises(InvalidValue, match="synapses"):
        neuron(synapses={synapse: {"tau_s": 0.01, "weight_a": 1e-11}})


@pytest.mark.parametrize(
    ("source", "target", "wrong"), [("in", "nobody", "nobody"), ("nobody", "exc", "nobody"), ("in", "in", "in")]
)
def test_connection_to_an_unknown_group_is_refused(source: str, target: str, wrong: str) -> None:
    connection = Connection(name="c", source=source, target=target, synapse="AMPA")
    with pytest.raises(UnknownName, match="connection 'c'") as caught:
        network(connections=[connection])
    assert caught.value.used == wrong
    assert "exc" in caught.value.fix


def test_synapse_type_without_parameters_is_refused() -> None:
    connection = Connection(name="c", source="in", target="exc", synapse="NMDA")
    with pytest.raises(UnknownName, match=r"connection 'c'.*'exc'.*NMDA"):
        network(connections=[connection])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"inputs": [Input(name="in", size=1), Input(name="in", size=2)]}, "in"),
        ({"populations": [Population(name="exc", size=1, neuron=neuron())] * 2}, "exc"),
        ({"inputs": [Input(name="in", size=1), Input(name="exc", size=2)]}, "exc"),
        ({"connections": [Connection(name="c", source="in", target="exc", synapse="AMPA")] * 2}, "c"),
    ],
)
def test_names_used_twice_are_refused(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidValue, match="used twice") as caught:
        network(**changes)
    assert caught.value.used == name


def test_a_connection_may_be_called_like_a_group() -> None:
    assert network(connections=[Connection(name="in", source="in", target="exc", synapse="AMPA")]).connection("in")


def test_network_without_a_population_is_refused() -> None:
    with pytest.raises(EmptyNetwork, match="no population") as caught:
        Network(name="void", populations=[])
    assert "void" in str(caught.value)


@pytest.mark.parametrize("tags", [(), (1,), (1, 2, 3, 4, 5)])
def test_one_tag_per_source_is_needed(tags: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValue, match=r"input 'in'.*one tag per source"):
        network(inputs=[Input(name="in", size=4, tags=tags)])


def test_negative_tags_are_refused() -> None:
    with pytest.raises(InvalidValue, match="tags"):
        Input(name="in", size=1, tags=(-1,))


@pytest.mark.parametrize("changes", [{"format": "bcall_hw/chip"}, {"format_version": 2}, {"unknown": 1}])
def test_network_refuses_other_formats_and_fields(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(changes))):
        network(**changes)


def test_groups_and_connections_are_found_by_name() -> None:
    made = network()
    assert (made.size_of("in"), made.size_of("exc")) == (4, 3)
    assert made.population("exc").size == 3
    assert made.connection("c").source == "in"
    for look_up in (made.size_of, made.population, made.connection):
        with pytest.raises(UnknownName, match="nobody"):
            look_up("nobody")
