"""The bias codes of every core: what its neurons ask for, or idle."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf

from bcall_hw.calibration import Calibration
from bcall_hw.chip_config import ChipConfig, Registers
from bcall_hw.chip_model import BiasCode, ChipModel
from bcall_hw.errors import BcallError
from bcall_hw.mapper.board import Board, Core
from bcall_hw.mapping import BiasChoice, CodeProblems, Mapping, choose_codes, idle_codes
from bcall_hw.network import Network, NeuronParameters

#: Relative error of a code beyond which the mapper warns.
_FAR = 0.05


def code_problems(network: Network, chip: ChipModel, mapping: Mapping, calibration: Calibration) -> list[BcallError]:
    """Every target that no code can reach; populations with equal targets are told once."""
    known: list[NeuronParameters] = []
    problems: list[BcallError] = []
    for population in network.populations:
        if population.neuron in known:
            continue
        known.append(population.neuron)
        try:
            choose_codes(chip, mapping, calibration, population.neuron, f"population {population.name!r}")
        except CodeProblems as found:
            problems += found.problems
    return problems


def choices_of_cores(
    board: Board, kinds: MappingOf[int, NeuronParameters], mapping: Mapping, calibration: Calibration
) -> dict[Core, list[BiasChoice]]:
    """The codes of every used core with predicted values; cores of one kind have the same, worked out once."""
    known: list[tuple[NeuronParameters, list[BiasChoice]]] = []
    choices: dict[Core, list[BiasChoice]] = {}
    for core, kind in sorted(kinds.items()):
        found = next((c for k, c in known if k == kind), None)
        if found is None:
            found = choose_codes(board.chip, mapping, calibration, kind, board.core_name(core))
            known.append((kind, found))
        choices[board.cores[core]] = found
    return choices


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
