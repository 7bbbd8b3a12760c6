"""How full a mapped network makes the board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bcall_hw.arrays import IntArray

if TYPE_CHECKING:
    from bcall_hw.mapper.mapped import MappedNetwork


def utilisation(mapped: MappedNetwork) -> dict[str, Any]:
    """Used and available neurons, CAM and SRAM entries and FPGA sources, in all and for each core; plain values.

    A plastic synapse uses its CAM entries whether they are present or parked.
    """
    config, g = mapped.config, mapped.config.chip.geometry
    entries = _entries_used(mapped)
    tags = np.concatenate([t[t >= 0] for t in mapped.input_tags.values()]) if mapped.input_tags else np.zeros(0)
    cores = []
    for index, chip_id in enumerate(config.chips):
        for core in range(g.cores):
            here = {n: int(((a[:, 0] == chip_id) & (a[:, 1] == core)).sum()) for n, a in mapped.addresses.items()}
            used = entries[index, core]
            cores.append(
                {
                    "chip": chip_id, "core": core, "populations": [n for n, count in here.items() if count],
                    "neurons": sum(here.values()), "cam_used": int(used.sum()), "cam_most": int(used.max()),
                    "input_tags": sum((chip_id, core) in reach for reaches in mapped.input_reach.values() for reach in reaches),
                }
            )  # fmt: skip
    return {
        "neurons": {"used": sum(len(a) for a in mapped.addresses.values()), "of": int(config.tau2.size)},
        "cam": {"used": int(entries.sum()), "of": int(config.cam.size)},
        "sram": {"used": int((config.sram["core_mask"] > 0).sum()), "of": int(config.sram.size)},
        "fpga_sources": {"used": len(tags), "of": config.chip.stimulus.sources},
        "cores": cores,
    }


def _entries_used(mapped: MappedNetwork) -> IntArray:
    """CAM entries of each neuron, shape (chips, cores, neurons)."""
    config = mapped.config
    used = np.zeros(config.tau2.shape, dtype=np.int64)
    address = np.concatenate(list(mapped.addresses.values()))
    demand = np.bincount(mapped.synapses.target, weights=mapped.copies, minlength=len(address))
    used[np.searchsorted(config.chips, address[:, 0]), address[:, 1], address[:, 2]] = demand
    return used
