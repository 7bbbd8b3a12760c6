"""The emulator's state words: which row of a core's block holds what, and the fixed-point scales.

A core is one block of int32 rows, one column per neuron. Currents are whole femtoamperes. The membrane is kept as
v = ln(I_mem / I_0), the membrane voltage in units of U_T / kappa.
"""

from __future__ import annotations

DEFAULT_STEP_US = 100  # us; rates are within 3 % of those at 10 us (tests)

V_BITS = 20  # v = word / 2^20
V_RANGE = 16  # the look-up tables cover 0 <= v < 16
TABLE_BITS = 10  # entries of a look-up table
TABLE_SIZE = 1 << TABLE_BITS
TABLE_SHIFT = V_BITS + 4 - TABLE_BITS  # v word -> table index (V_RANGE is 2^4)
GAIN_BITS = 16  # tables of h and gate; step gain
FRACTION_BITS = 24  # decay and jump fractions
ONE = 1 << FRACTION_BITS
FEMTOAMPERE = 1e-15
INT32_MAX = 2**31 - 1

# Decay and jumps of a DPI are rounded down after adding a dither that runs through [0, ONE) by the golden ratio: the mean
# error is zero however small the current is, and every machine adds the same.
DITHER_STEP = 10368889

#: Synapse rows, in this order, by the effect that the chip model names.
EFFECTS = ("excitatory", "gated", "shunting", "subtractive")

# State rows. PULSE: steps that the pulse of each synapse type still lasts (finite-pulse model only).
V, REFRACTORY, I_SYN, I_AHP, PULSE = 0, 1, 2, 6, 7
STATE_ROWS = 11
# Parameter rows.
V_SPIKE, REFRACTORY_STEPS, LEAK, DC, PULSE_STEPS = 11, 12, 13, 14, 15
JUMP, JUMP_AHP, FULL, FULL_AHP, DECAY, DECAY_AHP = 16, 20, 21, 25, 26, 30
# Scratch rows: the jump fractions summed in this step, and the table values of this step.
SUM, H, FEEDBACK, GATE = 31, 35, 36, 37
ROWS = 38
