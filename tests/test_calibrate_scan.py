"""The scan for defects, compared with the truth of emulated boards that it knows from spikes alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from emulator_helpers import small_chip

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.hidden import hidden_board
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibrate.rig import Rig
from bcall_hw.calibrate.scan import ScanResult, scan
from bcall_hw.calibrate.tag_code import tag_code
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.errors import BudgetSpent, InvalidValue
from bcall_hw.stimulus import Stimulus

CHIP = load_chip("dynapse1")
NEURONS, ENTRIES = CHIP.geometry.neurons, CHIP.cam.entries
Core = tuple[int, int]
CHIP_0: tuple[Core, ...] = tuple((0, core) for core in range(CHIP.geometry.cores))


def bench(profile: BoardProfile, cores: tuple[Core, ...] = CHIP_0, chip: ChipModel = CHIP, budget_s: float = 60.0) -> Rig:
    chips = tuple(sorted({c for c, _ in cores}))
    return Rig(Emulator(chip, chips, profile, dt_us=100), chip, cores, budget_s)


def truth(profile: BoardProfile, cores: tuple[Core, ...], neurons: int = NEURONS) -> dict[str, set[tuple[int, ...]]]:
    """Neurons of each class, and what can be known of CAM entries: those of neurons that answer."""
    places = {(*core, n) for core in cores for n in range(neurons)}
    dead = set(profile.dead_neurons) & places
    hot = {(c, k, n) for c, k, n, q, _ in profile.odd_currents if q == "dc"} & places - dead
    silent = {(c, k, n) for c, k, n, q, _ in profile.odd_currents if q != "dc"} & places - dead
    asked = places - dead - silent
    return {
        "dead": dead, "hot": hot, "silent": silent,
        "dead_cam": {p for p in profile.dead_cam if p[:3] in asked},
        "stuck_tag_bits": {p for p in profile.stuck_tag_bits if p[:3] in asked},
    }  # fmt: skip


def found(result: ScanResult) -> dict[str, set[tuple[int, ...]]]:
    neurons = {
        name: {(*result.cores[row], int(n)) for row, n in np.argwhere(getattr(result, name))}
        for name in ("dead", "hot", "silent")
    }
    return neurons | {"dead_cam": set(result.dead_cam), "stuck_tag_bits": set(result.stuck_tag_bits)}


def changed(profile: BoardProfile, **values: object) -> BoardProfile:
    return BoardProfile(**(profile.model_dump() | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(("seed", "noise_a"), [(101, 2e-12), (102, 1e-11)])
def test_every_defect_of_a_hidden_board_is_found_and_nothing_else(seed: int, noise_a: float) -> None:
    profile = hidden_board(CHIP, seed, noise_a=noise_a)
    result = scan(bench(profile))
    assert found(result) == truth(profile, CHIP_0)
    assert not result.unclear
    assert not result.unmeasured
    assert result.board_s < 15


@pytest.mark.parametrize(
    "capacitance_scale",
    [{"soma": 2, "AMPA": 0.5, "pulse": 0.5, "refractory": 2}, {"soma": 0.5, "AMPA": 2, "pulse": 2, "refractory": 0.5}],
)
def test_each_class_is_told_from_the_others_at_both_ends_of_the_capacitances(capacitance_scale: dict[str, float]) -> None:
    profile = changed(
        hidden_board(CHIP, 104, defects=False),
        capacitance_scale=capacitance_scale,
        dead_neurons=((0, 2, 3),),
        odd_currents=((0, 2, 0, "dc", 100.0), (0, 2, 4, "leak1", 100.0), (0, 2, 5, "leak2", 100.0)),
        dead_cam=((0, 2, 0, 5), (0, 2, 7, 0), (0, 2, 7, 63), (0, 2, 3, 1)),
        stuck_tag_bits=(
            *((0, 2, 10 + bit, bit, bit, bit % 2) for bit in range(10)),
            *((0, 2, 30 + bit, 63 - bit, bit, 1 - bit % 2) for bit in range(10)),
        ),
    )  # fmt: skip
    core = ((0, 2),)
    result = scan(bench(profile, core))
    assert result.alive.shape == (1, NEURONS)
    assert found(result) == truth(profile, core)
    assert not result.unclear


def test_two_stuck_bits_of_one_entry_are_both_named() -> None:
    pairs = list(itertools.combinations(range(10), 2))
    bits = tuple(
        (0, 1, neuron, (7 * neuron) % ENTRIES, bit, value >> which & 1)
        for neuron, ((a, b), value) in enumerate(itertools.product(pairs, range(4)))
        for which, bit in enumerate((a, b))
    )
    profile = changed(hidden_board(CHIP, 105, defects=False), stuck_tag_bits=bits)
    result = scan(bench(profile, ((0, 1),)))
    assert found(result)["stuck_tag_bits"] == set(bits)
    assert not result.dead_cam
    assert not result.unclear


def test_more_stuck_bits_than_can_be_named_are_never_in_order() -> None:
    rng = np.random.default_rng(1)
    bits = tuple(
        (0, 0, n, n % ENTRIES, int(b), int(rng.integers(2)))
        for n in range(200)
        for b in rng.choice(10, 3 + n % 3, replace=False)
    )
    profile = changed(hidden_board(CHIP, 106, defects=False), stuck_tag_bits=bits)
    result = scan(bench(profile, ((0, 0),)))
    entries = {p[:4] for p in (*result.dead_cam, *result.stuck_tag_bits, *result.unclear)}
    assert entries == {p[:4] for p in bits}
    assert set(result.stuck_tag_bits) <= set(bits)


def test_a_board_without_defects_raises_no_alarm() -> None:
    result = scan(bench(hidden_board(CHIP, 107, noise_a=1e-11, defects=False)))
    assert not any(found(result).values())
    assert not result.unclear
    assert result.usable.all()


def test_half_of_the_entries_dead() -> None:
    dead = np.argwhere(np.random.default_rng(2).random((NEURONS, ENTRIES)) < 0.5)
    profile = changed(hidden_board(CHIP, 108, defects=False), dead_cam=[(0, 3, *place) for place in dead.tolist()])
    result = scan(bench(profile, ((0, 3),)))
    assert set(result.dead_cam) == set(profile.dead_cam)
    assert result.usable.all()
    assert not result.stuck_tag_bits
    assert not result.unclear
    assert result.board_s < 15


def test_a_neuron_that_answers_no_synapse_is_silent() -> None:
    profile = changed(hidden_board(CHIP, 109, defects=False), dead_cam=[(0, 0, 9, e) for e in range(ENTRIES)])
    result = scan(bench(profile, ((0, 0),)))
    assert found(result) == truth(BoardProfile(), ()) | {"silent": {(0, 0, 9)}}


def test_entries_of_a_neuron_that_fires_without_events_are_unclear() -> None:
    odd = ((0, 0, 9, "dc", 100.0), (0, 0, 9, "leak1", 0.01))
    profile = changed(hidden_board(CHIP, 113, defects=False), odd_currents=odd, dead_cam=[(0, 0, 9, 0)])
    result = scan(bench(profile, ((0, 0),)))
    assert found(result) == truth(BoardProfile(), ()) | {"hot": {(0, 0, 9)}}
    assert result.unclear == tuple((0, 0, 9, entry, "neuron fires without events") for entry in range(ENTRIES))


def test_slow_synapses_get_more_time() -> None:
    scales = {"AMPA": 12.0, "soma": 0.5}
    profile = changed(hidden_board(CHIP, 114, defects=False), capacitance_scale=scales, dead_cam=[(0, 0, 9, 0)])
    result = scan(bench(profile, ((0, 0),)))
    assert found(result) == truth(profile, ((0, 0),))
    assert not result.unclear


def test_a_whole_core_dead_and_a_board_that_never_spikes() -> None:
    core_1 = tuple((0, 1, n) for n in range(NEURONS))
    profile = changed(hidden_board(CHIP, 110), dead_neurons=core_1)
    assert found(scan(bench(profile))) == truth(profile, CHIP_0)
    nothing = scan(bench(changed(profile, dead_neurons=[(0, k, n) for k in range(4) for n in range(NEURONS)])))
    assert nothing.dead.all()
    assert not nothing.usable.any()
    assert not any((nothing.dead_cam, nothing.stuck_tag_bits, nothing.unclear))
    assert nothing.board_s < 1


def test_the_scan_leaves_the_cores_quiet_and_says_what_it_spent() -> None:
    rig = bench(hidden_board(CHIP, 111, defects=False), ((0, 0),))
    rig.run(0.01)
    result = scan(rig)
    assert result.board_s == pytest.approx(rig.spent_s - 0.01)
    assert not rig.backend.read_back().tau2.any()
    assert rig.config.bias(0, 0, "leak1") == CHIP.device.quiet.leak1
    assert rig.config.bias(0, 0, "AMPA_weight").fine == 0
    assert not len(rig.backend.run(Stimulus(CHIP), 0.1).spikes)


def test_a_core_that_fired_too_much_is_not_called_dead() -> None:
    rig = bench(hidden_board(CHIP, 112, defects=False), ((0, 0), (0, 1)))
    rig.overloaded.add((0, 1))
    result = scan(rig)
    assert result.unmeasured == ((0, 1),)
    assert result.usable[0].all()
    assert not result.usable[1].any()
    assert not result.dead.any()


def test_board_time_is_kept() -> None:
    with pytest.raises(BudgetSpent):
        scan(bench(BoardProfile(), ((0, 0),), budget_s=1.5))


def test_another_geometry(tmp_path: Path) -> None:
    chip = small_chip(tmp_path)
    cores = tuple((c, k) for c in range(2) for k in range(2))
    profile = BoardProfile(
        mismatch_cv=0.2, noise_a=2e-12, dead_neurons=((1, 1, 15),), odd_currents=((0, 1, 2, "dc", 100.0),),
        dead_cam=((0, 0, 1, 7),), stuck_tag_bits=((1, 0, 3, 2, 5, 1), (0, 0, 4, 0, 1, 0)),
    )  # fmt: skip
    assert found(scan(bench(profile, cores, chip))) == truth(profile, cores, chip.geometry.neurons)


def test_tags_differ_in_three_bits_and_every_pair_of_bits_takes_all_values(tmp_path: Path) -> None:
    for chip in (CHIP, small_chip(tmp_path)):
        code = tag_code(chip)
        assert 1 << code.bits == chip.tags_per_core
        assert not set(code.rounds.ravel().tolist()) & chip.reserved_tags
        for words in code.rounds:
            apart = np.bitwise_count(words[:, None] ^ words)
            assert apart[~np.eye(words.size, dtype=bool)].min() >= 3
        for entry in range(chip.cam.entries):
            values = code.rounds[:, entry, None] >> np.arange(code.bits) & 1
            for a, b in itertools.combinations(range(code.bits), 2):
                assert len({tuple(pair) for pair in values[:, (a, b)].tolist()}) == 4


@pytest.mark.parametrize(
    ("group", "changes", "named"),
    [
        ("cam", {"entries": 200}, "too few tags"),
        ("stimulus", {"sources": 512}, "not every tag can be played"),
        ("sram", {"virtual_cores": 3}, "power of two"),
    ],
)
def test_chips_whose_entries_cannot_be_told_apart_are_refused(group: str, changes: dict[str, int], named: str) -> None:
    chip = CHIP.model_copy(update={group: getattr(CHIP, group).model_copy(update=changes)})
    if group == "sram":
        chip = chip.model_copy(update={"stimulus": chip.stimulus.model_copy(update={"sources": 768})})
    with pytest.raises(InvalidValue, match=named):
        tag_code(chip)
