"""The process that runs samna, without samna: its frames, what it finds, and mock samnas of three generations behind it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator_helpers import CHIP, events, poisson, silence

from bcall_hw.backend.samna_board import board as board_module
from bcall_hw.backend.samna_board import opening
from bcall_hw.backend.samna_board.board import SamnaBoard
from bcall_hw.backend.samna_board.client import _START, PYTHON_VARIABLE, Client
from bcall_hw.backend.samna_board.worker import adapters, frames
from bcall_hw.backend.samna_board.worker.find import find_samna
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import (
    BackendProblem,
    BackendUnavailable,
    BoardBusy,
    BoardClosed,
    BoardLost,
    EventFlood,
    InvalidValue,
    NoSuchBoard,
    PortInUse,
    WorkerDied,
    WorkerHangs,
)

MOCKS = Path(__file__).with_name("samna_mocks")
WORKER = Path(adapters.__file__).parent
SERIAL = f"MOCK{os.getpid()}"
NAMES = [bias.name for bias in CHIP.biases]
Call = list[Any]


# Frames ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(10)
        right.settimeout(10)
        yield left, right


def test_frames_of_any_size_arrive_whole_and_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    rng = np.random.default_rng(0)
    sizes = [0, 1, 15, 16, 17, 1 << 20, (1 << 20) + 1, *rng.integers(0, 3_000_000, 12).tolist()]
    sent = [({"do": "x" * int(rng.integers(0, 5000)), "n": size, "text": "ä\n"}, rng.bytes(size)) for size in sizes]
    sender = threading.Thread(target=lambda: [frames.send(pair[0], *frame) for frame in sent])
    sender.start()
    found = [frames.receive(pair[1]) for _ in sent]
    sender.join()
    assert found == sent


def test_frames_that_come_byte_by_byte(pair: tuple[socket.socket, socket.socket]) -> None:
    text = b'{"do": "go"}'
    raw = struct.pack("<QQ", len(text), 3) + text + b"abc"
    sender = threading.Thread(target=lambda: [pair[0].sendall(raw[k : k + 1]) for k in range(len(raw))])
    sender.start()
    assert frames.receive(pair[1]) == ({"do": "go"}, b"abc")
    sender.join()


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 17, 27, 28, 30])
def test_a_connection_that_is_cut_ends(pair: tuple[socket.socket, socket.socket], cut: int) -> None:
    text = b'{"do": "go"}'
    pair[0].sendall((struct.pack("<QQ", len(text), 3) + text + b"abc")[:cut])
    pair[0].close()
    assert frames.receive(pair[1]) is None


def test_a_connection_that_is_silent_times_out(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].settimeout(0.05)
    with pytest.raises(TimeoutError):
        frames.receive(pair[1])


# Finding samna ---------------------------------------------------------------------------------------------------------


def install(folder: Path, generation: str | None = "node", version: str | None = "0.7.1.0", binary: bool = True) -> Path:
    """A folder with a mock samna; without a generation, one that must not be imported."""
    folder.mkdir(exist_ok=True)
    if generation is None:
        (folder / "samna").mkdir()
        (folder / "samna" / "__init__.py").write_text("open(__file__ + '.imported', 'w').close()\nraise SystemExit('no')\n")
    else:
        shutil.copytree(MOCKS / generation / "samna", folder / "samna")
    if binary:
        (folder / "samna" / "deep").mkdir()
        (folder / "samna" / "deep" / "x.so").touch()
    if version is not None:
        information = folder / f"samna-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: samna\nVersion: {version}\n")
    return folder


def looked_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str | None, str]:
    monkeypatch.setattr(sys, "path", [str(folder)])
    importlib.invalidate_caches()
    before = set(sys.modules)
    found = find_samna()
    assert "samna" not in set(sys.modules) - before
    assert not list(folder.rglob("*.imported"))
    return found.kind, found.version, found.advice


def test_no_samna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, version, advice = looked_up(tmp_path, monkeypatch)
    assert (kind, version) == ("absent", None)
    assert "0.7.1.0" in advice


def test_a_folder_or_module_called_samna_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samna.py").write_text("raise SystemExit")
    assert looked_up(tmp_path, monkeypatch)[0] == "absent"


@pytest.mark.parametrize("version", ["0.48.6", None])
def test_the_loader_is_told_from_the_binary_and_never_imported(
    version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, None, version, binary=False)
    kind, found, advice = looked_up(tmp_path, monkeypatch)
    assert (kind, found) == ("loader", version)
    assert "loader" in advice
    assert "0.7.1.0" in advice


@pytest.mark.parametrize("suffix", [".so", ".pyd", ".dylib", ".cpython-310-x86_64-linux-gnu.so"])
def test_the_binary(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, None, "0.7.1.0", binary=False)
    (tmp_path / "samna" / f"_samna{suffix}").touch()
    assert looked_up(tmp_path, monkeypatch)[:2] == ("binary", "0.7.1.0")


# Adapters: the table of facts ------------------------------------------------------------------------------------------


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, list[Call]]]:
    """Import a mock samna here; gives the module and its list of calls."""
    monkeypatch.setenv("MOCK_SAMNA_BIASES", json.dumps(NAMES))

    def imported(generation: str, **options: Any) -> tuple[Any, list[Call]]:
        for name in [n for n in sys.modules if n.split(".")[0] in ("samna", "mock_samna")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setenv("MOCK_SAMNA", json.dumps(options))
        monkeypatch.syspath_prepend(str(MOCKS))
        monkeypatch.syspath_prepend(str(MOCKS / generation))
        samna, shared = importlib.import_module("samna"), importlib.import_module("mock_samna")
        for name in ("samna", "mock_samna"):
            monkeypatch.delitem(sys.modules, name)
        shared.CALLS.clear()
        return samna, shared.CALLS

    return imported


VERSIONS = {
    "0.6.0": "DeviceNode", "0.7": "DeviceNode", "0.7.1.0": "DeviceNode", "0.7.99": "DeviceNode",
    "0.8.22": "DeviceModule", "0.9.0": "DeviceModule", "0.10.1": "DeviceModule", "0.14.10": "DeviceModule",
    "0.15.0": "InOneProcess", "0.36.2": "InOneProcess", "0.48.6": "InOneProcess", "1.0": "InOneProcess",
    "0.14.10.dev3": "DeviceModule", "0.14rc1": "DeviceModule",
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_which_generation_a_version_belongs_to(version: str) -> None:
    adapter = adapters.adapter_for(version)
    assert adapter.__name__ == VERSIONS[version]
    assert adapter.verified == ("0.7.1.0" if adapter is adapters.DeviceNode else "")


def used(adapter: Any) -> None:
    """What a session does with an adapter."""
    (info,) = adapter.boards()
    model = adapter.open(info)
    adapter.sink(model).get_events()
    adapter.close(model)


NODES = [
    ["SamnaNode", "tcp://127.0.0.1:4001", "tcp://127.0.0.1:4002", 1],
    ["setup_local_node", "tcp://127.0.0.1:4002", "tcp://127.0.0.1:4001", 2],
    ["open_remote_node", 1, "device_node"],
]
LISTED = ["get_unopened_devices"]
BY_GRAPH = [["get_source_node"], ["sequential", "Model", "Sink"], ["graph.start"]]
TABLE: dict[tuple[str, str], list[Call]] = {
    ("DeviceNode", "node"): [
        *NODES, LISTED, ["open_device", "MOCK", "bcall_hw_board"], ["sink_node"], ["get_source_node"], ["get_input_channel"],
        ["add_destination", "channel"], ["close_device", "bcall_hw_board"],
    ],
    ("DeviceModule", "module"): [*NODES, LISTED, ["open_device", "MOCK"], ["sink_node"], *BY_GRAPH, ["close_device"]],
    ("InOneProcess", "one_process"): [
        ["init_samna"], LISTED, ["open_device", "MOCK"], ["get_source_node"], ["sink_node"], *BY_GRAPH[1:], ["close_device"],
    ],
    ("InOneProcess", "sink_from"): [
        LISTED, ["open_device", "MOCK"], ["get_source_node"], ["sink_from", "Model"], ["close_device"],
    ],
}  # fmt: skip


@pytest.mark.parametrize(("adapter", "generation"), TABLE)
def test_the_calls_of_each_generation(adapter: str, generation: str, mock: Callable[..., tuple[Any, list[Call]]]) -> None:
    samna, calls = mock(generation)
    used(getattr(adapters, adapter)(samna, (4001, 4002)))
    wanted = TABLE[adapter, generation]
    assert sorted(map(str, calls)) == sorted(map(str, wanted))
    order = [call for call in calls if call[0] not in ("sink_node", "get_source_node")]  # these two in any order
    assert order == [call for call in wanted if call[0] not in ("sink_node", "get_source_node")]


@pytest.mark.parametrize("generation", ["node", "module"])
@pytest.mark.parametrize("failures", [2, 4])
def test_the_remote_node_is_tried_again(generation: str, failures: int, mock: Callable[..., tuple[Any, list[Call]]]) -> None:
    samna, calls = mock(generation, faults=[["open_remote_node", k + 1, "timed out"] for k in range(failures)])
    adapter = adapters.DeviceNode if generation == "node" else adapters.DeviceModule
    used(adapter(samna, None))
    assert [call[0] for call in calls].count("open_remote_node") == failures + 1
    assert [call[0] for call in calls].count("SamnaNode") == 1


def test_a_remote_node_that_never_comes_is_given_up(mock: Callable[..., tuple[Any, list[Call]]]) -> None:
    samna, calls = mock("node", faults=[["open_remote_node", 0, "timed out"]])
    with pytest.raises(RuntimeError, match="timed out"):
        adapters.DeviceNode(samna, None)
    assert 3 <= [call[0] for call in calls].count("open_remote_node") <= 20


@pytest.mark.parametrize("where", ["SamnaNode", "setup_local_node"])
def test_ports_in_use(where: str, mock: Callable[..., tuple[Any, list[Call]]]) -> None:
    samna, calls = mock("node", faults=[[where, 1, "Address already in use"]])
    adapters.DeviceNode(samna, None)  # other ports then
    nodes = [call[1:3] for call in calls if call[0] == "SamnaNode"]
    assert len(nodes) == 2
    assert len({port for node in nodes for port in node}) == 4
    samna, calls = mock("node", faults=[[where, 1, "Address already in use"]])
    with pytest.raises(adapters.PortInUse, match="in use"):
        adapters.DeviceNode(samna, (4001, 4002))
    samna, calls = mock("node", faults=[[where, 0, "Address already in use"]])
    with pytest.raises(adapters.PortInUse, match="in use"):
        adapters.DeviceNode(samna, None)
    samna, calls = mock("node", faults=[[where, 1, "something else"]])
    with pytest.raises(RuntimeError, match="something else"):
        adapters.DeviceNode(samna, None)


# The whole process -----------------------------------------------------------------------------------------------------


class Opened:
    """How to open a board on a mock samna, and what the mock saw."""

    def __init__(self, folder: Path, opened: list[SamnaBoard]) -> None:
        self.folder, self._opened = folder, opened
        self._calls, self._state = folder / "calls", folder / "state"
        self.version, self.generation = "0.7.1.0", "node"

    def environment(self, **options: Any) -> dict[str, str]:
        self._calls.unlink(missing_ok=True)
        packages = self.folder / f"{self.generation}-{self.version}"
        if not packages.exists():
            install(packages, self.generation, self.version)
        return {
            "PYTHONPATH": f"{packages}:{MOCKS}", "MOCK_SAMNA": json.dumps({"serials": [SERIAL], **options}),
            "MOCK_SAMNA_CALLS": str(self._calls), "MOCK_SAMNA_STATE": str(self._state), "MOCK_SAMNA_BIASES": json.dumps(NAMES),
        }  # fmt: skip

    def __call__(
        self, serial: str | None = None, faults: Any = (), keep: dict[str, Any] | None = None, **options: Any
    ) -> SamnaBoard:
        board = SamnaBoard(serial, CHIP, environment=self.environment(faults=list(faults), **options), **(keep or {}))
        self._opened.append(board)
        return board

    @property
    def calls(self) -> list[Call]:
        return [json.loads(line) for line in self._calls.read_text().splitlines()] if self._calls.exists() else []

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._state.read_text())
        tables = {k: {tuple(json.loads(at)): v for at, v in found[k].items()} for k in ("cam", "sram", "bias", "tau2")}
        return {"words": found["words"], **tables}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    boards: list[SamnaBoard] = []
    yield Opened(tmp_path, boards)
    for board in boards:
        board.close()
        assert is_gone(board.worker_process)


def is_gone(process: int) -> bool:
    """Waited for, or dead and unwaited for."""
    for _ in range(100):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def wanted_config(seed: int = 1, chips: tuple[int, ...] = (1,)) -> ChipConfig:
    """Random registers within their fields; every bias high."""
    rng = np.random.default_rng(seed)
    config = ChipConfig.after_opening(CHIP, chips)
    arrays = {name: getattr(config, name).copy() for name in ("cam", "sram", "biases")}
    tops = {"cam": (4, 256, 4), "sram": (4, 2, 4, 2, 4, 16), "biases": (8, 256)}
    for name, array in arrays.items():
        hit = rng.random(array.shape) < (0.02 if name == "cam" else 0.3)
        for field, top in zip(array.dtype.names, tops[name], strict=False):
            array[field][hit] = rng.integers(0, top, int(hit.sum()))
    arrays["biases"]["high"] = 1
    return config.with_registers(**arrays, tau2=rng.random(config.tau2.shape) < 0.1)


WANTED = wanted_config()


def assert_mock_holds(state: dict[str, Any], config: ChipConfig) -> None:
    """The mock's board, cell by cell; cleared cells are (0, 0, 0) on the chip."""
    for index, c in enumerate(config.chips):
        cam, sram, biases = config.cam[index].tolist(), config.sram[index].tolist(), config.biases[index].tolist()
        for k in range(4):
            for n in range(256):
                assert [tuple(state["cam"].get((c, k, n, e), (0, 0, 0))) for e in range(64)] == cam[k][n]
                assert [tuple(state["sram"].get((c, k, n, e), (0,) * 6)) for e in (1, 2, 3)] == sram[k][n]
                assert (c, k, n, 0) not in state["sram"]  # the monitor's
                assert state["tau2"].get((c, k, n), 0) == config.tau2[index, k, n]
            assert [(*state["bias"][c, k, name], 1) for name in NAMES] == biases[k]


