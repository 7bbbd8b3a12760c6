"""Whole comparisons of emulated boards: verdicts, controls, exit codes, refusals."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, only_json
from emulator_helpers import CHIP
from session_helpers import SIZES, mapped_pair, recorded, spikes_of, stimulus

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.compare.quantities import QUANTITIES
from bcall_hw.compare.result import Verdict
from bcall_hw.compare.run import compare
from bcall_hw.compare.settings import Settings
from bcall_hw.errors import InvalidValue
from bcall_hw.record import made_by, record, repeats
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.recording.made import Made
from bcall_hw.recording.session import Session
from bcall_hw.recording.writer import SessionWriter

PROFILE = BoardProfile(seed=3, mismatch_cv=0.1, noise_a=2e-12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sessions")
    recorded(found / "a.h5", PROFILE)
    recorded(found / "again.h5", PROFILE)
    recorded(found / "later.h5", PROFILE, warm_up_us=1_000_000)  # the same board, other noise
    recorded(found / "other.h5", PROFILE.model_copy(update={"seed": 4}))
    recorded(found / "few.h5", PROFILE, count=4, warm_up_us=1_000_000)
    recorded(found / "faster.h5", PROFILE, rate_hz=70.0)
    return found


def loaded(folder: Path, name: str) -> tuple[str, Session]:
    return name, Session.load(folder / f"{name}.h5")


def test_the_same_seed_is_equivalent_at_distance_zero(folder: Path) -> None:
    found, pictures = compare(loaded(folder, "a"), loaded(folder, "again"))
    assert found.verdict is Verdict.EQUIVALENT
    assert found.bit_identical
    assert len(found.quantities) == len(SIZES) * len(QUANTITIES)
    assert all(q.distance == 0.0 and q.equivalent and q.p == 1.0 and (q.within or 0) > 0 for q in found.quantities)
    assert [control.name for control in found.controls] == ["shuffled", "mis-calibrated", "other seed"]
    assert all(control.passed for control in found.controls), found.controls
    for name, size in SIZES.items():
        picture = pictures.populations[name]
        assert picture.rate_hz.shape == (2, size)
        assert np.array_equal(picture.rate_hz[0], picture.rate_hz[1])
        assert picture.matrices["rate"].shape == (20, 20)
        assert np.allclose(picture.matrices["rate"], picture.matrices["rate"].T)


def test_the_same_board_is_equivalent_and_another_is_different(folder: Path) -> None:
    same, _ = compare(loaded(folder, "a"), loaded(folder, "later"), controls=False)
    assert same.verdict is Verdict.EQUIVALENT, same.why
    assert not same.bit_identical
    assert all(q.ratio is not None and 0.5 < q.ratio < 1.2 for q in same.quantities)
    other, _ = compare(loaded(folder, "a"), loaded(folder, "other"), controls=False)
    assert other.verdict is Verdict.DIFFERENT
    assert other.cores[0].differ > 5
    assert "rate of" in other.why
    assert "Look at these cores first: chip 0 core" in other.next[0]
    told = {(c.chip, c.core): c.neurons for c in other.cores}
    assert sum(told.values()) == sum(SIZES.values())


def test_swapped_neurons_are_told_where_they_are(folder: Path) -> None:
    """A fault that a mean rate would not show: two neurons of one population have changed places."""
    name, session = loaded(folder, "later")
    places = session.populations["first"]
    rates = np.bincount(
        session.runs[1].recording.indices_of(places)[session.runs[1].recording.indices_of(places) >= 0], minlength=24
    )
    one, two = int(rates.argmin()), int(rates.argmax())
    changed = []
    for run in session.runs:
        spikes = run.recording.spikes.copy()
        index = run.recording.indices_of(places)
        for mine, to in ((one, two), (two, one)):
            spikes["core"][index == mine], spikes["neuron"][index == mine] = places[to, 1], places[to, 2]
        changed.append(replace(run, recording=replace(run.recording, spikes=spikes)))
    found, pictures = compare(loaded(folder, "a"), (name, replace(session, runs=tuple(changed))), controls=False)
    assert found.verdict is Verdict.DIFFERENT
    assert set(np.argsort(-np.abs(pictures.populations["first"].z))[:2].tolist()) == {one, two}
    assert all(q.verdict is not Verdict.DIFFERENT for q in found.quantities if q.population == "second")


def test_too_few_repeats_are_not_enough_data(folder: Path) -> None:
    found, _ = compare(loaded(folder, "a"), loaded(folder, "few"))
    assert found.verdict is Verdict.NOT_ENOUGH_DATA
    assert found.why == "4 repeats on a side, 10 are needed"
    assert all(q.verdict is Verdict.NOT_ENOUGH_DATA for q in found.quantities)
    assert all(control.passed is None and "not run" in control.reason for control in found.controls)
    assert "--repeats" in found.next[0]
    cut, _ = compare(loaded(folder, "a"), loaded(folder, "few"), Settings(split=3), controls=False)
    assert cut.sides[1].repeats == 12
    assert cut.verdict is not Verdict.DIFFERENT


@pytest.mark.parametrize(("spikes", "repeats"), [(0, 10), (1, 10), (1, 1), (9, 12)])
def test_silence_is_not_enough_data(tmp_path: Path, spikes: int, repeats: int) -> None:
    """Some spikes in one repeat of ten, the same on both sides, are no evidence of anything."""
    for name in ("a", "b"):
        with SessionWriter(tmp_path / f"{name}.h5", Made.now("test")) as writer:
            for repeat in range(repeats):
                writer.add(spikes_of([(1000 * k + 1, 0, 0, 5) for k in range(0 if repeat else spikes)], 100_000))
    found, _ = compare(loaded(tmp_path, "a"), loaded(tmp_path, "b"))
    assert found.verdict is Verdict.NOT_ENOUGH_DATA
    assert found.why == "hardly anything fires: less than 10 spikes in a repeat"


def test_controls_that_find_nothing_take_the_verdict_back(tmp_path: Path) -> None:
    """Poisson spikes of equal rates: giving them to other neurons changes nothing, so nothing could have been seen."""
    rng = np.random.default_rng(2)
    for name in ("a", "b"):
        with SessionWriter(tmp_path / f"{name}.h5", Made.now("test"), CHIP) as writer:
            for _ in range(10):
                spikes = np.zeros(3000, dtype=SPIKE_DTYPE)
                spikes["time_us"], spikes["neuron"] = np.sort(rng.integers(1, 2_000_000, 3000)), rng.integers(0, 32, 3000)
                writer.add(SpikeRecording(spikes, 2_000_000, "test", None))
    found, _ = compare(loaded(tmp_path, "a"), loaded(tmp_path, "b"))
    assert found.verdict is Verdict.NOT_ENOUGH_DATA
    assert "neither did the controls" in found.why
    assert [control.passed for control in found.controls] == [False, None, None]
    assert "no registers" in found.controls[1].reason


def test_what_cannot_be_compared_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="did not play the same"):
        compare(loaded(folder, "a"), loaded(folder, "faster"))
    name, session = loaded(folder, "again")
    halved = {"first": mapped_pair().addresses["first"][:12], "second": mapped_pair().addresses["second"]}
    with pytest.raises(InvalidValue, match="populations differ"):
        compare(loaded(folder, "a"), (name, replace(session, populations=halved)))
    with SessionWriter(tmp_path / "none.h5", Made.now("test")):
        pass
    with pytest.raises(InvalidValue, match="no complete run"):
        compare(loaded(folder, "a"), loaded(tmp_path, "none"))


# The command ---------------------------------------------------------------------------------------------------------


def test_exit_codes_json_and_page(run: Run, folder: Path, tmp_path: Path) -> None:
    a = str(folder / "a.h5")
    for other, code, verdict in (("again", 0, "equivalent"), ("other", 1, "different"), ("few", 3, "not enough data")):
        few = () if other == "other" else ("--no-controls",)
        done = run("compare", a, str(folder / f"{other}.h5"), "--json", "--out", other, *few)
        assert done.returncode == code, done.stderr
        told = only_json(done)
        assert told["verdict"] == verdict
        assert {"name", "population", "distance", "within", "p", "equivalent"} <= told["quantities"][0].keys()
        assert [control["passed"] for control in told["controls"]] == ([] if few else [True] * 3)
        assert json.loads((tmp_path / other / "result.json").read_text())["verdict"] == verdict
        assert (tmp_path / other / "report.html").stat().st_size < 10_000_000
    assert "different" in run("compare", a, str(folder / "other.h5"), "--no-controls").stdout


def test_a_live_side_plays_what_the_file_holds(run: Run, folder: Path, tmp_path: Path) -> None:
    a = str(folder / "a.h5")
    same = only_json(run("compare", a, "emulator", "--json", "--no-controls"))
    assert (same["verdict"], same["bit_identical"]) == ("equivalent", True)
    assert Session.load(tmp_path / "out/compare/B.h5").complete
    other = run("compare", "emulator:seed=8,mismatch_cv=0.1", a, "--json", "--no-controls", "--out", "other")
    assert other.returncode == 1, other.stderr
    replayed = only_json(run("compare", f"replay:{a}", a, "--json", "--no-controls", "--out", "replayed"))
    assert replayed["bit_identical"]
    assert replayed["sides"][0]["backend"] == "replay/emulator/numba"


def test_parameters_are_recovered_from_both_sides(run: Run, folder: Path) -> None:
    told = only_json(
        run("compare", str(folder / "a.h5"), str(folder / "other.h5"), "--json", "--no-controls", "--recover", "0.1")
    )
    rows = {row["parameter"]: row for row in told["recovered"]}
    assert set(rows) == {"membrane time constant", "constant current", "refractory period", "spike threshold"}
    for row in rows.values():
        assert row["B / A"] == pytest.approx(1.0, abs=0.05)
        # ln of two independent log-normal draws of CV 0.1 differs by 0.141 of standard deviation
        assert row["spread"] == pytest.approx(0.141, rel=0.2)
        assert abs(row["correlation"]) < 0.25


def test_live_sides_take_no_file_away(run: Run, folder: Path, tmp_path: Path) -> None:
    """What an earlier comparison recorded stays until a backend has opened; a board's session is kept under another name."""
    a, out = str(folder / "a.h5"), tmp_path / "out"
    out.mkdir()
    (out / "A.h5").write_bytes((folder / "a.h5").read_bytes())
    refused = run("compare", f"replay:{out / 'A.h5'}", a, "--no-controls", "--out", str(out))
    assert refused.returncode == 2
    assert "would take the place of a side's file" in refused.stderr
    assert (out / "A.h5").read_bytes() == (folder / "a.h5").read_bytes()
    refused = run(
        "compare", "samna:auto", a, "--no-controls", "--out", str(out), env=os.environ | {"BCALL_SAMNA_PYTHON": "/nowhere"}
    )
    assert refused.returncode == 2
    assert (out / "A.h5").read_bytes() == (folder / "a.h5").read_bytes()
    (out / "A.h5").write_text("notes of mine")
    for number in range(2):
        assert run("compare", "emulator", a, "--no-controls", "--out", str(out)).returncode == 0
        assert Session.load(out / "A.h5").complete
        assert sorted(path.name for path in out.glob("*.before*")) == ["A.before.h5"], number
    assert (out / "A.before.h5").read_text() == "notes of mine"


