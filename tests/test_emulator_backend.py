"""The emulator as a backend: what it refuses, what it remembers, and what must not matter to its results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from emulator_helpers import (
    CHIP,
    NEURONS,
    Board,
    events,
    poisson,
    random_biases,
    random_board,
    random_cam,
    random_sram,
    random_stimulus,
    rates_hz,
    silence,
    started,
    state,
    target,
)  # fmt: skip

from bcall_hw import h5_files
from bcall_hw.backend import open_backend
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import BiasCode
from bcall_hw.errors import (
    BackendProblem,
    BackendUnavailable,
    CorruptFile,
    EmulatorOverflow,
    FieldOverflow,
    FileProblem,
    ForeignFile,
    InvalidValue,
    StimulusProblem,
)  # fmt: skip
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.stimulus import Stimulus

PROFILE = BoardProfile(seed=11, mismatch_cv=0.2)
LIST = ((100.0, 0, 15, 257), (5000.0, 0, 3, 258), (9000.0, 0, 15, 259))


def _network(seed: int = 4, chips: tuple[int, ...] = (0,)) -> Board:
    return random_board(np.random.default_rng(seed), chips, (0, 2))


def _snapshot(emulator: Emulator) -> tuple[str, str]:
    return emulator.state_sha256(), emulator.read_back().sha256


# Refusals ------------------------------------------------------------------------------------------------------------


def test_nothing_runs_before_apply() -> None:
    emulator = Emulator()
    calls: list[Any] = [
        lambda: emulator.run(silence(), 0.1),
        emulator.save_state,
        emulator.state_sha256,
        lambda: emulator.load_state({"rows": 0}),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(BackendProblem, match="apply"):
            call()


@pytest.mark.parametrize("duration_s", [0.0, -0.1, -1e-4, math.nan, math.inf, -math.inf, 1.5e-4, 1e-5, 0.10003, 1e-9, 3e3])
def test_impossible_durations_are_refused(duration_s: float) -> None:
    emulator = started(Board().config())
    before = _snapshot(emulator)
    with pytest.raises(InvalidValue):
        emulator.run(silence(), duration_s)
    assert _snapshot(emulator) == before


@pytest.mark.parametrize("dt_us", [10, 20, 25, 40, 50, 100, 125, 200, 250, 500, 1000])
def test_time_steps_that_divide_a_millisecond(dt_us: int) -> None:
    emulator = started(Board().config(), dt_us=dt_us)
    assert emulator.run(silence(), 0.003).duration_us == 3000


@pytest.mark.parametrize("dt_us", [0, -100, 1, 5, 9, 11, 30, 60, 99, 101, 150, 300, 333, 400, 600, 999, 1001, 2000, math.nan])
def test_time_steps_that_do_not_divide_a_millisecond_are_refused(dt_us: int) -> None:
    with pytest.raises(InvalidValue):
        Emulator(dt_us=dt_us)


def test_time_step_of_half_microseconds_is_refused() -> None:
    """12.5 us divides 1 ms, but spike times are whole microseconds."""
    with pytest.raises(InvalidValue):
        Emulator(dt_us=12.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cuda", "", "Numba", "NUMPY", "python"])
def test_unknown_implementation_is_refused(name: Any) -> None:
    with pytest.raises(InvalidValue):
        Emulator(implementation=name)


@pytest.mark.parametrize("chips", [(), (4,), (-1,), (1, 0), (0, 0)])
def test_impossible_chips_are_refused(chips: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValue):
        Emulator(chips=chips)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendUnavailable, match="emulator"):
        open_backend("brick")
    assert open_backend("emulator", implementation="numpy").name == "emulator/numpy"


@pytest.mark.parametrize("time_us", [1000.0, 1000.5, 5000.0])
def test_stimulus_after_the_end_is_refused(time_us: float) -> None:
    emulator = started(Board().config())
    before = _snapshot(emulator)
    with pytest.raises(StimulusProblem, match="after the run"):
        emulator.run(events([(time_us, 0, 1, 5)]), 0.001)
    assert _snapshot(emulator) == before
    emulator.run(events([(999.0, 0, 1, 5)]), 0.001)


def test_refused_poisson_rate_leaves_the_streams_of_the_other_sources() -> None:
    """A rate that a step cannot hold is refused; the sources before it must not have moved on."""
    config = _network().config()
    tried, fresh = (started(config, profile=PROFILE, dt_us=1000) for _ in range(2))
    before = _snapshot(tried)
    with pytest.raises(BackendProblem, match="source 900"):
        tried.run(poisson({257: 100.0, 900: 4300.0}), 0.05)
    assert _snapshot(tried) == before
    allowed = poisson({257: 100.0})
    assert tried.run(allowed, 0.05).sha256 == fresh.run(allowed, 0.05).sha256


def test_configuration_of_other_chips_is_refused() -> None:
    emulator = started(Board((0, 1)).config())
    before = _snapshot(emulator)
    for chips in ((0,), (1,), (0, 2), (0, 1, 2)):
        with pytest.raises(InvalidValue):
            emulator.apply(Board(chips).config())
    assert _snapshot(emulator) == before


@pytest.mark.parametrize("bias", ["IF_DC_P", "PS_WEIGHT_EXC_F_N", "IF_TAU1_N"])
def test_low_range_bit_is_refused_by_name_and_nothing_changes(bias: str) -> None:
    network = _network(chips=(0, 1))
    emulator = started(network.config(), profile=PROFILE)
    twin = started(network.config(), profile=PROFILE)
    for one in (emulator, twin):
        one.run(random_stimulus(np.random.default_rng(0), (0, 1), 10_000, "both"), 0.01)
    before = _snapshot(emulator)
    bad = Board.of(network.config())
    bad.code(2, bias, BiasCode(coarse=3, fine=50, high=False), chip=1)
    random_cam(bad, np.random.default_rng(1), 0, 0)
    random_sram(bad, np.random.default_rng(1), 0, 0)
    with pytest.raises(BackendProblem) as problem:
        emulator.apply(bad.config())
    assert bias in str(problem.value)
    assert "chip 1 core 2" in str(problem.value)
    assert _snapshot(emulator) == before
    later = random_stimulus(np.random.default_rng(2), (0, 1), 10_000, "both")
    assert emulator.run(later, 0.01).sha256 == twin.run(later, 0.01).sha256
    assert emulator.state_sha256() == twin.state_sha256()


def test_registers_after_opening_are_refused_because_of_their_low_range_bit() -> None:
    with pytest.raises(BackendProblem, match="IF_TAU1_N"):
        Emulator().apply(ChipConfig.after_opening(CHIP))


@pytest.mark.parametrize(("role", "word"), [("dc", "input"), ("AMPA_gain", "AMPA"), ("GABA_B_gain", "GABA_B")])
def test_overflow_of_a_current_is_named_and_nothing_changes(role: str, word: str) -> None:
    network = Board()
    synapses = {"AMPA": (0.01, 1e-10), "GABA_B": (0.01, 1e-10)}
    network.neurons(3, target(synapses=synapses))
    emulator = started(network.config())
    before = _snapshot(emulator)
    network.current(3, role, 2e-5)
    with pytest.raises(EmulatorOverflow) as problem:
        emulator.apply(network.config())
    assert word in str(problem.value)
    assert "chip 0 core 3" in str(problem.value)
    assert _snapshot(emulator) == before


def test_a_leak_beyond_its_word_is_held_and_told_of() -> None:
    """The usual way to silence neurons is the largest leak that there is."""
    network = Board()
    network.neurons(3, target(dc_a=1e-9))
    network.current(3, "leak2", 2e-5)
    network.tau2[0, 3, 7] = True
    emulator = started(network.config())
    assert "chip 0 core 3" in emulator.warnings[0]
    assert "1.07 uA" in emulator.warnings[0]
    rates = rates_hz(emulator.run(silence(), 0.1))
    assert rates[3, 7] == 0
    assert rates[3, 6] > 0


@pytest.mark.parametrize("what", ["DC and AMPA", "leak and AHP"])
def test_currents_that_could_add_up_beyond_the_words_are_refused(what: str) -> None:
    network = Board()
    network.neurons(2, target(synapses={"AMPA": (0.01, 1e-10)}, adaptation=(0.1, 1e-12)))
    emulator = started(network.config())
    before = _snapshot(emulator)
    for role in ("dc",) if what == "DC and AMPA" else ("leak1", "leak2"):
        network.current(2, role, 1.87e-6)
    network.current(2, "AMPA_gain" if what == "DC and AMPA" else "ahp_gain", 5e-9 if what == "DC and AMPA" else 3e-7)
    network.current(2, "ahp_weight", 1e-10)
    network.code(2, "ahp_enable", BiasCode(coarse=4, fine=80))
    with pytest.raises(EmulatorOverflow, match=r"chip 0 core 2 neuron 0.*add up"):
        emulator.apply(network.config())
    assert _snapshot(emulator) == before


@pytest.mark.parametrize(("array", "field", "value"), [
    ("cam", "source_core", 4), ("cam", "source_neuron", 256), ("cam", "type", 4), ("sram", "dx", 4), ("sram", "sx", 2),
    ("sram", "core_mask", 16), ("sram", "virtual_core", 4), ("biases", "coarse", 8), ("biases", "fine", 256),
])  # fmt: skip
def test_fields_that_no_register_holds_are_refused(array: str, field: str, value: int) -> None:
    board = _network()
    emulator = started(board.config())
    before = _snapshot(emulator)
    getattr(board, array)[field][0, 1, 2] = value
    with pytest.raises(FieldOverflow):
        emulator.apply(board.config())
    assert _snapshot(emulator) == before


def test_state_of_another_board_is_refused() -> None:
    one, two = started(Board((0,)).config()), started(Board((0, 1)).config())
    before = _snapshot(two)
    with pytest.raises(InvalidValue):
        two.load_state(one.save_state())
    assert _snapshot(two) == before


# Registers -----------------------------------------------------------------------------------------------------------


def _differing(a: ChipConfig, b: ChipConfig) -> int:
    """Registers that differ, counted one by one."""
    return sum(
        x != y
        for name in ("cam", "sram", "biases", "tau2")
        for x, y in zip(getattr(a, name).ravel().tolist(), getattr(b, name).ravel().tolist(), strict=True)
    )


def test_apply_returns_the_number_of_differing_words() -> None:
    board = _network()
    emulator = Emulator()
    config = board.config()
    assert emulator.read_back() == ChipConfig.after_opening(CHIP)
    assert emulator.apply(config) == _differing(ChipConfig.after_opening(CHIP), config)
    assert emulator.apply(config) == 0
    assert emulator.apply(board.config()) == 0
    rng = np.random.default_rng(5)
    for change in (random_cam, random_sram, random_biases):
        change(board, rng, 0, 0)
        changed = board.config()
        expected = _differing(config, changed)
        assert emulator.apply(changed) == expected > 0
        config = changed
    board.tau2[0, 0, :7] ^= True
    assert emulator.apply(board.config()) == 7


def test_read_back_is_what_was_applied() -> None:
    board = _network(chips=(1, 2))
    emulator = started(board.config())
    emulator.run(silence(), 0.01)
    assert emulator.read_back() == board.config()
    assert emulator.read_back().sha256 == board.config().sha256
    emulator.close()
    emulator.close()


def test_apply_keeps_the_state() -> None:
    """New registers act on old membranes and currents: the state words do not change by applying."""
    board = _network()
    emulator = started(board.config(), profile=PROFILE)
    emulator.run(random_stimulus(np.random.default_rng(0), (0,), 10_000, "both"), 0.01)
    before = emulator.state_sha256()
    random_biases(board, np.random.default_rng(1), 0, 0)
    emulator.apply(board.config())
    assert emulator.state_sha256() == before
    assert state(emulator).any()


@pytest.mark.parametrize("implementation", ["numpy", "numba"])
def test_registers_written_in_steps_or_at_once_act_alike(implementation: str) -> None:
    """An emulator that came to its registers by many changes runs as one that got them at once."""
    rng = np.random.default_rng(3)
    board = _network()
    emulator = started(board.config(), profile=PROFILE, implementation=implementation)
    for change in (random_cam, random_sram, random_biases, random_cam):
        change(board, rng, 0, 2)
        emulator.apply(board.config())
    board.tau2[0, 2] ^= True
    emulator.apply(board.config())
    fresh = started(board.config(), profile=PROFILE, implementation=implementation)
    stimulus = random_stimulus(rng, (0,), 10_000, "both")
    found = emulator.run(stimulus, 0.01)
    assert len(found) > 0
    assert found.sha256 == fresh.run(stimulus, 0.01).sha256
    assert emulator.state_sha256() == fresh.state_sha256()


# State ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["numpy", "numba"])
@pytest.mark.parametrize("kind", ["list", "poisson", "both"])
def test_continuing_from_a_saved_state(implementation: str, kind: str) -> None:
    rng = np.random.default_rng(6)
    config = _network(chips=(0, 1)).config()
    emulator = started(config, profile=PROFILE, implementation=implementation)
    first, second = (random_stimulus(rng, (0, 1), 10_000, kind) for _ in range(2))
    emulator.run(first, 0.01)
    saved = emulator.save_state()
    frozen = {name: np.array(value).tobytes() for name, value in saved.items()}
    expected = emulator.run(second, 0.01)
    end = _snapshot(emulator)
    assert len(expected) > 0
    assert {name: np.array(value).tobytes() for name, value in saved.items()} == frozen, "a saved state must not run on"
    emulator.load_state(saved)
    assert emulator.run(second, 0.01).sha256 == expected.sha256
    assert _snapshot(emulator) == end
    other = started(config, profile=PROFILE, implementation=implementation)
    other.load_state(saved)
    assert other.run(second, 0.01).sha256 == expected.sha256
    assert _snapshot(other) == end
    assert {name: np.array(value).tobytes() for name, value in saved.items()} == frozen


def test_saved_state_is_a_copy_on_a_chip_of_one_core(tmp_path: Path) -> None:
    """A chip model of one core is allowed: its state block has no gaps, so that a view would not be a copy."""
    import tomlkit

    from bcall_hw.records import data_folder

    source = data_folder("chip_models")
    model = tomlkit.parse((source / "dynapse1.toml").read_text(encoding="utf-8"))
    model["geometry"].update({"chips": 1, "chip_columns": 1, "cores": 1})
    model["name"] = "one_core"
    for bias in model["biases"]:
        bias["addresses"] = bias["addresses"][:1]
    (tmp_path / "one_core.toml").write_text(tomlkit.dumps(model), encoding="utf-8")
    (tmp_path / "dynapse1_currents.csv").write_bytes((source / "dynapse1_currents.csv").read_bytes())
    emulator = Emulator(chip=str(tmp_path / "one_core.toml"))
    config = emulator.read_back()
    biases = config.biases.copy()
    biases["high"] = 1
    emulator.apply(config.with_registers(biases=biases))
    saved = emulator.save_state()
    before = np.asarray(saved["rows"]).copy()
    emulator.run(Stimulus(config.chip), 0.001)
    assert np.array_equal(saved["rows"], before)
    emulator.load_state(saved)
    assert np.array_equal(emulator.save_state()["rows"], before)


@pytest.mark.parametrize("cut_steps", [1, 37, 99])
@pytest.mark.parametrize("dt_us", [100, 1000])
@pytest.mark.parametrize("implementation", ["numpy", "numba"])
def test_cutting_a_run_changes_nothing(cut_steps: int, dt_us: int, implementation: str) -> None:
    rng = np.random.default_rng(cut_steps)
    config = _network(chips=(0, 1)).config()
    total_us, cut_us = 100 * dt_us, cut_steps * dt_us
    times = np.sort(rng.integers(0, total_us, 80)).astype(float)
    rows = [(t, int(rng.integers(0, 2)), int(rng.integers(1, 16)), int(rng.integers(0, 4)) * NEURONS + 3) for t in times]
    sources = {257: 150.0, 514: 300.0, 3: 80.0}

    def played(listed: Stimulus) -> Stimulus:
        return poisson(sources, 1, 5, listed)

    whole, parts = (started(config, profile=PROFILE, implementation=implementation, dt_us=dt_us) for _ in range(2))
    expected = whole.run(played(events(rows)), total_us * 1e-6).spikes
    head = parts.run(played(events([r for r in rows if r[0] < cut_us])), cut_us * 1e-6).spikes
    late = [(t - cut_us, *rest) for t, *rest in rows if t >= cut_us]
    tail = parts.run(played(events(late)), (total_us - cut_us) * 1e-6).spikes.copy()  # type: ignore[arg-type]
    tail["time_us"] += cut_us
    assert len(expected) > 0
    assert np.array_equal(np.concatenate([head, tail]), expected)
    assert _snapshot(whole) == _snapshot(parts)


def test_seed_chooses_the_poisson_trains() -> None:
    config = _network().config()
    boards = [started(config, profile=BoardProfile(seed=seed)) for seed in (1, 1, 2)]
    same, again, other = (e.run(poisson({257: 300.0, 258: 300.0}, core_mask=15), 0.1).sha256 for e in boards)
    assert same == again != other


# What must not matter ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mismatch_cv", [0.0, 0.2])
def test_other_chips_beside_it_do_not_matter(mismatch_cv: float) -> None:
    """A network on one core gives the same spikes whichever idle chips are emulated with it."""
    profile = BoardProfile(seed=9, mismatch_cv=mismatch_cv)
    hashes = []
    for chips in ((1,), (0, 1), (1, 2), (0, 1, 2, 3)):
        rng = np.random.default_rng(12)
        board = Board(chips)
        random_biases(board, rng, 1, 3)
        random_cam(board, rng, 1, 3)
        for neuron in range(10):
            board.send(3, neuron, 0, 0b1000, 2, chip=1)
        stimulus = random_stimulus(rng, (1,), 50_000, "both")
        recording = started(board.config(), profile=profile).run(stimulus, 0.05)
        assert len(recording) > 50
        assert set(recording.spikes["chip"].tolist()) == {1}
        hashes.append(recording.sha256)
    assert len(set(hashes)) == 1


@pytest.mark.parametrize("implementation", ["numpy", "numba"])
def test_idle_neurons_stay_at_rest_until_an_event_comes(implementation: str) -> None:
    """A core without input is woken by an event at any time, from the list or from another chip's spike."""
    board = Board((0, 1))
    board.neurons(0, target(synapses={"AMPA": (0.01, 5e-10)}), chip=0)
    board.neurons(1, target(synapses={"AMPA": (0.01, 5e-10)}), chip=1)
    board.listen(0, slice(None), slice(0, 8), 700, "AMPA", chip=0)
    board.listen(1, slice(None), slice(0, 8), 512 + 9, "AMPA", chip=1)
    board.send(0, 9, 1, 0b0010, 2, chip=0, hops=(1, 0))
    emulator = started(board.config(), implementation=implementation)
    assert len(emulator.run(silence(), 0.05)) == 0
    recording = emulator.run(events([(30_020.0, 0, 1, 700), (30_030.0, 0, 1, 700)]), 0.06)
    first, second = (recording.spikes[recording.spikes["chip"] == chip] for chip in (0, 1))
    assert len(first) >= NEURONS
    assert len(second) >= NEURONS
    assert 30_000 < first["time_us"].min() < second["time_us"].min()
    after = first["time_us"][first["neuron"] == 9].min()
    assert second["time_us"].min() > after


