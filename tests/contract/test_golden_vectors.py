"""The emulator's golden vectors under CPython 3.10 too: the same bits as under the version that the other tests run with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from emulator_helpers import small_chip
from golden_cases import CASES

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "emulator_v1.json").read_text(encoding="utf-8"))["vectors"]


@pytest.mark.parametrize("implementation", ["numba", "numpy", "reference"])
def test_golden_vectors(implementation: str, tmp_path: Path) -> None:
    chip = small_chip(tmp_path)
    for name, make in CASES.items():
        case = make(chip)
        found = {"feature": case.feature, "config_sha256": case.config_sha256} | case.play(implementation)
        assert found == GOLDEN[name], f"feature broken in {implementation}: {case.feature} ({name})"
