"""A folded network: layers of weights and neurons, without normalisers and without learning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import axes, instance, names_of, one_of, refused
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.layer_pass import as_spikes
from sigprop_snn.layers.readout import READOUT, Reading, Readout
from sigprop_snn.layers.sources import INPUT, AnySources, Kept, Sources, joining, sources_by_name
from sigprop_snn.network.checks import as_constant, as_weights, check_inputs
from sigprop_snn.network.parts import sizes
from sigprop_snn.neurons import Neuron, Run
from sigprop_snn.neurons.base import check_neuron
from sigprop_snn.neurons.engines import Engine, Spikes, engine_for
from sigprop_snn.neurons.joining import joined_shape
from sigprop_snn.neurons.module_kinds import Weighted


class FoldedLayer(nn.Module):
    """One layer of a folded network: its weights make a current, its neuron makes spikes.

    Args:
        synapse: the weighted layer, alone or last in an `nn.Sequential` of modules without weights.
        neuron: the neuron model.
        pool: the module that the spikes pass through on their way out; `nn.Identity` for none.
        sources: the layers that it receives; see `Sources`.

    Attributes:
        synapse: as given.
        neuron: as given.
        pool: as given.
        sources: as given.

    Raises:
        SigpropError: if a part has the wrong type, or the synapse does not end with weights.
    """

    def __init__(
        self, synapse: nn.Module, neuron: Neuron, pool: nn.Module, sources: AnySources = 1
    ) -> None:
        super().__init__()
        check_neuron(neuron)
        instance("synapse", synapse, nn.Module, "a linear layer or a convolution")
        instance("pool", pool, nn.Module, "a module of torch; nn.Identity() for none")
        if not isinstance(_last(synapse), Weighted):
            raise refused("synapse", synapse, "a linear layer, a convolution, or a sequence to one")
        self.synapse = synapse
        self.neuron = neuron
        self.pool = pool
        self.sources = Sources.of(sources)

    @property
    def weights(self) -> Weighted:
        """The layer with the weights: the synapse, or its last module."""
        last = _last(self.synapse)
        assert isinstance(last, Weighted)
        return last

    @property
    def before(self) -> list[nn.Module]:
        """The modules of the synapse before the weights, such as `nn.Flatten`."""
        return list(self.synapse)[:-1] if isinstance(self.synapse, nn.Sequential) else []

    @property
    def behind(self) -> list[nn.Module]:
        """The modules behind the neuron, in order; none if the spikes leave as they are."""
        parts = list(self.pool) if isinstance(self.pool, nn.Sequential) else [self.pool]
        return [part for part in parts if not isinstance(part, nn.Identity)]

    @property
    def engine(self) -> Engine:
        """The engine that runs the layer on its device."""
        return engine_for(self.weights.weight.device)

    def run(self, inputs: Spikes, *, record: tuple[str, ...] = ()) -> Run:
        """Run the layer on its input `[T, B, ...]`; `run.spikes` are those before the pool.

        Args:
            inputs: as the engine stores them.
            record: names of the recordings of every step, for example "voltage".
        """
        return self.engine.layer(self.synapse, nn.Identity(), self.neuron, inputs, record=record)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output `[T, B, ...]` behind the pool, for inputs `[T, B, ...]`."""
        return self.run(self.engine.spikes(inputs.detach())).spikes.pooled(self.pool).dense()

    def extra_repr(self) -> str:
        """Return the sources for `print(layer)`, if they are not the layer below alone."""
        return "" if self.sources == Sources() else f"sources={self.sources}"


