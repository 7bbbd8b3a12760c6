"""NIR graphs to networks: what is accepted, folded and refused, and what the numbers become."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

nir = pytest.importorskip("nir", reason="needs the package nir")

from nir_helpers import chain, cuba, graph, imported, lif, linear, matrix_of, texts  # noqa: E402

from bcall_hw import circuits  # noqa: E402
from bcall_hw.calibration import load_calibration  # noqa: E402
from bcall_hw.chip_model import ChipModel  # noqa: E402
from bcall_hw.errors import (  # noqa: E402
    BackendUnavailable,
    BcallError,
    CorruptFile,
    EmptyNetwork,
    FanInExceeded,
    FileProblem,
    InvalidValue,
    PlacementFull,
    SourcesExceeded,
    UnknownName,
)
from bcall_hw.mapper import map_network  # noqa: E402
from bcall_hw.mapping import CodeProblems  # noqa: E402
from bcall_hw.network import AllToAll, Network  # noqa: E402
from bcall_hw.nir_import import ImportSettings, import_nir  # noqa: E402
from bcall_hw.nir_import.drives import Drives  # noqa: E402

W = np.array([[1.0, -0.5, 0.0], [0.25, 0.75, -1.0]])


def test_two_layers_become_two_populations_that_map_and_save(tmp_path: Any, chip: ChipModel) -> None:
    found = imported(chain(linear(W), lif(2), linear([[1.0, 1.0]]), lif(1)), levels=4)
    assert [(p.name, p.size) for p in found.network.populations] == [("n1", 2), ("n3", 1)]
    assert [(i.name, i.size) for i in found.network.inputs] == [("input", 3)]
    assert [(c.name, c.synapse) for c in found.network.connections] == [
        ("input-n1-excitatory", "AMPA"), ("input-n1-inhibitory", "GABA_B"), ("n1-n3-excitatory", "AMPA"),
    ]  # fmt: skip
    assert (matrix_of(found, "n1", "input") == [[4, -1, 0], [1, 3, -2]]).all()
    assert isinstance(found.network.connections[2].rule, AllToAll)
    assert found.outputs == ("n3",)
    found.network.save(tmp_path / "n.json")
    assert Network.load(tmp_path / "n.json") == found.network
    assert map_network(found.network, chip).config.cam.shape[-1] == chip.cam.entries


@pytest.mark.parametrize("tau_syn", [0.004, 0.008])
def test_charge_of_an_event_is_what_the_law_says(tau_syn: float) -> None:
    """weight_a * tau_syn * (entries) = threshold current * weight * spike length, for any unit, r and threshold."""
    found = imported(chain(linear(W), cuba(2, tau_syn=tau_syn), shape=(3,)))
    layer, synapses = found.layers[0], found.network.populations[0].neuron.synapses
    assert layer.tau_syn_s == tau_syn == synapses["AMPA"].tau_s
    assert 4 * synapses["AMPA"].weight_a * tau_syn == pytest.approx(layer.scale.unit_a * 1.0 * 1e-3, rel=1e-9)
    assert 2 * synapses["GABA_B"].weight_a * tau_syn == pytest.approx(layer.scale.unit_a * 1.0 * 1e-3, rel=1e-9)
    same = [
        imported(chain(linear(W), cuba(2, 20.0, tau_syn * 1e3)), dt_s=1e-3),
        imported(chain(linear(W / 5), cuba(2, tau_syn=tau_syn, w_in=5.0))),
    ]
    for other in same:
        assert other.network.populations[0].neuron.synapses["AMPA"].weight_a == pytest.approx(synapses["AMPA"].weight_a)


def test_r_and_threshold_scale_the_weights_neuron_by_neuron() -> None:
    node = nir.LIF(tau=np.full(2, 0.02), r=np.array([1.0, 2.0]), v_leak=np.zeros(2), v_threshold=np.array([2.0, 1.0]))
    found = imported(chain(linear(W), node))
    assert found.layers[0].weights == pytest.approx(W * [[0.5], [2.0]])
    assert "n1: folded: r, v_threshold" in texts(found)


def test_leak_potential_counts_only_where_the_reset_goes_there() -> None:
    with pytest.raises(InvalidValue, match="resets elsewhere"):
        imported(chain(linear(W), lif(2, leak=0.5)))
    values = nir.LIF(tau=np.full(2, 0.02), r=np.ones(2), v_leak=np.full(2, 0.5), v_threshold=np.ones(2)).to_dict()
    found = imported(_with_fields(chain(linear(W), lif(2)), "n1", values | {"v_reset": np.full(2, 0.5)}))
    assert found.layers[0].weights == pytest.approx(2 * W)
    assert "folded: v_leak" in texts(found)
    with pytest.raises(InvalidValue, match="resets elsewhere"):
        imported(_with_fields(chain(linear(W), lif(2)), "n1", lif(2).to_dict() | {"v_reset": np.array([0.0, 0.25])}))


class _Fields:
    """A graph whose dictionary was changed: fields that only some versions of nir know."""

    nodes, edges = {}, ()

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def to_dict(self) -> dict[str, Any]:
        return self._values


def _with_fields(source: Any, name: str, fields: dict[str, Any]) -> _Fields:
    values = source.to_dict()
    values["nodes"][name] = fields
    return _Fields(values)


def test_jumps_of_v_are_the_same_charge_as_steps_of_current() -> None:
    steps, jumps = (imported(chain(linear(W), lif(2)), normalised_input=flag) for flag in (True, False))
    assert jumps.layers[0].weights == pytest.approx(W / (1 - np.exp(-1e-3 / 0.02)))
    assert steps.layers[0].weights == pytest.approx(W)
    assert "normalised_input = false" in texts(jumps)


def test_the_decay_of_a_jump_is_that_of_the_models_time_step() -> None:
    """alpha is of one step, `dt_s`, however long a spike's current is said to last; `spike_s` is the step only without it."""
    per_step = 1 - np.exp(-1 / 20)
    for settings in ({"dt_s": 1e-3}, {"dt_s": 1e-3, "spike_s": 1e-4}, {"dt_s": 1e-3, "spike_s": 5e-3}):
        for node in (lif(2, tau=20.0), cuba(2, 20.0, 8.0)):
            found = imported(chain(linear(W), node), normalised_input=False, **settings)
            assert found.layers[0].weights == pytest.approx(W / per_step)
            assert "in a time step of 1 ms" in texts(found)
    assert "in a time step of 2 ms" in texts(imported(chain(linear(W), lif(2)), normalised_input=False, spike_s=2e-3))


