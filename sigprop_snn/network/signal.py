"""Learning signals: what enters the front of the network as the target."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError

# The normalisation makes the size of the projection free; a small one learns faster under Adam,
# whose steps have a fixed size.
_DRAWN = 0.1


class ProjectedContext(nn.Module):
    """Each class's context, projected to a current for the first block's neurons.

    t1 = f(S1 c) (arXiv 2204.01723, equation 2): a one-hot context c passes through the signal's
    own weights S1 and drives the first block's neurons as a constant current. Only the C distinct
    contexts travel, whatever the batch.

    Args:
        classes: C, the number of contexts.
        shape: shape of the first block's current, without time and batch.
        learned: whether S1 learns with the first block, or stays as it was drawn.
        gain: root mean square of each context's current, in units of voltage.

    Raises:
        SigpropError: if there are fewer than two classes, or the shape is empty.
    """

    def __init__(
        self, classes: int, shape: tuple[int, ...], *, learned: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        if classes < 2 or not shape or min(shape) < 1:
            raise SigpropError(
                f"ProjectedContext got {classes} classes and shape {list(shape)}; "
                "expected at least 2 classes and positive sizes"
            )
        self.classes = classes
        self.shape = tuple(shape)
        self.gain = gain
        self.projection = nn.Parameter(
            _DRAWN * torch.randn(classes, math.prod(shape)), requires_grad=learned
        )

    def forward(self) -> Tensor:
        """Return the current of every context, `[C, *shape]`."""
        current = F.layer_norm(self.projection, self.projection.shape[1:], eps=1e-10)
        return self.gain * current.view(self.classes, *self.shape)

    def extra_repr(self) -> str:
        """Return the settings for `print(signal)`."""
        learned = self.projection.requires_grad
        return f"classes={self.classes}, shape={self.shape}, learned={learned}, gain={self.gain}"


SIGNALS: dict[str, type[nn.Module]] = {
    "context": ProjectedContext,
}
