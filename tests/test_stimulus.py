"""The FPGA's stimulus: times and intervals, limits, words, files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bcall_hw import h5_files
from bcall_hw.chip_model import load_chip
from bcall_hw.errors import (
    BcallError,
    CorruptFile,
    FileProblem,
    ForeignFile,
    InvalidValue,
    IsiOverflow,
    StimulusOrder,
    StimulusProblem,
    StimulusTooLong,
)
from bcall_hw.records import data_folder
from bcall_hw.stimulus import EVENT_DTYPE, Stimulus, load_stimulus

CHIP = load_chip("dynapse1")
MHZ = 90


def events(*rows: tuple[int, int, int, int]) -> Any:
    """(isi, chip, core mask, tag)."""
    return np.array(list(rows), dtype=EVENT_DTYPE)


def made(times: Any, isi_base: int | None = None, chips: Any = 0, core_masks: Any = 1, tags: Any = 5) -> Stimulus:
    return Stimulus.from_times(CHIP, times, chips, core_masks, tags, isi_base)


# Times ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "span_us", "count", "base"),
    [(0, 1e3, 50, None), (1, 1e5, 900, None), (2, 1e7, 900, None), (3, 4e7, 40, 20000), (4, 2e9, 900, 60000)],
)
def test_times_there_and_back_within_half_a_unit(seed: int, span_us: float, count: int, base: int | None) -> None:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, span_us, count))
    stimulus = made(times, base)
    unit_us = stimulus.isi_base / MHZ
    assert unit_us >= 1.0
    assert np.max(np.abs(stimulus.times_us - times)) <= unit_us / 2 * (1 + 1e-9) + 1e-6
    assert int(stimulus.events["isi"].max()) <= 65534
    total = 0
    for tick, isi in zip(stimulus.ticks.tolist(), stimulus.events["isi"].tolist(), strict=True):
        total += isi * stimulus.isi_base
        assert tick == total
    again = made(stimulus.times_us, stimulus.isi_base)
    assert again.events.tobytes() == stimulus.events.tobytes()


def test_the_finest_unit_is_one_microsecond_while_gaps_allow() -> None:
    assert made([0.0, 60_000.0, 120_000.0]).isi_base == 90
    assert made([]).isi_base == 90
    assert made([10.0, 11.0, 70.0]).events["isi"].tolist() == [10, 1, 59]
    assert made([1.0, 1.0, 2.0]).events["isi"].tolist() == [1, 0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_the_unit_taken_is_nearly_the_finest(seed: int) -> None:
    longest = 10 ** random.Random(seed).uniform(5, 5.8)
    stimulus = made([0.0, longest])
    # One unit finer by 1 % would overflow the interval register.
    assert longest * MHZ / (stimulus.isi_base * 0.99 - 1) > 65533
    assert abs(stimulus.times_us[1] - longest) <= stimulus.isi_base / MHZ / 2 * (1 + 1e-9)


@pytest.mark.parametrize("base", [1, 9, 90, 900, 65535])
def test_a_given_unit_is_kept(base: int) -> None:
    times = np.array([0.0, 3.0, 100.0, 650.0])
    stimulus = made(times, base)
    assert stimulus.isi_base == base
    assert np.max(np.abs(stimulus.times_us - times)) <= base / MHZ / 2 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([5.0, 4.0], "stimulus event 1.*got 4.0.*5.0"),
        ([0.0, 1.0, 2.0, 1.5], "stimulus event 3.*got 1.5.*2.0"),
        ([-1.0, 4.0], "negative"),
        ([1.0, -4.0], "stimulus event 1"),
        ([float("nan")], "finite"),
        ([1.0, float("nan"), 2.0], "finite"),
        ([1.0, float("inf")], "finite"),
        ([-float("inf"), 1.0], "finite"),
    ],
)
def test_times_that_are_not_times(times: list[float], said: str) -> None:
    with pytest.raises(StimulusOrder, match=said):
        made(times)


def test_times_of_more_dimensions() -> None:
    with pytest.raises(InvalidValue, match=r"one-dimensional.*\(2, 2\)"):
        made(np.zeros((2, 2)))


@pytest.mark.parametrize("name", ["chips", "core_masks", "tags"])
@pytest.mark.parametrize("length", [0, 1, 2, 4])
def test_columns_of_another_length_are_refused(name: str, length: int) -> None:
    """One value for all events, or one each; a list of one among three events is a mistake or means all: never a crash."""
    try:
        stimulus = made([1.0, 2.0, 3.0], **{name: np.ones(length, dtype=np.int64)})
    except BcallError as problem:
        assert "stimulus" in str(problem)  # noqa: PT017 (either outcome is allowed for one value)
    else:
        assert length == 1
        assert len(stimulus.events) == 3


# Limits --------------------------------------------------------------------------------------------------------------


def test_32766_events_are_accepted_and_32767_refused() -> None:
    assert len(made(np.arange(32766.0)).events) == 32766
    Stimulus(CHIP, np.zeros(32766, dtype=EVENT_DTYPE))
    with pytest.raises(StimulusTooLong, match="got 32767, limit 32766"):
        made(np.arange(32767.0))
    with pytest.raises(StimulusTooLong, match="got 32767, limit 32766"):
        Stimulus(CHIP, np.zeros(32767, dtype=EVENT_DTYPE))


def test_the_longest_gap_of_a_given_unit() -> None:
    assert made([0.0, 65534.0], 90).events["isi"].tolist() == [0, 65534]
    assert made([65534.0], 90).events["isi"].tolist() == [65534]
    with pytest.raises(IsiOverflow, match=r"stimulus event 1.*got 65535.0, limit 65534.0.*isi_base"):
        made([0.0, 65535.0], 90)
    with pytest.raises(IsiOverflow, match="stimulus event 2"):
        made([5.0, 6.0, 65541.0], 90)
    with pytest.raises(IsiOverflow, match="stimulus event 0"):
        made([65536.0], 90)
    with pytest.raises(IsiOverflow):
        made([0.0, 1000.0], 1)


def test_the_longest_gap_of_any_unit() -> None:
    assert made([0.0, 655338.5]).isi_base == 900  # 10 us, the coarsest that is taken unasked
    with pytest.raises(IsiOverflow, match=r"stimulus event 1.*isi_base") as caught:
        made([0.0, 656000.0, 656001.0])
    assert caught.value.limit == pytest.approx(655340.0)
    longest = 65534 * 65535 / 90
    assert made([0.0, longest - 1.5], 65535).isi_base == 65535
    with pytest.raises(IsiOverflow, match="stimulus event 1") as caught:
        made([0.0, longest + 2000.0, longest + 2001.0], 65535)
    assert caught.value.limit == pytest.approx(longest)


@pytest.mark.parametrize("gap", [1e8, 1e12, 1e15, 1e18, 1e19, 1e25, 1e100, 1e300, 1.7e308])
def test_huge_gaps(gap: float) -> None:
    for base in (None, 1, 90, 65535):
        with pytest.raises(IsiOverflow, match="stimulus event 1"):
            made([1.0, gap], base)
        with pytest.raises(IsiOverflow, match="stimulus event 0"):
            made([gap], base)


@pytest.mark.parametrize("base", [0, -1, 65536, 10**9])
def test_isi_base_out_of_range(base: int) -> None:
    with pytest.raises(StimulusProblem, match=f"isi_base.*got {base}, limit 65535"):
        Stimulus(CHIP, isi_base=base)
    with pytest.raises(StimulusProblem, match=f"isi_base.*{base}"):
        made([0.0, 1.0], base)


@pytest.mark.parametrize(
    ("name", "value", "top"),
    [("chip", 4, 3), ("chip", 255, 3), ("core_mask", 16, 15), ("core_mask", 255, 15), ("tag", 1024, 1023), ("tag", 65535, 1023),
     ("isi", 65535, 65534)],
)  # fmt: skip
def test_event_out_of_range_names_event_and_field(name: str, value: int, top: int) -> None:
    column = events((1, 0, 1, 5), (1, 3, 15, 1023), (1, 0, 1, 5))
    column[name][1] = value
    with pytest.raises(StimulusProblem, match=rf"stimulus event 1: {name} out of range \(got {value}, limit {top}\)"):
        Stimulus(CHIP, column)


@pytest.mark.parametrize("argument", ["chips", "core_masks", "tags"])
@pytest.mark.parametrize("value", [-1, -70_000, 256 * 256, 10**12])
def test_from_times_refuses_what_no_register_holds_and_names_it(argument: str, value: int) -> None:
    field = {"chips": "chip", "core_masks": "core_mask", "tags": "tag"}[argument]
    with pytest.raises(StimulusProblem, match=f"{field} out of range.*got {value}"):
        made([1.0, 2.0, 3.0], **{argument: np.array([1, value, 2])})


@pytest.mark.parametrize(("argument", "value", "top"), [("chips", 4, 3), ("core_masks", 16, 15), ("tags", 1024, 1023)])
def test_from_times_out_of_range(argument: str, value: int, top: int) -> None:
    with pytest.raises(StimulusProblem, match=f"stimulus event 2.*got {value}, limit {top}"):
        made([1.0, 2.0, 3.0], **{argument: np.array([1, 1, value])})


@pytest.mark.parametrize("argument", ["chips", "core_masks", "tags"])
@pytest.mark.parametrize("value", [1.5, float("nan")])
def test_from_times_refuses_what_is_no_whole_number(argument: str, value: float) -> None:
    with pytest.raises(BcallError):
        made([1.0], **{argument: np.array([value])})


def test_events_of_another_dtype() -> None:
    with pytest.raises(InvalidValue, match="dtype"):
        Stimulus(CHIP, np.zeros(3, dtype=np.int64))


def test_arrays_are_read_only() -> None:
    stimulus = Stimulus(CHIP, events((1, 0, 1, 5)), poisson_rates_hz=np.zeros(3))
    assert not stimulus.events.flags.writeable
    assert not stimulus.poisson_rates_hz.flags.writeable


# Poisson -------------------------------------------------------------------------------------------------------------


def test_poisson_sources() -> None:
    rates = np.zeros(1024)
    rates[[0, 1023]] = (4300.0, 0.5)
    stimulus = Stimulus(CHIP, poisson_rates_hz=rates, poisson_chip=3, poisson_core_mask=15)
    assert stimulus.poisson_rates_hz.tolist() == rates.tolist()


@pytest.mark.parametrize("rate", [-0.1, 4300.1, 1e9, float("nan"), float("inf"), -float("inf")])
def test_poisson_rate_out_of_range(rate: float) -> None:
    with pytest.raises(StimulusProblem, match=rf"Poisson source 7: rate.*got {rate}, limit 0 to 4300"):
        Stimulus(CHIP, poisson_rates_hz=np.array([1.0] * 7 + [rate]), poisson_core_mask=1)


def test_too_many_poisson_sources() -> None:
    with pytest.raises(StimulusProblem, match=r"Poisson sources.*got 1025, limit 1024"):
        Stimulus(CHIP, poisson_rates_hz=np.zeros(1025), poisson_core_mask=1)


def test_poisson_sources_without_a_target_core() -> None:
    with pytest.raises(StimulusProblem, match=r"reach no core.*core mask 0"):
        Stimulus(CHIP, poisson_rates_hz=np.array([0.0, 1.0]))
    Stimulus(CHIP, poisson_rates_hz=np.zeros(5))


@pytest.mark.parametrize(("chip", "mask"), [(4, 1), (-1, 1), (0, 16), (0, -1)])
def test_poisson_target_out_of_range(chip: int, mask: int) -> None:
    with pytest.raises(StimulusProblem, match=rf"Poisson target.*\({chip}, {mask}\)"):
        Stimulus(CHIP, poisson_rates_hz=np.ones(2), poisson_chip=chip, poisson_core_mask=mask)


# Words ---------------------------------------------------------------------------------------------------------------


def test_words_against_literal_bits() -> None:
    rng = random.Random(6)
    rows = [(rng.randint(0, 65534), rng.randint(0, 3), rng.randint(0, 15), rng.randint(0, 1023)) for _ in range(5000)]
    expected = [chip << 14 | (tag & 255) << 6 | (tag >> 8) << 4 | mask for _, chip, mask, tag in rows]
    assert Stimulus(CHIP, events(*rows)).words().tolist() == expected
    assert Stimulus(CHIP, events((0, 2, 0b0101, 0x2C3))).words().tolist() == [0b10_11000011_10_0101]
    assert Stimulus(CHIP).words().tolist() == []


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "play.h5"
    rates = np.linspace(0, 4300, 40)
    Stimulus(CHIP, events((3, 1, 2, 7), (9, 3, 15, 1023)), 450, rates, 2, 0b0110).save(path)
    return path


def test_save_and_load(saved: Path) -> None:
    for found in (Stimulus.load(saved), load_stimulus(CHIP, saved)):
        assert found.events.tolist() == [(3, 1, 2, 7), (9, 3, 15, 1023)]
        assert (found.isi_base, found.poisson_chip, found.poisson_core_mask) == (450, 2, 0b0110)
        assert found.poisson_rates_hz.tolist() == np.linspace(0, 4300, 40).tolist()
        assert found.chip == CHIP
    assert list(saved.parent.iterdir()) == [saved]


def test_save_and_load_of_nothing(tmp_path: Path) -> None:
    Stimulus(CHIP).save(tmp_path / "none.h5")
    found = Stimulus.load(tmp_path / "none.h5")
    assert found.events.size == found.poisson_rates_hz.size == 0


def test_missing_text_truncated_and_foreign_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"nowhere.h5"):
        load_stimulus(CHIP, tmp_path / "nowhere.h5")
    with pytest.raises(FileProblem, match=r"nowhere.csv"):
        load_stimulus(CHIP, tmp_path / "nowhere.csv")
    content = saved.read_bytes()
    for part in (content[:0], content[: len(content) // 2], b"text\n" * 50):
        saved.write_bytes(part)
        with pytest.raises((CorruptFile, ForeignFile), match=r"play.h5"):
            load_stimulus(CHIP, saved)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file.attrs["format"] = "bcall_hw/chip_config"
    with pytest.raises(ForeignFile, match=r"other.h5"):
        load_stimulus(CHIP, other)


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [({"isi_base": None}, CorruptFile), ({"chip": None}, CorruptFile), ({"chip": "dynapse9"}, FileProblem),
     ({"isi_base": "many"}, CorruptFile), ({"format_version": 7}, ForeignFile), ({"isi_base": 0}, BcallError),
     ({"poisson_chip": 9}, BcallError)],
)  # fmt: skip
def test_wrong_attributes(attributes: dict[str, Any], kind: type[BcallError], saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        for name, value in attributes.items():
            if value is None:
                del file.attrs[name]
            else:
                file.attrs[name] = value
    h5_files.seal(saved)
    with pytest.raises(kind):
        Stimulus.load(saved)


@pytest.mark.parametrize("name", ["events", "poisson_rates_hz"])
def test_a_missing_part(name: str, saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        del file[name]
    h5_files.seal(saved)
    with pytest.raises(CorruptFile, match=r"play.h5"):
        Stimulus.load(saved)


def test_flipped_bits_are_refused_or_harmless(saved: Path) -> None:
    """One bit at a time: never a stimulus with other events, and never an error of another kind."""
    good = Stimulus.load(saved)
    content = saved.read_bytes()
    rng = random.Random(9)
    for _ in range(150):
        at = rng.randrange(len(content))
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.randrange(8)
        saved.write_bytes(damaged)
        try:
            found = Stimulus.load(saved)
        except BcallError:
            continue
        assert found.events.tobytes() == good.events.tobytes(), at
        assert found.poisson_rates_hz.tobytes() == good.poisson_rates_hz.tobytes(), at
        assert (found.isi_base, found.poisson_chip, found.poisson_core_mask) == (450, 2, 0b0110), at


def test_stimulus_for_another_chip(saved: Path, tmp_path: Path) -> None:
    folder = data_folder("chip_models")
    text = (folder / "dynapse1.toml").read_text().replace("max_hz = 4300.0", "max_hz = 4000.0")
    (tmp_path / "other.toml").write_text(text)
    (tmp_path / "dynapse1_currents.csv").write_bytes((folder / "dynapse1_currents.csv").read_bytes())
    with pytest.raises(ForeignFile, match=r"play.h5"):
        load_stimulus(load_chip(str(tmp_path / "other.toml")), saved)


HEADER = "time_us,chip,core_mask,tag\n"


def csv(tmp_path: Path, text: str) -> Stimulus:
    path = tmp_path / "play.csv"
    path.write_text(text)
    return load_stimulus(CHIP, path)


def test_csv(tmp_path: Path) -> None:
    found = csv(tmp_path, HEADER + "10,0,1,7\n\n 12.4 , 3, 15 ,1023\n")
    assert found.times_us.tolist() == pytest.approx([10, 12], abs=1e-9)
    assert [e[1:] for e in found.events.tolist()] == [(0, 1, 7), (3, 15, 1023)]
    assert csv(tmp_path, HEADER).events.size == 0
    assert csv(tmp_path, " time_us, chip,core_mask ,tag\r\n1,0,1,7\r\n").events.size == 1


@pytest.mark.parametrize(
    "text", ["", "\n\n", "1,0,1,7\n", "time,chip,core_mask,tag\n1,0,1,7\n", "time_us,chip,tag,core_mask\n"]
)
def test_csv_without_its_header(text: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=r"play.csv.*time_us,chip,core_mask,tag"):
        csv(tmp_path, text)


@pytest.mark.parametrize("line", ["1,0,1", "1,0,1,7,8", "soon,0,1,7", "1,0,1.5,7", "1,0,,7", "1;0;1;7", "1,0,1,0x7", ",,,"])
def test_csv_bad_line(line: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=r"play.csv line 3") as caught:
        csv(tmp_path, f"{HEADER}1,0,1,7\n{line}\n5,0,1,7\n")
    assert caught.value.used == line


def test_csv_bad_line_after_blank_ones_is_counted_as_an_editor_does(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=r"play.csv line 6"):
        csv(tmp_path, f"{HEADER}\n1,0,1,7\n\n\nbad\n")


@pytest.mark.parametrize(
    ("line", "kind"),
    [("nan,0,1,7", StimulusOrder), ("inf,0,1,7", StimulusOrder), ("-1,0,1,7", StimulusOrder), ("1,4,1,7", StimulusProblem),
     ("1,0,16,7", StimulusProblem), ("1,0,1,1024", StimulusProblem), ("1,-1,1,7", StimulusProblem),
     ("1,0,1,70000", StimulusProblem), ("1,0,1,99999999999999999999", BcallError), ("1e300,0,1,7", IsiOverflow)],
)  # fmt: skip
def test_csv_values_out_of_range(line: str, kind: type[BcallError], tmp_path: Path) -> None:
    with pytest.raises(kind):
        csv(tmp_path, f"{HEADER}{line}\n")


def test_csv_out_of_order(tmp_path: Path) -> None:
    with pytest.raises(StimulusOrder, match="stimulus event 1"):
        csv(tmp_path, HEADER + "5,0,1,7\n4,0,1,7\n")


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "play.csv"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(CorruptFile, match=r"play.csv"):
        load_stimulus(CHIP, path)


@pytest.mark.parametrize("rates", [np.full(4, 50.0, dtype=np.float32), np.full((2, 2), 50.0), np.full(4, 50)])
def test_poisson_rates_are_one_row_of_float64(rates: np.ndarray) -> None:
    """Other types round to other steps of the register."""
    with pytest.raises(InvalidValue, match="float64"):
        Stimulus(CHIP, poisson_rates_hz=rates, poisson_core_mask=1)


@pytest.mark.parametrize("field", ["poisson_core_mask", "poisson_chip", "isi_base"])
@pytest.mark.parametrize("value", [1.0, 1.5, True, "1", None])
def test_registers_of_the_stimulus_are_whole_numbers(field: str, value: object) -> None:
    with pytest.raises(StimulusProblem, match="whole number"):
        Stimulus(CHIP, **{field: value})  # type: ignore[arg-type]
