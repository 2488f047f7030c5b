"""The random states of torch, numpy and Python, as plain data.

Noisy neurons and a user's own code draw from them. The order of the samples, their augmentation and
rate-coded spikes have separate seeds.

All threads of a process share these states. A block that sets and restores them therefore holds a
lock: runs in several threads take turns, and each gives the result that it gives alone.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_TURN = threading.RLock()


def capture() -> dict[str, Any]:
    """Return the random states, as plain values and tensors for a checkpoint."""
    # `np.random.seed` and most libraries use numpy's legacy state.
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    words = numpy_state["state"]["key"].astype(np.int64)
    version, internal, gauss = random.getstate()
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if on_gpu else [],
        "numpy": {
            "key": torch.from_numpy(words),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "python": {"version": version, "state": torch.tensor(internal), "gauss": gauss},
    }


def restore(state: dict[str, Any]) -> None:
    """Restore what `capture` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        for device, kept in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(kept, device)
    numpy_state = state["numpy"]
    words = numpy_state["key"].numpy().astype(np.uint32)
    np.random.set_state(
        ("MT19937", words, numpy_state["pos"], numpy_state["has_gauss"], numpy_state["gauss"])
    )
    python = state["python"]
    random.setstate((python["version"], tuple(python["state"].tolist()), python["gauss"]))


@contextmanager
def kept() -> Iterator[None]:
    """Restore the random states after the `with` block. Other threads wait until then."""
    with _TURN:
        before = capture()
        try:
            yield
        finally:
            restore(before)


@contextmanager
def turn(say: Callable[[str], object]) -> Iterator[None]:
    """Wait until no other thread holds the random states, and hold them for the `with` block.

    Args:
        say: receives a line of text if this thread has to wait.
    """
    if not _TURN.acquire(blocking=False):
        say(
            "waits for a run in another thread: threads share one random generator, so their runs "
            "take turns (for runs at the same time, start processes)"
        )
        _TURN.acquire()
    try:
        yield
    finally:
        _TURN.release()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the random states for the `with` block, and restore them after it.

    Args:
        seed: 0 to 2**63 - 1.
    """
    with kept():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
