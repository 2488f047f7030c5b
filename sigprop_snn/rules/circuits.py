"""Parts of Predictive Forward-Forward: input from above and neighbours, and the generator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import axes, positive, refused, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.norm import LengthNorm
from sigprop_snn.layers.parameters import add_gradient

_DRAWN = 0.05  # largest initial lateral weight
_SETTLING = 5  # moves of the latent state for each step of the representation circuit


class Surroundings(nn.Module):
    """A layer's input from the layer above and from its neighbours.

    Neurons form groups. Within a group, each neuron inhibits the others and excites itself, by its
    activity times a weight; negative weights count as zero.

    Args:
        size: number of neurons of the layer.
        above: number of neurons of the layer above, or of classes for the top layer.
        group: number of neurons in a group, reduced to its greatest common divisor with `size`.
    """

    def __init__(self, size: int, above: int, group: int) -> None:
        super().__init__()
        group = math.gcd(size, group)
        self.from_above = nn.Parameter(torch.randn(size, above) / math.sqrt(above))
        self.lateral = nn.Parameter(_DRAWN * torch.rand(size // group, group, group))

    def forward(self, above: Tensor, own: Tensor) -> Tensor:
        """Return the voltage `[N, size]` from the layer above and from the neighbours.

        Args:
            above: activity of the layer above, `[N, above]`.
            own: activity of this layer, `[N, size]`.
        """
        groups, group, _ = self.lateral.shape
        excites = 2 * torch.eye(group, device=own.device, dtype=own.dtype) - 1
        lateral = torch.einsum(
            "ngi,gij->ngj", own.view(-1, groups, group), self.lateral.relu() * excites
        )
        return above @ self.from_above.t() + lateral.reshape(own.shape)


class Generator(nn.Module):
    """The generative circuit: it predicts each layer from the layer above.

    The prediction of layer l - 1 is max(0, G_l n(z_l)); the prediction of the sample is also
    limited to `top`. The top layer is predicted as max(0, G z) from a latent state z. Weights
    change by the prediction's error times its input, dG_l = e_{l-1} n(z_l)^T (predictive coding;
    Ororbia and Mali, arXiv 2301.01452), without autograd.

    Args:
        sizes: sizes of the sample and of every layer of the representation circuit.
        latents: size of the latent state.
        top: largest value of a sample's input.

    Raises:
        SigpropError: if `latents` or `top` is not a positive number.
    """

    def __init__(self, sizes: Sequence[int], latents: int, top: float = 1.0) -> None:
        super().__init__()
        sizes = axes("sizes of Generator", sizes)
        if len(sizes) < 2 or min(sizes) < 1:
            raise refused("sizes of Generator", sizes, "at least two positive sizes")
        latents = whole("latents of Generator", latents)
        self.top = positive("top of Generator", top)
        self.layers = nn.ParameterList(
            nn.Parameter(torch.randn(below, size) / size) for below, size in pairwise(sizes)
        )
        self.latent = nn.Parameter(torch.randn(sizes[-1], latents))
        self._direction = LengthNorm()

    def at_rest(self, rows: int) -> Tensor:
        """Return the initial latent state, `[rows, latents]`."""
        return self.latent.new_zeros(rows, self.latent.shape[1])

    @torch.no_grad()
    def settled(self, latent: Tensor, target: Tensor, moves: int = _SETTLING) -> Tensor:
        """Return the latent state after moves that improve its prediction of the top layer.

        Each move is z <- z - rate * G^T e; the rate is small enough that the error can't grow.

        Args:
            latent: the present state, `[N, latents]`.
            target: the top layer's activity, `[N, n]`.
            moves: number of moves.
        """
        weight = self._unit()
        # The largest absolute row sum bounds the largest eigenvalue.
        rate = 1.0 / (weight.t() @ weight).abs().sum(1).max()
        for _ in range(moves):
            error = (latent @ weight.t()).relu() - target
            latent = latent - rate * (error @ weight)
        return latent

    @torch.no_grad()
    def learn(self, activity: Sequence[Tensor], latent: Tensor, noise: float = 0.0) -> float:
        """Add every weight's Hebbian change to its `.grad`.

        Args:
            activity: activity of the sample and of every layer, each `[N, n]`.
            latent: the latent state, `[N, latents]`.
            noise: standard deviation of the noise added to the predictions' inputs.

        Returns:
            The mean squared error of the prediction of the sample.
        """
        squared = 0.0
        for index, weight in enumerate(self.layers):
            above = activity[index + 1]
            made_of = self._direction(above + noise * torch.randn_like(above))
            error = self._predicted(weight, made_of, sample=index == 0) - activity[index]
            add_gradient(weight, error.t() @ made_of / len(error))
            squared = float(error.square().mean()) if index == 0 else squared
        error = (latent @ self._unit().t()).relu() - activity[-1]
        add_gradient(self.latent, error.t() @ latent / len(error))
        return squared

    @torch.no_grad()
    def sample(self, latent: Tensor) -> Tensor:
        """Return the samples generated from latent states `[N, latents]`, as `[N, inputs]`."""
        return self.from_top((latent @ self._unit().t()).relu())

    @torch.no_grad()
    def from_top(self, activity: Tensor) -> Tensor:
        """Return the samples generated from top activity `[N, n]`, as `[N, inputs]`."""
        for index in reversed(range(len(self.layers))):
            made_of = self._direction(activity)
            activity = self._predicted(self.layers[index], made_of, sample=index == 0)
        return activity

    def _unit(self) -> Tensor:
        """Return the latent state's weights, with columns of length 1."""
        return nn.functional.normalize(self.latent, dim=0)

    def _predicted(self, weight: Tensor, made_of: Tensor, *, sample: bool) -> Tensor:
        return (made_of @ weight.t()).clamp(min=0.0, max=self.top if sample else None)


@dataclass(frozen=True)
class LatentPrior:
    """A mixture of Gaussians over latent states for each class.

    Attributes:
        mixtures: a fitted `sklearn.mixture.GaussianMixture` for each class.
    """

    mixtures: Mapping[int, Any]

    @classmethod
    def fit(
        cls, latents: Tensor, labels: Tensor, *, components: int = 5, seed: int = 0
    ) -> LatentPrior:
        """Fit a mixture to each class's latent states.

        Args:
            latents: `[N, latents]`.
            labels: `[N]`.
            components: number of Gaussians per class, at most the number of its samples.
            seed: seed of the fit and of later draws.
        """
        from sklearn.mixture import GaussianMixture

        mixtures = {}
        for label in sorted(set(labels.tolist())):
            members = latents[labels == label].double().cpu().numpy()
            mixtures[label] = GaussianMixture(
                min(components, len(members)), random_state=seed, reg_covar=1e-4
            ).fit(members)
        return cls(mixtures)

    def sample(self, labels: Tensor) -> Tensor:
        """Draw a latent state for each label, float32 `[N, latents]`.

        Raises:
            SigpropError: if the fit had no samples of a label.
        """
        drawn: dict[int, list[Any]] = {}
        for label in sorted(set(labels.tolist())):
            if label not in self.mixtures:
                raise SigpropError(
                    f"label {label} has no latent states; expected one of {sorted(self.mixtures)}"
                )
            count = int((labels == label).sum())
            drawn[label] = list(self.mixtures[label].sample(count)[0])
        rows = [torch.from_numpy(drawn[label].pop()) for label in labels.tolist()]
        return torch.stack(rows).float()
