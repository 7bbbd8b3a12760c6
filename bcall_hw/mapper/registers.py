"""From places, tags and CAM to the whole register image, and the mapped network around it."""

from __future__ import annotations

import numpy as np

from bcall_hw.calibration import Calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_warnings import link_warnings
from bcall_hw.mapper.biases import bias_registers, far_codes
from bcall_hw.mapper.board import Board, Core
from bcall_hw.mapper.calibrated import not_calibrated
from bcall_hw.mapper.cam import Cam, addresses
from bcall_hw.mapper.check import InputReach
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.mapped import MappedNetwork
from bcall_hw.mapper.place import Placement
from bcall_hw.mapper.second_leak import leaks_of
from bcall_hw.mapper.sram import sram_entries
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapper.tags import Routes
from bcall_hw.mapping import BiasChoice, Mapping
from bcall_hw.network import Network


def mapped_network(
    asked: Network, synapses: Synapses, departures: list[Departure], board: Board, placement: Placement, routes: Routes,
    cam: Cam, choices: dict[Core, list[BiasChoice]], mapping: Mapping, calibration: Calibration,
) -> MappedNetwork:  # fmt: skip
    """Everything that was decided, as registers and as the way between names and addresses."""
    empty = ChipConfig.after_opening(board.chip, board.chips)
    leaks = leaks_of(synapses, placement, board, routes, mapping, calibration, choices)
    config = empty.with_registers(
        cam=cam.registers, sram=sram_entries(synapses, placement, board, routes),
        biases=bias_registers(leaks.choices, empty, mapping), tau2=leaks.tau2.reshape(empty.tau2.shape),
    )  # fmt: skip
    every, inputs = addresses(placement, board, routes), synapses.network.inputs
    rows = {i.name: synapses.rows[i.name] for i in inputs}
    cores = [[board.cores[core] for core in np.flatnonzero(reach).tolist()] for reach in routes.reach[: synapses.inputs]]
    departed = departures + cam.departures + leaks.departures
    number_at = {tuple(address): number for number, address in enumerate(every.tolist())}

    def called(chip: int, core: int, neuron: int) -> str:
        return synapses.name(number_at[chip, core, neuron] + synapses.inputs)

    return MappedNetwork(
        network=synapses.network, asked=asked, config=config,
        addresses={p.name: every[synapses.neurons_of(p.name)] for p in synapses.network.populations},
        input_tags={name: routes.tag[row].max(axis=1) for name, row in rows.items()},
        input_reach={name: [frozenset(c) for c in cores[row]] for name, row in rows.items()},
        plastic=cam.plastic, biases=leaks.choices, departures=departed,
        warnings=[
            *(d.text for d in departed), *link_warnings(config, called), *far_codes(leaks.choices),
            *not_calibrated(leaks.choices, calibration),
        ],
        synapses=synapses, copies=cam.copies, mapping=mapping, calibration=calibration, defects=board.defects,
    )  # fmt: skip


def reach_of_inputs(mapped: MappedNetwork) -> InputReach:
    """For the check: tag, name and reached cores of every input source with targets."""
    return [
        (tag, f"input {name!r} source {index}", mapped.input_reach[name][index])
        for name, tags in mapped.input_tags.items()
        for index, tag in enumerate(tags.tolist())
        if tag >= 0
    ]
