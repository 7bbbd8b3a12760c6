"""How boards, and runs on a virtual one, are shown on a terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def found(result: Mapping[str, Any]) -> None:
    """Boards, one a row, and what drives them."""
    console, samna = Console(), result["samna"]
    title = f"boards that samna {samna['version']} sees ({samna['adapter']}, {samna['evidence']})"
    if not result["boards"]:
        console.print(f"samna {samna['version']} ({samna['evidence']}) sees no board", highlight=False)
    table = Table("serial", "type", "logic version", "USB bus:address", "", title=title)
    for board in result["boards"]:
        place = f"{board['usb_bus_number']}:{board['usb_device_address']}"
        virtual = "virtual" if board["virtual"] else ""
        table.add_row(str(board["serial_number"]), board["device_type_name"], str(board["logic_version"]), place, virtual)
    if result["boards"]:
        console.print(table)
    else:
        console.print('without one, the backends "samna:virtual" and "emulator" work', highlight=False)
    missing = result["virtual_board"]["missing"]
    if missing:
        console.print(f"for a virtual board there lacks: {', '.join(missing)}", highlight=False)


def run(result: Mapping[str, Any]) -> None:
    """What a script did to the virtual board; on standard error, the script's own output stays as it is."""
    console = Console(file=sys.stderr)
    if result["exit_code"] < 0:
        number = -result["exit_code"]
        console.print(f"The command was ended by signal {number} ({signal.Signals(number).name}).", highlight=False)
        if number == signal.SIGSEGV and result["opened"]:
            crash = "samna crashes when a script ends with the device open: call close_device, also after an error (finally)."
            console.print(crash, highlight=False)
    if result["log_problem"]:
        console.print(result["log_problem"], highlight=False, markup=False, soft_wrap=True)
    if not result["opened"]:
        if not result["exit_code"]:
            python = os.environ.get("BCALL_SAMNA_PYTHON")
            hint = f" BCALL_SAMNA_PYTHON names an interpreter that has it: {python}." if python else ""
            console.print(
                f"The command opened no board. Did it run the real samna (0.7.1.0, CPython 3.10)?{hint}", highlight=False
            )
        return
    table = Table("virtual board", "", title="")
    words = ", ".join(f"{count:,} {kind}" for kind, count in result["words"].items())
    chips = ", ".join(str(chip) for chip in result["emulated_chips"]) or "none"
    rows = {
        "board time": f"{result['board_s']:.3f} s in {result['wall_s']:.1f} s (clock: {result['clock']})",
        "words": words, "spikes sent": f"{result['spikes']:,}", "chips with active cores": chips,
    }  # fmt: skip
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    reasons: dict[str, list[str]] = {}
    for core, why in result["resting"].items():
        reasons.setdefault(why, []).append(core)
    for why, cores in reasons.items():
        rest = "rests" if len(cores) == 1 else "rest"
        console.print(f"{', '.join(cores)} {rest}: {why}", highlight=False, markup=False)
    if result["clock"] == "sleep" and not result["board_s"]:
        never = "No board time passed: the command never slept in its main thread (time.sleep). Try --clock wall."
        console.print(never, highlight=False)
    if result["unknown_words"]:
        console.print(f"{result['unknown_words']} words were none of the chip's", highlight=False)
    if result["behind_s"] >= 0.05 or result["longest_lag_s"] >= 0.15:
        lag = f"The emulator was up to {result['longest_lag_s']:.2f} s behind the clock on the wall"
        missing = f", and {result['behind_s']:.1f} s of board time are missing" if result["behind_s"] >= 0.05 else ""
        console.print(f"{lag}{missing}. With --clock sleep nothing is missed.", highlight=False)
    if result["problem"]:
        console.print(f"the virtual board stopped: {result['problem']}", highlight=False, markup=False)
