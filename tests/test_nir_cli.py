"""bcall-hw import."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run, only_json

from bcall_hw.network import Network

pytest.importorskip("nir", reason="needs the package nir")
NIR = str(Path(__file__).resolve().parent / "data" / "digits_lif.nir")


def test_import_writes_a_network_that_maps(run: Run, tmp_path: Path) -> None:
    done = run("import", NIR, "--dt-s", "0.001", "--out", "network.json", "--levels", "1=2,*=4", "--name", "digits", "--json")
    found = only_json(done)
    network = Network.load(tmp_path / "network.json")
    assert network.name == found["network"] == "digits"
    assert [(row["layer"], row["size"], row["levels"]) for row in found["layers"]] == [("1", 100, 2), ("3", 10, 4)]
    assert found["outputs"] == ["3"]
    assert all(row["entries_most"] <= 64 for row in found["layers"])
    assert {note["kind"] for note in found["notes"]} == {"approximated"}
    assert only_json(run("map", "network.json", "--json"))["fits"] is True


def test_import_shows_layers_and_notes(run: Run) -> None:
    done = run("import", NIR, "--dt-s", "0.001", "--out", "network.toml")
    assert done.returncode == 0
    for text in ("CAM", "1: approximated:", "3: approximated:"):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--out", "n.json"], "InvalidValue"), (["--out", "n.txt", "--dt-s", "0.001"], "FileProblem"),
        (["--out", "n.json", "--dt-s", "-1"], "InvalidValue"),
        (["--out", "n.json", "--dt-s", "0.001", "--levels", "x"], "InvalidValue"),
        (["--out", "n.json", "--dt-s", "0.001", "--levels", "9=2"], "UnknownName"),
        (["--out", "n.json", "--dt-s", "0.001", "--settings", "none.json"], "FileProblem"),
    ],
)  # fmt: skip
def test_wrong_options_are_errors_of_ours(run: Run, options: list[str], error: str) -> None:
    done = run("import", NIR, *options, "--json")
    assert done.returncode == 2
    assert only_json(done)["error"] == error


def test_settings_file_is_used_and_options_win(run: Run, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"dt_s": 0.002, "tau_syn_s": 0.01, "levels": 3}')
    found = only_json(run("import", NIR, "--settings", "s.json", "--dt-s", "0.001", "--out", "n.json", "--json"))
    assert found["settings"]["dt_s"] == 0.001
    assert found["settings"]["tau_syn_s"] == 0.01
    assert {row["levels"] for row in found["layers"]} == {3}
