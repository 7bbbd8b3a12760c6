"""Traces on circuits: closed forms, an event-exact DPI in plain Python, and brute force over all codes of the chip."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, log, nan
from pathlib import Path

import numpy as np
import pytest
import tomlkit
from calibration_helpers import measured
from hypothesis import given, settings
from hypothesis import strategies as st

from bcall_hw.calibration import load_calibration
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.errors import CurrentOutOfRange, InvalidValue, PlacementFull
from bcall_hw.rule.parameters import preset
from bcall_hw.trace_circuit import (
    TraceOnCircuit,
    TraceTarget,
    cores_for,
    finite_pulse_mean,
    jump,
    largest_jump,
    leak_current_a,
    on_one_core,
    overview,
    pulse_current_a,
    pulse_width_s,
    retrigger_error,
    rule_traces,
)

# The chip, read again without the package -----------------------------------------------------------------------------

MODELS = Path(__file__).resolve().parents[1] / "chip_models"
FILE = tomlkit.parse((MODELS / "dynapse1.toml").read_text()).unwrap()
U_T, KAPPA, V_TH = (FILE["constants"][k]["value"] for k in ("thermal_voltage_v", "kappa", "inverter_threshold_v"))
FARAD: dict[str, float] = FILE["capacitances_f"]
ORDER = ("GABA_B", "GABA_A", "NMDA", "AMPA")  # the chip's own order of its four DPIs


def _currents() -> dict[tuple[int, int], float]:
    """Current of each code (coarse, fine) that is above the dark current (A)."""
    table = FILE["current_table"]
    found = {}
    for line in (MODELS / table["file"]).read_text().splitlines()[1:]:
        fine, *row = (int(v) for v in line.split(","))
        for coarse, count in enumerate(row):
            if count * table["unit_a"] > table["dark_current_a"]:
                found[coarse, fine] = count * table["unit_a"]
    return found


AMPERE = _currents()
WIDTHS_S = np.array([FARAD["pulse"] * V_TH / i for i in AMPERE.values()])
CHIP = load_chip("dynapse1")
CALIBRATION = load_calibration(CHIP)
MEASURED = measured(capacitance_scale={"AMPA": 1.25, "pulse": 0.8})


def tau_of(circuit: str, current_a: float) -> float:
    return FARAD[circuit] * U_T / (KAPPA * current_a)


def nearest_tau(circuit: str, tau_s: float) -> float:
    """The time constant that the code nearest on a log scale gives, of all codes one by one."""
    return min((tau_of(circuit, i) for i in AMPERE.values()), key=lambda found: abs(log(found / tau_s)))


def wanted_width(target: TraceTarget) -> float:
    return -target.tau_s * log(1 - target.a)


def worst_errors(targets: Sequence[TraceTarget], circuits: Sequence[str]) -> np.ndarray:
    """Worst |relative error of a| over the traces, for every code of the pulse width."""
    taus = [nearest_tau(c, t.tau_s) for c, t in zip(circuits, targets, strict=True)]
    worst = np.zeros(WIDTHS_S.size)
    for tau, target in zip(taus, targets, strict=True):
        worst = np.maximum(worst, np.abs((1 - np.exp(-WIDTHS_S / tau)) / target.a - 1))
    return worst


# Jump and pulse width -------------------------------------------------------------------------------------------------


@given(tau=st.floats(1e-5, 10.0), a=st.floats(1e-5, 0.9999))
def test_jump_and_pulse_width_are_inverse(tau: float, a: float) -> None:
    assert jump(tau, pulse_width_s(tau, a)) == pytest.approx(a, rel=1e-9)


@given(tau=st.floats(1e-5, 10.0), width_in_tau=st.floats(1e-4, 8.0))
def test_pulse_width_and_jump_are_inverse(tau: float, width_in_tau: float) -> None:
    assert pulse_width_s(tau, jump(tau, width_in_tau * tau)) == pytest.approx(width_in_tau * tau, rel=1e-9)


@pytest.mark.parametrize(("tau", "a", "width_ms"), [(0.030, 0.4, 15.3), (0.045, 0.5, 31.2)])
def test_preset_d_needs_the_listed_pulse_widths(tau: float, a: float, width_ms: float) -> None:
    assert pulse_width_s(tau, a) * 1e3 == pytest.approx(width_ms, abs=0.05)
    assert pulse_width_s(tau, a) == pytest.approx(-tau * log(1 - a), rel=1e-13)
    assert jump(tau, -tau * log(1 - a)) == pytest.approx(a, rel=1e-13)


def test_a_jump_of_one_needs_an_endless_pulse_and_the_fix_is_named() -> None:
    with pytest.raises(InvalidValue, match="a = 1") as refused:
        pulse_width_s(0.03, 1.0)
    assert refused.value.used == 1.0
    assert "below 1" in refused.value.fix
    assert "largest_jump" in refused.value.fix


@pytest.mark.parametrize("a", [0.0, -0.0, -0.1, 1.0000001, 2.0, nan, inf, -inf])
def test_other_impossible_jumps_are_refused(a: float) -> None:
    with pytest.raises(InvalidValue, match="between 0 and 1"):
        pulse_width_s(0.03, a)


# Currents -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("circuit", ORDER)
@pytest.mark.parametrize("tau_s", [0.001, 0.03, 0.45])
def test_leak_current_is_the_charge_over_tau(circuit: str, tau_s: float) -> None:
    current = leak_current_a(CHIP, CALIBRATION, circuit, tau_s)  # type: ignore[arg-type]
    assert current == pytest.approx(FARAD[circuit] * U_T / (KAPPA * tau_s), rel=1e-12)
    assert leak_current_a(CHIP, CALIBRATION, circuit, current) == pytest.approx(tau_s, rel=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("pulse_s", [1e-6, 0.0153, 0.0312])
def test_pulse_current_is_the_charge_over_the_width(pulse_s: float) -> None:
    current = pulse_current_a(CHIP, CALIBRATION, pulse_s)
    assert current == pytest.approx(FARAD["pulse"] * V_TH / pulse_s, rel=1e-12)
    assert pulse_current_a(CHIP, CALIBRATION, current) == pytest.approx(pulse_s, rel=1e-12)


def test_listed_currents() -> None:
    """24.5 pF, 25 mV, kappa 0.705, 0.5 pF, 0.7 V."""
    assert leak_current_a(CHIP, CALIBRATION, "AMPA", 0.030) == pytest.approx(28.96e-12, rel=1e-3)
    assert leak_current_a(CHIP, CALIBRATION, "NMDA", 0.045) == pytest.approx(19.70e-12, rel=1e-3)
    assert pulse_current_a(CHIP, CALIBRATION, 0.0153248) == pytest.approx(22.84e-12, rel=1e-3)
    assert pulse_current_a(CHIP, CALIBRATION, 0.0311916) == pytest.approx(11.22e-12, rel=1e-3)


def test_measured_capacitances_count() -> None:
    assert leak_current_a(CHIP, MEASURED, "AMPA", 0.03) == pytest.approx(1.25 * FARAD["AMPA"] * U_T / (KAPPA * 0.03), rel=1e-12)
    assert leak_current_a(CHIP, MEASURED, "NMDA", 0.03) == pytest.approx(FARAD["NMDA"] * U_T / (KAPPA * 0.03), rel=1e-12)
    assert pulse_current_a(CHIP, MEASURED, 0.02) == pytest.approx(0.8 * FARAD["pulse"] * V_TH / 0.02, rel=1e-12)


@pytest.mark.parametrize("tau_s", [0.03, 0.45, 0.6, 5.0])
def test_largest_jump_is_that_of_the_longest_pulse(tau_s: float) -> None:
    assert WIDTHS_S.max() == FARAD["pulse"] * V_TH / min(AMPERE.values())
    assert largest_jump(CHIP, CALIBRATION, tau_s) == pytest.approx(1 - exp(-WIDTHS_S.max() / tau_s), rel=1e-12)


# Means under Poisson spikes -------------------------------------------------------------------------------------------


def mean_by_events(rate_hz: float, tau_s: float, a: float, finite: bool, spikes: int = 60_000, seed: int = 3) -> float:
    """Mean of a DPI under Poisson spikes; every stretch between events integrated exactly.

    dx/dt = (on - x) / tau: over a stretch, the integral of x is the time in a pulse minus tau times the rise of x.
    """
    rng = random.Random(seed)
    width = -tau_s * log(1 - a)
    x = area = total = 0.0
    for spike in range(spikes + 1000):
        gap = rng.expovariate(rate_hz)
        if finite:
            on = min(gap, width)  # the next spike restarts the pulse
            top = 1 - (1 - x) * exp(-on / tau_s)
            bottom = top * exp(-(gap - on) / tau_s)
            stretch = on - tau_s * (bottom - x)
        else:
            bottom = (x + a * (1 - x)) * exp(-gap / tau_s)
            stretch = tau_s * (x + a * (1 - x) - bottom)
        x = bottom
        if spike >= 1000:
            area, total = area + stretch, total + gap
    return area / total


@pytest.mark.parametrize(("tau_s", "a"), [(0.030, 0.4), (0.045, 0.5), (0.450, 0.06)])
@pytest.mark.parametrize("rate_hz", [10.0, 50.0, 100.0])
def test_finite_pulses_raise_the_mean_as_the_closed_forms_say(rate_hz: float, tau_s: float, a: float) -> None:
    finite, ideal = (mean_by_events(rate_hz, tau_s, a, f) for f in (True, False))
    assert finite_pulse_mean(rate_hz, -tau_s * log(1 - a)) == pytest.approx(finite, rel=0.02)
    assert a * rate_hz * tau_s / (1 + a * rate_hz * tau_s) == pytest.approx(ideal, rel=0.02)
    assert retrigger_error(rate_hz, tau_s, a) == pytest.approx(finite / ideal - 1, abs=0.02)
    assert retrigger_error(rate_hz, tau_s, a) > 0


def test_listed_means_at_50_hz() -> None:
    assert finite_pulse_mean(50, pulse_width_s(0.03, 0.4)) == pytest.approx(0.541, rel=0.015)
    assert retrigger_error(50, 0.03, 0.4) == pytest.approx(0.541 / 0.375 - 1, abs=0.02)


@given(rate=st.floats(0.1, 1000), tau=st.floats(1e-3, 1.0), a=st.floats(0.001, 0.99))
def test_retrigger_error_is_never_negative(rate: float, tau: float, a: float) -> None:
    mean, ideal = 1 - (1 - a) ** (rate * tau), a * rate * tau / (1 + a * rate * tau)
    assert finite_pulse_mean(rate, -tau * log(1 - a)) == pytest.approx(mean, rel=1e-9)
    assert retrigger_error(rate, tau, a) == pytest.approx(mean / ideal - 1, abs=1e-9)
    assert retrigger_error(rate, tau, a) > -1e-9


# One core -------------------------------------------------------------------------------------------------------------

TARGETS = st.builds(TraceTarget, tau_s=st.floats(0.004, 0.5), a=st.floats(0.02, 0.7))


def check_held(held: TraceOnCircuit, name: str, target: TraceTarget, circuit: str) -> None:
    assert (held.name, held.target, held.circuit) == (name, target, circuit)
    tau = tau_of(circuit, AMPERE[held.tau_code.coarse, held.tau_code.fine])
    pulse = FARAD["pulse"] * V_TH / AMPERE[held.pulse_code.coarse, held.pulse_code.fine]
    assert held.tau_s == pytest.approx(tau, rel=1e-12)
    assert held.pulse_s == pytest.approx(pulse, rel=1e-12)
    assert abs(log(tau / target.tau_s)) <= abs(log(nearest_tau(circuit, target.tau_s) / target.tau_s)) + 1e-12
    a = 1 - exp(-pulse / tau)
    assert held.a == pytest.approx(a, rel=1e-12)
    assert held.a_error == pytest.approx(a / target.a - 1, abs=1e-12)
    assert held.tau_error == pytest.approx(tau / target.tau_s - 1, abs=1e-12)
    for rate in (5.0, 50.0):
        wanted = target.a * rate * target.tau_s / (1 + target.a * rate * target.tau_s)
        assert held.mean_error(rate) == pytest.approx(a * rate * tau / (1 + a * rate * tau) / wanted - 1, abs=1e-12)
        assert held.mean_error(rate, finite=True) == pytest.approx((1 - exp(-rate * pulse)) / wanted - 1, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(targets=st.lists(TARGETS, min_size=1, max_size=4))
def test_the_pulse_code_is_the_best_of_all_codes(targets: list[TraceTarget]) -> None:
    found = on_one_core({f"t{k}": t for k, t in enumerate(targets)}, CHIP, CALIBRATION)
    assert len(found) == len(targets)
    assert len({(h.pulse_code.coarse, h.pulse_code.fine) for h in found}) == 1
    for k, (held, target) in enumerate(zip(found, targets, strict=True)):
        check_held(held, f"t{k}", target, ORDER[k])
    best = float(worst_errors(targets, ORDER[: len(targets)]).min())
    assert max(abs(h.a_error) for h in found) <= best + 1e-12


def test_the_synapse_types_are_taken_in_the_order_asked_for() -> None:
    traces = {"slow": TraceTarget(0.1, 0.2), "fast": TraceTarget(0.02, 0.5)}
    found = on_one_core(traces, CHIP, CALIBRATION, ["NMDA", "GABA_A"])
    for held, (name, target), circuit in zip(found, traces.items(), ("NMDA", "GABA_A"), strict=True):
        check_held(held, name, target, circuit)
    alone = on_one_core({"fast": traces["fast"]}, CHIP, CALIBRATION, ["AMPA", "NMDA"])
    assert [h.circuit for h in alone] == ["AMPA"]


def test_each_trace_has_a_dpi_of_its_own() -> None:
    """One synapse type named twice would put two traces on one DPI."""
    traces = {"x_i": TraceTarget(0.03, 0.4), "x_j": TraceTarget(0.045, 0.5)}
    with pytest.raises((InvalidValue, PlacementFull)):
        on_one_core(traces, CHIP, CALIBRATION, ["AMPA", "AMPA"])


def test_more_traces_than_dpis_are_refused() -> None:
    five = {f"t{k}": TraceTarget(0.03, 0.4) for k in range(5)}
    with pytest.raises(PlacementFull, match="more traces") as refused:
        on_one_core(five, CHIP, CALIBRATION)
    assert (refused.value.used, refused.value.limit) == (5, 4)
    assert "cores" in refused.value.fix
    with pytest.raises(PlacementFull) as refused:
        on_one_core({k: five[k] for k in ("t0", "t1")}, CHIP, CALIBRATION, ["AMPA"])
    assert (refused.value.used, refused.value.limit) == (2, 1)


def test_a_time_constant_beyond_the_codes_is_named_with_its_trace() -> None:
    longest = tau_of("GABA_B", min(AMPERE.values()))
    shortest = tau_of("GABA_B", max(AMPERE.values()))
    for tau_s in (longest * 1.01, shortest * 0.99):
        with pytest.raises(CurrentOutOfRange, match="trace odd"):
            on_one_core({"odd": TraceTarget(tau_s, 0.4)}, CHIP, CALIBRATION)
    both = {"good": TraceTarget(0.03, 0.4), "odd": TraceTarget(50.0, 0.001)}
    for place in (on_one_core, cores_for):
        with pytest.raises(CurrentOutOfRange, match="trace odd"):
            place(both, CHIP, CALIBRATION)


def test_a_pulse_beyond_the_codes_is_named_with_its_trace_and_the_largest_jump() -> None:
    both = {"good": TraceTarget(0.03, 0.4), "odd": TraceTarget(0.6, 0.9)}
    with pytest.raises(CurrentOutOfRange, match="trace odd") as refused:
        on_one_core(both, CHIP, CALIBRATION)
    assert f"{1 - exp(-WIDTHS_S.max() / 0.6):.4g}" in refused.value.fix
    with pytest.raises(CurrentOutOfRange, match="trace tiny"):
        on_one_core({"tiny": TraceTarget(1e-6, 1e-3)}, CHIP, CALIBRATION)


def test_the_two_traces_of_preset_d_do_not_share_a_core() -> None:
    targets = [TraceTarget(0.030, 0.4), TraceTarget(0.045, 0.5)]
    best = float(worst_errors(targets, ORDER[:2]).min())
    assert best > 0.15
    found = on_one_core(dict(zip(("x_i", "x_j"), targets, strict=True)), CHIP, CALIBRATION)
    assert max(abs(h.a_error) for h in found) == pytest.approx(best, abs=1e-12)


def test_impossible_targets_are_refused() -> None:
    for tau_s, a in ((0.0, 0.4), (-1.0, 0.4), (nan, 0.4), (0.03, 0.0), (0.03, -1.0), (0.03, nan), (0.03, 1.5)):
        with pytest.raises((InvalidValue, CurrentOutOfRange)):
            on_one_core({"odd": TraceTarget(tau_s, a)}, CHIP, CALIBRATION)


# Several cores --------------------------------------------------------------------------------------------------------


def check_cores(traces: dict[str, TraceTarget], tolerance: float) -> list[list[TraceOnCircuit]]:
    cores = cores_for(traces, CHIP, CALIBRATION, tolerance)
    flat = [held for core in cores for held in core]
    assert sorted(h.name for h in flat) == sorted(traces)
    widths = [wanted_width(h.target) for h in flat]
    assert all(first <= second for first, second in pairwise(widths))
    for core in cores:
        assert 1 <= len(core) <= 4
        assert len({(h.pulse_code.coarse, h.pulse_code.fine) for h in core}) == 1
        assert len({h.circuit for h in core}) == len(core)
        for held in core:
            check_held(held, held.name, traces[held.name], held.circuit)
            assert abs(held.a_error) <= tolerance
        best = float(worst_errors([h.target for h in core], [h.circuit for h in core]).min())
        assert max(abs(h.a_error) for h in core) <= best + 1e-12
    return cores


def holds(targets: Sequence[TraceTarget], tolerance: float) -> bool:
    """Whether one core holds them all, by brute force."""
    ordered = sorted(targets, key=wanted_width)
    return len(ordered) <= 4 and bool(worst_errors(ordered, ORDER[: len(ordered)]).min() <= tolerance)


def partitions(items: Sequence[TraceTarget]) -> Iterator[list[list[TraceTarget]]]:
    if not items:
        yield []
        return
    for smaller in partitions(items[1:]):
        for k, group in enumerate(smaller):
            yield [*smaller[:k], [items[0], *group], *smaller[k + 1 :]]
        yield [[items[0]], *smaller]


def fewest_cores(targets: Sequence[TraceTarget], tolerance: float) -> int:
    return min(len(groups) for groups in partitions(targets) if all(holds(g, tolerance) for g in groups))


@dataclass(frozen=True)
class Listed:
    name: str
    widths_ms: dict[str, float]


PRESET_WIDTHS = [
    Listed("D", {"x_i": 15.32, "x_s": 27.84, "x_j": 31.19}),
    Listed("1.X1", {"x_i": 15.32, "x_s": 18.28, "x_j": 31.19}),
    Listed("2.0", {"x_i": 10.22, "x_s": 18.28, "x_j": 24.26}),
    Listed("3.0", {"x_i": 12.77, "x_j": 24.26}),
]


@pytest.mark.parametrize("listed", PRESET_WIDTHS, ids=lambda listed: listed.name)
def test_the_traces_of_each_preset_find_their_cores(listed: Listed) -> None:
    p = preset(listed.name)
    traces = rule_traces(p)
    wanted = {"x_i": TraceTarget(p.tau_i_s, p.a_i), "x_j": TraceTarget(p.tau_j_s, p.a_j)}
    if p.stop_learning:
        wanted["x_s"] = TraceTarget(p.stop_learning.tau_s, p.stop_learning.a)
    assert traces == wanted
    for tolerance in (0.03, 0.01):
        cores = check_cores(traces, tolerance)
        assert [[h.name for h in core] for core in cores] == [[name] for name in listed.widths_ms]
        for core in cores:
            assert core[0].pulse_s * 1e3 == pytest.approx(listed.widths_ms[core[0].name], rel=0.02)
    assert len(cores_for(traces, CHIP, CALIBRATION, tolerance=0.9)) == 1


def test_preset_4_is_refused() -> None:
    traces = rule_traces(preset("4.0"))
    assert traces["x_j"].a == 1.0
    for place in (on_one_core, cores_for):
        with pytest.raises(InvalidValue, match="a = 1") as refused:
            place(traces, CHIP, CALIBRATION)
        assert "below 1" in refused.value.fix


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (9, [4, 4, 1])])
def test_traces_that_need_the_same_pulse_width_share_a_core(count: int, sizes: list[int]) -> None:
    """(30 ms, 0.4), (60 ms, 0.225), (90 ms, 0.157), ... all need 15.32 ms."""
    width = -0.03 * log(1 - 0.4)
    traces = {f"t{k}": TraceTarget(0.03 * k, 1 - exp(-width / (0.03 * k))) for k in range(count, 0, -1)}
    cores = check_cores(traces, 0.03)
    assert sorted(map(len, cores), reverse=True) == sizes


def test_mixed_widths_are_grouped_in_order() -> None:
    traces = {
        "long-2": TraceTarget(0.1, 1 - exp(-0.031 / 0.1)),
        "short-1": TraceTarget(0.03, 1 - exp(-0.015 / 0.03)),
        "long-1": TraceTarget(0.05, 1 - exp(-0.0309 / 0.05)),
        "short-2": TraceTarget(0.2, 1 - exp(-0.0151 / 0.2)),
        "shortest": TraceTarget(0.02, 1 - exp(-0.004 / 0.02)),
    }
    cores = check_cores(traces, 0.03)
    assert [[h.name for h in core] for core in cores] == [["shortest"], ["short-1", "short-2"], ["long-1", "long-2"]]


@settings(deadline=None, max_examples=40)
@given(targets=st.lists(TARGETS, max_size=6), tolerance=st.sampled_from([0.02, 0.03, 0.1, 0.3]))
def test_every_trace_is_in_exactly_one_core_and_keeps_the_tolerance(targets: list[TraceTarget], tolerance: float) -> None:
    traces = {f"t{k}": t for k, t in enumerate(targets)}
    if all(holds([t], tolerance) for t in targets):
        check_cores(traces, tolerance)
    else:
        with pytest.raises(InvalidValue):
            cores_for(traces, CHIP, CALIBRATION, tolerance)


def test_as_few_cores_as_possible_are_used() -> None:
    """Against all ways to split up to four traces; a hair less tolerance there, for codes near its edge."""
    rng, sizes = random.Random(1), set()
    for _ in range(40):
        tolerance = rng.choice([0.05, 0.1, 0.3])
        targets = [TraceTarget(rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.6)) for _ in range(rng.randint(2, 4))]
        found = check_cores({f"t{k}": t for k, t in enumerate(targets)}, tolerance)
        assert len(found) <= fewest_cores(targets, 0.97 * tolerance)
        sizes.add((len(targets), len(found)))
    assert len(sizes) >= 5


def test_a_trace_that_misses_the_tolerance_alone_is_named() -> None:
    target = TraceTarget(0.03, 0.4)
    best = float(worst_errors([target], ORDER[:1]).min())
    with pytest.raises(InvalidValue, match="trace lonely"):
        cores_for({"lonely": target}, CHIP, CALIBRATION, tolerance=best * 0.99)
    assert len(cores_for({"lonely": target}, CHIP, CALIBRATION, tolerance=best * 1.01)) == 1


def test_no_traces_need_no_core() -> None:
    assert cores_for({}, CHIP, CALIBRATION) == []
    try:
        held = on_one_core({}, CHIP, CALIBRATION)
    except InvalidValue:
        held = []
    assert held == []


# The overview ---------------------------------------------------------------------------------------------------------


def test_overview_lists_each_trace_alone_and_together() -> None:
    traces = {"x_i": TraceTarget(0.030, 0.4), "x_j": TraceTarget(0.045, 0.5)}
    rows = overview(traces, CHIP, CALIBRATION, rate_hz=50.0)
    assert [row["trace"] for row in rows] == ["x_i", "x_j"]
    together = worst_errors(list(traces.values()), ORDER[:2]).min()
    assert max(abs(row["a_error_on_one_core"]) for row in rows) == pytest.approx(together, abs=1e-12)
    for row, target in zip(rows, traces.values(), strict=True):
        tau = tau_of(ORDER[0], AMPERE[row["tau_code"]["coarse"], row["tau_code"]["fine"]])
        pulse = FARAD["pulse"] * V_TH / AMPERE[row["pulse_code"]["coarse"], row["pulse_code"]["fine"]]
        mean = target.a * 50 * target.tau_s / (1 + target.a * 50 * target.tau_s)
        a = 1 - exp(-pulse / tau)
        assert row["pulse_s"] == pytest.approx(wanted_width(target), rel=1e-12)
        assert row["a_error"] == pytest.approx(a / target.a - 1, abs=1e-12)
        assert abs(row["a_error"]) <= worst_errors([target], ORDER[:1]).min() + 1e-12
        assert row["mean_error"] == pytest.approx(a * 50 * tau / (1 + a * 50 * tau) / mean - 1, abs=1e-12)
        assert row["finite_mean_error"] == pytest.approx((1 - exp(-50 * pulse)) / mean - 1, abs=1e-12)
    assert rows[0]["finite_mean_error"] == pytest.approx(0.541 / 0.375 - 1, abs=0.03)


def test_overview_says_what_a_circuit_cannot_hold() -> None:
    rows = overview({"good": TraceTarget(0.05, 0.5), "bad": TraceTarget(0.05, 1.0)}, CHIP, CALIBRATION)
    assert "problem" not in rows[0]
    assert "a = 1" in rows[1]["problem"]
    assert "a_error" not in rows[1]


def test_the_chip_of_these_tests_is_the_package_s(chip: ChipModel) -> None:
    assert [t.name for t in chip.synapse_types] == list(ORDER)
    assert len(AMPERE) > 1500
