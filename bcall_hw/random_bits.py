"""Random numbers that a seed reproduces on any machine and any numpy version.

Only the raw 64-bit output of numpy's counter-based Philox generator is used: its stream is fixed, while numpy's
distributions may change between versions. Everything derived from it is integer work, or exact in float64.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import FloatArray, IntArray

MAX_SEED = 2**63 - 1


def raw_bits(seed: int, stream: str, count: int) -> npt.NDArray[np.uint64]:
    """`count` 64-bit words of the stream called `stream` of `seed`."""
    return generator(seed, stream).random_raw(count)


def generator(seed: int, stream: str, first: int = 0) -> np.random.Philox:
    """A Philox generator of its own for each (seed, stream name), at word number `first`; use only its `random_raw`."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    made = np.random.Philox(key=int.from_bytes(digest[:16], "little"), counter=first // 4)  # four words a count
    made.random_raw(first % 4, output=False)
    return made


def uniform(seed: int, stream: str, count: int) -> FloatArray:
    """Numbers uniform in [0, 1), multiples of 2^-53."""
    return (raw_bits(seed, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, stream: str, count: int) -> IntArray:
    """The numbers 0 .. count - 1 in random order."""
    return np.argsort(raw_bits(seed, stream, count), kind="stable").astype(np.int64)


def standard_normal_256(seed: int, stream: str, count: int) -> IntArray:
    """Near-normal integers with standard deviation 256: sums of twelve 16-bit uniforms, so never beyond +-6 sigma."""
    words = raw_bits(seed, stream, 3 * count).reshape(count, 3)
    parts = [((words >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64).sum(axis=1) for shift in (0, 16, 32, 48)]
    centred = parts[0] + parts[1] + parts[2] + parts[3] - 12 * 32768 + 6
    return np.asarray((centred + 128) >> 8, dtype=np.int64)
