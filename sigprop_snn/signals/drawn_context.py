"""Pictures of the classes as contexts, which enter through the first synapse like samples."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.arguments import axes, one_of, positive, truth, whole
from sigprop_snn.neurons.stepwise import with_contexts
from sigprop_snn.shard import current_shard
from sigprop_snn.signals.base import Entry, Signal, check_sizes

Pictures = Literal["drawn", "random", "mean"]
PICTURES: tuple[Pictures, ...] = get_args(Pictures)

_SEGMENTS = (
    "abcdef",
    "bc",
    "abged",
    "abgcd",
    "fgbc",
    "afgcd",
    "afgedc",
    "abc",
    "abcdefg",
    "abcfgd",
)
_FIVE_BY_THREE = {  # (row, column) of the cells in each segment of a seven-segment digit
    "a": ((0, 0), (0, 1), (0, 2)),
    "b": ((0, 2), (1, 2), (2, 2)),
    "c": ((2, 2), (3, 2), (4, 2)),
    "d": ((4, 0), (4, 1), (4, 2)),
    "e": ((2, 0), (3, 0), (4, 0)),
    "f": ((0, 0), (1, 0), (2, 0)),
    "g": ((2, 0), (2, 1), (2, 2)),
}


class DrawnContext(Signal):
    """One picture per class, which enters the network like a sample.

    The pictures pass through the first block's synapse, so the signal needs no projection
    (arXiv 2204.01723, the drawn context).

    Args:
        classes: C.
        inputs: shape of a sample, without time and batch.
        pictures: "drawn" is the class's number in seven-segment digits, if samples are
            `[C, H, W]`, else "random"; "random" is a pattern of 0 and 1; "mean" is the running
            mean of the class's training samples.
        learned: whether the pictures learn with the first block; means never do.
        gain: brightness of the pictures, except means.

    Raises:
        SigpropError: if the sizes or the kind of pictures are invalid.
    """

    picture: Tensor
    seen: Tensor

    def __init__(
        self,
        classes: int,
        inputs: tuple[int, ...],
        *,
        pictures: Pictures = "drawn",
        learned: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        inputs = axes("inputs of DrawnContext", inputs)
        check_sizes(self, classes, inputs)
        one_of("kind of pictures", pictures, PICTURES)
        learned = truth("learned of DrawnContext", learned)
        gain = positive("gain of DrawnContext", gain)
        self.classes = classes = whole("classes of DrawnContext", classes)
        self.pictures = pictures
        if pictures == "mean":
            self.register_buffer("picture", torch.zeros(classes, *inputs))
        elif pictures == "drawn" and len(inputs) == 3:
            drawn = torch.stack([number_picture(k, inputs) for k in range(classes)])
            self.picture = nn.Parameter(gain * drawn, requires_grad=learned)
        else:
            noise = torch.randint(2, (classes, *inputs)).float()
            self.picture = nn.Parameter(gain * noise, requires_grad=learned)
        self.register_buffer("seen", torch.zeros(classes))

    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return the samples, followed by one picture per class as rows."""
        rows = inputs.shape[1]
        if labels is not None and self.pictures == "mean" and self.training:
            self._take_in(inputs.mean(0), labels)
        both = with_contexts(inputs, self.picture.to(inputs))
        return Entry(both, None, rows, observed_rows=rows, targets=labels, answers=labels)

    def extra_repr(self) -> str:
        """Return the settings for `print(signal)`."""
        return (
            f"classes={self.classes}, pictures={self.pictures}, "
            f"learned={self.picture.requires_grad}"
        )

    def _take_in(self, samples: Tensor, labels: Tensor) -> None:
        """Update the running means of the classes with samples `[B, ...]`."""
        counts = torch.bincount(labels, minlength=self.classes).to(self.seen)
        totals = torch.zeros_like(self.picture).index_add_(0, labels, samples.to(self.picture))
        shard = current_shard()
        if shard is not None:
            counts, totals = shard.add(counts), shard.add(totals)
        self.seen += counts
        shape = (-1, *[1] * (totals.dim() - 1))
        change = totals - counts.view(shape) * self.picture
        self.picture += change / self.seen.clamp(min=1.0).view(shape)


def number_picture(number: int, shape: tuple[int, ...]) -> Tensor:
    """Return a picture of 0 and 1 of a number in seven-segment digits, `[C, H, W]`.

    The digits fill the middle four fifths of the picture, from left to right. All channels are
    equal.

    Args:
        number: 0 or more.
        shape: `(C, H, W)`.
    """
    digits = [_digit(int(digit)) for digit in str(number)]
    gap = torch.zeros(5, 1)
    parts = [part for digit in digits for part in (gap, digit)][1:]
    drawn = torch.cat(parts, dim=1)
    height, width = (max(1, round(0.8 * side)) for side in shape[1:])
    width = min(width, max(1, round(height * drawn.shape[1] / 5)))
    scaled = F.interpolate(drawn[None, None], size=(height, width), mode="nearest")[0, 0]
    picture = torch.zeros(shape)
    top, left = (shape[1] - height) // 2, (shape[2] - width) // 2
    picture[:, top : top + height, left : left + width] = scaled
    return picture


def _digit(digit: int) -> Tensor:
    cells = torch.zeros(5, 3)
    for segment in _SEGMENTS[digit]:
        for cell in _FIVE_BY_THREE[segment]:
            cells[cell] = 1.0
    return cells
