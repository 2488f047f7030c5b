"""A process that is lost: how its rank and the cause reach the other processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import distributed_c10d

from sigprop_snn.errors import RankLostError, SigpropError

_KEY = "sigprop_snn/failed"
_PATIENCE = 2.0  # seconds that a rank waits for the cause of another rank's end


def wait(work: dist.Work, peer: int, layers: str, timeout: float) -> None:
    """Wait for a message to or from another rank.

    Args:
        work: the message.
        peer: the other rank.
        layers: the other rank's layers, for the error.
        timeout: seconds.

    Raises:
        RankLostError: if the other rank has ended, or does not answer in time.
    """
    begun = time.monotonic()
    try:
        work.wait(timedelta(seconds=timeout))
    except RuntimeError as error:
        raise lost(f"rank {peer} ({layers})", error, time.monotonic() - begun, timeout) from error


@contextlib.contextmanager
def named_losses(what: str, timeout: float) -> Iterator[None]:
    """Turn an error of `torch.distributed` into one that names the cause.

    Args:
        what: what all ranks do together.
        timeout: seconds after which torch gives up.

    Raises:
        RankLostError: if a rank has ended, or does not answer in time.
    """
    begun = time.monotonic()
    try:
        yield
    except SigpropError:
        raise
    except RuntimeError as error:
        seconds = time.monotonic() - begun
        raise lost(f"a rank in {what}", error, seconds, timeout) from error


def lost(who: str, error: RuntimeError, seconds: float, timeout: float) -> RankLostError:
    """Return the error for a rank that is lost; it has the cause if that rank told it."""
    told = cause()
    if told is not None:
        return RankLostError(told)
    if seconds >= timeout:
        reason = f"did not answer within {timeout:g} s"
    else:
        reason = f"has ended ({str(error).splitlines()[0][:120]})"
    return RankLostError(f"{who} {reason}")


def tell(rank: int, error: BaseException) -> None:
    """Tell the other ranks why this one ends; the first rank that tells is heard."""
    with contextlib.suppress(Exception):
        store = distributed_c10d._get_default_store()
        text = " ".join(str(error).split()) or type(error).__name__
        kind = "" if isinstance(error, SigpropError) else f"{type(error).__name__}: "
        store.compare_set(_KEY, "", f"rank {rank} failed: {kind}{text}")


def cause() -> str | None:
    """Return what a rank told before it ended, or none."""
    with contextlib.suppress(Exception):
        store = distributed_c10d._get_default_store()
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if store.check([_KEY]):
                return bytes(store.get(_KEY)).decode(errors="replace")
            time.sleep(0.05)
    return None
