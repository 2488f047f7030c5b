"""The cross-entropy of cosines with its gradient in closed form, in few passes over the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.neurons.engines.engine import CosineCrossEntropy, RowComparison
from sigprop_snn.neurons.engines.reference import FLOOR


def cosine_cross_entropy(
    rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
) -> CosineCrossEntropy:
    """Compare rows with others; see `Engine.cosine_cross_entropy`.

    The loss of a row is NaN where its column is outside of 0 to M - 1.
    """
    count = len(rows)
    both = torch.cat([rows.detach(), others.detach()])
    scores, losses, grad = _compare(both, count, columns, scale, smoothing)
    return CosineCrossEntropy(scores, losses, grad[:count], grad[count:])


def compare_rectified(
    voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
) -> RowComparison:
    """Compare the rectified voltages of samples and contexts; see `Engine.compare_rectified`."""
    voltage = voltage.detach()
    found = _compare(voltage.relu(), samples, columns, scale, smoothing)
    return found._replace(grad=torch.ops.aten.threshold_backward(found.grad, voltage, 0))


def _compare(
    both: Tensor, count: int, columns: Tensor, scale: float, smoothing: float
) -> RowComparison:
    """Compare the first rows with those behind them.

    With c = s t / (|s| |t|), dc/ds = t / (|s| |t|) - c s / |s|^2.
    """
    rows, others = both[:count], both[count:]
    with torch.no_grad(), torch.autocast(both.device.type, enabled=False):
        inverse = torch.linalg.vector_norm(both, dim=1).clamp_(min=FLOOR).reciprocal_()
        lengths = torch.outer(inverse[:count], inverse[count:])
        cosines = (rows @ others.t()).mul_(lengths)
        scores = scale * cosines
        log_odds = scores.log_softmax(dim=1)
        inside = (columns >= 0) & (columns < len(others))
        targets = torch.full_like(scores, smoothing / len(others))
        right = columns.clamp(0, len(others) - 1)[:, None]
        targets.scatter_(1, right, 1.0 - smoothing + smoothing / len(others))
        losses = torch.where(inside, -(targets * log_odds).sum(1), torch.nan)
        products = log_odds.exp_().sub_(targets).mul_(scale / max(1, count))
        along = products * cosines
        products.mul_(lengths)
        grad = torch.empty_like(both)
        torch.mm(products, others, out=grad[:count])
        torch.mm(products.t(), rows, out=grad[count:])
        back = torch.cat([along.sum(1), along.sum(0)]).mul_(inverse.square_())
        grad.addcmul_(back[:, None], both, value=-1.0)
    return RowComparison(scores, losses, grad)
