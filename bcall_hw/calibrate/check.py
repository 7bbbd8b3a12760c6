"""Does a record still hold? A few quantities measured again under its codes, and compared with what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw.backend import Backend
from bcall_hw.calibrate.estimate import Z95
from bcall_hw.calibrate.restoring import restoring
from bcall_hw.calibrate.rig import Core, Report
from bcall_hw.calibrate.run import CalibrationRun
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration import Calibration, check_board
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import InvalidValue
from bcall_hw.network import NeuronParameters, SynapseParameters


@dataclass(frozen=True)
class Drift:
    """One quantity of one core: what the record says, and what it is now.

    Attributes:
        recorded, now: of the core's median, in its unit; `now` is None where nothing could be measured.
        change: now / recorded - 1.
        interval: 95 % of the change.
        drifted: changed by more than the tolerance.
    """

    chip: int
    core: int
    quantity: str
    unit: str
    recorded: float
    now: float | None
    change: float | None
    interval: tuple[float, float] | None
    drifted: bool


def check(
    backend: Backend, chip: ChipModel, record: Calibration, *, tolerance: float = 0.03, budget_s: float = 60.0, seed: int = 0,
     pulses: str | None = None, report: Report | None = None,
) -> list[Drift]:  # fmt: skip
    """Measure a few quantities of every core of a record again.

    Args:
        tolerance: largest change that is no drift.

    Raises:
        WrongBoard: the record is of another board.
        InvalidValue: the record holds nothing that can be measured again.
        BudgetSpent: not enough board time.
        BcallError: whatever the backend raises.
    """
    check_board(record, backend.board)
    known = {(m.quantity, (m.chip, m.core)): m for m in record.measured if m.ok and m.achieved is not None}
    cores: tuple[Core, ...] = tuple(sorted({core for _, core in known}))
    if not cores:
        raise InvalidValue("nothing in this record can be measured again", where="calibrate --check", used="no quantity is ok")
    targets = _targets_of(record, tolerance)
    before = backend.read_back()
    run = CalibrationRun(backend, chip, cores, targets, budget_s, seed, report, pulses)
    with restoring(run.rig, lambda: before):
        for index, core in enumerate(cores):
            left_out = [n for c, k, n in record.defects.dead_neurons if (c, k) == core]
            run.bench.alive[index, left_out] = False
        for (quantity, core), m in known.items():
            circuit_scale = {row[2]: row[3] for row in record.core_scales if row[:2] == core}
            scale = circuit_scale.get(quantity, 1.0) * record.capacitance_scale.get(_CIRCUIT.get(quantity, _of(quantity)), 1.0)  # type: ignore[call-overload]
            run.scales.of.setdefault(m.quantity, np.ones(len(cores)))[cores.index(core)] = scale
        now = run.few_quantities([q for q in targets.quantities() if any(name == q for name, _ in known)])
    found = []
    for quantity, estimate in now.items():
        median, error = estimate.median, estimate.median_error
        for index, core in enumerate(cores):
            said = known.get((quantity, core))
            if said is None or said.achieved is None:
                continue
            now_is, off = float(median[index]), float(error[index])
            found.append(_drift(quantity, said.unit, core, said.achieved, now_is, off, targets.tolerance))
    return found


def _targets_of(record: Calibration, tolerance: float) -> Targets:
    """The targets that a record was made with; its quantities that failed are left out."""
    shipped = Targets.load().neuron
    values = {m.quantity: m.target for m in record.measured if m.ok}
    plain = {name: values.get(name, getattr(shipped, name)) for name in ("tau_s", "refractory_s", "pulse_width_s")}
    kinds = sorted({q.partition(".")[0] for q in values if q.endswith(".weight_a")} - {"adaptation"})
    synapses = {
        kind: SynapseParameters(tau_s=values[f"{kind}.tau_s"], weight_a=values[f"{kind}.weight_a"])
        for kind in kinds if f"{kind}.tau_s" in values
    }  # fmt: skip
    neuron = NeuronParameters(**plain, gain_a=shipped.gain_a, dc_a=values.get("dc_a", 0.0), synapses=synapses)
    return Targets(neuron=neuron, tolerance=tolerance)


_CIRCUIT = {"tau_s": "soma", "refractory_s": "refractory", "pulse_width_s": "pulse", "adaptation.tau_s": "AHP"}


def _of(quantity: str) -> str:
    name, _, part = quantity.partition(".")
    return name if part == "tau_s" else ""


def _drift(quantity: str, unit: str, core: Core, recorded: float, now: float, error: float, tolerance: float) -> Drift:
    if not np.isfinite(now):
        return Drift(*core, quantity, unit, recorded, None, None, None, True)
    change, margin = now / recorded - 1.0, Z95 * error
    return Drift(*core, quantity, unit, recorded, now, change, (change - margin, change + margin), abs(change) > tolerance)


def worst(found: list[Drift]) -> Drift | None:
    """The largest change; one that could not be measured is larger than any."""
    return max(found, key=lambda d: float("inf") if d.change is None else abs(d.change), default=None)
