"""A DPI of ideal subthreshold transistors in ngspice, against the linear DPI equation and against the emulator.

What the circuit can say: how far the emulator's linear equation is from the circuit that it stands for, in the regime I >> I_g
for which the equation holds, and near I_g, for which it does not (the specification lists that under "Not modelled").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import exp, log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import hdl_spec as spec
import numpy as np
import numpy.typing as npt
import pytest
from emulator_helpers import CHIP, SYNAPSE_ROW, Board, events, started, target
from hdl_tools import HERE, call, need

Array = npt.NDArray[Any]
Pulses = Literal["ideal", "finite"]
Windows = list[tuple[float, float]]  # pulses: start and end (s)

CONSTANTS = CHIP.constants
KAPPA, U_T = CONSTANTS.kappa.value, CONSTANTS.thermal_voltage_v.value
I_0, FARAD = CONSTANTS.leak_current_a.value, CHIP.capacitances_f.AMPA
DT_US, END_S, OFF_S = 50, 0.3, 0.2
PULSE_S = 5e-4  # wished for; the bias code gives its own
RATES = (50, 200)
#: Neuron of each core by what it hears: one pulse; a pulse until OFF_S; trains.
SINGLE, LONG, TRAINS = 0, 1, {50: 2, 200: 3}


@dataclass(frozen=True)
class Case:
    """One set of currents (A), as the bias codes give them. `reach` = jump / I_g wished for; None: what the mapping chooses."""

    name: str
    core: int
    tau_s: float
    reach: float | None
    i_g_wish: float = 0.0


CASES = (
    Case("far above I_g", 0, 0.020, 1000.0, 1e-12),
    Case("above I_g", 1, 0.010, 200.0, 4e-12),
    Case("somewhat above I_g", 2, 0.030, 30.0, 2e-11),
    Case("near I_g", 3, 0.020, None),  # a jump of 100 pA: the mapping takes I_g = 4 I_tau
)
FAR = CASES[:3]
ALL = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
ONLY_FAR = pytest.mark.parametrize("case", FAR, ids=lambda case: case.name)


@cache
def board() -> Board:
    made = Board()
    for case in CASES:
        if case.reach is None:
            made.neurons(case.core, target(pulse_width_s=PULSE_S, synapses={"AMPA": (case.tau_s, 1e-10)}))
        else:
            charge = FARAD * U_T / KAPPA
            made.current(case.core, "pulse_width", CHIP.capacitances_f.pulse * CONSTANTS.inverter_threshold_v.value / PULSE_S)
            made.current(case.core, "AMPA_tau", charge / case.tau_s)
            made.current(case.core, "AMPA_gain", case.i_g_wish)
            made.current(case.core, "AMPA_weight", case.reach * charge / PULSE_S)  # jump = I_g I_w pulse / charge
        for neuron in (SINGLE, LONG, *TRAINS.values()):
            made.listen(case.core, neuron, 0, 256 + neuron, "AMPA")
    return made


@dataclass(frozen=True)
class Circuit:
    """The currents of a case (A) and what the linear equation makes of them."""

    i_tau: float
    i_w: float
    i_g: float
    tau_s: float
    full_a: float
    pulse_s: float
    pulse_steps: int

    @property
    def jump_a(self) -> float:
        return self.full_a * (1 - exp(-self.pulse_s / self.tau_s))

    def duty(self, rate: float) -> float:
        return rate * self.pulse_s

    def jump_loss(self) -> float:
        """Part of a jump from rest that the linear equation has too much.

        Within a pulse dI (1 / I + 1 / I_g) is about I_w dt / (C U_T / kappa): the linear form leaves 1 / I out, and with it
        I_g ln(jump / I_0) of the jump.
        """
        return self.i_g * log(self.jump_a / I_0) / self.jump_a

    def mean_loss(self, rate: float) -> float:
        """Part of the mean under a train that the linear equation has too much.

        In a steady train ln I gains nothing in a period: duty (I_w / I_tau) / (1 + I / I_g) = 1, so that for small ripple
        I = I_g (duty I_w / I_tau - 1), which is I_g (1 - duty) below the linear mean I_max duty.
        """
        return self.i_g * (1 - self.duty(rate)) / (self.full_a * self.duty(rate))

    def ideal_mean_loss(self, rate: float) -> float:
        """Part of the linear mean that the emulator's ideal pulses lose, in closed form; about duty + pulse / 2 tau.

        The jump (1 - exp(-pulse / tau)) (FULL - I) holds the decay of a whole pulse already, and then the step's decay runs
        through the time of the pulse once more.
        """
        jump, period = 1 - exp(-self.pulse_s / self.tau_s), exp(-1 / (rate * self.tau_s))
        mean = jump * (1 - period) * rate * self.tau_s / (1 - (1 - jump) * period)
        return 1 - mean / self.duty(rate)


@cache
def circuit(case: Case) -> Circuit:
    config = board().config()
    i_tau, i_w, i_g = (spec.current_a(config, case.core, f"AMPA_{part}") for part in ("tau", "weight", "gain"))
    core = spec.parameters(config, case.core, DT_US)
    ampa = core.dpi[SYNAPSE_ROW["AMPA"] - spec.I_SYN]
    return Circuit(i_tau, i_w, i_g, ampa.tau_s, ampa.full_a, core.pulse_s, core.pulse_steps)


def train(rate: int) -> list[float]:
    return [k / rate for k in range(int(END_S * rate))]


def windows(neuron: int, pulse_s: float) -> Windows:
    if neuron == LONG:
        return [(0.0, OFF_S)]
    starts = [0.0] if neuron == SINGLE else train(next(r for r, n in TRAINS.items() if n == neuron))
    return [(start, start + pulse_s) for start in starts]


# Three ways to the current --------------------------------------------------------------------------------------------


@cache
def transient(case: Case, neuron: int) -> tuple[Array, Array]:
    """ngspice: times (s) and the output current (A)."""
    c, edge = circuit(case), 1e-8
    points = [(t + ramp, level) for on, off in windows(neuron, c.pulse_s) for t, ramp, level in
              ((on, 0.0, 0), (on, edge, 1), (off, 0.0, 1), (off, edge, 0))]  # fmt: skip
    source = "PWL(" + " ".join(f"{t:.9g} {level}" for t, level in points) + ")"
    deck = (HERE / "dpi.cir").read_text().format(
        name=case.name, kappa=KAPPA, u_t=U_T, i0=I_0, i_tau=c.i_tau, i_w=c.i_w, i_g=c.i_g, source=source,
        capacitance=FARAD, step=DT_US * 1e-6, stop=END_S, max_step=2e-5,
    )  # fmt: skip
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "deck.cir").write_text(deck)
        call([need("ngspice", "ngspice"), "-b", "deck.cir"], folder)
        times, current = np.loadtxt(folder / "current.txt").T
    assert times[-1] == pytest.approx(END_S)
    return times, current


def linear(case: Case, neuron: int, times: Array) -> Array:
    """The equation that the emulator follows: each pulse adds a rise and a fall."""
    c, total = circuit(case), np.zeros_like(times)
    for on, off in windows(neuron, c.pulse_s):
        rise, fall = np.clip(times - on, 0, None), np.clip(times - off, 0, None)
        total += c.full_a * (np.exp(-fall / c.tau_s) - np.exp(-rise / c.tau_s))
    return total


def log_domain(case: Case, neuron: int) -> tuple[Array, Array]:
    """The nonlinear equation in dpi.cir's comment, at the edges of the pulses: shows that the netlist is what it claims.

    In u = ln(I / I_g) + I / I_g it is smooth: tau du/dt = I_w / I_tau - f (1 + I / I_g), f being what M_tau still draws.
    """
    c = circuit(case)

    def ratio(u: float) -> float:
        y: float = exp(u) if u < 1 else u  # I / I_g from ln y + y = u, by Newton's method in ln y
        for _ in range(8):
            y = y * exp((u - log(y) - y) / (1 + y))
        return y

    def slope(u: float, on: bool) -> float:
        y = ratio(u)
        f = 1 - float((I_0 / (c.i_g * y)) ** (1 / KAPPA))
        return (on * c.i_w / c.i_tau - f * (1 + y)) / c.tau_s

    u, now, times, currents = log(I_0 / c.i_g) + I_0 / c.i_g, 0.0, [], []
    for start, end in windows(neuron, c.pulse_s):
        for until, on in ((start, False), (end, True)):
            h = (until - now) / 60
            for _ in range(60):
                u += h * slope(u + h / 2 * slope(u, on), on)
            now = until
            times.append(now)
            currents.append(c.i_g * ratio(u))
    return np.array(times), np.array(currents)


@cache
def emulated(pulses: Pulses) -> Array:
    """AMPA currents (A) of all cases in one run, shape (steps, cores, neurons); row n is for the time (n + 1) dt."""
    emulator = started(board().config(), implementation="numpy", dt_us=DT_US, pulses=pulses)
    every = PULSE_S  # a pulse restarted as it ends is one long pulse
    heard = {SINGLE: [0.0], LONG: [k * every for k in range(round(OFF_S / every))]}
    heard |= {TRAINS[rate]: train(rate) for rate in RATES}
    middle = DT_US / 2
    rows = [(t * 1e6 + middle, 0, 0b1111, 256 + neuron) for neuron, starts in heard.items() for t in starts]
    _, femto = emulator.run_probed(events(rows), END_S, "AMPA")
    return np.asarray(femto * 1e-15)


def look(pulses: Pulses, case: Case, neuron: int) -> tuple[Array, Array]:
    current = emulated(pulses)[:, case.core, neuron]
    return (np.arange(current.size) + 1) * DT_US * 1e-6, current


# What is compared -----------------------------------------------------------------------------------------------------


def mean_of(times: Array, current: Array) -> float:
    """Mean over the last 100 ms: whole periods, and 6 time constants or more after the start."""
    grid = np.linspace(END_S - 0.1, END_S, 20001)
    return float(np.mean(np.interp(grid[1:], times, current)))


def deviations(case: Case, way: Literal["ngspice", "ideal", "finite"]) -> dict[str, float]:
    """Relative deviations from the linear equation in closed form, by ngspice or by the emulator."""
    c = circuit(case)

    def signal(neuron: int) -> tuple[Array, Array]:
        return transient(case, neuron) if way == "ngspice" else look(way, case, neuron)

    times, current = signal(LONG)
    falling = (times > OFF_S + 0.001) & (times < OFF_S + 0.001 + 2 * c.tau_s)
    tau_s = -1 / np.polyfit(times[falling], np.log(current[falling]), 1)[0]
    found = {"tau": tau_s / c.tau_s, "steady": float(np.interp(OFF_S - 2e-5, times, current)) / c.full_a}
    found["jump"] = float(signal(SINGLE)[1].max()) / c.jump_a
    for rate in RATES:
        found[f"mean {rate}"] = mean_of(*signal(TRAINS[rate])) / (c.full_a * c.duty(rate))
    return {name: float(value) - 1 for name, value in found.items()}


@ALL
def test_netlist_is_the_equation_that_it_claims(case: Case) -> None:
    """Bound: ngspice's tolerance, summed up over the first pulses."""
    for neuron in TRAINS.values():
        times, current = transient(case, neuron)
        edges, wanted = log_domain(case, neuron)
        assert np.interp(edges[1:], times, current) == pytest.approx(wanted[1:], rel=0.01)
        late = edges > 0.05
        assert np.interp(edges[late], times, current) == pytest.approx(wanted[late], rel=0.002)


