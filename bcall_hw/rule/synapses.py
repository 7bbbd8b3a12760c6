"""What the float and the fixed-point engine share: checks, the order of spikes, weight flips, checkpoints."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray, FloatArray, IntArray, UintArray
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


@dataclass(frozen=True, eq=False)
class Spikes:
    """Pre and post spikes of a span, each in the order of time; times since the start of the span (s)."""

    pre_s: FloatArray
    pre_ids: IntArray
    post_s: FloatArray
    post_ids: IntArray


class SynapseEngine(ABC):
    """BCaLL over many synapses: spikes of a span of time in, hidden weights and weight flips out.

    Args:
        parameters: of the rule.
        sources: int, shape (posts, slots): source index of each synapse, -1 for an unused slot.
        n_sources: number of sources.
        w_hid: initial hidden weights, same shape, in [0, 1].

    Raises:
        InvalidValue: shapes differ, an index is out of range, a weight is outside [0, 1] or NaN.
    """

    def __init__(self, parameters: RuleParameters, sources: npt.ArrayLike, n_sources: int, w_hid: npt.ArrayLike) -> None:
        if not isinstance(parameters, RuleParameters):
            raise InvalidValue("needs RuleParameters", where=type(self).__name__, used=type(parameters).__name__)
        if isinstance(n_sources, bool) or not isinstance(n_sources, (int, np.integer)) or n_sources < 0:
            raise InvalidValue("n_sources must be a whole number", where=type(self).__name__, used=str(n_sources)[:40])
        self.parameters, self.n_sources = parameters, int(n_sources)
        self._sources: IntArray = _whole("source indices", sources, type(self).__name__)
        weights: FloatArray = np.array(w_hid, dtype=np.float64, order="C")
        shape, where = self._sources.shape, type(self).__name__
        if len(shape) != 2 or weights.shape != shape:
            raise InvalidValue("sources and hidden weights differ in shape", where=where, used=(shape, weights.shape))
        if self._sources.size and not -1 <= int(self._sources.min()) <= int(self._sources.max()) < n_sources:
            used = int(self._sources.min()) if int(self._sources.min()) < -1 else int(self._sources.max())
            raise InvalidValue("source index out of range", where=where, used=used, limit=n_sources - 1)
        bad = np.argwhere(~((weights >= 0) & (weights <= 1)))
        if bad.size:
            where = f"{where}, synapse {tuple(int(i) for i in bad[0])}"
            raise InvalidValue("hidden weight outside [0, 1] or NaN", where=where)
        #: Slots without a source listen to one that never fires.
        self._slot_sources: UintArray = np.where(self._sources < 0, n_sources, self._sources).astype(np.uint32)
        self._start(weights)
        self._on = self._is_on()

    @abstractmethod
    def _start(self, w_hid: FloatArray) -> None:
        """Make the state at time 0."""

    @abstractmethod
    def _run(self, duration_s: float, spikes: Spikes, learn: BoolArray) -> None:
        """Bring the state on by a span."""

    @abstractmethod
    def _is_on(self) -> BoolArray:
        """Which stored hidden weights are above theta_w; the drift never crosses it."""

    @abstractmethod
    def hidden_weights(self) -> FloatArray:
        """Hidden weights now, drift included, shape (posts, slots)."""

    @abstractmethod
    def traces(self) -> dict[str, FloatArray]:
        """The traces now: x_i per source, x_j and x_s per post neuron."""

    @property
    @abstractmethod
    def time_s(self) -> float:
        """Time that has passed since the start (s)."""

    @property
    def sources(self) -> IntArray:
        """Source index of each synapse, -1 for an unused slot; do not change."""
        return self._sources

    @property
    def efficacy(self) -> BoolArray:
        """Binary efficacy of each synapse as of the last `advance`."""
        return self._on & (self._sources >= 0)

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
        posts, where = self._sources.shape[0], f"{type(self).__name__}.advance"
        for name, times, ids, count in (("pre", pre_s, pre_ids, self.n_sources), ("post", post_s, post_ids, posts)):
            _check(where, name, times, ids, count, duration_s)
        gate = np.ascontiguousarray(np.ones(posts, dtype=np.bool_) if learn is None else learn)
        if gate.shape != (posts,) or gate.dtype != np.bool_:
            used, limit = (gate.shape, str(gate.dtype)), ((posts,), "bool")
            raise InvalidValue("learn needs one truth value per post neuron", where=where, used=used, limit=limit)
        spikes = Spikes(*_in_order(pre_s, pre_ids, duration_s), *_in_order(post_s, post_ids, duration_s))
        self._run(float(duration_s), spikes, gate)
        on = self._is_on()
        post, slot = np.nonzero((on != self._on) & (self._sources >= 0))
        self._on = on
        return WeightFlips(post.astype(np.int64), slot.astype(np.int64), on[post, slot])

    # Checkpoints -----------------------------------------------------------------------------------------------------

    #: Names of the arrays that change, without their underscore, and of the clock.
    _STATE: tuple[str, ...] = ()
    _CLOCK = ""

    def state(self) -> dict[str, Any]:
        """Everything that changes, as arrays and numbers, for a checkpoint."""
        arrays = {name: getattr(self, f"_{name}").copy() for name in self._STATE}
        return arrays | {self._CLOCK: getattr(self, f"_{self._CLOCK}"), "fingerprint": self._fingerprint()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` gave; nothing changes if it does not fit.

        Raises:
            InvalidValue: a part is missing, or it is the state of another engine.
        """
        where = type(self).__name__
        for name in (*self._STATE, self._CLOCK, "fingerprint"):
            if not isinstance(state, dict) or name not in state:
                raise InvalidValue("part of the checkpoint is missing", where=f"{where}.{name}")
        if str(state["fingerprint"]) != self._fingerprint():
            raise InvalidValue("checkpoint of another engine: other synapses or parameters", where=where)
        given = {name: np.asarray(state[name]) for name in self._STATE}
        for name, array in given.items():
            mine = getattr(self, f"_{name}")
            if mine.shape != array.shape or mine.dtype.kind != array.dtype.kind or not self._plausible(name, array):
                used, limit = array.shape, mine.shape
                what = "checkpoint of another engine, or damaged"
                raise InvalidValue(what, where=f"{where}.{name}", used=used, limit=limit)
        clock = self._as_clock(state[self._CLOCK])
        latest = max((float(a.max(initial=0.0)) for n, a in given.items() if n.startswith("t_")), default=0.0)
        if clock < 0 or latest > clock + 1e-9:
            raise InvalidValue("impossible time", where=f"{where}.{self._CLOCK}", used=str(state[self._CLOCK])[:40])
        for name, array in given.items():
            getattr(self, f"_{name}")[...] = array
        setattr(self, f"_{self._CLOCK}", clock)
        self._on = self._is_on()

    def _plausible(self, name: str, array: npt.NDArray[Any]) -> bool:
        """Whether an array of a checkpoint holds values that the state can have."""
        if not np.all(np.isfinite(array)):
            return False
        return name.startswith("t_") or bool(np.all((array >= 0) & (array <= self._largest(name))))

    @abstractmethod
    def _as_clock(self, value: Any) -> float:
        """A clock of a checkpoint; negative if it is none."""

    @abstractmethod
    def _largest(self, name: str) -> int:
        """Largest value of a trace or of a hidden weight in the state."""

    def _fingerprint(self) -> str:
        """Hash of what a state belongs to: the synapses and the parameters."""
        return hashlib.sha256(self._sources.tobytes() + self.parameters.model_dump_json().encode()).hexdigest()


