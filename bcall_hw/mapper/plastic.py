"""Plastic synapses in the registers: where they are, and how they become present or parked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.chip_config import Registers
from bcall_hw.chip_model import ChipModel


@dataclass(frozen=True, eq=False)
class PlasticSlots:
    """Where the synapses of a plastic connection are.

    Attributes:
        sources: int, shape (posts, slots): source index of each synapse, -1 for an unused slot.
        tags: int, same shape: the tag that the synapse listens to while it is present.
        addresses: int, shape (posts, 3): chip, core, neuron of each post neuron.
        entries: int, shape (posts, slots, most entries of a synapse): its CAM entries, -1 where it has fewer.
        type_code: synapse type of all of them.
    """

    sources: IntArray
    tags: IntArray
    addresses: IntArray
    entries: IntArray
    type_code: int


def write_flips(
    cam: Registers, chip: ChipModel, chips: tuple[int, ...], slots: PlasticSlots, post: IntArray, slot: IntArray, on: BoolArray
) -> None:
    """Make some plastic synapses present (their tag) or parked (the reserved tag, which no source uses), in place."""
    parked_core, parked_neuron = divmod(chip.parked_tag, chip.geometry.neurons)
    entries = slots.entries[post, slot]
    row, copy = np.nonzero(entries >= 0)
    tag, neurons = slots.tags[post, slot], chip.geometry.neurons
    values = np.zeros(row.size, dtype=cam.dtype)
    values["source_core"] = np.where(on, tag // neurons, parked_core)[row]
    values["source_neuron"] = np.where(on, tag % neurons, parked_neuron)[row]
    values["type"] = slots.type_code
    address = slots.addresses[post[row]]
    chip_index = np.searchsorted(chips, address[:, 0])
    cam[chip_index, address[:, 1], address[:, 2], entries[row, copy]] = values
