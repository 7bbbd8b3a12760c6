"""The plasticity engine in float64, exact at spikes."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.rule.parameters import RuleParameters
from bcall_hw.rule.synapses import Spikes, SynapseEngine, WeightFlips

__all__ = ["PlasticityEngine", "WeightFlips"]


class PlasticityEngine(SynapseEngine):
    """BCaLL over many synapses, exact at spikes (arXiv 2504.06796, equations 1 to 4).

    Traces decay exactly between spikes; the drift of a hidden weight is evaluated only when the synapse is touched.
    Spikes at the same time: pre before post. Layout is post-major. Arguments, methods and errors: `SynapseEngine`.
    """

    _STATE = ("x_i", "x_j", "x_s", "t_i", "t_j", "w_hid", "t_w")
    _CLOCK = "time_s"

    def _start(self, w_hid: FloatArray) -> None:
        posts = self._sources.shape[0]
        self._w_hid, self._t_w, self._time_s = w_hid, np.zeros(w_hid.shape), 0.0
        self._x_i, self._t_i = np.zeros(self.n_sources), np.zeros(self.n_sources)
        self._x_j, self._x_s, self._t_j = np.zeros(posts), np.zeros(posts), np.zeros(posts)
        self._numbers, self._switches = _packed(self.parameters)

    @property
    def time_s(self) -> float:
        """Time that has passed since the start (s)."""
        return self._time_s

    def _as_clock(self, value: Any) -> float:
        real = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
        return float(value) if real and 0.0 <= value < inf else -1.0

    def _largest(self, name: str) -> int:
        del name
        return 1

    def _is_on(self) -> BoolArray:
        return np.asarray(self._w_hid > self.parameters.theta_w)

    def hidden_weights(self) -> FloatArray:
        """Hidden weights now, drift included, shape (posts, slots)."""
        return drifted_weights(self.parameters, self._w_hid, self._time_s - self._t_w)

    def traces(self) -> dict[str, FloatArray]:
        """The traces now: x_i per source, x_j and x_s per post neuron."""
        p, now = self.parameters, self._time_s
        slow = p.stop_learning.tau_s if p.stop_learning else 1.0
        return {
            "x_i": self._x_i * np.exp(-(now - self._t_i) / p.tau_i_s),
            "x_j": self._x_j * np.exp(-(now - self._t_j) / p.tau_j_s),
            "x_s": self._x_s * np.exp(-(now - self._t_j) / slow),
        }

    def _run(self, duration_s: float, spikes: Spikes, learn: BoolArray) -> None:
        from bcall_hw.rule import _kernel

        pre_s, post_s = spikes.pre_s + self._time_s, spikes.post_s + self._time_s
        end_s, longest_s = self._time_s + duration_s, _kernel.LONGEST_SPAN_TAU * self.parameters.tau_i_s
        pre = post = 0
        while pre < len(pre_s) or post < len(post_s):
            start_s = min(float(times[0]) for times in (pre_s[pre:], post_s[post:]) if len(times))
            until_s = start_s + longest_s
            pre_end = int(np.searchsorted(pre_s, until_s, side="right"))
            post_end = int(np.searchsorted(post_s, until_s, side="right"))
            _kernel.advance_float(
                self._numbers, self._switches, self._slot_sources,
                self._x_i, self._x_j, self._x_s, self._t_i, self._t_j, self._w_hid, self._t_w, learn, start_s,
                pre_s[pre:pre_end], spikes.pre_ids[pre:pre_end], post_s[post:post_end], spikes.post_ids[post:post_end],
            )  # fmt: skip
            pre, post = pre_end, post_end
        self._time_s = end_s


def drifted_weights(p: RuleParameters, w_hid: FloatArray, since_s: FloatArray) -> FloatArray:
    """Hidden weights after silent spans (s): drift away from theta_w, down at a tie, within [0, 1]."""
    if p.bistability is None:
        return w_hid.copy()
    up = np.minimum(1.0, w_hid + since_s * (p.bistability.alpha / p.bistability.tau_w_s))
    down = np.maximum(0.0, w_hid - since_s * (p.bistability.beta / p.bistability.tau_w_s))
    return np.where(w_hid > p.theta_w, up, down)


def _packed(p: RuleParameters) -> tuple[FloatArray, BoolArray]:
    stop, drift = p.stop_learning, p.bistability
    numbers = [p.tau_i_s, p.tau_j_s, p.a_i, p.a_j, p.theta_i, p.theta_j, p.c_p, p.c_d1, p.c_d2, p.theta_w]
    numbers += [stop.tau_s, stop.a, stop.theta_lo, stop.theta_hi] if stop else [1.0, 0.0, 0.0, 1.0]
    numbers += [drift.alpha / drift.tau_w_s, drift.beta / drift.tau_w_s] if drift else [0.0, 0.0]
    return np.array(numbers), np.array([p.gate_silent_pre, stop is not None])
