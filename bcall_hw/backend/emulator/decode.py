"""From bias codes to the integer parameters of every neuron, at one time step and on one board.

Everything is IEEE arithmetic on float64, rounded once to integers, so the same codes give the same words everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bcall_hw import circuits, portable_math
from bcall_hw.arrays import BoolArray, FloatArray, Int32Array, IntArray
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.routing import Listeners
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import Capacitances
from bcall_hw.errors import BackendProblem, EmulatorOverflow


@dataclass(frozen=True, eq=False)
class CoreParameters:
    """The integer parameters of all emulated cores, ascending by chip and core.

    Attributes:
        rows: int32, shape (cores, words.ROWS, neurons); state and scratch rows are zero.
        step_gain: dt / (C U_T / kappa) per femtoampere, in v words * 2^16.
        tables: int32, shape (cores, 3, table size): h, positive feedback (fA), NMDA gate.
        saturated: names of cores with a neuron whose leak is held at the largest current word.
    """

    rows: Int32Array
    step_gain: int
    tables: Int32Array
    saturated: tuple[str, ...]

    @cached_property
    def soma_table(self) -> IntArray:
        """H in the lower and positive feedback in the upper half of one word, shape (cores, table size)."""
        return self.tables[:, 0].astype(np.int64) | (self.tables[:, 1].astype(np.int64) << 32)

    @cached_property
    def gates(self) -> Int32Array:
        """The NMDA gate's tables, shape (cores, table size)."""
        return np.ascontiguousarray(self.tables[:, 2])

    @cached_property
    def gated(self) -> npt.NDArray[np.uint8]:
        """Which cores gate their NMDA currents."""
        return np.asarray((self.tables[:, 2] != 1 << words.GAIN_BITS).any(axis=1), dtype=np.uint8)

    def entry_words(self, listeners: Listeners, finite_pulses: bool, config: ChipConfig) -> Int32Array:
        """What each CAM entry adds, shape of `listeners.cells`; of no length where all entries of a cell add the same.

        Raises:
            EmulatorOverflow: a pulse longer than its word.
        """
        if listeners.factors is None:
            return np.zeros((len(self.rows), 0), dtype=np.int32)
        nominal = self.rows[:, words.EVENT : words.EVENT + 4].reshape(len(self.rows), -1)
        scaled = np.rint(np.take_along_axis(nominal, listeners.cells.astype(np.int64), axis=1) * listeners.factors)
        too_long = np.argwhere(scaled > words.INT32_MAX)
        if too_long.size:  # only pulses can: a jump is at most one
            core, index = (int(i) for i in too_long[0])
            neuron = int(listeners.cells[core, index]) % self.rows.shape[2]
            where = f"{core_name(config, core)} neuron {neuron}: pulse of a CAM entry in steps"
            raise EmulatorOverflow("does not fit its word", where=where, used=scaled[core, index], limit=words.INT32_MAX)
        held = np.maximum(1, scaled) if finite_pulses else np.minimum(words.ONE, scaled)
        return np.asarray(held, dtype=np.int32)


def decode(
    config: ChipConfig,
    factors: Mapping[str, FloatArray],
    dt_us: int,
    finite_pulses: bool = False,
    dead_neurons: Iterable[tuple[int, int, int]] = (),
    capacitances_f: Capacitances | None = None,
) -> CoreParameters:
    """The parameters that a configuration gives on a board.

    Args:
        factors: mismatch factors of the whole board (`BoardProfile.factors`).
        dead_neurons: (chip, core, neuron): nothing charges them, and the largest leak holds them at rest.
        capacitances_f: of the board; the chip model's if absent.
        dt_us: time step (us).
        finite_pulses: pulses last for whole time steps instead of being jumps.

    Raises:
        BackendProblem: a bias with the low range bit, whose current is not known.
        EmulatorOverflow: a current that does not fit its state word.
    """
    return _Decoder(config, factors, dt_us, finite_pulses, dead_neurons, capacitances_f).parameters()


