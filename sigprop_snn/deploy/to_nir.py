"""Networks as graphs of NIR, the neuromorphic intermediate representation (Pedersen et al. 2024).

doi.org/10.1038/s41467-024-52259-9. `docs/nir.md` has the table of how every number is mapped.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from sigprop_snn.arguments import instance
from sigprop_snn.arguments import path as as_path
from sigprop_snn.deploy.conventions import Array, Convention, convention_of
from sigprop_snn.deploy.extras import nir_package
from sigprop_snn.deploy.fold import fold
from sigprop_snn.deploy.folded import Folded, FoldedLayer
from sigprop_snn.deploy.nir_neurons import NirNeuron, nir_neuron
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically
from sigprop_snn.layers.readout import READOUT
from sigprop_snn.layers.sources import INPUT
from sigprop_snn.network.network import Network

_MAXIMA = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
_OUTPUT = "output"


def to_nir(
    network: Network | Folded,
    convention: Convention | str = "nir",
    *,
    sample_shape: Sequence[int] | None = None,
) -> Any:
    """Return a network as a graph of NIR.

    The network is folded first. Nodes: "input", and for each layer "block1_weights" (Affine or
    Conv2d), "block1" (its neurons) and "block1_pool"; "readout_weights" and "readout" (LI; its
    mean over time is the score of each class); "output". A layer of several sources has weights for
    each, "block3_weights" and "block3_weights_block1"; NIR adds their currents. A recurrent layer
    has "block1_recurrence", from its neurons to its neurons.

    NIR's neurons reset to v_reset = 0 (nir >= 1.0.5). One that subtracts its threshold is written
    with the metadata `reset = "subtract"`, which `from_nir` reads, and a warning says so.

    Args:
        network: a network, or a folded one.
        convention: how the program that reads the graph turns it into steps; a name in
            `CONVENTIONS` or a `Convention`.
        sample_shape: shape of one step of one sample, if the network does not know it.

    Returns:
        A `nir.NIRGraph`.

    Raises:
        SigpropError: if the network has a part that NIR has no word for; it names the layer, the
            part and the alternative. Also if the package nir is not installed.
    """
    convention = convention_of(convention)
    folded = network if isinstance(network, Folded) else fold(network)
    with torch.no_grad():
        return _Writer(folded, folded.known_shape(sample_shape), convention).graph()


def write_nir(graph: Any, file: str | os.PathLike[str]) -> Path:
    """Write a graph of NIR to a file (HDF5), in full or not at all.

    Args:
        graph: a `nir.NIRGraph`, such as `to_nir` returns.
        file: the file to write; an existing one is replaced.

    Raises:
        SigpropError: if it is no graph, or the file can't be written.
    """
    nir = nir_package()
    instance("graph", graph, nir.NIRGraph, "a nir.NIRGraph")
    return write_atomically(as_path("file", file), lambda path: nir.write(str(path), graph))


@dataclass
class _Sent:
    """The output of a layer.

    Attributes:
        layer: the layer's name.
        node: the node that it leaves.
        shape: its shape, without time and batch.
        factor: the node's output times this factor is the layer's output.
    """

    layer: str
    node: str
    shape: tuple[int, ...]
    factor: float = 1.0


@dataclass
class _Writer:
    """Turns a folded network into nodes and edges."""

    folded: Folded
    sample: tuple[int, ...]
    convention: Convention
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    flat: dict[str, str] = field(default_factory=dict)
    subtracting: list[str] = field(default_factory=list)

    def graph(self) -> Any:
        nir = nir_package()
        self.nodes[INPUT] = nir.Input(input_type={"input": np.array(self.sample)})
        sent = {INPUT: _Sent(INPUT, INPUT, self.sample)}
        shapes, received = self.folded.shapes(self.sample), self.folded.received()
        for name, layer in self.folded.named_layers():
            found = [sent[source] for source in received[name]]
            sent[name] = self._layer(name, layer, found, shapes[name][1])
        last = self._readout([sent[name] for name in self.folded.read()])
        classes = self.folded.readout.synapse.out_features
        self.nodes[_OUTPUT] = nir.Output(output_type={"output": np.array([classes])})
        self.edges += [(node, _OUTPUT) for node in last]
        if self.subtracting:
            warnings.warn(
                f"{', '.join(self.subtracting)}: the reset is 'subtract', which NIR can only say in"
                " the metadata; other programs reset to 0 unless told (--network nir-conv and "
                "LIF(reset='zero') have NIR's reset)",
                stacklevel=4,
            )
        metadata = {name: getattr(self.convention, name) for name in ("dt", "decay", "resistance")}
        # A layer of maps with one number for its neurons has the shape of that number in NIR.
        has_check = "type_check" in signature(nir.NIRGraph).parameters
        settings = {"type_check": False} if self.convention.one_number and has_check else {}
        return nir.NIRGraph(nodes=self.nodes, edges=self.edges, metadata=metadata, **settings)

    def _layer(
        self, name: str, layer: FoldedLayer, sources: list[_Sent], shape: tuple[int, ...]
    ) -> _Sent:
        neuron = nir_neuron(name, layer.neuron, shape, self.convention)
        if len(sources) > 1 and len({source.shape[1:] for source in sources}) > 1:
            raise SigpropError(
                f"{name} receives maps of different sizes, {_listed(sources)}, pooled by the "
                "maximum, which NIR has no word for; expected one source, or maps of one size"
            )
        summed = layer.sources.join == "sum"
        first = 0
        for index, source in enumerate(sources):
            for module in layer.before:
                source = self._pass(name, "synapse", module, source)
            label = _weights_of(name, source, index)
            width = source.shape[0]
            columns = slice(None) if summed or len(sources) == 1 else slice(first, first + width)
            first += width
            self._weights(label, layer.weights, source, columns, neuron.factor, bias=index == 0)
            self.edges.append((label, name))
        self.nodes[name] = neuron.node
        self._recur(name, neuron)
        if neuron.subtracts:
            self.subtracting.append(name)
        out = _Sent(name, name, shape)
        for module in layer.behind:
            out = self._pass(name, "pool", module, out)
        return out

    def _recur(self, name: str, neuron: NirNeuron) -> None:
        if neuron.recurrence is not None:
            label = f"{name}_recurrence"
            self.nodes[label] = neuron.recurrence
            self.edges += [(name, label), (label, name)]

    def _weights(
        self,
        label: str,
        layer: nn.Module,
        source: _Sent,
        columns: slice,
        factor: Array,
        *,
        bias: bool,
    ) -> None:
        """Add the node of a layer's weights, and the edge to it.

        Args:
            label: the node's name.
            layer: the weighted layer.
            source: the input.
            columns: the inputs of the layer that this source is.
            factor: multiplies the weights and the bias, one number or one for each channel.
            bias: whether the bias is added here.
        """
        nir = nir_package()
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            raise SigpropError(
                f"{label} is a {type(layer).__name__}, which NIR has no word for; expected Linear, "
                "Conv1d or Conv2d"
            )
        per_row = factor.reshape(-1, *[1] * (layer.weight.dim() - 1)) if factor.ndim else factor
        assert layer.bias is not None
        scaled = _array(layer.weight[:, columns]) * per_row * source.factor
        weight = scaled.astype(_array(layer.weight).dtype)
        added = (_array(layer.bias) * factor * float(bias)).astype(weight.dtype)
        if isinstance(layer, nn.Linear):
            self.nodes[label] = nir.Affine(weight, added) if bias else nir.Linear(weight)
        else:
            if layer.padding_mode != "zeros" or (layer.groups > 1 and columns != slice(None)):
                raise SigpropError(
                    f"{label} has padding_mode={layer.padding_mode!r} and groups={layer.groups}; "
                    "NIR expects zeros around the maps, and one group for several sources"
                )
            size = source.shape[1:]
            kind, one = (nir.Conv2d, False) if len(size) == 2 else (nir.Conv1d, True)
            settings = {
                key: _setting(getattr(layer, key), one=one) for key in ("stride", "dilation")
            }
            settings["padding"] = _setting(_padding_of(layer), one=one)
            self.nodes[label] = kind(
                input_shape=size[0] if one else size,
                weight=weight, bias=added, groups=layer.groups, **settings,
            )  # fmt: skip
        self.edges.append((source.node, label))

    def _pass(self, name: str, place: str, module: nn.Module, source: _Sent) -> _Sent:
        """Add the node of a module without weights, behind a source.

        Raises:
            SigpropError: if NIR has no word for the module.
        """
        nir = nir_package()
        if isinstance(module, nn.Flatten):
            if len(source.shape) == 1:
                return source
            if source.node not in self.flat:
                label = self._free(f"{name}_flatten" if place == "pool" else f"{source.node}_flat")
                self.nodes[label] = nir.Flatten(
                    {"input": np.array(source.shape)}, start_dim=0, end_dim=-1
                )
                self.edges.append((source.node, label))
                self.flat[source.node] = label
            return replace(source, node=self.flat[source.node], shape=(math.prod(source.shape),))
        if isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            return self._average(name, module, source)
        kind = type(module).__name__
        if isinstance(module, _MAXIMA):
            raise SigpropError(
                f"{kind} in the {place} of {name} is an OR of spikes, which NIR has no word for; "
                "expected an average pool, as in --network nir-conv or Block(pool=nn.AvgPool2d(2))"
            )
        raise SigpropError(
            f"{kind} in the {place} of {name} has no word in NIR; expected nn.AvgPool2d or "
            "nn.Flatten()"
        )

    def _average(
        self, name: str, module: nn.AvgPool2d | nn.AdaptiveAvgPool2d, source: _Sent
    ) -> _Sent:
        nir = nir_package()
        with torch.no_grad():
            shape = tuple(module(torch.zeros(1, *source.shape)).shape[1:])
        pairs = _windows(module, source.shape[1:], shape[1:])
        if pairs is None:
            raise SigpropError(
                f"{module} of {name} has windows of different sizes on maps of {source.shape[1:]}; "
                "NIR expects windows of one size, such as nn.AvgPool2d(2)"
            )
        window = pairs[0]
        divisor = float(math.prod(window))
        if isinstance(module, nn.AvgPool2d) and module.divisor_override:
            divisor = float(module.divisor_override)
        sums = self.convention.pool == "sum" or divisor == 1.0 != math.prod(window)
        kind = nir.SumPool2d if sums else nir.AvgPool2d
        label = self._free(f"{name}_pool")
        self.nodes[label] = kind(*(np.array(each) for each in pairs))
        self.edges.append((source.node, label))
        # The node's output times this factor is the module's output.
        factor = 1.0 / divisor if sums else math.prod(window) / divisor
        return _Sent(source.layer, label, shape, source.factor * factor)

    def _readout(self, sources: list[_Sent]) -> list[str]:
        """Add the readout; return the nodes that it leaves."""
        readout = self.folded.readout
        integrator = nir_neuron(
            READOUT, readout.neuron, (readout.synapse.out_features,), self.convention
        )
        integrates = self.convention.readout == "integrator"
        factor = integrator.factor if integrates else np.ones(())
        first = 0
        labels = []
        for index, source in enumerate(sources):
            if readout.pools(source.shape):
                raise SigpropError(
                    f"the readout pools maps of {source.shape} by the maximum (side="
                    f"{readout.side}), which NIR has no word for; expected a readout of the last "
                    "block, as in --network nir-conv"
                )
            flat = self._pass(READOUT, "synapse", nn.Flatten(), source)
            columns = slice(first, first + flat.shape[0])
            first += flat.shape[0]
            labels.append(_weights_of(READOUT, source, index))
            self._weights(labels[-1], readout.synapse, flat, columns, factor, bias=index == 0)
        if not integrates:
            return labels
        self.nodes[READOUT] = integrator.node
        self.edges += [(label, READOUT) for label in labels]
        return [READOUT]

    def _free(self, label: str) -> str:
        """Return a node's name that is not taken."""
        count = 1
        free = label
        while free in self.nodes:
            count += 1
            free = f"{label}{count}"
        return free


