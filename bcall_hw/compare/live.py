"""Live sides of a comparison: an address becomes a session by playing what the other side played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcall_hw import files
from bcall_hw.arrays import IntArray
from bcall_hw.backend import Backend, open_backend
from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, InvalidValue
from bcall_hw.record import Report, Step, first_config, made_by, record
from bcall_hw.recording.session import Session

_FIX = "Give a profile's file, or seed=N, mismatch_cv=X, board_seed=N with commas between, after emulator:"
#: Time step of an emulated board whose parameters are measured (us), as in a calibration.
_FINE_STEP_US = 50
_KEYS = {"seed": int, "mismatch_cv": float, "board_seed": int}


@dataclass(frozen=True, eq=False)
class Protocol:
    """What live sides play.

    Attributes:
        steps: registers and stimuli, in order.
        populations: see `Session`.
        source: where the registers came from; `calibration_sha256`: of the record that they were mapped with.
        emulator: options of the emulator that made the other side; `profile`: its board, where it was an emulated one.
    """

    steps: Sequence[Step]
    populations: Mapping[str, IntArray]
    source: str = ""
    calibration_sha256: str = ""
    emulator: Mapping[str, Any] | None = None
    profile: Mapping[str, Any] | None = None


def is_live(text: str) -> bool:
    """Whether this names a backend, not a file."""
    return not Path(text).exists() and (text == "emulator" or text.partition(":")[0] in ("emulator", "samna", "replay"))


def record_live(address: str, path: Path, protocol: Protocol, report: Report | None = None) -> Session:
    """Play the protocol on a backend, and leave a session's file; an earlier one of a board is kept under another name.

    Args:
        address: as for `open_backend`; after "emulator:" a board may be told, e.g. "emulator:seed=3,mismatch_cv=0.05",
            "emulator:board_seed=7" or "emulator:profile.toml".

    Raises:
        InvalidValue: no such board.
        FileProblem: the file cannot be written.
        As the backend.
    """
    first = first_config(protocol.steps)
    backend = _opened(address, first.chip, first.chips, protocol)
    try:
        _make_room(path)
        made = made_by(backend, protocol.source)
        made = made.model_copy(update={"calibration_sha256": protocol.calibration_sha256})
        record(path, backend, protocol.steps, made, protocol.populations, report)
    finally:
        backend.close()
    return Session.load(path)


def _make_room(path: Path) -> None:
    """What an emulator left of an earlier comparison goes; anything else gets another name."""
    if not path.exists():
        return
    files.check_not_held(path)
    try:
        again = Session.load(path).made.backend.startswith(("emulator", "replay/"))
    except BcallError:
        again = False
    if again:
        files.remove_old(path)
    else:
        files.set_aside(path)


def _opened(address: str, chip: ChipModel, chips: tuple[int, ...], protocol: Protocol) -> Backend:
    kind, _, told = address.partition(":")
    if kind == "emulator":
        profile = told_profile(told, chip) if told else BoardProfile(**(protocol.profile or {}))
        return open_backend("emulator", chip=chip, chips=chips, profile=profile, **(protocol.emulator or {}))
    if address == "samna:virtual":
        profile = BoardProfile(**(protocol.profile or {}))
        return open_backend(address, chip=chip, profile=profile, **(protocol.emulator or {}))
    return open_backend(address, chip=chip)


def open_to_measure(source: str, session: Session, chips: tuple[int, ...]) -> Backend:
    """The board of a side, to measure its parameters: the live one again, or the emulated one that made a file.

    Raises:
        InvalidValue: the file is of a board that is not emulated, or holds no registers.
    """
    chip, made, live = check_measurable(source, session), session.made, _is_board(source)
    if live and not source.startswith("emulator"):
        return _opened(source, chip, chips, Protocol((), {}, profile=made.profile))
    return open_backend("emulator", chip=chip, chips=chips, profile=BoardProfile(**(made.profile or {})), dt_us=_FINE_STEP_US)


def check_measurable(source: str, session: Session) -> ChipModel:
    """The chip of a side whose board `open_to_measure` can open.

    Raises:
        InvalidValue: it cannot.
    """
    if session.chip is None or (not _is_board(source) and session.made.profile is None):
        fix = "Give the board itself as a side, or leave --recover out."
        raise InvalidValue("its board cannot be measured again", where="--recover", used=source[:80], fix=fix)
    return session.chip


def _is_board(source: str) -> bool:
    return is_live(source) and not source.startswith("replay:")


def told_profile(told: str, chip: ChipModel) -> BoardProfile:
    """The emulated board of an address, from what stands after "emulator:".

    Raises:
        InvalidValue, FileProblem: no such board.
    """
    if Path(told).suffix in (".json", ".toml"):
        return BoardProfile.load(Path(told))
    given: dict[str, Any] = {}
    for part in told.split(","):
        key, _, value = part.partition("=")
        try:
            given[key] = _KEYS[key](value)
        except (KeyError, ValueError):
            raise InvalidValue("tells no emulated board", where=f"emulator:{told[:80]}", used=part[:80], fix=_FIX) from None
    if "board_seed" in given:
        if len(given) > 1:
            raise InvalidValue("tells the board in two ways", where=f"emulator:{told[:80]}", fix="Give board_seed alone.")
        return hidden_board(chip, given["board_seed"])
    return BoardProfile(**given)
