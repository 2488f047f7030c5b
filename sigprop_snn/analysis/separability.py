"""How well a linear probe on the spike counts of a layer separates the classes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sigprop_snn.arguments import instance, refused, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.network import Network
from sigprop_snn.network.mode import evaluation_mode

Batches = Iterable[tuple[Tensor, Tensor]]
_INVERSE_PENALTY = 0.01  # of the squared weights; a few thousand samples have as many features
_ITERATIONS = 200
_RIDGE_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # fractions of a standardised feature's variance
_CHOOSES = 5  # one sample in so many chooses the penalty


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
def spike_counts(
    network: Network, batches: Batches, *, grid: int | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the output of the input and of every block, summed over the steps, and the labels.

    Args:
        network: the network.
        batches: `(x [T, B, ...], labels [B])`.
        grid: feature maps are averaged to at most this many positions per side; none keeps all.

    Returns:
        `[N, features]` by name, and `[N]`.

    Raises:
        SigpropError: if there are no batches.
    """
    instance("network", network, Network, "a Network")
    grid = None if grid is None else whole("grid", grid)
    with evaluation_mode(network):
        counts: dict[str, list[Tensor]] = {}
        labels: list[Tensor] = []
        for samples, batch_labels in network.checked(batches):
            labels.append(batch_labels.cpu())
            entering = network.signal.plain(samples)
            counts.setdefault("input", []).append(_on_grid(entering.sum(0), grid).flatten(1).cpu())
            for layer in plain_pass(network.named_blocks(), network.signal, samples):
                sent = _on_grid(layer.sent.count(), grid)
                counts.setdefault(layer.name, []).append(sent.flatten(1).cpu())
    if not labels:
        raise SigpropError("spike_counts got no batches; expected at least one")
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
    _check_samples(features, labels, held_features, held_labels)
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ITERATIONS, tol=1e-3)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last steps change no prediction
        probe.fit(_array(features), _array(labels))
    predicted: NDArray[np.int64] = probe.predict(_array(held_features))
    return float((predicted == _array(held_labels)).mean())


def ridge_probe(
    features: Tensor, labels: Tensor, held_features: Tensor, held_labels: Tensor
) -> float:
    """Return the accuracy of a ridge regression of the classes on standardised features.

    The solution is in closed form, so it is fast and the same in every run, on the device of the
    features. A fifth of the samples chooses the penalty; then all samples fit.

    Args:
        features: samples to fit, `[N, F]`.
        labels: their classes, `[N]`.
        held_features: samples to test, `[M, F]`.
        held_labels: their classes, `[M]`.

    Raises:
        SigpropError: if the samples to fit have one class.
    """
    _check_samples(features, labels, held_features, held_labels)
    if not features.is_floating_point():
        features, held_features = features.float(), held_features.float()
    mean = features.mean(0)
    deviation = features.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    features, held_features = ((x - mean) / deviation for x in (features, held_features))
    # Drawn, because labels may come in a cycle.
    drawn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    chooses = (drawn % _CHOOSES == 0).to(labels.device)
    fits = ~chooses
    penalty = _RIDGE_PENALTIES[0]
    if len(labels) >= 2 * _CHOOSES:
        found = _ridge(features[fits], labels[fits], _RIDGE_PENALTIES)
        right = [
            float(_matches(weights, features[chooses], labels[chooses]).mean()) for weights in found
        ]
        penalty = _RIDGE_PENALTIES[right.index(max(right))]
    (weights,) = _ridge(features, labels, (penalty,))
    return float(_matches(weights, held_features, held_labels).mean())


def _ridge(features: Tensor, labels: Tensor, penalties: tuple[float, ...]) -> list[Tensor]:
    """Return the weights `[F + 1, C]`, the bias last, for each penalty."""
    rows = F.pad(features, (0, 1), value=1.0)
    targets = F.one_hot(labels.long()).to(rows)
    gram, products = rows.t() @ rows, rows.t() @ targets
    found = []
    for penalty in penalties:
        added = torch.full_like(gram[0], penalty * len(rows))
        added[-1] = 1e-6 * len(rows)  # the bias has no penalty
        factor = torch.linalg.cholesky(gram + added.diag())
        found.append(torch.cholesky_solve(products, factor))
    return found


def _matches(weights: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    scores = F.pad(features, (0, 1), value=1.0) @ weights
    return (scores.argmax(1) == labels).double()


def _check_samples(
    features: Tensor, labels: Tensor, held_features: Tensor, held_labels: Tensor
) -> None:
    """Check the samples to fit and those to test.

    Raises:
        SigpropError: if they have other shapes, or those to fit have one class.
    """
    for name, rows in (("features", features), ("held_features", held_features)):
        instance(name, rows, Tensor, "a tensor [N, F]")
        if rows.dim() != 2 or rows.shape[1] != features.shape[1]:
            raise refused(name, rows, "a tensor [N, F], with as many features to fit as to test")
    for name, of, rows in (
        ("labels", labels, features), ("held_labels", held_labels, held_features),
    ):  # fmt: skip
        instance(name, of, Tensor, "a tensor [N]")
        if of.shape != rows.shape[:1] or of.is_floating_point():
            raise refused(name, of, f"the classes of {len(rows)} samples, integers [N]")
    if len(set(labels.tolist())) < 2:
        raise SigpropError(
            f"the probe got {len(labels)} samples of one class; expected at least two classes"
        )


def _on_grid(counts: Tensor, grid: int | None) -> Tensor:
    if grid is None or counts.dim() != 4 or min(counts.shape[-2:]) <= grid:
        return counts
    return F.adaptive_avg_pool2d(counts, grid)


def _array(values: Tensor) -> NDArray[np.float32]:
    plain: NDArray[np.float32] = values.detach().cpu().numpy()
    return plain