def names(calls: list[Call]) -> list[str]:
    return [call[0] for call in calls]


@pytest.mark.parametrize(
    ("version", "generation"), [("0.7.1.0", "node"), ("0.14.10", "module"), ("0.36.1", "one_process"), ("0.48.6", "sink_from")]
)
def test_a_board_is_opened_written_run_and_closed(version: str, generation: str, opened: Opened) -> None:
    opened.version, opened.generation = version, generation
    rows = [[4_000, 17, 2, 1], [150, 255, 3, 1], [20_000, 0, 0, 0]]
    rows.sort()
    board = opened(SERIAL, spikes=rows, stale=[[7, 7, 1, 1]])
    assert (board.board, board.state) == (SERIAL, "open")
    assert version in board.name
    opening = names(opened.calls)
    assert opening.index("open_device") < opening.index("update_single_parameter")

    first, second = wanted_config(1), wanted_config(2)
    verified = generation == "node"
    for config in (first, second) if verified else (second,):
        planned = board.preview(config)
        before = len(opened.calls)
        assert board.apply(config) == len(planned)
        assert names(opened.calls[before:]).count("apply_configuration") <= 2
        assert ("nobody has tried it" in str(board.warnings)) == (not verified)
        assert not verified or board.read_back() == config
    assert board.apply(second) == len(board.preview(second)) == 0

    before = len(opened.calls)
    stimulus = poisson({300: 100.0}, chip=1, core_mask=15, listed=events([(10.0, 1, 5, 513), (900.0, 1, 15, 4)]))
    recording = board.run(stimulus, 0.05)
    assert recording.spikes.tolist() == [(ts, chip, core, neuron) for ts, neuron, core, chip in rows]
    assert board.left_out == {"before": 1, "after": 0, "bounced": 0}
    assert "other than (1,)" in str(board.warnings)
    run = opened.calls[before:]
    order = names(run)
    # The variable mode comes before the list, the reset of the time stamps before both starts, and all is stopped.
    assert order.index("set_variable_isi_mode") < order.index("preload_stimulus") < order.index("reset_timestamp")
    assert ["set_variable_isi_mode", True] in run
    assert ["set_repeat_mode", False] in run
    assert ["set_isi_multiplier", stimulus.isi_base] in run
    listed = next(call[1] for call in run if call[0] == "preload_stimulus")
    assert [row[1:] for row in listed] == [[1, 5, 513], [1, 15, 4]]
    assert np.cumsum([row[0] for row in listed]) * stimulus.isi_base / 90 == pytest.approx([10.0, 900.0])
    assert ["set_chip_id", 1] in run
    (rate,) = [call[2] for call in run if call[0] == "write_poisson_rate_hz" and call[1] == 300]
    assert int(rate / 0.06706) == int(100 / 0.06706)
    for name in ("list", "poisson"):
        assert order.index("reset_timestamp") < order.index(f"{name}.start") < order.index(f"{name}.stop")

    before = len(opened.calls)
    assert len(board.run(silence(), 0.01)) == 2
    assert "list.start" not in names(opened.calls[before:])
    assert "poisson.start" not in names(opened.calls[before:])
    board.close()
    board.close()
    assert board.state == "closed"
    assert is_gone(board.worker_process)
    assert names(opened.calls)[-1] == "close_device"
    state = opened.state
    assert_mock_holds(state, second)
    for c, k, name in np.ndindex(4, 4, 25):
        assert (c, k, NAMES[name]) in state["bias"]  # every bias of the board was written, zero or not
        quiet = (5, 255) if NAMES[name] in ("IF_TAU1_N", "IF_TAU2_N") else (0, 0)
        assert c == 1 or tuple(state["bias"][c, k, NAMES[name]]) == quiet
    assert {at[0] for at in state["cam"]} == {1}
    with pytest.raises(BoardClosed, match="it was closed"):
        board.run(silence(), 0.01)


