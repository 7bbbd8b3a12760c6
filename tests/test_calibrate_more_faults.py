"""Faults that a calibration could take for success: each core gets its own reason, and nothing that moved is called ok."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_faults import FailsToApply, FaultyBoard, Stuck, StuckCores
from calibration_helpers import measured
from calibration_truth import true_values
from test_calibrate_faults import CHIP, CORE, NOW, SOMA, SYNAPSE, applied, code, nothing_false, plain, reasons, run

from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibrate import journal as journals
from bcall_hw.calibrate.check import check
from bcall_hw.calibrate.run import Outcome, calibrate
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration import check_board, load_calibration, save_calibration
from bcall_hw.errors import (
    BcallError,
    BoardLost,
    CorruptFile,
    FileProblem,
    ForeignFile,
    InvalidValue,
    WorkerDied,
    WrongBoard,
)  # fmt: skip
from bcall_hw.failure_reasons import ExclusionReason, FailureReason

OK, STUCK = FailureReason.NONE, FailureReason.BIAS_STUCK
CORES = tuple((0, core) for core in range(4))


def soma(**changes: Any) -> Targets:
    return SOMA.model_copy(update={"neuron": SOMA.neuron.model_copy(update=changes)})


def of_core(outcome: Outcome, core: int) -> dict[str, FailureReason]:
    return {m.quantity: m.reason for m in outcome.measured if m.core == core}


def nothing_false_on_stuck(outcome: Outcome, profile: BoardProfile, stuck_on: dict[int, Stuck]) -> None:
    """What is called ok is true under the codes that the board really has."""
    for m in outcome.measured:
        codes = dict(m.codes)
        for role, (coarse, fine) in stuck_on.get(m.core, {}).items():
            same = [name for name in codes if CHIP.bias_index(name) == CHIP.bias_index(role)]
            codes |= {name: codes[name].model_copy(update={"coarse": coarse, "fine": fine}) for name in same}
        if m.ok:
            truth = np.nanmedian(true_values(profile, CHIP, (0, m.core), m.quantity, codes))
            assert truth == pytest.approx(m.target, rel=0.04), (m.core, m.quantity)


def run_cores(board: FaultyBoard, targets: Targets) -> Outcome:
    before = applied(board)
    found = calibrate(board, CHIP, cores=CORES, targets=targets, now=NOW)
    assert board.read_back() == before
    return found


# Stuck biases --------------------------------------------------------------------------------------------------------


def test_stuck_biases_of_the_soma_are_told_on_their_own_core_alone() -> None:
    profile = plain()
    stuck: dict[int, Stuck] = {1: {"refractory": code(2e-10)}, 2: {"leak1": code(3e-11)}, 3: {"pulse_width": code(5e-10)}}
    found = run_cores(StuckCores(CHIP, profile, stuck), SOMA)
    assert of_core(found, 1)["refractory_s"] is STUCK
    assert of_core(found, 2)["tau_s"] is STUCK
    assert of_core(found, 3) == {"refractory_s": OK, "tau_s": OK, "pulse_width_s": STUCK}
    assert of_core(found, 2)["refractory_s"] is OK
    assert of_core(found, 0)["tau_s"] is of_core(found, 0)["refractory_s"] is OK
    # All that is measured through a soma that is not what its codes say is not to be believed either.
    assert OK not in of_core(found, 1).values()
    assert of_core(found, 2)["pulse_width_s"] is not OK
    nothing_false_on_stuck(found, profile, stuck)


def test_stuck_biases_of_synapses_are_told_on_their_own_core_alone() -> None:
    profile = plain()
    stuck: dict[int, Stuck] = {1: {"NMDA_weight": code(1.5e-10)}, 2: {"NMDA_tau": code(5.3e-11)}, 3: {"leak1": code(1e-12)}}
    synapse = SYNAPSE.neuron.synapses["AMPA"]
    found = run_cores(StuckCores(CHIP, profile, stuck), soma(synapses={"NMDA": synapse}))
    assert of_core(found, 1)["NMDA.weight_a"] is STUCK
    assert of_core(found, 2)["NMDA.tau_s"] is STUCK
    assert of_core(found, 2)["NMDA.weight_a"] is not OK
    for core in (0, 1, 2):
        assert of_core(found, core)["tau_s"] is of_core(found, core)["refractory_s"] is OK
    assert of_core(found, 0)["NMDA.tau_s"] is of_core(found, 0)["NMDA.weight_a"] is OK
    assert {*of_core(found, 3).values()} - {OK} <= {STUCK, FailureReason.TOO_NOISY, FailureReason.NO_SPIKES}
    assert {q for q, reason in of_core(found, 3).items() if reason is OK} == {"refractory_s"}
    nothing_false_on_stuck(found, profile, stuck)


def test_cores_that_never_rest_are_overloaded_not_silent() -> None:
    hot = plain(odd_currents=tuple((*CORE, n, "dc", 100.0) for n in range(256)))
    for board in (FaultyBoard(CHIP, hot), FaultyBoard(CHIP, plain(), stuck={"dc": code(3e-10)})):
        found = run(board)
        assert set(reasons(found).values()) == {FailureReason.OVERLOAD}
        assert found.record is None
        assert found.board_s < 6


# Neurons -------------------------------------------------------------------------------------------------------------


def test_half_of_the_neurons_suffice_and_one_less_does_not() -> None:
    profile = plain(dead_neurons=tuple((*CORE, n) for n in range(128)))
    found = run(FaultyBoard(CHIP, profile))
    told = reasons(found)
    assert told.pop("pulse_width_s") in (OK, FailureReason.TOO_NOISY, FailureReason.TOO_FEW_NEURONS)
    assert set(told.values()) == {OK}
    nothing_false(found, profile)
    assert found.record is not None
    assert set(found.record.dead_neurons) == set(profile.dead_neurons)
    assert not [e for e in found.record.excluded if e.reason is ExclusionReason.DEAD and e.neuron >= 128]
    fewer = run(FaultyBoard(CHIP, plain(dead_neurons=tuple((*CORE, n) for n in range(129)))))
    assert set(reasons(fewer).values()) == {FailureReason.TOO_FEW_NEURONS}
    assert fewer.record is None


# Noise, drift, time --------------------------------------------------------------------------------------------------


def test_strong_noise_makes_synapses_too_noisy_not_false() -> None:
    profile = plain(noise_a=1e-10)
    found = run(FaultyBoard(CHIP, profile), SYNAPSE)
    told = reasons(found)
    assert {told[q] for q in ("pulse_width_s", "AMPA.tau_s", "AMPA.weight_a")} == {FailureReason.TOO_NOISY}
    nothing_false(found, profile)


@pytest.mark.parametrize(("circuit", "scale"), [("soma", 1.08), ("leak1", 1.1), ("refractory", 1.1)])
def test_a_core_that_drifts_at_the_end_has_nothing_calibrated(circuit: str, scale: float) -> None:
    """Every value had hit before; none need be true now."""
    profile = plain()
    field = "capacitance_scale" if circuit == "soma" else "current_scale"
    now = getattr(profile, field)
    moved = profile.model_copy(update={field: {**now, circuit: now[circuit] * scale}})
    found = run(FaultyBoard(CHIP, profile, changes_at_s=52.0, changed=moved))
    told = reasons(found)
    assert set(told.values()) <= {FailureReason.DRIFT, FailureReason.TOO_NOISY}
    assert told["tau_s"] is told["refractory_s"] is FailureReason.DRIFT


@pytest.mark.parametrize("budget_s", [0.4, 40.0])
def test_no_board_time_is_told_wherever_it_ends(budget_s: float) -> None:
    profile = plain()
    found = run(FaultyBoard(CHIP, profile), budget_s=budget_s)
    assert FailureReason.BUDGET in set(reasons(found).values()) <= {FailureReason.BUDGET, OK}
    assert found.board_s <= budget_s
    nothing_false(found, profile)


# Targets -------------------------------------------------------------------------------------------------------------


def test_targets_out_of_the_range_of_all_boards_touch_nothing() -> None:
    board = FaultyBoard(CHIP, plain())
    before = applied(board)
    with pytest.raises(BcallError, match="no bias code gives this current"):
        calibrate(board, CHIP, cores=(CORE,), targets=soma(tau_s=1.0))
    assert board.read_back() == before
    assert board.runs == 0


def test_targets_out_of_this_boards_range_fail_alone() -> None:
    profile = plain(capacitance_scale={**plain().capacitance_scale, "soma": 0.5})
    found = run(FaultyBoard(CHIP, profile), soma(tau_s=0.2))
    told = reasons(found)
    assert told["tau_s"] is FailureReason.OUT_OF_RANGE
    assert told["refractory_s"] is OK
    assert found.record is not None
    assert not [m for m in found.record.measured if m.ok and m.quantity == "tau_s"]


def test_times_of_the_soma_that_spikes_cannot_show_are_told() -> None:
    profile = plain()
    found = run(FaultyBoard(CHIP, profile), soma(tau_s=1e-4, refractory_s=5e-4))
    told = reasons(found)
    assert told["tau_s"] is told["refractory_s"] is FailureReason.UNOBSERVABLE
    # Every interval holds a refractory period: what is measured through an unknown one is not called calibrated.
    assert told["pulse_width_s"] in (FailureReason.UNOBSERVABLE, FailureReason.TOO_NOISY)
    nothing_false(found, profile)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 9, 16])
def test_a_configuration_that_cannot_be_written_ends_it_with_that_error(at: int, tmp_path: Path) -> None:
    problem = WorkerDied("ended by signal 9", where="board")
    board = FailsToApply(CHIP, plain(), at, problem)
    before = applied(board)
    board.armed = True
    record = tmp_path / "record.json"
    save_calibration(measured(), record)
    kept = record.read_bytes()
    with pytest.raises(type(problem)) as told:
        calibrate(board, CHIP, cores=(CORE,), targets=SOMA, journal=tmp_path / "j.h5")
    assert told.value is problem
    assert board.read_back() == before
    assert record.read_bytes() == kept


def test_a_lost_board_is_the_error_that_is_told_though_nothing_can_be_written_back() -> None:
    problem = BoardLost("unplugged", where="board")
    board = FailsToApply(CHIP, plain(), 7, problem, for_good=True)
    applied(board)
    board.armed = True
    with pytest.raises(BoardLost) as told:
        calibrate(board, CHIP, cores=(CORE,), targets=SOMA)
    assert told.value is problem


@contextmanager
def no_file_above(length: int) -> Iterator[None]:
    """A disk that is full, as seen by a program: a file may not grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_record_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    save_calibration(measured(), path)
    kept = path.read_bytes()
    with no_file_above(100), pytest.raises(FileProblem, match="cannot be written"):
        save_calibration(measured(board="b8"), path)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileProblem):
        save_calibration(measured(), Path("/dev/full"))


