"""A calibration by quantity and by reason: what the report page and the command line both tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bcall_hw.calibrate.reasons import FAILED
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Circuit, CoreQuantity, Measured
from bcall_hw.failure_reasons import ExclusionReason, FailureReason
from bcall_hw.mapping import DpiMapping, Mapping

Core = tuple[int, int]
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))


@dataclass(frozen=True)
class QuantitySummary:
    """One quantity over all cores; what no core could give is None.

    Attributes:
        cores: its measurements, core by core.
        median: of the cores' medians, in `unit`.
        worst: the core whose median is furthest off its target.
        widest: relative half width of the widest 95 % interval, and its core.
        before, after: CV over neurons, median over cores: as measured, and with what the record does about it.
        failed: number of cores for each reason.
    """

    quantity: str
    cores: tuple[Measured, ...]
    median: float | None
    worst: Measured | None
    widest: tuple[float, Measured] | None
    before: float | None
    after: float | None
    failed: Counter[FailureReason]

    @property
    def target(self) -> str:
        """The target with its unit; all targets where cores differ."""
        return ", ".join(dict.fromkeys(with_unit(m.target, m.unit) for m in self.cores))

    @property
    def unit(self) -> str:
        """SI unit of all values."""
        return self.cores[0].unit

    @property
    def good(self) -> int:
        """How many cores are calibrated."""
        return sum(m.ok for m in self.cores)


def by_quantity(measured: Iterable[Measured]) -> list[QuantitySummary]:
    """A summary of each quantity, in the order in which they come."""
    groups: dict[str, list[Measured]] = defaultdict(list)
    for one in measured:
        groups[one.quantity].append(one)
    return [_summary(quantity, tuple(cores)) for quantity, cores in groups.items()]


def _summary(quantity: str, cores: tuple[Measured, ...]) -> QuantitySummary:
    widths = [(width, m) for m in cores if (width := half_width(m)) is not None]
    return QuantitySummary(
        quantity=quantity,
        cores=cores,
        median=_median(m.achieved for m in cores),
        worst=max((m for m in cores if m.residual is not None), key=lambda m: abs(m.residual or 0.0), default=None),
        widest=max(widths, key=lambda pair: pair[0], default=None),
        before=_median(m.spread_before for m in cores),
        after=_median(m.spread_after for m in cores),
        failed=Counter(m.reason for m in cores if not m.ok),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def half_width(measured: Measured) -> float | None:
    """The longer side of an interval, relative to what was achieved; None without an interval."""
    if measured.interval is None or not measured.achieved:
        return None
    return max(abs(end / measured.achieved - 1.0) for end in measured.interval)


def why_failed(measured: Sequence[Measured]) -> list[str]:
    """A sentence for each reason and each set of cores: which quantities, where, and what it means."""
    places: dict[tuple[FailureReason, str], list[Core]] = defaultdict(list)
    for m in measured:
        if not m.ok:
            places[m.reason, m.quantity].append((m.chip, m.core))
    together: dict[tuple[FailureReason, tuple[Core, ...]], list[str]] = defaultdict(list)
    for (reason, quantity), found in places.items():
        together[reason, tuple(found)].append(quantity)
    number, every = len({(m.chip, m.core) for m in measured}), len({m.quantity for m in measured})
    told = []
    for (reason, cores), quantities in sorted(together.items(), key=lambda item: -len(item[0][1]) * len(item[1])):
        what = f"all {every} quantities" if len(quantities) == every > 1 else ", ".join(quantities)
        where = f"all {number} cores" if len(cores) == number > 1 else core_names(cores)
        told.append(f"{what}, on {where}: {reason.value}: {FAILED[reason]}.")
    return told


def core_names(cores: Sequence[Core]) -> str:
    """Cores as chip/core, in words."""
    return f"core{'s' if len(cores) > 1 else ''} " + ", ".join(f"{chip}/{core}" for chip, core in cores)


def left_out(record: Calibration | None) -> dict[ExclusionReason, int]:
    """How many neurons are not to be used for each reason; a neuron that is dead counts as that alone."""
    counts = dict.fromkeys(ExclusionReason, 0)
    if record is not None:
        reasons = {(e.chip, e.core, e.neuron): e.reason for e in record.excluded}
        for reason in (reasons | dict.fromkeys(record.dead_neurons, ExclusionReason.DEAD)).values():
            counts[reason] += 1
    return counts


def total_scale(record: Calibration, mapping: Mapping, core: Core, quantity: CoreQuantity) -> float:
    """Measured / nominal value of a quantity on one core: the core's scale, and the capacitance's where it sets a time."""
    circuit = circuit_of(mapping, quantity)
    board = record.capacitance_scale.get(circuit, 1.0) if circuit else 1.0
    return board * record.scale(*core, quantity)


def circuit_of(mapping: Mapping, quantity: str) -> Circuit | None:
    """The circuit whose capacitance a quantity is proportional to; None for currents."""
    name, dot, part = quantity.partition(".")
    if dot:
        synapses: dict[str, DpiMapping] = {str(synapse): dpi for synapse, dpi in mapping.synapses.items()}
        dpi = mapping.adaptation if name == "adaptation" else synapses.get(name)
        return dpi.circuit if dpi is not None and part == "tau_s" else None
    law = mapping.neuron.get("tau_s" if quantity == "tau2_s" else quantity)
    return law.circuit if law is not None else None


def with_unit(value: float | None, unit: str) -> str:
    """A value of four digits with a prefixed unit; "-" for none."""
    if value is None:
        return "-"
    if not unit or not value:
        return f"{value:.4g} {unit}".strip()
    size, prefix = next((p for p in _PREFIXES if abs(value) >= p[0] * (1 - 1e-9)), _PREFIXES[-1])
    return f"{value / size:.4g} {prefix}{unit}"


def percent(value: float | None) -> str:
    """A signed relative value in per cent, "-" for none; of two digits, because tolerances are missed by less than one."""
    return "-" if value is None else f"{value:+.2%}"


def cv(value: float | None, digits: int = 3) -> str:
    """A coefficient of variation; "-" for none."""
    return "-" if value is None else f"{value:.{digits}f}"