def check_sums(rows: Int32Array, config: ChipConfig) -> None:
    """Refuse currents that could add up beyond 32 bits; a current never rises above the larger of itself and its full scale.

    Args:
        rows: state and parameters, shape (cores, at least words.SUM rows, neurons).

    Raises:
        EmulatorOverflow: with the neuron and the sum.
    """
    reach = np.maximum(rows[:, words.I_SYN : words.I_AHP + 1], rows[:, words.FULL : words.FULL_AHP + 1]).astype(np.int64)
    exciting = rows[:, words.DC] + reach[:, 0] + reach[:, 1]
    draining = rows[:, words.LEAK] + reach[:, 2] + reach[:, 4]
    for what, total in (("constant current, AMPA and NMDA", exciting), ("leak, GABA_A and AHP", draining)):
        too_large = np.argwhere(total > words.SUM_MAX)
        if too_large.size:
            core, neuron = (int(i) for i in too_large[0])
            where = f"{core_name(config, core)} neuron {neuron}: {what}"
            used, fix = int(total[core, neuron]), "Lower a gain or a weight, or let large currents decay before."
            raise EmulatorOverflow("add up beyond the words (fA)", where=where, used=used, limit=words.SUM_MAX, fix=fix)


def core_name(config: ChipConfig, core: int) -> str:
    """An emulated core by its index, in words."""
    chip, number = divmod(core, config.chip.geometry.cores)
    return f"chip {config.chips[chip]} core {number}"


