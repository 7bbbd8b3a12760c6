"""From amperes to codes and back, and the record of one board."""

from __future__ import annotations

import json
import math
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from calibration_helpers import FIELDS, measured

from bcall_hw.bias_codes import code_current_a, current_range_a, nearest_code
from bcall_hw.calibration import Calibration, check_board, load_calibration, save_calibration, sealed
from bcall_hw.calibration_parts import Excluded, Gains, Measured, SecondLeak, utc_text, utc_time
from bcall_hw.chip_model import BiasCode, load_chip
from bcall_hw.defects import Defects
from bcall_hw.errors import (
    BcallError,
    CorruptFile,
    CurrentOutOfRange,
    FileProblem,
    ForeignFile,
    InvalidValue,
    StaleRecord,
    WrongBoard,
)

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
    """A record as it stands in a file, sealed; fields that are changed to None are left out."""
    values = FIELDS | {"capacitance_scale": {"soma": 1.5}} | changes
    kept = {k: v for k, v in values.items() if v is not None}
    try:
        return sealed(Calibration(**kept)).model_dump(mode="json")
    except InvalidValue:
        return {"format": "bcall_hw/calibration", "format_version": 2} | kept


def full() -> Calibration:
    """A record with something in every field."""
    gain = tuple(None if n % 7 == 0 else 0.5 + n / 256 for n in range(256))
    low, high = (tuple(None if g is None else g * f for g in gain) for f in (0.9, 1.1))
    return measured(
        seed=5, temperature_c=21.5, note="n\u00f8te", capacitance_scale={"soma": 1.5, "AHP": 0.25},
        core_scales=((0, 1, "tau_s", 1.25), (3, 3, "AMPA.weight_a", 0.75), (0, 1, "tau2_s", 0.5)),
        gains=(Gains(chip=2, core=1, quantity="refractory_s", gain=gain, low=low, high=high),),
        dead_neurons=((1, 2, 3),), dead_cam=((1, 2, 3, 4), (0, 0, 0, 63)), stuck_tag_bits=((3, 3, 255, 63, 9, 1),),
        excluded=(Excluded(chip=0, core=0, neuron=17, reason="hot"),),
        second_leak=(SecondLeak(chip=0, core=1, ratio=1.5, neurons=(3, 9)),),
        measured=(
            Measured(chip=0, core=1, quantity="tau_s", unit="s", target=0.02, achieved=0.021, interval=(0.0205, 0.0215),
                     residual=0.021 / 0.02 - 1, spread_before=0.2, spread_after=0.1, neurons=250,
                     codes={"IF_TAU1_N": {"coarse": 1, "fine": 30}}, ok=True, reason="none"),
            Measured(chip=0, core=2, quantity="tau_s", unit="s", target=0.02, neurons=0, ok=False, reason="no_spikes"),
        ),
    )  # fmt: skip


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_nominal_record() -> None:
    nominal = load_calibration(CHIP)
    assert (nominal.kind, nominal.chip, nominal.board, nominal.expires) == ("nominal", "dynapse1", "nominal", None)
    for circuit in CIRCUITS:
        assert nominal.capacitance_f(CHIP, circuit) == pytest.approx(NOMINAL_F[circuit], rel=1e-12)
    assert nominal.defects == Defects()
    assert nominal.scale(0, 0, "tau_s") == 1.0


def test_measured_record(tmp_path: Path) -> None:
    found = load_calibration(CHIP, write(tmp_path / "b7.json", record(capacitance_scale={"soma": 1.5, "pulse": 0.25})))
    scale = {"soma": 1.5, "pulse": 0.25}
    for circuit in CIRCUITS:
        assert found.capacitance_f(CHIP, circuit) == pytest.approx(NOMINAL_F[circuit] * scale.get(circuit, 1.0), rel=1e-12)
    assert found.board == "b7"


def test_a_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    save_calibration(full(), tmp_path / "full.json")
    found = load_calibration(CHIP, tmp_path / "full.json", board="b7")
    assert found == sealed(full())
    assert found.model_copy(update={"sha256": ""}) == full()
    assert sealed(found) == found
    assert [p.name for p in tmp_path.iterdir()] == ["full.json"]


