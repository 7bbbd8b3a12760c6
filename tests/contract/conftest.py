"""Fixtures of the contract tests: the chip model and the vendor's binaries, or one clear reason why they are not here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samna_oracle import HOW_TO_GET, Libcaer, MissingBinary, samna_folder

from bcall_hw.backend.samna_board.virtual.build import stand_in_library
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.errors import BackendUnavailable

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell, which ignores Ctrl-C for it and all its children: tests send it on purpose.
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROBE = Path(__file__).with_name("samna_probe.py")
PROBE_SECONDS = 120


@pytest.fixture(scope="session", autouse=True)
def real_samna() -> Path:
    """The folder of the real samna. Without it tests are skipped, or fail if FORCE_CONTRACT=1."""
    try:
        return samna_folder()
    except MissingBinary as problem:
        reason = f"{HOW_TO_GET} ({problem})"
    if os.environ.get("FORCE_CONTRACT") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chip() -> ChipModel:
    return load_chip("dynapse1")


@pytest.fixture(scope="session")
def libcaer(real_samna: Path) -> Libcaer:  # noqa: ARG001 (asked for so that it is there)
    return Libcaer()


@pytest.fixture(scope="session")
def virtual_board(real_samna: Path) -> Path:  # noqa: ARG001
    """The library of the virtual board. Without a C compiler its tests are skipped, or fail if FORCE_CONTRACT=1."""
    try:
        return stand_in_library()
    except BackendUnavailable as problem:
        reason = str(problem)
    if os.environ.get("FORCE_CONTRACT") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def samna_facts(real_samna: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:  # noqa: ARG001
    """What samna's own objects hold, read in a process of its own: samna's answer to a bad argument is a crash."""
    output = tmp_path_factory.mktemp("samna") / "facts.json"
    command = [sys.executable, str(PROBE), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    if done.returncode != 0:
        how = f"{PROBE.name} ended with {done.returncode} (negative: the signal that killed it)"
        pytest.fail(f"{how}:\n{done.stderr}", pytrace=False)
    facts: dict[str, Any] = json.loads(output.read_text())
    return facts