def test_a_disk_that_fills_while_the_journal_is_written(tmp_path: Path) -> None:
    board = FaultyBoard(CHIP, plain())
    before = applied(board)
    with no_file_above(5000), pytest.raises(FileProblem):
        calibrate(board, CHIP, cores=(CORE,), targets=SOMA, journal=tmp_path / "j.h5")
    assert board.read_back() == before
    assert list(tmp_path.iterdir()) == []


def test_a_journal_on_a_device_is_refused_before_anything_is_measured() -> None:
    board = FaultyBoard(CHIP, plain())
    applied(board)
    with pytest.raises(FileProblem):
        calibrate(board, CHIP, cores=(CORE,), targets=SOMA, journal=Path("/dev/full"))
    assert board.runs == 0


# Going on ------------------------------------------------------------------------------------------------------------


def test_every_journal_leads_to_the_same_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run killed after any step, and taken up on a board that was opened anew."""
    profile, path, done_at = plain(noise_a=2e-12), tmp_path / "j.h5", list[int]()
    save: Callable[..., None] = journals.Journal.save

    def kept(self: journals.Journal, done: int, turn: int) -> None:
        save(self, done, turn)
        shutil.copy(path, tmp_path / f"after_{done}.h5")
        done_at.append(done)

    def record(journal: Path, resume: bool) -> bytes:
        board = FaultyBoard(CHIP, profile)
        found = calibrate(board, CHIP, cores=(CORE,), targets=SYNAPSE, now=NOW, journal=journal, resume=resume)
        assert found.record is not None
        save_calibration(found.record, tmp_path / "record.json")
        return (tmp_path / "record.json").read_bytes()

    with monkeypatch.context() as patched:
        patched.setattr(journals.Journal, "save", kept)
        whole = record(path, False)
    last = max(done_at)
    for done in (last // 2, last - 2, last - 1, last):
        assert record(tmp_path / f"after_{done}.h5", True) == whole, done


# Records -------------------------------------------------------------------------------------------------------------


def test_records_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    save_calibration(measured(), path)
    with pytest.raises(WrongBoard, match="of another board"):
        check_board(load_calibration(CHIP, path), "b8")
    save_calibration(measured(chip_sha256="0" * 64), path)
    with pytest.raises(ForeignFile, match="another chip model file"):
        load_calibration(CHIP, path)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile):
        load_calibration(CHIP, path)
    path.write_text(json.dumps({**json.loads(whole), "format_version": 99}))
    with pytest.raises(ForeignFile, match="format version"):
        load_calibration(CHIP, path)


def test_a_check_with_a_record_of_something_else_touches_nothing() -> None:
    board = FaultyBoard(CHIP, plain())
    before = applied(board)
    with pytest.raises(WrongBoard):
        check(board, CHIP, measured())
    with pytest.raises(InvalidValue, match="nothing in this record"):
        check(board, CHIP, measured(board=board.board))
    assert board.read_back() == before
    assert board.runs == 0