def test_scales_belong_to_one_core() -> None:
    found = full()
    assert (found.scale(0, 1, "tau_s"), found.scale(0, 1, "tau2_s"), found.scale(3, 3, "AMPA.weight_a")) == (1.25, 0.5, 0.75)
    assert found.scale(0, 0, "tau_s") == found.scale(1, 1, "tau_s") == found.scale(0, 1, "AMPA.weight_a") == 1.0
    assert found.scales_of((0, 1)) == {"tau_s": 1.25, "tau2_s": 0.5}
    assert found.scales_of((2, 2)) == found.scales_of(None) == {}


def test_excluded_neurons_count_as_dead() -> None:
    found = full().defects
    assert found.dead_neurons == ((0, 0, 17), (1, 2, 3))
    assert set(found.dead_cam) == {(1, 2, 3, 4), (0, 0, 0, 63)}
    assert found.stuck_tag_bits == ((3, 3, 255, 63, 9, 1),)


def test_missing_record(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"none.json"):
        load_calibration(CHIP, tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b"{", b"not json", b"\xff\xfe\x00", b'{"format": "bcall_hw/calibration"'])
def test_corrupt_record(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"bad.json"):
        load_calibration(CHIP, path)


@pytest.mark.parametrize("values", [[], 3, "text", {}, record() | {"format": "bcall_hw/network"}, {"format": None}])
def test_foreign_record(values: Any, tmp_path: Path) -> None:
    with pytest.raises(ForeignFile, match=r"bad.json"):
        load_calibration(CHIP, write(tmp_path / "bad.json", values))


def test_record_of_another_chip(tmp_path: Path) -> None:
    with pytest.raises(ForeignFile, match=r"bad.json.*got dynapse9, limit dynapse1"):
        load_calibration(CHIP, write(tmp_path / "bad.json", record(chip="dynapse9")))


def test_record_that_was_made_with_another_chip_model_file(tmp_path: Path) -> None:
    with pytest.raises(ForeignFile, match=r"bad.json.*another chip model file.*Calibrate again") as caught:
        load_calibration(CHIP, write(tmp_path / "bad.json", record(chip_sha256="0" * 64)))
    assert (caught.value.used, caught.value.limit) == ("0" * 12, CHIP.fingerprint[:12])


@pytest.mark.parametrize(
    ("version", "fix"), [(1, "Calibrate again."), (3, "Update bcall-hw."), (None, "Update"), ("2", "Update"), ([2], "Update")]
)
def test_record_of_another_version(version: Any, fix: str, tmp_path: Path) -> None:
    values = record() | {"format_version": version}
    with pytest.raises(ForeignFile, match=r"bad.json.*format version") as caught:
        load_calibration(CHIP, write(tmp_path / "bad.json", values))
    assert fix in caught.value.fix


def test_a_record_of_version_1_is_to_be_made_again(tmp_path: Path) -> None:
    old = {"format": "bcall_hw/calibration", "format_version": 1, "kind": "measured", "chip": "dynapse1", "board": "b",
           "date": "2025-01-01", "synapse_gains": [[0, 0, 1, "AMPA", 0.8]]}  # fmt: skip
    with pytest.raises(ForeignFile, match="Calibrate again"):
        load_calibration(CHIP, write(tmp_path / "old.json", old))


def test_record_of_another_board(tmp_path: Path) -> None:
    path = write(tmp_path / "b7.json", record())
    assert load_calibration(CHIP, path, board="b7").board == "b7"
    with pytest.raises(WrongBoard, match=r"b7.json.*got b7, limit b8") as caught:
        load_calibration(CHIP, path, board="b8")
    assert isinstance(caught.value, ForeignFile)
    assert caught.value.fix
    assert load_calibration(CHIP, board="b8").kind == "nominal"
    with pytest.raises(WrongBoard):
        check_board(measured(), "")
    check_board(measured(), "b7")
    check_board(load_calibration(CHIP), "b8")


