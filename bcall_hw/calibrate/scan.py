"""The scan before any calibration: which neurons fire, and which CAM entries hear what they were told to.

Neurons are driven by constant currents (`liveness`), then every CAM entry is asked by events, each bit of its tag at both
values (`cam_scan`). Only spikes are looked at. What they cannot show:

- CAM entries of neurons that are dead or silent: nothing of them is listed.
- Defects of synapses other than the fast excitatory one, through which all entries are asked.
- Three or more stuck bits in one entry: it is found to be out of order, but may be listed as dead or as unclear. Two are named.
- Destinations (SRAM), and neurons that fire but with wrong time constants: that is for the calibration to measure.
- A core is the measure of its own neurons: what all of them lack alike is no defect, but a core never quiet is hot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bcall_hw.arrays import BoolArray
from bcall_hw.calibrate.cam_scan import Place, scan_cam
from bcall_hw.calibrate.liveness import measure_liveness
from bcall_hw.calibrate.rig import Core, Rig

#: Why spikes do not tell what an entry hears.
Reason = Literal["neuron fires without events", "answers agree with no defect"]
#: (chip, core, neuron, entry).
Address = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class ScanResult:
    """What works and what does not.

    Attributes:
        cores: (chip id, core) of the rows of the arrays.
        alive: fires whenever it is driven at all; bool, shape (cores, neurons), as the next two.
        hot: fires in the dark while its neighbours are quiet.
        silent: alive, but does not fire where its neighbours do: under a fair constant current with one of the two leaks, or
            under an event on any CAM entry.
        dead_cam: (chip, core, neuron, entry): hears nothing.
        stuck_tag_bits: (chip, core, neuron, entry, bit, value): hears another tag than its register says.
        unclear: (chip, core, neuron, entry, reason): not in order, or not known.
        unmeasured: cores that fired so much that they were silenced; none of their neurons is in any list or array.
        board_s: board time used (s).
    """

    cores: tuple[Core, ...]
    alive: BoolArray
    hot: BoolArray
    silent: BoolArray
    dead_cam: tuple[Address, ...]
    stuck_tag_bits: tuple[tuple[int, int, int, int, int, int], ...]
    unclear: tuple[tuple[int, int, int, int, Reason], ...]
    unmeasured: tuple[Core, ...]
    board_s: float

    @property
    def measured(self) -> BoolArray:
        """Whether a neuron's core was measured to the end."""
        rows = np.array([core not in self.unmeasured for core in self.cores])
        return np.broadcast_to(rows[:, None], self.alive.shape)

    @property
    def dead(self) -> BoolArray:
        """Neurons that never fire, whatever is tried."""
        return self.measured & ~self.alive

    @property
    def usable(self) -> BoolArray:
        """Neurons that are alive, not hot and not silent."""
        return self.alive & ~self.hot & ~self.silent


def scan(rig: Rig) -> ScanResult:
    """Find the defects of the cores on the bench; leaves the cores quiet.

    Raises:
        InvalidValue: the chip has too few tags to tell its CAM entries apart.
        BudgetSpent: the board time that is left is too short.
        BcallError: whatever the backend raises.
    """
    before_s = rig.spent_s
    life = measure_liveness(rig)
    found = scan_cam(rig, life.fires & ~life.weak)
    rig.set(rig.quiet)
    rig.backend.apply(rig.config)
    lost = np.array([core in rig.overloaded for core in rig.cores])
    silent = (life.weak | found.deaf) & ~life.hot
    alive, hot, silent = (a & ~lost[:, None] for a in (life.fires, life.hot, silent))

    def addresses(places: Iterable[Place]) -> list[Address]:
        return [(*rig.cores[row], neuron, entry) for row, neuron, entry in places if not lost[row]]

    stuck = [(*address, *bit) for place, bits in found.stuck for address in addresses([place]) for bit in bits]
    restless = [(int(row), int(n), e) for row, n in np.argwhere(found.restless) for e in range(rig.chip.cam.entries)]
    unclear: list[tuple[int, int, int, int, Reason]] = [(*a, "neuron fires without events") for a in addresses(restless)]
    unclear += [(*a, "answers agree with no defect") for a in addresses(found.unclear)]
    return ScanResult(
        rig.cores, alive, hot, silent, tuple(sorted(addresses(found.dead))), tuple(sorted(stuck)), tuple(sorted(unclear)),
        unmeasured=tuple(core for core in rig.cores if core in rig.overloaded), board_s=rig.spent_s - before_s,
    )  # fmt: skip
