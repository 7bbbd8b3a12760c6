"""Everything that a calibration has found so far, and what it means for each core and quantity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.calibrate.bench import Bench
from bcall_hw.calibrate.estimate import Z95, Estimate
from bcall_hw.calibrate.pulse import jump_at
from bcall_hw.calibrate.rig import Core
from bcall_hw.calibrate.scales import Scales
from bcall_hw.calibrate.scan import ScanResult
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration_parts import Measured
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.failure_reasons import FailureReason
from bcall_hw.mapping import Mapping

_NONE = FailureReason.NONE
#: A move of less than this share of the expected one means that the bias is stuck, where that one is clear (log).
STUCK, CLEAR_MOVE = 0.35, 0.15
#: Quantities that every later one is measured through.
_BASES = ("refractory_s", "tau_s")


@dataclass(frozen=True)
class Jump:
    """What one event does to a trace on a DPI of one core.

    Attributes:
        target, achieved: jump a of the median neuron; `interval` its 95 %; `spread` the CV over neurons.
    """

    chip: int
    core: int
    synapse: str
    target: float
    achieved: float
    interval: tuple[float, float]
    spread: float | None


@dataclass
class Findings:
    """What has been found.

    Attributes:
        first: estimates on the way, by quantity; `held` those of the held-out measurement on the final codes.
        codes: the final codes of each quantity by bias name, one mapping for each core.
        coarse: relative error of the final code itself, shape (cores,).
        failed: reasons of cores, by quantity; `lost` reasons that hold for all quantities of a core.
        scanned: result of the scan.
        threshold: spike threshold over the chip model's.
        sentinels: currents (A) and intervals (s) of measurements that are repeated at the end.
        drifted: cores whose sentinel changed; `drift_checked` whether it was looked at.
        curves: F-I curve of each core.
    """

    chip: ChipModel
    mapping: Mapping
    cores: tuple[Core, ...]
    bench: Bench
    scales: Scales
    first: dict[str, Estimate] = field(default_factory=dict)
    held: dict[str, Estimate] = field(default_factory=dict)
    codes: dict[str, list[dict[str, BiasCode]]] = field(default_factory=dict)
    coarse: dict[str, FloatArray] = field(default_factory=dict)
    failed: dict[str, list[FailureReason]] = field(default_factory=dict)
    lost: list[FailureReason] = field(default_factory=list)
    scanned: ScanResult | None = None
    threshold: Estimate | None = None
    sentinels: list[tuple[dict[str, FloatArray], FloatArray]] = field(default_factory=list)
    drifted: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    curves: dict[Core, list[tuple[float, float, float, float]]] = field(default_factory=dict)
    out_of_budget: bool = False
    drift_checked: bool = False

    def __post_init__(self) -> None:
        self.lost = [_NONE] * len(self.cores)
        self.drifted = np.zeros(len(self.cores), dtype=bool)

    @property
    def nothing_left(self) -> bool:
        """Whether every core is lost."""
        return all(reason is not _NONE for reason in self.lost)

    def lose_cores(self, cores: Iterable[Core], reason: FailureReason) -> None:
        """Give cores up; the first reason stays."""
        for core in cores:
            index = self.cores.index(core)
            if self.lost[index] is _NONE:
                self.lost[index] = reason
                self.bench.alive[index] = False

    def fail(self, quantity: str, where: BoolArray, reason: FailureReason) -> None:
        """Note why a quantity failed on some cores; the first reason stays."""
        reasons = self.failed.setdefault(quantity, [_NONE] * len(self.cores))
        for index in np.flatnonzero(where).tolist():
            if reasons[index] is _NONE:
                reasons[index] = reason

    def check_move(self, quantity: str, before: FloatArray, now: FloatArray, predicted: FloatArray) -> None:
        """Note a stuck bias where a quantity did not follow its code, arrays of shape (cores,).

        Args:
            before, now: what it was under another code, and under this one; predicted: what it should be now, after `before`.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = np.log(predicted / before)
            stuck = (np.abs(expected) > CLEAR_MOVE) & (np.log(now / before) / expected < STUCK)
        self.fail(quantity, stuck, FailureReason.BIAS_STUCK)

    def learn(self, quantity: str, found: Estimate, predicted: FloatArray) -> None:
        """Take a measurement into the scales of the cores."""
        self.first[quantity] = found
        self.fail(quantity, self.scales.learn(quantity, found.median, predicted), FailureReason.DID_NOT_CONVERGE)

    # What it means ---------------------------------------------------------------------------------------------------

    def measured(self, targets: Targets) -> tuple[Measured, ...]:
        """Every core and quantity: target, what was reached, and why not."""
        found = []
        for quantity, (target, unit) in targets.quantities().items():
            held = self.held.get(quantity)
            median = held.median if held else np.full(len(self.cores), np.nan)
            error = held.median_error if held else median
            spread = held.spread if held else median
            for index, (chip, core) in enumerate(self.cores):
                reason = self._reason(quantity, index, target, targets.tolerance, float(median[index]), float(error[index]))
                known = np.isfinite(median[index]) and self.lost[index] is _NONE
                value = float(median[index]) if known else None
                margin = float(np.exp(Z95 * error[index])) if known and np.isfinite(error[index]) else None
                codes = self.codes.get(quantity)
                found.append(
                    Measured(
                        chip=chip, core=core, quantity=quantity, unit=unit, target=target, achieved=value,
                        interval=(value / margin, value * margin) if value is not None and margin is not None else None,
                        residual=value / target - 1.0 if value is not None else None,
                        spread_before=_number(spread[index]) if known else None,
                        spread_after=self._after(quantity, index) if known else None,
                        neurons=int(held.measured[index].sum()) if held and known else 0,
                        codes=codes[index] if codes else {}, ok=reason is _NONE, reason=reason,
                    )
                )  # fmt: skip
        return tuple(found)

    def jumps(self, targets: Targets) -> list[Jump]:
        """The BCaLL jump a = 1 - exp(-T / tau) of each synapse type, from the held-out pulse width and time constant."""
        width, found = self.held.get("pulse_width_s"), []
        for kind, wanted in sorted(targets.neuron.synapses.items()):
            tau = self.held.get(f"{kind}.tau_s")
            if width is None or tau is None:
                continue
            target = 1.0 - float(np.exp(-targets.neuron.pulse_width_s / wanted.tau_s))
            a = jump_at(width, tau)
            median, error = a.median, a.median_error
            for index, core in enumerate(self.cores):
                if np.isfinite(median[index]) and self.lost[index] is _NONE:
                    value, margin = float(median[index]), float(np.exp(Z95 * error[index]))
                    found.append(Jump(*core, kind, target, value, (value / margin, value * margin), _number(a.spread[index])))
        return found

    def second_leak_holds(self, targets: Targets) -> BoolArray:
        """Cores whose second leak gave the time constant of the first in the held-out measurement, shape (cores,)."""
        held, reasons = self.held.get("tau2_s"), self.failed.get("tau2_s", [_NONE] * len(self.cores))
        if held is None:
            return np.zeros(len(self.cores), dtype=bool)
        with np.errstate(invalid="ignore"):
            within = np.abs(held.median / targets.neuron.tau_s - 1.0) <= targets.tolerance
        return np.asarray(within & np.array([reason is _NONE for reason in reasons]))

    def _reason(self, quantity: str, index: int, target: float, tolerance: float, median: float, error: float) -> FailureReason:
        if self.lost[index] is not _NONE:
            return self.lost[index]
        noted = self.failed.get(quantity, [_NONE] * len(self.cores))[index]
        if noted is not _NONE:
            return noted
        held = self.held.get(quantity)
        if held is None:
            return FailureReason.BUDGET if self.out_of_budget else FailureReason.NO_SPIKES
        if not np.isfinite(median):
            seen = np.isfinite(held.value[index]).mean()
            alive = self.bench.alive[index].mean()
            return FailureReason.TOO_NOISY if seen > 0.5 * alive else FailureReason.NO_SPIKES
        if error * Z95 > tolerance:
            return FailureReason.TOO_NOISY
        # What was measured before the core changed need not hold any more, however well it hit.
        if self.drifted[index]:
            return FailureReason.DRIFT
        if self.out_of_budget and not self.drift_checked:
            return FailureReason.BUDGET  # nobody knows whether it still holds
        if abs(median / target - 1.0) <= tolerance:
            return self._of_base(quantity, index)
        if abs(self.coarse.get(quantity, np.zeros(len(self.cores)))[index]) > 0.7 * tolerance:
            return FailureReason.CODE_TOO_COARSE
        return FailureReason.HELD_OUT_MISSED

    def _of_base(self, quantity: str, index: int) -> FailureReason:
        """Why a value that hit is not to be believed: the soma through which it was measured is not what its codes say."""
        bases = _BASES[: _BASES.index(quantity)] if quantity in _BASES else _BASES
        noted = [self.failed.get(base, [_NONE] * len(self.cores))[index] for base in bases]
        if FailureReason.BIAS_STUCK in noted:
            return FailureReason.BIAS_STUCK
        if noted and noted[0] is not _NONE:
            return FailureReason.UNOBSERVABLE  # every interval holds a refractory period
        if quantity == "tau_s" and not self.bench.bracketed[index]:
            return FailureReason.DID_NOT_CONVERGE
        if "tau_s" not in bases or noted[-1] is not _NONE:
            return _NONE
        leaks = [found["tau_s"] for found in (self.first, self.held) if "tau_s" in found]
        if not self.bench.bracketed[index]:
            return FailureReason.DID_NOT_CONVERGE
        return _NONE if all(np.isfinite(leak.median[index]) for leak in leaks) else FailureReason.TOO_NOISY

    def _after(self, quantity: str, index: int) -> float | None:
        """Spread of the held-out values with what the record does about it, chosen by the measurement before.

        That is the CAM trim of weights, at eight copies, and the better leak of each neuron.
        """
        held, first = self._of_median("held", quantity, index), self._of_median("first", quantity, index)
        if held is None:
            return None
        values = held
        if first is not None and quantity.endswith(".weight_a") and not quantity.startswith("adaptation"):
            with np.errstate(invalid="ignore"):
                values = held * np.maximum(1, np.floor(TRIM_COPIES / first + 0.5)) / TRIM_COPIES
        elif first is not None and quantity == "tau_s":
            second, chosen = self._of_median("held", "tau2_s", index), self._of_median("first", "tau2_s", index)
            if second is not None and chosen is not None:
                with np.errstate(invalid="ignore"):
                    values = np.where(np.abs(np.log(chosen)) < np.abs(np.log(first)), second, held)
        values = values[np.isfinite(values)]
        return _number(values.std() / values.mean()) if values.size > 1 else None

    def _of_median(self, which: Literal["first", "held"], quantity: str, index: int) -> FloatArray | None:
        """A core's measured neurons over its median, NaN for the others; None where there is none."""
        estimate = (self.first if which == "first" else self.held).get(quantity)
        if estimate is None or not np.isfinite(estimate.median[index]):
            return None
        return np.where(estimate.measured[index], estimate.value[index] / estimate.median[index], np.nan)


#: Copies of a synapse for which the spread after trim is told.
TRIM_COPIES = 8


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
