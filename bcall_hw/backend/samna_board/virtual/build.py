"""The stand-in library, built with the system's C compiler when it is first needed."""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from bcall_hw.backend.samna_board.virtual.own_folder import OwnFolder
from bcall_hw.errors import BackendUnavailable

_SOURCE = Path(__file__).with_name("stand_in.c")
_FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-pthread")
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 120


def find_compiler() -> list[str] | None:
    """The C compiler as a command: CC from the environment, which may have options, else the first of the usual names."""
    wanted = shlex.split(os.environ.get("CC", ""))
    if wanted:
        return wanted if shutil.which(wanted[0]) else None
    return next(([name] for name in _COMPILERS if shutil.which(name)), None)


def cache_folder() -> Path:
    """Where built libraries lie: XDG_CACHE_HOME, or ~/.cache; a relative path is ignored, as that specification says."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "bcall-hw"


def stand_in_library() -> Path:
    """The library, built anew where the source has changed; where no cache can be kept, once for this process.

    Raises:
        BackendUnavailable: another system than Linux x86-64, no C compiler, or it failed.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        used, fix = f"{platform.system()} {platform.machine()}", 'Use the backend "emulator" here.'
        raise BackendUnavailable("the virtual board needs Linux x86-64", where="virtual board", used=used, fix=fix)
    digest = hashlib.sha256(_SOURCE.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:16]
    name = f"stand_in-{digest}.so"
    try:
        folder = cache_folder()
        if not _can_be_preloaded(folder):
            return _build_for_this_process(name)
        folder.mkdir(parents=True, exist_ok=True)
        if _is_library(folder / name):
            return folder / name
        handle, part = tempfile.mkstemp(dir=folder, prefix="stand_in-", suffix=".part")
        os.close(handle)
    except (OSError, RuntimeError):
        return _build_for_this_process(name)
    try:
        _build(Path(part))
        Path(part).replace(folder / name)
    finally:
        Path(part).unlink(missing_ok=True)
    return folder / name


def _is_library(path: Path) -> bool:
    return path.is_file() and path.read_bytes().startswith(b"\x7fELF")


def _can_be_preloaded(folder: Path) -> bool:
    """LD_PRELOAD separates its entries by spaces and colons."""
    return not any(c.isspace() or c == ":" for c in str(folder))


@lru_cache(maxsize=1)
def _build_for_this_process(name: str) -> Path:
    try:
        folder = OwnFolder()
    except OSError as problem:
        what, fix = "no folder for the stand-in library can be written", "Set XDG_CACHE_HOME or TMPDIR."
        raise BackendUnavailable(what, where=str(cache_folder()), used=problem.strerror, fix=fix) from None
    atexit.register(folder.remove)
    if not _can_be_preloaded(folder.path):
        where, fix = str(folder.path), "Set TMPDIR to another folder."
        raise BackendUnavailable("a path with spaces or colons cannot be preloaded", where=where, fix=fix)
    _build(folder.path / name)
    return folder.path / name


def _build(target: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        fix = 'Install one (Debian, Ubuntu: apt install gcc libc6-dev) or set CC; the backend "emulator" needs none.'
        used = os.environ.get("CC") or None
        raise BackendUnavailable(
            "the virtual board needs a C compiler, and none was found", where="virtual board", used=used, fix=fix
        )
    what, fix = (
        "the C compiler failed on the stand-in library",
        "Is it a C compiler with the headers of the C library (libc6-dev)?",
    )
    try:
        command = [*compiler, *_FLAGS, "-o", str(target), str(_SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise BackendUnavailable(what, where=compiler[0], used=str(problem)[:200], fix=fix) from None
    if done.returncode != 0 or not _is_library(target):
        said = done.stderr.strip().splitlines()
        raise BackendUnavailable(what, where=compiler[0], used=said[0][:200] if said else "no message", fix=fix)
