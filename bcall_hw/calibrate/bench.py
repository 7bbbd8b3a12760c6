"""What is known of the cores on the bench, and the way from wished currents to codes and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bcall_hw import circuits
from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.bias_codes import current_range_a, nearest_code
from bcall_hw.calibrate.estimate import MODEL_ERROR, medians
from bcall_hw.calibrate.membrane import rise_time_s, spike_potential
from bcall_hw.calibrate.rig import Rig
from bcall_hw.calibrate.spike_trains import SpikeTrains
from bcall_hw.chip_model import BiasCode

#: A refractory period that hardly matters (s).
_SHORT_S = 0.5e-3
#: Fewer intervals than this do not make a mean.
_FEWEST_INTERVALS = 3
#: Nominal time constant of synapses and adaptation that are not measured (s), and how many of them empty a circuit.
_EMPTIED_S, _EMPTYING = 1e-3, 30


@dataclass
class Bench:
    """The rig, and per neuron or core what has been found; shapes (cores, neurons) or (cores,).

    Attributes:
        alive: neurons that can be measured.
        entries: which CAM entries work, shape (cores, neurons, entries).
        grain_s: finest time by which spikes of this board differ (s): its time stamps' unit, or an emulator's step.
        charge_scale: soma's capacitance / nominal, of each core.
        bracketed: cores whose capacitance lies where it was looked for; of the others nothing is known.
        dc_scale: constant current / nominal; `dc_error` its relative standard error.
        leak_scale: leak current / nominal, under the first bias.
        threshold_scale: spike threshold / the chip model's.
        refractory_scale: refractory period / nominal.
        soma_error: relative error that constant currents and leaks of all neurons share.
    """

    rig: Rig
    alive: BoolArray
    entries: BoolArray = field(init=False)
    grain_s: float = 0.0
    charge_scale: FloatArray = field(init=False)
    bracketed: BoolArray = field(init=False)
    dc_scale: FloatArray = field(init=False)
    dc_error: FloatArray = field(init=False)
    leak_scale: FloatArray = field(init=False)
    threshold_scale: FloatArray = field(init=False)
    refractory_scale: FloatArray = field(init=False)
    soma_error: float = MODEL_ERROR

    def __post_init__(self) -> None:
        self.chip = self.rig.chip
        cores, neurons = self.rig.shape
        self.entries = np.ones((cores, neurons, self.chip.cam.entries), dtype=bool)
        self.charge_scale = np.ones(cores)
        self.dc_scale, self.leak_scale, self.threshold_scale, self.refractory_scale = (
            np.ones((cores, neurons)) for _ in range(4)
        )
        self.dc_error = np.zeros((cores, neurons))
        self.bracketed = np.ones(cores, dtype=bool)
        #: Currents of the codes that are set, by role, shape (cores,).
        self.current_a: dict[str, FloatArray] = {}

    # Nominal numbers -------------------------------------------------------------------------------------------------

    @property
    def charge_c(self) -> float:
        """C U_T / kappa of the soma, nominal (C)."""
        return circuits.thermal_charge_c(self.chip, self.chip.capacitances_f.soma)

    def tau_charge_c(self, circuit: str) -> float:
        """C U_T / kappa of a DPI, nominal (C)."""
        return circuits.thermal_charge_c(self.chip, float(getattr(self.chip.capacitances_f, circuit)))

    def switching_charge_c(self, circuit: str) -> float:
        """C V_th of the pulse extender or the refractory circuit, nominal (C)."""
        return circuits.switching_charge_c(self.chip, float(getattr(self.chip.capacitances_f, circuit)))

    def some_alive(self, most: int) -> IntArray:
        """Numbers of about `most` neurons of all cores, evenly spread; dead ones and those of lost cores are none of them."""
        alive = np.flatnonzero(self.alive)
        return np.asarray(alive[:: max(1, alive.size // most)], dtype=np.int64)

    # Codes -----------------------------------------------------------------------------------------------------------

    def set_currents(self, **wished_a: npt.ArrayLike) -> None:
        """Set biases, by role, to the codes nearest to wished currents (A), one for all cores or one each.

        What the codes give stands in `current_a` then, also where a wish lies beyond all codes. A core whose wish is NaN is
        not measured: it gets the smallest current, and stands as NaN.
        """
        cores = self.rig.shape[0]
        codes: list[dict[str, BiasCode]] = [{} for _ in range(cores)]
        lowest, highest = current_range_a(self.chip)
        for role, wished in wished_a.items():
            every = np.broadcast_to(np.asarray(wished, dtype=np.float64), (cores,))
            within = np.clip(np.where(np.isnan(every), lowest, every), lowest, highest)
            given = np.empty(cores)
            for core, current in enumerate(within.tolist()):
                codes[core][role], given[core] = nearest_code(self.chip, current, role)
            self.current_a[role] = np.where(np.isnan(every), np.nan, given)
        self.rig.set(codes)

    def set_codes(self, codes: list[dict[str, BiasCode]]) -> None:
        """Set biases by name or role to given codes, a mapping for each core."""
        self.rig.set(codes)
        for role in {self.chip.biases[self.chip.bias_index(name)].role for mine in codes for name in mine}:
            index = self.chip.bias_index(role)
            at = [self.rig.chips.index(chip) for chip, _ in self.rig.cores], [core for _, core in self.rig.cores]
            word = self.rig.config.biases[(*at, index)]
            dark = self.chip.current_table.dark_current_a
            self.current_a[role] = np.maximum(self.chip.current_a[word["coarse"], word["fine"]], dark)

    def rest_currents(self) -> None:
        """A soma that waits: no input, the smallest leak, the largest gain, no adaptation, no synapse.

        Synapses and adaptation have no weight but a short time constant (see `empty`).
        """
        self.rig.set(self.rig.quiet)
        lowest, highest = current_range_a(self.chip)
        self.set_currents(leak1=lowest, leak2=highest, gain=highest, dc=lowest)
        circuits_of = {t.name: t.name for t in self.chip.synapse_types} | {"ahp": "AHP"}
        self.set_currents(**{f"{role}_tau": self.tau_charge_c(circuit) / _EMPTIED_S for role, circuit in circuits_of.items()})

    def empty(self) -> None:
        """Rest for so long that nothing is left in synapses and adaptation; it would stay for seconds under codes of zero."""
        self.rest_currents()
        # A last spike under the quiet code would begin a refractory period of seconds.
        self.set_currents(refractory=self.switching_charge_c("refractory") / _EMPTIED_S)
        self.rig.run(_EMPTYING * _EMPTIED_S)

    @property
    def short_refractory_a(self) -> FloatArray:
        """Current of a refractory period that hardly matters, as far as the scale of each core is known, shape (cores,)."""
        return self.switching_charge_c("refractory") * np.nanmedian(self.refractory_scale, axis=1) / _SHORT_S

    def drive_for(self, rise_s: npt.ArrayLike) -> FloatArray:
        """Constant current (A, as codes say) whose median neuron takes `rise_s` from reset to spike, shape (cores,)."""
        v = float(spike_potential(self.chip))
        return np.asarray(self.charge_c * self.charge_scale * v / np.asarray(rise_s) / np.nanmedian(self.dc_scale, axis=1))

    def lose_entries(self, places: Iterable[tuple[int, ...]]) -> None:
        """CAM entries (chip, core, neuron, entry) that are out of order; those of cores that are not here are passed over."""
        rows = {core: index for index, core in enumerate(self.rig.cores)}
        for chip, core, neuron, entry in places:
            if (chip, core) in rows:
                self.entries[rows[chip, core], neuron, entry] = False

    def net_for(self, rise_s: float) -> float:
        """Constant current (A) under which neurons take `rise_s`, median of the cores that have live ones, or of all."""
        of_cores = self.drive_for(rise_s) * np.nanmedian(self.dc_scale, axis=1)
        some = self.alive.any(axis=1)
        return float(np.median(of_cores[some] if some.any() else of_cores))

    # Predictions -----------------------------------------------------------------------------------------------------

    def rise_s(
        self, *, dc_scale: FloatArray | None = None, leak_scale: FloatArray | None = None,
        threshold_scale: FloatArray | None = None, charge_scale: FloatArray | None = None, leak: str = "leak1",
        more_a: FloatArray | float = 0.0, clock: bool = True,
    ) -> FloatArray:  # fmt: skip
        """Time from reset to spike under the currents that are set, as time stamps show it, shape (cores, neurons).

        Args:
            more_a: further constant input (A).
            clock: with what a time step adds.
        """
        drive = self.current_a["dc"][:, None] * (self.dc_scale if dc_scale is None else dc_scale) + more_a
        of_leak = self.current_a[leak][:, None] * (self.leak_scale if leak_scale is None else leak_scale)
        threshold = self.threshold_scale if threshold_scale is None else threshold_scale
        charge = self.charge_c * (self.charge_scale if charge_scale is None else charge_scale)[:, None]
        return rise_time_s(
            self.chip, charge, drive, of_leak, self.current_a["gain"][:, None], threshold, self.grain_s if clock else 0.0
        )

    @property
    def refractory_s(self) -> FloatArray:
        """Refractory period under the code that is set, shape (cores, neurons)."""
        return self.switching_charge_c("refractory") / self.current_a["refractory"][:, None] * self.refractory_scale

    # Measurements ----------------------------------------------------------------------------------------------------

    def intervals(self, trains: SpikeTrains) -> tuple[FloatArray, FloatArray]:
        """Mean interval of each neuron (s) and its standard error, shape (cores, neurons); NaN where there are too few.

        Noise shortens the way up from a reset that nothing falls below (drift and diffusion from a reflecting barrier): the
        mean by half the squared CV of the intervals, which is put back.
        """
        mean, error, count = trains.mean_isi()
        few = count < _FEWEST_INTERVALS
        # A neuron that fires like a clock keeps what time steps cut off its rise and its refractory period.
        floor = self.grain_s / np.sqrt(6.0)
        total = np.hypot(np.nan_to_num(error, nan=np.inf), floor)
        shape, typical = self.rig.shape, self.squared_cv(trains)
        mean, total = (np.where(few, np.nan, x).reshape(shape) for x in (mean, total))
        mean = mean * (1.0 + 0.5 * typical[:, None])
        return np.where(self.alive, mean, np.nan), np.where(self.alive, total, np.nan)

    def squared_cv(self, trains: SpikeTrains) -> FloatArray:
        """Squared CV of the intervals of each core's typical neuron, beyond that of the time steps, shape (cores,)."""
        mean, error, count = trains.mean_isi()
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.maximum(error**2 * count - self.grain_s**2 / 6.0, 0.0) / mean**2
        known = self.alive & (count >= _FEWEST_INTERVALS).reshape(self.rig.shape)
        return np.nan_to_num(medians(np.where(known, found.reshape(self.rig.shape), np.nan)))
