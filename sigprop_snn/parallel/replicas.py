"""Data in parallel: replicas of the same blocks learn from shards of a batch, as from the whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.contracts import Update
from sigprop_snn.layers.norm import RunningMean, RunningNorm, RunningScale
from sigprop_snn.network import Network
from sigprop_snn.parallel.failure import named_losses
from sigprop_snn.shard import Shard

_SHARED = (RunningScale, RunningNorm, RunningMean)  # their statistics are those of the whole batch


class Replicas:
    """The ranks that run the same blocks.

    Args:
        group: their process group.
        timeout: seconds after which a rank that does not answer is lost.
        device: where counts are summed.
        alone: whether this rank is the only one.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None,
        timeout: float,
        device: torch.device,
        *,
        alone: bool = False,
    ) -> None:
        self.group = group
        self.device = device
        self.count = 1 if alone else dist.get_world_size(group)
        self.index = 0 if alone else dist.get_rank(group)
        self.timeout = timeout
        self.seconds = 0.0
        ranks = [] if alone else dist.get_process_group_ranks(group)
        self._peers = f"one of the replicas, which are ranks {', '.join(map(str, ranks))}"

    def close(self) -> None:
        """End the process group of these ranks."""
        if self.count > 1:
            dist.destroy_process_group(self.group)

    def rows(self, own: int) -> list[int]:
        """Return the number of rows of every replica."""
        if self.count == 1:
            return [own]
        counts = torch.zeros(self.count, dtype=torch.int64, device=self.device)
        counts[self.index] = own
        return [int(rows) for rows in self.add(counts)]

    def highest(self, number: int) -> int:
        """Return the highest number of all replicas."""
        return max(self.rows(number))

    def shard(self, rows: Sequence[int]) -> Shard:
        """Return this replica's shard of a batch, given the number of rows of every replica."""
        first, own, total = sum(rows[: self.index]), rows[self.index], sum(rows)

        def gather(values: Tensor) -> Tensor:
            gathered: Tensor = _Gather.apply(values, self, rows, total / own)
            return gathered

        return Shard(first, own, total, self.add, gather)

    def add(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over the replicas."""
        sums = values.detach().clone()
        self.wait(self.start(sums))
        return sums

    def start(self, values: Tensor) -> dist.Work:
        """Start to replace a tensor by its sum over the replicas."""
        with named_losses(self._peers, self.timeout):
            work: dist.Work | None = dist.all_reduce(values, group=self.group, async_op=True)
        assert work is not None
        return work

    def wait(self, work: dist.Work) -> None:
        """Wait for a sum.

        Raises:
            RankLostError: if a rank is lost.
        """
        begun = time.perf_counter()
        with named_losses(self._peers, self.timeout):
            work.wait(timedelta(seconds=self.timeout))
        self.seconds += time.perf_counter() - begun

    def gathered(self, values: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the rows of all replicas, given this replica's."""
        padded = values.new_zeros(max(rows), *values.shape[1:])
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in rows]
        with named_losses(self._peers, self.timeout):
            work: dist.Work | None = dist.all_gather(parts, padded, self.group, async_op=True)
        assert work is not None
        self.wait(work)
        return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])


class GradientSums:
    """Sums the gradients of each layer over the replicas, while later layers run.

    Args:
        replicas: the replicas.
        parameters: the parameters of each layer, by its name.
        weight: this replica's part of the batch.
        update: the update of a layer, called when the layer's sum is there; or none.
    """

    def __init__(
        self,
        replicas: Replicas,
        parameters: dict[str, list[nn.Parameter]],
        weight: float,
        update: Update | None,
    ) -> None:
        self._replicas = replicas
        self._parameters = parameters
        self._weight = weight
        self._update = update
        self._under_way: list[tuple[str, list[Tensor], Tensor, dist.Work]] = []

    def __call__(self, layer: str) -> None:
        """Start the sum of a layer; finish those that are there."""
        grads = [p.grad for p in self._parameters.get(layer, ()) if p.grad is not None]
        if grads:
            flat = torch.cat([grad.reshape(-1) for grad in grads]).mul_(self._weight)
            self._under_way.append((layer, grads, flat, self._replicas.start(flat)))
        elif self._update is not None:
            self._update(layer)
        while self._under_way and self._under_way[0][3].is_completed():
            self._finish_one()

    def finish(self) -> None:
        """Finish all sums, in the order in which they were started.

        Raises:
            RankLostError: if a rank is lost.
        """
        while self._under_way:
            self._finish_one()

    def _finish_one(self) -> None:
        layer, grads, flat, work = self._under_way.pop(0)
        self._replicas.wait(work)
        place = 0
        for grad in grads:
            grad.copy_(flat[place : place + grad.numel()].view(grad.shape))
            place += grad.numel()
        if self._update is not None:
            self._update(layer)


class _Gather(torch.autograd.Function):
    """The rows of all replicas; this replica's get a gradient, as in `Shard.gather`."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, replicas: Replicas, rows: Sequence[int], factor: float
    ) -> Tensor:
        ctx.first, ctx.rows, ctx.factor = sum(rows[: replicas.index]), len(values), factor
        return replicas.gathered(values.detach().contiguous(), rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        own = grads[0][ctx.first : ctx.first + ctx.rows]
        return ctx.factor * own, None, None, None


def check_shareable(network: Network) -> None:
    """Check that all running statistics of a network's blocks can be those of a whole batch.

    Raises:
        SigpropError: if a part of a block keeps others; it names the block and the part.
    """
    for name, block in network.named_blocks():
        neuron = set(block.neuron.modules())
        for module in block.modules():
            kept = [key for key, _ in module.named_buffers(recurse=False)]
            if kept and not isinstance(module, _SHARED) and module not in neuron:
                raise SigpropError(
                    f"{name} has a {type(module).__name__} with {', '.join(kept)}, which replicas "
                    "do not share; expected RunningScale, RunningNorm or no normaliser"
                )
