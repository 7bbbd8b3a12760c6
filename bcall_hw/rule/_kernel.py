"""The compiled loop of the plasticity engine. One file on purpose: see the emulator's kernel."""

from __future__ import annotations

from math import factorial

import numba

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG2_E = 1.4426950408889634
_TAYLOR = tuple(1.0 / factorial(k) for k in range(13, -1, -1))


@numba.njit(cache=True, inline="always")
def exp(x):  # type: ignore[no-untyped-def]
    """e^x for x <= 0 from additions and multiplications alone: the same bits on every machine (see `portable_math`).

    x = n ln 2 + r with |r| <= ln 2 / 2, a Taylor series of degree 13 for r, and an exact scaling by 2^n.
    """
    if x < -700.0:
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


@numba.njit(cache=True, nogil=True)
def advance(  # type: ignore[no-untyped-def]
    numbers, switches, fan_out_start, fan_out_post, fan_out_slot, sources,
    x_i, x_j, x_s, t_i, t_j, w_hid, t_w, learn, times, kinds, ids,
):  # fmt: skip
    """Walk through merged events: kind 0 = pre spike of source id, kind 1 = post spike of neuron id."""
    tau_i, tau_j, a_i, a_j, theta_i, theta_j, c_p, c_d1, c_d2, theta_w = numbers[:10]
    tau_s, a_s, lo, hi, up, down = numbers[10:16]
    gate_silent, stop = switches[0], switches[1]
    for e in range(times.shape[0]):
        now, who = times[e], ids[e]
        if kinds[e] == 0:
            x_i[who] *= exp(-(now - t_i[who]) / tau_i)
            t_i[who] = now
            for k in range(fan_out_start[who], fan_out_start[who + 1]):
                post, slot = fan_out_post[k], fan_out_slot[k]
                if not learn[post] or x_j[post] <= theta_j:  # a trace only decays until the next post spike
                    continue
                dt = now - t_j[post]
                if x_j[post] * exp(-dt / tau_j) <= theta_j:
                    continue
                if stop:
                    slow = x_s[post] * exp(-dt / tau_s)
                    if not lo < slow < hi:
                        continue
                w = w_hid[post, slot]
                since = now - t_w[post, slot]
                w = min(1.0, w + since * up) if w > theta_w else max(0.0, w - since * down)
                w_hid[post, slot] = min(1.0, max(0.0, w + c_d1))
                t_w[post, slot] = now
            x_i[who] += a_i * (1.0 - x_i[who])
        else:
            dt = now - t_j[who]
            x_j[who] *= exp(-dt / tau_j)
            t_j[who] = now
            is_open = True
            if stop:
                x_s[who] *= exp(-dt / tau_s)
                x_s[who] += a_s * (1.0 - x_s[who])
                is_open = lo < x_s[who] < hi
            if learn[who] and is_open:
                for slot in range(sources.shape[1]):
                    source = sources[who, slot]
                    if source < 0:
                        continue
                    x = x_i[source] * exp(-(now - t_i[source]) / tau_i)
                    change = c_p * x
                    if x < theta_i and not (gate_silent and x <= 0.0):
                        change += c_d2
                    w = w_hid[who, slot]
                    since = now - t_w[who, slot]
                    w = min(1.0, w + since * up) if w > theta_w else max(0.0, w - since * down)
                    w_hid[who, slot] = min(1.0, max(0.0, w + change))
                    t_w[who, slot] = now
            x_j[who] += a_j * (1.0 - x_j[who])
