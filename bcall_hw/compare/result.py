"""What a comparison says: plain values that the table, `--json` and the page share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from bcall_hw.arrays import FloatArray, IntArray
from bcall_hw.records import Record


class Verdict(str, Enum):
    """What may be said of two systems; of one quantity of one population too."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    NOT_ENOUGH_DATA = "not enough data"


class Side(Record):
    """One of the two systems.

    Attributes:
        label: "A" or "B".
        source: the file, or the address of the live backend.
        backend, board, seed, version: what made its spikes.
        repeats: runs of the same thing that are compared; `duration_s` of each.
        spikes: of all repeats.
        config_sha256, stimulus_sha256, calibration_sha256: what it ran, "" where the file does not say.
        notes: what is worth knowing: spikes that were lost, wraps, a file that was cut.
    """

    label: str
    source: str
    backend: str
    board: str
    seed: int | None
    version: str
    repeats: int
    duration_s: float
    spikes: int
    config_sha256: str = ""
    stimulus_sha256: str = ""
    calibration_sha256: str = ""
    notes: tuple[str, ...] = ()


class Quantity(Record):
    """One quantity of one population.

    Attributes:
        name: as in `quantities.QUANTITIES`, e.g. "rate"; `unit` of the distances, "" where they have none.
        distance: mean distance between a repeat of A and a repeat of B; None where it is undefined (too few spikes).
        within: mean distance between two repeats of one side.
        ratio: distance / within, None where it is undefined; infinite ratios are told as None with within = 0.
        ratio_upper: one-sided upper bound of the ratio at the level of the equivalence test.
        p: of no difference at all (permutation of repeats), Holm-corrected over all quantities and populations.
        p_equivalence: of a ratio of at least the margin, likewise corrected (Hochberg: all pass where the largest does).
        stimuli: under which it is defined; the distance is the mean over them.
        equivalent: no difference was found, and the ratio is proved to be below the margin.
        verdict: of this quantity alone; `reason` in words.
    """

    name: str
    population: str
    unit: str
    distance: float | None
    within: float | None
    ratio: float | None
    ratio_upper: float | None
    p: float | None
    p_equivalence: float | None
    stimuli: int
    equivalent: bool
    verdict: Verdict
    reason: str


class Control(Record):
    """A comparison that must find a difference; one that does not says that this data could not have shown one.

    Attributes:
        name: "shuffled", "mis-calibrated", "other seed".
        what: what was compared with what.
        verdict: what came out; None where it could not be run, and `reason` says why.
        passed: it came out as "different", the first two of them in each population that fires; None where it was not run.
        different: how many (quantity, population) were found to differ, of how many `compared`.
        not_told: populations in which nothing differed.
    """

    name: str
    what: str
    verdict: Verdict | None
    passed: bool | None
    reason: str
    different: int = 0
    compared: int = 0
    not_told: tuple[str, ...] = ()


class CoreDifference(Record):
    """Where on the board the difference sits: one core.

    Attributes:
        neurons: that belong to a compared population; `differ`: of them, with a rate that differs (Holm over all neurons).
        rate_a_hz, rate_b_hz: mean rates; `rms_z`: root mean square of Welch's t over the neurons whose rates vary,
            about 1 where nothing differs.
    """

    chip: int
    core: int
    neurons: int
    differ: int
    rate_a_hz: float
    rate_b_hz: float
    rms_z: float | None


class Comparison(Record):
    """The whole result; `quantities`, `controls` and `verdict` are what `--json` promises.

    Attributes:
        why: the verdict in a sentence.
        bit_identical: the spikes of both sides are the same, repeat by repeat.
        p_order: of repeats whose order means nothing; `order_matters`: it is below the level, and repeats follow from one
            another.
        cores: where differences sit, the worst first.
        learned: weights and hidden weights after learning, a row for each connection: plain values; empty without learning.
        recovered: parameters measured from each side, a row for each parameter; empty where it was not asked for.
        settings: margins, levels, samples, time constants and bins that were used, as plain values.
        next: what to do next.
    """

    verdict: Verdict
    why: str
    sides: tuple[Side, Side]
    bit_identical: bool
    p_order: float
    order_matters: bool
    quantities: tuple[Quantity, ...]
    controls: tuple[Control, ...]
    cores: tuple[CoreDifference, ...] = ()
    learned: tuple[dict[str, Any], ...] = ()
    recovered: tuple[dict[str, Any], ...] = ()
    settings: dict[str, Any] = {}
    next: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PopulationPicture:
    """What the page draws of one population; sides in the order A, B.

    Attributes:
        addresses: int (neurons, 3): chip, core, neuron.
        rate_hz: (2, neurons): mean over the repeats.
        isi_s: (2, neurons): mean interval between spikes, NaN where a neuron has none.
        z: (neurons,): Welch's t of the rates: their difference over its standard error, NaN where there is no spread.
        raster: for each side (times in s, index of the neuron) of one repeat, of the neurons in `shown`.
        shown: indices of the neurons that the raster has; all, or a stated sample.
        matrices: by quantity, distances between all repeats, A's first: (repeats A + B, the same), NaN where undefined.
    """

    addresses: IntArray
    rate_hz: FloatArray
    isi_s: FloatArray
    z: FloatArray
    raster: tuple[tuple[FloatArray, IntArray], tuple[FloatArray, IntArray]]
    shown: IntArray
    matrices: dict[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Pictures:
    """What the page draws beside the result.

    Attributes:
        populations: by name.
        raster_s: the part of the repeat that the raster shows (from, to).
        geometry: chips, cores of a chip, neurons of a core; `chip_columns`: chips in a row of the board.
    """

    populations: dict[str, PopulationPicture]
    raster_s: tuple[float, float]
    geometry: tuple[int, int, int]
    chip_columns: int
