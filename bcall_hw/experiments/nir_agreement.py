"""Where an imported network and its original part: each step from the framework's own answer to a mismatched chip.

(a) a LIF simulator in float64 with the file's weights, (b) the same with the quantised weights, then with the chip's slow
synapses and with a net drive that cannot be negative, (c) the emulator without mismatch, (d) the emulator with mismatch. All
get the same input spikes, and are compared with the framework's answers that were stored beside the file.
`python -m bcall_hw.experiments.nir_agreement FILE.nir FILE.npz` prints the table.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_model import DEFAULT_CHIP
from bcall_hw.errors import BcallError, CorruptFile, InvalidValue
from bcall_hw.experiments.dataset import load_dataset
from bcall_hw.mapper import MappedNetwork, map_network
from bcall_hw.nir_import import ImportedNetwork, ImportSettings, Layer, import_nir

Reset = Literal["rest", "subtract"]
#: Silence after each image (s): several time constants of membranes and synapses.
_REST_S = 0.1


@dataclass(frozen=True, eq=False)
class Reference:
    """A framework's answers on held-out images, and how their spike trains were made.

    Attributes:
        counts: int, shape (images, outputs): output spikes; the answer is the largest, the first of equals.
        steps, dt_s: time steps of one presentation and their length (s).
        probability: chance of a spike of an active pixel in one step.
        seed: of the spike trains.
        versions: of the framework and of nir.
    """

    counts: IntArray
    steps: int
    dt_s: float
    probability: float
    seed: int
    versions: str

    def save(self, path: Path) -> None:
        """Write it as .npz."""
        np.savez_compressed(path, allow_pickle=False, **self.__dict__)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read it.

        Raises:
            CorruptFile: missing or something else.
        """
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return cls(
                    file["counts"].astype(np.int64), int(file["steps"]), float(file["dt_s"]), float(file["probability"]),
                    int(file["seed"]), str(file["versions"]),
                )  # fmt: skip
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
            raise CorruptFile("holds no reference answers", where=str(path), used=str(problem)) from None


def spike_trains(images: BoolArray, steps: int, probability: float, seed: int, part: str) -> BoolArray:
    """Spikes of each pixel, bool, shape (images, steps, pixels): independent draws for active pixels, none for others.

    Args:
        part: name of the images, so that training and held-out ones have draws of their own.
    """
    shape = (steps, images.shape[1])
    found = np.zeros((len(images), *shape), dtype=np.bool_)
    for k, image in enumerate(images):
        draws = random_bits.uniform(seed, f"nir/{part}/{k}", steps * images.shape[1]).reshape(shape)
        found[k] = (draws < probability) & image
    return found


def simulate_lif(
    layers: Sequence[tuple[FloatArray, float]],
    spikes: BoolArray,
    reset: Reset = "rest",
    floor: float = 0.0,
    tau_syn: float | None = None,
    rectified: bool = False,
) -> list[IntArray]:
    """Spike counts of a chain of LIF layers, in float64 and in time steps; written from NIR's equations, without sinabs.

    tau dv/dt = i - v over a step of constant input i, exactly: v <- alpha v + (1 - alpha) i with alpha = exp(-1 / tau); a
    spike where v >= 1, one a step. NIR 1.0.4 subtracts the threshold then, later versions reset.

    Args:
        layers: for each layer its weights in thresholds, shape (neurons, sources), and tau in steps.
        spikes: bool, shape (images, steps, sources).
        reset: to rest (v = 0), or by subtracting the threshold.
        floor: the lowest v; minus infinity for none.
        tau_syn: time constant (steps) of exponential synapses with the same charge; None for instantaneous ones.
        rectified: the net drive is never below 0, as a soma's.

    Returns:
        For each layer the counts, shape (images, neurons).
    """
    flowing = spikes.astype(np.float64)
    counts = []
    for weights, tau in layers:
        alpha = float(np.exp(-1.0 / tau))
        v = np.zeros((len(spikes), len(weights)))
        out = np.zeros((*flowing.shape[:2], len(weights)))
        keeps = 0.0 if tau_syn is None else float(np.exp(-1.0 / tau_syn))
        drive = np.zeros_like(v)
        for step in range(flowing.shape[1]):
            drive = keeps * drive + (1.0 - keeps) * (flowing[:, step] @ weights.T)
            v = np.maximum(alpha * v + (1.0 - alpha) * (np.maximum(drive, 0.0) if rectified else drive), floor)
            fired = v >= 1.0
            out[:, step] = fired
            v = np.where(fired, v - 1.0 if reset == "subtract" else 0.0, v)
        counts.append(out.sum(axis=1).astype(np.int64))
        flowing = out
    return counts