def test_an_if_tells_that_it_has_no_decay_to_divide_by() -> None:
    source = chain(linear(W), nir.IF(r=np.ones(2), v_threshold=np.ones(2)))
    plain, jumps = (imported(source, dt_s=1e-3, normalised_input=flag) for flag in (True, False))
    assert (jumps.layers[0].weights == plain.layers[0].weights).all()
    assert "n1: dropped: normalised_input = false changes nothing" in texts(jumps)
    assert "moves v by 1 r w" in texts(jumps)
    assert "normalised_input" not in texts(plain)
    assert "moves v by 0.5 r w" in texts(imported(source, dt_s=1e-3, spike_s=5e-4, normalised_input=False))


def test_soma_fires_like_the_lif_at_both_anchors(chip: ChipModel) -> None:
    """The membrane's equation, integrated here by itself in time, at the drive of one rate of the LIF."""
    found = imported(chain(linear(W), lif(2)))
    scale, settings = found.layers[0].scale, found.settings
    constants = chip.constants
    charge = circuits.thermal_charge_c(chip, load_calibration(chip).capacitance_f(chip, "soma"))
    reset, spike, kappa = constants.leak_current_a.value, constants.spike_threshold_a.value, constants.kappa.value
    for rate in (20.0, 100.0):
        x = 1.0 / (1.0 - np.exp(-1.0 / (rate * 0.02)))
        v, t, dt = 0.0, 0.0, 1e-6
        while v < np.log(spike / reset):
            mem = reset * np.exp(v)
            gained = x * scale.unit_a * settings.gain_a / (mem + settings.gain_a)
            v += dt / charge * (gained - charge / scale.tau_s + reset * np.exp(v * kappa / (kappa + 1)))
            t += dt
        assert 1.0 / (t + settings.refractory_s) == pytest.approx(rate, rel=2e-3)


