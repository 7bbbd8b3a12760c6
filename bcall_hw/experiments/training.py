"""Training and evaluating the BCaLL classifier on any backend, with checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bcall_hw import h5_files, random_bits
from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.backend import Backend
from bcall_hw.calibration import Calibration
from bcall_hw.chip_model import ChipModel
from bcall_hw.defects import Defects
from bcall_hw.errors import BackendProblem, ForeignFile, InvalidValue
from bcall_hw.experiments.classifier import ClassifierSettings, build_network, encode
from bcall_hw.experiments.dataset import Dataset
from bcall_hw.learn import LearningLoop
from bcall_hw.mapper import MappedNetwork, map_network
from bcall_hw.mapping import load_mapping
from bcall_hw.recording.session import Learned
from bcall_hw.rule.engine import PlasticityEngine

Progress = Callable[[int, int], None]
#: Called with (what is being done, done, total).
Report = Callable[[str, int, int], None]

_KIND, _VERSION = "checkpoint", 1
_CHECKPOINT_EVERY = 100
_SILENT_AFTER = 50


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a trained network classifies images.

    Attributes:
        confusion: int (classes, classes): row = true class, column = answer.
        counts: int (images, classes): spikes of each class's neurons.
    """

    confusion: IntArray
    counts: IntArray

    @property
    def accuracy(self) -> float:
        """Fraction of images whose class gave the most spikes; a tie counts for the lower class."""
        return float(np.trace(self.confusion) / self.confusion.sum())


def map_classifier(
    settings: ClassifierSettings, data: Dataset, chip: ChipModel, seed: int, defects: Defects | None = None,
    calibration: Calibration | None = None,
) -> MappedNetwork:  # fmt: skip
    """Build and map the classifier's network, around the defects of its board and with the codes of its record.

    Raises:
        NetworkDoesNotFit: with every violation.
    """
    mapping = load_mapping(chip)
    network = build_network(settings, data, seed, mapping.roles)
    return map_network(network, chip, mapping=mapping, calibration=calibration, defects=defects)


