"""The virtual board: its time passes as in the emulator, and its stand-in library speaks as libcaer and can be built."""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from emulator_helpers import CHIP, Board, events, poisson, random_board, random_stimulus, silence, target

from bcall_hw.backend import open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.samna_board.virtual import build
from bcall_hw.backend.samna_board.virtual.board import VirtualBoard
from bcall_hw.backend.samna_board.virtual.faults import Faults
from bcall_hw.backend.samna_board.virtual.link import Message, What
from bcall_hw.backend.samna_board.virtual.server import Clock, VirtualBoardServer, environment
from bcall_hw.chip_config import KINDS, ChipConfig
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.errors import BackendUnavailable, InvalidValue, StimulusTooLong
from bcall_hw.recording import SPIKE_DTYPE
from bcall_hw.stimulus import EVENT_DTYPE, Stimulus

Spikes = npt.NDArray[np.void]
TICKS = 90  # of the generator's clock, in a microsecond


def message(what: What, a: int = 0, b: int = 0, words: Any = ()) -> Message:
    return Message(what, a, b, np.array(words, dtype="<u4"))


def set_to(module: int, parameter: int, value: int) -> Message:
    return message(What.SET, module << 8 | parameter, value)


def write(board: VirtualBoard, config: ChipConfig, before: ChipConfig | None = None) -> None:
    """Send what differs from `before`, or from a freshly opened board."""
    words = (before or ChipConfig.after_opening(CHIP, config.chips)).diff(config)
    for chip in config.chips:
        mine = words[words["chip"] == chip]
        board.handle(set_to(5, 1, chip))
        board.handle(message(What.WORDS, words=mine["word"][mine["kind"] < KINDS.index("tau2")]))
        for word in mine["word"][mine["kind"] == KINDS.index("tau2")].tolist():
            board.handle(set_to(17, word >> 8 & 3, word & 255))


def start(board: VirtualBoard, stimulus: Stimulus) -> None:
    """Load a list as libcaer does, and start it; Poisson sources too."""
    load(board, stimulus)
    if len(stimulus.events):
        board.handle(set_to(16, 0, 1))
    for tag, rate in enumerate(stimulus.poisson_rates_hz.astype("<f4").tolist()):
        if rate:
            board.handle(message(What.POISSON, tag, int(np.array([rate], "<f4").view("<u4")[0])))
    board.handle(set_to(18, 3, stimulus.poisson_chip))
    board.handle(set_to(18, 0, int(stimulus.poisson_rates_hz.any())))


def load(board: VirtualBoard, stimulus: Stimulus) -> None:
    words = []
    for isi, chip, mask, tag in stimulus.events.tolist():
        words += [chip << 14 | (tag & 255) << 6 | tag >> 8 << 4 | mask, isi]
    board.handle(set_to(16, 1, 1))
    board.handle(set_to(16, 5, stimulus.isi_base))
    board.handle(set_to(16, 3, (len(stimulus.events) - 1) % 2**32))
    board.handle(message(What.MEMORY, 0, 0, words))


def in_parts(board: VirtualBoard, us: int, rng: np.random.Generator, parts: int = 12) -> Spikes:
    cuts = sorted([0, us, *rng.integers(0, us, parts).tolist()])
    return np.concatenate([board.advance(b - a) for a, b in itertools.pairwise(cuts)])


def emulated(config: ChipConfig, runs: Iterable[tuple[Stimulus, int]], **options: Any) -> Spikes:
    """Spikes of several runs of the emulator, times in us since the first."""
    emulator = open_backend("emulator", chip=CHIP, chips=config.chips, **options)
    emulator.apply(config)
    found, start_us = [np.zeros(0, dtype=SPIKE_DTYPE)], 0
    for stimulus, us in runs:
        spikes = emulator.run(stimulus, us * 1e-6).spikes.copy()
        spikes["time_us"] += start_us
        found.append(spikes)
        start_us += us
    return np.concatenate(found)


def firing(chips: tuple[int, ...] = (0,), cores: Iterable[int] = (0,)) -> Board:
    """Cores that fire by themselves, the others rest with zero codes."""
    board = Board(chips)
    board.biases[:] = (0, 0, 1)
    for chip in chips:
        for core in cores:
            board.neurons(core, target(dc_a=4e-10, refractory_s=1e-3), chip)
    return board


def with_all_cores(stimulus: Stimulus) -> Stimulus:
    """Poisson sources of the board reach all cores."""
    return replace(stimulus, poisson_core_mask=15)


# Time ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [*range(5), 8])
def test_any_parts_of_time_give_the_spikes_of_the_emulator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chips = [(0,), (2,), (0, 2), (1, 3), (0, 1, 2, 3)][seed % 5]
    config = random_board(rng, chips, (0, 1, 3)).config()
    kind, duration_us = ["list", "poisson", "both"][seed % 3], 40_000
    stimulus = with_all_cores(random_stimulus(rng, chips, duration_us, kind))
    noise_a = 1e-11 if seed % 2 else 0.0
    options = {"profile": BoardProfile(seed=seed, mismatch_cv=0.2, noise_a=noise_a), "dt_us": [100, 50, 200][seed % 3]}
    boards = []
    for _ in range(2):
        board = VirtualBoard(CHIP, **options)
        write(board, config)
        start(board, stimulus)
        boards.append(board)
    whole, parts = boards[0].advance(duration_us), in_parts(boards[1], duration_us, rng)
    wanted = emulated(config, [(stimulus, duration_us)], **options)
    assert len(wanted) > 50
    assert whole.tolist() == wanted.tolist()
    assert parts.tolist() == wanted.tolist()
    assert boards[0].emulated_chips == chips
    assert boards[0].time_us == boards[1].time_us == duration_us


