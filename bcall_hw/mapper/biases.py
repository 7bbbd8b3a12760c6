"""The bias codes of every core: what its neurons ask for, or idle."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf

import numpy as np

from bcall_hw.calibration import Calibration
from bcall_hw.chip_config import ChipConfig, Registers
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.errors import BcallError, CurrentOutOfRange
from bcall_hw.mapper.board import Board, Core
from bcall_hw.mapper.place import Placement
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapping import BiasChoice, CodeProblems, Mapping, choose_codes, idle_codes
from bcall_hw.network import Network, NeuronParameters, Population

#: Relative error of a code beyond which the mapper warns.
_FAR = 0.05


def code_problems(network: Network, board: Board, mapping: Mapping, calibration: Calibration) -> list[BcallError]:
    """Every target that no code can reach on any core; populations with equal targets are told once."""
    unlike: list[Core] = []
    for core in board.cores:
        if all(calibration.scales_of(core) != calibration.scales_of(other) for other in unlike):
            unlike.append(core)
    known: list[NeuronParameters] = []
    problems: list[BcallError] = []
    for population in network.populations:
        if population.neuron in known:
            continue
        known.append(population.neuron)
        problems += _fewest_problems(population, board.chip, unlike, mapping, calibration)
    return problems


def _fewest_problems(
    population: Population, chip: ChipModel, cores: list[Core], mapping: Mapping, calibration: Calibration
) -> list[CurrentOutOfRange]:
    """What stands in a population's way on the core where that is least."""
    found: list[list[CurrentOutOfRange]] = []
    for core in cores:
        where = f"population {population.name!r}"
        if calibration.scales_of(core):
            where += f" on chip {core[0]} core {core[1]}"
        try:
            choose_codes(chip, mapping, calibration, population.neuron, where, core)
        except CodeProblems as problem:
            found.append(problem.problems)
        else:
            return []
    return min(found, key=len)


def choices_of_cores(
    synapses: Synapses, placement: Placement, board: Board, mapping: Mapping, calibration: Calibration
) -> tuple[dict[Core, list[BiasChoice]], list[BcallError]]:
    """The codes of every used core with predicted values; cores of one kind and equal scales have the same, worked out once.

    Returns:
        The choices, and every target that a core cannot reach.
    """
    known: list[tuple[NeuronParameters, MappingOf[str, float], list[BiasChoice]]] = []
    choices: dict[Core, list[BiasChoice]] = {}
    problems: list[BcallError] = []
    for number, kind in sorted(placement.kind.items()):
        core = board.cores[number]
        scales = calibration.scales_of(core)
        found = next((c for k, s, c in known if k == kind and s == scales), None)
        if found is None:
            residents = np.unique(synapses.population[placement.core_of == number]).tolist()
            names = ", ".join(repr(synapses.network.populations[p].name) for p in residents)
            try:
                found = choose_codes(
                    board.chip, mapping, calibration, kind, f"population {names} on {board.core_name(number)}", core
                )
            except CodeProblems as problem:
                problems += problem.problems
                continue
            known.append((kind, scales, found))
        choices[core] = found
    return choices, problems


def bias_registers(choices: MappingOf[Core, list[BiasChoice]], empty: ChipConfig, mapping: Mapping) -> Registers:
    """The biases of all cores; those without neurons are idle."""
    registers, chip = empty.biases.copy(), empty.chip
    idle = idle_codes(chip, mapping)

    def put(core: Core, name: str, code: BiasCode) -> None:
        registers[empty.chips.index(core[0]), core[1], chip.bias_index(name)] = (code.coarse, code.fine, int(code.high))

    for chip_id in empty.chips:
        for core in range(chip.geometry.cores):
            for name, code in idle.items():
                put((chip_id, core), name, code)
            for choice in choices.get((chip_id, core), []):
                put((chip_id, core), choice.bias, choice.code)
    return registers


def far_codes(choices: MappingOf[Core, list[BiasChoice]]) -> list[str]:
    """A word for every code that lies further from its target than `_FAR`."""
    return [
        f"chip {core[0]} core {core[1]}: {c.quantity} ({c.bias}) is predicted {c.error:+.0%} from its target"
        for core, found in choices.items()
        for c in found
        if abs(c.error) > _FAR
    ]
