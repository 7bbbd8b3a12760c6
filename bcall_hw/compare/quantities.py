"""What is compared: each quantity as distances between all repeats of one population."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.compare import pairwise, single
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.trains import Trains

#: Part of the neurons that fire which must have a value in both repeats.
_ENOUGH = 0.5


@dataclass(frozen=True)
class Meaning:
    """A quantity's unit, and what a distance in it means."""

    unit: str
    words: str


_RMS = "root mean square, over the neurons that fire, of the difference of"
_MEAN = "mean, over sampled neurons, of"
#: Every quantity by name, in the order of the report.
QUANTITIES: Mapping[str, Meaning] = {
    "rate": Meaning("Hz", f"{_RMS} their rates"),
    "relative_rate": Meaning("", f"{_RMS} their rates over the population's mean rate in that repeat"),
    "isi_cv": Meaning("", f"{_RMS} the coefficients of variation of their intervals"),
    "lv": Meaning("", f"{_RMS} their local variation (Shinomoto 2003)"),
    "fano": Meaning("", f"{_RMS} the Fano factors of their counts"),
    "count_correlation": Meaning("", "root mean square, over sampled pairs of neurons, of the difference of correlations"),
    "sttc": Meaning("", f"{_MEAN} 1 - spike time tiling coefficient (Cutts and Eglen 2014)"),
    "victor_purpura": Meaning("", f"{_MEAN} the Victor-Purpura distance (1996)"),
    "van_rossum": Meaning("", f"{_MEAN} the van Rossum distance (2001)"),
    "isi_distance": Meaning("", f"{_MEAN} the ISI-distance (Kreuz 2007)"),
    "spike_distance": Meaning("", f"{_MEAN} the SPIKE-distance (Kreuz 2013)"),
    "spike_synchronisation": Meaning("", f"{_MEAN} 1 - SPIKE-synchronisation (Kreuz 2015)"),
}  # fmt: skip


def distances(trains: Trains, neurons: int, settings: Settings, sample: IntArray) -> dict[str, FloatArray]:
    """For each quantity, the distances between all repeats: (repeats, repeats), symmetric, NaN where undefined.

    Where nothing fires rates are equal, and nothing else is defined.

    Args:
        trains: train `repeat * neurons + neuron`.
        sample: neurons that the pairwise quantities look at.
    """
    repeats = len(trains) // neurons
    bin_s = min(settings.bin_s, trains.duration_s / 10)
    counts = single.counts(trains, bin_s)
    fires = trains.counts.reshape(repeats, neurons).any(axis=0)
    rates = single.rates_hz(trains).reshape(repeats, neurons)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = rates / rates.mean(axis=1, keepdims=True)
    of_neuron = {
        "rate": rates, "relative_rate": relative, "isi_cv": single.isi_cv(trains), "lv": single.local_variation(trains),
        "fano": single.fano_factor(counts),
    }  # fmt: skip
    if not fires.any():
        nothing = {name: np.full((repeats, repeats), np.nan) for name in QUANTITIES}
        return nothing | {"rate": np.zeros((repeats, repeats))}
    found = {name: _rms(values.reshape(repeats, neurons)[:, fires]) for name, values in of_neuron.items()}
    sampled = counts.reshape(repeats, neurons, -1)[:, sample]
    found["count_correlation"] = _correlations(sampled)
    first, second = np.triu_indices(repeats, k=1)
    left = (first[:, None] * neurons + sample).ravel().astype(np.int64)
    right = (second[:, None] * neurons + sample).ravel().astype(np.int64)
    for name, distance in _pairwise(settings).items():
        values = distance(trains, left, right).reshape(len(first), -1)
        matrix = np.zeros((repeats, repeats))
        matrix[first, second] = matrix[second, first] = values.mean(axis=1)
        found[name] = matrix
    return found


def _pairwise(settings: Settings) -> dict[str, Callable[[Trains, IntArray, IntArray], FloatArray]]:
    return {
        "sttc": lambda t, i, j: 1 - pairwise.sttc(t, i, j, settings.sttc_window_s),
        "victor_purpura": lambda t, i, j: pairwise.victor_purpura(t, i, j, settings.victor_purpura_cost_hz),
        "van_rossum": lambda t, i, j: pairwise.van_rossum(t, i, j, settings.van_rossum_tau_s),
        "isi_distance": pairwise.isi_distance, "spike_distance": pairwise.spike_distance,
        "spike_synchronisation": lambda t, i, j: 1 - pairwise.spike_synchronisation(t, i, j),
    }  # fmt: skip


def _rms(values: FloatArray) -> FloatArray:
    """Root mean square difference of each two rows over the columns that both have; NaN where those are too few."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    both = known.astype(np.float64) @ known.T.astype(np.float64)
    matrix = np.full((len(values), len(values)), np.nan)
    for row in range(len(values)):
        squares = ((filled - filled[row]) ** 2 * (known & known[row])).sum(axis=1)
        enough = both[row] >= max(1.0, _ENOUGH * values.shape[1])
        matrix[row, enough] = np.sqrt(squares[enough] / both[row][enough])
    return matrix


def _correlations(counts: IntArray) -> FloatArray:
    """Root mean square difference of the correlation matrices of each two repeats; counts of shape (repeats, neurons, bins)."""
    repeats, neurons, _ = counts.shape
    if neurons < 2:
        return np.full((repeats, repeats), np.nan)
    above = np.triu_indices(neurons, k=1)
    return _rms(np.stack([single.count_correlation(counts[r])[above] for r in range(repeats)]))


def chosen_neurons(trains: Trains, neurons: int, settings: Settings, population: str) -> IntArray:
    """Indices of the neurons that pairwise quantities look at: of those that fire at all, a random sample."""
    repeats = len(trains) // neurons
    firing = np.flatnonzero(trains.counts.reshape(repeats, neurons).any(axis=0))
    if len(firing) <= settings.sample:
        return firing.astype(np.int64)
    order = random_bits.permutation(settings.seed, f"compare/sample/{population}", len(firing))
    return np.sort(firing[order[: settings.sample]]).astype(np.int64)
