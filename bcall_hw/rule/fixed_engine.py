"""The plasticity engine in integers: what a host or a digital circuit would run. Specification: docs/rule.md."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.errors import InvalidValue
from bcall_hw.rule import fixed_point
from bcall_hw.rule.fixed_point import FixedPointRule, fixed_point_rule
from bcall_hw.rule.parameters import RuleParameters
from bcall_hw.rule.synapses import Spikes, SynapseEngine

_LONGEST_CALL = 1024  # steps of one call of the compiled loop, and
_LARGEST_TABLE = 1 << 24  # entries of its tables


class FixedPointEngine(SynapseEngine):
    """BCaLL over many synapses in fixed point, clocked at dt; spikes lie on whole steps. Methods: `SynapseEngine`.

    Args:
        dt_us: time step (us).
        trace_bits, weight_bits: a trace (a hidden weight) is a whole number from 0 to 2^bits; 4 to 30.
        implementation: "numba" (lazy drift, fast) or "numpy" (clocked drift); both give the same words.

    Raises:
        InvalidValue: as `SynapseEngine`; a width, step or number that the form does not hold; spikes between steps.
    """

    _STATE = ("x_i", "x_j", "x_s", "w_hid")
    _CLOCK = "steps"

    def __init__(
        self,
        parameters: RuleParameters,
        sources: npt.ArrayLike,
        n_sources: int,
        w_hid: npt.ArrayLike,
        dt_us: int = 100,
        trace_bits: int = fixed_point.LARGEST_BITS,
        weight_bits: int = fixed_point.LARGEST_BITS,
        implementation: Literal["numba", "numpy"] = "numba",
    ) -> None:
        if type(dt_us) is not int or not 1 <= dt_us <= 1_000_000:
            raise InvalidValue("impossible time step", where="FixedPointEngine dt_us", used=dt_us, limit="1 to 1000000 us")
        if implementation not in ("numba", "numpy"):
            raise InvalidValue("no such implementation", where="FixedPointEngine", used=implementation, limit="numba or numpy")
        self.dt_us, self._implementation = dt_us, implementation
        self.rule: FixedPointRule = fixed_point_rule(parameters, dt_us / 1e6, trace_bits, weight_bits)
        super().__init__(parameters, sources, n_sources, w_hid)

    def _start(self, w_hid: FloatArray) -> None:
        posts = self._sources.shape[0]
        self._steps = 0
        self._w_hid = np.floor(w_hid * self.rule.weight_one + 0.5).astype(np.int32)
        self._x_i: IntArray = np.zeros(self.n_sources, dtype=np.int64)
        self._x_j: IntArray = np.zeros(posts, dtype=np.int64)
        self._x_s: IntArray = np.zeros(posts, dtype=np.int64)

    @property
    def steps(self) -> int:
        """Steps that have passed since the start."""
        return self._steps

    @property
    def time_s(self) -> float:
        """Time that has passed since the start (s)."""
        return self._steps * (self.dt_us / 1e6)

    def _as_clock(self, value: Any) -> int:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return int(value) if whole and 0 <= value <= fixed_point.MAX_STEPS else -1

    def _largest(self, name: str) -> int:
        return self.rule.weight_one if name == "w_hid" else self.rule.trace_one

    def _is_on(self) -> BoolArray:
        return np.asarray(self._w_hid > self.rule.theta_w)

    def words(self) -> dict[str, IntArray]:
        """The state words now: x_i per source, x_j and x_s per post neuron, w_hid per synapse (int64)."""
        w_hid = self._w_hid.astype(np.int64)
        return {"x_i": self._x_i.copy(), "x_j": self._x_j.copy(), "x_s": self._x_s.copy(), "w_hid": w_hid}

    def hidden_weights(self) -> FloatArray:
        """Hidden weights now, shape (posts, slots)."""
        return np.asarray(self._w_hid / self.rule.weight_one)

    def traces(self) -> dict[str, FloatArray]:
        """The traces now: x_i per source, x_j and x_s per post neuron."""
        return {name: word / self.rule.trace_one for name, word in self.words().items() if name != "w_hid"}

    def nearest_steps_s(self, times_s: npt.ArrayLike) -> FloatArray:
        """Times on the nearest whole steps (s): for spikes that do not lie on the grid; that moves them by up to dt / 2."""
        unit = self.dt_us / 1e6
        return np.asarray(np.rint(np.asarray(times_s, dtype=np.float64) / unit) * unit, dtype=np.float64)

    def _run(self, duration_s: float, spikes: Spikes, learn: BoolArray) -> None:
        n_steps = int(self._on_grid("duration", np.array([duration_s]))[0])
        pre = self._on_grid("pre spike", spikes.pre_s) + self._steps
        post = self._on_grid("post spike", spikes.post_s) + self._steps
        end = self._steps + n_steps
        if end > fixed_point.MAX_STEPS:
            fix = "Start a new engine from these hidden weights."
            raise InvalidValue("runs too long", where="FixedPointEngine steps", used=end, limit=fixed_point.MAX_STEPS, fix=fix)
        if self._implementation == "numpy":
            self._run_numpy(n_steps, pre, spikes.pre_ids, post, spikes.post_ids, learn)
        else:
            self._run_numba(n_steps, pre, spikes.pre_ids, post, spikes.post_ids, learn)
        self._steps = end

    def _run_numpy(
        self, n_steps: int, pre: IntArray, pre_ids: IntArray, post: IntArray, post_ids: IntArray, learn: BoolArray
    ) -> None:
        from bcall_hw.rule._fixed_numpy import advance

        w = self._w_hid.astype(np.int64)
        advance(
            self.rule, self._slot_sources, self._x_i, self._x_j, self._x_s, w, learn,
            self._steps, n_steps, pre, pre_ids, post, post_ids,
        )  # fmt: skip
        self._w_hid[...] = w

    def _run_numba(
        self, n_steps: int, pre: IntArray, pre_ids: IntArray, post: IntArray, post_ids: IntArray, learn: BoolArray
    ) -> None:
        from bcall_hw.rule._kernel import advance_fixed

        words = _packed(self.rule)
        widest = max(1, self.n_sources, self._sources.shape[0])
        chunk = max(1, min(_LONGEST_CALL, _LARGEST_TABLE // widest))
        first = a = b = 0
        while True:
            steps = min(chunk, n_steps - first)
            begin, end = self._steps + first, self._steps + first + steps
            # Spikes at the last step of a call belong to it: the next one starts behind them.
            a_end, b_end = (int(np.searchsorted(times, end, side="right")) for times in (pre, post))
            advance_fixed(
                words, self._slot_sources, self._x_i, self._x_j, self._x_s, self._w_hid, learn, begin, steps,
                pre[a:a_end], pre_ids[a:a_end], post[b:b_end], post_ids[b:b_end],
            )  # fmt: skip
            first, a, b = first + steps, a_end, b_end
            if first >= n_steps:
                return

    def _on_grid(self, what: str, times_s: FloatArray) -> IntArray:
        """Times as whole steps."""
        steps = times_s * (1e6 / self.dt_us)
        whole = np.rint(steps)
        if whole.size and whole.max() > fixed_point.MAX_STEPS:
            raise InvalidValue(
                f"{what} lies too far ahead (steps)", where="FixedPointEngine", used=whole.max(), limit=fixed_point.MAX_STEPS
            )
        off = np.flatnonzero(np.abs(steps - whole) > 1e-6 * np.maximum(1.0, np.abs(steps) * 1e-6))
        if off.size:
            used, limit = float(times_s[off[0]]), f"whole steps of {self.dt_us} us"
            fix = "Round the times with `nearest_steps_s` first, or use the float engine."
            raise InvalidValue(f"{what} between two steps (s)", where="FixedPointEngine", used=used, limit=limit, fix=fix)
        return whole.astype(np.int64)

    def _fingerprint(self) -> str:
        return f"{super()._fingerprint()}/{self.dt_us}/{self.rule.trace_bits}/{self.rule.weight_bits}"


def _packed(rule: FixedPointRule) -> IntArray:
    """The words in the order in which the compiled loop takes them."""
    traces = [word for t in (rule.x_i, rule.x_j, rule.x_s) for word in (t.jump, t.decay, t.shift)]
    words = [rule.trace_one, rule.trace_one >> 1, rule.trace_bits, rule.weight_one, rule.theta_w, *traces]
    words += [rule.theta_i, rule.theta_j, rule.c_p, rule.c_d1, rule.c_d2, int(rule.stop), rule.lo, rule.hi]
    words += [int(rule.gate_silent_pre), rule.up, rule.down]
    words += [fixed_point.GOLDEN, fixed_point.DITHER_BITS, fixed_point.DRIFT_BITS]  # as values: a compiled loop keeps constants
    return np.array(words, dtype=np.int64)
