"""What can be chosen about a comparison."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bcall_hw.random_bits import MAX_SEED
from bcall_hw.records import Record

#: More repeats of a side are left out of a comparison, and it says so: their pairs grow with the square.
MOST_REPEATS = 200

_Positive = Annotated[float, Field(gt=0, le=1e6)]


class Settings(Record):
    """Every choice of a comparison.

    Attributes:
        margin: distance across / distance within that still counts as equivalent.
        alpha: level of the tests of a difference, over all quantities and populations together (Holm): how often two equal
            systems may be called different.
        alpha_equivalence: level of the tests of equivalence, likewise: how often a quantity at the margin may pass.
        alpha_order: level of the test whether repeats follow from one another.
        min_repeats: repeats that each side needs; `min_spikes`: that a repeat needs on the mean, on one side at least.
        permutations: of repeats, for the test of no difference; more are drawn where many tests share the level.
        sample: neurons of each population whose trains are compared pair by pair; rates and intervals take all.
        seed: of samples and permutations.
        split: parts that each run is cut into, which then count as repeats; for long stationary runs.
        bin_s: of spike counts (Fano factor, count correlation), at most a tenth of a repeat.
        sttc_window_s: of the spike time tiling coefficient.
        victor_purpura_cost_hz: of moving a spike, per second; adding and removing one cost 1 each.
        van_rossum_tau_s: time constant of the filter.
    """

    margin: Annotated[float, Field(gt=1, le=100)] = 1.2
    alpha: Annotated[float, Field(ge=1e-4, lt=0.5)] = 0.01
    alpha_equivalence: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    alpha_order: Annotated[float, Field(ge=0.002, lt=0.5)] = 0.01
    min_repeats: Annotated[int, Field(ge=3, le=1000)] = 10
    min_spikes: Annotated[float, Field(gt=0, le=1e9)] = 10.0
    permutations: Annotated[int, Field(ge=99, le=200_000)] = 9999
    sample: Annotated[int, Field(ge=1, le=65536)] = 64
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    split: Annotated[int, Field(ge=1, le=MOST_REPEATS)] = 1
    bin_s: _Positive = 0.05
    sttc_window_s: _Positive = 0.005
    victor_purpura_cost_hz: _Positive = 100.0
    van_rossum_tau_s: _Positive = 0.01
