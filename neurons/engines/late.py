"""Checks of numbers that do not make the program wait for a GPU.

Whether a number on a GPU is finite is known only when the GPU has come that far. On a CPU a check
raises its error at once; on a GPU it raises it in a later call, at the latest when somebody reads
a result of the batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_MOST = 8  # checks that wait for the GPU; one more, and the program waits for the oldest


class _Check(NamedTuple):
    failed: Tensor
    known: torch.cuda.Event
    error: Callable[[], Exception | None]


_waiting: deque[_Check] = deque()


def refuse_if(
    failed: Callable[[], Tensor | bool],
    error: Callable[[], Exception | None],
    device: torch.device,
) -> None:
    """Raise an error if a flag is true: at once on a CPU, in a later call on a GPU.

    While a CUDA graph is captured nothing is checked: its replays could not raise an error.

    Args:
        failed: computes the flag, a tensor without axes; on a CPU a bool will do.
        error: makes the error; none if a closer look finds nothing wrong.
        device: where the flag is computed.
    """
    if device.type != "cuda":
        if bool(failed()):
            _raise(error)
        return
    if torch.cuda.is_current_stream_capturing():
        return
    on_host = torch.empty((), dtype=torch.bool, pin_memory=True)
    on_host.copy_(torch.as_tensor(failed(), device=device), non_blocking=True)
    known = torch.cuda.Event()  # type: ignore[no-untyped-call]
    known.record()
    _waiting.append(_Check(on_host, known, error))
    raise_late(_MOST)


def raise_late(most: int = 0) -> None:
    """Raise the error of a check that has failed meanwhile.

    Args:
        most: how many checks may go on waiting.
    """
    while _waiting and (len(_waiting) > most or _is_known(_waiting[0])):
        check = _waiting.popleft()
        check.known.synchronize()
        if bool(check.failed):
            _waiting.clear()
            _raise(check.error)


def _is_known(check: _Check) -> bool:
    known: bool = check.known.query()  # type: ignore[no-untyped-call]
    return known


def _raise(error: Callable[[], Exception | None]) -> None:
    made = error()
    if made is not None:
        raise made
