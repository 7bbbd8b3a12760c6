"""The mapper: Network -> ChipConfig. Entry point: `map_network`."""

from bcall_hw.mapper.compatible import Compatibility, is_compatible
from bcall_hw.mapper.explain import explain
from bcall_hw.mapper.map_network import map_network
from bcall_hw.mapper.mapped import MappedNetwork
from bcall_hw.mapper.options import MapOptions
from bcall_hw.mapper.plastic import PlasticSlots
from bcall_hw.mapper.read_back import network_of
from bcall_hw.mapper.round_trip import differences
from bcall_hw.mapper.utilisation import memory_summary, utilisation

__all__ = [
    "Compatibility", "MapOptions", "MappedNetwork", "PlasticSlots", "differences", "explain", "is_compatible", "map_network",
    "memory_summary", "network_of", "utilisation",
]  # fmt: skip