def test_words_that_are_told_are_words_that_samna_sends(opened: Opened) -> None:
    board = opened()
    told = 0
    for seed, chips in ((3, (0,)), (4, (0, 2)), (5, (2,))):
        told += board.apply(wanted_config(seed, chips))
    board.close()
    state = opened.state
    silenced = sum(
        call[0] == "update_single_parameter" for call in opened.calls[: names(opened.calls).index("apply_configuration")]
    )
    assert 400 <= silenced <= 800
    assert_mock_holds(state, wanted_config(5, (2,)))
    assert 0 <= state["words"] - told - 400 <= 400  # and those that silence the board


@pytest.mark.parametrize("failures", [0, 2])
def test_the_remote_node_is_tried_again_in_the_process(failures: int, opened: Opened) -> None:
    board = opened(faults=[["open_remote_node", k + 1, "timed out"] for k in range(failures)])
    assert names(opened.calls).count("open_remote_node") == failures + 1
    assert board.state == "open"


def test_ports_in_use_are_an_error_of_their_own(opened: Opened) -> None:
    for where in ("SamnaNode", "setup_local_node"):
        with pytest.raises(PortInUse, match="Address already in use"):
            opened(faults=[[where, 0, "Address already in use"]], keep={"ports": (4001, 4002)})
    assert opened(keep={"ports": (4003, 4004)}).state == "open"
    assert ["SamnaNode", "tcp://127.0.0.1:4003", "tcp://127.0.0.1:4004", 1] in opened.calls


