"""Files that are written whole or not at all, and HDF5 files that say what they are."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bcall_hw.errors import CorruptFile, FileProblem, ForeignFile

if TYPE_CHECKING:
    import h5py

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
        raise _unwritable(path, problem) from None
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(target)
    except OSError as problem:
        raise _unwritable(path, problem) from None
    finally:
        part.unlink(missing_ok=True)


def _unwritable(path: Path, problem: Exception) -> FileProblem:
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


def check_new(path: Path, overwrite: bool = False) -> None:
    """Refuse a file that is there already, or that could not be written.

    Raises:
        FileProblem: with the reason.
    """
    check_writable(path)
    if path.exists() and not overwrite:
        raise FileProblem("is there already", where=str(path)[:200], fix="Choose another name, or give --overwrite.")


def is_file(path: Path) -> bool:
    """Whether a readable place holds a regular file.

    Raises:
        FileProblem: one may not look there.
    """
    try:
        return path.is_file()
    except OSError as problem:
        raise FileProblem("cannot be read", where=str(path)[:200], used=problem.strerror) from None


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
        raise _unwritable(path, problem) from None
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


# Our HDF5 files begin with a user block that holds a magic word and the SHA-256 of the rest: a damaged file is told before
# the HDF5 library, which may crash on it, sees it.
_BLOCK = 512
_MAGIC = b"bcall_hw file\n"
#: In the place of the hash while a file is still being written; metadata and spikes have checksums of their own then.
_GROWING = b"-" * 64
_AT_ONCE = 1 << 22


@contextmanager
def h5_written_whole(path: Path, kind: str, version: int) -> Iterator[h5py.File]:
    """A new HDF5 file that says what it is: attributes `format` and `format_version`, and a hash of the whole.

    It is made in memory: the HDF5 library may crash where a disk is full.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=_BLOCK) as file:
        file.attrs["format"] = f"bcall_hw/{kind}"
        file.attrs["format_version"] = version
        yield file
    write_bytes(path, _sealed(buffer.getvalue()))


def h5_growing(path: Path, kind: str, version: int) -> h5py.File:
    """A new HDF5 file in its place that grows while others may read it; `seal_grown` ends it, a kill leaves it readable.

    Raises:
        FileProblem: something is there already, or it cannot be made.
    """
    import h5py

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = h5py.File(path, "x", libver="latest", userblock_size=_BLOCK)
    except FileExistsError:
        raise FileProblem("is there already", where=str(path)[:200], fix="Choose another name, or move it away.") from None
    except (OSError, RuntimeError, ValueError) as problem:
        raise _unwritable(path, problem) from None
    file.attrs["format"] = f"bcall_hw/{kind}"
    file.attrs["format_version"] = version
    file.flush()
    with path.open("r+b") as block:
        block.write(_MAGIC + _GROWING)
    return file


def seal_grown(path: Path) -> None:
    """Write the hash of a grown file, which is closed now, into its user block.

    Raises:
        FileProblem: it cannot be written.
    """
    try:
        with path.open("r+b") as file:
            digest = _digest_of(file)
            file.seek(len(_MAGIC))
            file.write(digest)
    except OSError as problem:
        raise _unwritable(path, problem) from None


