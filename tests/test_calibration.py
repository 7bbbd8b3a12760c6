"""From amperes to codes and back, and the record of one board."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from bcall_hw.bias_codes import code_current_a, current_range_a, nearest_code
from bcall_hw.calibration import Calibration, load_calibration
from bcall_hw.chip_model import BiasCode, load_chip
from bcall_hw.errors import BcallError, CorruptFile, CurrentOutOfRange, FileProblem, ForeignFile, InvalidValue

CHIP = load_chip("dynapse1")
UNIT_A, DARK_A = 1e-14, 5e-13
CIRCUITS = ("soma", "AMPA", "NMDA", "GABA_A", "GABA_B", "AHP", "pulse", "refractory")
NOMINAL_F = {
    "soma": 3.2e-12, "AMPA": 24.5e-12, "NMDA": 25e-12, "GABA_A": 24.5e-12, "GABA_B": 25e-12, "AHP": 40e-12,
    "pulse": 0.5e-12, "refractory": 0.5e-12,
}  # fmt: skip


def currents(count: int, seed: int, low: float, high: float) -> list[float]:
    rng = random.Random(seed)
    return [math.exp(rng.uniform(math.log(low), math.log(high))) for _ in range(count)]


def usable_codes() -> list[float]:
    return [row[fine] * UNIT_A for row in CHIP.currents for fine in range(256) if row[fine] * UNIT_A > DARK_A]


def test_range() -> None:
    lowest, highest = current_range_a(CHIP)
    codes = usable_codes()
    assert lowest == pytest.approx(min(codes), rel=1e-12)
    assert highest == pytest.approx(max(codes), rel=1e-12)
    assert DARK_A < lowest < 6e-13
    assert highest == pytest.approx(24e-6, rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_nearest_code_is_truly_the_nearest(seed: int) -> None:
    """Against all 2,048 codes, by distance of logarithms; codes with one current count as one."""
    lowest, highest = current_range_a(CHIP)
    logs = [math.log(i) for i in usable_codes()]
    for wanted in currents(250, seed, lowest, highest):
        code, found = nearest_code(CHIP, wanted, "test")
        assert found == pytest.approx(CHIP.currents[code.coarse][code.fine] * UNIT_A, rel=1e-12)
        best = min(abs(log - math.log(wanted)) for log in logs)
        assert abs(math.log(found / wanted)) <= best * (1 + 1e-9) + 1e-12
        assert code.high


def test_error_from_10_pa_to_1_ua_is_half_the_widest_gap_of_the_table() -> None:
    """The widest gap is 3.125 % (4.0157e-7 to 4.1412e-7 A), so the nearest code is within 1.54 %."""
    steps = 10_000
    for step in range(steps + 1):
        wanted = 1e-11 * (1e-6 / 1e-11) ** (step / steps)
        _, found = nearest_code(CHIP, wanted, "test")
        assert abs(math.log(found / wanted)) < 0.01539, wanted


def test_every_code_is_its_own_nearest() -> None:
    for coarse in range(8):
        for fine in range(256):
            current = CHIP.currents[coarse][fine] * UNIT_A
            if current > DARK_A:
                code, found = nearest_code(CHIP, code_current_a(CHIP, BiasCode(coarse=coarse, fine=fine)), "test")
                assert found == pytest.approx(current, rel=1e-12)
                assert code_current_a(CHIP, code) == found


def test_both_ends() -> None:
    lowest, highest = current_range_a(CHIP)
    assert nearest_code(CHIP, lowest, "test")[1] == lowest
    assert nearest_code(CHIP, highest, "test")[1] == highest
    for wanted, nearest in ((lowest * 0.999, lowest), (highest * 1.001, highest), (0.0, lowest), (1.0, highest)):
        with pytest.raises(CurrentOutOfRange) as caught:
            nearest_code(CHIP, wanted, "chip 0 core 2: dc_a")
        text = str(caught.value)
        for piece in ("chip 0 core 2: dc_a", f"got {wanted:.4g} A", f"limit {lowest:.4g} to {highest:.4g} A"):
            assert piece in text
        assert f"nearest possible current is {nearest:.4g} A" in text


@pytest.mark.parametrize("current", [float("nan"), float("inf"), -float("inf"), -1e-9, -0.0])
def test_what_is_no_current_is_refused(current: float) -> None:
    with pytest.raises(CurrentOutOfRange, match="test"):
        nearest_code(CHIP, current, "test")


# Records -------------------------------------------------------------------------------------------------------------


def record(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"format": "bcall_hw/calibration", "format_version": 1, "kind": "measured", "chip": "dynapse1"}
    values |= {"board": "b7", "date": "2026-01-01", "capacitance_scale": {"soma": 1.5}}
    return {k: v for k, v in (values | changes).items() if v is not None}


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_nominal_record() -> None:
    nominal = load_calibration(CHIP)
    assert (nominal.kind, nominal.chip, nominal.board) == ("nominal", "dynapse1", "nominal")
    for circuit in CIRCUITS:
        assert nominal.capacitance_f(CHIP, circuit) == pytest.approx(NOMINAL_F[circuit], rel=1e-12)


def test_measured_record(tmp_path: Path) -> None:
    found = load_calibration(CHIP, write(tmp_path / "b7.json", record(capacitance_scale={"soma": 1.5, "pulse": 0.25})))
    scale = {"soma": 1.5, "pulse": 0.25}
    for circuit in CIRCUITS:
        assert found.capacitance_f(CHIP, circuit) == pytest.approx(NOMINAL_F[circuit] * scale.get(circuit, 1.0), rel=1e-12)
    assert found.board == "b7"


def test_missing_record(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"none.json"):
        load_calibration(CHIP, tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b"{", b"not json", b"\xff\xfe\x00", b'{"format": "bcall_hw/calibration"'])
def test_corrupt_record(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"bad.json"):
        load_calibration(CHIP, path)


@pytest.mark.parametrize("values", [[], 3, "text", {}, record(format="bcall_hw/network"), record(format=None)])
def test_foreign_record(values: Any, tmp_path: Path) -> None:
    with pytest.raises(ForeignFile, match=r"bad.json"):
        load_calibration(CHIP, write(tmp_path / "bad.json", values))


def test_record_of_another_chip(tmp_path: Path) -> None:
    with pytest.raises(ForeignFile, match=r"bad.json.*got dynapse9, limit dynapse1"):
        load_calibration(CHIP, write(tmp_path / "bad.json", record(chip="dynapse9")))


def test_record_of_another_version(tmp_path: Path) -> None:
    with pytest.raises(ForeignFile, match=r"bad.json"):
        load_calibration(CHIP, write(tmp_path / "bad.json", record(format_version=2)))


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"capacitance_scale": {"soma": 0.0}}, "soma"),
    ({"capacitance_scale": {"soma": -1.0}}, "soma"),
    ({"capacitance_scale": {"soma": float("nan")}}, "soma"),
    ({"capacitance_scale": {"soma": float("inf")}}, "soma"),
    ({"capacitance_scale": {"soma": "much"}}, "soma"),
    ({"capacitance_scale": {"membrane": 1.0}}, "membrane"),
    ({"kind": "guessed"}, "kind"),
    ({"board": None}, "board"),
    ({"colour": "blue"}, "colour"),
]


@pytest.mark.parametrize(("changes", "said"), INVALID)
def test_invalid_values(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BcallError, match=said):
        load_calibration(CHIP, write(tmp_path / "bad.json", record(**changes)))
    with pytest.raises(InvalidValue, match=said):
        Calibration(**record(**changes))
