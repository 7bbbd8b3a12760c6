"""The rule's numbers as words of the fixed-point form (docs/rule.md says what each word is)."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from bcall_hw import portable_math
from bcall_hw.errors import InvalidValue
from bcall_hw.rule.parameters import RuleParameters

SMALLEST_BITS, LARGEST_BITS = 4, 30
GOLDEN = 2654435769  # 2^32 / golden ratio: the dither's step
DITHER_BITS = 32
DRIFT_BITS = 32  # fraction bits of the drift per step
MAX_STEPS = 2**31 - 1
LARGEST_STEP = 4.0  # |c_p|, |c_d1|, |c_d2|: products stay within 64 bits


@dataclass(frozen=True)
class TraceWords:
    """A bounded trace: jump, and decay as m / 2^s per step."""

    jump: int
    decay: int
    shift: int


@dataclass(frozen=True)
class FixedPointRule:
    """All constants of the fixed-point form; thresholds and jumps in units of 2^-bits.

    Attributes:
        trace_bits, weight_bits: a trace (a hidden weight) is a whole number from 0 to 2^bits.
        x_i, x_j, x_s: the traces; x_s has no jump without stop-learning.
        up, down: drift per step in units of 2^-(weight_bits + 32).
        lo, hi: edges of the window of stop-learning; `stop` says whether there is one.
    """

    trace_bits: int
    weight_bits: int
    x_i: TraceWords
    x_j: TraceWords
    x_s: TraceWords
    theta_i: int
    theta_j: int
    c_p: int
    c_d1: int
    c_d2: int
    theta_w: int
    up: int
    down: int
    stop: bool
    lo: int
    hi: int
    gate_silent_pre: bool

    @property
    def trace_one(self) -> int:
        """The word of x = 1."""
        return 1 << self.trace_bits

    @property
    def weight_one(self) -> int:
        """The word of w_hid = 1."""
        return 1 << self.weight_bits


def fixed_point_rule(p: RuleParameters, dt_s: float, trace_bits: int, weight_bits: int) -> FixedPointRule:
    """The words of a rule at a time step.

    Raises:
        InvalidValue: a width or a number that the form does not hold.
    """
    for name, bits in (("trace_bits", trace_bits), ("weight_bits", weight_bits)):
        if type(bits) is not int or not SMALLEST_BITS <= bits <= LARGEST_BITS:
            limit = f"{SMALLEST_BITS} to {LARGEST_BITS}"
            raise InvalidValue("width out of range", where=f"fixed-point rule, {name}", used=bits, limit=limit)
    for name, value in (("c_p", p.c_p), ("c_d1", p.c_d1), ("c_d2", p.c_d2)):
        if abs(value) > LARGEST_STEP:
            raise InvalidValue("does not fit its word", where=f"fixed-point rule, {name}", used=value, limit=LARGEST_STEP)
    stop, drift = p.stop_learning, p.bistability
    slopes = (drift.alpha * (dt_s / drift.tau_w_s), drift.beta * (dt_s / drift.tau_w_s)) if drift else (0.0, 0.0)
    for name, slope in zip(("alpha", "beta"), slopes, strict=True):
        if slope > 1.0:
            where, fix = f"fixed-point rule, {name} dt / tau_w", "Use a shorter step or a longer tau_w."
            raise InvalidValue("drifts by more than 1 in a step", where=where, used=slope, limit=1, fix=fix)
    trace, weight, drift_one = float(1 << trace_bits), float(1 << weight_bits), float(1 << (weight_bits + DRIFT_BITS))
    return FixedPointRule(
        trace_bits, weight_bits,
        _trace("x_i", p.a_i, p.tau_i_s, dt_s, trace), _trace("x_j", p.a_j, p.tau_j_s, dt_s, trace),
        _trace("x_s", stop.a, stop.tau_s, dt_s, trace) if stop else TraceWords(0, 0, LARGEST_BITS),
        _rounded(p.theta_i * trace), _rounded(p.theta_j * trace),
        _rounded(p.c_p * weight), -_rounded(-p.c_d1 * weight), -_rounded(-p.c_d2 * weight), _rounded(p.theta_w * weight),
        _rounded(slopes[0] * drift_one), _rounded(slopes[1] * drift_one),
        stop is not None,
        _rounded(stop.theta_lo * trace) if stop else 0, _rounded(stop.theta_hi * trace) if stop else 0,
        p.gate_silent_pre,
    )  # fmt: skip


def _rounded(value: float) -> int:
    return floor(value + 0.5)


def _trace(name: str, a: float, tau_s: float, dt_s: float, one: float) -> TraceWords:
    d = 1.0 - float(portable_math.exp(-dt_s / tau_s))
    shift = 30
    while shift < 62 and d * float(1 << (shift + 1)) < float(1 << 31):
        shift += 1
    words = TraceWords(_rounded(a * one), min(_rounded(d * float(1 << shift)), (1 << 31) - 1), shift)
    for what, value, word in (("jump", a, words.jump), ("decay in a step", d, words.decay)):
        if word == 0:
            where, fix = f"fixed-point rule, {name}: {what}", "Take more bits or a longer step."
            raise InvalidValue("is too small for its word", where=where, used=value, fix=fix)
    return words
