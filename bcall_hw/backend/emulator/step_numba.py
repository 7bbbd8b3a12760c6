"""The emulator's step as one compiled kernel: the same bits as `step_numpy`, at the machine's speed.

One file on purpose: the compiler's cache does not notice edits of a callee in another file. Every core is one int32
block with all rows at constant offsets, which lets the compiler vectorise the loops over neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np

from bcall_hw.arrays import Int32Array
from bcall_hw.backend.emulator import words
from bcall_hw.backend.emulator.machine import Machine, Probe
from bcall_hw.backend.emulator.routing import InputEvents


@lru_cache(maxsize=4)
def _kernel(neurons: int, finite: bool) -> Callable[..., Any]:
    """The kernel for cores of `neurons` neurons, with finite pulses or with jumps."""
    n_all = neurons
    v_row, refractory_row, ahp_row = words.V * n_all, words.REFRACTORY * n_all, words.I_AHP * n_all
    e_row, g_row, s_row, b_row = ((words.I_SYN + k) * n_all for k in range(4))
    spike_row, steps_row = words.V_SPIKE * n_all, words.REFRACTORY_STEPS * n_all
    leak_row, dc_row = words.LEAK * n_all, words.DC * n_all
    jump_row, full_row, syn_row = words.JUMP * n_all, words.FULL * n_all, words.I_SYN * n_all
    sum_row, decay_row = words.SUM * n_all, words.DECAY * n_all
    jump_ahp_row, full_ahp_row = words.JUMP_AHP * n_all, words.FULL_AHP * n_all
    pulse_row, pulse_steps_row = words.PULSE * n_all, words.PULSE_STEPS * n_all
    h_row, feedback_row, gate_row = words.H * n_all, words.FEEDBACK * n_all, words.GATE * n_all
    table_shift, gain_bits, fraction_bits, one = words.TABLE_SHIFT, words.GAIN_BITS, words.FRACTION_BITS, words.ONE
    gate_open = np.int32(1 << words.GAIN_BITS)
    dither_step, dither_mask = words.DITHER_STEP, words.ONE - 1
    half = 1 << (words.GAIN_BITS - 1)

    @numba.njit(cache=True, nogil=True)
    def kernel(  # type: ignore[no-untyped-def]
        blocks, gains, tables, start, cells, dest_start, dest_core, dest_tag,
        event_step, event_core, event_tag, pending, n_pending, dither, first_step, n_steps, out, probe_row, probe_every, probed,
    ):  # fmt: skip
        n_cores = blocks.shape[0]
        n_events = event_step.shape[0]
        touched = np.zeros(n_cores, np.uint8)
        # A core at rest, whose rest is a fixed point, and that no event has reached yet, need not be stepped: same bits.
        awake = np.zeros(n_cores, np.uint8)
        # Rows of currents that are not all zero: the others neither decay nor change.
        live = np.ones((n_cores, 5), np.uint8)
        gated_core = np.zeros(n_cores, np.uint8)
        for c in range(n_cores):
            block, table = blocks[c], tables[c]
            for index in range(table.shape[1]):
                if table[2, index] != gate_open:
                    gated_core[c] = 1
            for i in range(n_all):
                block[gate_row + i] = gate_open
                drive = max(np.int64(0), np.int64(block[dc_row + i])) * np.int64(table[0, 0])
                net = (drive >> gain_bits) - np.int64(block[leak_row + i]) + np.int64(table[1, 0])
                state = block[v_row + i] | block[refractory_row + i] | block[ahp_row + i]
                state |= block[e_row + i] | block[g_row + i] | block[s_row + i] | block[b_row + i]
                for row in range(4):
                    state |= block[pulse_row + row * n_all + i]
                if state != 0 or (net * gains[c] + half) >> gain_bits > 0:
                    awake[c] = 1
        event = 0
        while event < n_events and event_step[event] < first_step:
            event += 1
        n_out = 0
        for step in range(first_step, n_steps):
            if n_out + n_cores * n_all > out.shape[0]:
                return step, n_out, n_pending, dither
            # Deliver: every listener's jump fraction is added, at most 1.
            while event < n_events and event_step[event] == step:
                c = event_core[event]
                block = blocks[c]
                for k in range(start[c, event_tag[event]], start[c, event_tag[event] + 1]):
                    cell = cells[c, k]
                    block[sum_row + cell] = min(block[sum_row + cell] + block[jump_row + cell], one)
                touched[c] = 1
                event += 1
            for p in range(n_pending):
                c = pending[p, 0]
                block = blocks[c]
                for k in range(start[c, pending[p, 1]], start[c, pending[p, 1] + 1]):
                    cell = cells[c, k]
                    block[sum_row + cell] = min(block[sum_row + cell] + block[jump_row + cell], one)
                touched[c] = 1
            n_pending = 0
            for c in range(n_cores):
                if not (awake[c] or touched[c]):
                    continue
                awake[c] = 1
                block = blocks[c]
                if touched[c]:
                    touched[c] = 0
                    for row in range(4):
                        base, any_sum = row * n_all, np.int32(0)
                        for i in range(n_all):
                            any_sum |= block[sum_row + base + i]
                        if any_sum == 0:
                            continue
                        live[c, row] = 1
                        if finite:
                            for i in range(n_all):
                                if block[sum_row + base + i] != 0:
                                    block[pulse_row + base + i] = block[pulse_steps_row + i]
                                block[sum_row + base + i] = np.int32(0)
                            continue
                        for i in range(n_all):
                            current = np.int64(block[syn_row + base + i])
                            change = np.int64(block[sum_row + base + i]) * (np.int64(block[full_row + base + i]) - current)
                            block[syn_row + base + i] = np.int32(current + ((change + dither) >> fraction_bits))
                            block[sum_row + base + i] = np.int32(0)
                table = tables[c]
                for i in range(n_all):
                    index = block[v_row + i] >> table_shift
                    block[h_row + i] = table[0, index]
                    block[feedback_row + i] = table[1, index]
                if gated_core[c]:
                    for i in range(n_all):
                        block[gate_row + i] = table[2, block[v_row + i] >> table_shift]
                gain = gains[c]
                n_fired = np.int32(0)
                for i in range(n_all):
                    gated = (np.int64(block[g_row + i]) * np.int64(block[gate_row + i])) >> gain_bits
                    drive = np.int64(block[dc_row + i]) + np.int64(block[e_row + i]) + gated - np.int64(block[b_row + i])
                    drive = max(np.int64(0), drive)
                    net = (drive * np.int64(block[h_row + i])) >> gain_bits
                    net -= np.int64(block[leak_row + i]) + np.int64(block[s_row + i]) + np.int64(block[ahp_row + i])
                    net += np.int64(block[feedback_row + i])
                    raised = np.int64(block[v_row + i]) + ((net * gain + half) >> gain_bits)
                    raised = max(np.int64(0), raised)
                    waiting = block[refractory_row + i]
                    resting = waiting > 0
                    fired = (raised >= np.int64(block[spike_row + i])) & (not resting)
                    block[v_row + i] = np.int32(0) if (resting | fired) else np.int32(raised)
                    block[refractory_row + i] = (
                        block[steps_row + i] if fired else np.int32(max(np.int32(0), waiting - np.int32(1)))
                    )
                    # The sum scratch row is all zero here: it carries the spike flags to the next loop.
                    block[sum_row + i] = np.int32(fired)
                    n_fired += np.int32(fired)
                if n_fired > 0:
                    live[c, 4] = 1
                    for i in range(n_all):
                        if block[sum_row + i] != 0:
                            block[sum_row + i] = np.int32(0)
                            ahp = np.int64(block[ahp_row + i])
                            change = np.int64(block[jump_ahp_row + i]) * (np.int64(block[full_ahp_row + i]) - ahp)
                            block[ahp_row + i] = np.int32(ahp + ((change + dither) >> fraction_bits))
                            out[n_out, 0] = step
                            out[n_out, 1] = c
                            out[n_out, 2] = i
                            n_out += 1
                            source = c * n_all + i
                            for d in range(dest_start[source], dest_start[source + 1]):
                                pending[n_pending, 0] = dest_core[d]
                                pending[n_pending, 1] = dest_tag[d]
                                n_pending += 1
                for row in range(5):
                    if live[c, row] == 0:
                        continue
                    base, any_current = row * n_all, np.int32(0)
                    if finite and row < 4:
                        for i in range(n_all):
                            current, fraction = np.int64(block[syn_row + base + i]), np.int64(block[decay_row + base + i])
                            gap = np.int64(block[full_row + base + i]) - current
                            charged = current + ((fraction * gap + dither) >> fraction_bits)
                            faded = current - ((current * fraction + dither) >> fraction_bits)
                            lasts = block[pulse_row + base + i]
                            left = np.int32(charged if lasts > 0 else faded)
                            lasts = np.int32(max(np.int32(0), lasts - np.int32(1)))
                            block[syn_row + base + i], block[pulse_row + base + i] = left, lasts
                            any_current |= left | lasts
                        live[c, row] = any_current != 0
                        continue
                    for i in range(n_all):
                        current = np.int64(block[syn_row + base + i])
                        lost = (current * np.int64(block[decay_row + base + i]) + dither) >> fraction_bits
                        left = np.int32(current - lost)
                        block[syn_row + base + i] = left
                        any_current |= left
                    live[c, row] = any_current != 0
            dither = (dither + dither_step) & dither_mask
            if probe_every > 0 and (step + 1) % probe_every == 0:
                for c in range(n_cores):
                    for i in range(n_all):
                        probed[(step + 1) // probe_every - 1, c, i] = blocks[c][probe_row * n_all + i]
        return n_steps, n_out, n_pending, dither

    return kernel


def run(machine: Machine, events: InputEvents, n_steps: int, probe: Probe | None = None) -> Int32Array:
    """See `machine.Implementation`."""
    cores, rows, neurons = machine.rows.shape
    kernel = _kernel(neurons, machine.finite_pulses)
    watched = probe or Probe(0, 0, np.zeros((0, 0, 0), dtype=np.int32))
    parameters, routes = machine.parameters, machine.destinations
    pending = np.zeros((max(1, len(routes.core), len(machine.pending)), 2), dtype=np.int32)
    n_pending = len(machine.pending)
    pending[:n_pending] = machine.pending
    out = np.zeros((cores * neurons + 65536, 3), dtype=np.int32)
    found, step = [], 0
    blocks = machine.rows.reshape(cores, rows * neurons)
    while step < n_steps:
        step, n_out, n_pending, machine.dither = kernel(
            blocks, parameters.step_gain, parameters.tables, machine.listeners.start, machine.listeners.cells,
            routes.start, routes.core, routes.tag, events.step, events.core, events.tag,
            pending, n_pending, machine.dither, step, n_steps, out,
            watched.row, watched.every, watched.found,
        )  # fmt: skip
        found.append(out[:n_out].copy())
    machine.pending = pending[:n_pending].copy()
    return np.concatenate(found) if found else np.zeros((0, 3), dtype=np.int32)
