"""The register image: words, differences, equality, files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bcall_hw import h5_files
from bcall_hw.chip_config import BIAS_DTYPE, CAM_DTYPE, SRAM_DTYPE, WORD_DTYPE, ChipConfig
from bcall_hw.chip_model import load_chip
from bcall_hw.errors import BcallError, CorruptFile, FieldOverflow, FileProblem, ForeignFile, InvalidValue, UnknownBias
from bcall_hw.records import data_folder

CHIP = load_chip("dynapse1")
TOPS: dict[str, dict[str, int]] = {
    "cam": {"source_core": 3, "source_neuron": 255, "type": 3},
    "sram": {"virtual_core": 3, "sy": 1, "dy": 3, "sx": 1, "dx": 3, "core_mask": 15},
    "biases": {"coarse": 7, "fine": 255, "high": 1},
}
DTYPES = {"cam": CAM_DTYPE, "sram": SRAM_DTYPE, "biases": BIAS_DTYPE}
KIND = {"cam": 0, "sram": 1, "bias": 2, "tau2": 3}
ARRAYS = ("cam", "sram", "biases", "tau2")


def random_config(seed: int, chips: tuple[int, ...]) -> ChipConfig:
    rng = np.random.default_rng(seed)
    start = ChipConfig.after_opening(CHIP, chips)
    arrays: dict[str, Any] = {"tau2": rng.random(start.tau2.shape) < 0.5}
    for name, fields in TOPS.items():
        arrays[name] = np.zeros(getattr(start, name).shape, dtype=DTYPES[name])
        for field, top in fields.items():
            arrays[name][field] = rng.integers(0, top + 1, arrays[name].shape)
    return start.with_registers(**arrays)


def slightly_changed(config: ChipConfig, seed: int, count: int) -> tuple[ChipConfig, int]:
    """`config` with a few registers changed, and how many really differ."""
    rng = random.Random(seed)
    arrays: dict[str, Any] = {name: getattr(config, name).copy() for name in ARRAYS}
    places = set()
    for _ in range(count):
        name = rng.choice(ARRAYS)
        index = tuple(rng.randrange(n) for n in arrays[name].shape)
        if name == "tau2":
            arrays[name][index] = not arrays[name][index]
        else:
            field = rng.choice(list(TOPS[name]))
            top = TOPS[name][field]
            arrays[name][index][field] = (int(arrays[name][index][field]) + rng.randint(1, top)) % (top + 1)
        places.add((name, index))
    differ = sum(arrays[name][index] != getattr(config, name)[index] for name, index in places)
    return config.with_registers(**arrays), int(differ)


def word(kind: str, chip: int, value: int) -> Any:
    return np.array([(KIND.get(kind, 9), chip, value)], dtype=WORD_DTYPE)


def test_after_opening() -> None:
    config = ChipConfig.after_opening(CHIP, (0, 1, 2, 3))
    assert config.cam.shape == (4, 4, 256, 64)
    assert config.sram.shape == (4, 4, 256, 3)
    assert config.biases.shape == (4, 4, 25)
    assert config.tau2.shape == (4, 4, 256)
    assert not config.cam.view("<u2").any()
    assert not config.sram.view("<u2").any()
    assert not config.tau2.any()
    assert config.bias(3, 2, "IF_TAU2_N").model_dump() == {"coarse": 1, "fine": 100, "high": True}
    assert config.bias(0, 0, "IF_TAU1_N").model_dump() == {"coarse": 0, "fine": 5, "high": False}


@pytest.mark.parametrize("chips", [(0,), (0, 1, 2, 3), (2,), (1, 3)])
def test_words_there_and_back(chips: tuple[int, ...]) -> None:
    config = random_config(len(chips), chips)
    words = config.words()
    per_chip = 4 * 256 * 64 + 4 * 256 * 3 + 4 * 25 + 4 * 256
    assert words.size == per_chip * len(chips)
    assert np.unique(words["chip"]).tolist() == list(chips)
    back = ChipConfig.from_words(CHIP, chips, words)
    assert back == config
    assert back.sha256 == config.sha256
    assert back.words().tobytes() == words.tobytes()


def test_words_in_reverse_give_the_same_image() -> None:
    config = random_config(7, (0,))
    assert ChipConfig.from_words(CHIP, (0,), config.words()[::-1]) == config


def test_the_last_of_two_words_for_one_register_wins() -> None:
    first, second = random_config(8, (0,)), random_config(9, (0,))
    assert ChipConfig.from_words(CHIP, (0,), np.concatenate([first.words(), second.words()])) == second


def test_no_words_leave_the_opened_chip() -> None:
    assert ChipConfig.from_words(CHIP, (1,), np.zeros(0, dtype=WORD_DTYPE)) == ChipConfig.after_opening(CHIP, (1,))


def test_words_match_literal_bits() -> None:
    config = ChipConfig.after_opening(CHIP, (2,))
    arrays: dict[str, Any] = {name: getattr(config, name).copy() for name in ARRAYS}
    arrays["cam"][0, 3, 0xAB, 61] = (2, 0xC5, 3)
    arrays["sram"][0, 1, 0x7E, 2] = (3, 1, 2, 0, 3, 0b1010)
    arrays["biases"][0, 2, CHIP.bias_index("NPDPIE_TAU_F_P")] = (6, 200, 1)
    arrays["tau2"][0, 3, 17] = True
    found = {(int(k), int(w)) for k, c, w in config.diff(config.with_registers(**arrays)).tolist() if c == 2}
    cam = 3 << 28 | 0xC5 << 20 | 2 << 18 | 1 << 17 | 3 << 15 | 0xA << 11 | 61 << 5 | 0xB
    # SRAM place 2 is entry 3: the monitor's entry 0 has no place.
    sram = 3 << 28 | 1 << 27 | 2 << 25 | 0 << 24 | 3 << 22 | 0b1010 << 18 | 1 << 17 | 1 << 15 | 0x7E << 7 | 3 << 5 | 1 << 4
    bias = 108 << 18 | 1 << 16 | 0b100 << 12 | 200 << 4 | 1 << 3 | 1 << 2 | 0 << 1 | 1
    assert found == {(0, cam), (1, sram), (2, bias), (3, 1 << 10 | 3 << 8 | 17)}


@pytest.mark.parametrize("chips", [(0,), (0, 1, 2, 3)])
def test_no_word_writes_the_monitor_entry(chips: tuple[int, ...]) -> None:
    words = random_config(3, chips).words()
    entries = (words["word"][words["kind"] == KIND["sram"]] >> 5) & 3
    assert np.bincount(entries, minlength=4).tolist() == [0] + [1024 * len(chips)] * 3


@pytest.mark.parametrize("chips", [(0,), (0, 1, 2, 3)])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_diff_turns_the_old_image_into_the_new_one(chips: tuple[int, ...], count: int) -> None:
    old = random_config(11, chips)
    new, differ = slightly_changed(old, 12 + count, count)
    words = old.diff(new)
    assert words.size == differ
    assert np.unique(words).size == words.size
    assert ChipConfig.from_words(CHIP, chips, np.concatenate([old.words(), words])) == new
    assert (old == new) == (differ == 0)
    assert (old.sha256 == new.sha256) == (differ == 0)


def test_diff_of_images_that_differ_everywhere() -> None:
    old, new = random_config(1, (0,)), random_config(2, (0,))
    words = old.diff(new)
    changed = sum(int((getattr(old, name) != getattr(new, name)).sum()) for name in ARRAYS)
    assert words.size == changed
    assert ChipConfig.from_words(CHIP, (0,), np.concatenate([old.words(), words])) == new


def test_diff_and_equality_know_the_chips() -> None:
    one, other = ChipConfig.after_opening(CHIP, (0,)), ChipConfig.after_opening(CHIP, (1,))
    assert one != other
    assert one.sha256 != other.sha256
    assert one != "something else"
    with pytest.raises(InvalidValue, match=r"diff.*\(1,\).*\(0,\)"):
        one.diff(other)
    with pytest.raises(TypeError):
        hash(one)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_single_change_breaks_equality(name: str) -> None:
    old = random_config(5, (0,))
    array = getattr(old, name).copy()
    index = tuple(n - 1 for n in array.shape)
    if name == "tau2":
        array[index] = not array[index]
    else:
        field = list(TOPS[name])[-1]
        array[index][field] = int(array[index][field]) ^ 1
    new = old.with_registers(**{name: array})
    assert old != new
    assert (old.cam_sha256 != new.cam_sha256) == (name == "cam")
    assert old.sha256 != new.sha256


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_read_only(name: str) -> None:
    config = random_config(6, (0,))
    copy = config.with_registers(**{name: getattr(config, name).copy()})
    for array in (getattr(config, name), getattr(copy, name)):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[(0,) * array.ndim] = array[(0,) * array.ndim]


@pytest.mark.parametrize("chips", [(), (4,), (-1,), (1, 0), (0, 0), (0, 1, 2, 3, 4)])
def test_wrong_chip_ids_are_refused(chips: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValue, match="chip ids"):
        ChipConfig.after_opening(CHIP, chips)


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_another_shape_or_type_are_refused(name: str) -> None:
    config = ChipConfig.after_opening(CHIP, (0,))
    array = getattr(config, name)
    for bad in (array[:, :3], np.zeros(array.shape, dtype=np.int32), array[0]):
        with pytest.raises(InvalidValue, match=f"ChipConfig.{name}"):
            config.with_registers(**{name: bad})


def test_registers_that_fit_no_word_are_refused_when_packed() -> None:
    config = ChipConfig.after_opening(CHIP, (0,))
    cam = config.cam.copy()
    cam[0, 0, 0, 0] = (0, 300, 0)
    with pytest.raises(FieldOverflow, match=r"source_neuron.*got 300, limit 255"):
        config.with_registers(cam=cam).words()


def test_bias_is_looked_up_by_name_role_and_core() -> None:
    config = ChipConfig.after_opening(CHIP, (1,))
    assert config.bias(1, 0, "pulse_width") == config.bias(1, 3, "PULSE_PWLK_P")
    with pytest.raises(UnknownBias, match="nothing"):
        config.bias(1, 0, "nothing")
    for chip, core in ((0, 0), (1, 4), (1, -1)):
        with pytest.raises(InvalidValue, match="core"):
            config.bias(chip, core, "dc")


# Words that are refused ----------------------------------------------------------------------------------------------

CAM_WORD = 1 << 17
SRAM_WORD = 1 << 17 | 1 << 5 | 1 << 4
BIAS_WORD = 1 << 16 | 1 << 2 | 1


@pytest.mark.parametrize(("kind", "value"), [("cam", CAM_WORD), ("sram", SRAM_WORD), ("bias", BIAS_WORD), ("tau2", 1 << 10)])
def test_word_for_a_chip_outside_the_image_is_refused(kind: str, value: int) -> None:
    ChipConfig.from_words(CHIP, (0, 2), word(kind, 2, value))
    for chip in (1, 3, 7):
        with pytest.raises(FieldOverflow, match=rf"{kind}.*got {chip}, limit \(0, 2\)"):
            ChipConfig.from_words(CHIP, (0, 2), word(kind, chip, value))


@pytest.mark.parametrize("address", [50, 63, 114, 127])
def test_word_for_an_unknown_bias_is_refused(address: int) -> None:
    with pytest.raises(FieldOverflow, match=f"address.*got {address}"):
        ChipConfig.from_words(CHIP, (0,), word("bias", 0, BIAS_WORD | address << 18))


def test_bias_word_with_the_other_transistor_is_refused() -> None:
    with pytest.raises(FieldOverflow, match="transistor"):
        ChipConfig.from_words(CHIP, (0,), word("bias", 0, BIAS_WORD | 1 << 1))


def test_word_for_the_monitor_entry_is_refused() -> None:
    with pytest.raises(FieldOverflow, match="monitor"):
        ChipConfig.from_words(CHIP, (0,), word("sram", 0, 1 << 17 | 1 << 4))


def test_word_with_foreign_bits_is_refused() -> None:
    with pytest.raises(FieldOverflow):
        ChipConfig.from_words(CHIP, (0,), word("cam", 0, 0))
    with pytest.raises(FieldOverflow):
        ChipConfig.from_words(CHIP, (0,), word("cam", 0, CAM_WORD | 1 << 31))


def test_word_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(FieldOverflow):
        ChipConfig.from_words(CHIP, (0,), word("unknown", 0, CAM_WORD))


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "image.h5"
    slightly_changed(ChipConfig.after_opening(CHIP, (0,)), 1, 30)[0].save(path)
    return path


def edit(path: Path, **attributes: Any) -> None:
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            if value is None:
                del file.attrs[name]
            else:
                file.attrs[name] = value
    h5_files.seal(path)


@pytest.mark.parametrize("chips", [(0,), (0, 1, 2, 3), (1, 3)])
def test_save_and_load(chips: tuple[int, ...], tmp_path: Path) -> None:
    config = random_config(20, chips)
    path = tmp_path / "deep" / "er" / "image.h5"
    config.save(path)
    assert ChipConfig.load(path) == config
    assert list(path.parent.iterdir()) == [path]


def test_save_replaces_an_older_file(saved: Path) -> None:
    config = random_config(21, (0,))
    config.save(saved)
    assert ChipConfig.load(saved) == config


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"nowhere.h5") as caught:
        ChipConfig.load(tmp_path / "nowhere.h5")
    assert type(caught.value) is FileProblem
    with pytest.raises(FileProblem, match=str(tmp_path)):
        ChipConfig.load(tmp_path)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated_file(part: float, saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(CorruptFile, match=r"image.h5"):
        ChipConfig.load(saved)


@pytest.mark.parametrize("content", ["", "not an image\n", "not an image\n" * 100])
def test_empty_and_text_files(content: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.h5"
    path.write_text(content)
    with pytest.raises((ForeignFile, CorruptFile), match=r"notes.h5"):
        ChipConfig.load(path)


def test_content_that_was_changed_without_its_hash(saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        file.attrs["note"] = "added by hand"
    with pytest.raises(CorruptFile, match=r"image.h5.*hash"):
        ChipConfig.load(saved)


def test_other_hdf5_files(saved: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.h5"
    with h5py.File(plain, "w") as file:
        file.create_dataset("words", data=[1, 2, 3])
    with pytest.raises(ForeignFile, match=r"plain.h5"):
        ChipConfig.load(plain)
    edit(saved, format="bcall_hw/spike_recording")
    with pytest.raises(ForeignFile, match=r"image.h5.*bcall_hw/spike_recording.*bcall_hw/chip_config"):
        ChipConfig.load(saved)


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"format_version": 2}, ForeignFile),
        ({"format_version": None}, FileProblem),
        ({"format": None}, FileProblem),
        ({"format": [1, 2]}, FileProblem),
        ({"format_version": [1, 2]}, FileProblem),
        ({"chip_fingerprint": "0" * 64}, ForeignFile),
        ({"chip_fingerprint": [1, 2]}, FileProblem),
        ({"chip": "dynapse9"}, FileProblem),
        ({"chip": None}, CorruptFile),
        ({"chip_fingerprint": None}, CorruptFile),
        ({"chips": None}, CorruptFile),
        ({"chips": 0}, CorruptFile),
        ({"chips": [9]}, CorruptFile),
        ({"chips": [1]}, CorruptFile),
        ({"chips": []}, CorruptFile),
        ({"chips": [float("nan")]}, CorruptFile),
        ({"chips": [float("inf")]}, CorruptFile),
    ],
)
def test_wrong_attributes(attributes: dict[str, Any], kind: type[BcallError], saved: Path) -> None:
    edit(saved, **attributes)
    with pytest.raises(kind, match=r"image.h5"):
        ChipConfig.load(saved)


@pytest.mark.parametrize("damage", ["gone", "group", "other type", "words refused"])
def test_damaged_words(damage: str, saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        words = file["words"][...]
        del file["words"]
        if damage == "group":
            file.create_group("words")
        if damage == "other type":
            file["words"] = np.arange(5.0)
        if damage == "words refused":
            words["word"][5] = 0
            file["words"] = words
    h5_files.seal(saved)
    with pytest.raises(CorruptFile, match=r"image.h5"):
        ChipConfig.load(saved)


def test_chip_model_that_changed_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = data_folder("chip_models")
    text = (folder / "dynapse1.toml").read_text().replace("dark_current_a = 5e-13", "dark_current_a = 6e-13")
    (tmp_path / "other.toml").write_text(text)
    (tmp_path / "dynapse1_currents.csv").write_bytes((folder / "dynapse1_currents.csv").read_bytes())
    path = tmp_path / "other.h5"
    ChipConfig.after_opening(load_chip(str(tmp_path / "other.toml")), (0,)).save(path)
    with pytest.raises(ForeignFile, match=r"other.h5.*dynapse1"):
        ChipConfig.load(path)
    ChipConfig.load(saved)


def test_flipped_bits_are_refused_or_harmless(saved: Path) -> None:
    """One bit of the file at a time: never another image, never an error of another kind, always with the path."""
    good = ChipConfig.load(saved)
    content = saved.read_bytes()
    rng, refused = random.Random(4), 0
    for _ in range(120):
        at = rng.randrange(len(content))
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.randrange(8)
        saved.write_bytes(damaged)
        try:
            assert ChipConfig.load(saved) == good, at
        except FileProblem as problem:
            assert "image.h5" in str(problem), at  # noqa: PT017 (either outcome is allowed)
            refused += 1
    assert refused > 10


def test_failed_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ChipConfig.after_opening(CHIP, (0,))

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "image.h5"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(FileProblem, match=r"image.h5.*No space left"):
            config.save(path)
    assert list(tmp_path.iterdir()) == []


def test_failed_save_keeps_the_older_file(saved: Path) -> None:
    before = saved.read_bytes()
    bad = ChipConfig.after_opening(CHIP, (0,))
    cam = bad.cam.copy()
    cam["type"] = 9
    with pytest.raises(FieldOverflow):
        bad.with_registers(cam=cam).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_save_where_nothing_can_be_written(tmp_path: Path) -> None:
    config = ChipConfig.after_opening(CHIP, (0,))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "image.h5", tmp_path / "folder"):
        with pytest.raises(FileProblem, match=str(path)):
            config.save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert list((tmp_path / "folder").iterdir()) == []