def test_a_stale_record(tmp_path: Path) -> None:
    path = write(tmp_path / "b7.json", record(expires="2026-02-01T00:00:00Z"))
    last = datetime(2026, 2, 1, tzinfo=timezone.utc)
    load_calibration(CHIP, path, now=last)
    for now in (last + timedelta(seconds=1), (last + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=-9)))):
        with pytest.raises(StaleRecord, match=r"b7.json.*got 2026-02-01T00:00:01Z, limit 2026-02-01T00:00:00Z.*Calibrate"):
            load_calibration(CHIP, path, now=now)
        assert load_calibration(CHIP, path, now=now, allow_stale=True).board == "b7"
    with pytest.raises(StaleRecord):  # the clock's time, if no other is given
        load_calibration(
            CHIP, write(tmp_path / "old.json", record(date="2001-01-01T00:00:00Z", expires="2001-01-02T00:00:00Z"))
        )


# Damage --------------------------------------------------------------------------------------------------------------


def test_every_changed_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """Each byte, of the gains every tenth, with one bit flipped: never another record, never another error than ours."""
    path, right = tmp_path / "full.json", sealed(full())
    save_calibration(full(), path)
    content, rng, equal = path.read_bytes(), random.Random(1), 0
    gains_from, gains_to = content.index(b'"gain"'), content.index(b'"dead_neurons"')
    for index in range(len(content)):
        if gains_from < index < gains_to and rng.random() < 0.9:
            continue
        damaged = bytearray(content)
        damaged[index] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = load_calibration(CHIP, path, now=datetime(2026, 7, 1, tzinfo=timezone.utc))
        except FileProblem:
            continue
        except InvalidValue as problem:
            assert str(path) in problem.where  # noqa: PT017 (either outcome is allowed)
            continue
        assert found == right, index
        equal += 1
    assert equal < len(content) / 2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_record(share: float, tmp_path: Path) -> None:
    path = tmp_path / "full.json"
    save_calibration(full(), path)
    content = path.read_bytes().rstrip()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CorruptFile, match=r"full.json"):
        load_calibration(CHIP, path)


@pytest.mark.parametrize(
    "changes", [{"seed": 6}, {"board": "b8"}, {"expires": "2999-01-01T00:00:01Z"}, {"excluded": []}, {"sha256": "0" * 64}]
)
def test_a_record_that_was_changed_by_hand(changes: dict[str, Any], tmp_path: Path) -> None:
    values = sealed(full()).model_dump(mode="json") | changes
    with pytest.raises(CorruptFile, match=r"bad.json: was changed after it was written"):
        load_calibration(CHIP, write(tmp_path / "bad.json", values))


def test_a_record_without_its_hash(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="was changed"):
        load_calibration(CHIP, write(tmp_path / "bad.json", measured().model_dump(mode="json")))


def odd_documents() -> dict[str, str]:
    text = json.dumps(record())
    huge = "9" * 400
    swaps = {
        "NaN": ("1.5", "NaN"),
        "infinity": ("1.5", "-Infinity"),
        "too large": ("1.5", "1e999"),
        "huge seed": ('"seed": 0', f'"seed": {huge}'),
        "too long seed": ('"seed": 0', '"seed": ' + "9" * 5000),
        "seed twice": ('"seed": 0', '"seed": 0, "seed": 1'),
        "huge place": ('"excluded": []', f'"excluded": [{{"chip": {huge}, "core": 0, "neuron": 0, "reason": "dead"}}]'),
        "half a character": ('"0.0"', '"\\ud800"'),
        "list": ('"measured"', "[]"),
        "many": ('"dead_neurons": []', '"dead_neurons": [' + ",".join(["[0, 0, 1]"] * 100_000) + "]"),
    }
    swaps |= {f"deep {n}": ('"0.0"', "[" * n + "]" * n) for n in (10, 900, 960, 980, 990, 2000, 100_000)}
    assert all(old in text for old, _ in swaps.values())
    return {name: text.replace(*swap, 1) for name, swap in swaps.items()}


@pytest.mark.parametrize("name", odd_documents())
def test_odd_documents_are_errors_that_name_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(odd_documents()[name])
    with pytest.raises(BcallError, match=r"odd.json"):
        load_calibration(CHIP, path)


