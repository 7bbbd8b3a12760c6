"""A board whose truth is hidden goes by its seed through all commands: calibrate it, then play networks on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from calibration_helpers import measured
from conftest import Run, only_json
from mapper_helpers import CHIP, link, network, population

from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.calibration import save_calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.network import Input

HIDDEN = hidden_board(CHIP, 7)
RUN = ("--duration-s", "0.02", "--stimulus", "x.csv", "--json")


@pytest.fixture
def _files(tmp_path: Path) -> None:
    network(Input(name="x", size=4), population("p", 150), link("c", "x", "p")).save(tmp_path / "net.json")
    (tmp_path / "x.csv").write_text("\n".join(["time_us,input,source", *(f"{100 * k},x,{k % 4}" for k in range(200))]) + "\n")
    save_calibration(measured(board=HIDDEN.board, dead_neurons=((0, 0, 1),)), tmp_path / "record.json")


@pytest.mark.usefixtures("_files")
def test_a_record_of_a_hidden_board_is_used_on_it(run: Run, tmp_path: Path) -> None:
    """The mapper knows of the board what the record says: not where the defects are."""
    with_record = ("net.json", "--calibration", "record.json")
    assert run("map", *with_record, "--out", "map.h5").returncode == 0
    mapped = ChipConfig.load(tmp_path / "map.h5")
    emulated = run("emulate", *with_record, *RUN, "--board-seed", "7")
    assert emulated.returncode == 0, emulated.stderr
    found = only_json(emulated)
    assert found["profile"] == HIDDEN.model_dump(mode="json")
    assert found["spikes"] > 0
    assert not any("defects" in warning for warning in found["warnings"])
    deployed = only_json(run("deploy", *with_record, *RUN, "--board-seed", "7"))
    assert deployed["config_sha256"] == mapped.sha256
    assert deployed["board"]["profile"] == found["profile"]
    assert deployed["spikes_sha256"] == found["spikes_sha256"]


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("command", ["emulate", "deploy"])
def test_without_the_seed_the_error_names_the_option(run: Run, command: str) -> None:
    for board in ((), ("--board-seed", "8"), ("--seed", "7")):
        done = run(command, "net.json", "--calibration", "record.json", *RUN, *board)
        assert done.returncode == 2
        told = only_json(done)
        assert told["error"] == "WrongBoard"
        assert "--board-seed" in told["fix"]


@pytest.mark.usefixtures("_files")
def test_boards_after_a_hidden_one_are_hidden_ones_too(run: Run) -> None:
    several = only_json(run("emulate", "net.json", *RUN, "--board-seed", "7", "--boards", "2"))
    for board, seed in zip(several["boards"], (7, 8), strict=True):
        alone = only_json(run("emulate", "net.json", *RUN, "--board-seed", str(seed)))
        assert alone["spikes_sha256"] == board["spikes_sha256"]


@pytest.mark.usefixtures("_files")
def test_a_hidden_board_does_not_fill_the_screen(run: Run) -> None:
    done = run("emulate", "net.json", *RUN[:-1], "--board-seed", "7")
    assert done.returncode == 0
    assert f"{len(HIDDEN.dead_cam)} entries" in done.stdout
    assert len(done.stdout.splitlines()) < 60


COMMANDS = {
    "emulate": ("emulate", "net.json", *RUN), "deploy": ("deploy", "net.json", "--json"),
    "learn": ("learn", "--out", "out", "--json"), "calibrate": ("calibrate", "--json"),
    "virtual board": ("virtual-board", "run", "--json"),
}  # fmt: skip


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((c, ("--profile", "board.json")) for c in COMMANDS), *((c, ("--seed", "1")) for c in ("emulate", "deploy")),
        *((c, ("--mismatch-cv", "0.1")) for c in ("emulate", "deploy", "learn")),
    ],
)  # fmt: skip
def test_a_board_is_told_in_one_way(run: Run, tmp_path: Path, command: str, option: tuple[str, str]) -> None:
    HIDDEN.save(tmp_path / "board.json")
    rest = ("--", "true") if command == "virtual board" else ()
    done = run(*COMMANDS[command], "--board-seed", "7", *option, *rest)
    if command == "virtual board" and "error" in done.stdout and only_json(done)["error"] == "BackendUnavailable":
        pytest.skip("no C compiler for the virtual board")
    assert done.returncode == 2
    assert f"{option[0]} and --board-seed are both given" in only_json(done)["what"]


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("command", ["deploy", "learn", "calibrate"])
def test_real_boards_have_a_truth_of_their_own(run: Run, command: str) -> None:
    done = run(*COMMANDS[command], "--backend", "samna:auto", "--board-seed", "7")
    assert done.returncode == 2
    told = only_json(done)
    assert told["where"] == "--board-seed"
    assert "emulated boards" in told["what"]
