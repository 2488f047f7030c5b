"""Online learning: an update every few steps; only traces of the past are stored.

With constant resets the voltage is a linear filter of the input. The presynaptic trace, a tensor of
the input's shape, therefore holds everything that past steps add to the gradient of the present
voltage. Memory does not grow with the number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.contracts import Learned, Response, Stage, Update
from sigprop_snn.layers.gradient_paths import (
    centred_current,
    unrolled,
    voltage_from_trace,
    with_gradient_of,
)
from sigprop_snn.layers.hooks import fire
from sigprop_snn.layers.layer_pass import as_spikes, layer_pass
from sigprop_snn.layers.parameters import first_parameter
from sigprop_snn.network.checks import as_constant
from sigprop_snn.network.every_step import EveryStep
from sigprop_snn.network.network import Network, Optimizers
from sigprop_snn.network.past import Past, Trace
from sigprop_snn.neurons import Neuron, map_state
from sigprop_snn.neurons.engines import Run, Spikes
from sigprop_snn.neurons.stepwise import with_contexts
from sigprop_snn.rules.signal_propagation import (
    SignalPropagation,
    compared,
    learning_stages,
    report,
)
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
        window = None if window is None else whole("window", window)
        self.network = network
        self.window = window
        self._past: dict[str, Past] = {}
        self._kind: tuple[torch.dtype, torch.device] | None = None  # of the weights, at the start
        self._parts: list[tuple[LayerRule, Neuron]] = []  # of the blocks, at the start
        self._every_step: EveryStep | None = None
        self._present_parts()  # refuses a rule or a signal that can't learn online

    @property
    def layer_rule(self) -> LayerRule:
        """The rule of every block that has none of its own.

        Raises:
            SigpropError: if the network's rule is not local.
        """
        rule = self.network.rule
        if not isinstance(rule, SignalPropagation):
            raise SigpropError(
                f"rule {type(rule).__name__} can't learn at every step; expected a rule "
                "of signal propagation (voltage, surrogate), or one update for each batch"
            )
        return rule.layer_rule

    def reset(self) -> None:
        """Forget the past; the next step starts from rest."""
        self._past.clear()

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the class scores `[B, C]` after the next steps `[T, B, ...]`, without learning.

        The network's state advances.
        """
        self.network.check_inputs(inputs)
        self._check_kind()
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
        return self._learn_parts(inputs, labels, update, None)

    def learn_in_parts(
        self,
        inputs: Tensor,
        labels: Tensor,
        update: Update | Optimizers | None = None,
        *,
        every: int,
    ) -> Learned:
        """Pass the next steps through with an update every few steps; report the last part.

        The inputs are checked once.

        Args:
            inputs: the next steps, `[T, B, ...]`, with the same B rows as the steps before.
            labels: the present class of each row, `[B]`.
            update: as in `Network.learn`.
            every: number of steps between two updates.
        """
        return self._learn_parts(inputs, labels, update, whole("every", every))

    def _learn_parts(
        self,
        inputs: Tensor,
        labels: Tensor,
        update: Update | Optimizers | None,
        every: int | None,
    ) -> Learned:
        """Learn in parts of so many steps; in one part if there is no number."""
        network = self.network
        network.check_batch(inputs, labels)
        self._check_kind()
        with network.learning(update) as call:
            labels = as_constant(labels).long()
            # A block's synapse or loss may be another one since the last steps.
            self._every_step = EveryStep.of(network, self.layer_rule)
            *before, last = torch.split(network.entering(inputs), every or len(inputs))
            for part in before:
                for _ in self._learn(part, labels, call):
                    pass
                # Autocast keeps the weights it has cast until its context ends.
                torch.clear_autocast_cache()
            return report(network, self._learn(last, labels, call))

    def _check_kind(self) -> None:
        """Check that the network has the dtype, the device, the rules and neurons of the past.

        Raises:
            SigpropError: if it has another.
        """
        weights = first_parameter(self.network)
        kind = None if weights is None else (weights.dtype, weights.device)
        parts = self._present_parts()
        if not self._past:
            self._kind, self._parts = kind, parts
        elif parts != self._parts:
            raise SigpropError(
                "the rule or the neuron of a block is not that of the steps before; expected the "
                "same blocks, or a reset"
            )
        elif kind is not None and kind != self._kind:
            dtype, device = self._kind or kind
            raise SigpropError(
                f"the network is {kind[0]} on {kind[1]} after steps in {dtype} on {device}; "
                "expected the same, or a reset"
            )

    def _present_parts(self) -> list[tuple[LayerRule, Neuron]]:
        """Return the rule and the neuron of every block; their past is of no use to others.

        Raises:
            SigpropError: if the network's rule or signal can't learn online.
        """
        signal, layer_rule = self.network.signal, self.layer_rule
        if signal.per_sample or signal.answers != "classes":
            raise SigpropError(
                f"can't learn online with {type(signal).__name__}: its contexts change "
                "from part to part; expected one context per class, shared by all samples"
            )
        return [(block.rule or layer_rule, block.neuron) for block in self.network.each_block()]

    def _learn(self, inputs: Tensor, labels: Tensor, update: Update | None) -> Iterator[Stage]:
        """Yield the stages of the next steps, each when its layer has learned."""
        network, every_step = self.network, self._every_step
        if every_step is None or not every_step.takes(inputs, self._past):
            yield from learning_stages(self._stages(inputs, labels), update)
            return
        entry = network.signal.enter(inputs, labels)
        names = () if network.readout is None else network.readout.names(network.named_blocks())
        sent: dict[str, Tensor] = {}
        for stage, spikes in every_step.stages(entry, update, self._past, self.window):
            if stage.name in names:
                sent[stage.name] = spikes[: entry.samples].unsqueeze(0)
            yield stage
        if network.readout is not None:
            yield from learning_stages([self._read([sent[name] for name in names], entry)], update)

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
        network = self.network
        rule = block.rule if block.rule is not None else self.layer_rule
        contexts = entry.contexts if name == "block1" else None
        observed_rows = entry.observed_rows if learn and block.training else 0
        past = self._past.get(name)
        if past is None:
            closed = block.neuron.closed_form and block.is_affine
            if name == "block1" and contexts is None:  # rows of the input that the signal learns
                closed = closed and not any(p.requires_grad for p in network.signal.parameters())
            past = self._past[name] = Past(closed)
        past.check_rows(name, inputs.shape[1:])
        if learn and not past.closed:
            current = centred_current(block, inputs.dense(), contexts, observed_rows)
            driven = with_contexts(current, contexts)
            ran, voltage = unrolled(block.neuron, driven, (), past.state)
        else:
            record = () if rule.uses_mean_voltage else ("voltage",)
            ran = block.run(
                inputs, past.state, contexts=contexts, observed_rows=observed_rows, record=record
            )
            voltage = ran.recorded.get("voltage", ran.mean_voltage.unsqueeze(0))
        weight = past.count(inputs.shape[0], self.window)
        if past.closed:
            _follow(past, block, inputs, ran, weight, keep=not rule.uses_mean_voltage)
        past.state, past.spike = map_state(torch.detach, ran.state), ran.spike[-1]
        if rule.uses_mean_voltage:
            mean = past.average(ran.mean_voltage, weight)
            if learn and past.closed:
                mean = _from_trace(past, block, contexts, entry.samples)
            elif learn:
                mean = with_gradient_of(voltage.mean(0), mean)
            return Response(ran, rule.represent(mean.unsqueeze(0), block.neuron))
        if learn and past.closed:
            voltage = _with_traces(voltage, past, block, contexts, entry.samples)
        newest = rule.represent(voltage, block.neuron)
        return Response(ran, with_gradient_of(newest, past.average(newest.detach(), weight)))

    def _read(self, sent: Sequence[Tensor], entry: Entry) -> Stage:
        """Advance the readout; its score is its mean voltage so far."""
        readout = self.network.readout
        assert readout is not None
        past = self._past.setdefault("readout", Past(closed=True))
        flat = readout.side_by_side(sent)
        weight = past.count(len(flat), self.window)
        trace = past.input_trace = past.input_trace or Trace(readout.neuron, flat[0])
        trace.add(flat, weight)
        scores = trace.gain * readout.synapse(trace.mean)
        fire("readout", readout, (trace.mean,), scores)
        answers = entry.answers
        loss = readout.loss(scores, answers) if answers is not None else None
        return Stage("readout", scores, loss, None, answers)


