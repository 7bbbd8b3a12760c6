"""Boards and runs that go wrong: the right reason, nothing false called ok, registers as before, files intact."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from calibration_faults import FaultyBoard
from calibration_truth import true_values

from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.bias_codes import nearest_code
from bcall_hw.calibrate.run import Outcome, calibrate
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import load_chip
from bcall_hw.errors import BoardLost, CorruptFile, FileProblem, ForeignFile
from bcall_hw.failure_reasons import FailureReason
from bcall_hw.network import NeuronParameters, SynapseParameters

CHIP = load_chip("dynapse1")
CORE = (0, 1)
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
_SOMA = {"tau_s": 0.01, "refractory_s": 0.003, "pulse_width_s": 1e-4, "gain_a": 1e-9}
SOMA = Targets(neuron=NeuronParameters(**_SOMA))  # type: ignore[arg-type]
SYNAPSE = Targets(neuron=NeuronParameters(**_SOMA, synapses={"AMPA": SynapseParameters(tau_s=0.01, weight_a=2e-11)}))  # type: ignore[arg-type]


def plain(seed: int = 17, **more: object) -> BoardProfile:
    return hidden_board(CHIP, seed, noise_a=0.0, cam_mismatch_cv=0.0, defects=False).model_copy(update=more)


def applied(board: FaultyBoard) -> ChipConfig:
    """Registers that were there before."""
    config = ChipConfig.after_opening(CHIP)
    biases = config.biases.copy()
    for index, code in enumerate(CHIP.quiet_codes):
        biases[:, :, index] = code
    config = config.with_registers(biases=biases)
    board.apply(config)
    return config


def run(board: FaultyBoard, targets: Targets = SOMA, **options: object) -> Outcome:
    before = applied(board)
    found = calibrate(board, CHIP, cores=(CORE,), targets=targets, now=NOW, **options)  # type: ignore[arg-type]
    assert board.read_back() == before
    return found


def reasons(outcome: Outcome) -> dict[str, FailureReason]:
    return {m.quantity: m.reason for m in outcome.measured}


def nothing_false(outcome: Outcome, profile: BoardProfile) -> None:
    for m in outcome.measured:
        if m.ok:
            truth = np.nanmedian(true_values(profile, CHIP, CORE, m.quantity, m.codes))
            assert truth == pytest.approx(m.target, rel=0.04), m.quantity


def code(ampere: float) -> tuple[int, int]:
    found, _ = nearest_code(CHIP, ampere, "test")
    return found.coarse, found.fine


@pytest.mark.parametrize("dead", [256, 200])
def test_dead_core_and_core_with_few_neurons(dead: int) -> None:
    profile = plain(dead_neurons=tuple((*CORE, n) for n in range(dead)))
    found = run(FaultyBoard(CHIP, profile))
    wanted = FailureReason.NO_SPIKES if dead == 256 else FailureReason.TOO_FEW_NEURONS
    assert set(reasons(found).values()) == {wanted}
    assert found.record is None


def test_silent_backend() -> None:
    found = run(FaultyBoard(CHIP, plain(), silent=True))
    assert set(reasons(found).values()) == {FailureReason.NO_SPIKES}
    assert found.record is None


def test_a_stuck_time_constant_of_a_synapse_is_never_called_calibrated() -> None:
    """The scan drives neurons through AMPA with time constants of its own: there a stuck one is too much for the core."""
    found = run(FaultyBoard(CHIP, plain(), stuck={"AMPA_tau": code(8e-11)}), SYNAPSE)
    assert reasons(found)["AMPA.tau_s"] is FailureReason.OVERLOAD, reasons(found)


@pytest.mark.parametrize("for_good", [False, True])
def test_a_backend_that_fails_is_told_and_registers_are_written_back(for_good: bool, tmp_path: Path) -> None:
    board = FaultyBoard(CHIP, plain(), fails_at=14, for_good=for_good)
    before = applied(board)
    record = tmp_path / "record.json"
    record.write_text("an older record")
    with pytest.raises(BoardLost, match="did not answer"):
        calibrate(board, CHIP, cores=(CORE,), targets=SOMA, journal=tmp_path / "j.h5")
    if not for_good:
        assert board.read_back() == before
    assert record.read_text() == "an older record"


def test_interruption_leaves_registers_as_they_were(tmp_path: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 15:
            raise KeyboardInterrupt

    board = FaultyBoard(CHIP, plain(), before_run=interrupt)
    before = applied(board)
    with pytest.raises(KeyboardInterrupt):
        calibrate(board, CHIP, cores=(CORE,), targets=SOMA, journal=tmp_path / "j.h5")
    assert board.read_back() == before


def test_drift_in_mid_run_is_called_drift() -> None:
    profile = plain()
    moved = profile.model_copy(
        update={"current_scale": {**profile.current_scale, "leak1": 1.15, "dc": profile.current_scale["dc"] * 1.1}}
    )
    found = run(FaultyBoard(CHIP, profile, changes_at_s=18.0, changed=moved))
    told = reasons(found)
    assert FailureReason.DRIFT in told.values(), told
    assert told["tau_s"] is not FailureReason.NONE


def test_half_of_the_cam_dead_does_not_change_the_weights() -> None:
    dead = tuple((*CORE, n, e) for n in range(256) for e in range(64) if (n * 7 + e * 13) % 29 < 14)
    profile = plain(dead_cam=dead)
    found = run(FaultyBoard(CHIP, profile), SYNAPSE)
    told = reasons(found)
    assert told.pop("pulse_width_s") in (FailureReason.NONE, FailureReason.TOO_NOISY)
    assert set(told.values()) == {FailureReason.NONE}, told
    nothing_false(found, profile)
    assert found.record is not None
    assert set(found.record.dead_cam) == set(dead)


def test_a_core_that_fires_without_end_is_silenced() -> None:
    """Its refractory bias is stuck at the shortest period, its constant current at a large one."""
    board = FaultyBoard(CHIP, plain(), stuck={"refractory": code(6e-10), "dc": code(5e-9)})
    found = run(board)
    assert set(reasons(found).values()) <= {FailureReason.OVERLOAD, FailureReason.NO_SPIKES, FailureReason.TOO_FEW_NEURONS}
    assert found.board_s < 10


def test_times_that_spikes_cannot_show_are_told() -> None:
    targets = Targets(
        neuron=SYNAPSE.neuron.model_copy(update={"synapses": {"AMPA": SynapseParameters(tau_s=3e-4, weight_a=1e-9)}})
    )
    told = reasons(run(FaultyBoard(CHIP, plain()), targets))
    assert told["AMPA.tau_s"] is FailureReason.UNOBSERVABLE
    assert told["AMPA.weight_a"] is FailureReason.UNOBSERVABLE
    assert told["tau_s"] is FailureReason.NONE


_KILLED = """
import sys
from datetime import datetime, timezone
from pathlib import Path
sys.path.insert(0, {tests!r})
from calibration_faults import FaultyBoard
from test_calibrate_faults import CHIP, CORE, NOW, SOMA, plain
from bcall_hw.calibrate.run import calibrate
from bcall_hw.calibration import save_calibration
import os, signal

