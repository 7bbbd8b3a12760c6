"""Sessions for tests: a small network on emulated boards, recorded."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from emulator_helpers import CHIP

from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.mapper import MappedNetwork, map_network
from bcall_hw.network import AllToAll, Connection, Input, Network, NeuronParameters, Population, RandomFanIn, SynapseParameters
from bcall_hw.record import made_by, record, repeats
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.recording.session import Session
from bcall_hw.stimulus import Stimulus

SIZES = {"first": 24, "second": 16}


@cache
def mapped_pair() -> MappedNetwork:
    """Poisson inputs onto one population, which excites another."""
    synapses = {"AMPA": SynapseParameters(tau_s=0.01, weight_a=3e-11)}
    neuron = NeuronParameters(tau_s=0.02, refractory_s=0.003, gain_a=1e-9, pulse_width_s=2e-5, dc_a=2e-11, synapses=synapses)
    network = Network(
        name="pair", inputs=[Input(name="in", size=12, poisson=True), Input(name="list", size=4)],
        populations=[Population(name=name, size=size, neuron=neuron) for name, size in SIZES.items()],
        connections=[
            Connection(name="a", source="in", target="first", synapse="AMPA", rule=RandomFanIn(fan_in=6, seed=1)),
            Connection(name="b", source="first", target="second", synapse="AMPA", rule=RandomFanIn(fan_in=8, seed=2)),
            Connection(name="c", source="list", target="second", synapse="AMPA", rule=AllToAll()),
        ],
    )  # fmt: skip
    return map_network(network, CHIP)


def stimulus(rate_hz: float = 60.0) -> Stimulus:
    """Poisson rates and some list events."""
    return mapped_pair().stimulus({"list": (np.arange(40) % 4, np.arange(40) * 5000.0)}, rates_hz={"in": rate_hz})


def recorded(path: Path, profile: BoardProfile | None = None, count: int = 10, duration_us: int = 300_000, warm_up_us: int = 0,
             rate_hz: float = 60.0) -> Session:  # fmt: skip
    """Repeats on an emulated board, written to `path`."""
    mapped = mapped_pair()
    board = Emulator(CHIP, mapped.config.chips, profile or BoardProfile(seed=3, mismatch_cv=0.1, noise_a=2e-12))
    steps = repeats(mapped.config, stimulus(rate_hz), duration_us, count, 50_000, warm_up_us)
    record(path, board, steps, made_by(board, "pair"), mapped.addresses)
    return Session.load(path)


def spikes_of(rows: list[tuple[int, int, int, int]], duration_us: int = 1000, **more: object) -> SpikeRecording:
    """A recording from (time in us, chip, core, neuron)."""
    return SpikeRecording(np.array(rows, dtype=SPIKE_DTYPE), duration_us, "test", None, **more)  # type: ignore[arg-type]
