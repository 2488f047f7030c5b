"""Every function and class of the front door takes what is clear, and refuses the rest by name.

Each argument gets one wrong value after another, the other arguments being right. Either the call
works, or a `SigpropError` names the argument. No other error may come.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

import sigprop_snn as sp
from sigprop_snn.training import load_checkpoint

X, Y = torch.rand(4, 6, 6), torch.arange(6) % 3


def network() -> sp.Network:
    torch.manual_seed(0)
    return sp.mlp((6,), 3, hidden=(5,))


def sgd(weights):
    return torch.optim.SGD(weights, lr=0.1)


def defaults_of(maker, **given):
    """Return the arguments of a maker with their defaults, and those that are given."""
    parameters = inspect.signature(maker).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | given


def block(**parts):
    return sp.Block(**{"synapse": nn.Linear(6, 5), "neuron": sp.LIF(), **parts})


def resolved(**settings):
    return sp.TrainConfig(**settings).resolved()


def engine_in_use(engine):
    with sp.use_engine(engine):
        return sp.run(sp.LIF(), torch.rand(2, 2, 3))


def small_run(out):
    return sp.TrainConfig(
        "digits", network="mlp", epochs=np.int64(1), steps=2, train_samples=40, test_samples=20,
        out=out,
    )  # fmt: skip


CONFIG = {f.name: f.default for f in dataclasses.fields(sp.TrainConfig)} | {
    "dataset": "digits",
    "layer_rates": {},
}

PICTURES = {"shape": (1, 8, 8), "classes": 3}

#: Calls that work: the function, and its arguments.
CALLS = {
    "ALIF": (sp.ALIF, defaults_of(sp.ALIF)),
    "Arctan": (sp.Arctan, defaults_of(sp.Arctan)),
    "Block": (sp.Block, defaults_of(sp.Block, synapse=nn.Linear(6, 5), neuron=sp.LIF())),
    "CurrentLIF": (sp.CurrentLIF, defaults_of(sp.CurrentLIF)),
    "Data.from_arrays": (
        sp.Data.from_arrays,
        defaults_of(sp.Data.from_arrays, train=(X[0], Y), test=(X[0], Y)),
    ),
    "Data.from_loaders": (
        sp.Data.from_loaders,
        defaults_of(sp.Data.from_loaders, train=[(X, Y)], test=[(X, Y)]),
    ),
    "Data.from_tonic": (
        sp.Data.from_tonic,
        defaults_of(sp.Data.from_tonic, train=[(X, 0), (X, 1)], test=[(X, 1)]),
    ),
    "Data.from_torch": (
        sp.Data.from_torch,
        defaults_of(sp.Data.from_torch, train=[(X, 0), (X, 1)], test=[(X, 1)]),
    ),
    "DotProductLoss": (
        sp.DotProductLoss,
        {
            f.name: getattr(sp.DotProductLoss(), f.name)
            for f in dataclasses.fields(sp.DotProductLoss)
        },
    ),
    "FastSigmoid": (sp.FastSigmoid, defaults_of(sp.FastSigmoid)),
    "Frames": (sp.Frames, defaults_of(sp.Frames)),
    "HealthCheck": (sp.HealthCheck, defaults_of(sp.HealthCheck, network=network())),
    "IF": (sp.IF, defaults_of(sp.IF)),
    "LIF": (sp.LIF, defaults_of(sp.LIF)),
    "LocalOptimizers": (
        sp.LocalOptimizers,
        {"network": network(), "make": sgd, "by_layer": None},
    ),
    "Network": (
        sp.Network,
        defaults_of(
            sp.Network,
            signal=sp.ProjectedContext(3, (5,)),
            blocks=[block()],
            readout=sp.Readout(5, 3),
        ),
    ),
    "Network.__call__": (lambda **given: network()(**given), {"inputs": X}),
    "Network.learn": (
        lambda **given: network().learn(**given),
        {"inputs": X, "labels": Y, "update": None},
    ),
    "Network.record": (
        lambda **given: network().record(**given),
        {"inputs": X, "names": ["spike"], "layers": None},
    ),
    "Neuron": (sp.Neuron, defaults_of(sp.Neuron)),
    "Online": (sp.Online, {"network": network(), "window": None}),
    "ProjectedContext": (
        sp.ProjectedContext,
        defaults_of(sp.ProjectedContext, classes=3, shape=(5,)),
    ),
    "Rate": (sp.Rate, defaults_of(sp.Rate)),
    "Readout": (sp.Readout, defaults_of(sp.Readout, features=5, classes=3)),
    "RunningNorm": (sp.RunningNorm, defaults_of(sp.RunningNorm, channels=5)),
    "RunningScale": (sp.RunningScale, defaults_of(sp.RunningScale, channels=5)),
    "SignalPropagation": (sp.SignalPropagation, {"layer_rule": sp.VoltageRule()}),
    "Similarity": (sp.Similarity, defaults_of(sp.Similarity)),
    "SnnTorch": (sp.SnnTorch, {"module": snntorch.Leaky(beta=0.9), "surrogate": None}),
    "Sources": (sp.Sources, defaults_of(sp.Sources)),
    "SurrogateRule": (sp.SurrogateRule, {}),
    "TopK": (sp.TopK, defaults_of(sp.TopK)),
    "TopSamples": (sp.TopSamples, defaults_of(sp.TopSamples)),
    "TrainConfig": (resolved, CONFIG),
    "VoltageRule": (sp.VoltageRule, defaults_of(sp.VoltageRule)),
    "conv": (sp.conv, defaults_of(sp.conv, **PICTURES, channels=(2,), kernel=3)),
    "cost": (sp.cost, {"network": network(), "batches": [(X, Y)], "model": None}),
    "decay": (sp.decay, {"tau": 20.0, "dt": 1.0}),
    "evaluate": (sp.evaluate, {"network": network(), "batches": [(X, Y)], "watch": None}),
    "from_snntorch": (
        sp.from_snntorch,
        defaults_of(
            sp.from_snntorch,
            model=nn.Sequential(nn.Linear(6, 5), snntorch.Leaky(beta=0.9), nn.Linear(5, 3)),
        ),
    ),
    "learn_in_parts": (
        sp.learn_in_parts,
        {"network": network(), "inputs": X, "labels": Y, "update": None, "every": 2},
    ),
    "load": (
        sp.load,
        defaults_of(sp.load, name="digits", steps=2, train_samples=10, test_samples=10),
    ),
    "load_run": (sp.load_run, defaults_of(sp.load_run, path="run")),
    "pretrained": (sp.pretrained, {"name": "digits", "folder": "pretrained"}),
    "mlp": (sp.mlp, defaults_of(sp.mlp, shape=(6,), classes=3, hidden=(5,))),
    "resume": (sp.resume, defaults_of(sp.resume, path="run")),
    "run": (sp.run, defaults_of(sp.run, neuron=sp.LIF(), current=torch.rand(3, 2, 4))),
    "train": (sp.train, {"config": sp.TrainConfig("nowhere"), "say": print}),
    "use_engine": (engine_in_use, {"engine": "reference"}),
    "vgg": (sp.vgg, defaults_of(sp.vgg, **PICTURES, layers=(2,))),
    "vgg8": (sp.vgg8, defaults_of(sp.vgg8, **PICTURES, width=0.01)),
}

#: Names of the front door that nobody calls: catalogues, protocols, abstract classes, modules, the
#: version.
NOT_CALLED = {
    "DATASETS", "LOSSES", "NETWORKS", "NEURONS", "RULES", "SIGNALS", "SURROGATES",
    "LayerRule", "LocalLoss", "Rule", "Signal", "SigpropError", "State", "Surrogate",
    "__version__", "analysis", "monitors", "parallel", "plots",
}  # fmt: skip

WRONG = {
    "none": None,
    "text": "nonsense",
    "object": object(),
    "array": np.array([1, 2]),
    "numpy's -1": np.int64(-1),
    "-1": -1,
    "2.5": 2.5,
    "nan": float("nan"),
    "list": [],
    "dict": {},
    "truth": True,
    "module": nn.Linear(2, 2),
    "tensor": torch.rand(2),
    "function": len,
    "class": int,
}

#: Words of a message that name an argument, where they are not the argument itself.
ALSO_NAMED = {
    "name": ("data set", "pretrained network"),
    "dataset": ("data set",),
    "blocks": ("sources",),
    "names": ("recording",),
    "layers": ("layer",),
    "record": ("recording",),
    "path": ("run at",),
    "config": ("data set",),
    "hidden": ("size",),
}

#: A function of the caller's that takes other arguments, or gives something else, raises its own
#: error: nobody can tell it from a fault inside a right function.
OWN_ERRORS = {
    ("LocalOptimizers", "make"), ("evaluate", "watch"), ("Network.learn", "update"),
    ("learn_in_parts", "update"), ("train", "say"), ("resume", "say"), ("resume", "team"),
}  # fmt: skip


def test_every_name_of_the_front_door_is_walked():
    walked = {name.split(".")[0] for name in CALLS}
    assert walked | NOT_CALLED == set(sp.__all__)
    assert not walked & NOT_CALLED


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_taken_or_refused_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in ("load_run", "resume"):
        sp.train(small_run("run"), lambda line: None)
    call, right = CALLS[name]
    faults = []
    for argument in right:
        words = (argument, argument.replace("_", " "), *ALSO_NAMED.get(argument, ()))
        for kind, value in WRONG.items():
            if (name, argument) in OWN_ERRORS and callable(value):
                continue
            try:
                call(**{**right, argument: value})
            except sp.SigpropError as error:
                if not any(word in str(error) for word in words):
                    faults.append(f"{argument}={kind}: does not name it: {error}")
            except Exception as error:  # any other error is the fault that this test looks for
                faults.append(f"{argument}={kind}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)


NUMPY = {
    "mlp": lambda: sp.mlp(np.array([6]), np.int64(3), hidden=np.int32(5), gain=np.float32(2.0)),
    "conv": lambda: sp.conv(
        np.array([1, 8, 8]), np.int64(3), channels=np.array([2, 3]), kernel=np.int64(3)
    ),
    "vgg": lambda: sp.vgg(
        (1, 8, 8), 3, layers=[np.int64(2), "pool", np.int64(3)], dense=np.int64(4)
    ),
    "readout": lambda: sp.Readout(np.int64(5), np.int64(3)),
    "norm": lambda: sp.RunningNorm(np.int64(5), gain=np.float32(1.0)),
    "context": lambda: sp.ProjectedContext(np.int64(3), np.array([5])),
    "sources": lambda: sp.Sources(np.int64(2)),
    "online": lambda: sp.Online(network(), window=np.int64(3)),
    "neuron": lambda: sp.LIF(beta=np.float32(0.5), threshold=torch.tensor(1.0)),
    "config": lambda: sp.TrainConfig(
        "digits", epochs=np.int64(1), train_samples=np.int32(60), learning_rate=np.float32(0.5)
    ).resolved(),
}


@pytest.mark.parametrize("name", NUMPY)
def test_numbers_of_numpy_are_taken(name):
    NUMPY[name]()


def test_settings_become_plain_numbers_and_paths():
    config = sp.TrainConfig(
        "digits", epochs=np.int64(1), learning_rate=np.float32(0.5), out="runs/x", data_root="~/d"
    ).resolved()
    assert type(config.epochs) is int and type(config.learning_rate) is float
    assert config.out == Path("runs/x")
    assert config.data_root == Path.home() / "d"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"epochs": "2"}, "epochs is '2'"),
        ({"train_samples": 60.0}, r"train_samples is 60\.0"),
        ({"seed": True}, "seed is True"),
        ({"out": 3}, "out is 3"),
        ({"layer_rates": {"block1": "much"}}, "block1.*'much'"),
        ({"precision": "float16"}, "precision 'float16'"),
        ({"tensorboard": "yes"}, "tensorboard is 'yes'"),
    ],
)
def test_settings_of_another_type_are_refused_by_name(settings, found):
    with pytest.raises(sp.SigpropError, match=found):
        sp.TrainConfig("digits", **settings).resolved()


def test_a_run_is_named_by_text_as_by_a_path(tmp_path):
    trained = sp.train(small_run(str(tmp_path / "run")), lambda line: None)
    for folder in (str(tmp_path / "run"), tmp_path / "run"):
        assert sp.load_run(folder).history == trained.history
        assert sp.resume(folder, lambda line: None).history == trained.history
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    assert load_checkpoint(str(checkpoint)).keys() == load_checkpoint(checkpoint).keys()


@pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")
@pytest.mark.parametrize("hidden", [False, True])
def test_a_block_and_a_builder_take_a_neuron_of_snntorch(hidden):
    neuron = snntorch.Leaky(beta=0.9, init_hidden=hidden)
    block = sp.Block(nn.Linear(6, 5), neuron)
    network = sp.mlp((6,), 3, hidden=5, neuron=neuron)
    for made in (block, network.blocks[0]):
        assert isinstance(made.neuron, sp.SnnTorch)
    assert network.learn(X, Y).layers[0].loss > 0
    assert neuron.init_hidden is hidden


def test_a_model_given_as_blocks_is_pointed_to_its_converter():
    model = nn.Sequential(nn.Linear(6, 5), snntorch.Leaky(beta=0.9))
    with pytest.raises(sp.SigpropError, match=r"blocks.*from_snntorch\(model\)"):
        sp.Network(sp.ProjectedContext(3, (5,)), model)


def test_a_name_of_another_package_is_found_there():
    with pytest.raises(AttributeError, match=r"expected sigprop_snn\.neurons\.ParametricLIF"):
        _ = sp.ParametricLIF
    with pytest.raises(AttributeError, match=r"expected sigprop_snn\.report\.write_report"):
        _ = sp.write_report
    with pytest.raises(AttributeError, match=r"Did you mean VoltageRule\?"):
        _ = sp.VoltagRule
    assert not hasattr(sp, "nothing_like_it")


def test_a_dataset_of_samples_in_the_place_of_batches_is_told_its_way():
    samples = [(torch.rand(4, 6), label) for label in range(3)]
    with pytest.raises(sp.SigpropError, match=r"goes through Data\.from_torch or a DataLoader"):
        sp.Data.from_loaders(samples, samples)
    with pytest.raises(sp.SigpropError, match=r"batches is a Data.*such as data\.test"):
        sp.evaluate(network(), sp.Data.from_arrays((X[0], Y), (X[0], Y)))