# Values --------------------------------------------------------------------------------------------------------------

CORE = {"chip": 0, "core": 1}
GAINS = CORE | {"quantity": "tau_s", "gain": [1.0], "low": [0.9], "high": [1.1]}
MEASURED = CORE | {
    "quantity": "tau_s",
    "unit": "s",
    "target": 0.02,
    "achieved": 0.02,
    "neurons": 3,
    "ok": True,
    "reason": "none",
}
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"capacitance_scale": {"soma": 0.0}}, "soma"),
    ({"capacitance_scale": {"soma": -1.0}}, "soma"),
    ({"capacitance_scale": {"soma": float("nan")}}, "soma"),
    ({"capacitance_scale": {"soma": float("inf")}}, "soma"),
    ({"capacitance_scale": {"soma": "much"}}, "soma"),
    ({"capacitance_scale": {"membrane": 1.0}}, "membrane"),
    ({"kind": "guessed"}, "kind"),
    ({"board": None}, "board"),
    ({"board": ""}, "board"),
    ({"colour": "blue"}, "colour"),
    ({"date": "2026-01-01"}, "date"),
    ({"date": "2026-02-30T00:00:00Z"}, "date.*no such time"),
    ({"date": "2026-01-01T00:00:00+01:00"}, "date"),
    ({"expires": "2025-01-01T00:00:00Z"}, "expires before"),
    ({"expires": None}, "expires.*must say"),
    ({"chip_sha256": None}, "chip_sha256.*must say"),
    ({"chip_sha256": "abc"}, "chip_sha256"),
    ({"backend": None}, "backend.*must say"),
    ({"seed": -1}, "seed"),
    ({"temperature_c": float("nan")}, "temperature_c"),
    ({"core_scales": [[0, 0, "tau_s", 1.0], [0, 0, "speed", 1.0]]}, r"core_scales\.1"),
    ({"core_scales": [[0, 0, "tau_s", 0.009]]}, r"core_scales\.0"),
    ({"core_scales": [[0, 0, "tau_s", 101.0]]}, r"core_scales\.0"),
    ({"core_scales": [[0, 0, "tau_s", 1.0], [0, 1, "tau_s", 1.0], [0, 0, "tau_s", 1.0]]}, r"core_scales\[2\]: is there twice"),
    ({"gains": [GAINS, GAINS]}, r"gains\[1\]: is there twice"),
    ({"gains": [GAINS | {"low": []}]}, "chip 0 core 1.*differ in length"),
    ({"gains": [GAINS | {"low": [1.2]}]}, "chip 0 core 1.*neuron 0.*ends before"),
    ({"gains": [GAINS | {"gain": [200.0]}]}, "gain.*chip 0 core 1"),
    ({"excluded": [CORE | {"neuron": 1, "reason": "dead"}, CORE | {"neuron": 1, "reason": "hot"}]}, r"excluded\[1\].*twice"),
    ({"excluded": [CORE | {"neuron": 1, "reason": "lazy"}]}, "reason.*chip 0 core 1 neuron 1"),
    ({"second_leak": [CORE | {"ratio": 0.0, "neurons": []}]}, "ratio.*chip 0 core 1"),
    ({"second_leak": [CORE | {"ratio": 2.0, "neurons": [4, 4]}]}, "chip 0 core 1.*twice"),
    ({"second_leak": [CORE | {"ratio": 2.0, "neurons": [n]} for n in (1, 2)]}, r"second_leak\[1\].*twice"),
    ({"stuck_tag_bits": [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]}, "stuck at both"),
    ({"measured": [MEASURED | {"ok": False}]}, "chip 0 core 1.*contradict"),
    ({"measured": [MEASURED | {"reason": "drift"}]}, "chip 0 core 1.*contradict"),
    ({"measured": [MEASURED | {"reason": "bored"}]}, "reason.*chip 0 core 1"),
    ({"measured": [MEASURED | {"achieved": None}]}, "without having been measured"),
    ({"measured": [MEASURED | {"residual": 0.1}]}, "residual is not"),
    ({"measured": [MEASURED | {"interval": [0.03, 0.01]}]}, "ends before"),
    ({"measured": [MEASURED | {"unit": "V"}]}, "unit.*chip 0 core 1"),
]


