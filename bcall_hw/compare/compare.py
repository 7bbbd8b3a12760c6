"""Comparing two sessions: distances between repeats, a verdict for each quantity of each population, and one over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.compare import quantities
from bcall_hw.compare.judgement import Evidence, judged_quantity
from bcall_hw.compare.order import farthest, order_p
from bcall_hw.compare.result import Quantity, Verdict
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.sides import Observed
from bcall_hw.compare.verdict import FEWEST, Judged, hochberg, holm, judge, labellings, smallest_p

#: Called with (what is being done, done, total).
Report = Callable[[str, int, int], None]

Matrices = Mapping[str, Mapping[str, FloatArray]]


@dataclass(frozen=True, eq=False)
class Compared:
    """What two sides come to.

    Attributes:
        verdict: over all quantities that can be judged.
        quantities: each with its own.
        matrices: by population and quantity, distances between all repeats, A's first.
        sampled: by population, neurons whose trains were compared pair by pair.
        bit_identical: the spikes are the same, repeat by repeat.
        p_order: of repeats whose order means nothing; `order_matters`: it is below the level.
        hardly_fires: so few spikes that nothing can be called equivalent.
        smallest_p: the smallest corrected p that so many tests and repeats allow.
    """

    verdict: Verdict
    quantities: tuple[Quantity, ...]
    matrices: Matrices
    sampled: Mapping[str, int]
    bit_identical: bool
    p_order: float
    order_matters: bool
    hardly_fires: bool
    smallest_p: float


def identical(a: Observed, b: Observed) -> bool:
    """Whether both sides have the same spikes of their populations, repeat by repeat."""
    if [len(repeats) for repeats in a.conditions] != [len(repeats) for repeats in b.conditions]:
        return False
    same_places = all(np.array_equal(a.populations[name], b.populations[name]) for name in a.populations)
    return same_places and all(np.array_equal(one.spikes, two.spikes) for one, two in zip(a.runs, b.runs, strict=True))


def compare_sides(a: Observed, b: Observed, settings: Settings, report: Report | None = None) -> Compared:
    """Measure and judge; both sides come from `sides.matched`.

    Args:
        report: called after each population.
    """
    repeats = (a.repeats, b.repeats)
    same, enough = identical(a, b), min(repeats) >= settings.min_repeats
    measured, sampled = _measured(a, b, settings, report)
    matrices = {name: {quantity: one.matrix for quantity, one in of.items()} for name, of in measured.items()}
    names = [(population, name) for population in matrices for name in quantities.QUANTITIES]
    of_all = [matrices[population][name] for population, name in names]
    testable = min(repeats) >= FEWEST
    labels = labellings(*repeats, settings, len(names))
    judged = judge(of_all, repeats[0], labels, settings) if testable else [_few(matrix, repeats[0]) for matrix in of_all]
    p_order = order_p(of_all, repeats[0], settings)
    order_matters = p_order < settings.alpha_order and not same
    p = holm(np.array([one.p for one in judged]))
    p_equivalence = hochberg(np.array([one.p_equivalence for one in judged]))
    found = []
    for k, (population, name) in enumerate(names):
        far = farthest(of_all[k], repeats[0]) if testable else float("nan")
        evidence = Evidence(judged[k], float(p[k]), float(p_equivalence[k]), order_matters, far, repeats, same)
        found.append(judged_quantity(population, name, evidence, measured[population][name].stimuli, settings))
    hardly = max(a.spikes_a_repeat, b.spikes_a_repeat) < settings.min_spikes
    smallest = len(names) * smallest_p(labels)
    return Compared(
        _overall(found, same, enough, hardly), tuple(found), matrices, sampled, same, p_order, order_matters, hardly, smallest
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    """Distances in one quantity: mean over the stimuli under which it is defined, and how many those are."""

    matrix: FloatArray
    stimuli: int


def _measured(
    a: Observed, b: Observed, settings: Settings, report: Report | None
) -> tuple[dict[str, dict[str, _Measured]], dict[str, int]]:
    """By population and quantity; and the largest sample of neurons of each population."""
    found, sampled = dict[str, dict[str, _Measured]](), dict[str, int]()
    for done, name in enumerate(a.populations):
        if report:
            report("comparing populations", done, len(a.populations))
        size, of_stimuli = len(a.populations[name]), []
        for condition in range(len(a.conditions)):
            trains = a.trains(name, condition).followed_by(b.trains(name, condition))
            sample = quantities.chosen_neurons(trains, size, settings, name)
            sampled[name] = max(sampled.get(name, 0), len(sample))
            of_stimuli.append(quantities.distances(trains, size, settings, sample))
        found[name] = {quantity: _mean([of[quantity] for of in of_stimuli]) for quantity in quantities.QUANTITIES}
    if report:
        report("comparing populations", len(found), len(found))
    return found, sampled


def _mean(matrices: list[FloatArray]) -> _Measured:
    defined = [matrix for matrix in matrices if np.isfinite(matrix).all()]
    return _Measured(sum(defined[1:], defined[0]) / len(defined) if defined else matrices[0] * np.nan, len(defined))


def _few(matrix: FloatArray, n_a: int) -> Judged:
    """Too few repeats for a test: distances, and what they can be held against."""
    nan = float("nan")
    inside = [
        side[np.triu_indices(len(side), k=1)].mean() for side in (matrix[:n_a, :n_a], matrix[n_a:, n_a:]) if len(side) > 1
    ]
    return Judged(float(matrix[:n_a, n_a:].mean()), float(np.mean(inside)) if inside else nan, nan, nan, nan, nan)


def _overall(found: list[Quantity], same: bool, enough: bool, hardly: bool) -> Verdict:
    """One over all; what is undefined on both sides (too few intervals) is no evidence either way."""
    defined = [q for q in found if q.distance is not None]
    if any(q.verdict is Verdict.DIFFERENT for q in defined):
        return Verdict.DIFFERENT
    if hardly or not (same or enough):
        return Verdict.NOT_ENOUGH_DATA
    return Verdict.EQUIVALENT if all(q.equivalent for q in defined) else Verdict.NOT_ENOUGH_DATA
