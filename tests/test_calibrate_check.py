"""Whether a record still holds: records made from the truth of a board, checked on it, and on boards that changed since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_faults import FaultyBoard
from calibration_helpers import measured
from calibration_truth import true_values
from typer.testing import CliRunner

from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibrate.check import Drift, check, overall, verdict_of, worst
from bcall_hw.calibrate.targets import Targets
from bcall_hw.calibration import Calibration, save_calibration
from bcall_hw.calibration_parts import Excluded, Measured
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import load_chip
from bcall_hw.cli import app
from bcall_hw.errors import BudgetSpent, InvalidValue, WrongBoard
from bcall_hw.failure_reasons import ExclusionReason, FailureReason
from bcall_hw.mapping import choose_codes, load_mapping
from bcall_hw.network import NeuronParameters, SynapseParameters

CHIP = load_chip("dynapse1")
MAPPING = load_mapping(CHIP)
CORE = (0, 1)
#: What the codes of the record are chosen for.
NEURON = NeuronParameters(
    tau_s=0.01, refractory_s=0.003, pulse_width_s=1e-4, gain_a=1e-9, dc_a=1e-10,
    synapses={"AMPA": SynapseParameters(tau_s=0.008, weight_a=2e-11)},
)  # fmt: skip
SOMA = NEURON.model_copy(update={"synapses": {}})
EVERY = {"refractory_s", "tau_s", "dc_a", "AMPA.tau_s", "AMPA.weight_a"}


def plain(**more: Any) -> BoardProfile:
    return hidden_board(CHIP, 17, noise_a=0.0, cam_mismatch_cv=0.0, defects=False).model_copy(update=more)


def record_of(profile: BoardProfile, neuron: NeuronParameters = NEURON, **more: Any) -> Calibration:
    """A record without scales: its codes are the nominal ones for `neuron`, and its values the truth under them.

    Targets are half of the truth, so that no code that is chosen for them is a recorded one.
    """
    choices = choose_codes(CHIP, MAPPING, measured(), neuron, "test")
    found = []
    for quantity, (_, unit) in Targets(neuron=neuron).quantities().items():
        name = quantity.partition(".")[0]
        parts = {quantity} if "weight" not in quantity else {"pulse_width_s", quantity, f"{name}.tau_s", f"{name}.gain_a"}
        codes = {c.bias: c.code for c in choices if c.quantity in parts}
        value = float(np.nanmedian(true_values(profile, CHIP, CORE, quantity, codes)))
        at = {"chip": CORE[0], "core": CORE[1], "quantity": quantity, "unit": unit, "target": value / 2, "achieved": value}
        interval = (value * 0.99, value * 1.01)
        found.append(Measured(**at, interval=interval, neurons=256, codes=codes, ok=True, reason=FailureReason.NONE))
    return measured(board=profile.board, measured=tuple(found), **more)


def ready(board: FaultyBoard) -> ChipConfig:
    """Registers that were there before."""
    config = ChipConfig.after_opening(CHIP)
    biases = config.biases.copy()
    for index, code in enumerate(CHIP.quiet_codes):
        biases[:, :, index] = code
    biases[0, 0, 0]["fine"] ^= 1
    config = config.with_registers(biases=biases)
    board.apply(config)
    return config


def checked(board: FaultyBoard, record: Calibration, **options: Any) -> dict[str, Drift]:
    before = ready(board)
    found = check(board, CHIP, record, **options)
    assert board.read_back() == before
    return {d.quantity: d for d in found}


def verdicts(found: dict[str, Drift]) -> dict[str, str]:
    return {quantity: d.verdict for quantity, d in found.items()}


def test_an_unchanged_board_holds_under_the_codes_of_the_record() -> None:
    """No scale of the record leads to its codes: only the codes themselves do."""
    profile = plain()
    steps: list[str] = []
    found = checked(FaultyBoard(CHIP, profile), record_of(profile), report=lambda what, *_: steps.append(what))
    assert verdicts(found) == dict.fromkeys(EVERY, "holds"), found
    assert overall(found.values()) == "holds"
    assert steps == ["checking: soma", "checking: synapse AMPA", "checking: done"]
    for d in found.values():
        assert d.interval is not None
        assert d.change is not None
        assert d.interval[0] < d.change < d.interval[1]


def test_dead_neurons_and_entries_are_left_out_and_deselected_ones_are_not() -> None:
    """Six of ten neurons deselected, 40 dead, and of each neuron about half of the CAM dead or deaf to the bench."""
    bad = [(*CORE, n, e) for n in range(256) for e in range(64) if (n * 7 + e * 13) % 29 < 14]
    dead_cam, stuck = tuple(bad[::2]), tuple((*place, 9, 1) for place in bad[1::2])
    dead = tuple((*CORE, n) for n in range(40))
    profile = plain(dead_neurons=dead, dead_cam=dead_cam, stuck_tag_bits=stuck)
    deselected = tuple(Excluded(chip=0, core=1, neuron=n, reason=ExclusionReason.DESELECTED) for n in range(103, 256))
    other_core = ((0, 3, 1, 1),)
    record = record_of(
        profile, excluded=deselected, dead_neurons=dead, dead_cam=(*dead_cam, *other_core), stuck_tag_bits=stuck
    )  # fmt: skip
    found = checked(FaultyBoard(CHIP, profile), record)
    assert verdicts(found) == dict.fromkeys(EVERY, "holds"), found


@pytest.mark.parametrize(
    ("changes", "drifted"),
    [
        ({"AMPA_weight": 1.1, "leak1": 1.1}, {"AMPA.weight_a", "tau_s"}),
        ({"AMPA_tau": 1.1, "dc": 1.1}, {"AMPA.tau_s", "dc_a"}),
        ({"dc": 0.9}, {"dc_a"}),
    ],
)
def test_what_changed_by_a_tenth_is_told_by_quantity(changes: dict[str, float], drifted: set[str]) -> None:
    profile = plain()
    now = profile.current_scale
    moved = plain(current_scale=now | {name: now.get(name, 1.0) * factor for name, factor in changes.items()})
    neuron = NEURON if any("AMPA" in name for name in changes) else SOMA
    record = record_of(profile, neuron)
    found = checked(FaultyBoard(CHIP, profile, changed=moved, changes_at_s=0.0), record)
    assert {quantity for quantity, d in found.items() if d.drifted} == drifted, found
    assert overall(found.values()) == "drifted"
    for quantity, d in found.items():
        codes = next(m.codes for m in record.measured if m.quantity == quantity)
        truth = np.nanmedian(true_values(moved, CHIP, CORE, quantity, codes))
        assert d.recorded * (1 + (d.change or 0)) == pytest.approx(truth, rel=0.03), quantity


def test_a_core_of_which_nothing_comes_has_drifted() -> None:
    profile = plain()
    board = FaultyBoard(CHIP, profile, silent=True)
    found = checked(board, record_of(profile))
    assert verdicts(found) == dict.fromkeys(EVERY, "drifted")
    assert all(d.now is d.change is d.interval is None for d in found.values())


def test_what_scatters_too_much_is_unknown_and_not_drifted() -> None:
    """Noise that came after the record: neurons answer, but not so that an AMPA weight could be told."""
    profile = plain()
    noisy = profile.model_copy(update={"noise_a": 3e-11})
    found = checked(FaultyBoard(CHIP, profile, changed=noisy, changes_at_s=0.0), record_of(profile))
    assert verdicts(found)["AMPA.weight_a"] == verdicts(found)["AMPA.tau_s"] == "unknown", found
    assert overall(found.values()) == "unknown"


@pytest.mark.parametrize(
    ("change", "margin", "verdict"),
    [
        (0.029, 0.02, "holds"), (-0.031, 0.02, "drifted"), (0.0, 0.031, "unknown"), (0.05, 0.04, "unknown"),
        (-0.08, 0.04, "drifted"), (0.03, 0.03, "holds"),
    ],
)  # fmt: skip
def test_verdict_of_a_change(change: float, margin: float, verdict: str) -> None:
    assert verdict_of(change, margin, 0.03) == verdict


def of(verdict: Any, change: float | None = 0.0, core: int = 0) -> Drift:
    return Drift(0, core, "tau_s", "s", 0.01, 0.01, change, None, verdict)


def test_the_whole_is_as_good_as_its_worst_part() -> None:
    assert overall([of("holds"), of("unknown")]) == "unknown"
    assert overall([of("drifted"), of("unknown"), of("holds")]) == "drifted"
    assert worst([of("holds", -0.02), of("unknown", None, 1), of("drifted", 0.5, 2)]).core == 1


def test_wrong_boards_cores_chips_and_options_are_refused_before_anything_is_done() -> None:
    profile = plain()
    board, record = FaultyBoard(CHIP, profile), record_of(profile)
    before = ready(board)
    for named, options in (
        ("nothing of this core", {"cores": ((0, 0),)}), ("each core once", {"cores": (CORE, CORE)}),
        ("no such core", {"cores": ((0, 9),)}), ("board time", {"budget_s": 0.0}), ("pulse model", {"pulses": "long"}),
        ("tolerance", {"tolerance": 0.0}),
    ):  # fmt: skip
        with pytest.raises(InvalidValue, match=named):
            check(board, CHIP, record, **options)  # type: ignore[arg-type]
    elsewhere = record.model_copy(update={"measured": tuple(m.model_copy(update={"chip": 1}) for m in record.measured)})
    with pytest.raises(InvalidValue, match="does not hold this chip"):
        check(board, CHIP, elsewhere)
    with pytest.raises(WrongBoard):
        check(board, CHIP, record.model_copy(update={"board": "another"}))
    assert board.runs == 0
    assert board.read_back() == before


def test_registers_are_restored_where_board_time_ends() -> None:
    profile = plain()
    board = FaultyBoard(CHIP, profile)
    before = ready(board)
    with pytest.raises(BudgetSpent):
        check(board, CHIP, record_of(profile), budget_s=2.0)
    assert board.runs > 0
    assert board.read_back() == before


# Command line --------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_disk(tmp_path: Path) -> tuple[Path, Path]:
    """A profile, and a record of a core of it."""
    profile = plain()
    profile.save(tmp_path / "board.json")
    save_calibration(record_of(profile, SOMA), tmp_path / "record.json")
    return tmp_path / "board.json", tmp_path / "record.json"


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def test_command_tells_verdicts_of_the_cores_that_are_named(on_disk: tuple[Path, Path]) -> None:
    profile, record = on_disk
    done = command("--check", record, "--profile", profile, "--cores", "0.1", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["verdict"], told["drifted"]) == ("holds", False)
    assert {m["quantity"]: (m["verdict"], m["drifted"]) for m in told["measured"]} == dict.fromkeys(
        ("refractory_s", "tau_s", "dc_a"), ("holds", False)
    )  # fmt: skip
    tight = command("--check", record, "--profile", profile, "--tolerance", "0.005")
    assert tight.exit_code == 2
    assert "unknown 1" in tight.stdout
    assert "not all could be told" in tight.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--targets", "t.toml"), "--targets"), (("--keep", "1.0"), "--keep"), (("--resume",), "--resume"),
        (("--expires-days", "30"), "--expires-days"), (("--out", "x"), "--out"),
        (("--quick",), "check, cores: the record has nothing of this core (got (0, 0)"),
        (("--cores", "0.1,0.2"), "check, cores: the record has nothing of this core (got (0, 2)"),
    ],
)  # fmt: skip
def test_command_refuses_what_would_do_nothing(on_disk: tuple[Path, Path], options: tuple[str, ...], named: str) -> None:
    profile, record = on_disk
    done = command("--check", record, "--profile", profile, *options)
    assert done.exit_code == 2
    assert f"InvalidValue: {named}" in done.output


def test_command_refuses_a_tolerance_without_a_check() -> None:
    done = command("--tolerance", "0.1")
    assert done.exit_code == 2
    assert "is for --check" in done.output
