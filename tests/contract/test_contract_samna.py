"""Sizes, defaults, type codes and currents: the chip model against samna's own objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bcall_hw.chip_model import ChipModel

pytestmark = pytest.mark.samna

SAMNA_UNIT_A = 1e-14  # samna gives a number without a unit: 10 fA by the nominal full scales (24 uA at the highest)


def test_currents_equal_samnas_for_every_bias_and_code(chip: ChipModel, samna_facts: dict[str, Any]) -> None:
    ours = np.round(chip.current_a / SAMNA_UNIT_A)
    currents = samna_facts["currents"]
    assert currents.keys() == {bias.name for bias in chip.biases}
    differing = [name for name, table in currents.items() if not np.array_equal(np.array(table), ours)]
    assert differing == []


def test_default_biases_equal_samnas_in_every_core(chip: ChipModel, samna_facts: dict[str, Any]) -> None:
    ours = {
        b.name: {"name": b.name, "coarse": b.samna_default.coarse, "fine": b.samna_default.fine, "type": b.transistor}
        for b in chip.biases
    }
    assert samna_facts["biases"] == [ours] * (chip.geometry.chips * chip.geometry.cores)


def test_sizes_equal_samnas(chip: ChipModel, samna_facts: dict[str, Any]) -> None:
    assert samna_facts["sizes"] == {
        "chips": [chip.geometry.chips],
        "cores": [chip.geometry.cores],
        "neurons": [chip.geometry.neurons],
        "cam_entries": [chip.cam.entries],
        "sram_entries": [chip.sram.entries],
    }


def test_synapse_type_codes_equal_samnas(chip: ChipModel, samna_facts: dict[str, Any]) -> None:
    assert {t.name: t.code for t in chip.synapse_types} == samna_facts["synapse_types"]


def test_monitor_entry_is_the_one_samna_aims_outside_the_board(chip: ChipModel, samna_facts: dict[str, Any]) -> None:
    outside = [entry for entry, target in enumerate(samna_facts["monitor_targets"]) if target >= chip.geometry.chips]
    assert outside == [chip.sram.monitor_entry]
