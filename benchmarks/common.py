"""What several benchmarks share: the end of their time, and the device that they measure."""

from __future__ import annotations

import platform

import torch


class OutOfTimeError(Exception):
    """The minutes are over."""


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the kind of processor and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def synchronise(device: torch.device | str) -> None:
    """Wait for the work of a GPU; a CPU has none left."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
