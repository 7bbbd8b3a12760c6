"""What can go wrong ends in a named error, with this process alive, no other left behind, and the board usable again."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_helpers import (
    GONE_S,
    LIMIT_S,
    LONG_S,
    MAPPED,
    MARK,
    PROFILE,
    Bench,
    Pair,
    fails,
    is_there,
    long_run,
    mapped_network,
    marked,
    send,
    short_limits,
    stimulus,
    until,
    when,
    whole_board,
    zombies,
)

from bcall_hw.backend import open_backend
from bcall_hw.backend.samna_board import board as board_module
from bcall_hw.backend.samna_board import hold
from bcall_hw.backend.samna_board.board import SamnaBoard
from bcall_hw.backend.samna_board.client import PYTHON_VARIABLE
from bcall_hw.backend.samna_board.virtual import build
from bcall_hw.backend.samna_board.virtual.build import stand_in_library
from bcall_hw.backend.samna_board.virtual.faults import Faults
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import (
    BackendProblem,
    BackendUnavailable,
    BcallError,
    BoardBusy,
    BoardClosed,
    BoardLost,
    EventFlood,
    FieldOverflow,
    InvalidValue,
    IsiOverflow,
    NetworkDoesNotFit,
    NoSuchBoard,
    PortInUse,
    SpikesLost,
    StimulusProblem,
    StimulusTooLong,
    TimestampsBroken,
    UnknownChip,
    WorkerDied,
    WorkerHangs,
)
from bcall_hw.stimulus import EVENT_DTYPE, Stimulus

pytestmark = pytest.mark.samna


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """For faults that leave the board as it was."""
    with Pair() as opened:
        yield opened


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """For faults that end the worker; the board itself stays."""
    made = Bench()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of each test: all processes that it starts have ended a few seconds after it, as somebody's child or nobody's."""
    for name in (PYTHON_VARIABLE, "BCALL_VIRTUAL_BOARD", "LD_PRELOAD", "CC"):
        monkeypatch.delenv(name, raising=False)
    name = uuid.uuid4().hex
    monkeypatch.setenv(MARK, name)
    yield name
    gone = until(lambda: not marked(name), GONE_S)
    left = marked(name)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert gone, f"left behind: {left}"
    assert zombies() == []


def with_faults(**faults: Any) -> SamnaBoard:
    """A virtual board of its own on which something goes wrong."""
    return open_backend("samna:virtual", chip=MAPPED.config.chip, profile=PROFILE, faults=Faults(**faults))  # type: ignore[return-value]


def assert_ended(board: SamnaBoard) -> None:
    """After the loss of a worker: told, gone, and nothing more can be asked of the board."""
    assert board.state == "unknown"
    assert until(lambda: not is_there(board.worker_process), 2)
    for ask in (board.read_back, lambda: board.apply(MAPPED.config), lambda: board.run(stimulus(), 0.2)):
        with fails(BoardClosed, "not open any more", "registers are unknown", "Open it again"):
            ask()
    board.close()
    assert board.state == "unknown"


# No samna, or none that works ----------------------------------------------------------------------------------------


def program(folder: Path, text: str) -> str:
    """An executable file."""
    path = folder / "program"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_samna_is_absent(tmp_path: Path) -> None:
    python = program(tmp_path, f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    for address in ("samna:auto", "samna:virtual"):
        with fails(BackendUnavailable, "samna is not installed", python, "pip install samna==0.7.1.0", PYTHON_VARIABLE):
            open_backend(address, python=python)


def a_samna(folder: Path, patch: pytest.MonkeyPatch, text: str, compiled: bool) -> Path:
    """A package called samna that is found before the real one."""
    package = folder / "samna"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(folder / 'imported')!r}, 'w')\n{text}\n")
    if compiled:
        (package / "samna.cpython-310-x86_64-linux-gnu.so").touch()
    patch.setenv("PYTHONPATH", str(folder))
    return folder / "imported"


