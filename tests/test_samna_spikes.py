"""Time stamps sorted into a run, and registers brought to a board through samna's own copy: both against scalar models."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from emulator_helpers import CHIP, small_chip

from bcall_hw.backend.samna_board import registers
from bcall_hw.backend.samna_board.registers import Known, Step
from bcall_hw.backend.samna_board.spikes import Read, spikes_of_run, unwrapped_us, without_bounces
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, NetworkDoesNotFit, TimestampsBroken
from bcall_hw.recording import SPIKE_DTYPE

# Time stamps -----------------------------------------------------------------------------------------------------------

ROUND = 1 << 20


def short_rounds(unit_us: int = 1, ticks: int = ROUND) -> ChipModel:
    """A chip whose time stamps begin anew after `ticks`."""
    limits = CHIP.timestamps.model_copy(update={"max_us": ticks - 1, "unit_us": unit_us})
    return CHIP.model_copy(update={"timestamps": limits, "fingerprint": f"rounds of {ticks}"})


def read_of(readings: Sequence[tuple[Sequence[int], int]], rng: np.random.Generator) -> Read:
    """Readings of (stamps, time of the host), with random neurons."""
    stamps = np.array([stamp for found, _ in readings for stamp in found], dtype=np.int32)
    n = len(stamps)
    chip, core, neuron = (rng.integers(0, top, n).astype(np.uint16) for top in (4, 4, 3))
    return Read(stamps, chip, core, neuron, [(len(found), at) for found, at in readings])


def test_reading_the_workers_answer() -> None:
    rows = [(5, 1, 2, 255), (2**31 - 1, 3, 0, 0), (9, 0, 3, 17)]
    body = struct.pack("<3i", *(row[0] for row in rows))
    body += b"".join(struct.pack("<3H", *(row[k] for row in rows)) for k in (1, 2, 3))
    read = Read.unpack(body, [(2, 100), (1, 250)])
    columns = (read.stamps, read.chip, read.core, read.neuron, read.host_us)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == [(*rows[0], 100), (*rows[1], 100), (*rows[2], 250)]
    assert len(Read.unpack(b"", []).host_us) == 0


@pytest.mark.parametrize("unit_us", [1, 10])
@pytest.mark.parametrize("seed", range(12))
def test_stamps_are_unwrapped_whatever_silence_lies_between(seed: int, unit_us: int) -> None:
    """A spike is read up to 0.7 rounds after it happened; gaps last from nothing to thousands of rounds."""
    rng = np.random.default_rng(seed)
    period, now, readings, true_us = ROUND * unit_us, 0, [], []
    for _ in range(60):
        now += int(rng.choice([0, 1, 40_000, period // 2, period, 7 * period, 3000 * period]) * rng.uniform(0, 1.5))
        waited = int(rng.uniform(0, 0.7) * period)
        times = [int(now + t) // unit_us * unit_us for t in sorted(rng.uniform(0, 0.05 * period, int(rng.integers(1, 9))))]
        readings.append(([t // unit_us % ROUND for t in times], max(times) + waited))
        true_us += times
        now = readings[-1][1]
    found = unwrapped_us(read_of(readings, rng), short_rounds(unit_us))
    assert found.tolist() == true_us
    assert true_us[-1] > 1000 * period


def test_stamps_of_a_real_round_of_36_minutes() -> None:
    rng = np.random.default_rng(1)
    times = [5, 2**31 - 1, 2**31, 3 * 2**31 + 7, 40 * 2**31 - 1]
    readings = [([t % 2**31], t + 300_000) for t in times]
    assert unwrapped_us(read_of(readings, rng), CHIP).tolist() == times


def test_a_stamp_a_little_ahead_of_the_hosts_clock_stays_in_its_round() -> None:
    rng = np.random.default_rng(1)
    times = [1_000, ROUND - 1, ROUND, ROUND + 5, 9 * ROUND + 3, 10 * ROUND - 1]
    readings = [([t % ROUND], max(0, t - 20_000)) for t in times]
    assert unwrapped_us(read_of(readings, rng), short_rounds()).tolist() == times


def test_stamps_that_step_back_twice_are_no_run() -> None:
    read = read_of([([400_000, 5, 900, 90_000, 7], 250_000)], np.random.default_rng(1))
    with pytest.raises(TimestampsBroken, match="more than once"):
        spikes_of_run(read, CHIP, 250_000, 0)


@pytest.mark.parametrize("seed", range(10))
def test_spikes_are_kept_late_or_stale_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(40 + seed)
    duration_us, debounce_us = int(rng.integers(100_000, 500_000)), int(rng.choice([0, 1, 40, 3000]))
    # What was on its way when the time stamps were reset comes first, then the run's, in order.
    before = sorted(rng.integers(200_000, 2**30, int(rng.choice([0, 1, 20]))).tolist())
    if seed % 2:  # of a short run just before
        before = [310_000 + k for k in range(len(before))]
    times, kinds, rows = sorted(rng.integers(1, 700_000, 300).tolist()), Counter[str](), []
    readings, at = [(before, int(rng.integers(1, 100_000)))], 0
    times[0] = min(times[0], 100_000)
    for part in np.array_split(np.array(times), 25):
        at = max(at, int(part[-1])) + int(rng.integers(0, 5_000))
        readings.append((part.tolist(), at))
    read = read_of(readings, rng)
    kinds["stale"] = len(before)
    for index, stamp in enumerate(times, start=len(before)):
        kinds["late"] += stamp > duration_us
        if stamp <= duration_us:
            rows.append((stamp, *(int(getattr(read, name)[index]) for name in ("chip", "core", "neuron"))))
    rows.sort()
    found = spikes_of_run(read, CHIP, duration_us, debounce_us)
    wanted = debounced(rows, debounce_us)
    assert found.spikes.tolist() == wanted
    assert (found.late, found.stale, found.bounced) == (kinds["late"], kinds["stale"], len(rows) - len(wanted))


def debounced(rows: list[tuple[int, ...]], least_us: int) -> list[tuple[int, ...]]:
    """Every spike is compared with all that were kept before."""
    kept: list[tuple[int, ...]] = []
    for row in rows:
        if not any(row[1:] == other[1:] and row[0] - other[0] < least_us for other in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize("least_us", [0, 1, 2, 50, 10_000])
def test_debounce_is_that_of_every_pair(least_us: int) -> None:
    rng = np.random.default_rng(least_us)
    for _ in range(20):
        n = int(rng.integers(0, 120))
        times = np.sort(rng.integers(0, 2_000, n))
        rows = [(int(t), *(int(v) for v in rng.integers(0, 2, 3))) for t in times]
        spikes = np.array(rows, dtype=SPIKE_DTYPE)
        assert without_bounces(spikes, least_us).tolist() == debounced(rows, least_us)


def test_a_run_without_spikes() -> None:
    found = spikes_of_run(Read.unpack(b"", []), CHIP, 1000, 5)
    assert (len(found.spikes), found.late, found.stale, found.bounced) == (0, 0, 0, 0)


def test_the_edges_of_a_run() -> None:
    rng = np.random.default_rng(0)
    found = spikes_of_run(read_of([([1, 1000, 1001], 2000)], rng), CHIP, 1000, 0)
    assert found.spikes["time_us"].tolist() == [1, 1000]
    assert (found.late, found.stale) == (1, 0)


def test_stamps_that_did_not_follow_the_reset_are_an_error() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(TimestampsBroken, match="time stamps do not belong to the run"):
        spikes_of_run(read_of([([90_000_000, 90_000_100], 1000), ([90_020_000], 20_000)], rng), CHIP, 20_000, 0)


def test_spikes_that_all_come_just_after_a_silent_run_are_only_late() -> None:
    """Reading goes on until the board is quiet: their stamps agree with the host's clock."""
    found = spikes_of_run(read_of([([10_200, 10_900], 12_000)], np.random.default_rng(0)), CHIP, 10_000, 0)
    assert (len(found.spikes), found.late, found.stale) == (0, 2, 0)


