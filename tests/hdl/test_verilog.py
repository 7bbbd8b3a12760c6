"""Verilog of the emulator's and the rule's words, against the pages that specify them and against the product.

The modules are written from the pages, with the widths that the pages state. Every test compares all words after every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from math import floor
from pathlib import Path
from typing import Any, Literal

import hdl_spec as spec
import numpy as np
import pytest
from emulator_helpers import Board, events, random_biases, started
from hdl_tools import simulate

from bcall_hw.rule.fixed_engine import FixedPointEngine
from bcall_hw.rule.parameters import RuleParameters, preset

ONE = spec.ONE
BOTH_PULSES = pytest.mark.parametrize("pulses", ["ideal", "finite"])
Vector = tuple[int, ...]


def corner(rng: np.random.Generator, largest: int) -> int:
    """A number from 0 to `largest`: an end, a power of two, one beside it, or anything."""
    kind, power = int(rng.integers(0, 6)), 1 << int(rng.integers(0, max(1, largest.bit_length())))
    anything = int(rng.integers(0, largest + 1)) >> int(rng.integers(0, max(1, largest.bit_length())))
    return min((0, largest, power, power - 1, power + 1, anything)[kind], largest)


def two_corners(rng: np.random.Generator, total: int, floors: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Two corners a, b with max(a, floor) + max(b, floor) <= total, which either of them may fill up."""
    first = int(rng.integers(0, 2))
    one = corner(rng, total - floors[1 - first])
    other = corner(rng, total - max(one, floors[first]))
    return (other, one) if first else (one, other)


def dither(clock: int) -> int:
    return clock * spec.GOLDEN % ONE


# Against the emulator's page ------------------------------------------------------------------------------------------


