"""A whole calibration of one core of a board whose truth is hidden from it, compared with that truth."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_truth import true_values

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibrate.check import check
from bcall_hw.calibrate.run import Outcome, calibrate
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration import load_calibration, save_calibration
from bcall_hw.chip_model import load_chip
from bcall_hw.errors import CurrentOutOfRange, InvalidValue, WrongBoard
from bcall_hw.failure_reasons import ExclusionReason
from bcall_hw.mapper import map_network
from bcall_hw.mapping import CodeProblems
from bcall_hw.network import AllToAll, Connection, Input, Network, NeuronParameters, Place, Population, SynapseParameters

CHIP = load_chip("dynapse1")
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
CORE = (0, 2)
TARGETS = Targets(
    neuron=NeuronParameters(
        tau_s=0.012, refractory_s=0.002, pulse_width_s=5e-5, gain_a=1e-9, dc_a=0.0,
        synapses={
            "AMPA": SynapseParameters(tau_s=0.008, weight_a=1.5e-11),
            "GABA_B": SynapseParameters(tau_s=0.012, weight_a=1e-11),
        },
    )
)  # fmt: skip


def board(profile: BoardProfile) -> Emulator:
    return Emulator(CHIP, (0,), profile, dt_us=50)


@pytest.fixture(scope="module")
def hidden() -> BoardProfile:
    return hidden_board(CHIP, 4711)


@pytest.fixture(scope="module")
def outcome(hidden: BoardProfile) -> Outcome:
    return calibrate(board(hidden), CHIP, cores=(CORE,), targets=TARGETS, now=NOW, keep=0.75)


def test_every_quantity_is_calibrated_and_true(outcome: Outcome, hidden: BoardProfile) -> None:
    assert outcome.ok, [(m.quantity, m.residual, m.reason) for m in outcome.measured if not m.ok]
    assert {m.quantity for m in outcome.measured} == set(TARGETS.quantities())
    for m in outcome.measured:
        truth = true_values(hidden, CHIP, CORE, m.quantity, m.codes)
        assert np.nanmedian(truth) == pytest.approx(m.target, rel=0.03), m.quantity
        assert m.interval is not None
        assert m.interval[0] < (m.achieved or 0) < m.interval[1]


def test_gains_are_those_of_the_neurons(outcome: Outcome, hidden: BoardProfile) -> None:
    record = outcome.record
    assert record is not None
    codes = {m.quantity: m.codes for m in outcome.measured}
    for gains in record.gains:
        if gains.quantity not in codes:
            continue
        truth = true_values(hidden, CHIP, CORE, gains.quantity, codes[gains.quantity])
        if gains.quantity.endswith("weight_a"):
            truth = truth * _mean_entry_factor(hidden)
        truth = truth / np.nanmedian(truth)
        known = [n for n, g in enumerate(gains.gain) if g is not None]
        assert len(known) > 240
        off = np.array([gains.gain[n] / truth[n] for n in known])  # type: ignore[operator]
        assert np.std(off) < 0.06, gains.quantity
        inside = [gains.low[n] <= truth[n] <= gains.high[n] for n in known]  # type: ignore[operator]
        assert 0.88 < np.mean(inside) <= 1.0, gains.quantity


def _mean_entry_factor(profile: BoardProfile) -> np.ndarray:
    factors = profile.entry_factors(CHIP)
    assert factors is not None
    return np.asarray(factors[CORE].mean(axis=1))


def test_record_names_board_chip_and_time_and_is_loaded_again(outcome: Outcome, hidden: BoardProfile, tmp_path: Path) -> None:
    record = outcome.record
    assert record is not None
    assert (record.board, record.chip_sha256) == (hidden.board, CHIP.fingerprint)
    save_calibration(record, tmp_path / "r.json")
    assert load_calibration(CHIP, tmp_path / "r.json", board=hidden.board, now=NOW) == record
    with pytest.raises(WrongBoard):
        load_calibration(CHIP, tmp_path / "r.json", board=hidden_board(CHIP, 1).board, now=NOW)


def test_best_share_of_neurons_fires_alike(outcome: Outcome, hidden: BoardProfile) -> None:
    record = outcome.record
    assert record is not None
    out = {e.neuron for e in record.excluded} | {n for _, k, n in record.dead_neurons if k == CORE[1]}
    assert len(out) == 64
    assert {e.reason for e in record.excluded} >= {ExclusionReason.DESELECTED}
    factors = hidden.factors(CHIP)["dc"][CORE]
    kept = np.array([n for n in range(256) if n not in out])
    assert factors[kept].std() / factors[kept].mean() <= 0.13 < factors.std() / factors.mean()


@pytest.mark.parametrize("wished", [True, False])
def test_mapper_uses_the_record_and_the_board_does_what_was_asked(outcome: Outcome, hidden: BoardProfile, wished: bool) -> None:
    """From the record through the mapper to registers: the codes of the core give the targets on this board.

    Wished there or not: of the board's cores it is the one that was calibrated.
    """
    record = outcome.record
    assert record is not None
    left_out = sorted(n for c, k, n in record.defects.dead_neurons if (c, k) == CORE)
    gaps = np.diff([-1, *left_out, 256]) - 1
    place = Place(chip=0, core=CORE[1], neuron=[0, *(n + 1 for n in left_out)][int(gaps.argmax())])
    target = TARGETS.neuron.model_copy(update={"tau_s": 0.018, "refractory_s": 0.003})
    size = int(gaps.max()) if wished else 256 - len(left_out)
    network = Network(
        name="n", inputs=(Input(name="i", size=2),),
        populations=(Population(name="p", size=size, neuron=target, place=place if wished else None),),
        connections=(Connection(name="c", source="i", target="p", synapse="AMPA", rule=AllToAll()),),
    )  # fmt: skip
    mapped = map_network(network, CHIP, calibration=record)
    assert {(c, k) for c, k, _ in mapped.addresses["p"].tolist()} == {CORE}
    assert not set(left_out) & set(mapped.addresses["p"][:, 2].tolist())
    codes = {b.name: mapped.config.bias(*CORE, b.name) for b in CHIP.biases}
    assert np.nanmedian(true_values(hidden, CHIP, CORE, "tau_s", codes)) == pytest.approx(0.018, rel=0.04)
    assert np.nanmedian(true_values(hidden, CHIP, CORE, "refractory_s", codes)) == pytest.approx(0.003, rel=0.04)


def test_mapper_tells_what_the_record_did_not_calibrate(outcome: Outcome) -> None:
    record = outcome.record
    assert record is not None
    other = TARGETS.neuron.model_copy(update={"synapses": {"NMDA": SynapseParameters(tau_s=0.05, weight_a=5e-12)}})
    free = next(n for n in range(1, 200) if n not in {e.neuron for e in record.excluded})
    for core, told in ((CORE[1], "NMDA.tau_s"), (3, "not calibrated by this record, which knows")):
        network = Network(
            name="n", inputs=(Input(name="i", size=2),),
            populations=(Population(name="p", size=1, neuron=other, place=Place(chip=0, core=core, neuron=free)),),
            connections=(Connection(name="c", source="i", target="p", synapse="NMDA", rule=AllToAll()),),
        )  # fmt: skip
        mapped = map_network(network, CHIP, (0,), calibration=record)
        assert any(told in warning for warning in mapped.warnings), mapped.warnings


def test_check_finds_no_drift_and_then_drift(outcome: Outcome, hidden: BoardProfile) -> None:
    record = outcome.record
    assert record is not None
    found = check(board(hidden), CHIP, record)
    assert {d.quantity for d in found} >= {"refractory_s", "tau_s", "AMPA.tau_s"}
    assert not any(d.drifted for d in found), found

    class Warmer(Emulator):
        """The same board by name, whose soma leaks more by 8 %."""

        @property
        def board(self) -> str:
            return hidden.board

    moved = hidden.model_copy(update={"current_scale": hidden.current_scale | {"leak1": 1.08}})
    drifted = check(Warmer(CHIP, (0,), moved, dt_us=50), CHIP, record)
    assert {d.quantity for d in drifted if d.drifted} == {"tau_s"}


def test_check_refuses_another_board(outcome: Outcome) -> None:
    assert outcome.record is not None
    with pytest.raises(WrongBoard):
        check(board(hidden_board(CHIP, 1)), CHIP, outcome.record)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cores": ((0, 4),)}, "no such core"), ({"cores": ((1, 0),)}, "does not hold"), ({"cores": ()}, "each core once"),
        ({"budget_s": 0.0}, "board time"), ({"keep": 1.5}, "share"), ({"expires_days": 0.0}, "holds for"),
        ({"pulses": "long"}, "pulse model"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused_before_anything_is_done(changes: dict[str, Any], named: str) -> None:
    emulator = board(BoardProfile())
    with pytest.raises(InvalidValue, match=named):
        calibrate(emulator, CHIP, targets=TARGETS, **changes)
    assert emulator.warnings == []


def test_targets_that_no_code_reaches_are_refused_by_name() -> None:
    far = Targets(neuron=TARGETS.neuron.model_copy(update={"tau_s": 1e3}))
    with pytest.raises(CodeProblems, match="tau_s") as caught:
        calibrate(board(BoardProfile()), CHIP, cores=(CORE,), targets=far)
    assert isinstance(caught.value.problems[0], CurrentOutOfRange)


def test_expiry_is_as_asked(outcome: Outcome) -> None:
    assert outcome.record is not None
    assert outcome.record.expires == (NOW + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