# Registers -------------------------------------------------------------------------------------------------------------

SRAM_FIELDS = ("virtual_core", "sy", "dy", "sx", "dx", "core_mask")
Row = tuple[int, ...]


class Samna:
    """A scalar samna and its board: it sends what differs from its own copy; opening leaves the two different."""

    def __init__(self, chip: ChipModel) -> None:
        g, self.chip = chip.geometry, chip
        neurons = [(c, k, n) for c in range(g.chips) for k in range(g.cores) for n in range(g.neurons)]
        self.cam: dict[Row, Row] = {(*at, e): (0, 0, 0) for at in neurons for e in range(chip.cam.entries)}
        self.sram: dict[Row, Row] = {(*at, e): (0,) * 6 for at in neurons for e in range(1, chip.sram.entries)}
        self.leak2 = dict.fromkeys(neurons, 0)
        self.bias: dict[Row, Row] = {}
        self.copied_bias: dict[Row, Row] = {}
        for at in {at[:2] for at in neurons}:
            for index, bias in enumerate(chip.biases):
                opened, own = bias.chip_after_open, bias.samna_default
                self.bias[(*at, index)] = (opened.coarse, opened.fine, int(opened.high))
                self.copied_bias[(*at, index)] = (own.coarse, own.fine)
        self.root_cam: dict[Row, Row] = dict.fromkeys(self.cam, (0, 0, 2))  # samna says NMDA of cleared entries
        self.root_sram, self.root_bias = dict(self.sram), dict(self.copied_bias)
        self.copied_cam, self.copied_sram = dict(self.root_cam), dict(self.sram)

    def do(self, step: Step) -> list[tuple[str, Row, Row]]:
        """Take the rows as the worker does; what went to the chip: (kind, address, value), in no order within a write."""
        sent: list[tuple[str, Row, Row]] = []
        parts = [[tuple(row) for row in part.tolist()] for part in step.parts]
        if step.do == "write":
            self.root_cam |= {row[:4]: row[4:] for row in parts[0]}
            self.root_sram |= {row[:4]: row[4:] for row in parts[1]}
            sent += [("cam", at, v) for at, v in self.root_cam.items() if self.copied_cam[at] != v]
            sent += [("sram", at, v) for at, v in self.root_sram.items() if self.copied_sram[at] != v]
            self.copied_cam, self.copied_sram = dict(self.root_cam), dict(self.root_sram)
            self.copied_bias = dict(self.root_bias)  # unsent
        elif step.do == "biases":
            for row in parts[0]:
                at, code = row[:3], row[3:]
                self.root_bias[at] = code
                if self.copied_bias[at] != code:
                    sent.append(("bias", at, (*code, 1)))
                self.copied_bias[at] = code
        else:
            for chip, core, neuron, chosen in parts[0]:
                whole = neuron == registers.WHOLE_CORE
                assert chosen == (not whole), "samna has no call that brings one neuron back to the first leak"
                for each in range(self.chip.geometry.neurons) if whole else [neuron]:
                    sent.append(("tau2", (chip, core, each), (chosen,)))
        tables: dict[str, dict[Row, Any]] = {"cam": self.cam, "sram": self.sram, "bias": self.bias}
        for kind, at, value in sent:
            if kind == "tau2":
                self.leak2[at] = value[0]
            else:
                assert at in tables[kind]
                tables[kind][at] = value
        return sent

    def word(self, kind: str, at: Row, value: Row) -> tuple[int, int, int]:
        """(kind, chip, word) with literal bits."""
        core = at[1]
        if kind == "cam":
            _, _, neuron, entry = at
            own = 1 << 17 | core << 15 | neuron >> 4 << 11 | entry << 5 | neuron & 15
            return 0, at[0], value[2] << 28 | value[1] << 20 | value[0] << 18 | own
        if kind == "sram":
            virtual_core, sy, dy, sx, dx, mask = value
            own = 1 << 17 | core << 15 | at[2] << 7 | at[3] << 5 | 1 << 4
            return 1, at[0], virtual_core << 28 | sy << 27 | dy << 25 | sx << 24 | dx << 22 | mask << 18 | own
        if kind == "bias":
            bias, mirrored = self.chip.biases[at[2]], int(f"{7 - value[0]:03b}"[::-1], 2)
            n_type = bias.name.endswith("_N")
            address = bias.addresses[core] << 18
            return 2, at[0], address | 1 << 16 | mirrored << 12 | value[1] << 4 | value[2] << 3 | 4 | n_type << 1 | 1
        return 3, at[0], at[2] | core << 8 | value[0] << 10

    def assert_holds(self, config: ChipConfig) -> None:
        """The chip has what the image of the whole board says."""
        cam, sram, biases = config.cam.tolist(), config.sram.tolist(), config.biases.tolist()
        assert all(cam[c][k][n][e] == v for (c, k, n, e), v in self.cam.items())
        assert all(sram[c][k][n][e - 1] == v for (c, k, n, e), v in self.sram.items())
        assert all(biases[c][k][b] == v for (c, k, b), v in self.bias.items())
        assert all(config.tau2[at] == v for at, v in self.leak2.items())

    def takes(self, steps: list[Step]) -> int:
        """Do the steps; each sends exactly the words that it says."""
        total = 0
        for step in steps:
            sent = [self.word(*what) for what in self.do(step)]
            said = step.words.tolist()
            assert Counter(sent) == Counter(said)
            if step.do != "write":
                assert sent == said
            assert sent, "a step that sends nothing"
            total += len(sent)
        return total


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ChipModel:
    return small_chip(tmp_path_factory.mktemp("small"))


