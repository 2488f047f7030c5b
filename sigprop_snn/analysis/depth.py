"""The measures of every block, from which one sees whether a deeper block adds something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.analysis.separability import ridge_probe, spike_counts
from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.contracts import Stage
from sigprop_snn.layers.scoring import correct
from sigprop_snn.losses.similarity import streams
from sigprop_snn.monitors.mean_input import mean_input_shares
from sigprop_snn.network import LocalLoss, Network, WeightedSum
from sigprop_snn.network.mode import evaluation_mode
from sigprop_snn.neurons import Neuron

Batches = Sequence[tuple[Tensor, Tensor]]
_PROBE_GRID = 4  # positions per side of the maps that a probe reads
_GRID = 7  # positions per side that a loss compares, if it has no grid


@dataclass(frozen=True)
class BlockProfile:
    """The measures of one block.

    Attributes:
        name: "block1" for the first block.
        context_accuracy: fraction of the held-out samples whose nearest context is that of their
            class; None if the block compares no contexts.
        probe_accuracy: accuracy of a linear probe on the block's output, averaged over the steps
            and to at most 4x4 positions, on the held-out samples.
        spike_rate: spikes per neuron and step; for graded neurons the fraction that is active.
        context_cosine: mean cosine of the contexts with each other, as the loss compares them;
            None without shared contexts.
        context_rank: effective rank of the contexts less their mean: the exponential of the
            entropy of the singular values (Roy and Vetterli 2007), at most C - 1; None without
            shared contexts.
        mean_input_share: see `mean_input_shares`; None if the block has no local loss.
    """

    name: str
    context_accuracy: float | None
    probe_accuracy: float
    spike_rate: float
    context_cosine: float | None
    context_rank: float | None
    mean_input_share: float | None


def depth_profile(network: Network, fitted: Batches, held_out: Batches) -> tuple[BlockProfile, ...]:
    """Return the measures of every block.

    The network is in evaluation mode; its state is restored afterwards.

    Args:
        network: the network.
        fitted: batches `(x [T, B, ...], labels [B])` of training samples, which fit the probes. The
            first batch gives the gradients.
        held_out: batches of other samples, which give the accuracies and the spike rates.

    Raises:
        SigpropError: if there are no batches, the samples to fit have one class, or the network's
            answers are no classes.
    """
    instance("network", network, Network, "a Network")
    if network.signal.answers != "classes":
        raise SigpropError(
            f"the targets of {type(network.signal).__name__} are {network.signal.answers}; "
            "expected classes, one for each sample"
        )
    for kind, batches in (("fitted", fitted), ("held_out", held_out)):
        instance(kind, batches, Sequence, "a list of batches (x [T, B, ...], labels [B])")
    if not fitted or not held_out:
        raise SigpropError("depth_profile got no batches; expected at least one of each kind")
    device = next(network.parameters()).device
    features, labels = spike_counts(network, fitted, grid=_PROBE_GRID)
    held_features, held_labels = spike_counts(network, held_out, grid=_PROBE_GRID)
    seen = _tallies(network, held_out)
    shares = mean_input_shares(network, *fitted[0])
    profiles = []
    for name, tally in seen.items():
        fit, held = features.pop(name).to(device), held_features.pop(name).to(device)
        probe = ridge_probe(fit, labels.to(device), held, held_labels.to(device))
        likeness = None if tally.contexts is None else context_likeness(tally.contexts)
        profiles.append(
            BlockProfile(
                name,
                tally.context_accuracy,
                probe,
                tally.spike_rate,
                None if likeness is None else likeness[0],
                None if likeness is None else likeness[1],
                shares.get(name),
            )
        )
    return tuple(profiles)


def context_likeness(contexts: Tensor) -> tuple[float, float]:
    """Return the mean cosine between contexts `[C, D]`, and their effective rank without the mean.

    The contexts have length 1 before the mean is taken off.
    """
    unit = F.normalize(contexts.double(), dim=1)
    count = len(unit)
    cosines = unit @ unit.t()
    mean = (cosines.sum() - cosines.trace()) / max(count * (count - 1), 1)
    values = torch.linalg.svdvals(unit - unit.mean(0))
    fractions = values / values.sum().clamp(min=1e-12)
    entropy = torch.special.entr(fractions).sum()
    return float(mean), float(entropy.exp())


@torch.no_grad()
def _tallies(network: Network, batches: Batches) -> dict[str, _Tally]:
    """Return what every block did on the batches."""
    device = next(network.parameters()).device
    blocks = dict(network.named_blocks())
    found: dict[str, _Tally] = {}
    with evaluation_mode(network):
        for samples, targets in network.checked(batches):
            for stage in network.stages(samples):
                if stage.response is None:
                    continue
                block = blocks[stage.name]
                tally = found.setdefault(stage.name, _Tally(device))
                tally.add(stage, block.neuron, targets, len(samples))
                both = stage.response.representation
                if both is None or stage.scores is None or network.signal.per_sample:
                    continue  # it compares no contexts that all samples share
                if tally.contexts is None:
                    tally.keep_contexts(_as_compared(network.loss_of(block), both, len(targets)))
    return found


def _as_compared(loss: LocalLoss, both: Tensor, samples: int) -> Tensor:
    """Return the contexts as rows that the loss compares, `[C, D]`."""
    losses = [term.loss for term in loss.terms] if isinstance(loss, WeightedSum) else [loss]
    grid = next((each.grid for each in losses if hasattr(each, "grid")), _GRID)
    first, contexts = both.tensor_split([samples])
    return streams(first, contexts, grid).contexts


class _Tally:
    """Sums over batches; they stay on the device until they are asked for."""

    def __init__(self, device: torch.device) -> None:
        self.contexts: Tensor | None = None
        self._predicts = False
        self._right = torch.zeros((), dtype=torch.int64, device=device)
        self._active = torch.zeros((), dtype=torch.float64, device=device)
        self._samples = 0
        self._places = 0

    def add(self, stage: Stage, neuron: Neuron, targets: Tensor, steps: int) -> None:
        """Add a block's stage of a batch of so many steps."""
        assert stage.response is not None  # it is a block's
        rows, ran = len(targets), stage.response.run
        counts = ran.spike_count[:rows]
        graded = neuron.graded  # its activity is no count
        self._active += ran.spike[:, :rows].ne(0).sum() if graded else counts.double().sum()
        self._samples += rows
        self._places += counts.numel() * steps
        if stage.scores is not None:
            self._predicts = True
            self._right += correct(stage.scores, targets).sum()

    def keep_contexts(self, contexts: Tensor) -> None:
        """Keep the contexts `[C, D]`, which are the same in every batch."""
        self.contexts = contexts

    @property
    def context_accuracy(self) -> float | None:
        return float(self._right) / self._samples if self._predicts else None

    @property
    def spike_rate(self) -> float:
        return float(self._active) / self._places
