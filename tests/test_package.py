"""The package as a whole: import time and weight, shipped data, and the README's commands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numba", "torch", "samna", "matplotlib", "h5py")


def test_import_is_light_and_quick(tmp_path: Path) -> None:
    script = f"import time; t = time.perf_counter(); import bcall_hw; t = time.perf_counter() - t; import sys; print(t, *(m for m in {HEAVY} if m in sys.modules))"  # noqa: E501
    seen = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split()
        for _ in range(3)
    ]
    assert all(len(words) == 1 for words in seen), seen
    assert min(float(words[0]) for words in seen) < 0.3


def test_wheel_ships_the_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for folder, ending in (("chip_models", "dynapse1.toml"), ("chip_models", "dynapse1_currents.csv"),
                           ("mappings", "bcall_dynapse1.toml"), ("calibration", "dynapse1_nominal.json")):  # fmt: skip
        assert f"bcall_hw/_data/{folder}/{ending}" in names
    assert "bcall_hw/experiments/digits.npz" in names
    assert "bcall_hw/py.typed" in names
    target = tmp_path / "unpacked"
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(target)
    script = "import bcall_hw.chip_model as m; print(m.__file__, m.load_chip('dynapse1').title)"
    done = subprocess.run([sys.executable, "-c", script], cwd=target, capture_output=True, text=True, check=True)
    assert str(target) in done.stdout


def readme_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def test_readme_commands_run_in_order(tmp_path: Path) -> None:
    commands = readme_commands()
    assert len(commands) >= 6
    for command in commands:
        words = shlex.split(command, comments=True)
        head = [sys.executable, "-m", "bcall_hw.cli"] if words[0] == "bcall-hw" else [sys.executable]
        done = subprocess.run([*head, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False,
                              env={**__import__("os").environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_readme_python_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, block + done.stderr


def test_readme_network_maps_and_runs(tmp_path: Path) -> None:
    block = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    (tmp_path / "small.toml").write_text(block)
    rows = [f"{t},in,{t // 1000 % 20}" for t in range(0, 100_000, 100)]
    (tmp_path / "spikes.csv").write_text("\n".join(["time_us,input,source", *rows]))
    command = ["emulate", "small.toml", "--stimulus", "spikes.csv", "--duration-s", "0.1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "bcall_hw.cli", *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["warnings"] == []
    assert found["populations"]["exc"]["spikes"] == found["spikes"] > 0
