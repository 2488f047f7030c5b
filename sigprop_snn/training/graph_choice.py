"""Which batches of a run are learned from by a CUDA graph."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.layers.hooks import is_hooked
from sigprop_snn.network import Learned, Network
from sigprop_snn.optimizers.local_optimizers import LocalOptimizers
from sigprop_snn.rules import SignalPropagation, SurrogateRule, VoltageRule
from sigprop_snn.training.graphed import GraphedStep
from sigprop_snn.training.run import TrainingRun

GRAPH_DEVICES = ("cuda",)
"""Types of devices that have graphs."""


def why_no_graph(run: TrainingRun) -> str | None:
    """Return why a run learns without a CUDA graph, or None if it learns by one."""
    device, config = run.device, run.config
    if device.type not in GRAPH_DEVICES:
        return f"{device} has no graphs"
    if not config.graph:
        return "graph is off"
    if config.update_every is not None:
        return f"update is {config.update}"
    return why_no_graph_of(run.network) or why_no_graph_by(run.optimizers)


def why_no_graph_of(network: Network) -> str | None:
    """Return why no graph can hold a step of a network, or None.

    A graph repeats the kernels of one step without Python. So a step must not decide by the values
    of a batch, and must not call anything else. This is known of the voltage rule and the surrogate
    rule with neurons that a kernel of the device's engine runs.
    """
    rule = network.rule
    if not isinstance(rule, SignalPropagation):
        return f"the rule is {type(rule).__name__}"
    for name, block in network.named_blocks():
        layer_rule = rule.layer_rule if block.rule is None else block.rule
        if type(layer_rule) not in (VoltageRule, SurrogateRule):
            return f"the rule of {name} is {type(layer_rule).__name__}"
        reason = block.engine.why_not(block.synapse, block.norm, block.neuron)
        if block.engine.name == "reference" or reason is not None:
            return f"the neurons of {name} have no kernel"
    hooked = [name or "the network" for name, module in network.named_modules() if _calls(module)]
    return f"{hooked[0]} has a hook" if hooked else None


def why_no_graph_by(optimizers: LocalOptimizers) -> str | None:
    """Return why no graph can hold the updates of optimizers, or None.

    Only fused Adam reads its learning rate on the GPU.
    """
    for name, optimizer in optimizers.by_layer.items():
        fused = all(group.get("fused") for group in optimizer.param_groups)
        if not isinstance(optimizer, torch.optim.Adam) or not fused:
            return f"the optimizer of {name} is {type(optimizer).__name__}"
    return None


def graph_note(run: TrainingRun) -> str | None:
    """Return a line that says how a run learns on a device with graphs, or None for others."""
    if run.device.type not in GRAPH_DEVICES:
        return None
    reason = why_no_graph(run)
    if reason is not None:
        return f"learns without a CUDA graph: {reason}"
    return "learns from full batches by replays of one CUDA graph"


class Learner:
    """Learns from the batches of a run: by a graph from those of one shape, if it can.

    The graph is for the first shape that two batches in a row have. So a smaller last batch, or
    another length of recordings, is learned from without it.

    Args:
        run: the run.
    """

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._graph: GraphedStep | None = None
        if why_no_graph(run) is None:
            self._graph = GraphedStep(run.network, run.optimizers, precision=run.autocast_dtype)
        self._form: tuple[object, ...] | None = None  # of the graph's batches
        self._before: tuple[object, ...] | None = None  # of the batch before

    def learn(self, inputs: Tensor, labels: Tensor) -> Learned:
        """Learn from a batch. The next call may overwrite the report."""
        if self._graph is not None:
            form = _form_of(inputs, labels)
            if self._form is None and form == self._before:
                self._form = form
            self._before = form
            if form == self._form:
                return self._graph(inputs, labels)
        return self._run.network.learn(inputs, labels, self._run.optimizers)


def _form_of(inputs: Tensor, labels: Tensor) -> tuple[object, ...]:
    """Return what a graph can't change: shapes, dtypes, and whether inputs change in time."""
    return inputs.shape, inputs.stride(0) == 0, inputs.dtype, labels.shape, labels.dtype


def _calls(module: torch.nn.Module) -> bool:
    return is_hooked(module) or bool(module._backward_hooks or module._backward_pre_hooks)
