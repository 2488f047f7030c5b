"""Small networks, and an oracle that works the updates out by hand, in float64.

The oracle takes nothing from the package but the parameters: products, traces, surrogate
derivatives and sums over the steps are written out, and no autograd is used.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
    layout_of,
)
from sigprop_snn.neurons import LIF, Rate
from sigprop_snn.surrogates import FastSigmoid, Sigmoid

CLASSES, BATCH, STEPS, KAPPA = 4, 6, 5, 0.85

NEURONS = {
    "lif": lambda: LIF(0.8, surrogate=FastSigmoid(3.0)),
    "scaled lif": lambda: LIF(0.6, threshold=0.4, reset="zero", scale_current=True),
    "rate": lambda: Rate(surrogate=Sigmoid(3.0)),
}


def built(blocks, shape, current, rule) -> Network:
    layout = layout_of(blocks, shape, CLASSES)
    features = torch.Size(layout.outputs[-1]).numel()
    signal = ProjectedContext(CLASSES, current)
    readout = Readout(features, CLASSES, KAPPA)
    return Network(signal, blocks, readout, rule=rule(layout)).double()


@pytest.fixture
def dense() -> Callable[..., Network]:
    """Makes `[T, B, 7]` -> 9 -> 8 -> 4 classes."""

    def make(rule, neuron="lif", *, sizes=(7, 9, 8), seed=0) -> Network:
        torch.manual_seed(seed)
        model = NEURONS[neuron] if isinstance(neuron, str) else neuron
        blocks = [
            Block(nn.Linear(a, b), model(), norm=RunningScale(b, 1.8)) for a, b in pairwise(sizes)
        ]
        return built(blocks, (sizes[0],), (sizes[1],), rule)

    return make


@pytest.fixture
def pictures() -> Callable[..., Network]:
    """Makes `[T, B, 2, 6, 6]` -> 3 maps -> pooled -> 4 maps -> 4 classes."""

    def make(rule, neuron="lif", *, seed=0) -> Network:
        torch.manual_seed(seed)
        model = NEURONS[neuron]
        blocks = [
            Block(
                nn.Conv2d(2, 3, 3, padding=1),
                model(),
                norm=RunningNorm(3, 1.2, 0.1),
                pool=nn.AvgPool2d(2),
            ),
            Block(nn.Conv2d(3, 4, 3, padding=1), model(), norm=RunningNorm(4, 1.1, 0.1)),
        ]
        return built(blocks, (2, 6, 6), (3, 6, 6), rule)

    return make


@pytest.fixture
def network(dense, pictures) -> Callable[..., Network]:
    return lambda kind, *args, **rest: {"dense": dense, "pictures": pictures}[kind](*args, **rest)


@pytest.fixture
def batch() -> Callable[..., tuple[Tensor, Tensor]]:
    def make(kind: str = "dense", neuron: str = "lif", *, constant: bool = False, width: int = 7):
        torch.manual_seed(3)
        steps = 1 if neuron == "rate" else STEPS
        shape = (width,) if kind == "dense" else (2, 6, 6)
        x = 2 * torch.randn(1 if constant else steps, BATCH, *shape, dtype=torch.float64)
        x = x.expand(steps, *x.shape[1:]) if constant else x
        return x, torch.tensor([0, 1, 2, 3, 2, 1])

    return make


def slope(neuron, u: Tensor) -> Tensor:
    """The surrogate's derivative, by its formula."""
    k = neuron.surrogate.slope
    if isinstance(neuron, Rate):
        s = 1 / (1 + torch.exp(-k * u))
        return k * s * (1 - s)
    return 0.5 * k / (1 + k * u.abs()) ** 2


