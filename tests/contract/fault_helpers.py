"""What the fault tests share: a network that spikes, a board on a bench, errors by class and words, processes by mark."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcall_hw.arrays import IntArray
from bcall_hw.backend import open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.samna_board import board as board_module
from bcall_hw.backend.samna_board import opening
from bcall_hw.backend.samna_board.board import SamnaBoard
from bcall_hw.backend.samna_board.virtual.board import VirtualBoard
from bcall_hw.backend.samna_board.virtual.build import stand_in_library
from bcall_hw.backend.samna_board.virtual.faults import Faults
from bcall_hw.backend.samna_board.virtual.server import Clock, VirtualBoardServer, environment
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.errors import BcallError
from bcall_hw.mapper import MappedNetwork, map_network
from bcall_hw.network import AllToAll, Connection, Input, Network, NeuronParameters, Population, SynapseParameters
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import Stimulus

#: Every process that a test starts inherits this variable, and is known by it whoever its parent is by then.
MARK = "BCALL_FAULT_TEST"
PROFILE = BoardProfile(seed=7, mismatch_cv=0.2)
#: Board time of a run that a test breaks off, and the time limit that such a run gets (s).
LONG_S, LIMIT_S = 2000.0, 1.5
GONE_S = 8.0


def mapped_network(chip: ChipModel, dc_a: float = 0.0) -> MappedNetwork:
    """20 inputs to 64 neurons, which fire by themselves with `dc_a`."""
    neuron = NeuronParameters(
        tau_s=20e-3,
        refractory_s=3e-3,
        gain_a=1e-9,
        pulse_width_s=20e-6,
        dc_a=dc_a,
        synapses={"AMPA": SynapseParameters(tau_s=10e-3, weight_a=60e-12)},
    )
    network = Network(
        inputs=[Input(name="in", size=20)],
        populations=[Population(name="out", size=64, neuron=neuron)],
        connections=[Connection(name="c", source="in", target="out", synapse="AMPA", rule=AllToAll())],
    )
    return map_network(network, chip)


MAPPED = mapped_network(load_chip("dynapse1"))


def stimulus(seconds: float = 0.2, first_us: float = 0.0, isi_base: int | None = None) -> Stimulus:
    """An event every 100 us."""
    event: IntArray = np.arange(round(seconds * 10_000), dtype=np.int64)
    times_us = np.asarray(first_us + event * 100.0, dtype=np.float64)
    return MAPPED.stimulus({"in": (event % 20, times_us)}, isi_base)


def whole_board(chip: ChipModel, seed: int) -> ChipConfig:
    """All CAM entries of the board random: a quarter of a million words to write."""
    start, rng = ChipConfig.after_opening(chip, range(4)), np.random.default_rng(seed)
    cam, biases = start.cam.copy(), start.biases.copy()
    for field, top in (("source_core", 4), ("source_neuron", 256), ("type", 4)):
        cam[field] = rng.integers(0, top, cam.shape)
    biases[...] = (0, 0, 1)
    return start.with_registers(cam=cam, biases=biases)


# Errors --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def fails(kind: type[BcallError], *words: str) -> Iterator[pytest.ExceptionInfo[BcallError]]:
    """An error of just this class, whose text has all the words, and which `--json` can print."""
    with pytest.raises(BcallError) as found:
        yield found
    assert found.type is kind, f"{found.type.__name__} instead of {kind.__name__}: {found.value}"
    missing = [word for word in words if word not in str(found.value)]
    assert not missing, f"{missing} not in: {found.value}"
    assert json.loads(json.dumps(found.value.as_dict()))["error"] == kind.__name__


def short_limits(patch: pytest.MonkeyPatch, seconds: float = LIMIT_S) -> None:
    """Time limits of all requests, that of a run of LONG_S among them."""
    for module, names in ((opening, ("ASK_S", "START_S")), (board_module, ("ASK_S", "_OPEN_S", "_WRITE_S"))):
        for name in names:
            patch.setattr(module, name, seconds)
    patch.setattr(board_module, "_WORD_S", 0.0)
    patch.setattr(board_module, "_RUN_MORE_S", seconds - LONG_S)


def long_run(board: SamnaBoard) -> None:
    """A run that a test breaks off; should it fail to, the run ends after a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board_module, "_RUN_MORE_S", 20 - LONG_S)
        board.run(Stimulus(MAPPED.config.chip), LONG_S)


