"""Neuron nodes: what is folded into the weights, what goes to the soma, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcall_hw.arrays import FloatArray
from bcall_hw.errors import InvalidValue
from bcall_hw.nir_import.expand import Shape, field
from bcall_hw.nir_import.read import Node
from bcall_hw.nir_import.result import Note
from bcall_hw.nir_import.settings import ImportSettings

#: Fields of each kind: those that must be one number for a whole layer, and those that scale its drive.
SHARED = {"LIF": ("tau",), "CubaLIF": ("tau_mem", "tau_syn"), "IF": ()}
SCALING = {"LIF": ("r", "v_threshold", "v_leak"), "CubaLIF": ("r", "v_threshold", "v_leak", "w_in"), "IF": ("r", "v_threshold")}
OPTIONAL = {"w_in": 1.0, "v_reset": 0.0}
#: Above this (s) a time constant without `dt_s` is taken for a number of time steps.
_LONGEST_S = 1.0


@dataclass(frozen=True, eq=False)
class Neurons:
    """A neuron node, read.

    Attributes:
        node: where it comes from.
        size: neurons.
        tau_s: membrane time constant (s); None for an IF.
        tau_syn_s: time constant of its synapses (s).
        drive_gain: what a unit of input adds to the drive in units of the threshold, shape (size,); for an IF per s.
    """

    node: Node
    size: int
    tau_s: float | None
    tau_syn_s: float
    drive_gain: FloatArray


def parameter_shape(node: Node) -> Shape | None:
    """The shape of a neuron node's parameters where they are more than one number; None where they are scalars.

    Raises:
        InvalidValue: parameters of different shapes.
    """
    shapes = {}
    for name in (*SHARED[node.kind], *SCALING[node.kind], "v_reset"):
        if name in node.numbers and node.numbers[name].size != 1:
            shapes[name] = node.numbers[name].shape
    if len(set(shapes.values())) > 1:
        raise InvalidValue("parameters have different shapes", where=f"node {node.name!r}", used=str(shapes))
    return next(iter(shapes.values()), None)


def read_neurons(node: Node, size: int, settings: ImportSettings, notes: list[Note]) -> Neurons:
    """Check and fold the parameters of a neuron node with `size` neurons; what is not exact goes to `notes`.

    Raises:
        InvalidValue: see `docs/nir_import.md`.
    """
    name, kind = node.name, node.kind
    where = f"{kind} {name!r}"
    values = {field_name: _values(node, field_name, size) for field_name in (*SCALING[kind], "v_reset")}
    shared = {field_name: _shared(node, field_name, size, settings) for field_name in SHARED[kind]}
    known = {*SHARED[kind], *SCALING[kind], "v_reset"}
    notes += [Note(name, "dropped", f"field {extra!r} has no meaning here") for extra in node.numbers if extra not in known]
    rest = values.get("v_leak", np.zeros(size))
    height = values["v_threshold"] - rest
    low = np.flatnonzero(height <= 0)
    if low.size:
        used, limit = float(values["v_threshold"][low[0]]), float(rest[low[0]])
        raise InvalidValue(
            "threshold is not above the leak potential", where=f"{where} neuron {low[0]}", used=used, limit=limit
        )
    gain = values["r"] * values.get("w_in", np.ones(size)) / height
    still = np.flatnonzero(gain == 0)
    if still.size:
        raise InvalidValue("r or w_in is 0: its input does nothing", where=f"{where} neuron {still[0]}", used=0.0)
    folded = [
        n for n, plain in (("r", 1.0), ("w_in", 1.0), ("v_threshold", 1.0)) if bool(np.any(values.get(n, plain) != plain))
    ]
    if folded:
        notes.append(Note(name, "folded", f"{', '.join(folded)} into the weights"))
    _note_reset(name, values, rest, notes)
    if kind == "IF":
        notes.append(
            Note(name, "warning", "an IF never forgets; its soma gets the longest time constant there is, and forgets")
        )
        gain = gain / settings.unit_s
        if not settings.normalised_input:
            jump = settings.event_s / settings.unit_s
            text = f"normalised_input = false changes nothing: an IF has no decay, a spike of weight w moves v by {jump:g} r w"
            notes.append(Note(name, "dropped", text))
    elif not settings.normalised_input:
        step_s = settings.step_s
        text = f"normalised_input = false: weights are jumps of v, in a time step of {step_s * 1e3:g} ms"
        notes.append(Note(name, "assumed", text))
        gain = gain / -np.expm1(-step_s / (shared.get("tau") or shared["tau_mem"]))
    tau_syn = shared.get("tau_syn", settings.tau_syn_s)
    if "tau_syn" not in shared:
        text = f"synapses with a time constant of {tau_syn * 1e3:g} ms stand for instantaneous ones"
        notes.append(Note(name, "approximated", text))
    return Neurons(node, size, shared.get("tau") or shared.get("tau_mem"), tau_syn, gain)


def _values(node: Node, name: str, size: int) -> FloatArray:
    if name in OPTIONAL and name not in node.numbers:
        return np.full(size, OPTIONAL[name])
    found = field(node, name)
    if found.size not in (1, size):
        where = f"{node.kind} {node.name!r}, field {name!r}"
        raise InvalidValue("needs one value, or one per neuron", where=where, used=found.size, limit=size)
    return np.broadcast_to(found.ravel(), (size,))


def _shared(node: Node, name: str, size: int, settings: ImportSettings) -> float:
    """A time constant (s) that all neurons of a layer share."""
    found, where = _values(node, name, size), f"{node.kind} {node.name!r}"
    other = np.flatnonzero(found != found[0])
    if other.size:
        fix = "A core has one set of biases: split the layer."
        used, limit = float(found[other[0]]), f"{float(found[0])}, as neuron 0"
        raise InvalidValue(
            f"{name} differs within the layer", where=f"{where} neuron {other[0]}", used=used, limit=limit, fix=fix
        )
    tau = float(found[0])
    if tau <= 0:
        raise InvalidValue(f"{name} must be above 0", where=where, used=tau)
    if settings.dt_s is None and tau > _LONGEST_S:
        fix = "Give dt_s, the length of the model's time step: sinabs counts time constants in steps."
        raise InvalidValue(f"{name} is too long for seconds", where=where, used=tau, limit=_LONGEST_S, fix=fix)
    return tau * settings.unit_s


def _note_reset(name: str, values: dict[str, FloatArray], rest: FloatArray, notes: list[Note]) -> None:
    """The chip resets to rest; NIR subtracts the threshold (1.0.4), or resets to `v_reset` (a field since 1.0.5)."""
    if bool(np.any(rest != 0)):
        notes.append(Note(name, "folded", "v_leak: potentials count from it, and v_threshold - v_leak is the threshold"))
    off = np.flatnonzero(values["v_reset"] != rest)
    if off.size:
        raise InvalidValue(
            "resets elsewhere than to rest, which a soma cannot", where=f"node {name!r} neuron {off[0]}, v_reset",
            used=float(values["v_reset"][off[0]]), limit=f"v_leak = {float(rest[off[0]])}",
        )  # fmt: skip
    notes.append(Note(name, "approximated", "the soma resets to rest at a spike; what exceeds the threshold is lost"))
