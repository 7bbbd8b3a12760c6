"""The fixed-point form in plain numpy, clocked: every trace and every hidden weight is brought on in every step."""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray, UintArray
from bcall_hw.rule import fixed_point
from bcall_hw.rule.fixed_point import FixedPointRule, TraceWords


def advance(
    rule: FixedPointRule, sources: UintArray, x_i: IntArray, x_j: IntArray, x_s: IntArray, w: IntArray, learn: BoolArray,
    first_step: int, n_steps: int, pre_step: IntArray, pre_id: IntArray, post_step: IntArray, post_id: IntArray,
) -> None:  # fmt: skip
    """Go from `first_step` to `first_step + n_steps`; spikes carry absolute steps, in order. Changes the state in place."""
    pre_bounds = np.searchsorted(pre_step, np.arange(first_step, first_step + n_steps + 2))
    post_bounds = np.searchsorted(post_step, np.arange(first_step, first_step + n_steps + 2))
    for k in range(n_steps + 1):
        if k > 0:
            for x, words in ((x_i, rule.x_i), (x_j, rule.x_j), (x_s, rule.x_s)):
                x -= (x * words.decay + dither(first_step + k, words.shift)) >> words.shift
            _drift(rule, w, first_step + k)
        for source in pre_id[pre_bounds[k] : pre_bounds[k + 1]].tolist():
            is_open = learn & (x_j > rule.theta_j) & _gate(rule, x_s)
            touched = (sources == source) & is_open[:, None]
            w[touched] = np.clip(w[touched] + rule.c_d1, 0, rule.weight_one)
            x_i[source] = jumped(rule, rule.x_i, x_i[source])
        for post in post_id[post_bounds[k] : post_bounds[k + 1]].tolist():
            x_s[post] = jumped(rule, rule.x_s, x_s[post])
            if learn[post] and _gate(rule, x_s[post]):
                used = sources[post] < len(x_i)
                x = x_i[sources[post, used]]
                depress = (x < rule.theta_i) & ((x > 0) | (not rule.gate_silent_pre))
                half = 1 << (rule.trace_bits - 1)
                change = ((rule.c_p * x + half) >> rule.trace_bits) + np.where(depress, rule.c_d2, 0)
                w[post, used] = np.clip(w[post, used] + change, 0, rule.weight_one)
            x_j[post] = jumped(rule, rule.x_j, x_j[post])


def dither(step: int, shift: int) -> int:
    """The rounding offset of a step, brought to `shift` bits."""
    word = (step * fixed_point.GOLDEN) % (1 << fixed_point.DITHER_BITS)
    above = shift - fixed_point.DITHER_BITS
    return word << above if above >= 0 else word >> -above


def jumped(rule: FixedPointRule, words: TraceWords, x: int | np.int64) -> int:
    """A trace after a spike: x + a (1 - x), rounded half up."""
    return int(x) + ((words.jump * (rule.trace_one - int(x)) + (1 << (rule.trace_bits - 1))) >> rule.trace_bits)


def drift_units(slope: int, step: int) -> int:
    """Whole units that a slope has gathered from step 0 to `step`."""
    return (slope * step) >> fixed_point.DRIFT_BITS


def _drift(rule: FixedPointRule, w: IntArray, step: int) -> None:
    up, down = (drift_units(slope, step) - drift_units(slope, step - 1) for slope in (rule.up, rule.down))
    w[...] = np.where(w > rule.theta_w, np.minimum(w + up, rule.weight_one), np.maximum(w - down, 0))


def _gate(rule: FixedPointRule, x_s: IntArray) -> BoolArray:
    if not rule.stop:
        return np.ones(np.shape(x_s), dtype=np.bool_)
    return np.asarray((rule.lo < x_s) & (x_s < rule.hi))
