"""What kind of register word a raw word is."""

from __future__ import annotations

import numpy as np

from bcall_hw.backend.samna_board.virtual.link import WordArray
from bcall_hw.chip_config import KINDS, WORD_DTYPE, Words
from bcall_hw.chip_model import ChipModel

_ON_THE_WIRE = ("cam", "sram", "bias")


def classified(chip: ChipModel, chip_id: int, raw: WordArray) -> Words:
    """Words with their kind; those of no kind have the number after the last."""
    words = np.zeros(len(raw), dtype=WORD_DTYPE)
    words["kind"], words["chip"], words["word"] = len(KINDS), chip_id, raw
    for kind in _ON_THE_WIRE:
        open_ones = words["kind"] == len(KINDS)
        words["kind"][open_ones & chip.words[kind].matches(raw)] = KINDS.index(kind)  # type: ignore[index]
    types = {a: int(bias.transistor == "N") for bias in chip.biases for a in bias.addresses}
    biases = np.flatnonzero(words["kind"] == KINDS.index("bias"))
    if biases.size:
        fields = chip.words["bias"].unpack(raw[biases])
        wrong = [types.get(a) != n for a, n in zip(fields["address"].tolist(), fields["n_type"].tolist(), strict=True)]
        words["kind"][biases[np.array(wrong, dtype=np.bool_)]] = len(KINDS)
    return words
