"""Figure 5: the scan, its interruption, its data, its picture. Only what needs torch or the real MNIST is skipped."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from bcall_hw.errors import BackendUnavailable, CorruptFile, FileProblem, ForeignFile, InvalidValue
from bcall_hw.experiments.figures import linear_classifier, linear_training, vision
from bcall_hw.experiments.figures.curves import FigureData, curve
from bcall_hw.experiments.figures.linear_classifier import LinearSettings, compute, draw
from bcall_hw.experiments.figures.vision import Mnist, load_mnist

TINY = LinearSettings(thresholds=(100, 160, 250), pools=(1, 4), initialisations=2, images=400, epochs=3, batch=20)
NAMES = list(vision._UNPACKED_MD5)

real = pytest.mark.skipif(
    "BCALL_MNIST" not in os.environ or find_spec("torchvision") is None,
    reason="needs torchvision, and BCALL_MNIST set to the folder with the four MNIST files (.gz)",
)


def synthetic(seed: int = 0) -> Mnist:
    """Ten random prototypes of bright pixels, with noise: easy below grey level 200, hard at 250."""
    random = np.random.default_rng(seed)
    prototypes = random.random((10, 784)) < 0.2
    parts: list[Any] = []
    for count in (500, 300):
        labels = random.integers(0, 10, count)
        bright = prototypes[labels] ^ (random.random((count, 784)) < 0.1)
        parts += [np.where(bright, random.integers(120, 256, (count, 784)), 0).astype(np.uint8), labels.astype(np.int64)]
    return Mnist(*parts)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Mnist:
    pytest.importorskip("torch")
    mnist = synthetic()
    monkeypatch.setattr(linear_classifier, "load_mnist", lambda _data: mnist)
    return mnist


def interrupt_after(cells: int) -> Any:
    def report(_what: str, done: int, _total: int) -> None:
        if done == cells:
            raise KeyboardInterrupt

    return report


def interrupted(out: Path, settings: LinearSettings = TINY, cells: int = 4) -> None:
    with pytest.raises(KeyboardInterrupt):
        compute("D", 3, out, report=interrupt_after(cells), settings=settings)


# The scan ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
def test_a_tiny_scan_has_a_line_for_every_pool_and_kind(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    data = compute("D", 3, tmp_path, report=lambda _what, done, total: told.append((done, total)), settings=TINY)
    assert {c.name for c in data.curves} == {f"linear-pool{p}/{k}" for p in (1, 4) for k in ("float", "binary")}
    for line in data.curves:
        assert line.x == [100.0, 160.0, 250.0]
        assert (line.x_unit, line.y_unit) == ("grey level", "1")
        assert line.sd is not None
        assert all(0 <= y <= 1 for y in line.y)
        assert line.y[0] > 0.8 > line.y[2]  # a tenth of the images of a class is all noise at 250
    assert told == [(n, 12) for n in range(1, 13)]
    assert [p.name for p in tmp_path.iterdir()] == ["5.partial.json"]  # goes once the result is written
    assert data.figure == "5"
    assert sum(note.startswith("inferred:") for note in data.notes) >= 6
    json.dumps(data.as_dict(), allow_nan=False)


@pytest.mark.usefixtures("tiny")
def test_binary_weights_are_zeros_and_ones_and_threads_are_given_back() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with linear_training.one_thread(torch):
        readout = linear_training.Readout(torch, TINY, linear_training.Cell(160, 4, "binary"), 0)
        sums = readout._sums().numpy()
    assert sums.shape == (2, 784, 10)
    assert set(np.unique(sums)) == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("tiny")
def test_the_shared_gradient_is_that_of_the_loss() -> None:
    """One step of float weights without momentum, against torch's own gradient of the same loss."""
    torch = pytest.importorskip("torch")
    settings = LinearSettings(initialisations=2, images=50, batch=50, float_scale=0.7, momentum=0.0)
    readout = linear_training.Readout(torch, settings, linear_training.Cell(160, 3, "float"), 1)
    images = (torch.rand(2, 50, 784, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    labels = torch.stack([torch.arange(50) % 10, torch.arange(50) % 7])
    means = readout._hidden.mean(dim=0).requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(torch.bmm(images, means).view(100, 10) * 0.7, labels.view(100))
    (gradient,) = torch.autograd.grad(2 * loss, means)  # twice: each initialisation has a mean loss of its own
    expected = readout._hidden - 0.1 * gradient / 0.7
    readout._step(images, labels, rate=0.1)
    assert torch.allclose(readout._hidden, expected, atol=1e-6)


@pytest.mark.usefixtures("tiny")
def test_the_same_seed_gives_the_same_numbers_and_another_one_others(tmp_path: Path) -> None:
    first, again, other = (compute("D", seed, tmp_path, settings=TINY).as_dict() for seed in (3, 3, 4))
    assert first == again
    assert first["curves"] != other["curves"]


@pytest.mark.usefixtures("tiny")
def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = compute("D", 3, tmp_path / "whole", settings=TINY)
    interrupted(tmp_path / "cut")
    assert len(json.loads((tmp_path / "cut" / "5.partial.json").read_text())["correct"]) == 4
    told: list[int] = []
    data = compute("D", 3, tmp_path / "cut", resume=True, report=lambda _what, done, _total: told.append(done), settings=TINY)
    assert told == list(range(5, 13))
    assert data.as_dict() == whole.as_dict()


@pytest.mark.usefixtures("tiny")
def test_resume_refuses_another_run_and_says_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path)
    other = LinearSettings(**{**TINY.model_dump(), "epochs": 2, "momentum": 0.5})
    with pytest.raises(ForeignFile, match="epochs, momentum"):
        compute("D", 3, tmp_path, resume=True, settings=other)
    with pytest.raises(ForeignFile, match="seed"):
        compute("D", 4, tmp_path, resume=True, settings=TINY)
    monkeypatch.setattr(linear_classifier, "load_mnist", lambda _data: synthetic(1))
    with pytest.raises(ForeignFile, match="differs in data"):
        compute("D", 3, tmp_path, resume=True, settings=TINY)


@pytest.mark.usefixtures("tiny")
def test_without_resume_an_unfinished_run_is_overwritten(tmp_path: Path) -> None:
    interrupted(tmp_path, cells=5)
    interrupted(tmp_path, LinearSettings(**{**TINY.model_dump(), "epochs": 1}), cells=1)
    assert len(json.loads((tmp_path / "5.partial.json").read_text())["correct"]) == 1


@pytest.mark.usefixtures("tiny")
def test_resume_refuses_a_missing_or_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="nothing to go on from"):
        compute("D", 3, tmp_path, resume=True, settings=TINY)
    interrupted(tmp_path)
    partial = tmp_path / "5.partial.json"
    good = json.loads(partial.read_text())
    for bad in ([2], [2, -1], [2, 301], [2, "3"], [2, True], None):
        partial.write_text(json.dumps({**good, "correct": {"160/1/float": bad}}))
        with pytest.raises(CorruptFile, match="160/1/float"):
            compute("D", 3, tmp_path, resume=True, settings=TINY)
    for text, error in (("{", CorruptFile), ("[]", ForeignFile), ("{}", ForeignFile)):
        partial.write_text(text)
        with pytest.raises(error):
            compute("D", 3, tmp_path, resume=True, settings=TINY)


