"""NIR graph -> network: layers with quantised weights in amperes, and what was approximated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from bcall_hw.arrays import IntArray
from bcall_hw.calibration import Calibration, load_calibration
from bcall_hw.chip_model import DEFAULT_CHIP, ChipModel, load_chip
from bcall_hw.errors import EmptyNetwork, InvalidValue, PlacementFull, SourcesExceeded, UnknownName
from bcall_hw.mapping import Mapping, choose_codes, load_mapping
from bcall_hw.network import (
    AllToAll,
    Connection,
    Explicit,
    Input,
    Network,
    NeuronParameters,
    Population,
    ProjectionRule,
    SynapseParameters,
)
from bcall_hw.nir_import.drives import LONGEST_CHAIN, NEURONS, PASSING, Drives
from bcall_hw.nir_import.neurons import Neurons, read_neurons
from bcall_hw.nir_import.quantise import Quantised, quantise
from bcall_hw.nir_import.read import Graph, read_graph
from bcall_hw.nir_import.result import Layer, Note
from bcall_hw.nir_import.scale import Scale, Soma, fitted_scale, largest_tau_s, scale_at_tau
from bcall_hw.nir_import.settings import ImportSettings

#: Relative spread of a layer's biases that counts as rounding.
_SAME = 1e-6
#: Relative error of a current of one CAM entry beyond which a note says so.
_FAR = 0.02
#: A weight of so many thresholds is a mistake; its square is still a number.
_WILD = 1e100


@dataclass(frozen=True, eq=False)
class ImportedNetwork:
    """What the importer returns.

    Attributes:
        network: an ordinary network; inputs and populations carry the names of the Input and neuron nodes.
        outputs: names of the populations that Output nodes listen to.
        layers: one for each population, in the order of the file.
        notes: everything that is not exactly as the file says.
        settings: the choices that were made.
    """

    network: Network
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    notes: tuple[Note, ...]
    settings: ImportSettings

    def as_dict(self) -> dict[str, Any]:
        """Layers, notes and settings as plain values."""
        notes = [{"where": n.where, "kind": n.kind, "text": n.text} for n in self.notes]
        return {
            "network": self.network.name, "outputs": list(self.outputs), "layers": [layer.as_dict() for layer in self.layers],
            "notes": notes, "settings": self.settings.model_dump(mode="json"),
        }  # fmt: skip


def import_nir(
    source: Any,
    settings: ImportSettings | None = None,
    chip: ChipModel | str = DEFAULT_CHIP,
    mapping: Mapping | None = None,
    calibration: Calibration | None = None,
) -> ImportedNetwork:
    """A network from a NIR file (path) or a `nir.NIRGraph`: what is accepted and how, see `docs/nir_import.md`.

    Args:
        settings: what the file leaves open; the defaults if absent, which need `dt_s` or `spike_s` still.
        chip: the chip whose limits and circuits apply.
        mapping, calibration: as for `map_network`.

    Raises:
        FileProblem, CorruptFile, BackendUnavailable: the file cannot be read, or the package nir is missing.
        InvalidValue, UnknownName, EmptyNetwork: a node, field or shape that cannot be imported; names it.
        FanInExceeded, PlacementFull, SourcesExceeded: more than the chip has.
        CodeProblems: a time or current that no bias code gives.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    settings = settings or ImportSettings()
    importing = _Importing(
        read_graph(source), settings, chip, mapping or load_mapping(chip), calibration or load_calibration(chip)
    )
    return importing.result()


