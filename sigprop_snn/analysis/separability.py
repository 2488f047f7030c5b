"""How well a straight cut through the spike counts of a layer tells the classes apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.network import Network

Batches = Iterable[tuple[Tensor, Tensor]]
_STRENGTH = 0.01  # inverse of the ridge penalty; there are about as many features as samples
_ITERATIONS = 200


@dataclass(frozen=True)
class LayerSeparability:
    """What a linear probe reads off one layer.

    Attributes:
        name: "input" for the samples themselves, "block1" for the first block.
        accuracy: share of the held-out samples that the probe gets right.
        features: numbers that it sees of each sample.
    """

    name: str
    accuracy: float
    features: int


def separability(
    network: Network, fitted: Batches, held_out: Batches
) -> tuple[LayerSeparability, ...]:
    """Return how linearly separable the classes are in the input and in every block.

    A probe sees what a layer sends on, pooled, summed over the steps; it is fitted on some
    batches and judged by others. The network is used as in evaluation, and left as it was.

    Args:
        network: the network.
        fitted: batches `(x [T, B, ...], labels [B])` that the probes learn from; a few thousand
            samples are enough.
        held_out: batches that they are judged by.

    Raises:
        SigpropError: if there are no samples, or the fitted ones are of one class.
    """
    learned, labels = spike_counts(network, fitted)
    judged, answers = spike_counts(network, held_out)
    return tuple(
        LayerSeparability(
            name,
            linear_probe(learned[name], labels, judged[name], answers),
            learned[name].shape[1],
        )
        for name in learned
    )


@torch.no_grad()
def spike_counts(network: Network, batches: Batches) -> tuple[dict[str, Tensor], Tensor]:
    """Return what the input and every block send on, summed over the steps, and the labels.

    Returns:
        By name `[N, features]`, and `[N]`.

    Raises:
        SigpropError: if there are no batches.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    counts: dict[str, list[Tensor]] = {}
    labels: list[Tensor] = []
    for inputs, answers in batches:
        labels.append(answers.cpu())
        inputs = to_device(inputs, device)
        entering = network.signal.plain(inputs)
        counts.setdefault("input", []).append(entering.sum(0).flatten(1).cpu())
        for layer in plain_pass(network.named_blocks(), network.signal, inputs):
            counts.setdefault(layer.name, []).append(layer.sent.count().flatten(1).cpu())
    network.train(was_training)
    if not labels:
        raise SigpropError("separability got no batches; expected at least one")
    return {name: torch.cat(parts) for name, parts in counts.items()}, torch.cat(labels)


def linear_probe(
    features: Tensor, labels: Tensor, held_features: Tensor, held_labels: Tensor
) -> float:
    """Return the accuracy of a logistic regression on standardised features.

    Args:
        features: what it learns from, `[N, F]`.
        labels: their classes, `[N]`.
        held_features: what it is judged by, `[M, F]`.
        held_labels: their classes, `[M]`.

    Raises:
        SigpropError: if the labels it learns from are all the same.
    """
    if len(set(labels.tolist())) < 2:
        raise SigpropError(
            f"the probe learns from {len(labels)} samples of one class; expected two classes or "
            "more"
        )
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS, tol=1e-3)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last steps change no answer
        probe.fit(_array(features), _array(labels))
    predicted: NDArray[np.int64] = probe.predict(_array(held_features))
    return float((predicted == _array(held_labels)).mean())


def _array(values: Tensor) -> NDArray[np.float32]:
    plain: NDArray[np.float32] = values.detach().cpu().numpy()
    return plain