def changed(config: ChipConfig, rng: np.random.Generator, chips: tuple[int, ...]) -> ChipConfig:
    """Some registers of some chips changed, often to what samna's copy holds after opening."""
    cam, sram, biases, tau2 = (getattr(config, name).copy() for name in ("cam", "sram", "biases", "tau2"))
    here = list(chips)
    part = rng.choice([0.0, 0.02, 0.5])
    for array, tops in ((cam, (2, 3, 4)), (sram, (4, 2, 4, 2, 4, 16)), (biases, (8, 256))):
        mine = array[here]
        hit = rng.random(mine.shape) < part
        for name, top in zip(array.dtype.names or (), tops, strict=False):
            values = rng.integers(0, top, mine.shape)
            if array is not sram:
                values *= rng.random(mine.shape) < 0.7
            mine[name][hit] = values[hit]
        array[here] = mine
    biases["high"][here] = 1
    mine = tau2[here]
    for core in np.ndindex(mine.shape[:2]):
        choice = rng.random()
        if choice < 0.3:
            mine[core] = rng.random(mine.shape[2]) < rng.choice([0, 0.2, 1])
        elif choice < 0.6:
            mine[core] |= rng.random(mine.shape[2]) < 0.2  # none goes back
    tau2[here] = mine
    return config.with_registers(cam, sram, biases, tau2)


