"""Every name of every `__all__` takes what is clear and refuses the rest with a `SigpropError`.

Each argument of every function and constructor gets one wrong value after another, the other
arguments being right. Either the call works, or a `SigpropError` comes; no other error may.
`test_public_api.py` asks more of the names of the front door: there the error names the argument.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

import sigprop_snn as sp
from sigprop_snn import (
    analysis,
    comparison,
    data,
    deploy,
    fixed_point,
    monitors,
    network,
    neurons,
    parallel,
    plots,
    report,
    rules,
    surrogates,
    training,
)
from sigprop_snn.neurons import engines

PACKAGES = {
    "surrogates": surrogates,
    "neurons": neurons,
    "neurons.engines": engines,
    "network": network,
    "rules": rules,
    "data": data,
    "deploy": deploy,
    "fixed_point": fixed_point,
    "training": training,
    "parallel": parallel,
    "monitors": monitors,
    "analysis": analysis,
    "plots": plots,
    "report": report,
    "comparison": comparison,
}

X, Y = torch.rand(4, 6, 6), torch.arange(6) % 3
BATCHES = [(X, Y)]
COUNTS = torch.arange(4 * 6 * 6).view(4, 6, 6) % 3
STATE = sp.State(torch.zeros(2, 3))
EVENTS = np.zeros(4, dtype=[("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "<i2")])


def net() -> sp.Network:
    torch.manual_seed(0)
    return sp.mlp((6,), 3, hidden=(5,))


def values_net() -> sp.Network:
    return sp.mlp((6,), 2, hidden=(5,), signal=network.vector_context)


def labels_net() -> sp.Network:
    return sp.mlp((6,), 3, hidden=(5,), signal=network.multi_label_context)


def integers() -> fixed_point.IntegerLearner:
    return fixed_point.integer_mlp(COUNTS, 3, hidden=(5,), levels=1)


def layout() -> network.Layout:
    return network.layout_of([sp.Block(nn.Linear(6, 5), sp.LIF())], (6,), 3)


def sgd(weights):
    return torch.optim.SGD(weights, lr=0.1)


def optimizers():
    return sp.LocalOptimizers(net(), sgd)


#: Right values of arguments without a default, by the argument's name.
BY_NAME = {
    "neuron": sp.LIF(),
    "network": net,
    "layout": layout,
    "batches": BATCHES,
    "inputs": X,
    "labels": Y,
    "classes": 3,
    "shape": (5,),
    "features": (5,),
    "current": torch.rand(3, 2, 4),
    "steps": 4,
    "state": STATE,
    "fitted": BATCHES,
    "held_out": BATCHES,
    "channels": 5,
    "split": "train",
    "config": sp.TrainConfig("digits"),
    "optimizers": optimizers,
    "spikes": (torch.rand(8, 5) > 0.5).float(),
}

#: Right values of single functions, for arguments that mean something else there, or that have a
#: default which is slow.
RIGHT: dict[str, dict[str, object]] = {
    "network.layout_of": {"blocks": [sp.Block(nn.Linear(5, 5), sp.LIF())]},
    "neurons.Recurrent": {"recurrence": neurons.OneToOne((3,))},
    "neurons.SnnTorch": {"module": snntorch.Leaky(beta=0.9)},
    "neurons.decay": {"tau": 20.0},
    "neurons.engine_for": {"device": torch.device("cpu")},
    "neurons.filter_matrix": {"response": torch.rand(4)},
    "neurons.geometric_response": {"response": torch.rand(4)},
    "neurons.make_neuron": {"model": sp.LIF},
    "neurons.map_state": {"function": torch.detach},
    "neurons.mean_trace": {"response": torch.rand(4)},
    "neurons.use_engine": {"engine": "reference"},
    "neurons.with_voltage": {"voltage": torch.zeros(2, 3)},
    "neurons.engines.DenseSpikes": {"values": X},
    "neurons.engines.engine_named": {"name": "reference"},
    "neurons.engines.plain_synapse": {"synapse": nn.Linear(3, 3)},
    "network.Block": {"synapse": nn.Linear(6, 5)},
    "network.ConditionedContext": {"inputs": (6,)},
    "network.DrawnContext": {"inputs": (1, 8, 8)},
    "network.LabelOverlay": {"sample": (6,)},
    "network.Network": {
        "signal": lambda: sp.ProjectedContext(3, (5,)),
        "blocks": lambda: [sp.Block(nn.Linear(6, 5), sp.LIF())],
    },
    "network.Readout": {"features": 5},
    "network.SignalPropagation": {"layer_rule": sp.VoltageRule()},
    "network.VectorContext": {"size": 2},
    "network.WeightedSum": {"terms": ((1.0, sp.DotProductLoss()), (2.0, sp.Similarity()))},
    "network.conv": {"shape": (1, 8, 8), "channels": (2,), "kernel": 3},
    "network.correct": {"scores": torch.rand(6, 3)},
    "network.from_snntorch": {
        "model": lambda: nn.Sequential(nn.Linear(6, 5), snntorch.Leaky(0.9), nn.Linear(5, 3)),
        "shape": None,
    },
    "network.learn_in_parts": {"update": None, "every": 2},
    "network.mlp": {"hidden": (5,)},
    "network.nir_conv": {"shape": (1, 8, 8), "channels": (2,), "kernel": 3},
    "network.vgg": {"shape": (1, 8, 8), "layers": (2,)},
    "network.vgg8": {"shape": (1, 8, 8), "width": 0.01},
    "rules.Generator": {"sizes": (6, 5), "latents": 4},
    "data.load": {"name": "digits", "steps": 2, "train_samples": 10, "test_samples": 10},
    "data.mask": {"lengths": torch.tensor([2, 3])},
    "data.to_frames": {"events": EVENTS, "sensor": (4, 4, 2), "duration": 10},
    "data.prepare": {
        "source": lambda: data.DATASETS["digits"].open(data.Request(Path("data"))),
        "train_samples": 10,
        "test_samples": 10,
    },
    "data.read_events": {"file": "events.npy"},
    "data.read_nmnist_file": {"file": "00001.bin"},
    "deploy.Folded": {
        "layers": lambda: {
            "block1": deploy.FoldedLayer(nn.Linear(6, 5), sp.LIF(), nn.Identity())
        },
        "readout": lambda: sp.Readout(5, 3),
    },
    "deploy.write_onnx": {"file": "a.onnx", "steps": 2},
    "deploy.write_program": {"file": "a.pt2", "steps": 2},
    "deploy.from_nir": {"source": "network.nir"},
    "deploy.write_nir": {"graph": lambda: deploy.to_nir(net()), "file": "a.nir"},
    "deploy.FoldedLayer": {"synapse": nn.Linear(6, 5), "pool": nn.Identity()},
    "fixed_point.IntegerLearner": {
        "network": lambda: integers().network,
        "contexts": lambda: integers().contexts,
    },
    "fixed_point.IntegerNetwork": {
        "layers": lambda: integers().network.layers,
        "readout": lambda: integers().network.readout,
        "levels": 1,
        "format": fixed_point.Format(per="tensor"),
        "sample_shape": (6,),
    },
    "fixed_point.QuantisedOptimizers": {"optimizers": optimizers},
    "fixed_point.c_source": {"network": lambda: integers()},
    "fixed_point.check_chip": {"network": lambda: integers().network, "chip": "loihi-2"},
    "fixed_point.integer_inputs": {"levels": 255},
    "fixed_point.integer_mlp": {"inputs": COUNTS, "hidden": (5,)},
    "fixed_point.quantise": {"folded": lambda: deploy.fold(net())},
    "fixed_point.quantise_weights": {"weight": torch.rand(3, 4), "bits": 4},
    "fixed_point.write_c": {"network": lambda: integers(), "file": "network.c"},
    "training.LocalOptimizers": {"make": sgd},
    "training.LocalSchedules": {"make": training.SCHEDULES["constant"], "batches": 3},
    "training.RunFolder": {"path": "run"},
    "training.build_network": {"shape": (1, 8, 8), "classes": 10},
    "training.judge": {"seed": 0},
    "training.load_checkpoint": {"path": "run/checkpoint.pt"},
    "training.load_release": {"path": "digits.pt"},
    "training.load_run": {"path": "run"},
    "training.multi_label_accuracy": {
        "network": labels_net,
        "batches": [(X, torch.ones(6, 3))],
    },
    "training.regression_error": {"network": values_net, "batches": [(X, torch.rand(6, 2))]},
    "training.pretrained": {"name": "digits"},
    "training.write_release": {"trained": None, "path": "digits.pt"},
    "training.optimizer_of": {"name": "adam", "rate": 0.1},
    "training.peak_memory_mb": {"device": torch.device("cpu")},
    "training.resume": {"path": "run", "say": lambda line: None},
    "parallel.balanced": {"costs": [1.0, 2.0, 1.0], "stages": 2},
    "parallel.resume": {"path": "run", "say": lambda line: None},
    "parallel.train": {"config": sp.TrainConfig("digits"), "say": lambda line: None},
    "training.train": {"config": sp.TrainConfig("nowhere"), "say": lambda line: None},
    "monitors.UpdateNorms": {"update": lambda: optimizers().step},
    "monitors.format_energy": {"nanojoules": 3.0},
    "analysis.angle": {"first": torch.rand(3), "second": torch.rand(3)},
    "analysis.linear_probe": {
        "features": torch.rand(6, 4), "held_features": torch.rand(6, 4), "held_labels": Y,
    },
    "analysis.ridge_probe": {
        "features": torch.rand(6, 4), "held_features": torch.rand(6, 4), "held_labels": Y,
    },
    "plots.learning_curves": {
        "history": [
            {"epoch": 1, "loss": 0.5, "test_accuracy": 0.5, "train_accuracy": 0.5, "layers": []}
        ],
    },
    "plots.rule_spectrum": {"rows": [{"rule": "voltage", "accuracy": 0.9}]},
    "plots.save": {"picture": lambda: plots.raster(torch.ones(3, 4)), "path": "a.png"},
    "plots.voltage_histogram": {"layers": {"a": (torch.arange(4), torch.ones(3))}},
    "plots.animate_layers": {"layers": {"a": torch.rand(3, 4)}, "path": "a.gif"},
    "plots.axes_row": {"count": 2},
    "plots.confusion": {"matrix": torch.ones(3, 3)},
    "plots.event_cloud": {"events": EVENTS},
    "plots.event_frames": {"frames": torch.rand(4, 2, 5, 5)},
    "plots.layer_colours": {"names": ["block1"]},
    "plots.network_raster": {"layers": {"a": torch.rand(3, 4)}},
    "plots.neuron_comparison": {
        "traces": {"lif": (torch.rand(5), torch.rand(5))}, "current": torch.rand(5),
    },
    "plots.rate_maps": {"spikes": torch.rand(4, 2, 5, 5)},
    "plots.separability": {"seen": [1, 2], "accuracy": {"a": [0.1, 0.2]}},
    "plots.similarity": {"matrix": torch.ones(3, 3)},
    "plots.stream_alignment": {
        "seen": [1, 2], "same": {"a": [0.1, 0.2]}, "other": {"a": [0.1, 0.2]},
    },
    "plots.surrogate_comparison": {
        "functions": {"arctan": (torch.rand(5), torch.rand(5))}, "u": torch.linspace(-1, 1, 5),
    },
    "plots.update_angles": {"seen": [1, 2], "degrees": {"a": [1.0, 2.0]}},
    "plots.voltage_traces": {"voltage": torch.rand(5, 6)},
    "plots.weights_as_pictures": {"weights": torch.rand(3, 5, 5)},
    "report.write_report": {"run": "run"},
    "comparison.compare": {"config": comparison.CompareConfig("nowhere"), "say": lambda line: None},
    "comparison.as_text": {"rows": []},
    "comparison.rows_of": {"records": []},
    "comparison.CompareConfig": {"dataset": "digits"},
    "training.TrainConfig": {"dataset": "digits"},
    "comparison.trainings": {"config": comparison.CompareConfig("digits", seeds=1)},
}  # fmt: skip


#: Functions whose right call needs what this test has not: a run, a file, a GPU, an extra.
NEEDS_MORE = {
    "comparison.compare", "data.read_events", "data.read_nmnist_file", "deploy.from_nir",
    "deploy.write_onnx",
    "report.write_report", "training.GraphedStep", "training.load_checkpoint",
    "training.load_release", "training.load_run", "training.pretrained", "training.resume",
    "training.train", "training.write_release", "parallel.Pipeline", "parallel.resume",
    "parallel.train",
}  # fmt: skip

#: What the package makes and hands out, and nobody else: plain records, which check nothing.
RECORDS = {
    "AdExState", "AdaptiveState", "BlockProfile", "Comparison", "Cost", "Chip", "CurrentState",
    "Data",
    "DataNotFoundError", "Dataset", "Entry", "Evaluation", "EventFileError", "Finding",
    "HealthWarning", "IntegerLayer", "IntegerLearned", "IntegerReadout", "IntegerRun",
    "IzhikevichState", "LatentPrior", "LayerAlignment", "LayerAngle", "LayerCost",
    "LayerEvaluation", "LayerNorms", "LayerReport", "LayerSeparability", "Layout", "Learned",
    "MeanTrace", "Misfit", "Needs", "Operations", "PlainSynapse", "Pretrained", "Quantised",
    "RankLostError", "RankReport", "Recipe", "RecurrentState", "Release", "Report", "Request",
    "MapStatistics", "Response", "RuleChoice", "RuleRow", "Run", "RunStoppedError", "Scale",
    "Source", "Split", "Stage", "State", "Step", "Trained", "TrainingRun",
    "VoltageHistogram", "Batches",
}  # fmt: skip

#: Types and protocols: nobody calls them.
TYPES = {
    "Answers", "Engine", "Gradients", "LayerRule", "LearningNetwork", "LocalLoss", "NeuronState",
    "MapNormaliser", "Normaliser", "Predict", "Reset", "Rule", "Signal", "Spikes", "Surrogate",
    "Update",
}  # fmt: skip

#: Classes of torch under another name, or whose constructor is torch's.
TORCH = {"LengthNorm"}

WRONG = {
    "none": None,
    "text": "nonsense",
    "tensor": torch.rand(2),
    "-1": -1,
    "list": [],
    "object": object(),
}


def called() -> dict[str, object]:
    """Return every function and class to call, by package and name, each once."""
    found: dict[str, object] = {}
    for package, module in PACKAGES.items():
        for name in module.__all__:
            value = getattr(module, name)
            known = name in RECORDS | TYPES | TORCH or any(value is each for each in found.values())
            if callable(value) and not known:
                found[f"{package}.{name}"] = value
    return found


CALLED = called()


def fresh(value: object) -> object:
    """Return a value, or what a function of this file makes of nothing."""
    if inspect.isfunction(value) and value.__module__ == __name__:
        return value if inspect.signature(value).parameters else value()
    return value


def right_arguments(name: str) -> dict[str, object]:
    """Return arguments that work."""
    given, found = RIGHT.get(name, {}), {}
    for parameter in inspect.signature(CALLED[name]).parameters.values():
        if parameter.name in given:
            found[parameter.name] = given[parameter.name]
        elif parameter.default is not parameter.empty:
            found[parameter.name] = parameter.default
        else:
            found[parameter.name] = BY_NAME[parameter.name]
    return found


def call(name: str, arguments: dict[str, object]) -> None:
    made = CALLED[name](**{key: fresh(value) for key, value in arguments.items()})
    if inspect.isgenerator(made):
        list(made)


def bare_error(name: str, arguments: dict[str, object]) -> str | None:
    """Return the error of a call in words, if it is one that nobody meant."""
    try:
        call(name, arguments)
    except sp.SigpropError:
        return None
    except Exception as error:  # any other error is the fault that this test looks for
        return f"{type(error).__name__}: {error}"
    return None


def test_every_name_is_walked_or_has_a_reason():
    every = {name for module in PACKAGES.values() for name in module.__all__}
    assert every >= RECORDS | TYPES | TORCH
    constants = {
        name
        for module in PACKAGES.values()
        for name in module.__all__
        if not callable(getattr(module, name))
    }
    walked = {name.rpartition(".")[2] for name in CALLED}
    assert every == walked | RECORDS | TYPES | TORCH | constants
    assert set(RIGHT) <= set(CALLED) and set(CALLED) >= NEEDS_MORE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLED)
def test_a_wrong_argument_is_no_bare_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    right = right_arguments(name)
    try:
        call(name, right)
    except sp.SigpropError:
        assert name in NEEDS_MORE
    faults = {
        f"{argument}={kind}": fault
        for argument in right
        for kind, value in WRONG.items()
        if value is not right[argument]  # None is right where it is the default
        and (fault := bare_error(name, {**right, argument: value})) is not None
    }
    assert not faults, "\n".join(f"{place}: {fault}" for place, fault in faults.items())
