"""One synapse of the BCaLL rule, written to be obviously right: the oracle of the engine.

It walks through the events one by one and evaluates every exponential from the last event. Equations 1 to 4 of
arXiv 2504.06796; order at equal times: pre before post.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from bcall_hw.rule.parameters import RuleParameters


@dataclass
class SynapseState:
    """State of one synapse and of its two neurons, at `time_s`."""

    w_hid: float
    x_i: float = 0.0
    x_j: float = 0.0
    x_s: float = 0.0
    time_s: float = 0.0


def drifted(parameters: RuleParameters, w_hid: float, dt_s: float) -> float:
    """The hidden weight after a silent span: linear drift away from theta_w, down at a tie, within [0, 1]."""
    drift = parameters.bistability
    if drift is None:
        return w_hid
    if w_hid > parameters.theta_w:
        return min(1.0, w_hid + dt_s * drift.alpha / drift.tau_w_s)
    return max(0.0, w_hid - dt_s * drift.beta / drift.tau_w_s)


def _advance(parameters: RuleParameters, state: SynapseState, time_s: float) -> None:
    dt = time_s - state.time_s
    state.x_i *= exp(-dt / parameters.tau_i_s)
    state.x_j *= exp(-dt / parameters.tau_j_s)
    if parameters.stop_learning:
        state.x_s *= exp(-dt / parameters.stop_learning.tau_s)
    state.w_hid = drifted(parameters, state.w_hid, dt)
    state.time_s = time_s


def _gate(parameters: RuleParameters, state: SynapseState) -> float:
    stop = parameters.stop_learning
    return 1.0 if stop is None or stop.theta_lo < state.x_s < stop.theta_hi else 0.0


def run_synapse(
    parameters: RuleParameters,
    state: SynapseState,
    pre_s: Sequence[float],
    post_s: Sequence[float],
    until_s: float,
    learn: bool = True,
) -> None:
    """Bring one synapse from `state.time_s` to `until_s` with the given spike times (s), changing `state`.

    Args:
        learn: False holds the hidden weight's jumps back (the host's own gate); traces and drift go on.
    """
    events = sorted([(t, 0) for t in pre_s] + [(t, 1) for t in post_s])
    for time_s, is_post in events:
        _advance(parameters, state, time_s)
        if is_post:
            if parameters.stop_learning:
                state.x_s += parameters.stop_learning.a * (1.0 - state.x_s)
            depress = state.x_i < parameters.theta_i and not (parameters.gate_silent_pre and state.x_i <= 0.0)
            change = parameters.c_p * state.x_i + (parameters.c_d2 if depress else 0.0)
        else:
            change = parameters.c_d1 if state.x_j > parameters.theta_j else 0.0
        if learn:
            state.w_hid = min(1.0, max(0.0, state.w_hid + _gate(parameters, state) * change))
        if is_post:
            state.x_j += parameters.a_j * (1.0 - state.x_j)
        else:
            state.x_i += parameters.a_i * (1.0 - state.x_i)
    _advance(parameters, state, until_s)
