"""Small parts that go around any neuron: refractory period, voltage floor, noise."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.arguments import whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.checks import check_number, check_positive
from sigprop_snn.neurons.state import NeuronState, S, Step, with_voltage
from sigprop_snn.neurons.wrapper import Wrapper


class RefractoryState(NamedTuple):
    """The state of a refractory neuron.

    Attributes:
        inner: the state of the inner neuron.
        waiting: the number of steps in which the neuron can't fire, `[B, ...]`.
    """

    inner: NeuronState
    waiting: Tensor

    @property
    def voltage(self) -> Tensor:
        """The membrane voltage after the reset, `[B, ...]`."""
        return self.inner.voltage


class Refractory(Wrapper[RefractoryState]):
    """Any neuron with an absolute refractory period (Gerstner and Kistler 2002, section 4.1).

    For `steps` steps after a spike the voltage keeps its value after the reset and the neuron does
    not fire; synaptic currents and adaptation continue. Refractory is the outermost part.

    Args:
        neuron: the neuron model.
        steps: length of the period, in steps.

    Raises:
        SigpropError: if `steps` is not a whole number from 0, or the neuron is refractory or
            snnTorch's.
    """

    changes_spikes = True

    def __init__(self, neuron: Neuron, steps: int = 2) -> None:
        super().__init__(neuron)
        self.steps = whole(f"steps of {type(self).__name__}", steps, 0)
        self.linear = False

    def initial_state(self, current: Tensor) -> RefractoryState:
        """Return the inner neuron's state at rest, ready to fire."""
        return RefractoryState(self.neuron.initial_state(current), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: RefractoryState) -> RefractoryState:
        """Integrate the inner neuron, and keep the voltage of neurons that wait."""
        moved = self.neuron._checked_integrate(current, state.inner)
        voltage = torch.where(state.waiting > 0, state.voltage, moved.voltage)
        return state._replace(inner=with_voltage(moved, voltage))

    def filter(self, current: Tensor, state: RefractoryState) -> RefractoryState:
        """Return the effect of the current alone on a neuron that does not wait."""
        return state._replace(inner=self.neuron.filter(current, state.inner))

    def reset(self, state: RefractoryState, spike: Tensor) -> RefractoryState:
        """Reset the inner neuron; neurons that fired begin to wait."""
        remaining = (state.waiting - 1.0).clamp(min=0.0)
        waiting = torch.where(spike > 0, float(self.steps), remaining)
        return RefractoryState(self.neuron.reset(state.inner, spike), waiting)

    def step(
        self, current: Tensor, state: RefractoryState, *, detach_spikes: bool = False
    ) -> Step[RefractoryState]:
        """Advance one time step; neurons that wait do not fire."""
        state = self._checked_integrate(current, state)
        spike = self.fire(state.voltage)
        spike = spike * (state.waiting <= 0).to(spike.dtype)
        spike = spike.detach() if detach_spikes else spike
        return Step(spike, state.voltage, self.reset(state, spike))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"steps={self.steps}"


class VoltageFloor(Wrapper[S]):
    """Any neuron with a lowest voltage, as if inhibition had its reversal potential there.

    Args:
        neuron: the neuron model.
        floor: the lowest voltage, in the unit of the model, below its threshold. For an adaptive
            neuron it is the lowest voltage minus adaptation.

    Raises:
        SigpropError: if the floor is not below the threshold.
    """

    def __init__(self, neuron: Neuron[S], floor: float = -1.0) -> None:
        super().__init__(neuron)
        self.floor = check_number(self, "floor", floor)
        if not bool((torch.as_tensor(self.threshold) > self.floor).all()):
            raise SigpropError(
                f"floor of VoltageFloor is {floor}; expected a number below the threshold "
                f"{self.threshold}"
            )
        self.linear = False

    def integrate(self, current: Tensor, state: S) -> S:
        """Integrate the inner neuron, and raise voltages below the floor to it."""
        moved = super().integrate(current, state)
        return with_voltage(moved, moved.voltage.clamp(min=self.floor))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"floor={self.floor}"


class GaussianNoise(Wrapper[S]):
    """Any neuron with Gaussian noise added to its voltage at each step.

    The noise belongs to the model, in training and in evaluation, and comes from torch's random
    state. The voltage stays a linear filter of the current, plus filtered noise.

    Args:
        neuron: the neuron model.
        sigma: standard deviation of the noise of one step, in the unit of the model.

    Raises:
        SigpropError: if sigma is negative or not finite.
    """

    def __init__(self, neuron: Neuron[S], sigma: float = 0.1) -> None:
        super().__init__(neuron)
        self.sigma = check_number(
            self, "sigma", sigma, "a number from 0", lambda x: 0 <= x < math.inf
        )

    def integrate(self, current: Tensor, state: S) -> S:
        """Integrate the inner neuron, and add noise to the voltage."""
        moved = super().integrate(current, state)
        return with_voltage(moved, moved.voltage + self.sigma * torch.randn_like(moved.voltage))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"sigma={self.sigma}"


class EscapeNoise(Wrapper[S]):
    """Any neuron that fires at random, with probability sigmoid((U - threshold) / width).

    Escape noise with a logistic escape rate (Gerstner and Kistler 2002, section 5.3).

    Args:
        neuron: the neuron model.
        width: the width of the sigmoid, in the unit of the model.

    Raises:
        SigpropError: if the width is not a positive number, or the neuron is snnTorch's.
    """

    changes_spikes = True

    def __init__(self, neuron: Neuron[S], width: float = 0.1) -> None:
        super().__init__(neuron)
        self.width = check_positive(self, "width", width)

    def fire(self, voltage: Tensor) -> Tensor:
        """Return random spikes for a membrane voltage: the threshold has logistic noise."""
        # float32, because uniform numbers of half precision are often exactly 0 or 1.
        uniform = torch.rand(voltage.shape, device=voltage.device)
        noise = torch.logit(uniform, eps=1e-7).to(voltage.dtype)
        return super().fire(voltage + self.width * noise)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"width={self.width}"
