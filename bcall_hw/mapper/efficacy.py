"""Efficacies that a user gives: which plastic synapses are present at first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bcall_hw.arrays import BoolArray
from bcall_hw.errors import InvalidValue, UnknownName
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.network import Network


def check_efficacy(network: Network, efficacy: Mapping[str, npt.ArrayLike]) -> None:
    """Refuse efficacies of what is no plastic connection.

    Raises:
        UnknownName: with the connection.
    """
    plastic = [c.name for c in network.connections if c.plastic]
    unknown = sorted(efficacy.keys() - set(plastic))
    if unknown:
        raise UnknownName(
            "efficacy given for what is no plastic connection",
            where=f"network {network.name!r}",
            used=unknown[0],
            fix=f"Plastic: {', '.join(plastic) or 'none'}",
        )


def present_at_first(synapses: Synapses, efficacy: Mapping[str, npt.ArrayLike]) -> dict[str, BoolArray]:
    """For each connection with an efficacy, one value for each of its synapses, in the order of the table.

    Args:
        efficacy: bool (posts, slots): a row for each target neuron, its synapses by source in ascending order.

    Raises:
        InvalidValue: a table has another shape, or holds something else than true and false.
    """
    present = {}
    for index, connection in enumerate(synapses.network.connections):
        if connection.name not in efficacy:
            continue
        table, where = np.asarray(efficacy[connection.name]), f"efficacy of connection {connection.name!r}"
        neurons, rows = synapses.neurons_of(connection.target), synapses.of(index)
        target = synapses.target[rows] - neurons.start
        shape = (neurons.stop - neurons.start, int(np.bincount(target, minlength=1).max(initial=0)))
        if table.shape != shape:
            fix = "One row for each target neuron, one column for each synapse of the fullest."
            raise InvalidValue("wrong shape", where=where, used=table.shape, limit=shape, fix=fix)
        if table.dtype != np.bool_:
            raise InvalidValue("holds something else than true and false", where=where, used=str(table.dtype), limit="bool")
        slot = np.arange(target.size) - np.searchsorted(target, target, side="left")
        present[connection.name] = table[target, slot]
    return present
