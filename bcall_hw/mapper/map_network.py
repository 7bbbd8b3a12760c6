"""Network -> MappedNetwork: place, tags, SRAM, CAM, biases; every violation gathered before anything is raised."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence

import numpy as np

from bcall_hw.arrays import BoolArray
from bcall_hw.calibration import Calibration, load_calibration
from bcall_hw.chip_config import ChipConfig, Registers
from bcall_hw.chip_model import BiasCode, ChipModel, load_chip
from bcall_hw.errors import BcallError, NetworkDoesNotFit, PlacementFull, SourcesExceeded
from bcall_hw.mapper.cam import cam_entries, fan_in_problems
from bcall_hw.mapper.check import check
from bcall_hw.mapper.mapped import MappedNetwork
from bcall_hw.mapper.place import Core, Placement, place
from bcall_hw.mapper.route import assign_tags, source_problems, sram_entries
from bcall_hw.mapping import BiasChoice, CodeProblems, Mapping, choose_codes, idle_codes, load_mapping
from bcall_hw.network import Network, NeuronParameters

#: Relative error of a code beyond which the mapper warns.
_FAR = 0.05


def map_network(
    network: Network,
    chip: ChipModel | str,
    chips: Sequence[int] = (0,),
    mapping: Mapping | None = None,
    calibration: Calibration | None = None,
    efficacy: MappingOf[str, BoolArray] | None = None,
) -> MappedNetwork:
    """Map a network on some chips of a board.

    Args:
        chips: ids of the chips that may be used, ascending.
        mapping: which bias stands for what; the chip's BCaLL mapping if absent.
        calibration: of the board; the nominal one if absent.
        efficacy: for plastic connections, bool (posts, slots): present or parked at first; all present if absent.

    Raises:
        NetworkDoesNotFit: every violation, in `violations`.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    mapping = mapping or load_mapping(chip)
    calibration = calibration or load_calibration(chip)
    subject = f"network {network.name!r}"
    empty = ChipConfig.after_opening(chip, chips)
    placement, problems = place(network, chip, empty.chips)
    # Where nothing could be placed, codes that cannot be reached are still told, for a first core in name only.
    kinds = placement.kind or dict.fromkeys([(empty.chips[0], 0)], network.populations[0].neuron)
    biases, code_problems = _biases(chip, mapping, calibration, kinds)
    problems += source_problems(network, chip) + code_problems
    # Connections are expanded only once their groups are known to be of a size that a board can hold.
    if not any(isinstance(p, PlacementFull | SourcesExceeded) for p in problems):
        problems += fan_in_problems(network, chip)
    if len(placement.addresses) < len(network.populations) or any(isinstance(p, SourcesExceeded) for p in problems):
        raise NetworkDoesNotFit(problems, subject)
    routes, tag_problems = assign_tags(network, chip, placement)
    if tag_problems:
        raise NetworkDoesNotFit(problems + tag_problems, subject)
    sram, sram_problems = sram_entries(network, chip, empty.chips, placement, routes)
    if problems + sram_problems:
        raise NetworkDoesNotFit(problems + sram_problems, subject)
    cam = empty.cam.copy()
    plastic = cam_entries(network, chip, placement, routes.tags, efficacy or {}, cam, empty.chips)
    config = empty.with_registers(
        cam=cam, sram=sram, biases=_bias_registers(chip, mapping, biases, empty), tau2=_unplaced(placement, empty)
    )
    names = [i.name for i in network.inputs]
    mapped = MappedNetwork(
        network=network, config=config, addresses=placement.addresses, input_tags={n: routes.tags[n] for n in names},
        input_reach={n: routes.reaches[n] for n in names}, plastic=plastic, biases=biases,
        warnings=routes.warnings + _far_codes(biases),
    )  # fmt: skip
    reach = [
        (tag, f"input {name!r} source {index}", routes.reaches[name][index])
        for name in names
        for index, tag in enumerate(routes.tags[name].tolist())
        if tag >= 0
    ]
    found = check(config, reach)
    if found:
        raise NetworkDoesNotFit(found, f"the mapper's own result for {subject}")
    return mapped


def _unplaced(placement: Placement, empty: ChipConfig) -> BoolArray:
    """Neurons that hold nothing: they take the second leak, which the mapping sets strong to keep them silent."""
    free = np.ones(empty.tau2.shape, dtype=np.bool_)
    for address in placement.addresses.values():
        free[np.searchsorted(empty.chips, address[:, 0]), address[:, 1], address[:, 2]] = False
    return free


def _far_codes(biases: MappingOf[Core, list[BiasChoice]]) -> list[str]:
    """A word for every code that lies further from its target than `_FAR`."""
    return [
        f"chip {core[0]} core {core[1]}: {c.quantity} ({c.bias}) is predicted {c.error:+.0%} from its target"
        for core, choices in biases.items()
        for c in choices
        if abs(c.error) > _FAR
    ]


def _biases(
    chip: ChipModel, mapping: Mapping, calibration: Calibration, kinds: MappingOf[Core, NeuronParameters]
) -> tuple[dict[Core, list[BiasChoice]], list[BcallError]]:
    """The codes of every used core; neurons of one kind have the same codes, so each kind is worked out once."""
    known: list[tuple[NeuronParameters, list[BiasChoice]]] = []
    biases: dict[Core, list[BiasChoice]] = {}
    problems: list[BcallError] = []
    failed: list[NeuronParameters] = []
    for core, kind in sorted(kinds.items(), key=lambda item: item[0]):
        if kind in failed:
            continue
        choices = next((c for k, c in known if k == kind), None)
        if choices is None:
            try:
                choices = choose_codes(chip, mapping, calibration, kind, f"chip {core[0]} core {core[1]}")
            except CodeProblems as found:
                problems += found.problems
                failed.append(kind)
                continue
            known.append((kind, choices))
        biases[core] = choices
    return biases, problems


def _bias_registers(
    chip: ChipModel, mapping: Mapping, biases: MappingOf[Core, list[BiasChoice]], empty: ChipConfig
) -> Registers:
    registers = empty.biases.copy()
    idle = idle_codes(chip, mapping)

    def put(core: Core, name: str, code: BiasCode) -> None:
        registers[empty.chips.index(core[0]), core[1], chip.bias_index(name)] = (code.coarse, code.fine, int(code.high))

    for chip_id in empty.chips:
        for core in range(chip.geometry.cores):
            for name, code in idle.items():
                put((chip_id, core), name, code)
            for choice in biases.get((chip_id, core), []):
                put((chip_id, core), choice.bias, choice.code)
    return registers
