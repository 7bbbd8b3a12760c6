"""The documents say what the code says: tables and gallery are made again and compared."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run, only_json

from bcall_hw.calibration import load_calibration
from bcall_hw.chip_model import ChipModel
from bcall_hw.experiments.figures import stdp_srdp
from bcall_hw.experiments.figures.gallery import FIGURES, write_gallery
from bcall_hw.experiments.figures.settings import FigureSettings
from bcall_hw.rule.parameters import PRESETS
from bcall_hw.trace_circuit import overview, rule_traces

DOCS = Path(__file__).resolve().parent.parent / "docs"


def table_rows(chip: ChipModel) -> list[str]:
    rows = []
    for name, rule in PRESETS.items():
        for row in overview(rule_traces(rule), chip, load_calibration(chip)):
            head = f"| {name} {row['trace']} | {row['tau_s'] * 1e3:g} | {row['a']:g} |"
            if "problem" in row:
                rows.append(f"{head} endless | | | | | | | |")
                continue
            codes = [f"{row[k]['coarse']}/{row[k]['fine']}" for k in ("tau_code", "pulse_code")]
            keys = ("tau_error", "a_error", "mean_error", "finite_mean_error", "a_error_on_one_core")
            errors = [f"{row[k]:+.1%}" if k in row else "" for k in keys]
            rows.append(f"{head} {row['pulse_s'] * 1e3:.2f} | " + " | ".join(codes + errors) + " |")
    return rows


def test_table_of_traces_on_a_core_is_what_the_code_says(chip: ChipModel) -> None:
    found = [line for line in (DOCS / "trace_on_circuit.md").read_text().splitlines() if re.match(r"\| [D\d]", line)]
    assert found == table_rows(chip)
    assert len(found) == 13


@pytest.mark.parametrize("name", ["rule.md", "trace_on_circuit.md"])
def test_examples_of_the_docs_run(name: str, tmp_path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL):
        command = [sys.executable, "-W", "error", "-c", block]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_presets_of_the_docs_are_those_of_the_code() -> None:
    rows = [line for line in (DOCS / "rule.md").read_text().splitlines() if line.startswith("|")]
    for start, fields, scale in (
        ("| tau_i / tau_j (ms)", ("tau_i_s", "tau_j_s"), 1e3), ("| a_i / a_j", ("a_i", "a_j"), 1), ("| c_p |", ("c_p",), 1),
        ("| theta_i / theta_j", ("theta_i", "theta_j"), 1), ("| c_d1 / c_d2", ("c_d1", "c_d2"), 1),
    ):  # fmt: skip
        found = next(row for row in rows if row.startswith(start)).split("|")[2:-1]
        wanted = [" / ".join(f"{getattr(rule, f) * scale:g}" for f in fields) for rule in PRESETS.values()]
        assert [cell.strip() for cell in found] == wanted
    stops = [rule.stop_learning for rule in PRESETS.values()]
    others = {
        "| tau_w (s)": [f"{rule.bistability.tau_w_s:g}" if rule.bistability else "none" for rule in PRESETS.values()],
        "| tau_s (ms), a_s": [f"{s.tau_s * 1e3:g}, {s.a:g}" if s else "none" for s in stops],
        "| theta_lo / theta_hi": [f"{s.theta_lo:g} / {s.theta_hi:g}" if s else "none" for s in stops],
    }
    for start, wanted in others.items():
        found = next(row for row in rows if row.startswith(start)).split("|")[2:-1]
        assert [cell.strip() for cell in found] == wanted


def test_traces_command_tells_the_same(run: Run, chip: ChipModel) -> None:
    found = only_json(run("traces", "--preset", "1.X1", "--json"))
    assert found["traces"] == json.loads(json.dumps(overview(rule_traces(PRESETS["1.X1"]), chip, load_calibration(chip))))
    own = only_json(run("traces", "--tau-s", "0.02", "--jump", "0.3", "--json"))
    assert [row["trace"] for row in own["traces"]] == ["own"]
    for wrong in ("--tau-s 0.02", "--tau-s -1 --jump 0.3", "--tau-s 1 --jump nan", "--rate-hz 0"):
        done = run("traces", *wrong.split(), "--json")
        assert done.returncode == 2
        assert only_json(done)["error"] == "InvalidValue"


@pytest.mark.parametrize("name", [*FIGURES])
def test_gallery_holds_every_figure(name: str) -> None:
    values = json.loads((DOCS / "figures" / f"{name}.json").read_text())
    assert values["figure"] == name
    assert [c["what"] for c in values["checks"] if c["met"] is False] == []
    for kind in ("png", "svg"):
        assert (DOCS / "figures" / f"{name}.{kind}").stat().st_size > 10_000


def test_numbers_of_a_figure_come_out_again() -> None:
    """Figure 3 needs no random number but the board's mismatch: the same numbers on every machine."""
    kept = json.loads((DOCS / "figures" / "3.json").read_text())
    again = stdp_srdp.compute(FigureSettings(), lambda *_: None).as_dict()
    for old, new in zip(kept["curves"], json.loads(json.dumps(again))["curves"], strict=True):
        assert old["name"] == new["name"]
        assert old["y"] == pytest.approx(new["y"], abs=1e-9)
    assert [c["met"] for c in kept["checks"]] == [c["met"] for c in again["checks"]]


def test_gallery_page_is_made_from_the_numbers_beside_it(tmp_path: Path) -> None:
    for name in FIGURES:
        shutil.copy(DOCS / "figures" / f"{name}.json", tmp_path)
    write_gallery(tmp_path)
    assert (tmp_path / "gallery.md").read_text() == (DOCS / "figures" / "gallery.md").read_text()
