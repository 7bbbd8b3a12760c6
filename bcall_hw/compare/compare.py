"""Comparing two sessions: distances between repeats, a verdict for each quantity of each population, and one over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.compare import quantities, words
from bcall_hw.compare.result import Quantity, Verdict
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.sides import Observed
from bcall_hw.compare.verdict import Judged, holm, judge, labellings, ratio_of

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
        bit_identical: the spikes are the same, repeat by repeat.
    """

    verdict: Verdict
    quantities: tuple[Quantity, ...]
    matrices: Matrices
    bit_identical: bool


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
    repeats = [a.repeats, b.repeats]
    same = identical(a, b)
    matrices = _matrices(a, b, repeats, settings, report)
    enough = min(repeats) >= settings.min_repeats
    names = [(population, name) for population in matrices for name in quantities.QUANTITIES]
    judged: list[Judged] = []
    if min(repeats) >= 2:
        labels = labellings(repeats[0], repeats[1], settings, len(names))
        judged = judge([matrices[population][name] for population, name in names], repeats[0], labels, settings)
    else:
        judged = [_unrepeated(matrices[population][name]) for population, name in names]
    p = holm(np.array([one.p for one in judged]))
    p_equivalence = holm(np.array([one.p_equivalence for one in judged]))
    found = tuple(
        _quantity(*names[k], judged[k], float(p[k]), float(p_equivalence[k]), settings, enough, same, repeats)
        for k in range(len(names))
    )
    return Compared(_overall(found, same, enough), found, matrices, same)


def _matrices(a: Observed, b: Observed, repeats: list[int], settings: Settings, report: Report | None) -> Matrices:
    """Mean over the conditions of the distances of each."""
    found: dict[str, dict[str, FloatArray]] = {}
    for done, name in enumerate(a.populations):
        if report:
            report("comparing populations", done, len(a.populations))
        sums: dict[str, FloatArray] = {}
        size = len(a.populations[name])
        for condition in range(len(a.conditions)):
            trains = a.trains(name, condition, repeats[0]).followed_by(b.trains(name, condition, repeats[1]))
            sample = quantities.chosen_neurons(trains, size, settings, name)
            for quantity, matrix in quantities.distances(trains, size, settings, sample).items():
                sums[quantity] = sums.get(quantity, 0.0) + matrix / len(a.conditions)
        found[name] = sums
    if report:
        report("comparing populations", len(found), len(found))
    return found


def _unrepeated(matrix: FloatArray) -> Judged:
    """One repeat on a side: a distance, and nothing to hold it against."""
    nan = float("nan")
    return Judged(float(matrix[0, -1]), nan, nan, nan, nan)


def _quantity(
    population: str, name: str, judged: Judged, p: float, p_equivalence: float, settings: Settings, enough: bool, same: bool,
    repeats: list[int],
) -> Quantity:  # fmt: skip
    defined = np.isfinite(judged.across)
    ratio, across = judged.ratio, judged.across
    if same and defined:
        across, ratio, p, p_equivalence = 0.0, ratio_of(0.0, judged.within), 1.0, 0.0
        verdict = Verdict.EQUIVALENT
    elif not defined or not enough:
        verdict = Verdict.NOT_ENOUGH_DATA
    elif p < settings.alpha:
        verdict = Verdict.DIFFERENT
    elif p_equivalence < settings.alpha_equivalence:
        verdict = Verdict.EQUIVALENT
    else:
        verdict = Verdict.NOT_ENOUGH_DATA
    upper = 0.0 if same else judged.ratio_upper
    return Quantity(
        name=name, population=population, unit=quantities.QUANTITIES[name].unit, distance=_known(across),
        within=_known(judged.within), ratio=_known(ratio), ratio_upper=_known(upper), p=_known(p),
        p_equivalence=_known(p_equivalence), equivalent=verdict is Verdict.EQUIVALENT, verdict=verdict,
        reason=words.reason(verdict, ratio, upper, same, defined, repeats, settings),
    )  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _overall(found: tuple[Quantity, ...], same: bool, enough: bool) -> Verdict:
    """One over all; what is undefined on both sides (a silent population, too few intervals) is no evidence either way."""
    defined = [q for q in found if q.distance is not None]
    if not any(q.name != "rate" for q in defined):
        return Verdict.NOT_ENOUGH_DATA
    if same:
        return Verdict.EQUIVALENT
    if not enough:
        return Verdict.NOT_ENOUGH_DATA
    if any(q.verdict is Verdict.DIFFERENT for q in defined):
        return Verdict.DIFFERENT
    return Verdict.EQUIVALENT if all(q.equivalent for q in defined) else Verdict.NOT_ENOUGH_DATA
