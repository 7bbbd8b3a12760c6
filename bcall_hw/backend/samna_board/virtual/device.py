"""What libcaer's calls leave in the board: registers, monitored neurons, generators. No time passes here."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.backend.samna_board.virtual.classify import classified
from bcall_hw.backend.samna_board.virtual.generator import Generator
from bcall_hw.backend.samna_board.virtual.link import Message, What, WordArray
from bcall_hw.chip_config import KINDS, WORD_DTYPE, ChipConfig, Words
from bcall_hw.chip_model import ChipModel
from bcall_hw.word_lines import word_lines

Log = Callable[[str], None]


class Device:
    """Registers of a whole board, as the calls of a host leave them.

    Args:
        chip: the chip model.
        log: called with a line for every word and call, in human terms; None for none.

    Attributes:
        generator: the stimulus list.
        poisson_rates_hz: as written, one for each source.
        monitored: bool, shape (chips, cores, neurons): neurons whose spikes the host sees.
        received: every CAM, SRAM, bias and leak-choice word so far (`WORD_DTYPE`), in order.
        words_received: how many of these there were since power-on of the program.
        biased: (chip, core) of every core that got a bias word.
        unknown_words: how many words were none of the chip's.
    """

    def __init__(self, chip: ChipModel, log: Log | None = None) -> None:
        self.chip, self._log = chip, log
        self._received: list[Words] = []
        self.words_received = 0
        self._core_of = {a: core for bias in chip.biases for core, a in enumerate(bias.addresses)}
        self.power_on()

    def power_on(self) -> None:
        """Everything as opening the board leaves it."""
        chip, g = self.chip, self.chip.geometry
        self._config = ChipConfig.after_opening(chip, range(g.chips))
        self._waiting: list[Words] = []
        self._selected = 0
        self.monitored: BoolArray = np.ones((g.chips, g.cores, g.neurons), dtype=np.bool_)
        self.generator = Generator(chip)
        self.poisson_rates_hz = np.zeros(chip.stimulus.sources)
        self.poisson_chip, self.poisson_runs = 0, False
        self.unknown_words = 0
        self.biased: set[tuple[int, int]] = set()

    @property
    def received(self) -> Words:
        """See the class."""
        return np.concatenate([np.zeros(0, dtype=WORD_DTYPE), *self._received])

    def forget_received(self) -> None:
        """Begin `received` anew."""
        self._received = []

    @property
    def config(self) -> ChipConfig:
        """The registers now."""
        if self._waiting:
            words, self._waiting = np.concatenate(self._waiting), []
            self._config = self._config.written(words)
        return self._config

    def say(self, line: str) -> None:
        """Log a line."""
        if self._log:
            self._log(line)

    def handle(self, message: Message) -> None:
        """A call that writes. What the board cannot make sense of is logged, counted, and changes nothing."""
        if message.what == What.DEFAULTS:
            self.power_on()
            self.say("default configuration: biases as opening leaves them")
        elif message.what == What.WORDS:
            self._words(message.words)
        elif message.what == What.MEMORY:
            self._memory(message)
        elif message.what == What.POISSON:
            self._poisson_rate(message.a, struct.unpack("<f", struct.pack("<I", message.b))[0])
        else:
            self._set(message.address, message.b)

    def _set(self, address: tuple[int, int], value: int) -> None:
        device, (module, parameter) = self.chip.device, address
        if address == device.chip_select:
            if value < self.chip.geometry.chips:
                self._selected = value
            self.say(f"select chip {value}")
        elif address == device.chip_word:
            self._words(np.array([value], dtype=np.uint32))
        elif module in (device.clear_cam, device.default_sram):
            self._clear("cam" if module == device.clear_cam else "sram")
        elif module == device.monitor:
            self.say(f"chip {self._selected}  analog monitor of core {parameter}: neuron {value}")
        elif module in (device.tau2_set, device.tau1_reset, device.tau2_reset):
            self._leak_choice(module, parameter, value)
        elif address in (device.poisson.run, device.poisson.chip):
            self._poisson(address == device.poisson.run, value)
        elif self.generator.set(address, value):
            self.say(f"stimulus generator: {self._generator_name(address)} = {value}")
        elif address == device.timestamp_reset:
            self.say("time stamps begin at 0" if value else "time stamps run")
        else:
            self.say(f"set module {module} parameter {parameter} = {value:#x}")

    def _generator_name(self, address: tuple[int, int]) -> str:
        return next(name for name, known in self.chip.device.generator.model_dump().items() if known == address)

    # Registers -------------------------------------------------------------------------------------------------------

    def _words(self, raw: WordArray) -> None:
        words = classified(self.chip, self._selected, raw)
        unknown = words["kind"] == len(KINDS)
        if unknown.any():
            self.unknown_words += int(unknown.sum())
            self.say(
                f"chip {self._selected}  {unknown.sum()} words that are none of the chip's, first {int(raw[unknown][0]):#010x}"
            )
        self._take(words[~unknown])

    def _take(self, words: Words) -> None:
        """Words of the chip, in order; the monitor's SRAM entry is no register of an image."""
        self._received.append(words)
        self.words_received += len(words)
        if self._log:
            for line in word_lines(self.chip, words):
                self._log(line)
        biases = words[words["kind"] == KINDS.index("bias")]
        if biases.size:
            addresses = self.chip.words["bias"].unpack(biases["word"])["address"]
            self.biased.update((int(c), self._core_of[int(a)]) for c, a in zip(biases["chip"], addresses, strict=True))
        sram = np.flatnonzero(words["kind"] == KINDS.index("sram"))
        if sram.size:
            fields = self.chip.words["sram"].unpack(words["word"][sram])
            touched = fields["entry"] == self.chip.sram.monitor_entry
            if touched.any():
                self._overwrite_monitor(words["chip"][sram][touched], {k: v[touched] for k, v in fields.items()})
                words = np.delete(words, sram[touched])
        if words.size:
            self._waiting.append(words)

    def _overwrite_monitor(self, chips: npt.NDArray[np.uint8], fields: dict[str, IntArray]) -> None:
        self.monitored[chips, fields["core"], fields["neuron"]] = False
        self.say(f"the monitor's entry of {len(chips)} neurons is overwritten: they are no longer reported")

    def _clear(self, kind: str) -> None:
        config, fresh = self.config, ChipConfig.after_opening(self.chip, (self._selected,))
        array = getattr(config, kind).copy()
        array[self._selected] = getattr(fresh, kind)[0]
        self._config = config.with_registers(**{kind: array})
        if kind == "sram":
            self.monitored[self._selected] = True
        self.say(f"chip {self._selected}  clear {kind.upper()}")

    def _leak_choice(self, module: int, core: int, neuron: int) -> None:
        g, device = self.chip.geometry, self.chip.device
        if core >= g.cores or (module == device.tau2_set and neuron >= g.neurons):
            self.say(f"leak choice of core {core} neuron {neuron}: no such neuron")
            return
        neurons = np.array([neuron]) if module == device.tau2_set else np.arange(g.neurons)
        words = np.zeros(neurons.size, dtype=WORD_DTYPE)
        words["kind"], words["chip"] = KINDS.index("tau2"), self._selected
        chosen = int(module != device.tau1_reset)
        words["word"] = self.chip.words["tau2"].pack(neuron=neurons, core=core, chosen=chosen)
        self._take(words)

    # Generators ------------------------------------------------------------------------------------------------------

    def _memory(self, message: Message) -> None:
        try:
            self.generator.write_memory(message.a, message.words)
            self.say(f"stimulus memory: {len(message.words)} words at {message.a}")
        except ValueError as problem:
            self.say(str(problem))

    def _poisson_rate(self, source: int, rate_hz: float) -> None:
        limits = self.chip.poisson
        if source >= len(self.poisson_rates_hz) or not 0 <= rate_hz <= limits.max_hz:
            self.say(f"Poisson source {source}: {rate_hz} Hz is out of range, nothing changes")
            return
        steps = int(np.float32(rate_hz) / np.float32(limits.step_hz))  # as libcaer: single precision, cut
        self.poisson_rates_hz[source] = steps * limits.step_hz
        self.say(f"Poisson source {source}: {rate_hz:.3f} Hz, played as {steps * limits.step_hz:.3f} Hz")

    def _poisson(self, is_run: bool, value: int) -> None:
        if is_run:
            self.poisson_runs = bool(value)
            self.say(f"Poisson sources {'run' if value else 'stop'}")
        else:
            self.poisson_chip = value
            self.say(f"Poisson sources go to chip {value}")
