"""The mapper: Network -> ChipConfig. Entry point: `map_network`."""

from bcall_hw.mapper.cam import PlasticSlots
from bcall_hw.mapper.map_network import map_network
from bcall_hw.mapper.mapped import MappedNetwork
from bcall_hw.mapper.utilisation import utilisation

__all__ = ["MappedNetwork", "PlasticSlots", "map_network", "utilisation"]
