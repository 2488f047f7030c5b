"""The reference engine: eager torch on every device. It is the definition of every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.neurons.base import Neuron, state_tensors
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import (
    CosineCrossEntropy,
    InputTrace,
    MapStatistics,
    Membrane,
    RowComparison,
    Run,
    Scale,
    Spikes,
    is_normaliser,
)
from sigprop_snn.neurons.engines.late import refuse_if
from sigprop_snn.neurons.engines.observed import observed
from sigprop_snn.neurons.engines.plain import is_plain_normaliser
from sigprop_snn.neurons.filters import (
    filter_in_place,
    filter_matrix,
    geometric_response,
    impulse_response,
)
from sigprop_snn.neurons.joining import Join, halvings, joined, joined_shape
from sigprop_snn.neurons.module_kinds import Weighted
from sigprop_snn.neurons.pooling import HalvingPool
from sigprop_snn.neurons.state import RECORDED_ELSEWHERE, State, Step
from sigprop_snn.neurons.stepwise import is_constant, stepwise

_TOGETHER = 3  # steps: intermediate values stay in the cache
FLOOR = 1e-12  # keeps the direction of a silent row finite


class ReferenceEngine:
    """Runs every layer step by step, with any neuron, synapse, normaliser, dtype and device.

    A faster engine is a subclass that replaces some methods, and calls these for what it does not
    take.
    """

    name = "reference"

    def why_not(self, synapse: nn.Module, normaliser: nn.Module, neuron: Neuron) -> str | None:
        """Return none: it runs everything."""
        return None

    def spikes(self, inputs: Tensor) -> Spikes:
        """Return activity `[T, N, ...]`, checked to be finite."""
        check_finite(inputs)
        return DenseSpikes(inputs)

    def join(self, parts: Sequence[Spikes], join: Join) -> Spikes:
        """Return the activity of several layers as the input of one, without a gradient."""
        if len(parts) == 1:
            return parts[0]
        with torch.no_grad():
            return DenseSpikes(joined([part.dense() for part in at_one_size(parts, join)], join))

    def currents(self, synapse: nn.Module, spikes: Spikes) -> Tensor:
        """Return a synapse's output for every step, `[T, N, ...]`; one step for constant input."""
        inputs = spikes.dense()
        return stepwise(synapse, inputs[:1] if spikes.constant else inputs)

    def neurons(
        self,
        neuron: Neuron,
        current: Tensor,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        scale: Scale | None = None,
        record: tuple[str, ...] = (),
        detach_spikes: bool = False,
    ) -> Run:
        """Run the model step by step."""
        if state is None:
            state = neuron.initial_state(entering(current[0], contexts, scale))
        _check_names(record, state)
        spikes: list[Tensor] = []
        recorded: dict[str, list[Tensor]] = {name: [] for name in record}
        mean_voltage = torch.zeros_like(state.voltage)
        for step_current in current:
            step = neuron.step(
                entering(step_current, contexts, scale), state, detach_spikes=detach_spikes
            )
            if not isinstance(step, Step):
                raise SigpropError(
                    f"{type(neuron).__name__}.step returned a {type(step).__name__}; expected "
                    "Step(spike, voltage, state)"
                )
            state = step.state
            spike = step.spike.to(current.dtype)
            spikes.append(spike)
            mean_voltage = mean_voltage + step.voltage
            for name, kept in recorded.items():
                picked = _pick(name, spike, step.voltage, state)
                kept.append(picked if detach_spikes else picked.detach())
        return Run(
            DenseSpikes(torch.stack(spikes)),
            mean_voltage / current.shape[0],
            state,
            {name: torch.stack(kept) for name, kept in recorded.items()},
        )

    def layer(
        self,
        synapse: nn.Module,
        normaliser: nn.Module,
        neuron: Neuron,
        spikes: Spikes,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
        record: tuple[str, ...] = (),
        keeps_state: bool = True,
    ) -> Run:
        """Make the currents of all steps, then run the neurons through them."""
        with torch.no_grad():
            current = self.currents(synapse, spikes)
            check_contexts(spikes.shape, current.shape[2:], contexts)
            observe(normaliser, current, observed_rows)
            scale = None
            if is_plain_normaliser(normaliser):
                scale = normaliser.scale(current[0])
            else:
                current = stepwise(normaliser, current)
            current = current.expand(spikes.shape[0], *current.shape[1:])
            return self.neurons(
                neuron, current, state, contexts=contexts, scale=scale, record=record
            )

    def advance(
        self,
        synapse: nn.Linear,
        normaliser: nn.Module,
        neuron: Neuron,
        inputs: Tensor,
        membrane: Membrane,
        trace: InputTrace,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
    ) -> Tensor:
        """Run one step of a linear layer of LIF neurons, and return its spikes, `[N, F]`."""
        ran = self.layer(
            synapse, normaliser, neuron, DenseSpikes(inputs.unsqueeze(0)),
            State(membrane.voltage),
            contexts=contexts, observed_rows=observed_rows,
        )  # fmt: skip
        with torch.no_grad():
            membrane.voltage.copy_(ran.state.voltage)
            membrane.mean.lerp_(ran.mean_voltage, membrane.weight)
            advance_trace(neuron, inputs, trace)
        return ran.spike[0]

    def weight_gradient(
        self,
        synapse: Weighted,
        inputs: Spikes | Tensor,
        grad: Tensor,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """Return the gradient of a synapse's weight, as one product over all rows and steps."""
        dense = inputs if isinstance(inputs, Tensor) else inputs.dense()
        if isinstance(synapse, nn.Linear):
            rows = dense.reshape(-1, synapse.in_features)
            return grad.reshape(-1, grad.shape[-1]).t() @ rows.to(grad)
        axes = len(synapse.kernel_size) + 1
        _, found, _ = torch.ops.aten.convolution_backward(
            grad.reshape(-1, *grad.shape[-axes:]).to(dense),
            dense.reshape(-1, *dense.shape[-axes:]),
            synapse.weight.to(dense),
            None,
            synapse.stride,
            synapse.padding,
            synapse.dilation,
            False,
            [0] * (axes - 1),
            synapse.groups,
            [False, True, False],
        )
        weight: Tensor = found
        return weight.to(synapse.weight)

    def scaled_weight_gradient(
        self,
        synapse: Weighted,
        inputs: Spikes | Tensor,
        grad: Tensor,
        factors: Tensor,
        precision: torch.dtype | None = None,
        left_out: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the weight's gradient with a factor for each output channel."""
        product = self.weight_gradient(synapse, inputs, grad, precision)
        return scale_rows(product, synapse.weight.detach().to(product), factors, left_out)

    def surrogate_mean(self, neuron: Neuron, voltage: Tensor) -> Tensor:
        """Return the mean over time of f(U[t] - threshold), `[N, ...]`, for `[T, N, ...]`."""
        total = torch.zeros_like(voltage[0])
        for steps in torch.split(voltage, _TOGETHER):
            for at_step in neuron.surrogate.f(neuron.above(steps)):
                total += at_step
        return total / len(voltage)

    def surrogate_gradient(
        self,
        neuron: Neuron,
        voltage: Tensor,
        grad_mean: Tensor,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the gradient of the currents: df(U[t]) of every step, filtered back in time."""
        each = grad_mean / (len(voltage) * neuron.unit)
        grad = torch.empty_like(voltage)
        parts = (torch.split(whole, _TOGETHER) for whole in (grad, voltage))
        for into, steps in zip(*parts, strict=True):
            torch.mul(neuron.surrogate.df(neuron.above(steps)), each, out=into)
        return current_gradient(neuron, grad)

    def grid_mean(self, maps: Tensor, grid: int) -> Tensor:
        """Return feature maps `[N, C, H, W]` averaged to `grid` x `grid` positions."""
        with torch.no_grad():
            return torch.nn.functional.adaptive_avg_pool2d(maps, grid)

    def grid_mean_gradient(self, maps: Tensor, grid: int, grad: Tensor) -> Tensor:
        """Return the gradient of the maps, given that of `grid_mean`."""
        found: Tensor = torch.ops.aten._adaptive_avg_pool2d_backward(grad, maps)
        return found

    def rectified(self, voltage: Tensor, dtype: torch.dtype) -> Tensor:
        """Return max(0, U) in a dtype."""
        return voltage.detach().relu().to(dtype)

    def rectified_grid_mean(self, voltage: Tensor, grid: int) -> Tensor:
        """Return `grid_mean` of max(0, U)."""
        return self.grid_mean(voltage.detach().relu(), grid)

    def rectified_grid_gradient(
        self, voltage: Tensor, grid: int, grad: Tensor, more: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Return the gradient of voltages; it stays as wide as they are."""
        found = self.grid_mean_gradient(voltage.detach(), grid, grad)
        if more is not None:
            found[: len(more)] += more
        turned: Tensor = torch.ops.aten.threshold_backward(found, voltage.detach(), 0)
        return turned

    def channel_sums(self, maps: Tensor) -> Tensor:
        """Return the sum of every channel of `[N, C, ...]`."""
        # Axis by axis, which is many times faster than both at once.
        return maps.flatten(2).sum(-1, dtype=_wide_dtype(maps)).sum(0)

    def map_statistics(self, maps: Tensor) -> MapStatistics:
        """Return mean and standard deviation of every map `[N, C, ...]` over its positions."""
        maps = _wide(maps.detach())
        axes = tuple(range(2, maps.dim()))
        mean = maps.mean(axes, keepdim=True)
        deviation = torch.linalg.vector_norm(maps - mean, dim=axes)
        return MapStatistics(mean.flatten(1), deviation.div_(maps[0, 0].numel() ** 0.5))

    def deviation_gradient(self, maps: Tensor, found: MapStatistics, grad: Tensor) -> Tensor:
        """Return the gradient of the maps, given that of the deviations."""
        shape = (*found.mean.shape, *[1] * (maps.dim() - 2))
        factor = deviation_factor(maps, found, grad)
        centred = _wide(maps.detach()) - found.mean.view(shape)
        return (centred * factor.view(shape)).to(maps.dtype)

    def cosine_cross_entropy(
        self, rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
    ) -> CosineCrossEntropy:
        """Compare rows with others: cross-entropy of `scale` times their cosines."""
        rows, others = rows.detach(), others.detach()
        with torch.enable_grad(), torch.autocast(rows.device.type, enabled=False):
            s, t = rows.requires_grad_(), others.requires_grad_()
            units = (
                x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=FLOOR)
                for x in (s, t)
            )
            scores = scale * next(units) @ next(units).t()
            inside = (columns >= 0) & (columns < len(others))
            losses = torch.nn.functional.cross_entropy(
                scores, columns.clamp(0, len(others) - 1), reduction="none",
                label_smoothing=smoothing,
            )  # fmt: skip
            losses = torch.where(inside, losses, torch.nan)
            grad_rows, grad_others = torch.autograd.grad(losses.mean(), (s, t))
        return CosineCrossEntropy(scores.detach(), losses.detach(), grad_rows, grad_others)

    def compare_rectified(
        self, voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
    ) -> RowComparison:
        """Compare the rectified voltages of samples and contexts."""
        rows, others = voltage[:samples].relu(), voltage[samples:].relu()
        found = self.cosine_cross_entropy(rows, others, columns, scale, smoothing)
        grad = torch.cat([found.grad_rows, found.grad_others]).mul_(voltage > 0)
        return RowComparison(found.scores, found.losses, grad)

    def __repr__(self) -> str:
        return "ReferenceEngine()"


def at_one_size(parts: Sequence[Spikes], join: Join) -> list[Spikes]:
    """Return maps at the smallest size of all where 2x2 pools give it; else as they are.

    Vectors beside maps: the maps are flattened. An engine pools its own spikes.

    Raises:
        SigpropError: if a sum has parts with different numbers of maps or neurons.
    """
    if len({len(part.shape) for part in parts}) > 1:
        parts = [part.flatten() for part in parts]
    size = joined_shape([tuple(part.shape[2:]) for part in parts], join)[1:]
    found: list[Spikes] = []
    for part in parts:
        for _ in range(halvings(tuple(part.shape[3:]), size) or 0):
            part = part.pooled(HalvingPool())
        found.append(part)
    return found


def observe(normaliser: nn.Module, current: Tensor, rows: int, bias: Tensor | None = None) -> None:
    """Let a normaliser observe the first rows of a current `[T, N, ...]`, before it is scaled.

    Args:
        normaliser: any module; only a `Normaliser` observes.
        current: the currents.
        rows: how many of the first rows it observes; none for 0.
        bias: what the currents lack; broadcasts against one row.
    """
    if not rows or not is_normaliser(normaliser):
        return
    seen = current[:, :rows]
    if len(seen) > 1:
        windows = observed(*seen.shape[:2], maps=seen.dim() > 3, device=seen.device)
        seen = windows.existing(seen[windows.steps, windows.rows])
    seen = seen.flatten(0, seen.dim() - current.dim() + 1)
    normaliser.observe(seen if bias is None else seen + bias)


def advance_trace(neuron: Neuron, inputs: Tensor, trace: InputTrace) -> None:
    """Update a trace and its mean in place by one step of inputs."""
    filter_in_place(neuron, inputs, State(trace.trace))
    trace.mean.mul_(trace.keep).add_(trace.trace, alpha=trace.share)


def scale_rows(
    product: Tensor, weight: Tensor, factors: Tensor, left_out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Scale each row of a product in place; also return its dot product with the weight before.

    Args:
        product: one row for each output channel, in the weight's shape.
        weight: the weight.
        factors: `[F]`.
        left_out: as in `Engine.scaled_weight_gradient`.
    """
    dots = torch.linalg.vecdot(product.flatten(1), weight.flatten(1))
    column = (-1, *[1] * (product.dim() - 1))
    if left_out is not None:
        sums, mean = (each.to(product) for each in left_out)
        product.addcmul_(sums.view(column), mean, value=-1.0)
    return product.mul_(factors.view(column)), dots


def check_contexts(inputs: torch.Size, current: torch.Size, contexts: Tensor | None) -> None:
    """Check that contexts `[C, ...]` have the shape of one row of the current.

    Raises:
        SigpropError: if they do not.
    """
    if contexts is not None and contexts.shape[1:] != current:
        raise SigpropError(
            f"input of shape {list(inputs)} gives the first block a current of shape "
            f"{list(current)}; expected {list(contexts.shape[1:])}, the signal's"
        )


def deviation_factor(maps: Tensor, found: MapStatistics, grad: Tensor) -> Tensor:
    """Return the factor `[N, C]` between a centred map and its gradient."""
    return grad / found.deviation.clamp(min=FLOOR).mul_(maps[0, 0].numel())


def check_finite(inputs: Tensor) -> None:
    """Check the numbers of an input `[T, N, ...]`.

    Raises:
        SigpropError: if one is not finite.
    """
    # NaN never exceeds a threshold: without this check it would pass for silence.
    distinct = inputs[:1] if is_constant(inputs) else inputs
    # A finite sum has finite terms, and takes one pass. Finite terms may have an infinite sum.
    refuse_if(lambda: ~torch.isfinite(distinct.sum()), lambda: _not_finite(distinct), inputs.device)


def _not_finite(inputs: Tensor) -> Exception | None:
    """Return the error for the first number that is not finite, if there is one."""
    bad = ~torch.isfinite(inputs)
    if not bad.any():
        return None
    place = bad.nonzero()[0].tolist()
    return SigpropError(
        f"input is {float(inputs[tuple(place)])} at {place}; expected finite numbers"
    )


def entering(current: Tensor, contexts: Tensor | None, scale: Scale | None) -> Tensor:
    """Return one step's current of all rows as it enters the membrane, at least float32."""
    if contexts is not None:
        contexts = _wide(contexts.to(current))
    current = _wide(current)
    if scale is not None:
        current = current * scale.gain.to(current)
        if scale.offset is not None:
            current = current + scale.offset.to(current)
    return current if contexts is None else torch.cat([current, contexts])


def current_gradient(neuron: Neuron, grad: Tensor) -> Tensor:
    """Return the gradient of the currents, given that of the voltages, both `[T, N, ...]`.

    The latter may be overwritten.
    """
    response = impulse_response(neuron, grad.shape[0])
    geometric = geometric_response(response)
    if geometric is None:
        adjoint = filter_matrix(response).t().to(grad)
        return (adjoint @ grad.flatten(1)).view_as(grad)
    for step in reversed(range(len(grad) - 1)):
        grad[step].add_(grad[step + 1], alpha=geometric.ratio)
    return grad if geometric.first == 1.0 else grad.mul_(geometric.first)


def _wide_dtype(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _wide(current: Tensor) -> Tensor:
    return current.float() if current.dtype in (torch.float16, torch.bfloat16) else current


def _check_names(record: tuple[str, ...], state: Any) -> None:
    inner = (name for name in state_tensors(state) if name != "voltage")
    known = ["spike", "voltage", "reset_voltage", *inner]
    for name in record:
        if name not in known:
            raise UnknownNameError("recording", name, known, RECORDED_ELSEWHERE)


def _pick(name: str, spike: Tensor, voltage: Tensor, state: Any) -> Tensor:
    if name == "spike":
        return spike
    if name == "voltage":
        return voltage
    return state_tensors(state)["voltage" if name == "reset_voltage" else name]
