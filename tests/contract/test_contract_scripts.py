"""Scripts in the style of the vendor's tutorials, which know nothing of this package, run unchanged on the virtual board.

Their figures are compared with the emulator backend, given the registers that the log tells in human terms, and the stimulus
that the script says it plays.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bcall_hw.backend import open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import KINDS, WORD_DTYPE, ChipConfig, Words
from bcall_hw.chip_model import ChipModel
from bcall_hw.recording import SpikeRecording
from bcall_hw.stimulus import EVENT_DTYPE, Stimulus

pytestmark = [pytest.mark.samna, pytest.mark.usefixtures("virtual_board")]

SCRIPTS = Path(__file__).with_name("scripts")
SECONDS = 120
WORD_LINE = re.compile(r" s  chip (\d)  (CAM|SRAM|BIAS|TAU2) .* (0x[0-9a-f]{8})$")


class Ran(NamedTuple):
    """What a script printed as its figures, what the virtual board tells of it, and its words."""

    figures: dict[str, Any]
    summary: dict[str, Any]
    words: Words


def ran(name: str, folder: Path, clock: str) -> Ran:
    figures, log = folder / f"{name}-{clock}.json", folder / f"{name}-{clock}.log"
    board = ["virtual-board", "run", "--clock", clock, "--mismatch-cv", "0", "--log", str(log), "--json"]
    script = ["--", sys.executable, str(SCRIPTS / f"{name}.py"), "--json", str(figures)]
    command = [sys.executable, "-m", "bcall_hw.cli", *board, *script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [match.groups() for line in log.read_text().splitlines() if (match := WORD_LINE.search(line))]
    words = np.array([(KINDS.index(kind.lower()), int(chip), int(word, 16)) for chip, kind, word in found], dtype=WORD_DTYPE)
    return Ran(json.loads(figures.read_text()), json.loads(done.stdout.splitlines()[-1]), words)


def on_emulator(
    chip: ChipModel, words: Words, chip_id: int, stimulus: Stimulus, duration_s: float, settle_s: float = 0.0
) -> SpikeRecording:
    """One chip of the board that the words leave, on the emulator backend."""
    board = ChipConfig.from_words(chip, range(chip.geometry.chips), words).of_chips((chip_id,))
    backend = open_backend("emulator", chip=chip, chips=(chip_id,), profile=BoardProfile(seed=0, mismatch_cv=0.0))
    backend.apply(board)
    if settle_s:
        backend.run(Stimulus(chip), settle_s)
    return backend.run(stimulus, duration_s)


def counts(recording: SpikeRecording, core: int) -> np.ndarray[Any, Any]:
    spikes = recording.spikes[recording.spikes["core"] == core]
    return np.bincount(spikes["neuron"], minlength=256)


def test_network_by_hand(chip: ChipModel, tmp_path: Path) -> None:
    script = ran("network_by_hand", tmp_path, "sleep")
    assert {kind: script.summary["words"][kind] for kind in ("cam", "sram")} == {"cam": 87, "sram": 11}
    events = np.zeros(100, dtype=EVENT_DTYPE)
    events["isi"], events["core_mask"], events["tag"] = 10_000, 1 << 1, 3 * 256 + 50
    emulated = on_emulator(chip, script.words, 0, Stimulus(chip, events, isi_base=90), 1.5, settle_s=0.5)
    expected = {f"chip 0 core 1 neuron {n}": float(counts(emulated, 1)[n]) for n in range(10, 20)}
    expected |= {f"chip 0 core 2 neuron {n}": float(counts(emulated, 2)[n]) for n in range(100, 103)}
    assert script.figures["rates_hz"] == expected
    assert script.figures["spikes"] == len(emulated) > 1000
    assert script.figures["first_and_last_us"] == [emulated.spikes["time_us"][0], emulated.spikes["time_us"][-1]]
    rates = script.figures["rates_hz"]
    assert rates["chip 0 core 2 neuron 101"] < rates["chip 0 core 2 neuron 102"]  # the inhibited one
    assert script.figures["spikes_elsewhere"] == 0
    assert script.figures["timestamps_sorted"]


def test_parameter_sweep_gives_the_emulators_f_i_curve(chip: ChipModel, tmp_path: Path) -> None:
    """Each point on a fresh emulated chip: the script waits between its points until a point no longer knows the one before."""
    script = ran("fi_curve", tmp_path, "sleep")
    dc = chip.bias_index("dc")
    last = script.words
    for point in script.figures["curve"]:
        config = ChipConfig.from_words(chip, range(4), last)
        biases = config.biases.copy()
        biases[2, 0, dc] = (point["coarse"], point["fine"], 1)
        words = config.with_registers(biases=biases).words()
        spikes = counts(on_emulator(chip, words, 2, Stimulus(chip), 1.0), 0)[:16]
        assert point["rate_hz"] == pytest.approx(spikes.mean(), abs=3.0)
        assert point["input_na"] == pytest.approx(chip.current_a[point["coarse"], point["fine"]] * 1e9, abs=0.011)
    rates = [point["rate_hz"] for point in script.figures["curve"]]
    assert rates == sorted(rates)
    assert rates[-1] > 100


def test_poisson_and_filter(tmp_path: Path) -> None:
    """Exact repeats, and nothing lost in samna's filter although all spikes arrive at once."""
    first, again = ran("poisson_filter", tmp_path, "sleep"), ran("poisson_filter", tmp_path, "sleep")
    assert first.figures == again.figures
    assert np.array_equal(first.words, again.words)
    rates = first.figures["rates_hz"]
    assert 20 < rates["slow"] < rates["medium"] < rates["fast"]
    assert first.figures["spikes_not_selected"] == 0
    passed = sum(rate * 2.0 for rate in first.figures["neuron_rates_hz"].values())
    assert passed == first.figures["spikes"]
    assert 0.4 < first.figures["spikes"] / first.figures["spikes_before_filter"] < 0.6  # half of each group is selected


