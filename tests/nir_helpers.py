"""Small NIR graphs, written with either version of nir."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import numpy.typing as npt

from bcall_hw.nir_import import ImportedNetwork, ImportSettings, import_nir

Array = npt.NDArray[np.float64]
SECONDS: dict[str, Any] = {"spike_s": 1e-3}


def graph(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    """A graph without nir's own type checks where they exist: sinabs' scalars do not pass them."""
    unchecked = {"type_check": False} if "type_check" in inspect.signature(nir.NIRGraph.__init__).parameters else {}
    return nir.NIRGraph(nodes, edges, **unchecked)


def chain(*nodes: Any, shape: tuple[int, ...] = (3,)) -> Any:
    """Input -> n0 -> n1 -> ... -> Output."""
    names = ["input", *(f"n{k}" for k in range(len(nodes))), "output"]
    size = np.array(shape)
    every = [nir.Input({"input": size}), *nodes, nir.Output({"output": size})]
    return graph(dict(zip(names, every, strict=True)), list(pairwise(names)))


def full(value: float, size: int | None) -> Array:
    return np.array(value) if size is None else np.full(size, value)


def lif(size: int | None = None, tau: float = 0.02, r: float = 1.0, threshold: float = 1.0, leak: float = 0.0) -> Any:
    return nir.LIF(tau=full(tau, size), r=full(r, size), v_leak=full(leak, size), v_threshold=full(threshold, size))


def cuba(size: int | None = None, tau_mem: float = 0.02, tau_syn: float = 0.008, w_in: float = 1.0) -> Any:
    one = full(1.0, size)
    return nir.CubaLIF(tau_syn=full(tau_syn, size), tau_mem=full(tau_mem, size), r=one, v_leak=0 * one, v_threshold=one,
                       w_in=full(w_in, size))  # fmt: skip


def linear(weight: Any) -> Any:
    return nir.Linear(np.asarray(weight, dtype=np.float64))


def imported(source: Any, **settings: Any) -> ImportedNetwork:
    return import_nir(source, ImportSettings(**({} if "dt_s" in settings else SECONDS) | settings))


def texts(found: ImportedNetwork) -> str:
    return "\n".join(str(note) for note in found.notes)


def matrix_of(found: ImportedNetwork, target: str, source: str) -> npt.NDArray[np.int64]:
    """Signed multiplicities as the network's own connections say, shape (targets, sources)."""
    network = found.network
    total = np.zeros((network.size_of(target), network.size_of(source)), dtype=np.int64)
    for connection in network.connections:
        if (connection.source, connection.target) == (source, target):
            pre, post, m = network.synapses(connection)
            np.add.at(total, (post, pre), m if connection.synapse == "AMPA" else -m)
    return total
