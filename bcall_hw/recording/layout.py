"""The tables of a session's file: what is in which, in HDF5."""

from __future__ import annotations

import numpy as np

from bcall_hw.chip_config import WORD_DTYPE
from bcall_hw.recording.spikes import NOTED, SPIKE_DTYPE
from bcall_hw.stimulus import EVENT_DTYPE

KIND, VERSION = "spike_recording", 2

#: What a run was: one that counts, or one that only lets the board come to rest.
RUN_KINDS = ("run", "rest")
#: What a step was; its index leads into `applied` or `runs`.
STEP_KINDS = ("apply", "run")

#: A run: its spikes are rows first_spike to first_spike + spikes of `spikes`; `reached_us` is how far it came; config and
#: stimulus lead into `applied` and `stimuli`, -1 for none; what is noted of it is -1 where there is nothing to tell.
RUN_DTYPE = np.dtype(
    [("first_spike", "<i8"), ("spikes", "<i8"), ("duration_us", "<i8"), ("reached_us", "<i8"), ("kind", "u1"),
     ("complete", "u1"), ("config", "<i4"), ("stimulus", "<i4"), *((name, "<i8") for name in NOTED)]
)  # fmt: skip
#: Registers: the words that lead from those before to these; from freshly opened chips where `fresh`. `chips` has a bit for
#: each chip; `written` is how many words the backend says that it wrote.
APPLIED_DTYPE = np.dtype([("first_word", "<i8"), ("words", "<i8"), ("written", "<i8"), ("chips", "<u4"), ("fresh", "u1")])
STIMULUS_DTYPE = np.dtype(
    [("first_event", "<i8"), ("events", "<i8"), ("first_rate", "<i8"), ("rates", "<i8"), ("isi_base", "<i8"),
     ("poisson_chip", "<i4"), ("poisson_core_mask", "<i4")]
)  # fmt: skip
STEP_DTYPE = np.dtype([("what", "u1"), ("index", "<u4")])

#: Every table that grows, with rows of one chunk.
TABLES = {
    "spikes": (SPIKE_DTYPE, 1 << 16), "runs": (RUN_DTYPE, 256), "steps": (STEP_DTYPE, 1024), "applied": (APPLIED_DTYPE, 256),
    "words": (WORD_DTYPE, 1 << 14), "stimuli": (STIMULUS_DTYPE, 256), "events": (EVENT_DTYPE, 1 << 14),
    "poisson_rates_hz": (np.dtype("<f8"), 1024),
}  # fmt: skip
