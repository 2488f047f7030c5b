"""How well a linear probe on the spike counts of a layer separates the classes."""

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
_INVERSE_PENALTY = 0.01  # of the squared weights; a few thousand samples have as many features
_ITERATIONS = 200


@dataclass(frozen=True)
class LayerSeparability:
    """The result of a linear probe on one layer.

    Attributes:
        name: "input" for the samples, "block1" for the first block.
        accuracy: fraction of the held-out samples that the probe classifies correctly.
        features: number of features of a sample.
    """

    name: str
    accuracy: float
    features: int


def separability(
    network: Network, fitted: Batches, held_out: Batches
) -> tuple[LayerSeparability, ...]:
    """Return how linearly separable the classes are in the input and in every block.

    The features are the pooled spikes of a layer, summed over the steps. The network is in
    evaluation mode; its state is restored afterwards.

    Args:
        network: the network.
        fitted: batches `(x [T, B, ...], labels [B])` to fit the probes; a few thousand samples are
            enough.
        held_out: batches to test the probes.

    Raises:
        SigpropError: if there are no samples, or the samples to fit have one class.
    """
    features, labels = spike_counts(network, fitted)
    held_features, held_labels = spike_counts(network, held_out)
    return tuple(
        LayerSeparability(
            name,
            linear_probe(features[name], labels, held_features[name], held_labels),
            features[name].shape[1],
        )
        for name in features
    )


@torch.no_grad()
def spike_counts(network: Network, batches: Batches) -> tuple[dict[str, Tensor], Tensor]:
    """Return the output of the input and of every block, summed over the steps, and the labels.

    Returns:
        `[N, features]` by name, and `[N]`.

    Raises:
        SigpropError: if there are no batches.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    counts: dict[str, list[Tensor]] = {}
    labels: list[Tensor] = []
    for inputs, batch_labels in batches:
        labels.append(batch_labels.cpu())
        samples = to_device(inputs, device)
        entering = network.signal.plain(samples)
        counts.setdefault("input", []).append(entering.sum(0).flatten(1).cpu())
        for layer in plain_pass(network.named_blocks(), network.signal, samples):
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
        features: samples to fit, `[N, F]`.
        labels: their classes, `[N]`.
        held_features: samples to test, `[M, F]`.
        held_labels: their classes, `[M]`.

    Raises:
        SigpropError: if the samples to fit have one class.
    """
    if len(set(labels.tolist())) < 2:
        raise SigpropError(
            f"the probe got {len(labels)} samples of one class; expected at least two classes"
        )
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ITERATIONS, tol=1e-3)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last steps change no prediction
        probe.fit(_array(features), _array(labels))
    predicted: NDArray[np.int64] = probe.predict(_array(held_features))
    return float((predicted == _array(held_labels)).mean())


def _array(values: Tensor) -> NDArray[np.float32]:
    plain: NDArray[np.float32] = values.detach().cpu().numpy()
    return plain
