"""Images to learn: the embedded 8 x 8 digits, MNIST files, or a file of one's own. Binarised, with a held-out part.

The embedded digits are the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI
Machine Learning Repository, 1998, CC BY 4.0), as shipped with scikit-learn: 1,797 images of 8 x 8 pixels, 17 grey levels.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bcall_hw import files
from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.errors import CorruptFile, FileProblem, InvalidValue

DIGITS_HELD_OUT = 397
DIGITS_THRESHOLD = 5
MNIST_THRESHOLD = 160

#: scikit-learn's LogisticRegression(max_iter=5000), fitted to the binarised training digits, answers 338 of the 397
#: held-out ones right; computed once, and recomputed by the tests.
_DIGITS_LOGISTIC = 338 / 397


@dataclass(frozen=True, eq=False)
class Dataset:
    """Binarised images.

    Attributes:
        name: of the data.
        shape: rows and columns of an image.
        train, test: bool, shape (images, pixels).
        train_labels, test_labels: class of each image.
        known_logistic: accuracy of logistic regression on these images, where it was computed before.
    """

    name: str
    shape: tuple[int, int]
    train: BoolArray
    train_labels: IntArray
    test: BoolArray
    test_labels: IntArray
    known_logistic: float | None = None

    @property
    def sha256(self) -> str:
        """Hash of all images and labels."""
        arrays = (self.train, self.train_labels, self.test, self.test_labels)
        return hashlib.sha256(b"".join(str(a.shape).encode() + a.tobytes() for a in arrays)).hexdigest()

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    def first(self, count: int) -> Dataset:
        """The same data with only the first `count` training images."""
        if not 0 < count <= len(self.train):
            raise InvalidValue("number of training images out of range", where=self.name, used=count, limit=len(self.train))
        return replace(self, train=self.train[:count], train_labels=self.train_labels[:count], known_logistic=None)

    def split_validation(self, count: int) -> Dataset:
        """The same training data with its last `count` images as the test part: for tuning without the held-out images."""
        if not 0 < count < len(self.train):
            raise InvalidValue("validation part out of range", where=self.name, used=count, limit=len(self.train) - 1)
        return Dataset(
            f"{self.name}, validation", self.shape, self.train[:-count], self.train_labels[:-count],
            self.train[-count:], self.train_labels[-count:],
        )  # fmt: skip


def load_dataset(name: str) -> Dataset:
    """`digits`, a folder with the four MNIST files, or an .npz file with images and labels.

    Raises:
        FileProblem, CorruptFile, InvalidValue: missing, damaged or wrong.
    """
    if name == "digits":
        return _digits()
    path = Path(name)
    if path.suffix == ".npz":
        return _own(path)
    if not files.is_file(path) and path.is_dir():
        return _mnist(path)
    raise FileProblem('data is "digits", a folder with the MNIST files, or an .npz file', where=name)


def _digits() -> Dataset:
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        images, labels = file["images"], file["labels"].astype(np.int64)
    on, cut = images > DIGITS_THRESHOLD, len(images) - DIGITS_HELD_OUT
    return Dataset("digits", (8, 8), on[:cut], labels[:cut], on[cut:], labels[cut:], _DIGITS_LOGISTIC)


def _mnist(folder: Path) -> Dataset:
    parts = []
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        path = folder / f"{stem}-ubyte.gz"
        if not files.is_file(path):
            raise FileProblem("MNIST file is missing", where=str(path), fix="The folder needs the four .gz files.")
        parts.append(_idx(path))
    if parts[0].shape[1:] != (28, 28) or parts[2].shape[1:] != (28, 28):
        raise CorruptFile("images are not 28 x 28", where=str(folder), used=(parts[0].shape, parts[2].shape))
    if len(parts[0]) != len(parts[1]) or len(parts[2]) != len(parts[3]):
        raise CorruptFile("images and labels differ in number", where=str(folder), used=[len(p) for p in parts])
    train, test = (parts[k].reshape(-1, 28 * 28) > MNIST_THRESHOLD for k in (0, 2))
    return Dataset("mnist", (28, 28), train, parts[1].astype(np.int64), test, parts[3].astype(np.int64))


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    """An IDX file of bytes: magic (0, 0, 8, dimensions), sizes as big-endian 32-bit, then the values."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as problem:
        raise CorruptFile("is not a gzip file", where=str(path), used=str(problem)) from None
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise CorruptFile("is not an IDX file of bytes", where=str(path), used=raw[:4].hex())
    sizes = np.frombuffer(raw[4 : 4 + 4 * raw[3]], dtype=">u4").astype(np.int64)
    values = np.frombuffer(raw, dtype=np.uint8, offset=min(4 + 4 * raw[3], len(raw)))
    if values.size != int(np.prod(sizes)):
        raise CorruptFile("is truncated or too long", where=str(path), used=values.size, limit=int(np.prod(sizes)))
    return values.reshape(sizes)


def _own(path: Path) -> Dataset:
    """Arrays `train`, `train_labels`, `test`, `test_labels`; images of shape (n, rows, columns), nonzero = active."""
    files.check_file(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("train", "train_labels", "test", "test_labels")}
    except (OSError, ValueError, KeyError, EOFError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error) as problem:
        fix = "It needs the arrays train, train_labels, test, test_labels."
        raise CorruptFile("is not a data file", where=str(path), used=str(problem), fix=fix) from None
    train, test = arrays["train"], arrays["test"]
    if train.ndim != 3 or test.ndim != 3 or train.shape[1:] != test.shape[1:] or not len(train) or not len(test):
        raise InvalidValue(
            "images must be (n, rows, columns), both parts alike and not empty", where=str(path), used=(train.shape, test.shape)
        )
    labels = [arrays["train_labels"], arrays["test_labels"]]
    for images, given in zip((train, test), labels, strict=True):
        if images.dtype.kind not in "buif" or not bool(np.all(np.isfinite(images))):
            raise InvalidValue("images must be finite real numbers", where=str(path), used=str(images.dtype))
        if given.shape != (len(images),) or given.dtype.kind not in "iu" or int(given.min()) < 0:
            raise InvalidValue(
                "labels must be one whole number >= 0 per image", where=str(path), used=(given.shape, str(given.dtype))
            )
    trained = np.unique(labels[0])
    odd = sorted(set(trained[trained != np.arange(len(trained))].tolist()) | set(labels[1].tolist()) - set(trained.tolist()))
    if odd:
        raise InvalidValue("classes must be 0, 1, 2, ... and each have training images", where=str(path), used=odd[0])
    if not train.any():
        raise InvalidValue("no training image has an active pixel", where=str(path))
    rows, columns = train.shape[1:]
    flat = [images.reshape(len(images), -1) != 0 for images in (train, test)]
    return Dataset(path.stem, (rows, columns), flat[0], labels[0].astype(np.int64), flat[1], labels[1].astype(np.int64))
