"""The oracle of the fixed-point form: docs/rule.md in plain Python integers, every word in every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from bcall_hw.portable_math import exp
from bcall_hw.rule.parameters import RuleParameters

GOLDEN = 2654435769  # 2^32 / golden ratio
Event = tuple[int, int]  # (step since the start of the span, neuron)


def rounded(value: float) -> int:
    return floor(value + 0.5)


@dataclass(frozen=True)
class Trace:
    """Constants of one kind of trace."""

    bits: int
    jump: int
    m: int
    s: int

    @classmethod
    def of(cls, bits: int, a: float, tau_s: float, dt_s: float) -> Trace:
        d = 1.0 - float(exp(-dt_s / tau_s))
        s = max(s for s in range(63) if d * 2.0**s < 2.0**31)
        return cls(bits, rounded(a * 2.0**bits), min(rounded(d * 2.0**s), 2**31 - 1), s)

    def decayed(self, x: int, step: int) -> int:
        g = (step * GOLDEN) % 2**32
        q = g << (self.s - 32) if self.s >= 32 else g >> (32 - self.s)
        return x - ((x * self.m + q) >> self.s)

    def jumped(self, x: int) -> int:
        return x + ((self.jump * ((1 << self.bits) - x) + (1 << (self.bits - 1))) >> self.bits)


class FixedPointOracle:
    """A small network, clocked: all traces decay and all hidden weights drift in every step."""

    def __init__(
        self,
        parameters: RuleParameters,
        sources: Sequence[Sequence[int]],
        n_sources: int,
        w_hid: Sequence[Sequence[float]],
        dt_us: float = 100,
        trace_bits: int = 30,
        weight_bits: int = 30,
    ) -> None:
        p, one_x, one_w, dt_s = parameters, 2.0**trace_bits, 2.0**weight_bits, dt_us / 1e6
        self.p, self.sources, self.trace_bits, self.w_max = p, sources, trace_bits, 2**weight_bits
        self.pre = Trace.of(trace_bits, p.a_i, p.tau_i_s, dt_s)
        self.post = Trace.of(trace_bits, p.a_j, p.tau_j_s, dt_s)
        self.theta_i, self.theta_j = rounded(p.theta_i * one_x), rounded(p.theta_j * one_x)
        self.stop = p.stop_learning
        if self.stop:
            self.slow = Trace.of(trace_bits, self.stop.a, self.stop.tau_s, dt_s)
            self.theta_lo, self.theta_hi = rounded(self.stop.theta_lo * one_x), rounded(self.stop.theta_hi * one_x)
        self.c_p, self.c_d1, self.c_d2 = rounded(p.c_p * one_w), -rounded(-p.c_d1 * one_w), -rounded(-p.c_d2 * one_w)
        self.theta_w = rounded(p.theta_w * one_w)
        self.up = self.down = 0
        if p.bistability:
            per_step = dt_s / p.bistability.tau_w_s
            self.up = rounded(p.bistability.alpha * per_step * one_w * 2.0**32)
            self.down = rounded(p.bistability.beta * per_step * one_w * 2.0**32)
        self.step = 0
        self.x_i = [0] * n_sources
        self.x_j = [0] * len(sources)
        self.x_s = [0] * len(sources)
        self.w = [[rounded(w * one_w) for w in row] for row in w_hid]

    def tick(self) -> None:
        """From step n - 1 to step n."""
        self.step += 1
        n = self.step
        self.x_i = [self.pre.decayed(x, n) for x in self.x_i]
        self.x_j = [self.post.decayed(x, n) for x in self.x_j]
        if self.stop:
            self.x_s = [self.slow.decayed(x, n) for x in self.x_s]
        rise = ((n * self.up) >> 32) - (((n - 1) * self.up) >> 32)
        fall = ((n * self.down) >> 32) - (((n - 1) * self.down) >> 32)
        self.w = [[min(self.w_max, w + rise) if w > self.theta_w else max(0, w - fall) for w in row] for row in self.w]

    def is_open(self, j: int) -> bool:
        return self.stop is None or self.theta_lo < self.x_s[j] < self.theta_hi

    def change(self, j: int, slot: int, by: int) -> None:
        self.w[j][slot] = min(self.w_max, max(0, self.w[j][slot] + by))

    def pre_spike(self, i: int, learn: Sequence[bool]) -> None:
        for j, row in enumerate(self.sources):
            for slot, source in enumerate(row):
                if source == i and learn[j] and self.is_open(j) and self.x_j[j] > self.theta_j:
                    self.change(j, slot, self.c_d1)
        self.x_i[i] = self.pre.jumped(self.x_i[i])

    def post_spike(self, j: int, learn: Sequence[bool]) -> None:
        if self.stop:
            self.x_s[j] = self.slow.jumped(self.x_s[j])
        for slot, source in enumerate(self.sources[j]):
            if source >= 0 and learn[j] and self.is_open(j):
                x = self.x_i[source]
                by = (self.c_p * x + (1 << (self.trace_bits - 1))) >> self.trace_bits
                if x < self.theta_i and (x > 0 or not self.p.gate_silent_pre):
                    by += self.c_d2
                self.change(j, slot, by)
        self.x_j[j] = self.post.jumped(self.x_j[j])

    def advance(self, steps: int, pre: Sequence[Event], post: Sequence[Event], learn: Sequence[bool] | None = None) -> None:
        """Go on by `steps`; spikes at step 0 of the span meet the state as it is."""
        gate = [True] * len(self.sources) if learn is None else learn
        busy = {at for at, _ in (*pre, *post)}
        for k in range(steps + 1):
            if k > 0:
                self.tick()
            if k in busy:
                for i in [who for at, who in pre if at == k]:
                    self.pre_spike(i, gate)
                for j in [who for at, who in post if at == k]:
                    self.post_spike(j, gate)

    def words(self) -> dict[str, list[int] | list[list[int]]]:
        return {"x_i": self.x_i, "x_j": self.x_j, "x_s": self.x_s, "w_hid": self.w}

    def efficacy(self) -> list[list[bool]]:
        return [
            [source >= 0 and w > self.theta_w for source, w in zip(row, weights, strict=True)]
            for row, weights in zip(self.sources, self.w, strict=True)
        ]
