"""Which circuit and bias stands for which quantity, and the codes that a core's neurons need.

Schema and loader of `mappings/<name>.toml`, and the way from physical targets to bias codes with the predicted value.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import tomlkit
from pydantic import Field
from tomlkit.exceptions import TOMLKitError

from bcall_hw import circuits, files, portable_math
from bcall_hw.bias_codes import current_range_a, nearest_code
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import Circuit
from bcall_hw.chip_model import BiasCode, ChipModel, SynapseType
from bcall_hw.errors import BcallError, CorruptFile, CurrentOutOfRange, ForeignFile, UnknownName
from bcall_hw.network import NeuronParameters, SynapseParameters
from bcall_hw.records import Record, data_folder

Law = Literal["time_constant", "duration", "current"]


class Quantity(Record):
    """One quantity of a neuron and the bias that sets it."""

    bias: str
    law: Law
    circuit: Circuit | None = None


class DpiMapping(Record):
    """The three biases of a DPI, its capacitance, and the free ratio of its gain and leak currents."""

    tau: str
    gain: str
    weight: str
    circuit: Circuit
    gain_ratio: Annotated[float, Field(gt=0)]


class AdaptationMapping(DpiMapping):
    """The adaptation DPI, and the bias that enables it."""

    enable: str
    enable_code: BiasCode


class Roles(Record):
    """Synapse types that the parts of a BCaLL network use."""

    plastic: SynapseType
    teacher: SynapseType
    inhibition: SynapseType


class RelayMapping(Record):
    """A neuron that fires once for each spike that it hears, so that it can stand for a group of sources.

    Attributes:
        synapse: synapse type of its inputs.
        multiplicity: CAM entries of each input.
        delay_s: from an input spike to its own (s), about.
        apart_s: spikes nearer to each other than this may count once (s).
        neuron: its parameters.
    """

    synapse: SynapseType
    multiplicity: Annotated[int, Field(gt=0)]
    delay_s: Annotated[float, Field(gt=0)]
    apart_s: Annotated[float, Field(gt=0)]
    neuron: NeuronParameters


class Mapping(Record):
    """A mapping file. Load one with `load_mapping`."""

    schema_version: Literal[1]
    name: str
    chip: str
    neuron: dict[str, Quantity]
    synapses: dict[SynapseType, DpiMapping]
    adaptation: AdaptationMapping
    idle: dict[str, BiasCode]
    roles: Roles
    relay: RelayMapping


def load_mapping(chip: ChipModel, name: str = "") -> Mapping:
    """The mapping called `name`, or the BCaLL mapping of the chip.

    Raises:
        UnknownName: no such mapping, or it names a bias that the chip has not.
        CorruptFile, ForeignFile: damaged, incomplete, or for another chip.
    """
    path = data_folder("mappings") / f"{name or 'bcall_' + chip.name}.toml"
    if not files.is_file(path):
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.toml")))
        raise UnknownName("no such mapping", used=path.stem, fix=f"Known: {known}")
    try:
        values = tomlkit.parse(files.read_text(path)).unwrap()
    except (TOMLKitError, ValueError) as problem:
        raise CorruptFile("is not TOML", where=str(path), used=str(problem)) from None
    mapping = Mapping(**values)
    _check(mapping, chip, str(path))
    return mapping


def _check(mapping: Mapping, chip: ChipModel, where: str) -> None:
    """A mapping must be for this chip, name only biases that it has, and leave no quantity of a neuron out."""
    if mapping.chip != chip.name:
        raise ForeignFile("is a mapping for another chip", where=where, used=mapping.chip, limit=chip.name)
    wanted = set(NeuronParameters.model_fields) - {"synapses", "adaptation"}
    if set(mapping.neuron) != wanted:
        raise CorruptFile(
            "must map exactly the quantities of a neuron", where=where, used=sorted(mapping.neuron), limit=sorted(wanted)
        )
    types = {t.name for t in chip.synapse_types}
    if set(mapping.synapses) != types:
        raise CorruptFile(
            "must map exactly the chip's synapse types", where=where, used=sorted(mapping.synapses), limit=sorted(types)
        )
    dpis = [*mapping.synapses.values(), mapping.adaptation]
    named = [q.bias for q in mapping.neuron.values()] + [b for d in dpis for b in (d.tau, d.gain, d.weight)]
    for bias in [*named, mapping.adaptation.enable, *mapping.idle]:
        chip.bias_index(bias)


@dataclass(frozen=True)
class BiasChoice:
    """One chosen code: what was asked and what the chip will nominally do.

    Attributes:
        quantity: the quantity, e.g. "tau_s" or "AMPA.weight_a".
        bias: name of the bias.
        wanted, predicted: in the quantity's SI unit.
    """

    quantity: str
    bias: str
    code: BiasCode
    wanted: float
    predicted: float

    @property
    def error(self) -> float:
        """Relative error of the predicted value."""
        return self.predicted / self.wanted - 1.0 if self.wanted else 0.0


def charge_c(chip: ChipModel, calibration: Calibration, law: Law, circuit: Circuit | None) -> float:
    """The charge (C) that a bias current drains in the time that it sets: see `circuits`."""
    capacitance = calibration.capacitance_f(chip, circuit) if circuit else 0.0
    if law == "time_constant":
        return circuits.thermal_charge_c(chip, capacitance)
    return circuits.switching_charge_c(chip, capacitance)


def idle_codes(chip: ChipModel, mapping: Mapping) -> dict[str, BiasCode]:
    """The codes of a core that holds no neuron, by bias name."""
    return {bias.name: mapping.idle.get(bias.name, bias.samna_default) for bias in chip.biases}


def choose_codes(
    chip: ChipModel,
    mapping: Mapping,
    calibration: Calibration,
    target: NeuronParameters,
    where: str,
    core: tuple[int, int] | None = None,
) -> list[BiasChoice]:
    """The codes that bring a core nearest to a target.

    Args:
        core: (chip id, core) whose scales in the calibration apply; a core without any if absent.

    Raises:
        CodeProblems: every quantity that is out of range, each with the range and the nearest possible value.
    """
    chooser = _Chooser(chip, mapping, calibration, where, calibration.scales_of(core))
    for quantity, rule in mapping.neuron.items():
        chooser.simple(quantity, rule, float(getattr(target, quantity)))
    pulse_s = chooser.predicted("pulse_width_s")
    if pulse_s is not None:  # else it is among the problems, and no weight can be told without it
        for synapse, parameters in target.synapses.items():
            chooser.dpi(synapse, mapping.synapses[synapse], parameters, pulse_s)
        if target.adaptation is not None:
            chooser.dpi("adaptation", mapping.adaptation, target.adaptation, pulse_s)
            name = chooser.bias_name(mapping.adaptation.enable)
            chooser.choices.append(BiasChoice("adaptation.enable", name, mapping.adaptation.enable_code, 1.0, 1.0))
    if chooser.problems:
        raise CodeProblems(chooser.problems, chooser.choices)
    return chooser.choices


class CodeProblems(BcallError):
    """Every quantity of one target that no code can reach, and the choices for the others."""

    def __init__(self, problems: list[CurrentOutOfRange], choices: list[BiasChoice]) -> None:
        self.problems, self.choices = problems, choices
        super().__init__("; ".join(str(p) for p in problems))


class _Chooser:
    """Collects the choices and the problems of one core."""

    def __init__(
        self, chip: ChipModel, mapping: Mapping, calibration: Calibration, where: str, scales: MappingOf[str, float]
    ) -> None:
        self.chip, self.mapping, self.calibration, self.where, self.scales = chip, mapping, calibration, where, scales
        self.choices: list[BiasChoice] = []
        self.problems: list[CurrentOutOfRange] = []

    def predicted(self, quantity: str) -> float | None:
        return next((c.predicted for c in self.choices if c.quantity == quantity), None)

    def _code(self, quantity: str, bias: str, current_a: float, describe: str) -> tuple[BiasCode, float] | None:
        name = self.bias_name(bias)
        try:
            return nearest_code(self.chip, current_a, f"{self.where}: {quantity} ({name})")
        except CurrentOutOfRange as problem:
            fix = describe or problem.fix
            used, limit = problem.used, problem.limit
            self.problems.append(CurrentOutOfRange(problem.what, where=problem.where, used=used, limit=limit, fix=fix))
            return None

    def bias_name(self, bias: str) -> str:
        """Name of a bias given by name or role."""
        return self.chip.biases[self.chip.bias_index(bias)].name

    def _outside(self, quantity: str, value: float, low: float, high: float, unit: str) -> str:
        """What to say of a value that lies outside what codes give."""
        nearest = low if value < low else high
        text = f"{quantity} = {value:.4g} {unit} is outside {low:.4g} to {high:.4g} {unit}; "
        return text + f"the nearest possible value is {nearest:.4g} {unit}."

    def _add(self, quantity: str, bias: str, code: BiasCode, wanted: float, predicted: float) -> None:
        name = self.bias_name(bias)
        self.choices.append(BiasChoice(quantity, name, code, wanted, predicted))

    def simple(self, quantity: str, rule: Quantity, value: float) -> float | None:
        """A quantity that one bias sets alone, a time (charge / current) or a current; returns the code's current (A)."""
        if value == 0.0:
            self._add(quantity, rule.bias, BiasCode(coarse=0, fine=0), 0.0, 0.0)
            return 0.0
        scale, (lowest, highest) = self.scales.get(quantity, 1.0), current_range_a(self.chip)
        if rule.law == "current":
            describe = self._outside(quantity, value, scale * lowest, scale * highest, "A")
            found = self._code(quantity, rule.bias, value / scale, describe)
        else:
            charge = scale * charge_c(self.chip, self.calibration, rule.law, rule.circuit)
            describe = self._outside(quantity, value, charge / highest, charge / lowest, "s")
            found = self._code(quantity, rule.bias, charge / value, describe)
        if found is None:
            return None
        self._add(quantity, rule.bias, found[0], value, scale * found[1] if rule.law == "current" else charge / found[1])
        return found[1]

    def dpi(self, name: str, rule: DpiMapping, wanted: SynapseParameters, pulse_s: float) -> None:
        """Tau, gain and weight of a DPI; the weight is chosen for the tau, gain and pulse that the codes really give."""
        quantity = Quantity(bias=rule.tau, law="time_constant", circuit=rule.circuit)
        tau_a = self.simple(f"{name}.tau_s", quantity, wanted.tau_s)
        tau_s = self.predicted(f"{name}.tau_s")
        if tau_a is None or tau_s is None:
            return
        gain = self._code(f"{name}.gain", rule.gain, rule.gain_ratio * tau_a, "")
        if gain is None:
            return
        self._add(f"{name}.gain_a", rule.gain, gain[0], rule.gain_ratio * tau_a, gain[1])
        jump = self.scales.get(f"{name}.weight_a", 1.0) * (1.0 - float(portable_math.exp(-pulse_s / tau_s)))
        currents, _ = self.chip.sorted_codes
        above_leak = float(currents[min(int(np.searchsorted(currents, tau_a, side="right")), len(currents) - 1)])
        low, high = (circuits.dpi_full_scale_a(i, gain[1], tau_a) * jump for i in (above_leak, float(currents[-1])))
        describe = self._outside(f"{name}.weight_a", wanted.weight_a, low, high, "A")
        if wanted.weight_a < low:
            where, used = f"{self.where}: {name}.weight_a ({self.bias_name(rule.weight)})", f"{wanted.weight_a:.4g} A"
            limit = f"{low:.4g} to {high:.4g} A"
            self.problems.append(
                CurrentOutOfRange("too small for a weight code", where=where, used=used, limit=limit, fix=describe)
            )
            return
        needed = circuits.dpi_weight_current_a(wanted.weight_a / jump, gain[1], tau_a)
        weight = self._code(f"{name}.weight_a", rule.weight, needed, describe)
        if weight:
            achieved = circuits.dpi_full_scale_a(weight[1], gain[1], tau_a) * jump
            self._add(f"{name}.weight_a", rule.weight, weight[0], wanted.weight_a, achieved)