@pytest.mark.parametrize("seed", range(25))
def test_steps_bring_the_chip_to_what_is_wanted(seed: int, small: ChipModel) -> None:
    rng = np.random.default_rng(seed)
    samna, known = Samna(small), Known.after_opening(small)
    samna.takes(list(registers.silence(known)))
    known = registers.silenced(known)
    assert set(samna.bias.values()) == set(CHIP.quiet_codes) == {(0, 0, 1), (5, 255, 1)}
    for _ in range(6):
        chips = tuple(sorted(rng.choice(4, int(rng.integers(1, 5)), replace=False).tolist()))
        whole = changed(known.config, rng, chips)
        samna.takes(list(registers.steps(known, whole.of_chips(chips))))
        known = registers.after(known, whole.of_chips(chips))
        samna.assert_holds(whole)
        assert known.config == whole
        assert not list(registers.steps(known, whole.of_chips(chips)))


def test_the_first_apply_writes_every_cam_word_of_its_chips_and_of_no_others() -> None:
    known = registers.silenced(Known.after_opening(CHIP))
    wanted = known.config.of_chips((1, 2))
    words = np.concatenate([step.words for step in registers.steps(known, wanted)])
    assert len(words) == 2 * 4 * 256 * 64
    assert set(words["chip"].tolist()) == {1, 2}
    assert set(words["kind"].tolist()) == {0}


def test_an_entry_that_samna_believes_to_be_right_is_sent_after_a_detour(small: ChipModel) -> None:
    known = registers.silenced(Known.after_opening(small))
    wanted = known.config.of_chips((0,))
    cam = wanted.cam.copy()
    cam["type"] = 2  # as samna's copy has it; the chip has 0
    cam["source_neuron"][0, 1, 3, 4] = 9
    samna = Samna(small)
    samna.takes(list(registers.silence(Known.after_opening(small))))
    samna.takes(list(registers.steps(known, wanted.with_registers(cam=cam))))
    assert all(v[2] == 2 for at, v in samna.cam.items() if at[0] == 0)
    assert all(v == (0, 0, 0) for at, v in samna.cam.items() if at[0] != 0)
    assert samna.cam[0, 1, 3, 4] == (0, 9, 2)


def test_synapses_get_their_tags_before_currents(small: ChipModel) -> None:
    rng = np.random.default_rng(3)
    known = registers.silenced(Known.after_opening(small))
    wanted = known.config
    for _ in range(3):
        wanted = changed(wanted, rng, (0, 1, 2, 3))
    assert [step.do for step in registers.steps(known, wanted)][-2:] == ["biases", "leaks"]


