"""What all ranks of a job must have in common, checked before the first batch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Network
from sigprop_snn.parallel.failure import named_losses
from sigprop_snn.version import __version__


def check_started() -> None:
    """Check that torch's process group exists.

    Raises:
        SigpropError: if it does not.
    """
    if not dist.is_available() or not dist.is_initialized():
        raise SigpropError(
            "torch.distributed is not started; expected torch.distributed.init_process_group(...) "
            "first, under torchrun"
        )


def check_agreement(mine: Mapping[str, object], timeout: float) -> None:
    """Check that all ranks have the same facts.

    Args:
        mine: this rank's facts by name.
        timeout: seconds after which torch gives up.

    Raises:
        SigpropError: on every rank, if one has another fact than rank 0; it names rank and fact.
    """
    found = gathered(dict(mine), "the check before the first batch", timeout)
    for rank, theirs in enumerate(found):
        if rank == 0:
            first = theirs
        for name in {**first, **theirs}:
            if theirs.get(name) != first.get(name):
                raise SigpropError(
                    f"rank {rank} has {name} {theirs.get(name)}, but rank 0 has "
                    f"{first.get(name)}; expected the same on all ranks"
                )


def gathered(mine: Any, what: str, timeout: float) -> Any:
    """Return an object of every rank, in the order of the ranks.

    Args:
        mine: this rank's object, of plain values and tensors on the CPU.
        what: what all ranks do here, for an error.
        timeout: seconds after which a rank that does not answer is lost.

    Raises:
        RankLostError: if a rank is lost.
    """
    found: list[Any] = [None] * dist.get_world_size()
    with named_losses(f"a rank in {what}", timeout):
        group = _control(timeout)
        # It finds out which rank is missing; a gathering knows only that one is.
        dist.monitored_barrier(group, timedelta(seconds=timeout), wait_all_ranks=True)
        dist.all_gather_object(found, mine, group)
    return found


_groups: dict[float, tuple[object, Any]] = {}  # by timeout, with the group of all ranks


def _control(timeout: float) -> Any:
    """Return a group of all ranks for plain values on the CPU, with this timeout."""
    world = dist.group.WORLD
    known = _groups.get(timeout)
    if known is None or known[0] is not world:
        known = world, dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
        _groups[timeout] = known
    return known[1]


def facts_of(network: Network) -> dict[str, object]:
    """Return what ranks with the same network have in common, by name."""
    return {
        "the version of sigprop_snn": __version__,
        "the version of torch": str(torch.__version__),
        "the network": _digest(_described(network).encode()),
        "the weights": weights_digest(network),
        "the mode training": network.training,
    }


def weights_digest(network: nn.Module) -> str:
    """Return a hash of a network's weights and running statistics."""
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(name.encode())
        found.update(
            value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return found.hexdigest()[:12]


def _described(network: Network) -> str:
    """Return a network in words that are the same in every process."""
    words = f"{network}\n{network.rule}\n{network.loss}\n{network.predict}"
    return re.sub(r" at 0x[0-9a-f]+", "", words)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