def test_loader_only_and_it_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = a_samna(tmp_path, monkeypatch, "import time; time.sleep(60)", compiled=False)
    began = time.monotonic()
    for address in ("samna:auto", "samna:virtual"):
        with fails(BackendUnavailable, "only the loader", "samna==0.7.1.0", "Nothing here imports it"):
            open_backend(address)
    done = bcall_hw("boards", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "BackendUnavailable"
    assert time.monotonic() - began < 20
    assert not imported.exists()


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("raise ImportError('libudev.so.1 is missing')", BackendProblem, ("starting samna", "libudev.so.1 is missing")),
        ("import os; os.abort()", WorkerDied, ("starting samna", "SIGABRT")),
        ("import os; os._exit(7)", WorkerDied, ("starting samna", "exit code 7")),
        ("import time; time.sleep(60)", WorkerHangs, ("starting samna", "did not answer")),
    ],
)
def test_samna_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: type[BcallError], words: tuple[str, ...]
) -> None:
    a_samna(tmp_path, monkeypatch, text, compiled=True)
    short_limits(monkeypatch)
    with fails(kind, *words) as found:
        open_backend("samna:auto")
    assert "registers" not in str(found.value), f"no board was opened yet: {found.value}"


@pytest.mark.parametrize("what", ["missing", "folder", "not executable", "no program"])
def test_interpreter_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    python = {"missing": "/nowhere/python3.10", "folder": str(tmp_path)}.get(what) or program(tmp_path, "some text\n")
    if what == "not executable":
        Path(python).chmod(0o644)
    monkeypatch.setenv(PYTHON_VARIABLE, python)
    with fails(BackendUnavailable, "cannot be started", python, PYTHON_VARIABLE):
        open_backend("samna:virtual")


@pytest.mark.parametrize("name", ["true", "cat"])
def test_interpreter_is_no_python(name: str) -> None:
    with pytest.raises((BackendUnavailable, WorkerDied)) as found:
        open_backend("samna:auto", python=f"/usr/bin/{name}")
    assert f"/usr/bin/{name}" in str(found.value)
    assert "registers" not in str(found.value), f"no board was opened yet: {found.value}"


def test_interpreter_behind_a_wrapper_that_hangs_is_ended_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`conda run` and shell scripts without exec: the interpreter is a grandchild."""
    python = program(tmp_path, '#!/bin/sh\nsleep 20\ntrue "$@"\n')
    short_limits(monkeypatch, 1.0)
    began = time.monotonic()
    with fails(WorkerHangs, "did not answer", python):
        open_backend("samna:auto", python=python)
    assert time.monotonic() - began < 10


# What a virtual board needs ------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bcall-hw"


@contextlib.contextmanager
def or_says(name: str) -> Iterator[None]:
    """It works, or a named error tells the name."""
    try:
        yield
    except BcallError as problem:
        if name not in str(problem):
            pytest.fail(f"{name} not in: {problem}")


@pytest.mark.parametrize("path", ["", "/nowhere"])
@pytest.mark.usefixtures("cache")
def test_no_c_compiler(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("PATH", path)
    with fails(BackendUnavailable, "C compiler", "none was found", "apt install gcc", "emulator"):
        open_backend("samna:virtual")


@pytest.mark.parametrize("compiler", ["/bin/false", "/bin/cat"])
def test_c_compiler_fails(monkeypatch: pytest.MonkeyPatch, cache: Path, compiler: str) -> None:
    monkeypatch.setenv("CC", compiler)
    with fails(BackendUnavailable, "C compiler failed", compiler):
        open_backend("samna:virtual")
    assert list(cache.iterdir()) == []


def test_another_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with fails(BackendUnavailable, "needs Linux x86-64", "arm64"):
        open_backend("samna:virtual")


def test_cache_folder_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    build._build_for_this_process.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert stand_in_library().is_relative_to(tmp_path)


def test_cache_folder_cannot_be_written(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Nobody can write to /proc, not even the root user of a container."""
    cache.parent.mkdir()
    cache.symlink_to("/proc/self")
    monkeypatch.setattr(tempfile, "tempdir", str(cache.parent))
    with or_says(str(cache)):
        assert stand_in_library().is_file()


def test_neither_cache_nor_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    build._build_for_this_process.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(BcallError, match="/proc/nowhere"):
        stand_in_library()


