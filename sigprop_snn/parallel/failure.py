"""A process that is lost: how its rank and the cause reach the other processes."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import distributed_c10d

from sigprop_snn.errors import RankLostError, SigpropError

_KEY = "sigprop_snn/failed"
_MISSING = re.compile(r"[Rr]anks? (\d+(?:, *\d+)*) failed to pass")  # torch's words
_RANK = re.compile(r"rank (\d+)")
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
        seconds = time.monotonic() - begun
        raise lost(f"rank {peer} ({layers})", error, seconds, timeout, peer) from error


@contextlib.contextmanager
def named_losses(who: str, timeout: float) -> Iterator[None]:
    """Turn an error of `torch.distributed` into one that names the cause.

    Args:
        who: the ranks that take part, in words.
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
        raise lost(who, error, seconds, timeout) from error


def lost(
    who: str, error: RuntimeError, seconds: float, timeout: float, rank: int | None = None
) -> RankLostError:
    """Return the error for a rank that is lost; it has the cause if that rank told it.

    Args:
        who: the rank in words.
        error: torch's error.
        seconds: how long this rank has waited.
        timeout: how long it waits at most.
        rank: the rank, if it is known.
    """
    told = cause()
    if told is not None:
        of = _RANK.match(told)
        return RankLostError(told, None if of is None else int(of[1]))
    missing = _MISSING.search(str(error))
    if missing is not None:
        who, rank = f"rank {missing[1]}", int(missing[1].split(",")[0])
    if seconds >= 0.9 * timeout:
        reason = f"did not answer within {timeout:g} s"
    else:
        text = str(error).strip().splitlines()[:1]
        reason = "has ended" if missing is not None or not text else f"has ended ({text[0][:120]})"
    return RankLostError(f"{who} {reason}", rank)


def tell(rank: int, error: BaseException) -> None:
    """Tell the other ranks why this one ends; the first rank that tells is heard.

    A rank that ends because another is lost tells of that one, if it knows which one it is.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, RankLostError):
        if error.rank is None:
            return
    elif isinstance(error, SigpropError):
        text = f"rank {rank} failed: {text}"
    else:
        text = f"rank {rank} failed: {type(error).__name__}: {text}"
    with contextlib.suppress(Exception):
        distributed_c10d._get_default_store().compare_set(_KEY, "", text)


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