@ALL
def test_time_constant_and_steady_state_are_the_linear_ones_everywhere(case: Case) -> None:
    """Both hold for the nonlinear circuit exactly. Bounds: 200 ms are 6.6 tau of the slowest case (0.14 % are missing)."""
    for way in ("ngspice", "finite"):
        found = deviations(case, way)
        assert found["tau"] == pytest.approx(0, abs=2e-4)
        assert found["steady"] == pytest.approx(0, abs=2e-3)


@ONLY_FAR
def test_jump_and_mean_above_i_g(case: Case) -> None:
    """The circuit lies below the linear equation by what the lost terms predict; far above I_g that is below 1 %."""
    c, found = circuit(case), deviations(case, "ngspice")
    assert -1.05 * c.jump_loss() < found["jump"] < -0.7 * c.jump_loss()
    for rate in RATES:
        assert found[f"mean {rate}"] == pytest.approx(-c.mean_loss(rate), abs=0.002)
    if case is CASES[0]:
        assert max(abs(value) for value in found.values()) < 0.01


@ONLY_FAR
def test_finite_pulses_follow_the_circuit(case: Case) -> None:
    """Bounds: I_g is lost in the mean, up to twice that at a train's peaks; then the pulse rounded to steps, and 0.2 %."""
    c = circuit(case)
    rounding = abs(c.pulse_steps * DT_US * 1e-6 / c.pulse_s - 1)
    for neuron in TRAINS.values():
        times, current = look("finite", case, neuron)
        straight = linear(case, neuron, times)
        assert np.abs(current - straight).max() < (rounding + 5e-4) * straight.max()
        spice = np.interp(times, *transient(case, neuron))
        late = times > OFF_S
        assert np.abs(current - spice)[late].max() < 2 * c.i_g + (rounding + 2e-3) * spice.max()


