"""Stand-in."""

from __future__ import annotations

import torch
from torch import nn

from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.kernels import packed as _old
from sigprop_snn.neurons.pooling import halves


class PackedSpikes:
    constant = False

    def __init__(self, patterns, steps):
        self.patterns, self.steps = patterns, steps
        self.old = _old.Packed(patterns, steps)

    @property
    def shape(self):
        return self.old.shape

    def dense(self, dtype=torch.float32):
        return self.old.unpacked(dtype)

    def weighted_sum(self, weights):
        return self.old.weighted(weights)

    def count(self):
        return self.old.weighted(torch.ones(self.steps))

    def rows(self, first, last=None):
        return PackedSpikes(self.patterns[first:last], self.steps)

    def flatten(self):
        return PackedSpikes(*self.old.flatten())

    def pooled(self, pool):
        if isinstance(pool, nn.Identity):
            return self
        if halves(pool):
            return PackedSpikes(*self.old.halved())
        return DenseSpikes(self.dense()).pooled(pool)


def pack(inputs):
    found = _old.pack(inputs)
    return None if found is None else PackedSpikes(*found)
