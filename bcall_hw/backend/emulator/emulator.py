"""The emulator as a backend: checks at the door, one engine behind it."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from threading import Lock
from typing import Any, Literal

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend import Sink
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.engine import Engine, StateLimits, StepReport, checked_state
from bcall_hw.backend.emulator.machine import Probe
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig, Words
from bcall_hw.chip_model import DEFAULT_CHIP, ChipModel, load_chip
from bcall_hw.errors import BackendProblem, InvalidValue
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.recording.spikes import Spikes
from bcall_hw.stimulus import Stimulus

#: Ways to run the emulator, all with the same bits: compiled, vectorised, and scalar from the specification alone.
IMPLEMENTATIONS = ("numba", "numpy", "reference")


class Emulator:
    """A board in software: bit-reproducible integers, driven by registers alone (`docs/emulator_specification.md`).

    Args:
        chip: the chip model, or its name.
        chips: ids of the chips to emulate.
        profile: the virtual board (mismatch, noise, defects).
        implementation: "numba" (fast), "numpy" (vectorised) or "reference" (scalar Python, very slow): the same bits.
        dt_us: time step (us); must divide 1 ms.
        pulses: "ideal": an event moves its synapse at once, by the fraction that the pulse would; "finite": the synapse
            goes towards full scale while the pulse lasts, and an event within a pulse restarts it (one pulse for each
            neuron and synapse type).

    Raises:
        InvalidValue: an impossible time step, implementation, pulse model, set of chips or profile.
        EmulatorOverflow: more noise than the words hold.
    """

    def __init__(
        self,
        chip: str | ChipModel = DEFAULT_CHIP,
        chips: tuple[int, ...] = (0,),
        profile: BoardProfile | None = None,
        implementation: Literal["numba", "numpy", "reference"] = "numba",
        dt_us: int = words.DEFAULT_STEP_US,
        pulses: Literal["ideal", "finite"] = "ideal",
    ) -> None:
        self._chip = load_chip(chip) if isinstance(chip, str) else chip
        self._profile = profile or BoardProfile()
        self._profile.check(self._chip)
        check_step_us(dt_us, "emulator dt_us")
        if implementation not in IMPLEMENTATIONS:
            limit = ", ".join(IMPLEMENTATIONS)
            raise InvalidValue("no such implementation", where="emulator", used=implementation, limit=limit)
        if pulses not in ("ideal", "finite"):
            raise InvalidValue("no such pulse model", where="emulator", used=pulses, limit="ideal or finite")
        if not isinstance(chips, tuple | list):
            raise InvalidValue("chips are given as ids, e.g. (0, 1)", where="emulator", used=chips)
        self._config = ChipConfig.after_opening(self._chip, chips)
        self._pulses = pulses
        self.dt_us, self._implementation = dt_us, implementation
        self._engine = _engine(implementation, self._chip, self._config.chips, self._profile, dt_us, pulses == "finite")
        self._applied, self._busy = False, Lock()

    @property
    def name(self) -> str:
        """Backend and implementation."""
        return f"emulator/{self._implementation}"

    @property
    def board(self) -> str:
        """The name of the board profile."""
        return self._profile.board

    def describe(self) -> dict[str, Any]:
        """Implementation, time step, chip model and board profile."""
        return {
            "backend": self.name, "specification": words.SPECIFICATION_VERSION, "dt_us": self.dt_us, "pulses": self._pulses,
            "chip_fingerprint": self._chip.fingerprint, "profile": self._profile.model_dump(mode="json"),
        }  # fmt: skip

    @property
    def warnings(self) -> list[str]:
        """Destinations whose spikes are lost, and neurons whose leak is held at the largest current."""
        return self._engine.warnings if self._applied else []

    def preview(self, config: ChipConfig) -> Words:
        """The words that differ from the registers.

        Raises:
            InvalidValue: the configuration is for other chips.
        """
        if not isinstance(config, ChipConfig):
            used, fix = type(config).__name__, "Of a mapped network it is `mapped.config`."
            raise InvalidValue("apply takes a ChipConfig", where="emulator", used=used, fix=fix)
        if config.chip != self._chip:
            used, limit, fix = config.chip.name, self._chip.name, "Open the emulator with the configuration's chip."
            raise InvalidValue("configuration is for another chip model", where="emulator", used=used, limit=limit, fix=fix)
        return self._config.diff(config)

    def apply(self, config: ChipConfig) -> int:
        """Bring the registers to `config`; state (membranes, currents) goes on. Returns the number of words written.

        Raises:
            InvalidValue: the configuration is for other chips.
            BackendProblem, EmulatorOverflow: a bias that cannot be emulated; nothing is changed then.
        """
        written = self.preview(config)
        self._engine.apply(config)
        self._config, self._applied = config, True
        return len(written)

    def run(
        self, stimulus: Stimulus, duration_s: float, report: StepReport | None = None, *, sink: Sink | None = None
    ) -> SpikeRecording:
        """Run for `duration_s`; a spike of step k carries the time (k + 1) dt.

        Args:
            stimulus: list and Poisson sources, times from the start of this run.
            duration_s: a multiple of the time step.
            report: called with (steps done, steps) from time to time.
            sink: see `Backend.run`.

        Raises:
            BackendProblem: nothing applied yet.
            StimulusProblem: events after the end of the run, for no core, or for a chip that is not emulated.
            InvalidValue: the duration is not a positive multiple of the time step.
        """
        return self._play(stimulus, self._steps(duration_s), None, report, sink)

    def run_probed(
        self, stimulus: Stimulus, duration_s: float, synapse: str, every_steps: int = 1
    ) -> tuple[SpikeRecording, Int32Array]:
        """As `run`, and look at the current of one synapse type of every neuron; no chip shows its currents so.

        Returns:
            The spikes, and the currents in femtoampere, int32, shape (looks, emulated cores, neurons), at the end of every
            `every_steps`-th step: after its events, its integration and its decay.

        Raises:
            As `run`; UnknownName: no such synapse type. InvalidValue: `every_steps` is no positive whole number.
        """
        effect = self._chip.synapse_type(synapse).effect
        n_steps = self._steps(duration_s)
        if type(every_steps) is not int or not 1 <= every_steps <= n_steps:
            raise InvalidValue("impossible probe", where="emulator every_steps", used=every_steps, limit=f"1 to {n_steps}")
        g = self._chip.geometry
        found = np.zeros((n_steps // every_steps, len(self._config.chips) * g.cores, g.neurons), dtype=np.int32)
        probe = Probe(words.I_SYN + words.EFFECTS.index(effect), every_steps, found)
        return self._play(stimulus, n_steps, probe), found

    def _play(
        self, stimulus: Stimulus, n_steps: int, probe: Probe | None, report: StepReport | None = None, sink: Sink | None = None
    ) -> SpikeRecording:
        engine = self._running()
        if not isinstance(stimulus, Stimulus):
            raise InvalidValue("run takes a Stimulus", where="emulator", used=type(stimulus).__name__)
        if stimulus.chip != self._chip:
            used, limit = stimulus.chip.name, self._chip.name
            raise InvalidValue("stimulus is for another chip", where="emulator", used=used, limit=limit)
        if not self._busy.acquire(blocking=False):
            raise BackendProblem("is running already", where="emulator", fix="Open one emulator for each thread.")
        part = None if sink is None else lambda rows, last: sink(self._spikes(rows), last * self.dt_us)
        try:
            found = engine.run(stimulus, n_steps, probe, report, part)
        finally:
            self._busy.release()
        return SpikeRecording(self._spikes(found), n_steps * self.dt_us, self.name, self._profile.seed, board=self.board)

    def _spikes(self, found: Int32Array) -> Spikes:
        """Spikes of rows (step, core index, neuron)."""
        cores = self._chip.geometry.cores
        spikes = np.zeros(len(found), dtype=SPIKE_DTYPE)
        spikes["time_us"] = (found[:, 0].astype(np.int64) + 1) * self.dt_us
        spikes["chip"] = np.asarray(self._config.chips)[found[:, 1] // cores]
        spikes["core"] = found[:, 1] % cores
        spikes["neuron"] = found[:, 2]
        return spikes

    def _steps(self, duration_s: float) -> int:
        if isinstance(duration_s, bool) or not isinstance(duration_s, Real) or not abs(duration_s) < 1e9:
            raise InvalidValue("impossible duration (s)", where="emulator run", used=str(duration_s)[:40])
        steps = duration_s * 1e6 / self.dt_us
        if not np.isfinite(steps) or round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
            used, limit = duration_s, f"a positive multiple of {self.dt_us} us"
            raise InvalidValue("impossible duration (s)", where="emulator run", used=used, limit=limit)
        limit_us = self._chip.timestamps.max_us
        if round(steps) * self.dt_us > limit_us:
            raise InvalidValue(
                "run longer than the time stamps reach", where="emulator run", used=duration_s, limit=limit_us * 1e-6
            )
        return round(steps)

    def save_state(self) -> dict[str, Any]:
        """Everything that `load_state` needs.

        Membranes, currents, refractory counters and pulses (`rows`), spikes on their way (`pending`), steps run (`clock`), and
        which chips and time step they belong to.
        """
        state = self._running().state()
        board = {"chips": list(self._config.chips), "dt_us": self.dt_us}
        return {"rows": state.rows, "pending": state.pending, "clock": state.clock} | board

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state.

        Raises:
            InvalidValue: saved from other chips, or damaged; nothing changes then.
        """
        engine = self._running()
        g = self._chip.geometry
        limits = StateLimits(
            self._config.chips, g.cores, g.neurons, self._chip.tags_per_core, self._pulses == "finite", self.dt_us
        )
        engine.restore(checked_state(state, limits))

    def state_sha256(self) -> str:
        """Hash of every state word, of the spikes on their way and of the clock (see the specification)."""
        return self._running().state().sha256

    def _running(self) -> Engine:
        if not self._applied:
            raise BackendProblem("no configuration applied yet", where="emulator", fix="Call apply(config) first.")
        return self._engine

    def read_back(self) -> ChipConfig:
        """The registers."""
        return self._config

    def close(self) -> None:
        """Nothing to let go of."""


def _engine(
    implementation: str, chip: ChipModel, chips: tuple[int, ...], profile: BoardProfile, dt_us: int, finite: bool
) -> Engine:
    """Each implementation is imported only where it is asked for: numba alone takes a third of a second."""
    if implementation == "reference":
        from bcall_hw.backend.emulator.reference_engine import ReferenceEngine

        return ReferenceEngine(chip, chips, profile, dt_us, finite)
    from bcall_hw.backend.emulator.array_engine import ArrayEngine

    if implementation == "numpy":
        from bcall_hw.backend.emulator import step_numpy

        return ArrayEngine(chip, chips, profile, dt_us, finite, step_numpy.advance)
    from bcall_hw.backend.emulator import step_numba

    return ArrayEngine(chip, chips, profile, dt_us, finite, step_numba.advance)


def check_step_us(dt_us: int, where: str) -> None:
    """Refuse a time step (us) that the emulator does not run at.

    Raises:
        InvalidValue: it does not divide 1 ms, or is below 10 us.
    """
    if type(dt_us) is not int or not 10 <= dt_us <= 1000 or 1000 % dt_us:
        raise InvalidValue("time step must divide 1 ms", where=where, used=dt_us, limit="10 to 1000 us")
