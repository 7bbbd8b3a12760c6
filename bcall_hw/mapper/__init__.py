"""The mapper: Network -> ChipConfig. Entry point: `map_network`."""

from bcall_hw.mapper.map_network import map_network
from bcall_hw.mapper.mapped import MappedNetwork
from bcall_hw.mapper.options import MapOptions
from bcall_hw.mapper.plastic import PlasticSlots
from bcall_hw.mapper.read_back import network_of
from bcall_hw.mapper.round_trip import differences
from bcall_hw.mapper.utilisation import utilisation

__all__ = ["MapOptions", "MappedNetwork", "PlasticSlots", "differences", "map_network", "network_of", "utilisation"]
