"""Which samna is installed, found out without importing it.

From version 0.9 on, the package called samna on PyPI is a loader that downloads the real one when it is imported, and may
hang or fail for minutes. The real binary is told from it by its compiled extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class SamnaInstallation:
    """What was found.

    Attributes:
        kind: absent, loader (downloads the real one on import) or binary.
        version: as the package tells it.
        advice: what to do.
    """

    kind: Literal["absent", "loader", "binary"]
    version: str | None
    advice: str


def find_samna() -> SamnaInstallation:
    """Look for samna without importing it."""
    spec = find_spec("samna")
    if spec is None or not spec.submodule_search_locations:
        advice = "Not needed: this version drives no board. Only the contract tests use it: samna 0.7.1.0 under CPython 3.10."
        return SamnaInstallation("absent", None, advice)
    try:
        found = version("samna")
    except PackageNotFoundError:
        found = None
    folders = [Path(p) for p in spec.submodule_search_locations]
    compiled = any(path.suffix in (".so", ".pyd", ".dylib") for folder in folders for path in folder.rglob("*"))
    if compiled:
        return SamnaInstallation("binary", found, "")
    return SamnaInstallation(
        "loader", found, "This is the loader: importing it downloads the real one and may hang. Nothing here imports it."
    )
