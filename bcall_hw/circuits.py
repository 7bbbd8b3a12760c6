"""The circuit equations: what a bias current does, in SI units.

Sources: Chicca et al., Proc. IEEE 102(9), 2014; Bartolozzi and Indiveri, Neural Computation 19(10), 2007. The constants
come from the chip model. Capacitances are in farad, currents in ampere, times in seconds.
"""

from __future__ import annotations

from bcall_hw.chip_model import ChipModel


def thermal_charge_c(chip: ChipModel, capacitance_f: float) -> float:
    """C * U_T / kappa: the charge (C) that a bias current drains in one time constant."""
    return capacitance_f * chip.constants.thermal_voltage_v.value / chip.constants.kappa.value


def switching_charge_c(chip: ChipModel, capacitance_f: float) -> float:
    """C * V_th: the charge (C) that a bias current drains in one pulse width or refractory period."""
    return capacitance_f * chip.constants.inverter_threshold_v.value


def dpi_full_scale_a(weight_a: float, gain_a: float, tau_a: float) -> float:
    """I_max = I_g * (I_w / I_tau - 1): where a DPI settles while its pulse lasts (A).

    A weight current below the leak current never charges the DPI: then I_max is 0.
    """
    return max(0.0, gain_a * (weight_a / tau_a - 1.0))


def dpi_weight_current_a(full_scale_a: float, gain_a: float, tau_a: float) -> float:
    """The weight current I_w that gives the full scale I_max: inverse of `dpi_full_scale_a` (A)."""
    return tau_a * (full_scale_a / gain_a + 1.0)