def test_cache_folder_whose_name_ends_a_preload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LD_PRELOAD is a list with spaces and colons between: a home folder may have them."""
    name = "with space and:colon"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    with or_says(name):
        open_backend("samna:virtual").close()


def test_temporary_folder_too_long_for_a_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    told: list[BaseException] = []
    try:
        open_backend("samna:virtual").close()
    except Exception as problem:
        told.append(problem.with_traceback(None))
    gc.collect()  # what is left open is this test's
    assert all(isinstance(problem, BcallError) for problem in told), told


def test_damaged_library(cache: Path) -> None:
    cache.mkdir(parents=True)
    library = stand_in_library()
    library.write_bytes(b"")
    with or_says(str(library)):
        open_backend("samna:virtual").close()


# No board, another's board, no port ----------------------------------------------------------------------------------


def test_no_board() -> None:
    with fails(NoSuchBoard, "no board is plugged in", "samna:virtual"):
        open_backend("samna:auto")


def test_no_board_for_the_command_line(tmp_path: Path) -> None:
    MAPPED.config.save(tmp_path / "config.h5")
    done = bcall_hw("deploy", str(tmp_path / "config.h5"), "--backend", "samna:FT1234", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["error"], told["used"]) == (2, "NoSuchBoard", "FT1234")
    assert "Traceback" not in done.stderr


def test_serial_number_unknown(bench: Bench) -> None:
    bench.let_go()
    with fails(NoSuchBoard, "FT1234", "there: VIRTUAL1", "bcall-hw boards"):
        SamnaBoard("FT1234", environment=bench.environment)
    bench.works()


@pytest.mark.parametrize(
    ("address", "words"),
    [("samna", ("samna:auto",)), ("samna:", ("which board?",)), ("dynapse", ("no such backend",)), ("", ("no such backend",))],
)
def test_address_unknown(address: str, words: tuple[str, ...]) -> None:
    with fails(BackendUnavailable, *words):
        open_backend(address)


@pytest.fixture
def locked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The bench's board, open, with the lock that a real board has: virtual ones have none."""
    bench.let_go()
    monkeypatch.setattr(hold, "VIRTUAL_VARIABLE", "NOT_VIRTUAL")
    bench.works()
    yield bench
    bench.works()
    bench.let_go()


def test_second_opener_in_this_process(locked: Bench) -> None:
    with fails(BoardBusy, "VIRTUAL1", "in use", f"process {os.getpid()}"):
        SamnaBoard(None, environment=locked.environment)


OPENER = """
from bcall_hw.backend import open_backend
from bcall_hw.backend.samna_board import hold
hold.VIRTUAL_VARIABLE = "NOT_VIRTUAL"
try:
    open_backend("samna:auto")
except Exception as problem:
    print(type(problem).__name__, problem)
"""


def test_second_opener_in_another_process(locked: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = locked.board.worker_process
    for name, value in locked.environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", OPENER], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("BoardBusy")
    assert f"process {os.getpid()}" in done.stdout
    assert locked.board.worker_process == holder


def test_second_opener_beside_a_program_that_is_not_ours(bench: Bench) -> None:
    """No lock tells: samna finds the board taken, and crashes."""
    bench.works()
    with fails(BoardBusy, "cannot be opened", "another program holds it"):
        SamnaBoard(None, environment=bench.environment)
    bench.works()


@pytest.mark.parametrize("taken", [0, 1])
def test_port_in_use(taken: int) -> None:
    with socket.socket() as busy, socket.socket() as free:
        for one in (busy, free):
            one.bind(("127.0.0.1", 0))
        busy.listen()
        ports = [free.getsockname()[1]] * 2
        ports[taken] = busy.getsockname()[1]
        free.close()
        with fails(PortInUse, "ports are in use"):
            open_backend("samna:auto", ports=tuple(ports))


# Options, registers, stimuli, runs out of range ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"ports": (5555, 5555)}, InvalidValue, ("two different ports", "5555")),
        ({"ports": (0, 5555)}, InvalidValue, ("1 to 65535",)),
        ({"ports": (5555, 65536)}, InvalidValue, ("1 to 65535",)),
        ({"ports": 5555}, InvalidValue, ("ports",)),
        ({"debounce_us": -1}, InvalidValue, ("debounce_us", "-1")),
        ({"quiet_s": 0.0}, InvalidValue, ("quiet_s",)),
        ({"quiet_s": float("nan")}, InvalidValue, ("quiet_s", "nan")),
        ({"max_spikes": 0}, InvalidValue, ("max_spikes",)),
        ({"on_loss": "ignore"}, InvalidValue, ("on_loss", "refuse or warn")),
        ({"serial": "LONGER-THAN-8"}, InvalidValue, ("serial", "LONGER-THAN-8")),
        ({"dt_us": 0}, InvalidValue, ("0",)),
        ({"dt_us": 7}, InvalidValue, ("7",)),
        ({"implementation": "fpga"}, InvalidValue, ("fpga",)),
        ({"pulses": "square"}, InvalidValue, ("square",)),
        ({"chip": "loihi"}, UnknownChip, ("loihi", "dynapse1")),
    ],
)
def test_option_out_of_range(options: dict[str, Any], kind: type[BcallError], words: tuple[str, ...]) -> None:
    with fails(kind, *words):
        open_backend("samna:virtual", **options).close()