def test_what_cannot_be_measured_is_refused_before_the_work(run: Run, folder: Path, tmp_path: Path) -> None:
    name, session = loaded(folder, "a")
    with SessionWriter(tmp_path / "t.h5", Made.now("test"), CHIP, session.populations) as writer:
        for one in session.runs:
            writer.add(one.recording, None, one.kind)
    done = run("compare", str(folder / f"{name}.h5"), "t.h5", "--recover", "0.0", "--out", "r")
    assert done.returncode == 2
    assert "its board cannot be measured again" in done.stderr
    assert not (tmp_path / "r/report.html").exists()


def test_two_repeats_are_compared_without_warnings(tmp_path: Path) -> None:
    sides = [(f"{seed}", recorded(tmp_path / f"{seed}.h5", BoardProfile(seed=seed), count=2)) for seed in (1, 2)]
    found, _ = compare(sides[0], sides[1])
    assert found.verdict is Verdict.NOT_ENOUGH_DATA
    assert all(q.p is None and (q.distance is None or q.within is not None) for q in found.quantities)


def test_rests_of_random_length() -> None:
    """Each rest is longer by up to the jitter, in whole milliseconds, the same in each recording; or not at all."""

    def lengths(count: int, jitter_us: int) -> list[int]:
        steps = repeats(mapped_pair().config, stimulus(), 300_000, count, 100_000, 0, jitter_us)
        return [step.duration_us for step in steps if step.kind == "rest"]

    found = lengths(50, 500_000)
    assert lengths(12, 500_000) == found[:12]
    assert len(set(found)) > 40
    assert all(100_000 <= length <= 600_000 and length % 1000 == 0 for length in found)
    assert min(found) < 130_000
    assert max(found) > 570_000
    assert set(lengths(5, 0)) == {100_000}
    with pytest.raises(InvalidValue, match="impossible rest"):
        lengths(5, -1)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("A", "A", "--alpha", "1e-7"), "alpha"),
        (("A", "A", "--bin-ms", "1e-3"), "so many bins"),
        (("none.h5", "A"), "no such file"),
        (("/", "A"), "is no regular file (got a folder)"),
        (("/dev/null", "A"), "is no regular file (got a device or pipe)"),
        (("A", "emulator:seed=x"), "tells no emulated board"),
        (("A", "emulator:board_seed=1,seed=2"), "in two ways"),
        (("emulator", "emulator"), "nothing to play"),
        (("A", "emulator", "--duration-s", "1"), "is for two live sides"),
        (("A", "A", "--margin", "0.9"), "margin"),
        (("A", "A", "--split", "999999"), "less than or equal to 200"),
        (("A", "A", "--recover", "x"), "are no cores"),
        (("A", "A", "--recover", "9.9"), "no such core"),
    ],
)
def test_bad_input_is_exit_code_2(run: Run, folder: Path, arguments: tuple[str, ...], match: str) -> None:
    done = run("compare", *(str(folder / "a.h5") if part == "A" else part for part in arguments), "--no-controls")
    assert done.returncode == 2
    assert match in done.stderr
    assert "Traceback" not in done.stderr


