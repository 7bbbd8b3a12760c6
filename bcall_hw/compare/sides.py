"""The two sides of a comparison: which runs are repeats of what, and of which neurons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.compare.result import Side
from bcall_hw.compare.settings import MOST_REPEATS, Settings
from bcall_hw.compare.trains import Trains
from bcall_hw.errors import InvalidValue
from bcall_hw.recording import SpikeRecording
from bcall_hw.recording.session import Session
from bcall_hw.recording.spikes import NOTED, indices_in


@dataclass(frozen=True, eq=False)
class Observed:
    """What is compared of one session.

    Attributes:
        label: "A" or "B"; `source`: where the session came from.
        conditions: repeats of each stimulus under the same registers, in the order in which they were first played.
        stimuli: index of the stimulus of each, -1 where it is not known.
        populations: for each, int (size, 3): chip, core, neuron.
        notes: what was left out.
    """

    label: str
    source: str
    session: Session
    conditions: tuple[tuple[SpikeRecording, ...], ...]
    stimuli: tuple[int, ...]
    populations: Mapping[str, IntArray]
    notes: tuple[str, ...] = ()

    @property
    def repeats(self) -> int:
        """Repeats that every condition has."""
        return min(len(repeats) for repeats in self.conditions)

    @property
    def runs(self) -> list[SpikeRecording]:
        """All repeats of all conditions."""
        return [run for repeats in self.conditions for run in repeats]

    @cached_property
    def _grouped(self) -> list[list[Trains]]:
        every = np.concatenate([np.zeros((0, 3), dtype=np.int64), *self.populations.values()])
        return [[grouped(run, every) for run in repeats] for repeats in self.conditions]

    def trains(self, population: str, condition: int, repeats: int) -> Trains:
        """The trains of a population in the first so many repeats: train `repeat * neurons + neuron`."""
        names = list(self.populations)
        before = sum(len(self.populations[name]) for name in names[: names.index(population)])
        own = slice(before, before + len(self.populations[population]) + 1)
        times, starts, total = [], [np.zeros(1, dtype=np.int64)], 0
        for trains in self._grouped[condition][:repeats]:
            start = trains.start[own]
            times.append(trains.times_s[start[0] : start[-1]])
            starts.append(start[1:] - start[0] + total)
            total += len(times[-1])
        duration_s = self._grouped[condition][0].duration_s
        return Trains(np.concatenate(times), np.concatenate(starts), duration_s)

    def keys(self) -> list[tuple[int, str]]:
        """What each condition is: length (us) and hash of the stimulus, "" where that is not known."""
        lengths = [repeats[0].duration_us for repeats in self.conditions]
        hashes = [self.session.stimuli[index].sha256 if index >= 0 else "" for index in self.stimuli]
        return list(zip(lengths, hashes, strict=True))

    def side(self) -> Side:
        """The row of the report."""
        made, runs = self.session.made, self.runs
        first = self.session.runs[0] if self.session.runs else None
        config = self.session.config(first.config).sha256 if first is not None and first.config >= 0 else ""
        outside = sum(len(run) for run in runs) - sum(len(t.times_s) for repeats in self._grouped for t in repeats)
        lost = {name: sum(run.noted.get(name, 0) for run in runs) for name in NOTED}
        notes = [
            *self.session.notes,
            *self.notes,
            *(f"{count} spikes noted as {name}" for name, count in lost.items() if count),
            *([f"{outside} spikes of neurons outside the populations are not compared"] if outside else []),
        ]
        return Side(
            label=self.label, source=self.source, backend=made.backend, board=made.board, seed=made.seed, version=made.version,
            repeats=self.repeats, duration_s=sum(repeats[0].duration_us for repeats in self.conditions) / 1e6,
            spikes=sum(len(run) for run in runs), config_sha256=config, stimulus_sha256=_stimulus_sha256(self),
            calibration_sha256=made.calibration_sha256, notes=tuple(notes),
        )  # fmt: skip


def _stimulus_sha256(observed: Observed) -> str:
    known = [index for index in observed.stimuli if index >= 0]
    return observed.session.stimuli[known[0]].sha256 if len(known) == 1 else ""


def observe(session: Session, label: str, source: str, settings: Settings) -> Observed:
    """The repeats of a session: its complete runs, by registers, stimulus and length.

    Where some have the repeats that are needed, the others are left out, and a note tells.

    Raises:
        InvalidValue: no complete run, or one that cannot be cut so.
    """
    found: dict[tuple[int, int, int], list[SpikeRecording]] = {}
    for run in session.runs:
        if run.kind == "run" and run.complete:
            key = (run.config, run.stimulus, run.recording.duration_us)
            found.setdefault(key, []).extend(_parts(run.recording, settings.split))
    if not found:
        raise InvalidValue("holds no complete run", where=source, used=f"{len(session.runs)} runs", fix="Record it again.")
    chosen = {key: repeats for key, repeats in found.items() if len(repeats) >= settings.min_repeats} or found
    most, notes = max(len(repeats) for repeats in chosen.values()), []
    if most > MOST_REPEATS:
        notes.append(f"{most} repeats: the first {MOST_REPEATS} are compared")
    if len(chosen) < len(found):
        left_out = sum(len(repeats) for key, repeats in found.items() if key not in chosen)
        notes.append(f"{left_out} runs are left out: repeated less than {settings.min_repeats} times")
    rest_us = max(run.recording.duration_us % settings.split for run in session.runs if run.kind == "run" and run.complete)
    if rest_us:
        notes.append(f"the last {rest_us} us of a run are left out: no whole number for each of {settings.split} parts")
    conditions = tuple(tuple(repeats[:MOST_REPEATS]) for repeats in chosen.values())
    stimuli = tuple(stimulus for _, stimulus, _ in chosen)
    return Observed(label, source, session, conditions, stimuli, session.populations, tuple(notes))


def _parts(recording: SpikeRecording, split: int) -> list[SpikeRecording]:
    if split == 1:
        return [recording]
    part_us = recording.duration_us // split
    if part_us < 1:
        raise InvalidValue(
            "too short to be cut into so many parts (us)", where="--split", used=split, limit=recording.duration_us
        )
    return [recording.between(k * part_us, (k + 1) * part_us) for k in range(split)]


def matched(a: Observed, b: Observed) -> tuple[Observed, Observed]:
    """Both sides with the same conditions in the same order, and populations that can be compared.

    Raises:
        InvalidValue: they played other stimuli, for other times, or their populations differ.
    """
    pairs, free = list[tuple[int, int]](), defaultdict[tuple[int, str], list[int]](list)
    keys = [side.keys() for side in (a, b)]
    if not (all(known for _, known in keys[0]) and all(known for _, known in keys[1])):
        keys = [[(duration_us, "") for duration_us, _ in of_side] for of_side in keys]  # a side does not say what it played
    for row, key in enumerate(keys[1]):
        free[key].append(row)
    for row, key in enumerate(keys[0]):
        if free[key]:
            pairs.append((row, free[key].pop(0)))
    if not pairs:
        used, limit = _told(b), _told(a)
        fix = "Record both sides with the same stimulus and length."
        raise InvalidValue(
            "the two sides did not play the same", where=f"{a.source} and {b.source}", used=used, limit=limit, fix=fix
        )
    sides = []
    for side, column, own in zip((a, b), (0, 1), _populations(a, b), strict=True):
        rows = [pair[column] for pair in pairs]
        conditions, stimuli = tuple(side.conditions[row] for row in rows), tuple(side.stimuli[row] for row in rows)
        sides.append(replace(side, conditions=conditions, stimuli=stimuli, populations=own))
    return sides[0], sides[1]


def _told(side: Observed) -> str:
    lengths = sorted({repeats[0].duration_us * 1e-6 for repeats in side.conditions})
    shown = ", ".join(f"{length:g}" for length in lengths[:3])
    return f"{len(side.conditions)} stimuli of {shown} s"


def _populations(a: Observed, b: Observed) -> tuple[Mapping[str, IntArray], Mapping[str, IntArray]]:
    """Populations of both sides, by the same names; cores stand for them where a side does not know any."""
    if a.populations and b.populations:
        sizes = [{name: len(places) for name, places in side.populations.items()} for side in (a, b)]
        if sizes[0] != sizes[1]:
            fix = "Compare recordings of one network."
            where = f"{a.source} and {b.source}"
            raise InvalidValue("populations differ", where=where, used=sizes[1], limit=sizes[0], fix=fix)
        return a.populations, {name: b.populations[name] for name in a.populations}
    known = a.populations or b.populations or _cores(a, b)
    return known, known


def _cores(a: Observed, b: Observed) -> dict[str, IntArray]:
    """Every core with a spike, with all neurons up to the last that fired."""
    fired, top = np.zeros((256, 256), dtype=bool), 0
    for side in (a, b):
        for run in side.runs:
            fired[run.spikes["chip"], run.spikes["core"]] = True
            top = max(top, int(run.spikes["neuron"].max(initial=0)))
    found, size = {}, 1 << top.bit_length()
    for chip, core in np.argwhere(fired).tolist():
        places = np.zeros((size, 3), dtype=np.int64)
        places[:] = (chip, core, 0)
        places[:, 2] = np.arange(size)
        found[f"chip {chip} core {core}"] = places
    return found


def grouped(run: SpikeRecording, addresses: IntArray) -> Trains:
    """The trains of some neurons in one run, in the order of their addresses."""
    index = indices_in(run.spikes, addresses)
    mine = np.flatnonzero(index >= 0)
    of_neuron = index[mine].astype(np.uint16 if len(addresses) <= 1 << 16 else np.int64)  # 16 bits are sorted by radix
    order = mine[np.argsort(of_neuron, kind="stable")]
    start = np.concatenate([[0], np.cumsum(np.bincount(of_neuron, minlength=len(addresses)))]).astype(np.int64)
    duration_s = run.duration_us * 1e-6
    return Trains(np.minimum(run.spikes["time_us"][order] * 1e-6, duration_s), start, duration_s)
