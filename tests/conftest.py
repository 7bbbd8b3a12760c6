"""Shared by all tests: the chip model, and how to run the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bcall_hw.chip_model import ChipModel, load_chip

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def chip() -> ChipModel:
    return load_chip("dynapse1")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `bcall-hw` with arguments in an empty folder, in a process of its own."""

    def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bcall_hw.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False, **options)

    return call


def only_json(done: subprocess.CompletedProcess[str]) -> Any:
    """Standard output, which must be one JSON object and nothing else."""
    return json.loads(done.stdout)
