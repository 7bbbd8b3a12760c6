"""What a comparison makes of data that is not as it should be: silence, changes over time, other protocols, notes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulator_helpers import CHIP
from session_helpers import mapped_pair, spikes_of, stimulus

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.compare.controls import run_controls
from bcall_hw.compare.result import Comparison, Verdict
from bcall_hw.compare.run import compare
from bcall_hw.compare.settings import Settings
from bcall_hw.compare.sides import matched, observe
from bcall_hw.compare.thinning import thinned
from bcall_hw.errors import InvalidValue
from bcall_hw.record import Step, made_by, record, repeats
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.recording.made import Made
from bcall_hw.recording.session import Session
from bcall_hw.recording.writer import SessionWriter
from bcall_hw.stimulus import Stimulus

PROFILE = BoardProfile(seed=3, mismatch_cv=0.1, noise_a=2e-12)
SECOND = 1_000_000


def places(core: int, size: int) -> np.ndarray:
    return np.array([(0, core, neuron) for neuron in range(size)])


def poisson_run(rng: np.random.Generator, rates_hz: dict[int, np.ndarray], duration_us: int = SECOND) -> SpikeRecording:
    """Poisson spikes of the neurons of some cores; a row of rates for each equal part of the run."""
    parts = []
    for core, rates in rates_hz.items():
        rows = np.atleast_2d(rates)
        part_us = duration_us // len(rows)
        for number, row in enumerate(rows):
            counts = rng.poisson(row * part_us * 1e-6)
            spikes = np.zeros(counts.sum(), dtype=SPIKE_DTYPE)
            spikes["time_us"] = rng.integers(number * part_us + 1, (number + 1) * part_us + 1, len(spikes))
            spikes["core"], spikes["neuron"] = core, np.repeat(np.arange(len(row)), counts)
            parts.append(spikes)
    every = np.concatenate(parts)
    return SpikeRecording(every[np.argsort(every["time_us"], kind="stable")], duration_us, "test", None)


def written(path: Path, runs: list[SpikeRecording], populations: dict[str, np.ndarray]) -> tuple[str, Session]:
    with SessionWriter(path, Made.now("test"), CHIP, populations) as writer:
        for run in runs:
            writer.add(run)
    return path.name, Session.load(path)


def verdicts(comparison: Comparison, population: str) -> dict[str, Verdict]:
    return {q.name: q.verdict for q in comparison.quantities if q.population == population}


# Silence -------------------------------------------------------------------------------------------------------------


def test_a_population_that_is_silent_under_one_stimulus_is_judged_under_the_others(tmp_path: Path) -> None:
    """First fires at 40 or 100 Hz under one stimulus and not at all under the other one; second is alike on both sides."""
    populations, found = {"first": places(2, 8), "second": places(3, 8)}, {}
    for name, rate_hz in (("a", 40.0), ("b", 100.0), ("c", 40.0)):
        rng, runs = np.random.default_rng(ord(name)), []
        for _ in range(12):
            runs.append(poisson_run(rng, {2: np.full(8, rate_hz), 3: np.linspace(20, 60, 8)}))
            runs.append(poisson_run(rng, {3: np.linspace(20, 60, 8)}, SECOND - 1000))
        found[name] = written(tmp_path / f"{name}.h5", runs, populations)
    apart, _ = compare(found["a"], found["b"], controls=False)
    assert apart.verdict is Verdict.DIFFERENT
    assert verdicts(apart, "first")["rate"] is Verdict.DIFFERENT
    assert {q.name: q.stimuli for q in apart.quantities if q.population == "first"}["van_rossum"] == 1
    assert {q.name: q.stimuli for q in apart.quantities if q.population == "first"}["rate"] == 2
    assert {q.stimuli for q in apart.quantities if q.population == "second"} == {2}
    alike, _ = compare(found["a"], found["c"], controls=False)
    assert alike.verdict is not Verdict.DIFFERENT
    assert all(q.distance is not None for q in alike.quantities)


def test_a_population_that_is_always_silent_is_equal_in_its_rate_alone(tmp_path: Path) -> None:
    populations, found = {"first": places(2, 8), "silent": places(3, 4)}, []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        runs = [poisson_run(rng, {2: np.linspace(20, 60, 8)}) for _ in range(10)]
        found.append(written(tmp_path / f"{seed}.h5", runs, populations))
    comparison, _ = compare(found[0], found[1], controls=False)
    of_silent = {q.name: q for q in comparison.quantities if q.population == "silent"}
    assert (of_silent["rate"].distance, of_silent["rate"].verdict) == (0.0, Verdict.EQUIVALENT)
    assert all(q.distance is None for name, q in of_silent.items() if name != "rate")
    assert "11 of 24 could not be judged" in comparison.why


def test_one_side_silent_is_different(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    a = written(tmp_path / "a.h5", [poisson_run(rng, {2: np.full(8, 30.0)}) for _ in range(10)], {"first": places(2, 8)})
    b = written(tmp_path / "b.h5", [spikes_of([], SECOND) for _ in range(10)], {"first": places(2, 8)})
    comparison, _ = compare(a, b, controls=False)
    assert comparison.verdict is Verdict.DIFFERENT


# Order ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1.0, 1.1, 1.3])
def test_parts_of_a_run_that_changes_are_no_repeats(tmp_path: Path, gain: float) -> None:
    """A stimulus gets ten times as strong over the run: its parts hide a difference of 30 %, so nothing is equivalent."""
    base = np.linspace(0.2, 2.0, 10)[:, None] * np.linspace(15, 45, 16)
    found = []
    for name, factor in (("a", 1.0), ("b", gain)):
        run = poisson_run(np.random.default_rng(ord(name)), {2: factor * base}, 10 * SECOND)
        found.append(written(tmp_path / f"{name}.h5", [run], {"first": places(2, 16)}))
    comparison, _ = compare(found[0], found[1], Settings(split=10), controls=False)
    assert comparison.verdict is Verdict.NOT_ENOUGH_DATA
    assert "repeats follow from one another" in comparison.why
    assert "--rest-jitter-s" in comparison.next[0]
    assert comparison.order_matters
    assert comparison.p_order < 0.01


def test_parts_of_a_steady_run_are_repeats_and_show_a_difference(tmp_path: Path) -> None:
    sides = {}
    for name, factor in (("a", 1.0), ("b", 1.3), ("c", 1.0)):
        run = poisson_run(np.random.default_rng(ord(name)), {2: factor * np.linspace(15, 45, 16)}, 10 * SECOND)
        run = replace(run, noted={"dropped": 7})
        sides[name] = written(tmp_path / f"{name}.h5", [run], {"first": places(2, 16)})
    apart, _ = compare(sides["a"], sides["b"], Settings(split=10), controls=False)
    assert apart.verdict is Verdict.DIFFERENT
    alike, _ = compare(sides["a"], sides["c"], Settings(split=10), controls=False)
    assert alike.verdict is not Verdict.DIFFERENT
    assert "7 spikes noted as dropped" in alike.sides[0].notes


def test_one_board_under_a_list_of_events_is_not_called_different(tmp_path: Path) -> None:
    """Neurons with a constant current fire by themselves and go on where they were: after equal rests repeats are not
    independent, and the comparison says so; after rests of random length they are. A board of another seed is told apart."""
    mapped = mapped_pair()
    events = mapped.stimulus({"list": (np.arange(60) % 4, np.arange(60) * 4000.0)}, rates_hz={})

    def side(name: str, profile: BoardProfile, warm_up_us: int, jitter_us: int) -> tuple[str, Session]:
        path = tmp_path / f"{name}.h5"
        path.unlink(missing_ok=True)
        board = Emulator(CHIP, mapped.config.chips, profile)
        steps = repeats(mapped.config, events, 300_000, 10, 100_000, warm_up_us, jitter_us)
        record(path, board, steps, made_by(board, "pair"), mapped.addresses)
        return name, Session.load(path)

    for jitter_us, pairs in ((0, 2), (500_000, 3)):
        called, follow, apart = 0, 0, 0
        for seed in range(pairs):
            profile = PROFILE.model_copy(update={"seed": 50 + seed})
            a = side("a", profile, SECOND, jitter_us)
            same, _ = compare(a, side("b", profile, SECOND * (2 + seed), jitter_us), controls=False)
            other = profile.model_copy(update={"seed": 90 + seed})
            apart += compare(a, side("b", other, SECOND, jitter_us), controls=False)[0].verdict is Verdict.DIFFERENT
            called += same.verdict is Verdict.DIFFERENT
            follow += same.order_matters
        assert called == 0
        assert apart == pairs
        assert follow == (0 if jitter_us else pairs)


# Protocols -----------------------------------------------------------------------------------------------------------


def _other_leak() -> ChipConfig:
    config = mapped_pair().config
    biases = config.biases.copy()
    place = (0, 0, CHIP.bias_index("leak1"))
    coarse, fine, high = biases[place]
    biases[place] = (coarse, (fine + 60) % 256, high)
    return config.with_registers(biases=biases)


def test_registers_that_come_back_are_the_same_and_find_their_own(tmp_path: Path) -> None:
    """X and Y in turn on one side, Y's block and then X's on the other: X is held against X."""
    x, y = mapped_pair().config, _other_leak()
    run, rest = Step("run", None, stimulus(), 300_000), Step("rest", None, Stimulus(CHIP), 50_000)
    in_turn = [step for _ in range(10) for config in (x, y) for step in (Step("apply", config), rest, run)]
    blocks = [step for config in (y, x) for step in (Step("apply", config), *((rest, run) * 10))]
    sides = []
    for name, steps, profile in (("a", in_turn, PROFILE), ("b", blocks, PROFILE)):
        board = Emulator(CHIP, x.chips, profile)
        record(tmp_path / f"{name}.h5", board, steps, made_by(board, "pair"), mapped_pair().addresses)
        sides.append(observe(Session.load(tmp_path / f"{name}.h5"), name, name, Settings()))
    assert [len(side.conditions) for side in sides] == [2, 2]
    assert [side.repeats for side in sides] == [10, 10]
    a, b = matched(*sides)
    assert a.registers == b.registers == (x.sha256, y.sha256)
    found, _ = compare(("a", a.session), ("b", b.session), controls=False)
    assert found.verdict is not Verdict.DIFFERENT, found.why
    assert "different registers" not in " ".join(found.next)


def test_what_the_other_side_did_not_play_or_played_less_is_noted(tmp_path: Path) -> None:
    rng, populations = np.random.default_rng(4), {"first": places(2, 8)}
    rates = {2: np.linspace(20, 60, 8)}
    lengths = [SECOND] * 30 + [SECOND - 1000] * 10 + [SECOND - 2000] * 10
    a = written(tmp_path / "a.h5", [poisson_run(rng, rates, length) for length in lengths], populations)
    b = written(tmp_path / "b.h5", [poisson_run(rng, rates, length) for length in lengths[:40]], populations)
    found, _ = compare(a, b, controls=False)
    assert "1 of 3 stimuli are left out: the other side did not play them" in found.sides[0].notes
    assert "20 runs are left out: other stimuli have 10 repeats" in found.sides[0].notes
    used = [run.recording for run in (*a[1].runs[:10], *a[1].runs[30:40])]
    assert (found.sides[0].repeats, found.sides[0].spikes) == (10, sum(len(run) for run in used))


def test_one_repeat_is_held_against_all_of_the_other_side(tmp_path: Path) -> None:
    rng, populations = np.random.default_rng(4), {"first": places(2, 8)}
    rates = {2: np.linspace(20, 60, 8)}
    runs = [poisson_run(rng, rates) for _ in range(11)]
    one = written(tmp_path / "a.h5", runs[:1], populations)
    many = written(tmp_path / "b.h5", runs[1:], populations)
    found, pictures = compare(one, many, controls=False)
    matrix = pictures.populations["first"].matrices["rate"]
    rate = next(q for q in found.quantities if q.name == "rate")
    assert rate.distance == pytest.approx(matrix[0, 1:].mean())
    assert rate.within == pytest.approx(matrix[1:, 1:][np.triu_indices(10, k=1)].mean())
    assert (rate.p, rate.verdict) == (None, Verdict.NOT_ENOUGH_DATA)


def test_how_many_neurons_were_compared_pair_by_pair_is_counted(tmp_path: Path) -> None:
    rates, found = np.zeros(8), []
    rates[[2, 5]] = 40.0
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        found.append(written(tmp_path / f"{seed}.h5", [poisson_run(rng, {2: rates}) for _ in range(10)], {"p": places(2, 8)}))
    comparison, _ = compare(found[0], found[1], controls=False)
    assert comparison.settings["neurons_compared_pair_by_pair"] == {"p": 2}


# Controls ------------------------------------------------------------------------------------------------------------


def test_a_control_speaks_for_its_own_population_alone(tmp_path: Path) -> None:
    """Giving spikes to other neurons changes a population of different rates, and not one whose neurons are all alike."""
    populations = {"different": places(2, 16), "alike": places(3, 16)}
    found = []
    for seed in (1, 2):
        rng, rates = np.random.default_rng(seed), {2: np.linspace(10, 60, 16), 3: np.full(16, 40.0)}
        runs = [poisson_run(rng, rates, 2 * SECOND) for _ in range(14)]
        found.append(written(tmp_path / f"{seed}.h5", runs, populations))
    comparison, _ = compare(found[0], found[1])
    shuffled = comparison.controls[0]
    assert (shuffled.passed, shuffled.not_told) == (False, ("alike",))
    assert comparison.verdict is Verdict.NOT_ENOUGH_DATA


def test_controls_of_a_board_hang_on_its_data(tmp_path: Path) -> None:
    """A board's session (no profile is known) is thinned as the emulator says; noise between repeats hides the change."""
    mapped, found = mapped_pair(), {}
    for name, shaking in (("steady", 0.0), ("shaking", 1.5)):
        board = Emulator(CHIP, mapped.config.chips, PROFILE)
        made = made_by(board, "pair")
        made = made.model_copy(update={"backend": "samna", "describe": {}})
        path, rng = tmp_path / f"{name}.h5", np.random.default_rng(5)
        record(path, board, repeats(mapped.config, stimulus(), 300_000, 10, 50_000), made, mapped.addresses)
        session = Session.load(path)
        runs = []
        for run in session.runs:  # as if the supply shook: each repeat keeps another part of its spikes
            keep = rng.random(len(run.recording.spikes)) < np.exp(-shaking * rng.random())
            runs.append(replace(run, recording=replace(run.recording, spikes=run.recording.spikes[keep])))
        side = observe(replace(session, runs=tuple(runs)), "A", name, Settings())
        found[name] = {control.name: control for control in run_controls(side, side, Settings())}
    assert [control.passed for control in found["steady"].values()] == [True] * 3, found["steady"]
    assert "thinned by the change" in found["steady"]["mis-calibrated"].what
    different = {name: {k: c.different for k, c in of.items()} for name, of in found.items()}
    assert different["shaking"]["mis-calibrated"] < different["steady"]["mis-calibrated"], different


