"""Questions to CAM entries: which neurons answer an event, through which entry, at a drive that makes one entry enough."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bcall_hw import circuits
from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.calibrate.liveness import base_codes, code, spike_charge_c
from bcall_hw.calibrate.rig import Rig, Train
from bcall_hw.chip_model import BiasCode

#: A membrane that forgets (s), a synapse shorter than that, a pulse long enough to charge it, and a short refractory period.
_TAU_S, _SYNAPSE_S, _PULSE_S, _REFRACTORY_S = 1e-4, 1e-4, 5e-4, 7e-4
#: Gain / time constant's current: so small that the weight's current is far above the time constant's, in spite of mismatch.
_GAIN_RATIO = 0.25
#: Nominal charge of an event / charge of a spike that is tried, ascending.
_LEVELS = tuple(2.0 ** (k / 2 - 2) for k in range(9))
#: The drive / the level at which half of a core answers: entries and neurons far below the median answer too.
_OVERDRIVE = 8.0
#: Entries that are asked to find the drive: so many that a core with half of its entries dead shows it still.
_TRIED = 4
#: Time between two events (s), and the part of it in which an answer counts. What comes later belongs to no event.
_APART_S, _ANSWER = 0.010, 0.6
_LONGEST_APART_S = 0.080
#: Silence before the first event (s).
_LEAD_S = 0.02
#: Share of a core's answers that may come late before events are put further apart.
_LATE = 0.001


@dataclass(frozen=True, eq=False)
class Answers:
    """What some events brought about, shape (events, measured cores, neurons) and (measured cores, neurons).

    Attributes:
        heard: the neuron fired soon after the event.
        late: of how many events it fired once more, long after.
        unasked: it fired before the first event.
    """

    heard: BoolArray
    late: IntArray
    unasked: BoolArray


@dataclass(frozen=True, eq=False)
class Questioner:
    """Cores that are ready for questions.

    Attributes:
        rig: the bench.
        charge: of an event / nominal charge of a spike, shape (measured cores,).
        apart_s: time between two events.
    """

    rig: Rig
    charge: FloatArray
    apart_s: float = _APART_S

    def listen(self, tags: IntArray, asked: BoolArray) -> None:
        """Program every entry; those that are not asked go to a synapse without weight.

        Args:
            tags, asked: broadcast to (measured cores, neurons, entries).
        """
        rig, chip = self.rig, self.rig.chip
        full = (len(rig.chips), chip.geometry.cores, chip.geometry.neurons, chip.cam.entries)
        of_chip, of_core = np.array([(rig.chips.index(c), k) for c, k in rig.cores]).T
        types = {t.effect: t.code for t in chip.synapse_types}
        every_tag, every_type = np.zeros(full, dtype=np.int64), np.full(full, types["shunting"])
        every_tag[of_chip, of_core] = tags
        every_type[of_chip, of_core] = np.where(asked, types["excitatory"], types["shunting"])
        rig.listen(every_tag, every_type)

    def play(self, tags: IntArray) -> Answers:
        """Play tags one after another, in as many runs as the stimulus memory asks for."""
        most = self.rig.chip.stimulus.max_events // len(self.rig.chips)
        self.rig.set(self._codes())
        parts = [self._play(tags[k : k + most]) for k in range(0, tags.size, most)]
        heard = np.concatenate([p.heard for p in parts])
        return Answers(heard, np.sum([p.late for p in parts], axis=0), np.any([p.unasked for p in parts], axis=0))

    def _play(self, tags: IntArray) -> Answers:
        times_s: FloatArray = _LEAD_S + self.apart_s * np.arange(tags.size, dtype=np.float64)
        trains = self.rig.run(_LEAD_S + self.apart_s * (tags.size + 1), Train(times_s, tags), settle_s=_LEAD_S)
        neurons = self.rig.shape[0] * self.rig.shape[1]
        # Half a microsecond: times are whole microseconds, and a spike at the time of an event is not its answer.
        event = np.searchsorted(times_s + 5e-7, trains.times_s, side="right") - 1
        after_s = trains.times_s - times_s[np.maximum(event, 0)]
        heard, late = (np.zeros((tags.size, neurons), dtype=bool) for _ in range(2))
        soon, owner = after_s <= _ANSWER * self.apart_s, trains.owner
        heard[event[(event >= 0) & soon], owner[(event >= 0) & soon]] = True
        late[event[(event >= 0) & ~soon], owner[(event >= 0) & ~soon]] = True
        unasked = np.bincount(owner[event < 0], minlength=neurons) > 0
        shape = self.rig.shape
        return Answers(heard.reshape(-1, *shape), late.sum(axis=0).reshape(shape), unasked.reshape(shape))

    def _codes(self) -> list[dict[str, BiasCode]]:
        """Codes of each core."""
        rig, chip = self.rig, self.rig.chip
        synapse = next(t.name for t in chip.synapse_types if t.effect == "excitatory")
        capacitances = chip.capacitances_f
        leak_a = circuits.thermal_charge_c(chip, capacitances.soma) / _TAU_S
        tau_a = circuits.thermal_charge_c(chip, getattr(capacitances, synapse)) / _SYNAPSE_S
        given = {
            "pulse_width": circuits.switching_charge_c(chip, capacitances.pulse) / _PULSE_S,
            f"{synapse}_tau": tau_a, f"{synapse}_gain": _GAIN_RATIO * tau_a,
        }  # fmt: skip
        same = base_codes(rig, leak_a, _REFRACTORY_S) | {role: code(chip, role, a) for role, a in given.items()}
        full_a = self.charge * spike_charge_c(chip) / _SYNAPSE_S
        weight = f"{synapse}_weight"
        weights_a = [circuits.dpi_weight_current_a(a, _GAIN_RATIO * tau_a, tau_a) for a in full_a.tolist()]
        return [same | {weight: code(chip, weight, a)} for a in weights_a]


def questioner(rig: Rig, tags: IntArray, asked: BoolArray) -> tuple[Questioner, BoolArray]:
    """Find, core by core, a drive at which nearly every neuron answers through one entry alone, and how long answers last.

    Args:
        tags: of the entries of every neuron, shape (entries,), all different.
        asked: neurons that count, shape (measured cores, neurons).

    Returns:
        The questioner, and which neurons fire without a question or long after it.
    """
    tried = tags[np.linspace(0, tags.size - 1, min(_TRIED, tags.size)).astype(np.int64)]
    ask = Questioner(rig, np.ones(len(rig.cores)))
    ask.listen(tags, np.ones(1, dtype=bool))
    answered = np.zeros((len(_LEVELS), len(rig.cores)))
    for k, level in enumerate(_LEVELS):
        heard = replace(ask, charge=np.full(len(rig.cores), level)).play(tried).heard
        answered[k] = (heard & asked).mean(axis=(0, 2))
    half = np.argmax(answered >= 0.5 * answered.max(axis=0), axis=0)
    ask = replace(ask, charge=_OVERDRIVE * np.asarray(_LEVELS)[half])
    while True:
        answers = ask.play(tried)
        late = ((answers.late > 0) & asked & ~answers.unasked).mean(axis=1)
        if late.max() <= _LATE or ask.apart_s >= _LONGEST_APART_S:
            break
        ask = replace(ask, apart_s=2.0 * ask.apart_s)
    return ask, answers.unasked | (answers.late > 0)
