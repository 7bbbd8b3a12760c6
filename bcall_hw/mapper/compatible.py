"""Whether a network fits a chip, without a board and without an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import BcallError, NetworkDoesNotFit
from bcall_hw.mapper.map_network import map_network
from bcall_hw.mapper.utilisation import memory_summary
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


def is_compatible(network: Network, chip: ChipModel | str, **choices: Any) -> Compatibility:
    """Whether a network can be mapped, and if not, every reason.

    Args:
        choices: as for `map_network`: chips, mapping, calibration, options, defects.

    Raises:
        InvalidValue, UnknownName: wrong choices.
    """
    try:
        mapped = map_network(network, chip, **choices)
    except NetworkDoesNotFit as problem:
        return Compatibility(problem.violations, (), [], [])
    return Compatibility((), mapped.config.chips, memory_summary(mapped), mapped.warnings)
