"""Cores that a record calibrated are taken first, and what it does not know of the cores in use is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from calibration_helpers import measured
from mapper_helpers import CHIP, asked, at, delivered, link, network, neuron, population, random_network

from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Excluded, Measured, SecondLeak
from bcall_hw.failure_reasons import FailureReason
from bcall_hw.mapper import MappedNetwork, differences, map_network
from bcall_hw.network import Input, Network

EVERY = [(chip, core) for chip in range(4) for core in range(4)]
TARGETS = {
    "tau_s": 0.02, "refractory_s": 0.003, "pulse_width_s": 2e-5, "dc_a": 1e-10, "AMPA.tau_s": 0.01, "AMPA.weight_a": 3e-11,
    "NMDA.tau_s": 0.05, "NMDA.weight_a": 1e-11, "GABA_A.tau_s": 0.01, "GABA_A.weight_a": 3e-11, "GABA_B.tau_s": 0.01,
    "GABA_B.weight_a": 3e-11, "adaptation.tau_s": 0.1, "adaptation.weight_a": 4e-12,
}  # fmt: skip


def knows(
    cores: Iterable[tuple[int, int]], failed: dict[tuple[int, int], set[str]] | None = None, scale: float = 1.0, **changes: Any
) -> Calibration:
    """A record of some cores, in which some quantities of some cores failed; what failed has no scale."""
    failed, verdicts, scales = failed or {}, [], list(changes.pop("core_scales", ()))
    for chip, core in cores:
        for quantity, target in TARGETS.items():
            ok = quantity not in failed.get((chip, core), ())
            reason = FailureReason.NONE if ok else FailureReason.TOO_NOISY
            unit = "s" if quantity.endswith("_s") else "A"
            verdicts.append(
                Measured(
                    chip=chip, core=core, quantity=quantity, unit=unit, target=target, achieved=target, neurons=256, ok=ok,
                    reason=reason,
                )
            )  # fmt: skip
            scales += [(chip, core, quantity, scale)] if ok else []
    return measured(measured=tuple(verdicts), core_scales=tuple(scales), **changes)


def net(size: int, **changes: Any) -> Network:
    return network(Input(name="x", size=4), population("p", size, None, neuron(**changes)), link("a", "x", "p"))


def cores_of(mapped: MappedNetwork) -> set[tuple[int, int]]:
    return {(chip, core) for table in mapped.addresses.values() for chip, core, _ in table.tolist()}


def told(mapped: MappedNetwork) -> list[str]:
    return [warning for warning in mapped.warnings if "calibrated" in warning]


# Which cores are taken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("core", [(0, 2), (2, 1), (3, 3)])
@pytest.mark.parametrize("chips", [None, (0, 1, 2, 3)])
def test_the_calibrated_core_is_taken(core: tuple[int, int], chips: tuple[int, ...] | None) -> None:
    mapped = map_network(net(200), CHIP, chips, calibration=knows([core]))
    assert cores_of(mapped) == {core}
    assert told(mapped) == []
    assert delivered(mapped) == asked(net(200))


def test_verdicts_without_scales_are_enough() -> None:
    record = knows([(2, 1)]).model_copy(update={"core_scales": ()})
    mapped = map_network(net(200), CHIP, calibration=record)
    assert mapped.config.chips == (2,)
    assert cores_of(mapped) == {(2, 1)}


def test_calibrated_cores_of_more_chips_are_taken_before_others_of_one() -> None:
    mapped = map_network(net(300), CHIP, calibration=knows([(0, 1), (2, 3)]))
    assert cores_of(mapped) == {(0, 1), (2, 3)}


def test_what_does_not_fit_calibrated_cores_goes_where_it_fits_and_is_told() -> None:
    mapped = map_network(net(300), CHIP, calibration=knows([(2, 3)]))
    assert (2, 3) in cores_of(mapped)
    (other,) = cores_of(mapped) - {(2, 3)}
    assert told(mapped) == [
        f"chip {other[0]} core {other[1]}: not calibrated by this record, which knows the board's capacitances alone of it"
    ]


def test_excluded_neurons_of_the_calibrated_core_leave_less_room() -> None:
    excluded = tuple(Excluded(chip=0, core=2, neuron=n, reason="outlier") for n in range(60))
    record = knows([(0, 2)], excluded=excluded)
    assert cores_of(map_network(net(196), CHIP, calibration=record)) == {(0, 2)}
    assert cores_of(map_network(net(197), CHIP, calibration=record)) > {(0, 2)}


def test_cores_that_know_all_that_is_asked_are_taken_before_those_that_know_some() -> None:
    record = knows(EVERY, {(0, 0): {"AMPA.weight_a"}, (0, 1): {"adaptation.tau_s"}})
    mapped = map_network(net(200), CHIP, calibration=record)
    assert cores_of(mapped) == {(0, 1)}
    assert told(mapped) == []
    lacking = {core: {"AMPA.weight_a"} for core in EVERY} | {(1, 2): {"AMPA.weight_a", *TARGETS}}
    mapped = map_network(net(4000), CHIP, calibration=knows(EVERY, lacking))
    assert cores_of(mapped) == set(EVERY)
    mapped = map_network(net(3800), CHIP, calibration=knows(EVERY, lacking))
    assert (1, 2) not in cores_of(mapped)
    assert all(text.endswith("not calibrated by this record: AMPA.weight_a") for text in told(mapped))


def test_wishes_stand_and_the_rest_goes_to_calibrated_cores() -> None:
    """Neurons of the same kind do not fill up a core that was wished and is not calibrated."""
    wished = network(
        Input(name="x", size=4),
        population("w", 5, at(1, 1, 40)),
        population("p", 100),
        link("a", "x", "p"),
        link("b", "x", "w"),
    )
    mapped = map_network(wished, CHIP, calibration=knows([(1, 2)]))
    assert {(c, k) for c, k, _ in mapped.addresses["p"].tolist()} == {(1, 2)}
    assert {(c, k) for c, k, _ in mapped.addresses["w"].tolist()} == {(1, 1)}
    (warning,) = told(mapped)
    assert warning.startswith("chip 1 core 1: not calibrated")


@pytest.mark.parametrize("seed", range(6))
def test_exchanges_for_traffic_do_not_leave_calibrated_cores(seed: int) -> None:
    wanted = random_network(seed, (0, 1, 2, 3))
    places = {(p.place.chip, p.place.core) for p in wanted.populations if p.place is not None}
    some = [core for core in EVERY if core[1] != seed % 4]
    mapped = map_network(wanted, CHIP, (0, 1, 2, 3), calibration=knows(some))
    assert delivered(mapped) == asked(wanted)
    assert differences(mapped) == []
    assert cores_of(mapped) <= set(some) | places


@pytest.mark.parametrize("seed", range(6))
def test_records_that_know_all_cores_alike_change_no_place(seed: int) -> None:
    wanted = random_network(seed, (0, 1, 2, 3))
    plain = map_network(wanted, CHIP)
    for record in (knows(EVERY), measured(), knows([]), knows(EVERY, {core: set(TARGETS) for core in EVERY})):
        mapped = map_network(wanted, CHIP, calibration=record)
        assert mapped.config == plain.config


# What is told --------------------------------------------------------------------------------------------------------


def test_a_constant_current_is_told_where_it_is_in_use_and_not_calibrated() -> None:
    record = knows([(0, 0)], {(0, 0): {"dc_a"}})
    assert told(map_network(net(4), CHIP, calibration=record)) == []
    assert told(map_network(net(4, dc_a=1e-10), CHIP, calibration=record)) == [
        "chip 0 core 0: not calibrated by this record: dc_a"
    ]
    assert told(map_network(net(4, dc_a=1e-10), CHIP, calibration=knows([(0, 0)]))) == []


def test_a_constant_current_that_was_no_target_is_known_by_its_scale() -> None:
    """It is measured with every soma, so that a record may hold its scale without a verdict."""
    whole = knows([(0, 0)])
    verdicts = tuple(m for m in whole.measured if m.quantity != "dc_a")
    mapped = map_network(net(4, dc_a=1e-10), CHIP, calibration=whole.model_copy(update={"measured": verdicts}))
    assert told(mapped) == []


def test_a_second_leak_is_known_by_its_own_scale_alone() -> None:
    leak = SecondLeak(chip=0, core=0, ratio=1.5, neurons=tuple(range(256)))
    mapped = map_network(net(4), CHIP, calibration=knows([(0, 0)], second_leak=(leak,)))
    assert any(c.quantity == "tau2_s" for c in mapped.biases[0, 0])
    assert told(mapped) == ["chip 0 core 0: not calibrated by this record: tau2_s"]
    record = knows([(0, 0)], second_leak=(leak,), core_scales=((0, 0, "tau2_s", 1.0),))
    assert told(map_network(net(4), CHIP, calibration=record)) == []


def test_values_far_from_their_targets_are_told_with_both_numbers() -> None:
    record = knows([(0, 0)])
    assert told(map_network(net(4, tau_s=0.005), CHIP, calibration=record)) == []
    assert told(map_network(net(4, tau_s=0.0035, refractory_s=0.016), CHIP, calibration=record)) == [
        "chip 0 core 0: far from where it was calibrated, so that its scales may not hold: "
        "tau_s 0.0035 s (calibrated at 0.02 s), refractory_s 0.016 s (calibrated at 0.003 s)"
    ]
    (dc,) = told(map_network(net(4, dc_a=1e-8), CHIP, calibration=record))
    assert dc.endswith("dc_a 1e-08 A (calibrated at 1e-10 A)")


def test_a_second_leak_is_held_against_the_target_of_the_first() -> None:
    leak = SecondLeak(chip=0, core=0, ratio=1.5, neurons=tuple(range(256)))
    record = knows([(0, 0)], second_leak=(leak,), core_scales=((0, 0, "tau2_s", 1.0),))
    (warning,) = told(map_network(net(4, tau_s=0.0035), CHIP, calibration=record))
    assert warning.endswith("tau_s 0.0035 s (calibrated at 0.02 s), tau2_s 0.0035 s (calibrated at 0.02 s)")


def test_nominal_scales_are_no_verdict() -> None:
    """A record without verdicts, as one made by hand, is taken at its word."""
    assert told(map_network(net(4), CHIP, calibration=measured(core_scales=((3, 3, "tau_s", 1.1),)))) == []
