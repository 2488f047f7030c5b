"""The cross-entropy of cosines with its gradient in closed form, in few passes over the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.neurons.engines.engine import CosineCrossEntropy
from sigprop_snn.neurons.engines.reference import FLOOR


def cosine_cross_entropy(
    rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
) -> CosineCrossEntropy:
    """Compare rows with others; see `Engine.cosine_cross_entropy`.

    With c = s t / (|s| |t|), dc/ds = t / (|s| |t|) - c s / |s|^2. The loss of a row is NaN where
    its column is outside of 0 to M - 1.
    """
    rows, others = rows.detach(), others.detach()
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        own, their = (
            torch.linalg.vector_norm(x, dim=1).clamp_(min=FLOOR).reciprocal_()
            for x in (rows, others)
        )
        both = own[:, None] * their
        cosines = (rows @ others.t()).mul_(both)
        scores = scale * cosines
        log_odds = scores.log_softmax(dim=1)
        inside = (columns >= 0) & (columns < len(others))
        targets = torch.full_like(scores, smoothing / len(others))
        right = columns.clamp(0, len(others) - 1)[:, None]
        targets.scatter_add_(1, right, torch.full_like(scores[:, :1], 1.0 - smoothing))
        losses = torch.where(inside, -(targets * log_odds).sum(1), torch.nan)
        grad = (log_odds.exp() - targets).mul_(scale / max(1, len(rows)))
        along = grad * cosines
        products = grad.mul_(both)
        grad_rows, grad_others = products @ others, products.t() @ rows
        grad_rows.addcmul_((along.sum(1) * own.square())[:, None], rows, value=-1.0)
        grad_others.addcmul_((along.sum(0) * their.square())[:, None], others, value=-1.0)
    return CosineCrossEntropy(scores, losses, grad_rows, grad_others)