@pytest.mark.usefixtures("tiny")
def test_more_images_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="more training images"):
        compute("D", 3, tmp_path, settings=LinearSettings(images=501))


@pytest.mark.parametrize(
    "bad",
    [
        {"thresholds": ()}, {"thresholds": (256,)}, {"thresholds": (10, 10)}, {"pools": (5, 1)}, {"pools": (0,)},
        {"initialisations": 1}, {"images": 100}, {"momentum": 1.0}, {"binary_rate": float("nan")}, {"unknown": 1},
    ],
)  # fmt: skip
def test_settings_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        LinearSettings(**bad)


def test_the_whole_scan_has_26_thresholds_with_160_among_them() -> None:
    assert len(LinearSettings().thresholds) == 26
    assert 160 in LinearSettings().thresholds


# Checks and picture --------------------------------------------------------------------------------------------------


def figure_data() -> FigureData:
    thresholds = np.arange(0, 251, 10)
    lines = [
        curve(f"linear-pool{pool}/{kind}", thresholds, "grey level", 0.9 - low - thresholds * 1e-4, sd=np.full(26, 0.004))
        for pool in (1, 5, 10, 20)
        for kind, low in (("float", 0.0), ("binary", 0.04 / pool))
    ]
    return FigureData("5", "title", "D", curves=lines)


