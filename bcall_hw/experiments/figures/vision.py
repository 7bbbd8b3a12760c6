"""MNIST in its 256 grey levels, through torchvision's data set, with or without a network.

torch and torchvision are imported here alone, and only when they are needed (extra `[vision]`).
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw import files
from bcall_hw.arrays import IntArray
from bcall_hw.errors import BackendUnavailable, CorruptFile, FileProblem

ByteArray = npt.NDArray[np.uint8]

_EXTRA = "Install the extra: pip install 'bcall-hw[vision]'."
_GIVE_DATA = "Name a folder with the four MNIST files (.gz) with --data."
_STILL_S = 30.0

# torchvision knows the MD5 of the .gz files; these are those of what is in them.
_UNPACKED_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_RAW = Path("MNIST") / "raw"

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# Declarations last as long as the object that made them.
_declared: list[Any] = []


@dataclass(frozen=True, eq=False)
class Mnist:
    """The images with all their grey levels.

    Attributes:
        train, test: uint8, shape (images, 784), 0 = background.
        train_labels, test_labels: int64, class of each image.
    """

    train: ByteArray
    train_labels: IntArray
    test: ByteArray
    test_labels: IntArray

    @property
    def sha256(self) -> str:
        """Hash of all images and labels."""
        digest = hashlib.sha256()
        for array in (self.train, self.train_labels, self.test, self.test_labels):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load_mnist(data: Path | None) -> Mnist:
    """The 60,000 training and 10,000 test images. A given folder is only read.

    Args:
        data: a folder with the four files (.gz, or unpacked), or one whose MNIST/raw holds them; None downloads them once
            into the user's cache.

    Raises:
        BackendUnavailable: torch or torchvision is not installed, or broken.
        FileProblem, CorruptFile: files are missing, damaged or others, or cannot be downloaded.
    """
    mnist = _mnist_class()
    found = _cached(mnist) if data is None else _found(data)
    _check(found, mnist)
    return _read(found, mnist)


def torch_module() -> Any:
    """The module torch.

    Raises:
        BackendUnavailable: it is not installed, or broken.
    """
    try:
        import torch
    except (ImportError, OSError) as problem:
        raise _unavailable("torch", problem) from None
    return torch


# torchvision ---------------------------------------------------------------------------------------------------------


def _mnist_class() -> Any:
    """The class MNIST of torchvision.

    A torchvision built for CUDA cannot load its compiled operators beside a torch for the CPU, and its import then fails
    at `torchvision::nms`. Data sets need no operator: where, and only where, the import fails so, the operators are
    declared and the import is done again. A matched pair is left alone.
    """
    torch = torch_module()
    try:
        return _import_mnist()
    except (ImportError, OSError) as problem:
        raise _unavailable("torchvision", problem) from None
    except RuntimeError as problem:
        if "torchvision::" not in str(problem):
            raise _unavailable("torchvision", problem) from None
    _declare_operators(torch)
    try:
        return _import_mnist()
    except (ImportError, OSError, RuntimeError) as problem:
        raise _unavailable("torchvision", problem) from None


def _import_mnist() -> Any:
    from torchvision.datasets import MNIST

    return MNIST


def _declare_operators(torch: Any) -> None:
    """Declare the operators whose fakes torchvision registers, and forget the half-imported package."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}{_NMS}")
    _declared.append(library)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


def _unavailable(name: str, problem: Exception) -> BackendUnavailable:
    if isinstance(problem, ModuleNotFoundError) and problem.name == name:
        return BackendUnavailable(f"{name} is not installed, and figure 5 needs it", where=name, fix=_EXTRA)
    used = _first_line(problem)
    fix = f"Install torch and torchvision of one release. {_EXTRA}"
    return BackendUnavailable("is installed but cannot be imported", where=name, used=used, fix=fix)


# Files ---------------------------------------------------------------------------------------------------------------


def _found(data: Path) -> list[Path]:
    """The four files of a folder, all packed or all unpacked."""
    sets = [[place / f"{name}{ending}" for name in _UNPACKED_MD5] for place in (data, data / _RAW) for ending in (".gz", "")]
    # The first of the fullest: where some are missing, the one meant is most likely the one that has most.
    best = max(sets, key=lambda paths: sum(map(files.is_file, paths)))
    for path in best:
        if not files.is_file(path):
            raise FileProblem("MNIST file is missing", where=str(path)[:200], fix=_GIVE_DATA)
    return best


def _cached(mnist: Any) -> list[Path]:
    """The four .gz files of the user's cache, downloaded by torchvision where they are not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bcall_hw" / "mnist"
    found = [cache / _RAW / f"{name}.gz" for name in _UNPACKED_MD5]
    if all(files.is_file(path) and _intact(path, mnist) for path in found):
        return found
    with files.folder_of_one_run(cache):
        _download(cache, mnist)
    return found


def _download(cache: Path, mnist: Any) -> None:
    before = socket.getdefaulttimeout()
    # Without a limit a network that swallows packets would hold us for ever.
    socket.setdefaulttimeout(_STILL_S)
    try:
        for name in _UNPACKED_MD5:
            # torchvision takes unpacked files, of a killed run perhaps, without a look at what is in them.
            (cache / _RAW / name).unlink(missing_ok=True)
        mnist(cache, train=False, download=True)
    except (RuntimeError, OSError, HTTPException, EOFError, ValueError) as problem:
        used = _first_line(problem)
        raise FileProblem("MNIST cannot be downloaded", where=str(cache)[:200], used=used, fix=_GIVE_DATA) from None
    finally:
        socket.setdefaulttimeout(before)


def _check(paths: list[Path], mnist: Any) -> None:
    """Refuse, by name, any file that is not the one MNIST has: then torchvision never wants to download it again."""
    for path in paths:
        if not _intact(path, mnist):
            what = "is damaged, or is not MNIST's file of this name: its MD5 differs"
            raise CorruptFile(what, where=str(path)[:200], fix="Get it again; other data sets use the same file names.")


def _intact(path: Path, mnist: Any) -> bool:
    known: dict[str, str] = {**dict(mnist.resources), **_UNPACKED_MD5}
    with _file_problems(path):
        # md5 is what the data set is published with; it guards against damage, not against malice.
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == known[path.name]


def _read(paths: list[Path], mnist: Any) -> Mnist:
    """Let torchvision check, unpack and read a copy of the files: it writes beside what it reads."""
    with _file_problems(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="bcall-hw-") as root:
        raw = Path(root) / _RAW
        raw.mkdir(parents=True)
        for path in paths:
            with _file_problems(path):
                content = path.read_bytes()
            (raw / path.name).write_bytes(content)
        train, test = (mnist(root, train=part, download=True) for part in (True, False))
    arrays = [a for part in (train, test) for a in (part.data.numpy().reshape(-1, 28 * 28), part.targets.numpy())]
    return Mnist(*arrays)


@contextmanager
def _file_problems(path: Path) -> Iterator[None]:
    """A failure of the system or of torchvision at a file, as our error."""
    try:
        yield
    except OSError as problem:
        used = problem.strerror or str(problem)
        raise FileProblem("cannot be read or unpacked", where=str(path)[:200], used=used) from None
    except (RuntimeError, ValueError, TypeError) as problem:
        raise CorruptFile("cannot be unpacked", where=str(path)[:200], used=_first_line(problem)) from None


def _first_line(problem: Exception) -> str:
    """The part of a message that fits a line: torchvision's own run over many."""
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return " ".join(lines[:3])[:300] or type(problem).__name__
