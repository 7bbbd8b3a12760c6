"""The load of the board's benchmarks: every neuron's CAM full, inputs at random times, mismatch on; for all contenders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bcall_hw import random_bits
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.decode import decode
from bcall_hw.backend.emulator.emulator import check_step_us
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibration import load_calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.circuits import thermal_charge_c
from bcall_hw.mapping import choose_codes, idle_codes, load_mapping
from bcall_hw.network import NeuronParameters, SynapseParameters
from bcall_hw.stimulus import Stimulus

SYNAPSE = SynapseParameters(tau_s=0.01, weight_a=1.2e-11)
NEURON = NeuronParameters(
    tau_s=0.02, refractory_s=0.003, gain_a=1e-9, pulse_width_s=2e-5,
    synapses={"AMPA": SYNAPSE, "NMDA": SYNAPSE, "GABA_A": SYNAPSE, "GABA_B": SYNAPSE},
    adaptation=SynapseParameters(tau_s=0.1, weight_a=2e-12),
)  # fmt: skip
#: Five AMPA to one of each other type.
KINDS = ("AMPA", "AMPA", "AMPA", "AMPA", "AMPA", "NMDA", "GABA_A", "GABA_B")


@dataclass(frozen=True, eq=False)
class Load:
    """Registers, board and stimuli of one benchmark. The FPGA's list is short, so a run is presented in parts."""

    config: ChipConfig
    profile: BoardProfile
    parts: tuple[tuple[Stimulus, int], ...]  # stimulus and steps
    dt_us: int

    @property
    def neurons(self) -> int:
        """Neurons of all chips."""
        return self.config.tau2.size

    @property
    def steps(self) -> int:
        """Time steps of all parts."""
        return sum(steps for _, steps in self.parts)

    @property
    def synaptic_events(self) -> int:
        """CAM entries reached by the stimulus."""
        chip = self.config.chip
        tag = self.config.cam["source_core"].astype(np.int64) * chip.geometry.neurons + self.config.cam["source_neuron"]
        heard = [np.bincount(part.ravel(), minlength=chip.tags_per_core) for part in tag]
        at = {chip_id: heard[index] for index, chip_id in enumerate(self.config.chips)}
        return sum(int(at[c][t]) for part, _ in self.parts for c, t in zip(*_targets(part), strict=True))


def _targets(stimulus: Stimulus) -> tuple[list[int], list[int]]:
    return stimulus.events["chip"].tolist(), stimulus.events["tag"].tolist()


