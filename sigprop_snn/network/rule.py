"""Rules: how a comparison with the target becomes changes of the weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network.block import Block
from sigprop_snn.network.signal import Signal
from sigprop_snn.network.stage import Learned, Response, Stage
from sigprop_snn.neurons import Run
from sigprop_snn.neurons.kernels import Packed

if TYPE_CHECKING:
    from sigprop_snn.network.network import Network

Update = Callable[[str], object]
"""Takes a layer's name as soon as the layer's gradient is there."""


@dataclass(frozen=True)
class Needs:
    """What a rule asks of the machine that learns.

    Attributes:
        backward_pass: whether an error travels back through the layers.
        symmetric_weights: whether it travels through the forward weights, transposed.
        feedback_weights: whether there are weights for it alone.
        stored_activations: whether activity is kept until it comes: of all "layers", all "steps"
            of one layer, or "both"; "" where nothing waits.
    """

    backward_pass: bool = False
    symmetric_weights: bool = False
    feedback_weights: bool = False
    stored_activations: str = ""


class Rule(ABC):
    """How a network learns from a batch.

    A rule with weights of its own (feedback, local readouts) is an `nn.Module` as well: the
    network then holds it as a submodule, so that they move, save and load with the rest.

    Attributes:
        needs: what it asks of the machine.
        packed: whether its passes hand a block what it `received`, which may be `Packed`.
    """

    needs: ClassVar[Needs] = Needs()
    packed: ClassVar[bool] = False

    @abstractmethod
    def learn(
        self, network: Network, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass a checked batch through; leave gradients in `.grad`, and call `update` for them.

        Args:
            network: the network that this rule belongs to.
            inputs: `[T, B, ...]`.
            labels: as the network's signal takes them.
            update: called with the name of every layer whose gradient is there, as soon as no
                other layer needs the layer's weights as they are; see `local_parameters`.
        """

    def stages(
        self,
        network: Network,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        record: tuple[str, ...] = (),
    ) -> Iterator[Stage]:
        """Yield every layer's stage of a forward pass as it is reached.

        Here no layer but the readout guesses or has a loss; rules with local losses say more.
        """
        with torch.no_grad():
            inputs = network.signal.plain(inputs)
            activity: Tensor | Packed = inputs
            for index, block in enumerate(network.each_block()):
                ran = plain_run(block, activity, network.signal if index == 0 else None, record)
                yield Stage(f"block{index + 1}", None, None, Response(ran, None))
                activity = block.pooled(ran.activity)
            if network.readout is not None:
                yield Stage("readout", network.readout(activity), None, None, labels)

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the rule's own parameters that learn, by the layer that they learn with."""
        return {}


def plain_run(
    block: Block,
    inputs: Tensor | Packed,
    front: Signal | None = None,
    record: tuple[str, ...] = (),
) -> Run:
    """Return what a block does with inputs `[T, B, ...]`, without a context.

    Args:
        block: the layer.
        inputs: what it receives.
        front: the network's signal if the block is the first, for what only shows there.
        record: what the run keeps of every step.

    Raises:
        SigpropError: if the input does not fit the first block, or drives it out of range.
    """
    try:
        ran = block.run(block.received(inputs), record=record)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if front is None:
            raise
        raise misfit(inputs, error) from error
    if front is not None:
        check_front(inputs, ran, front)
    return ran


def misfit(inputs: Tensor | Packed, error: Exception) -> SigpropError:
    """Return the error for an input that the first block can't take."""
    return SigpropError(
        f"input of shape {list(inputs.shape)} does not fit the first block: {error}"
    )


def check_front(inputs: Tensor | Packed, ran: Run, signal: Signal) -> None:
    """Check the first block's run.

    Raises:
        SigpropError: if its voltage is not finite, or its shape is not that of the signal.
    """
    # NaN never exceeds a threshold: unchecked, it would pass for silence. A finite sum has finite
    # terms, and takes one pass.
    voltage = ran.mean_voltage
    if not torch.isfinite(voltage.sum()) and not torch.isfinite(voltage).all():
        raise SigpropError(
            "the first block's membrane voltage is not finite; expected smaller inputs or weights"
        )
    found = voltage.shape[1:]
    if signal.shape is not None and found != signal.shape:
        raise SigpropError(
            f"input of shape {list(inputs.shape)} gives the first block a current of shape "
            f"{list(found)}; expected {list(signal.shape)}, the signal's"
        )
