"""The rule on emulated circuits: every trace is the current of a DPI synapse on the emulated chip.

A trace is the synaptic current over its nominal full scale. A real chip does not show these currents to the host: this is what
comparators on the chip would see. Thresholds, hidden weight and gate are computed from these readings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray, Int32Array, IntArray
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.calibration import load_calibration
from bcall_hw.chip_model import DEFAULT_CHIP, ChipModel, SynapseType, load_chip
from bcall_hw.errors import CurrentOutOfRange, InvalidValue
from bcall_hw.experiments.figures.trains import Pairs
from bcall_hw.mapper import map_network
from bcall_hw.network import Connection, Input, Network, NeuronParameters, OneToOne, Population, SynapseParameters
from bcall_hw.rule.engine import drifted_weights
from bcall_hw.rule.parameters import RuleParameters
from bcall_hw.trace_circuit import TraceOnCircuit, TraceTarget, on_one_core, rule_traces

_FULL_SCALE_A = 1e-9  # of every trace; far above the gain current, where the DPI is linear
_SPAN_US = 100_000  # of one run: the stimulus memory of the chip is small


@dataclass(frozen=True)
class Board:
    """The emulated board of the figures."""

    chip: str = DEFAULT_CHIP
    seed: int = 0
    mismatch_cv: float = 0.0
    pulses: Literal["ideal", "finite"] = "ideal"
    dt_us: int = 100


@dataclass(frozen=True, eq=False)
class Readings:
    """The traces of all pairs at the pairs' own spikes; shape (spikes,) each, in the order of the pairs' spikes.

    Attributes:
        x_i: at post spikes, at the end of their step.
        x_j: at pre spikes, at the end of the step before: a pre spike comes before a post spike of the same step.
        x_s_pre, x_s_post: x_s at pre spikes as x_j, at post spikes as x_i; None without stop-learning.
        course: the first pair's traces at the end of every step, by name.
    """

    x_i: FloatArray
    x_j: FloatArray
    x_s_pre: FloatArray | None
    x_s_post: FloatArray | None
    course: Mapping[str, FloatArray]


def why_not_held(traces: Mapping[str, TraceTarget], chip_name: str) -> str:
    """Why the chip cannot hold one of the traces alone on a core (a = 1 needs an endless pulse); empty if it can."""
    chip = load_chip(chip_name)
    try:
        for name, target in traces.items():
            on_one_core({name: target}, chip, load_calibration(chip), [_synapse(chip)])
    except (InvalidValue, CurrentOutOfRange) as problem:
        return f"No emulated circuit: {problem}"
    return ""


def _synapse(chip: ChipModel) -> SynapseType:
    return next(cast("SynapseType", t.name) for t in chip.synapse_types if t.effect == "excitatory")


class EmulatedTraces:
    """Bounded traces of `n` neurons each on one emulated board; the first is driven by "pre", the others by "post".

    Args:
        traces: wanted traces by name; each gets cores of its own, because a core has one pulse width.
        n: neurons of each trace.
        board: which board.

    Attributes:
        held: what the codes give, by trace.

    Raises:
        InvalidValue, CurrentOutOfRange: a trace that the chip cannot hold. NetworkDoesNotFit: too many neurons.
    """

    def __init__(self, traces: Mapping[str, TraceTarget], n: int, board: Board) -> None:
        self.dt_us, chip = board.dt_us, load_chip(board.chip)
        calibration = load_calibration(chip)
        self._synapse = _synapse(chip)
        self.held: dict[str, TraceOnCircuit] = {
            name: on_one_core({name: target}, chip, calibration, [self._synapse])[0] for name, target in traces.items()
        }
        cores = -(-n // chip.geometry.neurons) * len(traces)
        chips = range(min(chip.geometry.chips, -(-cores // chip.geometry.cores)))
        mapped = map_network(self._network(n), chip, chips)
        self._stimulus = mapped.stimulus
        self._full_fa: dict[str, float] = {}
        self._places: dict[str, tuple[IntArray, IntArray]] = {}
        for name, rows in mapped.addresses.items():
            chosen = {c.quantity: c.predicted for c in mapped.biases[int(rows[0, 0]), int(rows[0, 1])]}
            self._full_fa[name] = chosen[f"{self._synapse}.weight_a"] / self.held[name].a * 1e15
            block = np.searchsorted(mapped.config.chips, rows[:, 0]) * chip.geometry.cores + rows[:, 1]
            self._places[name] = (block, rows[:, 2])
        profile = BoardProfile(seed=board.seed, mismatch_cv=board.mismatch_cv)
        self._emulator = Emulator(chip, mapped.config.chips, profile, dt_us=board.dt_us, pulses=board.pulses)
        self._emulator.apply(mapped.config)

    def _network(self, n: int) -> Network:
        populations, connections = [], []
        for k, (name, held) in enumerate(self.held.items()):
            synapse = SynapseParameters(tau_s=held.tau_s, weight_a=_FULL_SCALE_A * held.a)
            # The soma has no part in this: a strong leak and a small gain keep it from firing much.
            neuron = NeuronParameters(
                tau_s=1e-3, refractory_s=5e-3, gain_a=1e-11, pulse_width_s=held.pulse_s, synapses={self._synapse: synapse}
            )
            populations.append(Population(name=name, size=n, neuron=neuron))
            source = "post" if k else "pre"
            connections.append(
                Connection(name=f"to_{name}", source=source, target=name, synapse=self._synapse, rule=OneToOne())
            )
        inputs = [Input(name=name, size=n) for name in ("pre", "post")][: len(self.held)]
        return Network(inputs=inputs, populations=populations, connections=connections)

    def spans(self, pairs: Pairs) -> Iterator[tuple[int, dict[str, FloatArray]]]:
        """Play trains; for each span of the run its first step and every trace, shape (steps, n), at the end of each step."""
        unit = self.dt_us * 1e-6
        n_steps = round(pairs.duration_s / unit)
        inputs: dict[str, tuple[IntArray, IntArray]] = {"pre": (pairs.pre_ids, np.rint(pairs.pre_s / unit).astype(np.int64))}
        if len(self.held) > 1:
            inputs["post"] = (pairs.post_ids, np.rint(pairs.post_s / unit).astype(np.int64))
        last = max((int(at.max()) for _, at in inputs.values() if at.size), default=0)
        if last >= n_steps:
            raise InvalidValue("spikes after the end", where="emulated traces", used=last, limit=n_steps - 1)
        span = _SPAN_US // self.dt_us
        for first in range(0, n_steps, span):
            steps = min(span, n_steps - first)
            trains: dict[str, tuple[IntArray, FloatArray]] = {}
            for name, (ids, at) in inputs.items():
                inside = (at >= first) & (at < first + steps)
                trains[name] = (ids[inside], _middles_us(at[inside] - first, self.dt_us))
            _, currents = self._emulator.run_probed(self._stimulus(trains), steps * unit, self._synapse)
            yield first, {name: self._trace(name, currents) for name in self.held}

    def _trace(self, name: str, currents: Int32Array) -> FloatArray:
        block, neuron = self._places[name]
        return np.asarray(currents[:, block, neuron] / self._full_fa[name])


def _middles_us(steps: IntArray, dt_us: int) -> FloatArray:
    """Times in the middle of steps, away from their edges (us)."""
    return steps.astype(np.float64) * dt_us + dt_us / 2


def emulated_readings(parameters: RuleParameters, pairs: Pairs, board: Board) -> Readings:
    """Play pairs on one emulated board and read their traces at their spikes."""
    traces = rule_traces(parameters)
    on_board = EmulatedTraces(traces, pairs.n, board)
    unit = board.dt_us * 1e-6
    pre, post = (np.rint(times / unit).astype(np.int64) for times in (pairs.pre_s, pairs.post_s))
    read = {("x_i", "post"): np.zeros(post.size)} | {(x, "pre"): np.zeros(pre.size) for x in traces if x != "x_i"}
    if "x_s" in traces:
        read["x_s", "post"] = np.zeros(post.size)
    before = {name: np.zeros((1, pairs.n)) for name in traces}
    course: dict[str, list[FloatArray]] = {name: [] for name in traces}
    for first, found in on_board.spans(pairs):
        for (name, side), values in read.items():
            trace = np.concatenate([before[name], found[name]])  # row k: at the end of step first + k - 1
            steps, ids = (pre, pairs.pre_ids) if side == "pre" else (post, pairs.post_ids)
            inside = (steps >= first) & (steps < first + len(found[name]))
            values[inside] = trace[steps[inside] - first + (side == "post"), ids[inside]]
        for name, trace in found.items():
            before[name] = trace[-1:]
            course[name].append(trace[:, 0].copy())
    return Readings(
        read["x_i", "post"], read["x_j", "pre"], read.get(("x_s", "pre")), read.get(("x_s", "post")),
        {name: np.concatenate(parts) for name, parts in course.items()},
    )  # fmt: skip


def changes_from_readings(
    p: RuleParameters, pairs: Pairs, read: Readings, w_hid: float = 0.5
) -> tuple[FloatArray, list[tuple[float, float]]]:
    """The rule on traces that were read: the change of each hidden weight, and the first pair's (s, w_hid) at its spikes."""
    is_post = np.concatenate([np.zeros(pairs.pre_s.size, dtype=bool), np.ones(pairs.post_s.size, dtype=bool)])
    times, ids = np.concatenate([pairs.pre_s, pairs.post_s]), np.concatenate([pairs.pre_ids, pairs.post_ids])
    x_i, x_j = np.concatenate([np.zeros(pairs.pre_s.size), read.x_i]), np.concatenate([read.x_j, np.zeros(pairs.post_s.size)])
    is_open: BoolArray = pairs.learning(times, ids)
    if p.stop_learning and read.x_s_pre is not None and read.x_s_post is not None:
        x_s = np.concatenate([read.x_s_pre, read.x_s_post])
        is_open &= (p.stop_learning.theta_lo < x_s) & (x_s < p.stop_learning.theta_hi)
    depress = (x_i < p.theta_i) & ((x_i > 0.0) | (not p.gate_silent_pre))
    jumps = np.where(is_post, p.c_p * x_i + np.where(depress, p.c_d2, 0.0), np.where(x_j > p.theta_j, p.c_d1, 0.0)) * is_open
    order = np.lexsort((is_post, times, ids))
    ids, times, jumps = ids[order], times[order], jumps[order]
    rank = np.arange(ids.size) - np.searchsorted(ids, ids)  # number of the spike within its pair
    w, since, course = np.full(pairs.n, w_hid), np.zeros(pairs.n), [(0.0, w_hid)]
    for k in range(int(rank.max(initial=-1)) + 1):
        now = rank == k
        who = ids[now]
        w[who] = np.clip(drifted_weights(p, w[who], times[now] - since[who]) + jumps[now], 0.0, 1.0)
        since[who] = times[now]
        if who.size and who[0] == 0:
            course.append((float(times[now][0]), float(w[0])))
    return drifted_weights(p, w, pairs.duration_s - since) - w_hid, course


def emulated_changes(parameters: RuleParameters, pairs: Pairs, board: Board, w_hid: float = 0.5) -> FloatArray:
    """Change of each pair's hidden weight on emulated traces; many pairs take several boards, each with its own seed."""
    on_grid, most = pairs.on_grid(board.dt_us), most_pairs(load_chip(board.chip))
    changes = np.zeros(pairs.n)
    for number, first in enumerate(range(0, pairs.n, most)):
        ids = np.arange(first, min(first + most, pairs.n))
        part = on_grid.part(ids)
        this = replace(board, seed=board.seed + number)
        changes[ids] = changes_from_readings(parameters, part, emulated_readings(parameters, part, this), w_hid)[0]
    return changes


def most_pairs(chip: ChipModel) -> int:
    """How many pairs one board takes: an FPGA source for each neuron."""
    return (chip.stimulus.sources - 2 * len(chip.tags.reserved)) // 2