def _chain(layers: Sequence[Layer], dt_s: float, quantised: bool) -> list[tuple[FloatArray, float]]:
    """Weights and time constants (steps) of a chain; refuses any other graph, and IF."""
    found = []
    for before, layer in zip([None, *layers], layers, strict=False):
        if len(layer.sources) != 1 or layer.tau_s is None or (before and layer.sources[0][0] != before.name):
            raise InvalidValue("agreement is measured on a chain of LIF layers", where=f"layer {layer.name!r}")
        found.append((layer.quantised.weights if quantised else layer.weights, layer.tau_s / dt_s))
    return found


def run_emulated(
    mapped: MappedNetwork, spikes: BoolArray, dt_s: float, profile: BoardProfile, rest_s: float = _REST_S
) -> dict[str, IntArray]:
    """Spike counts of every population for each image, shape (images, neurons), on one virtual board.

    Images follow one another with a rest between, as many in a run as the stimulus memory holds; a spike of step k comes in
    the middle of that step, and what is fired in the rest counts for the image before.
    """
    board = Emulator(mapped.config.chip, mapped.config.chips, profile)
    board.apply(mapped.config)
    name = mapped.network.inputs[0].name
    span_us = round((spikes.shape[1] * dt_s + rest_s) * 1e6)
    per_source = max(len({chip for chip, _ in reach}) for reach in mapped.input_reach[name])
    most = mapped.config.chip.stimulus.max_events // max(1, per_source)
    counts = {p.name: np.zeros((len(spikes), p.size), dtype=np.int64) for p in mapped.network.populations}
    first = 0
    while first < len(spikes):
        events = np.cumsum(spikes[first:].sum(axis=(1, 2)))
        count = max(1, int(np.searchsorted(events, most, side="right")))
        image, step, source = np.nonzero(spikes[first : first + count])
        heard = mapped.input_tags[name][source] >= 0
        times_us = image * span_us + (step + 0.5) * dt_s * 1e6
        stimulus = mapped.stimulus({name: (source[heard], times_us[heard])})
        recording = board.run(stimulus, count * span_us * 1e-6)
        for population, (ids, fired_us) in mapped.spikes_of(recording).items():
            # A spike carries the end of its time step.
            at = first + ((fired_us - 1.0) // span_us).astype(np.int64)
            np.add.at(counts[population], (at, ids), 1)
        first += count
    return counts


@dataclass(frozen=True)
class Row:
    """One step beside the framework.

    Attributes:
        agreement: share of images with the framework's answer.
        accuracy: share of images with the right answer.
        correlation: of all output spike counts with the framework's.
        output_rate: mean spikes of an output in one presentation.
        hidden_rate: the same of a neuron of the other layers; None where no spikes of others are known.
    """

    step: str
    agreement: float
    accuracy: float
    correlation: float
    output_rate: float
    hidden_rate: float | None


def _row(step: str, counts: Sequence[IntArray], wanted: IntArray, labels: IntArray) -> Row:
    out, hidden = counts[-1], [c.mean() for c in counts[:-1]]
    answers = out.argmax(axis=1)
    flat = out.ravel().astype(np.float64), wanted.ravel().astype(np.float64)
    correlation = float(np.corrcoef(*flat)[0, 1]) if all(f.std() > 0 for f in flat) else 0.0
    return Row(
        step, float((answers == wanted.argmax(axis=1)).mean()), float((answers == labels).mean()), correlation,
        float(out.mean()), float(np.mean(hidden)) if hidden else None,
    )  # fmt: skip


def agreement_rows(
    imported: ImportedNetwork, spikes: BoolArray, wanted: IntArray, labels: IntArray, dt_s: float,
    seeds: Sequence[int] = (0, 1, 2, 3, 4), mismatch_cv: float = 0.2, chip: str = DEFAULT_CHIP,
    say: Callable[[Row], None] | None = None,
) -> list[Row]:  # fmt: skip
    """The table: the framework itself, then steps (a) to (d), (d) once for each board seed.

    Args:
        spikes: bool, shape (images, steps, sources).
        wanted: the framework's output counts, shape (images, outputs).
        labels: shape (images,).
    """
    rows: list[Row] = []

    def add(step: str, counts: Sequence[IntArray]) -> None:
        rows.append(_row(step, counts, wanted, labels))
        if say:
            say(rows[-1])

    add("framework", [wanted])
    real, rounded = (_chain(imported.layers, dt_s, quantised) for quantised in (False, True))
    add("(a) float64, file's weights", simulate_lif(real, spikes))
    add("(a') the same, threshold subtracted, no floor", simulate_lif(real, spikes, "subtract", -np.inf))
    add("(b) float64, quantised weights", simulate_lif(rounded, spikes))
    # The emulator's counts hold what is fired after the image: so does this step.
    longer = np.concatenate([spikes, np.zeros((len(spikes), round(_REST_S / dt_s), spikes.shape[2]), dtype=np.bool_)], axis=1)
    tau_syn = imported.layers[0].tau_syn_s / dt_s
    add("(b') the same, slow synapses", simulate_lif(rounded, longer, tau_syn=tau_syn))
    add("(b'') the same, net drive not below 0", simulate_lif(rounded, longer, tau_syn=tau_syn, rectified=True))
    mapped = map_network(imported.network, chip)
    names = [layer.name for layer in imported.layers]
    profiles = [("(c) emulator, no mismatch", BoardProfile())]
    profiles += [
        (f"(d) emulator, CV {mismatch_cv:.2f}, seed {s}", BoardProfile(seed=s, mismatch_cv=mismatch_cv)) for s in seeds
    ]
    for step, profile in profiles:
        counts = run_emulated(mapped, spikes, dt_s, profile)
        add(step, [counts[name] for name in names])
    return rows


def digits(part: Literal["train", "test"], count: int) -> tuple[BoolArray, IntArray]:
    """The first `count` images and labels of a part of the embedded digits."""
    data = load_dataset("digits")
    images, labels = (data.train, data.train_labels) if part == "train" else (data.test, data.test_labels)
    return images[:count], labels[:count]


def measure(
    nir_file: Path, reference_file: Path, settings: ImportSettings | None = None, images: int | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4), say: Callable[[Row], None] | None = None,
) -> list[Row]:  # fmt: skip
    """The table of a shipped file on the held-out digits that its reference answers, or on the first `images` of them."""
    reference = Reference.load(reference_file)
    wanted = reference.counts[:images]
    settings = settings or ImportSettings(dt_s=reference.dt_s)
    pictures, labels = digits("test", len(wanted))
    spikes = spike_trains(pictures, reference.steps, reference.probability, reference.seed, "test")
    return agreement_rows(import_nir(nir_file, settings), spikes, wanted, labels, reference.dt_s, seeds, say=say)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Agreement of an imported network with its original, step by step.")
    parser.add_argument("nir_file", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--images", type=int, help="only the first so many")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        rows = measure(given.nir_file, given.reference, images=given.images)
    except (BcallError, OSError) as problem:
        parser.error(str(problem))
    if given.json:
        print(json.dumps([row.__dict__ for row in rows]))
        return
    print("| step | same answer | accuracy | correlation of counts | spikes per output | per hidden neuron |")
    print("|---|---|---|---|---|---|")
    missing = "none" if all(row.hidden_rate is None for row in rows) else "not stored"
    for row in rows:
        cells = (f"{row.agreement:.1%}", f"{row.accuracy:.1%}", f"{row.correlation:.3f}", f"{row.output_rate:.2f}")
        hidden = missing if row.hidden_rate is None else f"{row.hidden_rate:.2f}"
        print(f"| {row.step} | {' | '.join(cells)} | {hidden} |")


if __name__ == "__main__":
    main()
