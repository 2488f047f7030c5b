"""A learning step as one CUDA graph: the GPU runs it without waiting for Python.

A step of signal propagation is hundreds of short kernels, and a GPU computes a small network
faster than Python can start them. A graph records the kernels of one step and starts all of them
at once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Learned, Network
from sigprop_snn.training.optimizers import LocalOptimizers

_EAGER = 3  # first steps: they compile kernels and make the optimizers' state


class GraphedStep:
    """Learns from batches of one shape by replaying a CUDA graph of `network.learn`.

    The first three batches are learned from without a graph. The graph reads the labels and the
    inputs from its own tensors, so every batch is copied there; numbers that are not finite and
    labels that are out of range are not refused.

    Args:
        network: the network, on a GPU; its rule must not depend on values of the batch, which
            holds for the rules of signal propagation.
        optimizers: of an optimizer that a graph can hold, such as
            `partial(torch.optim.Adam, lr=torch.tensor(1e-3, device="cuda"), capturable=True)`. A
            schedule changes the learning rate only if the rate is a tensor.
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
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, inputs: Tensor, labels: Tensor) -> Learned:
        """Learn from a batch.

        Args:
            inputs: `[T, B, ...]` on the GPU, always of one shape; constant in time (by `expand`)
                in all batches or in none.
            labels: as `network.learn` takes them, on the GPU.

        Returns:
            The report. The next call overwrites its tensors; read it before.

        Raises:
            SigpropError: if the shape is not that of the first batch.
        """
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
        with torch.cuda.graph(graph):
            self._learned = self._learn(self._inputs, self._labels)
        self._graph = graph

    def _learn(self, inputs: Tensor, labels: Tensor) -> Learned:
        precision: AbstractContextManager[object] = nullcontext()
        if self.precision is not None:
            # Weights that are cast once and kept would outlive their update.
            precision = torch.autocast("cuda", self.precision, cache_enabled=False)
        with precision:
            return self.network.learn(inputs, labels, self.optimizers.step)
