"""What stands behind "samna:" in the address of a backend: a serial number, "auto", or "virtual"."""

from __future__ import annotations

from typing import Any, Literal

from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.backend.samna_board.board import SamnaBoard
from bcall_hw.backend.samna_board.virtual.faults import Faults
from bcall_hw.chip_model import DEFAULT_CHIP, ChipModel, load_chip
from bcall_hw.errors import BackendUnavailable, InvalidValue

#: Options of `open_samna` that only a virtual board has.
VIRTUAL_OPTIONS = ("profile", "implementation", "dt_us", "pulses", "serial", "faults")


def open_samna(board: str, chip: str | ChipModel = DEFAULT_CHIP, **options: Any) -> SamnaBoard:
    """Open a board by serial number, the only one ("auto"), or a virtual one of its own ("virtual").

    Args:
        options: those of `SamnaBoard`; for "virtual" those of `open_virtual` too.

    Raises:
        InvalidValue: an option of a virtual board for another one.
        BackendUnavailable: see `SamnaBoard`.
    """
    if board == "virtual":
        return open_virtual(chip, **options)
    if not board:
        raise BackendUnavailable("which board?", where="samna", fix='Use "samna:auto", "samna:<serial>" or "samna:virtual".')
    foreign = sorted(set(options) & set(VIRTUAL_OPTIONS))
    if foreign:
        fix = 'Leave it out, or open "samna:virtual".'
        raise InvalidValue("is an option of virtual boards alone", where=f"samna {foreign[0]}", fix=fix)
    return SamnaBoard(None if board == "auto" else board, chip, **options)


def open_virtual(
    chip: str | ChipModel = DEFAULT_CHIP,
    profile: BoardProfile | None = None,
    implementation: Literal["numba", "numpy", "reference"] = "numba",
    dt_us: int = DEFAULT_STEP_US,
    pulses: Literal["ideal", "finite"] = "ideal",
    serial: str = "VIRTUAL1",
    faults: Faults | None = None,
    **options: Any,
) -> SamnaBoard:
    """The real samna on a virtual board of its own, whose time passes during runs alone: runs repeat bit by bit.

    Args:
        profile, implementation, dt_us, pulses: see `Emulator`.
        faults: what goes wrong with the board, for tests.
        options: those of `SamnaBoard`.
    """
    from bcall_hw.backend.samna_board.virtual.board import VirtualBoard
    from bcall_hw.backend.samna_board.virtual.build import stand_in_library
    from bcall_hw.backend.samna_board.virtual.server import VirtualBoardServer, environment

    model = load_chip(chip) if isinstance(chip, str) else chip
    library = stand_in_library()
    board = VirtualBoard(model, profile, implementation, dt_us, pulses)
    server = VirtualBoardServer(board, "sleep", serial, faults)
    try:
        return SamnaBoard(serial, model, environment=environment(library, server.path), virtual=server, **options)
    except BaseException:
        server.close()
        raise
