"""Every rule of the chip that the mapper enforces, broken once: the class, and what the message names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mapper_helpers import CHIP, at, link, network, neuron, pairs, population

from bcall_hw.errors import (
    BiasConflict,
    CurrentOutOfRange,
    DestinationsExceeded,
    FanInExceeded,
    InvalidValue,
    NetworkDoesNotFit,
    PlacementFull,
    ReservedTag,
    SourcesExceeded,
    StimulusProblem,
    TagCollision,
    TagsExhausted,
    UnknownName,
)
from bcall_hw.mapper import map_network
from bcall_hw.network import Input, Network, SynapseParameters

ALL = (0, 1, 2, 3)


def refusal(net: Network, chips: tuple[int, ...] = (0,)) -> NetworkDoesNotFit:
    with pytest.raises(NetworkDoesNotFit) as caught:
        map_network(net, CHIP, chips)
    for violation in caught.value.violations[:20]:
        assert str(violation) in str(caught.value)
    return caught.value


def only(net: Network, kind: type[Exception], *said: str, chips: tuple[int, ...] = (0,)) -> str:
    """The one violation of a network, which must be of this class and name these things."""
    found = refusal(net, chips)
    assert [type(v) for v in found.violations] == [kind], str(found)
    text = str(found.violations[0])
    for piece in said:
        assert piece in text, text
    return text


# Fan-in --------------------------------------------------------------------------------------------------------------


def test_65_inputs_on_a_neuron() -> None:
    net = network(Input(name="x", size=65), population("p", 3), link("c", "x", "p", pairs(*((s, 1) for s in range(65)))))
    only(net, FanInExceeded, "population 'p' neuron 1", "got 65", "limit 64", "c 65")


def test_65_by_multiplicity_and_several_connections() -> None:
    net = network(
        Input(name="x", size=16),
        population("p", 2),
        link("triple", "x", "p", pairs(*((s, 0) for s in range(16))), multiplicity=4),
        link("one", "p", "p", pairs((1, 0)), "GABA_B", plastic=True),
    )
    only(net, FanInExceeded, "neuron 0", "got 65", "limit 64", "triple 64", "one 1")


def test_every_neuron_with_too_many_inputs_is_named() -> None:
    net = network(Input(name="x", size=70), population("p", 30), population("q", 2), link("a", "x", "p"), link("b", "x", "q"))
    found = refusal(net)
    wheres = [v.where for v in found.violations]
    assert wheres == [f"population 'p' neuron {n}" for n in range(30)] + [f"population 'q' neuron {n}" for n in range(2)]
    assert {(type(v), v.used, v.limit) for v in found.violations} == {(FanInExceeded, 70, 64)}
    assert "breaks 32 rule(s)" in str(found)
    assert "12 more" in str(found)
    assert len(found.as_dict()["violations"]) == 32


# Tags ----------------------------------------------------------------------------------------------------------------


def test_two_sources_of_one_input_with_one_wished_tag() -> None:
    net = network(Input(name="x", size=3, tags=(7, 300, 7)), population("p", 1), link("c", "x", "p"))
    said = ("chip 0 core 0", "input 'x' source 0", "input 'x' source 2", "(core 0, neuron 7)")
    only(net, TagCollision, *said)


def test_two_inputs_with_one_wished_tag_whatever_the_type() -> None:
    parts = (Input(name="x", size=1, tags=(600,)), Input(name="y", size=1, tags=(600,)), population("p", 2, at(0, 2)))
    links = (link("a", "x", "p", pairs((0, 0)), "AMPA"), link("b", "y", "p", pairs((0, 1)), "GABA_B"))
    only(network(*parts, *links), TagCollision, "chip 0 core 2", "input 'x'", "input 'y'", "(core 2, neuron 88)")


def test_one_wished_tag_in_different_cores_is_allowed() -> None:
    parts = (Input(name="x", size=1, tags=(600,)), Input(name="y", size=1, tags=(600,)))
    targets = (population("p", 1, at(0, 0)), population("q", 1, at(0, 1)))
    map_network(network(*parts, *targets, link("a", "x", "p"), link("b", "y", "q")), CHIP)


def test_wished_reserved_tag() -> None:
    net = network(Input(name="x", size=2, tags=(5, 0)), population("p", 1), link("c", "x", "p"))
    only(net, ReservedTag, "input 'x' source 1", "(core 0, neuron 0)")


def test_wished_tag_beyond_the_fpga() -> None:
    net = network(Input(name="x", size=2, tags=(1023, 1024)), population("p", 1), link("c", "x", "p"))
    only(net, StimulusProblem, "input 'x' source 1", "got 1024", "limit 1023")


def test_five_neurons_with_one_low_byte_cannot_reach_one_core() -> None:
    places = [at(0, 0, 9), at(0, 1, 9), at(1, 0, 9), at(2, 0, 9), at(3, 3, 9)]
    sources = [population(f"s{n}", 1, place) for n, place in enumerate(places)]
    net = network(*sources, population("t", 1, at(1, 2, 100)), *(link(f"c{s.name}", s.name, "t") for s in sources))
    only(net, TagCollision, "population 's4' neuron 0", "chip 1 core 2", "neuron 9)", chips=ALL)


def test_four_neurons_0_cannot_reach_one_core_because_one_tag_is_reserved() -> None:
    sources = [population(f"s{n}", 1, at(0, n, 0)) for n in range(4)]
    net = network(*sources, population("t", 1, at(0, 0, 100)), *(link(f"c{s.name}", s.name, "t") for s in sources))
    only(net, TagCollision, "population 's3' neuron 0", "chip 0 core 0", "neuron 0)")


def test_wished_tags_take_all_a_neuron_could_have() -> None:
    net = network(
        Input(name="x", size=4, tags=(9, 256 + 9, 512 + 9, 768 + 9)),
        population("s", 1, at(0, 1, 9)),
        population("t", 1, at(0, 2, 50)),
        link("a", "x", "t"),
        link("b", "s", "t"),
    )
    only(net, TagCollision, "population 's' neuron 0", "input 'x' source 1", "chip 0 core 2", "(core 1, neuron 9)")


def test_more_fpga_sources_than_the_board_has() -> None:
    net = network(Input(name="x", size=1000), Input(name="y", size=25), population("p", 1), link("c", "x", "p", pairs((0, 0))))
    only(net, SourcesExceeded, "inputs", "got 1025", "limit 1024")


def test_the_1024th_source_of_a_core_is_refused() -> None:
    listed = pairs(*((s, s % 256) for s in range(1024)))
    net = network(Input(name="x", size=1024), population("p", 256, at(0, 3)), link("c", "x", "p", listed))
    only(net, TagsExhausted, "chip 0 core 3", "got 1024", "limit 1023", "x 1024")


def test_a_neuron_among_the_sources_of_a_full_core() -> None:
    listed = pairs(*((s, s % 200) for s in range(1023)))
    parts = (Input(name="x", size=1023), population("p", 200, at(0, 3, 1)), link("c", "x", "p", listed))
    only(network(*parts, link("r", "p", "p", pairs((0, 199)))), TagsExhausted, "chip 0 core 3", "x 1023, p 1")


# Places --------------------------------------------------------------------------------------------------------------


def test_1025_neurons_on_one_chip() -> None:
    map_network(network(population("p", 1024)), CHIP)
    only(network(population("p", 1025)), PlacementFull, "population 'p'", "got 1025", "limit 1024")
    map_network(network(population("p", 1025)), CHIP, (0, 2))


def test_4097_neurons_on_the_board() -> None:
    map_network(network(population("p", 4096)), CHIP, ALL)
    only(network(population("p", 4097)), PlacementFull, "got 4097", "limit 4096", chips=ALL)


def test_257_neurons_wished_on_one_core() -> None:
    map_network(network(population("p", 256, at(0, 1))), CHIP)
    only(network(population("p", 257, at(0, 1))), PlacementFull, "population 'p'", "got 257", "limit 256")
    only(network(population("p", 2, at(0, 1, 255))), PlacementFull, "population 'p'", "got 257", "limit 256")
    only(network(population("p", 1, at(0, 1, 256))), PlacementFull, "population 'p'", "limit 256")


@pytest.mark.parametrize("wish", [at(1, 0), at(0, 4), at(9, 9)])
def test_wish_outside_the_allowed_cores(wish: Any) -> None:
    only(network(population("p", 1, wish)), PlacementFull, "population 'p'", f"chip {wish.chip} core {wish.core}")


def test_five_kinds_on_four_cores() -> None:
    kinds = [population(f"p{n}", 2, None, neuron(0.02 + 0.01 * n)) for n in range(5)]
    only(network(*kinds), PlacementFull, "population 'p4'", "got 2", "limit 0", "parameters")


def test_a_kind_fills_the_rest_of_its_cores_first() -> None:
    mapped = map_network(network(population("a", 200), population("b", 100), population("c", 56)), CHIP)
    together = np.concatenate([mapped.addresses[n] for n in "abc"])
    assert len(np.unique(together, axis=0)) == 356
    assert set(together[:, 1].tolist()) == {0, 1}


def test_overlapping_wishes_name_the_population_that_is_there() -> None:
    net = network(population("a", 10, at(0, 1, 0)), population("b", 10, at(0, 1, 20)), population("c", 10, at(0, 1, 5)))
    only(net, PlacementFull, "population 'c'", "overlaps", "population 'a'", "chip 0 core 1")


def test_two_overlapping_wishes() -> None:
    net = network(population("a", 10, at(0, 1, 0)), population("b", 5, at(0, 1, 9)))
    only(net, PlacementFull, "population 'b'", "overlaps", "population 'a'")


def test_adjacent_wishes_are_allowed() -> None:
    mapped = map_network(network(population("a", 10, at(0, 1, 0)), population("b", 246, at(0, 1, 10))), CHIP)
    assert mapped.addresses["b"][[0, -1]].tolist() == [[0, 1, 10], [0, 1, 255]]


def test_wished_places_with_different_biases() -> None:
    net = network(population("a", 10, at(0, 1, 0)), population("b", 10, at(0, 1, 20), neuron(0.05)))
    only(net, BiasConflict, "population 'b'", "'a'", "chip 0 core 1", "parameters")


# Destinations --------------------------------------------------------------------------------------------------------


def test_a_neuron_with_targets_on_all_four_chips() -> None:
    targets = [population(f"t{c}", 1, at(c, 1, 9)) for c in range(4)]
    parts = (population("s", 2, at(2, 0, 4)), *targets, *(link(f"c{t.name}", "s", t.name, pairs((1, 0))) for t in targets))
    only(network(*parts), DestinationsExceeded, "population 's' neuron 1", "got 4", "limit 3", chips=ALL)


def test_an_input_may_reach_all_four_chips() -> None:
    targets = [population(f"t{c}", 1, at(c, 1, 9)) for c in range(4)]
    net = network(Input(name="x", size=2), *targets, *(link(f"c{t.name}", "x", t.name) for t in targets))
    assert {c for c, _ in map_network(net, CHIP, ALL).input_reach["x"][0]} == {0, 1, 2, 3}


# Currents ------------------------------------------------------------------------------------------------------------

TAU_PER_A = 3.2e-12 * 0.025 / 0.705
SWITCH_PER_A = 0.5e-12 * 0.7


def test_tau_too_long_names_range_and_nearest() -> None:
    text = only(network(population("p", 1, None, neuron(100.0))), CurrentOutOfRange, "population 'p'", "tau_s", "IF_TAU1_N")
    lowest, highest = TAU_PER_A / 24e-6, TAU_PER_A / CHIP.sorted_codes[0][0]
    assert f"tau_s = 100 s is outside {TAU_PER_A / CHIP.sorted_codes[0][-1]:.4g} to {highest:.4g} s" in text
    assert f"nearest possible value is {highest:.4g} s" in text
    assert lowest == pytest.approx(TAU_PER_A / CHIP.sorted_codes[0][-1], rel=0.02)
    map_network(network(population("p", 1, None, neuron(highest * 0.999))), CHIP)


def test_tau_too_short_names_range_and_nearest() -> None:
    shortest = TAU_PER_A / CHIP.sorted_codes[0][-1]
    text = only(network(population("p", 1, None, neuron(1e-12))), CurrentOutOfRange, "population 'p'", "tau_s", "IF_TAU1_N")
    assert f"nearest possible value is {shortest:.4g} s" in text


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "refractory long": ({"refractory_s": 100.0}, ("refractory_s", "IF_RFR_N", "100 s", "nearest possible value")),
    "refractory short": ({"refractory_s": 1e-12}, ("refractory_s", "IF_RFR_N", "1e-12 s", "nearest possible value")),
    "pulse long": ({"pulse_width_s": 10.0}, ("pulse_width_s", "PULSE_PWLK_P", "10 s", "nearest possible value")),
    "pulse short": ({"pulse_width_s": 1e-12}, ("pulse_width_s", "PULSE_PWLK_P", "1e-12 s", "nearest possible value")),
    "gain large": ({"gain_a": 1.0}, ("gain_a", "IF_THR_N", "1 A", "nearest possible value")),
    "gain small": ({"gain_a": 1e-13}, ("gain_a", "IF_THR_N", "1e-13 A", "nearest possible value")),
    "dc large": ({"dc_a": 1.0}, ("dc_a", "IF_DC_P", "1 A", "nearest possible value")),
    "dc small": ({"dc_a": 1e-13}, ("dc_a", "IF_DC_P", "1e-13 A", "nearest possible value")),
    "synapse tau long": (
        {"synapses": {"NMDA": SynapseParameters(tau_s=50.0, weight_a=1e-10)}},
        ("NMDA.tau_s", "NPDPIE_TAU_S_P", "50 s", "nearest possible value"),
    ),
    "synapse tau short": (
        {"synapses": {"GABA_A": SynapseParameters(tau_s=1e-9, weight_a=1e-10)}},
        ("GABA_A.tau_s", "NPDPII_TAU_F_P", "1e-09 s", "nearest possible value"),
    ),
    "weight large": (
        {"synapses": {"AMPA": SynapseParameters(tau_s=0.01, weight_a=1.0)}},
        ("AMPA.weight_a", "PS_WEIGHT_EXC_F_N", "weight_a = 1 A is outside", "nearest possible value"),
    ),
    "adaptation large": (
        {"adaptation": SynapseParameters(tau_s=0.1, weight_a=1.0)},
        ("adaptation.weight_a", "IF_AHW_P", "weight_a = 1 A is outside", "nearest possible value"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_current_out_of_range(name: str) -> None:
    changes, said = WRONG[name]
    only(network(population("p", 1, None, neuron(**changes))), CurrentOutOfRange, "population 'p'", *said)


def test_the_nearest_weight_that_is_named_is_possible() -> None:
    kind = neuron(synapses={"AMPA": SynapseParameters(tau_s=0.01, weight_a=1.0)})
    text = str(refusal(network(population("p", 1, None, kind))).violations[0])
    nearest = float(text.rsplit("nearest possible value is ", 1)[1].split(" ")[0])
    kind = neuron(synapses={"AMPA": SynapseParameters(tau_s=0.01, weight_a=nearest * 0.999)})
    choices = map_network(network(population("p", 1, None, kind)), CHIP).biases[0, 0]
    assert next(c.predicted for c in choices if c.quantity == "AMPA.weight_a") == pytest.approx(nearest, rel=0.01)


def test_a_weight_too_small_is_not_silently_lost() -> None:
    """The weight current cannot come near enough to the leak current: refused, as one that is too large is."""
    kind = neuron(synapses={"AMPA": SynapseParameters(tau_s=0.01, weight_a=1e-17)})
    only(network(population("p", 1, None, kind)), CurrentOutOfRange, "AMPA.weight_a", "1e-17 A", "nearest possible value")


def test_all_quantities_out_of_range_are_gathered() -> None:
    kind = neuron(100.0, refractory_s=100.0, gain_a=1.0, synapses={"AMPA": SynapseParameters(tau_s=0.01, weight_a=1.0)})
    found = refusal(network(population("p", 1, None, kind)))
    text = str(found)
    assert len(found.violations) == 4
    for quantity in ("tau_s", "refractory_s", "gain_a", "AMPA.weight_a"):
        assert quantity in text


# Several at once -----------------------------------------------------------------------------------------------------


def test_violations_of_several_rules_are_gathered() -> None:
    net = network(
        Input(name="x", size=66, tags=(0, 5, 5, *range(10, 73))),
        population("fan", 1, at(0, 0)),
        population("slow", 1, at(0, 1), neuron(100.0)),
        population("conflict", 1, at(0, 1, 9)),
        link("c", "x", "fan"),
    )
    found = refusal(net)
    kinds = {type(v) for v in found.violations}
    assert kinds == {FanInExceeded, CurrentOutOfRange, BiasConflict, ReservedTag}
    late = Network(populations=(*net.populations, population("late", 2, at(0, 2, 255))))
    assert {type(v) for v in refusal(late).violations} == {CurrentOutOfRange, BiasConflict, PlacementFull}
    without_bad_places = Network(
        inputs=net.inputs,
        connections=net.connections,
        populations=tuple(p for p in net.populations if p.name in ("fan", "slow")),
    )
    found = refusal(without_bad_places)
    assert sorted(type(v).__name__ for v in found.violations) == [
        "CurrentOutOfRange", "FanInExceeded", "ReservedTag", "TagCollision",
    ]  # fmt: skip
    assert "network 'network' breaks 4 rule(s)" in str(found)


# Arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chips", [(), (4,), (1, 0), (0, 0)])
def test_wrong_chips(chips: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValue, match="chip ids"):
        map_network(network(population("p", 1)), CHIP, chips)


def test_efficacy_of_another_shape() -> None:
    net = network(Input(name="x", size=4), population("p", 3), link("c", "x", "p", plastic=True))
    with pytest.raises(InvalidValue, match=r"efficacy of connection 'c'.*\(4, 3\).*\(3, 4\)"):
        map_network(net, CHIP, efficacy={"c": np.ones((4, 3), dtype=bool)})


@pytest.mark.parametrize("name", ["nothing", "fixed"])
def test_efficacy_of_no_plastic_connection(name: str) -> None:
    parts = (Input(name="x", size=4), population("p", 3), link("c", "x", "p", plastic=True), link("fixed", "x", "p"))
    with pytest.raises((UnknownName, InvalidValue), match=name):
        map_network(network(*parts), CHIP, efficacy={name: np.zeros((3, 4), dtype=bool)})


def test_plastic_synapses_need_one_multiplicity() -> None:
    net = network(Input(name="x", size=2), population("p", 1), link("c", "x", "p", pairs((0, 0, 1), (1, 0, 2)), plastic=True))
    with pytest.raises(InvalidValue, match="connection 'c'"):
        map_network(net, CHIP)
