"""A board's defects, noise and mismatch of CAM entries: what is delivered against a brute-force matcher, and its statistics."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator_helpers import CHIP, SYNAPSE_ROW, Board, events, rates_hz, silence, small_chip, started, state, target

from bcall_hw import random_bits
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.decode import decode
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.noise import Noise
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import CorruptFile, EmulatorOverflow, ForeignFile, InvalidValue

ORDER = ("AMPA", "NMDA", "GABA_A", "GABA_B")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ChipModel:
    return small_chip(tmp_path_factory.mktemp("chip"))


def _heard(config: ChipConfig, profile: BoardProfile, chip: int, core: int, tag: int) -> Counter[tuple[int, int]]:
    """Brute force: (neuron, synapse row) -> entries of one core that hear a tag, entry by entry, bit by bit."""
    found: Counter[tuple[int, int]] = Counter()
    rows = {t.code: ORDER.index(t.name) for t in config.chip.synapse_types}
    registers = config.cam[config.chips.index(chip), core]
    for neuron in range(config.chip.geometry.neurons):
        for entry in range(config.chip.cam.entries):
            source_core, source_neuron, code = (int(x) for x in registers[neuron, entry])
            bits = list(format(source_core * config.chip.geometry.neurons + source_neuron, "016b"))
            for at in profile.stuck_tag_bits:
                if at[:4] == (chip, core, neuron, entry):
                    bits[15 - at[4]] = str(at[5])
            if (chip, core, neuron, entry) not in profile.dead_cam and int("".join(bits), 2) == tag:
                found[neuron, rows[code]] += 1
    return found


@pytest.mark.parametrize("implementation", ["numba", "numpy", "reference"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_tag_reaches_what_the_matcher_says(seed: int, implementation: str, small: ChipModel) -> None:
    rng = np.random.default_rng(seed)
    board = Board((0, 2), small)
    synapses = dict.fromkeys(ORDER, (0.01, 2e-11))
    for chip in (0, 2):
        for core in range(2):
            board.neurons(core, target(synapses=synapses), chip)
    for name, top in (("source_core", 4), ("source_neuron", 16), ("type", 4)):
        board.cam[name] = rng.integers(0, top, board.cam.shape)
    places = [tuple(int(rng.integers(0, top)) for top in (2, 16, 8)) for _ in range(60)]
    profile = BoardProfile(
        dead_cam=tuple((int(rng.choice([0, 2])), *at) for at in places[:20]),  # type: ignore[misc]
        stuck_tag_bits=tuple((0, *at, int(rng.integers(0, 6)), int(rng.integers(0, 2))) for at in set(places[20:])),  # type: ignore[misc]
    )
    config = board.config()
    emulator = started(config, profile=profile, implementation=implementation)
    rows = decode(config, profile.factors(small), 100).rows
    zero = emulator.save_state()
    total = 0
    for clock, tag in enumerate(range(0, 64, 1 if implementation == "numba" else 5)):
        emulator.load_state({**zero, "clock": clock})
        emulator.run(events([(0.0, 0, 0b11, tag), (0.0, 2, 0b10, tag)], small), 1e-4)
        dither, currents = clock * 10368889 % 2**24, state(emulator)[:, words.I_SYN : words.I_AHP]
        for index, (chip, core) in enumerate(((0, 0), (0, 1), (2, 0), (2, 1))):
            heard = _heard(config, profile, chip, core, tag) if (chip, core) != (2, 0) else Counter()
            for neuron in range(16):
                for row in range(4):
                    event, full, decay = (int(rows[index, r + row, neuron]) for r in (words.EVENT, words.FULL, words.DECAY))
                    share = min(heard[neuron, row] * event, 2**24)
                    current = (share * full + dither) >> 24 if share else 0
                    left = current - ((current * decay + dither) >> 24)
                    assert currents[index, row, neuron] == left, (tag, chip, core, neuron)
            total += heard.total()
    assert total > 50


def test_registers_read_back_as_written_whatever_is_stuck(small: ChipModel) -> None:
    board = Board((0,), small)
    board.listen(0, 1, 2, 33, "AMPA")
    emulator = started(board.config(), profile=BoardProfile(stuck_tag_bits=((0, 0, 1, 2, 0, 0),), dead_cam=((0, 0, 3, 1),)))
    assert emulator.read_back() == board.config()


@pytest.mark.parametrize("implementation", ["numba", "numpy"])
def test_a_dead_neuron_never_fires_and_the_others_do_not_notice(implementation: str) -> None:
    board = Board()
    board.neurons(None, target(dc_a=6e-10, synapses={"AMPA": (0.01, 5e-10)}))
    for core in range(4):
        for neuron in (3, 7):
            board.listen(core, neuron, slice(0, 64), 300, "AMPA")
    train = events([(1000.0 * k, 0, 15, 300) for k in range(50)])
    dead = ((0, 0, 3), (0, 2, 7), (3, 1, 1))
    profiles = (BoardProfile(), BoardProfile(dead_neurons=dead, noise_a=0.0))
    whole, broken = (
        rates_hz(started(board.config(), profile=p, implementation=implementation).run(train, 0.1)) for p in profiles
    )
    assert np.all(whole > 0)
    assert broken[0, 3] == broken[2, 7] == 0
    whole[0, 3] = whole[2, 7] = 0
    assert np.array_equal(whole, broken)


def test_spread_of_cam_entries_is_what_the_profile_says() -> None:
    """Charge of single events, entry by entry, in a core without other mismatch: log-normal with the CV asked for."""
    board = Board()
    board.neurons(0, target(pulse_width_s=1e-3, synapses={"AMPA": (0.05, 1e-9)}))
    for entry in range(64):
        board.listen(0, slice(None), entry, 256 + entry, "AMPA")
    emulator = started(board.config(), profile=BoardProfile(seed=4, cam_mismatch_cv=0.2))
    found = []
    for entry in range(64):
        state_then = emulator.save_state()
        emulator.load_state({**state_then, "rows": np.zeros_like(state_then["rows"])})
        emulator.run(events([(0.0, 0, 1, 256 + entry)]), 1e-4)
        found.append(state(emulator)[0, SYNAPSE_ROW["AMPA"]])
    charge = np.array(found, dtype=float) / np.median(found)
    assert charge.std() / charge.mean() == pytest.approx(0.2, rel=0.03)
    assert np.log(charge).std() == pytest.approx(np.sqrt(np.log(1.04)), rel=0.03)
    # Each entry is its own, on each neuron: no common factor of a neuron or of an entry's number.
    assert np.std(np.log(charge).mean(axis=0)) == pytest.approx(np.sqrt(np.log(1.04)) / 8, rel=0.25)


@pytest.mark.parametrize("dt_us", [10, 100, 1000])
def test_noise_has_the_strength_asked_for_at_every_time_step(dt_us: int) -> None:
    """The mean over 1 ms has the standard deviation of the profile; no correlation from step to step or between neurons."""
    noise_a, n_ms = 5e-12, 400
    drawn = Noise(3, noise_a, dt_us).draw([(0, 0), (2, 1)], 64, 17, n_ms * 1000 // dt_us).currents().astype(float)
    means = drawn.reshape(n_ms, -1, 2, 64).mean(axis=1)
    assert means.std() * 1e-15 == pytest.approx(noise_a, rel=0.02)
    assert abs(drawn.mean()) < 4 * drawn.std() / np.sqrt(drawn.size)
    pairs = [(drawn[:-1].ravel(), drawn[1:].ravel()), (drawn[:, 0].ravel(), drawn[:, 1].ravel())]
    for a, b in [*pairs, (drawn[:, :, ::2].ravel(), drawn[:, :, 1::2].ravel())]:
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.02


def test_noise_does_not_depend_on_how_time_is_cut() -> None:
    noise = Noise(3, 1e-12, 100)
    whole = noise.draw([(1, 2)], 30, 5, 40).currents()
    parts = [noise.draw([(1, 2)], 30, 5 + first, 10).currents() for first in range(0, 40, 10)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, noise.draw([(1, 3)], 30, 5, 40).currents())


def test_noise_is_the_specified_piece_of_the_specified_word() -> None:
    """Also where a core's neurons do not fill its last word."""
    drawn, raw = Noise(3, 1e-12, 100).draw([(1, 2)], 30, 5, 3), random_bits.raw_bits(3, "noise/1/2", 8 * 8).tolist()
    amp = round(1e-12 * 10.0**0.5 / 1e-15 * 65536.0 / 37837.0)
    for step in range(3):
        pieces = [raw[(5 + step) * 8 + n // 4] >> 16 * (n % 4) & 0xFFFF for n in range(30)]
        assert drawn.currents()[step, 0].tolist() == [((2 * u - 65535) * amp + 2**15) >> 16 for u in pieces]


def test_noise_makes_equal_neurons_fire_apart() -> None:
    board = Board()
    board.neurons(0, target(dc_a=2e-10))
    plain, noisy = (started(board.config(), profile=BoardProfile(noise_a=n)).run(silence(), 0.5).spikes for n in (0.0, 1e-11))
    assert len({tuple(plain["time_us"][plain["neuron"] == n]) for n in range(256)}) == 1
    assert len({tuple(noisy["time_us"][noisy["neuron"] == n]) for n in range(256)}) > 250
    assert len(noisy) == pytest.approx(len(plain), rel=0.1)


# Profiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("dead_neurons", [(4, 0, 0)], "chip"),
        ("dead_neurons", [(0, 0, 0), (0, 4, 0)], r"dead_neurons\[1\], core"),
        ("dead_cam", [(0, 0, 256, 0)], "neuron"),
        ("dead_cam", [(0, 0, 0, 64)], "entry"),
        ("stuck_tag_bits", [(0, 0, 0, 0, 10, 1)], "bit"),
        ("stuck_tag_bits", [(0, 0, 0, 0, 3, 1), (0, 0, 0, 0, 3, 0)], "both values"),
        ("stuck_tag_bits", [(0, 0, 0, 0, 3, 2)], "less than or equal to 1"),
        ("noise_a", -1e-12, "noise_a"),
        ("noise_a", float("nan"), "noise_a"),
        ("cam_mismatch_cv", 1.5, "cam_mismatch_cv"),
    ],
)
def test_impossible_profiles_are_refused_by_name(field: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        Emulator(CHIP, profile=BoardProfile(**{field: value}))


def test_more_noise_than_the_words_hold_is_refused() -> None:
    with pytest.raises(EmulatorOverflow, match="noise"):
        Emulator(CHIP, profile=BoardProfile(noise_a=1e-6), dt_us=10)


def test_profile_files_round_trip_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    profile = BoardProfile(
        seed=5, mismatch_cv=0.2, noise_a=1e-12, dead_cam=((0, 1, 2, 3),), stuck_tag_bits=((0, 0, 0, 1, 9, 1),)
    )
    profile.save(tmp_path / "board.json")
    assert BoardProfile.load(tmp_path / "board.json") == profile
    text = 'format = "bcall_hw/board_profile"\nformat_version = 1\nseed = 5\ndead_neurons = [[0, 1, 2]]\n'
    (tmp_path / "board.toml").write_text(text, encoding="utf-8")
    assert BoardProfile.load(tmp_path / "board.toml").dead_neurons == ((0, 1, 2),)
    for name, content, error in (
        ("other.json", json.dumps({"format": "bcall_hw/network"}), ForeignFile),
        ("newer.json", json.dumps({"format": "bcall_hw/board_profile", "format_version": 2}), ForeignFile),
        ("cut.json", (tmp_path / "board.json").read_text()[:40], CorruptFile),
        ("typo.toml", text + "dead_neuron = [[0, 1, 2]]\n", InvalidValue),
        ("board.yaml", text, ForeignFile),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(error):
            BoardProfile.load(tmp_path / name)
