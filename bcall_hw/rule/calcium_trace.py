"""Closed forms of the bounded calcium trace x += a (1 - x), decaying with tau: the oracles of every implementation."""

from __future__ import annotations

from math import exp


def poisson_mean(a: float, rate_hz: float, tau_s: float) -> float:
    """Mean of the trace under Poisson spikes: a r tau / (1 + a r tau)."""
    drive = a * rate_hz * tau_s
    return drive / (1.0 + drive)


def periodic_peak(a: float, rate_hz: float, tau_s: float) -> float:
    """Value right after a spike of a periodic train in the steady state: a / (1 - (1 - a) exp(-1 / (r tau)))."""
    return a / (1.0 - (1.0 - a) * exp(-1.0 / (rate_hz * tau_s)))


def periodic_mean(a: float, rate_hz: float, tau_s: float) -> float:
    """Mean over a period of a periodic train in the steady state: r tau peak (1 - exp(-1 / (r tau)))."""
    decay = exp(-1.0 / (rate_hz * tau_s))
    return rate_hz * tau_s * periodic_peak(a, rate_hz, tau_s) * (1.0 - decay)