def test_options_of_a_virtual_board_for_a_real_one() -> None:
    with fails(InvalidValue, "dt_us", "samna:virtual"):
        open_backend("samna:auto", dt_us=100)


def changed(kind: str, field: str, value: int) -> ChipConfig:
    """The network's registers with one value in one place."""
    array = getattr(MAPPED.config, kind).copy()
    array[(0,) * array.ndim][field] = value
    array[field][(0,) * array.ndim] = value
    return MAPPED.config.with_registers(**{kind: array})


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("cam", "source_core", 4),
        ("cam", "source_neuron", 256),
        ("cam", "type", 4),
        ("sram", "dx", 4),
        ("sram", "dy", 4),
        ("sram", "sx", 2),
        ("sram", "core_mask", 16),
        ("sram", "virtual_core", 4),
        ("biases", "coarse", 8),
        ("biases", "fine", 256),
    ],
)
def test_register_out_of_range_and_nothing_is_sent(pair: Pair, kind: str, field: str, value: int) -> None:
    config = changed(kind, field, value)
    for ask in (pair.board.preview, pair.board.apply):
        with fails(FieldOverflow, field, f"got {value}", "limit"):
            ask(config)
    assert len(pair.board.preview(MAPPED.config)) == 0
    pair.agree()


def test_low_range_bit(pair: Pair) -> None:
    with fails(NetworkDoesNotFit, "range bit is low", MAPPED.config.chip.biases[0].name, "chip 0 core 0"):
        pair.board.apply(changed("biases", "high", 0))
    pair.agree()


@pytest.mark.parametrize("given", [None, {"cam": []}, MAPPED, MAPPED.config.words()], ids=["none", "dict", "mapped", "words"])
def test_no_configuration(pair: Pair, given: Any) -> None:
    with fails(InvalidValue, "apply takes a ChipConfig", type(given).__name__):
        pair.board.apply(given)
    pair.agree()


def another_model(chip: ChipModel, **changes: Any) -> ChipModel:
    """The chip model with something else in it."""
    return chip.model_copy(update={"name": "other", "fingerprint": "0" * 64, **changes})


def test_another_chip_model(pair: Pair, chip: ChipModel) -> None:
    other = another_model(chip)
    with fails(InvalidValue, "another chip model", "other", chip.name):
        pair.board.apply(replace(MAPPED.config, chip=other))
    with fails(InvalidValue, "another chip", "other", chip.name):
        pair.board.run(Stimulus(other), 0.1)
    pair.agree()


def played(**values: Any) -> Stimulus:
    """One event after 10 us, to chip 0, all cores."""
    event = np.zeros(1, dtype=EVENT_DTYPE)
    event["isi"], event["core_mask"] = 10, 15
    for name, value in values.items():
        event[name] = value
    return Stimulus(MAPPED.config.chip, event, isi_base=90)


def poisson(rate_hz: float, chip_id: int = 0, mask: int = 15, sources: int = 1024) -> Stimulus:
    """All Poisson sources with one rate."""
    return Stimulus(
        MAPPED.config.chip, poisson_rates_hz=np.full(sources, rate_hz), poisson_chip=chip_id, poisson_core_mask=mask
    )


def from_times(times_us: Any) -> Stimulus:
    return Stimulus.from_times(MAPPED.config.chip, times_us, 0, 15, 0)


