"""The projected context: how it is drawn and scaled."""

import torch

from sigprop_snn.network import ProjectedContext


def test_every_context_has_mean_zero_and_the_gain_as_root_mean_square():
    torch.manual_seed(0)
    signal = ProjectedContext(3, (2, 4, 4), gain=1.5)
    current = signal()
    assert current.shape == (3, 2, 4, 4)
    rows = current.flatten(1)
    torch.testing.assert_close(
        rows.square().mean(1).sqrt(), torch.full((3,), 1.5), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(rows.mean(1), torch.zeros(3), rtol=0, atol=1e-6)
    raw = signal.projection
    unit = (raw - raw.mean(1, keepdim=True)) / raw.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(rows, 1.5 * unit, rtol=1e-4, atol=1e-5)


def test_a_scaled_context_has_a_factor_and_an_offset_for_every_neuron():
    torch.manual_seed(0)
    signal = ProjectedContext(3, (2, 4), gain=1.5, scaled=True)
    plain = 1.5 * torch.nn.functional.layer_norm(signal.projection, (8,), eps=1e-10).view(3, 2, 4)
    torch.testing.assert_close(signal(), plain, rtol=1e-3, atol=1e-5)
    factor, offset = torch.rand(2, 4), torch.rand(2, 4)
    with torch.no_grad():
        signal.factor.copy_(factor)
        signal.offset.copy_(offset)
    torch.testing.assert_close(signal(), plain * factor + offset, rtol=1e-3, atol=1e-5)
    names = {name for name, _ in signal.named_parameters()}
    assert names == {"projection", "factor", "offset"}
    assert {name for name, _ in ProjectedContext(3, (2, 4)).named_parameters()} == {"projection"}
    assert "scaled=True" in repr(signal)
