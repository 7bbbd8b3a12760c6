"""The emulator's step in plain numpy: the oracle that the fast kernel must equal bit for bit.

Order within a step: deliver the events of the step and the spikes of the step before; integrate the soma; let every
DPI decay. All products are 64-bit, all shifts arithmetic (towards minus infinity).
"""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import Int32Array, IntArray
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.machine import Machine, Probe
from bcall_hw.backend.emulator.routing import InputEvents


def run(machine: Machine, events: InputEvents, n_steps: int, probe: Probe | None = None) -> Int32Array:
    """See `machine.Implementation`."""
    rows = machine.rows.astype(np.int64)
    found = [np.zeros((0, 3), dtype=np.int64)]
    bounds = np.searchsorted(events.step, np.arange(n_steps + 1))
    for step in range(n_steps):
        now = slice(int(bounds[step]), int(bounds[step + 1]))
        core = np.concatenate([events.core[now], machine.pending[:, 0]])
        tag = np.concatenate([events.tag[now], machine.pending[:, 1]])
        if core.size:
            _deliver(machine, rows, core, tag)
        spikes = _integrate(machine, rows)
        _decay(machine, rows)
        if probe is not None and (step + 1) % probe.every == 0:
            probe.found[(step + 1) // probe.every - 1] = rows[:, probe.row]
        machine.dither = (machine.dither + words.DITHER_STEP) % words.ONE
        machine.pending = _reached(machine, spikes)
        if spikes.size:
            found.append(np.column_stack([np.full(len(spikes), step), spikes]))
    machine.rows[...] = rows
    return np.concatenate(found).astype(np.int32)


def _deliver(machine: Machine, rows: IntArray, core: Int32Array, tag: Int32Array) -> None:
    """Add up the jump fractions of all listeners, at most 1, then one jump towards full scale; or start their pulses."""
    total = rows[:, words.SUM : words.SUM + 4].reshape(rows.shape[0], -1)
    total[...] = 0
    jump = rows[:, words.JUMP : words.JUMP + 4].reshape(rows.shape[0], -1)
    for c, t in zip(core.tolist(), tag.tolist(), strict=True):
        cells = machine.listeners.cells[c, machine.listeners.start[c, t] : machine.listeners.start[c, t + 1]]
        np.add.at(total[c], cells, jump[c, cells])
    if machine.finite_pulses:
        pulse = rows[:, words.PULSE : words.PULSE + 4]
        started = total.reshape(pulse.shape) > 0
        pulse[...] = np.where(started, rows[:, words.PULSE_STEPS][:, None], pulse)
        return
    fraction = np.minimum(total, words.ONE).reshape(-1, 4, rows.shape[2])
    current = rows[:, words.I_SYN : words.I_SYN + 4]
    full = rows[:, words.FULL : words.FULL + 4]
    current += (fraction * (full - current) + machine.dither) >> words.FRACTION_BITS


def _integrate(machine: Machine, rows: IntArray) -> IntArray:
    """One Euler step of C dV/dt = I_in h(V) - I_leak - I_shunt - I_ahp + I_feedback(V); returns (core, neuron) of spikes."""
    v = rows[:, words.V]
    index = v >> words.TABLE_SHIFT
    h, feedback, gate = (np.take_along_axis(machine.parameters.tables[:, k].astype(np.int64), index, axis=1) for k in range(3))
    excitatory, gated, shunting, subtractive = (rows[:, words.I_SYN + k] for k in range(4))
    drive = np.maximum(0, rows[:, words.DC] + excitatory + ((gated * gate) >> words.GAIN_BITS) - subtractive)
    net = ((drive * h) >> words.GAIN_BITS) - rows[:, words.LEAK] - shunting - rows[:, words.I_AHP] + feedback
    half = 1 << (words.GAIN_BITS - 1)
    raised = v + ((net * machine.parameters.step_gain[:, None] + half) >> words.GAIN_BITS)
    refractory = rows[:, words.REFRACTORY]
    resting = refractory > 0
    fired = ~resting & (raised >= rows[:, words.V_SPIKE])
    rows[:, words.V] = np.where(resting | fired, 0, np.maximum(0, raised))
    rows[:, words.REFRACTORY] = np.where(fired, rows[:, words.REFRACTORY_STEPS], np.maximum(0, refractory - 1))
    ahp = rows[:, words.I_AHP]
    jump = (rows[:, words.JUMP_AHP] * (rows[:, words.FULL_AHP] - ahp) + machine.dither) >> words.FRACTION_BITS
    rows[:, words.I_AHP] = np.where(fired, ahp + jump, ahp)
    return np.argwhere(fired)


def _decay(machine: Machine, rows: IntArray) -> None:
    """Exponential decay of the five DPIs; while its pulse lasts, a synapse goes towards full scale instead."""
    current = rows[:, words.I_SYN : words.I_AHP + 1]
    fraction = rows[:, words.DECAY : words.DECAY_AHP + 1]
    left = current - ((current * fraction + machine.dither) >> words.FRACTION_BITS)
    if machine.finite_pulses:
        pulse, synapses = rows[:, words.PULSE : words.PULSE + 4], slice(0, 4)
        full = rows[:, words.FULL : words.FULL + 4]
        gap = full - current[:, synapses]
        charged = current[:, synapses] + ((fraction[:, synapses] * gap + machine.dither) >> words.FRACTION_BITS)
        left[:, synapses] = np.where(pulse > 0, charged, left[:, synapses])
        pulse[...] = np.maximum(0, pulse - 1)
    current[...] = left


def _reached(machine: Machine, spikes: IntArray) -> Int32Array:
    neurons = machine.rows.shape[2]
    start = machine.destinations.start
    ids = [i for s in (spikes[:, 0] * neurons + spikes[:, 1]).tolist() for i in range(start[s], start[s + 1])]
    return np.column_stack([machine.destinations.core[ids], machine.destinations.tag[ids]]).astype(np.int32)
