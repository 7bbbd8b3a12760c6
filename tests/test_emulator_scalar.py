"""The machine written a second time in plain Python integers and loops, and the numpy oracle against it."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
from emulator_helpers import CHIP, MAPPING, NEURONS, TYPES, Board, events, random_board, random_tag, started, target

from bcall_hw.backend.emulator import routing, words
from bcall_hw.backend.emulator.decode import decode
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import StimulusProblem

ENTRIES = CHIP.cam.entries
#: The order of a neuron's synapse words, by type name: excitatory, gated, shunting, subtractive.
ORDER = ("AMPA", "NMDA", "GABA_A", "GABA_B")
FRACTION, GAIN, TABLE_SHIFT = 24, 16, 14


# Events, by brute force ----------------------------------------------------------------------------------------------


def _chip_after_hops(chip: int, dx: int, sx: int, dy: int, sy: int) -> int | None:
    """Chips lie 0 1 / 2 3; sx goes west, sy goes south; None off the board."""
    position = {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)}
    column, row = position[chip]
    column += -dx if sx else dx
    row += dy if sy else -dy
    return {p: c for c, p in position.items()}.get((column, row))


def _followed(config: ChipConfig, chip: int, core: int, neuron: int) -> Iterator[tuple[int, int, int]]:
    """Where a spike goes: (chip, core, tag), chips that are not emulated left out."""
    for entry in config.sram[config.chips.index(chip), core, neuron]:
        virtual_core, sy, dy, sx, dx, mask = (int(x) for x in entry)
        there = _chip_after_hops(chip, dx, sx, dy, sy)
        if there not in config.chips:
            continue
        for target_core in range(4):
            if mask & (1 << target_core):
                yield there, target_core, virtual_core * 256 + neuron


def _listening(config: ChipConfig, chip: int, core: int, tag: int) -> Counter[tuple[int, int, int, int]]:
    """All CAM entries of a core that match a tag, looked at one by one: (chip, core, neuron, type)."""
    found: Counter[tuple[int, int, int, int]] = Counter()
    cam = config.cam[config.chips.index(chip), core].tolist()
    for neuron, entry in itertools.product(range(NEURONS), range(ENTRIES)):
        source_core, source_neuron, kind = cam[neuron][entry]
        if source_core * 256 + source_neuron == tag:
            found[chip, core, neuron, kind] += 1
    return found


def _delivered(config: ChipConfig, lists: routing.Listeners, core_index: int, tag: int) -> Counter[tuple[int, int, int, int]]:
    """The same from the emulator's lists."""
    start, end = lists.start[core_index, tag], lists.start[core_index, tag + 1]
    found: Counter[tuple[int, int, int, int]] = Counter()
    for cell in lists.cells[core_index, start:end].tolist():
        row, neuron = divmod(cell, NEURONS)
        found[config.chips[core_index // 4], core_index % 4, neuron, TYPES[ORDER[row]]] += 1
    return found


def _cores_reached(routes: routing.Destinations, source: int) -> list[tuple[int, int]]:
    """(core index, tag) of a source's events, one for each core of their masks."""
    here = routes.events[routes.start[source] : routes.start[source + 1]].tolist()
    return [(chip * 4 + core, tag) for chip, mask, tag in here for core in range(4) if mask >> core & 1]


@pytest.mark.parametrize("chips", [(0,), (3,), (0, 1), (1, 2), (0, 1, 2, 3)])
def test_events_reach_every_matching_entry_and_no_other(chips: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(chips) * 10 + chips[0])
    config = random_board(rng, chips, (0, 3)).config()
    lists, routes = routing.listeners(config, BoardProfile()), routing.destinations(config)
    reached = 0
    for chip, core in itertools.product(chips, (0, 3)):
        for neuron in rng.integers(0, 14, 5).tolist():
            source = (config.chips.index(chip) * 4 + core) * NEURONS + neuron
            found: Counter[tuple[int, int, int, int]] = Counter()
            expected: Counter[tuple[int, int, int, int]] = Counter()
            for core_index, tag in _cores_reached(routes, source):
                found += _delivered(config, lists, core_index, tag)
            for there, target_core, tag in _followed(config, chip, core, neuron):
                expected += _listening(config, there, target_core, tag)
            assert found == expected
            reached += expected.total()
    assert reached > 0


def test_destinations_of_all_neurons() -> None:
    """Every source, not only those whose entries were looked at one by one."""
    config = random_board(np.random.default_rng(9), (0, 1, 3), (0, 1, 2, 3)).config()
    routes = routing.destinations(config)
    assert routes.start[0] == 0
    assert len(routes.start) == 3 * 4 * NEURONS + 1
    for index, (chip, core, neuron) in enumerate(itertools.product(config.chips, range(4), range(NEURONS))):
        found = Counter((config.chips[c // 4], c % 4, tag) for c, tag in _cores_reached(routes, index))
        assert found == Counter(_followed(config, chip, core, neuron))
    assert len(routes.events) == routes.start[-1] > 0


def test_every_entry_is_in_exactly_one_list() -> None:
    config = random_board(np.random.default_rng(2), (1,), (1, 2)).config()
    lists = routing.listeners(config, BoardProfile())
    for core in range(4):
        total: Counter[tuple[int, int, int, int]] = Counter()
        for tag in range(1024):
            total += _delivered(config, lists, core, tag)
        kinds = config.cam[0, core]["type"].tolist()
        assert total == Counter((1, core, n, kinds[n][e]) for n in range(NEURONS) for e in range(ENTRIES))


def test_cleared_entries_listen_to_the_reserved_tag() -> None:
    config = Board().config()
    found = _delivered(config, routing.listeners(config, BoardProfile()), 2, 0)
    assert found == Counter({(0, 2, n, CHIP.cam.cleared.type): ENTRIES for n in range(NEURONS)})
    assert found == _listening(config, 0, 2, 0)


@pytest.mark.parametrize("dt_us", [10, 100, 1000])
def test_stimulus_events_belong_to_the_step_that_holds_their_time(dt_us: int) -> None:
    rng = np.random.default_rng(dt_us)
    edges = [0.0, 1.0, 999.0, 1000.0, 1001.0, 9999.0, 10000.0, 20000.0]
    rows = [(float(t), int(rng.choice([1, 3])), int(rng.integers(1, 16)), random_tag(rng)) for t in edges]
    rows += [(float(t), 1, int(rng.integers(1, 16)), random_tag(rng)) for t in rng.integers(0, 30000, 60)]
    found = routing.input_events(events(rows), (1, 3), dt_us, 40_000 // dt_us)
    for lost in ((5.0, 0, 1, 300), (5.0, 1, 0, 300)):
        with pytest.raises(StimulusProblem, match="stimulus event 0"):
            routing.input_events(events([lost]), (1, 3), dt_us, 1000)
    expected = [
        (int(time) // dt_us, {1: 0, 3: 1}[chip], mask, tag) for time, chip, mask, tag in rows
    ]  # fmt: skip
    columns = (found.step, found.chip, found.core_mask, found.tag)
    assert sorted(zip(*(c.tolist() for c in columns), strict=True)) == sorted(expected)
    assert found.step.tolist() == sorted(found.step.tolist())


# Parameters, from the closed forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dt_us", [10, 100, 1000])
def test_parameters_equal_the_closed_forms(dt_us: int) -> None:
    """Words from math.exp and math.log on nominal currents: equal but for the last rounding."""
    board = random_board(np.random.default_rng(21), (0, 1), (0, 1, 2))
    config = board.config()
    found = decode(config, BoardProfile().factors(CHIP), dt_us)
    constants, c = CHIP.constants, CHIP.capacitances_f
    thermal = constants.thermal_voltage_v.value / constants.kappa.value
    dt_s = dt_us * 1e-6
    for chip_index, core in itertools.product(range(2), range(4)):

        def current(role: str, chip_index: int = chip_index, core: int = core) -> float:
            coarse, fine, _ = (int(x) for x in config.biases[chip_index, core, CHIP.bias_index(role)])
            return max(CHIP.currents[coarse][fine] * 1e-14, 5e-13)

        def fine(role: str, chip_index: int = chip_index, core: int = core) -> int:
            return int(config.biases[chip_index, core, CHIP.bias_index(role)]["fine"])

        rows = found.rows[chip_index * 4 + core]
        for neuron in (0, 7, 255):
            leak = current("leak2" if config.tau2[chip_index, core, neuron] else "leak1")
            pulse_s = c.pulse * 0.7 / current("pulse_width")
            expected = {
                words.V_SPIKE: math.log(1e-8 / 5e-13) * 2**20,
                words.REFRACTORY_STEPS: c.refractory * 0.7 / current("refractory") / dt_s,
                words.LEAK: leak * 1e15,
                words.DC: current("dc") * 1e15,
            }
            for k, name in enumerate((*ORDER, "ahp")):
                capacitance = c.AHP if name == "ahp" else getattr(c, name)
                tau_s = capacitance * thermal / current(f"{name}_tau")
                full = current(f"{name}_gain") * (current(f"{name}_weight") / current(f"{name}_tau") - 1.0)
                if name == "ahp" and fine("ahp_enable") == 0:
                    full = 0.0
                expected[words.EVENT + k] = -math.expm1(-pulse_s / tau_s) * 2**24
                expected[words.FULL + k] = max(0.0, full) * 1e15
                expected[words.DECAY + k] = -math.expm1(-dt_s / tau_s) * 2**24
            for row, value in expected.items():
                assert rows[row, neuron] == pytest.approx(value, abs=0.5 + 1e-6 * (1 + abs(value) * 1e-6)), (row, neuron)
        assert np.all(rows[words.STATE_ROWS : words.SUM] >= 0)
        assert np.all(rows[: words.STATE_ROWS] == 0)
        gain = dt_s * 1e-15 / (c.soma * thermal) * 2**36
        assert found.step_gain == pytest.approx(gain, abs=0.5001)
        tables = found.tables[chip_index * 4 + core]
        for index in (0, 1, 500, 633, 1023):
            membrane = 5e-13 * math.exp((index + 0.5) / 64)
            feedback = 5e-13 * math.exp((index + 0.5) / 64 * 0.705 / 1.705)
            gate = 1.0 if fine("nmda_gate") == 0 else membrane / (membrane + current("nmda_gate"))
            gain_a = current("gain")
            assert tables[0, index] == pytest.approx(gain_a / (gain_a + membrane) * 65536, abs=0.501)
            assert tables[1, index] == pytest.approx(feedback * 1e15, rel=1e-9, abs=0.501)
            assert tables[2, index] == pytest.approx(gate * 65536, abs=0.501)


# The step, in plain integers -----------------------------------------------------------------------------------------


class _Cell:
    """One neuron: parameters as Python integers, and the state that its docstrings promise."""

    def __init__(self, config: ChipConfig, rows: np.ndarray, gain: int, tables: np.ndarray, at: tuple[int, int, int],
                 finite: bool) -> None:  # fmt: skip
        chip_index, core, neuron = at
        parameter = [int(x) for x in rows[:, neuron]]
        self.threshold, self.refractory_steps, self.leak, self.dc = parameter[11:15]
        self.jump, self.jump_ahp = parameter[15:19], parameter[19]
        self.pulse_steps, self.finite = parameter[15], finite
        self.full, self.full_ahp = parameter[20:24], parameter[24]
        self.decay, self.decay_ahp = parameter[25:29], parameter[29]
        self.gain, self.tables = gain, tables.tolist()
        self.cam = [tuple(int(x) for x in e) for e in config.cam[chip_index, core, neuron]]
        self.v = self.waiting = self.ahp = 0
        self.synapse, self.pulse = [0, 0, 0, 0], [0, 0, 0, 0]
        self.dither = 0

    def deliver(self, tags: list[int]) -> None:
        for k, name in enumerate(ORDER):
            hits = sum((c * 256 + n, t) == (tag, TYPES[name]) for tag in tags for c, n, t in self.cam)
            if self.finite:
                self.pulse[k] = self.pulse_steps if hits else self.pulse[k]
                continue
            fraction = min(hits * self.jump[k], 2**FRACTION)
            # Floor division by a power of two: towards minus infinity.
            self.synapse[k] += (fraction * (self.full[k] - self.synapse[k]) + self.dither) // 2**FRACTION

    def integrate(self) -> bool:
        index = self.v // 2**TABLE_SHIFT
        h, feedback, gate = (self.tables[k][index] for k in range(3))
        excitatory, gated, shunting, subtractive = self.synapse
        drive = max(0, self.dc + excitatory + gated * gate // 2**GAIN - subtractive)
        net = drive * h // 2**GAIN - self.leak - shunting - self.ahp + feedback
        raised = self.v + (net * self.gain + 2 ** (GAIN - 1)) // 2**GAIN
        if self.waiting > 0:
            self.waiting -= 1
            self.v = 0
            return False
        if raised < self.threshold:
            self.v = max(0, raised)
            return False
        self.v, self.waiting = 0, self.refractory_steps
        self.ahp += (self.jump_ahp * (self.full_ahp - self.ahp) + self.dither) // 2**FRACTION
        return True

    def fade(self) -> None:
        """Decay, rounded down after adding the dither, which then moves on by the golden ratio of its range."""
        for k in range(4):
            if self.pulse[k] > 0:
                self.pulse[k] -= 1
                self.synapse[k] += (self.decay[k] * (self.full[k] - self.synapse[k]) + self.dither) // 2**FRACTION
                continue
            self.synapse[k] -= (self.synapse[k] * self.decay[k] + self.dither) // 2**FRACTION
        self.ahp -= (self.ahp * self.decay_ahp + self.dither) // 2**FRACTION
        self.dither = (self.dither + 10368889) % 2**FRACTION

    @property
    def words(self) -> list[int]:
        return [self.v, self.waiting, *self.synapse, self.ahp, *self.pulse]


def _small_board(pulse_width_s: float, inhibition_a: float) -> Board:
    """Six neurons on two cores of two chips: a loop between the chips, all synapse types, adaptation and gate on."""
    board = Board((0, 1))
    synapses = {"AMPA": (0.008, 6e-11), "NMDA": (0.03, 2e-11), "GABA_A": (0.005, inhibition_a), "GABA_B": (0.02, 1e-11)}
    for chip, core in ((0, 1), (1, 2)):
        parameters = target(
            tau_s=0.015, refractory_s=2e-3, dc_a=2.0e-10 if chip == 0 else 0.0, synapses=synapses, adaptation=(0.05, 2e-12),
            pulse_width_s=pulse_width_s,
        )  # fmt: skip
        board.neurons(core, parameters, chip=chip)
        board.current(core, "nmda_gate", 2e-12, chip=chip)
        board.current(core, "leak2", 1e-11, chip=chip)
    rng = np.random.default_rng(11)
    for chip, core in ((0, 1), (1, 2)):
        for neuron in (0, 1, 255):
            for entry in range(40):
                tag = int(rng.choice([256, 257, 256 + 255, 768, 769, 768 + 255, 600, 601, 602]))
                board.listen(core, neuron, entry, tag, str(rng.choice(ORDER, p=[0.4, 0.2, 0.2, 0.2])), chip=chip)
            board.tau2[board.chips.index(chip), core, neuron] = neuron == 1
    for neuron in (0, 1, 255):
        board.send(1, neuron, 0, 0b0100, 1, chip=0, hops=(1, 0))
        board.send(1, neuron, 1, 0b0010, 3, chip=0)
        board.send(1, neuron, 2, 0b1111, 2, chip=0, hops=(-1, 0))
        board.send(2, neuron, 0, 0b0010, 1, chip=1, hops=(-1, 0))
        board.send(2, neuron, 1, 0b0110, 3, chip=1)
    return board


@pytest.mark.parametrize("dt_us", [100, 1000])
@pytest.mark.parametrize("mismatch_cv", [0.0, 0.2])
@pytest.mark.parametrize("pulses", ["ideal", "finite"])
def test_oracle_equals_plain_integers_step_by_step(dt_us: int, mismatch_cv: float, pulses: Literal["ideal", "finite"]) -> None:
    finite = pulses == "finite"
    config = _small_board(*((15 * dt_us * 1e-6, 3e-12 + 1.7e-14 * dt_us) if finite else (1e-4, 2e-12))).config()
    profile = BoardProfile(seed=5, mismatch_cv=mismatch_cv)
    emulator = started(config, profile=profile, implementation="numpy", dt_us=dt_us, pulses=pulses)
    found = decode(config, profile.factors(CHIP), dt_us, finite)
    cells = {}
    for chip, core in ((0, 1), (1, 2)):
        block = chip * 4 + core
        for neuron in (0, 1, 255):
            at = (chip, core, neuron)
            cells[at] = _Cell(config, found.rows[block], found.step_gain, found.tables[block], at, finite)
    rng = np.random.default_rng(dt_us)
    pending: list[tuple[int, int, int]] = []
    busy_steps = silent_steps = 0
    seen = np.zeros(words.STATE_ROWS, dtype=bool)
    for step in range(300):
        rows = []
        if rng.random() < 0.4 and not 120 < step < 200:
            count = int(rng.integers(1, 6))
            rows = [(0.0, int(rng.integers(0, 2)), int(rng.integers(1, 16)), int(rng.integers(600, 603))) for _ in range(count)]
        arriving = pending + [(chip, c, tag) for _, chip, mask, tag in rows for c in range(4) if mask >> c & 1]
        recording = emulator.run(events(rows), dt_us * 1e-6)
        fired = []
        for (chip, core, neuron), cell in cells.items():
            cell.deliver([tag for there, c, tag in arriving if (there, c) == (chip, core)])
            if cell.integrate():
                fired.append((chip, core, neuron))
            cell.fade()
        pending = [d for at in fired for d in _followed(config, *at)]
        spikes = recording.spikes
        # The other neurons of the core are driven too, but nobody hears them.
        found_spikes = [(int(s["chip"]), int(s["core"]), int(s["neuron"])) for s in spikes]
        assert [at for at in found_spikes if at in cells] == sorted(fired)
        assert np.all(spikes["time_us"] == dt_us)
        state = np.asarray(emulator.save_state()["rows"])
        for (chip, core, neuron), cell in cells.items():
            assert state[chip * 4 + core, :, neuron].tolist() == cell.words, (step, chip, core, neuron)
            seen |= np.array(cell.words) > 0
        busy_steps += bool(fired)
        silent_steps += not fired
    assert busy_steps > 10
    assert silent_steps > 5
    assert seen[: words.PULSE].all()
    assert seen[words.PULSE :].all() == finite


def test_mapping_gives_the_order_of_the_synapse_words() -> None:
    """Excitatory, gated, shunting, subtractive: the effects that the chip model names for the four types."""
    effects = {t.effect: t.name for t in CHIP.synapse_types}
    assert tuple(effects[e] for e in words.EFFECTS) == ORDER
    assert set(MAPPING.synapses) == set(ORDER)
