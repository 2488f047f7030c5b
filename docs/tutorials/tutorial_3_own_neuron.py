"""
A neuron of your own
====================

A neuron model is one function: from the current and the state to the next state. Everything else
works with it: running it through time, recording, learning, plots and checkpoints.
"""

# %%
# The model
# ---------
# This neuron leaks faster above half its threshold. A model overrides ``integrate`` and, if they
# differ, ``fire`` or ``reset``.

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

import sigprop_snn as sp


class DoubleLeak(sp.Neuron):
    """A neuron that leaks faster above half its threshold."""

    def integrate(self, current: Tensor, state: sp.State) -> sp.State:
        """Let the voltage leak and add the current."""
        beta = torch.where(state.voltage > 0.5 * self.threshold, 0.7, 0.95)
        return sp.State(beta * state.voltage + current)


# %%
# Run it
# ------
# ``sp.run`` takes any neuron through a current ``[T, B, ...]``. Here it is beside LIF, under the
# same current of 60 steps.

current = torch.zeros(60, 1, 1)
current[8:50] = 0.32
traces = {}
for name, neuron in {"LIF": sp.LIF(beta=0.9), "DoubleLeak": DoubleLeak()}.items():
    ran = sp.run(neuron, current, record=["voltage"])
    traces[name] = (ran.recorded["voltage"].flatten().detach(), ran.spike.flatten().detach())
sp.plots.neuron_comparison(traces, current.flatten())

# %%
# A surrogate of your own
# -----------------------
# A surrogate is a smooth function ``f`` and its derivative ``df``. ``u`` is the voltage minus the
# threshold. The surrogate rule compares ``f`` of the voltages of the two streams.


@dataclass(frozen=True)
class Cubic(sp.Surrogate):
    """f(u) rises as a smoothstep between -width and width."""

    width: float = 1.0

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        s = (0.5 + 0.5 * u / self.width).clamp(0, 1)
        return s * s * (3 - 2 * s)

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        s = (0.5 + 0.5 * u / self.width).clamp(0, 1)
        return 3 * s * (1 - s) / self.width


u = torch.linspace(-3, 3, 200)
shown = {"cubic": Cubic(2.0), "fast sigmoid": sp.FastSigmoid(), "arctan": sp.Arctan()}
sp.plots.surrogate_comparison({name: (s.f(u), s.df(u)) for name, s in shown.items()}, u)

# %%
# Learn with both
# ---------------
# The builders take a class, a function or an instance as ``neuron=``. ``DoubleLeak`` is not linear,
# so it has no closed form: each block learns from its own dynamics, unrolled in time. A warning
# says this once.

torch.manual_seed(0)
data = sp.load("digits", steps=8, batch_size=32, train_samples=800)
network = sp.mlp(
    data.shape,
    len(data.classes),
    hidden=(100, 100),
    neuron=partial(DoubleLeak, surrogate=Cubic(width=2.0)),
    rule=sp.SurrogateRule(),
)
optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
for _ in range(3):
    for x, labels in data.train:
        network.learn(x, labels, optimizers.step)
print(f"test accuracy {100 * sp.evaluate(network, data.test).accuracy:.1f} %")

# %%
# The closed form for a linear model
# ----------------------------------
# A model that is linear in its state and its current sets ``linear = True``. It then learns by one
# product with the mean presynaptic trace; see :doc:`/explanation/closed_form`.


class SlowLeak(sp.Neuron):
    """Leaks by two per cent a step."""

    linear = True

    def integrate(self, current: Tensor, state: sp.State) -> sp.State:
        """Let the voltage leak and add the current."""
        return sp.State(0.98 * state.voltage + current)


network = sp.mlp(data.shape, len(data.classes), hidden=(100, 100), neuron=SlowLeak)
optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
for _ in range(3):
    for x, labels in data.train:
        network.learn(x, labels, optimizers.step)
print(f"test accuracy {100 * sp.evaluate(network, data.test).accuracy:.1f} %")
