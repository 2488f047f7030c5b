"""How much of a block's weight gradient lies along its mean input."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.arguments import instance
from sigprop_snn.network import Network
from sigprop_snn.network.mode import evaluation_mode


def mean_input_shares(network: Network, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the share of every block's weight gradient that lies along its mean input.

    The gradient G = sum of delta x^T has the part (sum of delta) m^T along the mean input m. The
    share is the squared length of this part over that of G. Above 1 the rest works against it.
    A centred block learns without this part; its share is measured as if it were not centred.

    The network is in evaluation mode and its gradients stay as they are. The mean input is over
    the rows of the batch: samples, and contexts behind the first block.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        labels: the class of every sample, `[B]`.

    Returns:
        By the block's name; blocks without a local loss or without a weight are left out.
    """
    instance("network", network, Network, "a Network")
    ((inputs, labels),) = network.checked([(inputs, labels)])
    whole, centred = (
        _weight_gradients(network, inputs, labels, centred=centred) for centred in (False, True)
    )
    shares = {}
    for name, gradients in whole.items():
        pairs = list(zip(gradients, centred[name], strict=True))
        along = sum(float((a - b).double().square().sum()) for a, b in pairs)
        total = sum(float(a.double().square().sum()) for a, _ in pairs)
        if total > 0:
            shares[name] = along / total
    return shares


def _weight_gradients(
    network: Network, inputs: Tensor, labels: Tensor, *, centred: bool
) -> dict[str, list[Tensor]]:
    """Return the gradient of every block's weights, with all blocks centred or none."""
    blocks = dict(network.named_blocks())
    before = {name: block.centred for name, block in blocks.items()}
    found: dict[str, list[Tensor]] = {}
    try:
        for block in blocks.values():
            block.centred = centred
        with evaluation_mode(network), torch.enable_grad():
            for stage in network.stages(inputs, labels):
                if stage.name not in blocks or stage.loss is None or not stage.loss.requires_grad:
                    continue
                synapse = blocks[stage.name].synapse
                weights = [p for p in synapse.parameters() if p.dim() > 1 and p.requires_grad]
                given = torch.autograd.grad(stage.loss, weights, allow_unused=True)
                found[stage.name] = [grad for grad in given if grad is not None]
    finally:
        for name, block in blocks.items():
            block.centred = before[name]
    return found