@BOTH_PULSES
def test_dpi_word_follows_the_page(pulses: str, tmp_path: Path) -> None:
    rng, finite = np.random.default_rng(11), pulses == "finite"
    vectors: list[Vector] = []
    expected = []
    i = pulse = full = fraction = d = 0
    top = spec.CURRENT_MAX
    ends = list(product((0, 1, top - 1, top), (0, 1, top - 1, top), (0, 1, ONE - 1, ONE), (0, ONE - 1), (0, 1)))
    for step in range(7000):
        if step < len(ends):  # every end of every range against every other, charged and decayed
            i, full, fraction, d, on = ends[step]
            pulse = on * finite
            vectors += [(0, i, pulse, d), (1, full, fraction, finite)]
        elif step % 3 == 0:  # two thirds of the steps go on from the words of the step before
            i, pulse = corner(rng, spec.CURRENT_MAX), corner(rng, 2**31 - 1) if finite else 0
            d = (0, ONE - 1, corner(rng, ONE - 1))[step // 3 % 3]
            vectors.append((0, i, pulse, d))
        if step >= len(ends) and step % 7 == 0:  # FULL jumps too, often below I
            full, fraction = corner(rng, spec.CURRENT_MAX), corner(rng, ONE)
            vectors.append((1, full, fraction, finite))
        heard = [corner(rng, 2**31 - 1 if finite else ONE) for _ in range(rng.choice([0, 1, 2, 12]))]
        if step < len(ends):
            heard = [fraction] * (on and not finite)
        vectors += [(2, e) for e in heard] + [(3,)]
        delivered, pulse = spec.deliver(i, pulse, heard, full, d, finite)
        i, pulse = spec.decay(delivered, pulse, full, fraction, d)
        assert 0 <= i <= spec.CURRENT_MAX
        d = (d + spec.GOLDEN) % ONE
        expected.append((delivered, i, pulse, d))
    assert simulate("dpi", vectors, tmp_path, columns=4) == expected


def write_tables(core: spec.Core, folder: Path) -> None:
    for name in ("h", "feedback", "gate"):
        (folder / f"{name}.hex").write_text("\n".join(f"{word:x}" for word in getattr(core, name)))


def soma_setting(core: spec.Core, leak: int) -> Vector:
    ahp = core.ahp
    return (1, core.dc, leak, core.v_spike, core.refractory_steps, ahp.jump, ahp.full, ahp.decay, core.gain)


def test_soma_words_follow_the_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)

    def table(largest: int) -> tuple[int, ...]:
        return tuple(corner(rng, largest) for _ in range(1024))

    vectors: list[Vector] = []
    expected = []
    h, feedback, gate = table(65536), table(spec.FEEDBACK_MAX), table(65536)
    state, d, fired = (0, 0, 0), 0, 0
    for step in range(6000):
        if step % 50 == 0:
            dc, leak, v_spike = corner(rng, spec.SUM_MAX), corner(rng, spec.LEAK_MAX), max(1, corner(rng, ONE - 1))
            ahp = spec.Dpi(corner(rng, spec.SUM_MAX - leak), corner(rng, ONE), corner(rng, ONE), 0.0, 0.0)
            gain, pause = corner(rng, 2**31 - 1) * (step % 100 == 0), corner(rng, 6)
            core = spec.Core((leak, leak), dc, v_spike, pause, gain, 0.0, 0, (ahp,) * 4, ahp, h, feedback, gate)
            vectors.append(soma_setting(core, leak))
        if step % 5 == 0:
            state, d = (corner(rng, ONE - 1), corner(rng, 2**31 - 1), corner(rng, spec.SUM_MAX - leak)), corner(rng, ONE - 1)
            state = (state[0], state[1] * (step % 10 == 0), state[2])  # half of them not refractory
            if step % 100 == 55:  # GAIN is 0: V stays at the threshold, or one below it
                state = (v_spike - step // 100 % 2, *state[1:])
            vectors.append((0, *state, d))
        shunting = corner(rng, spec.SUM_MAX - leak - max(state[2], ahp.full))
        synapses = [*two_corners(rng, spec.SUM_MAX - dc), shunting, corner(rng, spec.CURRENT_MAX) * (step % 4 > 0)]
        noise = spec.noise_of(corner(rng, 65535), corner(rng, spec.AMP_MAX) * (step % 3 > 0))
        vectors.append((3, *synapses, noise))
        *words, fired = spec.integrate(state, synapses, leak, core, d, noise)
        state = (words[0], words[1], words[2])
        d = (d + spec.GOLDEN) % ONE
        expected.append((*state, fired, d))
    write_tables(core, tmp_path)
    assert simulate("soma", vectors, tmp_path, columns=9) == expected
    assert 500 < sum(row[3] for row in expected) < 5500


#: The ends of the sum behind `drive` and of `net`, by the limits of the page's section "Refused".
DRIVEN = (-(2**31 - 1), 2**31 - 2**28 - 1)
NET = (-(2**31 - 2**28 - 1) - 2**27 + 2**11, (2**31 - 2**28 - 1) + 2**27 + 2**27 - 2**11)
#: Three parts that fill a sum: one alone, two, or all three, in every order; 2^30 is LEAK at its limit.
SHARES = [(a, b, spec.SUM_MAX - a - b) for a in (0, 1, 2**29, 2**30 - 1, 2**30) for b in (0, 1, 2**29 + 1)]
LIMITS = [tuple(share[(n + turn) % 3] for n in range(3)) for share in SHARES for turn in range(3)]


def edge_core(dc: int = 0, gain: int = 1) -> spec.Core:
    """FEEDBACK is at its largest for V = 0, and 0 at the other end; H and GATE let everything through."""
    nothing, ones = spec.Dpi(0, 0, 0, 0.0, 0.0), (65536,) * 1024
    feedback = (spec.FEEDBACK_MAX,) * 512 + (0,) * 512
    return spec.Core((0, 0), dc, ONE - 1, 5, gain, 0.0, 0, (nothing,) * 4, nothing, ones, feedback, ones)


def test_soma_sums_reach_their_limits_within_32_bits(tmp_path: Path) -> None:
    """Every way to fill a sum; with GAIN = 1 the word V shows `net` but for 16 bits, with 2^31 - 1 the product's width."""
    vectors: list[Vector] = []
    expected, driven, net = [], set(), set()
    for gain, share, up, subtractive in product((1, 255, 2**31 - 1), LIMITS, (True, False), (0, 1, spec.CURRENT_MAX)):
        a, b, c = share
        if not up and a > spec.LEAK_MAX:
            continue
        core = edge_core(a if up else 0, gain)
        leak, ahp, synapses = (0, 0, [b, c, 0, subtractive]) if up else (a, c, [0, 0, b, subtractive])
        for u in (0, 65535):
            noise, v = spec.noise_of(u, spec.AMP_MAX), 0 if up else ONE - 1
            vectors += [soma_setting(core, leak), (0, v, 0, ahp, 0), (3, *synapses, noise)]
            found = spec.sums(v, ahp, synapses, leak, core, noise)
            driven.add(found[0])
            net.add(found[1])
            expected.append((*spec.integrate((v, 0, ahp), synapses, leak, core, 0, noise), spec.GOLDEN))
    assert ((min(driven), max(driven)), (min(net), max(net))) == (DRIVEN, NET)
    assert NET[0] >= -(2**31)
    assert NET[1] < 2**31
    write_tables(edge_core(), tmp_path)
    assert simulate("soma", vectors, tmp_path, columns=9) == expected


def test_a_half_rounds_up_in_the_rise_of_v(tmp_path: Path) -> None:
    vectors: list[Vector] = []
    expected, v = [], 2**23  # FEEDBACK is 0 there
    for gain, net in product((2**15, 2**15 - 1, 1), (-(2**15), -3, -1, 1, 3, 2**15)):
        core, synapses = edge_core(gain=gain), [max(net, 0), 0, max(-net, 0), 0]
        vectors += [soma_setting(core, 0), (0, v), (3, *synapses)]
        expected.append((*spec.integrate((v, 0, 0), synapses, 0, core, 0), spec.GOLDEN))
    assert [row[0] - v for row in expected[:6]] == [-(2**14), -1, 0, 1, 2, 2**14]
    write_tables(edge_core(), tmp_path)
    assert simulate("soma", vectors, tmp_path, columns=9) == expected


def test_a_sum_beyond_its_limit_wraps_in_the_verilog(tmp_path: Path) -> None:
    """The other half of the claim: with other limits than the page's the module would go wrong, and the tests would see it."""
    high, low = spec.noise_of(65535, spec.AMP_MAX), spec.noise_of(0, spec.AMP_MAX)
    room_up, room_down = 2**31 - 1 - NET[1], NET[0] + 2**31
    vectors: list[Vector] = []
    expected, core = [], edge_core()
    write_tables(core, tmp_path)
    for more in (0, 1):
        driving, braking = spec.SUM_MAX + room_up + more, spec.SUM_MAX + room_down + more
        far = replace(core, dc=driving)
        vectors += [soma_setting(far, 0), (0,), (3, 0, 0, 0, 0, high)]
        expected.append(spec.integrate((0, 0, 0), [0] * 4, 0, far, 0, high))
        vectors += [soma_setting(core, 0), (0, ONE - 1), (3, 0, 0, braking, 0, low)]
        expected.append(spec.integrate((ONE - 1, 0, 0), [0, 0, braking, 0], 0, core, 0, low))
        vectors += [soma_setting(replace(core, dc=2**31 - 1), 0), (0, ONE - 1), (3, more, 0, 2**30, 0, low)]
        expected.append(spec.integrate((ONE - 1, 0, 0), [more, 0, 2**30, 0], 0, replace(core, dc=2**31 - 1), 0, low))
    found = [row[:4] for row in simulate("soma", vectors, tmp_path, columns=9)]
    assert [row == right for row, right in zip(found, expected, strict=True)] == [True] * 3 + [False] * 3


# Against the emulator -------------------------------------------------------------------------------------------------

CORE, LISTENERS, STEPS = 1, 8, 120


@dataclass
class Word:
    """The life of one neuron's state in the emulator: what it was given, and what it held after each step."""

    vectors: list[list[Vector]] = field(default_factory=lambda: [[], [], [], []])
    soma: list[Vector | None] = field(default_factory=list)  # None: a step
    rows: list[list[int]] = field(default_factory=list)
    fired: list[int] = field(default_factory=list)


def two_boards(rng: np.random.Generator) -> tuple[Board, Board]:
    """A core with random biases, and the same core with weaker synapses: then FULL lies below the currents."""
    board = Board()
    random_biases(board, rng, 0, CORE)
    board.current(CORE, "pulse_width", 1.75e-10)  # 2 ms: far more than a step, so that finite pulses are accepted
    board.current(CORE, "dc", 3e-10)  # the neurons fire
    board.current(CORE, "nmda_gate", 5e-12)
    board.current(CORE, "ahp_enable", 1e-10)
    for kind, full_a in (("AMPA", 1e-6), ("GABA_A", 1e-6), ("GABA_B", 2e-6)):  # FULL up to the last of the 31 bits
        gain_a, tau_a = (spec.current_a(board.config(), CORE, f"{kind}_{part}") for part in ("gain", "tau"))
        board.current(CORE, f"{kind}_weight", (full_a / gain_a + 1) * tau_a)
    board.tau2[0, CORE, ::2] = True
    for neuron in range(LISTENERS):
        for number, kind in enumerate(("AMPA", "NMDA", "GABA_A", "GABA_B")):
            board.listen(CORE, neuron, number, 256 + neuron, kind)
            board.listen(CORE, neuron, 4 + number, 512, kind)
            board.listen(CORE, neuron, 8 + number, 512, kind)
    weak = Board.of(board.config())
    for kind in ("AMPA", "NMDA", "GABA_A", "GABA_B", "ahp"):
        tau = spec.current_a(board.config(), CORE, f"{kind}_tau")
        weak.current(CORE, f"{kind}_weight", 1.5 * tau)
    return board, weak


def live(pulses: Literal["ideal", "finite"]) -> tuple[list[Word], list[spec.Core]]:
    """Run the emulator step by step, over states put in from outside and a change of biases."""
    rng, finite = np.random.default_rng(13), pulses == "finite"
    configs = [board.config() for board in two_boards(rng)]
    cores = [spec.parameters(config, CORE) for config in configs]
    assert cores[0].dpi[3].full > 1.8e9
    assert all(weak.full < strong.full for strong, weak in zip(cores[0].dpi, cores[1].dpi, strict=True))
    emulator = started(configs[0], implementation="numpy", pulses=pulses)
    words = [Word() for _ in range(LISTENERS)]
    codes = [t.code for effect in spec.EFFECTS for t in configs[0].chip.synapse_types if t.effect == effect]
    cam = configs[0].cam[0, CORE]
    tags = cam["source_core"].astype(int) * 256 + cam["source_neuron"]
    for step in range(STEPS):
        changed = step in (0, STEPS // 2)
        if changed:
            core = cores[step > 0]
            emulator.apply(configs[step > 0])
        if step % 15 == 0:
            saved = emulator.save_state()
            rows, clock = np.array(saved["rows"]), (step * 1_000_000_007) << 12
            for neuron in range(LISTENERS):
                full, own_leak = [dpi.full for dpi in core.dpi], core.leak[int(configs[0].tau2[0, CORE, neuron])]
                driving = two_corners(rng, spec.SUM_MAX - core.dc, (full[0], full[1]))
                shunting, ahp = two_corners(rng, spec.SUM_MAX - own_leak, (full[2], core.ahp.full))
                column = [corner(rng, ONE - 1), corner(rng, 20) * (neuron % 2), *driving, shunting]
                column += [corner(rng, spec.CURRENT_MAX), ahp, *(corner(rng, 50) * finite for _ in range(4))]
                rows[CORE, :, neuron] = column
            emulator.load_state({**saved, "rows": rows, "clock": clock})
        sent = rng.choice([*range(256, 256 + LISTENERS), 512, 0, 3], rng.choice([0, 1, 3, 9])).tolist()
        recording = emulator.run(events((20.0, 0, 1 << CORE, tag) for tag in sent), 1e-4)
        after = np.array(emulator.save_state()["rows"])[CORE]
        spiking = set(recording.spikes["neuron"][recording.spikes["core"] == CORE].tolist())
        for neuron, word in enumerate(words):
            leak = core.leak[int(configs[0].tau2[0, CORE, neuron])]
            if changed:
                word.soma.append(soma_setting(core, leak))
            if step % 15 == 0:
                word.soma.append((0, *rows[CORE, [spec.V, spec.REFRACTORY, spec.I_AHP], neuron].tolist(), dither(clock)))
            word.soma.append(None)
            for k, dpi in enumerate(core.dpi):
                mine = word.vectors[k]
                if changed:
                    mine.append((1, dpi.full, dpi.decay, finite))
                if step % 15 == 0:
                    pair = rows[CORE, [spec.I_SYN + k, spec.PULSE + k], neuron].tolist()
                    mine.append((0, *pair, dither(clock)))
                of_type = tags[neuron][cam["type"][neuron] == codes[k]]
                reached = sum(int(np.count_nonzero(of_type == tag)) for tag in sent)
                mine += [(2, core.pulse_steps if finite else dpi.jump)] * reached + [(3,)]
            word.rows.append(after[:, neuron].tolist())
            word.fired.append(int(neuron in spiking))
    return words, cores


@BOTH_PULSES
def test_verilog_of_both_modules_holds_the_emulators_words(pulses: Literal["ideal", "finite"], tmp_path: Path) -> None:
    words, cores = live(pulses)
    found = simulate("dpi", [v for word in words for k in range(4) for v in word.vectors[k]], tmp_path, columns=4)
    assert len(found) == LISTENERS * 4 * STEPS
    shape = (LISTENERS, 4, STEPS)
    delivered, currents, running = (np.array([row[n] for row in found]).reshape(shape) for n in range(3))
    rows = np.array([word.rows for word in words])  # neuron, step, state row
    assert np.array_equal(currents.transpose(0, 2, 1), rows[:, :, spec.I_SYN : spec.I_SYN + 4])
    assert np.array_equal(running.transpose(0, 2, 1), rows[:, :, spec.PULSE : spec.PULSE + 4])

    vectors: list[Vector] = []
    for neuron, word in enumerate(words):
        step = iter(range(STEPS))
        seen = delivered[neuron]
        vectors += [(3, *seen[:, next(step)].tolist()) if entry is None else entry for entry in word.soma]
    write_tables(cores[0], tmp_path)
    assert (cores[0].h, cores[0].gate, cores[0].feedback) == (cores[1].h, cores[1].gate, cores[1].feedback)
    somas = np.array(simulate("soma", vectors, tmp_path, columns=9)).reshape(LISTENERS, STEPS, 5)
    for number, row in enumerate((spec.V, spec.REFRACTORY, spec.I_AHP)):
        assert np.array_equal(somas[:, :, number], rows[:, :, row]), row
    assert somas[:, :, 3].tolist() == [word.fired for word in words]
    assert somas[:, :, 3].sum() > LISTENERS  # not a comparison of silence with silence


# The rule's fixed-point form ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TraceWords:
    m: int
    s: int
    a: int

    @classmethod
    def of(cls, bits: int, a: float, tau_s: float, dt_s: float) -> TraceWords:
        d = 1.0 - spec.exp(-dt_s / tau_s)
        s = max(s for s in range(63) if d * 2.0**s < 2.0**31)
        return cls(min(rounded(d * 2.0**s), 2**31 - 1), s, rounded(a * 2.0**bits))

    def decayed(self, x: int, n: int) -> int:
        g = n * 2654435769 % 2**32
        return x - ((x * self.m + (g << (self.s - 32) if self.s >= 32 else g >> (32 - self.s))) >> self.s)


def rounded(value: float) -> int:
    return floor(value + 0.5)


@dataclass(frozen=True)
class RuleWords:
    """Constants of the form, and one synapse's step and spikes, from docs/rule.md. `stop`: with stop-learning."""

    t: int
    w: int
    i: TraceWords
    j: TraceWords
    slow: TraceWords
    thetas: tuple[int, int, int, int, int]  # i, j, lo, hi, w
    stop: bool
    silent: bool
    c_p: int
    d_1: int  # - c_d1
    d_2: int
    up: int
    down: int

    @classmethod
    def of(cls, p: RuleParameters, t: int, w: int, dt_us: int) -> RuleWords:
        dt_s, stop, drift = dt_us / 10**6, p.stop_learning, p.bistability
        x, h = 2.0**t, 2.0**w
        slow = TraceWords.of(t, stop.a, stop.tau_s, dt_s) if stop else TraceWords(0, 32, 0)
        lo_hi = (rounded(stop.theta_lo * x), rounded(stop.theta_hi * x)) if stop else (0, 0)
        up, down = (drift.alpha, drift.beta) if drift else (0.0, 0.0)
        per_step = dt_s / drift.tau_w_s if drift else 0.0
        return cls(
            t, w, TraceWords.of(t, p.a_i, p.tau_i_s, dt_s), TraceWords.of(t, p.a_j, p.tau_j_s, dt_s), slow,
            (rounded(p.theta_i * x), rounded(p.theta_j * x), *lo_hi, rounded(p.theta_w * h)), stop is not None,
            p.gate_silent_pre, rounded(p.c_p * h), rounded(-p.c_d1 * h), rounded(-p.c_d2 * h),
            rounded(up * per_step * h * 2.0**32), rounded(down * per_step * h * 2.0**32),
        )  # fmt: skip

    def settings(self) -> list[Vector]:
        traces = [n for trace in (self.i, self.j, self.slow) for n in (trace.m, trace.s, trace.a)]
        constants = (self.c_p, self.d_1, self.d_2, self.up, self.down)
        return [(1, *traces), (2, *self.thetas, self.stop, self.silent), (3, *constants)]

    def load(self, state: Vector, n: int) -> Vector:
        return (0, *state, n * 2654435769 % 2**32, n * self.up % 2**32, n * self.down % 2**32)

    def jumped(self, x: int, a: int) -> int:
        return x + ((a * ((1 << self.t) - x) + (1 << (self.t - 1))) >> self.t)

    def clip(self, w: int) -> int:
        return min(max(w, 0), 1 << self.w)

    def step(self, state: Vector, n: int) -> Vector:
        """From step n - 1 to step n."""
        w, slope = state[3], self.up if state[3] > self.thetas[4] else -self.down
        units = (n * abs(slope) >> 32) - ((n - 1) * abs(slope) >> 32)
        w = self.clip(w + units if slope > 0 else w - units)
        slow = self.slow.decayed(state[2], n) if self.stop else 0
        return self.i.decayed(state[0], n), self.j.decayed(state[1], n), slow, w

    def pre(self, state: Vector, learn: bool) -> Vector:
        x_i, x_j, x_s, w = state
        if learn and self.open(x_s) and x_j > self.thetas[1]:
            w = self.clip(w - self.d_1)
        return self.jumped(x_i, self.i.a), x_j, x_s, w

    def post(self, state: Vector, learn: bool) -> Vector:
        x_i, x_j, x_s, w = state
        x_s = self.jumped(x_s, self.slow.a) if self.stop else 0
        if learn and self.open(x_s):
            low = x_i < self.thetas[0] and (x_i > 0 or not self.silent)
            w = self.clip(w + ((self.c_p * x_i + (1 << (self.t - 1))) >> self.t) - low * self.d_2)
        return x_i, self.jumped(x_j, self.j.a), x_s, w

    def open(self, x_s: int) -> bool:
        return not self.stop or self.thetas[2] < x_s < self.thetas[3]


def random_rule(rng: np.random.Generator, t: int, w: int) -> RuleWords:
    """Constants at and between their limits; theta_i and theta_j lie where the traces are."""

    def trace() -> TraceWords:
        s = int(rng.integers(30, 63))
        return TraceWords(max(1, corner(rng, min(2**s, 2**31 - 1))), s, max(1, corner(rng, 2**t)))

    lo, hi = sorted((corner(rng, 2**t), corner(rng, 2**t)))
    thetas = (corner(rng, 2**t), corner(rng, 2**t), lo, hi, corner(rng, 2**w))
    flags = bool(rng.integers(0, 2)), bool(rng.integers(0, 2))
    c_p, d_1, d_2 = (corner(rng, 4 * 2**w) for _ in range(3))
    up, down = (corner(rng, 2 ** (w + 32)) for _ in range(2))
    return RuleWords(t, w, trace(), trace(), trace(), thetas, *flags, c_p, d_1, d_2, up, down)


@pytest.mark.parametrize(("t", "w"), [(30, 30), (4, 30), (30, 4), (12, 9)])
def test_trace_and_weight_words_follow_the_page(t: int, w: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(14)
    vectors: list[Vector] = []
    expected: list[Vector] = []
    for case in range(300):
        rule, n = random_rule(rng, t, w), corner(rng, 2**31 - 1 - 8)
        state: Vector = (corner(rng, 2**t), corner(rng, 2**t), corner(rng, 2**t) * rule.stop, corner(rng, 2**w))
        if case % 3 == 0:  # a word at its threshold: comparisons are strict
            state = (rule.thetas[0], rule.thetas[1], rule.thetas[2 + case % 2] * rule.stop, rule.thetas[4])
        vectors += [*rule.settings(), rule.load(state, n)]
        for _ in range(8):
            n, state = n + 1, rule.step(state, n + 1)
            vectors += [(4,), (7,)]
            g = n * 2654435769 % 2**32
            expected.append((*state, g))
            for kind in sorted(rng.integers(5, 7, rng.choice([0, 1, 4])).tolist()):  # all pre spikes, then all post spikes
                learn = bool(rng.random() < 0.9)
                state = rule.pre(state, learn) if kind == 5 else rule.post(state, learn)
                vectors += [(kind, learn), (7,)]
                expected.append((*state, g))
    assert simulate("trace", vectors, tmp_path, columns=10, defines={"T": t, "W": w}) == expected


#: Presets with and without stop-learning; fewer bits; a gate on silent inputs; a fast drift that meets the ends.
ENGINES: list[tuple[str, dict[str, Any], int, int, int]] = [
    ("D", {}, 30, 30, 100),
    ("2.0", {"gate_silent_pre": True}, 16, 12, 1000),
    ("4.0", {}, 30, 20, 100),
    ("1.X1", {"c_p": 4.0, "c_d1": -4.0, "tau_i_s": 1e-4}, 24, 30, 500),
]


@pytest.mark.parametrize("implementation", ["numpy", "numba"])
@pytest.mark.parametrize(("name", "update", "t", "w", "dt_us"), ENGINES, ids=[e[0] for e in ENGINES])
def test_verilog_holds_the_engines_words(
    name: str, update: dict[str, Any], t: int, w: int, dt_us: int, implementation: Literal["numpy", "numba"], tmp_path: Path
) -> None:
    parameters = preset(name).model_copy(update=update)
    rng, posts, steps = np.random.default_rng(15), 3, 150
    weights = np.array([[0.0, 1.0], [parameters.theta_w, 0.499], [0.501, 0.9]])
    engine = FixedPointEngine(
        parameters, np.array([[0, 1], [1, 0], [0, 0]]), 2, weights, dt_us, t, w, implementation=implementation
    )
    rule = RuleWords.of(parameters, t, w, dt_us)
    pairs = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (2, 0, 0), (2, 1, 0)]  # post, slot, source
    vectors: list[list[Vector]] = [
        [*rule.settings(), rule.load((0, 0, 0, rounded(weights[post, slot] * 2.0**w)), 0)] for post, slot, _ in pairs
    ]
    expected: list[list[Vector]] = [[] for _ in pairs]
    for _ in range(steps):
        pre, post = (np.repeat(np.arange(count), rng.choice([0, 0, 0, 1, 3], count)) for count in (2, posts))
        learn = rng.random(posts) < 0.9
        dt_s = dt_us / 1e6
        engine.advance(dt_s, np.full(pre.size, dt_s), pre, np.full(post.size, dt_s), post, learn)
        held = engine.words()
        for number, (target, slot, source) in enumerate(pairs):
            mine = vectors[number]
            mine += [(4,), *[(5, int(learn[target]))] * int((pre == source).sum())]
            mine += [*[(6, int(learn[target]))] * int((post == target).sum()), (7,)]
            row = (held["x_i"][source], held["x_j"][target], held["x_s"][target], held["w_hid"][target, slot])
            expected[number].append(tuple(int(word) for word in row))
    found = simulate("trace", flat(vectors), tmp_path, columns=10, defines={"T": t, "W": w})
    assert [row[:4] for row in found] == list(flat(expected))
    assert len({row[3] for row in found}) > 20  # the weights move


def flat(lists: list[list[Vector]]) -> Iterator[Vector]:
    return (row for rows in lists for row in rows)