class Folded(nn.Module):
    """A network for inference: `fold` makes it.

    Every layer is one weighted layer with a bias, a neuron and a pool. `folded(x)` returns the
    scores `[B, C]` of the network for inputs `[T, B, ...]`, and `folded.record` the activity of the
    layers. `folded.layers["block1"].weights.weight` is a weight.

    Args:
        layers: the layers by the names of the network's blocks, in order.
        readout: reads the classes off the spikes.
        sample_shape: shape of one step of one sample, or none if it is not known.

    Attributes:
        layers: the layers by name, an `nn.ModuleDict`.
        readout: the readout.
        sample_shape: as given.

    Raises:
        SigpropError: if a part has the wrong type, or a layer receives one that is not below it.
    """

    def __init__(
        self,
        layers: Mapping[str, FoldedLayer],
        readout: Readout,
        sample_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        instance("layers", layers, Mapping, "layers by name")
        for layer in layers.values():
            instance("layers", layer, FoldedLayer, "layers by name, each a FoldedLayer")
        self.layers = nn.ModuleDict(dict(layers))
        self.readout = instance("readout", readout, Readout, "a Readout")
        self.sample_shape = None if sample_shape is None else axes("sample_shape", sample_shape)
        self.received()
        self.read()
        self.requires_grad_(False).eval()

    def named_layers(self) -> Iterator[tuple[str, FoldedLayer]]:
        """Yield the layers with their names, in order, without the readout."""
        for name, layer in self.layers.items():
            assert isinstance(layer, FoldedLayer)
            yield name, layer

    def received(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the sources of every layer; `("input",)` for the first."""
        return sources_by_name(self.named_layers())

    def read(self) -> tuple[str, ...]:
        """Return the names of the layers that the readout reads."""
        return self.readout.sources.received(READOUT, list(self.layers))

    def is_row(self) -> bool:
        """Return whether every layer receives the one below it, and the readout the last."""
        below = [INPUT, *self.layers]
        received = {**self.received(), READOUT: self.read()}
        return list(received.values()) == [(name,) for name in below]

    def known_shape(self, sample_shape: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return the shape of one step of one sample: the given one, or else the network's.

        Raises:
            SigpropError: if neither is known, or a size that is given is no whole number from 1.
        """
        if sample_shape is not None:
            return sizes("sample_shape", sample_shape)
        if self.sample_shape is None:
            raise SigpropError(
                "sample_shape is None and the network does not know it; expected the shape of one "
                "step of one sample, such as (1, 28, 28)"
            )
        return self.sample_shape

    def shapes(self, sample: Sequence[int]) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Return the shapes of each layer's input, current and output, without time and batch.

        Args:
            sample: shape of one step of one sample.

        Raises:
            SigpropError: if samples of this shape do not fit.
        """
        found: dict[str, tuple[tuple[int, ...], ...]] = {}
        weight = self.readout.synapse.weight
        kept = Kept.at_start(
            self.received(), torch.zeros(1, *sample, dtype=weight.dtype).to(weight)
        )
        for name, layer in self.named_layers():
            parts = kept.take(name)
            shape = joined_shape([tuple(part.shape[1:]) for part in parts], layer.sources.join)
            try:
                with torch.no_grad():
                    current = layer.synapse(weight.new_zeros(1, *shape))
                    sent = layer.pool(current)
            except RuntimeError as error:
                raise SigpropError(
                    f"samples of shape {list(sample)} do not fit {name}: {error}"
                ) from error
            found[name] = (shape, tuple(current.shape[1:]), tuple(sent.shape[1:]))
            kept.put(name, sent)
        return found

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores `[B, C]` for inputs `[T, B, ...]`, those of the network.

        Raises:
            SigpropError: if the inputs are no tensor, or an axis is missing or empty.
        """
        reading = Reading(self.readout, self.named_layers())
        for name, _, sent in self._pass(inputs):
            reading.add(name, sent)
        with torch.no_grad():
            return reading.scores()

    def record(
        self, inputs: Tensor, names: Iterable[str] | str = "spike"
    ) -> dict[str, dict[str, Tensor]]:
        """Return recordings of the layers at every step, as `Network.record` does.

        Args:
            inputs: `[T, B, ...]`.
            names: one or several of "spike" (before the pool), "voltage" (before the reset), and
                the tensors of the neuron's state.

        Returns:
            By layer and name, `[T, B, ...]`; and under "readout" the readout's "voltage".

        Raises:
            SigpropError: if the inputs or a name can't be used.
        """
        names = names_of("names", names)
        found: dict[str, dict[str, Tensor]] = {}
        sent: dict[str, Tensor] = {}
        read = self.read()
        for name, run, out in self._pass(inputs, names):
            found[name] = {each: run.recorded[each] for each in names}
            if name in read:
                sent[name] = out.dense()
        voltage = self.readout.trace(*(sent[name] for name in read)).recorded["voltage"]
        found[READOUT] = {"voltage": voltage}
        return found

    def layer(self, name: str) -> FoldedLayer:
        """Return the layer of a name, "block1" for the first.

        Raises:
            UnknownNameError: if there is none.
        """
        layers = dict(self.named_layers())
        return layers[one_of("layer", name, layers)]

    def _pass(
        self, inputs: Tensor, record: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, Run, Spikes]]:
        """Yield each layer's name, its run, and its output behind its pool."""
        check_inputs(inputs, self.sample_shape)
        with torch.no_grad():
            entering = as_spikes(as_weights(self, as_constant(inputs)))
        kept: Kept[Spikes] = Kept.at_start(self.received(), entering)
        for name, layer in self.named_layers():
            parts = kept.take(name)
            with joining(name), torch.no_grad():
                whole = layer.engine.join(parts, layer.sources.join)
            run = layer.run(whole, record=record)
            sent = run.spikes.pooled(layer.pool)
            yield name, run, sent
            kept.put(name, sent)


def _last(synapse: nn.Module) -> nn.Module:
    """Return the last module of a sequence, or the module."""
    return synapse[-1] if isinstance(synapse, nn.Sequential) and len(synapse) else synapse