# Processes -----------------------------------------------------------------------------------------------------------


def marked(mark: str) -> dict[int, str]:
    """Processes that were started under a mark, zombies not among them: number and command."""
    found, wanted = {}, f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(folder.name) != os.getpid() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[-200:]
    return found


def zombies() -> list[int]:
    """Our children that have ended and that nobody waited for."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                found.append(int(file.parent.name))
    return found


def is_there(process: int) -> bool:
    """Whether there is such a process, a zombie too."""
    return Path(f"/proc/{process}").exists()


def until(wanted: Callable[[], Any], seconds: float = 30.0) -> bool:
    """Wait for something; False where it does not come."""
    end = time.monotonic() + seconds
    while not wanted():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


@contextlib.contextmanager
def when(wanted: Callable[[], Any], act: Callable[[], Any]) -> Iterator[None]:
    """Do something from another thread as soon as it is time."""
    over = threading.Event()

    def wait() -> None:
        until(lambda: over.is_set() or wanted())
        if not over.is_set():  # too late is better than to wait for ever
            act()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# Boards --------------------------------------------------------------------------------------------------------------


class Bench:
    """A virtual board that stays, whatever becomes of those who open it."""

    def __init__(self, faults: Faults | None = None, clock: Clock = "sleep") -> None:
        self.device = VirtualBoard(MAPPED.config.chip, PROFILE)
        self.server = VirtualBoardServer(self.device, clock, faults=faults)
        self.environment = environment(stand_in_library(), self.server.path)
        self._board: SamnaBoard | None = None

    def open(self, **options: Any) -> SamnaBoard:
        """The board, opened by another worker."""
        return SamnaBoard(None, self.device.chip, environment=self.environment | {MARK: "bench"}, **options)

    @property
    def board(self) -> SamnaBoard:
        """The board with the network applied; opened again where it was lost."""
        if self._board is None or self._board.state != "open":
            self._board = self.open()
        self._board.apply(MAPPED.config)
        return self._board

    def let_go(self) -> None:
        """Close the board, not its server."""
        if self._board is not None:
            self._board.close()
        self._board = None

    def works(self) -> None:
        """The board can be opened (if need be), holds what is written, and spikes."""
        board = self.board
        assert self.holds(MAPPED.config)
        assert len(board.run(stimulus(), 0.2)) > 100

    def holds(self, config: ChipConfig) -> bool:
        """Whether the board's registers come to be these; words may be on their way."""

        def is_equal() -> bool:
            with self.server._lock:
                return self.device.device.config.of_chips(config.chips) == config

        return until(is_equal, 3)

    def close(self) -> None:
        """Take all away."""
        self.let_go()
        self.server.close()

    def writing(self) -> Callable[[], bool]:
        """Tells when 60,000 more words have come: opening writes fewer."""
        start = self.device.device.words_received
        return lambda: self.device.device.words_received > start + 60_000

    def running(self) -> Callable[[], bool]:
        """Tells when two more seconds of board time have passed."""
        start = self.device.time_us
        return lambda: self.device.time_us > start + 2_000_000


class Pair:
    """A board and an emulator that are told the same, and must answer alike."""

    def __init__(self, faults: Faults | None = None, profile: BoardProfile = PROFILE, **options: Any) -> None:
        chip = MAPPED.config.chip
        self.board: SamnaBoard = open_backend("samna:virtual", chip=chip, profile=profile, faults=faults, **options)  # type: ignore[assignment]
        self.emulator = open_backend("emulator", chip=chip, chips=MAPPED.config.chips, profile=profile)
        for backend in (self.board, self.emulator):
            backend.apply(MAPPED.config)

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.board.close()

    def run(self, played: Stimulus, seconds: float) -> tuple[SpikeRecording, SpikeRecording]:
        """The board's answer, and the emulator's."""
        return self.board.run(played, seconds), self.emulator.run(played, seconds)

    def agree(self) -> None:
        """A run: spikes, the same on both."""
        assert self.board.apply(MAPPED.config) == 0
        ours, theirs = self.run(stimulus(), 0.2)
        assert len(theirs) > 100
        assert ours.sha256 == theirs.sha256


def send(process: int, name: str) -> None:
    """A signal by its name."""
    os.kill(process, getattr(signal, name))
