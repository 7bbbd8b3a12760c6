"""One neuron in full: where it is, what it hears, where it sends, with tags and words."""

from __future__ import annotations

from typing import Any

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.errors import InvalidValue, UnknownName
from bcall_hw.mapper.check import heard_tags
from bcall_hw.mapper.mapped import MappedNetwork, check_indices


def explain(mapped: MappedNetwork, name: str) -> dict[str, Any]:
    """Everything about one neuron, as plain values.

    Args:
        name: "population/index", e.g. "classes/12"; or "chip/core/neuron", e.g. "0/1/255".

    Raises:
        UnknownName, InvalidValue: no such neuron, or nothing is placed there.
    """
    population, index = _find(mapped, name)
    chip, core, neuron = mapped.addresses[population][index].tolist()
    other_leak = "tau_s" if mapped.config.tau2[_at(mapped, population, index)] else "tau2_s"
    return {
        "neuron": f"{population}/{index}",
        "chip": chip,
        "core": core,
        "number": neuron,
        "inputs": _inputs(mapped, population, index),
        "destinations": _destinations(mapped, population, index),
        "free_cam_entries": _free(mapped, population, index),
        "biases": [
            {"quantity": c.quantity, "bias": c.bias, "coarse": c.code.coarse, "fine": c.code.fine, "wanted": c.wanted,
             "predicted": c.predicted, "error": c.error} for c in mapped.biases[chip, core]
            if c.quantity != other_leak
        ],
    }  # fmt: skip


def _find(mapped: MappedNetwork, name: str) -> tuple[str, int]:
    parts = name.split("/")
    fix = 'Name it as "population/index" or "chip/core/neuron".'
    try:
        numbers = [int(part) for part in (parts if len(parts) == 3 else parts[-1:])]
    except ValueError:
        numbers = []
    if len(parts) == 3 and len(numbers) == 3:
        for population, addresses in mapped.addresses.items():
            found = np.flatnonzero((addresses == numbers).all(axis=1))
            if found.size:
                return population, int(found[0])
        dead = tuple(numbers) in mapped.defects.dead_neurons
        what = "the neuron there is dead or excluded, and nothing is placed on it" if dead else "no neuron is placed there"
        raise UnknownName(what, where="explain", used=name, fix=fix)
    if len(parts) != 2 or not numbers:
        raise InvalidValue("is no neuron", where="explain", used=name, fix=fix)
    if parts[0] not in mapped.addresses:
        known = ", ".join(mapped.addresses)
        raise UnknownName("no population of that name", where="explain", used=parts[0], fix=f"Known: {known}")
    check_indices(np.array(numbers), len(mapped.addresses[parts[0]]), f"population {parts[0]!r}: neuron")
    return parts[0], numbers[0]


def _inputs(mapped: MappedNetwork, population: str, index: int) -> list[dict[str, Any]]:
    """A row for each synapse of the neuron, with the CAM entries that hold it."""
    table, config = mapped.synapses, mapped.config
    chip, neuron = config.chip, table.neurons_of(population).start + index
    cam = config.cam[_at(mapped, population, index)]
    said = cam["source_core"].astype(np.int64) * chip.geometry.neurons + cam["source_neuron"]
    tags = _tags(mapped, population, index)
    free = dict.fromkeys(np.flatnonzero(~np.isin(said, list(chip.reserved_tags))).tolist())
    rows = []
    for row in np.flatnonzero(table.target == neuron).tolist():
        connection = mapped.network.connections[int(table.connection[row])]
        group, member = table.member(int(table.source[row]))
        tag, code = int(tags[table.source[row]]), chip.synapse_type(connection.synapse).code
        if connection.name in mapped.plastic:
            slots = mapped.plastic[connection.name]
            slot = int(np.flatnonzero(slots.sources[index] == member)[0])
            entries = [e for e in slots.entries[index, slot].tolist() if e >= 0]
            present = bool(said[entries[0]] == tag)
        else:
            matching = [e for e in free if said[e] == tag and int(cam["type"][e]) == code]
            entries, present = matching[: int(mapped.copies[row])], True
        for entry in entries:
            free.pop(entry, None)
        rows.append(
            {
                "connection": connection.name, "source": f"{group}/{member}", "synapse": connection.synapse,
                "tag": tag, "tag_core": tag // chip.geometry.neurons, "tag_neuron": tag % chip.geometry.neurons,
                "plastic": connection.plastic, "present": present, "entries": entries,
                "words": [_cam_word(mapped, population, index, entry) for entry in entries],
            }
        )  # fmt: skip
    return rows


def _cam_word(mapped: MappedNetwork, population: str, index: int, entry: int) -> str:
    chip = mapped.config.chip
    _, core, neuron = mapped.addresses[population][index].tolist()
    held = mapped.config.cam[_at(mapped, population, index)][entry]
    fields = {name: np.array([int(held[name])]) for name in held.dtype.names}
    word = chip.words["cam"].pack(core=np.array([core]), neuron=np.array([neuron]), entry=np.array([entry]), **fields)
    return f"{int(word[0]):#010x}"


def _destinations(mapped: MappedNetwork, population: str, index: int) -> list[dict[str, Any]]:
    """A row for each SRAM entry in use: the tag it sends, the hops, the cores it reaches there."""
    config, g = mapped.config, mapped.config.chip.geometry
    _, core, neuron = mapped.addresses[population][index].tolist()
    reached = config.reached_chips()[_at(mapped, population, index)]
    rows = []
    for place, held in enumerate(config.sram[_at(mapped, population, index)]):
        mask = int(held["core_mask"])
        if not mask:
            continue
        entry = config.chip.sram.usable[place]
        values = {name: int(held[name]) for name in held.dtype.names}
        fields = {name: np.array([value]) for name, value in values.items()}
        word = config.chip.words["sram"].pack(
            core=np.array([core]), neuron=np.array([neuron]), entry=np.array([entry]), **fields
        )
        rows.append(
            {
                "entry": entry,
                "tag": values["virtual_core"] * g.neurons + neuron,
                "chip": int(reached[place]),
                "cores": [k for k in range(g.cores) if mask >> k & 1],
                "word": f"{int(word[0]):#010x}",
                **values,
            }
        )
    return rows


def _free(mapped: MappedNetwork, population: str, index: int) -> int:
    """Working CAM entries that hold nothing: neither a synapse nor a parked one."""
    at = _at(mapped, population, index)
    used = sum(len(row["entries"]) for row in _inputs(mapped, population, index))
    dead = int((heard_tags(mapped.config, mapped.defects)[at] < 0).sum())
    return mapped.config.chip.cam.entries - used - dead


def _at(mapped: MappedNetwork, population: str, index: int) -> tuple[int, int, int]:
    chip, core, neuron = mapped.addresses[population][index].tolist()
    return mapped.config.chips.index(chip), core, neuron


def _tags(mapped: MappedNetwork, population: str, index: int) -> IntArray:
    """The tag of every source on the chip of one neuron, -1 for one that does not reach it; neurons' from the registers."""
    config, g = mapped.config, mapped.config.chip.geometry
    there = int(mapped.addresses[population][index][0])
    address = np.concatenate(list(mapped.addresses.values()))
    seats = (np.searchsorted(config.chips, address[:, 0]), address[:, 1], address[:, 2])
    sram, arrives = config.sram[seats], config.reached_chips()[seats] == there
    virtual = np.where(arrives, sram["virtual_core"].astype(np.int64), -1).max(axis=1)
    tags = np.where(virtual >= 0, virtual * g.neurons + address[:, 2], -1)
    return np.concatenate([*mapped.input_tags.values(), tags])
