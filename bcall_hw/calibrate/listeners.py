"""Which CAM entries hear what on the bench: each synapse type has an equal share of the entries, each with its own tag."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.calibrate.rig import Rig, Train
from bcall_hw.chip_model import ChipModel


def share(chip: ChipModel) -> int:
    """CAM entries of each synapse type."""
    return min(chip.cam.entries, chip.tags_per_core - 1) // len(chip.synapse_types)


def tags_of(chip: ChipModel, synapse: str) -> IntArray:
    """The tags of a type's entries; the reserved ones are left out."""
    number = [t.name for t in chip.synapse_types].index(synapse)
    free = np.setdiff1d(np.arange(chip.tags_per_core), sorted(chip.reserved_tags))
    return free[number * share(chip) : (number + 1) * share(chip)]


def listen(rig: Rig) -> None:
    """Write the CAM of the bench; entries that are left over are parked."""
    chip = rig.chip
    tags, types = np.full(chip.cam.entries, chip.parked_tag), np.zeros(chip.cam.entries, dtype=np.int64)
    for number, synapse in enumerate(chip.synapse_types):
        mine = slice(number * share(chip), (number + 1) * share(chip))
        tags[mine], types[mine] = tags_of(chip, synapse.name), synapse.code
    rig.listen(tags, types)


def entries_of(chip: ChipModel, synapse: str) -> slice:
    """The CAM entries of a type on the bench."""
    number = [t.name for t in chip.synapse_types].index(synapse)
    return slice(number * share(chip), (number + 1) * share(chip))


def volleys(chip: ChipModel, synapse: str, times_s: FloatArray, events: int, apart_s: float) -> tuple[Train, FloatArray]:
    """Volleys of `events` events, `apart_s` from each other, that go round the tags of a type.

    Returns:
        The train, and how often it uses each tag in all volleys / their number, shape (tags,).
    """
    tags = tags_of(chip, synapse)
    order = np.arange(times_s.size * events) % tags.size
    times = (times_s[:, None] + np.arange(events) * apart_s).ravel()
    use = np.bincount(order, minlength=tags.size) / times_s.size
    by_time = np.argsort(times, kind="stable")
    return Train(times[by_time], tags[order][by_time]), use
