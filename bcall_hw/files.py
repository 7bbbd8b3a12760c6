"""Files that are written whole or not at all, and HDF5 files that say what they are."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@contextmanager
def h5_written_whole(path: Path, kind: str, version: int) -> Iterator[h5py.File]:
    """A new HDF5 file that says what it is: attributes `format` and `format_version`."""
    import h5py

    with written_whole(path) as part, h5py.File(part, "w") as file:
        file.attrs["format"] = f"bcall_hw/{kind}"
        file.attrs["format_version"] = version
        yield file


@contextmanager
def h5_read(path: Path, kind: str, version: int) -> Iterator[h5py.File]:
    """An HDF5 file of the given kind.

    Raises:
        FileProblem: it does not exist.
        CorruptFile: it is no HDF5 file, or a part is missing or damaged.
        ForeignFile: another kind of file, or written by a newer version.
    """
    import h5py

    if not path.is_file():
        raise FileProblem("no such file", where=str(path))
    try:
        file = h5py.File(path, "r")
    except OSError as problem:
        raise CorruptFile("is not a readable HDF5 file", where=str(path), used=str(problem)) from None
    with file:
        found = file.attrs.get("format", "no format attribute")
        if found != f"bcall_hw/{kind}":
            raise ForeignFile("is another kind of file", where=str(path), used=found, limit=f"bcall_hw/{kind}")
        if file.attrs.get("format_version") != version:
            used = file.attrs.get("format_version")
            raise ForeignFile("has another format version", where=str(path), used=used, limit=version, fix="Update bcall-hw.")
        try:
            yield file
        except (KeyError, OSError, ValueError, TypeError) as problem:
            raise CorruptFile("is damaged or incomplete", where=str(path), used=str(problem)) from None
