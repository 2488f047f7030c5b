"""Small integer networks, and the oracle: the same network and rule in Python's integers.

The oracle is written from the formulas of docs/chips.md, one row at a time. Its integers have no
limit, so an overflow of int32 anywhere in the package shows as a difference.
"""

from __future__ import annotations

import math

import pytest
import torch

from sigprop_snn.fixed_point import (
    Format,
    IntegerLearner,
    IntegerNetwork,
    IntegerRule,
    integer_mlp,
)

CASES = {
    "8 bits": (Format(8, "tensor"), IntegerRule(rate=13, readout_rate=14, refresh=3)),
    "4 bits, stored in 16": (
        Format(4, "tensor", 24, 24, "multiplier"),
        IntegerRule(rate=13, readout_rate=14, stored_bits=16, centred=False),
    ),
    "2 bits, stored in 8": (
        Format(2, "tensor", 16, 16, "multiplier"),
        IntegerRule(rate=13, readout_rate=14, stored_bits=8, scale=20),
    ),
    "winner": (Format(8, "tensor"), IntegerRule("winner", rate=12, readout_rate=13)),
}


def samples(rows: int, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs `[5, rows, 2, 3, 2]` and labels of three classes."""
    generator = torch.Generator().manual_seed(rows)
    top = 256 if levels == 255 else 5
    x = torch.randint(top, (5, rows, 2, 3, 2), generator=generator)
    return x * (torch.rand(x.shape, generator=generator) < 0.4), torch.arange(rows) % 3


@pytest.fixture(params=CASES)
def case(request) -> tuple[Format, IntegerRule]:
    return CASES[request.param]


@pytest.fixture(params=[1, 255], ids=["counts", "brightness"])
def levels(request) -> int:
    return request.param


def learner(case: tuple[Format, IntegerRule], levels: int, seed: int = 1) -> IntegerLearner:
    x, _ = samples(6, levels)
    format_, rule = case
    return integer_mlp(x, 3, hidden=(12, 10), levels=levels, format=format_, rule=rule, seed=seed)


@pytest.fixture
def samples_of():
    """Return the function that makes samples."""
    return samples


@pytest.fixture
def learner_of():
    """Return the function that makes a small learner."""
    return learner


@pytest.fixture
def oracle_of():
    """Return the class of the oracle."""
    return Oracle


EXPONENTS = [round(2.0 ** (16 - index / 64)) for index in range(64)]


def saturated(value: int, bits: int) -> int:
    top = 1 << (bits - 1)
    return max(-top, min(top - 1, value))


def shifted(value: int, shift: int) -> int:
    return (value + (1 << (shift - 1))) >> shift if shift > 0 else value << -shift


def decayed(value: int, decay) -> int:
    if decay.multiplier is not None:
        return (value * decay.multiplier) >> decay.bits
    return value - sum(value >> shift for shift in decay.shifts)


def hashed(count: int, index: int) -> int:
    mask = 0xFFFFFFFF
    mixed = (index * 0x9E3779B9 & mask) ^ count
    mixed = (mixed ^ mixed >> 16) * 0x7FEB352D & mask
    mixed = (mixed ^ mixed >> 15) * 0x846CA68B & mask
    return (mixed ^ mixed >> 16) & 0x3FFFFFFF


def unit(voltage: list[int]) -> list[int]:
    positive = [max(0, value) for value in voltage]
    shift = max(positive).bit_length() - min(10, (31 - len(voltage).bit_length()) // 2)
    scaled = [value >> shift if shift >= 0 else value << -shift for value in positive]
    length = max(1, math.isqrt(sum(value * value for value in scaled)))
    return [(value * 4096 + length // 2) // length for value in scaled]


def softmax(scores: list[int], factor: int) -> list[int]:
    power = []
    for score in scores:
        below = min(max(scores) - score, 1 << 16)
        halvings = (below * factor >> 6) * 92 >> 6
        power.append(EXPONENTS[halvings & 63] >> min(halvings >> 6, 31))
    return [value * 4096 // sum(power) for value in power]


class Oracle:
    """One row at a time through a row of linear layers."""

    def __init__(self, given: IntegerNetwork | IntegerLearner) -> None:
        self.learner = given if isinstance(given, IntegerLearner) else None
        self.network = given.network if isinstance(given, IntegerLearner) else given
        self.layers = [*self.network.layers, self.network.readout]
        self.weights = [layer.weight.tolist() for layer in self.layers]
        self.biases = [layer.bias.tolist() for layer in self.layers]
        if self.learner is not None:
            self.stored = [stored.tolist() for stored in self.learner.stored]
            self.means = [mean.tolist() for mean in self.learner.means]
            self.count = self.learner.count
            self.updates = 0
        self.reset()

    def reset(self) -> None:
        self.steps = 0
        self.voltages = [[0] * len(weight) for weight in self.weights]
        self.sums = [[0] * len(weight) for weight in self.weights]
        self.traces = [[0] * len(weight[0]) for weight in self.weights]
        self.trace_sums = [[0] * len(weight[0]) for weight in self.weights]

    def current(self, index: int, inputs: list[int]) -> list[int]:
        return [
            shifted(sum(w * x for w, x in zip(row, inputs, strict=True)), self.layers[index].shift)
            + bias
            for row, bias in zip(self.weights[index], self.biases[index], strict=True)
        ]

    def fire(
        self, index: int, current: list[int], voltage: list[int], sums: list[int]
    ) -> list[int]:
        layer, spikes = self.layers[index], []
        for i, now in enumerate(current):
            u = saturated(decayed(voltage[i], layer.decay) + now, layer.membrane_bits)
            sums[i] += u
            threshold = int(layer.threshold[i])
            spikes.append(int(u > threshold))
            after = {"subtract": u - threshold, "zero": 0, "none": u}[layer.reset]
            voltage[i] = after if spikes[-1] else u
        return spikes

    def step(self, inputs: list[int]) -> list[list[int]]:
        """Take one time step and return the spikes of the hidden layers."""
        self.steps += 1
        sent, spikes = inputs, []
        hidden = len(self.network.layers)
        for index in range(hidden):
            self.trace(index, sent)
            sent = self.fire(
                index, self.current(index, sent), self.voltages[index], self.sums[index]
            )
            spikes.append(sent)
        read = [spike for index in self.network.readout.reads for spike in spikes[index]]
        self.trace(hidden, read)
        readout = self.network.readout
        for c, now in enumerate(self.current(hidden, read)):
            u = decayed(self.voltages[hidden][c], readout.decay) + now
            self.voltages[hidden][c] = saturated(u, readout.membrane_bits)
            self.sums[hidden][c] += self.voltages[hidden][c]
        return spikes

    def trace(self, index: int, inputs: list[int]) -> None:
        if self.learner is None:
            return
        fraction = self.learner.trace_format(index).fraction
        bits = self.network.format.trace_bits
        for j, value in enumerate(inputs):
            x = decayed(self.traces[index][j], self.layers[index].decay) + (value << fraction)
            self.traces[index][j] = saturated(x, bits)
            self.trace_sums[index][j] += self.traces[index][j]

    @property
    def scores(self) -> list[int]:
        return self.sums[-1]

    def contexts(self) -> list[list[list[int]]]:
        """Return the unit voltages of the contexts by layer."""
        found: list[list[list[int]]] = [[] for _ in self.network.layers]
        for row in self.learner.contexts.tolist():
            states = [([0] * layer.neurons, [0] * layer.neurons) for layer in self.network.layers]
            for _ in range(self.learner.steps):
                current = row
                for index, (voltage, sums) in enumerate(states):
                    spikes = self.fire(index, current, voltage, sums)
                    if index + 1 < len(states):
                        current = self.current(index + 1, spikes)
            for index, (_, sums) in enumerate(states):
                found[index].append(unit(sums))
        return found

    def errors(self, scores: list[int], label: int, scale: int) -> list[int]:
        rule = self.learner.rule
        if rule.compare == "winner":
            wrong = [c for c in range(len(scores)) if c != label]
            winner = max(wrong, key=lambda c: (scores[c], -c))
            near = scores[label] - scores[winner] < rule.margin
            return [4096 * near * ((c == winner) - (c == label)) for c in range(len(scores))]
        return [p - 4096 * (c == label) for c, p in enumerate(softmax(scores, scale))]

    def learn(self, label: int) -> None:
        rule = self.learner.rule
        if self.updates % rule.refresh == 0:
            self.targets = self.contexts()
        self.updates += 1
        for index in range(len(self.network.layers)):
            own = unit(self.sums[index])
            cosines = [
                sum(a * b for a, b in zip(own, target, strict=True)) >> 12
                for target in self.targets[index]
            ]
            errors = self.errors(cosines, label, rule.scale)
            along = sum(e * z for e, z in zip(errors, cosines, strict=True)) >> 12
            delta = [
                (
                    sum(e * t[i] for e, t in zip(errors, self.targets[index], strict=True))
                    - along * own[i]
                )
                >> 10
                if self.sums[index][i] > 0
                else 0
                for i in range(len(own))
            ]
            self.change(index, delta, rule.rate, rule.rate - 9)
        logits = [
            shifted(saturated(score, 24), self.network.readout.logit_shift) for score in self.scores
        ]
        errors = self.errors(logits, label, 1)
        self.change(len(self.layers) - 1, errors, rule.readout_rate, rule.readout_rate - 7)

    def factors(self, index: int) -> list[int]:
        shift = self.learner.trace_format(index).shift
        rows = [min(1023, total // self.steps >> shift) for total in self.trace_sums[index]]
        if index == 0 or not self.learner.rule.centred:
            return rows
        for j, value in enumerate(rows):
            self.means[index][j] += ((value << 8) - self.means[index][j]) >> 8
        return [value - shifted(self.means[index][j], 8) for j, value in enumerate(rows)]

    def change(self, index: int, delta: list[int], rate: int, bias_rate: int) -> None:
        factors = self.factors(index)
        self.count ^= self.count << 13 & 0xFFFFFFFF
        self.count ^= self.count >> 17
        self.count ^= self.count << 5 & 0xFFFFFFFF
        rule, out, size = self.learner.rule, len(delta), len(factors)
        if not any(delta):
            return
        rate += 8 - rule.stored_bits
        top = (1 << (rule.stored_bits - 1)) - 1
        fraction = rule.stored_bits - self.network.format.weight_bits
        limit = self.network.format.largest_weight
        for i, error in enumerate(delta):
            for j, factor in enumerate(factors):
                noise = hashed(self.count, i) + hashed(self.count, out + j) & ((1 << rate) - 1)
                value = self.stored[index][i][j] + (noise - error * factor >> rate)
                value = self.stored[index][i][j] = max(-top, min(top, value))
                weight = shifted(value, fraction) if fraction else value
                self.weights[index][i][j] = max(-limit, min(limit, weight))
            noise = hashed(self.count, i) + hashed(self.count, out + size) & ((1 << bias_rate) - 1)
            value = self.biases[index][i] + (noise - error >> bias_rate)
            self.biases[index][i] = saturated(value, self.layers[index].membrane_bits)
