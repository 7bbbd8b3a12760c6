"""The emulator's step as one compiled kernel: the same bits as `step_numpy`, at the machine's speed.

One file on purpose: the compiler's cache does not notice edits of a callee in another file. Every core is one int32
block with all rows at constant offsets, which lets the compiler vectorise the loops over neurons. Sums of currents stay
within 32 bits (see the specification), so that products of two words compile to the fast 32 x 32 bit multiplication;
indices are unsigned, which saves the compiler's code for negative ones.
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
from bcall_hw.backend.emulator.noise import Drawn
from bcall_hw.backend.emulator.routing import InputEvents

_SPIKES_AT_ONCE = 1 << 16  # then the kernel returns


@lru_cache(maxsize=4)
def _kernel(neurons: int) -> Callable[..., Any]:
    """The kernel for cores of `neurons` neurons."""
    n_all = neurons
    v_row, refractory_row, ahp_row, syn_row = (r * n_all for r in (words.V, words.REFRACTORY, words.I_AHP, words.I_SYN))
    # Synaptic currents: excitatory, gated, shunting, subtractive.
    e_row, g_row, s_row, b_row = (syn_row + k * n_all for k in range(4))
    spike_row, steps_row, leak_row = words.V_SPIKE * n_all, words.REFRACTORY_STEPS * n_all, words.LEAK * n_all
    dc_row, full_row, decay_row, pulse_row = (r * n_all for r in (words.DC, words.FULL, words.DECAY, words.PULSE))
    jump_ahp_row, full_ahp_row = words.JUMP_AHP * n_all, words.FULL_AHP * n_all
    gain_bits, fraction_bits, one = words.GAIN_BITS, words.FRACTION_BITS, words.ONE
    dither_step, dither_mask = words.DITHER_STEP, words.ONE - 1
    half, noise_half = 1 << (words.GAIN_BITS - 1), 1 << (words.NOISE_BITS - 1)
    noise_up, upper_half = 32 - words.NOISE_BITS, -(1 << 32)
    table_shift = np.uint32(words.TABLE_SHIFT)
    # Unsigned: indices of cells within a block.
    u_sum, u_event, u_syn = np.uint64(words.SUM * n_all), np.uint64(words.EVENT * n_all), np.uint64(syn_row)
    u_full, sum_row, event_row = np.uint64(full_row), words.SUM * n_all, words.EVENT * n_all
    sparse = n_all // 2  # up to so many entries, a pass over them is cheaper than one over all of a core's cells
    far = 1 << 30
    i32, i64, u64 = np.int32, np.int64, np.uint64

    @numba.njit(cache=True, nogil=True)
    def kernel(  # type: ignore[no-untyped-def]
        blocks, gain, tables, gates, gated_cores, start, cells, entries, sent_start, sent, cores_per_chip, finite, kinds_of,
        event_step, event_chip, event_mask, event_tag, queues, n_pending, clock, first, last, out, noise,
        noise_first, amplitude, probe_row, probe_every, probed,
    ):  # fmt: skip
        n_cores, n_events = blocks.shape[0], event_step.shape[0]
        by_entry, noisy = entries.shape[1] > 0, noise.shape[1] > 0
        dither = i64(clock) * dither_step & dither_mask
        gain, amplitude = i64(i32(gain)), i64(i32(amplitude))
        heard = np.empty(n_events + queues.shape[1], np.uint32)
        soma, gated = np.zeros(n_all, np.int64), np.zeros(n_all, np.int32)
        # A core at rest, whose rest is a fixed point, and that no event has reached yet, need not be stepped: same bits.
        awake = np.zeros(n_cores, np.uint8)
        # Rows of currents that are not all zero: the others neither decay nor change.
        live = np.ones((n_cores, 5), np.uint8)
        # So many event words add up within 32 bits.
        safe = np.zeros(n_cores, np.int64)
        for c in range(n_cores):
            block, table = blocks[c], tables[c]
            rest = i64(i32(table[0])), i64(table[0] >> 32)
            largest = i32(1)
            for i in range(4 * n_all):
                largest = max(largest, block[event_row + i])
            safe[c] = ((1 << 31) - 1) // i64(largest)
            for i in range(n_all):
                net = ((i64(block[dc_row + i]) * rest[0]) >> gain_bits) - i64(block[leak_row + i]) + rest[1]
                state = block[v_row + i] | block[refractory_row + i] | block[ahp_row + i]
                for row in range(4):
                    state |= block[syn_row + row * n_all + i] | block[pulse_row + row * n_all + i]
                if state != 0 or (net * gain + half) >> gain_bits > 0 or noisy:
                    awake[c] = 1
        event = np.searchsorted(event_step, first)
        n_out = 0
        for step in range(first, last):
            if n_out + n_cores * n_all > out.shape[0]:
                return step, n_out, n_pending, clock
            event_end = event
            while event_end < n_events and event_step[event_end] == step:
                event_end += 1
            arriving, sending = queues[clock & 1], queues[(clock + 1) & 1]
            n_arriving, n_pending = n_pending, i64(0)
            for c in range(n_cores):
                block = blocks[c]
                chip, bit = c // cores_per_chip, c % cores_per_chip
                # Deliver. Which tags are heard here, and by how many entries?
                n_heard, total, kinds = u64(0), i64(0), np.uint8(0)
                for e in range(event, event_end):
                    if event_chip[e] == chip and (event_mask[e] >> bit) & 1:
                        heard[n_heard] = event_tag[e]
                        n_heard += u64(1)
                for e in range(n_arriving):
                    if arriving[e, 0] == chip and (arriving[e, 1] >> bit) & 1:
                        heard[n_heard] = arriving[e, 2]
                        n_heard += u64(1)
                for h in range(n_heard):
                    total += start[c, heard[h] + 1] - start[c, heard[h]]
                    kinds |= kinds_of[c, heard[h]]
                if total > 0:
                    awake[c] = 1
                    for row in range(4):
                        live[c, row] |= (kinds >> row) & 1
                # Combine the words of all entries that hear an event.
                for h in range(n_heard):
                    low, high = u64(start[c, heard[h]]), u64(start[c, heard[h] + 1])
                    if finite or by_entry:
                        for k in range(low, high):
                            cell = u64(cells[c, k])
                            word = entries[c, k] if by_entry else block[u_event + cell]
                            before = block[u_sum + cell]
                            block[u_sum + cell] = max(before, word) if finite else min(i32(before + word), i32(one))
                    elif total <= safe[c]:
                        for k in range(low, high):
                            cell = u64(cells[c, k])
                            block[u_sum + cell] += block[u_event + cell]
                    else:
                        for k in range(low, high):
                            cell = u64(cells[c, k])
                            block[u_sum + cell] = min(i32(block[u_sum + cell] + block[u_event + cell]), i32(one))
                # Let them act: cell by cell where few are reached (again is nothing, the sum is gone), else all at once.
                if finite:
                    for row in range(4):
                        if (kinds >> row) & 1:
                            for i in range(row * n_all, (row + 1) * n_all):
                                block[pulse_row + i] = max(block[pulse_row + i], block[sum_row + i])
                                block[sum_row + i] = i32(0)
                elif total <= sparse:
                    for h in range(n_heard):
                        for k in range(u64(start[c, heard[h]]), u64(start[c, heard[h] + 1])):
                            cell = u64(cells[c, k])
                            current = block[u_syn + cell]
                            share = i64(min(block[u_sum + cell], i32(one)))
                            change = share * i64(i32(block[u_full + cell] - current)) + dither
                            block[u_syn + cell] = i32(current + (change >> fraction_bits))
                            block[u_sum + cell] = i32(0)
                else:
                    for row in range(4):
                        if (kinds >> row) & 1:
                            for i in range(row * n_all, (row + 1) * n_all):
                                current = block[syn_row + i]
                                share = i64(min(block[sum_row + i], i32(one)))
                                change = share * i64(i32(block[full_row + i] - current)) + dither
                                block[syn_row + i] = i32(current + (change >> fraction_bits))
                                block[sum_row + i] = i32(0)
                if awake[c] == 0:
                    continue
                # Integrate.
                table, gate = tables[c], gates[c]
                for i in range(n_all):
                    soma[i] = table[np.uint32(block[v_row + i]) >> table_shift]
                if noisy:
                    drawn = noise[c, step - noise_first]
                    for i in range(n_all):
                        # The noise word belongs into the upper half: shifting down by NOISE_BITS, then up by 32.
                        scaled = i64(i32(2 * i32(drawn[i]) - 65535)) * amplitude + noise_half
                        soma[i] += (scaled << noise_up) & upper_half
                if gated_cores[c] and live[c, 1]:
                    for i in range(n_all):
                        passed = gate[np.uint32(block[v_row + i]) >> table_shift]
                        gated[i] = i32((i64(block[g_row + i]) * i64(passed)) >> gain_bits)
                else:
                    for i in range(n_all):
                        gated[i] = block[g_row + i]
                highest = i32(-(2**24))  # of v - threshold
                for i in range(n_all):
                    drive = i32(max(i32(0), i32(block[dc_row + i] + block[e_row + i] + gated[i] - block[b_row + i])))
                    net = i32(  # type: ignore[assignment]
                        i32((i64(drive) * i64(i32(soma[i]))) >> gain_bits)
                        + i32(soma[i] >> 32) - block[leak_row + i] - block[s_row + i] - block[ahp_row + i]
                    )  # fmt: skip
                    # At most 2^30 either way: the threshold lies below 2^24.
                    rise = i32(max(-far, min(far, (i64(net) * gain + half) >> gain_bits)))
                    raised = max(i32(0), min(i32(block[v_row + i] + rise), block[spike_row + i]))
                    waiting = block[refractory_row + i]
                    v = i32(0) if waiting > 0 else raised
                    block[v_row + i] = v
                    block[refractory_row + i] = max(i32(0), i32(waiting - 1))
                    highest = max(highest, i32(v - block[spike_row + i]))
                if highest >= 0:  # who stands at the threshold fires
                    live[c, 4] = 1
                    for i in range(n_all):
                        if block[v_row + i] == block[spike_row + i]:
                            block[v_row + i], block[refractory_row + i] = i32(0), block[steps_row + i]
                            ahp = block[ahp_row + i]
                            change = i64(block[jump_ahp_row + i]) * i64(i32(block[full_ahp_row + i] - ahp))
                            block[ahp_row + i] = i32(ahp + ((change + dither) >> fraction_bits))
                            out[n_out, 0], out[n_out, 1], out[n_out, 2] = step, c, i
                            n_out += 1
                            source = c * n_all + i
                            for d in range(sent_start[source], sent_start[source + 1]):
                                for part in range(3):
                                    sending[n_pending, part] = sent[d, part]
                                n_pending += 1
                # Decay.
                for row in range(5):
                    if live[c, row] == 0:
                        continue
                    base, any_current = row * n_all, i32(0)
                    if finite and row < 4:
                        for i in range(n_all):
                            flows, fraction = block[syn_row + base + i], i64(block[decay_row + base + i])
                            charge = (fraction * i64(i32(block[full_row + base + i] - flows)) + dither) >> fraction_bits
                            fade = (i64(flows) * fraction + dither) >> fraction_bits
                            lasts = block[pulse_row + base + i]
                            left = i32(flows + charge) if lasts > 0 else i32(flows - fade)
                            lasts = i32(max(i32(0), i32(lasts - 1)))
                            block[syn_row + base + i], block[pulse_row + base + i] = left, lasts
                            any_current = max(any_current, left, lasts)
                    else:
                        for i in range(n_all):
                            current = block[syn_row + base + i]
                            lost = (i64(current) * i64(block[decay_row + base + i]) + dither) >> fraction_bits
                            left = i32(current - lost)
                            block[syn_row + base + i] = left
                            any_current = max(any_current, left)
                    live[c, row] = any_current != 0
            event = event_end
            clock += 1
            dither = (dither + dither_step) & dither_mask
            if probe_every > 0 and (step + 1) % probe_every == 0:
                for c in range(n_cores):
                    for i in range(n_all):
                        probed[(step + 1) // probe_every - 1, c, i] = blocks[c][probe_row * n_all + i]
        return last, n_out, n_pending, clock

    return kernel


def advance(
    machine: Machine, events: InputEvents, first: int, last: int, noise: Drawn, probe: Probe | None = None
) -> Int32Array:
    """See `machine.StepFunction`."""
    cores, rows, neurons = machine.rows.shape
    kernel = _kernel(neurons)
    watched = probe or Probe(0, 0, np.zeros((0, 0, 0), dtype=np.int32))
    parameters, listeners, routes = machine.parameters, machine.listeners, machine.destinations
    # The spikes of even and of odd steps, on their way.
    queues = np.zeros((2, max(1, len(routes.events), len(machine.pending)), 3), dtype=np.int32)
    n_pending = len(machine.pending)
    queues[machine.clock & 1, :n_pending] = machine.pending
    out = np.empty((cores * neurons + _SPIKES_AT_ONCE, 3), dtype=np.int32)
    found, step = [np.zeros((0, 3), dtype=np.int32)], first
    state, clock = machine.rows.copy(), machine.clock
    blocks = state.reshape(cores, rows * neurons)
    while step < last:
        step, n_out, n_pending, clock = kernel(
            blocks, parameters.step_gain, parameters.soma_table, parameters.gates, parameters.gated,
            listeners.start, listeners.cells, machine.entries, routes.start, routes.events,
            machine.cores_per_chip, machine.finite_pulses, listeners.kinds,
            events.step, events.chip, events.core_mask, events.tag, queues, n_pending, clock, step, last, out,
            noise.pieces, first, noise.amplitude, watched.row, watched.every, watched.found,
        )  # fmt: skip
        found.append(out[:n_out].copy())
    machine.commit(state, queues[clock & 1, :n_pending].copy(), clock)
    return np.concatenate(found)