class _Importing:
    """One import: the graph's drives, and the layers as they are made."""

    def __init__(
        self, graph: Graph, settings: ImportSettings, chip: ChipModel, mapping: Mapping, calibration: Calibration
    ) -> None:
        self.graph, self.settings, self.chip, self.mapping, self.calibration = graph, settings, chip, mapping, calibration
        self.notes = [Note(node.name, "dropped", f"field {name!r}") for node in graph.nodes.values() for name in node.dropped]
        self.drives = Drives(graph, self.notes)
        self.layers: list[Layer] = []
        self.taken: set[str] = set()
        self.heard: dict[str, tuple[str, ...]] = {}
        self.inputs = [n for n, node in graph.nodes.items() if node.kind == "Input"]
        self.populations = [n for n, node in graph.nodes.items() if node.kind in NEURONS]
        effects = {t.effect: t.name for t in chip.synapse_types}
        self.excitatory, self.inhibitory = effects["excitatory"], effects["subtractive"]
        self._check_sizes()
        self.names = self._plain_names([*self.inputs, *self.populations])

    def _check_sizes(self) -> None:
        if not self.populations:
            fix = "Export a model with at least one spiking layer (LIF, CubaLIF or IF)."
            raise EmptyNetwork("the graph has no spiking layer", where="NIR graph", fix=fix)
        g, sources = self.chip.geometry, self.chip.stimulus.sources
        neurons, room = sum(self.drives.size(n) for n in self.populations), g.chips * g.cores * g.neurons
        if neurons > room:
            raise PlacementFull("more neurons than the board has", where="NIR graph", used=neurons, limit=room)
        given = sum(self.drives.size(n) for n in self.inputs)
        if given > sources:
            raise SourcesExceeded("more inputs than the board has sources", where="NIR graph", used=given, limit=sources)
        if isinstance(self.settings.levels, dict):
            for name in self.settings.levels:
                if name not in (*self.populations, "*"):
                    fix = f"Known: {', '.join(self.populations)}, *"
                    raise UnknownName("no spiking layer of that name", where="ImportSettings.levels", used=name, fix=fix)

    def _plain_names(self, nodes: list[str]) -> dict[str, str]:
        names: dict[str, str] = {}
        for node in nodes:
            plain = re.sub(r"[^A-Za-z0-9_.-]", "_", node) or "_"
            if plain in names.values():
                raise InvalidValue("two nodes would have one name", where=f"node {node!r}", used=plain, fix="Rename one.")
            if plain != node:
                self.notes.append(Note(node, "renamed", plain))
            names[node] = plain
        return names

    def result(self) -> ImportedNetwork:
        """Make every layer, then the network."""
        populations, connections = [], []
        for name in self.populations:
            neurons = read_neurons(self.graph.nodes[name], self.drives.size(name), self.settings, self.notes)
            layer, parameters = self._layer(name, neurons)
            self.layers.append(layer)
            populations.append(Population(name=layer.name, size=layer.size, neuron=parameters))
            connections += self._connections(layer)
        network = Network(
            name=self.settings.name, inputs=[Input(name=self.names[n], size=self.drives.size(n)) for n in self.inputs],
            populations=populations, connections=connections,
        )  # fmt: skip
        return ImportedNetwork(network, self._outputs(), tuple(self.layers), tuple(dict.fromkeys(self.notes)), self.settings)

    def _layer(self, name: str, neurons: Neurons) -> tuple[Layer, NeuronParameters]:
        drive = self.drives.of(name)
        gain = neurons.drive_gain
        scale = self._scale(neurons)
        if neurons.tau_s is None:
            gain = gain * scale.tau_s  # dv/dt = r i as tau dv/dt = (tau r) i - v, tau being the longest there is
        weights = gain[:, None] * np.hstack([np.zeros((neurons.size, 0)), *drive.maps.values()])
        wild = np.argwhere(~(np.abs(weights) < _WILD))
        if wild.size:
            used = float(weights[tuple(wild[0])])
            raise InvalidValue(
                "weight is beyond any chip (thresholds)", where=f"layer {name!r} neuron {wild[0][0]}", used=used, limit=_WILD
            )
        levels = self.settings.levels_of(name)
        room = self.chip.cam.entries - self.settings.reserve
        if room < 1:
            used, limit = self.settings.reserve, self.chip.cam.entries - 1
            raise InvalidValue("leaves no CAM entry", where="ImportSettings.reserve", used=used, limit=limit)
        found = quantise(weights, levels, room, name)
        self._note_quantised(name, weights.size, found)
        bias = gain * drive.bias
        sources = tuple((self.names[source], m.shape[1]) for source, m in drive.maps.items())
        tau_syn = neurons.tau_syn_s
        # An event's charge: weight_a * tau_syn on the chip, its height times its length in the file.
        event_a = scale.unit_a * self.settings.event_s / tau_syn
        steps = ((self.excitatory, found.excitatory_step), (self.inhibitory, found.inhibitory_step))
        parameters = NeuronParameters(
            tau_s=scale.tau_s, refractory_s=self.settings.refractory_s, gain_a=self.settings.gain_a,
            pulse_width_s=self.settings.pulse_width_s, dc_a=self._dc_a(name, bias, scale),
            synapses={kind: SynapseParameters(tau_s=tau_syn, weight_a=step * event_a) for kind, step in steps if step},
        )  # fmt: skip
        if not drive.maps:
            self.notes.append(Note(name, "warning", "nothing feeds this layer"))
        errors = self._code_errors(name, parameters)
        layer = Layer(
            self.names[name], neurons.node.kind, neurons.size, neurons.tau_s, tau_syn, levels, weights, sources, bias, found,
            scale, (errors.get(self.excitatory, 0.0), errors.get(self.inhibitory, 0.0)),
        )  # fmt: skip
        return layer, parameters

    def _scale(self, neurons: Neurons) -> Scale:
        settings, name = self.settings, neurons.node.name

        def make(tau_s: float) -> Soma:
            return Soma.of(self.chip, self.calibration, tau_s, settings.gain_a)

        longest = largest_tau_s(self.chip, self.calibration)
        if neurons.tau_s is None:
            return scale_at_tau(longest, longest, settings.if_anchor_hz, settings.refractory_s, make)
        low, high = (anchor / neurons.tau_s for anchor in settings.anchors)
        if settings.keep_tau:
            return scale_at_tau(neurons.tau_s, neurons.tau_s, (low * high) ** 0.5, settings.refractory_s, make)
        shortest = min(longest, neurons.tau_s) / 1e3
        scale = fitted_scale(neurons.tau_s, (low, high), settings.refractory_s, (shortest, longest), make)
        text = f"soma time constant {scale.tau_s * 1e3:.3g} ms for {neurons.tau_s * 1e3:.3g} ms: "
        text += f"under constant drive the rates are equal at {low:.3g} and {high:.3g} Hz"
        self.notes.append(Note(name, "approximated", text))
        return scale

    def _dc_a(self, name: str, bias: np.ndarray[Any, np.dtype[np.float64]], scale: Scale) -> float:
        first = float(bias[0])
        other = np.flatnonzero(np.abs(bias - first) > _SAME * np.abs(bias).max())
        if other.size:
            fix = "A core has one DC current: use one bias for the layer, or none."
            used, limit = float(bias[other[0]]), f"{first:.6g}, as neuron 0 (thresholds)"
            raise InvalidValue(
                "bias differs within the layer", where=f"layer {name!r} neuron {other[0]}", used=used, limit=limit, fix=fix
            )
        if first < 0:
            fix = "DC only flows in: fold it into an inhibitory input, or use none."
            raise InvalidValue("bias is negative (thresholds)", where=f"layer {name!r}", used=first, limit=0, fix=fix)
        if first:
            text = f"bias of {first:.4g} thresholds as one DC current for the core; every neuron's mismatch is its own"
            self.notes.append(Note(name, "warning", text))
        return first * scale.unit_a

    def _note_quantised(self, name: str, count: int, found: Quantised) -> None:
        if not count:
            return
        text = (
            f"weights rounded: relative RMS error {found.relative_rms:.1%}, {found.zeroed} to zero, {found.saturated} saturated"
        )
        if found.limited_by is not None:
            text += f"; a finer step would overflow the CAM of neuron {found.limited_by}"
        self.notes.append(Note(name, "approximated", text))

    def _code_errors(self, name: str, parameters: NeuronParameters) -> dict[str, float]:
        """Relative error of each synapse's charge as the codes give it: of its current times its time constant."""
        choices = choose_codes(self.chip, self.mapping, self.calibration, parameters, f"layer {name!r}")
        error = {c.quantity: c.error for c in choices}
        found = {str(k): (1 + error[f"{k}.weight_a"]) * (1 + error[f"{k}.tau_s"]) - 1 for k in parameters.synapses}
        for kind, value in found.items():
            if abs(value) > _FAR:
                self.notes.append(Note(name, "approximated", f"charge of one {kind} entry is {value:+.1%} off: bias codes"))
        return found

    def _connections(self, layer: Layer) -> list[Connection]:
        connections = []
        first = 0
        for source, size in layer.sources:
            part = layer.quantised.multiplicity[:, first : first + size]
            first += size
            for kind, synapse, sign in (("excitatory", self.excitatory, 1), ("inhibitory", self.inhibitory, -1)):
                m = np.maximum(sign * part, 0)
                if m.any():
                    rule, multiplicity = _rule(m)
                    connections.append(
                        Connection(
                            name=self._connection_name(f"{source}-{layer.name}-{kind}", source, layer.name),
                            source=source,
                            target=layer.name,
                            synapse=synapse,
                            rule=rule,
                            multiplicity=multiplicity,
                        )
                    )
        return connections

    def _connection_name(self, wanted: str, source: str, target: str) -> str:
        """A name that no connection has yet: names of nodes may hold hyphens, so that two pairs can want the same."""
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}-{count}"
        if count > 1:
            self.notes.append(Note(target, "renamed", f"the connection from {source!r} is {name!r}: {wanted!r} was taken"))
        self.taken.add(name)
        return name

    def _outputs(self) -> tuple[str, ...]:
        found: list[str] = []
        for name, node in self.graph.nodes.items():
            if node.kind == "Output":
                found += self._spiking_before(name, frozenset())
        return tuple(dict.fromkeys(found))

    def _spiking_before(self, name: str, seen: frozenset[str]) -> tuple[str, ...]:
        """The populations that an Output hears, directly or through nodes that change no value."""
        if name in self.heard:
            return self.heard[name]
        if len(seen) > LONGEST_CHAIN:
            what, limit = "too many nodes in a row before an Output", LONGEST_CHAIN
            raise InvalidValue(what, where=f"node {name!r}", used=len(seen), limit=limit)
        found: list[str] = []
        for pre in self.graph.feeds[name]:
            kind = self.graph.nodes[pre].kind
            if kind in NEURONS:
                found.append(self.names[pre])
            elif kind in PASSING | {"Flatten"} and pre not in seen:
                found += self._spiking_before(pre, seen | {pre})
            else:
                fix = "Only spikes leave a chip: end with a spiking layer."
                raise InvalidValue(f"Output hears a {kind}", where=f"node {name!r}", used=pre, fix=fix)
        self.heard[name] = tuple(dict.fromkeys(found))
        return self.heard[name]


def _rule(multiplicity: IntArray) -> tuple[ProjectionRule, int]:
    """All to all where every pair has the same number of entries, else the pairs; shape (targets, sources)."""
    low, high = int(multiplicity.min()), int(multiplicity.max())
    if low == high:
        return AllToAll(), high
    target, source = np.nonzero(multiplicity)
    triples = zip(source.tolist(), target.tolist(), multiplicity[target, source].tolist(), strict=True)
    return Explicit(pairs=tuple(triples)), 1
