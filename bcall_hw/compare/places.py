"""Where on the board a difference sits, and what the page draws."""

from __future__ import annotations

import numpy as np
from scipy import stats

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.compare import single
from bcall_hw.compare.compare import Matrices
from bcall_hw.compare.quantities import chosen_neurons
from bcall_hw.compare.result import CoreDifference, Pictures, PopulationPicture
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.sides import Observed
from bcall_hw.compare.trains import Trains
from bcall_hw.compare.verdict import holm

#: Spikes of one side that the page's rasters hold, all populations together.
_MOST_SPIKES = 250_000


def differences(rates: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Welch's t of each neuron's rates on both sides, and its p-value.

    Args:
        rates: of A and of B, (repeats, neurons) (Hz).

    Returns:
        t, NaN for a neuron without spread on both sides; p, 1 where such a neuron is equal on both sides and 0 where it is not.
    """
    (mean_a, error_a, n_a), (mean_b, error_b, n_b) = (
        (r.mean(axis=0), r.var(axis=0, ddof=1) / len(r), len(r)) if len(r) > 1 else (r.mean(axis=0), r[0] * np.nan, 1)
        for r in rates
    )
    error = error_a + error_b
    spread = error > 0
    safe = np.where(spread, error, 1.0)
    t = np.where(spread, (mean_a - mean_b) / np.sqrt(safe), np.nan)
    below = error_a**2 / max(n_a - 1, 1) + error_b**2 / max(n_b - 1, 1)
    freedom = np.where(spread, safe**2 / np.where(spread, below, 1.0), 1.0)
    p = np.where(spread, 2 * stats.t.sf(np.abs(np.where(spread, t, 0.0)), freedom), (mean_a == mean_b).astype(np.float64))
    return t, np.where(np.isfinite(error), p, np.nan)


def look(a: Observed, b: Observed, matrices: Matrices, settings: Settings) -> tuple[tuple[CoreDifference, ...], Pictures]:
    """Cores, the worst first, and what the page draws."""
    shown_per = max(1, _MOST_SPIKES // max(1, len(a.populations)))
    end_s = a.conditions[0][0].duration_us * 1e-6
    pictures, rows = {}, []
    for name in a.populations:
        size = len(a.populations[name])
        rates, isi = zip(*(_means(side, name, size) for side in (a, b)), strict=True)
        t, p = differences((rates[0], rates[1]))
        mean = np.stack([r.mean(axis=0) for r in rates])
        rows.append((a.populations[name], mean, t, p))
        first = [side.trains(name, 0, 1) for side in (a, b)]
        shown = _shown(first, size, shown_per, settings, name)
        raster = (_raster(first[0], shown), _raster(first[1], shown))
        pictures[name] = PopulationPicture(
            a.populations[name], mean, np.stack(isi), t, raster, shown, dict(matrices.get(name, {}))
        )
    geometry, columns = _geometry(a, b)
    return _cores(rows, settings), Pictures(pictures, (0.0, end_s), geometry, columns)


def _means(side: Observed, name: str, size: int) -> tuple[FloatArray, FloatArray]:
    """Rates (repeats, neurons) (Hz) and mean intervals (neurons,) (s) of a population, over all stimuli."""
    trains = [side.trains(name, condition) for condition in range(len(side.conditions))]
    rates = np.mean([single.rates_hz(one).reshape(-1, size) for one in trains], axis=0)
    isi = _mean_known(np.concatenate([single.mean_isi_s(one).reshape(-1, size) for one in trains]))
    return rates, isi


def _mean_known(values: FloatArray) -> FloatArray:
    """Mean over the rows of what is known in each column, NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _shown(first: list[Trains], size: int, most: int, settings: Settings, name: str) -> IntArray:
    """Neurons of the raster: all, or a sample that holds the page's size."""
    spikes = max(len(trains.times_s) for trains in first)
    if spikes <= most:
        return np.arange(size)
    few = settings.model_copy(update={"sample": max(1, size * most // spikes)})
    return chosen_neurons(first[0].followed_by(first[1]), size, few, f"{name}/raster")


def _raster(trains: Trains, shown: IntArray) -> tuple[FloatArray, IntArray]:
    index = np.repeat(np.arange(len(trains)), trains.counts)
    mine = np.isin(index, shown)
    return trains.times_s[mine], index[mine].astype(np.int64)


def _geometry(a: Observed, b: Observed) -> tuple[tuple[int, int, int], int]:
    chip = a.session.chip or b.session.chip
    if chip is not None:
        g = chip.geometry
        return (g.chips, g.cores, g.neurons), g.chip_columns
    if not any(len(places) for places in a.populations.values()):
        return (1, 1, 1), 1
    tops = np.max([places.max(axis=0) for places in a.populations.values() if len(places)], axis=0) + 1
    return (int(tops[0]), int(tops[1]), int(tops[2])), int(tops[0])


def _cores(rows: list[tuple[IntArray, FloatArray, FloatArray, FloatArray]], settings: Settings) -> tuple[CoreDifference, ...]:
    if not rows:
        return ()
    places = np.concatenate([row[0] for row in rows])
    mean = np.concatenate([row[1] for row in rows], axis=1)
    t, p = (np.concatenate([row[k] for row in rows]) for k in (2, 3))
    differ = holm(p) < settings.alpha
    found = []
    for chip, core in np.unique(places[:, :2], axis=0).tolist():
        mine = (places[:, 0] == chip) & (places[:, 1] == core)
        known = t[mine][np.isfinite(t[mine])]
        found.append(
            CoreDifference(
                chip=chip, core=core, neurons=int(mine.sum()), differ=int(differ[mine].sum()),
                rate_a_hz=float(mean[0, mine].mean()), rate_b_hz=float(mean[1, mine].mean()),
                rms_z=float(np.sqrt(np.mean(known**2))) if known.size else None,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda c: (-c.differ, -(c.rms_z or 0.0), c.chip, c.core)))
