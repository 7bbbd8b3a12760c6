"""What is installed, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bcall_hw import __version__
from bcall_hw.backend.samna_board.listing import installed_samna, virtual_board
from bcall_hw.chip_model import known_chips, load_chip
from bcall_hw.records import data_folder

_NEEDED = ("numpy", "scipy", "pydantic", "numba", "typer", "rich", "tomlkit", "matplotlib", "h5py")
_OPTIONAL = {
    "scikit-learn": "logistic regression as a live baseline for data of your own: pip install scikit-learn",
    "nir": "NIR files, bcall-hw import: pip install nir, or the extra [sinabs]",
    "distributed": "many virtual boards on a cluster: the extra [cluster]",
    "torchvision": "figure 5, a linear classifier on MNIST: make figure-5, or the extra [vision]",
}


def examine() -> dict[str, Any]:
    """Everything `bcall-hw doctor` tells, as plain values; `problems` is empty when all is well."""
    problems: list[dict[str, str]] = []
    needed = {name: _version(name) for name in _NEEDED}
    problems += [{"what": f"{name} is not installed", "fix": f"pip install {name}"} for name, v in needed.items() if v is None]
    chips = {}
    for name in known_chips():
        chip = load_chip(name)
        chips[name] = {"title": chip.title, "fingerprint": chip.fingerprint[:16], "biases": len(chip.biases)}
    if not chips:
        folder = data_folder("chip_models")
        problems.append({"what": f"no chip model found in {folder}", "fix": "Install the package again."})
    samna, virtual = installed_samna(), virtual_board()
    drives = samna["kind"] == "binary"
    return {
        "bcall_hw": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "executable": sys.executable,
        "needed": needed,
        "optional": {name: {"version": _version(name), "use": use} for name, use in _OPTIONAL.items()},
        "samna": samna,
        "virtual_board": virtual,
        "backends": {
            "emulator": needed["numba"] is not None,
            "samna:<serial>": drives,
            "samna:virtual": drives and not virtual["missing"],
        },
        "chips": chips,
        "problems": problems,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