@pytest.mark.parametrize("seed", range(4))
def test_rewriting_repairs_a_chip_that_lost_its_registers(seed: int, small: ChipModel) -> None:
    rng = np.random.default_rng(seed)
    samna, known = Samna(small), Known.after_opening(small)
    samna.takes(list(registers.silence(known)))
    known = registers.silenced(known)
    whole = changed(changed(known.config, rng, (0, 1, 2, 3)), rng, (0, 1, 2, 3))
    samna.takes(list(registers.steps(known, whole)))
    known = registers.after(known, whole)
    chips = [(0,), (1, 3), (0, 1, 2, 3), (2,)][seed]
    for table, size in ((samna.cam, 3), (samna.sram, 6), (samna.bias, 3)):
        for at in table:
            if at[0] in chips and rng.random() < 0.5:
                table[at] = (9,) * size  # a brown-out
    for at in samna.leak2:
        samna.leak2[at] ^= at[0] in chips and bool(rng.random() < 0.5)
    samna.takes(list(registers.rewrite(known, chips)))
    samna.assert_holds(whole)


def test_leaks_are_reset_core_by_core_and_only_where_one_goes_back(small: ChipModel) -> None:
    known = registers.silenced(Known.after_opening(small))
    tau2 = np.zeros((4, 2, 16), dtype=bool)
    tau2[0, 0, :5], tau2[0, 1, 3], tau2[3, 0] = True, True, True
    known = registers.after(known, known.config.with_registers(tau2=tau2))
    new = tau2.copy()
    new[0, 0, 2], new[0, 1, 4], new[3, 0] = False, True, False
    (step,) = [s for s in registers.steps(known, known.config.with_registers(tau2=new)) if s.do == "leaks"]
    rows = [tuple(row) for row in step.parts[0].tolist()]
    resets = [row for row in rows if row[2] == 0xFFFF]
    assert sorted(resets) == [(0, 0, 0xFFFF, 0), (3, 0, 0xFFFF, 0)]
    assert rows[: len(resets)] == resets
    assert sorted(rows[len(resets) :]) == [(0, 0, 0, 1), (0, 0, 1, 1), (0, 0, 3, 1), (0, 0, 4, 1), (0, 1, 4, 1)]


BEYOND: list[tuple[str, str, int]] = [
    ("cam", "source_core", 4), ("cam", "source_neuron", 256), ("cam", "type", 4), ("sram", "virtual_core", 4),
    ("sram", "sx", 2), ("sram", "sy", 2), ("sram", "dx", 4), ("sram", "dy", 7), ("sram", "core_mask", 31),
    ("biases", "coarse", 8), ("biases", "fine", 256), ("biases", "high", 2), ("biases", "high", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "field", "value"), BEYOND)
def test_what_samna_would_truncate_is_refused(name: str, field: str, value: int) -> None:
    config = registers.silenced(Known.after_opening(CHIP)).config.of_chips((2,))
    registers.check(config)
    array = getattr(config, name).copy()
    array[field][(0, 3) + (1,) * (array.ndim - 2)] = value
    with pytest.raises(BcallError) as refused:
        registers.check(config.with_registers(**{name: array}))
    if (field, value) == ("high", 0):
        assert isinstance(refused.value, NetworkDoesNotFit)
        assert "chip 2 core 3" in str(refused.value)


def test_samnas_copy_is_read_field_by_field(small: ChipModel) -> None:
    rng = np.random.default_rng(4)
    known = registers.silenced(Known.after_opening(small))
    wanted = changed(changed(known.config, rng, (0, 1, 2, 3)), rng, (0, 1, 2, 3))
    numbers: list[int] = []
    cam, sram, biases = wanted.cam.tolist(), wanted.sram.tolist(), wanted.biases.tolist()
    for c, k, n in np.ndindex(4, 2, 16):
        for e in range(8):
            numbers += cam[c][k][n][e]
        numbers += [9] * 6  # the monitor's destination
        for e in range(3):
            numbers += sram[c][k][n][e]
    for c, k, b in np.ndindex(4, 2, 25):
        numbers += biases[c][k][b][:2]
    found = registers.read_copy(struct.pack(f"<{len(numbers)}H", *numbers), registers.after(known, wanted))
    assert found == wanted