class _Decoder:
    def __init__(
        self, config: ChipConfig, factors: Mapping[str, FloatArray], dt_us: int, finite_pulses: bool,
        dead_neurons: Iterable[tuple[int, int, int]], capacitances_f: Capacitances | None,
    ) -> None:  # fmt: skip
        self.finite_pulses = finite_pulses
        self.capacitances_f = capacitances_f or config.chip.capacitances_f
        self.config, self.chip, self.dt_s = config, config.chip, dt_us * 1e-6
        self.factors = factors
        g = self.chip.geometry
        self.cores, self.neurons = len(config.chips) * g.cores, g.neurons
        codes = config.biases.reshape(self.cores, -1)
        modelled = np.array([bias.circuit != "monitor" for bias in self.chip.biases])
        low = np.argwhere((codes["high"] == 0) & modelled)
        if low.size:
            bias = self.chip.biases[int(low[0, 1])].name
            raise BackendProblem(
                "the current of a bias with the low range bit is not known",
                where=f"{core_name(self.config, int(low[0, 0]))}, {bias}",
                fix="Set its range bit to high.",
            )
        table = self.chip.current_a[codes["coarse"], codes["fine"]]
        #: Shape (cores, biases). No bias transistor passes less than the dark current.
        self.current = np.maximum(table, self.chip.current_table.dark_current_a)
        self.code_is_zero = codes["fine"] == 0
        self.rows: Int32Array = np.zeros((self.cores, words.ROWS, self.neurons), dtype=np.int32)
        self.dead: BoolArray = np.zeros((self.cores, self.neurons), dtype=bool)
        for chip, core, neuron in dead_neurons:
            if chip in config.chips:
                self.dead[config.chips.index(chip) * g.cores + core, neuron] = True

    def bias(self, role: str) -> FloatArray:
        """Current of a bias with mismatch, shape (cores, neurons)."""
        nominal = self.current[:, self.chip.bias_index(role)][:, None]
        if role not in self.factors:
            return np.broadcast_to(nominal, (self.cores, self.neurons))
        return np.asarray(nominal * self.factors[role][list(self.config.chips)].reshape(self.cores, self.neurons))

    def put(self, row: int, value: FloatArray, what: str, needed: BoolArray | bool = True, error: float = 1.0) -> None:
        """Round to the row's words; refuse what does not fit, or what rounding changes by `error` (relative) or more."""
        rounded = np.rint(value)
        too_large = np.argwhere(rounded > words.INT32_MAX)
        if too_large.size:
            core, neuron = (int(i) for i in too_large[0])
            used = f"{value[core, neuron]:.4g}"
            where = f"{core_name(self.config, core)} neuron {neuron}: {what}"
            raise EmulatorOverflow("does not fit its word", where=where, used=used, limit=words.INT32_MAX)
        lost = np.argwhere((np.abs(rounded - value) >= error * value) & (value > 0) & needed)
        if lost.size:
            core, neuron = (int(i) for i in lost[0])
            where = f"{core_name(self.config, core)} neuron {neuron}: {what}"
            used, fix = f"{value[core, neuron]:.2g} units", "Choose another time step or bias."
            raise BackendProblem("is too small for its word", where=where, used=used, fix=fix)
        self.rows[:, row] = rounded.astype(np.int32)

    def parameters(self) -> CoreParameters:
        chip, constants = self.chip, self.chip.constants
        second = self.config.tau2.reshape(self.cores, self.neurons)
        leak = np.where(second, self.bias("leak2"), self.bias("leak1"))
        leak_fa = leak / words.FEMTOAMPERE
        too_large = (np.rint(leak_fa) > words.LEAK_MAX) & ~self.dead
        self.put(words.LEAK, np.where(too_large | self.dead, words.LEAK_MAX, leak_fa), "leak")
        saturated = tuple(core_name(self.config, int(core)) for core in np.flatnonzero(too_large.any(axis=1)))
        dc_fa = np.where(self.dead, 0.0, self.bias("dc") / words.FEMTOAMPERE)
        self.put(words.DC, dc_fa, "constant input current (fA)")
        v_spike = portable_math.log(constants.spike_threshold_a.value / constants.leak_current_a.value)
        spread = self.factors["spike_threshold"][list(self.config.chips)].reshape(self.cores, self.neurons)
        v_spike_words = np.rint((v_spike + _log(spread)) * 2**words.V_BITS)
        outside = np.argwhere((v_spike_words >= words.V_LIMIT) | (v_spike_words <= 0))
        if outside.size:
            core, neuron = (int(i) for i in outside[0])
            where, used = f"{core_name(self.config, core)} neuron {neuron}", v_spike_words[core, neuron] / 2**words.V_BITS
            raise EmulatorOverflow(
                "spike threshold outside the tables", where=where, used=used, limit=f"0 < v < {words.V_RANGE}"
            )
        self.put(words.V_SPIKE, v_spike_words, "spike threshold")
        refractory_s = circuits.switching_charge_c(chip, self.capacitances_f.refractory) / self.bias("refractory")
        self.put(words.REFRACTORY_STEPS, refractory_s / self.dt_s, "refractory period in steps")
        pulse_s = circuits.switching_charge_c(chip, self.capacitances_f.pulse) / self.bias("pulse_width")
        pulsed = np.zeros((self.cores, 1), dtype=bool)
        for row, effect in enumerate(words.EFFECTS):
            name = next(t.name for t in chip.synapse_types if t.effect == effect)
            pulsed |= ~self._dpi(name, name, pulse_s, words.EVENT + row, words.FULL + row, words.DECAY + row)
        self._dpi("AHP", "ahp", pulse_s, words.JUMP_AHP, words.FULL_AHP, words.DECAY_AHP)
        if self.finite_pulses:
            self._pulse_steps(pulse_s / self.dt_s, pulsed)
        charge = circuits.thermal_charge_c(chip, self.capacitances_f.soma)
        gain = round(self.dt_s * words.FEMTOAMPERE / charge * 2.0 ** (words.V_BITS + words.GAIN_BITS))
        if not 1 <= gain <= words.INT32_MAX:
            raise EmulatorOverflow("step gain does not fit its word", where="soma", used=gain, limit=words.INT32_MAX)
        return CoreParameters(self.rows, gain, self._tables(), saturated)

    def _dpi(self, circuit: str, prefix: str, pulse_s: FloatArray, jump: int, full: int, decay: int) -> BoolArray:
        """Jump fraction, full scale and decay fraction of a DPI (Bartolozzi and Indiveri 2007, bounded form).

        Returns where its weight is off, shape (cores, 1).
        """
        charge = circuits.thermal_charge_c(self.chip, getattr(self.capacitances_f, circuit))
        tau_a = self.bias(f"{prefix}_tau")
        tau_s = charge / tau_a
        nominal_tau = self.current[:, self.chip.bias_index(f"{prefix}_tau")][:, None]
        # Mismatch of the leak acts on tau and, through I_w / I_tau, on the full scale too.
        weight = self.bias(f"{prefix}_weight")
        full_a = np.maximum(0.0, self.bias(f"{prefix}_gain") * (weight / tau_a - 1.0))
        off = self.current[:, self.chip.bias_index(f"{prefix}_weight")][:, None] <= nominal_tau
        disabled = self.code_is_zero[:, self.chip.bias_index("ahp_enable")][:, None] & (prefix == "ahp")
        # A full scale below a femtoampere is nothing: mismatch can bring a weight that near to its leak.
        full_fa = np.where(off | disabled | self.dead, 0.0, full_a) / words.FEMTOAMPERE
        self.put(full, full_fa, f"{circuit} full scale (fA)", False)
        self.put(jump, (1.0 - portable_math.exp(-pulse_s / tau_s)) * words.ONE, f"{circuit} jump", ~off, 0.05)
        self.put(decay, (1.0 - portable_math.exp(-self.dt_s / tau_s)) * words.ONE, f"{circuit} decay")
        return np.asarray(off)

    def _pulse_steps(self, steps: FloatArray, needed: BoolArray) -> None:
        """Whole steps of every pulse; refuses a pulse that rounding changes by 5 % or more."""
        off = np.argwhere((np.abs(np.rint(steps) - steps) >= 0.05 * steps) & needed)
        if off.size:
            core, neuron = (int(i) for i in off[0])
            where = f"{core_name(self.config, core)} neuron {neuron}: pulse width"
            width, whole = float(steps[core, neuron]), round(float(steps[core, neuron]))
            used = f"{width * self.dt_s:.3g} s = {width:.2f} steps; {whole} would change it by {abs(whole / width - 1):.0%}"
            fix = "A width of ten steps or more always fits. Take a longer one, a shorter time step, or ideal pulses."
            raise BackendProblem("is too short for finite pulses", where=where, used=used, limit="below 5 %", fix=fix)
        for row in range(4):
            self.put(words.EVENT + row, steps, "pulse width in steps", needed)

    def _tables(self) -> Int32Array:
        """H = I_th / (I_mem + I_th), the positive feedback current, and the NMDA gate, at the middle of each table step."""
        constants = self.chip.constants
        v = (np.arange(words.TABLE_SIZE) + 0.5) * (words.V_RANGE / words.TABLE_SIZE)
        membrane_a = constants.leak_current_a.value * portable_math.exp(v)
        kappa = constants.kappa.value
        feedback_a = constants.leak_current_a.value * portable_math.exp(v * (kappa / (kappa + 1.0)))
        one = float(1 << words.GAIN_BITS)
        tables = np.zeros((self.cores, 3, words.TABLE_SIZE), dtype=np.int32)
        threshold = self.current[:, self.chip.bias_index("gain")][:, None]
        tables[:, 0] = np.rint(one * threshold / (membrane_a + threshold))
        feedback = np.rint(feedback_a / words.FEMTOAMPERE)
        if feedback.max() > words.FEEDBACK_MAX:
            used, limit = float(feedback.max()), words.FEEDBACK_MAX
            raise EmulatorOverflow("positive feedback does not fit its word (fA)", where="soma", used=used, limit=limit)
        tables[:, 1] = feedback
        gate_index = self.chip.bias_index("nmda_gate")
        gate_a = self.current[:, gate_index][:, None]
        gate = np.rint(one * membrane_a / (membrane_a + gate_a))
        tables[:, 2] = np.where(self.code_is_zero[:, gate_index][:, None], one, gate)
        return tables


def _log(factor: FloatArray) -> FloatArray:
    values, index = np.unique(factor, return_inverse=True)
    logs = np.array([portable_math.log(float(v)) for v in values])
    return np.asarray(logs[index.reshape(factor.shape)])
