"""What a calibration record is made of: scales, gains, exclusions and measurements of single cores."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import Field

from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.defects import Id
from bcall_hw.errors import InvalidValue
from bcall_hw.failure_reasons import ExclusionReason, FailureReason
from bcall_hw.records import Record

#: Beyond this a circuit is dead or something else was measured.
Scale = Annotated[float, Field(ge=0.01, le=100)]
Circuit = Literal["soma", "AMPA", "NMDA", "GABA_A", "GABA_B", "AHP", "pulse", "refractory"]
#: What a core's codes set; `tau2_s` is the membrane time constant of neurons that use the second leak.
CoreQuantity = Literal[
    "tau_s", "tau2_s", "refractory_s", "pulse_width_s", "dc_a", "gain_a",
    "AMPA.tau_s", "NMDA.tau_s", "GABA_A.tau_s", "GABA_B.tau_s", "adaptation.tau_s",
    "AMPA.weight_a", "NMDA.weight_a", "GABA_A.weight_a", "GABA_B.weight_a", "adaptation.weight_a",
]  # fmt: skip
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
#: Relative difference of a residual that rounding explains.
_ROUNDING = 1e-9

_UTC = "%Y-%m-%dT%H:%M:%SZ"
Utc = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]


def utc_time(text: str, where: str) -> datetime:
    """The time that a text like 2026-11-23T12:00:00Z says.

    Raises:
        InvalidValue: there is no such time.
    """
    try:
        return datetime.strptime(text, _UTC).replace(tzinfo=timezone.utc)
    except ValueError:
        raise InvalidValue("no such time", where=where, used=text[:80], fix="Write it like 2026-11-23T12:00:00Z.") from None


def utc_text(time: datetime) -> str:
    """A time with a time zone as the text that records hold, cut to whole seconds."""
    return time.astimezone(timezone.utc).strftime(_UTC)


class OfCore(Record):
    """Something that belongs to one core; errors name the core."""

    chip: Id
    core: Id

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except InvalidValue as problem:
            place = " ".join(f"{name} {data[name]!r:.40}" for name in ("chip", "core", "neuron", "quantity") if name in data)
            where = f"{problem.where} ({place})"
            raise InvalidValue(problem.what, where=where, used=problem.used, limit=problem.limit, fix=problem.fix) from None

    @property
    def place(self) -> str:
        """The core in words."""
        return f"chip {self.chip} core {self.core}"


class Gains(OfCore):
    """How the neurons of one core differ in one quantity.

    Attributes:
        gain: of each neuron of the core, its value / the core's median; None where it is not known.
        low, high: the 95 % interval of each.
    """

    quantity: CoreQuantity
    gain: tuple[Scale | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        where, lengths = f"Gains.{self.quantity} ({self.place})", (len(self.gain), len(self.low), len(self.high))
        if len(set(lengths)) > 1:
            raise InvalidValue("gains and their intervals differ in length", where=where, used=lengths)
        for neuron, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            _check_interval(low, high, f"{where} neuron {neuron}")


class Excluded(OfCore):
    """A neuron that is not to be used, and why."""

    neuron: Id
    reason: ExclusionReason


class SecondLeak(OfCore):
    """Neurons of one core that come nearer to its median under the second leak bias.

    Attributes:
        ratio: second leak current / first.
        neurons: that take the second.
    """

    ratio: Scale
    neurons: tuple[Id, ...]

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        if len(set(self.neurons)) < len(self.neurons):
            raise InvalidValue("a neuron is listed twice", where=f"SecondLeak.neurons ({self.place})")


class Measured(OfCore):
    """What was wanted of one core's quantity, and what its neurons do.

    Attributes:
        target, achieved: of the core's median, in `unit`; `achieved` is None where nothing could be measured.
        interval: 95 %, of `achieved`.
        residual: achieved / target - 1.
        spread_before: CV over the core's neurons.
        spread_after: the same with CAM trim (eight copies) or the better leak of each neuron, chosen by another measurement.
        neurons: how many were measured.
        codes: that give the target, by bias name.
        ok: whether the quantity is calibrated.
        reason: why it is not.
    """

    quantity: Annotated[str, Field(min_length=1, max_length=80)]
    unit: Literal["s", "A", ""]
    target: float
    achieved: float | None = None
    interval: tuple[float, float] | None = None
    residual: float | None = None
    spread_before: float | None = None
    spread_after: float | None = None
    neurons: Id
    codes: dict[str, BiasCode] = Field(default_factory=dict)
    ok: bool
    reason: FailureReason

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        where = f"Measured.{self.quantity} ({self.place})"
        if self.ok != (self.reason is FailureReason.NONE):
            fix = "ok goes with the reason none, and with no other."
            raise InvalidValue("ok and the reason contradict each other", where=where, used=self.reason.value, fix=fix)
        if self.ok and self.achieved is None:
            raise InvalidValue("is ok without having been measured", where=where)
        if self.interval is not None:
            _check_interval(*self.interval, where)
        if self.residual is not None:
            right = self.achieved / self.target - 1.0 if self.achieved is not None and self.target else None
            if right is None or abs(self.residual - right) > _ROUNDING * (1.0 + abs(right)):
                raise InvalidValue("residual is not achieved / target - 1", where=where, used=self.residual, limit=right)

    def check_codes(self, chip: ChipModel, where: str) -> None:
        """Refuse codes that the chip does not have.

        Raises:
            UnknownBias, InvalidValue: with the bias.
        """
        table = chip.current_table
        for name, code in self.codes.items():
            chip.bias_index(name)
            if code.coarse >= table.coarse_values or code.fine >= table.fine_values:
                used, limit = (code.coarse, code.fine), (table.coarse_values - 1, table.fine_values - 1)
                raise InvalidValue("no such code on this chip", where=f"{where}.codes.{name}", used=used, limit=limit)


def _check_interval(low: float | None, high: float | None, where: str) -> None:
    if low is not None and high is not None and low > high:
        raise InvalidValue("interval ends before it begins", where=where, used=(low, high))
