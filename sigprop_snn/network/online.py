"""Online learning: an update every few steps; only traces of the past are stored.

With constant resets the voltage is a linear filter of the input. The presynaptic trace, a tensor of
the input's shape, therefore holds everything that past steps add to the gradient of the present
voltage. Memory does not grow with the number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.closed_form import unrolled, voltage_from_trace
from sigprop_snn.layers.contracts import Learned, Response, Stage, Update
from sigprop_snn.layers.hooks import fire
from sigprop_snn.layers.layer_pass import as_spikes, layer_pass
from sigprop_snn.network.checks import as_constant
from sigprop_snn.network.network import Network, Optimizers
from sigprop_snn.neurons import Neuron, map_state
from sigprop_snn.neurons.engines import Run, Spikes
from sigprop_snn.neurons.stepwise import with_contexts
from sigprop_snn.rules.signal_propagation import SignalPropagation, compared, learn_by_stages
from sigprop_snn.signals.base import Entry


class Online:
    """Passes a stream through a network and updates the network after every part.

    Each layer compares its mean representation so far. Under the voltage rule the gradient is that
    of the mean voltage so far, computed from the mean presynaptic trace so far: after the last part
    of a sample it equals the gradient of the whole sample, if the weights have not changed. Under
    the surrogate rule, and for models without a fixed linear filter, only the newest part has a
    gradient; the surrogate rule computes it with the trace of all past steps.

    Args:
        network: a network with a local rule.
        window: length in steps of the running means, for a stream without an end; older steps fade
            exponentially. Without it the means cover all past steps.

    Raises:
        SigpropError: if the network's rule is not local, the signal's contexts change from part to
            part, or the window is shorter than one step.
    """

    def __init__(self, network: Network, *, window: int | None = None) -> None:
        instance("network", network, Network, "a Network")
        if not isinstance(network.rule, SignalPropagation):
            raise SigpropError(
                f"rule {type(network.rule).__name__} can't learn online; expected a local rule"
            )
        if network.signal.per_sample or network.signal.answers != "classes":
            raise SigpropError(
                f"can't learn online with {type(network.signal).__name__}: its contexts change "
                "from part to part; expected one context per class, shared by all samples"
            )
        window = None if window is None else whole("window", window)
        self.network = network
        self.layer_rule = network.rule.layer_rule
        self.window = window
        self._past: dict[str, _Past] = {}

    def reset(self) -> None:
        """Forget the past; the next step starts from rest."""
        self._past.clear()

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the class scores `[B, C]` after the next steps `[T, B, ...]`, without learning.

        The network's state advances.
        """
        self.network.check_inputs(inputs)
        # The state that is kept must be able to take part in a later update.
        with torch.inference_mode(False), torch.no_grad():
            stages = list(self._stages(self.network.entering(inputs), None))
        return self.network.predicted({s.name: s.scores for s in stages if s.scores is not None})

    def learn(
        self, inputs: Tensor, labels: Tensor, update: Update | Optimizers | None = None
    ) -> Learned:
        """Pass the next steps `[T, B, ...]` through; every layer learns from them immediately.

        Args:
            inputs: the steps for one update, with the same B rows as the steps before.
            labels: the present class of each row, `[B]`.
            update: as in `Network.learn`.
        """
        self.network.check_batch(inputs, labels)
        with self.network.learning(update) as call:
            stages = self._stages(self.network.entering(inputs), as_constant(labels).long())
            return learn_by_stages(self.network, stages, call)

    def _stages(self, inputs: Tensor, labels: Tensor | None) -> Iterator[Stage]:
        network = self.network
        entry = network.signal.enter(inputs, labels)

        def respond(name: str, block: Block, inputs: Spikes) -> tuple[Response, Spikes]:
            response = self._respond(name, block, inputs, entry, labels is not None)
            return response, response.run.spikes.pooled(block.pool)

        spikes = as_spikes(entry.inputs)
        names = () if network.readout is None else network.readout.names(network.named_blocks())
        sent: dict[str, Tensor] = {}
        for layer in layer_pass(network.named_blocks(), network.signal, spikes, respond):
            yield compared(network, layer, entry)
            if layer.name in names:
                sent[layer.name] = layer.sent.rows(0, entry.samples).dense()
            del layer  # free its graph before the next layer runs
        if network.readout is not None and entry.samples:
            yield self._read([sent[name] for name in names], entry)

    def _respond(
        self, name: str, block: Block, inputs: Spikes, entry: Entry, learn: bool
    ) -> Response:
        """Advance one block and return its response so far."""
        rule = block.rule if block.rule is not None else self.layer_rule
        contexts = entry.contexts if name == "block1" else None
        neuron, past = block.neuron, self._past.get(name)
        closed = neuron.closed_form and block.is_affine
        observed_rows = entry.observed_rows if learn and block.training else 0
        _check_rows(name, past, inputs)
        state = past.neuron if past is not None else None
        if learn and not closed:
            current = block.current(inputs.dense(), contexts=contexts, observed_rows=observed_rows)
            ran, voltage = unrolled(neuron, with_contexts(current, contexts), (), state)
        else:
            ran = block.run(
                inputs, state, contexts=contexts, observed_rows=observed_rows, record=("voltage",)
            )
            voltage = ran.recorded["voltage"]
        now = _go_on(past, rule, block, inputs.dense(), ran, closed, self.window)
        self._past[name] = now
        if not learn:
            return Response(ran, now.representation)
        if closed:
            voltage = _with_traces(voltage, now, rule, block, contexts, entry.samples)
        if rule.uses_mean_voltage:
            newest = voltage.mean(0)
            voltage = (now.voltage + (newest - newest.detach())).unsqueeze(0)
        newest = rule.represent(voltage, neuron)
        return Response(ran, now.representation + (newest - newest.detach()))

    def _read(self, sent: Sequence[Tensor], entry: Entry) -> Stage:
        """Advance the readout; its score is its mean voltage so far."""
        readout = self.network.readout
        assert readout is not None
        past = self._past.get("readout")
        flat = readout.side_by_side(sent)
        weight = _newest_weight(past, len(flat), self.window)
        trace = _traced(readout.neuron, flat, past.inputs if past else None, weight)
        unit = _traced(readout.neuron, _ones(flat), past.unit if past else None, weight)
        steps = len(flat) + (past.steps if past is not None else 0)
        nothing = flat.new_empty(0)
        self._past["readout"] = _Past(None, steps, nothing, nothing, trace, unit, None, nothing)
        gain = float(unit.mean)
        scores = gain * readout.synapse(trace.mean / gain)
        fire("readout", readout, (trace.mean / gain,), scores)
        answers = entry.answers
        loss = readout.loss(scores, answers) if answers is not None else None
        return Stage("readout", scores, loss, None, answers)