def array_of(file: h5py.File, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A dataset of exactly this type.

    Raises:
        ValueError: it has another type (`h5_read` makes that a CorruptFile).
    """
    found = np.asarray(file[name][...])
    if found.dtype != np.dtype(dtype):
        raise ValueError(f"{name} has the type {found.dtype}, not {np.dtype(dtype)}")
    return found


def _sealed(content: bytes) -> bytes:
    head = _MAGIC + hashlib.sha256(content[_BLOCK:]).hexdigest().encode()
    return head + content[len(head) :]


def seal(path: Path) -> None:
    """Write the hash of an HDF5 file's content into its user block anew."""
    write_bytes(path, _sealed(path.read_bytes()))


def _digest_of(file: BinaryIO) -> bytes:
    """Hash of everything after the user block."""
    digest = hashlib.sha256()
    file.seek(_BLOCK)
    while part := file.read(_AT_ONCE):
        digest.update(part)
    return digest.hexdigest().encode()


@contextmanager
def h5_read(path: Path, kind: str, version: int, *, growing: bool = False) -> Iterator[h5py.File]:
    """An HDF5 file of the given kind.

    Args:
        growing: whether one that was never ended is taken too (`is_sealed` tells).

    Raises:
        FileProblem: it does not exist or cannot be read.
        CorruptFile: it is damaged or truncated.
        ForeignFile: not a file of ours, another kind, or another version.
    """
    import h5py

    if not is_file(path):
        raise FileProblem("no such file", where=str(path)[:200])
    sealed = is_sealed(path)
    if not sealed and not growing:
        raise CorruptFile("was never finished", where=str(path), fix="Make it again.")
    try:
        opened = h5py.File(path if sealed else io.BytesIO(_without_flags(path.read_bytes())), "r")
    except (OSError, RuntimeError, ValueError) as problem:
        raise CorruptFile("is damaged or truncated", where=str(path), used=str(problem)[:200]) from None
    with opened as file:
        try:
            found, found_version = str(file.attrs["format"]), int(file.attrs["format_version"])
            if found != f"bcall_hw/{kind}":
                raise ForeignFile("is another kind of file", where=str(path), used=found, limit=f"bcall_hw/{kind}")
            if found_version != version:
                fix = "Update bcall-hw." if found_version > version else "Make it again with this version."
                raise ForeignFile("has another format version", where=str(path), used=found_version, limit=version, fix=fix)
            yield file
        except (KeyError, OSError, ValueError, TypeError, ArithmeticError, RuntimeError) as problem:
            raise CorruptFile("is damaged or incomplete", where=str(path), used=str(problem)[:200]) from None


# Of the superblock that a growing file has (HDF5 file format 3.0, II.A, version 3): where its parts lie.
_SUPERBLOCK, _FLAGS, _END = 3, 11, slice(28, 36)
_CHECKED, _CHECKSUM = slice(0, 44), slice(44, 48)


def _without_flags(content: bytes) -> bytes:
    """A growing file as one that was closed: nothing marks it as being written, and it ends where it ends.

    The HDF5 library would open it as it is too, but then waits without end for damaged metadata to be mended by a writer.

    Raises:
        ValueError: it does not begin as a growing file does, or its beginning is damaged.
    """
    block = bytearray(content[_BLOCK : _BLOCK + _CHECKSUM.stop])
    if len(block) < _CHECKSUM.stop or block[8] != _SUPERBLOCK:
        raise ValueError("its superblock is cut or of another version")
    if int.from_bytes(block[_CHECKSUM], "little") != _lookup3(bytes(block[_CHECKED])):
        raise ValueError("its superblock is damaged")
    block[_FLAGS] = 0
    block[_END] = max(len(content), int.from_bytes(block[_END], "little")).to_bytes(8, "little")
    block[_CHECKSUM] = _lookup3(bytes(block[_CHECKED])).to_bytes(4, "little")
    return content[:_BLOCK] + bytes(block) + content[_BLOCK + len(block) :]


def _lookup3(key: bytes) -> int:
    """Bob Jenkins' hash lookup3 (2006, public domain), the checksum of HDF5's metadata."""

    def turned(value: int, by: int) -> int:
        return value << by & 0xFFFFFFFF | value >> (32 - by)

    state = [(0xDEADBEEF + len(key)) & 0xFFFFFFFF] * 3
    for first in range(0, len(key), 12):
        part = key[first : first + 12].ljust(12, b"\0")
        for k in range(3):
            state[k] = (state[k] + int.from_bytes(part[4 * k : 4 * k + 4], "little")) & 0xFFFFFFFF
        if first + 12 < len(key):
            for k, by in enumerate((4, 6, 8, 16, 19, 4)):  # mix
                one, two, three = k % 3, (k + 2) % 3, (k + 1) % 3
                state[one] = (state[one] - state[two]) & 0xFFFFFFFF ^ turned(state[two], by)
                state[two] = (state[two] + state[three]) & 0xFFFFFFFF
    for k, by in enumerate((14, 11, 25, 16, 4, 14, 24)):  # final
        one, two = (k + 2) % 3, (k + 1) % 3
        state[one] = ((state[one] ^ state[two]) - turned(state[two], by)) & 0xFFFFFFFF
    return state[2]


def is_sealed(path: Path) -> bool:
    """Whether a file of ours was ended; its hash is proved.

    Raises:
        FileProblem: it cannot be read.
        ForeignFile: it is no file of ours.
        CorruptFile: its hash differs.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC) + 64)
            if not head.startswith(_MAGIC):
                raise ForeignFile("is not a file that bcall-hw wrote", where=str(path))
            wanted = head[len(_MAGIC) :]
            if wanted != _GROWING and _digest_of(file) != wanted:
                raise CorruptFile("is damaged or truncated: its hash differs", where=str(path), fix="Make it again.")
    except OSError as problem:
        raise FileProblem("cannot be read", where=str(path)[:200], used=problem.strerror) from None
    return wanted != _GROWING
