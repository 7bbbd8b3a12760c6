"""Tags for the CAM entries of a neuron that no single stuck bit turns into each other, in rounds that try every bit.

In one round all entries of a neuron listen to different words of a code of distance three: an entry whose bit is stuck at the
wrong value listens to a word at distance one from its own, which no other entry has, nor any other entry with one stuck bit.
From round to round the words are changed by a mask. Every two bits take all four combinations of being changed and not, so that
an entry with two stuck bits hears its own word in some round, and in some other round one of the two alone stands in its way.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import InvalidValue

_DISTANCE = 3


@dataclass(frozen=True, eq=False)
class TagCode:
    """Tags of the entries, round by round.

    Attributes:
        bits: of a tag.
        rounds: tag of each entry, shape (rounds, entries); the second round has every bit of the first one inverted.
    """

    bits: int
    rounds: IntArray

    @property
    def single_bits(self) -> IntArray:
        """The number of each bit alone."""
        return np.left_shift(1, np.arange(self.bits))


def tag_code(chip: ChipModel) -> TagCode:
    """Tags for every CAM entry of a neuron; reserved tags are left out where the chip has enough others.

    Raises:
        InvalidValue: the chip has too few tags for its entries, or cannot play them all.
    """
    tags, entries, where = chip.tags_per_core, chip.cam.entries, f"scan of CAM entries of {chip.name}"
    if chip.stimulus.sources < tags:
        raise InvalidValue("not every tag can be played", where=where, used=chip.stimulus.sources, limit=tags)
    bits = tags.bit_length() - 1
    if tags != 1 << bits:
        raise InvalidValue("tags of a core are no power of two", where=where, used=tags)
    words = _lexicode(tags, entries)
    if words.size < entries:
        what = f"too few tags at distance {_DISTANCE} from each other for the entries of a neuron"
        raise InvalidValue(what, where=where, used=entries, limit=words.size)
    masks = _masks(bits)
    for shift in range(tags):
        rounds = words ^ (masks ^ shift)[:, None]
        if not np.isin(rounds, list(chip.reserved_tags)).any():
            return TagCode(bits, rounds)
    return TagCode(bits, words ^ masks[:, None])


def _lexicode(tags: int, most: int) -> IntArray:
    """The first numbers that differ from each other in three bits or more."""
    words = np.zeros(0, dtype=np.int64)
    for tag in range(tags):
        if words.size < most and (np.bitwise_count(words ^ tag) >= _DISTANCE).all():
            words = np.append(words, tag)
    return words


def _masks(bits: int) -> IntArray:
    """No bit, all bits, and then so that no bit's rounds lie within another's (Sperner): see the module."""
    rounds = next(n for n in itertools.count(1) if math.comb(n, n // 2) >= bits)
    chosen = itertools.islice(itertools.combinations(range(rounds), rounds // 2), bits)
    masks = np.zeros(rounds, dtype=np.int64)
    for bit, members in enumerate(chosen):
        masks[list(members)] |= 1 << bit
    return np.concatenate([[0, (1 << bits) - 1], masks]).astype(np.int64)