def test_keep_tau_takes_the_files_own_time_constant() -> None:
    found = imported(chain(linear(W), lif(2)), keep_tau=True)
    assert found.network.populations[0].neuron.tau_s == 0.02


def test_if_gets_the_longest_time_constant_and_a_warning(chip: ChipModel) -> None:
    found = imported(chain(linear(W), nir.IF(r=np.ones(2), v_threshold=np.ones(2))), dt_s=1e-3)
    layer = found.layers[0]
    assert layer.tau_s is None
    assert layer.scale.tau_s > 0.03
    assert layer.weights == pytest.approx(W * layer.scale.tau_s / 1e-3)
    assert "n1: warning: an IF never forgets" in texts(found)
    map_network(found.network, chip)


def test_one_bias_is_a_dc_current_and_others_are_refused() -> None:
    found = imported(chain(nir.Affine(W, np.full(2, 0.2)), lif(2)))
    assert found.network.populations[0].neuron.dc_a == pytest.approx(0.2 * found.layers[0].scale.unit_a)
    assert "DC current" in texts(found)
    assert imported(chain(nir.Affine(W, np.zeros(2)), lif(2))).network.populations[0].neuron.dc_a == 0.0
    with pytest.raises(InvalidValue, match="layer 'n1' neuron 1: bias differs"):
        imported(chain(nir.Affine(W, np.array([0.2, 0.3])), lif(2)))
    with pytest.raises(InvalidValue, match="negative"):
        imported(chain(nir.Affine(W, np.full(2, -0.2)), lif(2)))


def test_scalars_spread_over_the_neighbouring_weights() -> None:
    forward = imported(chain(linear(W), lif(), linear([[1.0, 1.0]]), lif()))
    assert [p.size for p in forward.network.populations] == [2, 1]
    nodes = {"in": nir.Input({"input": np.array([3])}), "w": linear(W), "a": lif(), "back": linear(np.ones((2, 2)))}
    loop = imported(graph(nodes, [("in", "w"), ("w", "a"), ("a", "back"), ("back", "a")]))
    assert [c.source for c in loop.network.connections] == ["in", "in", "a"]
    assert (matrix_of(loop, "a", "a") > 0).all()
    assert found_sizes(graph({"a": lif(), "back": linear(np.ones((2, 2)))}, [("a", "back"), ("back", "a")])) == [2]


def found_sizes(source: Any) -> list[int]:
    return [p.size for p in imported(source).network.populations]


def test_linear_nodes_multiply_and_parallel_ones_add() -> None:
    second = np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 0.0]])
    found = imported(chain(linear(W), nir.Scale(np.array([2.0, 0.5])), linear(second), lif(3)))
    assert found.layers[0].weights == pytest.approx(second @ (np.diag([2.0, 0.5]) @ W))
    assert "n1: folded: scale" in texts(found)
    nodes = {"in": nir.Input({"input": np.array([3])}), "u": linear(W), "v": linear(2 * W), "a": lif(2)}
    both = imported(graph(nodes, [("in", "u"), ("in", "v"), ("u", "a"), ("v", "a")]))
    assert both.layers[0].weights == pytest.approx(3 * W)


