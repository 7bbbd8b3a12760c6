"""Which leak a neuron takes: the second one, where a calibration knows that it brings the neuron nearer to its core's median.

Elsewhere the second leak is strong and keeps neurons without a population silent. Where it serves neurons, those without a
population are left to the first leak, which holds them as long as no current near it drives them: there is no third leak, and a
core's constant current is that of all its neurons.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import BoolArray, IntArray
from bcall_hw.bias_codes import code_current_a, nearest_code
from bcall_hw.calibration import Calibration
from bcall_hw.calibration_parts import SecondLeak
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import CurrentOutOfRange
from bcall_hw.failure_reasons import ExclusionReason
from bcall_hw.mapper.board import Board, Core
from bcall_hw.mapper.departures import Departure
from bcall_hw.mapper.place import Placement
from bcall_hw.mapper.synapses import Synapses
from bcall_hw.mapper.tags import Routes
from bcall_hw.mapping import BiasChoice, Mapping, charge_c, idle_codes

#: A leak so many times the dark current, or the core's constant current, holds a neuron at rest, mismatch of both included.
_AT_REST = 4.0


@dataclass(frozen=True, eq=False)
class Leaks:
    """Which neurons use the second leak.

    Attributes:
        tau2: bool, shape (cores, neurons).
        choices: of all biases, those of the second leaks included.
        departures: second leaks of the calibration that are not used.
    """

    tau2: BoolArray
    choices: dict[Core, list[BiasChoice]]
    departures: list[Departure]


def leaks_of(
    synapses: Synapses, placement: Placement, board: Board, routes: Routes, mapping: Mapping, calibration: Calibration,
    choices: MappingOf[Core, list[BiasChoice]],
) -> Leaks:  # fmt: skip
    """The leak of every neuron; second leaks of the calibration are used where that leaves unused neurons silent."""
    tau2 = np.ones((len(board.cores), board.chip.geometry.neurons), dtype=np.bool_)
    tau2[placement.core_of, routes.seat] = False
    made = Leaks(tau2, dict(choices), [])
    known = _known_by_registers(synapses)
    for leak in calibration.second_leak:
        place = leak.chip, leak.core
        if place not in choices:
            continue
        core = board.cores.index(place)
        held = np.flatnonzero(placement.core_of == core)
        chosen = held[np.isin(routes.seat[held], leak.neurons)]
        if not chosen.size:
            continue
        reason = _unusable(calibration, leak, board.chip, choices[place], int(np.sum(~known[held])))
        found = reason or _choice(board.chip, mapping, calibration, leak, choices[place])
        if isinstance(found, str):
            text = f"{leak.place}: the second leak is not used, {found}"
            made.departures.append(
                Departure("second_leak", text, [synapses.name(n + synapses.inputs) for n in chosen.tolist()])
            )
        else:
            made.choices[place] = [*choices[place], found]
            tau2[core] = False
            tau2[core, routes.seat[chosen]] = True
    return made


def _known_by_registers(synapses: Synapses) -> BoolArray:
    """Neurons that the registers show to be used whatever their leak: they send, or hear a synapse that is never parked."""
    known = np.zeros(synapses.neurons, dtype=np.bool_)
    known[synapses.source[synapses.source >= synapses.inputs] - synapses.inputs] = True
    plastic = np.array([c.plastic for c in synapses.network.connections], dtype=np.bool_)
    fixed: IntArray = synapses.target[~plastic[synapses.connection]]
    known[fixed] = True
    return known


def _unusable(calibration: Calibration, leak: SecondLeak, chip: ChipModel, choices: list[BiasChoice], unknown: int) -> str:
    """Why a core's neurons without a population need the strong second leak; empty where they do not."""
    by_quantity = {choice.quantity: choice for choice in choices}
    leak_a, dark_a = code_current_a(chip, by_quantity["tau_s"].code), chip.current_table.dark_current_a
    # In real amperes: the core's scales say how its leak and its constant current differ from their codes.
    if by_quantity["dc_a"].predicted * _AT_REST >= leak_a / calibration.scale(leak.chip, leak.core, "tau_s"):
        return "because the core's constant current drives its neurons without a population too"
    if leak_a <= _AT_REST * dark_a:
        return f"because a leak of {leak_a:.3g} A does not hold neurons without a population against dark currents"
    hot = [
        e.neuron for e in calibration.excluded if (e.chip, e.core) == (leak.chip, leak.core) and e.reason is ExclusionReason.HOT
    ]
    if hot:
        return f"because neuron {hot[0]} fires without input and only the strong leak silences it"
    if unknown:
        return f"because {unknown} of the core's neurons have no fixed synapse, so that registers tell them by their leak alone"
    return ""


def _choice(
    chip: ChipModel, mapping: Mapping, calibration: Calibration, leak: SecondLeak, choices: list[BiasChoice]
) -> BiasChoice | str:
    """The second leak's code, or why there is none."""
    tau = next(choice for choice in choices if choice.quantity == "tau_s")
    name, rule = chip.biases[chip.bias_index("leak2")].name, mapping.neuron["tau_s"]
    try:
        code, current_a = nearest_code(chip, leak.ratio * code_current_a(chip, tau.code), f"{leak.place}: tau2_s ({name})")
    except CurrentOutOfRange:
        return f"because no code gives a leak of {leak.ratio:.3g} times the first"
    if code == idle_codes(chip, mapping)[name]:
        return "because its code is that of the strong leak"
    scale = calibration.scale(leak.chip, leak.core, "tau2_s")
    return BiasChoice("tau2_s", name, code, tau.wanted, scale * charge_c(chip, calibration, rule.law, rule.circuit) / current_a)
