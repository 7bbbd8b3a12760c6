"""What hears what on the bench: all CAM entries of a neuron are of the type that is measured, each with a tag of its own."""

from __future__ import annotations

import math

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.calibrate.rig import Rig, Train
from bcall_hw.chip_model import ChipModel


def tags(chip: ChipModel) -> IntArray:
    """The tag of each CAM entry; the reserved ones are left out, and a chip with few tags leaves entries parked."""
    free = np.setdiff1d(np.arange(chip.tags_per_core), sorted(chip.reserved_tags))
    return free[: chip.cam.entries]


def listen(rig: Rig, synapse: str) -> None:
    """Write the CAM of the bench for a type; a weight is then the mean over all of a neuron's entries."""
    chip = rig.chip
    of_entries, types = np.full(chip.cam.entries, chip.parked_tag), np.full(chip.cam.entries, chip.synapse_type(synapse).code)
    of_entries[: tags(chip).size] = tags(chip)
    rig.listen(of_entries, types)


def volleys(chip: ChipModel, times_s: FloatArray, events: int, apart_s: float) -> tuple[Train, FloatArray]:
    """Volleys of `events` events, `apart_s` from each other, that go round the tags.

    They do so in leaps: entries that are dead side by side are shared out over the volleys.

    Returns:
        The train, and how often it uses each CAM entry in all volleys / their number, shape (entries,).
    """
    every = tags(chip)
    order = np.arange(times_s.size * events) * _stride(every.size) % every.size
    times = (times_s[:, None] + np.arange(events) * apart_s).ravel()
    use = np.bincount(order, minlength=chip.cam.entries) / times_s.size
    by_time = np.argsort(times, kind="stable")
    return Train(times[by_time], every[order][by_time]), use


def _stride(size: int) -> int:
    """A leap near the golden section of a ring that reaches every place."""
    return next(step for step in range(max(1, round(0.382 * size)), size + 1) if math.gcd(step, size) == 1)
