"""The compiled loops of the engines. One file on purpose: see the emulator's kernel.

Post neurons are independent of one another once the pre traces are known, so the loop goes neuron by neuron: one row of
weights at a time stays in the fastest cache.
"""

from __future__ import annotations

from math import factorial

import numba
import numpy as np

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG2_E = 1.4426950408889634
_SMALLEST = -745.13  # e^x is 0 in float64 below
_TAYLOR = tuple(1.0 / factorial(k) for k in range(13, -1, -1))

#: Longest span of one call, in units of tau_i: traces are held multiplied by exp(t / tau_i), up to e^this.
LONGEST_SPAN_TAU = 60.0
#: A row that listens to less than this share of the sources gathers their spikes; another walks through all of them.
SPARSE = 4


@numba.njit(cache=True, inline="always")
def exp(x):  # type: ignore[no-untyped-def]
    """e^x for x <= 0 from additions and multiplications alone: the same bits on every machine (see `portable_math`).

    x = n ln 2 + r with |r| <= ln 2 / 2, a Taylor series of degree 13 for r, and an exact scaling by 2^n.
    """
    if x < _SMALLEST:
        return 0.0
    n = int(x * _LOG2_E - 0.5)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    value = _TAYLOR[0]
    for k in range(1, len(_TAYLOR)):
        value = value * r + _TAYLOR[k]
    scale, base = 1.0, 0.5
    n = -n
    while n > 0:
        if n & 1:
            scale *= base
        base *= base
        n >>= 1
    return value * scale


