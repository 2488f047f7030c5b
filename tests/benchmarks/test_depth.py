"""The benchmark of depth, on a few drawn pictures."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "depth.py"


@pytest.fixture
def folder(tmp_path):
    """Writes forty JPEG pictures of two classes, dark and bright."""
    random = np.random.default_rng(0)
    for split, count in (("train", 14), ("test", 6)):
        for label, name in enumerate(("dark", "bright")):
            home = tmp_path / "cifar10-jpeg" / split / name
            home.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(128 * label, 128 * label + 128, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(home / f"{number}.jpg")
    return tmp_path


def benchmark(monkeypatch, folder, *arguments):
    given = ["--folder", str(folder), "--json", str(folder / "rows.json"), "--size", "8"]
    given += ["--batch-size", "8", "--steps", "2", "--epochs", "1", *arguments]
    monkeypatch.setattr(sys, "argv", ["depth.py", *given])
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    path = folder / "rows.json"
    return json.loads(path.read_text()) if path.exists() else []


PLAIN = ("--no-similarity", "--no-skips", "--network", "six")


def test_every_run_gives_a_row_and_no_run_is_repeated(monkeypatch, folder, capsys):
    rules = ("--rules", "voltage,backpropagation,predsim")
    rows = benchmark(monkeypatch, folder, *PLAIN, *rules)
    assert [row["rule"] for row in rows] == ["voltage", "backpropagation", "predsim"]
    local, reference, predsim = rows
    assert (predsim["centring"], predsim["similarity"]) == (False, False)
    assert local.keys() >= {
        "rule", "neuron", "network", "seed", "epochs", "train_samples", "blocks",
        "test_accuracy", "seconds", "centring", "similarity", "skips", "size", "steps", "device",
    }  # fmt: skip
    assert (local["train_samples"], local["centring"], local["skips"]) == (26, True, False)
    assert [block["name"] for block in local["blocks"]] == [f"block{n}" for n in range(1, 7)]
    keys = {"name", "context_accuracy", "probe_accuracy", "spike_rate", "context_cosine"}
    assert all(keys <= block.keys() for row in rows for block in row["blocks"])
    assert all(0 <= block["context_accuracy"] <= 1 for block in local["blocks"])
    assert all(block["context_accuracy"] is None for block in reference["blocks"])
    figure = folder / "depth.png"
    again = benchmark(monkeypatch, folder, *PLAIN, *rules, "--no-centring", "--figure", str(figure))
    assert again[:3] == rows
    assert [row["centring"] for row in again] == [True, False, False, False]
    assert figure.stat().st_size > 0
    assert benchmark(monkeypatch, folder, *PLAIN, *rules) == again
    assert "0 of 3 runs to do" in capsys.readouterr().out


def test_a_run_out_of_time_says_what_is_missing(monkeypatch, folder, capsys):
    assert benchmark(monkeypatch, folder, *PLAIN, "--rules", "voltage", "--minutes", "0") == []
    assert "missing: voltage seed 0" in capsys.readouterr().out


@pytest.mark.parametrize("network", ["vgg8", "conv"])
def test_other_networks_take_all_three_ingredients(monkeypatch, folder, network):
    options = ("--network", network, "--width", "0.05", "--neuron", "rate")
    rows = benchmark(monkeypatch, folder, "--rules", "surrogate", *options)
    assert (rows[0]["network"], rows[0]["skips"], rows[0]["similarity"]) == (network, True, True)
    assert len(rows[0]["blocks"]) == {"vgg8": 7, "conv": 3}[network]


def test_the_preset_of_the_authors_gives_a_row_of_its_name(monkeypatch, folder, capsys):
    rows = benchmark(monkeypatch, folder, "--preset", "authors", "--dropout", "0.2")
    (row,) = rows
    assert (row["preset"], row["dropout"], row["rule"]) == ("authors", 0.2, "surrogate")
    assert (row["neuron"], row["steps"]) == ("rate", 1)
    assert (row["centring"], row["similarity"], row["skips"]) == (False, False, False)
    assert all(block["context_accuracy"] is not None for block in row["blocks"])
    assert "surrogate, rate, T = 1, preset authors, dropout 0.2" in capsys.readouterr().out
    again = benchmark(monkeypatch, folder, "--preset", "authors")
    assert [row["dropout"] for row in again] == [0.2, None]
    figure = folder / "depth.png"
    others = ("--neuron", "rate", "--steps", "1", "--grid", "2", "--figure", str(figure))
    plain = benchmark(monkeypatch, folder, *PLAIN, "--rules", "voltage", *others)[-1]
    assert (plain["preset"], plain["grid"]) == (None, 2)
    assert figure.stat().st_size > 0


def test_rows_without_the_newer_keys_are_not_repeated(monkeypatch, folder, capsys):
    (row,) = benchmark(monkeypatch, folder, *PLAIN, "--rules", "voltage")
    old = {name: row[name] for name in row if name not in ("preset", "grid", "dropout")}
    (folder / "rows.json").write_text(json.dumps([old]))
    assert benchmark(monkeypatch, folder, *PLAIN, "--rules", "voltage") == [old]
    assert "0 of 1 runs to do" in capsys.readouterr().out


@pytest.mark.parametrize("text", ['{"device": "cpu"}', '[{"T": 4}]', "[1]", "rows"])
def test_a_file_without_rows_is_refused_before_a_training_and_kept(monkeypatch, folder, text):
    (folder / "rows.json").write_text(text)
    with pytest.raises(SystemExit, match=r"rows\.json"):
        benchmark(monkeypatch, folder, *PLAIN)
    assert (folder / "rows.json").read_text() == text


def test_dropout_is_refused_where_the_network_has_none(monkeypatch, folder):
    with pytest.raises(SystemExit, match="conv"):
        benchmark(monkeypatch, folder, "--network", "conv", "--dropout", "0.1")


def test_the_blocks_of_the_authors_learn_by_the_products_of_instance_normed_maps():
    """The first two blocks, by hand, with the gradient of autograd within each."""
    made = runpy.run_path(str(BENCHMARK))
    case = made["DepthCase"](
        "surrogate", "rate", "six", 1.0, 0, 1, 26, 6, 8, 1, False, False, False, "authors"
    )
    network = made["build"](case, 8).double()
    signal, (first, second, *_) = network.signal, network.blocks
    with torch.no_grad():
        for block in (first, second):
            block.norm.weight.uniform_(0.5, 1.5)
            block.norm.bias.uniform_(-0.5, 0.5)
        signal.factor.uniform_(0.5, 1.5)
        signal.offset.uniform_(-0.5, 0.5)
    x, labels = torch.rand(1, 6, 3, 8, 8).double(), torch.tensor([0, 1, 2, 7, 4, 1])
    found = network.learn(x, labels)

    def scores(samples, contexts):
        return torch.einsum("bchw,kchw->bk", samples, contexts) / samples.shape[2:].numel()

    drive = F.layer_norm(signal.projection, signal.projection.shape[1:], eps=1e-10).view(
        8, 32, 8, 8
    )
    contexts = F.relu(signal.factor * drive + signal.offset)
    maps = F.conv2d(x[0], first.synapse.weight, first.synapse.bias, padding=1)
    samples = F.relu(
        F.batch_norm(maps, None, None, first.norm.weight, first.norm.bias, training=True)
    )
    loss = F.cross_entropy(scores(samples, contexts), labels)
    assert found.layers[0].loss == pytest.approx(loss.item(), rel=1e-9)
    weights = [
        first.synapse.weight, first.norm.weight, first.norm.bias, signal.projection,
        signal.factor, signal.offset,
    ]  # fmt: skip
    for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        torch.testing.assert_close(weight.grad, grad, rtol=1e-7, atol=1e-11)

    samples, contexts = (F.max_pool2d(each, 2).detach() for each in (samples, contexts))
    direction = F.normalize(contexts.flatten(1), dim=1)
    alike = direction @ direction.t()
    copies = alike[labels][:, labels].topk(6, dim=1).indices  # all six samples of the batch
    targets = F.one_hot(labels[copies], 8).double().sum(1) / 6
    both = torch.cat([samples, contexts])
    maps = F.conv2d(both, second.synapse.weight, second.synapse.bias, padding=1)
    shown = F.leaky_relu(F.instance_norm(maps, weight=second.norm.weight, bias=second.norm.bias))
    loss = F.cross_entropy(scores(shown[:6], shown[6:]), targets)
    assert found.layers[1].loss == pytest.approx(loss.item(), rel=1e-9)
    weights = [second.synapse.weight, second.norm.weight, second.norm.bias]
    for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        torch.testing.assert_close(weight.grad, grad, rtol=1e-7, atol=1e-11)
