"""A whole register image: its words against libcaer's, made register by register, and the way back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from samna_oracle import IntArray, Libcaer

from bcall_hw.chip_config import BIAS_DTYPE, CAM_DTYPE, KINDS, SRAM_DTYPE, ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.word_layout import WordLayout

pytestmark = pytest.mark.samna

CHIP_ID = 2


def random_registers(
    rng: np.random.Generator, layout: WordLayout, shape: tuple[int, ...], dtype: np.dtype[np.void]
) -> npt.NDArray[np.void]:
    array = np.zeros(shape, dtype=dtype)
    for name in dtype.names or ():
        array[name] = rng.integers(0, 1 << layout.fields[name].width, shape)
    return array


@pytest.fixture(scope="module")
def config(chip: ChipModel) -> ChipConfig:
    """One chip with every register set at random."""
    rng = np.random.default_rng(4)
    start = ChipConfig.after_opening(chip, (CHIP_ID,))
    return start.with_registers(
        cam=random_registers(rng, chip.words["cam"], start.cam.shape, CAM_DTYPE),
        sram=random_registers(rng, chip.words["sram"], start.sram.shape, SRAM_DTYPE),
        biases=random_registers(rng, chip.words["bias"], start.biases.shape, BIAS_DTYPE),
        tau2=rng.integers(0, 2, start.tau2.shape).astype(bool),
    )


def columns(registers: npt.NDArray[np.void]) -> dict[str, IntArray]:
    """The registers' values and indices as flat columns; the arrays' last three axes are core, neuron (or bias), entry."""
    found = {name: registers[name].ravel().astype(np.int64) for name in registers.dtype.names or ()}
    names = ("chip", "core", "neuron", "entry")[: registers.ndim]
    return found | {name: index.ravel() for name, index in zip(names, np.indices(registers.shape), strict=True)}


def libcaers_words(config: ChipConfig, libcaer: Libcaer) -> dict[str, IntArray]:
    chip = config.chip
    sram = columns(config.sram)
    sram["entry"] = np.array([e for e in range(chip.sram.entries) if e != chip.sram.monitor_entry])[sram["entry"]]
    biases = columns(config.biases)
    index, core = biases["neuron"], biases["core"]
    biases["address"] = np.array([chip.biases[i].addresses[c] for i, c in zip(index.tolist(), core.tolist(), strict=True)])
    biases["n_type"] = np.array([int(chip.biases[i].transistor == "N") for i in index.tolist()])
    return {
        "cam": libcaer.cam_words(chip, columns(config.cam)),
        "sram": libcaer.sram_words(chip, sram),
        "bias": libcaer.bias_words(chip, biases),
    }


def test_words_of_an_image_equal_libcaers(config: ChipConfig, libcaer: Libcaer) -> None:
    words = config.words()
    assert np.all(words["chip"] == CHIP_ID)
    for kind, expected in libcaers_words(config, libcaer).items():
        ours = words["word"][words["kind"] == KINDS.index(kind)]
        assert np.array_equal(ours, expected), kind


def test_image_comes_back_from_libcaers_words(config: ChipConfig, libcaer: Libcaer) -> None:
    words = config.words()
    for kind, made in libcaers_words(config, libcaer).items():
        words["word"][words["kind"] == KINDS.index(kind)] = made
    assert ChipConfig.from_words(config.chip, (CHIP_ID,), words) == config
