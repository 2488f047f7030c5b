"""The label drawn over the first inputs of the sample itself, right or wrong."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.stepwise import is_constant
from sigprop_snn.signals.base import Entry, Signal

_LEAST = 1e-6


class LabelOverlay(Signal):
    """The label drawn one-hot into the first C inputs (Hinton, arXiv 2212.13345, section 3.3).

    The first C inputs of a flattened sample are replaced; of a picture these are pixels of its
    first rows, in its first channel. While learning each sample has two contexts of its own,
    itself with its right label first and then itself with a wrong one. Without labels it has C,
    one a class. The sample itself carries the neutral overlay, all C inputs alike, and so never
    a label.

    Args:
        classes: C.
        sample: shape of one step of one sample.
        strength: brightness of the label's input; the others are 0, and 1/C of it each where
            the overlay is neutral.

    Raises:
        SigpropError: if there are fewer than two classes, fewer inputs than classes, or the
            strength is not a positive number.
    """

    per_sample: ClassVar[bool] = True

    def __init__(self, classes: int, sample: tuple[int, ...], *, strength: float = 4.0) -> None:
        super().__init__()
        if classes < 2 or math.prod(sample) < classes:
            raise SigpropError(
                f"LabelOverlay got {classes} classes and samples of shape {list(sample)}; "
                "expected at least 2 classes and as many inputs"
            )
        if not 0 < strength < math.inf:
            raise SigpropError(f"LabelOverlay has strength {strength}; expected a positive number")
        self.classes = classes
        self.sample = tuple(sample)
        self.strength = strength

    def enter(self, inputs: Tensor, labels: Tensor | None, beliefs: Tensor | None = None) -> Entry:
        """Return the neutral samples, and behind them each sample's own contexts.

        Args:
            inputs: `[T, B, ...]`.
            labels: the right labels, `[B]`; without them the contexts are those of every class.
            beliefs: how likely the wrong label is to be drawn for each sample, `[B, C]`; all
                wrong labels alike if not given.
        """
        rows = inputs.shape[1]
        if labels is None:
            columns = torch.arange(self.classes, device=inputs.device)[:, None].expand(-1, rows)
            targets = None
        else:
            columns = torch.stack([labels, wrong_labels(labels, self.classes, beliefs)])
            targets = torch.zeros_like(labels)  # the right one comes first
        own = len(columns)
        drawn = F.one_hot(columns.flatten(), self.classes).to(inputs)
        overlays = torch.cat([self._neutral(inputs), drawn])
        entering = self._drawn(inputs, overlays)
        return Entry(entering, None, rows, entering.shape[1], own, targets, labels)

    def plain(self, inputs: Tensor) -> Tensor:
        """Return the samples under the neutral overlay, `[T, B, ...]`."""
        return self._drawn(inputs, self._neutral(inputs))

    def _neutral(self, inputs: Tensor) -> Tensor:
        return inputs.new_full((inputs.shape[1], self.classes), 1.0 / self.classes)

    def _drawn(self, inputs: Tensor, overlays: Tensor) -> Tensor:
        """Return the samples again and again under overlays `[M * B, C]`, `[T, M * B, ...]`."""
        if inputs.shape[2:] != self.sample:
            raise SigpropError(
                f"input has shape {list(inputs.shape)}; expected [T, B, *{list(self.sample)}], "
                "what the label overlay was made for"
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
        labels: the right ones, `[B]`.
        classes: C.
        beliefs: how likely each label is to be drawn, `[B, C]`, not negative; the right one's
            share is left out. All wrong ones alike if not given.
    """
    if beliefs is None:
        beliefs = torch.ones(len(labels), classes, device=labels.device)
    # A belief that has vanished everywhere else leaves all wrong labels alike.
    shares = (beliefs + _LEAST).scatter(1, labels[:, None], 0.0)
    return torch.multinomial(shares, 1)[:, 0]