def _in_order(times: FloatArray, ids: IntArray, duration_s: float) -> tuple[FloatArray, IntArray]:
    """By time; a last spike that rounding put up to a nanosecond behind the end is at the end."""
    times, ids = np.minimum(np.asarray(times, dtype=np.float64), duration_s), np.asarray(ids, dtype=np.int64)
    if np.all(times[1:] >= times[:-1]):
        return times, ids
    order = np.argsort(times, kind="stable")
    return times[order], ids[order]


def _check(where: str, name: str, times: FloatArray, ids: IntArray, count: int, duration_s: float) -> None:
    if not isinstance(duration_s, Real) or not 0.0 <= float(duration_s) < inf:
        raise InvalidValue("duration must be finite and not negative", where=where, used=duration_s)
    for given in (times, ids):
        if np.ndim(given) != 1 or (np.size(given) and np.asarray(given).dtype.kind not in "iuf"):
            used = (np.shape(given), str(np.asarray(given).dtype))
            raise InvalidValue(f"{name} times and ids must be rows of numbers", where=where, used=used)
    if len(times) != len(ids):
        raise InvalidValue(f"{name} times and ids differ in length", where=where, used=(len(times), len(ids)))
    if len(times) == 0:
        return
    if not (float(np.min(times)) >= 0.0 and float(np.max(times)) <= duration_s + 1e-9):
        span, limit = (float(np.min(times)), float(np.max(times))), f"0 to {duration_s} s"
        raise InvalidValue(f"{name} spikes outside the span", where=where, used=span, limit=limit)
    _require_whole(f"{name} ids", np.asarray(ids), where)
    lowest, highest = int(np.min(ids)), int(np.max(ids))
    if lowest < 0 or highest >= count:
        raise InvalidValue(f"{name} id out of range", where=where, used=lowest if lowest < 0 else highest, limit=count - 1)


def _whole(what: str, given: npt.ArrayLike, where: str) -> IntArray:
    """A copy as 64-bit integers, of values that are whole numbers."""
    try:
        values = np.asarray(given)
    except ValueError:
        values = np.array("ragged")
    _require_whole(what, values, where)
    return np.array(values, dtype=np.int64, order="C")


def _require_whole(what: str, values: npt.NDArray[Any], where: str) -> None:
    if values.dtype.kind == "f" and not np.all((values == np.rint(values)) & (np.abs(values) < 2.0**53)):
        raise InvalidValue(f"{what} must be whole numbers", where=where, used=str(values.dtype))
    if values.dtype.kind not in "iuf" or (values.dtype.kind == "u" and values.size and int(values.max()) >= 2**63):
        raise InvalidValue(f"{what} must be whole numbers", where=where, used=str(values.dtype))
