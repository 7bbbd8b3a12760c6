"""What the time step does to rates: an F-I curve and random networks at several steps, beside the finest one.

python -m benchmarks.time_step --json

A network has 200 excitatory and 56 inhibitory neurons in one core, mismatch 0.2, 100 inputs; its rate is the mean over all
neurons and seconds. Rates of the F-I curve come from the first and the last spike, so they are not cut to whole spikes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import numpy as np

from bcall_hw import random_bits
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibration import load_calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.mapper import map_network
from bcall_hw.mapping import choose_codes, idle_codes, load_mapping
from bcall_hw.network import Connection, Input, Network, NeuronParameters, Population, RandomFanIn, SynapseParameters
from bcall_hw.stimulus import Stimulus

STEPS_US = (10, 100, 200, 500, 1000)
DC_A = (2.5e-11, 3e-11, 4e-11, 6e-11, 1e-10, 1.6e-10, 2.5e-10, 4e-10, 7e-10, 1.2e-9, 2e-9, 4e-9)
NEURON = NeuronParameters(
    tau_s=0.02, refractory_s=0.002, gain_a=1e-9, pulse_width_s=2e-5, adaptation=SynapseParameters(tau_s=0.1, weight_a=1e-12),
    synapses={
        "AMPA": SynapseParameters(tau_s=0.01, weight_a=1.5e-11), "GABA_B": SynapseParameters(tau_s=0.02, weight_a=1.5e-11),
    },
)  # fmt: skip


def f_i_curve(chip: ChipModel, dt_us: int, sim_s: float) -> list[float]:
    """Rate (Hz) of one neuron for each constant input, without mismatch; one input for each core."""
    mapping, calibration, g = load_mapping(chip), load_calibration(chip), chip.geometry
    rates: list[float] = []
    for first in range(0, len(DC_A), g.cores):
        config = ChipConfig.after_opening(chip)
        biases = config.biases.copy()
        codes = [idle_codes(chip, mapping) for _ in range(g.cores)]
        for core, dc_a in enumerate(DC_A[first : first + g.cores]):
            target = NEURON.model_copy(update={"dc_a": dc_a, "synapses": {}, "adaptation": None})
            codes[core] |= {c.bias: c.code for c in choose_codes(chip, mapping, calibration, target, "time step")}
        for core, chosen in enumerate(codes):
            for index, bias in enumerate(chip.biases):
                code = chosen[bias.name]
                biases[0, core, index] = (code.coarse, code.fine, int(code.high))
        emulator = Emulator(chip, dt_us=dt_us)
        emulator.apply(config.with_registers(biases=biases))
        spikes = emulator.run(Stimulus(chip), sim_s).spikes
        for core in range(len(DC_A[first : first + g.cores])):
            times = spikes["time_us"][(spikes["core"] == core) & (spikes["neuron"] == 0)]
            rates.append((len(times) - 1) * 1e6 / float(times[-1] - times[0]) if len(times) > 1 else 0.0)
    return rates


def network_rates(chip: ChipModel, dt_us: int, sim_s: float, seed: int) -> float:
    """Mean rate (Hz) of a random network on a random board; the same spikes come in at every time step."""
    fan_in = {"in": ("AMPA", 24), "e": ("AMPA", 12), "i": ("GABA_B", 12)}
    network = Network(
        name="random", inputs=(Input(name="in", size=100),),
        populations=(Population(name="e", size=200, neuron=NEURON), Population(name="i", size=56, neuron=NEURON)),
        connections=tuple(
            Connection(name=f"{source}-{target}", source=source, target=target, synapse=synapse,  # type: ignore[arg-type]
                       rule=RandomFanIn(fan_in=count, seed=seed * 10 + k))
            for k, (source, (synapse, count)) in enumerate(fan_in.items()) for target in ("e", "i")
        ),
    )  # fmt: skip
    mapped = map_network(network, chip)
    count = round(100 * 30 * sim_s)
    times = np.sort(random_bits.uniform(seed, "time step/times", count)) * (sim_s - 0.001)
    ids = (random_bits.raw_bits(seed, "time step/ids", count) % np.uint64(100)).astype(np.int64)
    emulator = Emulator(chip, profile=BoardProfile(seed=seed, mismatch_cv=0.2), dt_us=dt_us)
    emulator.apply(mapped.config)
    return len(emulator.run(mapped.stimulus({"in": (ids, times * 1e6)}), sim_s)) / 256 / sim_s


def measure(seeds: range, sim_s: float) -> dict[str, Any]:
    """Rates at every time step, and their largest relative errors against the finest step."""
    chip = load_chip("dynapse1")
    curve = {dt_us: f_i_curve(chip, dt_us, sim_s) for dt_us in STEPS_US}
    networks = {dt_us: [network_rates(chip, dt_us, sim_s, seed) for seed in seeds] for dt_us in STEPS_US}
    errors: dict[str, dict[int, float]] = {"f_i_curve_below_250_hz": {}, "f_i_curve": {}, "networks": {}, "network_mean": {}}
    for dt_us in STEPS_US[1:]:
        relative = [abs(a / b - 1.0) for a, b in zip(curve[dt_us], curve[STEPS_US[0]], strict=True)]
        slow = [error for error, rate in zip(relative, curve[STEPS_US[0]], strict=True) if rate < 250.0]
        of_networks = [a / b - 1.0 for a, b in zip(networks[dt_us], networks[STEPS_US[0]], strict=True)]
        for name, value in zip(errors, (max(slow), max(relative), max(map(abs, of_networks))), strict=False):
            errors[name][dt_us] = value
        errors["network_mean"][dt_us] = abs(statistics.mean(networks[dt_us]) / statistics.mean(networks[STEPS_US[0]]) - 1.0)
    return {"sim_s": sim_s, "dc_a": DC_A, "f_i_hz": curve, "network_hz": networks, "largest_relative_error": errors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="random networks")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--sim-s", type=float, default=4.0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    result = measure(range(a.first_seed, a.first_seed + a.seeds), a.sim_s)
    if a.json:
        print(json.dumps(result))
        return
    print("constant input (pA)   rate (Hz) at a step of " + ", ".join(f"{dt} us" for dt in STEPS_US))
    for k, dc_a in enumerate(DC_A):
        print(f"{dc_a * 1e12:19.0f}   " + "  ".join(f"{result['f_i_hz'][dt][k]:8.2f}" for dt in STEPS_US))
    for k in range(a.seeds):
        print(f"random network {k:4}   " + "  ".join(f"{result['network_hz'][dt][k]:8.2f}" for dt in STEPS_US))
    print(f"largest relative error against {STEPS_US[0]} us")
    for name, by_step in result["largest_relative_error"].items():
        print(f"{name:22} " + "  ".join(f"{dt} us: {error:.1%}" for dt, error in by_step.items()))


if __name__ == "__main__":
    main()
