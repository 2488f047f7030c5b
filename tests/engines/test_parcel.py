"""What is packed for another process is unpacked as it was, also in the order of its numbers."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.neurons.engines import DenseSpikes
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes, pack
from sigprop_snn.neurons.engines.parcel import (
    pack_spikes,
    pack_tensor,
    unpack_spikes,
    unpack_tensor,
)

TENSORS = {
    "numbers": lambda: torch.rand(5, 3, 7),
    "double": lambda: torch.rand(5, 3, 7, dtype=torch.float64),
    "bfloat16": lambda: (torch.rand(5, 3, 7) < 0.5).to(torch.bfloat16),
    "spikes": lambda: (torch.rand(5, 3, 7) < 0.5).float(),
    "counts": lambda: torch.randint(3, (5, 3, 7)).float(),
    "constant": lambda: torch.rand(1, 3, 7).expand(5, 3, 7),
    "constant spikes": lambda: (torch.rand(1, 3, 7) < 0.5).float().expand(5, 3, 7),
    "turned": lambda: torch.rand(3, 5, 7).transpose(0, 1),
    "channels last": lambda: (torch.rand(5, 3, 4, 6, 2) < 0.5).float().movedim(-1, 2),
    "rows": lambda: torch.rand(4, 6),
    "labels": lambda: torch.arange(6),
    "one number": lambda: torch.tensor(3.5),
    "infinite": lambda: torch.tensor([[[1.0, float("inf"), float("nan")]]]),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_comes_back_with_its_order_in_memory(name):
    torch.manual_seed(0)
    values = TENSORS[name]()
    found = unpack_tensor(*pack_tensor(values))
    assert found.dtype == values.dtype and found.stride() == values.stride()
    assert torch.equal(found.nan_to_num(7.0), values.nan_to_num(7.0))


@pytest.mark.parametrize("steps", [4, 6, 8])
@pytest.mark.parametrize("shape", [(3, 7), (2, 5, 4, 6)], ids=["vectors", "maps"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_packed_spikes_come_back_in_half_the_bytes(steps, shape, channels_last):
    torch.manual_seed(0)
    dense = (torch.rand(steps, *shape) < 0.4).float()
    packed = pack(dense)
    assert packed is not None
    if channels_last and len(shape) == 4:
        patterns = packed.patterns.movedim(2, -1).contiguous().movedim(-1, 2)
        packed = PackedSpikes(patterns, steps)
    parcel = pack_spikes(packed)
    found = unpack_spikes(*parcel)
    assert isinstance(found, PackedSpikes)
    assert found.patterns.stride() == packed.patterns.stride()
    assert torch.equal(found.dense(), dense)
    assert len(parcel.data) == (packed.patterns.numel() + 1) // 2


@pytest.mark.parametrize("steps", [4, 6, 11])
@pytest.mark.parametrize("channels_last", [False, True])
def test_spikes_of_a_gpu_come_back_in_bytes(steps, channels_last):
    pytest.importorskip("triton", reason="the engine of a GPU needs triton")
    from sigprop_snn.neurons.engines.triton.spikes import BitSpikes, bytes_of

    shape = (bytes_of(steps), 3, 4, 6, 5) if channels_last else (bytes_of(steps), 3, 5, 4, 6)
    bits = torch.randint(1 << min(steps, 8), shape, dtype=torch.uint8)
    spikes = BitSpikes(bits.movedim(-1, 2) if channels_last else bits, steps, torch.bfloat16)
    parcel = pack_spikes(spikes)
    found = unpack_spikes(*parcel)
    assert isinstance(found, BitSpikes)
    assert (found.steps, found.dtype) == (steps, torch.bfloat16)
    assert found.bits.stride() == spikes.bits.stride() and torch.equal(found.bits, spikes.bits)
    assert len(parcel.data) == bits.numel() / (2 if steps <= 4 else 1)


def test_dense_spikes_come_back_as_they_were_stored():
    values = (torch.rand(5, 3, 7) < 0.5).float()
    parcel = pack_spikes(DenseSpikes(values))
    found = unpack_spikes(*parcel)
    assert type(found) is DenseSpikes and torch.equal(found.dense(), values)
    assert len(parcel.data) == -(-values.numel() // 8)
