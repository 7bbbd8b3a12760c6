"""Runs that are cut and go on: registers of before, board time that was too short, what a file of before is called."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from calibration_faults import FailsToApply, FaultyBoard

from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.calibrate.estimate import Estimate
from bcall_hw.calibrate.run import calibrate
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import load_chip
from bcall_hw.cli.calibrate import _set_aside
from bcall_hw.errors import BackendProblem, BoardLost
from bcall_hw.failure_reasons import FailureReason
from bcall_hw.network import NeuronParameters

CHIP = load_chip("dynapse1")
CORE = (0, 1)
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
SOMA = Targets(neuron=NeuronParameters(tau_s=0.01, refractory_s=0.003, pulse_width_s=1e-4, gain_a=1e-9))
PROFILE = hidden_board(CHIP, 31, noise_a=0.0, defects=False)


def registers(coarse: int) -> ChipConfig:
    """Quiet cores, told apart by a code that does nothing there."""
    config = ChipConfig.after_opening(CHIP)
    biases = config.biases.copy()
    for index, code in enumerate(CHIP.quiet_codes):
        biases[:, :, index] = code
    biases["fine"][:, :, CHIP.bias_index("AMPA_gain")] = coarse
    return config.with_registers(biases=biases)


def test_a_resumed_run_leaves_what_was_there_before_the_cut_one(tmp_path: Path) -> None:
    """After a kill the board still holds the registers of the bench; those are nobody's wish."""

    def cut(number: int) -> None:
        del number
        if (tmp_path / "j.h5").exists():
            raise KeyboardInterrupt

    first = FaultyBoard(CHIP, PROFILE, before_run=cut)
    first.apply(registers(11))
    options = {"cores": (CORE,), "targets": SOMA, "journal": tmp_path / "j.h5", "now": NOW}
    with pytest.raises(KeyboardInterrupt):
        calibrate(first, CHIP, **options)  # type: ignore[arg-type]
    assert first.read_back() == registers(11)
    second = FaultyBoard(CHIP, PROFILE)
    second.apply(registers(22))
    found = calibrate(second, CHIP, resume=True, **options)  # type: ignore[arg-type]
    assert found.registers == "as before"
    assert second.read_back() == registers(11)


def test_board_time_that_was_too_short_is_given_later(tmp_path: Path) -> None:
    options = {"cores": (CORE,), "targets": SOMA, "now": NOW}
    whole = calibrate(FaultyBoard(CHIP, PROFILE), CHIP, **options)  # type: ignore[arg-type]
    assert whole.ok
    short = calibrate(
        FaultyBoard(CHIP, PROFILE), CHIP, budget_s=0.6 * whole.board_s, journal=tmp_path / "j.h5", **options  # type: ignore[arg-type]
    )  # fmt: skip
    assert short.out_of_budget
    assert {m.reason for m in short.measured} == {FailureReason.BUDGET}
    on = calibrate(FaultyBoard(CHIP, PROFILE), CHIP, journal=tmp_path / "j.h5", resume=True, **options)  # type: ignore[arg-type]
    assert (on.record, on.board_s) == (whole.record, whole.board_s)


def test_a_board_that_was_only_opened_is_left_quiet() -> None:
    board = FaultyBoard(CHIP, PROFILE)
    found = calibrate(board, CHIP, cores=(CORE,), targets=SOMA, budget_s=5.0)
    assert found.registers == "quiet"
    codes = [tuple(int(part) for part in code) for code in board.read_back().biases[0, CORE[1]]]
    assert codes == [tuple(code) for code in CHIP.quiet_codes]


def test_registers_that_cannot_be_written_back_are_told_with_what_ended_the_run() -> None:
    class Board(FailsToApply):
        def run(self, *arguments: object, **named: object):  # type: ignore[no-untyped-def]
            if self.runs == 5:
                self.armed = True
                raise BoardLost("did not answer", where="board")
            return super().run(*arguments, **named)  # type: ignore[arg-type]

    board = Board(CHIP, PROFILE, 1, BackendProblem("refused", where="registers"), for_good=True)
    board.apply(registers(11))
    with pytest.raises(BoardLost, match=r"did not answer.*could not be written back either: registers: refused"):
        calibrate(board, CHIP, cores=(CORE,), targets=SOMA)


def test_an_older_file_is_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "journal.h5").write_text("old")
    _set_aside(tmp_path / "journal.h5", "the journal")
    _set_aside(tmp_path / "journal.h5", "the journal")
    assert (tmp_path / "journal.before.h5").read_text() == "old"
    assert not (tmp_path / "journal.h5").exists()


def test_an_error_that_two_measurements_share_is_not_averaged_away() -> None:
    value = np.full((1, 4), 2.0)
    one = Estimate(value, np.full((1, 4), 0.05), each=0.03)
    both = one.combined(one)
    np.testing.assert_allclose(both.value, 2.0)
    np.testing.assert_allclose(both.error, np.hypot(0.04 / np.sqrt(2.0), 0.03))
    np.testing.assert_allclose(Estimate(value, one.error).combined(Estimate(value, one.error)).error, 0.05 / np.sqrt(2.0))
