"""What an import gives: the network, a row for each layer, and a note for everything that is not as the file says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bcall_hw.arrays import FloatArray
from bcall_hw.nir_import.quantise import Quantised
from bcall_hw.nir_import.scale import Scale

Kind = Literal["approximated", "assumed", "dropped", "folded", "renamed", "warning"]


@dataclass(frozen=True)
class Note:
    """One thing worth knowing.

    Attributes:
        where: the node or layer.
        kind: approximated (the chip does it differently), assumed (the file does not say it), dropped (not used at all),
            folded (used, exactly, in another quantity), renamed, or warning.
    """

    where: str
    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.text}"


@dataclass(frozen=True, eq=False)
class Layer:
    """One population of the network and how it came to be.

    Attributes:
        name: of the population.
        kind: NIR class of its neurons.
        size: neurons.
        tau_s: membrane time constant of the file (s); None for an IF.
        tau_syn_s: time constant of its synapses (s).
        levels: largest multiplicity allowed.
        weights: the real weights in units of the threshold's drive, shape (size, all sources), sources side by side in
            the order of `sources`: a spike is a current of this height for `ImportSettings.event_s`.
        sources: names of inputs and populations, with their sizes.
        bias: constant drive of each neuron, in units of the threshold's drive, shape (size,).
        quantised: multiplicities and their errors.
        scale: of the soma.
        weight_error: relative error of the currents of one entry (excitatory, inhibitory) from the bias codes; 0.0 where
            there is none.
    """

    name: str
    kind: str
    size: int
    tau_s: float | None
    tau_syn_s: float
    levels: int
    weights: FloatArray
    sources: tuple[tuple[str, int], ...]
    bias: FloatArray
    quantised: Quantised
    scale: Scale
    weight_error: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """The row of the layer as plain values."""
        q = self.quantised
        return {
            "layer": self.name, "kind": self.kind, "size": self.size, "sources": [name for name, _ in self.sources],
            "weights": int((self.weights != 0).sum()), "levels": self.levels, "relative_rms": q.relative_rms,
            "largest_error": q.largest_error, "zeroed": q.zeroed, "saturated": q.saturated,
            "entries_mean": float(q.entries.mean()), "entries_most": int(q.entries.max()), "limited_by_neuron": q.limited_by,
            "excitatory_step": q.excitatory_step, "inhibitory_step": q.inhibitory_step, "tau_s": self.tau_s,
            "soma_tau_s": self.scale.tau_s, "threshold_a": self.scale.unit_a, "tau_syn_s": self.tau_syn_s,
            "weight_code_error": list(self.weight_error),
        }  # fmt: skip
