"""The emulator's step in plain numpy: whole arrays at a time, in 64-bit integers.

The order within a step and every formula are those of `docs/emulator_specification.md`.
"""

from __future__ import annotations

import numpy as np

from bcall_hw.arrays import Int32Array, IntArray
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.machine import Machine, Probe
from bcall_hw.backend.emulator.noise import Drawn
from bcall_hw.backend.emulator.routing import InputEvents


def advance(
    machine: Machine, events: InputEvents, first: int, last: int, noise: Drawn, probe: Probe | None = None
) -> Int32Array:
    """See `machine.StepFunction`."""
    rows, pending, clock = machine.rows.astype(np.int64), machine.pending, machine.clock
    found = [np.zeros((0, 3), dtype=np.int64)]
    bounds = np.searchsorted(events.step, np.arange(first, last + 1))
    currents = noise.currents()
    columns = np.column_stack([events.chip, events.core_mask, events.tag])
    for step in range(first, last):
        arriving = np.concatenate([columns[bounds[step - first] : bounds[step - first + 1]], pending])
        dither = words.dither(clock)
        if len(arriving):
            _deliver(machine, rows, arriving, dither)
        spikes = _integrate(machine, rows, currents[step - first] if currents.size else 0, dither)
        _decay(machine, rows, dither)
        if probe is not None and (step + 1) % probe.every == 0:
            probe.found[(step + 1) // probe.every - 1] = rows[:, probe.row]
        pending, clock = _sent(machine, spikes), clock + 1
        if spikes.size:
            found.append(np.column_stack([np.full(len(spikes), step), spikes]))
    machine.commit(rows.astype(np.int32), pending, clock)
    return np.concatenate(found).astype(np.int32)


def _deliver(machine: Machine, rows: IntArray, arriving: Int32Array, dither: int) -> None:
    """Add up the jump fractions of all entries that hear an event, at most 1, then one jump; or start their pulses."""
    total = rows[:, words.SUM : words.SUM + 4].reshape(rows.shape[0], -1)
    total[...] = 0
    nominal = rows[:, words.EVENT : words.EVENT + 4].reshape(rows.shape[0], -1)
    combine = np.maximum if machine.finite_pulses else np.add
    for chip, mask, tag in arriving.tolist():
        for core in range(machine.cores_per_chip):
            if not mask >> core & 1:
                continue
            c = chip * machine.cores_per_chip + core
            span = slice(machine.listeners.start[c, tag], machine.listeners.start[c, tag + 1])
            cells = machine.listeners.cells[c, span]
            combine.at(total[c], cells, machine.entries[c, span] if machine.entries.size else nominal[c, cells])
    if machine.finite_pulses:
        pulse = rows[:, words.PULSE : words.PULSE + 4]
        pulse[...] = np.maximum(pulse, total.reshape(pulse.shape))
        return
    fraction = np.minimum(total, words.ONE).reshape(-1, 4, rows.shape[2])
    current = rows[:, words.I_SYN : words.I_SYN + 4]
    full = rows[:, words.FULL : words.FULL + 4]
    jump = (fraction * (full - current) + dither) >> words.FRACTION_BITS
    current += np.where(fraction > 0, jump, 0)


def _integrate(machine: Machine, rows: IntArray, noise: Int32Array | int, dither: int) -> IntArray:
    """One Euler step of C dV/dt = I_in h(V) - I_leak - I_shunt - I_ahp + I_feedback(V); returns (core, neuron) of spikes."""
    v = rows[:, words.V]
    index = v >> words.TABLE_SHIFT
    h, feedback, gate = (np.take_along_axis(machine.parameters.tables[:, k].astype(np.int64), index, axis=1) for k in range(3))
    excitatory, gated, shunting, subtractive = (rows[:, words.I_SYN + k] for k in range(4))
    drive = np.maximum(0, rows[:, words.DC] + excitatory + ((gated * gate) >> words.GAIN_BITS) - subtractive)
    net = ((drive * h) >> words.GAIN_BITS) - rows[:, words.LEAK] - shunting - rows[:, words.I_AHP] + feedback + noise
    half = 1 << (words.GAIN_BITS - 1)
    raised = v + ((net * machine.parameters.step_gain + half) >> words.GAIN_BITS)
    refractory = rows[:, words.REFRACTORY]
    resting = refractory > 0
    fired = ~resting & (raised >= rows[:, words.V_SPIKE])
    rows[:, words.V] = np.where(resting | fired, 0, np.maximum(0, raised))
    rows[:, words.REFRACTORY] = np.where(fired, rows[:, words.REFRACTORY_STEPS], np.maximum(0, refractory - 1))
    ahp = rows[:, words.I_AHP]
    gap = rows[:, words.FULL_AHP] - ahp
    jump = (rows[:, words.JUMP_AHP] * gap + dither) >> words.FRACTION_BITS
    rows[:, words.I_AHP] = np.where(fired, ahp + jump, ahp)
    return np.argwhere(fired)


def _decay(machine: Machine, rows: IntArray, dither: int) -> None:
    """Exponential decay of the five DPIs; while its pulse lasts, a synapse goes towards full scale instead."""
    current = rows[:, words.I_SYN : words.I_AHP + 1]
    fraction = rows[:, words.DECAY : words.DECAY_AHP + 1]
    left = current - ((current * fraction + dither) >> words.FRACTION_BITS)
    if machine.finite_pulses:
        pulse, synapses = rows[:, words.PULSE : words.PULSE + 4], slice(0, 4)
        gap = rows[:, words.FULL : words.FULL + 4] - current[:, synapses]
        charged = current[:, synapses] + ((fraction[:, synapses] * gap + dither) >> words.FRACTION_BITS)
        left[:, synapses] = np.where(pulse > 0, charged, left[:, synapses])
        pulse[...] = np.maximum(0, pulse - 1)
    current[...] = left


def _sent(machine: Machine, spikes: IntArray) -> Int32Array:
    start = machine.destinations.start
    sources = (spikes[:, 0] * machine.rows.shape[2] + spikes[:, 1]).tolist()
    return machine.destinations.events[[i for s in sources for i in range(start[s], start[s + 1])]]
