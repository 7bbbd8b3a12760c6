"""From findings to the record of a board."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from bcall_hw import __version__
from bcall_hw.arrays import FloatArray
from bcall_hw.backend import Backend
from bcall_hw.calibrate.estimate import Z95, Estimate, medians
from bcall_hw.calibrate.findings import Findings
from bcall_hw.calibrate.rig import Core
from bcall_hw.calibrate.summary import circuit_of
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration import Calibration, sealed
from bcall_hw.calibration_parts import Excluded, Gains, Measured, SecondLeak, utc_text
from bcall_hw.failure_reasons import ExclusionReason, FailureReason

#: A neuron that differs from its core's median by more than this factor is left out.
_OUTLIER = 3.0
_SMALLEST_GAIN, _LARGEST_GAIN = 0.01, 100.0
#: Rise (s) of the median neuron under the current at which rates are compared.
_RATE_RISE_S = 0.02
#: A quantity that was calibrated on a core (chip id, core).
Good = tuple[str, Core]
_OF_SOMA = ("tau_s", "refractory_s", "dc_a")


def outcome_record(
    findings: Findings, measured: tuple[Measured, ...], backend: Backend, targets: Targets, seed: int, keep: float,
    expires_days: float, made: datetime,
) -> Calibration | None:  # fmt: skip
    """The record of the board, sealed; None where no quantity of any core was measured."""
    if not any(m.achieved is not None for m in measured):
        return None
    gains = _gains(findings)
    good = {(m.quantity, (m.chip, m.core)) for m in measured if m.ok}
    of_second = findings.second_leak_holds(targets)
    good |= {("tau2_s", core) for index, core in enumerate(findings.cores) if of_second[index] and ("tau_s", core) in good}
    # The constant current is measured with every soma, asked for or not.
    if not targets.neuron.dc_a:
        good |= {("dc_a", core) for quantity, core in good if quantity == "tau_s"}
    capacitances, core_scales = _scales(findings, good)
    scanned = findings.scanned
    return sealed(
        Calibration(
            kind="measured", chip=findings.chip.name, chip_sha256=findings.chip.fingerprint, board=backend.board,
            date=utc_text(made), expires=utc_text(made + timedelta(days=expires_days)), software=__version__,
            backend=backend.name, seed=seed, capacitance_scale=capacitances, core_scales=core_scales,
            gains=_parts(findings, gains, good),
            dead_neurons=_dead(findings), dead_cam=tuple(sorted({*scanned.dead_cam, *(u[:4] for u in scanned.unclear)}))
            if scanned else (),
            stuck_tag_bits=scanned.stuck_tag_bits if scanned else (),
            excluded=_excluded(findings, gains, keep), second_leak=_second_leaks(findings, gains, good), measured=measured,
        )
    )  # fmt: skip


def _gains(findings: Findings) -> dict[str, Estimate]:
    """Each neuron / its core's median, from the measurement on the way and the held-out one together."""
    found = {}
    for quantity in sorted({*findings.first, *findings.held}):
        if quantity == "pulse_width_s":
            continue
        every = [e for e in (findings.first.get(quantity), findings.held.get(quantity)) if e is not None]
        relative = [e.scaled(1.0 / e.median[:, None]) for e in every]
        found[quantity] = relative[0] if len(relative) == 1 else relative[0].combined(relative[1])
    return found


def _parts(findings: Findings, gains: dict[str, Estimate], good: set[Good]) -> tuple[Gains, ...]:
    parts = []
    for quantity, gain in gains.items():
        for index, (chip, core) in enumerate(findings.cores):
            known = gain.measured[index] & findings.bench.alive[index]
            known &= (gain.value[index] >= _SMALLEST_GAIN) & (gain.value[index] <= _LARGEST_GAIN)
            if not known.any() or (quantity, (chip, core)) not in good:
                continue
            value, margin = gain.value[index], np.exp(Z95 * gain.error[index])
            columns = (_column(v, known) for v in (value, value / margin, value * margin))
            parts.append(
                Gains(chip=chip, core=core, quantity=quantity, **dict(zip(("gain", "low", "high"), columns, strict=True)))
            )
    return tuple(parts)


def _column(values: FloatArray, known: Any) -> tuple[float | None, ...]:
    return tuple(float(f"{v:.5g}") if k else None for v, k in zip(values.tolist(), known.tolist(), strict=True))


