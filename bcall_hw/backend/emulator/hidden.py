"""Virtual boards whose truth is drawn by a seed: the test bench of whatever has to find it out from spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from bcall_hw import portable_math, random_bits
from bcall_hw.backend.emulator.profile import MISMATCHED, BoardProfile, Circuit
from bcall_hw.chip_model import ChipModel

#: Largest factor by which a capacitance is off, either way; largest factor of a current.
_CAPACITANCE, _CURRENT = 2.0, 1.25
_CV, _CAM_CV, _NOISE_A = 0.20, 0.10, 2e-12
#: Shares of the board's neurons (dead, hot, silent), CAM entries (dead) and CAM entries (one stuck tag bit).
_DEAD, _HOT, _SILENT, _DEAD_CAM, _STUCK = 0.004, 0.001, 0.001, 0.001, 0.0005
#: A hot neuron's dark constant current and a silent neuron's leak are this many times those of its neighbours.
_ODD = 100.0


def hidden_board(
    chip: ChipModel, seed: int, *, mismatch_cv: float = _CV, cam_mismatch_cv: float = _CAM_CV, noise_a: float = _NOISE_A,
    defects: bool = True, capacitances: bool = True,
) -> BoardProfile:  # fmt: skip
    """A board that differs from nominal in everything that the emulator models.

    Capacitances are off by up to a factor of two and currents by up to a quarter, each log-uniform; every current of every
    neuron has its mismatch; some neurons are dead, some fire without input (hot), some have a leak that nothing
    overcomes (silent); some CAM entries are dead, some have a stuck tag bit.

    Args:
        mismatch_cv, cam_mismatch_cv: coefficients of variation of neurons and of CAM entries.
        noise_a: see `BoardProfile`.
        defects: whether there are any.
        capacitances: whether capacitances and currents are off.
    """
    g = chip.geometry
    neurons, entries = (g.chips, g.cores, g.neurons), (g.chips, g.cores, g.neurons, chip.cam.entries)
    dead, hot, silent, dead_cam, stuck = (
        _some(seed, f"hidden/{name}", shape, share if defects else 0.0)
        for name, shape, share in (
            ("dead", neurons, _DEAD), ("hot", neurons, _HOT), ("silent", neurons, _SILENT),
            ("dead_cam", entries, _DEAD_CAM), ("stuck", entries, _STUCK),
        )
    )  # fmt: skip
    dead_places, bits = set(dead_cam), (chip.tags_per_core - 1).bit_length()
    which = random_bits.raw_bits(seed, "hidden/bits", max(1, len(stuck)))
    odd = [(*place, "dc", _ODD) for place in hot if place not in dead]
    odd += [(*place, leak, _ODD) for place in silent if place not in {*dead, *hot} for leak in ("leak1", "leak2")]
    return BoardProfile(
        seed=seed, mismatch_cv=mismatch_cv, cam_mismatch_cv=cam_mismatch_cv, noise_a=noise_a,
        capacitance_scale=_scales(seed, "capacitances", get_args(Circuit), _CAPACITANCE) if capacitances else {},
        current_scale=_scales(seed, "currents", MISMATCHED, _CURRENT) if capacitances else {},
        odd_currents=tuple(odd), dead_neurons=tuple(dead), dead_cam=tuple(dead_cam),
        stuck_tag_bits=tuple(
            (*place, int(word) % bits, int(word) // bits % 2)
            for place, word in zip(stuck, which.tolist(), strict=False)
            if place not in dead_places
        ),
    )  # fmt: skip


def _scales(seed: int, stream: str, names: Sequence[str], most: float) -> dict[Any, float]:
    """A factor for each name, log-uniform from 1 / most to most."""
    draw = random_bits.uniform(seed, f"hidden/{stream}", len(names)) * 2.0 - 1.0
    return dict(zip(names, portable_math.exp(draw * portable_math.log(most)).tolist(), strict=True))


def _some(seed: int, stream: str, shape: Sequence[int], share: float) -> list[tuple[int, ...]]:
    """Each place is taken with the given probability."""
    if not share:
        return []
    taken = np.flatnonzero(random_bits.uniform(seed, stream, int(np.prod(shape))) < share)
    return [tuple(int(i) for i in place) for place in np.column_stack(np.unravel_index(taken, tuple(shape)))]
