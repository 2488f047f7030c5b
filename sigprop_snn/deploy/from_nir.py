"""Networks of this package made of graphs of NIR."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sigprop_snn.arguments import one_of, positive
from sigprop_snn.deploy.conventions import Array, Convention, convention_of, near
from sigprop_snn.deploy.nir_graph import Graph, Node, read_graph
from sigprop_snn.deploy.nir_modules import (
    NEURON_KINDS,
    POOLS,
    READOUT_KINDS,
    WEIGHTED,
    check_kind,
    leak_of,
    module_of,
    neuron_of,
)
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.sources import AnySources
from sigprop_snn.network.from_parts import Part, network_from_parts, readout_of
from sigprop_snn.network.network import Network
from sigprop_snn.network.parts import AnyLoss, AnyRule, AnySignal, NetworkParts, sizes
from sigprop_snn.neurons import LIF, AllToAll, Neuron, OneToOne, Recurrent, Reset
from sigprop_snn.predict import Predict

_MOST_ACTIVITY = 2**24  # values of one layer for one sample


def from_nir(
    source: str | os.PathLike[str] | Any,
    shape: Sequence[int] | int | None = None,
    *,
    convention: Convention | str | None = None,
    reset: Reset | None = None,
    gain: float = 1.0,
    rule: AnyRule | None = None,
    loss: AnyLoss | None = None,
    signal: AnySignal | None = None,
    predict: Predict | None = None,
) -> Network:
    """Return a network with the layers of a NIR graph.

    Every node IF, LIF or CubaLIF ends a block; the nodes before it make the block's current:
    Affine, Linear, Conv1d, Conv2d, AvgPool2d, SumPool2d, Flatten. A neuron with weights from itself
    to itself becomes `Recurrent`; subgraphs are taken apart. The readout is the graph's last Affine
    or Linear, with LI or I behind it or alone. If the graph ends with spikes, the scores are their
    mean over time.

    A file is read in a child process, and nothing of it is executed.

    Args:
        source: a NIR file, or a `nir.NIRGraph`.
        shape: shape of one step of one sample; that of the node Input if not given.
        convention: how equations become steps, `Convention(dt=...)` or a name in `CONVENTIONS`. If
            not given, as the metadata of the graph says, or as in `Convention()`.
        reset: the reset of all neurons, "subtract" or "zero". If not given, as the metadata of each
            neuron says, or else to zero, as NIR defines it.
        gain: root mean square of the contexts' current, in units of voltage.
        rule: the learning rule; see `NetworkParts`.
        loss: the local loss; see `NetworkParts`.
        signal: the learning signal; see `NetworkParts`.
        predict: "readout", "context", "subset", "neutral", "both" or "vote"; see `Network`.

    Raises:
        SigpropError: if the file is damaged or no NIR file, or the graph can't be used; it names
            the node, the value and the expectation.
    """
    gain = positive("gain", gain)
    if reset is not None:
        one_of("reset", reset, ("subtract", "zero"))
    given = None if shape is None else sizes("shape", shape)
    chosen = None if convention is None else convention_of(convention)
    choices = NetworkParts(LIF, rule, loss, signal, predict)
    graph = read_graph(source)
    builder = _Builder(graph, chosen or _convention(graph), reset, given or _shape(graph))
    try:
        parts, readout = builder.parts()
        return network_from_parts(parts, readout, builder.shape, gain, choices)
    except RuntimeError as error:
        raise SigpropError(f"the layers of the NIR graph do not fit each other: {error}") from error


def _convention(graph: Graph) -> Convention:
    """Return the convention that the metadata of a graph names."""
    default = Convention()
    dt = graph.metadata.get("dt", default.dt)
    decay = graph.metadata.get("decay", default.decay)
    resistance = graph.metadata.get("resistance", default.resistance)
    number = dt.item() if isinstance(dt, np.ndarray) and dt.size == 1 else dt
    words: Any = decay, resistance
    return Convention(number, decay=words[0], resistance=words[1])  # type: ignore[arg-type]


def _shape(graph: Graph) -> tuple[int, ...]:
    """Return the shape of the node Input."""
    node = graph.only("Input")
    key = "shape" if "shape" in node.values else "input_type"
    found = node.numbers(key).reshape(-1)
    return node.wholes(key, len(found), 1)


@dataclass
class _Path:
    """The nodes between a source and a neuron, in order, and the name of the source."""

    source: str
    nodes: list[Node]


class _Builder:
    """Makes the parts of a network from a graph.

    Args:
        graph: the graph.
        convention: how its numbers are read.
        reset: the reset of all neurons, or none.
        shape: shape of one step of one sample.
    """

    def __init__(
        self, graph: Graph, convention: Convention, reset: Reset | None, shape: tuple[int, ...]
    ) -> None:
        self.graph = graph
        self.convention = convention
        self.reset = reset
        self.shape = shape
        self.input = graph.only("Input").name
        for node in graph.nodes.values():
            check_kind(node)
        if np.prod([float(size) for size in shape]) > _MOST_ACTIVITY:
            raise SigpropError(f"samples have shape {list(shape)}; expected fewer values")
        self.neurons = [n for n, node in graph.nodes.items() if node.kind in NEURON_KINDS]
        self.pools = {name: self._pools(name) for name in self.neurons}
        self.owners = {pool: name for name, pools in self.pools.items() for pool in pools}
        self.blocks: dict[str, str] = {}
        self.sent: dict[str, tuple[int, ...]] = {self.input: shape}

    def parts(self) -> tuple[list[Part], Readout | None]:
        """Return the parts of the blocks, and the readout if the graph has one."""
        paths = {name: self._paths(name) for name in self.neurons}
        order = self._ordered(paths)
        if not order:
            raise SigpropError("the NIR graph has no IF, LIF or CubaLIF; expected at least one")
        parts = []
        for name in order:
            forward = [path for path in paths[name] if path.source != name]
            back = [path for path in paths[name] if path.source == name]
            parts.append(self._part(name, forward, back))
            self.blocks[name] = f"block{len(parts)}"
        return parts, self._readout(parts, order)

    def _pools(self, name: str) -> list[str]:
        """Return the pools that all spikes of a neuron pass, in order."""
        pools: list[str] = []
        while True:
            behind = [n for n in self.graph.behind(name) if name not in self.graph.behind(n)]
            if len(behind) != 1 or behind[0] in pools:
                return pools
            name = behind[0]
            if self.graph.nodes[name].kind not in POOLS or len(self.graph.before(name)) != 1:
                return pools
            pools.append(name)

    def _paths(self, name: str) -> list[_Path]:
        """Return the paths that end at a node, from a neuron or the input."""
        return [self._path(first, name) for first in self.graph.before(name)]

    def _path(self, last: str, end: str) -> _Path:
        nodes: list[Node] = []
        name = last
        while name not in self.owners and name not in self.neurons and name != self.input:
            node = self.graph.nodes[name]
            nodes.insert(0, node)
            before = self.graph.before(name)
            if len(before) != 1 or len(nodes) > len(self.graph.nodes):
                raise node.refusal(
                    f"receives {before or 'nothing'}" if len(before) != 1 else f"is before {end!r}",
                    "one node, and a way back to a neuron or the input",
                )
            name = before[0]
        return _Path(self.owners.get(name, name), nodes)

    def _ordered(self, paths: dict[str, list[_Path]]) -> list[str]:
        """Return the neurons so that each comes behind its sources.

        Raises:
            SigpropError: if a loop leads through several layers, or a neuron receives nothing.
        """
        waits = {
            name: {p.source for p in found if p.source not in (name, self.input)}
            for name, found in paths.items()
        }
        order: list[str] = []
        while len(order) < len(waits):
            ready = [n for n in waits if n not in order and waits[n] <= set(order)]
            if not ready:
                rest = [name for name in waits if name not in order]
                raise SigpropError(
                    f"the NIR graph has a loop through {', '.join(rest[:5])}; expected loops from "
                    "a neuron's spikes to the same neuron alone"
                )
            order += ready
        return order

    def _part(self, name: str, forward: list[_Path], back: list[_Path]) -> Part:
        node = self.graph.nodes[name]
        for path in forward:
            if not any(each.kind in WEIGHTED for each in path.nodes):
                raise node.refusal(
                    f"receives {path.source!r} without weights", "Affine, Linear or Conv2d between"
                )
        if not forward:
            raise node.refusal("receives nothing", "weights from the input or a neuron")
        found = neuron_of(node, self.convention, self.reset)
        synapse = self._synapse(node, forward)
        _rescale(node, synapse, found.gain, found.offset)
        current = self._current(node, synapse, forward)
        neuron: Neuron = found.neuron
        if back:
            neuron = _recurrent(node, neuron, back, current, found.gain)
        _check_parameters(node, current)
        behind = [module_of(self.graph.nodes[pool]) for pool in self.pools[name]]
        self.sent[name] = self._shape_behind(self.pools[name], behind, current)
        return Part(synapse, neuron, behind, self._sources(forward))

    def _shape_behind(
        self, names: list[str], modules: list[nn.Module], shape: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Return the shape of one sample behind some modules, found without values.

        Args:
            names: the node of each module.
            modules: the modules, in order.
            shape: of one sample before them.

        Raises:
            SigpropError: if a node can't take what enters it, or sends too many values.
        """
        values = torch.empty(1, *shape, device="meta")
        for name, module in zip(names, modules, strict=True):
            weights = {n: p.detach().float().to("meta") for n, p in module.named_parameters()}
            entering = list(values.shape[1:])
            node = self.graph.nodes[name]
            try:
                values = torch.func.functional_call(module, weights, (values,))
            except (RuntimeError, IndexError, ValueError) as error:
                raise node.refusal(
                    f"receives values of shape {entering}", f"values for {module}"
                ) from error
            if values.numel() > _MOST_ACTIVITY:
                raise node.refusal(f"sends {values.numel()} values", f"{_MOST_ACTIVITY} at most")
        return tuple(values.shape[1:])

    def _sources(self, forward: list[_Path]) -> AnySources:
        """Return the sources of a block: the block below, or blocks by name."""
        names = tuple("input" if p.source == self.input else self.blocks[p.source] for p in forward)
        below = f"block{len(self.blocks)}" if self.blocks else "input"
        return 1 if names == (below,) else names

    def _current(
        self, node: Node, synapse: list[nn.Module], forward: list[_Path]
    ) -> tuple[int, ...]:
        """Return the shape of the current of a neuron."""
        shapes = [self.sent[path.source] for path in forward]
        whole = shapes[0]
        if len(shapes) > 1:
            flat = len({len(shape) for shape in shapes}) > 1
            rows = [(int(np.prod(shape)),) if flat else shape for shape in shapes]
            whole = (sum(row[0] for row in rows), *rows[0][1:])
        # Several paths become one layer, which no single node names.
        names = [each.name for each in forward[0].nodes] if len(forward) == 1 else []
        return self._shape_behind(names or [node.name] * len(synapse), synapse, whole)

    def _synapse(self, node: Node, forward: list[_Path]) -> list[nn.Module]:
        """Return the modules from the sources to a neuron's current."""
        if len({path.source for path in forward}) != len(forward):
            raise node.refusal("receives one source twice", "each source once")
        modules = [[module_of(each) for each in path.nodes] for path in forward]
        if len(forward) == 1:
            return modules[0]
        flattens = False
        for path, made in zip(forward, modules, strict=True):
            kinds = [each.kind for each in path.nodes]
            if kinds[-1] not in WEIGHTED or not set(kinds[:-1]) <= {"Flatten"}:
                raise node.refusal(
                    f"receives several sources, one of them through {', '.join(kinds)}",
                    "nothing but nn.Flatten before the weights of each",
                )
            flattens |= len(made) > 1
        shapes = [self.sent[path.source] for path in forward]
        if len({shape[1:] for shape in shapes if len(shape) > 1}) > 1:
            raise node.refusal("receives maps of different sizes", "maps of one size")
        joined = _side_by_side(node, [made[-1] for made in modules])
        return [nn.Flatten(), joined] if flattens else [joined]

    def _readout(self, parts: list[Part], order: list[str]) -> Readout | None:
        """Return the readout; none if the graph ends with the spikes of its last neurons.

        Raises:
            SigpropError: if the graph ends with something else.
        """
        output = self.graph.only("Output")
        before = self.graph.before(output.name)
        end, beta = output, 0.0
        factor, shift = np.ones(()), np.zeros(())
        if len(before) == 1 and self.graph.nodes[before[0]].kind in READOUT_KINDS:
            end = self.graph.nodes[before[0]]
            decay, factor, shift = leak_of(end, self.convention)
            if decay.ndim:
                raise end.refusal("has neurons that differ", "one tau for the layer")
            beta = float(decay)
        used = {path.source for name in order for path in self._paths(name) if path.source != name}
        paths = self._paths(end.name)
        read = {path.source for path in paths}
        idle = [name for name in order if name not in used | read]
        if idle or not paths:
            raise SigpropError(
                f"{idle[0] if idle else 'the Output'!r} of the NIR graph leads nowhere; expected "
                "every neuron on a way to the Output"
            )
        rates = end is output and len(paths) == 1 and not paths[0].nodes
        if rates and paths[0].source == order[-1]:
            return None
        for path in paths:
            kinds = [node.kind for node in path.nodes]
            fits = kinds[-1:] and kinds[-1] in ("Affine", "Linear")
            if not fits or not set(kinds[:-1]) <= {"Flatten"} or path.source == self.input:
                raise end.refusal(
                    f"ends the graph behind {', '.join(kinds) or path.source}",
                    "Affine or Linear behind neurons, with LI or I or alone; or the last neurons",
                )
        layers = [module_of(path.nodes[-1]) for path in paths]
        linear = layers[0] if len(layers) == 1 else _side_by_side(end, layers)
        _rescale(end, [linear], factor, shift)
        assert isinstance(linear, nn.Linear)
        names = tuple(self.blocks[path.source] for path in paths)
        last = (f"block{len(parts)}",)
        self._check_readout(end, linear, paths)
        return readout_of(linear, beta, 1 if names == last else names)

    def _check_readout(self, end: Node, linear: nn.Linear, paths: list[_Path]) -> None:
        found = sum(int(np.prod(self.sent[path.source])) for path in paths)
        if linear.in_features != found:
            raise end.refusal(f"reads {linear.in_features} values", f"{found}")


