"""A graph of NIR as plain values: read from a file or from a `nir.NIRGraph`, and checked.

A file (HDF5) is read in a child process: a damaged one can crash the library that reads it. Nothing
of it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sigprop_snn.arguments import path, refused
from sigprop_snn.deploy.conventions import Array
from sigprop_snn.errors import SigpropError, shown
from sigprop_snn.processes.isolated_reader import FileFaultError, read_isolated

MOST_VALUES = 2**28  # 1 GiB in float32
MOST_ENTRIES = 20_000
MOST_EDGES = 5_000
_IDENTITIES = ("Input", "Output")


@dataclass(frozen=True)
class Node:
    """A node: its name, its kind such as "LIF", and its values by name.

    Attributes:
        name: the name in the graph; of a node in a subgraph, with the subgraph's name before it.
        kind: the name of its class in NIR.
        values: arrays and words by name.
        metadata: words and numbers by name.
    """

    name: str
    kind: str
    values: Mapping[str, Array | str]
    metadata: Mapping[str, Array | str]

    def refusal(self, fault: str, expected: str) -> SigpropError:
        """Return the error for a node that can't be used."""
        place = f"{self.kind} {self.name!r} of the NIR graph"
        return SigpropError(f"{place} {fault}; expected {expected}")

    def numbers(self, key: str, *, axes: int | None = None) -> Array:
        """Return an array of finite numbers, float64 or as it is for weights.

        Args:
            key: its name.
            axes: the number of axes, if it must have one.

        Raises:
            SigpropError: if it is missing, no array of finite numbers, or has other axes.
        """
        found = self.values.get(key)
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf" or not found.size:
            raise self.refusal(f"has {key} {shown(found)}", "numbers")
        if not np.isfinite(found).all():
            raise self.refusal(f"has {key} that are not finite", "finite numbers")
        if axes is not None and found.ndim != axes:
            raise self.refusal(f"has {key} of shape {list(found.shape)}", f"{axes} axes")
        return found

    def check_alike(self) -> None:
        """Check that all parameters have one shape, or are one number.

        Raises:
            SigpropError: if two shapes differ.
        """
        shapes = {
            key: value.shape
            for key, value in self.values.items()
            if isinstance(value, np.ndarray) and value.size > 1
        }
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{key} of shape {list(shape)}" for key, shape in shapes.items())
            raise self.refusal(f"has {found}", "parameters of one shape")

    def wholes(self, key: str, count: int, least: int = 0) -> tuple[int, ...]:
        """Return whole numbers; one number is repeated.

        Raises:
            SigpropError: if they are not, or below `least`, or another number of them.
        """
        found = self.numbers(key).reshape(-1)
        rounded = tuple(int(value) for value in found[: count + 1])
        fits = len(found) in (1, count) and bool((found == np.round(found)).all())
        if not fits or min(rounded) < least or max(rounded) > MOST_VALUES:
            expected = f"{count} whole numbers from {least}"
            raise self.refusal(f"has {key} {found[:8].tolist()}", expected)
        return rounded if len(rounded) == count else rounded * count

    def word(self, key: str) -> str | None:
        """Return a word of the metadata, or none."""
        found = self.metadata.get(key)
        return found if isinstance(found, str) else None


@dataclass(frozen=True)
class Graph:
    """Nodes by name, with "Input" and "Output" once each, and edges.

    Attributes:
        nodes: the nodes, those of subgraphs among them.
        edges: pairs of names.
        metadata: words and numbers by name.
    """

    nodes: dict[str, Node]
    edges: list[tuple[str, str]]
    metadata: Mapping[str, Array | str]

    def before(self, name: str) -> list[str]:
        """Return the names of the nodes with an edge to this one, in the order of the edges."""
        return [first for first, second in self.edges if second == name]

    def behind(self, name: str) -> list[str]:
        """Return the names of the nodes with an edge from this one."""
        return [second for first, second in self.edges if first == name]

    def only(self, kind: str) -> Node:
        """Return the one node of a kind.

        Raises:
            SigpropError: if there is not one.
        """
        found = [node for node in self.nodes.values() if node.kind == kind]
        if len(found) != 1:
            raise SigpropError(f"the NIR graph has {len(found)} nodes {kind}; expected one")
        return found[0]


def read_graph(source: Any) -> Graph:
    """Return the graph of a file or of a `nir.NIRGraph`.

    Args:
        source: a path, or a graph.

    Raises:
        SigpropError: if the file can't be read, or holds no graph, or the graph is not whole.
    """
    if hasattr(source, "to_dict") and hasattr(source, "nodes") and hasattr(source, "edges"):
        return _graph(_plain(source.to_dict()), "the graph")
    if not isinstance(source, str | Path) and not hasattr(source, "__fspath__"):
        raise refused("source", source, "the path of a NIR file, or a nir.NIRGraph")
    file = path("source", source)
    return _graph(_tree(file).get("node"), f"the NIR file {str(file)!r}")


def _tree(file: Path) -> dict[str, Any]:
    """Return the groups and data sets of an HDF5 file, nested."""
    if not file.is_file():
        fault = "is no regular file" if file.exists() else "does not exist"
        raise SigpropError(f"the NIR file {str(file)!r} {fault}; expected a file")
    try:
        header, *arrays = read_isolated(file, "hdf5_tree", MOST_VALUES, MOST_ENTRIES)
    except FileFaultError as error:
        expected = error.expected or "a complete, readable NIR file"
        raise SigpropError(
            f"the NIR file {str(file)!r} {error.fault}; expected {expected}"
        ) from error
    tree: dict[str, Any] = {}
    for place, array in zip(json.loads(header.tobytes()), arrays, strict=True):
        inner = tree
        for name in place[:-1]:
            inner = inner.setdefault(name, {})
        inner[place[-1]] = _value(array)
    return tree


