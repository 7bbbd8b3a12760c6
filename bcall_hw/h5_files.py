"""HDF5 files that say what they are, and carry a hash of themselves."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bcall_hw.errors import CorruptFile, FileProblem, ForeignFile
from bcall_hw.files import check_file, hold, unwritable, write_bytes

if TYPE_CHECKING:
    import h5py

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


def h5_growing(path: Path, kind: str, version: int) -> tuple[h5py.File, io.FileIO]:
    """A new HDF5 file in its place that grows while others may read it; `seal_grown` ends it, a kill leaves it readable.

    Returns:
        The file, and a handle of it whose lock says that it is being written, until it is closed.

    Raises:
        FileProblem: something is there already, or it cannot be made.
    """
    import h5py

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = h5py.File(path, "x", libver="latest", userblock_size=_BLOCK, locking=False)
        held = hold(path)
    except FileExistsError:
        raise FileProblem("is there already", where=str(path)[:200], fix="Choose another name, or move it away.") from None
    except (OSError, RuntimeError, ValueError) as problem:
        raise unwritable(path, problem) from None
    file.attrs["format"] = f"bcall_hw/{kind}"
    file.attrs["format_version"] = version
    file.flush()
    held.write(_MAGIC + _GROWING)
    return file, held


def abandon(file: h5py.File) -> None:
    """Close a growing file that could not be written on; on disk it stays as it is.

    What the HDF5 library still wants to write goes nowhere: it would try again, and crash, at the end of the process.
    """
    if not file:
        return
    with tempfile.TemporaryFile() if not hasattr(os, "memfd_create") else open(os.memfd_create("nowhere"), "r+b") as nowhere:
        os.dup2(nowhere.fileno(), file.id.get_vfd_handle())
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            file.close()


def reason_of(problem: Exception) -> str:
    """What the system said, out of the HDF5 library's long tale about it."""
    found = re.search(r"error message = '([^']*)'", str(problem))
    if found:
        return found[1]
    return re.sub(r"\s+", " ", getattr(problem, "strerror", None) or str(problem))[:200]


def make_room(held: io.FileIO, size: int) -> None:
    """Let a file's disk have room for so many bytes more, where the system can do so.

    Raises:
        OSError: there is none.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(held.fileno(), os.fstat(held.fileno()).st_size, size)


def seal_grown(held: io.FileIO) -> None:
    """Write the hash of a grown file, whose HDF5 part is closed now, into its user block.

    Raises:
        OSError: it cannot be written.
    """
    digest = _digest_of(held)
    held.seek(len(_MAGIC))
    held.write(digest)


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


def _digest_of(file: BinaryIO | io.FileIO) -> bytes:
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

    check_file(path)
    sealed = is_sealed(path)
    if not sealed and not growing:
        raise CorruptFile("was never finished", where=str(path), fix="Make it again.")
    try:
        opened = h5py.File(path if sealed else io.BytesIO(_without_flags(path.read_bytes())), "r", locking=False)
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
                raise ForeignFile("is not a file that bcall-hw wrote", where=str(path), fix="Check its name.")
            wanted = head[len(_MAGIC) :]
            if wanted != _GROWING and _digest_of(file) != wanted:
                raise CorruptFile("is damaged or truncated: its hash differs", where=str(path), fix="Make it again.")
    except OSError as problem:
        raise FileProblem("cannot be read", where=str(path)[:200], used=problem.strerror) from None
    return wanted != _GROWING
