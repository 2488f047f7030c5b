"""The package against Python's integers, and without a float."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sigprop_snn.fixed_point import plain_integers


class IntegersAlone(TorchDispatchMode):
    """Fails at an operation that takes or returns a float."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves((args, kwargs, out)):
            floats = isinstance(value, float)
            tensors = isinstance(value, torch.Tensor) and value.is_floating_point()
            assert not floats and not tensors, func
        return out


def test_inference_equals_big_integers(case, levels, learner_of, samples_of, oracle_of):
    network = learner_of(case, levels).network
    x, _ = samples_of(9, levels)
    ran = network.run(x)
    oracle = oracle_of(network)
    for row in range(x.shape[1]):
        oracle.reset()
        for step in range(len(x)):
            spikes = oracle.step(x[step, row].flatten().tolist())
            assert spikes == [layer[step, row].tolist() for layer in ran.spikes]
        assert oracle.scores == ran.scores[row].tolist()
    assert sum(int(layer.sum()) for layer in ran.spikes) > 50


def test_learning_equals_big_integers_by_sample_and_online(
    case, levels, learner_of, samples_of, oracle_of
):
    for every in (5, 2):
        learns = learner_of(case, levels)
        oracle, start = oracle_of(learns), [stored.clone() for stored in learns.stored]
        x, labels = samples_of(12, levels)
        for row, label in enumerate(labels.tolist()):
            learns.learn(x[:, row : row + 1], labels[row : row + 1], every=every)
            oracle.reset()
            for step in range(len(x)):
                oracle.step(x[step, row].flatten().tolist())
                if (step + 1) % every == 0 or step + 1 == len(x):
                    oracle.learn(label)
        assert oracle.stored == [stored.tolist() for stored in learns.stored]
        assert oracle.biases == [layer.bias.tolist() for layer in oracle.layers]
        assert oracle.means == [mean.tolist() for mean in learns.means]
        assert all(bool((a != b).any()) for a, b in zip(start, learns.stored, strict=True))


def test_no_operation_sees_a_float(case, levels, learner_of, samples_of, oracle_of):
    x, labels = samples_of(4, levels)
    plain, quick = learner_of(case, levels), learner_of(case, levels)
    with plain_integers(), IntegersAlone():
        scores = plain.network(x)
        plain.learn(x, labels, every=2)
    assert torch.equal(scores, quick.network(x))
    quick.learn(x, labels, every=2)
    for a, b in zip(plain.stored, quick.stored, strict=True):
        assert a.dtype == torch.int32
        assert torch.equal(a, b)


def test_rows_that_share_an_update_add_their_updates_before_rounding(
    case, levels, learner_of, samples_of
):
    x, labels = samples_of(16, levels)
    learns = learner_of(case, levels)
    learned = learns.learn(x, labels)
    assert learned.scores.shape == (16, 3)
    assert learned.updated > 0
    assert set(learned.right) == {"block1", "block2", "readout"}
