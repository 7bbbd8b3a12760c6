"""The calibration benchmark: its truth is the emulator's, its random targets have codes, its figures are plain values."""

from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest

from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.decode import decode
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.calibrate.ensemble import BoardOptions, Timed, calibrated_board
from bcall_hw.calibrate.rig import Rig
from bcall_hw.calibrate.scales import Scales
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_model import BiasCode, load_chip
from bcall_hw.mapping import choose_codes, load_mapping
from benchmarks.calibration import bars, judge_all, table
from benchmarks.calibration_targets import PULSE_S, SYNAPSE_TAU_S, TAU_S, random_targets
from benchmarks.calibration_truth import DECADE_NAMES, Truth, decade_of

CHIP = load_chip("dynapse1")
MAPPING = load_mapping(CHIP)
STEP_US = 50


def codes_for(targets: Targets) -> dict[str, BiasCode]:
    chosen = choose_codes(CHIP, MAPPING, Scales(CHIP, MAPPING, ()).record(), targets.neuron, "test")
    return {choice.bias: choice.code for choice in chosen}


def test_the_truth_is_what_the_emulator_makes_of_the_profile() -> None:
    profile, targets, core = hidden_board(CHIP, 5), Targets.load(), 2
    truth, codes = Truth(CHIP, profile), codes_for(targets)
    rig = Rig(Emulator(CHIP, (0,), profile, dt_us=STEP_US), CHIP, ((0, core),))
    rig.set(codes)
    rows = decode(rig.config, profile.factors(CHIP), STEP_US, False, (), profile.capacitances_f(CHIP)).rows[core]
    given = {name: code.model_dump() for name, code in codes.items()}

    def true(quantity: str) -> np.ndarray:
        found = truth.values(0, core, quantity, given)
        assert found is not None
        return found

    step_s, one = STEP_US * 1e-6, words.ONE
    np.testing.assert_allclose(rows[words.DC] * 1e-15, true("dc_a"), rtol=1e-4)
    np.testing.assert_allclose(rows[words.REFRACTORY_STEPS] * step_s, true("refractory_s"), atol=0.51 * step_s)
    charge = float(np.median(rows[words.LEAK] * true("tau_s")))
    np.testing.assert_allclose(rows[words.LEAK] * true("tau_s"), charge, rtol=1e-3)
    for row, kind in enumerate(words.EFFECTS):
        name = next(t.name for t in CHIP.synapse_types if t.effect == kind)
        decay = -step_s / np.log1p(-rows[words.DECAY + row] / one)
        np.testing.assert_allclose(decay, true(f"{name}.tau_s"), rtol=1e-3)
        entry = np.where(truth.works, truth.entries, 0.0)[0, core].sum(axis=1) / truth.works[0, core].sum(axis=1)
        weight = rows[words.FULL + row] * 1e-15 * rows[words.EVENT + row] / one
        np.testing.assert_allclose(weight * entry, true(f"{name}.weight_a"), rtol=1e-3)
    weight = rows[words.FULL_AHP] * 1e-15 * rows[words.JUMP_AHP] / one
    np.testing.assert_allclose(weight, true("adaptation.weight_a"), rtol=3e-3)
    assert truth.values(0, core, "AMPA.weight_a", {}) is None


def test_random_targets_have_codes_and_boards_take_them() -> None:
    assert random_targets(3) == random_targets(3) != random_targets(4)
    seen = set()
    for seed in range(25):
        targets = random_targets(seed)
        neuron = targets.neuron
        assert TAU_S[0] <= neuron.tau_s <= TAU_S[1]
        assert PULSE_S[0] <= neuron.pulse_width_s <= PULSE_S[1]
        assert all(SYNAPSE_TAU_S[0] <= s.tau_s <= SYNAPSE_TAU_S[1] for s in neuron.synapses.values())
        codes = codes_for(targets)
        seen |= {decade_of(float(CHIP.current_a[c.coarse, c.fine])) for c in codes.values()}
        board = Emulator(CHIP, (0,), hidden_board(CHIP, seed), dt_us=STEP_US)
        rig = Rig(board, CHIP, ((0, 0),))
        rig.set(codes)
        board.apply(rig.config)  # refuses currents that add up to too much
    assert seen >= set(DECADE_NAMES[1:5])


@pytest.mark.parametrize(
    ("current", "name"),
    [(None, "no code"), (9e-12, "below 10 pA"), (1e-11, "10 to 100 pA"), (9e-7, "0.1 to 1 uA"), (2e-6, "above 1 uA")],
)
def test_decades(current: float | None, name: str) -> None:
    assert decade_of(current) == name


def test_boards_without_a_record_count_as_missed() -> None:
    options = BoardOptions(date="2026-01-01T00:00:00Z", chips=(0,), cores=((0, 0),), budget_s=0.05)
    found = bars(judge_all([Timed(partial(calibrated_board, options=options))(seed) for seed in (1, 2)], options))
    assert found["within_3_percent"] == {"n": 2 * len(Targets.load().quantities()), "share": 0.0}
    assert found["not_ok_reasons"] == {"budget": found["within_3_percent"]["n"]}
    assert "within 3 %: 0.00 %" in table(found | {"wall_s": 1.0})
    assert not any(math.isnan(v) for v in found["board_s"].values())
    json.dumps(found, allow_nan=False)
