"""Does a record still hold? A few quantities measured again under its codes, and compared with what it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bcall_hw.arrays import BoolArray
from bcall_hw.backend import Backend
from bcall_hw.calibrate import soma
from bcall_hw.calibrate.bench import Bench
from bcall_hw.calibrate.circuits_on_bench import DpiBench
from bcall_hw.calibrate.estimate import Z95, Estimate
from bcall_hw.calibrate.findings import Findings
from bcall_hw.calibrate.recorded_codes import RecordedCodes
from bcall_hw.calibrate.restoring import restoring
from bcall_hw.calibrate.rig import Core, Report, Rig
from bcall_hw.calibrate.run import check_cores, lasting, require_chips
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration import Calibration, check_board
from bcall_hw.calibration_parts import Measured
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import InvalidValue
from bcall_hw.failure_reasons import ExclusionReason
from bcall_hw.mapping import load_mapping
from bcall_hw.network import NeuronParameters, SynapseParameters

Verdict = Literal["holds", "drifted", "unknown"]
Known = dict[tuple[str, Core], Measured]
#: Neurons that took no part in what the record says. Outliers and deselected ones did: the medians are theirs too.
_NO_PART = (ExclusionReason.DEAD, ExclusionReason.HOT, ExclusionReason.SILENT, ExclusionReason.UNMEASURED)
_OF_SOMA = ("refractory_s", "tau_s", "dc_a")
#: Share of the neurons of the record that have to give a value; where fewer do, the core is not what it was.
_FEWEST = 0.5


@dataclass(frozen=True)
class Drift:
    """One quantity of one core: what the record says, and what it is now.

    Attributes:
        recorded, now: of the core's median, in its unit; `now` is None where nothing could be measured.
        change: now / recorded - 1.
        interval: 95 % of the change: the scatter of both measurements, and once what the equations leave out.
        verdict: see `verdict_of`.
    """

    chip: int
    core: int
    quantity: str
    unit: str
    recorded: float
    now: float | None
    change: float | None
    interval: tuple[float, float] | None
    verdict: Verdict

    @property
    def drifted(self) -> bool:
        """Whether the quantity is certainly not what the record says."""
        return self.verdict == "drifted"


def check(
    backend: Backend, chip: ChipModel, record: Calibration, *, cores: tuple[Core, ...] | None = None, tolerance: float = 0.03,
    budget_s: float = 60.0, seed: int = 0, pulses: str | None = None, report: Report | None = None,
) -> list[Drift]:  # fmt: skip
    """Measure somas and the first synapse type of a record again, under its own codes.

    The registers of the cores' chips are what they were before when it ends, however it ends.

    Args:
        cores: (chip id, core); all that the record calibrated if absent.
        tolerance: largest change that is no drift.
        budget_s: board time that may be used (s).
        seed: shifts the volleys against the spikes.
        report: called with (what, done, total).
        pulses: as in `calibrate`.

    Raises:
        WrongBoard: the record is of another board.
        InvalidValue: the record holds nothing that can be measured again, or not these cores.
        BudgetSpent: not enough board time.
        BcallError: whatever the backend raises.
    """
    check_board(record, backend.board)
    check_cores(chip, cores, budget_s)
    known, targets = _proven(record, tolerance)
    cores = _chosen(cores, known)
    before = backend.read_back()
    require_chips(before, (of_chip for of_chip, _ in cores))
    rig = Rig(backend, chip, cores, budget_s)
    bench = Bench(rig, _took_part(record, rig))
    bench.lose_entries({*record.dead_cam, *(bit[:4] for bit in record.stuck_tag_bits)})
    said = {(m.quantity, (m.chip, m.core)): m for m in record.measured}
    codes = RecordedCodes(chip, load_mapping(chip), cores, said=said)
    findings = Findings(chip, codes.mapping, cores, bench, codes)
    dpis = DpiBench(bench, codes, findings, targets, lasting(backend, pulses), seed)
    took_part = bench.alive.copy()
    with restoring(rig, lambda: before):
        now = _measured_again(dpis, {quantity for quantity, _ in known}, report)
    found, choices = [], codes.choices(targets.neuron)
    for (quantity, core), one in known.items():
        if core in cores:
            index = cores.index(core)
            seen = now.get(quantity) if quantity in choices[index] else None
            found.append(_drift(one, seen, index, took_part[index], targets.tolerance))
    return found


def overall(found: Iterable[Drift]) -> Verdict:
    """Drifted where anything is; holds where everything does."""
    verdicts = {d.verdict for d in found}
    return "drifted" if "drifted" in verdicts else "unknown" if "unknown" in verdicts else "holds"


def worst(found: Iterable[Drift]) -> Drift:
    """The largest change; one that could not be measured is larger than any."""
    return max(found, key=lambda d: float("inf") if d.change is None else abs(d.change))


def verdict_of(change: float, margin: float, tolerance: float) -> Verdict:
    """What a change means, known to within a margin.

    A margin within the tolerance tells enough: the change lies inside of it or not. With a wider one nothing holds, and only a
    change whose whole interval lies outside has drifted for certain.
    """
    if margin <= tolerance:
        return "holds" if abs(change) <= tolerance else "drifted"
    return "drifted" if abs(change) - margin > tolerance else "unknown"


def _proven(record: Calibration, tolerance: float) -> tuple[Known, Targets]:
    """What is measured again, in this order: somas, and the first synapse type that is calibrated anywhere."""
    good = {(m.quantity, (m.chip, m.core)): m for m in record.measured if m.ok and m.achieved is not None and m.codes}
    kinds = sorted({q.partition(".")[0] for q, _ in good if "." in q} - {"adaptation"})
    wanted = {m.quantity: m.target for m in record.measured}
    kind = next((k for k in kinds if {f"{k}.tau_s", f"{k}.weight_a", "pulse_width_s"} <= set(wanted)), None)
    order = [*_OF_SOMA, *((f"{kind}.tau_s", f"{kind}.weight_a") if kind else ())]
    known = {(q, core): m for q in order for (quantity, core), m in sorted(good.items()) if quantity == q}
    if not known:
        raise InvalidValue("nothing in this record can be measured again", where="calibrate --check", used="no quantity is ok")
    shipped = Targets.load().neuron
    times = {name: wanted.get(name, getattr(shipped, name)) for name in ("tau_s", "refractory_s", "pulse_width_s")}
    synapses = {kind: SynapseParameters(tau_s=wanted[f"{kind}.tau_s"], weight_a=wanted[f"{kind}.weight_a"])} if kind else {}
    neuron = NeuronParameters(**times, gain_a=shipped.gain_a, dc_a=wanted.get("dc_a", 0.0), synapses=synapses)
    return known, Targets(neuron=neuron, tolerance=tolerance)


def _chosen(cores: tuple[Core, ...] | None, known: Known) -> tuple[Core, ...]:
    held = tuple(sorted({core for _, core in known}))
    for core in cores or ():
        if core not in held:
            fix = "Name cores that the record calibrated, or calibrate this one."
            raise InvalidValue("the record has nothing of this core", where="check, cores", used=core, limit=held, fix=fix)
    return tuple(sorted(cores or held))


def _took_part(record: Calibration, rig: Rig) -> BoolArray:
    """Neurons that the record's medians are made of, shape (cores, neurons)."""
    found = np.ones(rig.shape, dtype=bool)
    none = {*record.dead_neurons, *((e.chip, e.core, e.neuron) for e in record.excluded if e.reason in _NO_PART)}
    for of_chip, core, neuron in none:
        if (of_chip, core) in rig.cores:
            found[rig.cores.index((of_chip, core)), neuron] = False
    return found


