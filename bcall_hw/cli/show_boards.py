"""How boards, and runs on a virtual one, are shown on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def found(result: Mapping[str, Any]) -> None:
    """Boards, one a row, and what drives them."""
    console, samna = Console(), result["samna"]
    title = f"boards that samna {samna['version']} sees ({samna['adapter']}, {samna['evidence']})"
    table = Table("serial", "type", "logic version", "USB bus:address", "", title=title)
    for board in result["boards"]:
        place = f"{board['usb_bus_number']}:{board['usb_device_address']}"
        virtual = "virtual" if board["virtual"] else ""
        table.add_row(str(board["serial_number"]), board["device_type_name"], str(board["logic_version"]), place, virtual)
    console.print(table)
    if not result["boards"]:
        console.print('none is plugged in; without one, the backends "samna:virtual" and "emulator" work', highlight=False)
    missing = result["virtual_board"]["missing"]
    if missing:
        console.print(f"for a virtual board there lacks: {', '.join(missing)}", highlight=False)


def run(result: Mapping[str, Any]) -> None:
    """What a script did to the virtual board; on standard error, the script's own output stays as it is."""
    console = Console(file=sys.stderr)
    if not result["opened"]:
        console.print("The command opened no board. Did it run the real samna (0.7.1.0, CPython 3.10)?", highlight=False)
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
    for core, why in result["resting"].items():
        console.print(f"{core} rests: {why}", highlight=False, markup=False)
    if result["unknown_words"]:
        console.print(f"{result['unknown_words']} words were none of the chip's", highlight=False)
    if result["behind_s"] > 0:
        slower = f"The emulator was slower than the clock on the wall: {result['behind_s']:.1f} s of board time are missing. "
        console.print(slower + "With --clock sleep nothing is missed.", highlight=False)
    if result["problem"]:
        console.print(f"the virtual board stopped: {result['problem']}", highlight=False, markup=False)
