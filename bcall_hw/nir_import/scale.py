"""The scale between a LIF in units of its threshold and the currents of a DPI soma.

Sources: Chicca et al., Proc. IEEE 102(9), 2014 (soma); `docs/emulator_specification.md`, *How far from the equations* (the
membrane's equation); `docs/nir_import.md` (the law).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bcall_hw import circuits
from bcall_hw.arrays import FloatArray
from bcall_hw.bias_codes import current_range_a
from bcall_hw.calibration import Calibration
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import InvalidValue

#: Points of the integral over the membrane's logarithm: halving them changes a period by less than 0.01 %.
_POINTS = 1024
#: Relative width at which the searches for a current and for a time constant end.
_TOLERANCE, _FIT_TOLERANCE = 1e-7, 1e-5


@dataclass(frozen=True)
class Soma:
    """A soma's constants, in SI units.

    Attributes:
        charge_c: C U_T / kappa, the charge (C) that moves v = ln(I_mem / I_0) by one.
        leak_a, gain_a: leak and gain currents (A).
        reset_a, spike_a: membrane currents after a spike, I_0, and at a spike (A).
        feedback_power: kappa / (kappa + 1), of the positive feedback I_0 (I_mem / I_0) ** power.
    """

    charge_c: float
    leak_a: float
    gain_a: float
    reset_a: float
    spike_a: float
    feedback_power: float

    @classmethod
    def of(cls, chip: ChipModel, calibration: Calibration, tau_s: float, gain_a: float) -> Soma:
        """The soma of a core with membrane time constant `tau_s` (s) and gain current `gain_a` (A)."""
        charge = circuits.thermal_charge_c(chip, calibration.capacitance_f(chip, "soma"))
        constants = chip.constants
        kappa = constants.kappa.value
        return cls(
            charge, charge / tau_s, gain_a, constants.leak_current_a.value, constants.spike_threshold_a.value,
            kappa / (kappa + 1.0),
        )  # fmt: skip

    def _grid(self) -> tuple[FloatArray, float]:
        """Membrane currents (A) in the middle of equal steps of v from reset to spike, and the step."""
        step = math.log(self.spike_a / self.reset_a) / _POINTS
        return np.asarray(self.reset_a * np.exp((np.arange(_POINTS) + 0.5) * step), dtype=np.float64), step

    def _threshold_drive_a(self) -> FloatArray:
        """For each membrane current of the grid, the constant drive (A) that just holds it."""
        mem, _ = self._grid()
        feedback = self.reset_a * (mem / self.reset_a) ** self.feedback_power
        return np.asarray((self.leak_a - feedback) * (mem + self.gain_a) / self.gain_a, dtype=np.float64)

    def rheobase_a(self) -> float:
        """The smallest constant drive (A) that makes it fire: the largest drive that can still be held somewhere.

        Raises:
            InvalidValue: it fires without any drive, because the feedback beats the leak from the reset on.
        """
        largest = float(self._threshold_drive_a().max())
        if largest <= 0.0:
            fix = "Choose a shorter membrane time constant."
            raise InvalidValue(
                "the soma fires without input (leak, A)", where="soma", used=self.leak_a, limit=self.reset_a, fix=fix
            )
        return largest

    def period_s(self, drive_a: float) -> float:
        """Time from reset to spike (s) under a constant drive (A); infinite at or below the rheobase.

        T = Q * integral of dv / (drive I_th / (I_mem + I_th) - I_leak + feedback) from reset to spike.
        """
        if drive_a <= self.rheobase_a():
            return math.inf
        mem, step = self._grid()
        net = (drive_a - self._threshold_drive_a()) * self.gain_a / (mem + self.gain_a)
        return float(self.charge_c * step * np.sum(1.0 / net))

    def drive_at_a(self, rate_hz: float, refractory_s: float) -> float:
        """The constant drive (A) under which it fires at a rate (Hz, above 0), refractory period (s) included.

        Raises:
            InvalidValue: it fires without input, or the rate is not below 1 / refractory_s.
        """
        wanted = 1.0 / rate_hz - refractory_s
        if wanted <= 0.0:
            where, limit = "soma", 1.0 / refractory_s
            raise InvalidValue("anchor is not below the refractory rate (Hz)", where=where, used=rate_hz, limit=limit)
        low = self.rheobase_a()
        high = 2.0 * low
        while self.period_s(high) > wanted:
            high *= 2.0
        while high / low > 1.0 + _TOLERANCE:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.period_s(middle) > wanted else (low, middle)
        return high


#: The soma with a given membrane time constant (s).
MakeSoma = Callable[[float], Soma]


@dataclass(frozen=True)
class Scale:
    """How a LIF becomes a soma.

    Attributes:
        tau_s: membrane time constant of the soma (s).
        unit_a: the drive (A) that stands for one threshold of the LIF's drive.
    """

    tau_s: float
    unit_a: float


def largest_tau_s(chip: ChipModel, calibration: Calibration) -> float:
    """The longest membrane time constant (s) with which a soma surely rests without input.

    Its leak is twice what always flows in: the feedback at rest, I_0, and the dark current of the DC bias.
    """
    always = chip.constants.leak_current_a.value + chip.current_table.dark_current_a
    leak_a = max(2.0 * always, current_range_a(chip)[0])
    return circuits.thermal_charge_c(chip, calibration.capacitance_f(chip, "soma")) / leak_a


def lif_drive(tau_s: float, rate_hz: float) -> float:
    """The constant drive, in units of the threshold, at which a LIF that starts from rest fires at a rate (Hz).

    1 / (1 - exp(-1 / (rate tau))): from v(t) = x (1 - exp(-t / tau)) = 1 at t = 1 / rate.
    """
    return 1.0 / -math.expm1(-1.0 / (rate_hz * tau_s))


def scale_at_tau(soma_tau_s: float, lif_tau_s: float, rate_hz: float, refractory_s: float, make: MakeSoma) -> Scale:
    """A soma with a given time constant that fires at `rate_hz` (Hz) under the drive under which the LIF does."""
    unit = make(soma_tau_s).drive_at_a(rate_hz, refractory_s) / lif_drive(lif_tau_s, rate_hz)
    return Scale(soma_tau_s, unit)


def fitted_scale(
    lif_tau_s: float, rates_hz: tuple[float, float], refractory_s: float, range_s: tuple[float, float], make: MakeSoma
) -> Scale:
    """Time constant and unit of the soma whose rate equals the LIF's at two rates, under the same constant drives.

    The ratio of the two drives grows with the soma's time constant; bisection finds the one with the LIF's ratio.

    Args:
        lif_tau_s: membrane time constant of the LIF (s).
        rates_hz: the two rates (Hz), ascending.
        range_s: shortest and longest time constant (s) that the soma may have.
        make: the soma with a given time constant (s).

    Raises:
        InvalidValue: no time constant in the range does it.
    """
    wanted = lif_drive(lif_tau_s, rates_hz[1]) / lif_drive(lif_tau_s, rates_hz[0])

    def ratio(tau_s: float) -> float:
        low, high = (make(tau_s).drive_at_a(rate, refractory_s) for rate in rates_hz)
        return high / low

    low, high = range_s
    if not ratio(low) <= wanted <= ratio(high):
        fix = "Choose other anchors, a shorter refractory period, or keep_tau."
        limit = f"soma time constants from {low:.4g} to {high:.4g} s"
        raise InvalidValue(
            "no soma fires like this LIF at both anchors (tau, s)", where="soma", used=lif_tau_s, limit=limit, fix=fix
        )
    while high / low > 1.0 + _FIT_TOLERANCE:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if ratio(middle) < wanted else (low, middle)
    return scale_at_tau(high, lif_tau_s, rates_hz[0], refractory_s, make)
