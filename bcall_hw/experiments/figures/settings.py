"""What the numbers of the figures depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from bcall_hw import random_bits
from bcall_hw.backend.emulator.emulator import check_step_us
from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.chip_model import DEFAULT_CHIP, load_chip
from bcall_hw.experiments.figures.emulated import Board, most_pairs, why_not_held
from bcall_hw.experiments.figures.forms import EMULATED, FINITE, MISMATCHED, plain
from bcall_hw.records import Record
from bcall_hw.rule.parameters import RuleParameters, preset
from bcall_hw.trace_circuit import TraceTarget


class FigureSettings(Record):
    """Settings of all figures but 5.

    Attributes:
        preset: of the rule.
        seed: of the trains and of the boards.
        chip: chip model of the emulated boards.
        mismatch_cv: of the boards with mismatch.
        dt_us: time step of emulator and fixed point (us); divides 1 ms.

    Raises:
        InvalidValue, UnknownName, UnknownChip: values, presets or chips that there are not.
    """

    preset: str = "D"
    seed: Annotated[int, Field(ge=0, le=random_bits.MAX_SEED - 1000)] = 0
    chip: str = DEFAULT_CHIP
    mismatch_cv: Annotated[float, Field(gt=0, le=1)] = 0.2
    dt_us: int = DEFAULT_STEP_US

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        preset(self.preset)
        load_chip(self.chip)
        check_step_us(self.dt_us, "figures, dt_us")

    @property
    def rule(self) -> RuleParameters:
        """The preset."""
        return preset(self.preset)

    @property
    def plain_rule(self) -> RuleParameters:
        """The preset without stop-learning and bistability."""
        return plain(self.rule)

    @property
    def pairs_of_a_board(self) -> int:
        """How many pairs of neurons one board takes."""
        return most_pairs(load_chip(self.chip))

    def boards(self, traces: Mapping[str, TraceTarget], *forms: str) -> tuple[dict[str, Board], str]:
        """The emulated boards by form, all three if none is named; none at all, and why, if the chip cannot hold the traces."""
        reason = why_not_held(traces, self.chip)
        nominal = Board(chip=self.chip, seed=self.seed, dt_us=self.dt_us)
        every = {
            EMULATED: nominal,
            MISMATCHED: replace(nominal, mismatch_cv=self.mismatch_cv),
            FINITE: replace(nominal, pulses="finite"),
        }
        return ({} if reason else {form: every[form] for form in forms or every}), reason

    @property
    def emulated_limit(self) -> float:
        """How far emulated curves may be from ideal ones: 3 % at 100 us; a trace is read up to one step late."""
        return 0.03 * max(1.0, self.dt_us / 100)

    def as_dict(self, **more: Any) -> dict[str, Any]:
        """Plain values, with what is particular to a figure."""
        return self.model_dump() | more
