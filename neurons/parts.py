"""Small parts that go around any neuron: refractory period, voltage floor, noise."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import AnyState, Neuron, Step, positive, with_voltage
from sigprop_snn.neurons.wrapper import Wrapper


class RefractoryState(NamedTuple):
    """What a refractory neuron carries.

    Attributes:
        inner: the neuron's own state.
        waiting: the steps for which it still can't fire, `[B, ...]`.
    """

    inner: AnyState
    waiting: Tensor

    @property
    def voltage(self) -> Tensor:
        """The membrane voltage after the reset, `[B, ...]`."""
        voltage: Tensor = self.inner.voltage
        return voltage


class Refractory(Wrapper):
    """Any neuron with an absolute refractory period (Gerstner and Kistler 2002, section 4.1).

    For `steps` steps after a spike the voltage stays where the reset left it and no spike falls;
    synaptic currents and adaptation go on. It goes around the other parts.

    Args:
        neuron: the neuron model.
        steps: length of the period, in steps.

    Raises:
        SigpropError: if `steps` is negative, or the neuron is refractory or snnTorch's.
    """

    changes_spikes = True

    def __init__(self, neuron: Neuron, steps: int = 2) -> None:
        super().__init__(neuron)
        if steps < 0:
            raise SigpropError(f"steps of Refractory is {steps}; expected 0 or more")
        self.steps = steps
        self.linear = False

    def initial_state(self, current: Tensor) -> RefractoryState:
        """Return the neuron's state at rest, ready to fire."""
        return RefractoryState(self.neuron.initial_state(current), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: RefractoryState) -> RefractoryState:
        """Let the neuron integrate, and hold the voltage of those that wait."""
        moved = self.neuron.integrate(current, state.inner)
        held = torch.where(state.waiting > 0, state.voltage, moved.voltage)
        return state._replace(inner=with_voltage(moved, held))

    def filter(self, current: Tensor, state: RefractoryState) -> RefractoryState:
        """Return what the current alone does to a neuron that does not wait."""
        return state._replace(inner=self.neuron.filter(current, state.inner))

    def reset(self, state: RefractoryState, spike: Tensor) -> RefractoryState:
        """Return the neuron's state after its spikes; those that fired begin to wait."""
        passed = (state.waiting - 1.0).clamp(min=0.0)
        waiting = torch.where(spike > 0, float(self.steps), passed)
        return RefractoryState(self.neuron.reset(state.inner, spike), waiting)

    def step(self, current: Tensor, state: RefractoryState, *, detach_spikes: bool = False) -> Step:
        """Advance one time step; the spikes of those that wait fall away."""
        state = self.integrate(current, state)
        spike = self.fire(state.voltage)
        spike = spike * (state.waiting <= 0).to(spike.dtype)
        spike = spike.detach() if detach_spikes else spike
        return Step(spike, state.voltage, self.reset(state, spike))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"steps={self.steps}"


class VoltageFloor(Wrapper):
    """Any neuron whose voltage can't fall below a floor, as if an inhibition reversed there.

    Args:
        neuron: the neuron model.
        floor: the lowest voltage, in the model's own unit, below its threshold. Of an adaptive
            neuron it is that of the voltage less the adaptation.

    Raises:
        SigpropError: if the floor is not below the threshold.
    """

    def __init__(self, neuron: Neuron, floor: float = -1.0) -> None:
        super().__init__(neuron)
        if not (math.isfinite(floor) and bool((torch.as_tensor(self.threshold) > floor).all())):
            raise SigpropError(
                f"floor is {floor}; expected a number below the threshold {self.threshold}"
            )
        self.floor = floor
        self.linear = False

    def integrate(self, current: Tensor, state: AnyState) -> AnyState:
        """Let the neuron integrate, and lift what fell below the floor."""
        moved = self.neuron.integrate(current, state)
        return with_voltage(moved, moved.voltage.clamp(min=self.floor))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"floor={self.floor}"


class GaussianNoise(Wrapper):
    """Any neuron with Gaussian noise on its voltage, drawn anew at every step.

    It is part of the model, in training and in evaluation, and comes from torch's own random
    state. The voltage stays a linear filter of the current plus what the noise left.

    Args:
        neuron: the neuron model.
        sigma: standard deviation of what one step adds, in the model's own unit.

    Raises:
        SigpropError: if sigma is negative or not finite.
    """

    def __init__(self, neuron: Neuron, sigma: float = 0.1) -> None:
        super().__init__(neuron)
        if not 0 <= sigma < math.inf:
            raise SigpropError(f"sigma of GaussianNoise is {sigma}; expected 0 or more")
        self.sigma = sigma

    def integrate(self, current: Tensor, state: AnyState) -> AnyState:
        """Let the neuron integrate, and add noise to the voltage."""
        moved = self.neuron.integrate(current, state)
        noise = self.sigma * torch.randn_like(moved.voltage)
        return with_voltage(moved, moved.voltage + noise)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"sigma={self.sigma}"


class EscapeNoise(Wrapper):
    """Any neuron that fires by chance: with probability sigmoid((U - threshold) / width).

    It is the escape noise of Gerstner and Kistler 2002 (section 5.3) with a logistic escape rate,
    drawn as a threshold that jitters by logistic noise of this width.

    Args:
        neuron: the neuron model.
        width: how far from the threshold chance decides, in the model's own unit.

    Raises:
        SigpropError: if the width is not a positive number, or the neuron is snnTorch's.
    """

    changes_spikes = True

    def __init__(self, neuron: Neuron, width: float = 0.1) -> None:
        super().__init__(neuron)
        positive(width=width)
        self.width = width

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the spikes for a membrane voltage, by chance."""
        # Drawn in float32: in half precision a chance of exactly 0 or 1 is common.
        chance = torch.rand(voltage.shape, device=voltage.device)
        jitter = torch.logit(chance, eps=1e-7).to(voltage.dtype)
        return self.neuron.fire(voltage + self.width * jitter)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"width={self.width}"
