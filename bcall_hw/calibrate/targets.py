"""What the cores of a board are to be brought to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bcall_hw import files
from bcall_hw.network import NeuronParameters
from bcall_hw.records import Record, data_folder

_FORMAT = "bcall_hw/calibration_targets"


class Targets(Record):
    """Targets of every core that is calibrated.

    Attributes:
        neuron: the values; synapse types and adaptation that are left out are not measured.
        tolerance: largest relative residual of a core's median that counts as success.
    """

    neuron: NeuronParameters
    tolerance: Annotated[float, Field(ge=0.005, le=0.5)] = 0.03

    @classmethod
    def load(cls, path: Path | None = None) -> Targets:
        """Targets from a .toml or .json file, or the ones that are shipped.

        Raises:
            FileProblem, CorruptFile, ForeignFile: missing, damaged, or something else.
            InvalidValue: values that no neuron has.
        """
        values = files.read_document(path or data_folder("calibration") / "targets.toml", _FORMAT, 1)
        return cls(**{name: value for name, value in values.items() if name not in ("format", "format_version")})

    def quantities(self) -> dict[str, tuple[float, str]]:
        """Target and unit of each quantity that is measured, by name, in the order in which they are measured."""
        n = self.neuron
        found = {"refractory_s": (n.refractory_s, "s"), "tau_s": (n.tau_s, "s")}
        if n.dc_a:
            found["dc_a"] = (n.dc_a, "A")
        found["pulse_width_s"] = (n.pulse_width_s, "s")
        dpis = {name: n.synapses[name] for name in sorted(n.synapses)} | ({"adaptation": n.adaptation} if n.adaptation else {})
        for name, dpi in dpis.items():
            found |= {f"{name}.tau_s": (dpi.tau_s, "s"), f"{name}.weight_a": (dpi.weight_a, "A")}
        return found
