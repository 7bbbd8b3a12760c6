"""A board gets its registers back, however a measurement ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from bcall_hw.calibrate.rig import Rig
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import BcallError

#: What was left in the board: what was there before, or cores that rest.
Left = Literal["as before", "quiet"]


@dataclass
class Restored:
    """What was left in the board, known when the block has ended."""

    registers: Left = "as before"


@contextmanager
def restoring(rig: Rig, before: Callable[[], ChipConfig]) -> Iterator[Restored]:
    """Write registers back at the end of a block, or let all cores rest where the board was only opened before.

    Args:
        rig: through which the block wrote.
        before: the registers; asked for at the end.

    Raises:
        BcallError: they could not be written back; where the block ended with an error, that one, which tells both.
    """
    found = Restored()
    try:
        yield found
    except BcallError as problem:
        try:
            found.registers = _restore(rig, before())
        except BcallError as another:
            told = f"The registers could not be written back either: {another}"
            text = str(problem).rstrip(".")
            problem.fix, problem.args = f"{problem.fix} {told}".strip(), (f"{text}. {told}",)
            raise problem from another
        raise
    except BaseException:
        found.registers = _restore(rig, before())
        raise
    found.registers = _restore(rig, before())


def _restore(rig: Rig, before: ChipConfig) -> Left:
    try:
        rig.backend.apply(before)
    except BcallError:
        # What a board was only opened with need not be biases that it accepts.
        if before != ChipConfig.after_opening(rig.chip, before.chips):
            raise
    else:
        return "as before"
    rig.set_quiet()
    rig.backend.apply(rig.config)
    return "quiet"
