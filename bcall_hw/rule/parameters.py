"""Parameters of the BCaLL rule, and presets with their sources."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bcall_hw.errors import InvalidValue, UnknownName
from bcall_hw.records import Record

Seconds = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Jump = Annotated[float, Field(gt=0, le=1)]
Decrement = Annotated[float, Field(le=0)]
Increment = Annotated[float, Field(ge=0)]


class StopLearning(Record):
    """The gate on a slow trace of post activity: plasticity only while theta_lo < x_s < theta_hi.

    Attributes:
        tau_s: time constant of the slow trace (s).
        a: its jump per post spike.
        theta_lo, theta_hi: edges of the window.
    """

    tau_s: Seconds
    a: Jump
    theta_lo: Fraction
    theta_hi: Fraction

    def __init__(self, /, **data: float) -> None:
        super().__init__(**data)
        if self.theta_lo >= self.theta_hi:
            used = (self.theta_lo, self.theta_hi)
            raise InvalidValue("theta_lo must be below theta_hi", where="StopLearning", used=used)


class Bistability(Record):
    """The drift of the hidden weight away from theta_w: slope alpha / tau_w up above it, beta / tau_w down otherwise (1/s)."""

    tau_w_s: Seconds
    alpha: Increment = 1.0
    beta: Increment = 1.0

    def __init__(self, /, **data: float) -> None:
        super().__init__(**data)
        if not max(self.alpha, self.beta) / self.tau_w_s < float("inf"):
            used = (self.alpha, self.beta, self.tau_w_s)
            raise InvalidValue("a slope is beyond all numbers", where="Bistability", used=used)


class RuleParameters(Record):
    """All numbers of the rule (arXiv 2504.06796, equations 1 to 4). Traces and weights are dimensionless, in [0, 1].

    Attributes:
        tau_i_s, tau_j_s: time constants of the pre and post trace (s).
        a_i, a_j: jumps of the bounded traces: x += a (1 - x).
        theta_i, theta_j: thresholds that the depression terms compare the traces with.
        c_p: potentiation per post spike and unit of pre trace.
        c_d1: depression (<= 0) per pre spike while x_j > theta_j.
        c_d2: depression (<= 0) per post spike while x_i < theta_i.
        theta_w: hidden weight above which the efficacy is on.
        gate_silent_pre: c_d2 acts only while x_i > 0.
        stop_learning: absent for none.
        bistability: absent for none.
        source: where the numbers come from.
    """

    tau_i_s: Seconds
    tau_j_s: Seconds
    a_i: Jump
    a_j: Jump
    theta_i: Fraction
    theta_j: Fraction
    c_p: Increment
    c_d1: Decrement
    c_d2: Decrement
    theta_w: Fraction = 0.5
    gate_silent_pre: bool = False
    stop_learning: StopLearning | None = None
    bistability: Bistability | None = None
    source: str


_EARLIER_CODE = "the authors' earlier open code (2021)"

PRESETS: dict[str, RuleParameters] = {
    "D": RuleParameters(
        tau_i_s=0.030, tau_j_s=0.045, a_i=0.4, a_j=0.5, theta_i=0.30, theta_j=0.30, c_p=0.02, c_d1=-0.005, c_d2=-0.002,
        stop_learning=StopLearning(tau_s=0.450, a=0.06, theta_lo=0.2, theta_hi=0.7), bistability=Bistability(tau_w_s=350.0),
        source=_EARLIER_CODE,
    ),
    "1.X1": RuleParameters(
        tau_i_s=0.030, tau_j_s=0.045, a_i=0.4, a_j=0.5, theta_i=0.15, theta_j=0.33, c_p=0.06, c_d1=-0.021, c_d2=-0.002,
        stop_learning=StopLearning(tau_s=0.600, a=0.03, theta_lo=0.1, theta_hi=0.59), bistability=Bistability(tau_w_s=40.0),
        source=_EARLIER_CODE,
    ),
    "2.0": RuleParameters(
        tau_i_s=0.020, tau_j_s=0.035, a_i=0.4, a_j=0.5, theta_i=0.25, theta_j=0.33, c_p=0.1, c_d1=-0.021, c_d2=-0.002,
        stop_learning=StopLearning(tau_s=0.600, a=0.03, theta_lo=0.1, theta_hi=0.59), bistability=Bistability(tau_w_s=20.0),
        source=_EARLIER_CODE,
    ),
    "3.0": RuleParameters(
        tau_i_s=0.025, tau_j_s=0.035, a_i=0.4, a_j=0.5, theta_i=0.10, theta_j=0.33, c_p=0.2, c_d1=-0.021, c_d2=-0.002,
        bistability=Bistability(tau_w_s=20.0), source=_EARLIER_CODE,
    ),
    "4.0": RuleParameters(
        tau_i_s=0.050, tau_j_s=0.050, a_i=0.5, a_j=1.0, theta_i=0.30, theta_j=0.50, c_p=0.1, c_d1=-0.05, c_d2=-0.05,
        bistability=Bistability(tau_w_s=1.0), source=_EARLIER_CODE,
    ),
}  # fmt: skip


def preset(name: str) -> RuleParameters:
    """A preset by name.

    Raises:
        UnknownName: with the known names.
    """
    if name not in PRESETS:
        raise UnknownName("no such preset of the rule", used=name, fix=f"Known: {', '.join(PRESETS)}")
    return PRESETS[name]