@pytest.mark.parametrize("seed", range(4))
def test_time_stamps_count_from_their_reset_and_the_list_from_its_start(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    config = random_board(rng, (0, 2), (0, 2)).config()
    stimulus = random_stimulus(rng, (0, 2), 30_000, "list")
    board = VirtualBoard(CHIP)
    write(board, config)
    before = board.advance(20_037)  # 37 us are left over of a step
    board.handle(set_to(0, 2, 0))  # no reset
    assert board.stamp_us == 20_000
    board.handle(set_to(0, 2, 1))
    assert (board.time_us, board.stamp_us) == (20_000, 0)
    start(board, stimulus)
    after = in_parts(board, 30_063, rng)
    again_at = board.stamp_us
    assert again_at == 30_100
    board.handle(set_to(16, 0, 0))
    board.handle(set_to(16, 0, 1))  # from its beginning
    again = board.advance(40_000)
    wanted = emulated(config, [(silence(), 20_000), (stimulus, again_at), (stimulus, 40_000)])
    after["time_us"] += 20_000
    again["time_us"] += 20_000
    assert np.concatenate([before, after, again]).tolist() == wanted.tolist()


def test_a_stopped_list_falls_silent() -> None:
    rng = np.random.default_rng(8)
    config = random_board(rng, (0,), (0, 1)).config()
    stimulus = with_all_cores(random_stimulus(rng, (0,), 60_000, "both"))
    board = VirtualBoard(CHIP)
    write(board, config)
    start(board, stimulus)
    first = board.advance(20_000)
    board.handle(set_to(16, 0, 0))
    board.handle(set_to(18, 0, 0))
    second = board.advance(30_000)
    early = np.searchsorted(stimulus.ticks, 20_000 * TICKS)
    played = replace(stimulus, events=stimulus.events[:early].copy())
    wanted = emulated(config, [(played, 20_000), (silence(), 30_000)])
    assert np.concatenate([first, second]).tolist() == wanted.tolist()


def test_registers_written_between_stretches_take_effect_as_in_the_emulator() -> None:
    rng = np.random.default_rng(21)
    first = random_board(np.random.default_rng(31), (0, 2), (0, 1))
    first.neurons(0, target(dc_a=4e-10, refractory_s=1e-3))
    configs = [first.config()]
    for _ in range(4):
        new = Board.of(configs[-1])
        new.cam[:, :2, :12, :40]["type"] = rng.integers(0, 4, (2, 2, 12, 40))
        new.sram[0, 0, :4]["core_mask"] = rng.integers(0, 16, (4, 3))
        new.current(0, "dc", float(rng.uniform(3e-10, 6e-10)))
        configs.append(new.config())
    board, emulator = VirtualBoard(CHIP), open_backend("emulator", chip=CHIP, chips=(0, 2))
    found, wanted, before = [], [], None
    for turn, config in enumerate(configs):
        write(board, config, before)
        emulator.apply(config)
        before = config
        found.append(board.advance(15_000))
        spikes = emulator.run(silence(), 0.015).spikes.copy()
        spikes["time_us"] += 15_000 * turn
        wanted.append(spikes)
    assert np.concatenate(found).tolist() == np.concatenate(wanted).tolist()
    assert min(len(spikes) for spikes in wanted) > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_chip_that_wakes_up_later_is_as_at_power_on(seed: int) -> None:
    """Oracle: both chips are emulated from the start, the late one with zero codes and cleared registers."""
    rng = np.random.default_rng(50 + seed)
    first, second = [(0, 2), (2, 0), (1, 3), (3, 0)][seed]
    profile = BoardProfile(seed=seed, mismatch_cv=0.3)
    both = random_board(rng, tuple(sorted((first, second))), (0, 3))
    late = both.chips.index(second)
    both.sram[1 - late, :, :, 0] = (1, 0, 0, 0, 0, 15)  # every spike goes somewhere
    sleeping = Board.of(both.config())
    fresh = ChipConfig.after_opening(CHIP, (second,))
    sleeping.cam[late], sleeping.sram[late], sleeping.tau2[late] = fresh.cam[0], fresh.sram[0], False
    sleeping.biases[late] = (0, 0, 1)
    stimulus = random_stimulus(rng, (first,), 15_000, "list")
    # It wakes up just after a spike, which is on its way then.
    wake_us = int(emulated(sleeping.config(), [(stimulus, 25_000)], profile=profile)["time_us"][-1])

    board = VirtualBoard(CHIP, profile)
    write(board, both.config().of_chips((first,)))
    start(board, stimulus)
    found = [board.advance(wake_us)]
    assert board.emulated_chips == (first,)
    write(board, both.config().of_chips((second,)))
    found.append(in_parts(board, 25_000, rng))
    assert board.emulated_chips == both.chips

    emulator = open_backend("emulator", chip=CHIP, chips=both.chips, profile=profile)
    emulator.apply(sleeping.config())
    power_on = emulator.save_state()
    wanted = [emulator.run(stimulus, wake_us * 1e-6).spikes.copy()]
    emulator.apply(both.config())
    assert len(emulator.save_state()["pending"]) > 0
    state, mine = emulator.save_state(), slice(4 * late, 4 * late + 4)
    state["rows"] = state["rows"].copy()
    state["rows"][mine] = power_on["rows"][mine]  # zero codes are no rest: membranes creep
    emulator.load_state(state)
    wanted.append(emulator.run(silence(), 0.025).spikes.copy())
    wanted[1]["time_us"] += wake_us
    assert {first, second} <= set(wanted[1]["chip"].tolist())
    assert np.concatenate(found).tolist() == np.concatenate(wanted).tolist()


def test_a_freshly_opened_board_rests() -> None:
    board = VirtualBoard(CHIP)
    start(board, with_all_cores(poisson({300: 4000.0}, listed=events([(5.0, 0, 15, 300), (9.0, 3, 15, 301)]))))
    assert len(board.advance(100_000)) == 0
    assert board.emulated_chips == ()
    assert (board.time_us, board.stamp_us) == (100_000, 100_000)
    assert board.written_but_resting() == {}


@pytest.mark.parametrize("bias", ["IF_TAU1_N", "R2R_P", "PS_WEIGHT_INH_S_N"])
def test_a_core_in_the_low_range_rests_and_is_named(bias: str) -> None:
    fires = firing(cores=(0, 1))
    low = Board.of(fires.config())
    low.biases[0, 1, CHIP.bias_index(bias)]["high"] = 0
    board = VirtualBoard(CHIP)
    write(board, low.config())
    wanted = emulated(fires.config(), [(silence(), 50_000)])
    wanted = wanted[wanted["core"] == 0]
    assert len(wanted) > 100
    assert board.advance(50_000).tolist() == wanted.tolist()
    named = board.written_but_resting()
    assert list(named) == [(0, 1)]
    assert bias in named[0, 1]
    write(board, fires.config(), low.config())
    assert set(board.advance(50_000)["core"].tolist()) == {0, 1}
    assert board.written_but_resting() == {}


def quieted(config: ChipConfig) -> ChipConfig:
    """The same with the quiet codes in cores whose codes are all zero."""
    biases = config.biases.copy()
    zero = (biases["coarse"] == 0).all(axis=2) & (biases["fine"] == 0).all(axis=2)
    for role in ("leak1", "leak2"):
        code = getattr(CHIP.device.quiet, role)
        biases[..., CHIP.bias_index(role)][zero] = (code.coarse, code.fine, int(code.high))
    return config.with_registers(biases=biases)


def test_quiet_cores_rest_without_a_word() -> None:
    board = VirtualBoard(CHIP)
    write(board, quieted(firing((0, 2), ()).config()))
    assert len(board.advance(50_000)) == 0
    assert board.emulated_chips == ()
    assert board.written_but_resting() == {}
    write(board, quieted(firing((0, 2), (3,)).config()).of_chips((2,)))
    spikes = board.advance(50_000)
    assert {(s["chip"], s["core"]) for s in spikes} == {(2, 3)}
    assert board.emulated_chips == (2,)


def test_resting_cores_stay_silent_for_seconds() -> None:
    board = firing(cores=(0,))
    board.neurons(1, target(dc_a=4e-10))
    board.biases[0, 1, CHIP.bias_index("leak1")]["high"] = 0
    virtual = VirtualBoard(CHIP)
    write(virtual, quieted(board.config()))
    found = virtual.advance(3_000_000)
    assert {core: int(np.sum(found["core"] == core)) for core in (1, 2, 3)} == {1: 0, 2: 0, 3: 0}


REFUSED: Mapping[str, tuple[int, int]] = {"IF_DC_P": (7, 255), "IF_RFR_N": (7, 255), "PS_WEIGHT_EXC_F_N": (7, 255)}


@pytest.mark.parametrize("bias", REFUSED)
def test_a_core_that_the_emulator_refuses_rests_alone_and_is_named(bias: str) -> None:
    lines: list[str] = []
    coarse, fine = REFUSED[bias]
    fires = firing((0, 2), (0, 2))
    bad = Board.of(fires.config())
    bad.code(2, bias, BiasCode(coarse=coarse, fine=fine), chip=2)
    board = VirtualBoard(CHIP, log=lines.append)
    write(board, bad.config())
    wanted = emulated(fires.config(), [(silence(), 40_000)])
    wanted = wanted[(wanted["chip"] != 2) | (wanted["core"] != 2)]
    assert {(s["chip"], s["core"]) for s in wanted} == {(0, 0), (0, 2), (2, 0)}
    assert board.advance(40_000).tolist() == wanted.tolist()
    assert list(board.refused) == [(2, 2)]
    assert "does not fit" in board.refused[2, 2] or "too small" in board.refused[2, 2]
    assert board.written_but_resting() == board.refused
    assert sum("chip 2 core 2 rests" in line for line in lines) == 1
    write(board, fires.config(), bad.config())
    found = board.advance(40_000)
    assert board.refused == {}
    assert (2, 2) in {(s["chip"], s["core"]) for s in found}


def test_a_chip_whose_only_core_is_refused_is_not_emulated() -> None:
    bad = firing((1,), (0,))
    bad.code(0, "IF_DC_P", BiasCode(coarse=7, fine=255), chip=1)
    board = VirtualBoard(CHIP)
    write(board, quieted(bad.config()))
    assert len(board.advance(1_000)) == 0
    assert list(board.refused) == [(1, 0)]
    assert board.emulated_chips == ()


def test_a_refused_core_beside_one_in_the_low_range() -> None:
    bad = firing((0,), (0, 1, 2))
    bad.code(0, "IF_DC_P", BiasCode(coarse=7, fine=255))
    bad.biases[0, 1, CHIP.bias_index("gain")]["high"] = 0
    board = VirtualBoard(CHIP)
    write(board, bad.config())
    assert set(board.advance(30_000)["core"].tolist()) == {2}
    assert set(board.written_but_resting()) == {(0, 0), (0, 1)}


def test_silenced_neurons_fire_unseen() -> None:
    base = random_board(np.random.default_rng(3), (0,), (0, 1))
    base.neurons(1, target(dc_a=4e-10, refractory_s=1e-3))
    config = base.config()
    wanted = emulated(config, [(silence(), 60_000)])
    board = VirtualBoard(CHIP)
    write(board, config)
    busiest = np.bincount(wanted["neuron"][wanted["core"] == 1]).argmax()
    board.handle(message(What.WORDS, words=[1 << 17 | 1 << 15 | int(busiest) << 7 | 1 << 4]))
    seen = wanted[(wanted["core"] != 1) | (wanted["neuron"] != busiest)]
    assert 0 < len(seen) < len(wanted)
    assert board.advance(60_000).tolist() == seen.tolist()


@pytest.mark.parametrize("per_round", [40, 1700])
def test_a_list_that_repeats_is_played_like_its_events_one_by_one(per_round: int) -> None:
    """The larger one plays more events in a stretch than a stimulus may hold."""
    rng = np.random.default_rng(per_round)
    config = random_board(rng, (0,), (0, 1)).config()
    listed = np.zeros(per_round, dtype=EVENT_DTYPE)
    listed["isi"] = rng.integers(0, 60_000 // per_round, per_round)
    listed["core_mask"], listed["tag"] = rng.integers(0, 16, per_round), 256 * rng.integers(0, 4, per_round) + 7
    stimulus, duration_us = Stimulus(CHIP, listed, 40), 300_000
    board = VirtualBoard(CHIP)
    write(board, config)
    load(board, stimulus)
    board.handle(set_to(16, 6, 1))
    board.handle(set_to(16, 0, 1))
    found = board.advance(duration_us)

    period, runs = int(stimulus.ticks[-1]), []
    heard = np.flatnonzero(listed["core_mask"])
    for first in range(0, duration_us * TICKS, 10_000 * TICKS):
        end, rounds = first + 10_000 * TICKS, []
        for number in range(max(0, first // period - 1), end // period + 1):
            rounds += [(number * period + int(stimulus.ticks[k]), int(k)) for k in heard]
        inside = [(tick, k) for tick, k in rounds if first <= tick < end]
        part = listed[[k for _, k in inside]].copy()
        part["isi"] = np.diff([tick // (100 * TICKS) - first // (100 * TICKS) for tick, _ in inside], prepend=0)
        runs.append((Stimulus(CHIP, part, 100 * TICKS), 10_000))
    assert (sum(len(part.events) for part, _ in runs) > CHIP.stimulus.max_events) == (per_round == 1700)
    wanted = emulated(config, runs)
    assert len(wanted) > 100
    assert found.tolist() == wanted.tolist()


def repeating(events: int, core_mask: int, isi: int) -> VirtualBoard:
    """A board with a core that fires, on which a list of equal intervals repeats."""
    board, listed = VirtualBoard(CHIP), np.zeros(events, dtype=EVENT_DTYPE)
    write(board, firing().config())
    listed["isi"], listed["core_mask"], listed["tag"] = isi, core_mask, 7
    load(board, Stimulus(CHIP, listed, 1))
    board.handle(set_to(16, 6, 1))
    board.handle(set_to(16, 0, 1))
    return board


def test_a_list_that_repeats_within_a_time_step_is_played_or_refused_by_name() -> None:
    """All rounds of 1000 events of no interval would be gigabytes in a stretch of a second."""
    assert len(repeating(3, 15, 1).advance(20_000)) > 0  # 9,000 events in a step
    with pytest.raises(StimulusTooLong, match=r"repeats so fast.*9000000 in 100 us.*Repeat a longer list"):
        repeating(1000, 15, 0).advance(1_000_000)
    assert len(repeating(1000, 0, 0).advance(50_000)) > 0  # for no core: nobody hears it


def test_events_for_chips_that_rest_and_for_no_core_are_lost() -> None:
    rng = np.random.default_rng(12)
    config = random_board(rng, (0,), (0, 1)).config()
    listed = random_stimulus(rng, (0,), 30_000, "list")
    mixed = np.zeros(2 * len(listed.events), dtype=EVENT_DTYPE)
    mixed[::2], mixed[1::2] = listed.events, listed.events
    mixed["isi"][1::2] = 0
    mixed["chip"][1::4], mixed["core_mask"][3::4] = 2, 0
    board = VirtualBoard(CHIP)
    write(board, config)
    start(board, Stimulus(CHIP, mixed, listed.isi_base))
    assert board.advance(30_000).tolist() == emulated(config, [(listed, 30_000)]).tolist()


def test_power_on_brings_the_board_to_rest() -> None:
    board = VirtualBoard(CHIP)
    write(board, firing().config())
    assert len(board.advance(30_000)) > 0
    board.handle(message(What.DEFAULTS))
    assert len(board.advance(30_000)) == 0
    assert board.time_us == 60_000


# The stand-in for libcaer ------------------------------------------------------------------------------------------------

can_build = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64" or build.find_compiler() is None,
    reason="needs Linux x86-64 and a C compiler",
)


class Info(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_int16), ("serial", ctypes.c_char * 9), ("bus", ctypes.c_uint8), ("address", ctypes.c_uint8),
        ("string", ctypes.c_char_p), ("logic", ctypes.c_int16), ("master", ctypes.c_bool), ("clock", ctypes.c_int16),
        ("chip", ctypes.c_int16), ("aer", ctypes.c_bool), ("mux", ctypes.c_bool),
    ]  # fmt: skip


class Discovered(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint16), ("open_error", ctypes.c_bool), ("error", ctypes.c_bool), ("pad", ctypes.c_uint32),
        ("info", Info), ("rest", ctypes.c_char * 56),
    ]  # fmt: skip


class PacketHead(ctypes.LittleEndianStructure):
    _pack_ = 1
    _fields_ = [("type", ctypes.c_int16), ("source", ctypes.c_int16)] + [
        (name, ctypes.c_int32) for name in ("size", "ts_offset", "ts_overflow", "capacity", "number", "valid")
    ]


class Container(ctypes.LittleEndianStructure):
    _pack_ = 1
    _fields_ = [
        ("lowest", ctypes.c_int64), ("highest", ctypes.c_int64), ("number", ctypes.c_int32), ("valid", ctypes.c_int32),
        ("packets", ctypes.c_int32), ("packet", ctypes.c_void_p * 2),
    ]  # fmt: skip


class Timeval(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("us", ctypes.c_long)]


NOTIFY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Host:
    """A program that uses libcaer: a copy of the library of its own, with its own state."""

    def __init__(self, library: Path) -> None:
        self.lib = ctypes.CDLL(str(library))
        returns = {"caerDeviceOpen": ctypes.c_void_p, "caerDeviceDataGet": ctypes.c_void_p, "caerDynapseInfoGet": Info}
        returns |= {"caerDeviceDiscover": ctypes.c_ssize_t}
        for name in ("Close", "SendDefaultConfig", "ConfigSet", "ConfigGet", "DataStart", "DataStop"):
            getattr(self.lib, f"caerDevice{name}").restype = ctypes.c_bool
        for name in ("SendDataToUSB", "WriteSramWords", "WritePoissonSpikeRate", "WriteCam"):
            getattr(self.lib, f"caerDynapse{name}").restype = ctypes.c_bool
        for name, kind in returns.items():
            getattr(self.lib, name).restype = kind
        self.handle: ctypes.c_void_p = ctypes.c_void_p()
        self.packets: list[tuple[Container, list[tuple[PacketHead, npt.NDArray[np.void]] | None]]] = []
        self.slow_s = 0.0
        self._told = NOTIFY(lambda _: self._take())  # in the library's own thread, as samna's callback

    def discover(self, kind: int = 3) -> list[Discovered]:
        found = ctypes.POINTER(Discovered)()
        count = self.lib.caerDeviceDiscover(ctypes.c_int16(kind), ctypes.byref(found))
        return [found[k] for k in range(count)]

    def open(self, kind: int = 3) -> bool:
        self.handle = ctypes.c_void_p(self.lib.caerDeviceOpen(1, kind, 0, 0, None))
        return self.handle.value is not None

    def close(self) -> bool:
        return bool(self.lib.caerDeviceClose(ctypes.byref(self.handle)))

    def set(self, module: int, parameter: int, value: int) -> bool:
        return bool(self.lib.caerDeviceConfigSet(self.handle, ctypes.c_int8(module), parameter, ctypes.c_uint32(value)))

    def words(self, words: Any) -> bool:
        raw = np.ascontiguousarray(words, dtype="<u4")
        return bool(self.lib.caerDynapseSendDataToUSB(self.handle, ctypes.c_void_p(raw.ctypes.data), ctypes.c_size_t(raw.size)))

    def memory(self, words: Any, base: int) -> bool:
        raw = np.ascontiguousarray(words, dtype="<u2")
        size, at = ctypes.c_size_t(raw.size), ctypes.c_void_p(raw.ctypes.data)
        return bool(self.lib.caerDynapseWriteSramWords(self.handle, at, ctypes.c_uint32(base), size))

    def rate(self, source: int, rate_hz: float) -> bool:
        return bool(self.lib.caerDynapseWritePoissonSpikeRate(self.handle, source, ctypes.c_float(rate_hz)))

    def wait_for_answer(self) -> None:
        """Calls that write do not wait for the board; this one does, though it has nothing to tell."""
        value = ctypes.c_uint32(77)
        assert not self.lib.caerDeviceConfigGet(self.handle, ctypes.c_int8(0), 0, ctypes.byref(value))
        assert value.value == 0

    def start(self) -> bool:
        return bool(self.lib.caerDeviceDataStart(self.handle, self._told, None, None, None, None))

    def sleep(self, us: int) -> int:
        return int(self.lib.select(0, None, None, None, ctypes.byref(Timeval(us // 1_000_000, us % 1_000_000))))

    def do(self, message: Message) -> None:
        """The call that makes this message."""
        if message.what == What.WORDS:
            self.words(message.words)
        elif message.what == What.MEMORY:
            self.memory(message.words, message.a)
        elif message.what == What.POISSON:
            self.rate(message.a, float(np.array([message.b], "<u4").view("<f4")[0]))
        else:
            self.set(message.a >> 8, message.a & 0xFF, message.b)

    def _take(self) -> None:
        time.sleep(self.slow_s)
        at = self.lib.caerDeviceDataGet(self.handle)
        container = Container.from_address(at)
        found: list[tuple[PacketHead, npt.NDArray[np.void]] | None] = []
        for packet in container.packet:
            if packet is None:
                found.append(None)
                continue
            head = PacketHead.from_address(packet)
            raw = ctypes.string_at(packet + ctypes.sizeof(PacketHead), 8 * head.number)
            found.append((head, np.frombuffer(raw, dtype=[("data", "<u4"), ("ts", "<i4")])))
        self.packets.append((container, found))

    def spikes(self) -> list[tuple[int, int, int, int]]:
        """(time stamp, chip, core, neuron) of all spikes so far, decoded with literal bits."""
        events = [e for _, packets in self.packets for e in (packets[1] or (None, []))[1]]
        assert all(int(e["data"]) & ~0xFF0C7 == 0 and int(e["data"]) & 1 for e in events)
        fields = [(int(e["ts"]), int(e["data"])) for e in events]
        return [(ts, data >> 6 & 3, data >> 1 & 3, data >> 12) for ts, data in fields]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return build.stand_in_library()


Served = Callable[..., tuple[VirtualBoard, VirtualBoardServer, Callable[[], Host]]]


@pytest.fixture
def served(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A served board, and programs that find it."""
    servers, count = [], itertools.count()

    def serve(clock: Clock = "sleep", chip: ChipModel = CHIP) -> tuple[VirtualBoard, VirtualBoardServer, Callable[[], Host]]:
        board = VirtualBoard(chip)
        server = VirtualBoardServer(board, clock, "AB12")
        servers.append(server)
        monkeypatch.setenv("BCALL_VIRTUAL_BOARD", server.path)
        return board, server, lambda: Host(Path(shutil.copy(library, tmp_path / f"{next(count)}.so")))

    yield serve
    for server in servers:
        server.close()


@can_build
def test_structures_have_the_sizes_of_libcaer(served: Served) -> None:
    assert [ctypes.sizeof(s) for s in (Info, Discovered, PacketHead, Container)] == [40, 104, 28, 28 + 16]
    _, _, new_host = served()
    host = new_host()
    (found,) = host.discover()
    libc = ctypes.CDLL(None)
    libc.malloc_usable_size.restype = ctypes.c_size_t
    assert libc.malloc_usable_size(ctypes.c_void_p(ctypes.addressof(found))) >= 104
    info = found.info
    assert (found.type, found.open_error, found.error) == (3, False, False)
    assert (info.serial, info.master, info.clock) == (b"AB12", True, 90)
    assert b"AB12" in info.string
    assert [len(host.discover(kind)) for kind in (-1, 3, 0, 2)] == [1, 1, 0, 0]
    assert host.open()
    again = host.lib.caerDynapseInfoGet(host.handle)
    assert (again.serial, again.string, again.logic) == (info.serial, info.string, info.logic)
    assert host.close()


@can_build
def test_what_is_sent_is_what_the_board_sees(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    board, _, new_host = served()
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(board, "handle", lambda m: seen.append((m.what, m.a, m.b, *m.words.tolist())))
    host, rng, wanted = new_host(), np.random.default_rng(1), list[tuple[Any, ...]]()
    assert host.open()
    for _ in range(200):
        choice, words = int(rng.integers(0, 5)), rng.integers(0, 2**32, int(rng.integers(0, 40)))
        if choice == 0:
            module, parameter, value = int(rng.integers(0, 128)), int(rng.integers(0, 256)), int(rng.integers(0, 2**32))
            assert host.set(module, parameter, value)
            wanted.append((What.SET, module << 8 | parameter, value))
        elif choice == 1:
            assert host.words(words)
            wanted.append((What.WORDS, 0, 0, *words.tolist()))
        elif choice == 2:
            base = int(rng.integers(0, 2**32))
            assert host.memory(words & 0xFFFF, base)
            wanted.append((What.MEMORY, base, 0, *(words & 0xFFFF).tolist()))
        elif choice == 3:
            source, rate = int(rng.integers(0, 2**16)), float(np.float32(rng.normal(0, 5000)))
            assert host.rate(source, rate)
            wanted.append((What.POISSON, source, int(np.array([rate], "<f4").view("<u4")[0])))
        else:
            assert host.set(-1, 3, 4)  # of the host alone: not sent
            assert host.lib.caerDeviceSendDefaultConfig(host.handle)
            wanted.append((What.DEFAULTS, 0, 0))
    many = rng.integers(0, 2**32, 300_000)
    assert host.words(many)
    wanted.append((What.WORDS, 0, 0, *many.tolist()))
    host.wait_for_answer()
    assert seen == wanted
    assert not host.lib.caerDynapseWriteCam(host.handle, 1, 2, 3, 1)  # there is no libcaer to make the word
    assert host.close()


@can_build
@pytest.mark.parametrize("turn", range(3))
def test_spikes_come_back_in_packets(served: Served, turn: int) -> None:
    rng = np.random.default_rng(turn)
    _, server, new_host = served()
    host, twin, calls = new_host(), VirtualBoard(CHIP), list[Message]()
    recorder = type("Recorder", (), {"handle": staticmethod(calls.append)})
    write(recorder(), random_board(rng, (0, 2), (0, 1)).config())
    start(recorder(), with_all_cores(random_stimulus(rng, (0, 2), 50_000, "both")))
    assert host.open()
    for call in calls:
        host.do(call)
        twin.handle(call)
    host.wait_for_answer()
    assert host.start()  # spikes come from now on
    wanted = []
    for us in [20_000, 1, 12_345, 99, 100, 30_000]:
        assert host.sleep(us) == 0
        wanted += twin.advance(us).tolist()
        assert len(host.spikes()) == len(wanted)  # all are there when the sleep ends
    assert len(wanted) > 1000
    assert host.spikes() == wanted
    assert server.spikes_sent == server.spikes_in_all == len(wanted)
    for container, (special, packet) in host.packets:
        assert special is None
        assert packet is not None
        head, events_ = packet
        n = len(events_)
        assert [getattr(head, name) for name, _ in PacketHead._fields_] == [12, 0, 8, 4, 0, n, n, n]
        assert (container.number, container.valid, container.packets) == (n, n, 2)
        assert (container.lowest, container.highest) == (events_["ts"][0], events_["ts"][-1])
    assert host.lib.caerDeviceDataGet(host.handle) is None
    assert host.close()


@can_build
def test_a_sleep_lasts_until_all_its_spikes_are_taken_in_every_session(served: Served) -> None:
    _, server, new_host = served()
    host = new_host()
    host.slow_s = 0.15
    for _ in range(2):
        assert host.open()
        write(type("Sender", (), {"handle": staticmethod(host.do)})(), firing().config())
        assert host.start()
        began, before = time.monotonic(), len(host.spikes())
        for _ in range(2):
            host.sleep(20_000)
            assert len(host.spikes()) - before == server.spikes_sent > 0
        assert time.monotonic() - began < 10
        assert host.close()


@can_build
def test_time_stamps_wrap_and_a_special_event_says_so(served: Served) -> None:
    limits = CHIP.timestamps.model_copy(update={"max_us": (1 << 14) - 1})
    _, _, new_host = served(chip=CHIP.model_copy(update={"timestamps": limits}))
    host = new_host()
    assert host.open()
    assert host.start()
    write(type("Sender", (), {"handle": staticmethod(host.do)})(), firing().config())
    for _ in range(2):
        host.packets.clear()
        assert host.set(0, 2, 1)
        stamps, rounds = [], []
        for turn in range(20):
            first = len(host.packets)
            host.sleep(5_000)
            for container, (special, packet) in host.packets[first:]:
                if packet and len(packet[1]):
                    stamps += [int(ts) for ts in packet[1]["ts"]]
                    rounds.append((special is not None, turn))
                    assert container.number == len(packet[1])
        assert max(stamps) < 1 << 14
        assert sum(b < a for a, b in itertools.pairwise(stamps)) in (5, 6)  # 100 ms in rounds of 16.4 ms
        assert sum(special for special, _ in rounds) in (5, 6)
    assert host.close()


@can_build
def test_one_program_at_a_time(served: Served) -> None:
    board, _, new_host = served()
    first, second = new_host(), new_host()
    assert first.open()
    assert not second.open()
    assert not first.open()
    first.handle = ctypes.c_void_p(1)
    assert first.set(18, 3, 2)
    first.wait_for_answer()
    assert board.device.poisson_chip == 2
    assert first.close()
    assert first.handle.value is None
    assert second.open()
    assert second.set(18, 3, 1)
    second.wait_for_answer()
    assert board.device.poisson_chip == 1
    assert second.close()
    for _ in range(3):  # and again
        assert first.open()
        assert first.start()
        assert first.close()


@can_build
def test_other_kinds_of_device_cannot_be_opened(served: Served) -> None:
    _, _, new_host = served()
    host = new_host()
    assert not host.open(kind=2)
    assert host.open()
    assert host.close()


@can_build
@pytest.mark.parametrize("clock", ["sleep", "wall"])
def test_a_board_that_goes_away(served: Served, clock: Clock) -> None:
    _, server, new_host = served(clock)
    host, other = new_host(), new_host()
    assert host.open()
    assert host.start()
    host.wait_for_answer()
    server.close()
    server.close()
    began = time.monotonic()
    for _ in range(3):  # what is sent first may still fit into the socket
        host.set(18, 3, 2)
        time.sleep(0.02)
    assert not host.set(18, 3, 2)
    assert not host.words([1, 2, 3])
    assert not host.memory([1], 0)
    assert not host.rate(3, 5.0)
    host.wait_for_answer()
    assert not host.lib.caerDeviceSendDefaultConfig(host.handle)
    assert host.lib.caerDeviceDataGet(host.handle) is None
    assert host.discover() == []
    assert host.sleep(50_000) == 0  # a sleep like any other
    assert not host.close()
    assert not host.open()
    assert other.discover() == []
    assert not other.open()
    assert 0.05 < time.monotonic() - began < 5


@can_build
def test_without_a_server_there_is_no_board(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, _, new_host = served()
    for path in (None, str(tmp_path / "nothing"), "/" + "x" * 300, ""):
        monkeypatch.delenv("BCALL_VIRTUAL_BOARD") if path is None else monkeypatch.setenv("BCALL_VIRTUAL_BOARD", path)
        host = new_host()
        assert host.discover() == []
        assert not host.open()
        if path is None:
            monkeypatch.setenv("BCALL_VIRTUAL_BOARD", "later")


@can_build
def test_garbage_ends_a_connection_and_nothing_else(served: Served) -> None:
    board, server, new_host = served()
    for raw in (b"\xff" * 16, b"\x05\0\0\0", b"GET / HTTP/1.1\r\n\r\n" * 4, b""):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(server.path)
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
    with socket.socket(socket.AF_UNIX) as connection:  # a call without opening
        connection.settimeout(5)
        connection.connect(server.path)
        connection.sendall(np.array([What.SET, 18 << 8 | 3, 2, 0], dtype="<u4").tobytes())
        assert connection.recv(1) == b""
    assert board.device.poisson_chip == 0
    host = new_host()
    assert host.open()
    assert host.close()


@can_build
@pytest.mark.parametrize("kind", [OSError, MemoryError, RuntimeError])
def test_a_clock_that_fails_stops_the_board_by_name(
    served: Served, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    board, server, new_host = served("wall")

    def fail(_: object) -> None:
        raise kind(28, "no room")

    host = new_host()
    assert host.open()
    monkeypatch.setattr(board, "advance", fail)
    for _ in range(200):
        if server.problem is not None:
            break
        time.sleep(0.01)
    assert re.search(rf"virtual board: failed.*{kind.__name__}.*no room", str(server.problem))
    assert not host.close()


@can_build
def test_a_failure_of_the_system_is_no_lost_connection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    board, server, new_host = served()

    def fail(_: object) -> None:
        raise OSError(28, "no room")

    monkeypatch.setattr(board, "handle", fail)
    host = new_host()
    assert host.open()
    host.set(18, 3, 2)
    assert not host.close()
    assert re.search("virtual board: failed.*OSError.*no room", str(server.problem))


@can_build
def test_the_wall_is_followed_from_the_opening(served: Served) -> None:
    board, server, new_host = served("wall")
    host = new_host()
    time.sleep(0.1)
    assert board.time_us == 0
    began = time.monotonic()
    assert host.open()
    time.sleep(0.3)
    assert host.sleep(200_000) == 0  # adds nothing
    passed_us = (time.monotonic() - began) * 1e6
    assert passed_us >= 0.5e6
    assert passed_us - 0.3e6 < board.time_us + server.lost_us <= passed_us + 1e5
    assert host.close()
    time.sleep(0.05)
    after = board.time_us
    time.sleep(0.1)
    assert board.time_us == after
    assert host.open()
    time.sleep(0.1)
    assert after < board.time_us < after + 1_000_000
    assert host.close()


SCRIPT = """
import ctypes, os, select, sys, threading, time
lib = ctypes.CDLL(None)
lib.caerDeviceOpen.restype = ctypes.c_void_p
handle = ctypes.c_void_p()
def tell(what):
    print(what, flush=True)
    sys.stdin.readline()
def sleep(s):
    select.select([], [], [], s)
def elsewhere(what, *arguments):
    thread = threading.Thread(target=what, args=arguments)
    thread.start()
    thread.join()
sleep(0.01)
tell("closed")
handle.value = lib.caerDeviceOpen(1, 3, 0, 0, None)
tell("opened")
sleep(0.25)
tell("quarter")
sleep(0)
sleep(0.000_036_5)
sleep(0.000_062_5)
tell("parts")
time.sleep(0.05)
tell("time.sleep")
elsewhere(sleep, 0.05)
tell("thread")
r, w = os.pipe()
select.select([r], [], [], 0.05)
select.select([], [w], [], 0.05)
tell("descriptors")
sleep(5000)
tell("long")
lib.caerDeviceClose(ctypes.byref(handle))
sleep(0.05)
tell("after")
"""


@can_build
@pytest.mark.parametrize("clock", ["sleep", "wall"])
def test_which_sleeps_are_the_boards_time(served: Served, library: Path, clock: Clock) -> None:
    board, server, _ = served(clock)
    script = SCRIPT.replace("sleep(5000)", "sleep(0.1)") if clock == "wall" else SCRIPT
    env = {**os.environ, **environment(library, server.path)}
    times: dict[str, tuple[int, float]] = {}
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, env=env, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            times[line.strip()] = (board.time_us + server.lost_us, time.monotonic())
            print(file=process.stdin, flush=True)
        assert process.wait(10) == 0
    names = ["closed", "opened", "quarter", "parts", "time.sleep", "thread", "descriptors", "long", "after"]
    assert list(times) == names
    if clock == "sleep":
        board_us = [times[name][0] for name in names]
        assert board_us == [0, 0, *[250_000] * 1, *[250_100] * 4, *[5_000_250_100] * 2]
        assert times["long"][1] - times["descriptors"][1] < 20
    else:
        assert times["opened"][0] < 100_000
        for before, after in itertools.pairwise(names[1:8]):
            board_us, wall_s = (times[after][k] - times[before][k] for k in range(2))
            assert abs(board_us * 1e-6 - wall_s) < 0.25
        assert times["long"][1] - times["opened"][1] > 0.5


# Building it -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "cache" / "bcall-hw"


def compiler(path: Path, script: str) -> str:
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return str(path)


def is_library(path: Path) -> bool:
    return hasattr(ctypes.CDLL(str(path)), "caerDeviceDiscover")


@can_build
def test_it_is_built_once(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build.stand_in_library()
    assert built.parent == empty_cache
    assert is_library(built)
    monkeypatch.setenv("PATH", "")
    assert build.stand_in_library() == built
    assert [path.name for path in empty_cache.iterdir()] == [built.name]


@pytest.mark.parametrize("cc", [None, "", "no-such-compiler", "/no/such/compiler"])
@pytest.mark.usefixtures("empty_cache")
def test_without_a_compiler_it_says_what_to_install(cc: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, "Linux", "x86_64")
    monkeypatch.setenv("PATH", "")
    if cc is not None:
        monkeypatch.setenv("CC", cc)
    with pytest.raises(BackendUnavailable, match=r"needs a C compiler.*apt install gcc libc6-dev.*CC.*emulator"):
        build.stand_in_library()


@can_build
def test_a_compiler_with_options_is_a_compiler(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -pipe")  # as make takes it
    assert is_library(build.stand_in_library())
    assert empty_cache.is_dir()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'stdio.h: not found' >&2\nexit 1\n", "stdio.h: not found"), ("exit 7\n", "no message"),
        ("kill -9 $$\n", "no message"), ("exit 0\n", ""),
    ],
)  # fmt: skip
def test_a_compiler_that_fails_leaves_nothing(
    script: str, said: str, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on(monkeypatch, "Linux", "x86_64")
    monkeypatch.setenv("CC", compiler(tmp_path / "mycc", script))
    with pytest.raises(BackendUnavailable) as problem:
        build.stand_in_library()
    assert "mycc" in str(problem.value)
    assert said in str(problem.value)
    assert list(empty_cache.iterdir()) == []


@pytest.mark.usefixtures("empty_cache")
def test_a_compiler_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, "Linux", "x86_64")
    (tmp_path / "mycc").write_bytes(b"\x7fELF rubbish")
    (tmp_path / "mycc").chmod(0o755)
    monkeypatch.setenv("CC", str(tmp_path / "mycc"))
    with pytest.raises(BackendUnavailable, match="mycc"):
        build.stand_in_library()


@pytest.mark.parametrize("base", ["cache", "./cache", "", "~/cache"])
def test_a_relative_cache_folder_is_ignored(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be another one after a change of folder, and what is preloaded from it would be gone."""
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / ".cache" / "bcall-hw"


@can_build
def test_a_cache_that_is_no_folder(tmp_path: Path, empty_cache: Path) -> None:
    (tmp_path / "cache").write_text("")
    built = build.stand_in_library()
    assert is_library(built)
    assert not empty_cache.exists()
    assert tmp_path in built.parents


@can_build
def test_a_cache_folder_that_cannot_be_written(empty_cache: Path) -> None:
    empty_cache.parent.mkdir()
    empty_cache.symlink_to("/proc")  # there, and nobody can make a file in it, not even root
    assert is_library(build.stand_in_library())


@can_build
def test_builds_at_the_same_time(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = compiler(tmp_path / "slow", f'sleep 0.$(($$ % 4))\nexec {" ".join(build.find_compiler() or ())} "$@"\n')
    monkeypatch.setenv("CC", slow)
    with ThreadPoolExecutor(6) as pool:
        built = list(pool.map(lambda _: build.stand_in_library(), range(6)))
    assert len(set(built)) == 1
    assert is_library(built[0])
    assert [path.name for path in empty_cache.iterdir()] == [built[0].name]


def _on(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize("where", [("Linux", "aarch64"), ("Darwin", "x86_64"), ("Windows", "AMD64")])
def test_other_platforms_are_refused_by_name(where: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _on(monkeypatch, *where)
    with pytest.raises(BackendUnavailable, match=rf"Linux x86-64.*{where[0]} {where[1]}.*emulator"):
        build.stand_in_library()


def test_the_environment_keeps_what_was_preloaded_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    assert environment(Path("/a.so"), "/s") == {"LD_PRELOAD": "/a.so", "BCALL_VIRTUAL_BOARD": "/s"}
    monkeypatch.setenv("LD_PRELOAD", "/b.so")
    assert environment(Path("/a.so"), "/s")["LD_PRELOAD"] == "/a.so:/b.so"


@pytest.mark.parametrize("serial", ["", "123456789", "a b", "ä", "x\0"])
def test_serial_numbers_that_libcaer_has_no_room_for(serial: str) -> None:
    with pytest.raises(InvalidValue, match="serial number"):
        VirtualBoardServer(VirtualBoard(CHIP), serial=serial)


@pytest.mark.parametrize(
    "text",
    ["flood=nan", "flood=-5", "flood=1e12", "flood=inf", "unplug@-1", "hang@-0.5", "unplug@-1w", "hang@nan", "unplug@inf"],
)
def test_faults_that_cannot_be(text: str) -> None:
    with pytest.raises(InvalidValue, match="fault"):
        Faults.parse([text])


@pytest.mark.parametrize("text", ["flood=0", "flood=1e6", "unplug@0", "hang@0.5", "unplug@0w"])
def test_faults_that_can(text: str) -> None:
    assert isinstance(Faults.parse([text]), Faults)