class _Trace(NamedTuple):
    """A presynaptic trace: the filter's state, its newest steps, and its mean so far."""

    state: Any
    newest: Tensor
    mean: Tensor


class _Past(NamedTuple):
    """The past of one block.

    Attributes:
        neuron: the neuron's state.
        steps: number of past steps.
        voltage: the mean membrane voltage so far, `[N, ...]`.
        representation: the rule's representation so far, which the loss compares, `[N, ...]`.
        inputs: trace of the inputs, if the closed form applies.
        unit: trace of a constant 1.
        before: trace of the layer's previous spikes, if the layer is recurrent.
        spike: the last spikes, `[N, ...]`.
    """

    neuron: Any
    steps: int
    voltage: Tensor
    representation: Tensor
    inputs: _Trace | None
    unit: _Trace | None
    before: _Trace | None
    spike: Tensor


@torch.no_grad()
def _go_on(
    past: _Past | None,
    rule: LayerRule,
    block: Block,
    inputs: Tensor,
    ran: Run,
    closed: bool,
    window: int | None,
) -> _Past:
    """Return the past, including the newest steps."""
    steps = len(inputs)
    weight = _newest_weight(past, steps, window)
    voltage = _toward(past.voltage if past else None, ran.mean_voltage, weight)
    if rule.uses_mean_voltage:
        representation = rule.represent(voltage.unsqueeze(0), block.neuron)
    else:
        newest = rule.represent(ran.recorded["voltage"], block.neuron)
        representation = _toward(past.representation if past else None, newest, weight)
    trace = unit = before = None
    if closed:
        trace = _traced(block.neuron, inputs, past.inputs if past else None, weight)
        unit = _traced(block.neuron, _ones(inputs), past.unit if past else None, weight)
        if block.neuron.recurrence is not None:
            last = past.spike if past is not None else torch.zeros_like(ran.spike[0])
            delayed = torch.cat([last.unsqueeze(0), ran.spike[:-1]])
            before = _traced(block.neuron, delayed, past.before if past else None, weight)
    state = map_state(torch.detach, ran.state)
    total = steps + (past.steps if past is not None else 0)
    return _Past(state, total, voltage, representation, trace, unit, before, ran.spike[-1])


