"""A right or wrong label, written over the first inputs of the sample."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.arguments import axes, instance, positive, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.stepwise import is_constant
from sigprop_snn.signals.base import Entry, Signal

_LEAST = 1e-6


class LabelOverlay(Signal):
    """A one-hot label in the first C inputs of the sample (Hinton, arXiv 2212.13345, section 3.3).

    The label replaces the first C inputs of the flattened sample; in a picture these are pixels
    of the first rows of the first channel. In training each sample has two contexts: a copy with
    the right label, then a copy with a wrong one. Without labels it has C contexts, one per class.
    The sample itself has the neutral overlay, C equal inputs, so it contains no label.

    Args:
        classes: C.
        sample: shape of one step of one sample.
        strength: brightness of the label's input; the other inputs are 0. In the neutral overlay
            every input is strength / C.

    Raises:
        SigpropError: if there are fewer than two classes, fewer inputs than classes, or the
            strength is not a positive number.
    """

    per_sample: ClassVar[bool] = True

    def __init__(self, classes: int, sample: tuple[int, ...], *, strength: float = 4.0) -> None:
        super().__init__()
        classes = whole("classes of LabelOverlay", classes, 0)
        sample = axes("sample of LabelOverlay", sample)
        if classes < 2 or math.prod(sample) < classes:
            raise SigpropError(
                f"LabelOverlay got {classes} classes and samples of shape {list(sample)}; "
                "expected at least 2 classes and as many inputs"
            )
        self.classes = classes
        self.sample = sample
        self.strength = positive("strength of LabelOverlay", strength)

    def enter(self, inputs: Tensor, labels: Tensor | None, beliefs: Tensor | None = None) -> Entry:
        """Return the neutral samples, followed by the contexts of each sample.

        Args:
            inputs: `[T, B, ...]`.
            labels: the right labels, `[B]`; if None, there is one context per class.
            beliefs: weight of each wrong label in the draw, `[B, C]`; if None, all are equal.
        """
        rows = inputs.shape[1]
        if labels is None:
            columns = torch.arange(self.classes, device=inputs.device)[:, None].expand(-1, rows)
            targets = None
        else:
            columns = torch.stack([labels, wrong_labels(labels, self.classes, beliefs)])
            targets = torch.zeros_like(labels)  # the right label comes first
        copies = len(columns)
        drawn = F.one_hot(columns.flatten(), self.classes).to(inputs)
        overlays = torch.cat([self._neutral(inputs), drawn])
        entering = self._drawn(inputs, overlays)
        return Entry(entering, None, rows, entering.shape[1], copies, targets, labels)

    def plain(self, inputs: Tensor) -> Tensor:
        """Return the samples under the neutral overlay, `[T, B, ...]`."""
        return self._drawn(inputs, self._neutral(inputs))

    def _neutral(self, inputs: Tensor) -> Tensor:
        return inputs.new_full((inputs.shape[1], self.classes), 1.0 / self.classes)

    def _drawn(self, inputs: Tensor, overlays: Tensor) -> Tensor:
        """Return M copies of the samples with overlays `[M * B, C]`, `[T, M * B, ...]`."""
        if inputs.shape[2:] != self.sample:
            raise SigpropError(
                f"input has shape {list(inputs.shape)}; expected [T, B, *{list(self.sample)}], "
                "the sample shape of the label overlay"
            )
        distinct = inputs[:1] if is_constant(inputs) else inputs
        times = len(overlays) // inputs.shape[1]
        flat = distinct.flatten(2).repeat(1, times, 1)
        flat[:, :, : self.classes] = self.strength * overlays
        return flat.view(-1, len(overlays), *self.sample).expand(
            len(inputs), len(overlays), *self.sample
        )

    def extra_repr(self) -> str:
        """Return the settings for `print(signal)`."""
        return f"classes={self.classes}, sample={self.sample}, strength={self.strength}"


def wrong_labels(labels: Tensor, classes: int, beliefs: Tensor | None = None) -> Tensor:
    """Draw a wrong label for every sample, `[B]`.

    Args:
        labels: the right labels, `[B]`.
        classes: C.
        beliefs: weight of each label in the draw, `[B, C]`, not negative; the right label's
            weight is ignored. If None, all wrong labels are equally likely.

    Raises:
        SigpropError: if the labels are no whole numbers below C, or the beliefs no tensor for them.
    """
    instance("labels", labels, Tensor, "a tensor [B]")
    classes = whole("classes", classes, 2)
    if labels.dim() != 1 or labels.is_floating_point():
        raise SigpropError(
            f"labels are {labels.dtype} of shape {list(labels.shape)}; expected integers [B]"
        )
    if beliefs is not None:
        instance("beliefs", beliefs, Tensor, "a tensor [B, C]")
        if beliefs.shape != (len(labels), classes):
            raise SigpropError(
                f"beliefs have shape {list(beliefs.shape)}; expected {[len(labels), classes]}"
            )
    if beliefs is None:
        beliefs = torch.ones(len(labels), classes, device=labels.device)
    # If all other beliefs are 0, all wrong labels are equally likely.
    weights = (beliefs + _LEAST).scatter(1, labels[:, None], 0.0)
    return torch.multinomial(weights, 1)[:, 0]
