"""The rule in its forms on many independent pairs: float, fixed point, and on emulated traces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bcall_hw.arrays import BoolArray, FloatArray
from bcall_hw.experiments.figures.trains import SAME_S, Pairs
from bcall_hw.rule.engine import PlasticityEngine
from bcall_hw.rule.fixed_engine import FixedPointEngine
from bcall_hw.rule.parameters import RuleParameters
from bcall_hw.rule.synapses import SynapseEngine

FLOAT, FIXED, EMULATED, MISMATCHED, FINITE = "float", "fixed", "emulated", "emulated-mismatch", "emulated-finite"
CLOSED = "closed-form"

#: How each form is called in pictures.
LABELS = {
    FLOAT: "ideal, float64",
    FIXED: "fixed point",
    EMULATED: "emulated circuit",
    MISMATCHED: "emulated circuit, mismatch",
    FINITE: "emulated circuit, finite pulses",
    CLOSED: "closed form",
}


def plain(parameters: RuleParameters) -> RuleParameters:
    """The rule without stop-learning and bistability."""
    return parameters.model_copy(update={"stop_learning": None, "bistability": None})


def scaled(parameters: RuleParameters, factor: float) -> RuleParameters:
    """The rule with smaller steps: changes that stay far from 0 and 1 are not clipped, and scale back exactly."""
    return parameters.model_copy(update={name: getattr(parameters, name) * factor for name in ("c_p", "c_d1", "c_d2")})


def float_engine(parameters: RuleParameters, n: int, w_hid: float = 0.5) -> PlasticityEngine:
    """`n` independent synapses in float64."""
    return PlasticityEngine(parameters, np.arange(n)[:, None], n, np.full((n, 1), w_hid))


def fixed_engine(parameters: RuleParameters, n: int, dt_us: int, w_hid: float = 0.5) -> FixedPointEngine:
    """`n` independent synapses in fixed point."""
    return FixedPointEngine(parameters, np.arange(n)[:, None], n, np.full((n, 1), w_hid), dt_us=dt_us)


def play(engine: SynapseEngine, pairs: Pairs) -> FloatArray:
    """Run an engine through the pairs; returns the hidden weight of each at the end."""
    starts = np.unique(pairs.learn_from_s[(pairs.learn_from_s > 0) & (pairs.learn_from_s < pairs.duration_s)])
    edges = np.concatenate([[0.0], starts, [pairs.duration_s]])
    for k, (begin, end) in enumerate(pairwise(edges.tolist())):
        to = np.inf if k == len(edges) - 2 else end
        pre, post = (_between(times, begin, to) for times in (pairs.pre_s, pairs.post_s))
        engine.advance(
            end - begin,
            np.clip(pairs.pre_s[pre] - begin, 0.0, end - begin), pairs.pre_ids[pre],
            np.clip(pairs.post_s[post] - begin, 0.0, end - begin), pairs.post_ids[post],
            pairs.learn_from_s <= begin + SAME_S,
        )  # fmt: skip
    return engine.hidden_weights()[:, 0]


def _between(times: FloatArray, begin: float, end: float) -> BoolArray:
    return np.asarray((times >= begin - SAME_S) & (times < end - SAME_S))


def float_changes(parameters: RuleParameters, pairs: Pairs, w_hid: float = 0.5) -> FloatArray:
    """Change of each pair's hidden weight in float64."""
    return play(float_engine(parameters, pairs.n, w_hid), pairs) - w_hid


def fixed_changes(parameters: RuleParameters, pairs: Pairs, dt_us: int, w_hid: float = 0.5) -> FloatArray:
    """Change of each pair's hidden weight in fixed point."""
    return play(fixed_engine(parameters, pairs.n, dt_us, w_hid), pairs.on_grid(dt_us)) - w_hid
