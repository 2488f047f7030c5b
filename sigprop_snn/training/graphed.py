"""A learning step as one CUDA graph: the GPU runs it without waiting for Python.

A step of signal propagation is hundreds of short kernels, and a GPU computes a small network
faster than Python can start them. A graph records the kernels of one step and starts all of them
at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Learned, Network
from sigprop_snn.optimizers.local_optimizers import LocalOptimizers

_EAGER = 3  # first steps: they compile kernels and make the optimizers' state
_SWAPPED = ("lr", "capturable")  # settings of a parameter group that differ in a capture


class GraphedStep:
    """Learns from batches of one shape by replaying a CUDA graph of `network.learn`.

    The first three batches are learned from without a graph. The graph reads the labels and the
    inputs from its own tensors, so every batch is copied there; numbers that are not finite and
    labels that are out of range are not refused.

    A step without the graph may come between two replays, for example for a smaller last batch.
    Both change the same weights and the same state of the optimizers in place. Neither reads the
    other's gradients: a gradient exists only from the backward pass of its layer to the layer's
    update, and those of the graph are in memory that the graph alone uses.

    Args:
        network: the network, on a GPU; its rule must not depend on values of the batch, which
            holds for the rules of signal propagation.
        optimizers: of an optimizer that a graph can hold, such as
            `partial(torch.optim.Adam, lr=1e-3, fused=True)`. Schedules of the learning rate work as
            without a graph; see `GraphRates`.
        precision: the dtype of autocast, or none.

    Raises:
        SigpropError: if the network is not on a GPU of CUDA.
    """

    def __init__(
        self,
        network: Network,
        optimizers: LocalOptimizers,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        instance("network", network, Network, "a Network")
        instance("optimizers", optimizers, LocalOptimizers, "LocalOptimizers")
        device = next(network.parameters()).device
        if device.type != "cuda":
            raise SigpropError(
                f"GraphedStep got a network on {device}; expected one on a GPU of CUDA, such as "
                'network.to("cuda")'
            )
        self.network = network
        self.optimizers = optimizers
        self.precision = precision
        self._eager = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._rates = GraphRates(optimizers)
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, inputs: Tensor, labels: Tensor) -> Learned:
        """Learn from a batch.

        Args:
            inputs: `[T, B, ...]` on the GPU, always of one shape; constant in time (by `expand`)
                in all batches or in none.
            labels: as `network.learn` takes them, on the GPU.

        Returns:
            The report. The next call overwrites its tensors; read it before.

        Raises:
            SigpropError: if the shape is not that of the first batch, or a graph can't hold the
                step.
        """
        with torch.cuda.device(self._device):
            return self._step(inputs, labels)

    def _step(self, inputs: Tensor, labels: Tensor) -> Learned:
        if self._eager < _EAGER:
            self._eager += 1
            # CUDA asks that the steps before a capture run on a stream beside the default one.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                learned = self._learn(inputs, labels)
            torch.cuda.current_stream().wait_stream(self._stream)
            return learned
        if self._graph is None:
            self._capture(inputs, labels)
        if inputs.shape != self._inputs.shape or labels.shape != self._labels.shape:
            raise SigpropError(
                f"batch has inputs {list(inputs.shape)} and labels {list(labels.shape)}; expected "
                f"{list(self._inputs.shape)} and {list(self._labels.shape)}, those of the graph"
            )
        self._distinct.copy_(inputs[: len(self._distinct)])
        self._labels.copy_(labels)
        self._rates.fill()
        assert self._graph is not None
        self._graph.replay()
        return self._learned

    def _capture(self, inputs: Tensor, labels: Tensor) -> None:
        constant = inputs.stride(0) == 0
        self._distinct = (inputs[:1] if constant else inputs).clone()
        self._inputs = self._distinct.expand_as(inputs)
        self._labels = labels.clone()
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        try:
            with self._rates.in_place(), torch.cuda.graph(graph):
                self._learned = self._learn(self._inputs, self._labels)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            raise SigpropError(
                f"a CUDA graph can't hold this step ({reason}); expected learning without a graph: "
                "network.learn, --no-graph or TrainConfig(graph=False)"
            ) from error
        self._graph = graph

    def _learn(self, inputs: Tensor, labels: Tensor) -> Learned:
        precision: AbstractContextManager[object] = nullcontext()
        if self.precision is not None:
            # Weights that are cast once and kept would outlive their update.
            precision = torch.autocast("cuda", self.precision, cache_enabled=False)
        with precision:
            return self.network.learn(inputs, labels, self.optimizers.step)


class GraphRates:
    """The learning rates of optimizers as tensors, which a graph reads at every replay.

    The parameter groups keep plain numbers, which schedules change and checkpoints hold. Only
    while a graph is captured do the groups have the tensors, and `capturable`, which torch demands
    then. A rate that is a tensor already stays as it is.

    Args:
        optimizers: the optimizers.
    """

    def __init__(self, optimizers: LocalOptimizers) -> None:
        instance("optimizers", optimizers, LocalOptimizers, "LocalOptimizers")
        self._optimizers = optimizers
        self._tensors = [
            None if isinstance(group["lr"], Tensor) else _tensor_of(group["lr"], group["params"][0])
            for group in optimizers.param_groups
        ]
        self._filled = [group["lr"] for group in optimizers.param_groups]

    def fill(self) -> None:
        """Write the rates of the groups into the tensors, without waiting for the GPU."""
        for number, group in enumerate(self._optimizers.param_groups):
            tensor, rate = self._tensors[number], group["lr"]
            if tensor is not None and rate != self._filled[number]:
                tensor.fill_(rate)
                self._filled[number] = rate

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the groups the tensors for the `with` block, and their own settings after it."""
        self.fill()
        groups = self._optimizers.param_groups
        before = [{k: v for k, v in group.items() if k in _SWAPPED} for group in groups]
        try:
            for group, tensor in zip(groups, self._tensors, strict=True):
                if tensor is not None:
                    group["lr"] = tensor
                if "capturable" in group:
                    group["capturable"] = True
            yield
        finally:
            for group, own in zip(groups, before, strict=True):
                group.update(own)


def _tensor_of(rate: float, parameter: Tensor) -> Tensor:
    return torch.tensor(rate, dtype=torch.float32, device=parameter.device)
