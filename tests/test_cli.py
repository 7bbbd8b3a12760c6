"""The command line as a user and a script see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, only_json

from bcall_hw.chip_config import ChipConfig
from bcall_hw.files import folder_of_one_run
from bcall_hw.network import Network
from bcall_hw.recording import SpikeRecording

NEURON = {
    "tau_s": 0.02, "refractory_s": 0.003, "gain_a": 1e-9, "pulse_width_s": 2e-5,
    "synapses": {"AMPA": {"tau_s": 0.01, "weight_a": 5e-11}},
}  # fmt: skip


def network(fan_in: int = 4, **neuron: object) -> dict[str, object]:
    return {
        "format": "bcall_hw/network", "format_version": 1, "name": "small",
        "inputs": [{"name": "in", "size": fan_in, "tags": list(range(300, 300 + fan_in))}],
        "populations": [{"name": "pop", "size": 3, "neuron": NEURON | neuron}],
        "connections": [{"name": "c", "source": "in", "target": "pop", "synapse": "AMPA"}],
    }  # fmt: skip


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(network()))
    return path


@pytest.mark.usefixtures("network_file")
def test_map_deploy_emulate_go_together(run: Run, tmp_path: Path) -> None:
    mapped = run("map", "net.json", "--out", "config.h5", "--json")
    assert mapped.returncode == 0, mapped.stderr
    result = only_json(mapped)
    assert result["fits"]
    assert result["utilisation"]["cam"]["used"] == 12
    deployed = only_json(run("deploy", "config.h5", "--json"))
    config = ChipConfig.load(tmp_path / "config.h5")
    assert deployed["config_sha256"] == config.sha256
    assert deployed["cam_sha256"] == config.cam_sha256
    assert deployed["read_back_equal"]
    assert deployed["words"] == {"cam": 65536, "sram": 3072, "bias": 100, "tau2": 1024}
    rows = [f"{1000 * k},0,15,{300 + k % 4}" for k in range(150)]
    (tmp_path / "stimulus.csv").write_text("\n".join(["time_us,chip,core_mask,tag", *rows]) + "\n")
    command = ("emulate", "config.h5", "--stimulus", "stimulus.csv", "--duration-s", "0.2", "--json")
    emulated = only_json(run(*command, "--out", "spikes.h5"))
    assert emulated["spikes"] > 0
    recording = SpikeRecording.load(tmp_path / "spikes.h5")
    assert recording.sha256 == emulated["spikes_sha256"]
    assert only_json(run(*command, "--implementation", "numpy"))["spikes_sha256"] == recording.sha256
    assert only_json(run(*command, "--seed", "1"))["spikes_sha256"] != recording.sha256
    assert only_json(run("deploy", "net.json", "--json"))["config_sha256"] == config.sha256


@pytest.mark.usefixtures("network_file")
def test_many_boards_profiles_and_the_reference(run: Run, tmp_path: Path) -> None:
    rows = [f"{1000 * k},0,15,{300 + k % 4}" for k in range(10)]
    (tmp_path / "s.csv").write_text("\n".join(["time_us,chip,core_mask,tag", *rows]) + "\n")
    command = ("emulate", "net.json", "--stimulus", "s.csv", "--duration-s", "0.02", "--json")
    several = only_json(run(*command, "--boards", "3", "--threads", "2", "--seed", "4", "--out", "spikes.h5"))
    assert [b["seed"] for b in several["boards"]] == [4, 5, 6]
    for board in several["boards"]:
        alone = only_json(run(*command, "--seed", str(board["seed"])))
        recording = SpikeRecording.load(tmp_path / f"spikes-seed{board['seed']}.h5")
        assert alone["spikes_sha256"] == board["spikes_sha256"] == recording.sha256
    assert len({b["spikes_sha256"] for b in several["boards"]}) == 3
    board_file = {"format": "bcall_hw/board_profile", "format_version": 1, "seed": 5, "mismatch_cv": 0.2}
    (tmp_path / "board.json").write_text(json.dumps(board_file))
    same = only_json(run(*command, "--profile", "board.json", "--implementation", "reference"))
    assert same["spikes_sha256"] == several["boards"][1]["spikes_sha256"]
    assert same["backend"] == "emulator/reference"
    both = run(*command, "--profile", "board.json", "--seed", "1")
    assert both.returncode == 2
    assert "--seed and --profile" in both.stdout
    table = run(*command[:-1], "--boards", "2")
    assert table.returncode == 0
    assert several["boards"][0]["spikes_sha256"][:8] not in table.stdout  # seeds 0 and 1
    assert "board seed" in table.stdout


@pytest.mark.usefixtures("network_file")
def test_results_never_replace_what_they_are_made_from(run: Run, tmp_path: Path) -> None:
    """By its own name, through another way to it, or by the name that one of many boards would get."""
    assert run("map", "net.json", "--out", "x-seed1.h5").returncode == 0
    (tmp_path / "s.csv").write_text("time_us,chip,core_mask,tag\n0,0,15,300\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.h5").symlink_to(tmp_path / "x-seed1.h5")
    before = (tmp_path / "x-seed1.h5").read_bytes()
    for out in (["x.h5", "--boards", "2"], ["sub/../x-seed1.h5"], ["link.h5"]):
        done = run("emulate", "x-seed1.h5", "--stimulus", "s.csv", "--duration-s", "0.01", "--out", *out)
        assert done.returncode == 2
        assert (tmp_path / "x-seed1.h5").read_bytes() == before


@pytest.mark.usefixtures("network_file")
def test_tables_name_the_biases(run: Run) -> None:
    done = run("map", "net.json", env=os.environ | {"COLUMNS": "160"})
    assert done.returncode == 0
    assert "IF_TAU1_N" in done.stdout
    assert "fits dynapse1" in done.stdout


def test_map_lists_every_violation_and_exits_with_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(json.dumps(network(fan_in=65, tau_s=40.0)))
    done = run("map", "net.json", "--json", "--out", "config.h5")
    assert done.returncode == 2
    violations = only_json(done)["violations"]
    assert sorted({v["error"] for v in violations}) == ["CurrentOutOfRange", "FanInExceeded"]
    assert {v["where"] for v in violations if v["error"] == "FanInExceeded"} == {
        f"population 'pop' neuron {k}" for k in range(3)
    }
    assert not (tmp_path / "config.h5").exists()
    assert "65" in run("map", "net.json").stdout


BAD = {
    "missing network": (["map", "nowhere.json"], "nowhere.json"),
    "not a network": (["map", "other.json"], "not a network file"),
    "not json": (["map", "broken.json"], "is not JSON"),
    "ending": (["map", "net.txt"], ".json or .toml"),
    "nan weight": (["map", "nan.json"], "weight_a"),
    "negative tau": (["map", "tau.json"], "tau_s"),
    "empty network": (["map", "empty.json"], "no population"),
    "unknown chip": (["map", "net.json", "--chip", "dynapse9"], "dynapse1"),
    "chips": (["map", "net.json", "--chips", "0,x"], "--chips"),
    "chip beyond the board": (["map", "net.json", "--chips", "7"], "chip ids"),
    "config is text": (["deploy", "fake.h5"], "fake.h5"),
    "no such backend": (["deploy", "net.json", "--backend", "oscilloscope:1"], "oscilloscope:1"),
    "no samna, or no board": (["deploy", "net.json", "--backend", "samna:auto"], "samna"),
    "which board": (["deploy", "net.json", "--backend", "samna:"], "which board"),
    "no such config": (["deploy", "nowhere.h5"], "nowhere.h5"),
    "no spikes at all": (["deploy", "net.json", "--backend", "samna:auto", "--max-spikes", "0"], "max_spikes"),
    "spikes of the emulator": (["deploy", "net.json", "--max-spikes", "0"], "--max-spikes"),
    "de-bounced before": (["deploy", "net.json", "--backend", "samna:auto", "--debounce-us", "-1"], "debounce_us"),
    "de-bounced emulator": (["deploy", "net.json", "--debounce-us", "0"], "--debounce-us"),
    "duration": (["emulate", "net.json", "--stimulus", "s.csv", "--duration-s", "-1"], "duration"),
    "csv": (["emulate", "net.json", "--stimulus", "bad.csv", "--duration-s", "1"], "line 3"),
    "unsorted": (["emulate", "net.json", "--stimulus", "unsorted.csv", "--duration-s", "1"], "sorted"),
    "variant": (["learn", "--out", "o", "--variant", "best"], "error-triggered"),
    "data": (["learn", "--out", "o", "--data", "faces"], "faces"),
    "settings": (["learn", "--out", "o", "--settings", "tau.json"], "ClassifierSettings"),
    "images": (["learn", "--out", "o", "--images", "5000"], "1400"),
    "cv": (["learn", "--out", "o", "--images", "5", "--mismatch-cv", "-1"], "mismatch_cv"),
    "step": (["learn", "--out", "o", "--images", "5", "--dt-us", "300"], "dt_us"),
    "implementation": (["learn", "--out", "o", "--images", "5", "--implementation", "cuda"], "cuda"),
    "too large": (["learn", "--out", "o", "--images", "5", "--neurons-per-class", "500"], "4096"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error(run: Run, tmp_path: Path, case: str) -> None:
    for name, content in {
        "net.json": json.dumps(network()),
        "net.txt": "x",
        "other.json": '{"format": "something"}',
        "broken.json": "{",
        "nan.json": json.dumps(network(synapses={"AMPA": {"tau_s": 0.01, "weight_a": float("nan")}})),
        "tau.json": json.dumps(network(tau_s=-0.02)),
        "empty.json": json.dumps(network() | {"populations": [], "connections": []}),
        "fake.h5": "hello",
        "s.csv": "time_us,chip,core_mask,tag\n1,0,15,300\n",
        "bad.csv": "time_us,chip,core_mask,tag\n1,0,15,300\n2,0,x,300\n",
        "unsorted.csv": "time_us,chip,core_mask,tag\n9,0,15,300\n2,0,15,300\n",
    }.items():
        (tmp_path / name).write_text(content)
    before = sorted(tmp_path.rglob("*"))
    arguments, fragment = BAD[case]
    done = run(*arguments, "--json")
    assert done.returncode == 2, done.stdout + done.stderr
    problem = only_json(done)
    problem = problem if "error" in problem else problem["violations"][0]
    assert fragment in json.dumps(problem, ensure_ascii=False) + done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"


def test_doctor_tells_what_is_there(run: Run) -> None:
    found = only_json(run("doctor", "--json"))
    assert found["problems"] == []
    assert found["chips"]["dynapse1"]["biases"] == 25
    assert found["samna"]["kind"] in ("absent", "loader", "binary")
    assert run("doctor").returncode == 0


def test_doctor_works_without_optional_packages_and_names_missing_ones(tmp_path: Path) -> None:
    """An optional package is hidden, and the interpreter that should have samna is none; a needed package is named."""
    script = (
        "import importlib.metadata as m, os, sys\n"
        "real_version = m.version\n"
        "def version(name):\n"
        "    if name in ('numba', 'scikit-learn'): raise m.PackageNotFoundError(name)\n"
        "    return real_version(name)\n"
        "m.version = version\n"
        "os.environ['BCALL_SAMNA_PYTHON'] = '/nowhere/python'\n"
        "sys.argv = ['bcall-hw', 'doctor', '--json']\n"
        "from bcall_hw.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    found = only_json(done)
    assert found["problems"] == [{"what": "numba is not installed", "fix": "pip install numba"}]
    assert found["samna"]["kind"] == "absent"
    assert "/nowhere/python" in found["samna"]["advice"]
    assert found["optional"]["scikit-learn"]["version"] is None


LEARN = ("learn", "--images", "250", "--neurons-per-class", "3", "--epochs", "1", "--seed", "5", "--json")


def test_interrupted_learning_goes_on_to_the_same_bits(run: Run, tmp_path: Path) -> None:
    whole = only_json(run(*LEARN, "--out", "whole"))
    command = [sys.executable, "-m", "bcall_hw.cli", *LEARN, "--out", "cut"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores Ctrl-C for its children
    )  # fmt: skip
    checkpoint = tmp_path / "cut" / "checkpoint-error-triggered.h5"
    deadline = time.monotonic() + 120
    first_written = None
    while time.monotonic() < deadline and process.poll() is None:
        if checkpoint.exists():
            first_written = first_written or checkpoint.stat().st_mtime_ns
            if checkpoint.stat().st_mtime_ns != first_written:
                break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "--resume" in err
    assert not (tmp_path / "cut" / "result.json").exists()
    resumed = only_json(run(*LEARN, "--out", "cut", "--resume"))
    same = ("accuracy", "spikes_sha256", "cam_sha256", "config_sha256", "weight_flips", "spikes_read", "words_written")
    assert {k: resumed[k] for k in same} == {k: whole[k] for k in same}
    refused = run(*LEARN[:-2], "6", "--json", "--out", "cut", "--resume")
    assert refused.returncode == 2
    assert "seed" in refused.stderr


def test_own_data_file(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    images = np.zeros((200, 6, 8), dtype=np.uint8)
    images[np.arange(200), 2 * labels] = images[np.arange(200), 2 * labels + 1] = 1
    arrays = {"train": images[:150], "train_labels": labels[:150], "test": images[150:], "test_labels": labels[150:]}
    np.savez(tmp_path / "bars.npz", **arrays)
    done = run("learn", "--data", "bars.npz", "--neurons-per-class", "8", "--epochs", "3", "--out", "o", "--json")
    assert done.returncode == 0, done.stderr
    assert only_json(done)["accuracy"] >= 0.9
    assert Network.load(tmp_path / "o" / "network.json").size_of("classes") == 24


def test_a_full_disk_is_one_error(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: one error, exit code 2, nothing half-written."""
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "sys.argv = ['bcall-hw', 'map', 'net.json', '--out', 'config.h5', '--json']\n"
        "from bcall_hw.cli import main\n"
        "main()\n"
    )
    (tmp_path / "net.json").write_text(json.dumps(network()))
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert only_json(done)["error"] == "FileProblem"
    assert [path.name for path in tmp_path.iterdir()] == ["net.json"]


