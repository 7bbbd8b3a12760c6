"""A NIR file or graph as plain nodes and edges, nested graphs laid flat; whatever is wrong with it is one of our errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bcall_hw import files
from bcall_hw.errors import BackendUnavailable, CorruptFile, EmptyNetwork, InvalidValue, UnknownName

#: A graph within a graph within ...: deeper than this is taken for a mistake.
_DEEPEST = 32


@dataclass(frozen=True, eq=False)
class Node:
    """One node.

    Attributes:
        name: with the names of the graphs that it lies in before it, dots between.
        kind: its NIR class; "Pass" for the Input or Output of a nested graph.
        numbers: its numeric fields.
        words: its fields that are text.
        dropped: names of fields that nothing is made of (metadata).
    """

    name: str
    kind: str
    numbers: Mapping[str, npt.NDArray[Any]]
    words: Mapping[str, str]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name, and for each node the names of those that feed it, in the order of the file."""

    nodes: Mapping[str, Node]
    feeds: Mapping[str, tuple[str, ...]]


def read_graph(source: Any) -> Graph:
    """The plain graph of a file (path) or of a `nir.NIRGraph`.

    Raises:
        FileProblem, CorruptFile: the file is missing, truncated, or no NIR file.
        BackendUnavailable: a file, and the package nir is not installed.
        EmptyNetwork: no nodes.
        InvalidValue, UnknownName: what is in it is no graph.
    """
    where = "NIR graph"
    if isinstance(source, str | Path):
        where, values = f"NIR file {str(source)[:200]}", _file_values(Path(source))
    elif hasattr(source, "nodes") and hasattr(source, "edges") and hasattr(source, "to_dict"):
        try:
            values = source.to_dict()
        except Exception as problem:  # nir says what is wrong with a graph by any exception
            raise InvalidValue("cannot be read", where=where, used=_told(problem)) from None
    else:
        fix = "Give the path of a .nir file, or a nir.NIRGraph."
        raise InvalidValue("is neither a path nor a graph", where=where, used=type(source).__name__, fix=fix)
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    _flatten(values, "", nodes, edges, where, 0)
    if not nodes:
        raise EmptyNetwork("the graph has no node", where=where, fix="Export a model with at least one spiking layer.")
    feeds: dict[str, list[str]] = {name: [] for name in nodes}
    for pre, post in edges:
        for name in (pre, post):
            if name not in nodes:
                raise UnknownName("an edge names a node that is not there", where=where, used=name)
        if pre in feeds[post]:
            raise InvalidValue("edge listed twice", where=where, used=(pre, post))
        feeds[post].append(pre)
    return Graph(nodes, {name: tuple(pres) for name, pres in feeds.items()})


