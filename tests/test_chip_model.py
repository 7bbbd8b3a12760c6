"""The chip as data: literal facts of DYNAP-SE1, and everything the loader must refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from bcall_hw.chip_model import ChipModel, known_chips, load_chip
from bcall_hw.errors import BcallError, CorruptFile, InvalidValue, UnknownBias, UnknownChip, UnknownName
from bcall_hw.records import data_folder

CHIP = load_chip("dynapse1")

# name: transistor, addresses in cores 0 to 3, samna's default (coarse, fine), the chip's after opening (coarse, fine)
BIASES = {
    "IF_AHTAU_N": ("N", (14, 15, 78, 79), (4, 80), (0, 35)),
    "IF_AHTHR_N": ("N", (22, 23, 86, 87), (4, 80), (0, 0)),
    "IF_AHW_P": ("P", (38, 39, 102, 103), (0, 0), (0, 0)),
    "IF_BUF_P": ("P", (20, 21, 84, 85), (4, 80), (4, 80)),
    "IF_CASC_N": ("N", (16, 17, 80, 81), (0, 0), (0, 0)),
    "IF_DC_P": ("P", (36, 37, 100, 101), (6, 30), (6, 30)),
    "IF_NMDA_N": ("N", (34, 35, 98, 99), (0, 0), (0, 0)),
    "IF_RFR_N": ("N", (10, 11, 74, 75), (4, 3), (4, 3)),
    "IF_TAU1_N": ("N", (12, 13, 76, 77), (0, 5), (0, 5)),
    "IF_TAU2_N": ("N", (18, 19, 82, 83), (0, 100), (1, 100)),
    "IF_THR_N": ("N", (24, 25, 88, 89), (3, 120), (3, 120)),
    "NPDPIE_TAU_F_P": ("P", (44, 45, 108, 109), (0, 40), (0, 40)),
    "NPDPIE_TAU_S_P": ("P", (46, 47, 110, 111), (0, 0), (0, 0)),
    "NPDPIE_THR_F_P": ("P", (28, 29, 92, 93), (0, 0), (0, 0)),
    "NPDPIE_THR_S_P": ("P", (26, 27, 90, 91), (0, 40), (0, 0)),
    "NPDPII_TAU_F_P": ("P", (42, 43, 106, 107), (0, 0), (0, 0)),
    "NPDPII_TAU_S_P": ("P", (40, 41, 104, 105), (0, 40), (0, 40)),
    "NPDPII_THR_F_P": ("P", (30, 31, 94, 95), (0, 0), (0, 0)),
    "NPDPII_THR_S_P": ("P", (32, 33, 96, 97), (0, 0), (0, 40)),
    "PS_WEIGHT_EXC_F_N": ("N", (8, 9, 72, 73), (0, 0), (0, 0)),
    "PS_WEIGHT_EXC_S_N": ("N", (6, 7, 70, 71), (0, 0), (0, 0)),
    "PS_WEIGHT_INH_F_N": ("N", (4, 5, 68, 69), (0, 0), (0, 0)),
    "PS_WEIGHT_INH_S_N": ("N", (2, 3, 66, 67), (0, 0), (0, 0)),
    "PULSE_PWLK_P": ("P", (0, 1, 64, 65), (4, 106), (4, 106)),
    "R2R_P": ("P", (48, 49, 112, 113), (3, 85), (3, 85)),
}
CIRCUIT_BIASES = {
    "AMPA": ("NPDPIE_TAU_F_P", "NPDPIE_THR_F_P", "PS_WEIGHT_EXC_F_N"),
    "NMDA": ("NPDPIE_TAU_S_P", "NPDPIE_THR_S_P", "PS_WEIGHT_EXC_S_N"),
    "GABA_A": ("NPDPII_TAU_F_P", "NPDPII_THR_F_P", "PS_WEIGHT_INH_F_N"),
    "GABA_B": ("NPDPII_TAU_S_P", "NPDPII_THR_S_P", "PS_WEIGHT_INH_S_N"),
    "ahp": ("IF_AHTAU_N", "IF_AHTHR_N", "IF_AHW_P"),
}
ROW_1 = (6, 47, 324, 2553, 19616, 158039, 1254902, 9411765)
ROW_3 = (18, 124, 965, 7659, 58847, 471569, 3764706, 28235296)
TABLE_SHA256 = "347f0b26d63d658be7c0833435b5e2aee185444199ab831ef14437a321a02f31"


def test_geometry() -> None:
    g = CHIP.geometry
    assert (g.chips, g.chip_columns, g.cores, g.neurons) == (4, 2, 4, 256)


# Chips lie 0 1 / 2 3: (east, north) steps.
HOPS = {
    (0, 0): (0, 0), (0, 1): (1, 0), (0, 2): (0, -1), (0, 3): (1, -1),
    (1, 0): (-1, 0), (1, 1): (0, 0), (1, 2): (-1, -1), (1, 3): (0, -1),
    (2, 0): (0, 1), (2, 1): (1, 1), (2, 2): (0, 0), (2, 3): (1, 0),
    (3, 0): (-1, 1), (3, 1): (0, 1), (3, 2): (-1, 0), (3, 3): (0, 0),
}  # fmt: skip


@pytest.mark.parametrize(("from_chip", "to_chip"), HOPS)
def test_hops(from_chip: int, to_chip: int) -> None:
    assert CHIP.geometry.hops(from_chip, to_chip) == HOPS[from_chip, to_chip]


def test_limits() -> None:
    cleared = CHIP.cam.cleared
    assert (CHIP.cam.entries, cleared.source_core, cleared.source_neuron, cleared.type) == (64, 0, 0, 0)
    assert (CHIP.sram.entries, CHIP.sram.monitor_entry, CHIP.sram.usable) == (4, 0, (1, 2, 3))
    assert (CHIP.sram.virtual_cores, CHIP.sram.max_hops) == (4, 3)
    assert set(CHIP.sram.warned_links) == {(a, b) for a in (0, 2) for b in (1, 3)}
    assert CHIP.tags_per_core == 1024
    assert CHIP.reserved_tags == {0}
    s = CHIP.stimulus
    assert (s.sources, s.clock_hz, s.max_isi, s.max_events, s.max_isi_base) == (1024, 90e6, 65534, 32766, 65535)
    p = CHIP.poisson
    assert (p.step_hz, p.max_hz, p.target_chips) == (0.06706, 4300.0, 1)
    assert (CHIP.timestamps.unit_us, CHIP.timestamps.max_us) == (1, 2**31 - 1)


def test_synapse_types() -> None:
    assert {t.name: (t.code, t.effect) for t in CHIP.synapse_types} == {
        "GABA_B": (0, "subtractive"), "GABA_A": (1, "shunting"), "NMDA": (2, "gated"), "AMPA": (3, "excitatory"),
    }  # fmt: skip
    with pytest.raises(UnknownName, match=r"AMPB.*GABA_B, GABA_A, NMDA, AMPA"):
        CHIP.synapse_type("AMPB")


def test_biases() -> None:
    found = {
        b.name: (
            b.transistor,
            b.addresses,
            (b.samna_default.coarse, b.samna_default.fine),
            (b.chip_after_open.coarse, b.chip_after_open.fine),
        )
        for b in CHIP.biases
    }
    assert found == BIASES
    assert [b.name for b in CHIP.biases if not b.chip_after_open.high] == ["IF_TAU1_N"]
    assert all(b.samna_default.high for b in CHIP.biases)
    assert all(b.name.endswith(f"_{b.transistor}") for b in CHIP.biases)


def test_every_bias_address_is_unique_across_cores() -> None:
    addresses = [a for b in CHIP.biases for a in b.addresses]
    assert len(set(addresses)) == len(addresses) == 100
    assert all(0 <= a < 128 for a in addresses)


def test_roles_are_the_circuits_biases() -> None:
    for circuit, names in CIRCUIT_BIASES.items():
        for role, name in zip(("tau", "gain", "weight"), names, strict=True):
            assert CHIP.biases[CHIP.bias_index(f"{circuit}_{role}")].name == name
    shared = {"leak1": "IF_TAU1_N", "leak2": "IF_TAU2_N", "gain": "IF_THR_N", "dc": "IF_DC_P", "refractory": "IF_RFR_N"}
    for role, name in (shared | {"pulse_width": "PULSE_PWLK_P", "ahp_enable": "IF_CASC_N", "nmda_gate": "IF_NMDA_N"}).items():
        assert CHIP.bias_index(role) == CHIP.bias_index(name)
    with pytest.raises(UnknownBias, match=r"dynapse1.*IF_NOTHING.*IF_AHTAU_N, .*R2R_P"):
        CHIP.bias_index("IF_NOTHING")


def test_current_table() -> None:
    assert CHIP.current_table.unit_a == 1e-14
    assert len(CHIP.currents) == 8
    assert {len(row) for row in CHIP.currents} == {256}
    assert tuple(row[0] for row in CHIP.currents) == (0,) * 8
    assert tuple(row[1] for row in CHIP.currents) == ROW_1
    assert tuple(row[3] for row in CHIP.currents) == ROW_3
    text = "\n".join(",".join(str(CHIP.currents[c][f]) for c in range(8)) for f in range(256))
    assert hashlib.sha256(text.encode()).hexdigest() == TABLE_SHA256
    full_scales = (15e-12, 105e-12, 820e-12, 6.5e-9, 50e-9, 400e-9, 3.2e-6, 24e-6)
    assert [float(row[255]) for row in CHIP.current_a] == pytest.approx(full_scales, rel=0.02)


def test_currents_are_1812_distinct_and_strictly_ascending() -> None:
    distinct = {value for row in CHIP.currents for value in row}
    assert len(distinct) == 1812
    current, codes = CHIP.sorted_codes
    assert all(a < b for a, b in zip(current.tolist(), current.tolist()[1:], strict=False))
    assert current.tolist() == pytest.approx(sorted(v * 1e-14 for v in distinct if v > 50), rel=1e-12)
    for (coarse, fine), value in zip(codes.tolist(), current.tolist(), strict=True):
        assert CHIP.currents[coarse][fine] * 1e-14 == pytest.approx(value, rel=1e-12)


def test_of_codes_with_one_current_the_lower_coarse_one_is_kept() -> None:
    _, codes = CHIP.sorted_codes
    for coarse, fine in codes.tolist():
        value = CHIP.currents[coarse][fine]
        assert not any(value in CHIP.currents[lower] for lower in range(coarse))


def numeric_tables(value: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Tables that hold numbers themselves, or in an array or inline table of theirs."""
    found = []
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += numeric_tables(item, f"{path}[{index}]")
    if isinstance(value, dict):
        if any(
            isinstance(v, int | float) or (isinstance(v, list) and v and not isinstance(v[0], dict)) for v in value.values()
        ):
            found.append((path, value))
        for name, item in value.items():
            found += numeric_tables(item, f"{path}.{name}")
    return found


