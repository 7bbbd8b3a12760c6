"""Negative controls: comparisons that must find a difference, or the data could not have shown one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bcall_hw import bias_codes, random_bits
from bcall_hw.arrays import IntArray
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.compare.compare import Compared, Report, compare_sides
from bcall_hw.compare.result import Control, Verdict
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.sides import Observed, matched, observe
from bcall_hw.compare.thinning import thinned
from bcall_hw.errors import BcallError
from bcall_hw.record import SessionSteps, Step, first_config, made_by, record, steps_of
from bcall_hw.recording import SpikeRecording
from bcall_hw.recording.session import Session
from bcall_hw.recording.spikes import indices_in

#: Neurons of a population whose trains a control compares pair by pair: a control looks for large differences.
_SAMPLE = 16
#: Neurons of a population that can exchange their spikes.
_FEWEST = 2
#: Factor on the currents of the mis-calibrated control: drives, and what ends a refractory period; leaks are divided by it.
_OFF = 1.25
#: Mismatch of the other board, where the one that is compared has none.
_OTHER_CV = 0.05
SHUFFLED, MISCALIBRATED, OTHER_SEED = "shuffled", "mis-calibrated", "other seed"


def run_controls(a: Observed, b: Observed, settings: Settings, report: Report | None = None) -> tuple[Control, ...]:
    """All three: A's spikes given to other neurons, drives 25 % too large, a board with another seed.

    For the last two the emulator plays the registers and stimuli of the session on a changed board. Where an emulated board
    made A (or B), that side is what they are held against. Where another backend did, A is held against itself, with each
    neuron's rate changed as the emulator says that it would (`thinning`).
    """
    few = settings.model_copy(update={"sample": min(settings.sample, _SAMPLE)})
    if min(a.repeats, b.repeats) < settings.min_repeats:
        reason = f"fewer than {settings.min_repeats} repeats on a side"
        return tuple(_not_run(name, reason) for name in (SHUFFLED, MISCALIBRATED, OTHER_SEED))
    what = "A, and A with every spike given to a random neuron of its population"
    several = tuple(name for name, places in a.populations.items() if len(places) >= _FEWEST)
    if not several:
        found = [_not_run(SHUFFLED, "no population has neurons to exchange")]
    else:
        found = [_control(SHUFFLED, what, compare_sides(a, _shuffled(a, settings), few), several)]
    total = 3
    if report:
        report("controls", 1, total)
    reference = next((side for side in (a, b) if _profile(side) is not None), a)
    with TemporaryDirectory(prefix="bcall-hw-") as folder:
        bench = _Bench(reference, few, Path(folder))
        for name in (MISCALIBRATED, OTHER_SEED):
            found.append(bench.control(name))
            if report:
                report("controls", len(found), total)
    return tuple(found)


def _control(name: str, what: str, compared: Compared, every: tuple[str, ...] = ()) -> Control:
    """What a control came to; those of the populations in `every` that fire must each be told apart."""
    judged = [q for q in compared.quantities if q.distance is not None]
    different = [q for q in judged if q.verdict is Verdict.DIFFERENT]
    firing = dict.fromkeys(q.population for q in judged if q.name != "rate" and q.population in every)
    not_told = tuple(population for population in firing if all(q.population != population for q in different))
    passed = compared.verdict is Verdict.DIFFERENT and not not_told
    where = f" in {', '.join(not_told)}" if not_told and different else ""
    reason = "told apart, as it should be"
    if not passed:
        reason = f"not told apart{where}: this data could not have shown such a difference"
    return Control(
        name=name, what=what, verdict=compared.verdict, passed=passed, reason=reason, different=len(different),
        compared=len(judged), not_told=not_told if different else (),
    )  # fmt: skip


def _not_run(name: str, reason: str) -> Control:
    return Control(name=name, what="", verdict=None, passed=None, reason=f"not run: {reason}")


def _shuffled(a: Observed, settings: Settings) -> Observed:
    """Every spike keeps its time and gets a random neuron of its population."""
    number = 0
    conditions = []
    for repeats in a.conditions:
        shuffled = []
        for run in repeats:
            number += 1
            shuffled.append(_shuffle(run, a.populations, settings.seed, f"compare/shuffle/{number}"))
        conditions.append(tuple(shuffled))
    return replace(a, label="A, shuffled", conditions=tuple(conditions))


def _shuffle(run: SpikeRecording, populations: Mapping[str, IntArray], seed: int, stream: str) -> SpikeRecording:
    spikes = run.spikes.copy()
    for name, places in populations.items():
        mine = np.flatnonzero(indices_in(run.spikes, places) >= 0)
        drawn = (random_bits.uniform(seed, f"{stream}/{name}", len(mine)) * len(places)).astype(np.int64)
        for column, field in enumerate(("chip", "core", "neuron")):
            spikes[field][mine] = places[drawn, column]
    return SpikeRecording(spikes, run.duration_us, run.backend, run.seed, run.version, run.board)


def _profile(side: Observed) -> BoardProfile | None:
    described = side.session.made.profile
    if described is None or not side.session.applied:
        return None
    try:
        return BoardProfile(**described)
    except BcallError:
        return None


@dataclass
class _Bench:
    """The emulator in the place of the side that controls are held against."""

    side: Observed
    settings: Settings
    folder: Path
    nominal: Observed | None = None

    def control(self, name: str) -> Control:
        """One control that has to be played."""
        try:
            steps, known = steps_of(self.side.session), _profile(self.side)
            profile = known or BoardProfile()
            changed, board, told, every = self._changed(name, steps, profile)
            played = self._played(name, changed, board)
            what = f"{self.side.label}, and the emulator of {told}"
            if known is not None:
                return _control(name, what, compare_sides(*matched(self.side, played), self.settings), every)
            if self.nominal is None:
                self.nominal = self._played("nominal", steps, profile)
            what = f"{self.side.label} thinned by the change of each neuron's rate that the emulator tells: {what}"
            sides = thinned(self.side, self.nominal, played, self.settings.seed)
            return _control(name, what, compare_sides(*sides, self.settings), every)
        except BcallError as problem:
            return _not_run(name, str(problem))

    def _changed(
        self, name: str, steps: SessionSteps, profile: BoardProfile
    ) -> tuple[Sequence[Step], BoardProfile, str, tuple[str, ...]]:
        """What is played, on which board, that in words, and the populations that must each be told apart."""
        if name == MISCALIBRATED:
            told = f"the same board with drives {_OFF:g} times as large and leaks as much smaller"
            return steps.changed(_miscalibrated), profile, told, tuple(self.side.populations)
        other = {"seed": (profile.seed + 1) % random_bits.MAX_SEED, "mismatch_cv": max(profile.mismatch_cv, _OTHER_CV)}
        board = profile.model_copy(update=other)
        return steps, board, f"a board of seed {board.seed} with mismatch CV {board.mismatch_cv:g}", ()

    def _played(self, name: str, steps: Sequence[Step], profile: BoardProfile) -> Observed:
        first = first_config(steps)
        path = self.folder / f"{name.replace(' ', '-')}.h5"
        emulator = Emulator(first.chip, first.chips, profile, **emulator_options(self.side.session))
        record(path, emulator, steps, made_by(emulator), self.side.session.populations)
        return observe(Session.load(path), name, name, self.settings)


def emulator_options(session: Session) -> dict[str, Any]:
    """Time step and pulses of the emulator that made a session; its defaults where another backend did."""
    described = session.made.describe
    described = described.get("virtual", described)
    return {name: described[name] for name in ("dt_us", "pulses") if name in described}


def _miscalibrated(step: Step) -> Step:
    """The same registers with drives that are too large and leaks that are too small; codes out of range stay."""
    if step.config is None:
        return step
    config = step.config
    chip, biases = config.chip, config.biases.copy()
    lowest_a, highest_a = bias_codes.current_range_a(chip)
    drives = ["dc", "refractory", *(f"{kind.name}_weight" for kind in chip.synapse_types)]
    for role, factor in [*((role, _OFF) for role in drives), ("leak1", 1 / _OFF), ("leak2", 1 / _OFF)]:
        index = chip.bias_index(role)
        for place in np.ndindex(biases.shape[:2]):
            coarse, fine, _ = biases[(*place, index)]
            wanted_a = float(chip.current_a[coarse, fine]) * factor
            if fine and lowest_a <= wanted_a <= highest_a:
                code, _ = bias_codes.nearest_code(chip, wanted_a, role)
                biases[(*place, index)] = (code.coarse, code.fine, int(code.high))
    return Step("apply", config.with_registers(biases=biases))
