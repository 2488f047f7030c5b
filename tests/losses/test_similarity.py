"""Products and cosines of the two streams, and the cosines' gradient in closed form."""

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.losses.similarity import cosines, streams

B, D = 6, 11


def definition(samples, contexts):
    return F.cosine_similarity(samples[:, None], contexts, dim=-1)


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", [(4, D), (B, 3, D)], ids=["shared", "own"])
def test_cosines_have_their_definitions_gradient(shape):
    torch.manual_seed(0)
    samples, contexts = drawn(B, D), drawn(*shape)
    weights = torch.randn(B, shape[-2], dtype=torch.float64)
    assert torch.allclose(cosines(samples, contexts), definition(samples, contexts))
    ours = torch.autograd.grad((weights * cosines(samples, contexts)).sum(), (samples, contexts))
    theirs = torch.autograd.grad(
        (weights * definition(samples, contexts)).sum(), (samples, contexts)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    assert torch.autograd.gradcheck(cosines, (samples, contexts))


def test_silence_has_no_cosine_and_turns_nobody():
    torch.manual_seed(0)
    samples, contexts = drawn(B, D), drawn(4, D)
    quiet = samples.detach().clone()
    quiet[2] = 0.0
    found = cosines(quiet, contexts)
    assert not found[2].any()
    (gradient,) = torch.autograd.grad(found.sum(), contexts)
    others = torch.arange(B) != 2
    (expected,) = torch.autograd.grad(definition(samples[others], contexts).sum(), contexts)
    assert torch.allclose(gradient, expected, atol=1e-12)


def test_cosines_are_as_exact_under_autocast():
    torch.manual_seed(0)
    samples, contexts = (torch.randn(n, 40, requires_grad=True) for n in (6, 4))
    exact = torch.autograd.grad(cosines(samples, contexts)[:, 0].sum(), samples)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(cosines(samples, contexts)[:, 0].sum(), samples)
    assert torch.equal(exact[0], found[0])


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("centred", [False, True])
def test_maps_compare_alike_however_they_lie(own, centred):
    torch.manual_seed(0)
    samples, contexts = torch.randn(6, 3, 8, 8), torch.randn(*((6, 2) if own else (4,)), 3, 8, 8)
    last = samples.to(memory_format=torch.channels_last)
    expected, found = (
        cosines(*streams(maps, contexts, 4, centred=centred)[:2]) for maps in (samples, last)
    )
    torch.testing.assert_close(found, expected)
    assert streams(last, contexts, 4).positions == 16
