"""A network as a program of torch (`torch.export`) or of ONNX, for inference."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import path, truth, whole
from sigprop_snn.deploy.extras import needed
from sigprop_snn.deploy.fold import fold
from sigprop_snn.deploy.folded import Folded, FoldedLayer
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically
from sigprop_snn.layers.sources import Kept
from sigprop_snn.network.network import Network
from sigprop_snn.neurons import EscapeNoise, GaussianNoise, Neuron, SnnTorch
from sigprop_snn.neurons.joining import joined
from sigprop_snn.neurons.stepwise import stepwise
from sigprop_snn.surrogates import Surrogate


def export_program(
    network: Network | Folded,
    steps: int,
    *,
    sample_shape: Sequence[int] | None = None,
    spikes: bool = False,
) -> torch.export.ExportedProgram:
    """Return a network as a program of torch, which runs without this package.

    The program takes inputs `[T, B, ...]` of this T and any B, and gives the scores `[B, C]`.
    `write_program` writes it to a file; `program.module()` runs it.

    Args:
        network: a network, or a folded one.
        steps: T; the steps are unrolled.
        sample_shape: shape of one step of one sample, if the network does not know it.
        spikes: whether the program also gives the spikes of every layer, `[T, B, ...]`, in order.

    Raises:
        SigpropError: if a neuron draws random numbers or is snnTorch's, or torch can't export the
            network.
    """
    steps, spikes = whole("steps", steps), truth("spikes", spikes)
    unrolled, example = _unrolled(network, steps, sample_shape, spikes)
    batch = torch.export.Dim("batch", min=1, max=2**20)
    try:
        with torch.no_grad():
            return torch.export.export(unrolled, (example,), dynamic_shapes=({1: batch},))
    except Exception as error:  # torch raises many kinds, of which none is public
        raise SigpropError(f"torch can't export the network: {error}") from error


def write_program(
    network: Network | Folded,
    file: str | os.PathLike[str],
    steps: int,
    *,
    sample_shape: Sequence[int] | None = None,
) -> Path:
    """Write a network as a program of torch, for `torch.export.load`, and return the path.

    Args:
        network: a network, or a folded one.
        file: the file to write, ending in .pt2; an existing one is replaced.
        steps: T; the steps are unrolled.
        sample_shape: shape of one step of one sample, if the network does not know it.

    Raises:
        SigpropError: as `export_program`, and if the file can't be written or has another ending.
    """
    target = path("file", file)
    if target.suffix != ".pt2":
        raise SigpropError(f"file is {str(target)!r}; expected a name that ends in .pt2")
    program = export_program(network, steps, sample_shape=sample_shape)
    return write_atomically(target, lambda temporary: torch.export.save(program, temporary))


def write_onnx(
    network: Network | Folded,
    file: str | os.PathLike[str],
    steps: int,
    *,
    sample_shape: Sequence[int] | None = None,
) -> Path:
    """Write a network as an ONNX program, for onnxruntime and other runtimes, and return the path.

    Its input "inputs" is `[T, B, ...]` with this T and any B, its output "scores" `[B, C]`.

    Args:
        network: a network, or a folded one.
        file: the file to write; an existing one is replaced.
        steps: T; the steps are unrolled.
        sample_shape: shape of one step of one sample, if the network does not know it.

    Raises:
        SigpropError: as `export_program`, and if the extra onnx is not installed or the file can't
            be written.
    """
    target = path("file", file)
    for package in ("onnx", "onnxscript"):
        needed(package, extra="onnx")
    program = export_program(network, steps, sample_shape=sample_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = torch.onnx.export(
                program, input_names=["inputs"], output_names=["scores"], dynamo=True, verbose=False
            )
        except Exception as error:  # torch raises many kinds, of which none is public
            # The cause says what is missing; torch colours the text around it.
            cause = error.__cause__ or error
            raise SigpropError(
                f"torch can't write the network as ONNX: {type(cause).__name__}: {cause}"
            ) from error
    assert made is not None
    return write_atomically(target, lambda temporary: made.save(str(temporary)))


@dataclass(frozen=True)
class _Step(Surrogate):
    """The spike alone: 1 above the threshold. It has no gradient."""

    def f(self, u: Tensor) -> Tensor:
        return (u > 0).to(u.dtype)

    def df(self, u: Tensor) -> Tensor:
        return torch.zeros_like(u)

    def spike(self, u: Tensor) -> Tensor:
        return self.f(u)


class _Unrolled(nn.Module):
    """A folded network in plain torch, its steps unrolled.

    Args:
        folded: the network.
        steps: T.
        spikes: whether `forward` also returns the spikes of every layer.
    """

    weights: Tensor

    def __init__(self, folded: Folded, steps: int, spikes: bool) -> None:
        super().__init__()
        self.folded = folded
        self.steps = steps
        self.spikes = spikes
        beta = torch.tensor(folded.readout.neuron.beta, dtype=torch.float64)
        powers = torch.stack([beta**step for step in range(steps)]).cumsum(0).flip(0) / steps
        self.register_buffer("weights", powers.to(folded.readout.synapse.weight))

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the scores `[B, C]` for inputs `[T, B, ...]`, and the spikes where asked."""
        readout = self.folded.readout
        kept = Kept.at_start(self.folded.received(), inputs)
        sent: dict[str, Tensor] = {}
        spikes = []
        for name, layer in self.folded.named_layers():
            parts = kept.take(name)
            fired = self._fire(layer, joined(parts, layer.sources.join))
            spikes.append(fired)
            sent[name] = stepwise(layer.pool, fired)
            kept.put(name, sent[name])
        read = readout.side_by_side([sent[name] for name in self.folded.read()])
        trace = (self.weights.view(-1, 1, 1) * read).sum(0)
        scores = nn.functional.linear(trace, readout.synapse.weight)
        if readout.synapse.bias is not None:
            scores = scores + self.weights.sum() * readout.synapse.bias
        return (scores, *spikes) if self.spikes else scores

    def _fire(self, layer: FoldedLayer, inputs: Tensor) -> Tensor:
        current = stepwise(layer.synapse, inputs)
        state = layer.neuron.initial_state(current[0])
        spikes = []
        for step in range(self.steps):
            made = layer.neuron.step(current[step], state)
            state = made.state
            spikes.append(made.spike)
        return torch.stack(spikes)


