"""Relaxation of a network of leaky rate neurons with a loop from the output to the first block.

The blocks form a chain, x -> h1 -> h2 -> ... -> y, and one loop leads from the output units y to
the first block. In every step a layer's voltage moves by a fraction 1 - beta towards its current,
U[t] = beta U[t-1] + (1 - beta) I[t]. The layer above receives its rate f(U[t]) in the same step;
the loop has a delay of one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.parameters import add_gradient
from sigprop_snn.layers.rule import LearningNetwork
from sigprop_snn.neurons import Neuron, run
from sigprop_snn.neurons.engines import DenseSpikes, Run
from sigprop_snn.neurons.state import NeuronState, State, Step
from sigprop_snn.neurons.stepwise import is_constant

Carries = Literal["error", "output"]
"""The loop's signal: the difference between target and output, or the output."""

CARRIES: tuple[Carries, ...] = get_args(Carries)


class Target(NamedTuple):
    """The target of the output units.

    Attributes:
        rates: the target rates, `[B, C]`.
        nudge: the current per unit of error; small compared with the units' other currents.
    """

    rates: Tensor
    nudge: float


class Relaxed(NamedTuple):
    """A network's state after its last step.

    Attributes:
        raw: the current of every block above the first, before its normaliser.
        sent: the output of every block, after its pool.
        rates: the rates of every block's neurons, before the pool.
        output: voltage of the output units, `[B, C]`.
        states: the state of every block, from which the network can continue.
        steps: the rate and the voltage of every block at every step, `[T, B, ...]`; empty without
            `keep`.
    """

    raw: list[Tensor]
    sent: list[Tensor]
    rates: list[Tensor]
    output: Tensor
    states: list[NeuronState | None]
    steps: list[tuple[Tensor, Tensor]]


@torch.no_grad()
def relax(
    network: LearningNetwork,
    current: Tensor,
    loop: Tensor,
    *,
    carries: Carries = "error",
    target: Target | None = None,
    start: Relaxed | None = None,
    keep: bool = False,
) -> Relaxed:
    """Return a network's state after T steps with the given current.

    The readout's weights lead to the output units, which have the dynamics of the last block's
    neurons.

    Args:
        network: blocks of leaky rate neurons and a readout.
        current: the first block's current from the input, `[T, B, ...]`.
        loop: weights from the C output units to the N neurons of the first block, `[C, N]`.
        carries: the loop's signal; "error" is silent without a target.
        target: the target of the output units, if any.
        start: the state from which to continue; zero voltages if not given.
        keep: whether to keep every step.
    """
    assert network.readout is not None  # checked by the rule
    units = list(network.named_blocks())[-1][1].neuron
    silence = current.new_zeros(current.shape[1], loop.shape[0])
    output = units.initial_state(silence) if start is None else State(start.output)
    states: Sequence[NeuronState | None] = (
        [None for _ in network.blocks] if start is None else start.states
    )
    kept: list[list[Step]] = []
    for into in current:
        said = units.fire(output.voltage)
        pull = target.nudge * (target.rates - said) if target is not None else None
        back = said if carries == "output" else pull
        if back is not None:
            into = into + (back @ loop).view_as(into)
        raw, did, sent = _sweep(network, into, states)
        states = [step.state for step in did]
        if keep:
            kept.append(did)
        above = network.readout.synapse(sent[-1].flatten(1))
        output = units.integrate(above if pull is None else above + pull, output)
    steps = [_stacked(block) for block in zip(*kept, strict=True)]
    rates = [step.spike for step in did]
    return Relaxed(raw, sent, rates, output.voltage, [step.state for step in did], steps)


def _sweep(
    network: LearningNetwork, into: Tensor, states: Sequence[NeuronState | None]
) -> tuple[list[Tensor], list[Step], list[Tensor]]:
    """Advance every block by one step, from the first to the last.

    Args:
        network: the network.
        into: the first block's current, `[B, ...]`.
        states: the state of every block; None is the initial state.

    Returns:
        The currents above the first block before their normalisers, every block's step, and every
        block's output.
    """
    raw: list[Tensor] = []
    did: list[Step] = []
    sent: list[Tensor] = []
    for index, ((_, block), state) in enumerate(zip(network.named_blocks(), states, strict=True)):
        if index > 0:
            raw.append(block.synapse(sent[-1]))
            into = block.norm(raw[-1])
        neuron = block.neuron
        did.append(neuron.step(into, state if state is not None else neuron.initial_state(into)))
        sent.append(block.pool(did[-1].spike))
    return raw, did, sent


