"""Figure 5: a linear classifier on binarised MNIST, against the grey level at which pixels are binarised."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bcall_hw import __version__, files, random_bits
from bcall_hw.arrays import FloatArray
from bcall_hw.errors import CorruptFile, FileProblem, ForeignFile, InvalidValue
from bcall_hw.experiments.dataset import MNIST_THRESHOLD
from bcall_hw.experiments.figures.curves import ANCHOR, Check, FigureData, Report, curve
from bcall_hw.experiments.figures.linear_training import (
    KINDS,
    Cell,
    Kind,
    LinearSettings,
    Readout,
    binarised,
    one_thread,
)
from bcall_hw.experiments.figures.vision import Mnist, load_mnist, torch_module

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTIAL = "5.partial.json"  # whoever has written the result removes it
_FORMAT = "bcall_hw/figure-5-partial"
#: Accuracies within this of each other count as one plateau.
_PLATEAU = 0.01
#: Pools of float weights may differ by this much: they end near, not at, the same optimum.
_SAME = 0.005


def compute(
    preset: str,
    seed: int,
    out: Path,
    data: Path | None = None,
    resume: bool = False,
    report: Report | None = None,
    settings: LinearSettings | None = None,
) -> FigureData:
    """Train and test every cell. The same settings, seed, data and machine give the same numbers, interrupted or not.

    Args:
        preset: of the rule; named in the result only, for a linear classifier has no use for it.
        seed: of initial weights, order of images and choice of images.
        out: folder for 5.partial.json, which holds the cells that are done.
        data: folder with the MNIST files; None downloads them into the user's cache.
        resume: go on from 5.partial.json, which must be there.
        report: called with (what, done, total) after each cell.
        settings: the scan; None for the whole one.

    Raises:
        BackendUnavailable: torch or torchvision is missing.
        FileProblem, CorruptFile, ForeignFile: data or 5.partial.json are missing, damaged, or of another run.
        InvalidValue: more training images are asked for than there are.
    """
    settings = settings or LinearSettings()
    torch = torch_module()
    mnist = load_mnist(data)
    if settings.images > len(mnist.train):
        used, limit = settings.images, len(mnist.train)
        raise InvalidValue("more training images than there are", where="LinearSettings.images", used=used, limit=limit)
    progress = _Progress(out, settings, _identity(settings, seed, mnist, torch), len(mnist.test))
    if resume:
        progress.resume()
    _scan(torch, settings, seed, mnist, progress, report or _say_nothing)
    return _figure_data(preset, settings, mnist, progress)


def _say_nothing(what: str, done: int, total: int) -> None:
    del what, done, total


def _cells(settings: LinearSettings) -> list[Cell]:
    return [Cell(t, pool, kind) for t in settings.thresholds for pool in settings.pools for kind in KINDS]


def _identity(settings: LinearSettings, seed: int, mnist: Mnist, torch: Any) -> dict[str, Any]:
    """All that must be the same for cells of two runs to belong together."""
    versions = {"torch": str(torch.__version__), "bcall_hw": __version__}
    return {**settings.model_dump(mode="json"), "seed": seed, "data": mnist.sha256, **versions}


# Progress ------------------------------------------------------------------------------------------------------------


class _Progress:
    """The cells that are done: right answers of each initialisation, kept in a file that is written whole."""

    def __init__(self, out: Path, settings: LinearSettings, identity: dict[str, Any], tested: int) -> None:
        self.path = out / PARTIAL
        self.identity = identity
        self.tested = tested
        self.correct: dict[str, list[int]] = {}
        self._names = {cell.name for cell in _cells(settings)}
        self._repeats = settings.initialisations

    def add(self, cell: Cell, correct: list[int]) -> None:
        """Keep a cell, and write what there is."""
        self.correct[cell.name] = correct
        files.write_json(self.path, {"format": _FORMAT, "identity": self.identity, "correct": self.correct})

    def accuracy(self, cell: Cell) -> FloatArray:
        """Accuracy of each initialisation of a cell."""
        return np.asarray(self.correct[cell.name], dtype=np.float64) / self.tested

    def resume(self) -> None:
        """Take over the cells of the file.

        Raises:
            FileProblem, CorruptFile, ForeignFile: missing, damaged, or of a run with other settings, data or versions.
        """
        if not files.is_file(self.path):
            raise FileProblem("nothing to go on from", where=str(self.path), fix="Start without --resume.")
        found = files.read_json(self.path)
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise ForeignFile("is no unfinished figure 5", where=str(self.path), fix="Remove it to begin anew.")
        identity, correct = found.get("identity"), found.get("correct")
        if not isinstance(identity, dict) or not isinstance(correct, dict):
            raise CorruptFile("is damaged", where=str(self.path), fix="Remove it to begin anew.")
        differing = sorted(k for k in identity.keys() | self.identity.keys() if identity.get(k) != self.identity.get(k))
        if differing:
            fix = "Use the same options, or remove it to begin anew."
            raise ForeignFile("is of another run", where=str(self.path), used=f"differs in {', '.join(differing)}", fix=fix)
        wrong = [name for name, values in correct.items() if name not in self._names or not self._plausible(values)]
        if wrong:
            raise CorruptFile("is damaged", where=str(self.path), used=wrong[0], fix="Remove it to begin anew.")
        self.correct = correct

    def _plausible(self, values: object) -> bool:
        if not isinstance(values, list) or len(values) != self._repeats:
            return False
        return all(type(v) is int and 0 <= v <= self.tested for v in values)


# The scan -------------------------------------------------------------------------------------------------------------


def _scan(torch: Any, settings: LinearSettings, seed: int, mnist: Mnist, progress: _Progress, report: Report) -> None:
    """All cells that are not done yet, one threshold after the other (binarised images take much memory)."""
    chosen = np.sort(random_bits.permutation(seed, "figure-5/images", len(mnist.train))[: settings.images])
    labels, test_labels = torch.from_numpy(mnist.train_labels[chosen]), torch.from_numpy(mnist.test_labels)
    cells = _cells(settings)
    with one_thread(torch):
        for threshold in settings.thresholds:
            due = [cell for cell in cells if cell.threshold == threshold and cell.name not in progress.correct]
            if not due:
                continue
            images, test = (binarised(torch, part, threshold) for part in (mnist.train[chosen], mnist.test))
            for cell in due:
                readout = Readout(torch, settings, cell, seed)
                readout.train(images, labels)
                progress.add(cell, readout.correct(test, test_labels))
                report("figure 5: linear classifiers", len(progress.correct), len(cells))


# The figure ----------------------------------------------------------------------------------------------------------

#: Mean accuracy of each (pool, kind), shape (thresholds,).
_Means = dict[tuple[int, Kind], FloatArray]


def _figure_data(preset: str, settings: LinearSettings, mnist: Mnist, progress: _Progress) -> FigureData:
    curves, means = [], _Means()
    for pool in settings.pools:
        for kind in KINDS:
            accuracy = np.stack([progress.accuracy(Cell(t, pool, kind)) for t in settings.thresholds])
            means[pool, kind] = accuracy.mean(axis=1)
            sd = accuracy.std(axis=1, ddof=1)
            curves.append(curve(f"linear-pool{pool}/{kind}", settings.thresholds, "grey level", means[pool, kind], sd=sd))
    majority = float(np.mean(mnist.test_labels == np.bincount(mnist.train_labels).argmax()))
    return FigureData(
        figure="5",
        title="Linear classifier on binarised MNIST: test accuracy against the grey threshold",
        preset=preset,
        curves=curves,
        checks=_checks(settings, means, majority),
        notes=_notes(settings, len(mnist.test), majority),
        settings={**progress.identity, "test_images": len(mnist.test), "majority_accuracy": majority},
    )


def _checks(settings: LinearSettings, means: _Means, majority: float) -> list[Check]:
    checks = [_above_majority(means, majority), _binary_below_float(settings, means)]
    if len(settings.pools) > 1:
        checks += [_pool_helps_binary(settings, means), _pool_leaves_float(settings, means)]
    return checks + [_plateau(settings, kind, means[settings.pools[-1], kind]) for kind in KINDS]


def _above_majority(means: _Means, majority: float) -> Check:
    lowest = min(float(values.min()) for values in means.values())
    wanted = f"everywhere above the majority class, {majority:.4f}"
    return Check("lowest mean accuracy", wanted, f"{lowest:.4f}", lowest > majority, ANCHOR)


def _binary_below_float(settings: LinearSettings, means: _Means) -> Check:
    gaps = np.stack([means[pool, "float"] - means[pool, "binary"] for pool in settings.pools])
    row, column = np.unravel_index(int(gaps.argmin()), gaps.shape)
    pool, threshold = settings.pools[row], settings.thresholds[column]
    found = f"smallest {100 * gaps.min():.2f} points (pool {pool}, threshold {threshold}), mean {100 * gaps.mean():.2f}"
    wanted = "above 0 at every threshold and pool size"
    return Check("float less binary, in points of accuracy", wanted, found, bool(gaps.min() > 0), ANCHOR)


def _pool_helps_binary(settings: LinearSettings, means: _Means) -> Check:
    levels = [float(means[pool, "binary"].mean()) for pool in settings.pools]
    found = ", ".join(f"pool {pool}: {level:.4f}" for pool, level in zip(settings.pools, levels, strict=True))
    met = all(later > earlier for earlier, later in itertools.pairwise(levels))
    return Check("binary weights, accuracy averaged over thresholds", "rises with the pool size", found, met, ANCHOR)


def _pool_leaves_float(settings: LinearSettings, means: _Means) -> Check:
    levels = np.stack([means[pool, "float"] for pool in settings.pools])
    widest = float((levels.max(axis=0) - levels.min(axis=0)).max())
    what = "float weights, difference between pool sizes (a mean of linear scores is one linear score)"
    wanted = f"below {100 * _SAME:.1f} points at every threshold"
    return Check(what, wanted, f"at most {100 * widest:.2f} points", widest < _SAME, ANCHOR)


def _plateau(settings: LinearSettings, kind: Kind, accuracy: FloatArray) -> Check:
    """Where the best threshold lies, how far accuracy stays near it, and whether it does so at the marked one."""
    best = int(accuracy.argmax())
    first = last = best
    while first > 0 and accuracy[first - 1] >= accuracy[best] - _PLATEAU:
        first -= 1
    while last + 1 < len(accuracy) and accuracy[last + 1] >= accuracy[best] - _PLATEAU:
        last += 1
    thresholds = settings.thresholds
    found = f"best {accuracy[best]:.4f} at {thresholds[best]}; plateau from {thresholds[first]} to {thresholds[last]}"
    met: bool | None = None
    if MNIST_THRESHOLD in thresholds:
        marked = thresholds.index(MNIST_THRESHOLD)
        found += f"; {accuracy[marked]:.4f} at {MNIST_THRESHOLD}"
        met = first <= marked <= last
    what = f"{kind} weights, pool {settings.pools[-1]}: thresholds within {100 * _PLATEAU:.0f} point of the best (plateau)"
    return Check(what, f"{MNIST_THRESHOLD} is one of them, with all between", found, met, ANCHOR)


def _notes(settings: LinearSettings, tested: int, majority: float) -> list[str]:
    s = settings
    return [
        "The protocol behind the paper's figure is not public. Every choice marked as inferred is of this project, and the "
        "accuracies are no claim about the paper's.",
        f"A pixel is active where its grey level (0 to 255) is above the threshold. Tested on all {tested:,} test images. "
        f"Lines: mean over {s.initialisations} initialisations; bands: their standard deviation (n - 1).",
        f"Always answering the most frequent class of the training images is right for {100 * majority:.2f} %.",
        "The preset of the rule has no part in this figure.",
        "inferred: one layer, 784 pixels to `pool` neurons per class; a class's score is the mean over its pool of the sums of "
        "weights over active pixels; the highest score is the answer, a tie counts for the lower class. No bias inputs.",
        "inferred: no inhibition. A feed-forward inhibition in proportion to the coding level lowers all scores of an image "
        "alike, so it changes neither answer nor softmax: weights of 0 and 1 answer as weights of -1/2 and +1/2 would.",
        "inferred: the loss is the cross-entropy of the softmax over the scores, times "
        f"{s.float_scale:g} for float and {s.binary_scale:g} for binary weights.",
        f"inferred: gradient descent in batches of {s.batch} with momentum {s.momentum:g}; the step size falls linearly to "
        f"zero from {s.float_rate:g} for float and {s.binary_rate:g} for binary weights. Every weight of a pool takes "
        "the gradient by the class's scaled score, so steps shrink neither with the pool size nor with the factor.",
        f"inferred: {s.epochs} passes over {s.images:,} training images; an initialisation means its own initial weights and "
        "its own order of images.",
        f"inferred: float weights are without bounds and start uniform in [-{s.float_spread:g}, {s.float_spread:g}].",
        "inferred: a binary weight is 1 where its hidden weight, kept in [0, 1], is above "
        f"{s.theta_w:g}, else 0, as in the rule's synapse; hidden weights start uniform in [0, 1] and take the gradient of the "
        "binary ones (straight-through estimator). Neurons of a pool differ in their initial hidden weights alone: their mean "
        "then has more levels than one binary weight. For float weights the mean of a pool is just one linear read-out.",
        "Scales and step sizes were chosen by hand at thresholds 0, 160 and 250 on the last 10,000 training images, after "
        "training on the first 50,000. The number of epochs was set for its time, after a shorter scan was seen.",
    ]


# The picture ---------------------------------------------------------------------------------------------------------

# Wide first and thin last, so that lines that lie on one another are all seen.
_STYLES = (("#e8a33d", 4.0, "-"), ("#4f9d69", 2.8, "-"), ("#5b8db8", 1.8, "-"), ("#12304f", 1.0, "-"))
_MARK = "#b0413e"


def draw(data: FigureData) -> Figure:
    """One panel per kind of weights: a line with its band for each pool size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.4), layout="constrained")
    panels = figure.subplots(1, len(KINDS), sharex=True, sharey=True, squeeze=False).ravel()
    for axes, kind in zip(panels, KINDS, strict=True):
        _draw_kind(axes, data, kind)
    panels[0].set_ylabel("test accuracy (fraction of images)")
    panels[0].legend(fontsize=9, loc="lower left")
    return figure


def _draw_kind(axes: Axes, data: FigureData, kind: Kind) -> None:
    lines = [c for c in data.curves if c.form == kind]
    for k, line in enumerate(lines):
        colour, width, style = _STYLES[k % len(_STYLES)]
        pool = line.check.removeprefix("linear-pool")
        axes.plot(line.x, line.y, style, color=colour, linewidth=width, label=f"pool of {pool}")
        if line.sd is not None:
            y, sd = np.asarray(line.y), np.asarray(line.sd)
            axes.fill_between(line.x, y - sd, y + sd, color=colour, alpha=0.25, linewidth=0)
    axes.axvline(MNIST_THRESHOLD, color=_MARK, linewidth=1.2, linestyle="--", label=f"threshold {MNIST_THRESHOLD}")
    axes.set(xlabel="threshold of binarisation (grey level, 0 to 255)", title=f"{kind} weights")
    axes.grid(color="#d5dce3", linewidth=0.6)
    axes.set_axisbelow(True)
