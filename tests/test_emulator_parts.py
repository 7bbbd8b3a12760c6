"""Runs in parts: cut anywhere, broken off, restarted in the kernel; boards that are broken off in threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tomlkit
from emulator_helpers import Board, events, random_board, random_stimulus, silence, small_chip, started, target

from bcall_hw.backend.emulator import array_engine, step_numba
from bcall_hw.backend.emulator.boards import run_boards
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.errors import BackendProblem, CorruptFile, InvalidValue

NOISY = BoardProfile(seed=2, mismatch_cv=0.2, noise_a=4e-12)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ChipModel:
    return small_chip(tmp_path_factory.mktemp("chip"))


def _chip(folder: Path, neurons: int, clock_hz: float = 90e6) -> ChipModel:
    """The small chip with other cores, or another clock."""
    small_chip(folder)
    model = tomlkit.parse((folder / "small.toml").read_text(encoding="utf-8"))
    model["geometry"]["neurons"] = neurons  # type: ignore[index]
    model["stimulus"].update({"sources": 4 * neurons, "clock_hz": clock_hz})  # type: ignore[union-attr]
    path = folder / f"n{neurons}-{clock_hz:.0f}.toml"
    path.write_text(tomlkit.dumps(model), encoding="utf-8")
    return load_chip(str(path))


@pytest.mark.parametrize("profile", [BoardProfile(seed=2, mismatch_cv=0.2), NOISY])
@pytest.mark.parametrize("steps", [1, 7, 64])
def test_parts_of_a_run_change_nothing(
    steps: int, profile: BoardProfile, small: ChipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of few steps, with Poisson sources, noise and a probe over their edges; and a kernel that returns at every step."""
    config = random_board(np.random.default_rng(5), (0, 1), (0, 1), small).config()
    stimulus = random_stimulus(np.random.default_rng(6), (0, 1), 30_000, "both", small)
    whole = started(config, profile=profile)
    expected, looks = whole.run_probed(stimulus, 0.03, "AMPA", every_steps=5)
    monkeypatch.setattr(array_engine, "_STEPS_AT_ONCE", steps)
    monkeypatch.setattr(array_engine, "_NOISE_WORDS", steps * 64)
    monkeypatch.setattr(step_numba, "_SPIKES_AT_ONCE", 1)
    parts = started(config, profile=profile)
    found, seen = parts.run_probed(stimulus, 0.03, "AMPA", every_steps=5)
    assert len(expected) > 20
    assert found.sha256 == expected.sha256
    assert np.array_equal(looks, seen)
    assert parts.state_sha256() == whole.state_sha256()


@pytest.mark.parametrize("neurons", [14, 15, 33])
def test_cores_of_any_size_agree(neurons: int, tmp_path: Path) -> None:
    """Noise deals out four numbers a word: sizes that are no multiple of four."""
    chip = _chip(tmp_path, neurons)
    config = random_board(np.random.default_rng(neurons), (0, 2), (0, 1), chip).config()
    stimulus = random_stimulus(np.random.default_rng(1), (0, 2), 10_000, "both", chip)
    boards = [started(config, profile=NOISY, implementation=i) for i in ("numba", "numpy", "reference")]
    assert len({(b.run(stimulus, 0.01).sha256, b.state_sha256()) for b in boards}) == 1


@pytest.mark.parametrize("implementation", ["numba", "numpy"])
def test_a_run_that_is_broken_off_leaves_a_whole_board(
    implementation: str, small: ChipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_engine, "_STEPS_AT_ONCE", 40)
    config = random_board(np.random.default_rng(5), (0,), (0, 1), small).config()
    stimulus = random_stimulus(np.random.default_rng(6), (0,), 20_000, "list", small)
    cut, twin = (started(config, implementation=implementation) for _ in range(2))

    def stop(done: int, total: int) -> None:
        del total
        if done == 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.run(stimulus, 0.02, stop)
    assert cut.save_state()["clock"] == 80
    early = type(stimulus)(small, stimulus.events[stimulus.times_us < 8000], stimulus.isi_base)
    twin.run(early, 0.008)
    assert cut.state_sha256() == twin.state_sha256()
    assert cut.run(silence(small), 0.01).sha256 == twin.run(silence(small), 0.01).sha256


