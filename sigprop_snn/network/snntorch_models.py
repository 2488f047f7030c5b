"""Networks made of existing snnTorch models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import snntorch
from torch import Tensor, nn

from sigprop_snn.arguments import positive, refused
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.readout import Readout
from sigprop_snn.network.from_parts import Part, network_from_parts, readout_of
from sigprop_snn.network.network import Network
from sigprop_snn.network.parts import AnyLoss, AnyRule, AnySignal, NetworkParts, sizes
from sigprop_snn.neurons import LIF, Neuron
from sigprop_snn.neurons.module_kinds import BATCH_NORMS, DROPOUTS, POOLS, SHAPES, WEIGHTED
from sigprop_snn.neurons.snntorch_adapter import SnnTorch, as_neuron, copied, is_snntorch
from sigprop_snn.predict import Predict

_NORMS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)


def from_snntorch(
    model: nn.Sequential,
    shape: Sequence[int] | int | None = None,
    *,
    gain: float = 1.0,
    rule: AnyRule | None = None,
    loss: AnyLoss | None = None,
    signal: AnySignal | None = None,
    predict: Predict | None = None,
) -> Network:
    """Return a network with the layers of a snnTorch model, their weights copied.

    Every neuron ends a block. The modules before it make the block's current: linear layers,
    convolutions, pools, normalisations, `nn.Flatten`. Pools and dropout behind it are applied to
    its spikes. The last layer becomes the readout where it is one:

    - a linear layer without a neuron: the scores are its mean output over time;
    - a linear layer with a `Leaky` of `reset_mechanism="none"`: the scores are the mean voltages,
      and a learnable beta keeps its value;
    - a layer that spikes stays a block, and the scores are its mean spikes, as a loss of rates in
      snnTorch reads them. Its readout starts as the identity.

    The spikes are those of snnTorch at every step, within rounding: snnTorch subtracts the
    threshold one step after the spike, and so does `SnnTorch` in the blocks. A `Leaky` that resets
    to zero or never becomes `LIF`, which spikes the same and is faster. Batch normalisation in
    training takes its statistics over all steps, not step by step.

    Args:
        model: the modules in order, with neurons of snnTorch: `Leaky`, `Synaptic`, `Alpha`,
            `Lapicque`, `RLeaky` or `RSynaptic`, with or without `init_hidden=True`. For a model
            with its own `forward`: `nn.Sequential(model.fc1, model.lif1, ...)`. It stays as it is.
        shape: shape of one step of one sample; if not given, that of the first linear layer.
        gain: root mean square of the contexts' current, in units of voltage.
        rule: the learning rule; see `NetworkParts`.
        loss: the local loss; see `NetworkParts`.
        signal: the learning signal; see `NetworkParts`.
        predict: "readout", "context", "subset", "neutral", "both" or "vote"; see `Network`.

    Raises:
        SigpropError: if a module can't be used; it names the module by index and name. Also if
            the shape is missing or does not fit.
    """
    if not isinstance(model, nn.Sequential):
        raise refused(
            "model",
            model,
            "nn.Sequential of layers and snnTorch neurons, such as "
            "nn.Sequential(model.fc1, model.lif1, model.fc2, model.lif2)",
        )
    gain = positive("gain", gain)
    parts, tail = _parts_of(model)
    readout = _last_layer(parts, tail)
    if not parts:
        raise SigpropError("model has no neuron before its last layer; expected at least one")
    given = _first_shape(parts[0]) if shape is None else sizes("shape", shape)
    choices = NetworkParts(LIF, rule, loss, signal, predict)
    return network_from_parts(parts, readout, given, gain, choices).train(model.training)


def _parts_of(model: nn.Sequential) -> tuple[list[Part], list[nn.Module]]:
    """Return copies of a model's modules by block, and those behind the last block.

    Raises:
        SigpropError: if a module can't be used.
    """
    parts: list[Part] = []
    waiting: list[nn.Module] = []
    seen: set[int] = set()
    for index, (name, module) in enumerate(_flat(model)):
        place = f"module {index} of the model ({name!r}, {type(module).__name__})"
        if id(module) in seen and next(module.parameters(), None) is not None:
            raise SigpropError(
                f"{place} stands in two places and has weights, which copies would not share; "
                "expected a module for each place"
            )
        seen.add(id(module))
        if is_snntorch(module) or isinstance(module, Neuron):
            if not any(isinstance(each, WEIGHTED) for each in waiting):
                raise SigpropError(
                    f"{place} is a neuron; expected a linear layer or a convolution before it"
                )
            parts.append(Part(waiting, _neuron(module, place)))
            waiting = []
        elif isinstance(module, (*WEIGHTED, *POOLS, *DROPOUTS, *SHAPES, nn.Identity, *_NORMS)):
            flattened = all(isinstance(each, nn.Flatten) for each in waiting)
            if parts and (not waiting or (flattened and type(module) is nn.Dropout)):
                in_pool = isinstance(module, (*POOLS, *DROPOUTS))
            else:
                in_pool = False
            (parts[-1].behind if in_pool else waiting).append(copied(module))
        else:
            raise SigpropError(
                f"{place} can't be used; expected a linear layer, a convolution, a pool, a "
                "normalisation, dropout, nn.Flatten or a snnTorch neuron"
            )
    return parts, waiting


def _flat(model: nn.Sequential, before: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of a model by name, those of inner sequences one by one.

    A module that stands in several places, such as one pool for all layers, comes several times.
    """
    for name, module in model._modules.items():
        if module is None:
            continue
        if isinstance(module, nn.Sequential):
            yield from _flat(module, f"{before}{name}.")
        else:
            yield before + name, module