def test_on_the_wall_clock_a_script_takes_its_time(tmp_path: Path) -> None:
    script = ran("poisson_filter", tmp_path, "wall")
    assert script.summary["board_s"] > 2.0
    rates = script.figures["rates_hz"]
    assert 20 < rates["slow"] < rates["medium"] < rates["fast"]


@pytest.mark.parametrize(("program", "code", "said"), [
    ("pass", 0, "opened no board"), ("raise SystemExit(3)", 3, ""), ("import os; os.abort()", 134, "ended by signal 6"),
])  # fmt: skip
def test_scripts_that_open_no_board(tmp_path: Path, program: str, code: int, said: str) -> None:
    command = [sys.executable, "-m", "bcall_hw.cli", "virtual-board", "run", "--", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr


def test_script_that_leaves_with_the_device_open_is_told_why_it_crashed(tmp_path: Path) -> None:
    script = tmp_path / "forgets.py"
    text = (SCRIPTS / "network_by_hand.py").read_text()
    assert "close_device(NAME)" in text
    script.write_text(text.replace("samna.device_node.DeviceController.close_device(NAME)", "pass"))
    command = [
        sys.executable,
        "-m",
        "bcall_hw.cli",
        "virtual-board",
        "run",
        "--clock",
        "sleep",
        "--",
        sys.executable,
        str(script),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=tmp_path)
    assert done.returncode == 139
    assert "SIGSEGV" in done.stderr
    assert "close_device" in done.stderr


SLEEPER = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
import fi_curve, samna
model, node = fi_curve.open_board()
try:
    fi_curve.silence_all(model, model.get_configuration())
{then}
finally:
    samna.device_node.DeviceController.close_device(fi_curve.NAME)
print("closed", flush=True)
"""


def sleeper(folder: Path, then: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """A script that opens the board and closes it again; its summary."""
    script = folder / "sleeper.py"
    script.write_text(SLEEPER.format(folder=str(SCRIPTS), then=textwrap.indent(textwrap.dedent(then), "    ")))
    board = ["virtual-board", "run", "--clock", "sleep", "--json", "--", sys.executable, str(script)]
    command = [sys.executable, "-m", "bcall_hw.cli", *board]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done, json.loads(done.stdout.splitlines()[-1])


def test_a_pool_of_processes_does_not_touch_the_boards_time(tmp_path: Path) -> None:
    then = """
    import multiprocessing
    began = time.monotonic()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(time.sleep, [0.1] * 4)
    assert 0.1 < time.monotonic() - began < 10
    time.sleep(0.25)
    """
    done, summary = sleeper(tmp_path, then)
    assert done.returncode == 0, done.stderr
    assert summary["board_s"] == 0.25
    assert "closed" in done.stdout


def test_ctrl_c_ends_a_sleep_of_a_samna_script_which_can_close_its_board(tmp_path: Path) -> None:
    then = """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.fork() == 0:
        time.sleep(0.5)
        os.kill(os.getppid(), signal.SIGINT)
        os._exit(0)
    began = time.monotonic()
    try:
        time.sleep(10_000_000)
    except KeyboardInterrupt:
        print("interrupted after", time.monotonic() - began, flush=True)
    time.sleep(0.25)
    """
    done, summary = sleeper(tmp_path, then)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("interrupted")]
    assert float(line.split()[-1]) < 2
    assert summary["board_s"] > 0.25
    assert "closed" in done.stdout
