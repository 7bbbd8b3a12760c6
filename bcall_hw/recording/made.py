"""Made: where a session comes from."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from typing import Any

import numpy as np

from bcall_hw import __version__
from bcall_hw.records import Record


class Made(Record):
    """What made the spikes of a session; "" and None where it is not known.

    Attributes:
        backend, board, seed: as in `SpikeRecording`.
        version: of this package; `versions`: of what it stood on.
        made_at: UTC, ISO 8601.
        source: the network or registers that were played.
        calibration_sha256: of the record that the codes were chosen with, "" for none.
        describe: what the backend told of itself (`Backend.describe`).
    """

    backend: str
    board: str = ""
    seed: int | None = None
    version: str = __version__
    versions: dict[str, str] = {}
    made_at: str = ""
    source: str = ""
    calibration_sha256: str = ""
    describe: dict[str, Any] = {}

    @classmethod
    def now(cls, backend: str, **others: Any) -> Made:
        """Here and now."""
        versions = {"python": platform.python_version(), "numpy": np.__version__, "system": platform.platform()}
        made_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(backend=backend, versions=versions, made_at=made_at, **others)

    @property
    def profile(self) -> dict[str, Any] | None:
        """The board profile, where the board was an emulated one."""
        for part in (self.describe, self.describe.get("virtual", {})):
            if isinstance(part, dict) and isinstance(part.get("profile"), dict):
                found: dict[str, Any] = part["profile"]
                return found
        return None
