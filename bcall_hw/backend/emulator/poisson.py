"""The FPGA's Poisson sources, drawn per step from each source's own counter-based stream."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bcall_hw import portable_math, random_bits
from bcall_hw.arrays import IntArray
from bcall_hw.backend.emulator.routing import InputEvents
from bcall_hw.errors import BackendProblem, InvalidValue, StimulusProblem
from bcall_hw.stimulus import Stimulus

_MOST_PER_STEP = 15


class PoissonSources:
    """Independent Poisson sources whose trains do not depend on how time is cut into runs.

    The number of spikes of a source in a step is Poisson with mean rate * dt, by comparing 32 random bits with the
    cumulative distribution.
    """

    def __init__(self, seed: int, dt_us: int) -> None:
        self._seed, self._dt_s = seed, dt_us * 1e-6
        self._generators: dict[int, np.random.Philox] = {}
        self._drawn: dict[int, int] = {}

    def events(self, stimulus: Stimulus, chips: tuple[int, ...], n_steps: int) -> InputEvents | None:
        """The events of the next `n_steps`, or None where no source is on.

        Raises:
            BackendProblem: a rate whose spikes in one step could exceed the table.
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
            counts = self._counts(tag, table, n_steps)
            steps.append(np.repeat(np.arange(n_steps), counts))
            tags.append(np.full(int(counts.sum()), tag))
        step, tag_of = np.concatenate(steps), np.concatenate(tags)
        order = np.argsort(step, kind="stable")
        cores = stimulus.chip.geometry.cores
        targets = [c for c in range(cores) if stimulus.poisson_core_mask >> c & 1]
        first = chips.index(stimulus.poisson_chip) * cores
        core = np.tile(np.asarray(targets, dtype=np.int32) + first, order.size)
        return InputEvents(
            np.repeat(step[order], len(targets)).astype(np.int32), core, np.repeat(tag_of[order], len(targets)).astype(np.int32)
        )

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

    def _counts(self, tag: int, cumulative: npt.NDArray[np.uint64], n_steps: int) -> IntArray:
        if tag not in self._generators:
            self._generators[tag] = random_bits.generator(self._seed, f"poisson/{tag}")
        self._drawn[tag] = self._drawn.get(tag, 0) + n_steps
        bits = self._generators[tag].random_raw(n_steps) >> np.uint64(32)
        return np.searchsorted(cumulative, bits, side="right").astype(np.int64)

    def drawn(self) -> IntArray:
        """How many words of each used source's stream are spent: int (sources, 2), tag and words."""
        return np.array(sorted(self._drawn.items()), dtype=np.int64).reshape(-1, 2)

    def restore(self, drawn: IntArray) -> None:
        """Go back to what `drawn` told.

        Raises:
            InvalidValue: it is no such table; nothing changes then.
        """
        if drawn.ndim != 2 or drawn.shape[1] != 2 or (drawn.size and (drawn.dtype.kind not in "iu" or drawn.min() < 0)):
            raise InvalidValue("state of the Poisson sources is damaged", where="emulator", used=drawn.shape)
        self._generators.clear()
        self._drawn = {int(tag): int(count) for tag, count in drawn}
        for tag, count in self._drawn.items():
            self._generators[tag] = random_bits.generator(self._seed, f"poisson/{tag}")
            self._generators[tag].random_raw(count, output=False)