def test_every_numeric_table_names_a_source_that_exists() -> None:
    values = tomlkit.parse((data_folder("chip_models") / "dynapse1.toml").read_text()).unwrap()
    sources = values["sources"]
    assert all(isinstance(text, str) and len(text) > 10 for text in sources.values())
    values.pop("schema_version")
    values.pop("sources")
    seen = 0

    def walk(value: Any, path: str, inherited: bool) -> None:
        nonlocal seen
        if isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, f"{path}[{index}]", inherited)
            return
        if not isinstance(value, dict):
            assert inherited or isinstance(value, str), f"{path} has no source"
            return
        named = "source" in value
        if named:
            assert value["source"] in sources, path
            seen += 1
        for name, item in value.items():
            walk(item, f"{path}.{name}", inherited or named)

    for name, table in values.items():
        walk(table, name, inherited=False)
    assert seen > 40
    used = {t["source"] for _, t in numeric_tables(values) if "source" in t}
    assert used <= sources.keys()


@pytest.mark.parametrize("name", ["dynapse9", "", "dynapse", "../dynapse1", "nowhere/else.toml"])
def test_unknown_chip_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownChip, match="Known: dynapse1") as caught:
        load_chip(name)
    assert caught.value.used == name


def test_known_chips() -> None:
    assert known_chips() == ["dynapse1"]