class ClassifierRun:
    """One training run; the same settings, data, seed and backend give the same bits, interrupted or not."""

    def __init__(self, settings: ClassifierSettings, data: Dataset, seed: int, backend: Backend, mapped: MappedNetwork) -> None:
        self.settings, self.data, self.seed = settings, data, seed
        step_us = int(backend.describe().get("dt_us", 1))
        for name in ("rest_s", "free_s", "teach_s", "test_s"):
            steps = getattr(settings, name) * 1e6 / step_us
            if abs(steps - round(steps)) > 1e-6:
                used, limit = getattr(settings, name), f"a multiple of {step_us} us"
                raise InvalidValue(
                    "is no whole number of time steps", where=f"ClassifierSettings.{name}", used=used, limit=limit
                )
        slots = mapped.plastic["learned"]
        w_hid = random_bits.uniform(seed, "w_hid", slots.sources.size).reshape(slots.sources.shape)
        self.engine = PlasticityEngine(settings.rule, slots.sources, data.train.shape[1], w_hid)
        self.loop = LearningLoop(backend, mapped, "learned", self.engine)
        self.class_of = np.arange(data.classes * settings.neurons_per_class) // settings.neurons_per_class
        self.done = self.taught = 0

    @property
    def total(self) -> int:
        """Training presentations of images in the whole run."""
        return self.settings.epochs * len(self.data.train)

    def train(self, progress: Progress | None = None, checkpoint: Path | None = None) -> None:
        """Train to the end from where the run stands.

        Args:
            progress: called with (done, total) after each image.
            checkpoint: file that is written whole every 100 images and at the end, for `resume`.

        Raises:
            BackendProblem: nothing fires, teacher included.
        """
        step = self._error_triggered if self.settings.variant == "error-triggered" else self._pure
        order, epoch_of_order = np.zeros(0, dtype=np.int64), -1
        while self.done < self.total:
            epoch, position = divmod(self.done, len(self.data.train))
            if epoch != epoch_of_order:
                order, epoch_of_order = random_bits.permutation(self.seed, f"order/{epoch}", len(self.data.train)), epoch
            if checkpoint is not None and self.done % _CHECKPOINT_EVERY == 0:
                self._save(checkpoint)
            step(int(order[position]), f"{epoch}/{position}")
            self.done += 1
            if progress:
                progress(self.done, self.total)
            if self.done == _SILENT_AFTER and self.loop.spikes_read == 0:
                where, fix = f"first {_SILENT_AFTER} images", "Raise plastic_a or teacher_a, or lower inhibition_hz."
                raise BackendProblem("no neuron fires, not even with a teacher", where=where, fix=fix)
        if checkpoint is not None:
            self._save(checkpoint)

    def _error_triggered(self, image: int, stream: str) -> None:
        """A free run; if the target class lacks lead, a teaching phase for it and for the strongest wrong class."""
        s, label = self.settings, int(self.data.train_labels[image])
        pixels = self.data.train[image]
        counts = self._free_run(pixels, s.free_s, f"free/{stream}").astype(np.float64)
        others = counts.copy()
        others[label] = -1.0
        wrong = int(others.argmax())
        if counts[label] - others[wrong] >= s.margin * (counts.mean() + 1.0):
            return
        self.taught += 1
        teacher_hz = np.zeros(self.data.classes)
        teacher_hz[label], teacher_hz[wrong] = s.teacher_hz, s.wrong_hz
        trains = encode(s, pixels, s.teach_s, self.seed, f"teach/{stream}", teacher_hz)
        self.loop.present(trains, s.teach_s, (self.class_of == label) | (self.class_of == wrong))

    def _pure(self, image: int, stream: str) -> None:
        """The teacher is always on for the target class; nothing but the rule's own stop-learning gates."""
        s = self.settings
        teacher_hz = np.where(np.arange(self.data.classes) == self.data.train_labels[image], s.teacher_hz, 0.0)
        self.taught += 1
        trains = encode(s, self.data.train[image], s.teach_s, self.seed, f"teach/{stream}", teacher_hz)
        self.loop.present(trains, s.teach_s, np.ones(len(self.class_of), dtype=np.bool_))

    def _free_run(self, pixels: BoolArray, duration_s: float, stream: str) -> IntArray:
        """Spike count of each class in a run without teacher, after a rest."""
        s = self.settings
        trains = encode(s, pixels, duration_s, self.seed, stream, start_s=s.rest_s)
        counts = self.loop.present(trains, s.rest_s + duration_s, count_from_s=s.rest_s)
        return np.bincount(self.class_of, weights=counts, minlength=self.data.classes).astype(np.int64)

    def evaluate(self, images: BoolArray, labels: IntArray, stream: str, progress: Progress | None = None) -> Evaluation:
        """Present images without teacher and without plasticity; the class with the most spikes is the answer."""
        counts = np.zeros((len(images), self.data.classes), dtype=np.int64)
        for k, image in enumerate(images):
            counts[k] = self._free_run(image, self.settings.test_s, f"{stream}/{k}")
            if progress:
                progress(k + 1, len(images))
        confusion = np.zeros((self.data.classes, self.data.classes), dtype=np.int64)
        np.add.at(confusion, (labels, counts.argmax(axis=1)), 1)
        return Evaluation(confusion, counts)

    def learned(self) -> Learned:
        """The plastic connection as it is now."""
        return Learned(self.engine.sources, self.engine.efficacy, self.engine.hidden_weights())

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        return {
            "settings": self.settings.model_dump(mode="json"), "data": self.data.sha256, "seed": self.seed,
            "backend": self.loop.backend.describe(), "registers": self.loop.mapped.config.sha256,
        }  # fmt: skip

    def _save(self, path: Path) -> None:
        with h5_files.h5_written_whole(path, _KIND, _VERSION) as file:
            file.attrs["identity"] = json.dumps(self._identity(), sort_keys=True)
            file.attrs["progress"] = json.dumps({"done": self.done, "taught": self.taught})
            _write(file, self.loop.state())

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            FileProblem, CorruptFile, ForeignFile: missing, damaged, or of a run with other settings, data or seed.
        """
        with h5_files.h5_read(path, _KIND, _VERSION) as file:
            found, mine = json.loads(file.attrs["identity"]), json.loads(json.dumps(self._identity()))
            if found != mine:
                differing = sorted(k for k in mine if found.get(k) != mine[k])
                fix = "Use the same options, or start in another folder."
                raise ForeignFile(
                    "is a checkpoint of another run", where=str(path), used=f"differs in {', '.join(differing)}", fix=fix
                )
            self.loop.restore(_read(file))
            progress = json.loads(file.attrs["progress"])
        self.done, self.taught = int(progress["done"]), int(progress["taught"])


def checkpoint_path(out: Path, settings: ClassifierSettings) -> Path:
    """Where a run of these settings keeps its checkpoint."""
    return out / f"checkpoint-{settings.variant}.h5"


def learn_classifier(
    settings: ClassifierSettings,
    data: Dataset,
    seed: int,
    out: Path,
    backend: Backend,
    mapped: MappedNetwork,
    resume: bool = False,
    report: Report | None = None,
) -> tuple[ClassifierRun, Evaluation, dict[str, Any]]:
    """Train with checkpoints in `out`, and evaluate on the held-out images.

    Args:
        resume: go on from the checkpoint in `out`, which must be there.

    Returns:
        The run, its evaluation, and the figures of the result as plain values.
    """
    started = time.perf_counter()
    say = report or _say_nothing
    run = ClassifierRun(settings, data, seed, backend, mapped)
    checkpoint = checkpoint_path(out, settings)
    if resume:
        run.resume(checkpoint)
    before_us = run.loop.simulated_us
    run.train(lambda done, total: say(f"learning ({settings.variant})", done, total), checkpoint)
    evaluation = run.evaluate(data.test, data.test_labels, "test", lambda done, total: say("held-out images", done, total))
    elapsed = time.perf_counter() - started
    loop = run.loop
    figures = {
        "variant": settings.variant, "accuracy": evaluation.accuracy, "held_out_images": len(data.test),
        "training_presentations": run.total, "taught": run.taught, "weight_flips": loop.flips,
        "words_written": loop.words_written, "events_sent": loop.spikes_sent, "spikes_read": loop.spikes_read,
        "simulated_s": loop.simulated_us * 1e-6, "elapsed_s": elapsed,
        "real_time_factor": (loop.simulated_us - before_us) * 1e-6 / elapsed,
        "epochs": settings.epochs, "fan_in_used": int((run.engine.sources >= 0).sum(axis=1).max()),
        "efficacy_on": float(run.engine.efficacy.sum() / (run.engine.sources >= 0).sum()),
        "spikes_sha256": loop.spikes_sha256, "cam_sha256": loop.config.cam_sha256, "config_sha256": loop.config.sha256,
    }  # fmt: skip
    return run, evaluation, figures


def _say_nothing(what: str, done: int, total: int) -> None:
    del what, done, total


def _write(group: h5py.Group, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            _write(group.create_group(name), value)
        else:
            group.create_dataset(name, data=value)


def _read(group: h5py.Group) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            found[name] = _read(item)
        else:
            value = item[()]
            found[name] = value.decode() if isinstance(value, bytes) else value
    return found
