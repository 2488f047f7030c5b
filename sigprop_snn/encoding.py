"""How a static picture becomes input over time: as a constant current or as spikes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError

Encoding = Callable[[Tensor, int, int], Tensor]
"""Takes a batch `[B, ...]`, the number of steps and a seed, and gives `[T, B, ...]`."""

DARKEST = 0.01
"""Smallest value that latency coding gives a spike."""


def direct(x: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Feed the same value into every step, as a constant current.

    Args:
        x: batch of finite floats, `[B, ...]`.
        steps: number of time steps T, at least 1.
        seed: not used; every encoding takes one.

    Returns:
        `[T, B, ...]`, a view of `x` with stride 0 in time. It must not be written to.

    Raises:
        SigpropError: if `steps` < 1 or `x` holds NaN or an infinity.
    """
    _check(x, steps)
    return x.expand(steps, *x.shape)


def rate(x: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Draw a spike with probability `x` at every step, independently (`snntorch.spikegen.rate`).

    The spikes depend on `x`, `steps` and `seed` alone, not on the device; torch's global random
    state stays as it was.

    Args:
        x: batch of probabilities in [0, 1], `[B, ...]`.
        steps: number of time steps T, at least 1.
        seed: any integer in [0, 2**63).

    Returns:
        Spikes of 0 and 1, `[T, B, ...]`, in the type of `x` and on its device.

    Raises:
        SigpropError: if `steps` < 1 or `x` holds NaN, an infinity or a value outside [0, 1].
    """
    # Here and not above, so that direct current does not wait for it.
    from snntorch import spikegen

    _check(x, steps)
    _check_range(x, "rate coding takes values in [0, 1] as spike probabilities")
    # spikegen draws from the global generator. manual_seed of the module would also reseed every
    # GPU, so only the CPU generator is forked and seeded, and the drawing is done there.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        spikes: Tensor = spikegen.rate(x.detach().cpu(), num_steps=steps)
    return spikes.to(device=x.device, dtype=x.dtype)


def latency(x: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Let every value spike once, the larger the earlier (`snntorch.spikegen.latency`, linear).

    A value x spikes at step `round((1 - x) * (steps - 1))`, counted from 0. Values below `DARKEST`
    never spike, so that a dark background stays silent.

    Args:
        x: batch of values in [0, 1], `[B, ...]`.
        steps: number of time steps T, at least 1.
        seed: not used; every encoding takes one.

    Returns:
        Spikes of 0 and 1, `[T, B, ...]`, in the type of `x` and on its device.

    Raises:
        SigpropError: if `steps` < 1 or `x` holds NaN, an infinity or a value outside [0, 1].
    """
    from snntorch import spikegen

    _check(x, steps)
    _check_range(x, "latency coding takes values in [0, 1]")
    if not x.numel():
        return x.new_zeros((steps, *x.shape))
    # Linear and not logarithmic: that one is scaled by the largest time of the batch, which would
    # make a sample's spikes depend on its neighbours. Wider than 16 bits, so that no time is off.
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    spikes: Tensor = spikegen.latency(
        wide, num_steps=steps, threshold=DARKEST, linear=True, normalize=True, clip=True
    )
    return spikes.to(x.dtype)


def delta(x: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Fade every value in and spike where it has risen far enough (`snntorch.spikegen.delta`).

    Brightness rises from 0 to x in equal parts, one a step. A spike follows whenever it has come
    past another of `steps` levels, as a pixel of an event camera sends them. So a value x spikes
    `round(x * steps)` times, evenly spread, and no draw is involved.

    Args:
        x: batch of values in [0, 1], `[B, ...]`.
        steps: number of time steps T, at least 1.
        seed: not used; every encoding takes one.

    Returns:
        Spikes of 0 and 1, `[T, B, ...]`, in the type of `x` and on its device.

    Raises:
        SigpropError: if `steps` < 1 or `x` holds NaN, an infinity or a value outside [0, 1].
    """
    from snntorch import spikegen

    _check(x, steps)
    _check_range(x, "delta coding takes values in [0, 1]")
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    risen = torch.arange(1, steps + 1, device=x.device, dtype=wide.dtype)
    levels = torch.floor(wide * risen.view(-1, *[1] * x.dim()) + 0.5)
    spikes: Tensor = spikegen.delta(levels, threshold=1.0)
    return spikes.to(x.dtype)


ENCODINGS: dict[str, Encoding] = {
    "direct": direct,
    "rate": rate,
    "latency": latency,
    "delta": delta,
}


def _check_range(x: Tensor, wanted: str) -> None:
    if x.numel():
        low, high = (float(v) for v in torch.aminmax(x))
        if low < 0 or high > 1:
            raise SigpropError(f"{wanted}; found values from {low:g} to {high:g}")


def _check(x: Tensor, steps: int) -> None:
    if steps < 1:
        raise SigpropError(f"steps is {steps}; at least 1 time step is needed")
    if not torch.is_floating_point(x):
        raise SigpropError(f"an encoding takes floats; found {x.dtype} of shape {tuple(x.shape)}")
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        place = tuple(int(i) for i in (~finite).nonzero()[0])
        raise SigpropError(
            f"input of shape {tuple(x.shape)} holds {float(x[place])} at {place}; "
            "expected finite values"
        )