def held(neuron: Neuron, inputs: Tensor) -> Tensor:
    """Return a neuron's voltage after the last step of inputs `[T, B, ...]`.

    An input that is constant in time is returned unfiltered, `[B, ...]`.
    """
    if is_constant(inputs):
        return inputs[0]
    state = run(neuron, inputs).state
    voltage: Tensor = state.voltage
    return voltage


def as_run(rate: Tensor, voltage: Tensor, record: Sequence[str] = ()) -> Run:
    """Return a block's rates and voltages, both `[T, B, ...]`, as a `Run`."""
    known = {"spike": rate, "voltage": voltage, "reset_voltage": voltage}
    for name in record:
        if name not in known:
            raise SigpropError(f"can't record {name!r}; expected one of {sorted(known)}")
    return Run(
        DenseSpikes(rate),
        voltage.mean(0),
        State(voltage[-1]),
        {name: known[name] for name in record},
    )


@torch.no_grad()
def correlate(synapse: nn.Module, before: Tensor, after: Tensor) -> None:
    """Apply the Hebbian rule: subtract the batch mean of `after` times `before` from `.grad`.

    An optimizer that descends along `.grad` then adds this product to the weights.

    Args:
        synapse: a linear layer or a 2-d convolution, or a sequence that ends in one.
        before: the synapse's input, `[B, ...]`.
        after: the factor of the postsynaptic neurons, `[B, ...]`.
    """
    for module in synapse[:-1] if isinstance(synapse, nn.Sequential) else ():
        before = module(before)
    after = after.to(before)  # where one is a mean in float32, and the other of half precision
    weighted = weighted_part(synapse)
    rows = before.shape[0]
    if isinstance(weighted, nn.Conv2d):
        change = conv2d_weight(  # type: ignore[no-untyped-call]
            before, list(weighted.weight.shape), after,
            weighted.stride, weighted.padding, weighted.dilation, weighted.groups,
        )  # fmt: skip
        shift = after.sum(dim=(0, 2, 3))
    else:
        change, shift = after.t() @ before, after.sum(0)
    add_gradient(weighted.weight, change / -rows)
    if weighted.bias is not None:
        add_gradient(weighted.bias, shift / -rows)


def weighted_part(synapse: nn.Module) -> nn.Linear | nn.Conv2d:
    """Return the layer of a synapse that has the weights.

    Raises:
        SigpropError: if the Hebbian product is not defined for the synapse.
    """
    parts = list(synapse) if isinstance(synapse, nn.Sequential) else [synapse]
    last = parts[-1] if parts else synapse
    plain = all(not list(part.parameters()) for part in parts[:-1])
    padded = isinstance(last, nn.Conv2d) and (
        isinstance(last.padding, str) or last.padding_mode != "zeros"
    )
    if not isinstance(last, nn.Linear | nn.Conv2d) or not plain or padded:
        raise SigpropError(
            f"a Hebbian product is not defined for the synapse {type(last).__name__}; expected "
            "Linear or Conv2d with numeric zero padding, either a single module or last in a "
            "sequence"
        )
    return last


def check_relaxing(network: LearningNetwork, loop: Tensor, rule: str) -> None:
    """Check that a network can relax and learn by the Hebbian rule.

    Raises:
        SigpropError: if the network has no readout, a block does not send leaky rates, a synapse
            has no Hebbian product, or the loop does not match the number of classes.
    """
    if network.readout is None:
        raise SigpropError(f"{rule} needs output units, but the network has no readout")
    for name, block in network.named_blocks():
        _check_block(name, block, rule)
    weighted_part(network.readout.synapse)
    classes = network.readout.synapse.out_features
    if loop.shape[0] != classes:
        raise SigpropError(
            f"the loop of {rule} has {loop.shape[0]} output units, but the readout has {classes}; "
            "expected the same"
        )


def _check_block(name: str, block: Block, rule: str) -> None:
    if not (block.neuron.graded and block.neuron.linear):
        raise SigpropError(
            f"{rule} relaxes rates, but {type(block.neuron).__name__} in {name} sends spikes; "
            "expected leaky rate neurons, for example neuron 'leaky-rate'"
        )
    weighted_part(block.synapse)


def _stacked(steps: Sequence[Step]) -> tuple[Tensor, Tensor]:
    return torch.stack([step.spike for step in steps]), torch.stack([s.voltage for s in steps])
