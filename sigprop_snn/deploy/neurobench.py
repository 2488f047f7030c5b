"""Networks for NeuroBench's harness (Yik et al. 2025, doi.org/10.1038/s41467-025-56739-4).

This module imports NeuroBench, which is an extra of this package: `pip install ".[neurobench]"`.
"""

from __future__ import annotations

try:
    from neurobench.models import NeuroBenchModel
except ImportError as error:
    raise ImportError(
        "the package neurobench is not installed; expected it from the extra neurobench of this "
        "package. In its folder of sources: pip install '.[neurobench]'"
    ) from error
from torch import Tensor, nn

from sigprop_snn.arguments import instance
from sigprop_snn.deploy.fold import fold
from sigprop_snn.deploy.folded import Folded, FoldedLayer
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.sources import Kept
from sigprop_snn.network.network import Network
from sigprop_snn.neurons import Neuron, run
from sigprop_snn.neurons.joining import joined
from sigprop_snn.neurons.stepwise import stepwise


class Neurons(nn.Module):
    """The neurons of a layer over all steps; NeuroBench takes their spikes as activations.

    Args:
        neuron: the model.
    """

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, current: Tensor) -> Tensor:
        """Return the spikes `[T, B, ...]` for the current `[T, B, ...]`."""
        return run(self.neuron, current, engine="reference").spikes.dense()


class _Layer(nn.Module):
    """A layer of modules; hooks see its weights and its neurons."""

    def __init__(self, layer: FoldedLayer) -> None:
        super().__init__()
        self.synapse = layer.synapse
        self.neurons = Neurons(layer.neuron)
        self.pool = layer.pool

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output `[T, B, ...]` for inputs `[T, B, ...]`."""
        return stepwise(self.pool, self.neurons(stepwise(self.synapse, inputs)))


class _Network(nn.Module):
    """A folded network of modules that NeuroBench's hooks see."""

    def __init__(self, folded: Folded) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: _Layer(each) for name, each in folded.named_layers()})
        self.readout: Readout = folded.readout
        self._joins = {name: layer.sources.join for name, layer in folded.named_layers()}
        self._received, self._read = folded.received(), folded.read()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores `[B, C]` for inputs `[T, B, ...]`."""
        kept = Kept.at_start(self._received, inputs)
        sent: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            sent[name] = layer(joined(kept.take(name), self._joins[name]))
            kept.put(name, sent[name])
        read = self.readout.side_by_side([sent[name] for name in self._read])
        return run(self.readout.neuron, stepwise(self.readout.synapse, read)).mean_voltage


class NeuroBenchNetwork(NeuroBenchModel):  # type: ignore[misc]
    """A network as a model of NeuroBench.

    `Benchmark(NeuroBenchNetwork(network), loader, [], [], [static, workload]).run()` measures it.
    The loader gives inputs `[B, T, ...]`, batch first as NeuroBench has them, and labels `[B]`.
    docs/neurobench.md says where its counts equal those of `sigprop_snn.cost`.

    Args:
        network: a network, which is folded, or a folded one.

    Raises:
        SigpropError: if the network can't be folded.
    """

    def __init__(self, network: Network | Folded) -> None:
        super().__init__()
        instance("network", network, (Network, Folded), "a Network or a Folded")
        self._net = _Network(network if isinstance(network, Folded) else fold(network)).eval()
        self.add_activation_module(Neurons)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the class of every sample, `[B]`, for inputs `[B, T, ...]`."""
        inputs = batch.transpose(0, 1).to(self._net.readout.synapse.weight)
        scores: Tensor = self._net(inputs)
        return scores.detach().argmax(1)

    def __net__(self) -> nn.Module:
        """Return the modules that NeuroBench measures."""
        return self._net
