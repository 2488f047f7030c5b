"""The experiments on two rules that fail, on a few samples."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import cases, failures


@pytest.fixture
def few(monkeypatch):
    """Two variants of each experiment, one epoch, 40 drawn samples."""

    def read(dataset, root, steps):
        random = torch.Generator().manual_seed(0)
        shape = (steps, 2, 6, 6) if steps else (1, 8, 8)
        x = torch.randint(4, (40, *shape), generator=random, dtype=torch.uint8)
        y = torch.arange(40) % 10
        return cases.Stored(x, y, x, y, 10, 0.25, 0.0, False)

    def variants(experiment, seeds):
        if experiment == failures.DRTP:
            for centred in (False, True):
                yield failures.Variant(experiment, "rectified", 1, centred, 0, False, 0)
        else:
            for frozen in (0, 1):
                yield failures.Variant(experiment, "lif", 1, False, frozen, False, 0)

    monkeypatch.setattr(failures, "read", read)
    monkeypatch.setattr(failures, "variants", variants)


def benchmark(monkeypatch, tmp_path, experiment):
    path = tmp_path / "rows.json"
    given = [experiment, "--hidden", "12", "9", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["failures.py", *given])
    failures.main()
    return json.loads(path.read_text())


def test_both_experiments_give_rows_and_no_run_is_repeated(monkeypatch, few, tmp_path, capsys):
    rows = benchmark(monkeypatch, tmp_path, failures.DRTP)
    assert [row["centred"] for row in rows] == [False, True]
    both = benchmark(monkeypatch, tmp_path, failures.ALIGNMENT)
    assert both[:2] == rows and [row["frozen"] for row in both[2:]] == [0, 1]
    assert all(0 <= part <= 1 for row in both for part in row["differs"])
    assert benchmark(monkeypatch, tmp_path, failures.ALIGNMENT) == both
    assert "| feedback-alignment | lif | 1 | False | 1 | False |" in capsys.readouterr().out


def test_frozen_blocks_keep_their_weights(monkeypatch, few, tmp_path):
    free, frozen = benchmark(monkeypatch, tmp_path, failures.ALIGNMENT)
    assert all(moved > 0 for moved in free["moved"])
    assert frozen["moved"][0] == 0 and frozen["moved"][1] > 0


def test_copied_feedback_weights_start_aligned():
    x = torch.ones(40, 1, 8, 8, dtype=torch.uint8)
    stored = cases.Stored(x, torch.arange(40) % 10, x, torch.arange(40) % 10, 10, 0.25, 0.0, False)
    drawn = failures.Variant(failures.ALIGNMENT, "lif", 0, False, 0, False, 0)
    copied = failures.Variant(failures.ALIGNMENT, "lif", 0, False, 0, True, 0)
    assert failures.run(copied, stored, 2, (12, 9))["cosines"] == pytest.approx([1.0, 1.0, 1.0])
    assert max(failures.run(drawn, stored, 2, (12, 9))["cosines"]) < 0.5


def test_activity_that_is_equal_for_all_samples_does_not_differ():
    network = failures.sp.mlp((1, 8, 8), 10, hidden=(6,), neuron=failures.NEURONS["rectified"])
    (activity,) = failures.activities(network, torch.rand(1, 1, 1, 8, 8).expand(1, 5, 1, 8, 8))
    assert activity.shape == (5, 6)
    assert torch.allclose(activity, activity[:1].expand(5, 6))


def test_the_variants_differ_in_one_switch():
    drtp = list(failures.variants(failures.DRTP, [0]))
    assert {(v.neuron, v.centred) for v in drtp} == {
        (neuron, centred) for neuron in failures.NEURONS for centred in (False, True)
    }
    aligned = [v for v in failures.variants(failures.ALIGNMENT, [0]) if v.rule != "backpropagation"]
    assert {(v.epochs, v.frozen, v.copied) for v in aligned} == {
        (5, 0, False), (5, 1, False), (5, 2, False), (5, 0, True), (20, 0, False),
    }  # fmt: skip
