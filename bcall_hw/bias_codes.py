"""From amperes to (coarse, fine) codes and back."""

from __future__ import annotations

import numpy as np

from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.errors import CurrentOutOfRange


def current_range_a(chip: ChipModel) -> tuple[float, float]:
    """Smallest and largest current that a bias can be set to, above the dark current (A)."""
    current, _ = chip.sorted_codes
    return float(current[0]), float(current[-1])


def nearest_code(chip: ChipModel, current_a: float, where: str) -> tuple[BiasCode, float]:
    """The code whose current is nearest on a log scale, and that current (A).

    Args:
        where: the parameter, for the error.

    Raises:
        CurrentOutOfRange: beyond the table, or not above the dark current; names the range and the nearest value.
    """
    current, codes = chip.sorted_codes
    lowest, highest = float(current[0]), float(current[-1])
    if not lowest <= current_a <= highest:
        nearest = lowest if current_a < lowest else highest
        raise CurrentOutOfRange(
            "no bias code gives this current",
            where=where,
            used=f"{current_a:.4g} A",
            limit=f"{lowest:.4g} to {highest:.4g} A",
            fix=f"The nearest possible current is {nearest:.4g} A.",
        )
    above = int(np.searchsorted(current, current_a))
    below = max(above - 1, 0)
    index = above if current[above] / current_a <= current_a / current[below] else below
    coarse, fine = (int(c) for c in codes[index])
    return BiasCode(coarse=coarse, fine=fine), float(current[index])


def code_current_a(chip: ChipModel, code: BiasCode) -> float:
    """The nominal current of a code (A)."""
    return float(chip.current_a[code.coarse, code.fine])