def _check_parameters(node: Node, shape: tuple[int, ...]) -> None:
    """Check that the parameters of neurons are one number, or fit the layer of this shape."""
    for key, value in node.values.items():
        own = value.shape if isinstance(value, np.ndarray) and value.size > 1 else ()
        fits = all(a in (1, b) for a, b in zip(reversed(own), reversed(shape), strict=False))
        if len(own) > len(shape) or not fits:
            raise node.refusal(f"has {key} of shape {list(own)}", f"{list(shape)}, the layer's")


def _side_by_side(node: Node, layers: list[nn.Module]) -> nn.Module:
    """Return one layer of the weights of several, its inputs side by side.

    Raises:
        SigpropError: if the layers differ in kind or settings.
    """
    first = layers[0]
    settings = [_settings(layer) for layer in layers]
    weights = [layer.weight for layer in layers if isinstance(layer.weight, torch.Tensor)]
    rows = {(weight.shape[0], *weight.shape[2:]) for weight in weights}
    if any(each != settings[0] for each in settings) or len(rows) > 1:
        raise node.refusal("receives layers that differ", "layers of one kind and size")
    whole = torch.cat([weight.detach() for weight in weights], dim=1)
    biases = [layer.bias for layer in layers if isinstance(layer.bias, torch.Tensor)]
    bias = sum(
        (each.detach() for each in biases),
        torch.zeros_like(whole[:, 0].flatten(1)[:, 0] if whole.dim() > 2 else whole[:, 0]),
    )
    if isinstance(first, nn.Linear):
        made: nn.Module = nn.Linear(whole.shape[1], whole.shape[0], device="meta")
    else:
        assert isinstance(first, nn.Conv1d | nn.Conv2d)
        if first.groups != 1:
            raise node.refusal(f"receives several sources in {first.groups} groups", "one group")
        made = type(first)(
            whole.shape[1], whole.shape[0], first.kernel_size, first.stride,  # type: ignore[arg-type]
            first.padding, first.dilation, device="meta",  # type: ignore[arg-type]
        )  # fmt: skip
    made.register_parameter("weight", nn.Parameter(whole))
    made.register_parameter("bias", nn.Parameter(bias))
    return made


