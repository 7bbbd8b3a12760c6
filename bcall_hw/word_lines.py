"""Register words in human terms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bcall_hw.chip_config import KINDS, Words
from bcall_hw.chip_model import ChipModel


def word_lines(chip: ChipModel, words: Words) -> Iterator[str]:
    """A line for each word, in order."""
    types = {t.code: t.name for t in chip.synapse_types}
    biases = {a: (core, bias.name) for bias in chip.biases for core, a in enumerate(bias.addresses)}
    fields: list[dict[str, int]] = [{}] * len(words)
    for number, kind in enumerate(KINDS):
        mine = np.flatnonzero(words["kind"] == number)
        if mine.size:
            columns = chip.words[kind].unpack(words["word"][mine])  # type: ignore[index]
            for index, *values in zip(mine.tolist(), *(column.tolist() for column in columns.values()), strict=True):
                fields[index] = dict(zip(columns, values, strict=True))
    for (number, chip_id, raw), f in zip(words.tolist(), fields, strict=True):
        kind = KINDS[number]
        start = f"chip {chip_id}  {kind.upper():4}  "
        if kind == "bias":
            core, name = biases[f["address"]]
            ampere = chip.current_a[f["coarse"], f["fine"]]
            nominal = _ampere(float(ampere)) if f["high"] else "low range"
            text = f"core {core} {name} = ({f['coarse']}, {f['fine']})  {nominal}"
        else:
            text = f"core {f['core']} neuron {f['neuron']}"
        if kind == "cam":
            type_name = types.get(f["type"], f"type {f['type']}")
            text += f" entry {f['entry']} <- (core {f['source_core']}, neuron {f['source_neuron']}) {type_name}"
        elif kind == "sram":
            east, south = (-f["dx"] if f["sx"] else f["dx"]), (f["dy"] if f["sy"] else -f["dy"])
            cores = [k for k in range(chip.geometry.cores) if f["core_mask"] >> k & 1]
            text += f" entry {f['entry']} -> {east:+d} east {south:+d} south, cores {cores}, as core {f['virtual_core']}"
        elif kind == "tau2":
            text += f" leaks through {chip.biases[chip.bias_index('leak2' if f['chosen'] else 'leak1')].name}"
        yield f"{start}{text}  {raw:#010x}"


def _ampere(value: float) -> str:
    for unit, scale in (("uA", 1e-6), ("nA", 1e-9)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-12:.3g} pA"
