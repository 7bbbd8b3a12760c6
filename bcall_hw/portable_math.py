"""Functions that give the same bits on every machine: built from IEEE additions and multiplications alone.

`numpy.exp` and the C library's `exp` may differ in the last bit from one processor or version to the next; a coefficient
that is rounded to an integer could then differ, and with it every spike.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import FloatArray

_SQUARINGS = 10
_TERMS = 16
_LARGEST = 700.0


def exp(x: npt.ArrayLike) -> FloatArray:
    """e^x to about 1e-12 relative, for |x| <= 700; beyond that the value at the edge."""
    reduced = np.clip(np.asarray(x, dtype=np.float64), -_LARGEST, _LARGEST) * 2.0**-_SQUARINGS
    value = np.ones_like(reduced)
    for term in range(_TERMS, 0, -1):
        value = 1.0 + value * (reduced / term)
    for _ in range(_SQUARINGS):
        value = value * value
    return value


def log(x: float) -> float:
    """Natural logarithm, correctly rounded decimal arithmetic."""
    with localcontext() as context:
        context.prec = 40
        return float(Decimal(x).ln())
