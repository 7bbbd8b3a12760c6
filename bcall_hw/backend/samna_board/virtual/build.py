"""The stand-in library, built with the system's C compiler when it is first needed."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from bcall_hw.errors import BackendUnavailable

_SOURCE = Path(__file__).with_name("stand_in.c")
_FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-pthread")
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 120


def find_compiler() -> str | None:
    """The C compiler: CC from the environment, else the first of the usual names."""
    wanted = os.environ.get("CC")
    return shutil.which(wanted) if wanted else next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def cache_folder() -> Path:
    """Where built libraries lie: XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "bcall-hw"


def stand_in_library() -> Path:
    """The library, built anew where the source has changed.

    Raises:
        BackendUnavailable: another system than Linux x86-64, no C compiler, or it failed.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        used, fix = f"{platform.system()} {platform.machine()}", 'Use the backend "emulator" here.'
        raise BackendUnavailable("the virtual board needs Linux x86-64", where="virtual board", used=used, fix=fix)
    digest = hashlib.sha256(_SOURCE.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:16]
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        folder = Path(tempfile.gettempdir()) / f"bcall-hw-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"stand_in-{digest}.so"
    if not target.is_file():
        _build(target)
    return target


def _build(target: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        fix = 'Install one (Debian, Ubuntu: apt install gcc libc6-dev) or set CC; the backend "emulator" needs none.'
        raise BackendUnavailable("the virtual board needs a C compiler, and none was found", where="virtual board", fix=fix)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix="stand_in-", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        command = [compiler, *_FLAGS, "-o", name, str(_SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise BackendUnavailable(
                "the C compiler failed on the stand-in library", where=compiler, used=said[0][:200] if said else "no message",
                fix="Is it a C compiler with the headers of the C library (libc6-dev)?",
            )  # fmt: skip
        part.replace(target)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise BackendUnavailable(
            "the C compiler failed on the stand-in library", where=compiler, used=str(problem)[:200]
        ) from None
    finally:
        part.unlink(missing_ok=True)
