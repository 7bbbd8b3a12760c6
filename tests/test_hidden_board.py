"""Boards with a hidden truth: drawn by seed, and the same bits in every implementation of the emulator."""

from __future__ import annotations

import numpy as np
import pytest

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.bias_codes import nearest_code
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import load_chip
from bcall_hw.errors import InvalidValue
from bcall_hw.stimulus import Stimulus

CHIP = load_chip("dynapse1")


def test_same_seed_same_board_and_other_seed_another() -> None:
    assert hidden_board(CHIP, 3) == hidden_board(CHIP, 3)
    assert hidden_board(CHIP, 3).board == hidden_board(CHIP, 3).board
    assert hidden_board(CHIP, 3).board != hidden_board(CHIP, 4).board


def test_capacitances_reach_both_ways_up_to_a_factor_of_two() -> None:
    scales = np.array([list(hidden_board(CHIP, s, defects=False).capacitance_scale.values()) for s in range(200)])
    assert 0.5 <= scales.min() < 0.52
    assert 1.95 < scales.max() <= 2.0
    assert abs(np.log(scales).mean()) < 0.05


def test_defects_are_as_frequent_as_said() -> None:
    boards = [hidden_board(CHIP, s) for s in range(40)]
    assert np.mean([len(b.dead_neurons) for b in boards]) == pytest.approx(0.004 * 4096, rel=0.15)
    assert np.mean([len(b.dead_cam) for b in boards]) == pytest.approx(0.001 * 262144, rel=0.05)
    for board in boards:
        board.check(CHIP)
        assert not {s[:4] for s in board.stuck_tag_bits} & set(board.dead_cam)


@pytest.mark.parametrize("pulses", ["ideal", "finite"])
def test_three_implementations_agree_on_hidden_boards(pulses: str) -> None:
    profile = hidden_board(CHIP, 5, cam_mismatch_cv=0.1)
    profile = profile.model_copy(
        update={"odd_currents": ((0, 0, 3, "dc", 40.0), (0, 0, 3, "dc", 0.5), (0, 1, 7, "leak1", 30.0))}
    )
    empty = ChipConfig.after_opening(CHIP)
    biases = empty.biases.copy()
    biases[...] = (4, 80, 1)
    for role, ampere in (("dc", 3e-10), ("refractory", 3e-10), ("pulse_width", 5e-11), ("leak1", 1e-10)):
        code, _ = nearest_code(CHIP, ampere, role)
        biases[:, :, CHIP.bias_index(role)] = (code.coarse, code.fine, 1)
    config = empty.with_registers(biases=biases)
    events = Stimulus.from_times(CHIP, np.arange(1000.0, 9000.0, 700.0), 0, 15, 0)
    hashes = set()
    for implementation in ("numba", "numpy", "reference"):
        board = Emulator(CHIP, (0,), profile, implementation, dt_us=100, pulses=pulses)  # type: ignore[arg-type]
        board.apply(config)
        spikes = board.run(events, 0.01)
        assert len(spikes) > 0
        hashes.add((spikes.sha256, board.state_sha256()))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"odd_currents": ((4, 0, 0, "dc", 2.0),)}, "chip"),
        ({"odd_currents": ((0, 0, 256, "dc", 2.0),)}, "neuron"),
        ({"odd_currents": ((0, 0, 0, "gain", 2.0),)}, "no such current"),
        ({"current_scale": {"voltage": 2.0}}, "no such current"),
        ({"capacitance_scale": {"membrane": 2.0}}, "capacitance_scale"),
        ({"capacitance_scale": {"soma": 0.0}}, "capacitance_scale"),
        ({"odd_currents": ((0, 0, 0, "dc", 1e9),)}, "odd_currents"),
    ],
)
def test_impossible_boards_are_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidValue, match=named):
        Emulator(CHIP, (0,), BoardProfile(**changes))  # type: ignore[arg-type]


def test_a_scaled_capacitance_scales_the_time_it_stands_for() -> None:
    from bcall_hw.backend.emulator.decode import decode

    config = ChipConfig.after_opening(CHIP)
    biases = config.biases.copy()
    biases[...] = (4, 80, 1)
    config = config.with_registers(biases=biases)
    nominal = BoardProfile()
    wide = BoardProfile(capacitance_scale={"soma": 2.0, "refractory": 1.5}, current_scale={"dc": 1.25})
    rows, scaled = (decode(config, p.factors(CHIP), 10, False, (), p.capacitances_f(CHIP)) for p in (nominal, wide))
    from bcall_hw.backend.emulator import words

    assert scaled.step_gain == pytest.approx(rows.step_gain / 2, rel=1e-4)
    assert scaled.rows[0, words.DC, 0] == pytest.approx(1.25 * rows.rows[0, words.DC, 0], rel=1e-4)
    steps = [p.rows[0, words.REFRACTORY_STEPS, 0] for p in (rows, scaled)]
    assert steps[1] == pytest.approx(1.5 * steps[0], abs=1)