def test_poisson_sources_of_a_chip_that_is_not_emulated_are_refused() -> None:
    emulator = started(_network().config(), profile=PROFILE)
    before = emulator.state_sha256()
    with pytest.raises(StimulusProblem, match="chip 2"):
        emulator.run(poisson({257: 300.0}, chip=2, core_mask=15, listed=events(LIST)), 0.02)
    assert emulator.state_sha256() == before


# Recordings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dt_us", [100, 200, 1000])
@pytest.mark.parametrize("implementation", ["numpy", "numba"])
def test_spikes_are_sorted_and_lie_within_the_run(dt_us: int, implementation: str) -> None:
    board = Board((0, 2))
    board.neurons(None, target(refractory_s=0.001, gain_a=1e-8, dc_a=3e-9), chip=None)
    emulator = started(board.config(), profile=PROFILE, implementation=implementation, dt_us=dt_us)
    emulator.run(silence(), 0.01)
    recording = emulator.run(silence(), 0.021)
    spikes = recording.spikes
    assert len(spikes) > 1000
    assert spikes.dtype == SPIKE_DTYPE
    assert recording.duration_us == 21_000
    assert recording.backend == f"emulator/{implementation}" == emulator.name
    assert recording.seed == PROFILE.seed
    assert spikes["time_us"].min() == dt_us
    assert spikes["time_us"].max() == 21_000
    assert np.all(spikes["time_us"] % dt_us == 0)
    keys = spikes.tolist()
    assert keys == sorted(set(keys))
    assert set(spikes["chip"].tolist()) == {0, 2}
    assert set(spikes["core"].tolist()) == {0, 1, 2, 3}


