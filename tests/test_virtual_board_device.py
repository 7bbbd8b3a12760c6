"""What a host's calls leave in the virtual board, against scalar models with literal bits; and its stimulus generator."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from bcall_hw.backend.samna_board.virtual.device import Device
from bcall_hw.backend.samna_board.virtual.generator import Generator
from bcall_hw.backend.samna_board.virtual.link import Message, What
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import load_chip

CHIP = load_chip("dynapse1")
TYPES = ("GABA_B", "GABA_A", "NMDA", "AMPA")
BY_ADDRESS = {a: (core, b.name) for b in CHIP.biases for core, a in enumerate(b.addresses)}
IS_N = {b.name: b.name.endswith("_N") for b in CHIP.biases}
SRAM_FIELDS = ("virtual_core", "sy", "dy", "sx", "dx", "mask")
STEP_HZ = 0.06706


# A scalar board --------------------------------------------------------------------------------------------------------


def bits(word: int, high: int, low: int) -> int:
    return word >> low & (1 << (high - low + 1)) - 1


@dataclass
class Scalar:
    """Every register by its address; absent ones are as opening leaves them. Words are decoded bit by bit."""

    chip: int = 0
    cam: dict[tuple[int, ...], tuple[int, int, int]] = field(default_factory=dict)
    sram: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)
    bias: dict[tuple[int, int, str], tuple[int, int, int]] = field(default_factory=dict)
    tau2: dict[tuple[int, ...], bool] = field(default_factory=dict)
    silent: set[tuple[int, ...]] = field(default_factory=set)
    unknown: int = 0
    lines: list[tuple[object, ...]] = field(default_factory=list)

    def word(self, w: int) -> None:
        c = self.chip
        if bits(w, 31, 30) == 0 and bits(w, 17, 17) == 1 and bits(w, 4, 4) == 0:
            at = (c, bits(w, 16, 15), bits(w, 14, 11) << 4 | bits(w, 3, 0), bits(w, 10, 5))
            self.cam[at] = (bits(w, 19, 18), bits(w, 27, 20), bits(w, 29, 28))
            self.lines.append((*at, "CAM", *self.cam[at], w))
        elif bits(w, 31, 30) == 0 and bits(w, 17, 17) == 1 and bits(w, 4, 0) == 0b10000:
            at = (c, bits(w, 16, 15), bits(w, 14, 7), bits(w, 6, 5))
            hops = (bits(w, 27, 27), bits(w, 26, 25), bits(w, 24, 24), bits(w, 23, 22))
            value = (bits(w, 29, 28), *hops, bits(w, 21, 18))
            if at[3] == 0:
                self.silent.add(at[:3])
            else:
                self.sram[at] = value
            self.lines.append((*at, "SRAM", *value, w))
        elif bits(w, 31, 25) == 0 and bits(w, 17, 15) == 0b010 and bits(w, 2, 2) == bits(w, 0, 0) == 1 and self._is_bias(w):
            core, name = BY_ADDRESS[bits(w, 24, 18)]
            coarse = 7 - (bits(w, 12, 12) << 2 | bits(w, 13, 13) << 1 | bits(w, 14, 14))
            self.bias[c, core, name] = (coarse, bits(w, 11, 4), bits(w, 3, 3))
            self.lines.append((c, core, name, "BIAS", coarse, bits(w, 11, 4), bits(w, 3, 3), w))
        else:
            self.unknown += 1

    @staticmethod
    def _is_bias(w: int) -> bool:
        at = BY_ADDRESS.get(bits(w, 24, 18))
        return at is not None and IS_N[at[1]] == bool(bits(w, 1, 1))

    def set(self, module: int, parameter: int, value: int) -> None:
        mine = {name: [at for at in getattr(self, name) if at[0] == self.chip] for name in ("cam", "sram", "silent")}
        if (module, parameter) == (5, 1) and value < 4:
            self.chip = value
        elif (module, parameter) == (5, 2):
            self.word(value)
        elif module == 10:
            self.cam = {at: v for at, v in self.cam.items() if at not in set(mine["cam"])}
        elif module == 11:
            self.sram = {at: v for at, v in self.sram.items() if at not in set(mine["sram"])}
            self.silent -= set(mine["silent"])
        elif module in (17, 19, 20) and parameter < 4 and (module != 17 or value < 256):
            for neuron in [value] if module == 17 else range(256):
                self.tau2[self.chip, parameter, neuron] = module != 19
                raw = neuron | parameter << 8 | (module != 19) << 10
                self.lines.append((self.chip, parameter, neuron, "TAU2", module != 19, raw))

    def defaults(self) -> None:
        self.__dict__.update(Scalar(lines=self.lines).__dict__)

    def expected(self) -> tuple[npt.NDArray[np.int64], ...]:
        cam, sram = np.zeros((4, 4, 256, 64, 3), dtype=np.int64), np.zeros((4, 4, 256, 4, 6), dtype=np.int64)
        biases, tau2 = np.zeros((4, 4, 25, 3), dtype=np.int64), np.zeros((4, 4, 256), dtype=np.int64)
        for index, bias in enumerate(CHIP.biases):
            code = bias.chip_after_open
            biases[:, :, index] = (code.coarse, code.fine, code.high)
        for array, values in ((cam, self.cam), (sram, self.sram), (tau2, self.tau2)):
            for at, value in values.items():  # type: ignore[attr-defined]
                array[at] = value
        for (c, k, name), value in self.bias.items():
            biases[c, k, [b.name for b in CHIP.biases].index(name)] = value
        return cam, sram[..., 1:, :], biases, tau2


# Messages --------------------------------------------------------------------------------------------------------------


def message(what: What, a: int = 0, b: int = 0, words: list[int] | None = None) -> Message:
    return Message(what, a, b, np.array(words or [], dtype="<u4"))


def set_to(module: int, parameter: int, value: int) -> Message:
    return message(What.SET, module << 8 | parameter, value)


def cam_word(core: int, neuron: int, entry: int, source: tuple[int, int], kind: int) -> int:
    own = 1 << 17 | core << 15 | neuron >> 4 << 11 | entry << 5 | neuron & 15
    return kind << 28 | source[1] << 20 | source[0] << 18 | own


def sram_word(core: int, neuron: int, entry: int, value: tuple[int, ...]) -> int:
    virtual_core, sy, dy, sx, dx, mask = value
    own = 1 << 17 | core << 15 | neuron << 7 | entry << 5 | 1 << 4
    return virtual_core << 28 | sy << 27 | dy << 25 | sx << 24 | dx << 22 | mask << 18 | own


def bias_word(core: int, name: str, coarse: int, fine: int, high: int = 1) -> int:
    address = next(a for a, at in BY_ADDRESS.items() if at == (core, name))
    mirrored = int(f"{7 - coarse:03b}"[::-1], 2)
    return address << 18 | 1 << 16 | mirrored << 12 | fine << 4 | high << 3 | 1 << 2 | IS_N[name] << 1 | 1


def random_word(rng: np.random.Generator, strange: float) -> int:
    def below(*tops: int) -> list[int]:
        return [int(rng.integers(0, top)) for top in tops]

    if rng.random() < strange:
        odd, address, rest = below(2**32, 128, 1 << 12)
        if rng.random() < 0.5:
            return odd
        is_n = address in BY_ADDRESS and IS_N[BY_ADDRESS[address][1]]
        return address << 18 | 1 << 16 | rest << 3 | 1 << 2 | is_n << 1 | 1  # a bias word, if there is such an address
    kind = rng.random()
    if kind < 0.5:
        core, neuron, entry, *source, kind_of = below(4, 8, 64, 4, 256, 4)
        return cam_word(core, neuron * 37 % 256, entry, (source[0], source[1]), kind_of)
    if kind < 0.8:
        core, neuron, entry, *value = below(4, 6, 4, 4, 2, 4, 2, 4, 16)
        return sram_word(core, neuron * 51, entry, tuple(value))
    core, bias, coarse, fine, low = below(4, 25, 8, 256, 8)
    return bias_word(core, CHIP.biases[bias].name, coarse, fine, int(low > 0))


def random_messages(rng: np.random.Generator, count: int, strange: float = 0.0) -> Iterator[Message]:
    for _ in range(count):
        choice, core, neuron = rng.random(), int(rng.integers(0, 4)), int(rng.integers(0, 256))
        if choice < 0.3:
            yield set_to(5, 1, int(rng.integers(0, 4 if rng.random() < 0.9 else 14)))
        elif choice < 0.6:
            yield message(What.WORDS, words=[random_word(rng, strange) for _ in range(int(rng.integers(0, 60)))])
        elif choice < 0.7:
            yield set_to(5, 2, random_word(rng, strange))
        elif choice < 0.85:
            strange_core = 9 if rng.random() < strange else core
            yield set_to(17, strange_core, neuron + 256 * (rng.random() < strange))
        elif choice < 0.96:
            yield set_to(int(rng.choice([19, 20, 10, 11])), core, neuron)
        elif choice < 0.97:
            yield message(What.DEFAULTS)
        else:
            yield set_to(int(rng.choice([0, 12, 16, 18, 30, 126])), int(rng.integers(0, 7)), neuron)


def told(scalar: Scalar, message: Message) -> None:
    if message.what == What.DEFAULTS:
        scalar.defaults()
    elif message.what == What.WORDS:
        for word in message.words.tolist():
            scalar.word(word)
    else:
        scalar.set(message.a >> 8, message.a & 0xFF, message.b)


def assert_equal(config: ChipConfig, scalar: Scalar) -> None:
    cam, sram, biases, tau2 = scalar.expected()
    for column, name in enumerate(("source_core", "source_neuron", "type")):
        assert np.array_equal(config.cam[name], cam[..., column]), name
    for column, name in enumerate(("virtual_core", "sy", "dy", "sx", "dx", "core_mask")):
        assert np.array_equal(config.sram[name], sram[..., column]), name
    for column, name in enumerate(("coarse", "fine", "high")):
        assert np.array_equal(config.biases[name], biases[..., column]), name
    assert np.array_equal(config.tau2, tau2)


# Registers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strange", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(8))
def test_any_sequence_of_calls_leaves_the_registers_of_the_scalar_board(seed: int, strange: float) -> None:
    rng = np.random.default_rng(seed)
    device, scalar = Device(CHIP), Scalar()
    for sent in random_messages(rng, 80, strange):
        device.handle(sent)
        told(scalar, sent)
        if rng.random() < 0.1:
            assert_equal(device.config, scalar)
            assert device.unknown_words == scalar.unknown
    assert_equal(device.config, scalar)
    assert device.unknown_words == scalar.unknown
    assert {tuple(at) for at in np.argwhere(~device.monitored).tolist()} == scalar.silent
    assert device.biased == {(c, k) for c, k, _ in scalar.bias}


def test_received_words_stand_in_order_with_their_kind_and_chip() -> None:
    rng = np.random.default_rng(5)
    device, scalar = Device(CHIP), Scalar()
    for sent in random_messages(rng, 60):
        device.handle(sent)
        told(scalar, sent)
    kinds = {"CAM": (0, 4), "SRAM": (1, 4), "BIAS": (2, 3), "TAU2": (3, 3)}
    names = [next(name for name in kinds if name in line) for line in scalar.lines]
    wanted = [(kinds[name][0], line[0], line[-1]) for name, line in zip(names, scalar.lines, strict=True)]
    assert device.received.tolist() == wanted
    assert device.words_received == len(wanted)
    device.forget_received()
    device.handle(message(What.WORDS, words=[cam_word(1, 2, 3, (0, 4), 1)]))
    assert len(device.received) == 1
    assert device.words_received == len(wanted) + 1


def test_overwriting_the_monitor_entry_silences_the_neuron_until_the_sram_is_cleared() -> None:
    device = Device(CHIP)
    before = device.config
    device.handle(set_to(5, 1, 2))
    device.handle(
        message(What.WORDS, words=[sram_word(3, 200, 0, (0, 0, 0, 0, 0, 0)), sram_word(3, 201, 1, (1, 0, 1, 0, 0, 15))])
    )
    assert np.argwhere(~device.monitored).tolist() == [[2, 3, 200]]
    assert device.config.sram[2, 3, 201].tolist() == [(1, 0, 1, 0, 0, 15), (0,) * 6, (0,) * 6]
    assert np.array_equal(device.config.sram[[0, 1, 3]], before.sram[[0, 1, 3]])
    device.handle(set_to(5, 1, 1))
    device.handle(set_to(11, 0, 0))  # of another chip
    assert not device.monitored[2, 3, 200]
    device.handle(set_to(5, 1, 2))
    device.handle(set_to(11, 0, 0))
    assert device.monitored.all()


def test_unknown_words_are_counted_and_change_nothing() -> None:
    n_bias = bias_word(0, "IF_TAU1_N", 3, 7)
    cam, sram = cam_word(0, 0, 0, (1, 1), 1), sram_word(0, 0, 1, (1, 0, 0, 0, 0, 1))
    odd = [cam | 1 << 30, cam | 1 << 31, sram | 1, sram | 8, sram | 1 << 31, cam & ~(1 << 17), 0, 2**32 - 1]
    odd += [n_bias & ~1, n_bias & ~4, n_bias | 1 << 25, n_bias | 1 << 15, n_bias & ~(1 << 16) | 127 << 18]
    odd += [n_bias & ~(127 << 18) | 50 << 18]  # no bias has this address
    device = Device(CHIP)
    before = device.config
    device.handle(message(What.WORDS, words=odd))
    assert device.config == before
    assert device.unknown_words == len(odd)
    assert len(device.received) == device.words_received == 0
    assert device.monitored.all()
    assert not device.biased


def test_bias_words_for_the_other_transistor_are_unknown_words() -> None:
    device = Device(CHIP)
    before = device.config
    for word in (bias_word(0, "IF_TAU1_N", 3, 7) & ~2, bias_word(0, "IF_DC_P", 3, 7) | 2):
        device.handle(message(What.WORDS, words=[word]))
    device.handle(message(What.WORDS, words=[cam_word(0, 0, 0, (1, 1), 1)]))
    assert device.config.biases.tolist() == before.biases.tolist()
    assert device.config.cam[0, 0, 0, 0].tolist() == (1, 1, 1)
    assert device.unknown_words == 2


@pytest.mark.parametrize("value", [4, 8, 12, 255, 2**32 - 1])
def test_selecting_a_chip_that_is_not_there_changes_nothing(value: int) -> None:
    device = Device(CHIP)
    device.handle(set_to(5, 1, 1))
    device.handle(set_to(5, 1, value))
    device.handle(message(What.WORDS, words=[cam_word(0, 0, 0, (1, 1), 1)]))
    assert device.received["chip"].tolist() == [1]


# The log ---------------------------------------------------------------------------------------------------------------

CAM_LINE = re.compile(
    r"chip (\d)  CAM   core (\d) neuron (\d+) entry (\d+) <- \(core (\d), neuron (\d+)\) (\w+)  0x([0-9a-f]{8})"
)
SRAM_LINE = re.compile(
    r"chip (\d)  SRAM  core (\d) neuron (\d+) entry (\d) -> ([+-]\d) east ([+-]\d) south, cores \[(.*)\], as core (\d)"
    r"  0x([0-9a-f]{8})"
)
BIAS_LINE = re.compile(r"chip (\d)  BIAS  core (\d) (\w+) = \((\d), (\d+)\)  (\S+ \S+)  0x([0-9a-f]{8})")
TAU2_LINE = re.compile(r"chip (\d)  TAU2  core (\d) neuron (\d+) leaks through (\w+)  0x([0-9a-f]{8})")
UNITS = {"pA": 1e-12, "nA": 1e-9, "uA": 1e-6}


def parsed(line: str) -> tuple[object, ...] | None:
    """A log line as the scalar board notes it; hops with their sign instead of the direction bits."""
    if found := CAM_LINE.fullmatch(line):
        c, k, n, e, sc, sn, name, raw = found.groups()
        return (int(c), int(k), int(n), int(e), "CAM", int(sc), int(sn), TYPES.index(name), int(raw, 16))
    if found := SRAM_LINE.fullmatch(line):
        c, k, n, e, east, south, cores, virtual, raw = found.groups()
        mask = sum(1 << int(core) for core in cores.split(",") if core.strip())
        return (int(c), int(k), int(n), int(e), "SRAM", int(virtual), int(east), int(south), mask, int(raw, 16))
    if found := BIAS_LINE.fullmatch(line):
        c, k, name, coarse, fine, current, raw = found.groups()
        return (int(c), int(k), name, "BIAS", int(coarse), int(fine), current, int(raw, 16))
    if found := TAU2_LINE.fullmatch(line):
        c, k, n, leak, raw = found.groups()
        return (int(c), int(k), int(n), "TAU2", {"IF_TAU1_N": False, "IF_TAU2_N": True}[leak], int(raw, 16))
    return None


def test_every_word_has_one_line_that_says_what_it_does() -> None:
    rng = np.random.default_rng(17)
    lines: list[str] = []
    device, scalar = Device(CHIP, lines.append), Scalar()
    for sent in random_messages(rng, 150, 0.1):
        device.handle(sent)
        told(scalar, sent)
    found = [words for line in lines if (words := parsed(line)) is not None]
    assert len(found) == len(scalar.lines) > 1000
    for seen, wanted in zip(found, scalar.lines, strict=True):
        if "SRAM" in wanted:
            virtual, sy, dy, sx, dx, mask, raw = wanted[5:]
            east, south = (-int(str(dx)) if sx else dx), (dy if sy else -int(str(dy)))
            assert seen == (*wanted[:5], virtual, east, south, mask, raw)
        elif "BIAS" in wanted:
            assert seen[:6] + seen[7:] == wanted[:6] + wanted[7:]
            value, unit = str(seen[6]).split()
            if wanted[6]:
                ampere = CHIP.currents[int(str(wanted[4]))][int(str(wanted[5]))] * 1e-14
                assert float(value) * UNITS[unit] == pytest.approx(ampere, rel=6e-3)
            else:
                assert seen[6] == "low range"
        else:
            assert seen == wanted


def test_calls_that_are_no_words_are_logged_too() -> None:
    lines: list[str] = []
    device = Device(CHIP, lines.append)
    calls = [
        message(What.DEFAULTS), set_to(5, 1, 3), set_to(10, 0, 0), set_to(11, 0, 0), set_to(12, 2, 77), set_to(0, 2, 1),
        set_to(16, 5, 90), set_to(16, 0, 1), set_to(18, 3, 2), set_to(18, 0, 1), set_to(99, 7, 5),
        message(What.WORDS, words=[0]), message(What.MEMORY, 4, 0, [1, 2, 3]), message(What.POISSON, 12, f32(100.0)),
        message(What.POISSON, 2000, f32(100.0)), message(What.MEMORY, 70_000, 0, [1]), set_to(17, 4, 0),
    ]  # fmt: skip
    for number, call in enumerate(calls, start=1):
        device.handle(call)
        assert len(lines) == number, lines[-2:]
    assert "chip 3" in lines[1]
    assert "chip 3" in lines[2]
    assert "CAM" in lines[2]
    assert "77" in lines[4]
    assert "chip 2" in lines[8]
    assert "0x00000000" in lines[11]
    assert "2000" in lines[14]


# Poisson sources -------------------------------------------------------------------------------------------------------


def f32(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def test_poisson_rates_are_truncated_to_the_step_and_wrong_ones_change_nothing() -> None:
    rng = np.random.default_rng(2)
    device, wanted = Device(CHIP), [0.0] * 1024
    for _ in range(500):
        source, rate = int(rng.integers(0, 1100)), float(np.float32(rng.uniform(-300, 4600)))
        device.handle(message(What.POISSON, source, f32(rate)))
        if source < 1024 and 0 <= rate <= 4300:
            wanted[source] = int(rate // STEP_HZ) * STEP_HZ
    for rate in (float("nan"), float("inf"), float("-inf"), -1e-3):
        device.handle(message(What.POISSON, 5, f32(rate)))
    assert device.poisson_rates_hz.tolist() == pytest.approx(wanted, rel=1e-12)


def test_poisson_run_and_chip_are_registers_of_their_own() -> None:
    device = Device(CHIP)
    assert (device.poisson_runs, device.poisson_chip) == (False, 0)
    device.handle(set_to(18, 3, 2))
    device.handle(set_to(18, 0, 1))
    assert (device.poisson_runs, device.poisson_chip) == (True, 2)
    device.handle(set_to(18, 0, 0))
    assert (device.poisson_runs, device.poisson_chip) == (False, 2)


# The stimulus generator ------------------------------------------------------------------------------------------------


def scalar_events(
    memory: list[int], base: int, count: int, variable: bool, isi: int, isi_base: int, repeat: bool, end: int
) -> list[tuple[int, int, int, int]]:
    """(tick, chip, core mask, tag) of the events before `end`, one by one."""
    listed, at, now = [], base, 0
    for _ in range((count + 1) % 2**32):
        if at + 1 + variable > len(memory):
            break
        now += (memory[at + 1] if variable else isi) * isi_base
        word = memory[at]
        listed.append((now, word >> 14, word & 15, (word >> 4 & 3) * 256 + (word >> 6 & 255)))
        at += 2 if variable else 1
    if not repeat or not listed:
        return [event for event in listed if event[0] < end]
    found, start = [], 0
    while start < end:
        found += [(start + tick, *rest) for tick, *rest in listed if start + tick < end]
        start += listed[-1][0]
    return found


def started(memory: list[int], at: int, registers: dict[int, int]) -> Generator:
    generator = Generator(CHIP)
    generator.write_memory(at, np.array(memory, dtype=np.uint32))
    for parameter, value in registers.items():
        assert generator.set((16, parameter), value)
    assert generator.set((16, 0), 1)
    return generator


@pytest.mark.parametrize("seed", range(40))
def test_events_of_any_stretches_are_those_of_a_scalar_generator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    variable, repeat, offset = bool(rng.integers(2)), bool(rng.integers(2)), int(rng.integers(0, 40))
    events, isi, isi_base = int(rng.integers(1, 30)), int(rng.integers(1, 50)), int(rng.choice([1, 7, 90, 900]))
    memory = rng.integers(0, 1 << 16, 2 * events + 3).tolist()
    if variable:
        memory[1::2] = rng.integers(0, 60, len(memory[1::2])).tolist()  # some at the same time
        memory[2 * events - 1] += 1
    registers = {1: int(variable), 2: offset, 3: events - 1, 4: isi, 5: isi_base, 6: int(repeat)}
    generator = started(memory, offset, registers)
    end = int(rng.integers(1, 60 * 50 * isi_base))
    whole = [0] * offset + memory
    wanted = scalar_events(whole, offset, events - 1, variable, isi, isi_base, repeat, end)
    last = wanted[-1][0] if wanted else 0
    cuts = sorted({0, end, last, *rng.integers(0, end, 6).tolist()})  # also where a round begins anew
    found = []
    for first, until in itertools.pairwise(cuts):
        assert generator.started is not None
        part = generator.started.between(first, until, generator.period)
        found += list(zip(*(a.tolist() for a in (part.tick, part.chip, part.core_mask, part.tag)), strict=True))
    assert sorted(found) == sorted(wanted)
    assert [event[0] for event in found] == sorted(event[0] for event in wanted)


@pytest.mark.parametrize("variable", [0, 1])
@pytest.mark.parametrize("repeat", [0, 1])
def test_an_empty_list_plays_nothing(variable: int, repeat: int) -> None:
    generator = started([1, 2, 3, 4], 0, {1: variable, 3: 2**32 - 1, 4: 5, 5: 90, 6: repeat})
    assert generator.started is not None
    assert generator.started.between(0, 10**9, generator.period).tick.size == 0


def test_a_list_ends_where_the_memory_does() -> None:
    length = len(Generator(CHIP).memory)
    for variable, base in ((0, length - 3), (1, length - 3), (1, length + 5), (0, 2**32 - 1), (0, length)):
        generator = started([0x000F, 7, 9], length - 3, {1: variable, 2: base, 3: 99, 4: 2, 5: 1})
        assert generator.started is not None
        memory = [0] * (length - 3) + [0x000F, 7, 9]
        wanted = scalar_events(memory, base, 99, bool(variable), 2, 1, False, 1 << 40)
        part = generator.started.between(0, 1 << 40, generator.period)
        assert part.tick.tolist() == [event[0] for event in wanted]


def test_memory_refuses_words_beyond_it_and_keeps_what_it_had() -> None:
    device = Device(CHIP)
    length = len(device.generator.memory)
    assert length >= 2 * 32_766  # an event and its interval each
    device.handle(message(What.MEMORY, 0, 0, [5] * length))
    for base, count in ((length, 1), (length - 2, 3), (0, length + 1), (2**32 - 1, 2)):
        device.handle(message(What.MEMORY, base, 0, [9] * count))
        assert set(device.generator.memory.tolist()) == {5}
    device.handle(message(What.MEMORY, length - 2, 0, [0x12345, 8]))
    assert device.generator.memory[-3:].tolist() == [5, 0x2345, 8]  # 16-bit words


def test_starting_and_stopping() -> None:
    generator = Generator(CHIP)
    assert generator.started is None
    assert not generator.set((16, 7), 1)
    assert not generator.set((17, 0), 1)
    generator.write_memory(0, np.array([0x4011, 0x8012], dtype=np.uint32))
    for parameter, value in ((3, 1), (4, 10), (5, 90), (0, 1)):
        generator.set((16, parameter), value)
    assert generator.started is not None
    first = generator.started.between(0, 5000, generator.period)
    assert (first.tick.tolist(), first.chip.tolist(), first.tag.tolist()) == ([900, 1800], [1, 2], [256, 256])
    generator.set((16, 0), 0)
    assert generator.started is None


@pytest.mark.parametrize("seed", range(20))
def test_events_are_counted_without_making_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    events, isi_base = int(rng.integers(1, 20)), int(rng.choice([1, 7, 90]))
    memory = rng.integers(0, 8, 2 * events).tolist()
    generator = started(memory, 0, {1: 1, 3: events - 1, 5: isi_base, 6: int(rng.integers(2))})
    assert generator.started is not None
    for _ in range(30):
        first, end = sorted(rng.integers(0, 60 * isi_base, 2).tolist())
        listed = generator.started.where(rng.random(events) < 0.7)
        assert listed.count(first, end, generator.period) == listed.between(first, end, generator.period).tick.size


def test_a_count_that_no_memory_would_hold() -> None:
    generator = started([0x000F, 0] * 30_000, 0, {1: 1, 3: 29_999, 5: 90, 6: 1})
    assert generator.started is not None
    assert generator.period == 1
    assert generator.started.count(0, 9_000_000, generator.period) == 30_000 * 9_000_000