def test_thinning_gives_the_ratio_of_rates(tmp_path: Path) -> None:
    populations, before, after = {"p": places(2, 4)}, np.array([40.0, 40.0, 40.0, 0.0]), np.array([80.0, 20.0, 0.0, 30.0])
    sides = []
    for name, rates in (("data", np.full(4, 50.0)), ("before", before), ("after", after)):
        rng = np.random.default_rng(ord(name[0]))
        runs = [poisson_run(rng, {2: rates}, 50 * SECOND) for _ in range(10)]
        sides.append(observe(written(tmp_path / f"{name}.h5", runs, populations)[1], name, name, Settings()))
    first, second = thinned(*sides, seed=0)
    rates = [side.trains("p", 0).counts.reshape(10, 4).mean(axis=0) / 50 for side in (first, second)]
    assert rates[0] == pytest.approx([25, 50, 50, 50], rel=0.03)
    assert rates[1] == pytest.approx([50, 25, 0, 50], rel=0.03)


# Limits --------------------------------------------------------------------------------------------------------------


def test_too_many_bins_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    a = written(tmp_path / "a.h5", [poisson_run(rng, {2: np.full(4, 30.0)}) for _ in range(10)], {"p": places(2, 4)})
    with pytest.raises(InvalidValue, match=r"so many bins in the interval \(got 100000, limit 10000\)"):
        compare(a, a, Settings(bin_s=1e-5), controls=False)


def test_so_many_tests_that_nothing_can_differ_are_told(tmp_path: Path) -> None:
    populations = {f"p{core}": places(core, 4) for core in range(4)}
    found = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        runs = [poisson_run(rng, {core: np.full(4, 40.0) for core in range(4)}) for _ in range(5)]
        found.append(written(tmp_path / f"{seed}.h5", runs, populations))
    comparison, _ = compare(found[0], found[1], Settings(min_repeats=5), controls=False)
    assert any("nothing can be called different" in text for text in comparison.next)
