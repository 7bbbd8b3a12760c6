"""The pages on boards, tried as written, in order: commands and examples, with the real samna."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.samna, pytest.mark.usefixtures("virtual_board")]

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 240


def blocks(page: str, language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """bcall-hw and python3.10 on the path, both of them this interpreter's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, arguments in (("python3.10", ""), ("python", ""), ("bcall-hw", "-m bcall_hw.cli ")):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        program.chmod(0o755)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "BCALL_SAMNA_PYTHON": sys.executable}


def succeeded(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_virtual_board(tmp_path: Path, environment: dict[str, str]) -> None:
    said = succeeded(["bash", "-ec", blocks("virtual_board.md", "sh")], tmp_path, environment)
    assert "samna/0.7.1.0 (virtual board)" in said
    assert "chip 0 core 2 neuron 100" in said
    line = re.search(r"`(chip 0  CAM .*?)`", (ROOT / "docs" / "virtual_board.md").read_text())
    assert line is not None
    assert line[1] in (tmp_path / "out" / "words.log").read_text()


@pytest.mark.parametrize("clock", ["sleep", "wall"])
def test_first_day_with_a_board(tmp_path: Path, environment: dict[str, str], clock: str) -> None:
    board = ["bcall-hw", "virtual-board", "run", "--clock", clock, "--mismatch-cv", "0", "--"]
    said = succeeded([*board, "bash", "-ec", blocks("first_day_with_a_board.md", "sh")], tmp_path, environment)
    assert "VIRTUAL1" in said
    assert (tmp_path / "out" / "first.h5").is_file()
    example = blocks("first_day_with_a_board.md", "python")
    said = succeeded([*board, "python", "-W", "error", "-c", example], tmp_path, environment)
    found = re.search(r"VIRTUAL1 open (\d+) spikes \[\]\nclosed", said)
    assert found is not None, said
    assert int(found[1]) > 100
