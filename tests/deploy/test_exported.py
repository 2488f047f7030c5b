"""A network as a program of torch or of ONNX has the network's spikes and scores."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import sigprop_snn as sp
from sigprop_snn.command_line.cli import main
from sigprop_snn.deploy import export_program, fold, write_onnx, write_program

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*gives no gradient"),
]
STEPS = 4


def made(name="mlp", **options):
    torch.manual_seed(0)
    if name == "mlp":
        network = sp.mlp((9,), 3, hidden=(12, 10), **options)
    else:
        options = {"layers": (3, "pool", 4), "dense": 6, "sources": 2, **options}
        network = sp.vgg((1, 8, 8), 3, gain=2.0, shift=0.5, **options)
    shape = network.sample_shape
    network.learn(torch.rand(STEPS, 6, *shape), torch.arange(6) % 3)
    return network.eval(), (torch.rand(STEPS, 5, *shape) > 0.5).float()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"neuron": "recurrent-alif"}),
        ("mlp", {"neuron": "leaky-rate"}),
        ("vgg", {"neuron": "cuba"}),
    ],
    ids=str,
)
def test_a_program_of_torch_has_the_spikes_of_the_network(name, options):
    network, inputs = made(name, **options)
    program = export_program(network, STEPS, spikes=True)
    scores, *spikes = program.module()(inputs)
    torch.testing.assert_close(scores, network(inputs))
    recorded = fold(network).record(inputs)
    for layer, found in zip(fold(network).layers, spikes, strict=True):
        torch.testing.assert_close(found, recorded[layer]["spike"])
        assert found.any()
    single = program.module()(inputs[:, :1])[0]
    torch.testing.assert_close(single, scores[:1])


def test_a_written_program_runs_without_this_package(tmp_path):
    network, inputs = made()
    file = write_program(network, tmp_path / "network.pt2", STEPS)
    torch.save({"inputs": inputs}, tmp_path / "inputs.pt")
    code = (
        "import sys, torch\n"
        f"inputs = torch.load({str(tmp_path / 'inputs.pt')!r})['inputs']\n"
        f"scores = torch.export.load({str(file)!r}).module()(inputs)\n"
        f"torch.save({{'scores': scores}}, {str(tmp_path / 'scores.pt')!r})\n"
        "assert 'sigprop_snn' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={})
    scores = torch.load(tmp_path / "scores.pt")["scores"]
    torch.testing.assert_close(scores, network(inputs))


# Of one network, with convolutions, pools and linear layers: the export takes seconds, and programs
# of other networks are compared above.
def test_onnxruntime_gives_the_scores_of_the_network(tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="the extra onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    network, inputs = made("vgg")
    file = write_onnx(network, tmp_path / "network.onnx", STEPS)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for rows in (1, 5):
        (scores,) = session.run(["scores"], {"inputs": inputs[:, :rows].numpy()})
        torch.testing.assert_close(torch.tensor(scores), network(inputs[:, :rows]))
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]


@pytest.mark.parametrize("neuron", ["lif-noise", "lif-escape", "snntorch-leaky"])
def test_a_neuron_that_can_not_be_exported_is_refused_by_name(neuron):
    network = sp.mlp((9,), 3, hidden=5, neuron=neuron)
    kind = type(network.blocks[0].neuron).__name__
    with pytest.raises(sp.SigpropError, match=f"{kind} in block1"):
        export_program(network, 2)


def test_arguments_are_refused_by_name(tmp_path, monkeypatch):
    network, _ = made()
    with pytest.raises(sp.SigpropError, match="steps is 0"):
        export_program(network, 0)
    with pytest.raises(sp.SigpropError, match=r"\[4\] do not fit block1"):
        export_program(network, 2, sample_shape=4)
    with pytest.raises(sp.SigpropError, match=r"network.bin.*\.pt2"):
        write_program(network, tmp_path / "network.bin", 2)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(sp.SigpropError, match=r"\.\[onnx\]"):
        write_onnx(network, tmp_path / "network.onnx", 2)


def test_a_run_is_exported_by_a_command(tmp_path, capsys, no_figures):
    run = tmp_path / "run"
    train = ["train", "digits", "--epochs", "1", "--train-samples", "60", "--test-samples", "20"]
    assert main([*train, "--steps", "2", "--out", str(run), "-q"]) == 0
    assert main(["export", str(run), "--format", "torch"]) == 0
    assert f"network: {run / 'network.pt2'}" in capsys.readouterr().out
    found = sp.training.load_run(run)
    inputs, _ = next(iter(found.data.test))
    program = torch.export.load(run / "network.pt2")
    torch.testing.assert_close(program.module()(inputs), found.network(inputs))