def test_branches_that_join_are_multiplied_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve diamonds in a row: 2^12 ways, each doubling the signal, but three nodes each."""
    nodes: dict[str, Any] = {"in": nir.Input({"input": np.array([2])})}
    edges, last = [], "in"
    for k in range(12):
        nodes |= {f"a{k}": linear(np.eye(2)), f"b{k}": linear(np.eye(2)), f"s{k}": nir.Scale(np.ones(2))}
        edges += [(last, f"a{k}"), (last, f"b{k}"), (f"a{k}", f"s{k}"), (f"b{k}", f"s{k}")]
        last = f"s{k}"
    nodes |= {"n": lif(2), "w": linear(np.eye(2)), "m": lif(2)}
    edges += [(last, "n"), (last, "w"), ("w", "m")]
    asked: list[str] = []
    inner = Drives._output
    monkeypatch.setattr(Drives, "_output", lambda self, name, path: asked.append(name) or inner(self, name, path))
    found = imported(graph(nodes, edges))
    assert [layer.weights.tolist() for layer in found.layers] == [(2.0**12 * np.eye(2)).tolist()] * 2
    assert len(asked) <= len(edges)


def test_the_longest_row_counts_also_behind_a_join() -> None:
    """150 nodes that another layer asked for already, and 60 more behind them: too many, in either order of the layers."""
    row = [f"a{k}" for k in range(150)] + [f"b{k}" for k in range(60)]
    nodes = {"in": nir.Input({"input": np.array([2])}), **{name: linear(np.eye(2)) for name in row}}
    edges = [("in", "a0"), *pairwise(row), (row[149], "near"), (row[-1], "far")]
    for names in (("near", "far"), ("far", "near")):
        with pytest.raises(InvalidValue, match="too many linear nodes in a row"):
            imported(graph(nodes | {name: lif(2) for name in names}, edges))


def test_outputs_behind_branches_that_join_are_found_once() -> None:
    nodes: dict[str, Any] = {"n": lif(2)}
    edges, last = [], "n"
    for k in range(20):
        for name in (f"a{k}", f"b{k}", f"s{k}"):
            nodes[name] = nir.Flatten({"input": np.array([2])}, 0)
        edges += [(last, f"a{k}"), (last, f"b{k}"), (f"a{k}", f"s{k}"), (f"b{k}", f"s{k}")]
        last = f"s{k}"
    nodes["out"] = nir.Output({"output": np.array([2])})
    assert imported(graph(nodes, [*edges, (last, "out")])).outputs == ("n",)


def test_a_row_of_passing_nodes_without_end_is_refused() -> None:
    names = [f"f{k}" for k in range(1200)]
    nodes = {"n": lif(2), **{name: nir.Flatten({"input": np.array([2])}, 0) for name in names}}
    nodes["out"] = nir.Output({"output": np.array([2])})
    with pytest.raises(InvalidValue, match="too many nodes in a row before an Output"):
        imported(graph(nodes, list(pairwise(["n", *names, "out"]))))


def test_connections_that_want_one_name_get_two() -> None:
    source = nir.Input({"input": np.array([3])})
    nodes = {"a-b": source, "a": source, "u": linear(W), "v": linear(-W), "c": lif(2), "b-c": lif(2)}
    found = imported(graph(nodes, [("a-b", "u"), ("u", "c"), ("a", "v"), ("v", "b-c")]))
    assert [c.name for c in found.network.connections] == [
        "a-b-c-excitatory", "a-b-c-inhibitory", "a-b-c-excitatory-2", "a-b-c-inhibitory-2",
    ]  # fmt: skip
    assert "b-c: renamed: the connection from 'a' is 'a-b-c-excitatory-2'" in texts(found)
    assert (matrix_of(found, "b-c", "a") == -matrix_of(found, "c", "a-b")).all()


def test_nested_graphs_are_laid_flat() -> None:
    inner = chain(linear(W), lif(2))
    nodes = {"in": nir.Input({"input": np.array([3])}), "block": inner, "w": linear([[1.0, 1.0]]), "out": lif(1)}
    found = imported(graph(nodes, [("in", "block"), ("block", "w"), ("w", "out")]))
    assert [p.name for p in found.network.populations] == ["block.n1", "out"]
    assert matrix_of(found, "out", "block.n1").shape == (1, 2)
    two = graph({"a": nir.Input({"input": np.array([3])}), "b": nir.Input({"input": np.array([3])}), "n": lif(3)},
                [("a", "n"), ("b", "n")])  # fmt: skip
    with pytest.raises(InvalidValue, match="exactly one Input"):
        imported(graph({"in": nir.Input({"input": np.array([3])}), "block": two}, [("in", "block")]))


def test_names_that_a_network_cannot_have_are_told() -> None:
    found = imported(graph({"a b": lif(2)}, []))
    assert found.network.populations[0].name == "a_b"
    assert "a b: renamed: a_b" in texts(found)
    assert "nothing feeds this layer" in texts(found)
    with pytest.raises(InvalidValue, match="one name"):
        imported(graph({"a b": lif(2), "a_b": lif(2)}, []))


REFUSED = {
    "LI": nir.LI(tau=np.ones(2), r=np.ones(2), v_leak=np.ones(2)), "I": nir.I(r=np.ones(2)),
    "Threshold": nir.Threshold(np.ones(2)), "Delay": nir.Delay(np.ones(2)),
    "AvgPool2d": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*REFUSED, "CubaLI", "Mystery"])
def test_nodes_without_counterpart_are_refused_by_name(kind: str) -> None:
    source: Any = chain(linear(W), REFUSED.get(kind, lif(2)))
    if kind not in REFUSED:
        source = _with_fields(source, "n1", {"type": kind})
    with pytest.raises(InvalidValue, match=rf"node 'n1': {kind} cannot be imported") as caught:
        imported(source)
    assert caught.value.used == kind


def test_time_constants_need_their_unit() -> None:
    with pytest.raises(InvalidValue, match="Give dt_s"):
        imported(chain(linear(W), lif(2, tau=20.0)))
    with pytest.raises(InvalidValue, match="charge of one spike"):
        import_nir(chain(linear(W), lif(2)))
    assert imported(chain(linear(W), lif(2, tau=20.0)), dt_s=1e-3).layers[0].tau_s == pytest.approx(0.02)


@pytest.mark.parametrize("field", ["tau_mem", "tau_syn"])
def test_time_constants_that_differ_are_refused_with_the_neuron(field: str) -> None:
    values = cuba(2).to_dict() | {field: np.array([0.02, 0.03])}
    with pytest.raises(InvalidValue, match=f"CubaLIF 'n1' neuron 1: {field} differs"):
        imported(_with_fields(chain(linear(W), cuba(2)), "n1", values))


@pytest.mark.parametrize(
    ("node", "what"),
    [
        (lif(2, tau=0.0), "tau must be above 0"), (lif(2, threshold=0.0), "threshold is not above"),
        (lif(2, r=0.0), "r or w_in is 0"),
        (lif(2, tau=float("nan")), "must be finite"), (lif(2, r=float("inf")), "must be finite"), (lif(5), "does not fit"),
        (lif(2, tau=1e-7), "anchor is not below the refractory rate"), (nir.Scale(np.ones(5)), "does not fit"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(node: Any, what: str) -> None:
    with pytest.raises(InvalidValue, match=what):
        imported(chain(linear(W), node))


def test_wrong_graphs_are_refused() -> None:
    source = nir.Input({"input": np.array([3])})
    for nodes, edges, error in (
        ({}, [], EmptyNetwork),
        ({"in": source, "w": linear(W)}, [("in", "w")], EmptyNetwork),
        ({"a": lif(2)}, [("a", "b")], UnknownName),
        ({"a": lif(2)}, [("a", "a"), ("a", "a")], InvalidValue),
        ({"in": source, "w": linear(W), "v": linear(W.T), "a": lif(2)}, [("w", "v"), ("v", "w"), ("w", "a")], InvalidValue),
        ({"in": source, "a": lif()}, [("a", "in")], InvalidValue),
        ({"w": linear(W), "a": lif()}, [("w", "a")], InvalidValue),
        ({"in": source, "w": linear(np.ones((2, 4))), "a": lif()}, [("in", "w"), ("w", "a")], InvalidValue),
        ({"in": source, "w": linear(np.ones((2, 1, 3))), "a": lif()}, [("in", "w"), ("w", "a")], InvalidValue),
        ({"in": source, "a": lif(), "f": nir.Flatten({"input": np.array([3])}, 0), "g": lif()}, [("f", "g")], InvalidValue),
        ({"in": source, "a": lif(), "w": linear(W), "out": nir.Output({"output": np.array([2])})},
         [("in", "a"), ("a", "w"), ("w", "out")], InvalidValue),
    ):  # fmt: skip
        with pytest.raises(error):
            imported(graph(nodes, edges))
    for wrong in (7, None, [], _Fields({"type": "NIRGraph", "nodes": 3}), _Fields({"type": "LIF"}),
                  _Fields({"type": "NIRGraph", "nodes": {"a": {}}}), _Fields({"type": "NIRGraph", "nodes": {}, "edges": [3]}),
                  _Fields({"type": "NIRGraph", "nodes": {}, "edges": 3}),
                  _Fields({"type": "NIRGraph", "nodes": {"a": {"type": "LIF", "tau": object()}}}),
                  _Fields({"type": "NIRGraph", "nodes": {"a": {"type": "LIF"}}, "edges": []})):  # fmt: skip
        with pytest.raises(BcallError):
            import_nir(wrong, ImportSettings(dt_s=1e-3))


def test_more_than_the_board_has_is_refused() -> None:
    with pytest.raises(PlacementFull):
        imported(graph({"a": lif(5000)}, []))
    with pytest.raises(SourcesExceeded):
        imported(chain(lif(), shape=(2000,)))
    with pytest.raises(FanInExceeded, match="layer 'n1' neuron 0"):
        imported(chain(linear(np.ones((2, 65))), lif(2), shape=(65,)))
    with pytest.raises(FanInExceeded):
        imported(chain(linear(np.ones((2, 60))), lif(2), shape=(60,)), reserve=5)
    with pytest.raises(CodeProblems, match=r"layer 'n1'.*weight_a"):
        imported(chain(linear(1e6 * W), lif(2)))


@pytest.mark.parametrize("size", [1e300, 1e200, 1e-200, 1e-300])
def test_absurd_weights_are_refused(size: float) -> None:
    with pytest.raises((InvalidValue, CodeProblems), match=r"layer 'n1'|weight_a"):
        imported(chain(linear(size * W), lif(2)))


def test_levels_by_layer() -> None:
    source = chain(linear(W), lif(2), linear([[1.0, 0.5]]), lif(1))
    found = imported(source, levels={"n1": 8, "*": 1})
    assert [layer.levels for layer in found.layers] == [8, 1]
    assert np.abs(matrix_of(found, "n1", "input")).max() == 4  # a quarter is the finest that these weights need
    assert matrix_of(found, "n3", "n1").tolist() == [[1, 1]]
    with pytest.raises(InvalidValue, match="n3"):
        imported(source, levels={"n1": 8})
    with pytest.raises(UnknownName, match="nonsense"):
        imported(source, levels={"nonsense": 8, "*": 1})


def test_what_a_file_holds_beyond_its_meaning_is_told() -> None:
    values = lif(2).to_dict() | {"surprise": np.ones(3), "metadata": {"by": "hand"}}
    found = imported(_with_fields(chain(linear(W), lif(2)), "n1", values))
    assert "n1: dropped: field 'surprise'" in texts(found)
    assert "n1: dropped: field 'metadata'" in texts(found)
    assert "stand for instantaneous ones" in texts(found)
    assert "resets to rest" in texts(found)


# Files ---------------------------------------------------------------------------------------------------------------


def test_files_give_what_the_graph_gives(tmp_path: Any) -> None:
    source = chain(linear(W), lif(2), linear([[1.0, 1.0]]), lif(1))  # nir 1.0.8 cannot write scalars
    nir.write(tmp_path / "a.nir", source)
    found = import_nir(tmp_path / "a.nir", ImportSettings(spike_s=1e-3))
    assert found.network == imported(source).network


def test_missing_foreign_and_truncated_files_are_told(tmp_path: Any) -> None:
    path = tmp_path / "a.nir"
    with pytest.raises(FileProblem, match="no such file"):
        imported(path)
    nir.write(path, chain(linear(W), lif(2)))
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:600]):
        path.write_bytes(content)
        with pytest.raises(CorruptFile):
            imported(str(path))
    import h5py

    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(CorruptFile):
        imported(path)


def test_files_cut_anywhere_give_our_errors(tmp_path: Any) -> None:
    path = tmp_path / "a.nir"
    nir.write(path, chain(linear(W), lif(2)))
    whole = path.read_bytes()
    for length in range(8, len(whole) - 1, len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile):
            imported(path)


def test_without_nir_the_extra_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nir.write(tmp_path / "a.nir", chain(linear(W), lif(2)))
    monkeypatch.setitem(sys.modules, "nir", None)
    monkeypatch.setitem(sys.modules, "nir.serialization", None)
    with pytest.raises(BackendUnavailable, match=r"bcall-hw\[sinabs\]"):
        imported(tmp_path / "a.nir")