def _told(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"[:200]


def _file_values(path: Path) -> Any:
    try:
        from nir.serialization import hdf2dict
    except ImportError:
        fix = "pip install 'bcall-hw[sinabs]', or pip install nir"
        raise BackendUnavailable("reading NIR files needs the package nir", where=str(path)[:200], fix=fix) from None
    import h5py

    files.check_file(path)
    try:
        with h5py.File(path, "r") as file:
            return hdf2dict(file["node"])
    except Exception as problem:  # h5py has no root of its errors
        raise CorruptFile("is no NIR file, or a damaged one", where=str(path)[:200], used=_told(problem)) from None


def _text(value: Any) -> str | None:
    """A text, however HDF5 or nir hold it; None for anything else."""
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _flatten(
    values: Any, prefix: str, nodes: dict[str, Node], edges: list[tuple[str, str]], where: str, depth: int
) -> tuple[list[str], list[str]]:
    """Add a graph's nodes and edges; returns the names of its Input and of its Output nodes."""
    inside = f"{where}, graph {prefix.rstrip('.')!r}" if prefix else where
    if depth > _DEEPEST:
        raise InvalidValue("graphs are nested too deeply", where=where, used=depth, limit=_DEEPEST)
    if not isinstance(values, Mapping) or _text(values.get("type")) != "NIRGraph":
        found = _text(values.get("type")) if isinstance(values, Mapping) else type(values).__name__
        raise InvalidValue("is no graph", where=inside, used=found, limit="NIRGraph", fix="Wrap the nodes in a nir.NIRGraph.")
    inner = values.get("nodes", {})
    if not isinstance(inner, Mapping):
        raise InvalidValue("nodes are no table", where=inside, used=type(inner).__name__)
    ends: dict[str, list[str]] = {"Input": [], "Output": []}
    doors: dict[str, tuple[list[str], list[str]]] = {}
    for key, fields in inner.items():
        name = prefix + str(key)
        kind = _text(fields.get("type")) if isinstance(fields, Mapping) else None
        if kind is None:
            raise InvalidValue("node has no type", where=f"{inside}, node {name!r}")
        if kind == "NIRGraph":
            doors[str(key)] = _flatten(fields, name + ".", nodes, edges, where, depth + 1)
            continue
        if name in nodes:
            raise InvalidValue("two nodes have one name once nested graphs are laid flat", where=inside, used=name)
        if kind in ends:
            ends[kind].append(name)
            kind = "Pass" if prefix else kind
        nodes[name] = _node(name, kind, fields, inside)
    for edge in _pairs(values.get("edges", ()), inside):
        pre, post = (_door(doors, key, prefix, side, inside) for side, key in zip((1, 0), edge, strict=True))
        edges.append((pre, post))
    return ends["Input"], ends["Output"]


def _door(doors: Mapping[str, tuple[list[str], list[str]]], key: str, prefix: str, side: int, where: str) -> str:
    """The node that an edge means: of a nested graph its one Input (side 0) or Output (side 1)."""
    if key not in doors:
        return prefix + key
    found = doors[key][side]
    if len(found) != 1:
        what = "Output" if side else "Input"
        fix = "Edges to such a graph do not say which one they mean."
        raise InvalidValue(
            f"nested graph has not exactly one {what}", where=f"{where}, graph {key!r}", used=len(found), limit=1, fix=fix
        )
    return found[0]


def _pairs(edges: Any, where: str) -> list[tuple[str, str]]:
    pairs = []
    try:
        rows = [tuple(edge) for edge in edges]
    except TypeError:
        raise InvalidValue("edges are no list of pairs", where=where, used=str(edges)[:80]) from None
    for row in rows:
        names = [_text(end) for end in row]
        if len(names) != 2 or names[0] is None or names[1] is None:
            raise InvalidValue("edge is no pair of names", where=where, used=str(row)[:80])
        pairs.append((names[0], names[1]))
    return pairs


def _node(name: str, kind: str, fields: Mapping[str, Any], where: str) -> Node:
    numbers: dict[str, npt.NDArray[Any]] = {}
    words: dict[str, str] = {}
    dropped = []
    for field, value in fields.items():
        word = _text(value)
        if field == "type" or value is None:
            continue
        if isinstance(value, Mapping):
            if value:
                dropped.append(str(field))
        elif word is not None:
            words[field] = word
        else:
            numbers[field] = _numbers(value, f"{where}, node {name!r}, field {field!r}")
    return Node(name, kind, numbers, words, tuple(dropped))


def _numbers(value: Any, where: str) -> npt.NDArray[Any]:
    try:
        array = np.asarray(value)
    except Exception as problem:  # a foreign array type may fail in any way
        raise InvalidValue("is no array", where=where, used=_told(problem)) from None
    if array.dtype.kind not in "iufb":
        raise InvalidValue("is no array of real numbers", where=where, used=str(array.dtype))
    bad = np.flatnonzero(~np.isfinite(array.astype(np.float64)).ravel())
    if bad.size:
        index = tuple(int(k) for k in np.unravel_index(int(bad[0]), array.shape))
        raise InvalidValue("must be finite", where=f"{where} at {index}", used=float(array[index]))
    return array
