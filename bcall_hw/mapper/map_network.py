"""Network -> MappedNetwork: place, tags, SRAM, CAM, biases; every violation gathered before anything is raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingOf

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray
from bcall_hw.calibration import Calibration, load_calibration
from bcall_hw.chip_config import ChipConfig
from bcall_hw.chip_model import ChipModel, load_chip
from bcall_hw.defects import Defects
from bcall_hw.errors import BcallError, NetworkDoesNotFit, RoundTripBroken
from bcall_hw.mapper.biases import choices_of_cores, code_problems
from bcall_hw.mapper.board import Board, boards_to_try
from bcall_hw.mapper.calibrated import calibrated_first
from bcall_hw.mapper.cam import Cam, cam_entries
from bcall_hw.mapper.check import check
from bcall_hw.mapper.efficacy import check_efficacy
from bcall_hw.mapper.fan_in import crowded_problems, prepared
from bcall_hw.mapper.locality import Traffic
from bcall_hw.mapper.mapped import MappedNetwork
from bcall_hw.mapper.options import MapOptions
from bcall_hw.mapper.place import Placement, place, room_problems, wished_places
from bcall_hw.mapper.registers import mapped_network, reach_of_inputs
from bcall_hw.mapper.round_trip import differences
from bcall_hw.mapper.sram import crowded_poisson_problems, destination_problems, source_problems
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapper.tag_limits import full_core_problems, wished_tag_problems
from bcall_hw.mapper.tags import Routes, assign_tags
from bcall_hw.mapping import Mapping, load_mapping
from bcall_hw.network import Network

#: A way to map a network on a board, or what is in its way.
Try = tuple[Board, Placement, Routes, Cam] | list[BcallError]


def map_network(
    network: Network,
    chip: ChipModel | str,
    chips: Sequence[int] | None = None,
    mapping: Mapping | None = None,
    calibration: Calibration | None = None,
    efficacy: MappingOf[str, npt.ArrayLike] | None = None,
    options: MapOptions | None = None,
    defects: Defects | None = None,
) -> MappedNetwork:
    """Map a network on a board.

    Args:
        chips: ids of the chips that may be used, ascending; if absent, as few chips of the board as it needs.
        mapping: which bias stands for what; the chip's BCaLL mapping if absent.
        calibration: of the board; the nominal one if absent. Its defects and excluded neurons are avoided, gains of synapses
            trim the multiplicities, second leaks are used where neurons without a population rest without them. Cores that
            it calibrated are taken first.
        efficacy: for plastic connections of `network`, bool (posts, slots): present or parked at first; all present if
            absent.
        options: what to do with too large fan-ins, and what to keep free.
        defects: of the board beside the calibration's (a `BoardProfile` has them); none if absent.

    Raises:
        NetworkDoesNotFit: every violation, in `violations`.
        InvalidValue, UnknownName: wrong chips, efficacies, defects, options or calibration.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    options, efficacy, defects = options or MapOptions(), efficacy or {}, defects or Defects()
    mapping, calibration = mapping or load_mapping(chip), calibration or load_calibration(chip)
    check_efficacy(network, efficacy)
    defects.check(chip)
    calibration.check(chip)
    unlike = bool(calibration.core_scales or calibration.measured)
    boards = boards_to_try(network, chip, chips, defects.merged(calibration.defects), options.reserve, unlike)
    subject = f"network {network.name!r}"
    known = code_problems(network, boards[-1], mapping, calibration)
    # Connections are expanded only once their groups are known to be of a size that a board can hold.
    too_large = source_problems(network, chip) + room_problems(network, boards[-1])
    too_large = too_large or crowded_problems(network, chip, options)
    if too_large:
        raise NetworkDoesNotFit(too_large + known, subject)
    ready = prepared(network, chip, options, mapping, efficacy)
    if ready.synapses.network is not network:  # relays have parameters too
        known = code_problems(ready.synapses.network, boards[-1], mapping, calibration)
    impossible = crowded_poisson_problems(ready.synapses, chip)
    if impossible:
        raise NetworkDoesNotFit(known + ready.problems + impossible, subject)
    known += ready.problems + wished_tag_problems(ready.synapses, boards[-1])
    failed: list[list[BcallError]] = []
    for board in calibrated_first(ready.synapses.network, boards, calibration):
        failed = []
        for found in _tries(board, ready.synapses, calibration, ready.present):
            if isinstance(found, list):
                failed.append(found)
            elif known:
                raise NetworkDoesNotFit(known, subject)
            else:
                on, placement, _, _ = found
                choices, problems = choices_of_cores(ready.synapses, placement, on, mapping, calibration)
                if problems:
                    failed.append(problems)
                    continue
                mapped = mapped_network(network, ready.synapses, ready.departures, *found, choices, mapping, calibration)
                _check_result(mapped, subject)
                return mapped
    raise NetworkDoesNotFit(known + min(failed, key=len), subject)


def _tries(board: Board, synapses: Synapses, calibration: Calibration, present: MappingOf[str, BoolArray]) -> Iterator[Try]:
    """Ways to map on a board, one after the other: on few cores, then on all of them. The first that is no list fits."""
    network = synapses.network
    wishes, problems = wished_places(network, synapses, board)
    if problems:
        yield problems
        return
    traffic, seen = Traffic(synapses, board), list[bytes]()
    for spread in (False, True):
        placement, problems = place(network, synapses, traffic, wishes, spread)
        if placement is None:
            yield problems
            return
        if placement.core_of.tobytes() in seen:
            return
        seen.append(placement.core_of.tobytes())
        reach = traffic.arrivals(placement.core_of)
        problems = full_core_problems(synapses, board, reach) + destination_problems(synapses, placement, board, reach)
        if problems:
            yield problems
            continue
        routes, problems = assign_tags(synapses, placement, board, reach)
        if routes is None:
            yield problems
            continue
        if np.any(synapses.cam_demand > board.chip.cam.entries - board.reserve):
            yield []  # known already, and there is no CAM to fill
            return
        cam, problems = cam_entries(synapses, placement, board, routes, calibration, present)
        yield problems or (board, placement, routes, cam)


def _check_result(mapped: MappedNetwork, subject: str) -> None:
    """An independent look at what was made: by the rules, and by reading the network back."""
    config: ChipConfig = mapped.config
    found = check(config, reach_of_inputs(mapped), mapped.defects)
    if not found:
        found = [RoundTripBroken(text, where="registers") for text in differences(mapped)]
    if found:
        raise NetworkDoesNotFit(found, f"the mapper's own result for {subject}")
