"""The emulator's words: which row of a core's block holds what, and the fixed-point scales.

A core is one block of int32 rows, one column per neuron. `docs/emulator_specification.md` says what each word means.
"""

from __future__ import annotations

SPECIFICATION_VERSION = 1  # of docs/emulator_specification.md

DEFAULT_STEP_US = 100  # us; rates up to 200 Hz are within 3 % of those at 10 us where the gain is 1 nA or more (tests)

V_BITS = 20  # v = word / 2^20
V_RANGE = 16  # the look-up tables cover 0 <= v < 16
V_LIMIT = V_RANGE << V_BITS
TABLE_BITS = 10  # entries of a look-up table
TABLE_SIZE = 1 << TABLE_BITS
TABLE_SHIFT = V_BITS + 4 - TABLE_BITS  # v word -> table index (V_RANGE is 2^4)
GAIN_BITS = 16  # tables of h and gate; step gain
FRACTION_BITS = 24  # decay and jump fractions
ONE = 1 << FRACTION_BITS
FEMTOAMPERE = 1e-15
INT32_MAX = 2**31 - 1
CLOCK_MAX = 2**62  # a run of any length stays within 64 bits
#: Largest sum of a neuron's exciting, or of its draining currents (fA): with feedback and noise it stays within 32 bits.
SUM_MAX = 2**31 - 2**28 - 1
LEAK_MAX = 2**30  # a larger leak is held here (fA)
FEEDBACK_MAX = 2**27  # positive feedback, and noise (fA)

# Decay and jumps of a DPI are rounded down after adding a dither that runs through [0, ONE) by the golden ratio: the mean
# error is zero however small the current is, and every machine adds the same.
DITHER_STEP = 10368889

# Noise: 16 random bits, centred and doubled, have this standard deviation.
NOISE_STD = 37837.0
NOISE_BITS = 16

#: Synapse rows, in this order, by the effect that the chip model names.
EFFECTS = ("excitatory", "gated", "shunting", "subtractive")

# State rows. PULSE: steps that the pulse of each synapse type still lasts (finite-pulse model only).
V, REFRACTORY, I_SYN, I_AHP, PULSE = 0, 1, 2, 6, 7
STATE_ROWS = 11
# Parameter rows. EVENT: what one CAM entry adds: a jump fraction, or with finite pulses the steps that its pulse lasts.
V_SPIKE, REFRACTORY_STEPS, LEAK, DC = 11, 12, 13, 14
EVENT, JUMP_AHP, FULL, FULL_AHP, DECAY, DECAY_AHP = 15, 19, 20, 24, 25, 29
# Scratch rows: the event words combined in this step.
SUM = 30
ROWS = 34


def dither(clock: int) -> int:
    """The rounding offset of a step."""
    return clock * DITHER_STEP % ONE
