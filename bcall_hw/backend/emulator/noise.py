"""White noise into the membranes: drawn from counter-based streams, so it does not depend on how time is cut into runs."""

from __future__ import annotations

import math

import numpy as np

from bcall_hw import random_bits
from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import words
from bcall_hw.errors import EmulatorOverflow


class Noise:
    """The noise words of a board.

    Args:
        seed: the board's seed.
        noise_a: standard deviation (A) of the mean over 1 ms.
        dt_us: time step (us).

    Raises:
        EmulatorOverflow: more noise than the words hold.
    """

    def __init__(self, seed: int, noise_a: float, dt_us: int) -> None:
        per_step = math.sqrt(1000.0 / dt_us)
        amplitude = noise_a * per_step / words.FEMTOAMPERE * float(1 << words.NOISE_BITS) / words.NOISE_STD
        if amplitude > words.FEEDBACK_MAX:
            limit = float(f"{words.FEEDBACK_MAX * words.NOISE_STD / 2**words.NOISE_BITS * words.FEMTOAMPERE / per_step:.3g}")
            where, fix = "board profile noise_a", "Lower the noise, or take a longer time step."
            raise EmulatorOverflow("noise does not fit its word (A)", where=where, used=noise_a, limit=limit, fix=fix)
        self._seed, self._amplitude = seed, round(amplitude)

    @property
    def is_off(self) -> bool:
        """Whether every noise word is zero."""
        return self._amplitude == 0

    def draw(self, cores: list[tuple[int, int]], neurons: int, clock: int, n_steps: int) -> Int32Array:
        """Noise currents (fA) of `n_steps` steps from `clock` on, shape (steps, cores, neurons); cores as (chip, core).

        Without noise an array of no length.
        """
        if self.is_off:
            return np.zeros((0, len(cores), neurons), dtype=np.int32)
        a_step = -(-neurons // 4)
        found = np.empty((n_steps, len(cores), neurons), dtype=np.int32)
        for index, (chip, core) in enumerate(cores):
            stream = random_bits.generator(self._seed, f"noise/{chip}/{core}", clock * a_step)
            bits = stream.random_raw(n_steps * a_step).astype("<u8").view("<u2").reshape(n_steps, -1)[:, :neurons]
            centred = 2 * bits.astype(np.int64) - 65535
            found[:, index] = (centred * self._amplitude + (1 << (words.NOISE_BITS - 1))) >> words.NOISE_BITS
        return found
