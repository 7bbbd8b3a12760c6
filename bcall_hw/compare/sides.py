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
        stimuli: index of the stimulus of each, -1 where it is not known; `registers`: hash of each one's, "" likewise.
        populations: for each, int (size, 3): chip, core, neuron.
        notes: what was left out.
    """

    label: str
    source: str
    session: Session
    conditions: tuple[tuple[SpikeRecording, ...], ...]
    stimuli: tuple[int, ...]
    registers: tuple[str, ...]
    populations: Mapping[str, IntArray]
    notes: tuple[str, ...] = ()

    @property
    def repeats(self) -> int:
        """Repeats that every condition has."""
        return min(len(repeats) for repeats in self.conditions)

    @property
    def spikes_a_repeat(self) -> float:
        """Spikes of the populations in a repeat, on the mean."""
        return float(np.mean([len(trains.times_s) for repeats in self._grouped for trains in repeats]))

    @property
    def runs(self) -> list[SpikeRecording]:
        """All repeats of all conditions."""
        return [run for repeats in self.conditions for run in repeats]

    @cached_property
    def _grouped(self) -> list[list[Trains]]:
        every = np.concatenate([np.zeros((0, 3), dtype=np.int64), *self.populations.values()])
        return [[grouped(run, every) for run in repeats] for repeats in self.conditions]

    def trains(self, population: str, condition: int, repeats: int | None = None) -> Trains:
        """The trains of a population in all or the first so many repeats: train `repeat * neurons + neuron`."""
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
        """What was played: length (us) and hash of the stimulus, "" where that is not known."""
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

    Where some have the repeats that are needed, the others are left out, and a note tells. Registers that come back are the
    same ones.

    Raises:
        InvalidValue: no complete run, or one that cannot be cut so.
    """
    found: dict[tuple[str, int, int], list[SpikeRecording]] = {}
    hashes = dict[int, str]()
    for run in session.runs:
        if run.kind == "run" and run.complete:
            if run.config not in hashes:
                hashes[run.config] = _registers_of(session, run.config)
            key = (hashes[run.config], run.stimulus, run.recording.duration_us)
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
    registers = tuple(sha256 for sha256, _, _ in chosen)
    return Observed(label, source, session, conditions, stimuli, registers, session.populations, tuple(notes))


def _registers_of(session: Session, index: int) -> str:
    """Hash of the registers after a change; its number where the chip is not known."""
    if index < 0:
        return ""
    return session.config(index).sha256 if session.chip is not None else str(index)


def _parts(recording: SpikeRecording, split: int) -> list[SpikeRecording]:
    if split == 1:
        return [recording]
    part_us = recording.duration_us // split
    if part_us < 1:
        raise InvalidValue(
            "too short to be cut into so many parts (us)", where="--split", used=split, limit=recording.duration_us
        )
    parts = [recording.between(k * part_us, (k + 1) * part_us) for k in range(split)]
    return [parts[0], *(replace(part, noted={}) for part in parts[1:])]  # what was noted of the run counts once


def matched(a: Observed, b: Observed) -> tuple[Observed, Observed]:
    """Both sides with the same conditions in the same order, as many repeats of each, and populations that can be compared.

    Conditions under the same registers belong together, before those under others. What is left out is noted.

    Raises:
        InvalidValue: they played other stimuli, for other times, or their populations differ.
    """
    pairs = _pairs(a, b)
    if not pairs:
        fix = "Record both sides with the same stimulus and length."
        where = f"{a.source} and {b.source}"
        raise InvalidValue(
            "the two sides did not play the same", where=where, used=_shown_stimuli(b), limit=_shown_stimuli(a), fix=fix
        )
    populations = _populations(a, b)
    left = _cut(a, [row for row, _ in pairs], populations[0])
    right = _cut(b, [row for _, row in pairs], populations[1])
    return left, right


def _pairs(a: Observed, b: Observed) -> list[tuple[int, int]]:
    """Which condition of A is which of B, in A's order."""
    keys = [side.keys() for side in (a, b)]
    if not (all(known for _, known in keys[0]) and all(known for _, known in keys[1])):
        keys = [[(duration_us, "") for duration_us, _ in of_side] for of_side in keys]  # a side does not say what it played
    pairs = dict[int, int]()
    for with_registers in (True, False):
        free = defaultdict[tuple[int, str, str], list[int]](list)
        for row, (duration_us, stimulus) in enumerate(keys[1]):
            if row not in pairs.values():
                free[duration_us, stimulus, b.registers[row] if with_registers else ""].append(row)
        for row, (duration_us, stimulus) in enumerate(keys[0]):
            fitting = free[duration_us, stimulus, a.registers[row] if with_registers else ""]
            if row not in pairs and fitting:
                pairs[row] = fitting.pop(0)
    return sorted(pairs.items())


def _cut(side: Observed, rows: list[int], populations: Mapping[str, IntArray]) -> Observed:
    """These conditions alone, with as many repeats of each."""
    notes, lacking = list(side.notes), len(side.conditions) - len(rows)
    if lacking:
        notes.append(f"{lacking} of {len(side.conditions)} stimuli are left out: the other side did not play them")
    chosen = [side.conditions[row] for row in rows]
    fewest = min(len(repeats) for repeats in chosen)
    surplus = sum(len(repeats) - fewest for repeats in chosen)
    if surplus:
        notes.append(f"{surplus} runs are left out: other stimuli have {fewest} repeats")
    return replace(
        side, conditions=tuple(repeats[:fewest] for repeats in chosen), stimuli=tuple(side.stimuli[row] for row in rows),
        registers=tuple(side.registers[row] for row in rows), populations=populations, notes=tuple(notes),
    )  # fmt: skip


def _shown_stimuli(side: Observed) -> str:
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
    """Every core with a spike, with all neurons up to the last of it that fired."""
    tops = np.full((256, 256), -1, dtype=np.int64)
    for side in (a, b):
        for run in side.runs:
            np.maximum.at(tops, (run.spikes["chip"], run.spikes["core"]), run.spikes["neuron"])
    found = {}
    for chip, core in np.argwhere(tops >= 0).tolist():
        neurons = np.arange(tops[chip, core] + 1)
        found[f"chip {chip} core {core}"] = np.column_stack([np.full(len(neurons), chip), np.full(len(neurons), core), neurons])
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
