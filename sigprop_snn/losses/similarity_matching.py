"""Similarity matching: two samples are to be as similar as their labels are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sigprop_snn.answers import Answers
from sigprop_snn.arguments import whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.losses.base import LocalLoss, no_scores
from sigprop_snn.losses.similarity import as_fractions, cosines, on_grid, without_mean
from sigprop_snn.neurons.engines import MapStatistics, engine_for


@dataclass(frozen=True)
class Similarity(LocalLoss):
    """Mean squared difference between the similarities of samples and those of their labels.

    L = mean over i, j of (R_ij - Y_ij)^2 (Nokland and Eidnes 2019, arXiv 1901.06656, the
    similarity matching loss). R_ij is the cosine of samples i and j: each is a row of D features
    minus their mean. Y_ij is the same for the labels: 1 for one class, -1 / (C - 1) for two. The
    contexts have no part in it, so it adds to a loss that compares them, as in
    `DotProductLoss() + 10 * Similarity()`. It needs a batch: for one sample it is zero.

    The features of a fully connected layer are its representation. Those of feature maps are the
    standard deviations over the positions, one for each map, behind a convolution that only this
    loss uses: a block has its own, which learns with the block and from this loss alone.

    Args:
        kernel: side of the convolution's kernels, odd; 0 for no convolution.
        grid: feature maps are first averaged to at most this many positions per side, which makes
            the convolution cheaper; all positions if not given.

    Raises:
        SigpropError: if the side is not 0 or odd, or the grid is below 2.
    """

    takes: ClassVar[frozenset[Answers]] = frozenset({"classes", "values", "labels"})

    kernel: int = 3
    grid: int | None = None

    def __post_init__(self) -> None:
        if self.grid is not None:
            whole("grid of Similarity", self.grid, 2)
        is_size = isinstance(self.kernel, int) and not isinstance(self.kernel, bool)
        if not is_size or self.kernel < 0 or (self.kernel > 0 and self.kernel % 2 == 0):
            raise SigpropError(
                f"Similarity has kernel {self.kernel!r}; expected an odd number, or 0 for no "
                "convolution"
            )

    @property
    def has_scores(self) -> bool:
        """Whether the loss compares samples with contexts: it does not."""
        return False

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Refuse: there are no scores."""
        raise no_scores(self)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Refuse: there are no scores."""
        raise no_scores(self)

    def head(self, maps: int | None) -> nn.Module | None:
        """Return the convolution of a block with this number of feature maps."""
        if maps is None or not self.kernel:
            return None
        made = nn.Conv2d(maps, maps, self.kernel, padding=self.kernel // 2, bias=False)
        return made.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    def compare_samples(
        self, samples: Tensor, labels: Tensor, columns: int, head: nn.Module | None
    ) -> Tensor:
        """Return the mean squared difference of the two similarities.

        Raises:
            SigpropError: if feature maps have one position, or do not fit the convolution.
        """
        features = self._features(samples, head)
        expected = _centred_cosines(as_fractions(labels, columns, features))
        return (_centred_cosines(features) - expected).square().mean()

    def _features(self, samples: Tensor, head: nn.Module | None) -> Tensor:
        """Return the features of every sample, `[B, D]`."""
        if samples.dim() == 2:
            return samples
        shape = list(samples.shape[1:])
        if samples[0, 0].numel() < 2:
            raise SigpropError(
                f"{self} compares how maps differ over positions, but a layer's representation "
                f"has shape {shape}; expected more than one position"
            )
        maps = samples if self.grid is None else on_grid(samples, self.grid)
        if self.kernel:
            if not isinstance(head, nn.Conv2d) or [len(shape), shape[0]] != [3, head.in_channels]:
                raise SigpropError(
                    f"{self} has no convolution for a layer's representation of shape {shape}; "
                    "expected the maps [F, H, W] of an nn.Conv2d in a network that was made with "
                    "this loss, or Similarity(kernel=0)"
                )
            maps = head(maps)
        deviations: Tensor = _Deviation.apply(maps)
        return deviations


class _Deviation(torch.autograd.Function):
    """The standard deviation of every map over its positions, `[B, F]`, of maps `[B, F, ...]`."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        statistics = engine_for(maps.device).map_statistics(maps)
        ctx.save_for_backward(maps, *statistics)
        return statistics.deviation

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        maps, *statistics = ctx.saved_tensors
        engine = engine_for(maps.device)
        return engine.deviation_gradient(maps, MapStatistics(*statistics), grads[0])


def _centred_cosines(rows: Tensor) -> Tensor:
    """Return the cosines between all rows `[B, D]`, each minus its mean, `[B, B]`."""
    centred = without_mean(rows, 1)
    return cosines(centred, centred)
