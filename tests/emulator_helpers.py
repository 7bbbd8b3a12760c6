"""What the emulator's tests share: a board to fill register by register, stimuli, and random configurations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from bcall_hw import circuits
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.bias_codes import nearest_code
from bcall_hw.calibration import load_calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import BiasCode, ChipModel, load_chip
from bcall_hw.mapping import choose_codes, idle_codes, load_mapping
from bcall_hw.network import NeuronParameters, SynapseParameters
from bcall_hw.recording import SpikeRecording
from bcall_hw.records import data_folder
from bcall_hw.stimulus import Stimulus

CHIP = load_chip("dynapse1")
MAPPING = load_mapping(CHIP)
CALIBRATION = load_calibration(CHIP)
TYPES = {t.name: t.code for t in CHIP.synapse_types}
#: Row of the synapse current in the state block, by type name.
SYNAPSE_ROW = {t.name: words.I_SYN + words.EFFECTS.index(t.effect) for t in CHIP.synapse_types}
FEMTO = 1e-15
NEURONS = CHIP.geometry.neurons


class Board:
    """Registers that can still be changed; `config()` freezes a copy of them."""

    def __init__(self, chips: tuple[int, ...] = (0,), chip: ChipModel = CHIP) -> None:
        self.chips, self.chip = chips, chip
        start = ChipConfig.after_opening(chip, chips)
        self.cam, self.sram = start.cam.copy(), start.sram.copy()
        self.biases, self.tau2 = start.biases.copy(), start.tau2.copy()
        for name, code in idle_codes(chip, MAPPING).items():
            self.code(None, name, code, chip=None)

    @classmethod
    def of(cls, config: ChipConfig) -> Board:
        board = cls(config.chips, config.chip)
        board.cam, board.sram = config.cam.copy(), config.sram.copy()
        board.biases, board.tau2 = config.biases.copy(), config.tau2.copy()
        return board

    def code(self, core: int | None, bias: str, code: BiasCode, chip: int | None = 0) -> None:
        """Set a bias of one core, or of all cores, of one chip or of all chips."""
        where = (slice(None) if chip is None else self.chips.index(chip), slice(None) if core is None else core)
        self.biases[(*where, self.chip.bias_index(bias))] = (code.coarse, code.fine, int(code.high))

    def current(self, core: int | None, bias: str, current_a: float, chip: int | None = 0) -> float:
        """Set a bias to the code nearest to a current; returns the current of that code (0 A: the code 0)."""
        code, real = (BiasCode(coarse=0, fine=0), 0.0) if current_a == 0 else nearest_code(self.chip, current_a, bias)
        self.code(core, bias, code, chip)
        return real

    def neurons(self, core: int | None, target: NeuronParameters, chip: int | None = 0) -> dict[str, float]:
        """Set a core's biases to a physical target; returns what the codes really give, by quantity."""
        choices = choose_codes(self.chip, MAPPING, CALIBRATION, target, "test")
        for choice in choices:
            self.code(core, choice.bias, choice.code, chip)
        return {c.quantity: c.predicted for c in choices}

    def listen(self, core: int, neuron: Any, entry: Any, tag: int, kind: str, chip: int = 0) -> None:
        neurons = self.chip.geometry.neurons
        self.cam[self.chips.index(chip), core, neuron, entry] = (tag // neurons, tag % neurons, TYPES[kind])

    def send(
        self, core: int, neuron: int, entry: int, mask: int, virtual_core: int, chip: int = 0, hops: tuple[int, int] = (0, 0)
    ) -> None:
        """Set a destination; hops are chips to the east and to the south."""
        east, south = hops
        word = (virtual_core, int(south > 0), abs(south), int(east < 0), abs(east), mask)
        self.sram[self.chips.index(chip), core, neuron, entry] = word

    def config(self) -> ChipConfig:
        return ChipConfig(self.chip, self.chips, self.cam.copy(), self.sram.copy(), self.biases.copy(), self.tau2.copy())


def target(
    tau_s: float = 0.02,
    refractory_s: float = 0.002,
    gain_a: float = 1e-9,
    pulse_width_s: float = 1e-4,
    dc_a: float = 0.0,
    synapses: Mapping[str, tuple[float, float]] | None = None,
    adaptation: tuple[float, float] | None = None,
) -> NeuronParameters:
    """Neuron targets; synapses and adaptation as (tau in s, weight in A)."""
    return NeuronParameters(
        tau_s=tau_s,
        refractory_s=refractory_s,
        gain_a=gain_a,
        pulse_width_s=pulse_width_s,
        dc_a=dc_a,
        synapses={k: SynapseParameters(tau_s=t, weight_a=w) for k, (t, w) in (synapses or {}).items()},  # type: ignore[misc]
        adaptation=None if adaptation is None else SynapseParameters(tau_s=adaptation[0], weight_a=adaptation[1]),
    )


def started(config: ChipConfig, **options: Any) -> Emulator:
    """An emulator of the configuration's chips, with it applied."""
    emulator = Emulator(config.chip, config.chips, **options)
    emulator.apply(config)
    return emulator


def silence(chip: ChipModel = CHIP) -> Stimulus:
    return Stimulus(chip)


def events(rows: Iterable[tuple[float, int, int, int]], chip: ChipModel = CHIP) -> Stimulus:
    """A list stimulus from (time in us, chip, core mask, tag)."""
    table = sorted(rows)
    columns = list(zip(*table, strict=True)) if table else [(), (), (), ()]
    return Stimulus.from_times(chip, columns[0], *(np.asarray(c, dtype=np.int64) for c in columns[1:]))


def poisson(rates: Mapping[int, float], chip: int = 0, core_mask: int = 1, listed: Stimulus | None = None) -> Stimulus:
    """Poisson sources by tag, on top of a list stimulus if given."""
    array = np.zeros(max(rates, default=-1) + 1)
    for tag, rate in rates.items():
        array[tag] = rate
    base = listed or silence()
    return Stimulus(base.chip, base.events, base.isi_base, array, chip, core_mask)


def state(emulator: Emulator) -> np.ndarray:
    """The state words, shape (cores, state rows, neurons)."""
    return np.asarray(emulator.save_state()["rows"])


def set_state(emulator: Emulator, core: int, row: int, value: Any) -> None:
    saved = emulator.save_state()
    rows = np.asarray(saved["rows"]).copy()
    rows[core, row] = value
    emulator.load_state({**saved, "rows": rows})


def rates_hz(recording: SpikeRecording, chip: int = 0) -> np.ndarray:
    """Mean rate of each neuron of a chip, shape (cores, neurons)."""
    mine = recording.spikes[recording.spikes["chip"] == chip]
    count = np.zeros((CHIP.geometry.cores, NEURONS))
    np.add.at(count, (mine["core"], mine["neuron"]), 1)
    return count / (recording.duration_us * 1e-6)


def small_chip(folder: Path) -> ChipModel:
    """A chip like DYNAP-SE1 but with 2 cores of 16 neurons and 8 CAM entries: small enough for the scalar reference."""
    source = data_folder("chip_models")
    model = tomlkit.parse((source / "dynapse1.toml").read_text(encoding="utf-8"))
    model["geometry"].update({"cores": 2, "neurons": 16})
    model["cam"]["entries"] = 8
    model["stimulus"]["sources"] = 64
    model["name"] = "small"
    for bias in model["biases"]:
        bias["addresses"] = bias["addresses"][:2]
    (folder / "small.toml").write_text(tomlkit.dumps(model), encoding="utf-8")
    (folder / "dynapse1_currents.csv").write_bytes((source / "dynapse1_currents.csv").read_bytes())
    return load_chip(str(folder / "small.toml"))


# Random configurations -----------------------------------------------------------------------------------------------

#: Neurons that take part in the random networks, and hence the low bytes of their tags.
ACTIVE = 12


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_biases(board: Board, rng: np.random.Generator, chip: int, core: int) -> None:
    """Biases of one core anywhere in the range in which a core behaves as a network's core would."""

    def put(role: str, low: float, high: float) -> float:
        return board.current(core, role, log_uniform(rng, low, high), chip)

    for role in ("leak1", "leak2"):
        put(role, 2e-12, 5e-11)
    put("dc", 1e-11, 6e-10) if rng.random() < 0.6 else board.current(core, "dc", 0.0, chip)
    put("gain", 1e-10, 8e-9)
    put("refractory", 4e-11, 3e-10)
    pulse_s = circuits.switching_charge_c(board.chip, board.chip.capacitances_f.pulse) / put("pulse_width", 5e-10, 3e-8)
    for prefix in (*TYPES, "ahp"):
        circuit = "AHP" if prefix == "ahp" else prefix
        charge = circuits.thermal_charge_c(board.chip, getattr(board.chip.capacitances_f, circuit))
        tau_a = board.current(core, f"{prefix}_tau", charge / log_uniform(rng, 2e-3, 1e-1), chip)
        gain_a = board.current(core, f"{prefix}_gain", tau_a * log_uniform(rng, 1.0, 8.0), chip)
        inhibits = prefix in ("GABA_A", "GABA_B", "ahp")
        jump_a = log_uniform(rng, 5e-13, 5e-12) if inhibits else log_uniform(rng, 2e-11, 4e-10)
        full_a = min(jump_a / -np.expm1(-pulse_s * tau_a / charge), 5e-7)  # with mismatch it still fits its word
        board.current(core, f"{prefix}_weight", min(circuits.dpi_weight_current_a(full_a, gain_a, tau_a), 1e-5), chip)
    enabled = BiasCode(coarse=int(rng.integers(0, 6)), fine=int(rng.integers(1, 256)))
    board.code(core, "ahp_enable", enabled if rng.random() < 0.6 else BiasCode(coarse=4, fine=0), chip)
    if rng.random() < 0.6:
        put("nmda_gate", 1e-12, 1e-9)
    else:
        board.code(core, "nmda_gate", BiasCode(coarse=int(rng.integers(0, 8)), fine=0), chip)


def random_tag(rng: np.random.Generator, chip: ChipModel = CHIP) -> int:
    return int(rng.integers(0, 4)) * chip.geometry.neurons + int(rng.integers(0, ACTIVE))


def random_cam(board: Board, rng: np.random.Generator, chip: int, core: int) -> None:
    """Half of the core's neurons get entries of all types; in some cores the unused entries change their type."""
    index = board.chips.index(chip)
    board.cam[index, core]["type"] = rng.integers(0, 4) if rng.random() < 0.5 else board.chip.cam.cleared.type
    for neuron in [*range(ACTIVE), *rng.integers(0, board.chip.geometry.neurons, 100).tolist()]:
        used = rng.permutation(board.chip.cam.entries)[: rng.integers(1, 40)]
        cells = board.cam[index, core, neuron]
        cells["source_core"][used] = rng.integers(0, 4, used.size)
        cells["source_neuron"][used] = rng.integers(0, ACTIVE, used.size)
        cells["type"][used] = rng.choice(4, used.size, p=[0.15, 0.15, 0.3, 0.4])


def random_sram(board: Board, rng: np.random.Generator, chip: int, core: int) -> None:
    """Destinations with hops of every sign, many of them off the board or to chips that are not emulated."""
    index = board.chips.index(chip)
    shape = (ACTIVE, len(board.chip.sram.usable))
    for name in ("virtual_core", "dx", "dy"):
        board.sram[index, core, :ACTIVE][name] = rng.integers(0, 4, shape) * (rng.random(shape) < 0.6)
    for name in ("sx", "sy"):
        board.sram[index, core, :ACTIVE][name] = rng.integers(0, 2, shape)
    board.sram[index, core, :ACTIVE]["core_mask"] = rng.integers(0, 2**board.chip.geometry.cores, shape)


def random_board(rng: np.random.Generator, chips: tuple[int, ...], cores: Iterable[int], chip: ChipModel = CHIP) -> Board:
    """A recurrent network over some cores of some chips, and idle cores beside them."""
    board = Board(chips, chip)
    for number in chips:
        for core in cores:
            random_biases(board, rng, number, core)
            random_cam(board, rng, number, core)
            random_sram(board, rng, number, core)
            board.tau2[chips.index(number), core] = rng.random(chip.geometry.neurons) < 0.5
    return board


def random_stimulus(
    rng: np.random.Generator, chips: tuple[int, ...], duration_us: int, kind: str, chip: ChipModel = CHIP
) -> Stimulus:
    """List events, Poisson sources, or both; the reserved tag is among the tags."""
    listed, masks = silence(chip), 2**chip.geometry.cores
    if kind in ("list", "both"):
        count = int(rng.integers(30, 150))
        times = np.sort(rng.uniform(0, duration_us - 1, count))
        targets = rng.choice(chips, count)
        tags = [0 if rng.random() < 0.05 else random_tag(rng, chip) for _ in range(count)]
        listed = Stimulus.from_times(chip, times, targets, rng.integers(1, masks, count), np.array(tags))
    if kind == "list":
        return listed
    sources = {random_tag(rng, chip): float(rng.uniform(20, 400)) for _ in range(10)}
    return poisson(sources, int(rng.choice(chips)), int(rng.integers(1, masks)), listed)