@numba.njit(cache=True)
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm of x >= 1 from IEEE operations alone: x = 2^n y, ln y = 2 artanh((y - 1) / (y + 1)) as a series."""
    n, y = 0, x
    while y > 1.5:
        y *= 0.5
        n += 1
    z = (y - 1.0) / (y + 1.0)
    square, term, total = z * z, z, 0.0
    for k in range(1, 48, 2):
        total += term / k
        term *= square
    return n * _LN2_HIGH + (n * _LN2_LOW + 2.0 * total)


@numba.njit(cache=True)
def _lasts(x, theta, tau):  # type: ignore[no-untyped-def]
    """How long a trace x >= theta takes to fall to theta; to 0 it falls where float64 ends."""
    ratio = x / theta if theta > 0.0 else np.inf
    return tau * log(ratio) if ratio < np.inf else -tau * _SMALLEST


@numba.njit(cache=True)
def grouped(ids, count):  # type: ignore[no-untyped-def]
    """Positions of each id in ascending order: (start of each id's part, positions)."""
    start = np.zeros(count + 1, np.int64)
    for e in range(ids.shape[0]):
        start[ids[e] + 1] += 1
    for i in range(count):
        start[i + 1] += start[i]
    fill, positions = start[:-1].copy(), np.empty(ids.shape[0], np.int64)
    for e in range(ids.shape[0]):
        positions[fill[ids[e]]] = e
        fill[ids[e]] += 1
    return start, positions


@numba.njit(cache=True)
def _chain(row, n_sources, source_start, head, following):  # type: ignore[no-untyped-def]
    """Which slots of a row listen to each source, as chains from `head`; returns how many sources and spikes that are."""
    distinct, n_events = 0, 0
    for k in range(row.shape[0] - 1, -1, -1):
        s = row[k]
        if s < n_sources and head[s] < 0:
            distinct += 1
            n_events += source_start[s + 1] - source_start[s]
        following[k], head[s] = head[s], k
    return distinct, n_events


@numba.njit(cache=True)
def _heard(row, n_sources, source_start, source_events, head, n_events):  # type: ignore[no-untyped-def]
    """Positions of the pre spikes that a row listens to, in order."""
    events = np.empty(n_events, np.int64)
    n_events = 0
    for k in range(row.shape[0]):
        s = row[k]
        if s < n_sources and head[s] == k:
            for e in range(source_start[s], source_start[s + 1]):
                events[n_events] = source_events[e]
                n_events += 1
    events.sort()
    return events


@numba.njit(cache=True, nogil=True)
def advance_float(  # type: ignore[no-untyped-def]
    numbers, switches, sources, x_i, x_j, x_s, t_i, t_j, w_hid, t_w, learn, start_s, pre_t, pre_id, post_t, post_id,
):  # fmt: skip
    """Walk through the spikes of a span that begins at `start_s`; both lists are in the order of time.

    `sources` names the source of each slot; a slot without one has the index n_sources.
    """
    tau_i, tau_j, a_i, a_j, theta_i, theta_j, c_p, c_d1, c_d2, theta_w = numbers[:10]
    tau_s, a_s, lo, hi, up, down = numbers[10:16]
    gate_silent, stop = switches[0], switches[1]
    n_sources, (n_posts, n_slots), n_pre = x_i.shape[0], sources.shape, pre_t.shape[0]

    # Pre traces, as x (after each spike) and as x exp((t - start) / tau_i), which does not change between spikes.
    first = np.zeros(n_sources + 1)
    for s in range(n_sources):
        first[s] = x_i[s] * exp(-(start_s - t_i[s]) / tau_i)
    after, grown = np.empty(n_pre), np.empty(n_pre)
    for e in range(n_pre):
        s, now = pre_id[e], pre_t[e]
        x = x_i[s] * exp(-(now - t_i[s]) / tau_i)
        x += a_i * (1.0 - x)
        x_i[s], t_i[s] = x, now
        after[e], grown[e] = x, x / exp(-(now - start_s) / tau_i)

    source_start, source_events = grouped(pre_id, n_sources)
    post_start, post_events = grouped(post_id, n_posts)
    current = np.empty(n_sources + 1)  # the grown traces of the sources of one post neuron, as its time goes on
    head, following = np.full(n_sources + 1, -1), np.empty(n_slots, np.int64)
    x_row, unused, kept = np.empty(n_slots), np.empty(n_slots, np.int64), np.empty((2, n_slots))
    for j in range(n_posts):
        row_sources = sources[j]
        distinct, n_events = _chain(row_sources, n_sources, source_start, head, following)
        straight, n_unused = True, 0  # straight: slot k listens to source k, so a row is one stretch of memory
        for k in range(n_slots):
            straight &= row_sources[k] == k
            current[row_sources[k]] = first[row_sources[k]]
            if row_sources[k] == n_sources:
                unused[n_unused] = k
                n_unused += 1
        my_t, my_id, my_after, my_grown = pre_t, pre_id, after, grown
        if distinct * SPARSE < n_sources:
            events = _heard(row_sources, n_sources, source_start, source_events, head, n_events)
            my_t, my_after, my_grown = np.empty(n_events), np.empty(n_events), np.empty(n_events)
            my_id = np.empty(n_events, np.int64)
            for at in range(n_events):
                e = events[at]
                my_t[at], my_id[at], my_after[at], my_grown[at] = pre_t[e], pre_id[e], after[e], grown[e]
        row, row_t = w_hid[j], t_w[j]
        at, filled = 0, 0
        for p in range(post_start[j], post_start[j + 1] + 1):
            last = p == post_start[j + 1]
            now = np.inf if last else post_t[post_events[p]]
            end = at + int(np.searchsorted(my_t[at:], now, side="right"))
            # Pre spikes act between these two times, exclusively: x_j > theta_j and the gate is open.
            opens, closes = -np.inf, -np.inf
            if learn[j] and x_j[j] > theta_j:
                closes = t_j[j] + _lasts(x_j[j], theta_j, tau_j)
                if stop:
                    if x_s[j] >= hi:
                        opens = t_j[j] + _lasts(x_s[j], hi, tau_s)
                    closes = -np.inf if x_s[j] <= lo else min(closes, t_j[j] + _lasts(x_s[j], lo, tau_s))
            if closes > opens:
                begin = at + np.searchsorted(my_t[at:end], opens, side="right")
                for e in range(begin, begin + np.searchsorted(my_t[begin:end], closes, side="left")):
                    when, k = my_t[e], head[np.uint64(my_id[e])]
                    while k >= 0:
                        slot = np.uint64(k)  # an unsigned index needs no check for a negative one
                        w, since = row[slot], when - row_t[slot]
                        drifted = min(1.0, max(0.0, w + since * (up if w > theta_w else -down)))
                        row[slot], row_t[slot] = max(0.0, drifted + c_d1), when
                        k = following[slot]
            at = end
            if last:
                break
            dt = now - t_j[j]
            t_j[j] = now
            is_open = True
            if stop:
                x_s[j] *= exp(-dt / tau_s)
                x_s[j] += a_s * (1.0 - x_s[j])
                is_open = lo < x_s[j] < hi
            if learn[j] and is_open:
                for e in range(filled, at):
                    current[np.uint64(my_id[e])] = my_grown[e]
                filled = at
                fade = exp(-(now - start_s) / tau_i)
                if straight:
                    for k in range(n_slots):
                        x_row[k] = current[k] * fade
                else:
                    for k in range(n_slots):
                        x_row[k] = current[row_sources[k]] * fade
                tied = at - 1
                while tied >= 0 and my_t[tied] == now:  # pre spikes of this very moment: their trace to the last bit
                    tied -= 1
                for e in range(tied + 1, at):
                    k = head[my_id[e]]
                    while k >= 0:
                        x_row[k] = my_after[e]
                        k = following[k]
                for u in range(n_unused):  # slots without a source drift only: put back what the loop does to them
                    kept[0, u], kept[1, u] = row[unused[u]], row_t[unused[u]]
                for k in range(n_slots):
                    x, w = x_row[k], row[k]
                    depress = (x < theta_i) & ((x > 0.0) | (not gate_silent))
                    change = c_p * x + (c_d2 if depress else 0.0)
                    drifted = min(1.0, max(0.0, w + (now - row_t[k]) * (up if w > theta_w else -down)))
                    row[k], row_t[k] = min(1.0, max(0.0, drifted + change)), now
                for u in range(n_unused):
                    row[unused[u]], row_t[unused[u]] = kept[0, u], kept[1, u]
            x_j[j] *= exp(-dt / tau_j)
            x_j[j] += a_j * (1.0 - x_j[j])
        for k in range(n_slots):
            head[sources[j, k]] = -1


# Fixed point ---------------------------------------------------------------------------------------------------------

_SHUT = np.uint8(2)  # for a pre spike: closed until the next post spike, because traces only decay till then


@numba.njit(cache=True, inline="always")
def _decay_all(x, decay, shift, word, dither_bits):  # type: ignore[no-untyped-def]
    above = shift - dither_bits
    dither = word << above if above >= 0 else word >> -above
    for i in range(x.shape[0]):
        x[i] -= (x[i] * decay + dither) >> shift


@numba.njit(cache=True, inline="always")
def _drifted(w, up, down, theta_w, one):  # type: ignore[no-untyped-def]
    risen, fallen = min(one, w + up), max(np.int64(0), w - down)
    return risen if w > theta_w else fallen


@numba.njit(cache=True)
def _gathered(slope, first_step, n_steps, bits):  # type: ignore[no-untyped-def]
    """Whole units that a slope gathers from `first_step` on, for every step of the call."""
    units, rest = slope >> bits, slope & ((np.int64(1) << bits) - 1)
    table = np.empty(n_steps + 1, np.int64)
    for k in range(n_steps + 1):
        table[k] = k * units + (((first_step + k) * rest) >> bits) - ((first_step * rest) >> bits)
    return table


@numba.njit(cache=True, nogil=True)
def advance_fixed(  # type: ignore[no-untyped-def]
    words, sources, x_i, x_j, x_s, w_hid, learn, first_step, n_steps, pre_step, pre_id, post_step, post_id,
):  # fmt: skip
    """The bits of `_fixed_numpy.advance`: traces clocked, drift lazy."""
    one_x, half, trace_bits, one_w, theta_w = words[0], words[1], words[2], words[3], words[4]
    jump_i, decay_i, shift_i, jump_j, decay_j, shift_j, jump_s, decay_s, shift_s = words[5:14]
    theta_i, theta_j, c_p, c_d1, c_d2, stop, lo, hi, gate_silent = words[14:23]
    golden, dither_bits = words[25], words[26]
    mask = (np.int64(1) << dither_bits) - 1
    up, down = _gathered(words[23], first_step, n_steps, words[27]), _gathered(words[24], first_step, n_steps, words[27])
    n_sources, (n_posts, n_slots) = x_i.shape[0], sources.shape
    n_pre, n_post, zero = pre_step.shape[0], post_step.shape[0], np.int64(0)

    # Traces, step by step: what each pre spike would do to a neuron, and what each post spike finds.
    is_open = np.zeros((n_posts, n_steps + 1), np.uint8)
    row_of_step = np.full(n_steps + 1, -1)
    n_rows = 0
    for p in range(n_post):
        if row_of_step[post_step[p] - first_step] < 0:
            row_of_step[post_step[p] - first_step] = n_rows
            n_rows += 1
    x_rows = np.zeros((n_rows, n_sources + 1), np.int32)
    post_open = np.zeros(n_post, np.uint8)
    a, b = 0, 0
    for k in range(n_steps + 1):
        step = first_step + k
        if k > 0:
            word = (step * golden) & mask
            _decay_all(x_i, decay_i, shift_i, word, dither_bits)
            _decay_all(x_j, decay_j, shift_j, word, dither_bits)
            if stop:
                _decay_all(x_s, decay_s, shift_s, word, dither_bits)
        if a < n_pre and pre_step[a] == step:
            for j in range(n_posts):
                if not learn[j] or x_j[j] <= theta_j or (stop and x_s[j] <= lo):
                    is_open[j, k] = _SHUT
                else:
                    is_open[j, k] = not stop or x_s[j] < hi
            while a < n_pre and pre_step[a] == step:
                s = pre_id[a]
                x_i[s] += (jump_i * (one_x - x_i[s]) + half) >> trace_bits
                a += 1
        if b < n_post and post_step[b] == step:
            row = row_of_step[k]
            for s in range(n_sources):
                x_rows[row, s] = x_i[s]
            while b < n_post and post_step[b] == step:
                j = post_id[b]
                if stop:
                    x_s[j] += (jump_s * (one_x - x_s[j]) + half) >> trace_bits
                post_open[b] = learn[j] and (not stop or lo < x_s[j] < hi)
                x_j[j] += (jump_j * (one_x - x_j[j]) + half) >> trace_bits
                b += 1

    # Hidden weights, neuron by neuron.
    source_start, source_events = grouped(pre_id, n_sources)
    post_start, post_events = grouped(post_id, n_posts)
    head, following = np.full(n_sources + 1, -1), np.empty(n_slots, np.int64)
    row_k = np.empty(n_slots, np.uint32)  # step of the call up to which each hidden weight of the row has drifted
    for j in range(n_posts):
        row_sources = sources[j]
        distinct, n_events = _chain(row_sources, n_sources, source_start, head, following)
        my_step, my_id = pre_step, pre_id
        if distinct * SPARSE < n_sources:
            events = _heard(row_sources, n_sources, source_start, source_events, head, n_events)
            my_step, my_id = np.empty(n_events, np.int64), np.empty(n_events, np.int64)
            for e in range(n_events):
                my_step[e], my_id[e] = pre_step[events[e]], pre_id[events[e]]
        open_j, row_w = is_open[j], w_hid[j]
        row_k[:] = np.uint32(0)
        n_events = my_step.shape[0]
        at = 0
        for p in range(post_start[j], post_start[j + 1] + 1):
            last = p == post_start[j + 1]
            now = n_steps if last else post_step[post_events[p]] - first_step
            end = at + np.searchsorted(my_step[at:], first_step + now, side="right")
            while at < end:
                when = my_step[at] - first_step
                if open_j[when] == _SHUT:
                    break
                if open_j[when]:
                    k = head[my_id[at]]
                    while k >= 0:
                        w = np.int64(row_w[k])
                        w = _drifted(w, up[when] - up[row_k[k]], down[when] - down[row_k[k]], theta_w, one_w)
                        row_w[k] = min(one_w, max(zero, w + c_d1))
                        row_k[k] = np.uint32(when)
                        k = following[k]
                at += 1
            at = end
            if last or not post_open[post_events[p]]:
                continue
            x_row, up_now, down_now = x_rows[row_of_step[now]], up[now], down[now]
            for k in range(n_slots):
                x, before, since = np.int64(x_row[sources[j, k]]), np.int64(row_w[k]), row_k[k]
                depress = (x < theta_i) & ((x > zero) | (gate_silent == 0))
                change = ((c_p * x + half) >> trace_bits) + (c_d2 if depress else zero)
                w = _drifted(before, up_now - up[since], down_now - down[since], theta_w, one_w)
                used = sources[j, k] < n_sources
                row_w[k] = min(one_w, max(zero, w + change)) if used else before
                row_k[k] = np.uint32(now) if used else since
        for k in range(n_slots):
            row_w[k] = _drifted(np.int64(row_w[k]), up[n_steps] - up[row_k[k]], down[n_steps] - down[row_k[k]], theta_w, one_w)
            head[sources[j, k]] = -1
