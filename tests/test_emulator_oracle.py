"""The compiled kernel against the numpy oracle: the same spikes and the same state words, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from emulator_helpers import (
    ACTIVE,
    CHIP,
    NEURONS,
    Board,
    random_biases,
    random_board,
    random_cam,
    random_sram,
    random_stimulus,
    silence,
    started,
    target,
)  # fmt: skip

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile

CHIP_SETS = ((0,), (0, 1), (2,), (0, 1, 2, 3))
STEPS_US = (100, 200, 1000)
KINDS = ("list", "poisson", "both")
N_CONFIGS = 27

_spikes_seen: dict[int, int] = {}


def _pair(board: Board, profile: BoardProfile, dt_us: int) -> list[Emulator]:
    return [started(board.config(), profile=profile, implementation=i, dt_us=dt_us) for i in ("numpy", "numba")]


@pytest.mark.parametrize("seed", range(N_CONFIGS))
def test_kernel_equals_oracle_on_random_networks(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    chips, dt_us, kind = CHIP_SETS[seed % 4], STEPS_US[seed % 3], KINDS[(seed // 3) % 3]
    cores = sorted(rng.permutation(4)[: rng.integers(1, 4)].tolist())
    profile = BoardProfile(seed=seed, mismatch_cv=0.2 if seed % 2 else 0.0)
    board = random_board(rng, chips, cores)
    oracle, kernel = _pair(board, profile, dt_us)
    spikes = 0
    for run in range(4):
        n_steps = int(rng.integers(30, 120))
        duration_us = n_steps * dt_us
        stimulus = silence() if run == 2 else random_stimulus(rng, chips, duration_us, kind)
        expected, found = (e.run(stimulus, duration_us * 1e-6) for e in (oracle, kernel))
        assert found.sha256 == expected.sha256
        assert kernel.state_sha256() == oracle.state_sha256()
        spikes += len(expected)
        chip = int(rng.choice(chips))
        change = (random_cam, random_biases, random_sram, random_cam)[run]
        change(board, rng, chip, cores[0])
        if run == 3:
            board.tau2[0] = ~board.tau2[0]
        written = [e.apply(board.config()) for e in (oracle, kernel)]
        assert written[0] == written[1] > 0
        assert kernel.state_sha256() == oracle.state_sha256()
    _spikes_seen[seed] = spikes


def test_random_networks_were_active() -> None:
    if len(_spikes_seen) < N_CONFIGS:
        pytest.skip("needs all configurations of this file in one process")
    silent = [seed for seed, spikes in _spikes_seen.items() if spikes < 200]
    assert not silent


def _chain(chips: tuple[int, ...]) -> Board:
    """Every neuron driven to fire at its highest rate, each with destinations: many events in every step."""
    board = Board(chips)
    board.neurons(None, target(tau_s=0.02, refractory_s=1e-3, gain_a=1e-8, dc_a=4e-9), chip=None)
    rng = np.random.default_rng(5)
    shape = board.sram.shape
    board.sram["virtual_core"] = rng.integers(0, 4, shape)
    board.sram["core_mask"] = rng.integers(0, 16, shape) * (rng.random(shape) < 0.1)
    return board


def test_more_spikes_than_the_kernel_returns_at_once() -> None:
    board = _chain((0,))
    oracle, kernel = _pair(board, BoardProfile(seed=3, mismatch_cv=0.2), 1000)
    expected, found = (e.run(silence(), 0.2) for e in (oracle, kernel))
    assert len(expected) > 65536 + CHIP.geometry.cores * NEURONS
    assert found.sha256 == expected.sha256
    assert kernel.state_sha256() == oracle.state_sha256()


def test_spikes_on_their_way_survive_a_change_of_all_destinations() -> None:
    """Events of the last step of a run outnumber what the new destinations could produce."""
    board = _chain((0, 1))
    board.sram["core_mask"] = 15
    pair = _pair(board, BoardProfile(seed=4), 1000)
    while len(pair[0].save_state()["pending"]) < 1000:
        expected, found = (e.run(silence(), 0.001) for e in pair)
        assert found.sha256 == expected.sha256
    board.sram["core_mask"] = 0
    board.listen(1, slice(None), slice(0, 8), 257, "AMPA", chip=1)
    for emulator in pair:
        emulator.apply(board.config())
    expected, found = (e.run(silence(), 0.01) for e in pair)
    assert found.sha256 == expected.sha256
    assert pair[0].state_sha256() == pair[1].state_sha256()


def test_state_moves_between_implementations() -> None:
    rng = np.random.default_rng(77)
    board = random_board(rng, (0, 1), (0, 1))
    oracle, kernel = _pair(board, BoardProfile(seed=8, mismatch_cv=0.2), 100)
    first, second = (random_stimulus(rng, (0, 1), 5000, "both") for _ in range(2))
    kernel.run(first, 0.005)
    oracle.load_state(kernel.save_state())
    assert oracle.state_sha256() == kernel.state_sha256()
    expected, found = (e.run(second, 0.005) for e in (oracle, kernel))
    assert len(expected) > 0
    assert found.sha256 == expected.sha256
    assert oracle.state_sha256() == kernel.state_sha256()


def test_active_neurons_cover_all_types_and_the_reserved_tag() -> None:
    """The random configurations contain what they claim to contain."""
    board = random_board(np.random.default_rng(0), (0, 1), (0, 2))
    used = board.cam[:, [0, 2], :ACTIVE]
    assert set(np.unique(used["type"])) == {0, 1, 2, 3}
    assert np.any((board.cam["source_core"] == 0) & (board.cam["source_neuron"] == 0))
    assert np.any(board.sram["dx"] > 1)
    assert np.any(board.sram["sx"] == 1)
    assert board.tau2.any()