def _with_traces(
    voltage: Tensor,
    now: _Past,
    rule: LayerRule,
    block: Block,
    contexts: Tensor | None,
    samples: int,
) -> Tensor:
    """Return the newest voltages `[T, N, ...]` with the gradient from the traces.

    For a rule that uses the mean voltage, return the mean so far as a single step.
    """
    assert now.inputs is not None and now.unit is not None
    if rule.uses_mean_voltage:
        gain = float(now.unit.mean)
        before = now.before.mean / gain if now.before is not None else None
        driven = voltage_from_trace(
            block, now.inputs.mean / gain, gain, now.voltage, contexts, before, samples=samples
        )
        return driven.unsqueeze(0)
    return torch.stack(
        [
            voltage_from_trace(
                block,
                now.inputs.newest[step] / gain,
                gain,
                voltage[step],
                contexts,
                now.before.newest[step] / gain if now.before is not None else None,
                samples=samples,
            )
            for step, gain in enumerate(now.unit.newest.flatten().tolist())
        ]
    )


@torch.no_grad()
def _traced(neuron: Neuron, values: Tensor, past: _Trace | None, weight: float) -> _Trace:
    """Return the trace of values `[T, ...]` through the neuron's filter."""
    state = past.state if past is not None else neuron.initial_state(values[0])
    newest = []
    for value in values:
        state = neuron.filter(value, state)
        newest.append(state.voltage)
    stacked = torch.stack(newest)
    return _Trace(state, stacked, _toward(past.mean if past else None, stacked.mean(0), weight))


def _newest_weight(past: _Past | None, steps: int, window: int | None) -> float:
    """Return the weight of the newest steps in the means."""
    before = past.steps if past is not None else 0
    weight = steps / (before + steps)
    return weight if window is None else max(weight, min(1.0, steps / window))


def _toward(mean: Tensor | None, newest: Tensor, weight: float) -> Tensor:
    return newest if mean is None else torch.lerp(mean, newest, weight)


def _ones(inputs: Tensor) -> Tensor:
    # float64: the result becomes a Python float, by which tensors are divided.
    return torch.ones(inputs.shape[0], 1, dtype=torch.float64, device=inputs.device)


def _check_rows(name: str, past: _Past | None, inputs: Spikes) -> None:
    before = past.inputs.newest.shape[1:] if past is not None and past.inputs is not None else None
    if before is not None and inputs.shape[1:] != before:
        raise SigpropError(
            f"{name} got rows of shape {list(inputs.shape[1:])} after {list(before)}; "
            "expected the same rows as before, or a reset"
        )


def learn_in_parts(
    network: Network,
    inputs: Tensor,
    labels: Tensor,
    update: Update | Optimizers | None,
    every: int,
) -> Learned:
    """Learn from whole samples with an update every few steps.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        labels: `[B]`.
        update: as in `Network.learn`.
        every: number of steps between two updates.

    Returns:
        The report of the last part, with the scores and losses of the whole sample.

    Raises:
        SigpropError: if `every` is less than 1, or the rule is not local.
    """
    every = whole("every", every)
    online = Online(network)
    network.check_batch(inputs, labels)
    for start in range(0, len(inputs), every):
        learned = online.learn(inputs[start : start + every], labels, update)
    return learned