@pytest.fixture
def recording() -> SpikeRecording:
    emulator = started(_network().config(), profile=PROFILE)
    found = emulator.run(events(LIST), 0.02)
    assert len(found) > 10
    return found


def test_recording_round_trip(recording: SpikeRecording, tmp_path: Path) -> None:
    recording.save(tmp_path / "r.h5")
    found = SpikeRecording.load(tmp_path / "r.h5")
    assert found.sha256 == recording.sha256
    assert np.array_equal(found.spikes, recording.spikes)
    for name in ("duration_us", "backend", "seed", "version"):
        assert getattr(found, name) == getattr(recording, name)
    assert not found.spikes.flags.writeable


@pytest.mark.parametrize("seed", [None, 0, 2**63 - 1])
def test_empty_recording_round_trip(tmp_path: Path, seed: int | None) -> None:
    empty = SpikeRecording(np.zeros(0, dtype=SPIKE_DTYPE), 100, "x", seed, "0.0")
    empty.save(tmp_path / "sub" / "r.h5")
    found = SpikeRecording.load(tmp_path / "sub" / "r.h5")
    assert (len(found), found.seed, found.sha256) == (0, seed, empty.sha256)


def test_recording_of_another_dtype_is_refused() -> None:
    with pytest.raises(InvalidValue):
        SpikeRecording(np.zeros(3, dtype=np.int64), 100, "x", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(recording: SpikeRecording, tmp_path: Path, part: float) -> None:
    path = tmp_path / "r.h5"
    recording.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises((CorruptFile, ForeignFile)):
        SpikeRecording.load(path)


def test_missing_and_foreign_files_are_refused(recording: SpikeRecording, tmp_path: Path) -> None:
    with pytest.raises(FileProblem):
        SpikeRecording.load(tmp_path / "missing.h5")
    with pytest.raises(FileProblem):
        SpikeRecording.load(tmp_path)
    (tmp_path / "text.h5").write_text("time,neuron\n")
    with pytest.raises(ForeignFile):
        SpikeRecording.load(tmp_path / "text.h5")
    Board().config().save(tmp_path / "config.h5")
    events(LIST).save(tmp_path / "stimulus.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("spikes", data=recording.spikes)
    for name in ("config", "stimulus", "other"):
        with pytest.raises(ForeignFile):
            SpikeRecording.load(tmp_path / f"{name}.h5")
    recording.save(tmp_path / "newer.h5")
    with h5py.File(tmp_path / "newer.h5", "a") as file:
        file.attrs["format_version"] = 3
    with pytest.raises(CorruptFile):
        SpikeRecording.load(tmp_path / "newer.h5")
    h5_files.seal(tmp_path / "newer.h5")
    with pytest.raises(ForeignFile):
        SpikeRecording.load(tmp_path / "newer.h5")


@pytest.mark.parametrize("damage", ["spike", "dtype", "no spikes", "no runs", "duration"])
def test_damaged_content_is_refused(recording: SpikeRecording, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "r.h5"
    recording.save(path)
    with h5py.File(path, "a") as file:
        if damage == "spike":
            changed = recording.spikes.copy()
            changed["neuron"][3] ^= 1
            file["spikes"][...] = changed
        elif damage == "dtype":
            del file["spikes"]
            file["spikes"] = np.zeros(5)
        elif damage == "no spikes":
            del file["spikes"]
        elif damage == "duration":
            runs = file["runs"][...]
            runs["duration_us"] = runs["reached_us"] = 1
            file["runs"][...] = runs
        else:
            del file["runs"]
    with pytest.raises(CorruptFile, match="hash"):
        SpikeRecording.load(path)
    if damage != "spike":  # with the right hash, other spikes are just another recording
        h5_files.seal(path)
        with pytest.raises(CorruptFile, match="damaged or incomplete"):
            SpikeRecording.load(path)


@pytest.mark.parametrize("what", ["signature of the text heap", "size of the text heap", "kind of the format attribute"])
def test_damaged_head_is_refused(recording: SpikeRecording, tmp_path: Path, what: str) -> None:
    """Damage to the attributes that say what the file is: the documented error, not the library's own."""
    path = tmp_path / "r.h5"
    recording.save(path)
    if what == "kind of the format attribute":
        with h5py.File(path, "a") as file:
            file.attrs["format"] = np.array([1, 2])
    else:
        content = bytearray(path.read_bytes())
        heap = content.index(b"GCOL")
        position = heap if what.startswith("signature") else heap + 8
        content[position] ^= 0xFF
        path.write_bytes(bytes(content))
    with pytest.raises((CorruptFile, ForeignFile)):
        SpikeRecording.load(path)