def test_record_and_convert_commands(run: Run, tmp_path: Path) -> None:
    mapped_pair().network.save(tmp_path / "net.json")
    options = ("record", "net.json", "--rate", "in=60", "--duration-s", "0.2", "--repeats", "3", "--out", "s.h5", "--json")
    told = only_json(run(*options))
    assert (told["repeats"], told["duration_s"]) == (3, 0.2)
    refused = run(*options)
    assert refused.returncode == 2
    assert "is there already" in refused.stderr
    assert only_json(run(*options, "--overwrite"))["spikes_sha256"] == told["spikes_sha256"]
    before = (tmp_path / "s.h5").read_bytes()
    for more in (("--rest-s", "3000"), ("--backend", "replay:s.h5")):  # refused in mid-way, or before
        refused = run(*options, "--overwrite", *more)
        assert (refused.returncode, (tmp_path / "s.h5").read_bytes() == before) == (2, True), refused.stderr
    assert run(*options[:-3], "--out", "new.h5", "--rest-s", "3000").returncode == 2
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["s.h5"]
    for ending in (".csv", ".npz"):
        run("convert", "s.h5", "--out", f"t{ending}")
        back = only_json(run("convert", f"t{ending}", "--out", f"back{ending}.h5", "--json"))
        assert back["spikes_sha256"] == told["spikes_sha256"]
    assert run("convert", "s.h5", "--out", "x.h5").returncode == 2
    assert run("record", "net.json", "--duration-s", "0.2", "--out", "n.h5").returncode == 2


