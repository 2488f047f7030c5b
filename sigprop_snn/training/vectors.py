"""How a trained network does where the targets are vectors: values, or several labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Answers, Network


def regression_error(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the root mean square error over samples and values.

    The network is put into evaluation mode and back. Nothing is learned.

    Args:
        network: one whose signal has values to find, such as `VectorContext`.
        batches: `(x [T, B, ...], targets [B, K])`.

    Raises:
        SigpropError: if the network's targets are not values, or there is no batch.
    """
    total, values = 0.0, 0
    for scores, targets in _predictions(network, batches, "values"):
        total += float((scores - targets.to(scores)).double().square().sum())
        values += targets.numel()
    return math.sqrt(total / _some(values))


def multi_label_accuracy(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the share of labels, over all samples, that are rightly said to hold or not.

    A score above 0 says that a label holds. The network is put into evaluation mode and back.
    Nothing is learned.

    Args:
        network: one whose signal has several labels, such as `MultiLabelContext`.
        batches: `(x [T, B, ...], labels [B, K])`; above a half, a label holds.

    Raises:
        SigpropError: if the network's targets are not labels, or there is no batch.
    """
    right = labels = 0
    for scores, held in _predictions(network, batches, "labels"):
        right += int(((scores > 0) == (held > 0.5)).sum())
        labels += held.numel()
    return right / _some(labels)


@torch.no_grad()
def _predictions(
    network: Network, batches: Iterable[tuple[Tensor, Tensor]], answers: Answers
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the network's scores and the targets of every batch."""
    if network.signal.answers != answers:
        raise SigpropError(
            f"the targets of {type(network.signal).__name__} are {network.signal.answers}; "
            f"expected a network whose targets are {answers}"
        )
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    try:
        for inputs, targets in batches:
            network.signal.check(inputs, targets)
            yield network(to_device(inputs, device)), targets.to(device)
    finally:
        network.train(was_training)


def _some(count: int) -> int:
    if not count:
        raise SigpropError("there was no batch to evaluate; expected at least one")
    return count
