"""The scalar reference by itself: its own hashes, its own refusals, beside those of the fast path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator_helpers import (
    CHIP,
    Board,
    log_uniform,
    random_biases,
    random_board,
    random_stimulus,
    silence,
    small_chip,
    started,
)

from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.emulator.reference import ReferenceBoard
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.errors import BackendProblem, BcallError, EmulatorOverflow

SPECIFICATION = Path(__file__).parents[1] / "docs" / "emulator_specification.md"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ChipModel:
    return small_chip(tmp_path_factory.mktemp("chip"))


def test_its_own_hash_of_the_state_is_the_emulators(small: ChipModel) -> None:
    """Spikes are on their way at the end, some of them equal."""
    config = random_board(np.random.default_rng(3), (0, 3), (0, 1), small).config()
    stimulus = random_stimulus(np.random.default_rng(3), (0, 3), 40_000, "both", small)
    reference = ReferenceBoard(small, (0, 3), BoardProfile(seed=3, mismatch_cv=0.2), 100, False)
    reference.apply(config)
    emulator = started(config, profile=BoardProfile(seed=3, mismatch_cv=0.2))
    on_their_way = 0
    for _ in range(3):
        reference.run(stimulus, 400)
        emulator.run(stimulus, 0.04)
        assert reference.state_sha256() == emulator.state_sha256()
        on_their_way += len(reference.pending)
    assert on_their_way > 0


def test_its_hash_of_the_tables_is_that_of_the_specification() -> None:
    board = Board((0,))
    board.biases["coarse"], board.biases["fine"], board.biases["high"] = 4, 80, 1
    reference = ReferenceBoard(CHIP, (0,), BoardProfile(), 10, False)
    reference.apply(board.config())
    assert f"it is `{reference.tables_sha256(3)}`" in SPECIFICATION.read_text(encoding="utf-8").replace("\n", " ")


def _outcome(board: Any, config: ChipConfig) -> str:
    try:
        board.apply(config)
    except BcallError as problem:
        return type(problem).__name__
    return "accepted"


@pytest.mark.parametrize("finite", [False, True])
def test_what_it_refuses_the_fast_path_refuses_and_nothing_else(finite: bool, small: ChipModel) -> None:
    """Random biases far outside what a network would ask for, on boards with defects and mismatch."""
    rng, seen = np.random.default_rng(7 + finite), {}
    for trial in range(150):
        board = Board((0,), small)
        for core in range(2):
            random_biases(board, rng, 0, core)
            for role in rng.choice([b.role for b in small.biases if b.circuit != "monitor"], 3, replace=False).tolist():
                if rng.random() < 0.1:
                    board.code(core, role, BiasCode(coarse=0, fine=0))
                else:
                    board.current(core, role, log_uniform(rng, 1e-12, 2e-5))
        dt_us = int(rng.choice([10, 100, 1000]))
        if finite and rng.random() < 0.7:  # wide enough for whole steps
            board.current(None, "pulse_width", 3.5e-13 / (40e-6 * dt_us))
        if rng.random() < 0.05:
            board.biases["high"][0, 1, int(rng.integers(0, len(small.biases)))] = 0
        profile = BoardProfile(
            seed=trial, mismatch_cv=float(rng.choice([0.0, 0.3])), cam_mismatch_cv=float(rng.choice([0.0, 0.3])),
            dead_neurons=((0, 0, 3), (0, 1, 9)),
        )  # fmt: skip
        config = board.config()
        emulator = Emulator(small, profile=profile, dt_us=dt_us, pulses="finite" if finite else "ideal")
        fast = _outcome(emulator, config)
        found = _outcome(ReferenceBoard(small, (0,), profile, dt_us, finite), config)
        # Registers may break several rules, and each may name another one first.
        assert (found == "accepted") == (fast == "accepted"), (trial, found, fast)
        seen[fast] = seen.get(fast, 0) + 1
    assert min(seen.get(name, 0) for name in ("accepted", "BackendProblem", "EmulatorOverflow")) >= 10, seen


@pytest.mark.parametrize("implementation", ["numba", "numpy", "reference"])
@pytest.mark.parametrize("row", range(5))
def test_states_whose_currents_could_add_up_too_far_are_refused(row: int, implementation: str, small: ChipModel) -> None:
    """Each of AMPA, NMDA, GABA_A and AHP at the limit of its sum and one above; GABA_B is in no sum."""
    config = Board((0,), small).config()
    emulator = started(config, implementation=implementation)
    rows = np.zeros((2, words.STATE_ROWS, 16), dtype=np.int64)
    reference = ReferenceBoard(small, (0,), BoardProfile(), 100, False)
    reference.apply(config)
    neuron = reference._cores[1].neurons[5]
    full = neuron.full
    base = {0: neuron.dc + full[1], 1: neuron.dc + full[0], 2: neuron.leak + full[4], 4: neuron.leak + full[2]}
    top = words.SUM_MAX - base[row] if row in base else words.INT32_MAX
    rows[1, words.I_SYN + row, 5] = top
    emulator.load_state({**emulator.save_state(), "rows": rows, "pending": [], "clock": 0})
    emulator.run(silence(small), 0.001)
    before = emulator.state_sha256()
    if row in base:
        rows[1, words.I_SYN + row, 5] += 1
        with pytest.raises(EmulatorOverflow, match="chip 0 core 1 neuron 5"):
            emulator.load_state({**emulator.save_state(), "rows": rows, "pending": [], "clock": 0})
        assert emulator.state_sha256() == before


def test_a_word_that_leaves_its_range_raises(small: ChipModel) -> None:
    reference = ReferenceBoard(small, (0,), BoardProfile(), 100, False)
    reference.apply(Board((0,), small).config())
    for row, value in ((words.I_SYN + 3, 2**31 + 2**24), (words.I_AHP, -5), (words.PULSE, 2**32)):
        state = reference.rows[1][row][4]
        reference.rows[1][row][4] = value
        with pytest.raises((EmulatorOverflow, BackendProblem)):
            reference.run(silence(small), 1)
        reference.rows[1][row][4] = state