def _measured_again(dpis: DpiBench, wanted: set[str], report: Report | None) -> dict[str, Estimate]:
    """Estimates under the recorded codes; what the backend refuses is missing."""
    bench, found = dpis.bench, dict[str, Estimate]()
    kinds = [kind for kind in dpis.targets.neuron.synapses if wanted & {f"{kind}.tau_s", f"{kind}.weight_a"}]
    if report:
        report("checking: soma", 0, 2)
    soma.find_grain(bench)
    # The drive takes refractory periods off, and a refractory period is measured under the drive: the first one is rough.
    soma.refractory(bench, dpis.currents("refractory_s"))
    soma.drive(bench)
    found["refractory_s"] = soma.refractory(bench, dpis.currents("refractory_s"))
    if "tau_s" in wanted:
        found["tau_s"] = soma.leak(bench, dpis.currents("tau_s"))
    if "dc_a" in wanted:
        found["dc_a"] = soma.constant_current(bench, dpis.currents("dc_a"))
    for kind in kinds:
        if report:
            report(f"checking: synapse {kind}", 1, 2)
        dpis.synapse(kind, held_out=True, correct=False)
    if report:
        report("checking: done", 2, 2)
    return found | dpis.findings.held


def _drift(said: Measured, now: Estimate | None, index: int, took_part: BoolArray, tolerance: float) -> Drift:
    recorded = float(said.achieved or np.nan)
    place = said.chip, said.core, said.quantity, said.unit, recorded
    if now is None:
        return Drift(*place, None, None, None, "unknown")
    median = float(now.median[index])
    if not np.isfinite(median):
        with np.errstate(invalid="ignore"):
            answers = took_part & (now.value[index] > 0)
        return Drift(*place, None, None, None, "drifted" if answers.sum() < _FEWEST * took_part.sum() else "unknown")
    change, margin = median / recorded - 1.0, Z95 * _error(said, now, index)
    return Drift(*place, median, change, (change - margin, change + margin), verdict_of(change, margin, tolerance))


def _error(said: Measured, now: Estimate, index: int) -> float:
    """Relative standard error of the change: what the equations leave out acts on both alike, and counts once."""
    error = float(now.median_error[index])
    if said.interval is None:
        return error
    of_record = float(np.log(said.interval[1] / said.interval[0])) / (2.0 * Z95)
    return float(np.hypot(error, np.sqrt(max(of_record**2 - now.common**2, 0.0))))