def _plain(values: Any) -> Any:
    """Return the dictionary of a `nir.NIRGraph` with arrays and words alone."""
    if isinstance(values, Mapping):
        return {str(key): _plain(value) for key, value in values.items() if value is not None}
    if isinstance(values, str | bytes):
        return _value(np.array(values))
    detached = values.detach().cpu() if hasattr(values, "detach") else values
    try:
        return _value(np.array(detached))
    except (TypeError, ValueError) as error:
        raise refused("a value of the graph", values, "an array of numbers") from error


def _value(array: Array) -> Array | str:
    """Return an array, or one word as text."""
    if array.dtype.kind not in "SU" or array.ndim > 1 or array.size != 1:
        return array
    word = array.item()
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def _graph(tree: Any, place: str) -> Graph:
    """Return a checked graph, given its nested values.

    Raises:
        SigpropError: if it is none; it names the place.
    """
    kind = tree.get("type") if isinstance(tree, Mapping) else None
    if not isinstance(kind, str) or kind != "NIRGraph":
        raise SigpropError(f"{place} holds {shown(kind)}; expected a NIRGraph")
    nodes: dict[str, Node] = {}
    edges = _inlined(tree, "", nodes, place)
    graph = Graph(nodes, list(dict.fromkeys(edges)), _metadata(tree))
    for edge in graph.edges:
        for name in edge:
            if name not in nodes:
                raise SigpropError(f"{place} has the edge {edge}; expected names of its nodes")
    graph.only("Input")
    graph.only("Output")
    return graph


def _inlined(
    tree: Mapping[str, Any], before: str, nodes: dict[str, Node], place: str, depth: int = 0
) -> list[tuple[str, str]]:
    """Add the nodes of a graph and its subgraphs, and return the edges between them.

    The nodes Input and Output of a subgraph go: edges lead through them.
    """
    given = tree.get("nodes")
    if not isinstance(given, Mapping) or depth > 8:
        raise SigpropError(f"{place} has nodes {shown(given)}; expected nodes by name")
    edges = [(before + first, before + second) for first, second in _edges(tree, place)]
    for name, values in given.items():
        kind = values.get("type") if isinstance(values, Mapping) else None
        if not isinstance(values, Mapping) or not isinstance(kind, str):
            raise SigpropError(f"node {name!r} of {place} has the type {shown(kind)}; expected one")
        label = before + name
        if label in nodes:
            raise SigpropError(f"{place} has two nodes {label!r}; expected different names")
        if kind == "NIRGraph":
            inner = _inlined(values, f"{label}.", nodes, place, depth + 1)
            edges = _through(edges, label, inner, nodes)
            continue
        kept = {
            key: value
            for key, value in values.items()
            if key not in ("type", "metadata") and isinstance(value, np.ndarray | str)
        }
        nodes[label] = Node(label, kind, kept, _metadata(values))
    return edges


def _through(
    edges: list[tuple[str, str]],
    label: str,
    inner: list[tuple[str, str]],
    nodes: dict[str, Node],
) -> list[tuple[str, str]]:
    """Return edges through a subgraph, in place of those to it and from it."""
    ends: dict[str, list[str]] = {}
    for kind in _IDENTITIES:
        found = [n for n, node in nodes.items() if n.startswith(f"{label}.") and node.kind == kind]
        if len(found) != 1:
            raise SigpropError(
                f"subgraph {label!r} of the NIR graph has {len(found)} nodes {kind}; expected one"
            )
        del nodes[found[0]]
        from_end, to_end = (0, 1) if kind == "Input" else (1, 0)
        ends[kind] = [edge[to_end] for edge in inner if edge[from_end] == found[0]]
        inner = [edge for edge in inner if found[0] not in edge]
    made: list[tuple[str, str]] = []
    for first, second in edges:
        starts = ends["Output"] if first == label else [first]
        stops = ends["Input"] if second == label else [second]
        if len(made) + len(starts) * len(stops) > MOST_EDGES:
            raise SigpropError(f"the NIR graph has more than {MOST_EDGES} edges; expected fewer")
        made += [(a, b) for a in starts for b in stops]
    return made + inner


def _edges(tree: Mapping[str, Any], place: str) -> list[tuple[str, str]]:
    """Return the edges of a graph, pairs of names."""
    found = tree.get("edges")
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "SU":
        empty = isinstance(found, np.ndarray) and not found.size
        if empty:
            return []
        raise SigpropError(f"{place} has edges {shown(found)}; expected pairs of names")
    if found.ndim != 2 or found.shape[1] != 2 or len(found) > MOST_EDGES:
        raise SigpropError(f"{place} has edges of shape {list(found.shape)}; expected [E, 2]")
    return [(_word(first), _word(second)) for first, second in found.tolist()]


def _word(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _metadata(tree: Mapping[str, Any]) -> dict[str, Array | str]:
    found = tree.get("metadata")
    if not isinstance(found, Mapping):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, np.ndarray | str)}
