"""How full a mapped network makes the board, core by core and population by population, and what traffic it causes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray

if TYPE_CHECKING:
    from bcall_hw.mapper.mapped import MappedNetwork


def utilisation(mapped: MappedNetwork) -> dict[str, Any]:
    """Used and available neurons, CAM and SRAM entries, tags and FPGA sources, in all and for each core; plain values.

    A plastic synapse uses its CAM entries whether they are present or parked. A core's tags are the sources that reach it;
    those of the reserved tags can have none. Traffic is the number of neurons of one core that send to another.
    """
    config, g = mapped.config, mapped.config.chip.geometry
    chip, address = config.chip, np.concatenate(list(mapped.addresses.values()))
    entries = _by_seat(mapped, np.bincount(mapped.synapses.target, weights=mapped.copies, minlength=len(address)))
    reach = reached_cores(mapped)
    inputs = mapped.synapses.inputs
    core_of = np.searchsorted(config.chips, address[:, 0]) * g.cores + address[:, 1]
    traffic = np.array([reach[inputs:][core_of == core].sum(axis=0) for core in range(reach.shape[1])])
    names = [(chip_id, core) for chip_id in config.chips for core in range(g.cores)]
    cores = []
    for number, (chip_id, core) in enumerate(names):
        here = {n: int(((a[:, 0] == chip_id) & (a[:, 1] == core)).sum()) for n, a in mapped.addresses.items()}
        used = entries[number]
        destinations = (config.sram["core_mask"] > 0).reshape(len(names), -1)[number]
        cores.append(
            {
                "chip": chip_id, "core": core, "populations": {n: count for n, count in here.items() if count},
                "neurons": sum(here.values()), "neurons_of": g.neurons,
                "cam_used": int(used.sum()), "cam_most": int(used.max()), "cam_of": int(g.neurons * chip.cam.entries),
                "sram_used": int(destinations.sum()), "sram_of": int(destinations.size),
                "tags": int(reach[:, number].sum()), "tags_of": chip.tags_per_core - len(chip.reserved_tags),
                "input_tags": int(reach[:inputs, number].sum()),
            }
        )  # fmt: skip
    links = np.argwhere(traffic)
    return {
        "neurons": {"used": len(address), "of": int(config.tau2.size)},
        "cam": {"used": int(entries.sum()), "of": int(config.cam.size)},
        "sram": {"used": int((config.sram["core_mask"] > 0).sum()), "of": int(config.sram.size)},
        "fpga_sources": {"used": int(reach[:inputs].any(axis=1).sum()), "of": chip.stimulus.sources},
        "cores": cores,
        "populations": memory_summary(mapped),
        "traffic": [{"from": list(names[a]), "to": list(names[b]), "neurons": int(traffic[a, b])} for a, b in links.tolist()],
    }


def memory_summary(mapped: MappedNetwork) -> list[dict[str, Any]]:
    """What each population takes of the board's memories: neurons, CAM and SRAM entries, cores; plain values."""
    table, config = mapped.synapses, mapped.config
    demand = np.bincount(table.target, weights=mapped.copies, minlength=table.neurons).astype(np.int64)
    rows = []
    for population in mapped.network.populations:
        mine, address = demand[table.neurons_of(population.name)], mapped.addresses[population.name]
        at = (np.searchsorted(config.chips, address[:, 0]), address[:, 1], address[:, 2])
        rows.append(
            {
                "population": population.name, "neurons": population.size, "cores": len(np.unique(address[:, :2], axis=0)),
                "cam_used": int(mine.sum()), "cam_mean": float(mine.mean()), "cam_most": int(mine.max()),
                "sram_used": int((config.sram["core_mask"][at] > 0).sum()),
            }
        )  # fmt: skip
    return rows


def reached_cores(mapped: MappedNetwork) -> BoolArray:
    """Cores that each source reaches, by its synapses and, for inputs, their reach; shape (sources, cores of the image)."""
    config, g, inputs = mapped.config, mapped.config.chip.geometry, mapped.synapses.inputs
    reach = np.zeros((mapped.synapses.sources, len(config.chips) * g.cores), dtype=np.bool_)
    of_inputs = [cores for reaches in mapped.input_reach.values() for cores in reaches]
    for row, cores in enumerate(of_inputs):
        for chip_id, core in cores:
            reach[row, config.chips.index(chip_id) * g.cores + core] = True
    table = mapped.synapses
    address = np.concatenate(list(mapped.addresses.values()))[table.target]
    core = np.searchsorted(config.chips, address[:, 0]) * g.cores + address[:, 1]
    of_neuron = table.source >= inputs
    reach[table.source[of_neuron], core[of_neuron]] = True
    return reach


def _by_seat(mapped: MappedNetwork, values: IntArray) -> IntArray:
    """A value of each neuron at its seat, shape (cores, neurons)."""
    config = mapped.config
    table = np.zeros(config.tau2.shape, dtype=np.int64)
    address = np.concatenate(list(mapped.addresses.values()))
    table[np.searchsorted(config.chips, address[:, 0]), address[:, 1], address[:, 2]] = values
    return table.reshape(-1, config.chip.geometry.neurons)
