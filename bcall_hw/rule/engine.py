"""The plasticity engine: pre and post spikes of a span of time in, hidden weights and weight flips out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.errors import InvalidValue
from bcall_hw.rule.parameters import RuleParameters


@dataclass(frozen=True, eq=False)
class WeightFlips:
    """Synapses whose binary efficacy changed: parallel arrays.

    Attributes:
        post, slot: which synapse: row and column of the source table.
        on: the new efficacy.
    """

    post: IntArray
    slot: IntArray
    on: BoolArray

    def __len__(self) -> int:
        return len(self.post)


class PlasticityEngine:
    """BCaLL over many synapses, exact at events (arXiv 2504.06796, equations 1 to 4).

    Traces decay exactly between events; the drift of a hidden weight is evaluated only when the synapse is touched.
    Spikes at the same time: pre before post. Layout is post-major.

    Args:
        parameters: of the rule.
        sources: int, shape (posts, slots): source index of each synapse, -1 for an unused slot.
        n_sources: number of sources.
        w_hid: initial hidden weights, same shape, in [0, 1].

    Raises:
        InvalidValue: shapes differ, an index is out of range, a weight is outside [0, 1] or NaN.
    """

    def __init__(self, parameters: RuleParameters, sources: npt.ArrayLike, n_sources: int, w_hid: npt.ArrayLike) -> None:
        self.parameters, self.n_sources = parameters, n_sources
        self._sources: IntArray = np.array(sources, dtype=np.int64, order="C")
        self._w_hid: FloatArray = np.array(w_hid, dtype=np.float64, order="C")
        shape = self._sources.shape
        if len(shape) != 2 or self._w_hid.shape != shape:
            raise InvalidValue(
                "sources and hidden weights differ in shape", where="PlasticityEngine", used=(shape, self._w_hid.shape)
            )
        if self._sources.size and not -1 <= int(self._sources.min()) <= int(self._sources.max()) < n_sources:
            used = int(self._sources.min()) if int(self._sources.min()) < -1 else int(self._sources.max())
            raise InvalidValue("source index out of range", where="PlasticityEngine", used=used, limit=n_sources - 1)
        if not bool(np.all((self._w_hid >= 0) & (self._w_hid <= 1))):
            where = f"synapse {tuple(int(i) for i in np.argwhere(~((self._w_hid >= 0) & (self._w_hid <= 1)))[0])}"
            raise InvalidValue("hidden weight outside [0, 1] or NaN", where=f"PlasticityEngine, {where}")
        self._time_s = 0.0
        self._t_w = np.zeros(shape)
        self._x_i, self._t_i = np.zeros(n_sources), np.zeros(n_sources)
        self._x_j, self._x_s, self._t_j = np.zeros(shape[0]), np.zeros(shape[0]), np.zeros(shape[0])
        self._on = self._w_hid > parameters.theta_w
        self._fan_out = self._by_source()
        self._numbers, self._switches = _packed(parameters)

    def _by_source(self) -> tuple[IntArray, IntArray, IntArray]:
        post, slot = np.nonzero(self._sources >= 0)
        source = self._sources[post, slot]
        order = np.argsort(source, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=self.n_sources))])
        return start.astype(np.int64), post[order].astype(np.int64), slot[order].astype(np.int64)

    @property
    def time_s(self) -> float:
        """Time that has passed since the start (s)."""
        return self._time_s

    @property
    def sources(self) -> IntArray:
        """Source index of each synapse, -1 for an unused slot; do not change."""
        return self._sources

    @property
    def efficacy(self) -> BoolArray:
        """Binary efficacy of each synapse as of the last `advance`."""
        return self._on & (self._sources >= 0)

    def hidden_weights(self) -> FloatArray:
        """Hidden weights now, drift included, shape (posts, slots)."""
        drift = self.parameters.bistability
        if drift is None:
            return self._w_hid.copy()
        since = self._time_s - self._t_w
        up = np.minimum(1.0, self._w_hid + since * (drift.alpha / drift.tau_w_s))
        down = np.maximum(0.0, self._w_hid - since * (drift.beta / drift.tau_w_s))
        return np.where(self._w_hid > self.parameters.theta_w, up, down)

    def traces(self) -> dict[str, FloatArray]:
        """The traces now: x_i per source, x_j and x_s per post neuron."""
        p, now = self.parameters, self._time_s
        slow = p.stop_learning.tau_s if p.stop_learning else 1.0
        return {
            "x_i": self._x_i * np.exp(-(now - self._t_i) / p.tau_i_s),
            "x_j": self._x_j * np.exp(-(now - self._t_j) / p.tau_j_s),
            "x_s": self._x_s * np.exp(-(now - self._t_j) / slow),
        }

    def advance(
        self,
        duration_s: float,
        pre_s: FloatArray,
        pre_ids: IntArray,
        post_s: FloatArray,
        post_ids: IntArray,
        learn: BoolArray | None = None,
    ) -> WeightFlips:
        """Go on by `duration_s` with the spikes of that span.

        Args:
            pre_s, post_s: times since the start of the span (s), within [0, duration_s], in any order.
            pre_ids, post_ids: source and post neuron of each spike.
            learn: bool per post neuron: the host's own gate; neurons outside it keep their traces and drift only.

        Returns:
            The synapses whose efficacy differs from before.

        Raises:
            InvalidValue: times outside the span, ids out of range.
        """
        for name, times, ids, count in (("pre", pre_s, pre_ids, self.n_sources), ("post", post_s, post_ids, len(self._x_j))):
            self._check(name, times, ids, count, duration_s)
        open_ = np.ones(len(self._x_j), dtype=np.bool_) if learn is None else np.ascontiguousarray(learn, dtype=np.bool_)
        if open_.shape != self._x_j.shape:
            where, limit = "PlasticityEngine.advance", self._x_j.shape
            raise InvalidValue("learn needs one value per post neuron", where=where, used=open_.shape, limit=limit)
        from bcall_hw.rule._kernel import advance

        times = np.concatenate([pre_s, post_s]) + self._time_s
        kinds = np.concatenate([np.zeros(len(pre_s), dtype=np.int64), np.ones(len(post_s), dtype=np.int64)])
        ids = np.concatenate([pre_ids, post_ids]).astype(np.int64)
        order = np.lexsort((ids, kinds, times))
        advance(
            self._numbers, self._switches, *self._fan_out, self._sources,
            self._x_i, self._x_j, self._x_s, self._t_i, self._t_j, self._w_hid, self._t_w,
            open_, times[order], kinds[order], ids[order],
        )  # fmt: skip
        self._time_s += duration_s
        on = self._w_hid > self.parameters.theta_w  # the drift never crosses theta_w
        post, slot = np.nonzero((on != self._on) & (self._sources >= 0))
        self._on = on
        return WeightFlips(post.astype(np.int64), slot.astype(np.int64), on[post, slot])

    def _check(self, name: str, times: FloatArray, ids: IntArray, count: int, duration_s: float) -> None:
        if not np.isfinite(duration_s) or duration_s < 0:
            raise InvalidValue("duration must be finite and not negative", where="PlasticityEngine.advance", used=duration_s)
        if len(times) != len(ids):
            raise InvalidValue(
                f"{name} times and ids differ in length", where="PlasticityEngine.advance", used=(len(times), len(ids))
            )
        if len(times) == 0:
            return
        if not (float(np.min(times)) >= 0.0 and float(np.max(times)) <= duration_s + 1e-9):
            span, limit = (float(np.min(times)), float(np.max(times))), f"0 to {duration_s} s"
            raise InvalidValue(f"{name} spikes outside the span", where="PlasticityEngine.advance", used=span, limit=limit)
        lowest, highest = int(np.min(ids)), int(np.max(ids))
        if lowest < 0 or highest >= count:
            used = lowest if lowest < 0 else highest
            raise InvalidValue(f"{name} id out of range", where="PlasticityEngine.advance", used=used, limit=count - 1)

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that changes, as arrays and numbers, for a checkpoint."""
        arrays = {name: getattr(self, f"_{name}").copy() for name in _STATE}
        return arrays | {"time_s": self._time_s, "fingerprint": self._fingerprint()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` gave; nothing changes if it does not fit.

        Raises:
            InvalidValue: a part is missing, or it is the state of another engine.
        """
        for name in (*_STATE, "time_s", "fingerprint"):
            if name not in state:
                raise InvalidValue("part of the checkpoint is missing", where=f"PlasticityEngine.{name}")
        if state["fingerprint"] != self._fingerprint():
            raise InvalidValue("checkpoint of another engine: other synapses or parameters", where="PlasticityEngine")
        given = {name: np.asarray(state[name], dtype=np.float64) for name in _STATE}
        for name, array in given.items():
            mine = getattr(self, f"_{name}")
            if mine.shape != array.shape or not np.all(np.isfinite(array)):
                used, limit = array.shape, mine.shape
                raise InvalidValue(
                    "checkpoint of another engine, or damaged", where=f"PlasticityEngine.{name}", used=used, limit=limit
                )
        for name, array in given.items():
            getattr(self, f"_{name}")[...] = array
        self._time_s = float(state["time_s"])
        self._on = self._w_hid > self.parameters.theta_w

    def _fingerprint(self) -> str:
        """Hash of what a state belongs to: the synapses and the parameters."""
        return hashlib.sha256(self._sources.tobytes() + self.parameters.model_dump_json().encode()).hexdigest()


_STATE = ("x_i", "x_j", "x_s", "t_i", "t_j", "w_hid", "t_w")


def _packed(p: RuleParameters) -> tuple[FloatArray, BoolArray]:
    stop, drift = p.stop_learning, p.bistability
    numbers = [p.tau_i_s, p.tau_j_s, p.a_i, p.a_j, p.theta_i, p.theta_j, p.c_p, p.c_d1, p.c_d2, p.theta_w]
    numbers += [stop.tau_s, stop.a, stop.theta_lo, stop.theta_hi] if stop else [1.0, 0.0, 0.0, 1.0]
    numbers += [drift.alpha / drift.tau_w_s, drift.beta / drift.tau_w_s] if drift else [0.0, 0.0]
    return np.array(numbers), np.array([p.gate_silent_pre, stop is not None])