def _weights_of(name: str, source: _Sent, index: int) -> str:
    """Return the name of the weights of a layer's source."""
    return f"{name}_weights" + (f"_{source.layer}" if index else "")


def _listed(sources: Sequence[_Sent]) -> str:
    return ", ".join(f"{source.layer} {list(source.shape)}" for source in sources)


def _array(values: torch.Tensor) -> Array:
    found: Array = values.detach().cpu().numpy()
    return found


def _padding_of(layer: nn.Conv1d | nn.Conv2d) -> Any:
    """Return the padding of a convolution: "same" in numbers, which every version of nir reads.

    With an even kernel the sides differ; with one that is not square, or dilated, nir 1.0.8 finds
    other sizes of the maps. There the word stays.
    """
    square = len(set(layer.kernel_size)) == 1 and layer.kernel_size[0] % 2 == 1
    plain = square and set(layer.dilation) == {1}
    if layer.padding != "same" or not plain:
        return layer.padding
    return tuple(size // 2 for size in layer.kernel_size)


def _setting(value: Any, *, one: bool) -> Any:
    """Return a setting of a convolution: a word, one number, or two."""
    if isinstance(value, str):
        return value
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return numbers[0] if one else numbers if len(numbers) == 2 else numbers * 2


_Pair: TypeAlias = tuple[int, int]


def _windows(
    module: nn.AvgPool2d | nn.AdaptiveAvgPool2d, size: Sequence[int], out: Sequence[int]
) -> tuple[_Pair, _Pair, _Pair] | None:
    """Return window, stride and padding of an average pool; None if the windows differ.

    Args:
        module: the pool.
        size: height and width of the maps.
        out: height and width of the pooled maps.
    """
    if isinstance(module, nn.AdaptiveAvgPool2d):
        if any(a % b for a, b in zip(size, out, strict=True)):
            return None
        window = size[0] // out[0], size[1] // out[1]
        return window, window, (0, 0)
    window, stride, padding = (
        (each, each) if isinstance(each, int) else (each[0], each[1])
        for each in (module.kernel_size, module.stride, module.padding)
    )
    uneven = module.ceil_mode or (padding != (0, 0) and not module.count_include_pad)
    return None if uneven else (window, stride, padding)
