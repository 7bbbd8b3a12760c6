"""The board in arrays: the numpy oracle and the compiled kernel behind the one face of an engine."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import routing, words
from bcall_hw.backend.emulator.decode import check_sums, decode
from bcall_hw.backend.emulator.engine import PartReport, State, StepReport, warnings_of
from bcall_hw.backend.emulator.machine import Machine, Probe, StepFunction
from bcall_hw.backend.emulator.noise import Noise
from bcall_hw.backend.emulator.poisson import PoissonSources
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BackendProblem
from bcall_hw.stimulus import Stimulus

_NOISE_WORDS = 1 << 20  # drawn at once: they stay in a processor's cache
_STEPS_AT_ONCE = 10_000  # then Ctrl-C is heard
_PART_US = 250_000  # of a run whose spikes are taken on the way


class ArrayEngine:
    """See `engine.Engine`.

    Args:
        advance: the step function.
    """

    def __init__(
        self, chip: ChipModel, chips: tuple[int, ...], profile: BoardProfile, dt_us: int, finite_pulses: bool,
        advance: StepFunction,
    ) -> None:  # fmt: skip
        self._chip, self._chips, self._profile, self._dt_us, self._finite = chip, chips, profile, dt_us, finite_pulses
        self._advance = advance
        self._factors, self._entry_factors = profile.factors(chip), profile.entry_factors(chip)
        self._capacitances_f = profile.capacitances_f(chip)
        self._poisson = PoissonSources(profile.seed, dt_us)
        self._noise = Noise(profile.seed, profile.noise_a, dt_us)
        self._machine: Machine | None = None

    @property
    def machine(self) -> Machine:
        """The running board."""
        if self._machine is None:
            raise BackendProblem("no configuration applied yet", where="emulator", fix="Call apply(config) first.")
        return self._machine

    @property
    def warnings(self) -> list[str]:
        """See `engine.Engine`."""
        return warnings_of(self.machine.destinations.lost, self.machine.parameters.saturated)

    def apply(self, config: ChipConfig) -> None:
        """See `engine.Engine`; what did not change is not worked out anew."""
        machine = self._machine
        old = machine.config if machine else None
        same_analog = old is not None and config.biases is old.biases and config.tau2 is old.tau2
        if machine and same_analog:
            parameters = machine.parameters
        else:
            dead = self._profile.dead_neurons
            parameters = decode(config, self._factors, self._dt_us, self._finite, dead, self._capacitances_f)
        same_cam = old is not None and config.cam is old.cam
        listeners = machine.listeners if machine and same_cam else self._listeners(config)
        same_sram = old is not None and config.sram is old.sram
        routes = machine.destinations if machine and same_sram else routing.destinations(config)
        entries = (
            machine.entries if machine and same_analog and same_cam else parameters.entry_words(listeners, self._finite, config)
        )
        if machine and same_analog:
            rows = machine.rows
        else:
            rows = parameters.rows.copy()
            if machine:
                rows[:, : words.STATE_ROWS] = machine.rows[:, : words.STATE_ROWS]
            check_sums(rows, config)
        if machine is None:
            cores = self._chip.geometry.cores
            self._machine = Machine(config, rows, parameters, listeners, routes, entries, self._finite, cores)
        else:
            machine.config, machine.rows, machine.parameters = config, rows, parameters
            machine.listeners, machine.destinations, machine.entries = listeners, routes, entries

    def _listeners(self, config: ChipConfig) -> routing.Listeners:
        before = (self._machine.config, self._machine.listeners) if self._machine else None
        return routing.listeners(config, self._profile, self._entry_factors, before)

    def run(
        self, stimulus: Stimulus, n_steps: int, probe: Probe | None = None, report: StepReport | None = None,
        part: PartReport | None = None,
    ) -> Int32Array:  # fmt: skip
        """See `engine.Engine`; a run that is broken off leaves the board at the end of a part of it."""
        machine = self.machine
        listed = routing.input_events(stimulus, self._chips, self._dt_us, n_steps)
        cores = [(chip, core) for chip in self._chips for core in range(self._chip.geometry.cores)]
        neurons = self._chip.geometry.neurons
        at_once = _STEPS_AT_ONCE if self._noise.is_off else max(1, _NOISE_WORDS // (len(cores) * neurons))
        if part:
            at_once = max(1, min(at_once, _PART_US // self._dt_us))
        found = []
        for first in range(0, n_steps, at_once):
            last = min(n_steps, first + at_once)
            events = listed.part(first, last)
            random_events = self._poisson.events(stimulus, self._chips, machine.clock, last - first)
            if random_events is not None:
                events = events.merged(random_events.later(first))
            noise = self._noise.draw(cores, neurons, machine.clock, last - first)
            found.append(self._advance(machine, events, first, last, noise, probe))
            if part:
                part(found[-1], last)
            if report:
                report(last, n_steps)
        return np.concatenate(found)

    def state(self) -> State:
        """See `engine.Engine`."""
        machine = self.machine
        pending = machine.pending.copy()
        pending[:, 0] = np.asarray(self._chips, dtype=np.int32)[pending[:, 0]]
        return State(machine.rows[:, : words.STATE_ROWS].copy(), pending[np.lexsort(pending.T[::-1])], machine.clock)

    def restore(self, state: State) -> None:
        """See `engine.Engine`."""
        machine, pending = self.machine, state.pending.copy()
        rows = machine.rows.copy()
        rows[:, : words.STATE_ROWS] = state.rows
        check_sums(rows, machine.config)
        pending[:, 0] = np.searchsorted(self._chips, pending[:, 0])
        machine.commit(rows, pending, state.clock)
