"""A recorded session in the place of a board: the same answers to the same questions, and refusals by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Run, only_json
from emulator_helpers import CHIP
from session_helpers import mapped_pair, recorded, spikes_of, stimulus

from bcall_hw.backend import open_backend
from bcall_hw.backend.recorder import Recorder
from bcall_hw.backend.replay import Replay
from bcall_hw.deploy import deploy
from bcall_hw.errors import BackendProblem, CorruptFile, FileProblem, InvalidValue, NotRecorded
from bcall_hw.recording import SpikeRecording
from bcall_hw.recording.made import Made
from bcall_hw.recording.session import Session
from bcall_hw.recording.writer import SessionWriter
from bcall_hw.stimulus import Stimulus


@pytest.fixture(scope="module")
def session_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "s.h5"
    recorded(path, count=3)
    return path


def test_what_was_recorded_is_answered(session_file: Path, tmp_path: Path) -> None:
    session, board = Session.load(session_file), open_backend(f"replay:{session_file}")
    assert board.name == "replay/emulator/numba"
    assert board.board == session.made.board
    assert deploy(mapped_pair().config, board)["read_back_equal"]
    with SessionWriter(tmp_path / "again.h5", Made.now(board.name), CHIP) as writer:
        recorder = Recorder(board, writer)
        recorder.apply(mapped_pair().config)  # stands already: no step
        for run in session.runs:
            found = recorder.run(session.stimuli[run.stimulus], run.recording.duration_us * 1e-6)
            assert found.sha256 == run.recording.sha256
            assert found.backend == board.name
    assert [run.recording.sha256 for run in Session.load(tmp_path / "again.h5").runs] == [
        run.recording.sha256 for run in session.runs
    ]
    with pytest.raises(NotRecorded, match="the session has ended"):
        board.run(stimulus(), 0.3)


def test_what_was_not_recorded_is_refused_by_name(session_file: Path) -> None:
    board, mapped = Replay(session_file), mapped_pair()
    rest, played = Stimulus(CHIP), stimulus()
    with pytest.raises(BackendProblem, match="no configuration"):
        board.run(played, 0.3)
    cam = mapped.config.cam.copy()
    cam["type"][0, 1, 2, 3] ^= 1
    with pytest.raises(NotRecorded, match=r"step 0: other registers.*1 words differ, the first: cam word 0x"):
        board.apply(mapped.config.with_registers(cam=cam))
    assert board.apply(mapped.config) > 0
    assert board.apply(mapped.config) == 0
    with pytest.raises(NotRecorded, match=r"step 1: something else was recorded.*got registers, limit a run"):
        board.apply(mapped.config.with_registers(cam=cam))
    with pytest.raises(NotRecorded, match=r"another length.*got 300000, limit 50000"):
        board.run(rest, 0.3)
    with pytest.raises(NotRecorded, match=r"another stimulus.*12 Poisson sources.*limit 0 events"):
        board.run(played, 0.05)
    board.run(rest, 0.05)
    saved = board.save_state()
    with pytest.raises(NotRecorded, match="another stimulus"):
        board.run(stimulus(61.0), 0.3)
    first = board.run(played, 0.3)
    board.load_state(saved)
    assert board.run(played, 0.3).sha256 == first.sha256
    with pytest.raises(InvalidValue, match="no such point"):
        board.load_state({"position": np.int64(99)})


def test_a_run_whose_stimulus_is_not_known_is_not_answered(tmp_path: Path) -> None:
    mapped, played = mapped_pair(), stimulus()
    with SessionWriter(tmp_path / "s.h5", Made.now("test"), CHIP) as writer:
        writer.applied(mapped.config, 1)
        writer.add(spikes_of([], 1000), played)
        writer.add(spikes_of([], 1000))
    board = Replay(tmp_path / "s.h5")
    board.apply(mapped.config)
    board.run(played, 0.001)
    with pytest.raises(NotRecorded, match="what was played here was not recorded"):
        board.run(played, 0.001)


def test_files_that_cannot_be_replayed(tmp_path: Path, session_file: Path) -> None:
    spikes = SpikeRecording(np.zeros(0, dtype=Session.load(session_file).runs[0].recording.spikes.dtype), 5, "x", None)
    spikes.save(tmp_path / "bare.h5")
    with pytest.raises(InvalidValue, match="nothing to replay"):
        open_backend(f"replay:{tmp_path / 'bare.h5'}")
    with pytest.raises(FileProblem, match="no such file"):
        open_backend(f"replay:{tmp_path / 'none.h5'}")
    (tmp_path / "cut.h5").write_bytes(session_file.read_bytes()[:-9])
    with pytest.raises(CorruptFile):
        open_backend(f"replay:{tmp_path / 'cut.h5'}")


def test_replayed_learning_ends_with_the_same_weights(run: Run, tmp_path: Path) -> None:
    """The words of the last configuration, the hidden weights and the hash of all spikes, exactly."""
    options = ["--images", "20", "--neurons-per-class", "5", "--epochs", "1", "--seed", "4", "--json"]
    first = only_json(run("learn", *options, "--out", "first", "--record", "session.h5"))
    again = only_json(run("learn", *options, "--out", "again", "--backend", "replay:session.h5", "--record", "again.h5"))
    assert again["backend"] == "replay/emulator/numba"
    for name in ("cam_sha256", "config_sha256", "spikes_sha256", "weight_flips", "words_written", "accuracy"):
        assert again[name] == first[name], name
    one, two = (Session.load(tmp_path / name) for name in ("session.h5", "again.h5"))
    assert first["weight_flips"] > 0
    assert one.config(len(one.applied) - 1).cam_sha256 == first["cam_sha256"]
    assert np.array_equal(one.learned["learned"].hidden, two.learned["learned"].hidden)
    assert np.array_equal(one.learned["learned"].efficacy, two.learned["learned"].efficacy)
    compared = only_json(run("compare", "session.h5", "again.h5", "--json"))
    assert compared["verdict"] == "equivalent"
    assert compared["learned"][0]["efficacies_that_differ"] == 0
    assert compared["learned"][0]["hidden_max"] == 0
    other = run("learn", *options[:-3], "--seed", "5", "--out", "other", "--backend", "replay:session.h5")
    assert other.returncode == 2
    assert "NotRecorded" in other.stderr
