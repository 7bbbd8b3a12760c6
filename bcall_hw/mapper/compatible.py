"""Whether a network fits a chip, without a board and without an exception."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bcall_hw.calibration import Calibration
from bcall_hw.chip_model import ChipModel
from bcall_hw.defects import Defects
from bcall_hw.errors import BcallError, NetworkDoesNotFit
from bcall_hw.mapper.map_network import map_network
from bcall_hw.mapper.options import MapOptions
from bcall_hw.mapper.utilisation import memory_summary
from bcall_hw.mapping import Mapping
from bcall_hw.network import Network


@dataclass(frozen=True)
class Compatibility:
    """The answer of `is_compatible`; true where the network fits.

    Attributes:
        violations: every broken rule, empty where it fits.
        chips: ids of the chips that it takes.
        memory: what each population takes, see `memory_summary`.
        warnings: what is allowed but worth knowing.
    """

    violations: tuple[BcallError, ...]
    chips: tuple[int, ...]
    memory: list[dict[str, Any]]
    warnings: list[str]

    def __bool__(self) -> bool:
        return not self.violations


def is_compatible(
    network: Network,
    chip: ChipModel | str,
    chips: Sequence[int] | None = None,
    mapping: Mapping | None = None,
    calibration: Calibration | None = None,
    options: MapOptions | None = None,
    defects: Defects | None = None,
) -> Compatibility:
    """Whether a network can be mapped, and if not, every reason; the arguments are those of `map_network`.

    Raises:
        InvalidValue, UnknownName: wrong chips, options, defects or gains.
    """
    try:
        mapped = map_network(network, chip, chips, mapping, calibration, None, options, defects)
    except NetworkDoesNotFit as problem:
        return Compatibility(problem.violations, (), [], [])
    return Compatibility((), mapped.config.chips, memory_summary(mapped), mapped.warnings)