@pytest.mark.parametrize("ports", [(1,), (5, 5), (0, 5), (5, 65536), ("a", "b"), (True, 2)])
def test_impossible_ports(ports: Any, opened: Opened) -> None:
    with pytest.raises(InvalidValue, match="ports"):
        opened(keep={"ports": ports})
    assert opened.calls == []


def test_which_board(opened: Opened) -> None:
    with pytest.raises(NoSuchBoard, match="no board"):
        opened(serials=[])
    with pytest.raises(NoSuchBoard, match="OTHER"):
        opened("OTHER")
    with pytest.raises(NoSuchBoard, match="several"):
        opened(serials=[SERIAL, "TWO"])
    with pytest.raises(NoSuchBoard, match=r"opens the first.*Unplug the others"):
        opened(f"{SERIAL}b", serials=[SERIAL, f"{SERIAL}b"])
    with pytest.raises(BoardBusy, match="right to open"):
        opened(serials=[""])


def test_one_holder_for_a_board(opened: Opened) -> None:
    first = opened()
    with pytest.raises(BoardBusy, match=f"board {SERIAL}.*process {os.getpid()}"):
        opened()
    first.close()
    assert opened().state == "open"


MOMENTS = [
    "import", "SamnaNode", "get_unopened_devices", "open_device", "update_single_parameter", "apply_configuration",
    "preload_stimulus", "list.start", "get_events",
]  # fmt: skip