@ALL
def test_ideal_pulses_lose_what_they_count_twice(case: Case) -> None:
    """The mean falls short by about the duty cycle: a limit of ideal pulses, not of the circuit. Alone, a jump is right."""
    c, found = circuit(case), deviations(case, "ideal")
    assert found["tau"] == pytest.approx(0, abs=2e-4)
    assert found["jump"] == pytest.approx(0, abs=DT_US * 1e-6 / c.tau_s + 1e-3)  # seen after the step's decay
    for rate in RATES:
        assert found[f"mean {rate}"] == pytest.approx(-c.ideal_mean_loss(rate), abs=0.003)
        assert c.ideal_mean_loss(rate) == pytest.approx(c.duty(rate), abs=0.02)
    assert found["steady"] == pytest.approx(-0.5, abs=0.02)  # pulses back to back settle at half of full scale


def test_near_i_g_the_linear_form_is_far_off() -> None:
    """Not modelled, only measured: with the mapping's own choice of I_g, of 4 I_tau, a jump of 100 pA from rest is lost.

    A train whose linear mean is below I_g (1 - duty) never lifts the current off I_0.
    """
    case = CASES[-1]
    c, found = circuit(case), deviations(case, "ngspice")
    assert c.jump_a < c.i_g
    assert found["jump"] < -0.9
    assert found["mean 50"] < -0.9
    assert c.mean_loss(50) > 1
    assert found["mean 200"] == pytest.approx(-c.mean_loss(200), abs=0.02)
    for other in FAR:
        ours = deviations(other, "ngspice")
        assert all(abs(found[name]) > 4 * abs(ours[name]) for name in ("jump", "mean 50", "mean 200"))
    emulator = deviations(case, "finite")
    assert max(abs(value) for value in emulator.values()) < 2e-3  # the emulator is linear there too
