"""bcall-hw map: what it prints, what it writes, and with which exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from calibration_helpers import gains_of, measured
from conftest import Run, only_json
from mapper_helpers import CHIP, at, link, network, neuron, pairs, population

from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibration import save_calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.mapper import explain, map_network, utilisation
from bcall_hw.network import Input, Network

KEYS = {
    "fits", "violations", "utilisation", "biases", "addresses", "inputs", "departures", "warnings", "chips", "explained",
}  # fmt: skip


def fitting() -> Network:
    return network(
        Input(name="x", size=4), Input(name="n", size=2, poisson=True), population("p", 3, at(0, 1, 5)),
        population("q", 2, at(1, 2, 0)), link("c", "x", "p", plastic=True), link("e", "n", "p", synapse="GABA_A"),
        link("d", "p", "q", synapse="NMDA", multiplicity=3),
    )  # fmt: skip


def too_large() -> Network:
    return network(
        Input(name="x", size=70), population("p", 2), population("slow", 1, at(0, 0), neuron(100.0)), link("c", "x", "p"),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> set[str]:
    fitting().save(tmp_path / "fits.json")
    too_large().save(tmp_path / "large.toml")
    network(Input(name="x", size=70), population("p", 2), link("c", "x", "p")).save(tmp_path / "fan.json")
    return {p.name for p in tmp_path.iterdir()}


def left(tmp_path: Path, before: set[str]) -> set[str]:
    return {p.name for p in tmp_path.iterdir()} - before


def test_json_tells_all_of_a_network_that_fits(run: Run, tmp_path: Path, files: set[str]) -> None:
    """One call: keys, explained neurons by both names, the registers and the picture."""
    done = run("map", "fits.json", "--json", "--explain", "p/1", "--explain", "1/2/0", "--out", "c.h5", "--picture", "b.svg")
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = only_json(done)
    assert set(told) >= KEYS
    mapped = map_network(fitting(), CHIP)
    assert told["fits"] is True
    assert told["violations"] == []
    assert told["chips"] == [0, 1]
    assert told["utilisation"] == json.loads(json.dumps(utilisation(mapped)))
    assert told["addresses"] == [
        {"population": "p", "chip": 0, "core": 1, "first_neuron": 5, "last_neuron": 7},
        {"population": "q", "chip": 1, "core": 2, "first_neuron": 0, "last_neuron": 1},
    ]
    assert told["departures"] == []
    assert told["warnings"] == mapped.warnings
    assert "chip 0 to chip 1" in told["warnings"][0]
    reach = [(r["input"], r["source"], r["tag"], r["chip"], r["core_mask"]) for r in told["inputs"]]
    masks = {"x": (4, 0b0010), "n": (2, 0b1111)}  # n is Poisson: it arrives at every core of its chip
    assert reach == [(n, s, int(mapped.input_tags[n][s]), 0, mask) for n, (size, mask) in masks.items() for s in range(size)]
    biases = {(b["chip"], b["core"]) for b in told["biases"]}
    assert biases == {(0, 1), (1, 2)}
    assert told["explained"] == json.loads(json.dumps([explain(mapped, "p/1"), explain(mapped, "q/0")]))
    assert ChipConfig.load(tmp_path / "c.h5") == mapped.config
    assert (tmp_path / "b.svg").read_bytes().startswith(b"<?xml")
    assert left(tmp_path, files) == {"c.h5", "b.svg"}


def test_the_tables_say_what_a_person_needs(run: Run) -> None:
    wide = os.environ | {"COLUMNS": "180"}
    done = run("map", "fits.json", env=wide)
    assert done.returncode == 0
    for piece in ("fits dynapse1", "chip 0 to chip 1", "IF_TAU1_N", "1023"):
        assert piece in done.stdout, piece
    done = run("map", "fits.json", "--explain", "q/1", env=wide)
    assert done.returncode == 0
    for piece in ("q/1", "chip 1 core 2 neuron 1", "0x", "p/2", "NMDA", "55 CAM entries free"):
        assert piece in done.stdout, piece


def test_every_violation_at_once_and_no_output(run: Run, tmp_path: Path, files: set[str]) -> None:
    done = run("map", "large.toml", "--json", "--out", "c.h5", "--picture", "b.png")
    assert done.returncode == 2
    told = only_json(done)
    assert told["fits"] is False
    assert sorted(v["error"] for v in told["violations"]) == ["CurrentOutOfRange", "FanInExceeded", "FanInExceeded"]
    assert {v["where"] for v in told["violations"] if v["used"] == 70} == {f"population 'p' neuron {n}" for n in range(2)}
    assert all(v["fix"] for v in told["violations"] if v["error"] == "FanInExceeded")
    assert left(tmp_path, files) == set()


@pytest.mark.parametrize("policy", ["sample", "relay"])
def test_fan_in_policies(run: Run, policy: str) -> None:
    seed = ("--seed", "5") if policy == "sample" else ()
    told = only_json(done := run("map", "fan.json", "--json", "--fan-in", policy, *seed))
    assert done.returncode == 0
    assert [d["kind"] for d in told["departures"]] == [policy]
    assert told["departures"][0]["text"] in told["warnings"]
    assert told["departures"][0]["neurons"] == ["population 'p' neuron 0", "population 'p' neuron 1"]
    assert max(core["cam_most"] for core in told["utilisation"]["cores"]) == 64


BAD: dict[str, tuple[list[str], str, str]] = {
    "policy": (["fan.json", "--fan-in", "drop"], "refuse", ""),
    "explain form": (["fits.json", "--explain", "p"], "population/index", "InvalidValue"),
    "explain unknown": (["fits.json", "--explain", "z/0"], "z", "UnknownName"),
    "explain empty place": (["fits.json", "--explain", "3/3/3"], "3/3/3", "UnknownName"),
    "picture ending": (["fits.json", "--picture", "b.jpg"], ".svg", "FileProblem"),
    "picture folder": (["fits.json", "--picture", "fits.json/b.svg"], "fits.json", "FileProblem"),
    "reserve": (["fits.json", "--reserve", "64"], "63", "InvalidValue"),
    "chips": (["fits.json", "--chips", "0,9"], "9", "InvalidValue"),
    "chips text": (["fits.json", "--chips", "a"], "--chips", ""),
    "profile": (["fits.json", "--profile", "none.toml"], "none.toml", "FileProblem"),
    "calibration": (["fits.json", "--calibration", "fits.json"], "fits.json", "ForeignFile"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_one_clear_error_and_leave_nothing(run: Run, tmp_path: Path, files: set[str], case: str) -> None:
    arguments, said, kind = BAD[case]
    done = run("map", *arguments, "--json", "--out", "c.h5")
    assert done.returncode == 2
    told = only_json(done)
    assert said in json.dumps(told)
    if kind:
        assert told["error"] == kind
    assert "Traceback" not in done.stderr
    assert left(tmp_path, files) == set()


def test_reserve_and_chips(run: Run) -> None:
    done = run("map", "fits.json", "--json", "--reserve", "60", "--chips", "0,1")
    assert done.returncode == 2
    told = only_json(done)
    assert {(v["error"], v["limit"]) for v in told["violations"]} == {("FanInExceeded", 4)}
    assert "60 of its 64 are reserved" in json.dumps(told)
    one = run("map", "fits.json", "--json", "--chips", "1")
    assert one.returncode == 2
    assert "population 'p'" in json.dumps(only_json(one)["violations"])
    other = only_json(run("map", "fan.json", "--json", "--chips", "3", "--fan-in", "sample"))
    assert other["chips"] == [3]


def test_a_profile_with_defects_and_a_calibration(run: Run, tmp_path: Path) -> None:
    """Dead neurons under a wish are a violation; a dead neuron elsewhere is avoided; gains trim and are told."""
    BoardProfile(dead_neurons=((0, 1, 6), (2, 0, 0))).save(tmp_path / "board.json")
    (tmp_path / "board.toml").write_text(
        'format = "bcall_hw/board_profile"\nformat_version = 1\ndead_neurons = [[0, 0, 1], [0, 0, 2]]\n', encoding="utf-8"
    )
    done = run("map", "fits.json", "--json", "--profile", "board.json")
    assert done.returncode == 2
    told = only_json(done)
    assert [v["error"] for v in told["violations"]] == ["DefectInTheWay"]
    network(Input(name="x", size=3), population("p", 5), link("c", "x", "p", pairs((0, 0, 4), (1, 2, 4)))).save(
        tmp_path / "few.json"
    )
    gains = gains_of(CHIP, {(0, 0, n, "AMPA"): 2.0 for n in range(256)})
    save_calibration(
        measured(gains=gains, excluded=({"chip": 0, "core": 0, "neuron": 3, "reason": "hot"},)), tmp_path / "b7.json"
    )
    arguments = ("--chips", "0", "--profile", "board.toml", "--calibration", "b7.json")
    told = only_json(done := run("map", "few.json", "--json", *arguments))
    assert done.returncode == 0
    assert {(a["chip"], a["core"]) for a in told["addresses"]} == {(0, 0)}
    for run_of in told["addresses"]:
        assert not {1, 2, 3} & set(range(run_of["first_neuron"], run_of["last_neuron"] + 1))
    assert [d["kind"] for d in told["departures"]] == ["trim"]
    assert told["departures"][0]["neurons"] == ["population 'p' neuron 0", "population 'p' neuron 2"]
    assert told["utilisation"]["cam"]["used"] == 4


def test_a_seed_is_for_sampling_alone(run: Run) -> None:
    done = run("map", "fan.json", "--json", "--fan-in", "relay", "--seed", "5")
    assert done.returncode == 2
    assert only_json(done)["where"] == "--seed"