@pytest.mark.usefixtures("network_file")
def test_results_take_no_other_files_place(run: Run, tmp_path: Path) -> None:
    before = (tmp_path / "net.json").read_text()
    os.mkfifo(tmp_path / "pipe.h5")
    for out in ("net.json", "", "pipe.h5"):
        done = run("map", "net.json", "--out", out, "--json")
        assert done.returncode == 2, out
        assert only_json(done)["error"] == "FileProblem"
    assert (tmp_path / "net.json").read_text() == before
    assert (tmp_path / "pipe.h5").is_fifo()


def test_one_run_at_a_time_in_a_folder(run: Run, tmp_path: Path) -> None:
    with folder_of_one_run(tmp_path / "o"):
        done = run(*LEARN, "--out", "o")
    assert done.returncode == 2
    assert "another run" in only_json(done)["what"]
    assert run(*LEARN, "--out", ".").returncode == 2


def test_wrong_options_are_json_too(run: Run) -> None:
    for arguments in (["map"], ["learn", "--seed", "-1", "--out", "o"], ["nosuch"], ["doctor", "--no-such"]):
        done = run(*arguments, "--json")
        assert done.returncode == 2
        assert only_json(done)["error"] == "UsageError"


def test_an_unheard_stimulus_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(json.dumps(network()))
    (tmp_path / "s.csv").write_text("time_us,chip,core_mask,tag\n1,0,15,300\n2,0,15,77\n3,0,15,0\n")
    found = only_json(run("emulate", "net.json", "--stimulus", "s.csv", "--duration-s", "0.01", "--json"))
    assert ["1 events reach no CAM entry (tags [77])" in w or "reserved" in w for w in found["warnings"]] == [True, True]
    (tmp_path / "s.csv").write_text("time_us,chip,core_mask,tag\n1,1,15,300\n")
    assert run("emulate", "net.json", "--stimulus", "s.csv", "--duration-s", "0.01").returncode == 2


def test_a_silent_network_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "weak.json").write_text('{"plastic_a": 1e-14, "teacher_a": 1e-14}')
    done = run("learn", "--settings", "weak.json", "--neurons-per-class", "3", "--out", "o", "--json")
    assert done.returncode == 2
    assert "plastic_a" in done.stderr
