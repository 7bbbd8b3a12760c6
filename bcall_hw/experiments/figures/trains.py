"""Spike trains of many independent pairs of one pre and one post neuron."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcall_hw import random_bits
from bcall_hw.arrays import BoolArray, FloatArray, IntArray
from bcall_hw.errors import InvalidValue

SAME_S = 1e-9  # times this near are the same


@dataclass(frozen=True, eq=False)
class Pairs:
    """Trains of `n` pairs, all of the same length.

    Attributes:
        duration_s: length (s).
        pre_s, post_s: spike times (s).
        pre_ids, post_ids: the pair of each spike.
        learn_from_s: shape (n,): from when on the hidden weight may jump; before that only traces go on (s).
    """

    n: int
    duration_s: float
    pre_s: FloatArray
    pre_ids: IntArray
    post_s: FloatArray
    post_ids: IntArray
    learn_from_s: FloatArray

    def learning(self, times_s: FloatArray, ids: IntArray) -> BoolArray:
        """Which spikes of which pairs come when their pair learns."""
        return np.asarray(times_s >= self.learn_from_s[ids] - SAME_S)

    def on_grid(self, dt_us: int) -> Pairs:
        """The same with every spike on the nearest whole step."""
        unit = dt_us * 1e-6
        pre, post, learn = (np.rint(times / unit) * unit for times in (self.pre_s, self.post_s, self.learn_from_s))
        return Pairs(self.n, self.duration_s, pre, self.pre_ids, post, self.post_ids, learn)

    def repeated(self, copies: int) -> Pairs:
        """The same pairs several times over: copy c of pair k has the number c n + k."""

        def again(times: FloatArray, ids: IntArray) -> tuple[FloatArray, IntArray]:
            shift = np.repeat(np.arange(copies) * self.n, times.size)
            return np.tile(times, copies), np.tile(ids, copies) + shift

        learn = np.tile(self.learn_from_s, copies)
        pre, post = again(self.pre_s, self.pre_ids), again(self.post_s, self.post_ids)
        return Pairs(self.n * copies, self.duration_s, *pre, *post, learn)

    def part(self, ids: IntArray) -> Pairs:
        """Some of the pairs, numbered anew in the order of `ids`."""
        new = np.full(self.n, -1, dtype=np.int64)
        new[ids] = np.arange(len(ids))
        pre, post = new[self.pre_ids] >= 0, new[self.post_ids] >= 0
        return Pairs(
            len(ids), self.duration_s, self.pre_s[pre], new[self.pre_ids[pre]], self.post_s[post], new[self.post_ids[post]],
            self.learn_from_s[ids],
        )  # fmt: skip


def poisson(
    seed: int, stream: str, rates_hz: npt.ArrayLike, duration_s: float, dt_us: int, start_s: float = 0.0
) -> tuple[FloatArray, IntArray]:
    """Poisson trains on the grid of `dt_us`, one for each rate: at most one spike a step, with probability r dt.

    Returns:
        Times (s) and the train of each spike.
    """
    rates = np.asarray(rates_hz, dtype=np.float64)
    if rates.size and not (rates.min() >= 0.0 and rates.max() * dt_us * 1e-6 < 1.0):
        limit = f"from 0 to below {1e6 / dt_us:g} Hz"
        raise InvalidValue("impossible rate (Hz)", where=f"trains, {stream}", used=(rates.min(), rates.max()), limit=limit)
    p, unit = rates * dt_us * 1e-6, dt_us * 1e-6
    first, n_steps = round(start_s / unit), round(duration_s / unit)
    expected = float(np.max(p, initial=0.0)) * n_steps
    most = int(expected + 8 * np.sqrt(expected) + 12)
    u = random_bits.uniform(seed, stream, rates.size * most).reshape(rates.size, most)
    with np.errstate(divide="ignore"):
        gaps = np.floor(np.log1p(-u) / np.log1p(-p)[:, None])  # geometric: failures before the next success
    steps = np.cumsum(np.where(np.isfinite(gaps), gaps, n_steps) + 1.0, axis=1) - 1.0
    if rates.size and steps[:, -1].min() < n_steps:
        raise InvalidValue("a train has more spikes than were drawn", where=f"trains, {stream}", used=most)
    train, index = np.nonzero(steps < n_steps)
    return (first + steps[train, index]) * unit, train.astype(np.int64)


def poisson_pairs(
    seed: int, stream: str, pre_hz: npt.ArrayLike, post_hz: npt.ArrayLike, duration_s: float, dt_us: int, warm_s: float = 0.0
) -> Pairs:
    """Independent Poisson trains at the given rates, one pair each; learning begins after `warm_s`."""
    pre = poisson(seed, f"{stream}/pre", pre_hz, duration_s, dt_us)
    post = poisson(seed, f"{stream}/post", post_hz, duration_s, dt_us)
    n = np.size(pre_hz)
    return Pairs(n, duration_s, *pre, *post, np.full(n, warm_s))


def ordered_pairs(
    seed: int, stream: str, pre_hz: npt.ArrayLike, post_hz: npt.ArrayLike, duration_s: float, dt_us: int, shift_s: float
) -> Pairs:
    """Trains with an order: the slower is the faster one thinned, and shifted so that t_post - t_pre = `shift_s`.

    The faster train begins before the trial and ends after it, so that no shifted spike is missing at an edge.
    """
    pre, post = np.asarray(pre_hz, dtype=np.float64), np.asarray(post_hz, dtype=np.float64)
    fast, slow, margin = np.maximum(pre, post), np.minimum(pre, post), abs(shift_s)
    times, ids = poisson(seed, f"{stream}/fast", fast, duration_s + 2 * margin, dt_us, -margin)
    kept = random_bits.uniform(seed, f"{stream}/thinning", ids.size) < (slow / fast)[ids]
    fast_is_pre = (pre >= post)[ids]
    thin = np.rint((times + np.where(fast_is_pre, shift_s, -shift_s)) / (dt_us * 1e-6)) * (dt_us * 1e-6)
    parts = []
    for original in (fast_is_pre, ~fast_is_pre):
        own, copied = original, ~original & kept
        all_times, all_ids = np.concatenate([times[own], thin[copied]]), np.concatenate([ids[own], ids[copied]])
        inside = (all_times >= 0) & (all_times < duration_s - dt_us * 0.5e-6)
        order = np.argsort(all_times[inside], kind="stable")
        parts += [np.abs(all_times[inside][order]), all_ids[inside][order]]
    return Pairs(pre.size, duration_s, parts[0], parts[1], parts[2], parts[3], np.zeros(pre.size))


def single_pairs(dts_s: FloatArray) -> Pairs:
    """One pre and one post spike for each difference dt = t_post - t_pre (s)."""
    n, half = dts_s.size, float(np.max(np.abs(dts_s)))
    ids = np.arange(n, dtype=np.int64)
    pre = np.full(n, np.ceil((half + 1e-3) * 1e3) * 1e-3)
    return Pairs(n, float(pre[0] * 2), pre, ids, pre + dts_s, ids, np.zeros(n))


def periodic_pairs(rates_hz: FloatArray, dt_s: float, warm_s: float, measured: IntArray) -> Pairs:
    """Pairs of spikes at steady rates, post `dt_s` after pre; learning begins with the first whole pair after `warm_s`.

    Args:
        measured: how many pairs each trial learns from.

    Raises:
        InvalidValue: |dt| is not below the shortest period, less the lead of 2 ms.
    """
    if not abs(dt_s) + 2e-3 < 1.0 / float(np.max(rates_hz)):
        raise InvalidValue("pairs overlap", where="periodic pairs", used=(dt_s, float(np.max(rates_hz))))
    first = 2e-3
    lead = first + max(0.0, -dt_s)
    warm = np.ceil(warm_s * rates_hz).astype(np.int64)
    counts = warm + measured
    ids = np.repeat(np.arange(rates_hz.size), counts).astype(np.int64)
    number = np.concatenate([np.arange(c) for c in counts])
    pre = lead + number / rates_hz[ids]
    # Half a lead before the first spike of the first measured pair.
    learn_from = warm / rates_hz + first / 2
    duration = float(np.ceil((np.max(pre) + abs(dt_s) + first) * 1e3) * 1e-3)
    return Pairs(rates_hz.size, duration, pre, ids, pre + dt_s, ids, learn_from)