def _settings(layer: nn.Module) -> tuple[Any, ...]:
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return type(layer), layer.stride, layer.padding, layer.dilation, layer.groups
    return (type(layer),)


def _rescale(node: Node, modules: list[nn.Module], gain: Array, offset: Array) -> None:
    """Multiply the last weights of a synapse, and add to their bias.

    Raises:
        SigpropError: if the gain or the offset is not one for each channel, or modules behind the
            weights would change the offset.
    """
    weighted = [m for m in modules if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)][-1]
    channels = weighted.weight.shape[0]
    dtype = weighted.weight.dtype
    with torch.no_grad():
        if not near(gain, 1.0):
            factor = torch.tensor(_by_channel(node, gain, channels))
            shape = (-1, *[1] * (weighted.weight.dim() - 1)) if factor.dim() else ()
            weighted.weight.copy_((weighted.weight.double() * factor.view(shape)).to(dtype))
            if weighted.bias is not None:
                weighted.bias.copy_((weighted.bias.double() * factor).to(dtype))
        if not near(offset, 0.0):
            if weighted is not modules[-1]:
                raise node.refusal("has a v_leak behind a pool", "0, or weights behind the pool")
            added = torch.tensor(_by_channel(node, offset, channels)).expand(channels)
            old = torch.zeros(channels) if weighted.bias is None else weighted.bias
            weighted.bias = nn.Parameter((old.double() + added).to(dtype))


