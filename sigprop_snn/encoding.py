"""Encodings: a static picture as input over time, as a constant current or as spikes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError

Encoding = Callable[[Tensor, int, int], Tensor]
"""Maps a batch `[B, ...]`, the number of steps and a seed to `[T, B, ...]`."""

DARKEST = 0.01
"""Smallest value that spikes in latency coding."""


def direct(x: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Repeat the values in every step, as a constant current.

    Args:
        x: batch of finite floats, `[B, ...]`.
        steps: number of time steps T, at least 1.
        seed: not used; all encodings have this argument.

    Returns:
        `[T, B, ...]`, a view of `x` with stride 0 in time. It must not be written to.

    Raises:
        SigpropError: if `steps` < 1 or `x` contains NaN or infinity.
    """
    _check(x, steps)
    return x.expand(steps, *x.shape)


def rate(x: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Draw a spike with probability `x` at every step, independently (`snntorch.spikegen.rate`).

    The spikes depend only on `x`, `steps` and `seed`, not on the device. The global random state of
    torch does not change.

    Args:
        x: batch of probabilities in [0, 1], `[B, ...]`.
        steps: number of time steps T, at least 1.
        seed: any integer in [0, 2**63).

    Returns:
        Spikes of 0 and 1, `[T, B, ...]`, with the dtype and device of `x`.

    Raises:
        SigpropError: if `steps` < 1 or `x` contains NaN, infinity or a value outside [0, 1].
    """
    # Imported only when used, because it takes a second or more.
    from snntorch import spikegen

    _check(x, steps)
    _check_range(x, "rate coding")
    # spikegen draws from the global generator. torch.manual_seed would also reseed every GPU, so
    # only the CPU generator is saved and seeded, and the draw is on the CPU.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        spikes: Tensor = spikegen.rate(x.detach().cpu(), num_steps=steps)
    return spikes.to(device=x.device, dtype=x.dtype)


def latency(x: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Encode each value as one spike; larger values spike earlier (`snntorch.spikegen.latency`).

    The time is linear in the value: x spikes at step `round((1 - x) * (steps - 1))`, counted from
    0. Values below `DARKEST` never spike, so a dark background stays silent.

    Args:
        x: batch of values in [0, 1], `[B, ...]`.
        steps: number of time steps T, at least 1.
        seed: not used; all encodings have this argument.

    Returns:
        Spikes of 0 and 1, `[T, B, ...]`, with the dtype and device of `x`.

    Raises:
        SigpropError: if `steps` < 1 or `x` contains NaN, infinity or a value outside [0, 1].
    """
    from snntorch import spikegen

    _check(x, steps)
    _check_range(x, "latency coding")
    if not x.numel():
        return x.new_zeros((steps, *x.shape))
    # Not logarithmic: snnTorch scales logarithmic times by the largest of the batch, so a sample's
    # spikes would depend on the others. In 16 bits, times would be off by a step.
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    spikes: Tensor = spikegen.latency(
        wide, num_steps=steps, threshold=DARKEST, linear=True, normalize=True, clip=True
    )
    return spikes.to(x.dtype)


def delta(x: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Raise each value from 0 and spike at every level it crosses (`snntorch.spikegen.delta`).

    Brightness rises from 0 to x in `steps` equal parts. It spikes when it crosses the next of
    `steps` levels, like a pixel of an event camera. So a value x spikes `round(x * steps)` times,
    evenly spread and without randomness.

    Args:
        x: batch of values in [0, 1], `[B, ...]`.
        steps: number of time steps T, at least 1.
        seed: not used; all encodings have this argument.

    Returns:
        Spikes of 0 and 1, `[T, B, ...]`, with the dtype and device of `x`.

    Raises:
        SigpropError: if `steps` < 1 or `x` contains NaN, infinity or a value outside [0, 1].
    """
    from snntorch import spikegen

    _check(x, steps)
    _check_range(x, "delta coding")
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    numbers = torch.arange(1, steps + 1, device=x.device, dtype=wide.dtype)
    levels = torch.floor(wide * numbers.view(-1, *[1] * x.dim()) + 0.5)
    spikes: Tensor = spikegen.delta(levels, threshold=1.0)
    return spikes.to(x.dtype)


ENCODINGS: dict[str, Encoding] = {
    "direct": direct,
    "rate": rate,
    "latency": latency,
    "delta": delta,
}


def _check_range(x: Tensor, encoding: str) -> None:
    if x.numel():
        low, high = (float(v) for v in torch.aminmax(x))
        if low < 0 or high > 1:
            raise SigpropError(
                f"{encoding} got values from {low:g} to {high:g}; expected values in [0, 1]"
            )


def _check(x: Tensor, steps: int) -> None:
    if steps < 1:
        raise SigpropError(f"steps is {steps}; expected 1 or more")
    if not torch.is_floating_point(x):
        raise SigpropError(f"an encoding got {x.dtype} of shape {tuple(x.shape)}; expected floats")
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        place = tuple(int(i) for i in (~finite).nonzero()[0])
        raise SigpropError(
            f"input of shape {tuple(x.shape)} contains {float(x[place])} at {place}; "
            "expected finite values"
        )