def lived(opened: Opened, faults: list[Any]) -> None:
    """A session that ends in the faults."""
    with opened(faults=faults) as board:
        board.apply(WANTED)
        board.run(events([(10.0, 1, 5, 513)]), 0.02)


@pytest.mark.parametrize("turn", range(len(MOMENTS)))
def test_a_crash_of_samna_is_an_error_here(turn: int, opened: Opened) -> None:
    how, said = [("abort", "SIGABRT"), ("segfault", "SIGSEGV"), ("exit", "exit code 3")][turn % 3]
    with pytest.raises(WorkerDied, match=said):
        lived(opened, [[MOMENTS[turn], 0, how]])


def test_after_a_crash_the_board_is_not_held(opened: Opened) -> None:
    """The error says: open it again. The old object may still lie around, in a traceback for one."""
    board = opened(faults=[["apply_configuration", 1, "abort"]])
    with pytest.raises(WorkerDied, match="open it again"):
        board.apply(WANTED)
    assert opened().state == "open"


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_exception_of_samna_is_an_error_here(moment: str, opened: Opened) -> None:
    with pytest.raises(BackendProblem, match="RuntimeError: mock failure"):
        lived(opened, [[moment, 0, "mock failure"]])


@pytest.mark.parametrize("moment", ["SamnaNode", "open_device", "apply_configuration", "get_events"])
def test_a_samna_that_hangs_is_ended(moment: str, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_OPEN_S", "_WRITE_S", "_RUN_MORE_S"):
        monkeypatch.setattr(board_module, name, 0.8)
    monkeypatch.setattr(board_module, "_WORD_S", 0.0)
    monkeypatch.setattr(opening, "START_S", 0.8)
    began = time.monotonic()
    with pytest.raises(WorkerHangs, match=r"did not answer while .* and was ended"):
        lived(opened, [[moment, 0, "hang"]])
    assert time.monotonic() - began < 6


def test_after_a_crash_the_registers_are_unknown(opened: Opened) -> None:
    board = opened(faults=[["apply_configuration", 1, "abort"]])
    with pytest.raises(WorkerDied):
        board.apply(WANTED)
    assert board.state == "unknown"
    assert is_gone(board.worker_process)
    with pytest.raises(BoardClosed, match="unknown"):
        board.apply(WANTED)
    board.close()
    assert board.state == "unknown"


def test_after_an_exception_the_next_apply_brings_the_board_to_what_is_wanted(opened: Opened) -> None:
    """Nobody knows how much of a failed write arrived: here none of its biases did."""
    board = opened()
    silencing = names(opened.calls).count("update_single_parameter")
    board.close()
    board = opened(faults=[["update_single_parameter", silencing + 101, "mock failure"]])  # in the second apply
    board.apply(wanted_config(1))
    with pytest.raises(BackendProblem, match="mock failure"):
        board.apply(wanted_config(2))
    last = wanted_config(3)
    try:
        board.apply(last)
    except BackendProblem:
        return  # a board that must be opened again is fine too
    board.close()
    assert_mock_holds(opened.state, last)


def test_rubbish_on_the_outputs_does_no_harm(opened: Opened) -> None:
    board = opened(faults=[[moment, 1, "rubbish"] for moment in MOMENTS], spikes=[[50, 1, 2, 1]])
    board.apply(WANTED)
    assert len(board.run(events([(10.0, 1, 5, 513)]), 0.02)) == 1
    board.close()
    assert board.state == "closed"


def test_output_without_an_end_of_line_costs_no_time(opened: Opened) -> None:
    began = time.monotonic()
    board = opened(faults=[["open_device", 1, "mumble loading... 50 %"]])
    assert board.apply(WANTED) > 0
    assert time.monotonic() - began < 4


def test_usb_failures_that_are_only_printed_are_an_error(opened: Opened) -> None:
    board = opened(faults=[["apply_configuration", 1, "print [CRITICAL] Failed to send configuration, USB transfer failed."]])
    with pytest.raises(BoardLost, match="USB transfer failed"):
        board.apply(WANTED)
    assert board.state == "unknown"


def test_a_board_that_another_program_holds(opened: Opened) -> None:
    faults = [["open_device", 1, "print Failed to open device: it is in use"], ["open_device", 1, "abort"]]
    with pytest.raises(BoardBusy, match="another program holds it"):
        opened(faults=faults)


def test_more_spikes_than_a_run_may_hold(opened: Opened) -> None:
    board = opened(spikes=[[k + 1, k % 256, 0, 1] for k in range(3000)], keep={"max_spikes": 2999})
    board.apply(WANTED)
    with pytest.raises(EventFlood, match=r"3000.*2999"):
        board.run(silence(), 0.02)
    assert board.state == "open"


def test_the_loader_and_no_samna_at_all_are_told_by_name(opened: Opened, tmp_path: Path) -> None:
    install(tmp_path / "loader", None, "0.48.6", binary=False)
    with pytest.raises(BackendUnavailable, match=r"only the loader.*0\.7\.1\.0"):
        SamnaBoard(None, CHIP, environment={**opened.environment(), "PYTHONPATH": str(tmp_path / "loader")})
    assert not list(tmp_path.rglob("*.imported"))


def test_the_interpreter(tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendUnavailable, match="no-such-python"):
        Client(str(tmp_path / "no-such-python"))
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without any installed package
    bare.chmod(0o755)
    with pytest.raises(BackendUnavailable, match="samna is not installed"):
        SamnaBoard(None, CHIP, python=str(bare), environment={"PYTHONPATH": ""})
    monkeypatch.setenv(PYTHON_VARIABLE, str(bare))
    board = opened()  # the standard library is enough for the worker
    assert board.apply(WANTED) > 65_536
    with pytest.raises(BackendUnavailable, match=r"no Python.*exit code 1"):
        SamnaBoard(None, CHIP, python="/bin/false")


# Left alone ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def raw_worker(opened: Opened) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], socket.socket]]]:
    """A worker without the client: its process and our end of the connection."""
    started: list[tuple[subprocess.Popen[bytes], socket.socket]] = []

    def start(**options: Any) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", _START, str(WORKER), str(theirs.fileno())]
            process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **opened.environment(**options)},
                stderr=subprocess.DEVNULL,
            )
        ours.settimeout(20)
        started.append((process, ours))
        return process, ours

    yield start
    for process, ours in started:
        ours.close()
        process.kill()
        process.wait()


