"""docs/emulator_specification.md in a few lines of plain Python: parameters from registers, and steps 1 to 3 of one neuron."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal, localcontext

from bcall_hw.chip_config import ChipConfig

ONE, GOLDEN = 1 << 24, 10368889
#: The synapse circuits in the page's order, by what they do to the soma.
EFFECTS = ("excitatory", "gated", "shunting", "subtractive")
V, REFRACTORY, I_SYN, I_AHP, PULSE = 0, 1, 2, 6, 7
CURRENT_MAX = 2**31 - 1
LEAK_MAX = 2**30
#: What DC, I_SYN[0] and I_SYN[1], and LEAK, I_SYN[2] and I_AHP, may add up to; the most of FEEDBACK and of AMP.
SUM_MAX, FEEDBACK_MAX, AMP_MAX = 2**31 - 2**28 - 1, 2**27, 2**27


def exp(x: float) -> float:
    r, y = min(max(x, -700.0), 700.0) * 2.0**-10, 1.0
    for k in range(16, 0, -1):
        y = 1.0 + y * (r / k)
    for _ in range(10):
        y = y * y
    return y


def ln(x: float) -> float:
    with localcontext() as context:
        context.prec = 40
        return float(Decimal(x).ln())


def rint(x: float) -> int:
    return round(x)  # Python's round is exact, with ties to even


def femto(x: float) -> int:
    return rint(x / 1e-15)


@dataclass(frozen=True)
class Dpi:
    """Parameters of one DPI: the words, and the real numbers behind them (in s and A)."""

    full: int
    jump: int
    decay: int
    tau_s: float
    full_a: float


@dataclass(frozen=True)
class Core:
    """Parameters of one core without mismatch; `leak[1]` is for neurons whose leak choice is set."""

    leak: tuple[int, int]
    dc: int
    v_spike: int
    refractory_steps: int
    gain: int
    pulse_s: float
    pulse_steps: int
    dpi: tuple[Dpi, Dpi, Dpi, Dpi]
    ahp: Dpi
    h: tuple[int, ...]
    feedback: tuple[int, ...]
    gate: tuple[int, ...]


def current_a(config: ChipConfig, core: int, role: str, chip: int = 0) -> float:
    """I(role)."""
    model = config.chip
    code = config.bias(chip, core, role)
    return max(model.currents[code.coarse][code.fine] * model.current_table.unit_a, model.current_table.dark_current_a)


def parameters(config: ChipConfig, core: int, dt_us: int = 100) -> Core:
    """The section "From registers to parameters", with F = 1."""
    model, dt_s = config.chip, dt_us * 1e-6
    constants, farad = model.constants, model.capacitances_f
    u_t, kappa = constants.thermal_voltage_v.value, constants.kappa.value
    i_0 = constants.leak_current_a.value

    def amp(role: str) -> float:
        return current_a(config, core, role)

    def fine(role: str) -> int:
        return config.bias(0, core, role).fine

    pulse_s = farad.pulse * constants.inverter_threshold_v.value / amp("pulse_width")
    refractory_s = farad.refractory * constants.inverter_threshold_v.value / amp("refractory")

    def dpi(prefix: str, capacitance: float) -> Dpi:
        i_tau, i_gain, i_weight = (amp(f"{prefix}_{part}") for part in ("tau", "gain", "weight"))
        tau_s = capacitance * u_t / kappa / i_tau
        full_a = max(0.0, i_gain * (i_weight / i_tau - 1.0))
        full = 0 if i_weight <= i_tau else femto(full_a)
        jump, decay = rint((1.0 - exp(-pulse_s / tau_s)) * ONE), rint((1.0 - exp(-dt_s / tau_s)) * ONE)
        return Dpi(full, jump, decay, tau_s, full_a)

    of_effect = {t.effect: t.name for t in model.synapse_types}
    synapses = [dpi(of_effect[effect], getattr(farad, of_effect[effect])) for effect in EFFECTS]  # type: ignore[index]
    ahp = dpi("ahp", farad.AHP)
    if fine("ahp_enable") == 0:
        ahp = replace(ahp, full=0)

    h, feedback, gate = [], [], []
    for j in range(1024):
        v = (j + 0.5) * (16 / 1024)
        i_mem = i_0 * exp(v)
        h.append(rint(65536.0 * amp("gain") / (i_mem + amp("gain"))))
        feedback.append(rint(i_0 * exp(v * (kappa / (kappa + 1.0))) / 1e-15))
        gate.append(65536 if fine("nmda_gate") == 0 else rint(65536.0 * i_mem / (i_mem + amp("nmda_gate"))))
    return Core(
        leak=(min(femto(amp("leak1")), LEAK_MAX), min(femto(amp("leak2")), LEAK_MAX)),
        dc=femto(amp("dc")),
        v_spike=rint(ln(constants.spike_threshold_a.value / i_0) * 2**20),
        refractory_steps=rint(refractory_s / dt_s),
        gain=rint(dt_s * 1e-15 / (farad.soma * u_t / kappa) * 2**36),
        pulse_s=pulse_s,
        pulse_steps=rint(pulse_s / dt_s),
        dpi=(synapses[0], synapses[1], synapses[2], synapses[3]),
        ahp=ahp,
        h=tuple(h),
        feedback=tuple(feedback),
        gate=tuple(gate),
    )


def deliver(i: int, pulse: int, heard: list[int], full: int, d: int, finite: bool) -> tuple[int, int]:
    """Step 1 for one synapse circuit: (I_SYN, PULSE) after the event words `heard`."""
    if finite:
        return i, max([pulse, *heard])
    s = min(sum(heard), ONE)
    return (i + ((s * (full - i) + d) >> 24) if s > 0 else i), pulse


def decay(i: int, pulse: int, full: int, fraction: int, d: int) -> tuple[int, int]:
    """Step 3 for one synapse circuit."""
    i = i + ((fraction * (full - i) + d) >> 24) if pulse > 0 else i - ((i * fraction + d) >> 24)
    return i, max(0, pulse - 1)


def noise_of(u: int, amp: int) -> int:
    """NOISE from 16 random bits."""
    return ((2 * u - 65535) * amp + 2**15) >> 16


def sums(v: int, ahp: int, synapses: list[int], leak: int, p: Core, noise: int = 0) -> tuple[int, int]:
    """The sum behind `drive`, and `net`."""
    j = v >> 14
    gated = (synapses[1] * p.gate[j]) >> 16
    driven = p.dc + synapses[0] + gated - synapses[3]
    return driven, ((max(0, driven) * p.h[j]) >> 16) - leak - synapses[2] - ahp + p.feedback[j] + noise


def integrate(
    state: tuple[int, int, int], synapses: list[int], leak: int, p: Core, d: int, noise: int = 0
) -> tuple[int, int, int, int]:
    """Step 2, and step 3 of I_AHP: (V, REFRACTORY, I_AHP, fired) from (V, REFRACTORY, I_AHP) and I_SYN after step 1."""
    v, refractory, ahp = state
    _, net = sums(v, ahp, synapses, leak, p, noise)
    raised = max(0, v + ((net * p.gain + 2**15) >> 16))
    fired = refractory == 0 and raised >= p.v_spike
    v = 0 if fired or refractory > 0 else raised
    refractory = p.refractory_steps if fired else max(0, refractory - 1)
    if fired:
        ahp += (p.ahp.jump * (p.ahp.full - ahp) + d) >> 24
    return v, refractory, ahp - ((ahp * p.ahp.decay + d) >> 24), int(fired)
