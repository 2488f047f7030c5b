"""Every signal of the catalogue with every loss: they learn together, or say why they can't."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.command_line.cli import main
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import LOSSES, SIGNALS, mlp

SELECTING = ("maxima", "random-maximum", "top-k")
OWN = ("conditioned-context", "label-overlay")
REFUSED = {(signal, loss) for signal in OWN for loss in SELECTING}
UNSHARED = {(signal, "goodness") for signal in SIGNALS if signal not in OWN}
PAIRS = [(signal, loss) for signal in SIGNALS for loss in LOSSES]
LEARNING = [pair for pair in PAIRS if pair not in REFUSED | UNSHARED]


def make(signal: str, loss: str):
    torch.manual_seed(0)
    return mlp((1, 8, 8), 10, hidden=(30, 20), signal=SIGNALS[signal], loss=LOSSES[loss]())


@pytest.mark.parametrize(("signal", "loss"), LEARNING)
def test_pairs_learn(signal, loss):
    network = make(signal, loss)
    x, labels = torch.rand(3, 12, 1, 8, 8), torch.arange(12) % 10
    learned = network.learn(x, labels)
    assert all(torch.isfinite(torch.tensor(layer.loss)) for layer in learned.layers)
    for block in network.blocks:
        assert block.synapse.state_dict().keys()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    guesses = [stage.scores.shape for stage in network.eval().stages(x)]
    assert guesses == [(12, 10)] * 3


@pytest.mark.parametrize(("signal", "loss"), sorted(REFUSED))
def test_targets_cannot_be_selected_among_a_samples_own_contexts(signal, loss):
    with pytest.raises(SigpropError, match="selects targets among contexts that all samples share"):
        make(signal, loss)


@pytest.mark.parametrize(("signal", "loss"), sorted(UNSHARED))
def test_goodness_needs_contexts_of_a_samples_own(signal, loss):
    with pytest.raises(SigpropError, match=r"Goodness.*label-overlay"):
        make(signal, loss).learn(torch.rand(3, 12, 1, 8, 8), torch.arange(12) % 10)


TINY = ["train", "digits", "--epochs", "1", "--train-samples", "40", "--test-samples", "20"]


@pytest.mark.parametrize(
    ("signal", "loss"),
    [("conditioned-context", "contrastive"), ("drawn-context", "top-k"), ("mean-picture", "l2")],
)
def test_the_command_line_trains_with_them(tmp_path, signal, loss, monkeypatch, no_figures):
    monkeypatch.setattr("sigprop_snn.figures.draw_run", lambda trained: [])  # looked at elsewhere
    out = tmp_path / "run"
    flags = ["--steps", "3", "--signal", signal, "--loss", loss, "--out", str(out)]
    assert main([*TINY, *flags]) == 0
    assert (out / "summary.json").is_file()


def test_the_command_line_says_in_a_line_what_does_not_go_together(tmp_path, capsys, no_figures):
    out = tmp_path / "run"
    flags = ["--signal", "conditioned-context", "--loss", "top-k", "--out", str(out)]
    assert main([*TINY, *flags]) == 2
    said = capsys.readouterr().err
    assert "ConditionedContext gives each sample its own" in said
    assert "Traceback" not in said
    assert not out.exists()