class HandBlock:
    """One block's pass, every step kept."""

    def __init__(self, block: Block, inputs: Tensor) -> None:
        self.block, self.inputs = block, inputs
        self.conv = isinstance(block.synapse, nn.Conv2d)
        self.pooled = isinstance(block.pool, nn.AvgPool2d)
        self.weight = block.synapse.weight.detach().flatten(1)
        self.patches = torch.stack([self.patch(x) for x in inputs])
        raw = torch.einsum("fk,tnkl->tnfl", self.weight, self.patches)
        self.raw = raw + block.synapse.bias.detach()[:, None]
        self._normalise()
        neuron = block.neuron
        rate = isinstance(neuron, Rate)
        self.beta = neuron.beta
        self.share = 1.0 if rate else neuron.current_gain
        carried = torch.zeros_like(self.raw[0])
        voltages, spikes = [], []
        for unit in self.unit:
            voltage = self.beta * carried + self.share * (self.gain * unit + self.shift)
            if rate:
                spike, carried = torch.sigmoid(neuron.surrogate.slope * voltage), voltage
            else:
                spike = (voltage > neuron.threshold).double()
                lost = neuron.threshold if neuron.reset_mode == "subtract" else voltage
                carried = voltage - lost * spike
            voltages.append(voltage)
            spikes.append(spike)
        self.slopes = torch.stack([slope(neuron, u - neuron.threshold) for u in voltages])
        self.spikes = torch.stack(spikes)
        side = inputs.shape[-1]
        shown = self.spikes if self.conv else self.spikes[..., 0]
        shown = shown.unflatten(-1, (side, side)) if self.conv else shown
        if self.pooled:
            blocks = shown.unfold(3, 2, 2).unfold(4, 2, 2)
            shown = blocks.mean((-1, -2))
        self.sent = shown

    def patch(self, x: Tensor) -> Tensor:
        return F.unfold(x, 3, padding=1) if self.conv else x.flatten(1)[:, :, None]

    def _normalise(self) -> None:
        norm = self.block.norm
        self.gain, self.shift = norm.gain.detach()[:, None], 0.0
        if isinstance(norm, RunningScale):
            self.scale = 1 / ((self.raw**2).mean() + 1e-6).sqrt()
            self.unit = self.raw * self.scale
        else:
            mean = self.raw.mean((0, 1, 3))[:, None]
            variance = ((self.raw - mean) ** 2).mean((0, 1, 3))[:, None]
            self.scale = 1 / (variance + 1e-6).sqrt()
            self.unit = (self.raw - mean) * self.scale
            self.shift = norm.shift.detach()[:, None]

    def unpooled(self, error: Tensor) -> Tensor:
        """The error `[T, N, ...]` of what was sent, at every spike `[T, N, F, L]`."""
        if self.pooled:
            error = error.repeat_interleave(2, 3).repeat_interleave(2, 4) / 4
        return error.reshape(self.spikes.shape)

    def through_time(self, error: Tensor) -> Tensor:
        """The error of every current, for that of every spike: back through the membrane."""
        carried = torch.zeros_like(error[0])
        found = []
        for at_step, rise in zip(error.flip(0), self.slopes.flip(0), strict=True):
            carried = at_step * rise + self.beta * carried
            found.append(self.share * carried)
        return torch.stack(found[::-1])

    def gradients(self, current_error: Tensor) -> list[Tensor]:
        """Those of weight, bias, gain (and shift), for the error of every current."""
        raw_error = current_error * self.gain * self.scale
        weight = torch.einsum("tnfl,tnkl->fk", raw_error, self.patches)
        found = [weight.view_as(self.block.synapse.weight), raw_error.sum((0, 1, 3))]
        found.append((current_error * self.unit).sum((0, 1, 3)))
        if isinstance(self.block.norm, RunningNorm):
            found.append(current_error.sum((0, 1, 3)))
        return found

    def below(self, current_error: Tensor, back: Tensor) -> Tensor:
        """The error of the inputs, by the matrix `back` in place of the weights."""
        raw_error = current_error * self.gain * self.scale
        patches = torch.einsum("fk,tnfl->tnkl", back.flatten(1), raw_error)
        if not self.conv:
            return patches[..., 0].view_as(self.inputs)
        side = self.inputs.shape[-1]
        return torch.stack([F.fold(p, (side, side), 3, padding=1) for p in patches])


class Hand:
    """A network's pass, and the gradient of its readout."""

    def __init__(self, network: Network, x: Tensor, labels: Tensor) -> None:
        self.blocks: list[HandBlock] = []
        for block in network.blocks:
            self.blocks.append(HandBlock(block, x))
            x = self.blocks[-1].sent
        synapse = network.readout.synapse
        trace = torch.zeros_like(x[0].flatten(1))
        bias = 0.0
        traces, biases, voltages = [], [], []
        for step in x:
            trace, bias = KAPPA * trace + step.flatten(1), KAPPA * bias + 1
            traces.append(trace)
            biases.append(bias)
            voltages.append(trace @ synapse.weight.detach().t() + bias * synapse.bias.detach())
        self.voltages, self.traces, self.biases = torch.stack(voltages), torch.stack(traces), biases
        self.steps, self.rows = len(voltages), len(labels)
        self.target = torch.eye(CLASSES, dtype=torch.float64)[labels]
        self.scores = self.voltages.mean(0)
        self.error = (self.softmax(self.scores) - self.target) / self.rows
        # How much the mean voltage owes to a spike at each step.
        self.owed = [
            sum(KAPPA**lag for lag in range(self.steps - t)) / self.steps for t in range(self.steps)
        ]

    @staticmethod
    def softmax(scores: Tensor) -> Tensor:
        e = torch.exp(scores - scores.max(-1, keepdim=True).values)
        return e / e.sum(-1, keepdim=True)

    def step_errors(self) -> Tensor:
        """dL/dy[t] of the mean over the steps of the cross-entropy at every step."""
        return (self.softmax(self.voltages) - self.target) / (self.rows * self.steps)

    def readout_gradients(self) -> list[Tensor]:
        return [
            self.error.t() @ self.traces.mean(0),
            self.error.sum(0) * sum(self.biases) / self.steps,
        ]

    def readout_step_gradients(self) -> list[Tensor]:
        errors = self.step_errors()
        weight = sum(e.t() @ trace for e, trace in zip(errors, self.traces, strict=True))
        bias = sum(e.sum(0) * b for e, b in zip(errors, self.biases, strict=True))
        return [weight, bias]

    def last_error(self, back: Tensor) -> Tensor:
        """The error of what the last block sent, by the matrix `back` of the readout."""
        sent = torch.stack([owed * self.error @ back for owed in self.owed])
        return sent.view_as(self.blocks[-1].sent)


@pytest.fixture
def hand() -> type[Hand]:
    return Hand


@pytest.fixture
def agree() -> Callable[[nn.Module, list[Tensor]], None]:
    """Checks the gradients of a module's parameters, in order."""

    def check(module: nn.Module, expected: list[Tensor], tolerance: float = 1e-10) -> None:
        found = [p.grad for p in module.parameters() if p.requires_grad]
        assert len(found) == len(expected) > 0
        for mine, theirs in zip(found, expected, strict=True):
            assert mine is not None
            assert theirs.abs().max() > 1e-7
            assert (mine - theirs).abs().max() < tolerance * max(1.0, float(theirs.abs().max()))

    return check
