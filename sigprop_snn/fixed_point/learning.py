"""The voltage rule in integers: local, from sums of voltages and traces, without a float.

Samples and contexts pass through the same weights. A layer compares the sum of its voltages over
the steps, rectified, with those of the contexts, and changes its weights by the error times the
presynaptic trace, with stochastic rounding. docs/chips.md has the rule in formulas beside the
float rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, one_of, refused, truth, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.fixed_point.arithmetic import (
    ONE,
    decayed,
    next_count,
    product,
    random_bits,
    saturated,
    shifted,
    softmax,
    unit_rows,
    weight_range,
    winner_errors,
)
from sigprop_snn.fixed_point.formats import largest, weight_bits_of
from sigprop_snn.fixed_point.layers import (
    IntegerLayer,
    IntegerReadout,
    LayerState,
    currents,
    run_layer,
    run_readout,
)
from sigprop_snn.fixed_point.network import (
    IntegerNetwork,
    check_steps,
    largest_input,
    layer_currents,
)

Compare = Literal["softmax", "winner"]
COMPARES: tuple[Compare, ...] = get_args(Compare)

LARGEST_ROWS = 16
"""Rows that may learn together: the sums of 16 updates fit 31 bits."""

TRACE_BITS = 8
"""Fraction of the trace of a spike."""

MEAN_BITS = 8
"""Fraction of the running mean of a presynaptic neuron, and the shift of its momentum."""

UNIT_BITS = 6
LARGEST_TRACE = 1023
ERROR_SHIFT = 10
BIAS_SHIFT = 9
READOUT_BIAS_SHIFT = 7


@dataclass(frozen=True)
class IntegerRule:
    """The settings of learning in integers.

    Args:
        compare: "softmax" is the float loss, with tables in place of exponentials and roots;
            "winner" compares the right context with the strongest wrong one.
        scale: factor of the cosines in the softmax, from 1 to 64.
        margin: for "winner", the lead of the right cosine below which a layer learns, in 1/4096.
        rate: right shift of a hidden layer's update of weights of 8 bits; larger is slower. Stored
            weights of 16 bits have a shift that is less by 8, so the update is the same.
        readout_rate: the same for the readout.
        stored_bits: bits of a stored weight, at least those of a weight, at most 16. The synapse
            uses the top bits; the others only collect updates.
        centred: whether layers above the first learn from the trace minus its running mean.
        refresh: number of updates between two passes of the contexts.

    Raises:
        SigpropError: if a number is out of range.
        UnknownNameError: if the comparison is unknown.
    """

    compare: Compare = "softmax"
    scale: int = 10
    margin: int = 1024
    rate: int = 17
    readout_rate: int = 19
    stored_bits: int = 8
    centred: bool = True
    refresh: int = 1

    def __post_init__(self) -> None:
        one_of("comparison", self.compare, COMPARES)
        truth("centred", self.centred)
        whole("refresh", self.refresh)
        for name, value, least, most in (
            ("scale", self.scale, 1, 64),
            ("margin", self.margin, 0, 2 * ONE),
            ("rate", self.rate, BIAS_SHIFT + 1, 24),
            ("readout_rate", self.readout_rate, BIAS_SHIFT + 1, 24),
            ("stored_bits", self.stored_bits, 2, 16),
        ):
            if whole(name, value, least) > most:
                raise refused(name, value, f"a whole number from {least} to {most}")


class IntegerLearned(NamedTuple):
    """The result of the last update of a call.

    Attributes:
        scores: the readout's before the update, `[B, C]`.
        right: the number of rows that each layer, and the readout, classified right.
        updated: number of weights whose stored value changed, over all layers.
    """

    scores: Tensor
    right: dict[str, int]
    updated: int


class TraceFormat(NamedTuple):
    """The fixed point of a presynaptic trace.

    Attributes:
        fraction: left shift of an input as it enters the trace.
        shift: right shift from the mean trace to the factor of an update, which has 6 bits for a
            trace of 1.
    """

    fraction: int
    shift: int


class _Memory(NamedTuple):
    """What a layer keeps of the steps since the start: state, trace and sum of traces."""

    state: LayerState | None
    trace: Tensor
    trace_sum: Tensor


class IntegerLearner:
    """Learns the weights of an integer network, in place.

    One row at a time is what a chip does and what the exported C code does; up to 16 rows may share
    an update, which adds their updates before it is rounded.

    Args:
        network: linear layers alone, with one threshold and scale for each layer.
        contexts: the currents of the classes into the first layer, in units of its membrane,
            `[C, n]`, int32.
        rule: the settings.
        steps: T, for which the contexts are run.
        seed: of the stochastic rounding, from 1.
        stored: the stored weights to start from; those of the network if not given.

    Attributes:
        network: as given.
        contexts: as given.
        rule: may be replaced between two updates, to slow down or speed up; `stored_bits` stays.
        stored: the stored weights by layer; the readout is the last.
        means: the running means of the presynaptic traces by layer.
        count: the state of the generator of the stochastic rounding, 32 bits.
        targets: the contexts' rectified voltages by hidden layer, of length 1 in Q12, `[C, n]`.

    Raises:
        SigpropError: if the network can't learn in integers, or the contexts do not fit.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        contexts: Tensor,
        rule: IntegerRule | None = None,
        *,
        steps: int = 8,
        seed: int = 1,
        stored: Sequence[Tensor] | None = None,
    ) -> None:
        self.network = instance("network", network, IntegerNetwork, "an IntegerNetwork")
        instance("contexts", contexts, Tensor, "a tensor [C, n]")
        self._rule = instance(
            "rule", IntegerRule() if rule is None else rule, IntegerRule, "an IntegerRule"
        )
        self.steps = whole("steps", steps)
        check_steps(network, self.steps)
        self.count = whole("seed", seed) & 0xFFFFFFFF or 1
        check_can_learn(network)
        bits = weight_bits_of("weight_bits", network.format.weight_bits)
        if self.rule.stored_bits < bits:
            raise SigpropError(
                f"stored_bits is {self.rule.stored_bits}; expected at least the {bits} bits of a "
                "weight"
            )
        expected = [network.readout.weight.shape[0], network.layers[0].neurons]
        if contexts.dtype != torch.int32 or list(contexts.shape) != expected:
            raise SigpropError(
                f"contexts have shape {list(contexts.shape)} and dtype {contexts.dtype}; expected "
                f"int32 {expected}"
            )
        self.contexts = contexts
        weights = [layer.weight * (1 << self.fraction) for layer in network.weighted]
        self.stored = weights if stored is None else _checked_stored(stored, weights)
        self.means = [
            torch.zeros(layer.weight.shape[1], dtype=torch.int32) for layer in network.weighted
        ]
        self.updates = 0
        self.targets: list[Tensor] = []

    @property
    def rule(self) -> IntegerRule:
        """The settings."""
        return self._rule

    @rule.setter
    def rule(self, rule: IntegerRule) -> None:
        instance("rule", rule, IntegerRule, "an IntegerRule")
        if rule.stored_bits != self._rule.stored_bits:
            raise SigpropError(
                f"rule has stored_bits {rule.stored_bits}, but the weights are stored in "
                f"{self._rule.stored_bits}; expected the same"
            )
        self._rule = rule

    @property
    def fraction(self) -> int:
        """Bits that a stored weight has below those of a weight."""
        return self.rule.stored_bits - self.network.format.weight_bits

    def trace_format(self, index: int) -> TraceFormat:
        """Return the fixed point of the traces of what a layer receives, by its index."""
        level_bits = (self.network.levels - 1).bit_length() if index == 0 else 0
        fraction = max(0, TRACE_BITS - level_bits // 2)
        return TraceFormat(fraction, max(0, level_bits + fraction - UNIT_BITS))

    def learn(self, inputs: Tensor, labels: Tensor, *, every: int | None = None) -> IntegerLearned:
        """Learn from rows that start at rest, `[T, B, ...]`; return what the last update saw.

        Args:
            inputs: integers from 0 to 255.
            labels: the classes, `[B]`.
            every: number of steps between two updates; one update at the end if not given.

        Raises:
            SigpropError: if there are more than 16 rows, or a value can't be used.
        """
        inputs = self.network.checked(inputs)
        labels = self._checked_labels(inputs, labels)
        every = len(inputs) if every is None else whole("every", every)
        memory: list[_Memory] | None = None
        for start in range(0, len(inputs), every):
            chunk = inputs[start : start + every]
            memory = self._run(chunk, memory)
            learned = self._update(memory, labels, min(start + every, len(inputs)))
        return learned

    def refresh(self) -> None:
        """Pass the contexts through all hidden layers with the present weights."""
        self.targets = []
        current = self.contexts.expand(self.steps, *self.contexts.shape)
        for index, layer in enumerate(self.network.layers):
            ran = run_layer(layer, current, None)
            self.targets.append(unit_rows(ran.state.voltage_sum))
            if index + 1 < len(self.network.layers):
                current = currents(self.network.layers[index + 1], ran.spikes, 1)

    def _checked_labels(self, inputs: Tensor, labels: Tensor) -> Tensor:
        instance("labels", labels, Tensor, "a tensor [B] of integers")
        if inputs.shape[1] > LARGEST_ROWS:
            raise SigpropError(
                f"inputs have {inputs.shape[1]} rows; expected {LARGEST_ROWS} at most"
            )
        classes = self.network.readout.weight.shape[0]
        if (
            labels.is_floating_point()
            or labels.is_complex()
            or labels.dtype == torch.bool
            or labels.shape != inputs.shape[1:2]
        ):
            raise SigpropError(
                f"labels have shape {list(labels.shape)} and dtype {labels.dtype}; expected "
                f"integers [{inputs.shape[1]}]"
            )
        if int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise SigpropError(
                f"labels are from {int(labels.min())} to {int(labels.max())}; expected 0 to "
                f"{classes - 1}"
            )
        return labels.long()

    def _run(self, inputs: Tensor, memory: list[_Memory] | None) -> list[_Memory]:
        """Run all layers over the next steps."""
        network = self.network
        found: list[_Memory] = []
        outputs: list[Tensor] = []
        sent = inputs.flatten(2) if inputs.dim() > 3 else inputs
        for index, layer in enumerate(network.layers):
            past = memory[index] if memory is not None else None
            now = self._traced(layer, sent, past, self.trace_format(index).fraction)
            ran = run_layer(layer, layer_currents(layer, sent, largest_input(index)), now.state)
            found.append(now._replace(state=ran.state))
            sent = ran.spikes
            outputs.append(sent)
        read = network.read(outputs)
        past = memory[-1] if memory is not None else None
        now = self._traced(network.readout, read, past, TRACE_BITS)
        state = run_readout(network.readout, currents(network.readout, read, 1), now.state)
        return [*found, now._replace(state=state)]

    def _traced(
        self,
        layer: IntegerLayer | IntegerReadout,
        inputs: Tensor,
        past: _Memory | None,
        fraction: int,
    ) -> _Memory:
        """Advance the traces of a layer's inputs `[T, N, K]`."""
        nothing = torch.zeros_like(inputs[0])
        state, trace, total = past if past is not None else (None, nothing, nothing)
        for now in inputs:
            trace = decayed(trace, layer.decay) + now * (1 << fraction)
            trace = saturated(trace, self.network.format.trace_bits)
            total = total + trace
        return _Memory(state, trace, total)

    def _update(self, memory: list[_Memory], labels: Tensor, steps: int) -> IntegerLearned:
        rule = self.rule
        if self.updates % rule.refresh == 0 or not self.targets:
            self.refresh()
        self.updates += 1
        right: dict[str, int] = {}
        changed = 0
        for index, layer in enumerate(self.network.layers):
            now = memory[index]
            assert now.state is not None
            errors, cosines = self._compared(index, now.state.voltage_sum, labels)
            right[f"block{index + 1}"] = int((cosines.argmax(1) == labels).sum())
            changed += self._change(index, layer, errors, self._presynaptic(index, now, steps))
        last = len(self.network.layers)
        now = memory[last]
        assert now.state is not None
        scores = now.state.voltage_sum
        right["readout"] = int((scores.argmax(1) == labels).sum())
        logits = shifted(saturated(scores, 24), self.network.readout.logit_shift)
        errors = self._errors(logits, labels, 1)
        changed += self._change(
            last, self.network.readout, errors, self._presynaptic(last, now, steps)
        )
        return IntegerLearned(scores, right, changed)

    def _compared(self, index: int, voltage: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the errors of a hidden layer's neurons `[N, n]`, Q14, and the cosines, Q12."""
        own, targets = unit_rows(voltage), self.targets[index]
        cosines = product(own, targets, 1 << 26) >> 12
        errors = self._errors(cosines, labels, self.rule.scale)
        along = (errors * cosines).sum(1, keepdim=True, dtype=torch.int32) >> 12
        by_neuron = product(errors, targets.t(), 1 << 26) - along * own
        return torch.where(voltage > 0, by_neuron >> ERROR_SHIFT, 0), cosines

    def _errors(self, scores: Tensor, labels: Tensor, scale: int) -> Tensor:
        """Return the errors of the scores, Q12 `[N, C]`."""
        if self.rule.compare == "winner":
            return winner_errors(scores, labels, self.rule.margin)
        right = torch.zeros_like(scores).scatter(1, labels[:, None], ONE)
        return softmax(scores, scale) - right

    def _presynaptic(self, index: int, now: _Memory, steps: int) -> Tensor:
        """Return the mean presynaptic traces `[N, K]`, centred if the rule asks for it."""
        mean = now.trace_sum.div(steps, rounding_mode="floor")
        rows = (mean >> self.trace_format(index).shift).clamp(max=LARGEST_TRACE)
        if not self.rule.centred or index == 0:
            return rows
        before = self.means[index]
        change = (rows * (1 << MEAN_BITS) - before).sum(0, dtype=torch.int32) >> MEAN_BITS
        self.means[index] = before + change
        return rows - shifted(self.means[index], MEAN_BITS)

    def _change(
        self,
        index: int,
        layer: IntegerLayer | IntegerReadout,
        errors: Tensor,
        presynaptic: Tensor,
    ) -> int:
        """Change a layer's weights and biases; return how many stored weights changed."""
        self.count = next_count(self.count)
        if not bool(errors.any()):
            return 0
        hidden = isinstance(layer, IntegerLayer)
        rate = self.rule.rate if hidden else self.rule.readout_rate
        bias_rate = rate - (BIAS_SHIFT if hidden else READOUT_BIAS_SHIFT)
        rate += 8 - self.rule.stored_bits
        out, size = layer.weight.shape
        noise = random_bits(self.count, 0, out, 30)
        other = random_bits(self.count, out, size + 1, 30)
        gradient = product(errors.t(), presynaptic.t(), 1 << 30)
        mask = (1 << rate) - 1
        step = ((noise[:, None] + other[:-1]) & mask).sub_(gradient).__irshift__(rate)
        low, high = weight_range(self.rule.stored_bits)
        before = self.stored[index]
        after = (before + step).clamp_(low, high)
        changed = int((after != before).sum())
        self.stored[index] = after
        layer.weight.copy_(stored_to_weight(after, self.fraction, self.network.format.weight_bits))
        bias_noise = (noise + other[-1]) & ((1 << bias_rate) - 1)
        bias = layer.bias + ((bias_noise - errors.sum(0, dtype=torch.int32)) >> bias_rate)
        layer.bias.copy_(saturated(bias, layer.membrane_bits))
        return changed


def _checked_stored(stored: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """Return stored weights after a check of their number, shapes and dtype.

    Raises:
        SigpropError: if they do not fit the network.
    """
    found = list(stored) if isinstance(stored, list | tuple) else []
    if [(type(a), getattr(a, "dtype", None), getattr(a, "shape", None)) for a in found] != [
        (Tensor, torch.int32, b.shape) for b in like
    ]:
        raise refused("stored", stored, "a list of int32 tensors in the shapes of the weights")
    return found


def stored_to_weight(stored: Tensor, fraction: int, bits: int) -> Tensor:
    """Return the weights that the synapse uses: the top bits of the stored ones, rounded."""
    if not fraction:
        return stored
    return shifted(stored, fraction).clamp(-largest(bits), largest(bits))


def check_can_learn(network: IntegerNetwork) -> None:
    """Check that a network can learn in integers.

    Raises:
        SigpropError: if a layer is a convolution, or its neurons have different thresholds.
    """
    for index, layer in enumerate(network.layers):
        name = f"block{index + 1}"
        if layer.is_convolution:
            raise SigpropError(
                f"{name} is a convolution; learning in integers expects linear layers"
            )
        if int(layer.threshold.min()) != int(layer.threshold.max()):
            raise SigpropError(
                f"the neurons of {name} have different thresholds; learning in integers expects "
                "Format(per='tensor')"
            )
