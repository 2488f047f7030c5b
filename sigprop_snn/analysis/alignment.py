"""The cosine of samples with the context of their class, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Network
from sigprop_snn.network.mode import evaluation_mode


@dataclass(frozen=True)
class LayerAlignment:
    """How the samples of a block align with the contexts.

    Attributes:
        name: "block1" for the first block.
        same: mean cosine of a sample's representation with the context of its class.
        other: mean cosine with the contexts of the other classes.
        nearest: fraction of samples for which the nearest context is that of their class.
        by_class: mean cosine of the samples of each class (row) with each context (column),
            `[C, C]`; NaN in the rows of classes without a sample.
    """

    name: str
    same: float
    other: float
    nearest: float
    by_class: Tensor


@torch.no_grad()
def stream_alignment(
    network: Network, inputs: Tensor, labels: Tensor
) -> tuple[LayerAlignment, ...]:
    """Return how samples and contexts align in every block that compares them.

    The cosines are those of the representations that the rule compares, before any normalisation.
    The network is in evaluation mode and gets no labels; its state is restored afterwards.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        labels: the class of every sample, `[B]`.

    Raises:
        SigpropError: if no block compares samples with a context of every class, or the network
            can't learn from the batch.
    """
    instance("network", network, Network, "a Network")
    network.check_batch(inputs, labels)
    if network.signal.answers != "classes":
        raise SigpropError(
            f"the targets of {type(network.signal).__name__} are {network.signal.answers}; "
            "expected classes, one for each sample"
        )
    with evaluation_mode(network):
        entry = network.signal.enter(inputs, None)
        found = []
        for stage in network.stages(inputs):
            if stage.response is None or stage.response.representation is None or not entry.samples:
                continue
            samples, contexts = stage.response.representation.tensor_split([entry.samples])
            if entry.contexts_per_sample:
                contexts = contexts.reshape(
                    entry.contexts_per_sample, -1, *contexts.shape[1:]
                ).transpose(0, 1)
            cosines = _cosines(samples, contexts)
            if cosines.shape[1] == network.signal.classes:
                found.append(_aligned(stage.name, cosines, labels))
    if not found:
        raise SigpropError(
            "no block of the network compares samples with a context of every class; expected a "
            "rule of signal propagation"
        )
    return tuple(found)


def _cosines(samples: Tensor, contexts: Tensor) -> Tensor:
    """Return the cosines `[B, C]` with contexts `[C, ...]`, or `[B, C, ...]` for each sample."""
    h = F.normalize(samples.flatten(1), dim=1)
    if contexts.dim() > samples.dim():
        return torch.einsum("bd,bkd->bk", h, F.normalize(contexts.flatten(2), dim=2))
    return h @ F.normalize(contexts.flatten(1), dim=1).t()


def _aligned(name: str, cosines: Tensor, labels: Tensor) -> LayerAlignment:
    classes = cosines.shape[1]
    one_hot = F.one_hot(labels.long(), classes).to(cosines)
    same = (cosines * one_hot).sum(1)
    other = (cosines.sum(1) - same) / (classes - 1)
    nearest = cosines.argmax(dim=1) == labels
    by_class = (one_hot.t() @ cosines) / one_hot.sum(0)[:, None]
    return LayerAlignment(
        name,
        float(same.mean()),
        float(other.mean()),
        float(nearest.double().mean()),
        by_class.cpu(),
    )
