"""Made-up comparisons for the report page."""

from __future__ import annotations

from typing import Any

import numpy as np

from bcall_hw.compare.result import Comparison, Control, CoreDifference, Pictures, PopulationPicture, Quantity, Side, Verdict

SAME, OTHER, OPEN = Verdict.EQUIVALENT, Verdict.DIFFERENT, Verdict.NOT_ENOUGH_DATA
UNITS = {
    "rate": "Hz", "isi_cv": "", "lv": "", "fano": "", "count_correlation": "", "sttc": "", "victor_purpura": "",
    "van_rossum": "", "isi_distance": "", "spike_distance": "", "spike_synchronisation": "",
}  # fmt: skip
REASONS = {
    SAME: "the ratio is 1.01, at most 1.06", OTHER: "the distance across is 1.62 times that within",
    OPEN: "no difference found, but the ratio may be as large as 1.34 (margin 1.2)",
}  # fmt: skip
REPEATS = 10


def quantity(population: str, name: str, verdict: Verdict, times: float, **changes: Any) -> Quantity:
    fields = {
        "name": name, "population": population, "unit": UNITS[name], "distance": 1.234 * times, "within": 1.234, "ratio": times,
        "ratio_upper": times * (1.25 if verdict is OPEN else 1.06), "p": 2e-5 if verdict is OTHER else 0.43,
        "p_equivalence": 0.0123 if verdict is SAME else 1.0, "equivalent": verdict is SAME, "verdict": verdict,
        "stimuli": 1, "reason": REASONS[verdict],
    }  # fmt: skip
    return Quantity(**(fields | changes))


def undefined(population: str, name: str) -> Quantity:
    nothing = dict.fromkeys(("distance", "within", "ratio", "ratio_upper", "p", "p_equivalence"))
    return quantity(population, name, OPEN, 1.0, reason="too few spikes for it", **nothing)


def side(label: str, **changes: Any) -> Side:
    fields: dict[str, Any] = {
        "label": label, "source": f"recordings/{label.lower()}.h5", "backend": "samna" if label == "A" else "emulator",
        "board": "dynapse1-0042", "seed": None if label == "A" else 9007199254740993, "version": "0.6.0", "repeats": REPEATS,
        "duration_s": 2.0, "spikes": 1234567, "config_sha256": "c0ffee" * 10 + "0123", "stimulus_sha256": "57" * 32,
    }  # fmt: skip
    return Side(**(fields | changes))


def quantities(names: list[str]) -> list[Quantity]:
    rows = []
    rng = np.random.default_rng(3)
    for place, population in enumerate(names):
        for number, name in enumerate(UNITS):
            verdict = (SAME, OTHER, OPEN)[(number * 7 + place * 3) % 5 % 3]
            if place == 2 and name in ("lv", "count_correlation"):
                rows.append(undefined(population, name))
            else:
                ratio = {SAME: 1.01, OTHER: 1.6, OPEN: 1.09}[verdict] * float(rng.uniform(0.97, 1.06))
                rows.append(quantity(population, name, verdict, ratio))
    return rows


def controls(blind: bool = True) -> tuple[Control, ...]:
    return (
        Control(name="shuffled", what="A, and A with every spike given to a random neuron of its population", verdict=OTHER,
                passed=True, reason="", different=29, compared=33),
        Control(name="mis-calibrated", what="the emulator, and the emulator with drives 25 % too large",
                verdict=OPEN if blind else OTHER, passed=not blind, reason="", different=0 if blind else 12, compared=33),
        Control(name="other seed", what="two emulated boards", verdict=None, passed=None,
                reason="the session holds no registers"),
    )  # fmt: skip


