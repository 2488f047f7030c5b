"""What the engines with fused kernels share: LIF, the fast sigmoid, and when the kernels run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.engines.cosines import compare_rectified, cosine_cross_entropy
from sigprop_snn.neurons.engines.engine import CosineCrossEntropy, RowComparison, Run, Scale
from sigprop_snn.neurons.engines.plain import why_not_neurons, why_not_surrogate
from sigprop_snn.neurons.engines.reference import ReferenceEngine
from sigprop_snn.neurons.filters import Geometric, geometric_response, impulse_response
from sigprop_snn.neurons.lif import LIF


class FusedEngine(ReferenceEngine, ABC):
    """An engine with one kernel over all steps for LIF, and two for the surrogate rule.

    A subclass holds the kernels, in the abstract methods.

    Attributes:
        dtypes: of the currents that its kernel of LIF takes.
    """

    dtypes: ClassVar[Sequence[torch.dtype]] = ()

    @property
    @abstractmethod
    def device(self) -> str:
        """The type of the device of its kernels."""

    @abstractmethod
    def run_lif(
        self,
        neuron: LIF,
        current: Tensor,
        state: Any,
        *,
        contexts: Tensor | None,
        scale: Scale | None,
        record: tuple[str, ...],
    ) -> Run:
        """Run LIF through a current; the arguments are those of `neurons`."""

    @abstractmethod
    def fast_sigmoid_mean(self, neuron: Neuron, voltage: Tensor) -> Tensor:
        """Return what `surrogate_mean` does: the mean of f((U[t] - threshold) / unit)."""

    @abstractmethod
    def fast_sigmoid_gradient(
        self,
        neuron: Neuron,
        voltage: Tensor,
        grad_mean: Tensor,
        response: Geometric,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return what `surrogate_gradient` does, for the fast sigmoid.

        Args:
            neuron: the model.
            voltage: its voltages, `[T, N, ...]`.
            grad_mean: the gradient of the result of `surrogate_mean`, `[N, ...]`.
            response: the membrane's response to a unit current, step by step.
            dtype: as in `surrogate_gradient`.
        """

    def neurons(
        self,
        neuron: Neuron,
        current: Tensor,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        scale: Scale | None = None,
        record: tuple[str, ...] = (),
        detach_spikes: bool = False,
    ) -> Run:
        """Run neurons through a current; LIF in one pass over time."""
        if detach_spikes or not self.takes_neurons(neuron, current, state, contexts, record):
            return super().neurons(
                neuron, current, state,
                contexts=contexts, scale=scale, record=record, detach_spikes=detach_spikes,
            )  # fmt: skip
        assert isinstance(neuron, LIF)
        return self.run_lif(neuron, current, state, contexts=contexts, scale=scale, record=record)

    def takes_neurons(
        self,
        neuron: Neuron,
        current: Tensor,
        state: Any,
        contexts: Tensor | None,
        record: tuple[str, ...],
    ) -> bool:
        """Return whether `run_lif` runs neurons through this current."""
        reason = why_not_neurons(
            neuron, current, state, contexts, record, dtypes=self.dtypes, device=self.device
        )
        return reason is None

    def surrogate_mean(self, neuron: Neuron, voltage: Tensor) -> Tensor:
        """Return the mean over time of f(U[t] - threshold), `[N, ...]`, for `[T, N, ...]`."""
        if why_not_surrogate(neuron, voltage, self.device) is not None:
            return super().surrogate_mean(neuron, voltage)
        return self.fast_sigmoid_mean(neuron, voltage.detach())

    def surrogate_gradient(
        self,
        neuron: Neuron,
        voltage: Tensor,
        grad_mean: Tensor,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the gradient of the currents `[T, N, ...]`, given that of `surrogate_mean`."""
        geometric = geometric_response(impulse_response(neuron, len(voltage)))
        if geometric is None or why_not_surrogate(neuron, voltage, self.device) is not None:
            return super().surrogate_gradient(neuron, voltage, grad_mean, dtype)
        return self.fast_sigmoid_gradient(neuron, voltage.detach(), grad_mean, geometric, dtype)

    def cosine_cross_entropy(
        self, rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
    ) -> CosineCrossEntropy:
        """Compare rows with others; the gradient in closed form."""
        return cosine_cross_entropy(rows, others, columns, scale, smoothing)

    def compare_rectified(
        self, voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
    ) -> RowComparison:
        """Compare the rectified voltages of samples and contexts; the gradient in closed form."""
        return compare_rectified(voltage, samples, columns, scale, smoothing)
