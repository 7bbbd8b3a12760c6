"""The FPGA's Poisson sources, drawn per step from each source's own counter-based stream."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bcall_hw import portable_math, random_bits
from bcall_hw.arrays import IntArray
from bcall_hw.backend.emulator.routing import InputEvents
from bcall_hw.errors import BackendProblem, StimulusProblem
from bcall_hw.stimulus import Stimulus

_MOST_PER_STEP = 15


class PoissonSources:
    """Independent Poisson sources whose trains do not depend on how time is cut into runs.

    The number of spikes of a source in a step is Poisson with mean rate * dt, by comparing 32 random bits, word number
    `clock` of the source's stream, with the cumulative distribution.
    """

    def __init__(self, seed: int, dt_us: int) -> None:
        self._seed, self._dt_s = seed, dt_us * 1e-6
        self._generators: dict[int, tuple[int, np.random.Philox]] = {}  # by tag: which word comes next, and from where

    def events(self, stimulus: Stimulus, chips: tuple[int, ...], clock: int, n_steps: int) -> InputEvents | None:
        """The events of `n_steps` from `clock` on, or None where no source is on.

        Raises:
            BackendProblem: a rate whose spikes in one step could exceed the table.
            StimulusProblem: the sources' chip is not emulated.
        """
        rates = stimulus.poisson_played_hz
        active = np.flatnonzero(rates > 0)
        if not active.size:
            return None
        if stimulus.poisson_chip not in chips:
            used = f"chip {stimulus.poisson_chip}"
            raise StimulusProblem(
                "Poisson sources target a chip that is not emulated", where="stimulus", used=used, limit=chips
            )
        tables = {tag: self._cumulative(tag, float(rates[tag]) * self._dt_s) for tag in active.tolist()}
        steps, tags = [], []
        for tag, table in tables.items():
            counts = self._counts(tag, table, clock, n_steps)
            steps.append(np.repeat(np.arange(n_steps, dtype=np.int32), counts))
            tags.append(np.full(int(counts.sum()), tag, dtype=np.int32))
        step, tag_of = np.concatenate(steps), np.concatenate(tags)
        order = np.argsort(step, kind="stable")
        target = np.full(order.size, chips.index(stimulus.poisson_chip), dtype=np.int32)
        mask = np.full(order.size, stimulus.poisson_core_mask, dtype=np.int32)
        return InputEvents(step[order], target, mask, tag_of[order])

    @staticmethod
    def _cumulative(tag: int, mean: float) -> npt.NDArray[np.uint64]:
        """Cumulative Poisson distribution of the spikes in a step, in units of 2^-32."""
        terms = [1.0]
        for k in range(1, _MOST_PER_STEP + 1):
            terms.append(terms[-1] * mean / k)
        cumulative = np.cumsum(terms) * float(portable_math.exp(-mean))
        if 1.0 - cumulative[-1] > 2.0**-32:
            what, fix = "mean spikes of a Poisson source in one step are too many", "Use a shorter time step."
            raise BackendProblem(what, where=f"source {tag}", used=mean, fix=fix)
        return np.floor(cumulative * 2.0**32).astype(np.uint64)

    def _counts(self, tag: int, cumulative: npt.NDArray[np.uint64], clock: int, n_steps: int) -> IntArray:
        at, stream = self._generators.get(tag, (-1, None))
        if stream is None or at != clock:
            stream = random_bits.generator(self._seed, f"poisson/{tag}", clock)
        self._generators[tag] = (clock + n_steps, stream)
        bits = stream.random_raw(n_steps) >> np.uint64(32)
        return np.searchsorted(cumulative, bits, side="right").astype(np.int64)
