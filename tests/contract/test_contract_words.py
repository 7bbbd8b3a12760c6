"""Register words: the chip model's layouts against libcaer's word generators, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from samna_oracle import IntArray, Libcaer

from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.word_layout import WordLayout

pytestmark = pytest.mark.samna

RANDOM_WORDS = 100_000
WORDS_PER_VALUE = 16
CHIP = load_chip("dynapse1")
ORACLES: dict[str, Callable[[Libcaer, ChipModel, dict[str, IntArray]], IntArray]] = {
    "cam": Libcaer.cam_words,
    "sram": Libcaer.sram_words,
}
FIELDS = [(kind, field) for kind in ORACLES for field in CHIP.words[kind].fields]


def random_fields(layout: WordLayout, count: int, seed: int) -> dict[str, IntArray]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 1 << field.width, count) for name, field in layout.fields.items()}


def assert_same_words(ours: npt.NDArray[np.int64], theirs: IntArray, fields: dict[str, IntArray]) -> None:
    different = np.flatnonzero(ours != theirs)
    if different.size:
        first = different[0]
        values = {name: int(column[first]) for name, column in fields.items()}
        words = f"ours {ours[first]:#x}, libcaer's {theirs[first]:#x}"
        pytest.fail(f"{different.size} of {ours.size} words differ; the first: {words}, fields {values}")


@pytest.mark.parametrize("kind", ORACLES)
def test_random_words_equal_libcaers(kind: str, chip: ChipModel, libcaer: Libcaer) -> None:
    layout = chip.words[kind]
    fields = random_fields(layout, RANDOM_WORDS, seed=1)
    assert_same_words(layout.pack(**fields), ORACLES[kind](libcaer, chip, fields), fields)


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_value_of_a_field_equals_libcaers(kind: str, field: str, chip: ChipModel, libcaer: Libcaer) -> None:
    layout = chip.words[kind]
    values = np.repeat(np.arange(1 << layout.fields[field].width), WORDS_PER_VALUE)
    fields = random_fields(layout, values.size, seed=2) | {field: values}
    assert_same_words(layout.pack(**fields), ORACLES[kind](libcaer, chip, fields), fields)


@pytest.mark.parametrize("kind", ORACLES)
def test_libcaers_words_unpack_to_the_fields_that_made_them(kind: str, chip: ChipModel, libcaer: Libcaer) -> None:
    fields = random_fields(chip.words[kind], RANDOM_WORDS // 10, seed=3)
    found = chip.words[kind].unpack(ORACLES[kind](libcaer, chip, fields))
    assert all(np.array_equal(found[name], fields[name]) for name in fields)


@pytest.mark.parametrize("high", [0, 1])
def test_every_bias_code_of_every_core_equals_libcaers(high: int, chip: ChipModel, libcaer: Libcaer) -> None:
    table = chip.current_table
    bias, core, coarse, fine = (
        index.ravel() for index in np.indices((len(chip.biases), chip.geometry.cores, table.coarse_values, table.fine_values))
    )
    addresses = np.array([b.addresses for b in chip.biases])
    n_type = np.array([int(b.transistor == "N") for b in chip.biases])
    fields = {"address": addresses[bias, core], "coarse": coarse, "fine": fine, "n_type": n_type[bias]}
    fields["high"] = np.full_like(bias, high)
    assert_same_words(chip.words["bias"].pack(**fields), libcaer.bias_words(chip, fields), fields)
