"""The way there and back: the network that the registers hold is the network that was mapped."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from bcall_hw.arrays import BoolArray
from bcall_hw.mapper.mapped import MappedNetwork
from bcall_hw.mapper.read_back import Delivered, delivered, populations_of
from bcall_hw.network import NeuronParameters

#: Relative difference of a predicted value that rounding explains.
_ROUNDING = 1e-9
#: The time constant of the neurons that use the first leak, and of those that use the second.
_LEAKS = ("tau_s", "tau2_s")


def differences(mapped: MappedNetwork) -> list[str]:
    """Every way in which the registers differ from the network; empty when the round trip holds.

    Plastic synapses that are parked count as absent.
    """
    found = delivered(mapped.config, mapped.defects)
    return _synapses(mapped, found) + _neurons(mapped, found)


def _synapses(mapped: MappedNetwork, found: Delivered) -> list[str]:
    table, config, g = mapped.synapses, mapped.config, mapped.config.chip.geometry
    address = np.concatenate(list(mapped.addresses.values()))
    seat = (np.searchsorted(config.chips, address[:, 0]) * g.cores + address[:, 1]) * g.neurons + address[:, 2]
    tags = np.concatenate([*mapped.input_tags.values(), np.zeros(0, dtype=np.int64)])
    codes = np.array([config.chip.synapse_type(c.synapse).code for c in mapped.network.connections], dtype=np.int64)
    on = _present(mapped)
    is_input = table.source < table.inputs
    neuron = np.maximum(table.source - table.inputs, 0)
    source = np.where(is_input, -1 - np.append(tags, 0)[np.where(is_input, table.source, -1)], seat[neuron])
    wanted = np.column_stack([source, seat[table.target], codes[table.connection]])[on]
    rows, which = np.unique(wanted, axis=0, return_inverse=True)
    copies = np.bincount(which.ravel(), weights=mapped.copies[on], minlength=len(rows)).astype(np.int64)
    asked = dict(zip(map(tuple, rows.tolist()), copies.tolist(), strict=True))
    got_rows = np.column_stack([found.source, found.target, found.type_code]).tolist()
    got = dict(zip(map(tuple, got_rows), found.multiplicity.tolist(), strict=True))
    if asked == got:
        return []
    wrong = [key for key in sorted(asked.keys() | got.keys()) if asked.get(key) != got.get(key)]
    return [
        f"synapse {key} (source seat or -1 - tag, target seat, type): asked {asked.get(key, 0)}, found {got.get(key, 0)}"
        for key in wrong
    ]


def _present(mapped: MappedNetwork) -> BoolArray:
    """Which synapses are not parked, by their CAM entries; shape (synapses,)."""
    on = np.ones(mapped.synapses.source.size, dtype=np.bool_)
    cam, chips = mapped.config.cam, mapped.config.chips
    reserved = mapped.config.chip.tags.reserved
    for index, connection in enumerate(mapped.network.connections):
        slots = mapped.plastic.get(connection.name)
        if slots is None:
            continue
        post, slot = np.nonzero(slots.sources >= 0)
        address = slots.addresses[post]
        word = cam[np.searchsorted(chips, address[:, 0]), address[:, 1], address[:, 2], slots.entries[post, slot, 0]]
        parked = np.zeros(post.size, dtype=np.bool_)
        for core, neuron in reserved:
            parked |= (word["source_core"] == core) & (word["source_neuron"] == neuron)
        on[mapped.synapses.of(index)] = ~parked
    return on


def _neurons(mapped: MappedNetwork, read: Delivered) -> list[str]:
    """Seats and parameters: what the mapper predicted is what the registers read back as."""
    populations, _, _ = populations_of(mapped.config, mapped.mapping, mapped.calibration, read)
    problems = []
    wanted = {tuple(row) for addresses in mapped.addresses.values() for row in addresses.tolist()}
    found: dict[tuple[int, ...], NeuronParameters] = {}
    for population in populations:
        place = population.place
        if place is not None:
            found |= {(place.chip, place.core, place.neuron + k): population.neuron for k in range(population.size)}
    if wanted != found.keys():
        wrong = sorted(wanted ^ found.keys())
        problems.append(f"{len(wrong)} neurons are used by one side alone, first {wrong[0]} (chip, core, neuron)")
    by_leak: dict[tuple[int, ...], dict[bool, NeuronParameters]] = defaultdict(dict)
    for (chip, core, neuron), parameters in found.items():
        second = bool(mapped.config.tau2[mapped.config.chips.index(chip), core, neuron])
        by_leak[chip, core][second] = parameters
    for (chip, core), choices in mapped.biases.items():
        held_here = by_leak[chip, core]
        for choice in choices:
            of_leak = held_here.get(choice.quantity == "tau2_s")
            held = of_leak if choice.quantity in _LEAKS else next(iter(held_here.values()), None)
            value = _value(held, choice.quantity) if held is not None else None
            if value is not None and abs(value - choice.predicted) > _ROUNDING * abs(choice.predicted):
                problems.append(f"chip {chip} core {core}: {choice.quantity} predicted {choice.predicted}, read back {value}")
    return problems


def _value(parameters: NeuronParameters, quantity: str) -> float | None:
    """A quantity by the name that `BiasChoice` gives it, or None where parameters do not have it."""
    circuit, _, name = quantity.rpartition(".")
    if not circuit:
        return float(getattr(parameters, "tau_s" if name in _LEAKS else name))
    if name not in ("tau_s", "weight_a"):
        return None
    dpi = parameters.adaptation if circuit == "adaptation" else parameters.synapses.get(circuit)  # type: ignore[call-overload]
    return 0.0 if dpi is None else float(getattr(dpi, name))