def comparison(names: list[str], **changes: Any) -> Comparison:
    rng = np.random.default_rng(4)
    cores = [
        CoreDifference(
            chip=k // 4, core=k % 4, neurons=256, differ=max(0, 40 - 9 * k), rate_a_hz=float(rng.uniform(20, 40)),
            rate_b_hz=float(rng.uniform(20, 40)), rms_z=None if k == 5 else 4.2 - 0.5 * k,
        )
        for k in range(6)
    ]  # fmt: skip
    fields: dict[str, Any] = {
        "verdict": OTHER, "why": f"9 of 33 quantities differ, the rate of {names[0]} most: 1.62 times the distance within.",
        "sides": (side("A", notes=("3 spikes were lost",)), side("B")), "bit_identical": False,
        "p_order": 0.4, "order_matters": False,
        "quantities": tuple(quantities(names)),
        "controls": controls(), "cores": tuple(cores),
        "learned": (
            {"connection": "input to readout", "comparable": True, "synapses": 4096, "on_a": 2040, "on_b": 2051,
             "efficacies_that_differ": 31, "hidden_rms": 0.01234567, "hidden_max": 0.21, "hidden_correlation": None},
            {"connection": "other", "comparable": False, "why": "the sides learned other synapses"},
        ),
        "recovered": ({"parameter": "membrane time constant", "core": "0/1", "median_a": 1.02, "ratio": 1.0515},),
        "settings": {
            "margin": 1.2, "alpha": 0.05, "min_repeats": 10, "permutations": 9999, "sample": 64, "seed": 0, "bin_s": 0.05,
            "neurons_compared_pair_by_pair": dict.fromkeys(names, 64),
            "meaning": {"rate": "root mean square difference of rates"},
        },
        "next": ("Look at the cores that differ most: chip 0 core 0.", "Record 20 repeats of each side."),
    }  # fmt: skip
    return Comparison(**(fields | changes))


def population(
    start: int, neurons: int, rng: np.random.Generator, *, end_s: float = 2.0, rate_hz: float = 30.0, few: int | None = None
) -> PopulationPicture:
    """Neurons from seat `start` of the board on, rates spread over neurons, the first core 15 % faster in B."""
    seats = start + np.arange(neurons)
    addresses = np.stack([seats // 1024, seats // 256 % 4, seats % 256], axis=1).astype(np.int64)
    rates = rate_hz * np.exp(0.4 * rng.standard_normal(neurons))
    other = rates * np.where(seats < 256, 1.15, 1.0)
    mean = np.stack([rates, other]) + rng.standard_normal((2, neurons))
    z = (mean[0] - mean[1]) / 1.2
    z[::97] = np.nan
    isi = 1 / np.maximum(mean, 0.1)
    isi[0, ::50] = np.nan
    shown = np.arange(neurons) if few is None else np.sort(rng.permutation(neurons)[:few])
    raster = []
    for chosen in (rates, other):
        counts = rng.poisson(chosen[shown] * end_s)
        raster.append((rng.uniform(0, end_s, counts.sum()), np.repeat(shown, counts).astype(np.int64)))
    return PopulationPicture(
        addresses,
        np.maximum(mean, 0),
        isi,
        z,
        (raster[0], raster[1]),
        shown.astype(np.int64),
        {name: _matrix(rng, name) for name in UNITS},
    )


def _matrix(rng: np.random.Generator, name: str) -> Any:
    is_b = np.arange(2 * REPEATS) >= REPEATS
    noise = np.abs(rng.normal(1.2, 0.1, (2 * REPEATS, 2 * REPEATS)))
    matrix = (noise + noise.T) / 2 * np.where(is_b[:, None] != is_b, 1.5, 1.0)
    np.fill_diagonal(matrix, 0.0)
    if name == "lv":
        matrix[:] = np.nan
    if name == "fano":
        matrix[3, :] = matrix[:, 3] = np.nan
    return matrix


def pictures(names: list[str]) -> Pictures:
    """Three populations on cores of two chips; of the second, a sample in the raster."""
    rng = np.random.default_rng(5)
    sizes = [(0, 512, None), (512, 300, 128), (1024, 64, None)]
    made = {name: population(start, size, rng, few=few) for name, (start, size, few) in zip(names, sizes, strict=True)}
    return Pictures(made, (0.0, 2.0), (4, 4, 256), 2)


def large_pictures(name: str = "all", neurons: int = 4096, spikes: int = 300_000) -> Pictures:
    """Every neuron of the board, and as many spikes as a caller may give."""
    made = population(0, neurons, np.random.default_rng(6), end_s=60.0, few=64)
    rng = np.random.default_rng(7)
    raster = [(rng.uniform(0, 60, spikes), rng.integers(0, neurons, spikes)) for _ in range(2)]
    everything = PopulationPicture(
        made.addresses, made.rate_hz, made.isi_s, made.z, (raster[0], raster[1]), np.arange(neurons), made.matrices
    )
    return Pictures({name: everything}, (0.0, 60.0), (4, 4, 256), 2)