def _neuron(module: nn.Module, place: str) -> Neuron:
    """Return a neuron with the spikes of a module.

    Raises:
        SigpropError: if there is none; it names the place.
    """
    if isinstance(module, Neuron):
        return cast(Neuron, copied(module))
    try:
        return as_neuron(module)
    except SigpropError as error:
        raise SigpropError(f"{place}: {error}") from error


def _last_layer(parts: list[Part], tail: list[nn.Module]) -> Readout | None:
    """Return the readout that a model ends with, and take its layer off the parts; or none.

    Raises:
        SigpropError: if the model ends with modules that are no readout, or the neurons of its
            last layer leak differently.
    """
    if tail:
        linear = _single_linear(tail)
        if linear is None:
            found = ", ".join(type(module).__name__ for module in tail)
            raise SigpropError(
                f"the model ends with {found} behind its last neuron; expected one linear layer, "
                "or a neuron"
            )
        return readout_of(linear, beta=0.0)
    if len(parts) < 2 or parts[-1].behind:
        return None
    linear, neuron = _single_linear(parts[-1].synapse), parts[-1].neuron
    if linear is None or neuron.reset_mode != "none":
        return None
    if type(neuron) is LIF:
        beta = neuron.beta
    elif isinstance(neuron, SnnTorch) and type(neuron.module) is snntorch.Leaky:
        beta = _one_beta(neuron.module.beta)
    else:
        return None
    del parts[-1]
    return readout_of(linear, beta)


def _one_beta(betas: Tensor) -> float:
    """Return the one decay of a last Leaky.

    Raises:
        SigpropError: if its neurons have several.
    """
    lowest, highest = (float(each) for each in betas.detach().clamp(0, 1).aminmax())
    if lowest != highest:
        raise SigpropError(
            f"the last Leaky, with reset_mechanism='none', has decays from {lowest:g} to "
            f"{highest:g}; expected one beta, because a readout has one"
        )
    return lowest


def _single_linear(modules: list[nn.Module]) -> nn.Linear | None:
    """Return the linear layer of modules that else only flatten, or none."""
    *before, last = modules
    flattens = all(isinstance(module, nn.Flatten | nn.Identity) for module in before)
    return last if flattens and isinstance(last, nn.Linear) else None


def _first_shape(part: Part) -> tuple[int, ...]:
    """Return the shape of a sample that enters the first linear layer.

    Raises:
        SigpropError: if another layer than a linear one is the first.
    """
    for module in part.synapse:
        if isinstance(module, nn.Linear):
            return (module.in_features,)
        if not isinstance(module, nn.Flatten | nn.Identity | nn.Dropout):
            break
    raise SigpropError(
        f"shape is not given and the model begins with {type(module).__name__}; expected the shape "
        "of one step of one sample, such as (1, 28, 28)"
    )
