"""From the codes of a core to what its neurons do: the way back of `mapping.choose_codes`."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf

from bcall_hw import circuits, portable_math
from bcall_hw.bias_codes import code_current_a
from bcall_hw.calibration import Calibration
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.errors import InvalidValue
from bcall_hw.mapping import DpiMapping, Mapping, charge_c
from bcall_hw.network import NeuronParameters, SynapseParameters


def parameters_of(
    chip: ChipModel,
    mapping: Mapping,
    calibration: Calibration,
    codes: MappingOf[str, BiasCode],
    second_leak: bool,
    where: str,
    core: tuple[int, int] | None = None,
) -> NeuronParameters:
    """The neuron parameters that a core's codes stand for.

    A DPI whose weight current does not exceed its leak current adds nothing: its synapse type is left out.

    Args:
        codes: by bias name, all of them.
        second_leak: of the neurons that use the second leak bias.
        where: the core, for errors.
        core: (chip id, core) whose scales in the calibration apply; a core without any if absent.

    Raises:
        InvalidValue: a code stands for no time constant or duration.
    """
    scales = calibration.scales_of(core)
    reader = _Reader(chip, mapping, calibration, codes, where, scales)
    values: dict[str, float] = {}
    for name, rule in mapping.neuron.items():
        other = second_leak and rule.bias == "leak1"
        bias, scale = "leak2" if other else rule.bias, scales.get("tau2_s" if other else name, 1.0)
        if rule.law == "current":
            values[name] = scale * reader.current_a(bias)
        else:
            charge = scale * charge_c(chip, calibration, rule.law, rule.circuit)
            values[name] = reader.time_s(name, bias, charge)
    pulse_s = values["pulse_width_s"]
    synapses = {name: reader.dpi(name, rule, pulse_s) for name, rule in mapping.synapses.items()}
    enable = chip.biases[chip.bias_index(mapping.adaptation.enable)].name
    enabled = codes[enable] != mapping.idle.get(enable, BiasCode(coarse=0, fine=0))
    return NeuronParameters(
        **values,
        synapses={name: found for name, found in synapses.items() if found is not None},
        adaptation=reader.dpi("adaptation", mapping.adaptation, pulse_s) if enabled else None,
    )


class _Reader:
    def __init__(
        self, chip: ChipModel, mapping: Mapping, calibration: Calibration, codes: MappingOf[str, BiasCode], where: str,
        scales: MappingOf[str, float],
    ) -> None:  # fmt: skip
        self.chip, self.mapping, self.calibration, self.codes, self.where = chip, mapping, calibration, codes, where
        self.scales = scales

    def current_a(self, bias: str) -> float:
        code = self.codes[self.chip.biases[self.chip.bias_index(bias)].name]
        return code_current_a(self.chip, code) if code.fine or code.coarse else 0.0

    def time_s(self, name: str, bias: str, charge: float) -> float:
        current = self.current_a(bias)
        if current <= 0:
            fix = "Map a network first, or write another code."
            bias_name = self.chip.biases[self.chip.bias_index(bias)].name
            raise InvalidValue(f"{name} is without end", where=f"{self.where}: {bias_name}", used=f"{current} A", fix=fix)
        return charge / current

    def dpi(self, name: str, rule: DpiMapping, pulse_s: float) -> SynapseParameters | None:
        charge = charge_c(self.chip, self.calibration, "time_constant", rule.circuit)
        tau_a, gain_a, weight_a = (self.current_a(bias) for bias in (rule.tau, rule.gain, rule.weight))
        full_scale = circuits.dpi_full_scale_a(weight_a, gain_a, tau_a) if tau_a > 0 else 0.0
        if full_scale <= 0:
            return None
        tau_s = self.scales.get(f"{name}.tau_s", 1.0) * charge / tau_a
        jump = self.scales.get(f"{name}.weight_a", 1.0) * (1.0 - float(portable_math.exp(-pulse_s / tau_s)))
        return SynapseParameters(tau_s=tau_s, weight_a=full_scale * jump)
