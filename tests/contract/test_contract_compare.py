"""The emulator against the real samna on the virtual board: a verdict, and replays on either side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from session_helpers import mapped_pair, recorded, stimulus

from bcall_hw.backend import open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.recorder import Recorder
from bcall_hw.compare.live import Protocol, record_live
from bcall_hw.compare.result import Verdict
from bcall_hw.compare.run import compare
from bcall_hw.experiments.dataset import load_dataset
from bcall_hw.experiments.presets import settings_for
from bcall_hw.experiments.training import ClassifierRun, map_classifier
from bcall_hw.record import made_by, steps_of
from bcall_hw.recording.session import Session
from bcall_hw.recording.writer import SessionWriter

pytestmark = [pytest.mark.samna, pytest.mark.usefixtures("virtual_board")]


def test_emulator_and_virtual_board_are_equivalent(tmp_path: Path) -> None:
    emulated = recorded(tmp_path / "emulated.h5")
    protocol = Protocol(steps_of(emulated), emulated.populations, profile=emulated.made.profile)
    by_samna = record_live("samna:virtual", tmp_path / "samna.h5", protocol)
    assert by_samna.made.backend.startswith("samna/0.7.1.0")
    assert "virtual" in by_samna.made.backend
    found, _ = compare(("emulator", emulated), ("samna:virtual", by_samna))
    assert found.verdict is Verdict.EQUIVALENT
    assert found.bit_identical
    assert all(q.distance == 0.0 for q in found.quantities)
    assert all(control.passed for control in found.controls), found.controls
    assert by_samna.runs[1].recording.noted["dropped"] == 0


def test_another_virtual_board_is_different(tmp_path: Path) -> None:
    """Its spikes come through samna too: the verdict is about the boards, not about the way."""
    emulated = recorded(tmp_path / "emulated.h5")
    profile = BoardProfile(**(emulated.made.profile or {})).model_copy(update={"seed": 11})
    protocol = Protocol(steps_of(emulated), emulated.populations, profile=profile.model_dump(mode="json"))
    other = record_live("samna:virtual", tmp_path / "samna.h5", protocol)
    found, _ = compare(("emulator", emulated), ("samna:virtual", other), controls=False)
    assert found.verdict is Verdict.DIFFERENT


def test_a_session_of_samna_answers_without_it(tmp_path: Path) -> None:
    """Learning through samna, recorded; then replayed: the same weights, with no samna in the process."""
    settings = settings_for("error-triggered").model_copy(update={"neurons_per_class": 4, "epochs": 1})
    dataset = load_dataset("digits").first(12)
    board = open_backend("samna:virtual", profile=BoardProfile(seed=2, mismatch_cv=0.2))
    mapped = map_classifier(settings, dataset, mapped_pair().config.chip, 0)
    with SessionWriter(tmp_path / "s.h5", made_by(board, "learn"), mapped.config.chip, mapped.addresses) as writer:
        run = ClassifierRun(settings, dataset, 0, Recorder(board, writer), mapped)
        run.train()
        writer.learned("learned", run.learned())
    board.close()
    again = ClassifierRun(settings, dataset, 0, open_backend(f"replay:{tmp_path / 's.h5'}"), mapped)
    again.train()
    assert again.loop.flips == run.loop.flips > 0
    assert again.loop.config.cam_sha256 == run.loop.config.cam_sha256
    assert again.loop.spikes_sha256 == run.loop.spikes_sha256
    assert np.array_equal(again.engine.hidden_weights(), run.engine.hidden_weights())
    assert np.array_equal(Session.load(tmp_path / "s.h5").learned["learned"].hidden, run.engine.hidden_weights())


def test_spikes_of_a_board_are_written_while_it_runs(tmp_path: Path) -> None:
    """Some times in a second; together they are the recording, and the session notes what the link did."""
    mapped, parts = mapped_pair(), []
    board = open_backend("samna:virtual", profile=BoardProfile(seed=2))
    with SessionWriter(tmp_path / "s.h5", made_by(board), mapped.config.chip) as writer:
        recorder = Recorder(board, writer)
        recorder.apply(mapped.config)
        whole = recorder.run(stimulus(), 2.25, sink=lambda spikes, reached_us: parts.append((len(spikes), reached_us)))
    board.close()
    assert len(parts) > 5
    assert sum(count for count, _ in parts) == len(whole)
    reached = [reached_us for _, reached_us in parts]
    assert reached == sorted(reached)
    assert max(np.diff(reached)) < 600_000
    assert reached[-1] == 2_250_000
    session = Session.load(tmp_path / "s.h5")
    assert session.runs[0].recording.sha256 == whole.sha256
    assert session.runs[0].recording.noted == {"dropped": 0, "wraps": 0, "before": 0, "after": 0, "bounced": 0}