LATER_CORES = 15 ^ 1 << int(MAPPED.addresses["out"][0, 1])
STIMULI: list[tuple[str, Callable[[], Any], type[BcallError], tuple[str, ...]]] = [
    ("another chip", lambda: played(chip=3), StimulusProblem, ("event 0", "chip 3", "not configured")),
    ("no such chip", lambda: played(chip=4), StimulusProblem, ("chip", "got 4", "limit 3")),
    ("no core", lambda: played(core_mask=0), StimulusProblem, ("event 0", "core mask 0")),
    ("no such core", lambda: played(core_mask=16), StimulusProblem, ("core_mask", "16")),
    ("no such tag", lambda: played(tag=1024), StimulusProblem, ("tag", "1024", "1023")),
    ("after the run", lambda: played(isi=60_000), StimulusProblem, ("after the run", "60000", "50000")),
    ("gap", lambda: from_times([0.0, 2e6]), IsiOverflow, ("event 1", "gap", "isi_base")),
    ("gap of the register", lambda: played(isi=65_535), StimulusProblem, ("isi", "65535", "65534")),
    ("too many", lambda: from_times(np.arange(32_767.0)), StimulusTooLong, ("32767", "32766", "several runs")),
    ("Poisson too high", lambda: poisson(1e4), StimulusProblem, ("Poisson source 0", "out of range", "10000")),
    ("Poisson below a step", lambda: poisson(1e-4), StimulusProblem, ("Poisson source 0", "below one step")),
    ("Poisson negative", lambda: poisson(-1.0), StimulusProblem, ("Poisson source 0", "out of range")),
    ("Poisson nan", lambda: poisson(float("nan")), StimulusProblem, ("Poisson source 0", "nan")),
    ("Poisson of another chip", lambda: poisson(10.0, chip_id=1), StimulusProblem, ("chip 1", "not configured")),
    ("Poisson to no core", lambda: poisson(10.0, mask=0), StimulusProblem, ("reach no core",)),
    ("Poisson to a core more", lambda: poisson(10.0, mask=LATER_CORES), StimulusProblem, ("listens to", "not for it", "core")),
    ("Poisson sources too many", lambda: poisson(10.0, sources=1025), StimulusProblem, ("1025", "1024")),
    ("no stimulus", lambda: None, InvalidValue, ("run takes a Stimulus", "NoneType")),
    ("trains", lambda: {"in": ([0], [1.0])}, InvalidValue, ("run takes a Stimulus", "dict")),
]


@pytest.mark.parametrize(("make", "kind", "words"), [case[1:] for case in STIMULI], ids=[case[0] for case in STIMULI])
def test_stimulus_out_of_range(pair: Pair, make: Callable[[], Any], kind: type[BcallError], words: tuple[str, ...]) -> None:
    with fails(kind, *words):
        pair.board.run(make(), 0.05)
    pair.agree()


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), 1.5e-6, 1e-9, 1e7, "1", None, True])
def test_duration_out_of_range(pair: Pair, seconds: Any) -> None:
    with fails(InvalidValue, "duration", str(seconds)):
        pair.board.run(stimulus(), seconds)
    pair.agree()


@pytest.mark.parametrize("seconds", [0.20005, 1e-6])
def test_duration_of_no_whole_time_steps(pair: Pair, seconds: float) -> None:
    """The rest of a step would pass with the next run; the emulator has none."""
    for backend in (pair.board, pair.emulator):
        with fails(InvalidValue, "duration", str(seconds), "multiple of 100 us"):
            backend.run(stimulus(), seconds)
    pair.agree()


# What the virtual board cannot do is told ----------------------------------------------------------------------------


def test_what_the_emulator_refuses_does_not_rest_in_silence() -> None:
    """Pulses of 20 us cannot be finite in steps of 100 us: the emulator says so, the virtual board must too."""
    with pytest.raises(BcallError) as refused:
        open_backend("emulator", chips=MAPPED.config.chips, profile=PROFILE, pulses="finite").apply(MAPPED.config)
    board = open_backend("samna:virtual", profile=PROFILE, pulses="finite")
    try:
        board.apply(MAPPED.config)
        recording = board.run(stimulus(), 0.2)
        told = board.warnings
    except BcallError:
        return
    finally:
        board.close()
    assert told, f"{len(recording)} spikes and no word of: {refused.value}"


# The order of things -------------------------------------------------------------------------------------------------


def test_before_apply_after_close_and_forgotten(bench: Bench) -> None:
    bench.let_go()
    board = bench.open()
    asks: list[Callable[[], object]] = [board.read_back, lambda: board.run(stimulus(), 0.2)]
    for ask in asks:
        with fails(BackendProblem, "no configuration applied", "apply"):
            ask()
    process = board.worker_process
    board.close()
    board.close()
    assert board.state == "closed"
    assert not is_there(process)
    for ask in [*asks, lambda: board.apply(MAPPED.config)]:
        with fails(BoardClosed, "it was closed", "Open it again"):
            ask()
    process = bench.open().worker_process  # and one that nobody keeps
    gc.collect()
    assert until(lambda: not is_there(process), 5)
    bench.works()


def test_two_threads_on_one_board(bench: Bench) -> None:
    board, told = bench.board, list[Exception]()

    def meddle() -> None:
        for ask in (board.read_back, lambda: board.run(Stimulus(board._chip), 0.1)):
            try:
                ask()
            except Exception as problem:
                told.append(problem)

    with when(bench.running(), meddle):
        recording = board.run(Stimulus(MAPPED.config.chip), LONG_S / 4)
    assert [type(problem) for problem in told] == [BackendProblem] * 2
    assert all("one thread at a time" in str(problem) for problem in told)
    assert recording.duration_us == LONG_S / 4 * 1e6
    bench.works()