def make_load(
    chips: int, cam: int, inputs: int, rate_hz: float, sim_s: float, dt_us: int, seed: int, mismatch_cv: float = 0.2
) -> Load:
    """The load on the first `chips` chips; input k has tag (1 + k) modulo all tags, so that only 1,024 inputs use tag 0."""
    chip = load_chip("dynapse1")
    ids, sources = tuple(range(chips)), chip.stimulus.sources
    if not 1 <= inputs <= sources or not 1 <= cam <= chip.cam.entries or not 1 <= chips <= chip.geometry.chips:
        raise SystemExit(f"limits: 1 to {sources} inputs, {chip.cam.entries} CAM entries, {chip.geometry.chips} chips")
    check_step_us(dt_us, "benchmark dt_us")
    steps = round(sim_s * 1e6 / dt_us)
    if steps < 1 or not rate_hz > 0:
        raise SystemExit("limits: at least one time step, and a rate above 0 Hz")
    count = round(inputs * rate_hz * sim_s)
    times = np.sort(np.floor(random_bits.uniform(seed, "benchmark/times", count) * (steps * dt_us - 1)))
    tags = _tags(seed, "benchmark/tags", count, inputs, chip)
    n_parts = max(1, -(-count * chips // (chip.stimulus.max_events * 9 // 10)))
    edges = np.linspace(0, steps, n_parts + 1).round().astype(int)
    parts = []
    for first, last in pairwise(edges.tolist()):
        here = (times >= first * dt_us) & (times < last * dt_us)
        n, mask = int(here.sum()), 2**chip.geometry.cores - 1
        at = np.repeat(times[here] - first * dt_us, chips)
        stimulus = Stimulus.from_times(chip, at, np.tile(ids, n), np.full(n * chips, mask), np.repeat(tags[here], chips))
        parts.append((stimulus, last - first))
    profile = BoardProfile(seed=seed, mismatch_cv=mismatch_cv)
    return Load(_config(chip, ids, cam, inputs, seed), profile, tuple(parts), dt_us)


def _tags(seed: int, stream: str, count: int, inputs: int, chip: ChipModel) -> Any:
    bits = random_bits.raw_bits(seed, stream, count)
    return (1 + (bits % np.uint64(inputs)).astype(np.int64)) % chip.tags_per_core


def _config(chip: ChipModel, chips: tuple[int, ...], cam: int, inputs: int, seed: int) -> ChipConfig:
    """Every neuron listens with `cam` entries to random inputs."""
    empty = ChipConfig.after_opening(chip, chips)
    mapping = load_mapping(chip)
    codes = idle_codes(chip, mapping)
    codes |= {c.bias: c.code for c in choose_codes(chip, mapping, load_calibration(chip), NEURON, "benchmark")}
    biases = empty.biases.copy()
    for index, bias in enumerate(chip.biases):
        code = codes[bias.name]
        biases[:, :, index] = (code.coarse, code.fine, int(code.high))
    entries = empty.cam.copy()
    used = entries[..., :cam]
    tag = _tags(seed, "benchmark/cam", used.size, inputs, chip).reshape(used.shape)
    used["source_core"], used["source_neuron"] = tag // chip.geometry.neurons, tag % chip.geometry.neurons
    kinds = np.array([chip.synapse_type(name).code for name in KINDS])
    bits = random_bits.raw_bits(seed, "benchmark/kinds", used.size).reshape(used.shape)
    used["type"] = kinds[(bits % np.uint64(len(kinds))).astype(np.int64)]
    return empty.with_registers(cam=entries, biases=biases)


# For contenders that do not know our formats --------------------------------------------------------------------------


def write_load(path: Path, load: Load) -> None:
    """The load as plain floats in one .npz, read off the emulator's integer words: mismatch, CAM and events included.

    Neurons are numbered chip by chip, core by core; input source i is the event with tag i, to all cores.
    """
    chip, config = load.config.chip, load.config
    rows = decode(config, load.profile.factors(chip), load.dt_us).rows
    rows = rows.transpose(1, 0, 2).reshape(words.ROWS, -1)  # (word, neuron of the board)
    steps, sources = _inputs(load.parts, config.chips, load.dt_us)
    cam = config.cam.reshape(-1, chip.cam.entries)
    effects = {t.code: words.EFFECTS.index(t.effect) for t in chip.synapse_types}
    kinds = np.array([effects.get(code, -1) for code in range(max(effects) + 1)])
    tags = cam["source_core"].astype(np.int64) * chip.geometry.neurons + cam["source_neuron"]
    fraction, ampere = 2.0**-words.FRACTION_BITS, words.FEMTOAMPERE
    gain = config.bias(0, 0, "gain")
    values: dict[str, Any] = {
        "dt_us": load.dt_us, "sim_s": load.steps * load.dt_us * 1e-6, "n_neurons": load.neurons,
        "n_inputs": chip.tags_per_core, "i0_a": chip.constants.leak_current_a.value,
        "i_th_a": float(chip.current_a[gain.coarse, gain.fine]), "kappa": chip.constants.kappa.value,
        "charge_c": thermal_charge_c(chip, chip.capacitances_f.soma),
        "v_spike": rows[words.V_SPIKE] / 2.0**words.V_BITS, "refractory_steps": rows[words.REFRACTORY_STEPS],
        "leak_a": rows[words.LEAK] * ampere, "dc_a": rows[words.DC] * ampere,
        "full_a": rows[words.FULL : words.FULL + 4] * ampere, "jump": rows[words.EVENT : words.EVENT + 4] * fraction,
        "decay": rows[words.DECAY : words.DECAY + 4] * fraction, "ahp_full_a": rows[words.FULL_AHP] * ampere,
        "ahp_jump": rows[words.JUMP_AHP] * fraction, "ahp_decay": rows[words.DECAY_AHP] * fraction,
        "synapse_input": tags.ravel(), "synapse_neuron": np.repeat(np.arange(len(cam)), chip.cam.entries),
        "synapse_type": kinds[cam["type"]].ravel(), "input_steps": steps, "input_ids": sources,
    }  # fmt: skip
    np.savez(path, **values)


def _inputs(parts: Sequence[tuple[Stimulus, int]], chips: tuple[int, ...], dt_us: int) -> tuple[Any, Any]:
    """Step and tag of every event, once for all chips."""
    steps, tags, first = [], [], 0
    for stimulus, n_steps in parts:
        here = stimulus.events["chip"] == chips[0]
        steps.append(first + stimulus.ticks[here] // round(stimulus.chip.stimulus.clock_hz * dt_us * 1e-6))
        tags.append(stimulus.events["tag"][here].astype(np.int64))
        first += n_steps
    return np.concatenate(steps), np.concatenate(tags)