def test_the_picture_has_a_panel_per_kind_with_lines_bands_and_the_mark(tmp_path: Path) -> None:
    figure = draw(figure_data())
    panels = figure.axes
    assert [axes.get_title() for axes in panels] == ["float weights", "binary weights"]
    for axes in panels:
        assert "grey level" in axes.get_xlabel()
        assert len(axes.collections) == 4
        assert len(axes.lines) == 5
        marks = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert [list(line.get_xdata()) for line in marks] == [[160, 160]]
    assert "accuracy" in panels[0].get_ylabel()
    legend = panels[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [f"pool of {p}" for p in (1, 5, 10, 20)] + ["threshold 160"]
    figure.savefig(tmp_path / "5.png", dpi=110)
    assert (tmp_path / "5.png").stat().st_size > 10_000


def test_checks_say_what_is_not_met() -> None:
    settings = LinearSettings(thresholds=(0, 160, 250), pools=(1, 20))
    good = {
        (1, "float"): np.array([0.92, 0.915, 0.87]), (20, "float"): np.array([0.92, 0.915, 0.87]),
        (1, "binary"): np.array([0.88, 0.87, 0.82]), (20, "binary"): np.array([0.915, 0.91, 0.86]),
    }  # fmt: skip
    bad = {key: values[[2, 2, 0]] if key == (20, "binary") else values for key, values in good.items()}
    assert [c.met for c in linear_classifier._checks(settings, good, 0.1)] == [True] * 6
    found = {c.what: c.met for c in linear_classifier._checks(settings, bad, 0.1)}
    assert found["float less binary, in points of accuracy"] is False
    assert found["binary weights, pool 20: thresholds within 1 point of the best (plateau)"] is False
    no_mark = LinearSettings(thresholds=(0, 150, 250), pools=(1, 20))
    assert linear_classifier._plateau(no_mark, "float", good[1, "float"]).met is None


# Data ----------------------------------------------------------------------------------------------------------------


class NoNetwork:
    """Stands for torchvision's class where a download is wanted and nothing answers."""

    resources = [(f"{name}.gz", "0" * 32) for name in NAMES]

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        raise URLError("Name or service not known")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(vision, "_mnist_class", lambda: NoNetwork)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_without_data_and_network_the_error_says_what_to_do(no_network: Path) -> None:
    with pytest.raises(FileProblem, match=r"cannot be downloaded.*--data") as caught:
        load_mnist(None)
    assert str(no_network / "cache" / "bcall_hw" / "mnist") in str(caught.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("under", [".", "MNIST/raw"])
def test_a_missing_or_wrong_file_is_named(tmp_path: Path, under: str) -> None:
    data, place = tmp_path / "data", tmp_path / "data" / under
    place.mkdir(parents=True)
    with pytest.raises(FileProblem, match="train-images"):
        load_mnist(data)
    for name in NAMES[:-1]:
        (place / f"{name}.gz").write_bytes(gzip.compress(b"another data set"))
    with pytest.raises(FileProblem, match=r"t10k-labels-idx1-ubyte\.gz: MNIST file is missing"):
        load_mnist(data)
    (place / f"{NAMES[-1]}.gz").write_bytes(b"")
    with pytest.raises(CorruptFile, match=r"train-images-idx3-ubyte\.gz: is damaged"):
        load_mnist(data)
    assert len(list(place.iterdir())) == 4


@pytest.mark.usefixtures("no_network")
def test_unpacked_files_are_checked_too(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(b"cut short")
    with pytest.raises(CorruptFile, match="train-images-idx3-ubyte: is damaged"):
        load_mnist(tmp_path)


@pytest.mark.usefixtures("no_network")
def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="missing"):
        load_mnist(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_without_the_extra_the_error_names_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torchvision":
        pytest.importorskip("torch")
        monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailable, match=rf"{name}: .*\[vision\]"):
        load_mnist(None)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_operators_are_declared_only_after_that_very_failure(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left, declared = [RuntimeError("operator torchvision::nms does not exist")] * failures, []

    def importing() -> Any:
        if left:
            raise left.pop()
        return NoNetwork

    monkeypatch.setattr(vision, "torch_module", lambda: None)
    monkeypatch.setattr(vision, "_import_mnist", importing)
    monkeypatch.setattr(vision, "_declare_operators", declared.append)
    if failures == 2:
        with pytest.raises(BackendUnavailable, match="nms"):
            vision._mnist_class()
    else:
        assert vision._mnist_class() is NoNetwork
    assert len(declared) == min(failures, 1)


def test_another_failure_of_the_import_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def importing() -> Any:
        raise RuntimeError("compiled with different CUDA major versions")

    monkeypatch.setattr(vision, "torch_module", lambda: None)
    monkeypatch.setattr(vision, "_import_mnist", importing)
    with pytest.raises(BackendUnavailable, match="CUDA major versions"):
        vision._mnist_class()


@real
def test_real_files_load_from_every_layout_and_stay_untouched(tmp_path: Path) -> None:
    folder = Path(os.environ["BCALL_MNIST"])
    before = sorted((p.name, p.stat().st_mtime_ns) for p in folder.iterdir())
    mnist = load_mnist(folder)
    assert (mnist.train.shape, mnist.train.dtype) == ((60_000, 784), np.uint8)
    assert (mnist.test.shape, mnist.test_labels.dtype) == ((10_000, 784), np.int64)
    assert mnist.train_labels[:4].tolist() == [5, 0, 4, 1]
    assert sorted((p.name, p.stat().st_mtime_ns) for p in folder.iterdir()) == before
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in NAMES:
        (raw / name).write_bytes(gzip.decompress((folder / f"{name}.gz").read_bytes()))
    assert load_mnist(tmp_path).sha256 == mnist.sha256
    assert len(list(raw.iterdir())) == 4


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache's folder of raw files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "bcall_hw" / "mnist" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    return folder


@real
def test_a_cache_that_is_filled_needs_no_network(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        (raw / f"{name}.gz").symlink_to(Path(os.environ["BCALL_MNIST"]).resolve() / f"{name}.gz")
    monkeypatch.setattr(vision, "_download", None)
    assert len(load_mnist(None).test) == 10_000
    assert len(list(raw.iterdir())) == 4


class Quiet(SimpleHTTPRequestHandler):
    """A file server that logs nothing."""

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine alone; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@real
def test_a_download_fills_the_cache_once(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a mirror in this process; an unpacked file that a killed run left cut short is not believed."""
    for name in NAMES:
        (raw / name).write_bytes(b"cut short")
    with mirror(Path(os.environ["BCALL_MNIST"])) as address:
        monkeypatch.setattr(vision._mnist_class(), "mirrors", [address])
        monkeypatch.setenv("no_proxy", "*")
        assert len(load_mnist(None).train) == 60_000
    monkeypatch.setattr(vision, "_download", None)
    assert len(load_mnist(None).train) == 60_000


@real
def test_a_short_scan_of_the_real_images(tmp_path: Path) -> None:
    settings = LinearSettings(thresholds=(160,), pools=(1, 10), initialisations=2, images=20_000, epochs=2)
    data = compute("D", 0, tmp_path, Path(os.environ["BCALL_MNIST"]), settings=settings)
    of = {c.name: c.y[0] for c in data.curves}
    assert 0.88 < of["linear-pool1/float"] < 0.93
    assert of["linear-pool1/binary"] + 0.01 < of["linear-pool10/binary"] < of["linear-pool10/float"]
