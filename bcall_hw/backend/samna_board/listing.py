"""Which boards are there, and whether one could be driven."""

from __future__ import annotations

import platform
from contextlib import closing
from typing import Any

from bcall_hw.backend.samna_board.client import Client, samna_python
from bcall_hw.backend.samna_board.opening import start_samna
from bcall_hw.backend.samna_board.virtual.build import find_compiler
from bcall_hw.errors import BcallError

_ASK_S = 30.0


def list_boards() -> dict[str, Any]:
    """Boards that are plugged in and not open elsewhere, as samna lists them.

    Raises:
        BackendUnavailable: no samna, or only the loader.
        WorkerDied, WorkerHangs: samna crashed or hung.
    """
    with closing(Client()) as client:
        samna = start_samna(client)
        boards = client.request("boards", "looking for boards", _ASK_S)[0]["boards"]
        return {"samna": samna, "python": client.python, "boards": boards, "virtual_board": virtual_board()}


def installed_samna() -> dict[str, Any]:
    """Which samna the worker's interpreter has; nothing is imported."""
    try:
        with closing(Client()) as client:
            found, _ = client.request("find", "looking for samna", _ASK_S)
    except BcallError as problem:
        return {"kind": "absent", "version": None, "advice": str(problem), "python": samna_python()}
    return {**found, "python": f"{samna_python()} ({found['python']})"}


def virtual_board() -> dict[str, Any]:
    """Whether a virtual board can be built here."""
    compiler = find_compiler()
    system = f"{platform.system()} {platform.machine()}"
    missing = [
        *([f"Linux x86-64 (this is {system})"] if system != "Linux x86_64" else []),
        *(["a C compiler (apt install gcc libc6-dev)"] if compiler is None else []),
    ]
    return {"compiler": " ".join(compiler) if compiler else None, "missing": missing}
