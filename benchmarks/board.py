"""The emulated board under load: every neuron's CAM full, Poisson-like inputs, mismatch on. Prints ratios to the oracle.

python -m benchmarks.board --chips 1 --cam 64 --inputs 256 --rate-hz 30 --against numpy --json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from typing import Any

import numpy as np

from bcall_hw import random_bits
from bcall_hw.backend import Backend, open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibration import load_calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.mapping import choose_codes, idle_codes, load_mapping
from bcall_hw.network import NeuronParameters, SynapseParameters
from bcall_hw.stimulus import Stimulus

SYNAPSE = SynapseParameters(tau_s=0.01, weight_a=1.2e-11)
NEURON = NeuronParameters(
    tau_s=0.02, refractory_s=0.003, gain_a=1e-9, pulse_width_s=2e-5,
    synapses={"AMPA": SYNAPSE, "NMDA": SYNAPSE, "GABA_A": SYNAPSE, "GABA_B": SYNAPSE},
    adaptation=SynapseParameters(tau_s=0.1, weight_a=2e-12),
)  # fmt: skip


def loaded_config(chip: ChipModel, chips: tuple[int, ...], cam: int, inputs: int, seed: int) -> ChipConfig:
    """Every neuron listens with `cam` entries to random inputs; three quarters AMPA and NMDA, one quarter inhibition."""
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
    bits = random_bits.raw_bits(seed, "benchmark/cam", used.size).reshape(used.shape)
    tag = 1 + (bits % np.uint64(inputs)).astype(np.int64)
    used["source_core"], used["source_neuron"] = tag // chip.geometry.neurons, tag % chip.geometry.neurons
    kinds = np.array([chip.synapse_type(n).code for n in ("AMPA", "AMPA", "AMPA", "AMPA", "AMPA", "NMDA", "GABA_A", "GABA_B")])
    used["type"] = kinds[((bits >> np.uint64(32)) % np.uint64(len(kinds))).astype(np.int64)]
    return empty.with_registers(cam=entries, biases=biases)


def stimulus(chip: ChipModel, chips: tuple[int, ...], inputs: int, rate_hz: float, sim_s: float, seed: int) -> Stimulus:
    """One list per run: each input fires at random times at `rate_hz`, to all cores of all chips."""
    count = round(inputs * rate_hz * sim_s)
    times = np.sort(np.floor(random_bits.uniform(seed, "benchmark/times", count) * (sim_s * 1e6 - 1)))
    tags = 1 + (random_bits.raw_bits(seed, "benchmark/tags", count) % np.uint64(inputs)).astype(np.int64)
    n = len(chips)
    mask = 2**chip.geometry.cores - 1
    return Stimulus.from_times(chip, np.repeat(times, n), np.tile(chips, count), np.full(count * n, mask), np.repeat(tags, n))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Interleaved rounds of all contenders from the same fresh board; refuses to report if their hashes differ."""
    chip = load_chip("dynapse1")
    chips = tuple(range(arguments.chips))
    inputs = min(arguments.inputs, chip.stimulus.sources - 1)
    config = loaded_config(chip, chips, arguments.cam, inputs, arguments.seed)
    played = stimulus(chip, chips, inputs, arguments.rate_hz, arguments.sim_s, arguments.seed)
    profile = BoardProfile(seed=arguments.seed, mismatch_cv=0.2)
    contenders = ["numba", *[name for name in arguments.against.split(",") if name and name != "numba"]]

    def board(name: str) -> Backend:
        opened = open_backend("emulator", chips=chips, profile=profile, implementation=name, dt_us=arguments.dt_us)
        opened.apply(config)
        return opened

    board("numba").run(played, arguments.sim_s)  # warm-up: compile
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    hashes: dict[str, str] = {}
    spikes = 0
    for _ in range(arguments.rounds):
        for name in contenders:
            opened = board(name)
            started = time.perf_counter()
            recording = opened.run(played, arguments.sim_s)
            seconds[name].append(time.perf_counter() - started)
            hashes[name], spikes = recording.sha256, len(recording)
    if len(set(hashes.values())) > 1:
        raise SystemExit(f"hashes differ, nothing is reported: {hashes}")
    neurons = config.tau2.size
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {
        f"{name}/numba": statistics.median(a / b for a, b in zip(seconds[name], seconds["numba"], strict=True))
        for name in contenders[1:]
    }
    return {
        "dt_us": arguments.dt_us, "neurons": neurons, "cam": arguments.cam, "inputs": inputs, "rate_hz": arguments.rate_hz,
        "sim_s": arguments.sim_s, "rounds": arguments.rounds, "seed": arguments.seed, "spikes": spikes,
        "mean_rate_hz": spikes / neurons / arguments.sim_s, "events_in": len(played.events), "seconds": medians,
        "real_time_factor": {name: arguments.sim_s / value for name, value in medians.items()}, "ratios": ratios,
        "spikes_sha256": hashes["numba"], "load": list(os.getloadavg()), "processors": os.cpu_count(),
        "python": platform.python_version(), "machine": platform.processor() or platform.machine(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dt-us", type=int, default=100)
    parser.add_argument("--chips", type=int, default=1)
    parser.add_argument("--cam", type=int, default=64)
    parser.add_argument("--inputs", type=int, default=256)
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sim-s", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", default="numpy", help="contenders with commas between; numba always runs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:18} {value}")


if __name__ == "__main__":
    main()