def _unrolled(
    network: Network | Folded, steps: int, sample_shape: Sequence[int] | None, spikes: bool
) -> tuple[_Unrolled, Tensor]:
    """Return the network in plain torch, and an example of its input.

    Raises:
        SigpropError: if the shape of a sample is not known, or a neuron can't be exported.
    """
    folded = network if isinstance(network, Folded) else fold(network)
    shape = folded.known_shape(sample_shape)
    folded.shapes(shape)
    layers = {
        name: FoldedLayer(layer.synapse, _plain(name, layer.neuron), layer.pool, layer.sources)
        for name, layer in folded.named_layers()
    }
    plain = Folded(layers, folded.readout, shape)
    example = folded.readout.synapse.weight.new_zeros(steps, 2, *shape)
    return _Unrolled(plain, steps, spikes).eval(), example


def _plain(name: str, neuron: Neuron) -> Neuron:
    """Return a copy of a neuron without the surrogate of its spikes.

    Raises:
        SigpropError: if it draws random numbers or is snnTorch's.
    """
    inner: nn.Module | None = neuron
    while isinstance(inner, Neuron):
        if isinstance(inner, GaussianNoise | EscapeNoise | SnnTorch):
            reason = "keeps its state in a module" if isinstance(inner, SnnTorch) else "is random"
            raise SigpropError(
                f"{type(inner).__name__} in {name} {reason}, so it can't be exported; expected a "
                "neuron of this package without noise, such as LIF()"
            )
        inner = getattr(inner, "neuron", None)
    plain = copy.deepcopy(neuron)
    inner = plain
    while isinstance(inner, Neuron):
        if not inner.graded:
            inner.surrogate = _Step()
        inner = getattr(inner, "neuron", None)
    return plain