@pytest.mark.parametrize(("changes", "said"), INVALID)
def test_invalid_values(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BcallError, match=said):
        load_calibration(CHIP, write(tmp_path / "bad.json", record(**changes)))
    values = {k: v for k, v in (FIELDS | changes).items() if v is not None}
    with pytest.raises(InvalidValue, match=said):
        Calibration(**values)


ELSEWHERE: list[tuple[dict[str, Any], str]] = [
    ({"core_scales": [[0, 0, "tau_s", 1.0], [4, 0, "tau_s", 1.0]]}, r"core_scales\[1\], chip"),
    ({"core_scales": [[0, 4, "tau_s", 1.0]]}, r"core_scales\[0\], core"),
    ({"gains": [GAINS]}, r"gains\[0\].*got 1, limit 256"),
    ({"gains": [GAINS | {"chip": 7}]}, r"gains\[0\], chip"),
    ({"dead_neurons": [[0, 0, 256]]}, r"dead_neurons\[0\], neuron"),
    ({"dead_cam": [[0, 0, 0, 64]]}, r"dead_cam\[0\], entry"),
    ({"stuck_tag_bits": [[0, 0, 0, 0, 10, 1]]}, r"stuck_tag_bits\[0\], bit"),
    ({"excluded": [CORE | {"neuron": 256, "reason": "dead"}]}, r"excluded\[0\], neuron"),
    ({"second_leak": [CORE | {"ratio": 2.0, "neurons": [3, 256]}]}, r"second_leak\[0\].neurons\[1\], neuron"),
    ({"second_leak": [{"chip": 0, "core": 9, "ratio": 2.0, "neurons": []}]}, r"second_leak\[0\], core"),
    ({"measured": [MEASURED | {"core": 4}]}, r"measured\[0\], core"),
    ({"measured": [MEASURED | {"codes": {"IF_TAU1_N": {"coarse": 8, "fine": 0}}}]}, r"measured\[0\].codes.IF_TAU1_N"),
    ({"measured": [MEASURED | {"codes": {"IF_TAU9_N": {"coarse": 1, "fine": 0}}}]}, "IF_TAU9_N"),
]


@pytest.mark.parametrize(("changes", "said"), ELSEWHERE)
def test_places_that_the_chip_does_not_have(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BcallError, match=said):
        load_calibration(CHIP, write(tmp_path / "bad.json", record(**changes)))
    Calibration(**(FIELDS | changes))  # of another chip it may be right


def test_times_as_texts() -> None:
    time = datetime(2026, 11, 23, 13, 5, 9, 700_000, tzinfo=timezone(timedelta(hours=1)))
    assert utc_text(time) == "2026-11-23T12:05:09Z"
    assert utc_time("2026-11-23T12:05:09Z", "here") == time.replace(microsecond=0)


# Defects of both -----------------------------------------------------------------------------------------------------


def test_defects_of_both() -> None:
    one = Defects(dead_neurons=((0, 0, 1), (0, 0, 2)), dead_cam=((0, 0, 0, 1),), stuck_tag_bits=((0, 0, 0, 0, 0, 1),))
    other = Defects(dead_neurons=((0, 0, 2), (0, 0, 0)), stuck_tag_bits=((0, 0, 0, 0, 0, 1), (0, 0, 0, 0, 1, 0)))
    both = one.merged(other)
    assert both.dead_neurons == ((0, 0, 0), (0, 0, 1), (0, 0, 2))
    assert both.dead_cam == ((0, 0, 0, 1),)
    assert both.stuck_tag_bits == ((0, 0, 0, 0, 0, 1), (0, 0, 0, 0, 1, 0))
    assert both == other.merged(one)
    with pytest.raises(InvalidValue, match="stuck at both") as caught:
        one.merged(Defects(stuck_tag_bits=((0, 0, 0, 0, 0, 0),)))
    assert caught.value.used == (0, 0, 0, 0, 0)