def _by_channel(node: Node, values: Array, channels: int) -> Array:
    """Return one number, or one for each channel, of one for each neuron.

    Raises:
        SigpropError: if neurons of one channel differ.
    """
    if values.ndim == 0:
        return values
    rows = values.reshape(values.shape[0], -1)
    if len(rows) != channels or not all(near(row, float(row[0])) for row in rows):
        raise node.refusal(
            f"has an r or a v_leak of shape {list(values.shape)} for {channels} channels",
            "one for each channel",
        )
    found: Array = np.ascontiguousarray(rows[:, 0])
    return found


def _recurrent(
    node: Node, neuron: Neuron, back: list[_Path], shape: tuple[int, ...], gain: Array
) -> Recurrent:
    """Return neurons with the weights from their spikes to their current.

    Raises:
        SigpropError: if these are not one Affine or Linear over a row of neurons, or one Scale.
    """
    kinds = [each.kind for path in back for each in path.nodes]
    if kinds == ["Scale"]:
        scale = back[0].nodes[0].numbers("scale")
        if scale.shape != shape:
            raise back[0].nodes[0].refusal(f"has shape {list(scale.shape)}", f"{list(shape)}")
        one = OneToOne(shape)
        one.weight = nn.Parameter(torch.tensor(scale * gain, dtype=torch.float32))
        return Recurrent(neuron, one)
    if len(kinds) != 1 or kinds[0] not in ("Affine", "Linear"):
        raise node.refusal(
            f"has the recurrence {', '.join(kinds) or 'without weights'}",
            "one Affine or Linear over a row of neurons, or one Scale",
        )
    layer = module_of(back[0].nodes[0])
    assert isinstance(layer, nn.Linear)
    if tuple(layer.weight.shape) != (*shape, *shape):
        raise (
            back[0]
            .nodes[0]
            .refusal(f"has weights of shape {list(layer.weight.shape)}", f"{[*shape, *shape]}")
        )
    _rescale(back[0].nodes[0], [layer], gain, np.zeros(()))
    weight = layer.weight.detach()
    if layer.bias is not None and bool((layer.bias != 0).any()):
        return Recurrent(neuron, layer)
    if torch.equal(weight, weight.diag().diag()):
        one = OneToOne(shape)
        one.weight = nn.Parameter(weight.diag().clone())
        return Recurrent(neuron, one)
    every = AllToAll(shape)
    every.weight = nn.Parameter(weight.clone())
    return Recurrent(neuron, every)
