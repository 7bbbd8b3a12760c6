"""What a register image does that is allowed, but that the vendor warns of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bcall_hw.chip_config import ChipConfig


def link_warnings(config: ChipConfig, name: Callable[[int, int, int], str] | None = None) -> list[str]:
    """A word for each on-chip link that the vendor warns of, with how many neurons use it.

    Args:
        name: what the neuron at (chip, core, neuron) is called; its address if absent.
    """
    called = name or (lambda chip, core, neuron: f"chip {chip} core {core} neuron {neuron}")
    chip, reached = config.chip, config.reached_chips()
    texts = []
    for a, b in sorted(chip.sram.warned_links):
        if a not in config.chips:
            continue
        using = np.argwhere((reached[config.chips.index(a)] == b).any(axis=-1)).tolist()
        if using:
            core, neuron = using[0]
            who = f"{len(using)} neurons use it, first {called(a, core, neuron)}"
            texts.append(f"on-chip link from chip {a} to chip {b}: the vendor warns that it may harm the chips ({who})")
    return texts