def test_closed_by_another_thread_in_a_run(bench: Bench) -> None:
    board = bench.board
    with when(bench.running(), board.close), pytest.raises(BackendProblem) as found:
        long_run(board)
    assert type(found.value) in (BoardClosed, WorkerDied)
    assert until(lambda: not is_there(board.worker_process), 5)
    assert board.state in ("closed", "unknown")
    bench.works()


# The worker's end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_worker_killed_while_idle(bench: Bench, name: str) -> None:
    board = bench.board
    send(board.worker_process, name)
    with fails(WorkerDied, name, "registers are unknown", "open it again"):
        board.run(stimulus(), 0.2)
    assert_ended(board)
    bench.works()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_worker_killed_in_a_run(bench: Bench, name: str) -> None:
    board = bench.board
    with when(bench.running(), lambda: send(board.worker_process, name)), fails(WorkerDied, name, "while running"):
        long_run(board)
    assert_ended(board)
    bench.works()


def test_lost_board_is_opened_again_as_the_error_says(bench: Bench) -> None:
    """Without `close` first: who holds a board that is lost?"""
    lost = bench.board
    send(lost.worker_process, "SIGKILL")
    with fails(WorkerDied, "open it again"):
        lost.read_back()
    try:
        bench.open().close()
    finally:
        lost.close()


def test_worker_killed_while_it_writes(bench: Bench, chip: ChipModel) -> None:
    board = bench.board
    with when(bench.writing(), lambda: send(board.worker_process, "SIGKILL")), fails(WorkerDied, "SIGKILL", "while writing"):
        board.apply(whole_board(chip, 1))
    assert_ended(board)
    bench.works()


@pytest.mark.parametrize("do", ["read", "write", "run", "close"])
def test_worker_stopped(bench: Bench, chip: ChipModel, monkeypatch: pytest.MonkeyPatch, do: str) -> None:
    board = bench.board
    short_limits(monkeypatch)
    began = time.monotonic()
    if do == "run":
        with when(bench.running(), lambda: send(board.worker_process, "SIGSTOP")), fails(WorkerHangs, "while running", "1.5 s"):
            board.run(Stimulus(MAPPED.config.chip), LONG_S)
    else:
        send(board.worker_process, "SIGSTOP")
        if do == "close":
            board.close()
        else:
            with fails(WorkerHangs, "reading samna's copy" if do == "read" else "while writing", f"{LIMIT_S:g} s"):
                board.read_back() if do == "read" else board.apply(whole_board(chip, 2))
    assert time.monotonic() - began < 12
    assert_ended(board)
    monkeypatch.undo()
    bench.works()


# The board's end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [{"unplug_words": 1}, {"unplug": 0}], ids=["writing", "listing"])
def test_unplugged_while_opening(faults: dict[str, Any]) -> None:
    kind = NoSuchBoard if "unplug" in faults else BoardLost
    with fails(kind):
        with_faults(**faults).close()


def test_unplugged_while_writing() -> None:
    board = with_faults(unplug_words=20_000)
    with fails(BoardLost, "did not take", "while writing", "plugged in"):
        board.apply(MAPPED.config)
    assert_ended(board)


def test_unplugged_in_a_run() -> None:
    board = with_faults(unplug=600_000)
    board.apply(MAPPED.config)
    assert len(board.run(stimulus(), 0.2)) > 0
    with fails(BoardLost, "while", "plugged in"):
        board.run(stimulus(), 1.0)
    assert_ended(board)


def test_unplugged_while_idle() -> None:
    bench = Bench()
    try:
        bench.works()
        board = bench.board
        bench.server.close()
        with fails(BoardLost, "while", "plugged in"):
            board.run(stimulus(), 0.2)
        assert_ended(board)
    finally:
        bench.close()


@pytest.mark.parametrize(
    ("faults", "limit", "doing"),
    [({"hang": 0}, "ASK_S", "looking for boards"), ({"hang_words": 1}, "_WRITE_S", "writing")],
    ids=["listing", "writing"],
)
def test_board_hangs_while_opening(monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any], limit: str, doing: str) -> None:
    monkeypatch.setattr(board_module, limit, LIMIT_S)
    monkeypatch.setattr(board_module, "_WORD_S", 0.0)
    with fails(WorkerHangs, "did not answer", f"{LIMIT_S:g} s", doing):
        with_faults(**faults).close()


