"""The temporary folder of a virtual board, and those that killed owners left."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bcall_hw.backend.samna_board.virtual.own_folder import OwnFolder

OWNER = """
import os, sys
from bcall_hw.backend.samna_board.virtual.own_folder import OwnFolder
folder = OwnFolder()
print(folder.path, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_it_goes_with_its_owner(temporary: Path) -> None:
    folder = OwnFolder()
    assert folder.path.parent == temporary
    (folder.path / "board").touch()
    folder.remove()
    folder.remove()
    assert list(temporary.iterdir()) == []


def test_a_forked_child_leaves_it_to_its_parent(temporary: Path) -> None:
    program = OWNER.replace("print(", "os.fork() or sys.exit(folder.remove()); os.wait(); print(")
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as owner:
        assert owner.stdout is not None
        assert Path(owner.stdout.readline().strip()).is_dir()
        owner.kill()
    OwnFolder().remove()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_owner_left_is_swept_away_and_nothing_else(temporary: Path) -> None:
    for name in ("bcall-of-others", "bcall-linked", "other"):
        (temporary / name).mkdir()
    (temporary / "other" / "held").touch()
    (temporary / "bcall-link").symlink_to(temporary / "other")
    (temporary / "bcall-linked" / "held").symlink_to(temporary / "other" / "held")
    (temporary / "bcall-hw-board-1.lock").touch()
    kept = set(temporary.iterdir())
    with subprocess.Popen([sys.executable, "-c", OWNER], stdin=-1, stdout=-1, text=True) as owner:
        assert owner.stdout is not None
        theirs = Path(owner.stdout.readline().strip())
        mine = OwnFolder()
        assert set(temporary.iterdir()) == kept | {theirs, mine.path}  # both live
        owner.kill()
    again = OwnFolder()
    assert set(temporary.iterdir()) == kept | {mine.path, again.path}
    for folder in (mine, again):
        folder.remove()
    assert set(temporary.iterdir()) == kept


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_folders_of_other_users_stay(temporary: Path) -> None:
    theirs = temporary / "bcall-theirs"
    theirs.mkdir()
    (theirs / "held").touch()
    os.chown(theirs, 12345, 12345)
    OwnFolder().remove()
    assert theirs.is_dir()
    os.chown(theirs, 0, 0)
    OwnFolder().remove()
    assert not theirs.exists()
