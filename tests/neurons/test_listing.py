"""Spikes listed by window and pattern, the plain way and the processor's own."""

import pytest
import torch

from sigprop_snn.neurons.kernels import listing, pack
from sigprop_snn.neurons.kernels.listing import list_windows
from sigprop_snn.neurons.kernels.processor import picks

SHAPES = [(4, 1, 1), (9, 3, 31), (8, 2, 32), (12, 2, 33), (50, 4, 300)]
WAYS = [
    False,
    pytest.param(
        True,
        marks=pytest.mark.skipif(not picks(), reason="the processor has no AVX512-VBMI2"),
    ),
]


@pytest.mark.parametrize("by_vectors", WAYS, ids=["plain", "by vectors"])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_neuron_stands_under_its_pattern(shape, density, by_vectors, monkeypatch):
    monkeypatch.setattr(listing, "picks", lambda: by_vectors)
    x = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < density).float()
    packed = pack(x)
    found = list_windows(packed)
    rows = packed.patterns.flatten(0, 1).tolist()
    for row, events, starts in zip(rows, found.events.tolist(), found.starts.tolist(), strict=True):
        assert starts[:2] == [0, 0]
        for pattern in range(1, 16):
            expected = [neuron for neuron, bits in enumerate(row) if bits == pattern]
            padded = expected + [len(row)] * (len(expected) % 2)
            assert events[starts[pattern] : starts[pattern + 1]] == padded