def test_board_hangs_while_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    board = with_faults(hang_words=20_000)
    short_limits(monkeypatch)
    with fails(WorkerHangs, "did not answer", "while writing"):
        for seed in range(2):
            board.apply(whole_board(MAPPED.config.chip, seed))
    assert_ended(board)


def test_board_hangs_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    board = with_faults(hang=600_000)
    board.apply(MAPPED.config)
    short_limits(monkeypatch)
    with fails(WorkerHangs, "did not answer", "while running"):
        board.run(Stimulus(MAPPED.config.chip), LONG_S)
    assert_ended(board)


# Spikes and time stamps ----------------------------------------------------------------------------------------------


def test_time_stamps_wrap(chip: ChipModel) -> None:
    """Stamps that begin anew after a second, in runs of three: spikes all the time, then silence of two rounds and a half."""
    short = another_model(chip, timestamps=chip.timestamps.model_copy(update={"max_us": 2**20 - 1}))
    emulator = open_backend("emulator", chip=chip, chips=MAPPED.config.chips, profile=PROFILE)
    emulator.apply(MAPPED.config)
    board = open_backend("samna:virtual", chip=short, profile=PROFILE)
    board.apply(replace(MAPPED.config, chip=short))
    for start_s in (0.0, 2.6):
        given = stimulus(2.9 - start_s, start_s * 1e6, isi_base=9000)
        ours, theirs = board.run(replace(given, chip=short), 3.0), emulator.run(given, 3.0)
        assert len(theirs) > 1000
        assert theirs.spikes["time_us"].max() > 2.8e6
        assert ours.sha256 == theirs.sha256
        assert board.warnings == []
    board.close()


def test_event_flood() -> None:
    """A million spikes a second: half a second of them arrives, two seconds are refused, and arrive where they are wanted."""
    with Pair(Faults(flood_hz=1e6)) as flooded:
        ours, theirs = flooded.run(stimulus(), 0.5)
        assert len(theirs) > 100
        assert len(ours) == 500_000 + len(theirs)
        with fails(EventFlood, "more spikes than a run may hold", "limit 1000000", "max_spikes"):
            flooded.board.run(stimulus(), 2.0)
        assert flooded.board.state == "open"
        flooded.board._most = 3_000_000
        assert 2_000_000 <= len(flooded.board.run(Stimulus(MAPPED.config.chip), 2.0)) < 2_100_000


def test_lost_spikes_are_refused() -> None:
    with Pair(Faults(drop=True)) as losing, fails(SpikesLost, "lost on their way", "dropped", "on_loss"):
        losing.board.run(stimulus(0.9), 1.0)


def test_lost_spikes_are_told_where_they_are_allowed() -> None:
    with Pair(Faults(drop=True), on_loss="warn") as losing:
        ours, theirs = losing.run(stimulus(0.9), 1.0)
        assert 0 < len(ours) < len(theirs)
        assert any("lost" in told for told in losing.board.warnings)


def test_time_stamps_do_not_follow_the_reset() -> None:
    """In a run shorter than the board's age, and in a longer one."""
    with with_faults(no_reset=True) as board:
        board.apply(MAPPED.config)
        board.run(stimulus(), 0.5)
        for seconds in (0.2, 2.0):
            with fails(TimestampsBroken, "time stamps", "Open the board again"):
                board.run(stimulus(), seconds)


def test_neurons_that_never_rest_do_not_keep_a_run_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the wall's clock the board goes on after the run, and neurons with a constant input are never quiet."""
    firing = mapped_network(MAPPED.config.chip, dc_a=3e-11)
    emulator = open_backend("emulator", chips=firing.config.chips, profile=PROFILE)
    emulator.apply(firing.config)
    assert len(emulator.run(Stimulus(MAPPED.config.chip), 1.0)) > 500
    monkeypatch.setattr(board_module, "_RUN_MORE_S", 4.0)
    bench = Bench(clock="wall")
    try:
        board = bench.open()
        board.apply(firing.config)
        recording = board.run(Stimulus(MAPPED.config.chip), 2.0)
        board.close()
    finally:
        bench.close()
    assert len(recording) > 100
    assert recording.spikes["time_us"].max() <= 2_000_000


# Ctrl-C --------------------------------------------------------------------------------------------------------------


