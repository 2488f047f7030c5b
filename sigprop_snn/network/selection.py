"""Which contexts are a sample's targets, told from the contexts that come into a layer.

A layer can't ask for a distinction that the layer below no longer makes. Kohan et al. (arXiv
2204.01723, target selection) therefore compare the incoming contexts with one another: where two
are alike, both are right.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Select = Literal["label", "maxima", "random-maximum", "top-k"]
SELECTIONS: tuple[Select, ...] = get_args(Select)

_ALIKE = 1e-6  # cosines this near to the largest count as the largest: rounding must not choose


def selected(
    labels: Tensor, incoming: Tensor | None, select: Select, *, top: int, temperature: float
) -> Tensor:
    """Return every context's share of what is right for each sample, `[B, M]`.

    Args:
        labels: the right context's column, `[B]`, or each context's share, `[B, M]`.
        incoming: the contexts as they come into the layer, `[T, M, ...]`. Where there is none, at
            the front, the labels themselves are returned.
        select: "label" the labels as they are; "maxima" all contexts whose similarity with the
            right one is the largest, in equal shares; "random-maximum" one of them by chance;
            "top-k" the `top` most similar, by a softmax of their similarity.
        top: how many contexts "top-k" takes.
        temperature: of that softmax; the smaller, the more goes to the most similar.
    """
    if select == "label" or incoming is None:
        return labels
    near = similarity(incoming)
    if select == "top-k":
        best = near.topk(min(top, len(near)), dim=1)
        shares = (best.values / temperature).softmax(dim=1)
        rows = torch.zeros_like(near).scatter(1, best.indices, shares)
    else:
        rows = (near >= near.amax(dim=1, keepdim=True) - _ALIKE).to(near)
        rows = rows / rows.sum(dim=1, keepdim=True)
    rows = labels.to(rows) @ rows if labels.is_floating_point() else rows[labels]
    if select == "random-maximum":
        return torch.multinomial(rows, 1).squeeze(1)
    return rows


def similarity(incoming: Tensor) -> Tensor:
    """Return the cosine of every incoming context with every other, `[M, M]`.

    Their mean activity over time is compared, `[T, M, ...]`. Two silent contexts are alike.
    """
    activity = incoming.detach().mean(0).flatten(1)
    directions = F.normalize(activity, dim=1)
    silent = directions.square().sum(1) < 0.5  # a direction has length 1, or 0
    return directions @ directions.t() + (silent[:, None] & silent).to(directions)
