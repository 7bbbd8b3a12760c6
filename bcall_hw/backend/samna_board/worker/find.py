"""Which samna is installed, found out without importing it.

From version 0.9 on, the package called samna on PyPI is a loader that downloads the real one when it is imported, and may
hang or fail for minutes. The real binary is told from it by its compiled extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class SamnaInstallation:
    """What was found.

    Attributes:
        kind: "absent", "loader" (downloads the real one on import) or "binary".
        version: as the package tells it.
        advice: what to do.
    """

    kind: str
    version: str | None
    advice: str


#: How to get a samna that drives a DYNAP-SE1.
HOW_TO_GET = (
    "Install samna 0.7.1.0 under CPython 3.10 (pip install samna==0.7.1.0), beside bcall-hw or in an environment of its own "
    "whose interpreter BCALL_SAMNA_PYTHON names."
)


def find_samna() -> SamnaInstallation:
    """Look for samna without importing it."""
    spec = PathFinder.find_spec("samna")  # looks at the disk alone, whatever stands in sys.modules
    if spec is None or not spec.submodule_search_locations:
        return SamnaInstallation("absent", None, f"Needed for a real or virtual board only. {HOW_TO_GET}")
    try:
        found = version("samna")
    except PackageNotFoundError:
        found = None
    folders = [Path(p) for p in spec.submodule_search_locations]
    compiled = any(path.suffix in (".so", ".pyd", ".dylib") for folder in folders for path in folder.rglob("*"))
    if compiled:
        return SamnaInstallation("binary", found, "")
    advice = f"This is the loader: importing it downloads the real one and may hang. Nothing here imports it. {HOW_TO_GET}"
    return SamnaInstallation("loader", found, advice)
