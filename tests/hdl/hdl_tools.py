"""Run the hardware description tools, or say by name which one is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_PACKAGES = {"iverilog": "iverilog", "vvp": "iverilog", "ngspice": "ngspice"}


def need(tool: str, oracle: str) -> str:
    """The path of a tool. Without it the test is skipped, or fails if FORCE_HDL=1 (set where the tools must be there)."""
    found = shutil.which(tool)
    if found is not None:
        return found
    missing = f"{tool} is not installed: apt-get install {_PACKAGES[tool]}; the {oracle} oracle is skipped"
    if os.environ.get("FORCE_HDL") == "1":
        pytest.fail(f"FORCE_HDL=1, but {missing}", pytrace=False)
    pytest.skip(missing)


def call(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    return text


def simulate(
    module: str, vectors: Iterable[Sequence[int]], folder: Path, columns: int, defines: dict[str, int] | None = None
) -> list[tuple[int, ...]]:
    """What `<module>_tb.v` writes for the vectors: one tuple of words for each vector that shows them.

    Args:
        columns: numbers of a vector; shorter ones are filled with 0. Negative numbers go in as 32-bit two's complement.
        defines: parameters of the test bench.
    """
    compiler, runner = need("iverilog", "Verilog"), need("vvp", "Verilog")
    with (folder / "vectors.txt").open("w") as file:
        for vector in vectors:
            padded = [*vector, *[0] * (columns - len(vector))]
            file.write(" ".join(f"{n if n >= 0 else n + 2**32:x}" for n in padded) + "\n")
    overrides = [f"-P{module}_tb.{name}={value}" for name, value in (defines or {}).items()]
    sources = [str(HERE / f"{module}_tb.v"), str(HERE / f"{module}.v")]
    warnings = call([compiler, "-g2001", "-Wall", "-Wno-timescale", *overrides, "-o", "bench", *sources], folder)
    assert not warnings, warnings
    call([runner, "bench"], folder)
    lines = (folder / "words.txt").read_text().split("\n")[:-1]
    # An undriven bit prints as x and is no number: int() refuses it.
    return [tuple(int(word, 16) for word in line.split()) for line in lines]
