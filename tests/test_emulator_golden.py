"""The golden vectors, made by the scalar reference, and all implementations against them and against one another."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator_helpers import Board, random_board, random_stimulus, silence, small_chip, started, target
from golden_cases import CASES

from bcall_hw.backend.emulator.boards import run_boards
from bcall_hw.backend.emulator.decode import decode
from bcall_hw.backend.emulator.emulator import IMPLEMENTATIONS, Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_model import ChipModel, load_chip

GOLDEN = json.loads((Path(__file__).parent / "golden" / "emulator_v1.json").read_text(encoding="utf-8"))
N_RANDOM = 200


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ChipModel:
    return small_chip(tmp_path_factory.mktemp("chip"))


def test_every_case_has_its_vector() -> None:
    assert set(GOLDEN["vectors"]) == set(CASES)
    assert len(CASES) >= 20
    ends = [vector["state_sha256"][-1] for vector in GOLDEN["vectors"].values()]
    assert len(set(ends)) == len(ends)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", CASES)
def test_golden_vector(name: str, implementation: str, small: ChipModel) -> None:
    expected, case = GOLDEN["vectors"][name], CASES[name](small)
    assert case.config_sha256 == expected["config_sha256"], f"{name}: the registers are not those of the vector"
    found = case.play(implementation)
    for what in ("spikes", "spikes_sha256", "state_sha256"):
        assert found[what] == expected[what], f"feature broken in {implementation}: {case.feature} ({name}, {what})"


def _random_profile(rng: np.random.Generator, chips: tuple[int, ...], seed: int) -> BoardProfile:
    def place(*tops: int) -> tuple[int, ...]:
        return (int(rng.choice(chips)), *(int(rng.integers(0, top)) for top in tops))

    bits = {place(2, 16, 8, 6) for _ in range(rng.integers(0, 6))}
    return BoardProfile(
        seed=seed,
        mismatch_cv=float(rng.choice([0.0, 0.1, 0.2])),
        cam_mismatch_cv=float(rng.choice([0.0, 0.2])),
        noise_a=float(rng.choice([0.0, 3e-12])),
        dead_neurons=tuple(place(2, 16) for _ in range(rng.integers(0, 3))),  # type: ignore[arg-type]
        dead_cam=tuple(place(2, 16, 8) for _ in range(rng.integers(0, 6))),  # type: ignore[arg-type]
        stuck_tag_bits=tuple((*at, int(rng.integers(0, 2))) for at in bits),  # type: ignore[misc]
    )


def _random_boards(small: ChipModel, seed: int) -> tuple[list[Emulator], Board, tuple[int, ...], np.random.Generator]:
    """The same random network on the same random board in every implementation."""
    rng = np.random.default_rng(seed)
    chips = ((0,), (3,), (0, 1), (1, 2))[seed % 4]
    finite = seed % 5 == 0
    dt_us = int(rng.choice([100, 200, 500]) if finite else rng.choice([10, 100, 200, 1000]))
    board = random_board(rng, chips, (0, 1), small)
    if finite:
        board.current(None, "pulse_width", 3.5e-13 / (30e-6 * dt_us), None)
    options: dict[str, Any] = {"profile": _random_profile(rng, chips, seed), "dt_us": dt_us}
    options["pulses"] = "finite" if finite else "ideal"
    return [started(board.config(), implementation=i, **options) for i in IMPLEMENTATIONS], board, chips, rng


@pytest.mark.parametrize("seed", range(N_RANDOM))
def test_implementations_agree_on_random_configurations(seed: int, small: ChipModel) -> None:
    boards, board, chips, rng = _random_boards(small, seed)
    for kind in ("list", "both"):
        steps = int(rng.integers(10, 60))
        duration_us = steps * boards[0].dt_us
        stimulus = random_stimulus(rng, chips, duration_us, kind, small)
        found = {(b.run(stimulus, duration_us * 1e-6).sha256, b.state_sha256()) for b in boards}
        assert len(found) == 1
        board.tau2[...] = rng.random(board.tau2.shape) < 0.5
        for running in boards:
            running.apply(board.config())
    boards[2].load_state(boards[0].save_state())
    found = {(b.run(silence(small), 0.01).sha256, b.state_sha256()) for b in boards}
    assert len(found) == 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_boards_in_threads_give_what_they_give_alone(threads: int, small: ChipModel) -> None:
    config = random_board(np.random.default_rng(8), (0, 3), (0, 1), small).config()
    stimulus = random_stimulus(np.random.default_rng(9), (0, 3), 50_000, "both", small)
    profiles = [BoardProfile(seed=seed, mismatch_cv=0.2, noise_a=2e-12) for seed in range(6)]
    alone = [started(config, profile=profile) for profile in profiles]
    expected = [(b.run(stimulus, 0.05).sha256, b.state_sha256()) for b in alone]
    together = [started(config, profile=profile) for profile in profiles]
    seen: list[tuple[str, int, int]] = []
    found = run_boards(together, stimulus, 0.05, threads, lambda *done: seen.append(done))
    assert [(r.sha256, b.state_sha256()) for r, b in zip(found, together, strict=True)] == expected
    assert len({sha for sha, _ in expected}) == len(expected)
    assert seen == [("boards", k + 1, 6) for k in range(6)]


def _shuffled(emulator: Emulator, rng: np.random.Generator) -> None:
    """Put each list of listeners and of destinations into another order."""
    machine = emulator._engine.machine  # type: ignore[attr-defined]
    lists, routes = machine.listeners, machine.destinations
    for core, start in enumerate(lists.start):
        for low, high in itertools.pairwise(start):
            order = low + rng.permutation(high - low)
            lists.cells[core, low:high] = lists.cells[core, order]
            machine.entries[core, low:high] = machine.entries[core, order]
    for low, high in zip(routes.start[:-1], routes.start[1:], strict=True):
        routes.events[low:high] = routes.events[low + rng.permutation(high - low)]


@pytest.mark.parametrize("implementation", ["numpy", "numba"])
@pytest.mark.parametrize("pulses", ["ideal", "finite"])
def test_order_of_the_lists_changes_nothing(implementation: str, pulses: str, small: ChipModel) -> None:
    board = random_board(np.random.default_rng(4), (0, 1), (0, 1), small)
    if pulses == "finite":
        board.current(None, "pulse_width", 1e-10, None)
    profile = BoardProfile(seed=1, mismatch_cv=0.2, cam_mismatch_cv=0.2)
    plain, shuffled = (started(board.config(), profile=profile, implementation=implementation, pulses=pulses) for _ in range(2))
    _shuffled(shuffled, np.random.default_rng(0))
    stimulus = random_stimulus(np.random.default_rng(2), (0, 1), 30_000, "both", small)
    assert len(plain.run(stimulus, 0.03)) > 0
    shuffled.run(stimulus, 0.03)
    assert plain.state_sha256() == shuffled.state_sha256()


@pytest.mark.parametrize("pulses", ["ideal", "finite"])
@pytest.mark.parametrize("power", range(32))
def test_words_around_powers_of_two(power: int, pulses: str, small: ChipModel) -> None:
    """State words at 2^k - 1, 2^k, 2^k + 1, as far as each word goes, with the largest full scales and jumps that fit."""
    board = Board((0,), small)
    synapses = dict.fromkeys(("AMPA", "NMDA", "GABA_A", "GABA_B"), (0.01, 2e-09))
    for core in range(2):
        board.neurons(core, target(dc_a=1e-10, pulse_width_s=5e-3, synapses=synapses, adaptation=(0.1, 1e-9)))
    board.current(1, "nmda_gate", 1e-10)
    for core in range(2):
        for neuron in range(16):
            for entry in range(8):
                board.listen(core, neuron, entry, 33, ("AMPA", "NMDA", "GABA_A", "GABA_B")[entry % 4])
    boards = [started(board.config(), implementation=i, pulses=pulses) for i in IMPLEMENTATIONS]
    stimulus = random_stimulus(np.random.default_rng(power), (0,), 500, "list", small)
    tops = np.array([2**24 - 1, 2**31 - 1, *[2**29] * 5, *[2**31 - 1 if pulses == "finite" else 0] * 4])
    for offset in (-1, 0, 1):
        state = boards[0].save_state()
        rows = np.asarray(state["rows"]).copy()
        rows[:, :, :] = np.clip(2**power + offset, 0, tops)[None, :, None]
        rows[:, 1, ::2] = min(1, power)  # half of the neurons are not refractory for long
        rows[:, 1, 1::4] = 0
        for b in boards:
            b.load_state(state | {"rows": rows})
        found = {(b.run(stimulus, 0.001).sha256, b.state_sha256()) for b in boards}
        assert len(found) == 1


def test_hash_of_the_tables_is_that_of_the_specification() -> None:
    chip = load_chip("dynapse1")
    board = Board((0,))
    board.biases["coarse"], board.biases["fine"], board.biases["high"] = 4, 80, 1
    tables = decode(board.config(), BoardProfile().factors(chip), 10).tables[0]
    found = hashlib.sha256(tables.astype("<i4").tobytes()).hexdigest()
    text = (Path(__file__).parents[1] / "docs" / "emulator_specification.md").read_text(encoding="utf-8")
    assert found in text