def _follow(
    past: Past, block: Block, inputs: Spikes, ran: Run, weight: float, *, keep: bool
) -> None:
    """Take the newest steps into the presynaptic traces of a block with a closed form."""
    values = inputs.dense()
    past.input_trace = past.input_trace or Trace(block.neuron, values[0])
    past.input_trace.add(values, weight, keep_steps=keep)
    if block.neuron.recurrence is not None:
        last = past.spike if past.spike is not None else torch.zeros_like(ran.spike[0])
        delayed = torch.cat([last.unsqueeze(0), ran.spike[:-1]])
        past.recurrent_trace = past.recurrent_trace or Trace(block.neuron, delayed[0])
        past.recurrent_trace.add(delayed, weight, keep_steps=keep)


def _from_trace(past: Past, block: Block, contexts: Tensor | None, samples: int) -> Tensor:
    """Return the mean voltage so far, `[N, ...]`, with the gradient from the mean trace."""
    assert past.input_trace is not None and past.mean is not None
    recurrent = past.recurrent_trace.mean if past.recurrent_trace is not None else None
    trace = past.input_trace
    return voltage_from_trace(
        block, trace.mean, trace.gain, past.mean, contexts, recurrent, samples=samples
    )


def _with_traces(
    voltage: Tensor, past: Past, block: Block, contexts: Tensor | None, samples: int
) -> Tensor:
    """Return the newest voltages `[T, N, ...]` with the gradient from the trace of each step."""
    assert past.input_trace is not None
    steps = []
    for step, (trace, gain) in enumerate(past.input_trace.newest):
        divisor = gain or 1.0  # 0 where no current has reached the membrane yet
        recurrent = None
        if past.recurrent_trace is not None:
            recurrent = past.recurrent_trace.newest[step][0] / divisor
        steps.append(
            voltage_from_trace(
                block, trace / divisor, gain, voltage[step], contexts, recurrent, samples=samples
            )
        )
    return torch.stack(steps)


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
    return Online(network).learn_in_parts(inputs, labels, update, every=every)
