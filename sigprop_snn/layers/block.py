"""A block: synapse, normaliser, neuron, pool; and what a rule asks of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sigprop_snn.arguments import instance, one_of, refused, truth
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.contracts import Response
from sigprop_snn.layers.norm import RunningMean, RunningNorm, RunningScale
from sigprop_snn.layers.parameters import first_parameter
from sigprop_snn.layers.sources import AnySources, Sources
from sigprop_snn.losses.base import LocalLoss
from sigprop_snn.neurons import Neuron
from sigprop_snn.neurons.base import check_neuron
from sigprop_snn.neurons.engines import Engine, Run, Spikes, engine_for, plain_synapse
from sigprop_snn.neurons.engines.reference import check_contexts, observe
from sigprop_snn.neurons.module_kinds import SHAPES, WEIGHTED
from sigprop_snn.neurons.snntorch_adapter import is_snntorch, wrapped
from sigprop_snn.neurons.stepwise import is_constant, stepwise
from sigprop_snn.shard import mean_over_batch

_AFFINE = (
    *WEIGHTED, *SHAPES, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.Identity,
    RunningScale, RunningNorm, nn.Sequential,
)  # fmt: skip


Centring = Literal["batch", "running"]
CENTRINGS: tuple[Centring, ...] = get_args(Centring)


class LayerRule(Protocol):
    """How a layer shows its voltage to its local loss.

    Attributes:
        uses_mean_voltage: whether the representation is a function of the mean voltage alone, so
            that the layer learns from the mean presynaptic trace.
    """

    uses_mean_voltage: ClassVar[bool]

    def represent(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        """Return what the loss compares, `[N, ...]`, for the voltages of some steps `[T, N, ...]`.

        Args:
            voltage: before the reset, with any gradient that it carries.
            neuron: the block's.
        """

    def respond(
        self,
        block: Block,
        inputs: Spikes,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
        learn: bool,
        record: tuple[str, ...] = (),
    ) -> Response:
        """Run the block on its input and return its response.

        Args:
            block: the layer.
            inputs: its input, `[T, N, ...]`.
            contexts: the constant current of the contexts, `[C, ...]`, in the first block.
            observed_rows: how many of the first rows the normaliser observes.
            learn: whether the representation carries a gradient.
            record: what the run keeps of every step.
        """


class Block(nn.Module):
    """One layer that learns on its own: its synapse makes a current, its neuron makes spikes.

    A forward hook (`register_forward_hook`) on a block fires once for every pass through it. It
    sees the block's input and its output behind the pool, both `[T, N, ...]` and without a
    gradient; N are the samples, and behind them the contexts where they pass too. A hook on
    `block.neuron` sees no input, because engines do not keep the current, and the spikes before the
    pool; a hook on the readout, in prediction and under signal propagation, the mean traces
    `[N, K]` and the scores `[N, C]`. A hook on another part, such as the synapse, fires where the
    engine calls that part; if it changes the output of the synapse or of the normaliser, the change
    must be affine, or the closed form's gradient is not exact. Rules that relax (hebbian,
    error-forward-relaxing, predictive-forward-forward) fire no hooks while they learn.

    Args:
        synapse: any module from `[N, ...]` to `[N, ...]`, applied to every step: `nn.Linear`,
            `nn.Conv2d`, or a sequence.
        neuron: the neuron model.
        norm: a normaliser of the current, or none.
        pool: a module that the spikes pass through on their way out, or none.
        rule: this block's learning rule, where it differs from the network's.
        loss: this block's local loss, where it differs from the network's.
        frozen: whether the block keeps its weights; it can be set later too. The statistics of a
            normaliser stand still in evaluation mode, `block.eval()`, as in torch.
        centred: whether the weights learn from the covariance of error and presynaptic trace, in
            place of their correlation: sum of delta (x - m)^T (Sejnowski 1977). "batch", or True:
            m is the mean trace of the batch's rows. "running": m is a running mean, one number a
            presynaptic channel, so that a row's update needs no other row. Both ask for a
            normaliser that takes the mean off the current.
        sources: what the block receives: a number of blocks directly below it, or names of lower
            blocks, side by side; see `Sources`. The first block receives the network's input.

    Raises:
        SigpropError: if the block is centred without a `RunningNorm`, or by a running mean without
            one plain layer of weights, or the sources are none.
        UnknownNameError: if `centred` is another word.
    """

    def __init__(
        self,
        synapse: nn.Module,
        neuron: Neuron,
        *,
        norm: nn.Module | None = None,
        pool: nn.Module | None = None,
        rule: LayerRule | None = None,
        loss: LocalLoss | None = None,
        frozen: bool = False,
        centred: bool | Centring = False,
        sources: AnySources = 1,
    ) -> None:
        super().__init__()
        if not isinstance(centred, bool):
            one_of("centred", centred, CENTRINGS)
        frozen = truth("frozen", frozen)
        _check_parts(synapse=synapse, norm=norm, pool=pool)
        if is_snntorch(neuron):
            neuron = wrapped(neuron)
        check_neuron(neuron)
        if rule is not None and (not hasattr(rule, "respond") or isinstance(rule, type)):
            raise refused("rule", rule, "a layer rule such as VoltageRule()")
        if loss is not None:
            instance("loss", loss, LocalLoss, "a local loss such as DotProductLoss()")
        if centred and not isinstance(norm, RunningNorm):
            raise SigpropError(
                f"a centred block has the normaliser {type(norm).__name__}; expected RunningNorm, "
                "which takes the mean off the current"
            )
        self.synapse = synapse
        self.norm = norm if norm is not None else nn.Identity()
        self.neuron = neuron
        self.pool = pool if pool is not None else nn.Identity()
        self.rule = rule
        self.loss = loss
        self._frozen = False
        self.centred = bool(centred)
        self.input_mean = RunningMean(_inputs_of(synapse)) if centred == "running" else None
        self.sources = Sources.of(sources)
        if frozen:
            self.frozen = True

    @property
    def frozen(self) -> bool:
        """Whether the block keeps its weights; setting it freezes or frees all its parameters."""
        return self._frozen

    @frozen.setter
    def frozen(self, value: bool) -> None:
        self._frozen = truth("frozen", value)
        self.requires_grad_(not self._frozen)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's output `[T, N, ...]` for inputs `[T, N, ...]`, without a gradient.

        Raises:
            SigpropError: if the inputs are no tensor, or not finite, or an axis is missing.
        """
        instance("inputs", inputs, Tensor, "a tensor [T, N, ...]")
        if inputs.dim() < 3:
            raise SigpropError(f"inputs have shape {list(inputs.shape)}; expected [T, N, ...]")
        return self.run(self.engine.spikes(inputs.detach())).spikes.pooled(self.pool).dense()

    @property
    def is_affine(self) -> bool:
        """Whether the current is affine in the input, so that the closed form is exact."""
        modules = [*self.synapse.modules(), *self.norm.modules()]
        return all(type(module) in _AFFINE for module in modules)

    @property
    def maps(self) -> int | None:
        """Number of feature maps of the current; None if the synapse is no 2-d convolution."""
        layers = [m for m in self.synapse.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        last = layers[-1] if layers else None
        return last.out_channels if isinstance(last, nn.Conv2d) else None

    def mean_input(self, row: Tensor, rows: int) -> Tensor | None:
        """Return what a centred block subtracts from every row; none if it is not centred.

        None as well behind a normaliser that has taken the place of its `RunningNorm`: batch norm
        takes the mean off itself, with its gradient.

        Args:
            row: the mean row of the inputs or traces, `[...]`. A running mean takes it in while
                the block is in training.
            rows: number of rows that it is the mean of.
        """
        if not self.centred or not isinstance(self.norm, RunningNorm):
            return None
        row = mean_over_batch(row, rows)
        if self.input_mean is None:
            return row
        if self.training:
            self.input_mean.observe(row.detach())
        return self.input_mean.row(row)

    @property
    def engine(self) -> Engine:
        """The engine that runs the block on its device."""
        weights = first_parameter(self)
        return engine_for(torch.device("cpu") if weights is None else weights.device)

    def run(
        self,
        inputs: Spikes,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
        record: tuple[str, ...] = (),
        keeps_state: bool = True,
    ) -> Run:
        """Run the block without a gradient.

        Args:
            inputs: its input, `[T, N, ...]`.
            state: where its neurons start; at rest if not given.
            contexts: the constant current of the contexts, `[C, ...]`, if there are any. They
                come behind the N rows.
            observed_rows: how many of the first rows the normaliser observes.
            record: what the run keeps of every step.
            keeps_state: whether the run's state is asked for; without it there may be none.

        Raises:
            SigpropError: if the contexts do not have the shape of the current.
        """
        return self.engine.layer(
            self.synapse,
            self.norm,
            self.neuron,
            inputs,
            state,
            contexts=contexts,
            observed_rows=observed_rows,
            record=record,
            keeps_state=keeps_state,
        )

    def current(
        self,
        inputs: Tensor,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
        synapse: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return the current `[T, N, ...]` for inputs `[T, N, ...]`, with its gradient.

        Args:
            inputs: the input of the block. One that is constant in time is multiplied once.
            contexts: the contexts' current `[C, ...]`, to check its shape.
            observed_rows: how many of the first rows the normaliser observes.
            synapse: replaces the block's synapse: the same current with another gradient.

        Raises:
            SigpropError: if the contexts do not have the shape of the current.
        """
        distinct = inputs[:1] if is_constant(inputs) else inputs
        current = stepwise(synapse or self.synapse, distinct)
        check_contexts(inputs.shape, current.shape[2:], contexts)
        observe(self.norm, current, observed_rows)
        current = stepwise(self.norm, current)
        return current.expand(len(inputs), *current.shape[1:])

    def static_current(self, inputs: Tensor) -> Tensor:
        """Return the current for inputs without a time axis, `[N, ...]`."""
        current: Tensor = self.norm(self.synapse(inputs))
        return current

    def extra_repr(self) -> str:
        """Return the engine that runs the block, and why where it is not the device's own."""
        engine = self.engine
        reason = engine.why_not(self.synapse, self.norm, self.neuron)
        name = engine.name if reason is None else f"reference ({reason})"
        settings = [f"engine={name}"]
        if self.frozen:
            settings.append("frozen=True")
        if self.centred:
            settings.append(f"centred={'batch' if self.input_mean is None else 'running'!r}")
        if self.sources != Sources():
            settings.append(f"sources={self.sources}")
        return ", ".join(settings)


def _check_parts(**modules: object) -> None:
    """Check that the parts of a block are modules of known size; only the synapse must exist."""
    for name, module in modules.items():
        if module is None and name != "synapse":
            continue
        instance(name, module, nn.Module, "a module of torch")
        assert isinstance(module, nn.Module)  # checked above
        if any(is_lazy(parameter) for parameter in module.parameters()):
            raise SigpropError(
                f"the {name} {type(module).__name__} has weights without a size; expected sizes, "
                "such as nn.Linear(12, 20), or one call of the module before"
            )


def _inputs_of(synapse: nn.Module) -> int:
    """Return the number of presynaptic neurons or maps of a synapse.

    Raises:
        SigpropError: if the synapse is not one linear layer or convolution.
    """
    plain = plain_synapse(synapse)
    if plain is None:
        raise SigpropError(
            f"a block centred by a running mean has the synapse {type(synapse).__name__}; expected "
            "one linear layer or convolution, alone or behind nn.Flatten()"
        )
    layer = plain.layer
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
