"""A whole calibration: scan, somas, pulse, synapses, adaptation, then everything once more on codes that were not used before.

Each step is measured on all cores at once. What a step finds goes into the scales of the cores, from which the next codes are
chosen by the mapper's own way, so a record means the same here and there. Success is the held-out measurement alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.backend import Backend
from bcall_hw.calibrate import soma
from bcall_hw.calibrate.bench import Bench
from bcall_hw.calibrate.circuits_on_bench import LONGEST_S, SHORTEST_S, DpiBench
from bcall_hw.calibrate.estimate import Estimate, medians
from bcall_hw.calibrate.findings import STUCK, Findings, Jump
from bcall_hw.calibrate.journal import Journal
from bcall_hw.calibrate.restoring import Left, restoring
from bcall_hw.calibrate.result import outcome_record
from bcall_hw.calibrate.rig import Core, Report, Rig
from bcall_hw.calibrate.scales import Scales
from bcall_hw.calibrate.scan import scan
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Measured
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BudgetSpent, InvalidValue
from bcall_hw.failure_reasons import FailureReason
from bcall_hw.mapping import choose_codes, load_mapping

_LADDER_S = (0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625)
_LADDER_RUN_S = 0.5
#: Share of a core's neurons that have to be usable.
_FEWEST = 0.5
#: Relative change of a sentinel between begin and end that means drift; rise of the first (s), drive / leak of the second, and
#: shortest length of their runs (s).
_DRIFT, _SENTINEL_S, _SENTINEL_DRIVE, _SENTINEL_RUN_S = 0.02, 0.004, 2.3, 0.5
#: A refractory period below this share of the nominal one, seen between two codes, did not follow them.
_STANDS = 0.1
#: Leak of the first look, over that of the target.
_FIRST_LOOK = 1.6
_SECOND_IN_DAYS = 1 / 86400


@dataclass(frozen=True)
class Outcome:
    """What a calibration found.

    Attributes:
        record: of the board; None where nothing at all could be measured.
        measured: every core and quantity with its residual or reason.
        curves: (dc_a as codes say, lower quartile, median, upper quartile of the neurons' rates in Hz) of each core.
        board_s: board time used.
        jumps: the BCaLL jump of each synapse type.
        registers: what was left in the board: what was there before, or quiet cores where the board does not take that back.
        out_of_budget: steps are left for which there was no board time; the journal goes on with them.
    """

    record: Calibration | None
    measured: tuple[Measured, ...]
    curves: dict[Core, list[tuple[float, float, float, float]]]
    board_s: float
    jumps: tuple[Jump, ...] = ()
    registers: Left = "as before"
    out_of_budget: bool = False

    @property
    def ok(self) -> bool:
        """Whether every quantity of every core was calibrated."""
        return bool(self.measured) and all(m.ok for m in self.measured)


def calibrate(
    backend: Backend, chip: ChipModel, *, cores: tuple[Core, ...] | None = None, targets: Targets | None = None,
    budget_s: float = 300.0, seed: int = 0, keep: float = 1.0, report: Report | None = None, journal: Path | None = None,
    resume: bool = False, expires_days: float = 30.0, now: datetime | None = None,
    pulses: str | None = None,
) -> Outcome:  # fmt: skip
    """Calibrate cores of a board from spikes alone.

    The registers of the cores' chips are what they were before when it ends, however it ends.

    Args:
        backend: the board; nothing is used of it but the protocol.
        cores: (chip id, core); all cores of the chips that the backend holds if absent.
        targets: what to bring the cores to; the shipped ones if absent.
        budget_s: board time that may be used (s).
        seed: shifts the volleys of all measurements against each other.
        keep: share of each core's neurons that are kept; the others, whose rate is furthest off, are excluded.
        report: called with (what, done, total).
        journal: file that holds what has been found, to go on from after a kill.
        resume: go on from the journal.
        expires_days: how long the record holds.
        now: date of the record; when the run began if absent, also one that was killed and goes on.
        pulses: "ideal" where an event is a jump and events at one time add up, "finite" where pulses last and restart; what
            the backend says if absent, and finite where it says nothing.

    Raises:
        InvalidValue, CodeProblems: no such cores, or targets that no code reaches even nominally.
        BcallError: whatever the backend raises; nothing is written then but the journal.
    """
    targets = targets or Targets.load()
    _check(chip, cores, budget_s, keep, expires_days)
    choose_codes(chip, load_mapping(chip), Scales(chip, load_mapping(chip), ()).record(), targets.neuron, "targets")
    before = backend.read_back()
    held = before.chips if cores is None else tuple(sorted({core[0] for core in cores}))
    require_chips(before, held)
    wanted = cores or tuple((chip_id, core) for chip_id in held for core in range(chip.geometry.cores))
    run = CalibrationRun(backend, chip, tuple(sorted(wanted)), targets, budget_s, seed, report, pulses)
    made = now or datetime.now(timezone.utc)
    book = Journal(journal, run.findings, run.rig, targets, seed, run.dpis.lasting, before, made) if journal else None
    with restoring(run.rig, lambda: book.before if book else before) as left:
        run.all_steps(book, resume)
    measured = run.findings.measured(targets)
    record = outcome_record(
        run.findings, measured, backend, targets, seed, keep, expires_days, book.made if book else made
    )  # fmt: skip
    return Outcome(
        record, measured, run.findings.curves, run.rig.spent_s, tuple(run.findings.jumps(targets)), left.registers,
        run.findings.out_of_budget,
    )  # fmt: skip


def require_chips(before: ChipConfig, wanted: Iterable[int]) -> None:
    """Refuse chips that a backend does not hold.

    Raises:
        InvalidValue: with the first of them.
    """
    missing = sorted(set(wanted) - set(before.chips))
    if missing:
        used = f"chip {missing[0]}"
        raise InvalidValue("the backend does not hold this chip", where="calibrate, cores", used=used, limit=before.chips)


def lasting(backend: Backend, pulses: str | None) -> bool:
    """Whether a backend's pulses last and restart.

    Args:
        pulses: "ideal" or "finite"; what the backend says if absent, and finite where it says nothing.

    Raises:
        InvalidValue: no such pulse model.
    """
    if pulses not in (None, "ideal", "finite"):
        raise InvalidValue("no such pulse model", where="calibrate, pulses", used=pulses, limit="ideal or finite")
    told = backend.describe()
    return (pulses or told.get("pulses") or told.get("virtual", {}).get("pulses", "finite")) == "finite"


def check_cores(chip: ChipModel, cores: tuple[Core, ...] | None, budget_s: float) -> None:
    """Refuse cores that the chip does not have or that are named twice, and board time that is none.

    Raises:
        InvalidValue: with the core, or the time.
    """
    g = chip.geometry
    if cores is not None:
        if not cores or len(set(cores)) < len(cores):
            raise InvalidValue("name each core once", where="calibrate, cores", used=cores)
        for chip_id, core in cores:
            if not (0 <= chip_id < g.chips and 0 <= core < g.cores):
                limit = (g.chips - 1, g.cores - 1)
                raise InvalidValue("no such core", where="calibrate, cores", used=(chip_id, core), limit=limit)
    if not budget_s > 0:
        raise InvalidValue("board time must be positive (s)", where="calibrate, budget_s", used=budget_s)


def _check(chip: ChipModel, cores: tuple[Core, ...] | None, budget_s: float, keep: float, expires_days: float) -> None:
    check_cores(chip, cores, budget_s)
    if not 0.1 <= keep <= 1:
        raise InvalidValue("share of neurons to keep", where="calibrate, keep", used=keep, limit="0.1 to 1")
    if not _SECOND_IN_DAYS <= expires_days <= 3650:
        where = "calibrate, expires_days"
        raise InvalidValue("a record holds for some days", where=where, used=expires_days, limit="a second to 3650 days")


class CalibrationRun:
    """The steps, with what they find."""

    def __init__(
        self, backend: Backend, chip: ChipModel, cores: tuple[Core, ...], targets: Targets, budget_s: float, seed: int,
        report: Report | None, pulses: str | None,
    ) -> None:  # fmt: skip
        self.targets, self.seed, self.report = targets, seed, report
        self.rig = Rig(backend, chip, cores, budget_s)
        self.bench = Bench(self.rig, np.ones(self.rig.shape, dtype=bool))
        self.scales = Scales(chip, load_mapping(chip), cores)
        self.findings = Findings(chip, self.scales.mapping, cores, self.bench, self.scales)
        self.dpis = DpiBench(self.bench, self.scales, self.findings, targets, lasting(backend, pulses), seed)

    def all_steps(self, journal: Journal | None, resume: bool) -> None:
        """Every step that is not done yet; what a lack of board time leaves out is told by quantity."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("scan", self.scan), ("soma", self.soma), ("membrane", self.membrane), ("pulse width", self.dpis.pulse),
        ]  # fmt: skip
        types = sorted(self.targets.neuron.synapses)
        steps += [(f"synapse {name}", partial(self.dpis.synapse, name, held_out=False)) for name in types]
        steps += [("adaptation", partial(self.dpis.adaptation, held_out=False))]
        steps += [("held-out soma", self.held_out_soma), ("held-out pulse width", self.dpis.held_out_pulse)]
        steps += [(f"held-out {name}", partial(self.dpis.synapse, name, held_out=True)) for name in types]
        steps += [("held-out adaptation", partial(self.dpis.adaptation, held_out=True)), ("drift", self.drift)]
        done = 0
        if journal and resume:
            done = journal.load()
            self.dpis.turn = journal.turn
        for number, (name, step) in enumerate(steps):
            if number < done:
                continue
            if self.report:
                self.report(f"calibrating: {name}", number, len(steps))
            if self.findings.nothing_left:
                break
            try:
                step()
            except BudgetSpent:
                self.findings.out_of_budget = True
                break
            self.findings.lose_cores(self.rig.overloaded, FailureReason.OVERLOAD)
            if journal:
                journal.save(number + 1, self.dpis.turn)
        if self.report:
            self.report("calibrating: done", len(steps), len(steps))

    def scan(self) -> None:
        """Liveness and defects; neurons that are no good take no part in anything."""
        found = scan(self.rig)
        self.findings.scanned = found
        # Where most of a core hears nothing, that is no matter of its neurons: somas can be measured all the same.
        deaf_core = (found.silent.mean(axis=1) > _FEWEST)[:, None]
        self.bench.alive = np.where(deaf_core, found.alive & ~found.hot, found.usable)
        self.bench.lose_entries({*found.dead_cam, *(s[:4] for s in found.stuck_tag_bits), *(u[:4] for u in found.unclear)})
        self.findings.lose_cores(self.rig.overloaded, FailureReason.OVERLOAD)
        hot = found.hot.mean(axis=1) > 1 - _FEWEST
        none = np.asarray(~self.bench.alive.any(axis=1))
        few = self.bench.alive.mean(axis=1) < _FEWEST
        for index, core in enumerate(self.rig.cores):
            if few[index]:
                reason = FailureReason.NO_SPIKES if none[index] else FailureReason.TOO_FEW_NEURONS
                self.findings.lose_cores({core}, FailureReason.OVERLOAD if hot[index] else reason)

    def soma(self) -> None:
        """Refractory period, capacitance, constant current and threshold."""
        soma.find_grain(self.bench)
        period = self._refractory()
        with np.errstate(invalid="ignore"):
            stuck = medians(period.value) < _STANDS * self.dpis.predicted("refractory_s")
        self.findings.fail("refractory_s", stuck, FailureReason.BIAS_STUCK)
        self.findings.learn("refractory_s", period, self.dpis.predicted("refractory_s"))
        constant, threshold = soma.drive(self.bench)
        self.findings.threshold = threshold
        self.findings.fail("dc_a", self.scales.take("dc_a", constant.median), FailureReason.DID_NOT_CONVERGE)
        self.findings.first["dc_a"] = constant.scaled(np.full(self.rig.shape, self.targets.neuron.dc_a or 1.0))
        self._post_sentinels()

    def _refractory(self) -> Estimate:
        current_a = self.dpis.currents("refractory_s")
        self.findings.fail("refractory_s", soma.too_short(self.bench, current_a), FailureReason.UNOBSERVABLE)
        return soma.refractory(self.bench, current_a)

    @property
    def _hidden_leak(self) -> bool:
        return not SHORTEST_S <= self.targets.neuron.tau_s <= LONGEST_S

    @property
    def _visible_leak_s(self) -> float:
        return float(np.clip(self.targets.neuron.tau_s, SHORTEST_S, LONGEST_S))

    def membrane(self) -> None:
        """Time constants under both leak biases."""
        beyond = self.scales.take("tau_s", self.bench.charge_scale)
        self.findings.fail("tau_s", beyond, FailureReason.DID_NOT_CONVERGE)
        # A leak that spikes cannot show is measured at the nearest one that they can, for what is measured through it.
        wanted = self._visible_leak_s
        if self._hidden_leak:
            self.findings.fail("tau_s", np.ones(len(self.rig.cores), dtype=bool), FailureReason.UNOBSERVABLE)
        for quantity, role in (("tau_s", "leak1"), ("tau2_s", "leak2")):
            nominal = self.bench.charge_c / wanted
            scale = self.scales.of["tau_s"]
            look = soma.leak(self.bench, nominal * scale * _FIRST_LOOK, role, quick=True)
            first = self.bench.current_a[role]
            found = soma.leak(self.bench, nominal * scale, role)
            given = self.bench.current_a[role]
            with np.errstate(invalid="ignore", divide="ignore"):
                moved = np.log(found.median / look.median) / np.log(first / given)
            stuck = moved < STUCK
            beyond = self.scales.take(quantity, found.median * given / self.bench.charge_c)
            self.findings.first[quantity] = found
            self.findings.fail(quantity, stuck, FailureReason.BIAS_STUCK)
            self.findings.fail(quantity, beyond, FailureReason.DID_NOT_CONVERGE)

    def held_out_soma(self) -> None:
        """Refractory period, membrane and constant current on the codes that the record gives, and F-I curves."""
        f, bench = self.findings, self.bench
        f.held["refractory_s"] = self._refractory()
        if not self._hidden_leak:
            f.held["tau_s"] = soma.leak(bench, self.dpis.currents("tau_s"))
            of_first = self.scales.of["tau2_s"] / self.scales.of["tau_s"]  # as the mapper sets it
            f.held["tau2_s"] = soma.leak(bench, self.dpis.currents("tau_s") * of_first, "leak2", quick=True)
        if self.targets.neuron.dc_a:
            current_a = self.dpis.currents("dc_a")
            f.fail("dc_a", soma.too_fast(bench, current_a), FailureReason.UNOBSERVABLE)
            f.held["dc_a"] = soma.constant_current(bench, current_a)
        bench.rest_currents()
        bench.set_currents(refractory=self.dpis.currents("refractory_s"), leak1=self.dpis.currents("tau_s"))
        for rise_s in _LADDER_S:
            bench.set_currents(dc=bench.drive_for(rise_s))
            trains = self.rig.run(_LADDER_RUN_S, settle_s=0.1)
            rates = trains.counts.reshape(self.rig.shape) / trains.duration_s
            for index, core in enumerate(self.rig.cores):
                mine = rates[index, bench.alive[index]]
                if mine.size:
                    low, middle, high = (float(q) for q in np.percentile(mine, [25, 50, 75]))
                    f.curves.setdefault(core, []).append((float(bench.current_a["dc"][index]), low, middle, high))

    def drift(self) -> None:
        """The sentinels of the beginning once more; a core that changed has drifted."""
        if not self.findings.sentinels:
            return
        for currents, then in self.findings.sentinels:
            now = self._intervals_under(currents)
            with np.errstate(invalid="ignore"):
                change = medians(np.where(self.bench.alive, now / then, np.nan)) - 1.0
            known = np.isfinite(medians(then))
            self.findings.drifted |= known & (np.abs(np.nan_to_num(change, nan=1.0)) > _DRIFT)
        self.findings.drift_checked = True

    def _post_sentinels(self) -> None:
        """Measurements that are repeated at the end: one shows the refractory period, one the leak, both constant currents."""
        bench = self.bench
        leak_a = bench.charge_c * bench.charge_scale / self._visible_leak_s
        for wished in (
            {"dc": bench.drive_for(_SENTINEL_S), "refractory": self.dpis.currents("refractory_s")},
            {"dc": _SENTINEL_DRIVE * leak_a / np.nanmedian(bench.dc_scale, axis=1), "leak1": leak_a,
             "refractory": bench.short_refractory_a},
        ):  # fmt: skip
            then = self._intervals_under(wished)
            self.findings.sentinels.append(({role: bench.current_a[role] for role in wished}, then))

    def _intervals_under(self, currents: dict[str, FloatArray]) -> FloatArray:
        self.bench.rest_currents()
        self.bench.set_currents(**currents)
        duration_s = max(_SENTINEL_RUN_S, 10.0 * self._visible_leak_s)
        return self.bench.intervals(self.rig.run(duration_s, settle_s=0.1))[0]
