"""Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bcall_hw.errors import CorruptFile, FileProblem, ForeignFile

PART = ".bcall_hw-part"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: into a temporary file beside it, which then takes its place.

    Raises:
        FileProblem: it cannot be written, or something that is no regular file stands there.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            raise FileProblem("is there already and is no regular file", where=str(path), fix="Choose another name.")
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=PART)
    except (OSError, RuntimeError) as problem:
        raise unwritable(path, problem) from None
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(target)
    except OSError as problem:
        raise unwritable(path, problem) from None
    finally:
        part.unlink(missing_ok=True)


def unwritable(path: Path, problem: Exception) -> FileProblem:
    """The error for a file that cannot be written, with the system's reason."""
    used = getattr(problem, "strerror", None) or str(problem)
    return FileProblem("cannot be written", where=str(path)[:200], used=used, fix="Choose another place.")


def check_folder_of(path: Path) -> None:
    """Refuse a file whose folder cannot be there, because a file stands in its place.

    Raises:
        FileProblem: with the file that is in the way.
    """
    for folder in path.parents:
        if folder.exists() and not folder.is_dir():
            raise FileProblem("is no folder", where=str(folder)[:200], fix="Choose another place.")


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written later, before the work that makes its content.

    Raises:
        FileProblem: with the reason.
    """
    check_folder_of(path)
    folder = next((folder for folder in path.resolve().parents if folder.exists()), Path("/"))
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not path.is_file()):
        raise FileProblem("cannot be written", where=str(path)[:200], fix="Choose another place.")


def hold(path: Path) -> io.FileIO:
    """Open a file for writing, with a lock that says so until it is closed.

    Raises:
        OSError: it cannot be opened, or another process holds it.
    """
    held = io.FileIO(path, "r+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise
    return held


def check_not_held(path: Path) -> None:
    """Refuse a file that something is writing just now (`hold`).

    Raises:
        FileProblem: it is.
    """
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        fix = "Wait for it, or choose another file."
        raise FileProblem("is being written by another run", where=str(path)[:200], fix=fix) from None
    except OSError:
        return  # not ours to read: whoever writes there will say so


def check_new(path: Path, overwrite: bool = False) -> None:
    """Refuse a file that is there already, or that could not be written.

    Raises:
        FileProblem: with the reason.
    """
    check_writable(path)
    if path.exists() and not overwrite:
        raise FileProblem("is there already", where=str(path)[:200], fix="Choose another name, or give --overwrite.")
    check_not_held(path)


def remove_old(path: Path) -> None:
    """Make room for a new file of the same name.

    Raises:
        FileProblem: it is being written, or cannot be removed.
    """
    check_not_held(path)
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        raise unwritable(path, problem) from None


def set_aside(path: Path) -> Path:
    """Give a file another name, which is returned: X.h5 becomes X.before.h5, or X.before-2.h5 and so on.

    Raises:
        FileProblem: it cannot be renamed.
    """
    names = (
        path.with_name(f"{path.stem}.before{number}{path.suffix}") for number in ("", *(f"-{k}" for k in range(2, 10_000)))
    )
    free = next((name for name in names if not name.exists()), None)
    try:
        if free is None:
            raise OSError("too many older ones")
        path.rename(free)
    except OSError as problem:
        raise unwritable(path, problem) from None
    return free


def is_file(path: Path) -> bool:
    """Whether a readable place holds a regular file.

    Raises:
        FileProblem: one may not look there.
    """
    try:
        return path.is_file()
    except OSError as problem:
        raise FileProblem("cannot be read", where=str(path)[:200], used=problem.strerror) from None


def check_file(path: Path) -> None:
    """Refuse to read what is not there or no regular file.

    Raises:
        FileProblem: with the reason.
    """
    if is_file(path):
        return
    if path.exists():
        raise FileProblem("is no regular file", where=str(path)[:200], used="a folder" if path.is_dir() else "a device or pipe")
    raise FileProblem("no such file", where=str(path)[:200])


@contextmanager
def folder_of_one_run(path: Path) -> Iterator[None]:
    """Hold a folder for one run at a time; half-written files of a killed run are cleared away.

    Raises:
        FileProblem: it cannot be made, or another run holds it.
    """
    if path == Path():
        raise FileProblem("name a folder of its own for the results", where="--out", used="the current folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as problem:
        raise unwritable(path, problem) from None
    with os.fdopen(handle, "r+b", buffering=0) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fix = "Wait for it, or choose another folder."
            raise FileProblem("another run is writing here", where=str(path), fix=fix) from None
        for left in path.glob(f".*{PART}"):
            if left.is_file() and not left.is_symlink():
                left.unlink(missing_ok=True)
        yield


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        FileProblem: it does not exist or cannot be read.
        CorruptFile: it is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise CorruptFile("is not a text file", where=str(path)) from None
    except OSError as problem:
        raise FileProblem("cannot be read", where=str(path)[:200], used=problem.strerror) from None


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


def read_document(path: Path, kind: str, version: int) -> dict[str, Any]:
    """The fields of a JSON or TOML file (by its ending) that says what it is in `format` and `format_version`.

    Raises:
        FileProblem, CorruptFile, ForeignFile: missing, damaged, or something else.
    """
    name = kind.partition("/")[2].replace("_", " ")
    if path.suffix == ".json":
        values = read_json(path)
    elif path.suffix == ".toml":
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        try:
            values = tomlkit.parse(read_text(path)).unwrap()
        except (TOMLKitError, ValueError) as problem:
            raise CorruptFile("is not TOML", where=str(path), used=str(problem)) from None
    else:
        raise ForeignFile(f"{name}s are .json or .toml files", where=str(path), used=path.suffix or "no ending")
    if not isinstance(values, dict) or values.get("format") != kind:
        raise ForeignFile(f"is not a {name} file", where=str(path), limit=f'format = "{kind}"')
    if "format_version" not in values:
        raise ForeignFile("lacks its format version", where=str(path), fix=f"Add format_version = {version}.")
    used = values["format_version"]
    if used != version:
        raise ForeignFile("has another format version", where=str(path), used=used, limit=version, fix="Update bcall-hw.")
    return values
