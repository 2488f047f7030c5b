"""The usual local loss in closed form: rectified mean voltages, compared by their cosines.

An engine finds the loss and its gradient in one call, and the mean presynaptic trace turns this
gradient into those of the parameters. So a block needs no graph of autograd. A loss that compares
the samples among themselves, such as `Similarity`, adds its own gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.device import without_autocast
from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.contracts import Response
from sigprop_snn.layers.gradient_paths import carries_gradient
from sigprop_snn.layers.linear_current import LinearCurrent
from sigprop_snn.layers.parameters import add_gradient
from sigprop_snn.losses.base import Compared, LocalLoss, WeightedSum
from sigprop_snn.losses.dot_product import DotProductLoss
from sigprop_snn.losses.selection import Label
from sigprop_snn.losses.similarity_matching import Similarity
from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.engines import Spikes, engine_for
from sigprop_snn.neurons.engines.engine import RowComparison
from sigprop_snn.neurons.filters import mean_trace_of
from sigprop_snn.rules.voltage import VoltageRule
from sigprop_snn.shard import current_shard
from sigprop_snn.signals.base import Entry


class MeanVoltage(NamedTuple):
    """The mean voltage of a block, and what its gradient needs.

    Attributes:
        value: of the rows, then of the contexts that enter here, `[N, ...]`.
        trace: the presynaptic trace of the rows, divided by the gain, `[rows, ...]`.
        gain: the mean voltage that a constant current of 1 gives.
        mean_input: the mean trace that the weight's gradient leaves out, or none.
    """

    value: Tensor
    trace: Tensor
    gain: float
    mean_input: Tensor | None = None

    @classmethod
    def of(cls, block: Block, value: Tensor, trace: Tensor, gain: float, rows: int) -> MeanVoltage:
        """Return the mean voltage of a block.

        Args:
            block: the block.
            value: as above.
            trace: as above.
            gain: as above.
            rows: how many of the first rows give the mean trace of a centred block.
        """
        trace = trace if trace.dtype == torch.float64 else trace.float()
        mean_input = block.mean_input(trace[:rows].mean(0), rows) if block.centred else None
        return cls(value, trace, gain, mean_input)


@dataclass(frozen=True)
class Rectified:
    """A block that learns from the cosines of rectified mean voltages, with a linear current.

    Attributes:
        block: the block.
        current: its synapse and normaliser.
        loss: its local loss, or the part of it that compares with the contexts.
        weight: of this part.
        among: the whole loss, if it compares samples among themselves; or none.
        head: the module that this comparison learns, or none.
    """

    block: Block
    current: LinearCurrent
    loss: DotProductLoss
    weight: float = 1.0
    among: LocalLoss | None = None
    head: nn.Module | None = None

    @classmethod
    def of(
        cls, block: Block, rule: LayerRule, whole: LocalLoss, head: nn.Module | None = None
    ) -> Rectified | None:
        """Return the comparison of a block, or none if its rule or loss needs another path."""
        neuron = block.neuron
        weight, loss, among = 1.0, whole, None
        if type(whole) is WeightedSum:
            known = all(type(term.loss) in (DotProductLoss, Similarity) for term in whole.terms)
            scored = [term for term in whole.terms if term.loss.has_scores]
            if not known or len(scored) != 1:
                return None
            weight, loss = scored[0]
            among = whole if len(whole.terms) > 1 else None
        if (
            type(rule) is not VoltageRule
            or rule.statistic != "rectified"
            or type(loss) is not DotProductLoss
            or loss.normalise != "length"
            or loss.centred
            or type(loss.select) is not Label
            or type(neuron).depolarisation is not Neuron.depolarisation
            or (neuron.rest, neuron.unit) != (0.0, 1.0)
            or not neuron.closed_form
            or neuron.recurrence is not None
        ):
            return None
        current = LinearCurrent.of(block.synapse, block.norm)
        return None if current is None else cls(block, current, loss, weight, among, head)

    def takes(self, inputs: Spikes, contexts: Tensor | None, entry: Entry) -> bool:
        """Return whether samples are compared with contexts that all share, by one column each.

        Args:
            inputs: the input of the block, `[T, rows, ...]`.
            contexts: the contexts' current, `[C, ...]`, or none.
            entry: what enters the network.
        """
        targets = entry.targets
        return (
            targets is not None
            and targets.dim() == 1
            and not targets.is_floating_point()
            and not entry.contexts_per_sample
            and (self.among is None or current_shard() is None)
            and entry.samples > 0
            and (contexts is not None or inputs.shape[1] > entry.samples)
            and not carries_gradient(inputs)
            and self.current.takes(inputs.shape[2:])
        )

    def respond(
        self, inputs: Spikes, contexts: Tensor | None, observed_rows: int, entry: Entry
    ) -> Response:
        """Run the block and compare its streams; the response has the loss with its gradient.

        Args:
            inputs: the input of the block, `[T, rows, ...]`.
            contexts: as in `takes`.
            observed_rows: how many of the first rows the normaliser observes.
            entry: what enters the network, with targets.
        """
        assert entry.targets is not None  # `takes` saw to it
        block = self.block
        ran = block.run(inputs, contexts=contexts, observed_rows=observed_rows, keeps_state=False)
        trace, gain = mean_trace_of(block.neuron, inputs)
        rows = observed_rows or len(trace)
        mean = MeanVoltage.of(block, ran.mean_voltage, trace, gain, rows)
        apart, more = None, None
        own: tuple[Tensor | None, ...] = ()
        if self.among is not None:
            samples = mean.value[: entry.samples]
            columns = len(mean.value) - entry.samples
            apart, more, own = self.compare_samples(samples, entry.targets, columns)
        found = self.compare(mean.value, entry.samples, entry.targets, more)
        loss = found.losses.mean()
        loss = loss if apart is None else loss + apart
        return Response(
            ran,
            compared=Compared(found.scores, loss),
            backward=partial(self.backward, mean, found.grad, contexts, own),
        )

    def backward(
        self,
        mean: MeanVoltage,
        grad: Tensor,
        contexts: Tensor | None,
        own: Iterable[Tensor | None] = (),
    ) -> bool:
        """Leave the gradients of the loss in the parameters' `.grad`; return whether one learns.

        Args:
            mean: the mean voltage.
            grad: its gradient, `[N, ...]`.
            contexts: the contexts' current, `[C, ...]`, behind the rows of the trace; or none.
            own: the gradients of `learned`.
        """
        parameters, rows = self.current.parameters, len(mean.trace)
        given: list[tuple[Tensor | None, Tensor | None]] = list(zip(self.learned, own, strict=True))
        if any(p is not None and p.requires_grad for p in parameters):
            with torch.no_grad():
                found = self.current.gradients(mean.trace, grad[:rows], mean.gain, mean.mean_input)
            given += zip(parameters, found, strict=True)
        learns = [add_gradient(parameter, gradient) for parameter, gradient in given]
        if contexts is not None and contexts.requires_grad:
            contexts.backward(mean.gain * grad[rows:].to(contexts.dtype))  # type: ignore[no-untyped-call]
            return True
        return any(learns)

    @property
    def learned(self) -> list[nn.Parameter]:
        """The weights that the comparison among samples learns."""
        return [] if self.head is None or self.among is None else list(self.head.parameters())

    def compare_samples(
        self, voltage: Tensor, targets: Tensor, columns: int
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """Return the loss among samples, and its gradients.

        Args:
            voltage: the mean voltage of the samples, `[B, ...]`.
            targets: the right context of every sample, `[B]`.
            columns: number of contexts.

        Returns:
            The loss; its gradient by the rectified voltages; those by `learned`.
        """
        assert self.among is not None
        kind = voltage.device.type
        learns = voltage.dim() == 4 and self.head is not None
        autocast = learns and torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if autocast else voltage.dtype
        shown = engine_for(voltage.device).rectified(voltage, dtype).requires_grad_()
        needed = [weights for weights in self.learned if weights.requires_grad]
        with torch.enable_grad():
            loss = self.among.compare_samples(shown, targets, columns, self.head)
            assert loss is not None  # a term compares samples
            grad, *found = torch.autograd.grad(loss, [shown, *needed])
        by_weights = iter(found)
        own = tuple(next(by_weights) if w.requires_grad else None for w in self.learned)
        return loss.detach(), grad, own

    def compare(
        self, voltage: Tensor, samples: int, targets: Tensor, more: Tensor | None = None
    ) -> RowComparison:
        """Return scores and losses of the samples, and the gradient of the mean loss.

        Args:
            voltage: the mean voltage of the samples, then of the contexts, `[N, ...]`.
            samples: the number of samples.
            targets: the right context of every sample, `[samples]`.
            more: what is added to the gradient of the samples' rectified voltages, or none.
        """
        engine, loss, kind = engine_for(voltage.device), self.loss, voltage.device.type
        averages = voltage.dim() == 4 and min(voltage.shape[-2:]) > loss.grid
        autocast = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if autocast else voltage.dtype
        with torch.no_grad(), without_autocast(kind):
            maps = engine.rectified_grid_mean(voltage, loss.grid) if averages else voltage
            # Keep the channels-last order: no copy is made.
            last = maps.dim() == 4 and maps.is_contiguous(memory_format=torch.channels_last)
            features = maps.movedim(1, -1) if last else maps
            found = engine.compare_rectified(
                features.flatten(1), samples, targets, loss.scale, loss.label_smoothing
            )
            grad = found.grad.view(features.shape)
            grad = grad if self.weight == 1.0 else grad.mul_(self.weight)
            grad = grad.movedim(-1, 1) if last else grad
            if averages:
                grad = engine.rectified_grid_gradient(voltage, loss.grid, grad, more, dtype)
            elif more is not None:
                grad[:samples] += more * (voltage[:samples] > 0)
        losses = found.losses if self.weight == 1.0 else self.weight * found.losses
        return found._replace(losses=losses, grad=grad)
