"""A calcium trace on a DPI synapse: (tau, a) to and from leak current and pulse width, and what one core can hold.

While its pulse lasts the DPI goes towards full scale with tau, so a pulse of width T moves x = I / I_max towards 1 by
a = 1 - exp(-T / tau) (Bartolozzi and Indiveri 2007; Chicca et al. 2014, for currents well above the gain current I_g).
The pulse width is one bias for a whole core, tau one bias for each synapse type of a core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import expm1, inf, log1p
from typing import Any, cast

import numpy as np

from bcall_hw import circuits
from bcall_hw.arrays import FloatArray
from bcall_hw.bias_codes import current_range_a, nearest_code
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Circuit
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.errors import BcallError, CurrentOutOfRange, InvalidValue, PlacementFull
from bcall_hw.rule.calcium_trace import poisson_mean
from bcall_hw.rule.parameters import RuleParameters


@dataclass(frozen=True)
class TraceTarget:
    """A bounded trace that is wanted: time constant (s) and jump, 0 < a <= 1; a circuit holds a < 1 only.

    Raises:
        InvalidValue: values that no trace has.
    """

    tau_s: float
    a: float

    def __post_init__(self) -> None:
        if not 0.0 < self.tau_s < float("inf"):
            raise InvalidValue("the time constant of a trace must be positive", where="trace, tau_s", used=self.tau_s)
        if not 0.0 < self.a <= 1.0:
            raise InvalidValue("the jump of a trace lies between 0 and 1", where="trace, a", used=self.a, limit="0 < a <= 1")


@dataclass(frozen=True)
class TraceOnCircuit:
    """A trace as a core holds it.

    Attributes:
        name: of the trace.
        target: what was asked.
        circuit: the synapse type whose DPI it is.
        tau_code, pulse_code: the bias codes; `pulse_code` is the core's.
        tau_s, pulse_s: what they nominally give (s).
    """

    name: str
    target: TraceTarget
    circuit: Circuit
    tau_code: BiasCode
    pulse_code: BiasCode
    tau_s: float
    pulse_s: float

    @property
    def a(self) -> float:
        """The jump that it has in the ideal-pulse model."""
        return jump(self.tau_s, self.pulse_s)

    @property
    def tau_error(self) -> float:
        """Relative error of the time constant."""
        return self.tau_s / self.target.tau_s - 1.0

    @property
    def a_error(self) -> float:
        """Relative error of the jump."""
        return self.a / self.target.a - 1.0

    def mean_error(self, rate_hz: float, finite: bool = False) -> float:
        """Relative error of the mean under Poisson spikes against the ideal trace, with ideal or with finite pulses."""
        mean = finite_pulse_mean(rate_hz, self.pulse_s) if finite else poisson_mean(self.a, rate_hz, self.tau_s)
        return mean / poisson_mean(self.target.a, rate_hz, self.target.tau_s) - 1.0


def rule_traces(parameters: RuleParameters) -> dict[str, TraceTarget]:
    """The traces of a rule: x_i, x_j, and x_s where there is stop-learning."""
    traces = {"x_i": TraceTarget(parameters.tau_i_s, parameters.a_i), "x_j": TraceTarget(parameters.tau_j_s, parameters.a_j)}
    stop = parameters.stop_learning
    return traces | ({"x_s": TraceTarget(stop.tau_s, stop.a)} if stop else {})


def jump(tau_s: float, pulse_s: float) -> float:
    """The jump a = 1 - exp(-T / tau) that a pulse of `pulse_s` gives.

    Raises:
        InvalidValue: a time that is not positive.
    """
    _positive(tau_s=tau_s, pulse_s=pulse_s)
    return -expm1(-pulse_s / tau_s)


def _positive(**times_s: float) -> None:
    for name, value in times_s.items():
        if not 0.0 < value < inf:
            raise InvalidValue("must be positive and finite (s)", where=f"trace on a circuit, {name}", used=value)


def pulse_width_s(tau_s: float, a: float, name: str = "") -> float:
    """The pulse width T = -tau ln(1 - a) that gives the jump a: inverse of `jump` (s).

    Raises:
        InvalidValue: a is not between 0 and 1 (a = 1 needs an endless pulse), or tau is not positive; `name` is the trace's.
    """
    _positive(tau_s=tau_s)
    if not 0.0 < a < 1.0:
        fix = "Take an a below 1; `largest_jump` says which one the pulse bias can hold." if a == 1.0 else ""
        what = "a = 1 needs an endless pulse" if a == 1.0 else "the jump of a trace lies between 0 and 1"
        raise InvalidValue(what, where=f"trace {name or 'on a circuit'}: a", used=a, limit="0 < a < 1", fix=fix)
    return -tau_s * log1p(-a)


def finite_pulse_mean(rate_hz: float, pulse_s: float) -> float:
    """Mean of the trace under Poisson spikes when pulses last and restart: the share of time in a pulse, 1 - exp(-r T)."""
    return -expm1(-rate_hz * pulse_s)


def retrigger_error(rate_hz: float, tau_s: float, a: float) -> float:
    """How much finite pulses raise the Poisson mean of an ideal trace (relative), from the two closed forms."""
    return finite_pulse_mean(rate_hz, pulse_width_s(tau_s, a)) / poisson_mean(a, rate_hz, tau_s) - 1.0


def leak_current_a(chip: ChipModel, calibration: Calibration, circuit: Circuit, tau_s: float) -> float:
    """The leak current I_tau = C U_T / (kappa tau) of a DPI (A); its own inverse: a current in gives the time constant."""
    return circuits.thermal_charge_c(chip, calibration.capacitance_f(chip, circuit)) / tau_s


def pulse_current_a(chip: ChipModel, calibration: Calibration, pulse_s: float) -> float:
    """The pulse-width current I = C V_th / T (A); its own inverse: a current in gives the width."""
    return circuits.switching_charge_c(chip, calibration.capacitance_f(chip, "pulse")) / pulse_s


def largest_jump(chip: ChipModel, calibration: Calibration, tau_s: float) -> float:
    """The largest jump that the longest pulse of the chip gives a trace of `tau_s`."""
    return jump(tau_s, pulse_current_a(chip, calibration, current_range_a(chip)[0]))


def on_one_core(
    traces: Mapping[str, TraceTarget],
    chip: ChipModel,
    calibration: Calibration,
    synapses: Sequence[Circuit] | None = None,
) -> list[TraceOnCircuit]:
    """Put several traces on one core: each on a DPI of its own, all with one pulse width.

    Of all codes of the pulse width the one with the smallest worst relative error of a is taken.

    Args:
        traces: by name.
        synapses: which synapse type holds which trace, in order; the chip's own order if absent.

    Raises:
        PlacementFull: more traces than DPIs.
        InvalidValue: a = 1, or another jump that no pulse gives.
        CurrentOutOfRange: a time constant or pulse width beyond the chip's codes, named with the trace.
    """
    names = list(traces)
    if not names:
        return []
    known = [t.name for t in chip.synapse_types]
    for synapse in synapses or ():
        if synapse not in known or list(synapses or ()).count(synapse) > 1:
            where, fix = "core", f"Known, each once: {', '.join(known)}"
            raise InvalidValue("is no synapse type, or holds two traces", where=where, used=synapse, fix=fix)
    free: list[Circuit] = list(synapses or [cast(Circuit, t.name) for t in chip.synapse_types])
    if len(names) > len(free):
        what, fix = "more traces than the DPIs of a neuron", "Spread them over several cores."
        raise PlacementFull(what, where="core", used=len(names), limit=len(free), fix=fix)
    held = []
    for name, circuit in zip(names, free, strict=False):
        code, tau_s = _tau_code(name, traces[name].tau_s, chip, calibration, circuit)
        held.append((circuit, code, tau_s))
    pulse_code, pulse_s = _common_pulse(traces, [tau for _, _, tau in held], chip, calibration)
    return [
        TraceOnCircuit(name, traces[name], circuit, code, pulse_code, tau, pulse_s)
        for name, (circuit, code, tau) in zip(names, held, strict=True)
    ]


def _tau_code(name: str, tau_s: float, chip: ChipModel, calibration: Calibration, circuit: Circuit) -> tuple[BiasCode, float]:
    longest, shortest = (leak_current_a(chip, calibration, circuit, i) for i in current_range_a(chip))
    if not shortest <= tau_s <= longest:
        used, limit = f"{tau_s:.4g} s", f"{shortest:.4g} to {longest:.4g} s"
        where = f"trace {name}: tau ({circuit})"
        raise CurrentOutOfRange("no bias code gives this time constant", where=where, used=used, limit=limit)
    code, current = nearest_code(chip, leak_current_a(chip, calibration, circuit, tau_s), f"trace {name}: tau ({circuit})")
    return code, leak_current_a(chip, calibration, circuit, current)


def _common_pulse(
    traces: Mapping[str, TraceTarget], taus_s: Sequence[float], chip: ChipModel, calibration: Calibration
) -> tuple[BiasCode, float]:
    currents, codes = chip.sorted_codes
    width: FloatArray = circuits.switching_charge_c(chip, calibration.capacitance_f(chip, "pulse")) / currents
    wanted = {name: pulse_width_s(t.tau_s, t.a, name) for name, t in traces.items()}
    for name, pulse_s in wanted.items():
        if not width.min() <= pulse_s <= width.max():
            limit, at_most = f"{width.min():.4g} to {width.max():.4g} s", largest_jump(chip, calibration, traces[name].tau_s)
            fix = f"With this tau the largest a is {at_most:.4g}."
            raise CurrentOutOfRange("no code gives this pulse width", where=f"trace {name}", used=f"{pulse_s:.4g} s",
                                    limit=limit, fix=fix)  # fmt: skip
    errors = [np.abs(-np.expm1(-width / tau) / t.a - 1.0) for tau, t in zip(taus_s, traces.values(), strict=True)]
    best = int(np.argmin(np.max(errors, axis=0)))
    coarse, fine = (int(c) for c in codes[best])
    return BiasCode(coarse=coarse, fine=fine), float(width[best])


def cores_for(
    traces: Mapping[str, TraceTarget], chip: ChipModel, calibration: Calibration, tolerance: float = 0.03
) -> list[list[TraceOnCircuit]]:
    """Spread traces over cores, in order of their pulse widths, each core as full as keeps every |error of a| in `tolerance`.

    Raises:
        As `on_one_core`; InvalidValue: a trace that misses the tolerance even alone, or a tolerance that is not positive.
    """
    if not 0.0 < tolerance < inf:
        raise InvalidValue("tolerance must be positive", where="cores_for", used=tolerance)
    ordered = sorted(traces, key=lambda name: pulse_width_s(traces[name].tau_s, traces[name].a, name))
    cores: list[list[TraceOnCircuit]] = []
    group: dict[str, TraceTarget] = {}
    for name in ordered:
        wider = group | {name: traces[name]}
        if group and (len(wider) > len(chip.synapse_types) or _worst(on_one_core(wider, chip, calibration)) > tolerance):
            cores.append(on_one_core(group, chip, calibration))
            wider = {name: traces[name]}
        group = wider
    if group:
        cores.append(on_one_core(group, chip, calibration))
    for core in cores:
        if _worst(core) > tolerance:
            where, used = f"trace {core[0].name}", f"error of a {_worst(core):.2%}"
            raise InvalidValue("no code is near enough", where=where, used=used, limit=f"{tolerance:.2%}")
    return cores


def _worst(core: Sequence[TraceOnCircuit]) -> float:
    return max(abs(held.a_error) for held in core)


def overview(
    traces: Mapping[str, TraceTarget], chip: ChipModel, calibration: Calibration, rate_hz: float = 50.0
) -> list[dict[str, Any]]:
    """What a core makes of each trace: alone with the pulse width that suits it, and beside the others with a common one.

    Args:
        traces: by name, such as `rule_traces` gives.
        rate_hz: Poisson rate at which means are compared (Hz).

    Returns:
        One row of plain values per trace; a trace that no code can hold has a `problem` instead of errors.
    """
    rows: list[dict[str, Any]] = []
    together = _held_or_problem(traces, chip, calibration)
    for name, target in traces.items():
        row: dict[str, Any] = {"trace": name, "tau_s": target.tau_s, "a": target.a}
        alone = _held_or_problem({name: target}, chip, calibration)
        if isinstance(alone, str):
            rows.append(row | {"problem": alone})
            continue
        held = alone[0]
        row |= {
            "pulse_s": pulse_width_s(target.tau_s, target.a), "circuit": held.circuit,
            "tau_code": held.tau_code.model_dump(), "pulse_code": held.pulse_code.model_dump(),
            "tau_error": held.tau_error, "a_error": held.a_error,
            "mean_error": held.mean_error(rate_hz), "finite_mean_error": held.mean_error(rate_hz, finite=True),
        }  # fmt: skip
        if not isinstance(together, str):
            row["a_error_on_one_core"] = next(h.a_error for h in together if h.name == name)
        rows.append(row)
    return rows


def _held_or_problem(
    traces: Mapping[str, TraceTarget], chip: ChipModel, calibration: Calibration
) -> list[TraceOnCircuit] | str:
    try:
        return on_one_core(traces, chip, calibration)
    except BcallError as problem:
        return str(problem)