def _scales(findings: Findings, good: set[Good]) -> tuple[dict[str, float], tuple[tuple[int, int, str, float], ...]]:
    """The board's capacitances, medians over cores; what is left of a scale belongs to its core.

    The soma's capacitance is measured by itself. That of any other circuit is what its times scale by: spikes cannot tell it
    from the current that they divide it by.
    """
    capacitances, rows = dict[str, float](), []
    # The membrane's capacitance comes from the first leak, before the second one is looked at.
    for quantity, values in sorted(findings.scales.of.items(), key=lambda item: (item[0] == "tau2_s", item[0])):
        usable = np.array([(quantity, core) in good for core in findings.cores])
        circuit = circuit_of(findings.mapping, quantity)
        if circuit is not None and quantity != "tau2_s" and usable.any():
            of_cores = findings.bench.charge_scale if circuit == "soma" else values
            capacitances[circuit] = float(f"{np.median(of_cores[usable]):.6g}")
        whole = capacitances.get(circuit, 1.0) if circuit is not None else 1.0
        rows += [
            (*core, quantity, float(f"{values[index] / whole:.6g}"))
            for index, core in enumerate(findings.cores)
            if usable[index]
        ]
    return capacitances, tuple(rows)


def _dead(findings: Findings) -> tuple[tuple[int, int, int], ...]:
    if findings.scanned is None:
        return ()
    places = np.argwhere(findings.scanned.dead)
    return tuple((*findings.cores[index], int(neuron)) for index, neuron in places.tolist())


def _excluded(findings: Findings, gains: dict[str, Estimate], keep: float) -> tuple[Excluded, ...]:
    scanned, reasons = findings.scanned, dict[tuple[int, int], ExclusionReason]()
    if scanned is not None:
        silent = scanned.silent & ~findings.bench.alive
        for mask, reason in ((scanned.hot, ExclusionReason.HOT), (silent, ExclusionReason.SILENT)):
            reasons |= dict.fromkeys(((int(i), int(n)) for i, n in np.argwhere(mask)), reason)
        dead = {(int(i), int(n)) for i, n in np.argwhere(scanned.dead)}
    else:
        dead = set()
    usable = np.array([reason is FailureReason.NONE for reason in findings.lost])
    for quantity in _OF_SOMA:
        if quantity not in gains:
            continue
        value = gains[quantity].value
        with np.errstate(invalid="ignore", divide="ignore"):
            far = np.abs(np.log(value)) > np.log(_OUTLIER)
        of_core = usable & np.isfinite(value).any(axis=1)
        for mask, reason in ((~(value > 0), ExclusionReason.UNMEASURED), (far, ExclusionReason.OUTLIER)):
            for index, neuron in np.argwhere(mask & of_core[:, None]).tolist():
                if (index, neuron) not in dead:
                    reasons.setdefault((index, neuron), reason)
    if keep < 1:
        off = rate_error(findings)
        for index in np.flatnonzero(usable).tolist():
            good = [n for n in range(off.shape[1]) if (index, n) not in reasons and (index, n) not in dead]
            good.sort(key=lambda n, row=off[index]: float(row[n]))  # type: ignore[misc]
            kept = round(keep * off.shape[1])
            reasons |= {(index, n): ExclusionReason.DESELECTED for n in good[kept:]}
    return tuple(
        Excluded(chip=findings.cores[i][0], core=findings.cores[i][1], neuron=n, reason=reason)
        for (i, n), reason in sorted(reasons.items())
    )


def rate_error(findings: Findings) -> FloatArray:
    """|ln(rate / core's median rate)| of every neuron under a constant current that makes the median one rise in 20 ms."""
    bench = findings.bench
    bench.current_a |= {"dc": bench.drive_for(_RATE_RISE_S), "gain": np.full(len(bench.rig.cores), np.inf)}
    bench.current_a["refractory"] = bench.short_refractory_a
    bench.current_a["leak1"] = np.full(len(bench.rig.cores), findings.chip.current_table.dark_current_a)
    interval = bench.rise_s() + bench.refractory_s
    interval = np.where(bench.alive, interval, np.nan)
    with np.errstate(invalid="ignore"):
        off = np.abs(np.log(interval / medians(interval)[:, None]))
    return np.asarray(np.nan_to_num(off, nan=np.inf, posinf=np.inf))


def _second_leaks(findings: Findings, gains: dict[str, Estimate], good: set[Good]) -> tuple[SecondLeak, ...]:
    """Neurons that the second leak brings nearer to the median."""
    if "tau_s" not in gains or "tau2_s" not in gains:
        return ()
    first, second = gains["tau_s"], gains["tau2_s"]
    with np.errstate(invalid="ignore", divide="ignore"):
        nearer = np.abs(np.log(second.value)) < np.abs(np.log(first.value))
    nearer &= second.measured & first.measured & findings.bench.alive
    ratio = findings.scales.of["tau2_s"] / findings.scales.of["tau_s"]
    return tuple(
        SecondLeak(chip=chip, core=core, ratio=float(ratio[index]), neurons=tuple(np.flatnonzero(nearer[index]).tolist()))
        for index, (chip, core) in enumerate(findings.cores)
        if nearer[index].any() and ("tau2_s", (chip, core)) in good
    )