def _two_stimuli(path: Path, seed: int, second_hz: float) -> tuple[str, Session]:
    """Poisson spikes of eight neurons, ten repeats of each of two stimuli (which differ in length here)."""
    rng = np.random.default_rng(seed)
    with SessionWriter(path, Made.now("test"), CHIP, {"p": np.array([(0, 2, n) for n in range(8)])}) as writer:
        for _ in range(10):
            for duration_us, rate_hz in ((500_001, 50.0), (400_001, second_hz)):
                count = rng.poisson(8 * rate_hz * duration_us * 1e-6)
                spikes = np.zeros(count, dtype=SPIKE_DTYPE)
                spikes["time_us"] = np.sort(rng.integers(1, duration_us, count))
                spikes["core"], spikes["neuron"] = 2, rng.integers(0, 8, count)
                writer.add(SpikeRecording(spikes, duration_us, "test", None))
    return path.name, Session.load(path)


def test_all_stimuli_count_where_rates_differ(tmp_path: Path) -> None:
    a, b = _two_stimuli(tmp_path / "a.h5", 1, 50.0), _two_stimuli(tmp_path / "b.h5", 2, 120.0)
    found, pictures = compare(a, b, controls=False)
    assert found.verdict is Verdict.DIFFERENT
    core = found.cores[0]
    assert (core.chip, core.core, core.differ) == (0, 2, 8)
    assert core.rate_a_hz == pytest.approx(50, abs=5)
    assert core.rate_b_hz == pytest.approx(85, abs=7)  # the mean over both stimuli
    assert pictures.populations["p"].rate_hz[1].mean() == pytest.approx(core.rate_b_hz)


def test_what_a_cut_into_repeats_leaves_is_told(tmp_path: Path) -> None:
    a = _two_stimuli(tmp_path / "a.h5", 1, 50.0)
    found, _ = compare(a, a, Settings(split=2), controls=False)
    assert any("the last 1 us of a run are left out" in note for note in found.sides[0].notes), found.sides[0].notes


def test_other_registers_are_told(folder: Path, tmp_path: Path) -> None:
    config = mapped_pair().config
    biases = config.biases.copy()
    place = (0, 0, CHIP.bias_index("leak1"))
    coarse, fine, high = biases[place]
    biases[place] = (coarse, (fine + 60) % 256, high)
    board = Emulator(CHIP, config.chips, PROFILE)
    steps = repeats(config.with_registers(biases=biases), stimulus(), 300_000, 10, 50_000)
    record(tmp_path / "b.h5", board, steps, made_by(board, "pair"), mapped_pair().addresses)
    found, _ = compare(loaded(folder, "a"), ("b", Session.load(tmp_path / "b.h5")), controls=False)
    assert found.verdict is Verdict.DIFFERENT
    assert any("different registers" in text for text in found.next), found.next
