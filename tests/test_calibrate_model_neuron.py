"""The compiled model neurons against the same equations, one neuron and one step at a time in plain Python."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from bcall_hw.arrays import FloatArray
from bcall_hw.calibrate.model_neuron import ModelNeurons, _exp
from bcall_hw.chip_model import load_chip

CHIP = load_chip("dynapse1")
I_0, KAPPA = CHIP.constants.leak_current_a.value, CHIP.constants.kappa.value


def neurons(count: int, own: bool) -> ModelNeurons:
    """All different, more than are stepped side by side, some below threshold and some with nothing known of them."""
    rng = np.random.default_rng(count)
    spread = lambda typical: typical * np.exp(0.2 * rng.standard_normal(count))  # noqa: E731
    net = spread(1e-10)
    net[::9], net[4::30] = -1e-11, np.nan
    jump = spread(-2e-12 if own else 6e-11) * (1.0 if own else rng.choice([1.0, -1.0], count))
    refractory = spread(7e-4)
    refractory[7] = 1e-5  # ends within the step
    return ModelNeurons(
        spread(1e-13), net, 9.0 * spread(1.0), refractory, spread(0.02), jump, np.full(jump.size, 4e-4 if own else 0.0)
    )


def solved(
    model: ModelNeurons, n: int, v: float, causes: list[int], steps: int, dt: float, own: bool, clocked: bool
) -> list[float]:
    charge, net, top, refractory, tau, jump = (
        float(x[n]) for x in (model.charge_c, model.net_a, model.v_spike, model.refractory_s, model.tau_s, model.jump_a)
    )

    def slope(v: float, current: float) -> float:
        drive = net + current
        return ((drive if own else max(drive, 0.0)) + I_0 * math.exp(v * KAPPA / (KAPPA + 1.0))) / charge

    times, current, free_at = list[float](), 0.0, 0.0
    for step in range(steps if math.isfinite(net) else 0):
        now = step * dt
        current += jump * causes.count(step)
        after = current * math.exp(-dt / tau)
        share = min(1.0, (now + dt - free_at) / dt)
        if share > 1e-6:
            h = share * dt
            rate = slope(v, current)
            if not clocked:
                rate = 0.5 * (rate + slope(v + h * rate, after))
            up = max(v + h * rate, 0.0)
            if up >= top:
                at = now + dt if clocked else now + (dt - h) + h * (top - v) / (up - v)
                times.append(at)
                up, free_at = 0.0, at + (round(refractory / dt) * dt if clocked else refractory)
                if own:
                    after = after * math.exp(-model.pulse_s[n] / tau) + jump * math.exp(-(now + dt - at) / tau)
            v = up
        current = after
    return times


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("grain_s", [0.0, 1e-4])
def test_compiled_neurons_fire_when_those_in_plain_python_do(own: bool, grain_s: float) -> None:
    count, seconds, dt = 70, 0.15, grain_s or 50e-6
    model, causes_s = neurons(count, own), np.array([0.02, 0.02, 0.06, 0.1003])
    heard = model.run(CHIP, causes_s, seconds, own=own, grain_s=grain_s)
    phases: FloatArray = (np.arange(count) * 0.6180339887498949) % 1.0
    causes = [] if own else [math.floor(at / dt + 1e-6) for at in causes_s.tolist()]
    steps = math.ceil(seconds / dt)
    wanted = [solved(model, n, float(phases[n] * model.v_spike[n]), causes, steps, dt, own, grain_s > 0) for n in range(count)]
    assert heard.counts.tolist() == [len(times) for times in wanted]
    np.testing.assert_allclose(heard.times_s, np.concatenate(wanted), rtol=0, atol=1e-12)
    assert heard.counts.max() > 5
    assert not heard.counts[4::30].any()


def test_exponential_of_the_model_neurons() -> None:
    for x in np.linspace(0.0, 8.0, 801).tolist():
        assert _exp(x) == pytest.approx(float(Decimal(x).exp()), rel=2e-14)
    assert np.all(np.diff([_exp(x) for x in np.linspace(8.0, 60.0, 801).tolist()]) > 0)
