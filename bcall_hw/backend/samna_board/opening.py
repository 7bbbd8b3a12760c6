"""What is checked before a board is opened or run: samna, the choice of a board, options."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from bcall_hw.backend.samna_board.client import Client
from bcall_hw.errors import BackendUnavailable, BoardBusy, InvalidValue, NoSuchBoard

#: Time limits of asking something and of starting samna (s).
ASK_S, START_S = 20.0, 60.0


def start_samna(client: Client, ports: tuple[int, int] | None = None) -> dict[str, Any]:
    """Make sure that the worker has the real samna, and start it.

    Raises:
        BackendUnavailable: no samna, or only the loader.
    """
    found, _ = client.request("find", "looking for samna", ASK_S)
    if found["kind"] != "binary":
        what = "samna is not installed" if found["kind"] == "absent" else "the samna that is installed is only the loader"
        used = f"{client.python} (Python {found['python']})"
        raise BackendUnavailable(what, where="samna", used=used, fix=found["advice"])
    started, _ = client.request("start", "starting samna", START_S, ports=list(ports) if ports else None)
    return started


def chosen_board(boards: list[dict[str, Any]], serial: str | None, opens_any: bool) -> str:
    """The serial number of the board to open.

    Args:
        opens_any: this samna opens the first board that it can, whichever is asked for.

    Raises:
        NoSuchBoard: none, not this one, or no telling which.
        BoardBusy: it is listed but may not be opened.
    """
    serials = [str(board["serial_number"]) for board in boards]
    there = f"there: {', '.join(serials) or 'none'}"
    if serial is not None and serial not in serials:
        fix = 'Plug it in, or see `bcall-hw boards`; a virtual one is "samna:virtual".'
        raise NoSuchBoard("no board with this serial number", where="samna", used=serial[:40], limit=there, fix=fix)
    if not serials:
        fix = 'Plug it in and see `bcall-hw boards`; without one, "samna:virtual" and "emulator" work.'
        raise NoSuchBoard("no board is plugged in", where="samna", fix=fix)
    if serial is None and len(serials) > 1:
        raise NoSuchBoard(
            "several boards are plugged in", where="samna", used=", ".join(serials), fix="Say which: samna:<serial>."
        )
    if len(serials) > 1 and opens_any:
        what, fix = "this samna opens the first board that it finds, whichever is asked for", "Unplug the others."
        raise NoSuchBoard(what, where="samna", used=f"plugged in: {', '.join(serials)}", fix=fix)
    if not serials[0]:
        fix = "Give your user the right to open its USB device (a udev rule), or close the program that holds it."
        raise BoardBusy("a board is plugged in, but cannot be opened", where="samna", used="no serial number", fix=fix)
    return serial or serials[0]


def check_options(ports: tuple[int, int] | None, debounce_us: int, quiet_s: float, max_spikes: int, on_loss: str) -> None:
    """Refuse options of a board that make no sense.

    Raises:
        InvalidValue: with the option.
    """
    if ports is not None and not isinstance(ports, tuple | list):
        raise InvalidValue("two ports are needed", where="samna ports", used=ports, limit="a pair")
    if ports is not None and not (
        len(ports) == 2 and all(type(p) is int and 0 < p < 65536 for p in ports) and ports[0] != ports[1]
    ):
        raise InvalidValue("two different ports are needed", where="samna ports", used=ports, limit="1 to 65535")
    if type(debounce_us) is not int or debounce_us < 0:
        raise InvalidValue("impossible time", where="samna debounce_us", used=debounce_us, limit="0 or more, whole")
    if isinstance(quiet_s, bool) or not isinstance(quiet_s, Real) or not 0 < quiet_s <= 60:
        raise InvalidValue("impossible time", where="samna quiet_s", used=quiet_s, limit="above 0, up to 60")
    if type(max_spikes) is not int or max_spikes < 1:
        raise InvalidValue("impossible number", where="samna max_spikes", used=max_spikes, limit="1 or more")
    if on_loss not in ("refuse", "warn"):
        raise InvalidValue("no such choice", where="samna on_loss", used=on_loss, limit="refuse or warn")


def microseconds(duration_s: float, step_us: int = 1) -> int:
    """The length of a run in whole microseconds.

    Args:
        step_us: the time step of a virtual board: what is left over of one would pass with the next run.

    Raises:
        InvalidValue: it has none.
    """
    fine = not isinstance(duration_s, bool) and isinstance(duration_s, Real) and np.isfinite(duration_s) and duration_s < 1e6
    us = round(duration_s * 1e6) if fine else 0
    if us < 1 or us % step_us or abs(duration_s * 1e6 - us) > 1e-3:
        limit = f"a multiple of {step_us} us, below 1e6 s"
        raise InvalidValue("impossible duration (s)", where="samna run", used=str(duration_s)[:40], limit=limit)
    return us
