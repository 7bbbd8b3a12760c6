"""Which CAM entries hear nothing, and which hear another tag than they were given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.calibrate.questions import Questioner, questioner
from bcall_hw.calibrate.rig import Rig
from bcall_hw.calibrate.tag_code import TagCode, tag_code

#: How often an entry is asked again whose answers agree with no defect.
_AGAIN = 3
#: Suspects get this many times the drive and this many times the time.
_HARDER, _SLOWER = 1.5, 1.5

#: (index of the measured core, neuron, entry), and (bit, value).
Place = tuple[int, int, int]
Bit = tuple[int, int]


@dataclass(frozen=True, eq=False)
class CamFindings:
    """Defects of CAM entries; places are (index of the measured core, neuron, entry).

    Attributes:
        deaf: neurons that answered through no entry, shape (measured cores, neurons).
        restless: neurons that fire without an event, so that none of their entries is known; same shape.
        dead: entries that hear nothing.
        stuck: entries and their stuck bits (bit, value).
        unclear: entries that do not hear what they should, and agree with no defect that is known.
    """

    deaf: BoolArray
    restless: BoolArray
    dead: list[Place]
    stuck: list[tuple[Place, tuple[Bit, ...]]]
    unclear: list[Place]


def scan_cam(rig: Rig, asked: BoolArray) -> CamFindings:
    """Ask every entry of the neurons `asked`, shape (measured cores, neurons); see `tag_code` for the idea.

    Raises:
        InvalidValue: the chip has too few tags.
    """
    code = tag_code(rig.chip)
    none = np.zeros(rig.shape, dtype=bool)
    if not asked.any():
        return CamFindings(none, none, [], [], [])
    ask, restless = questioner(rig, code.rounds[0], asked)
    # Every bit of every tag at both values: who hears both is in order.
    heard = np.zeros((2, *rig.shape, rig.chip.cam.entries), dtype=bool)
    for number, tags in enumerate(code.rounds[:2]):
        ask.listen(tags, np.ones(1, dtype=bool))
        answers = ask.play(tags)
        heard[number] = np.moveaxis(answers.heard, 0, -1)
        restless = restless | answers.unasked
    known = asked & ~restless
    deaf = known & ~heard.any(axis=(0, 3))
    suspects = ~heard.all(axis=0) & (known & ~deaf)[..., None]
    harder = replace(ask, charge=_HARDER * ask.charge, apart_s=_SLOWER * ask.apart_s)
    return _Judge(harder, code).judge(suspects, deaf, asked & restless)


@dataclass(frozen=True, eq=False)
class _Judge:
    """Finds out what is wrong with suspects, a few at a time: each neuron's suspects take the words in turn."""

    ask: Questioner
    code: TagCode

    def judge(self, suspects: BoolArray, deaf: BoolArray, restless: BoolArray) -> CamFindings:
        """Ask the suspects again until their answers agree with one defect or with none."""
        found = CamFindings(deaf, restless, [], [], [])
        for _ in range(_AGAIN):
            suspects = self._sort(suspects, found)
        found.unclear.extend(_places(suspects))
        return found

    def _sort(self, suspects: BoolArray, found: CamFindings) -> BoolArray:
        """Note the suspects that are clear, and return the others."""
        heard = self._own(suspects)
        found.dead.extend(_places(suspects & ~heard.any(axis=0)))
        left = suspects & heard.any(axis=0) & ~heard.all(axis=0)
        # A bit that is stuck at the right value in the first round is at the wrong one in the second: two rounds name one bit.
        bits: dict[Place, set[Bit]] = {place: set() for place in _places(left)}
        last = len(self.code.rounds)
        for rounds in (range(2), range(2, last)):
            for number in rounds:
                self._other(number, left, bits)
            for place in _places(left):
                if bits[place] and (np.moveaxis(heard, 0, -1)[place] == self._expected(place, suspects, bits[place])).all():
                    found.stuck.append((place, tuple(sorted(bits[place]))))
                    left[place] = False
        return left

    def _own(self, suspects: BoolArray) -> BoolArray:
        """Which suspects hear their own word in each round, shape (rounds, cores, neurons, entries)."""
        slots = _slots(suspects)
        heard = np.zeros((len(self.code.rounds), *suspects.shape), dtype=bool)
        for number, words in enumerate(self.code.rounds):
            if suspects.any():
                self.ask.listen(words[slots], suspects)
                answers = self.ask.play(words[: slots[suspects].max() + 1]).heard
                core, neuron, entry = np.nonzero(suspects)
                heard[number, core, neuron, entry] = answers[slots[suspects], core, neuron]
        return heard

    def _other(self, number: int, left: BoolArray, bits: dict[Place, set[Bit]]) -> None:
        """Play the words that differ in one bit from those of a round: who hears one has that bit stuck."""
        if not left.any():
            return
        slots, words, single = _slots(left), self.code.rounds[number], self.code.single_bits
        self.ask.listen(words[slots], left)
        played = words[: slots[left].max() + 1, None] ^ single
        heard = self.ask.play(played.ravel()).heard.reshape(*played.shape, *left.shape[:2])
        for place in _places(left):
            slot = slots[place]
            for bit in np.flatnonzero(heard[slot, :, place[0], place[1]]).tolist():
                bits[place].add((bit, int(played[slot, bit]) >> bit & 1))

    def _expected(self, place: Place, suspects: BoolArray, bits: set[Bit]) -> BoolArray:
        """In which rounds an entry with these stuck bits hears its own word."""
        words = self.code.rounds[:, _slots(suspects)[place]]
        return np.asarray(np.all([(words >> bit & 1) == value for bit, value in bits], axis=0))


def _slots(suspects: BoolArray) -> IntArray:
    """Number of each suspect among those of its neuron; 0 for the others."""
    return np.where(suspects, np.cumsum(suspects, axis=-1) - 1, 0)


def _places(chosen: BoolArray) -> list[Place]:
    return [(int(a), int(b), int(c)) for a, b, c in np.argwhere(chosen)]