folder = Path({folder!r})
since = []

def kill(number):
    # in the third run after the first step that was finished
    if {kills} and (folder / "journal.h5").exists():
        since.append(number)
        if len(since) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

board = FaultyBoard(CHIP, plain(noise_a=2e-12), before_run=kill)
found = calibrate(board, CHIP, cores=(CORE,), targets=SOMA, now=NOW, journal=folder / "journal.h5", resume={resume})
save_calibration(found.record, folder / "record.json")
"""


def test_killed_and_resumed_gives_the_same_record(tmp_path: Path) -> None:
    def start(folder: Path, kills: bool, resume: bool) -> int:
        folder.mkdir(exist_ok=True)
        tests = str(Path(__file__).parent)
        text = _KILLED.format(tests=tests, kills=kills, folder=str(folder), resume=resume)
        environment = os.environ | {"PYTHONPATH": f"{tests}:{Path(__file__).parents[1]}"}
        return subprocess.run([sys.executable, "-c", text], env=environment, check=False).returncode

    assert start(tmp_path / "whole", False, False) == 0
    assert start(tmp_path / "killed", True, False) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "record.json").exists()
    assert start(tmp_path / "killed", False, True) == 0
    assert (tmp_path / "killed" / "record.json").read_bytes() == (tmp_path / "whole" / "record.json").read_bytes()


def test_journal_of_another_calibration_is_refused(tmp_path: Path) -> None:
    def stop(number: int) -> None:
        del number
        if (tmp_path / "j.h5").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(FaultyBoard(CHIP, plain(), before_run=stop), CHIP, cores=(CORE,), targets=SOMA, journal=tmp_path / "j.h5")
    with pytest.raises(ForeignFile, match="another calibration"):
        calibrate(FaultyBoard(CHIP, plain(18)), CHIP, cores=(CORE,), targets=SOMA, journal=tmp_path / "j.h5", resume=True)
    (tmp_path / "j.h5").write_bytes((tmp_path / "j.h5").read_bytes()[:-100])
    with pytest.raises(CorruptFile):
        calibrate(FaultyBoard(CHIP, plain()), CHIP, cores=(CORE,), targets=SOMA, journal=tmp_path / "j.h5", resume=True)


def test_a_journal_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    board = FaultyBoard(CHIP, plain())
    applied(board)
    with pytest.raises(FileProblem):
        calibrate(board, CHIP, cores=(CORE,), targets=SOMA, journal=tmp_path / "file" / "j.h5")
    assert board.runs == 0
