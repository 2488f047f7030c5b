"""The readout: predicts from the spikes of the last block or of several, with a separate loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.answers import ANSWERS, Answers
from sigprop_snn.arguments import one_of, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.hooks import fire
from sigprop_snn.layers.sources import AnySources, Sources
from sigprop_snn.neurons import LeakyIntegrator, Run, run
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.neurons.filters import mean_trace_of, trace_weights
from sigprop_snn.neurons.pooling import HalvingPool
from sigprop_snn.neurons.stepwise import stepwise

READOUT = "readout"

_FEATURES = 8192
"""Features up to which a readout of several blocks learns at the full rate; chosen by trials."""


class Readout(nn.Module):
    """Leaky integrators of blocks' spikes; their mean voltages are the prediction.

    The highest voltage gives the class; a voltage above 0 predicts a label; for regression, the
    voltages are the values. Training uses the voltage rule's closed form: integrators neither
    spike nor reset, so the mean voltage equals the synapse of the mean presynaptic trace, times
    the gain.

    Args:
        features: size of what it reads of one sample; see `features_read`.
        classes: C, or the number of labels or values.
        beta: decay of the integrators per step.
        answers: "classes" trains with cross-entropy, "labels" with binary cross-entropy,
            "values" with mean squared error.
        sources: the blocks that it reads, side by side: a number counts from the last block down;
            or names.
        side: larger feature maps are halved, 2x2 by the maximum, until they have at most this many
            positions per side; all maps are read as they are if not given.

    Raises:
        UnknownNameError: if `answers` is unknown.
        SigpropError: if the sources are none or are to be added, or the side is below 1.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        beta: float = 0.9,
        *,
        answers: Answers = "classes",
        sources: AnySources = 1,
        side: int | None = None,
    ) -> None:
        super().__init__()
        one_of("answers", answers, ANSWERS)
        self.synapse = nn.Linear(
            whole("features of Readout", features), whole("classes of Readout", classes)
        )
        self.neuron = LeakyIntegrator(beta)
        self.answers = answers
        self.sources = Sources.of(sources)
        self.side = None if side is None else whole("side of Readout", side)
        if self.sources.join != "side-by-side":
            raise SigpropError(
                f"the readout joins its sources by {self.sources.join!r}; expected 'side-by-side'"
            )

    def forward(self, spikes: Tensor | Spikes) -> Tensor:
        """Return the mean voltages `[B, C]` for the spikes `[T, B, ...]` of one block."""
        return self.scores([self.read(spikes)], spikes.shape[0])

    def names(self, blocks: Iterable[tuple[str, nn.Module]]) -> tuple[str, ...]:
        """Return the names of the blocks that it reads, in the order of its features.

        Args:
            blocks: the network's blocks by name, in order.

        Raises:
            SigpropError: if there is no block of a name.
        """
        return self.sources.received(READOUT, [name for name, _ in blocks])

    def read(self, spikes: Tensor | Spikes) -> Tensor:
        """Return the mean presynaptic trace of one block's spikes `[T, N, ...]`, `[N, K]`."""
        return self.trace_of(self.pooled(spikes))

    def pooled(self, spikes: Tensor | Spikes) -> Tensor | Spikes:
        """Return one block's spikes `[T, N, ...]` as the readout reads them: in small maps."""
        for pool in self.pools(tuple(spikes.shape[2:])):
            spikes = stepwise(pool, spikes) if isinstance(spikes, Tensor) else spikes.pooled(pool)
        return spikes

    def trace_of(self, pooled: Tensor | Spikes) -> Tensor:
        """Return the mean presynaptic trace of what `pooled` returns, `[N, K]`."""
        return mean_trace_of(self.neuron, pooled).trace.flatten(1)

    def pools(self, shape: tuple[int, ...]) -> list[nn.Module]:
        """Return the pools that the output of a block passes, of this shape for one sample."""
        return [HalvingPool() for _ in range(_halvings(shape, self.side))]

    def scores(self, traces: Sequence[Tensor], steps: int) -> Tensor:
        """Return the mean voltages `[N, C]`.

        Args:
            traces: what `read` returns for every source, in their order.
            steps: T.
        """
        joined = traces[0] if len(traces) == 1 else torch.cat(list(traces), dim=1)
        self._check_features(joined.shape[-1])
        voltage: Tensor = self.gain(steps) * self.synapse(joined)
        return voltage

    @property
    def plain(self) -> bool:
        """Whether it reads the last block as it is."""
        return self.sources == Sources() and self.side is None

    @property
    def rate(self) -> float:
        """Factor on the learning rate with which it learns well if it reads several blocks.

        An update of Adam moves each weight by about the learning rate, so the voltages move further
        the more features there are. At the full rate the answers of a readout of 30,720 features go
        up and down from batch to batch and stay below those of the best block. So above 8,192
        features the factor falls as 1 / features.
        """
        return 1.0 if self.plain else min(1.0, _FEATURES / self.synapse.in_features)

    def gain(self, steps: int) -> float:
        """Return the mean voltage over T steps for a constant current of 1."""
        return trace_weights(self.neuron, steps).gain

    def side_by_side(self, parts: Sequence[Tensor]) -> Tensor:
        """Return what the readout reads of its sources at every step, `[T, N, K]`.

        Args:
            parts: the spikes of every source `[T, N, ...]`, in their order.
        """
        read = []
        for spikes in parts:
            for pool in self.pools(tuple(spikes.shape[2:])):
                spikes = stepwise(pool, spikes)
            read.append(spikes.flatten(2))
        found = torch.cat(read, dim=2)
        self._check_features(found.shape[-1])
        return found

    def _check_features(self, found: int) -> None:
        expected = getattr(self.synapse, "in_features", None)
        if expected is None:
            kind = type(self.synapse).__name__
            raise SigpropError(f"the readout's synapse is a {kind}; expected nn.Linear")
        if found != expected:
            raise SigpropError(
                f"the readout reads {found} numbers of a sample; expected {expected}, its features"
            )

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the mean voltages `[B, C]`; `answers` selects the loss."""
        if self.answers == "labels":
            return F.binary_cross_entropy_with_logits(scores, labels.to(scores))
        if self.answers == "values":
            return F.mse_loss(scores, labels.to(scores))
        return F.cross_entropy(scores, labels)

    def trace(self, *spikes: Tensor) -> Run:
        """Run the integrators step by step and record the voltages `[T, B, C]`, for plots.

        Args:
            spikes: those of every source `[T, B, ...]`, in their order.
        """
        with torch.no_grad():
            return run(self.neuron, self.synapse(self.side_by_side(spikes)), record=("voltage",))

    def extra_repr(self) -> str:
        """Return the settings for `print(readout)`."""
        sources = "" if self.sources == Sources() else f", sources={self.sources}"
        side = "" if self.side is None else f", side={self.side}"
        return f"answers={self.answers}" + sources + side


def features_read(shapes: Iterable[tuple[int, ...]], side: int | None = None) -> int:
    """Return how many numbers a readout reads of one sample.

    Args:
        shapes: the shape of every source's output, without time and batch.
        side: the readout's.
    """
    found = 0
    for channels, *sizes in shapes:
        halved = 2 ** _halvings((channels, *sizes), side)
        found += channels * math.prod(size // halved for size in sizes)
    return found


def _halvings(shape: tuple[int, ...], side: int | None) -> int:
    """Return how many 2x2 pools maps `(C, H, W)` pass; 0 for other shapes."""
    times = 0
    while side is not None and len(shape) == 3 and max(shape[1:]) > side and min(shape[1:]) > 1:
        shape = (shape[0], shape[1] // 2, shape[2] // 2)
        times += 1
    return times


class Reading:
    """What a readout receives during a pass, block by block.

    It keeps the mean trace of each block, not the spikes. Where another process ends the pass, it
    keeps the pooled spikes, which take fewer bytes.

    Args:
        readout: the readout, or none, which receives nothing.
        blocks: the network's blocks by name, in order.
        ends: whether the pass ends here.
    """

    def __init__(
        self,
        readout: Readout | None,
        blocks: Iterable[tuple[str, nn.Module]],
        *,
        ends: bool = True,
    ) -> None:
        self._readout = readout
        self._ends = ends
        names = () if readout is None else readout.names(blocks)
        self._parts: dict[str, Tensor | Spikes | None] = dict.fromkeys(names)
        self._steps = 0

    def add(self, name: str, sent: Tensor | Spikes) -> None:
        """Take what a block sends, `[T, N, ...]`, if the readout reads this block."""
        if name in self._parts:
            assert self._readout is not None
            pooled = self._readout.pooled(sent)
            self._parts[name] = self._readout.trace_of(pooled) if self._ends else pooled
            self._steps = sent.shape[0]

    @property
    def parts(self) -> dict[str, Tensor | Spikes]:
        """What it has so far, by the name of the block.

        These are mean traces `[N, K]`, or pooled spikes `[T, N, ...]` if the pass does not end
        here.
        """
        return {name: part for name, part in self._parts.items() if part is not None}

    def restore(self, parts: Mapping[str, Tensor | Spikes], steps: int) -> None:
        """Continue a pass that another process began.

        Args:
            parts: mean traces `[N, K]` or pooled spikes `[T, N, ...]`, by the name of the block.
            steps: T.
        """
        for name, part in parts.items():
            if self._ends and not isinstance(part, Tensor):
                assert self._readout is not None
                part = self._readout.trace_of(part)
            self._parts[name] = part
        self._steps = steps

    def scores(self) -> Tensor:
        """Return the readout's mean voltages `[N, C]`, at the end of the pass."""
        assert self._readout is not None
        traces = [part for part in self._parts.values() if isinstance(part, Tensor)]
        scores = self._readout.scores(traces, self._steps)
        fire(READOUT, self._readout, traces, scores)
        return scores
