"""Rules: how a network learns from a batch, and what a rule may use of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import Learned, Needs, Stage, Update
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.section import Section
from sigprop_snn.losses.base import LocalLoss
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.predict import Predict
from sigprop_snn.signals.base import Entry, Signal


class LearningNetwork(Protocol):
    """What a rule may use of a network; `sigprop_snn.network.Network` is one.

    Attributes:
        signal: the learning signal.
        blocks: the blocks, in order.
        readout: the readout, or none.
        predict: where the network's own scores come from.
        training: whether it is in training mode.
    """

    signal: Signal
    blocks: nn.ModuleList
    readout: Readout | None
    predict: Predict
    training: bool

    def named_blocks(self) -> Iterator[tuple[str, Block]]:
        """Yield every block with its name, in order."""

    def named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the blocks and the readout with their names, in order."""

    def loss_of(self, block: Block) -> LocalLoss:
        """Return the local loss of a block."""

    def loss_head(self, name: str) -> nn.Module | None:
        """Return the module with the weights that the local loss of a block learns, or None."""

    def predicted(self, by_layer: Mapping[str, Tensor]) -> Tensor:
        """Return the network's own scores `[B, C]`, given those of its layers by name."""


class Rule(ABC):
    """How a network learns from a batch.

    A rule with weights of its own (feedback, local readouts) is an `nn.Module` as well. The
    network then holds it as a submodule, so that its weights move, save and load with the rest.

    Attributes:
        needs: what it asks of the machine.
        row_only: whether it works only where every block receives the one below it alone.
        reads_blocks: whether the readout may read several blocks, and pool their maps. A rule that
            sends the readout's error to the blocks needs a plain readout of the last block.
        leaves: the parts of the network that it gives no gradient by design, as the names of their
            attributes: "signal", "norm".
        forward_only: whether no block waits for a later one, so that blocks can learn in different
            processes. The rule then has `section_stages`.
    """

    needs: ClassVar[Needs] = Needs()
    row_only: ClassVar[bool] = False
    reads_blocks: ClassVar[bool] = False
    leaves: ClassVar[tuple[str, ...]] = ("signal",)
    forward_only: ClassVar[bool] = False

    @abstractmethod
    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass a checked batch through; leave gradients in `.grad`, and call `update` for them.

        Args:
            network: the network that this rule belongs to.
            inputs: `[T, B, ...]`.
            labels: as the network's signal takes them.
            update: called with the name of every layer whose gradient exists, as soon as no other
                layer needs the layer's weights as they are.
        """

    def stages(
        self,
        network: LearningNetwork,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        record: tuple[str, ...] = (),
    ) -> Iterator[Stage]:
        """Yield every layer's stage of a forward pass as it is reached.

        Here only the readout predicts, and no layer has a loss. Rules with local losses add both.
        """
        for layer in plain_pass(network.named_blocks(), network.signal, inputs, record=record):
            yield Stage(layer.name, None, None, layer.response)
            sent = layer.sent
        if network.readout is not None:
            with torch.no_grad():
                scores = network.readout(sent)
            yield Stage("readout", scores, None, None, labels)

    def entry(self, network: LearningNetwork, inputs: Tensor, labels: Tensor) -> Entry:
        """Return what enters the first block in a pass by sections.

        Args:
            network: the network that this rule belongs to.
            inputs: `[T, B, ...]`.
            labels: as the network's signal takes them.
        """
        return network.signal.enter(inputs, labels)

    def section_stages(
        self, network: LearningNetwork, entry: Entry, section: Section[Spikes]
    ) -> Iterator[Stage]:
        """Pass a batch through a section of the network; yield its stages, with their losses.

        Args:
            network: the network that this rule belongs to.
            entry: what entered the first block, with targets; in later sections without the rows.
            section: the blocks that run here, with what they receive.

        Raises:
            SigpropError: if the rule is not forward-only.
        """
        raise SigpropError(
            f"{type(self).__name__} has no passes through a part of the network; expected a rule "
            "of signal propagation"
        )

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the rule's own parameters that learn, by the layer that they learn with."""
        return {}
