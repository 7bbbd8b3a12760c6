"""Register words against packers written here, with literal shifts, from the layout of the words on the wire."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from bcall_hw.chip_model import load_chip
from bcall_hw.errors import FieldOverflow, UnknownName

CHIP = load_chip("dynapse1")
COUNT = 10_000
Fields = dict[str, int]

TOPS: dict[str, Fields] = {
    "cam": {"type": 3, "source_neuron": 255, "source_core": 3, "core": 3, "neuron": 255, "entry": 63},
    "sram": {"virtual_core": 3, "sy": 1, "dy": 3, "sx": 1, "dx": 3, "core_mask": 15, "core": 3, "neuron": 255, "entry": 3},
    "bias": {"address": 127, "coarse": 7, "fine": 255, "high": 1, "n_type": 1},
    "stimulus": {"chip": 3, "source_neuron": 255, "source_core": 3, "core_mask": 15},
    "tau2": {"neuron": 255, "core": 3, "chosen": 1},
}
# Bits that no field may touch: word bit -> what it must be.
FIXED = {"cam": {17: 1, 4: 0}, "sram": {17: 1, 4: 1, 3: 0, 2: 0, 1: 0, 0: 0}, "bias": {16: 1, 2: 1, 0: 1}}
FREE_TOP = {"cam": 30, "sram": 30, "bias": 25, "stimulus": 16, "tau2": 11}
UNUSED = {"bias": (15, 17)}


def cam_word(f: Fields) -> int:
    word = f["type"] << 28 | f["source_neuron"] << 20 | f["source_core"] << 18 | 1 << 17
    return word | f["core"] << 15 | (f["neuron"] >> 4) << 11 | f["entry"] << 5 | 0 << 4 | (f["neuron"] & 15)


def cam_fields(w: int) -> Fields:
    neuron = ((w >> 11) & 15) << 4 | (w & 15)
    found = {"type": (w >> 28) & 15, "source_neuron": (w >> 20) & 255, "source_core": (w >> 18) & 3}
    return found | {"core": (w >> 15) & 3, "neuron": neuron, "entry": (w >> 5) & 63}


def sram_word(f: Fields) -> int:
    word = f["virtual_core"] << 28 | f["sy"] << 27 | f["dy"] << 25 | f["sx"] << 24 | f["dx"] << 22 | f["core_mask"] << 18
    return word | 1 << 17 | f["core"] << 15 | f["neuron"] << 7 | f["entry"] << 5 | 1 << 4


def sram_fields(w: int) -> Fields:
    hops = {"sy": (w >> 27) & 1, "dy": (w >> 25) & 3, "sx": (w >> 24) & 1, "dx": (w >> 22) & 3}
    own = {"core": (w >> 15) & 3, "neuron": (w >> 7) & 255, "entry": (w >> 5) & 3}
    return {"virtual_core": (w >> 28) & 15, "core_mask": (w >> 18) & 15} | hops | own


def bias_word(f: Fields) -> int:
    inverse = 7 - f["coarse"]
    reversed_bits = int(f"{inverse:03b}"[::-1], 2)
    return f["address"] << 18 | 1 << 16 | reversed_bits << 12 | f["fine"] << 4 | f["high"] << 3 | 1 << 2 | f["n_type"] << 1 | 1


def bias_fields(w: int) -> Fields:
    coarse = 7 - int(f"{(w >> 12) & 7:03b}"[::-1], 2)
    found = {"address": (w >> 18) & 127, "coarse": coarse, "fine": (w >> 4) & 255}
    return found | {"high": (w >> 3) & 1, "n_type": (w >> 1) & 1}


def stimulus_word(f: Fields) -> int:
    return f["chip"] << 14 | f["source_neuron"] << 6 | f["source_core"] << 4 | f["core_mask"]


def stimulus_fields(w: int) -> Fields:
    return {"chip": w >> 14, "source_neuron": (w >> 6) & 255, "source_core": (w >> 4) & 3, "core_mask": w & 15}


Packer = Callable[[Fields], int]
Unpacker = Callable[[int], Fields]
OURS: dict[str, tuple[Packer, Unpacker]] = {
    "cam": (cam_word, cam_fields),
    "sram": (sram_word, sram_fields),
    "bias": (bias_word, bias_fields),
    "stimulus": (stimulus_word, stimulus_fields),
}


def random_fields(kind: str) -> list[Fields]:
    rng = random.Random(kind)
    return [{name: rng.randint(0, top) for name, top in TOPS[kind].items()} for _ in range(COUNT)]


@pytest.mark.parametrize("kind", OURS)
def test_random_words_pack_as_the_wire_wants(kind: str) -> None:
    listed = random_fields(kind)
    columns = {name: np.array([f[name] for f in listed]) for name in TOPS[kind]}
    assert CHIP.words[kind].pack(**columns).tolist() == [OURS[kind][0](f) for f in listed]


@pytest.mark.parametrize("kind", OURS)
def test_random_words_unpack_to_their_fields(kind: str) -> None:
    words = [OURS[kind][0](f) for f in random_fields(kind)]
    found = {name: column.tolist() for name, column in CHIP.words[kind].unpack(np.array(words)).items()}
    expected = [OURS[kind][1](w) for w in words]
    assert found.keys() == TOPS[kind].keys()
    for name, column in found.items():
        assert column == [f[name] for f in expected], name


@pytest.mark.parametrize("kind", TOPS)
def test_every_field_alone_goes_there_and_back(kind: str) -> None:
    layout = CHIP.words[kind]
    assert {name: (1 << field.width) - 1 for name, field in layout.fields.items()} == TOPS[kind]
    for name, top in TOPS[kind].items():
        zeros = dict.fromkeys(TOPS[kind], 0)
        for value in {0, 1, top // 2, top}:
            word = layout.pack(**(zeros | {name: value}))
            assert 0 <= int(word) < 1 << FREE_TOP[kind]
            assert {k: int(v) for k, v in layout.unpack(word).items()} == zeros | {name: value}


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in TOPS for field in TOPS[kind]])
def test_field_overflow_is_refused_by_name(kind: str, field: str) -> None:
    top = TOPS[kind][field]
    for bad in (top + 1, -1, 10**9):
        for value in (bad, np.array([0, bad, 0])):
            with pytest.raises(FieldOverflow, match=f"{field}.*got {bad}, limit {top}"):
                CHIP.words[kind].pack(**(dict.fromkeys(TOPS[kind], 0) | {field: value}))


@pytest.mark.parametrize("kind", TOPS)
def test_missing_or_unknown_fields_are_refused(kind: str) -> None:
    zeros = dict.fromkeys(TOPS[kind], 0)
    with pytest.raises(UnknownName, match="colour"):
        CHIP.words[kind].pack(**zeros, colour=1)
    zeros.popitem()
    with pytest.raises(UnknownName):
        CHIP.words[kind].pack(**zeros)


FOREIGN = [(kind, bit) for kind, bits in FIXED.items() for bit in bits]
FOREIGN += [(kind, bit) for kind, bits in UNUSED.items() for bit in bits]
FOREIGN += [(kind, bit) for kind, top in FREE_TOP.items() for bit in range(top, 32)]


@pytest.mark.parametrize(("kind", "bit"), FOREIGN)
def test_foreign_bits_are_refused(kind: str, bit: int) -> None:
    layout = CHIP.words[kind]
    good = int(layout.pack(**TOPS[kind]))
    layout.unpack(good)
    with pytest.raises(FieldOverflow):
        layout.unpack(good ^ (1 << bit))
    with pytest.raises(FieldOverflow):
        layout.unpack(np.array([good, good ^ (1 << bit), good]))


def test_words_may_be_empty() -> None:
    for kind, tops in TOPS.items():
        none = np.zeros(0, dtype=np.int64)
        assert CHIP.words[kind].pack(**dict.fromkeys(tops, none)).size == 0
        assert all(column.size == 0 for column in CHIP.words[kind].unpack(none).values())
