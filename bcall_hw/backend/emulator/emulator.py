"""The emulator as a backend."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Mapping
from numbers import Real
from typing import Any, Literal

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import routing, words
from bcall_hw.backend.emulator.decode import decode
from bcall_hw.backend.emulator.machine import Implementation, Machine, Probe
from bcall_hw.backend.emulator.poisson import PoissonSources
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import DEFAULT_CHIP, ChipModel, load_chip
from bcall_hw.errors import BackendProblem, InvalidValue
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.stimulus import Stimulus


class Emulator:
    """A board in software: bit-reproducible integers, driven by registers alone.

    Args:
        chip: the chip model, or its name.
        chips: ids of the chips to emulate.
        profile: the virtual board (mismatch).
        implementation: "numba" (fast) or "numpy" (the oracle); both give the same bits.
        dt_us: time step (us); must divide 1 ms.
        pulses: "ideal": an event moves its synapse at once, by the fraction that the pulse would; "finite": the synapse
            goes towards full scale while the pulse lasts, and an event within a pulse restarts it (one pulse for each
            neuron and synapse type).

    Raises:
        InvalidValue: an impossible time step, implementation or pulse model.
    """

    def __init__(
        self,
        chip: str | ChipModel = DEFAULT_CHIP,
        chips: tuple[int, ...] = (0,),
        profile: BoardProfile | None = None,
        implementation: Literal["numba", "numpy"] = "numba",
        dt_us: int = words.DEFAULT_STEP_US,
        pulses: Literal["ideal", "finite"] = "ideal",
    ) -> None:
        self._chip = load_chip(chip) if isinstance(chip, str) else chip
        self._profile = profile or BoardProfile()
        check_step_us(dt_us, "emulator dt_us")
        if implementation not in ("numba", "numpy"):
            raise InvalidValue("no such implementation", where="emulator", used=implementation, limit="numba or numpy")
        if pulses not in ("ideal", "finite"):
            raise InvalidValue("no such pulse model", where="emulator", used=pulses, limit="ideal or finite")
        self._pulses = pulses
        self.dt_us, self._implementation = dt_us, implementation
        self._factors = self._profile.factors(self._chip)
        self._config = ChipConfig.after_opening(self._chip, chips)
        self._poisson = PoissonSources(self._profile.seed, dt_us)
        self._machine: Machine | None = None

    @property
    def name(self) -> str:
        """Backend and implementation."""
        return f"emulator/{self._implementation}"

    def describe(self) -> dict[str, Any]:
        """Implementation, time step, chip model and board profile."""
        return {
            "backend": self.name, "dt_us": self.dt_us, "pulses": self._pulses, "chip_fingerprint": self._chip.fingerprint,
            "profile": self._profile.model_dump(),
        }  # fmt: skip

    @property
    def warnings(self) -> list[str]:
        """Destinations whose spikes are lost because their chip is not emulated."""
        lost = self._machine.destinations.lost if self._machine else 0
        return [f"{lost} SRAM entries lead to chips that are not emulated: their spikes are lost"] if lost else []

    def apply(self, config: ChipConfig) -> int:
        """Bring the registers to `config`; state (membranes, currents) goes on. Returns the number of words written.

        Raises:
            InvalidValue: the configuration is for other chips.
            BackendProblem, EmulatorOverflow: a bias that cannot be emulated; nothing is changed then.
        """
        if not isinstance(config, ChipConfig):
            used, fix = type(config).__name__, "Of a mapped network it is `mapped.config`."
            raise InvalidValue("apply takes a ChipConfig", where="emulator", used=used, fix=fix)
        if config.chip != self._chip:
            used, limit, fix = config.chip.name, self._chip.name, "Open the emulator with the configuration's chip."
            raise InvalidValue("configuration is for another chip model", where="emulator", used=used, limit=limit, fix=fix)
        written = self._config.diff(config)
        old, machine = self._config, self._machine
        finite = self._pulses == "finite"
        same_analog = machine is not None and config.biases is old.biases and config.tau2 is old.tau2
        parameters = machine.parameters if machine and same_analog else decode(config, self._factors, self.dt_us, finite)
        listeners = machine.listeners if machine and config.cam is old.cam else routing.listeners(config)
        routes = machine.destinations if machine and config.sram is old.sram else routing.destinations(config)
        if machine is None:
            self._machine = Machine(parameters.rows.copy(), parameters, listeners, routes, finite_pulses=finite)
        else:
            machine.rows[:, words.STATE_ROWS : words.SUM] = parameters.rows[:, words.STATE_ROWS : words.SUM]
            machine.parameters, machine.listeners, machine.destinations = parameters, listeners, routes
        self._config = config
        return len(written)

    def run(self, stimulus: Stimulus, duration_s: float) -> SpikeRecording:
        """Run for `duration_s`; a spike of step k carries the time (k + 1) dt.

        Raises:
            BackendProblem: nothing applied yet, or events after the end of the run.
            InvalidValue: the duration is not a positive multiple of the time step.
        """
        return self._play(stimulus, self._steps(duration_s), None)

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
        found = np.zeros((n_steps // every_steps, *self._running().rows.shape[::2]), dtype=np.int32)
        probe = Probe(words.I_SYN + words.EFFECTS.index(effect), every_steps, found)
        return self._play(stimulus, n_steps, probe), found

    def _play(self, stimulus: Stimulus, n_steps: int, probe: Probe | None) -> SpikeRecording:
        machine = self._running()
        if stimulus.chip != self._chip:
            used, limit = stimulus.chip.name, self._chip.name
            raise InvalidValue("stimulus is for another chip", where="emulator", used=used, limit=limit)
        events = routing.input_events(stimulus, self._config.chips, self.dt_us)
        last_us = float(stimulus.times_us[-1]) if len(stimulus.events) else -1.0
        if last_us >= n_steps * self.dt_us:
            end_us = n_steps * self.dt_us
            raise BackendProblem(
                "stimulus goes on after the run (us)", where="emulator", used=last_us, limit=end_us, fix="Run longer."
            )
        random_events = self._poisson.events(stimulus, self._config.chips, n_steps)
        if random_events is not None:
            events = _merged(events, random_events)
        found = self._run_function()(machine, events, n_steps, probe)
        cores = self._chip.geometry.cores
        spikes = np.zeros(len(found), dtype=SPIKE_DTYPE)
        spikes["time_us"] = (found[:, 0].astype(np.int64) + 1) * self.dt_us
        spikes["chip"] = np.asarray(self._config.chips)[found[:, 1] // cores]
        spikes["core"] = found[:, 1] % cores
        spikes["neuron"] = found[:, 2]
        return SpikeRecording(spikes, n_steps * self.dt_us, self.name, self._profile.seed)

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

    def _run_function(self) -> Implementation:
        if self._implementation == "numpy":
            from bcall_hw.backend.emulator.step_numpy import run

            return run
        from bcall_hw.backend.emulator import step_numba

        return step_numba.run

    def save_state(self) -> dict[str, Any]:
        """Membranes, currents, refractory counters, spikes on their way, and how far each Poisson source was drawn."""
        machine = self._running()
        rows = machine.rows[:, : words.STATE_ROWS].copy()
        return {"rows": rows, "pending": machine.pending.copy(), "dither": machine.dither, "poisson": self._poisson.drawn()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state.

        Raises:
            InvalidValue: saved from other chips.
        """
        machine = self._running()
        try:
            rows, pending = np.asarray(state["rows"]), np.asarray(state["pending"]).reshape(-1, 2)
            dither, drawn = operator.index(state["dither"]), np.asarray(state["poisson"])
        except (KeyError, TypeError, ValueError, OverflowError) as problem:
            raise InvalidValue("state is incomplete or damaged", where="emulator", used=str(problem)[:60]) from None
        if rows.shape != (machine.rows.shape[0], words.STATE_ROWS, machine.rows.shape[2]):
            raise InvalidValue("state of another board", where="emulator", used=rows.shape)
        top = (machine.rows.shape[0], self._chip.tags_per_core)
        whole = all(a.dtype.kind in "iu" for a in (rows, pending)) or (not pending.size and rows.dtype.kind in "iu")
        if not whole or rows.min() < 0 or rows.max() > words.INT32_MAX or np.any(pending < 0) or np.any(pending >= top):
            raise InvalidValue("state is damaged", where="emulator", fix="Start again without it.")
        if len(pending) > len(machine.destinations.core):
            raise InvalidValue("state is damaged", where="emulator", fix="Start again without it.")
        if not machine.finite_pulses and np.any(rows[:, words.PULSE : words.PULSE + 4]):
            fix = "Open the emulator with finite pulses."
            raise InvalidValue("state has pulses that this board cannot have", where="emulator", fix=fix)
        if np.any(rows[:, words.V] >= words.V_RANGE << words.V_BITS):
            raise InvalidValue("membrane beyond its range", where="emulator", fix="Start again without it.")
        self._poisson.restore(drawn)
        machine.rows[:, : words.STATE_ROWS] = rows
        machine.pending, machine.dither = pending.astype(np.int32), dither % words.ONE

    def state_sha256(self) -> str:
        """Hash of every state word, and of the spikes on their way."""
        machine = self._running()
        state = np.ascontiguousarray(machine.rows[:, : words.STATE_ROWS])
        return hashlib.sha256(state.tobytes() + machine.pending.tobytes() + machine.dither.to_bytes(4, "little")).hexdigest()

    def _running(self) -> Machine:
        if self._machine is None:
            raise BackendProblem("no configuration applied yet", where="emulator", fix="Call apply(config) first.")
        return self._machine

    def read_back(self) -> ChipConfig:
        """The registers."""
        return self._config

    def close(self) -> None:
        """Nothing to let go of."""


def check_step_us(dt_us: int, where: str) -> None:
    """Refuse a time step (us) that the emulator does not run at.

    Raises:
        InvalidValue: it does not divide 1 ms, or is below 10 us.
    """
    if type(dt_us) is not int or not 10 <= dt_us <= 1000 or 1000 % dt_us:
        raise InvalidValue("time step must divide 1 ms", where=where, used=dt_us, limit="10 to 1000 us")


def _merged(first: routing.InputEvents, second: routing.InputEvents) -> routing.InputEvents:
    step = np.concatenate([first.step, second.step])
    order = np.argsort(step, kind="stable")
    core, tag = np.concatenate([first.core, second.core]), np.concatenate([first.tag, second.tag])
    return routing.InputEvents(step[order], core[order], tag[order])
