"""Every loss of the family against its formula, written out sample by sample in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.losses.selection import TopK
from sigprop_snn.network import (
    LOSSES,
    BinaryLoss,
    ContrastiveLoss,
    CosineLoss,
    DotProductLoss,
    HebbianLoss,
    L2Loss,
)

LABELS = [2, 0, 1, 2, 2]
NAMES = [name for name in LOSSES if name != "goodness"]  # which compares nothing: see its own tests
ALL = [*(LOSSES[name] for name in NAMES), lambda: DotProductLoss(normalise="size")]


def rows(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, dtype=torch.float64, generator=made)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum()) / math.sqrt(float((a * a).sum()) * float((b * b).sum()))


def softmax_entropy(scores: list[float], right: int) -> float:
    return math.log(sum(math.exp(s) for s in scores)) - scores[right]


def test_plain_dot_products_are_averaged_over_positions():
    h, t = rows(5, 3, 2, 4), rows(3, 3, 2, 4, seed=1)
    got = DotProductLoss(scale=1.5, normalise="none").scores(h, t)
    for b in range(5):
        for m in range(3):
            positions = [h[b, :, i, j] @ t[m, :, i, j] for i in range(2) for j in range(4)]
            assert float(got[b, m]) == pytest.approx(1.5 * float(sum(positions)) / 8)
    dense = DotProductLoss(scale=1.0, normalise="none").scores(rows(2, 4), rows(3, 4, seed=1))
    torch.testing.assert_close(dense, rows(2, 4) @ rows(3, 4, seed=1).t())


def test_size_divides_by_each_streams_root_mean_square_held_constant():
    h, t = rows(5, 6).requires_grad_(), rows(3, 6, seed=1)
    size_h = math.sqrt(float((h.detach() ** 2).mean()))
    size_t = math.sqrt(float((t**2).mean()))
    got = DotProductLoss(scale=2.0, normalise="size").scores(h, t)
    torch.testing.assert_close(got.detach(), 2 * (h.detach() @ t.t()) / (size_h * size_t * 6))
    got[1, 2].backward()
    by_hand = torch.zeros(5, 6, dtype=torch.float64)
    by_hand[1] = 2 * t[2] / (size_h * size_t * 6)
    torch.testing.assert_close(h.grad, by_hand)


def test_l2_is_cross_entropy_of_negative_mean_square_differences():
    h, t = 3 * rows(5, 6), rows(3, 6, seed=1)
    size = math.sqrt(sum(float(x) ** 2 for x in h.flatten()) / 30)
    scores = [
        [-4.0 * sum(float(a - b) ** 2 for a, b in zip(x, y, strict=True)) / 6 / size**2 for y in t]
        for x in h
    ]
    loss = L2Loss(scale=4.0)
    got = loss.scores(h, t)
    torch.testing.assert_close(got, torch.tensor(scores, dtype=torch.float64))
    by_hand = [softmax_entropy(row, right) for row, right in zip(scores, LABELS, strict=True)]
    assert float(loss.loss(got, torch.tensor(LABELS))) == pytest.approx(sum(by_hand) / 5)
    raw = L2Loss(scale=4.0, normalise=False).scores(h, t)
    torch.testing.assert_close(raw, got * size**2)


def test_cosine_pulls_to_the_right_and_pushes_off_the_wrong_up_to_the_margin():
    h, t = rows(5, 6), rows(3, 6, seed=1)
    total = 0.0
    for x, right in zip(h, LABELS, strict=True):
        near = [cosine(x - x.mean(), y - y.mean()) for y in t]
        wrong = [max(0.0, near[m] - 0.2) for m in range(3) if m != right]
        total += 1 - near[right] + 0.7 * sum(wrong) / 2
    loss = CosineLoss(margin=0.2, repulsion=0.7)
    assert float(loss.loss(loss.scores(h, t), torch.tensor(LABELS))) == pytest.approx(total / 5)
    plain = CosineLoss(centred=False).scores(h, t)
    assert float(plain[3, 1]) == pytest.approx(cosine(h[3], t[1]))


def test_cosine_is_torchs_own_for_one_pair():
    h, t = rows(4, 6), rows(1, 6, seed=1)
    loss = CosineLoss(margin=0.1, centred=False, repulsion=1.0)
    right = torch.tensor([[1.0], [0.0], [1.0], [0.0]]).double()
    peer = nn.functional.cosine_embedding_loss(
        h, t.expand(4, -1), 2 * right.squeeze(1) - 1, margin=0.1
    )
    torch.testing.assert_close(loss.loss(loss.scores(h, t), right), peer)


def test_contrastive_is_clips_loss_where_every_sample_has_one_context():
    h, t = rows(4, 6), rows(4, 6, seed=1)
    logits = 5.0 * nn.functional.normalize(h, dim=1) @ nn.functional.normalize(t, dim=1).t()
    order = torch.tensor([2, 0, 3, 1])
    back = torch.empty(4, dtype=torch.long)
    back[order] = torch.arange(4)
    ways = [
        nn.functional.cross_entropy(logits, order),
        nn.functional.cross_entropy(logits.t(), back),
    ]
    loss = ContrastiveLoss(scale=5.0)
    torch.testing.assert_close(loss.loss(loss.scores(h, t), order), sum(ways) / 2)


def test_contrastive_shares_the_way_back_among_the_samples_of_a_context():
    scores = rows(5, 4)  # nobody belongs to context 3
    there = [
        softmax_entropy(row.tolist(), right) for row, right in zip(scores, LABELS, strict=True)
    ]
    back = []
    for context in (0, 1, 2):
        column = scores[:, context].tolist()
        found = [b for b in range(5) if LABELS[b] == context]
        back.append(sum(softmax_entropy(column, b) for b in found) / len(found))
    by_hand = (sum(there) / 5 + sum(back) / 3) / 2
    got = ContrastiveLoss().loss(scores, torch.tensor(LABELS))
    assert float(got) == pytest.approx(by_hand)


def test_hebbian_gradient_is_presynaptic_times_the_contexts_centred_activity():
    x, weight = rows(5, 4), rows(6, 4, seed=2).requires_grad_()
    contexts = rows(3, 6, seed=1)
    loss = HebbianLoss(scale=2.0, decorrelated=False)
    loss.loss(loss.scores(x @ weight.t(), contexts), torch.tensor(LABELS)).backward()
    mean = contexts.sum(0) / 3
    by_hand = torch.zeros(6, 4, dtype=torch.float64)
    for b in range(5):
        centred = contexts[LABELS[b]] - mean
        centred = centred / math.sqrt(float(centred @ centred))
        by_hand -= 2.0 / 5 * torch.outer(centred, x[b])
    torch.testing.assert_close(weight.grad, by_hand)


def test_decorrelated_contexts_are_the_orthogonal_ones_next_to_the_centred():
    x, weight = rows(5, 4), rows(6, 4, seed=2).requires_grad_()
    contexts = rows(3, 6, seed=1)
    loss = HebbianLoss(scale=2.0)
    loss.loss(loss.scores(x @ weight.t(), contexts), torch.tensor(LABELS)).backward()
    left, size, right = torch.linalg.svd(contexts - contexts.sum(0) / 3, full_matrices=False)
    assert size[2] < 1e-12  # centred: three contexts span two directions
    apart = left[:, :2] @ right[:2]
    by_hand = -2.0 / 5 * sum(torch.outer(apart[LABELS[b]], x[b]) for b in range(5))
    torch.testing.assert_close(weight.grad, by_hand)


@pytest.mark.parametrize("decorrelated", [False, True])
def test_hebbian_contexts_that_are_equal_but_for_rounding_teach_nothing(decorrelated):
    contexts = torch.full((7, 5), 0.1)
    loss = HebbianLoss(decorrelated=decorrelated)
    assert torch.count_nonzero(loss.scores(torch.rand(4, 5), contexts)) == 0


def test_hebbian_lets_no_gradient_into_the_contexts():
    h, t = rows(5, 6).requires_grad_(), rows(3, 6, seed=1).requires_grad_()
    loss = HebbianLoss()
    loss.loss(loss.scores(h, t), torch.tensor(LABELS)).backward()
    assert h.grad is not None and t.grad is None


def test_binary_asks_of_every_context_alone():
    h, t = rows(2, 6), rows(3, 6, seed=1)
    held = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).double()
    total = 0.0
    for x, is_held in zip(h, held, strict=True):
        for y, there in zip(t, is_held, strict=True):
            odds = 4.0 * (cosine(x - x.mean(), y - y.mean()) - 0.1)
            share = 1 / (1 + math.exp(-odds))
            total -= math.log(share if there else 1 - share)
    loss = BinaryLoss(scale=4.0, offset=0.1)
    assert float(loss.loss(loss.scores(h, t), held)) == pytest.approx(total / 6)


@pytest.mark.parametrize("shape", [(7,), (3, 5, 5)])
@pytest.mark.parametrize("make", ALL)
def test_own_contexts_score_as_shared_ones_do_for_that_sample_alone(make, shape):
    # What a loss measures over the batch is measured over one sample here: one sample at a time.
    loss = make()
    h, own = rows(4, *shape), rows(12, *shape, seed=1).view(4, 3, *shape)
    for b in range(4):
        together = loss.scores(h[b : b + 1], own[b : b + 1])
        alone = loss.scores(h[b : b + 1], own[b])
        torch.testing.assert_close(together, alone)
    if "size" not in repr(loss) and not isinstance(loss, L2Loss):
        each = torch.cat([loss.scores(h[b : b + 1], own[b]) for b in range(4)])
        torch.testing.assert_close(loss.scores(h, own), each)


def test_l2_of_own_contexts_by_formula():
    h, own = rows(4, 5), rows(12, 5, seed=1).view(4, 3, 5)
    size = float((h**2).mean())
    by_hand = [
        [-2.0 * float(((h[b] - own[b, k]) ** 2).mean()) / size for k in range(3)] for b in range(4)
    ]
    got = L2Loss(scale=2.0).scores(h, own)
    torch.testing.assert_close(got, torch.tensor(by_hand, dtype=torch.float64))


@pytest.mark.parametrize("make", ALL)
def test_shares_of_one_are_the_label(make):
    loss = make()
    scores = loss.scores(rows(5, 6), rows(3, 6, seed=1))
    labels = torch.tensor(LABELS)
    shares = nn.functional.one_hot(labels, 3).double()
    torch.testing.assert_close(loss.loss(scores, labels), loss.loss(scores, shares))


@pytest.mark.parametrize("make", ALL)
def test_silence_gives_a_finite_loss_and_gradient(make):
    loss = make()
    h, t = torch.zeros(2, 3, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    value = loss.loss(loss.scores(h.relu(), t.relu()), torch.tensor([0, 3]))
    assert torch.isfinite(value)
    if value.requires_grad:
        value.backward()
    assert all(g is None or torch.isfinite(g).all() for g in (h.grad, t.grad))


@pytest.mark.parametrize("name", NAMES)
def test_going_down_the_gradient_tells_the_samples_apart(name):
    loss = LOSSES[name]()
    x, labels = rows(30, 8), torch.arange(30) % 3
    x = x + 3 * rows(3, 8, seed=5)[labels]
    weight, contexts = rows(12, 8, seed=3).requires_grad_(), rows(3, 12, seed=1)
    optimizer = torch.optim.Adam([weight], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss.loss(loss.scores((x @ weight.t()).relu(), contexts.relu()), labels).backward()
        optimizer.step()
    scores = loss.scores((x @ weight.t()).relu(), contexts.relu())
    assert float((scores.argmax(1) == labels).double().mean()) > (
        0.6 if name == "hebbian" else 0.9
    )  # it has no error to go by


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: L2Loss(scale=-1.0), "scale of L2Loss is -1.0"),
        (lambda: ContrastiveLoss(grid=0), "grid of ContrastiveLoss is 0"),
        (lambda: HebbianLoss(scale=0.0), "scale of HebbianLoss is 0.0"),
        (lambda: BinaryLoss(scale=float("nan")), "nan"),
        (lambda: CosineLoss(margin=1.0), "margin of CosineLoss is 1.0"),
        (lambda: CosineLoss(repulsion=-1.0), "repulsion of CosineLoss is -1.0"),
        (lambda: TopK(top=0), "top of TopK is 0"),
        (lambda: TopK(temperature=0.0), "temperature of TopK is 0.0"),
    ],
)
def test_settings_out_of_range_are_refused_by_value(make, found):
    with pytest.raises(SigpropError, match=found):
        make()


def test_unknown_choices_are_refused_by_name():
    with pytest.raises(UnknownNameError, match="'unit'"):
        DotProductLoss(normalise="unit")
    with pytest.raises(UnknownNameError, match="Did you mean 'maxima'"):
        DotProductLoss(select="maximum")


@pytest.mark.parametrize("loss", [L2Loss(), DotProductLoss(normalise="size")], ids=["l2", "dot"])
def test_a_silent_stream_is_divided_by_1(loss):
    """It has no size, and by a number near 0 the contexts would overflow."""
    contexts = rows(3, 6).float()
    samples = torch.zeros(5, 6, requires_grad=True)
    found = loss.compare(samples, contexts, torch.tensor(LABELS))
    found.loss.backward()
    assert 0 < float(found.loss.detach()) < 100
    assert samples.grad is not None and float(samples.grad.abs().max()) < 100