# Damaged models ------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the shipped model with pieces of its text replaced."""
    folder = data_folder("chip_models")

    def make(*replaced: tuple[str, str], table: Callable[[str], str] | None = None) -> Path:
        text = (folder / "dynapse1.toml").read_text()
        for old, new in replaced:
            assert old in text, old
            text = text.replace(old, new, 1)
        currents = (folder / "dynapse1_currents.csv").read_bytes()
        (tmp_path / "dynapse1_currents.csv").write_bytes(table(currents.decode()).encode() if table else currents)
        path = tmp_path / "copy.toml"
        path.write_text(text)
        return path

    return make


def test_a_faithful_copy_loads_and_is_the_same_chip(copy: Callable[..., Path]) -> None:
    assert load_chip(str(copy())) == CHIP


def test_a_changed_number_makes_another_chip(copy: Callable[..., Path]) -> None:
    other = load_chip(str(copy(("max_hz = 4300.0", "max_hz = 4200.0"))))
    assert isinstance(other, ChipModel)
    assert other != CHIP
    assert other.name == CHIP.name
    assert hash(other) != hash(CHIP)


CAM_TABLE = '[cam]\nsource = "libcaer"\nentries = 64'
REFUSED: dict[str, tuple[list[tuple[str, str]], type[BcallError], str]] = {
    "syntax": ([("[geometry]", "[geometry")], CorruptFile, "copy.toml"),
    "table twice": ([("[cam]", "[geometry]")], CorruptFile, "copy.toml"),
    "key twice": ([("chips = 4", "chips = 4\nchips = 4")], CorruptFile, "copy.toml"),
    "current table missing": ([("[current_table]", "[currents]")], CorruptFile, "current_table"),
    "current table no table": ([("schema_version = 1", "schema_version = 1\ncurrent_table = 3"), ("[current_table]", "[x]")],
                               CorruptFile, "copy.toml"),
    "current file missing": ([("dynapse1_currents.csv", "nothing.csv")], CorruptFile, "nothing.csv"),
    "table missing": ([("[poisson]", "[poison]")], InvalidValue, "poisson"),
    "field missing": ([("max_isi = 65534", "")], InvalidValue, "max_isi"),
    "unknown field": ([("chips = 4", "chips = 4\nchip_rows = 2")], InvalidValue, "chip_rows"),
    "source missing": ([(CAM_TABLE, "[cam]\nentries = 64")], InvalidValue, "source"),
    "source unknown": ([(CAM_TABLE, CAM_TABLE.replace("libcaer", "hearsay"))], CorruptFile, "hearsay"),
    "constant's source unknown": ([('value = 0.025\nsource = "chicca2014"', 'value = 0.025\nsource = "hearsay"')],
                                  CorruptFile, "hearsay"),
    "negative": ([("chips = 4", "chips = -4")], InvalidValue, "chips"),
    "not finite": ([("step_hz = 0.06706", "step_hz = nan")], InvalidValue, "step_hz"),
    "not a number": ([("cores = 4", 'cores = "four"')], InvalidValue, "cores"),
    "schema": ([("schema_version = 1", "schema_version = 2")], InvalidValue, "schema_version"),
    "role twice": ([('role = "ahp_tau"', 'role = "ahp_gain"')], CorruptFile, "twice"),
    "address missing": ([("addresses = [14, 15, 78, 79]", "addresses = [14, 15, 78]")], CorruptFile, "IF_AHTAU_N"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_model_is_refused(name: str, copy: Callable[..., Path]) -> None:
    replaced, kind, said = REFUSED[name]
    with pytest.raises(kind, match=said):
        load_chip(str(copy(*replaced)))


TABLES: dict[str, Callable[[str], str]] = {
    "empty": lambda text: text[:0],
    "header alone": lambda text: text.splitlines()[0],
    "row missing": lambda text: "\n".join(text.splitlines()[:-1]),
    "row too many": lambda text: text + "256,1,1,1,1,1,1,1,1\n",
    "column missing": lambda text: "\n".join(line.rsplit(",", 1)[0] for line in text.splitlines()),
    "ragged": lambda text: text.rstrip().rsplit(",", 1)[0],
    "no number": lambda text: text.replace("158039", "many"),
    "truncated in a number's row": lambda text: text[: len(text) // 2],
}


@pytest.mark.parametrize("name", TABLES)
def test_current_table_of_another_shape_is_refused(name: str, copy: Callable[..., Path]) -> None:
    with pytest.raises(CorruptFile, match=r"copy.toml"):
        load_chip(str(copy(table=TABLES[name])))


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(CorruptFile, match=r"binary.toml"):
        load_chip(str(path))
