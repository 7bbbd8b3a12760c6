"""The codes of a record as choices: what is measured again is what was proven, not what its scales would choose anew."""

from __future__ import annotations

from dataclasses import dataclass, field

from bcall_hw.bias_codes import code_current_a
from bcall_hw.calibrate.rig import Core
from bcall_hw.calibrate.scales import Scales
from bcall_hw.calibration_parts import Measured
from bcall_hw.mapping import BiasChoice
from bcall_hw.network import NeuronParameters


@dataclass
class RecordedCodes(Scales):
    """Scales that answer with recorded codes, and predict what was measured under them, whatever the target.

    Attributes:
        said: measurements of the record, by quantity and core.
    """

    said: dict[tuple[str, Core], Measured] = field(default_factory=dict)

    def choices(self, target: NeuronParameters) -> list[dict[str, BiasChoice]]:
        """The recorded codes of each core by quantity: somas, and the synapse types of the target; adaptation has none here.

        A synapse type brings the pulse width under which it was measured. What was not recorded is missing.
        """
        found = []
        for core in self.cores:
            simple = [self._choice(core, quantity, rule.bias, quantity) for quantity, rule in self.mapping.neuron.items()]
            mine = {choice.quantity: choice for choice in simple if choice}
            for name in target.synapses:
                mine |= self._dpi(core, name)
            found.append(mine)
        return found

    def _dpi(self, core: Core, name: str) -> dict[str, BiasChoice]:
        """All codes of a synapse type, or none: under a part of them it has no weight that could be told."""
        rule = next(rule for synapse, rule in self.mapping.synapses.items() if synapse == name)
        parts = {"pulse_width_s": self.mapping.neuron["pulse_width_s"].bias, f"{name}.tau_s": rule.tau}
        parts |= {f"{name}.gain_a": rule.gain, f"{name}.weight_a": rule.weight}
        every = [self._choice(core, quantity, bias, f"{name}.weight_a") for quantity, bias in parts.items()]
        found = {choice.quantity: choice for choice in every if choice}
        return found if len(found) == len(parts) else {}

    def _choice(self, core: Core, quantity: str, bias: str, of: str) -> BiasChoice | None:
        """The code of a bias in the measurement of the quantity `of`."""
        name = self.chip.biases[self.chip.bias_index(bias)].name
        set_then, said = self.said.get((of, core)), self.said.get((quantity, core))
        code = set_then.codes.get(name) if set_then else None
        if code is None:
            return None
        if quantity.endswith(".gain_a"):  # a free choice: nobody measures it
            current = code_current_a(self.chip, code)
            return BiasChoice(quantity, name, code, current, current)
        if said is None:
            return None
        predicted = said.achieved if said.ok and said.achieved is not None else said.target
        return BiasChoice(quantity, name, code, said.target, predicted)
