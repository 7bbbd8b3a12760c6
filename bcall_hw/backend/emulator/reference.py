"""The scalar reference of the chip emulator, written from docs/emulator_specification.md alone.

Plain Python integers and floats, one word at a time, section by section as on that page. It is slow and meant to be read: the
fast implementations are compared with it by hash.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from decimal import Context, Decimal
from typing import NamedTuple

import numpy as np

from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BackendProblem, EmulatorOverflow, InvalidValue, StimulusProblem
from bcall_hw.stimulus import Stimulus

ONE = 2**24
LEAK_MAX = 2**30
SUM_MAX = 2**31 - 2**28 - 1
WORD_MAX = 2**31 - 1
VOLTAGE_MAX = 2**24 - 1
FEEDBACK_MAX = NOISE_MAX = 2**27
TABLE_LENGTH = 1024
#: Relative change by rounding from which on a pulse or its jump is refused.
ROUNDING_LIMIT = 0.05

#: First row of each kind of state word, the number of rows, and the largest value of each row.
V, REFRACTORY, I_SYN, I_AHP, PULSE, ROWS = 0, 1, 2, 6, 7, 11
ROW_NAMES = ("V", "REFRACTORY", *(f"I_SYN[{k}]" for k in range(4)), "I_AHP", *(f"PULSE[{k}]" for k in range(4)))
ROW_MAX = (VOLTAGE_MAX, WORD_MAX, *[WORD_MAX] * 9)

#: Synapse circuits in the order of the state words; in lists of DPI words the adaptation follows as number 4.
EFFECTS = ("excitatory", "gated", "shunting", "subtractive")
AHP = 4

#: Quantities with mismatch, in the order in which the stream is dealt out.
QUANTITIES = (
    "spike_threshold", "leak1", "leak2", "dc", "refractory", "pulse_width", "ahp_tau", "ahp_weight",
    "AMPA_tau", "NMDA_tau", "GABA_A_tau", "GABA_B_tau", "AMPA_weight", "NMDA_weight", "GABA_A_weight", "GABA_B_weight",
)  # fmt: skip

Event = tuple[int, int, int]  # chip id, core mask, tag


# Functions -----------------------------------------------------------------------------------------------------------


def rint(x: float) -> int:
    """The nearest whole number, ties to even."""
    return round(x)


def exp(x: float) -> float:
    """The exponential function, by sixteen terms of its series and ten squarings."""
    r = min(max(x, -700.0), 700.0) * 2.0**-10
    y = 1.0
    for k in range(16, 0, -1):
        y = 1.0 + y * (r / k)
    for _ in range(10):
        y = y * y
    return y


def ln(x: float) -> float:
    """The natural logarithm to 40 decimal digits, rounded once."""
    return float(Decimal(x).ln(Context(prec=40)))


def words(seed: int, stream: str, first: int, count: int) -> list[int]:
    """The 64-bit words number `first` to `first + count - 1` of a stream."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:16], "little")
    before = first % 4  # a counter stands for four words
    raw = np.random.Philox(key=key, counter=first // 4).random_raw(before + count)
    return [int(word) for word in raw[before:]]


def pieces(word: int) -> list[int]:
    """The four 16-bit pieces of a 64-bit word, lowest first."""
    return [word >> shift & 0xFFFF for shift in (0, 16, 32, 48)]


def factors(cv: float, seed: int, stream: str, first: int, count: int) -> list[float]:
    """The mismatch factors number `first` to `first + count - 1` of a stream."""
    if cv == 0:
        return [1.0] * count
    sigma = math.sqrt(ln(1.0 + cv * cv))
    raw = words(seed, stream, 3 * first, 3 * count)
    result = []
    for n in range(count):
        s = sum(sum(pieces(word)) for word in raw[3 * n : 3 * n + 3]) - 12 * 32768 + 6
        z = (s + 128) >> 8
        result.append(exp(sigma * (z / 256)))
    return result


def femtoampere(x: float) -> int:
    """A current in whole fA."""
    return rint(x / 1e-15)


def fitting(name: str, value: int, top: int, where: str, bottom: int = 0) -> int:
    """The value of a word, refused if it is outside the word's range."""
    if not bottom <= value <= top:
        fix = "Choose bias codes with currents that fit." if where else ""
        raise EmulatorOverflow(f"{name} does not fit its word", where=where, used=value, limit=f"{bottom} to {top}", fix=fix)
    return value


def rounded_off(exact: float) -> bool:
    """Whether rounding changes a value by as much as is refused."""
    return abs(rint(exact) - exact) >= ROUNDING_LIMIT * exact


# From registers to parameters ----------------------------------------------------------------------------------------


class NeuronWords(NamedTuple):
    """Parameters of one neuron; the DPI lists hold the four synapse types and then the adaptation."""

    leak: int
    dc: int
    v_spike: int
    refractory_steps: int
    full: list[int]
    jump: list[int]
    decay: list[int]
    event: list[int]


class CoreWords(NamedTuple):
    """Parameters and routes of one core."""

    h: list[int]
    feedback: list[int]
    gate: list[int]
    neurons: list[NeuronWords]
    listeners: dict[int, list[tuple[int, int, int]]]  # effective tag -> (neuron, type, event word) of the entries that hear it
    routes: list[list[Event]]  # of each neuron
    lost: int  # SRAM entries that lead nowhere
    saturated: bool  # a LEAK word saturates


class CoreBiases:
    """The bias codes of one core and their currents."""

    def __init__(self, chip: ChipModel, config: ChipConfig, chip_id: int, core: int) -> None:
        self.chip, self.where = chip, f"chip {chip_id} core {core}"
        self.codes = {b.role: config.bias(chip_id, core, b.role) for b in chip.biases if b.circuit != "monitor"}
        for role, code in self.codes.items():
            if not code.high:
                where, fix = f"{self.where}: {role}", "Set the range bit."
                raise BackendProblem("a bias with the low range bit is not modelled", where=where, fix=fix)

    def current(self, role: str) -> float:
        """I(role) in ampere."""
        code, table = self.codes[role], self.chip.current_table
        return max(self.chip.currents[code.coarse][code.fine] * table.unit_a, table.dark_current_a)

    def is_zero(self, role: str) -> bool:
        """Whether the fine code is 0."""
        return self.codes[role].fine == 0


class ReferenceBoard:
    """Emulated chips of one board.

    Attributes:
        rows: state words [core][row][neuron].
        pending: spikes delivered in the next step (chip id, core mask, tag), ascending.
        clock: steps run since power-on.
        lost: SRAM entries that lead off the board or to chips that are not emulated.
        saturated: (chip, core) with a LEAK word that saturates.
    """

    def __init__(self, chip: ChipModel, chips: tuple[int, ...], profile: BoardProfile, dt_us: int, finite_pulses: bool) -> None:
        if dt_us < 10 or 1000 % dt_us:
            raise InvalidValue("the time step must divide 1,000 us and be at least 10 us", where="dt_us", used=dt_us)
        g = chip.geometry
        self.chip, self.chips, self.profile = chip, tuple(sorted(chips)), profile
        self.dt_us, self.dt_s, self.finite_pulses = dt_us, dt_us * 1e-6, finite_pulses
        self.places = [(chip_id, core) for chip_id in self.chips for core in range(g.cores)]  # core index -> chip id, core
        self.rows = [[[0] * g.neurons for _ in range(ROWS)] for _ in self.places]
        self.pending: list[Event] = []
        self.clock, self.lost = 0, 0
        self.saturated: list[tuple[int, int]] = []
        names: dict[str, str] = {synapse.effect: synapse.name for synapse in chip.synapse_types}
        self.circuits = [names[effect] for effect in EFFECTS]
        self.type_of_code = {synapse.code: EFFECTS.index(synapse.effect) for synapse in chip.synapse_types}
        gain = rint(self.dt_s * 1e-15 / self._q("soma") * 2.0**36)
        self.gain = fitting("GAIN", gain, WORD_MAX, "soma", bottom=1)
        amp = rint(profile.noise_a * math.sqrt(1000.0 / dt_us) / 1e-15 * 65536.0 / 37837.0)
        self.amp = fitting("the noise's AMP", amp, NOISE_MAX, "noise_a")
        self._cores: list[CoreWords] = []

    def _q(self, c: str) -> float:
        """Q(c): charge drained in one time constant."""
        farad, constants = self._farad(c), self.chip.constants
        return farad * constants.thermal_voltage_v.value / constants.kappa.value

    def _t(self, c: str) -> float:
        """T(c): charge drained in one pulse or refractory period."""
        return self._farad(c) * self.chip.constants.inverter_threshold_v.value

    def _farad(self, c: str) -> float:
        """Capacitance of a circuit on this board."""
        scale = next((by for circuit, by in self.profile.capacitance_scale.items() if circuit == c), 1.0)
        return float(getattr(self.chip.capacitances_f, c)) * scale

    def apply(self, config: ChipConfig) -> None:
        """Take parameters and routes from registers; the state goes on.

        Raises:
            EmulatorOverflow: a word does not fit; nothing is changed.
            BackendProblem: something is not modelled, or lost by rounding; nothing is changed.
        """
        if config.chip != self.chip or config.chips != self.chips:
            raise BackendProblem("registers are for other chips", where="apply", used=config.chips, limit=self.chips)
        cores = [self._core_words(config, chip_id, core) for chip_id, core in self.places]
        self._check_sums(cores, self.rows)
        self._cores = cores
        self.lost = sum(core.lost for core in cores)
        self.saturated = [place for place, core in zip(self.places, cores, strict=True) if core.saturated]

    def restore(self, rows: list[list[list[int]]], pending: list[Event], clock: int) -> None:
        """Go back to a state.

        Raises:
            EmulatorOverflow: its currents could add up beyond 32 bits under the registers applied; nothing is changed.
        """
        self._check_sums(self._cores, rows)
        self.rows, self.pending, self.clock = rows, pending, clock

    def _check_sums(self, cores: list[CoreWords], rows: list[list[list[int]]]) -> None:
        """Refuse currents that could add up beyond 32 bits."""
        for (chip_id, core), words_of, state in zip(self.places, cores, rows, strict=True):
            for n, neuron in enumerate(words_of.neurons):
                reach = [max(state[I_SYN + k][n], neuron.full[k]) for k in range(5)]
                where = f"chip {chip_id} core {core} neuron {n}"
                fitting("DC + AMPA + NMDA", neuron.dc + reach[0] + reach[1], SUM_MAX, where)
                fitting("LEAK + GABA_A + AHP", neuron.leak + reach[2] + reach[AHP], SUM_MAX, where)

    def _core_words(self, config: ChipConfig, chip_id: int, core: int) -> CoreWords:
        g, biases, position = self.chip.geometry, CoreBiases(self.chip, config, chip_id, core), self.chips.index(chip_id)
        h, feedback, gate = self._tables(biases)
        first = [((q * g.chips + chip_id) * g.cores + core) * g.neurons for q in range(len(QUANTITIES))]
        cv, seed = self.profile.mismatch_cv, self.profile.seed
        mismatch = {q: factors(cv, seed, "mismatch", n, g.neurons) for q, n in zip(QUANTITIES, first, strict=True)}
        for quantity, scale in self.profile.current_scale.items():
            mismatch[quantity] = [f * scale for f in mismatch[quantity]]
        for c, k, n, quantity, factor in self.profile.odd_currents:
            if (c, k) == (chip_id, core):
                mismatch[quantity][n] *= factor
        dead = {n for c, k, n in self.profile.dead_neurons if (c, k) == (chip_id, core)}
        neurons, saturated = [], False
        for n in range(g.neurons):
            f = {quantity: mismatch[quantity][n] for quantity in QUANTITIES}
            second_leak = bool(config.tau2[position, core, n])
            neuron, saturates = self._neuron_words(biases, f, second_leak, n in dead, f"{biases.where} neuron {n}")
            neurons.append(neuron)
            saturated = saturated or saturates
        listeners = self._listeners(config, chip_id, core, neurons)
        routes, lost = self._routes(config, chip_id, core)
        return CoreWords(h, feedback, gate, neurons, listeners, routes, lost, saturated)

    def _neuron_words(
        self, biases: CoreBiases, f: dict[str, float], second_leak: bool, dead: bool, where: str
    ) -> tuple[NeuronWords, bool]:
        """The parameters of one neuron, and whether its LEAK saturates."""
        current, constants = biases.current, self.chip.constants
        leaks = [femtoampere(current(role) * f[role]) for role in ("leak1", "leak2")]
        natural_leak = leaks[1] if second_leak else leaks[0]
        dc = femtoampere(current("dc") * f["dc"])
        threshold_ratio = constants.spike_threshold_a.value / constants.leak_current_a.value
        v_spike = rint((ln(threshold_ratio) + ln(f["spike_threshold"])) * 2.0**20)
        refractory_s = self._t("refractory") / (current("refractory") * f["refractory"])
        refractory_steps = rint(refractory_s / self.dt_s)
        pulse_s = self._t("pulse") / (current("pulse_width") * f["pulse_width"])
        full, jump, decay, synapse_on = [], [], [], False
        for k, name in enumerate([*self.circuits, "AHP"]):
            role = "ahp" if k == AHP else name
            i_tau = current(f"{role}_tau") * f[f"{role}_tau"]
            tau_s = self._q(name) / i_tau
            weight, gain = current(f"{role}_weight"), current(f"{role}_gain")
            on = weight > current(f"{role}_tau")
            full_a = max(0.0, gain * (weight * f[f"{role}_weight"] / i_tau - 1.0))
            enabled = on and not (k == AHP and biases.is_zero("ahp_enable")) and not dead
            full.append(femtoampere(full_a) if enabled else 0)
            exact_jump = (1.0 - exp(-pulse_s / tau_s)) * float(ONE)
            jump.append(rint(exact_jump))
            decay.append(rint((1.0 - exp(-self.dt_s / tau_s)) * float(ONE)))
            synapse_on = synapse_on or (on and k != AHP)
            fitting(f"FULL of {name}", full[k], WORD_MAX, where)
            if decay[k] == 0:
                raise BackendProblem(f"the decay of {name} rounds to 0; time constant (s)", where=where, used=tau_s)
            if on and rounded_off(exact_jump):
                raise BackendProblem(f"the jump of {name} is too small for its word", where=where, used=exact_jump)
        if refractory_steps == 0:
            raise BackendProblem("the refractory period (s) rounds to 0 steps", where=where, used=refractory_s)
        if self.finite_pulses and synapse_on and rounded_off(pulse_s / self.dt_s):
            raise BackendProblem("rounding to steps changes the pulse width (s) too much", where=where, used=pulse_s)
        pulse_steps = fitting("the pulse width in steps", rint(pulse_s / self.dt_s), WORD_MAX, where)
        neuron = NeuronWords(
            leak=LEAK_MAX if dead else min(natural_leak, LEAK_MAX),
            dc=fitting("DC", 0 if dead else dc, WORD_MAX, where),
            v_spike=fitting("V_SPIKE", v_spike, VOLTAGE_MAX, where, bottom=1),
            refractory_steps=fitting("REFRACTORY_STEPS", refractory_steps, WORD_MAX, where),
            full=full, jump=jump, decay=decay,
            event=[pulse_steps] * len(EFFECTS) if self.finite_pulses else jump[:AHP],
        )  # fmt: skip
        return neuron, natural_leak > LEAK_MAX and not dead

    def _tables(self, biases: CoreBiases) -> tuple[list[int], list[int], list[int]]:
        """The look-up tables H, FEEDBACK and GATE of one core."""
        i_0, kappa = self.chip.constants.leak_current_a.value, self.chip.constants.kappa.value
        i_gain, i_gate, gating = biases.current("gain"), biases.current("nmda_gate"), not biases.is_zero("nmda_gate")
        h, feedback, gate = [], [], []
        for j in range(TABLE_LENGTH):
            v = (j + 0.5) * (16 / 1024)
            i_mem = i_0 * exp(v)
            h.append(rint(65536.0 * i_gain / (i_mem + i_gain)))
            feedback.append(rint(i_0 * exp(v * (kappa / (kappa + 1.0))) / 1e-15))
            gate.append(rint(65536.0 * i_mem / (i_mem + i_gate)) if gating else 65536)
        fitting("table FEEDBACK", max(feedback), FEEDBACK_MAX, biases.where)
        return h, feedback, gate

    def tables_sha256(self, core: int) -> str:
        """Hash of the look-up tables of one core."""
        tables = self._cores[core].h + self._cores[core].feedback + self._cores[core].gate
        return hashlib.sha256(b"".join(word.to_bytes(4, "little") for word in tables)).hexdigest()

    # Routing ---------------------------------------------------------------------------------------------------------

    def _listeners(
        self, config: ChipConfig, chip_id: int, core: int, neurons: list[NeuronWords]
    ) -> dict[int, list[tuple[int, int, int]]]:
        """Effective tag -> (neuron, synapse type, event word) of each live CAM entry of one core."""
        g, profile, entries = self.chip.geometry, self.profile, self.chip.cam.entries
        dead = {(n, e) for c, k, n, e in profile.dead_cam if (c, k) == (chip_id, core)}
        stuck: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for c, k, n, e, bit, value in profile.stuck_tag_bits:
            if (c, k) == (chip_id, core):
                stuck.setdefault((n, e), []).append((bit, value))
        first = (chip_id * g.cores + core) * g.neurons * entries
        mismatch = factors(profile.cam_mismatch_cv, profile.seed, "mismatch/cam", first, g.neurons * entries)
        registers = config.cam[self.chips.index(chip_id), core].tolist()
        listeners: dict[int, list[tuple[int, int, int]]] = {}
        for n in range(g.neurons):
            for e in range(entries):
                if (n, e) in dead:
                    continue
                source_core, source_neuron, type_code = registers[n][e]
                tag, k = source_core * g.neurons + source_neuron, self.type_of_code[type_code]
                for bit, value in stuck.get((n, e), ()):
                    tag = tag | 1 << bit if value else tag & ~(1 << bit)
                event = neurons[n].event[k]
                if profile.cam_mismatch_cv != 0:
                    own = rint(event * mismatch[n * entries + e])
                    event = max(1, own) if self.finite_pulses else min(ONE, own)
                    fitting("the pulse width in steps", event, WORD_MAX, f"chip {chip_id} core {core} neuron {n} CAM {e}")
                listeners.setdefault(tag, []).append((n, k, event))
        return listeners

    def _routes(self, config: ChipConfig, chip_id: int, core: int) -> tuple[list[list[Event]], int]:
        """The events that a spike of each neuron sends, and how many SRAM entries lead nowhere."""
        g, registers = self.chip.geometry, config.sram[self.chips.index(chip_id), core]
        routes: list[list[Event]] = [[] for _ in range(g.neurons)]
        lost = 0
        for n in range(g.neurons):
            for entry in registers[n]:
                mask, virtual_core = int(entry["core_mask"]), int(entry["virtual_core"])
                if mask == 0:
                    continue
                east = -int(entry["dx"]) if entry["sx"] else int(entry["dx"])
                north = -int(entry["dy"]) if entry["sy"] else int(entry["dy"])
                column, row = chip_id % g.chip_columns + east, chip_id // g.chip_columns - north
                target = row * g.chip_columns + column
                if 0 <= column < g.chip_columns and target in self.chips:
                    routes[n].append((target, mask, virtual_core * g.neurons + n))
                else:
                    lost += 1
        return routes, lost

    # Events in -------------------------------------------------------------------------------------------------------

    def _stimulus_events(self, stimulus: Stimulus, n_steps: int) -> dict[int, list[Event]]:
        """The list's events of each step of the run."""
        ticks_per_step = rint(self.chip.stimulus.clock_hz * self.dt_us * 1e-6)
        events: dict[int, list[Event]] = {}
        intervals = 0
        for index, event in enumerate(stimulus.events):
            intervals += int(event["isi"])
            step = stimulus.isi_base * intervals // ticks_per_step
            chip_id, mask, tag = int(event["chip"]), int(event["core_mask"]), int(event["tag"])
            where = f"stimulus event {index}"
            if step >= n_steps:
                raise StimulusProblem("event after the end of the run (step)", where=where, used=step, limit=n_steps - 1)
            if chip_id not in self.chips:
                raise StimulusProblem("event for a chip that is not emulated", where=where, used=chip_id, limit=self.chips)
            if mask == 0:
                raise StimulusProblem("event reaches no core", where=where, used="core mask 0", fix="Set the core mask.")
            events.setdefault(step, []).append((chip_id, mask, tag))
        return events

    def _poisson_events(self, stimulus: Stimulus, n_steps: int) -> dict[int, list[Event]]:
        """The Poisson sources' events of each step of the run."""
        step_hz = self.chip.poisson.step_hz
        events: dict[int, list[Event]] = {}
        for tag, wish in enumerate(stimulus.poisson_rates_hz):
            rate_hz = math.floor(float(wish) / step_hz + 1e-9) * step_hz
            if rate_hz <= 0:
                continue
            where = f"Poisson source {tag}"
            if stimulus.poisson_chip not in self.chips:
                raise StimulusProblem("source for a chip that is not emulated", where=where, used=stimulus.poisson_chip)
            m = rate_hz * self.dt_s
            t, total, thresholds = 1.0, 0.0, []
            for k in range(16):
                t = t * m / k if k else 1.0
                total = total + t
                c = total * exp(-m)
                thresholds.append(math.floor(c * 2.0**32))
            if 1.0 - c > 2.0**-32:
                raise BackendProblem("rate (Hz) too high for the time step", where=where, used=rate_hz)
            for step, word in enumerate(words(self.profile.seed, f"poisson/{tag}", self.clock, n_steps)):
                u = word >> 32
                n = sum(threshold <= u for threshold in thresholds)
                if n:
                    event = (stimulus.poisson_chip, stimulus.poisson_core_mask, tag)
                    events.setdefault(step, []).extend([event] * n)
        return events

    # One step --------------------------------------------------------------------------------------------------------

    def run(
        self,
        stimulus: Stimulus,
        n_steps: int,
        probe_row: int = -1,
        probe_every: int = 0,
        report: Callable[[int, int], None] | None = None,
    ) -> tuple[list[tuple[int, int, int]], list[list[list[int]]]]:
        """Run some steps.

        Args:
            stimulus: what the FPGA plays.
            n_steps: how many steps.
            probe_row: the state row to look at.
            probe_every: steps from look to look; 0 for none.
            report: called after each step with (steps done, steps).

        Returns:
            Spikes (step within the run, core index, neuron), ascending, and the looks [look][core][neuron].

        Raises:
            StimulusProblem: an event that cannot be played.
            BackendProblem: no registers yet, a Poisson rate too high, a run too long.
        """
        longest_us = self.chip.timestamps.max_us
        if not self._cores:
            raise BackendProblem("registers have to be applied before a run", where="run")
        if n_steps * self.dt_us > longest_us:
            raise BackendProblem("the run is too long (us)", where="run", used=n_steps * self.dt_us, limit=longest_us)
        listed, poisson = self._stimulus_events(stimulus, n_steps), self._poisson_events(stimulus, n_steps)
        spikes: list[tuple[int, int, int]] = []
        looks: list[list[list[int]]] = []
        for step in range(n_steps):
            spikes += [(step, c, n) for c, n in self._step(listed.get(step, []) + poisson.get(step, []))]
            if probe_every > 0 and (step + 1) % probe_every == 0:
                looks.append([list(rows[probe_row]) for rows in self.rows])
            if report:
                report(step + 1, n_steps)
        return spikes, looks

    def _step(self, events: list[Event]) -> list[tuple[int, int]]:
        """One step; the neurons that fired as (core index, neuron), ascending."""
        d = (self.clock * 10368889) % ONE
        self._deliver(events + self.pending, d)
        fired: list[tuple[int, int]] = []
        for c, (core, rows) in enumerate(zip(self._cores, self.rows, strict=True)):
            noise = self._noise(*self.places[c])
            for n, neuron in enumerate(core.neurons):
                if self._integrate(core, neuron, rows, n, noise[n], d):
                    fired.append((c, n))
                self._decay(neuron, rows, n, d)
        self.pending = sorted(event for c, n in fired for event in self._cores[c].routes[n])
        self.clock = fitting("the clock", self.clock + 1, 2**64 - 1, "")
        return fired

    def _deliver(self, events: list[Event], d: int) -> None:
        n_cores = self.chip.geometry.cores
        combine: Callable[[int, int], int] = max if self.finite_pulses else int.__add__
        reached: dict[tuple[int, int, int], int] = {}  # core index, neuron, type -> event words combined
        for chip_id, mask, tag in events:
            for core in range(n_cores):
                if mask >> core & 1:
                    c = self.chips.index(chip_id) * n_cores + core
                    for n, k, event in self._cores[c].listeners.get(tag, ()):
                        reached[c, n, k] = combine(reached.get((c, n, k), 0), event)
        for (c, n, k), combined in reached.items():
            rows = self.rows[c]
            if self.finite_pulses:
                _store(rows, PULSE + k, n, max(rows[PULSE + k][n], combined))
            else:
                s, i_syn = min(combined, ONE), rows[I_SYN + k][n]
                if s > 0:
                    _store(rows, I_SYN + k, n, i_syn + ((s * (self._cores[c].neurons[n].full[k] - i_syn) + d) >> 24))

    def _noise(self, chip_id: int, core: int) -> list[int]:
        """NOISE of each neuron of a core in this step."""
        neurons = self.chip.geometry.neurons
        if self.amp == 0:
            return [0] * neurons
        per_step = (neurons + 3) // 4
        raw = words(self.profile.seed, f"noise/{chip_id}/{core}", self.clock * per_step, per_step)
        return [((2 * u - 65535) * self.amp + 2**15) >> 16 for word in raw for u in pieces(word)][:neurons]

    def _integrate(self, core: CoreWords, p: NeuronWords, rows: list[list[int]], n: int, noise: int, d: int) -> bool:
        """Step 2 for one neuron; whether it fired."""
        v, refractory, i_ahp = rows[V][n], rows[REFRACTORY][n], rows[I_AHP][n]
        ampa, nmda, gaba_a, gaba_b = (rows[I_SYN + k][n] for k in range(4))
        j = v >> 14
        gated = (nmda * core.gate[j]) >> 16
        drive = max(0, p.dc + ampa + gated - gaba_b)
        net = ((drive * core.h[j]) >> 16) - p.leak - gaba_a - i_ahp + core.feedback[j] + noise
        if drive > WORD_MAX or not -WORD_MAX - 1 <= net <= WORD_MAX:
            raise EmulatorOverflow("drive or net current does not fit 32 bits", where=f"neuron {n}", used=(drive, net))
        raised = max(0, v + ((net * self.gain + 2**15) >> 16))
        fired = refractory == 0 and raised >= p.v_spike
        _store(rows, V, n, 0 if fired or refractory > 0 else raised)
        _store(rows, REFRACTORY, n, p.refractory_steps if fired else max(0, refractory - 1))
        if fired:
            _store(rows, I_AHP, n, i_ahp + ((p.jump[AHP] * (p.full[AHP] - i_ahp) + d) >> 24))
        return fired

    def _decay(self, p: NeuronWords, rows: list[list[int]], n: int, d: int) -> None:
        """Step 3 for one neuron."""
        i_ahp = rows[I_AHP][n]
        _store(rows, I_AHP, n, i_ahp - ((i_ahp * p.decay[AHP] + d) >> 24))
        for k in range(4):
            i_syn, pulse = rows[I_SYN + k][n], rows[PULSE + k][n]
            if pulse > 0:
                _store(rows, I_SYN + k, n, i_syn + ((p.decay[k] * (p.full[k] - i_syn) + d) >> 24))
            else:
                _store(rows, I_SYN + k, n, i_syn - ((i_syn * p.decay[k] + d) >> 24))
            _store(rows, PULSE + k, n, max(0, pulse - 1))

    def state_sha256(self) -> str:
        """Hash of the state."""
        state = hashlib.sha256()
        for core in self.rows:
            for row in core:
                state.update(b"".join(word.to_bytes(4, "little") for word in row))
        for event in sorted(self.pending):
            state.update(b"".join(number.to_bytes(4, "little") for number in event))
        state.update(self.clock.to_bytes(8, "little"))
        return state.hexdigest()


def _store(rows: list[list[int]], row: int, neuron: int, value: int) -> None:
    """Write a state word, checked against its range."""
    if not 0 <= value <= ROW_MAX[row]:
        where, limit = f"{ROW_NAMES[row]} of neuron {neuron}", ROW_MAX[row]
        raise EmulatorOverflow("a state word does not fit", where=where, used=value, limit=limit)
    rows[row][neuron] = value
