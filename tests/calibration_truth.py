"""What a virtual board's neurons really do under codes: from the profile and the specification's equations, for comparison."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_model import BiasCode, ChipModel


def true_values(
    profile: BoardProfile, chip: ChipModel, core: tuple[int, int], quantity: str, codes: Mapping[str, BiasCode]
) -> np.ndarray:
    """Value of a quantity of every neuron of a core, shape (neurons,); dead neurons are NaN."""
    current = {}
    for name, code in codes.items():
        role = chip.biases[chip.bias_index(name)].role
        current[role] = max(float(chip.current_a[code.coarse, code.fine]), chip.current_table.dark_current_a)
    factor = {name: values[core] for name, values in profile.factors(chip).items()}
    farad = profile.capacitances_f(chip)
    thermal = chip.constants.thermal_voltage_v.value / chip.constants.kappa.value

    def time(role: str, circuit: str, volt: float) -> np.ndarray:
        return float(getattr(farad, circuit)) * volt / (current[role] * factor[role])

    if quantity == "tau_s":
        found = time("leak1", "soma", thermal)
    elif quantity in ("refractory_s", "pulse_width_s"):
        role, circuit = ("refractory", "refractory") if quantity == "refractory_s" else ("pulse_width", "pulse")
        found = time(role, circuit, chip.constants.inverter_threshold_v.value)
    elif quantity == "dc_a":
        found = current["dc"] * factor["dc"]
    else:
        name, part = quantity.split(".")
        prefix, circuit = ("ahp", "AHP") if name == "adaptation" else (name, name)
        tau = time(f"{prefix}_tau", circuit, thermal)
        if part == "tau_s":
            found = tau
        else:
            pulse = time("pulse_width", "pulse", chip.constants.inverter_threshold_v.value)
            leak = current[f"{prefix}_tau"] * factor[f"{prefix}_tau"]
            full = current[f"{prefix}_gain"] * (current[f"{prefix}_weight"] * factor[f"{prefix}_weight"] / leak - 1.0)
            found = np.maximum(full, 0.0) * -np.expm1(-pulse / tau)
    found = np.array(found)
    for of_chip, of_core, neuron in profile.dead_neurons:
        if (of_chip, of_core) == core:
            found[neuron] = np.nan
    return found
