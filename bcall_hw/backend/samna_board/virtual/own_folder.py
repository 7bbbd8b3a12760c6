"""A temporary folder that does not outlive its owner for long: what a killed one left is swept away by the next."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX, _HELD = "bcall-", "held"


class OwnFolder:
    """A new folder. Its owner holds a lock on a file in it, which the system lets go whatever becomes of the owner.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self) -> None:
        sweep()
        self._owner = os.getpid()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        fresh = self.path / "new"
        self._held: int | None = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks: nobody sweeps there
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(self.path / _HELD)  # nobody sees the file unlocked

    def remove(self) -> None:
        """Take it away; twice is allowed. A forked child, which ends as its parent does, leaves it alone."""
        held, self._held = self._held, None
        if held is not None and os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(held)


def sweep() -> None:
    """Remove folders of this user whose owners have ended."""
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):  # it just went, or is none of ours
                if not folder.is_symlink() and folder.stat().st_uid == os.getuid():
                    _sweep(folder)


def _sweep(folder: Path) -> None:
    file = os.open(folder / _HELD, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(file)