def bcall_hw(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bcall_hw.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("doing", ["write", "run"])
def test_ctrl_c_is_caught_and_the_board_used_again(bench: Bench, chip: ChipModel, doing: str) -> None:
    """As in a notebook: either the board says that it is lost, or it does what it is told; it never answers something else."""
    board = bench.board
    interrupt = when(bench.writing() if doing == "write" else bench.running(), lambda: send(os.getpid(), "SIGINT"))
    with interrupt, pytest.raises(KeyboardInterrupt):
        board.apply(whole_board(chip, 3)) if doing == "write" else long_run(board)
    lost: type[BaseException] | None = None
    try:
        board.apply(MAPPED.config)
        recording = board.run(stimulus(), 0.2)
        assert board.read_back() == MAPPED.config
        assert bench.holds(MAPPED.config)
        assert len(recording) > 100
    except BackendProblem as problem:
        lost = type(problem)
    finally:
        if board.state == "open":  # a defect here must not be the next test's
            send(board.worker_process, "SIGKILL")
        bench.let_go()
    assert lost in (None, BoardClosed, BoardLost, WorkerDied)
    bench.works()


@pytest.fixture
def desk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench, for processes that see its board as if it were plugged in."""
    bench.let_go()
    for name, value in bench.environment.items():
        monkeypatch.setenv(name, value)
    return bench


def worker_is_there(mark: str) -> bool:
    return any("samna_board/worker" in command for command in marked(mark).values())


@pytest.mark.parametrize("moment", ["start", "write", "run", "run, twice"])
def test_ctrl_c_for_the_command_line(desk: Bench, chip: ChipModel, mark: str, tmp_path: Path, moment: str) -> None:
    command = ["learn", "--images", "400", "--epochs", "1", "--out", str(tmp_path / "out")]
    if moment in ("start", "write"):
        whole_board(chip, 4).save(tmp_path / "config.h5")
        command = ["deploy", str(tmp_path / "config.h5")]
    due = desk.writing() if moment == "write" else desk.running()
    process = subprocess.Popen(
        [sys.executable, "-m", "bcall_hw.cli", *command, "--backend", "samna:auto"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert until(lambda: worker_is_there(mark) if moment == "start" else due())
    for _ in range(2 if "twice" in moment else 1):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    _, said = process.communicate(timeout=30)
    if "twice" not in moment:
        assert process.returncode == 130, said
        assert "interrupted" in said
        assert "Traceback" not in said
    assert until(lambda: not marked(mark), GONE_S)
    if "twice" not in moment:
        desk.works()


def test_ctrl_c_for_a_script_on_a_virtual_board(mark: str, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = tmp_path / "script.py"
    script.write_text(f"import time\nopen({str(ready)!r}, 'w')\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "bcall_hw.cli", "virtual-board", "run", "--json", "--", sys.executable, str(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert until(ready.exists)
    os.killpg(process.pid, signal.SIGINT)
    printed, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert json.loads(printed)["opened"] is False
    assert until(lambda: not marked(mark), GONE_S)


# The parent's end ----------------------------------------------------------------------------------------------------

PARENT = """
import os, sys
from fault_helpers import *
board = SamnaBoard(None)
board.apply(MAPPED.config)
{then}
"""
THEN = {
    "killed in a run": "board.run(Stimulus(board._chip), LONG_S)",
    "killed while it writes": "board.apply(whole_board(board._chip, 5))",
    "ends without close": "print('end')",
    "ends by os._exit": "os._exit(0)",
}


def parent_process(then: str) -> subprocess.Popen[str]:
    """A process that drives the board that it finds."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-c", PARENT.format(then=then)], env={**os.environ, "PYTHONPATH": path}, text=True)


@pytest.mark.parametrize("how", THEN)
def test_end_of_the_parent_is_the_end_of_the_worker(desk: Bench, mark: str, how: str) -> None:
    due = desk.running() if "run" in how else desk.writing()
    first = desk.device.device.words_received
    process = parent_process(THEN[how])
    if "killed" in how:
        enough = 2 if "writes" in how else 1  # the network's own words come first
        assert until(lambda: due() and desk.device.device.words_received > first + enough * 60_000 + (enough - 1) * 20_000)
        process.kill()
    process.wait(30)
    assert until(lambda: not marked(mark), 5), marked(mark)
    if "killed" in how:
        desk.works()


def test_parent_killed_while_the_board_hangs(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left to end the worker: it ends itself, soon after the time limit of its request."""
    hanging = Bench(Faults(hang=3_000_000))
    for name, value in hanging.environment.items():
        monkeypatch.setenv(name, value)
    try:
        process = parent_process("board_module._RUN_MORE_S = 1 - LONG_S\n" + THEN["killed in a run"])
        assert until(hanging.running())
        time.sleep(0.3)
        process.kill()
        process.wait(10)
        assert until(lambda: not marked(mark), 10), marked(mark)
    finally:
        hanging.close()