def test_boards_in_threads_end_soon_when_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_engine, "_STEPS_AT_ONCE", 500)
    board = Board()
    board.neurons(None, target(dc_a=4e-10))
    boards = [started(board.config(), profile=BoardProfile(seed=seed)) for seed in range(6)]
    boards[0].run(silence(), 0.001)
    before = threading.active_count()

    def stop(what: str, done: int, total: int) -> None:
        del what, total
        if done == 1:
            raise KeyboardInterrupt

    began = time.monotonic()
    boards[0].run(silence(), 1.0)
    alone_s = time.monotonic() - began
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_boards([boards[0], *boards[1:]], silence(), 10.0, 2, stop)
    assert time.monotonic() - began < 10 * alone_s * 4 + 2  # one board alone takes ten, all six would take thirty or more
    assert threading.active_count() == before
    assert min(b.save_state()["clock"] for b in boards[2:]) < 100_000


def test_one_board_that_fails_does_not_harm_the_others(small: ChipModel) -> None:
    config = random_board(np.random.default_rng(5), (0,), (0, 1), small).config()
    boards = [started(config, profile=BoardProfile(seed=seed)) for seed in range(4)]
    stimuli = [silence(small), random_stimulus(np.random.default_rng(1), (0,), 50_000, "list", small), *[silence(small)] * 2]
    with pytest.raises(Exception, match="after the run"):
        run_boards(boards, stimuli, 0.01, 2)
    assert [b.save_state()["clock"] for b in boards] == [100, 0, 100, 100]
    for wrong in ({"threads": 0}, {"threads": True}):
        with pytest.raises(InvalidValue, match="threads"):
            run_boards(boards, silence(small), 0.01, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="twice"):
        run_boards([boards[0], boards[0]], silence(small), 0.01)
    with pytest.raises(InvalidValue, match="one stimulus for each"):
        run_boards(boards, stimuli[:2], 0.01)


def test_a_clock_that_no_time_step_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="ticks in 10 us"):
        _chip(tmp_path, 16, 1.04e6)


def test_tags_that_no_event_can_have_are_heard_by_nobody(tmp_path: Path) -> None:
    """On a chip whose number of tags is no power of two, registers and stuck bits can name tags beyond the last."""
    chip = _chip(tmp_path, 10)
    board = Board((0,), chip)
    board.neurons(0, target(synapses={"AMPA": (0.01, 1e-10)}))
    board.listen(0, 1, 0, 25, "AMPA")
    board.cam[0, 0, 2, 0] = (3, 255, 3)
    profile = BoardProfile(stuck_tag_bits=((0, 0, 1, 0, 5, 1),))
    boards = [started(board.config(), profile=profile, implementation=i) for i in ("numba", "numpy", "reference")]
    rows = [(1000.0 * k, 0, 3, 4 * k) for k in range(9)]
    stimulus = events(rows, chip)
    assert len({(b.run(stimulus, 0.01).sha256, b.state_sha256()) for b in boards}) == 1


def test_a_state_knows_its_chips_and_its_time_step(small: ChipModel) -> None:
    here, there, fine = (
        started(Board(chips, small).config(), dt_us=dt_us) for chips, dt_us in (((0,), 100), ((1,), 100), ((0,), 10))
    )
    for other in (there, fine):
        with pytest.raises(InvalidValue, match="other chips or of another time step"):
            other.load_state(here.save_state())
    with pytest.raises(InvalidValue, match="damaged"):
        here.load_state({**here.save_state(), "clock": 2**62 + 1})
    here.load_state({**here.save_state(), "clock": 2**62})
    here.run(silence(small), 0.01)


def test_one_board_runs_once_at_a_time(small: ChipModel) -> None:
    board = started(Board((0,), small).config())

    def again(done: int, total: int) -> None:
        del done, total
        board.run(silence(small), 0.001)

    with pytest.raises(BackendProblem, match="running already"):
        board.run(silence(small), 0.01, again)
    board.run(silence(small), 0.01)
