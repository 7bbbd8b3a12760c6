"""Files that are written whole or not at all, and HDF5 files that say what they are."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bcall_hw.errors import CorruptFile, FileProblem, ForeignFile

if TYPE_CHECKING:
    import h5py


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well; otherwise nothing is left.

    Raises:
        FileProblem: the folder is missing or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as problem:
        raise _unwritable(path, problem) from None
    part = Path(name)
    try:
        yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    except OSError as problem:
        raise _unwritable(path, problem) from None
    finally:
        part.unlink(missing_ok=True)


def _unwritable(path: Path, problem: OSError) -> FileProblem:
    return FileProblem(
        "cannot be written", where=str(path), used=problem.strerror or str(problem), fix="Choose another folder."
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        FileProblem: it does not exist or cannot be read.
        CorruptFile: it is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CorruptFile("is not a text file", where=str(path)) from None
    except OSError as problem:
        raise FileProblem("cannot be read", where=str(path), used=problem.strerror) from None


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        FileProblem: it does not exist or cannot be read.
        CorruptFile: it is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as problem:
        raise CorruptFile("is not JSON", where=str(path), used=str(problem)) from None


# Our HDF5 files begin with a user block that holds a magic word and the SHA-256 of the rest: a damaged file is told before
# the HDF5 library, which may crash on it, sees it.
_BLOCK = 512
_MAGIC = b"bcall_hw file\n"


@contextmanager
def h5_written_whole(path: Path, kind: str, version: int) -> Iterator[h5py.File]:
    """A new HDF5 file that says what it is: attributes `format` and `format_version`, and a hash of the whole."""
    import h5py

    with written_whole(path) as part:
        with h5py.File(part, "w", userblock_size=_BLOCK) as file:
            file.attrs["format"] = f"bcall_hw/{kind}"
            file.attrs["format_version"] = version
            yield file
        seal(part)


def array_of(file: h5py.File, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A dataset of exactly this type.

    Raises:
        ValueError: it has another type (`h5_read` makes that a CorruptFile).
    """
    found = np.asarray(file[name][...])
    if found.dtype != np.dtype(dtype):
        raise ValueError(f"{name} has the type {found.dtype}, not {np.dtype(dtype)}")
    return found


def seal(path: Path) -> None:
    """Write the hash of an HDF5 file's content into its user block."""
    with path.open("r+b") as raw:
        raw.seek(_BLOCK)
        digest = hashlib.sha256(raw.read()).hexdigest().encode()
        raw.seek(0)
        raw.write(_MAGIC + digest)


@contextmanager
def h5_read(path: Path, kind: str, version: int) -> Iterator[h5py.File]:
    """An HDF5 file of the given kind.

    Raises:
        FileProblem: it does not exist or cannot be read.
        CorruptFile: it is damaged or truncated.
        ForeignFile: not a file of ours, another kind, or another version.
    """
    import h5py

    if not path.is_file():
        raise FileProblem("no such file", where=str(path))
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise FileProblem("cannot be read", where=str(path), used=problem.strerror) from None
    if not content.startswith(_MAGIC):
        raise ForeignFile("is not a file that bcall-hw wrote", where=str(path))
    digest = content[len(_MAGIC) : len(_MAGIC) + 64]
    if hashlib.sha256(content[_BLOCK:]).hexdigest().encode() != digest:
        raise CorruptFile("is damaged or truncated: its hash differs", where=str(path), fix="Make it again.")
    with h5py.File(path, "r") as file:
        try:
            found, found_version = str(file.attrs["format"]), int(file.attrs["format_version"])
            if found != f"bcall_hw/{kind}":
                raise ForeignFile("is another kind of file", where=str(path), used=found, limit=f"bcall_hw/{kind}")
            if found_version != version:
                fix = "Update bcall-hw."
                raise ForeignFile("has another format version", where=str(path), used=found_version, limit=version, fix=fix)
            yield file
        except (KeyError, OSError, ValueError, TypeError, ArithmeticError) as problem:
            raise CorruptFile("is damaged or incomplete", where=str(path), used=str(problem)) from None
