"""The virtual board: a device whose neurons live in the emulator, and whose time passes when it is told to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import IntArray
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.emulator.words import DEFAULT_STEP_US
from bcall_hw.backend.samna_board.virtual.device import Device, Log
from bcall_hw.backend.samna_board.virtual.generator import ListedEvents
from bcall_hw.backend.samna_board.virtual.link import Message
from bcall_hw.chip_config import BIAS_DTYPE, ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, StimulusTooLong
from bcall_hw.recording import SPIKE_DTYPE
from bcall_hw.stimulus import EVENT_DTYPE, Stimulus

_STEPS_AT_ONCE = 5_000
Core = tuple[int, int]
Spikes = npt.NDArray[np.void]


class VirtualBoard:
    """All chips of a board. The neurons of a core rest until its biases are ones that the emulator can follow.

    A core that was only opened has a bias in the low range, whose current nobody knows. It rests: it has the chip model's quiet
    codes instead. A chip is emulated from the moment that one of its cores has others.

    Args:
        chip: the chip model.
        profile: mismatch, noise and defects.
        implementation, dt_us, pulses: see `Emulator`.
        log: called with a line for every word and call.
    """

    def __init__(
        self,
        chip: ChipModel,
        profile: BoardProfile | None = None,
        implementation: Literal["numba", "numpy", "reference"] = "numba",
        dt_us: int = DEFAULT_STEP_US,
        pulses: Literal["ideal", "finite"] = "ideal",
        log: Log | None = None,
    ) -> None:
        self.chip, self.profile, self.dt_us = chip, profile or BoardProfile(), dt_us
        self._options: dict[str, Any] = {"implementation": implementation, "dt_us": dt_us, "pulses": pulses}
        Emulator(chip, (0,), self.profile, **self._options)  # refuses impossible options before anybody opens the board
        self.device = Device(chip, None if log is None else self._log)
        self._write_line = log
        self._quiet = np.array(chip.quiet_codes, dtype=BIAS_DTYPE)
        self._emulator: Emulator | None = None
        self._applied: ChipConfig | None = None
        self._chips: tuple[int, ...] = ()
        self._asked_us = self._steps = 0
        self._generator_from = self._stamps_from = 0
        #: Cores that ask for what the emulator refuses, with its words; they rest.
        self.refused: dict[Core, str] = {}

    def _log(self, line: str) -> None:
        if self._write_line:
            self._write_line(f"{self.time_us * 1e-6:12.6f} s  {line}")

    def warm_up(self) -> None:
        """Compile and work out what the first stretch of time would have to wait for."""
        chips = tuple(range(self.chip.geometry.chips))
        emulator = Emulator(self.chip, chips, self.profile, **self._options)
        quiet = ChipConfig.after_opening(self.chip, chips)
        biases = quiet.biases.copy()
        biases[...] = self._quiet
        emulator.apply(quiet.with_registers(biases=biases))
        emulator.run(Stimulus(self.chip), self.dt_us * 1e-6)

    def describe(self) -> dict[str, Any]:
        """Profile and emulator options, as plain values."""
        return {**self._options, "profile": self.profile.model_dump(mode="json")}

    @property
    def time_us(self) -> int:
        """Time since power-on (us)."""
        return self._steps * self.dt_us

    @property
    def stamp_us(self) -> int:
        """Time since the time stamps were last reset (us), not wrapped."""
        return self.time_us - self._stamps_from

    @property
    def emulated_chips(self) -> tuple[int, ...]:
        """Chips with a core that does not rest."""
        return self._chips

    def handle(self, message: Message) -> None:
        """A call that writes to the board."""
        known, before = self.chip.device, self.device.generator.started
        self.device.handle(message)
        if self.device.generator.started is not before:
            self._generator_from = self._steps
        if message.what.name == "SET" and message.address == known.timestamp_reset and message.b:
            self._stamps_from = self.time_us

    def advance(self, us: int) -> Spikes:
        """Let time pass; what is left over of a time step passes with the next call.

        Returns:
            Spikes of monitored neurons (`SPIKE_DTYPE`); times in us since the time stamps were last reset, not wrapped.
        """
        self._asked_us += us
        end = self._asked_us // self.dt_us
        found = [np.zeros(0, dtype=SPIKE_DTYPE)]
        if end > self._steps:
            self._bring_up_to_date()
        while self._steps < end:
            found.append(self._run(min(_STEPS_AT_ONCE, end - self._steps)))
        spikes = np.concatenate(found)
        seen = self.device.monitored[spikes["chip"], spikes["core"], spikes["neuron"]]
        return np.asarray(spikes[seen])

    def written_but_resting(self) -> dict[Core, str]:
        """Cores that got bias words and rest nevertheless, with the reason."""
        config, found = self.device.config, dict(self.refused)
        awake = set(self._awake(config))
        for chip, core in sorted(self.device.biased):
            if (chip, core) in awake:
                continue
            low = [bias.name for index, bias in enumerate(self.chip.biases) if not config.biases[chip, core, index]["high"]]
            if low:
                found[chip, core] = f"{', '.join(low)} is as opening leaves it, in the low range: write it"
        return found

    # Registers -------------------------------------------------------------------------------------------------------

    def _bring_up_to_date(self) -> None:
        config = self.device.config
        if config is self._applied:
            return
        before, self._applied = self._applied, config
        if before is None or config.biases is not before.biases:
            self.refused = {}
        awake = [core for core in self._awake(config) if core not in self.refused]
        try:
            self._apply(config, awake)
        except BcallError:
            self._apply_what_can_be(config, awake)

    def _awake(self, config: ChipConfig) -> list[Core]:
        """Cores whose currents are all known, and not those of the quiet codes."""
        known = (config.biases["high"] == 1).all(axis=2)
        quiet = (config.biases == self._quiet).all(axis=2)
        return [(int(chip), int(core)) for chip, core in np.argwhere(known & ~quiet)]

    def _apply_what_can_be(self, config: ChipConfig, awake: list[Core]) -> None:
        fine: list[Core] = []
        for core in awake:
            try:
                self._apply(config, [*fine, core])
                fine.append(core)
            except BcallError as problem:
                self.refused[core] = re.sub(r"^chip \d+ core \d+( neuron \d+)?: ", "", str(problem))
                self.device.say(f"chip {core[0]} core {core[1]} rests, it cannot be emulated: {problem}")
        self._apply(config, fine)

    def _apply(self, config: ChipConfig, awake: list[Core]) -> None:
        chips = tuple(sorted({*self._chips, *(chip for chip, _ in awake)}))
        if not chips:
            return
        biases = config.biases
        resting = [(c, k) for c in chips for k in range(self.chip.geometry.cores) if (c, k) not in set(awake)]
        if resting:
            biases = biases.copy()
            biases[tuple(np.transpose(resting))] = self._quiet
        emulator = self._emulator_of(chips)
        emulator.apply(_same_parts(config.with_registers(biases=biases).of_chips(chips), emulator))
        self._emulator, self._chips = emulator, chips

    def _emulator_of(self, chips: tuple[int, ...]) -> Emulator:
        """The emulator, with more chips where they woke up; a chip that wakes up is as at power-on."""
        if self._emulator is not None and chips == self._chips:
            return self._emulator
        emulator = Emulator(self.chip, chips, self.profile, **self._options)
        rest = ChipConfig.after_opening(self.chip, chips)
        quiet = rest.biases.copy()
        quiet[...] = self._quiet
        emulator.apply(rest.with_registers(biases=quiet))
        state, cores = emulator.save_state(), self.chip.geometry.cores
        state["clock"] = self._steps
        if self._emulator is not None:
            old = self._emulator.save_state()
            rows = [k * cores + core for k, c in enumerate(chips) if c in self._chips for core in range(cores)]
            state["rows"][rows], state["pending"] = old["rows"], old["pending"]
        emulator.load_state(state)
        return emulator

    # Time ------------------------------------------------------------------------------------------------------------

    def _run(self, steps: int) -> Spikes:
        first, self._steps = self._steps, self._steps + steps
        if self._emulator is None:
            return np.zeros(0, dtype=SPIKE_DTYPE)
        parts = []
        for from_step, n_steps, stimulus in self._stimuli(first, steps):
            spikes = self._emulator.run(stimulus, n_steps * self.dt_us * 1e-6).spikes.copy()
            spikes["time_us"] += from_step * self.dt_us - self._stamps_from
            parts.append(spikes)
        return np.concatenate(parts)

    def _stimuli(self, first: int, steps: int) -> Iterable[tuple[int, int, Stimulus]]:
        """What the generators play from step `first` on, in parts that a stimulus can hold: (first step, steps, stimulus).

        Raises:
            StimulusTooLong: a list that repeats so fast that a single step is too much.
        """
        nothing: IntArray = np.zeros(0, dtype=np.int64)
        listed = self.device.generator.started or ListedEvents(nothing, nothing, nothing, nothing)
        yield from self._parts(listed.where(np.isin(listed.chip, self._chips) & (listed.core_mask > 0)), first, steps)

    def _parts(self, listed: ListedEvents, first: int, steps: int) -> Iterable[tuple[int, int, Stimulus]]:
        """See `_stimuli`; of the list those events that reach an emulated chip."""
        period, since, most = self.device.generator.period, self._generator_from, self.chip.stimulus.max_events
        ticks = round(self.chip.stimulus.clock_hz * self.dt_us * 1e-6)
        stretch = (first - since) * ticks, (first + steps - since) * ticks
        count = listed.count(*stretch, period)
        if count > most and steps > 1:
            half = steps // 2
            yield from self._parts(listed, first, half)
            yield from self._parts(listed, first + half, steps - half)
            return
        if count > most:
            what, fix = "the list repeats so fast that one time step plays too many events", "Repeat a longer list."
            raise StimulusTooLong(what, where="stimulus generator", used=f"{count} in {self.dt_us} us", limit=most, fix=fix)
        found = listed.between(*stretch, period)
        yield first, steps, self._stimulus(replace(found, tick=found.tick // ticks + since), first)

    def _stimulus(self, events: ListedEvents, first: int) -> Stimulus:
        """The events with whole steps as the unit of time: only the step matters."""
        ticks = round(self.chip.stimulus.clock_hz * self.dt_us * 1e-6)
        parts = -(-ticks // self.chip.stimulus.max_isi_base)
        while ticks % parts:
            parts += 1
        listed = np.zeros(events.tick.size, dtype=EVENT_DTYPE)
        listed["isi"] = np.diff(events.tick, prepend=first) * parts
        listed["chip"], listed["core_mask"], listed["tag"] = events.chip, events.core_mask, events.tag
        stimulus = Stimulus(self.chip, listed, isi_base=ticks // parts)
        device = self.device
        if device.poisson_runs and device.poisson_chip in self._chips:
            mask = self.chip.poisson.core_mask
            stimulus = replace(
                stimulus,
                poisson_rates_hz=device.poisson_rates_hz.copy(),
                poisson_chip=device.poisson_chip,
                poisson_core_mask=mask,
            )
        return stimulus


def _same_parts(config: ChipConfig, emulator: Emulator) -> ChipConfig:
    """The configuration with the emulator's own arrays where they are equal: it then works out nothing anew."""
    held = emulator.read_back()
    same = {
        n: getattr(held, n) for n in ("cam", "sram", "biases", "tau2") if np.array_equal(getattr(held, n), getattr(config, n))
    }
    return config.with_registers(**same)
