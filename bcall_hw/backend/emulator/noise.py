"""White noise into the membranes: drawn from counter-based streams, so it does not depend on how time is cut into runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcall_hw import random_bits
from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import words
from bcall_hw.errors import EmulatorOverflow


@dataclass(frozen=True, eq=False)
class Drawn:
    """The noise of some steps as it was drawn: the compiled step makes currents of it on its way, and saves the arrays.

    Attributes:
        pieces: uint16, shape (cores, steps, neurons or a few more); of no length where there is no noise.
        amplitude: what the pieces are multiplied by.
        neurons: of a core.
    """

    pieces: npt.NDArray[np.uint16]
    amplitude: int
    neurons: int

    def currents(self) -> Int32Array:
        """The noise words (fA), shape (steps, cores, neurons)."""
        centred = 2 * self.pieces[:, :, : self.neurons].transpose(1, 0, 2).astype(np.int64) - 65535
        return np.asarray((centred * self.amplitude + (1 << (words.NOISE_BITS - 1))) >> words.NOISE_BITS, dtype=np.int32)


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

    def draw(self, cores: list[tuple[int, int]], neurons: int, clock: int, n_steps: int) -> Drawn:
        """The noise of `n_steps` steps from `clock` on; cores as (chip, core)."""
        a_step = -(-neurons // 4)
        raw = np.empty((len(cores), 0 if self.is_off else n_steps, a_step), dtype="<u8")
        if not self.is_off:
            for mine, (chip, core) in zip(raw, cores, strict=True):
                stream = random_bits.generator(self._seed, f"noise/{chip}/{core}", clock * a_step)
                mine[...] = stream.random_raw(n_steps * a_step).reshape(n_steps, a_step)
        return Drawn(raw.view("<u2").astype(np.uint16, copy=False), self._amplitude, neurons)
