"""Targets drawn by a seed, within what spikes can tell of a board whose capacitances are off by up to a factor of two."""

from __future__ import annotations

import math

from bcall_hw import circuits, random_bits
from bcall_hw.calibrate.targets import Targets
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.mapping import DpiMapping, load_mapping
from bcall_hw.network import NeuronParameters, SynapseParameters

Range = tuple[float, float]
TAU_S, REFRACTORY_S, PULSE_S = (5e-3, 4e-2), (1e-3, 5e-3), (2e-5, 1e-3)
SYNAPSE_TAU_S, ADAPTATION_TAU_S = (5e-3, 0.1), (0.03, 0.2)
DC_A = (2e-11, 1e-9)
#: Current of one event (A): enough that a volley's worth fits the stimulus memory, and no more than moves a neuron gently.
EXCITING_A, INHIBITING_A, ADAPTATION_A = (2e-12, 1e-10), (2e-12, 2.5e-11), (1e-12, 8e-12)
#: Weight bias (A), and full scale (A): a volley needs the smallest, and mismatched currents of all types together keep below
#: what the emulator can add up.
WEIGHT_BIAS_A, EXCITING_FULL_A, INHIBITING_FULL_A = (1e-11, 1e-6), (4e-10, 2.5e-7), (2e-10, 4e-7)


def random_targets(seed: int, chip: ChipModel | None = None) -> Targets:
    """Targets of one board, each log-uniform in its range; weights by their bias current, within what their event may add."""
    chip = chip or load_chip("dynapse1")
    mapping = load_mapping(chip)
    draws = iter(random_bits.uniform(seed, "benchmark/calibration targets", 32).tolist())

    def drawn(low: float, high: float) -> float:
        return float(f"{low * (high / low) ** next(draws):.4g}") if high > low else float(f"{high:.4g}")

    pulse_s = drawn(*PULSE_S)

    def dpi(rule: DpiMapping, tau_range: Range, weights: Range, full: Range) -> SynapseParameters:
        tau_s = drawn(*tau_range)
        tau_a = circuits.thermal_charge_c(chip, float(getattr(chip.capacitances_f, rule.circuit))) / tau_s
        jump = -math.expm1(-pulse_s / tau_s)
        highest = min(full[1], weights[1] / jump)
        lowest = min(highest, max(full[0], weights[0] / jump))
        low, high = (circuits.dpi_weight_current_a(f, rule.gain_ratio * tau_a, tau_a) for f in (lowest, highest))
        low, high = max(low, WEIGHT_BIAS_A[0]), min(high, WEIGHT_BIAS_A[1])
        scale = circuits.dpi_full_scale_a(drawn(low, high), rule.gain_ratio * tau_a, tau_a)
        return SynapseParameters(tau_s=tau_s, weight_a=float(f"{scale * jump:.4g}"))

    synapses = {}
    for name, rule in mapping.synapses.items():
        exciting = chip.synapse_type(name).effect in ("excitatory", "gated")
        ranges = (EXCITING_A, EXCITING_FULL_A) if exciting else (INHIBITING_A, INHIBITING_FULL_A)
        synapses[name] = dpi(rule, SYNAPSE_TAU_S, *ranges)
    neuron = NeuronParameters(
        tau_s=drawn(*TAU_S), refractory_s=drawn(*REFRACTORY_S), gain_a=1e-9, pulse_width_s=pulse_s, dc_a=drawn(*DC_A),
        synapses=synapses, adaptation=dpi(mapping.adaptation, ADAPTATION_TAU_S, ADAPTATION_A, INHIBITING_FULL_A),
    )  # fmt: skip
    return Targets(neuron=neuron)