def ask(worker: socket.socket, do: str, **head: Any) -> dict[str, Any]:
    frames.send(worker, {"do": do, "seconds": 20, "number": 1, **head})
    answer = frames.receive(worker)
    assert answer is not None
    return answer[0]


TYPES = {"0": "GABA_B", "1": "GABA_A", "2": "NMDA", "3": "AMPA"}
OPENING = {"serial": None, "biases": NAMES, "types": TYPES, "probe": NAMES.index("R2R_P")}
RUN = {"duration_us": 60_000_000, "listed": True, "poisson": True, "quiet_s": 0.01, "most": 10}


@pytest.mark.parametrize("running", [False, True])
def test_a_worker_whose_parent_goes_lets_the_board_go(
    running: bool, raw_worker: Callable[..., tuple[subprocess.Popen[bytes], socket.socket]], opened: Opened
) -> None:
    process, worker = raw_worker()
    assert ask(worker, "start", ports=None)["adapter"] == "DeviceNode"
    assert ask(worker, "open", **OPENING)["board"]["serial_number"] == SERIAL
    if running:
        frames.send(worker, {"do": "run", "seconds": 90, "number": 1, **RUN})
        time.sleep(0.2)
    worker.close()
    assert process.wait(5) == 0
    calls = names(opened.calls)
    assert calls[-1] == "close_device"
    assert {"list.stop", "poisson.stop"} <= set(calls)


def test_a_worker_that_hangs_with_nobody_left_ends_itself(
    raw_worker: Callable[..., tuple[subprocess.Popen[bytes], socket.socket]],
) -> None:
    process, worker = raw_worker(faults=[["SamnaNode", 1, "hang"]])
    assert ask(worker, "find")["kind"] == "binary"
    frames.send(worker, {"do": "start", "seconds": -4.5, "number": 1, "ports": None})  # five more are granted
    assert process.wait(5) != 0


def test_requests_before_a_board_is_open_and_unknown_ones_are_answered(
    raw_worker: Callable[..., tuple[subprocess.Popen[bytes], socket.socket]],
) -> None:
    process, worker = raw_worker()
    for do in ("copy", "leaks", "run", "no_such_thing", "boards", "open"):
        assert "problem" in ask(worker, do, **RUN, **OPENING), do
    assert ask(worker, "start", ports=None)["version"] == "0.7.1.0"
    assert "problem" in ask(worker, "copy")
    assert "problem" not in ask(worker, "quit")
    assert process.wait(5) == 0
