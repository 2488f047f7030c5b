"""The device that tensors are on, and the memory that they take."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_KEPT_BYTES = 2**30


def chosen_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: any device of torch, such as "cpu", "cuda", "cuda:1", "mps" or "xpu"; "auto" is a GPU
            of CUDA if there is one, else the CPU.

    Raises:
        SigpropError: if torch knows no such device, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    expected = "expected 'auto', 'cpu', 'cuda', 'cuda:1', 'mps' or another device of this machine"
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError) as error:
        raise SigpropError(f"device {name!r} is unknown to torch; {expected}") from error
    if device.type == "meta":
        raise SigpropError(f"device {name!r} holds no numbers; {expected}")
    try:
        torch.empty(1, device=device)
    # Torch raises any of these, depending on how it was built.
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")
        raise SigpropError(f"device {name!r} can't be used ({reason}); {expected}") from error
    return device


def to_device(inputs: Tensor, device: torch.device) -> Tensor:
    """Move `[T, B, ...]` to a device. Of an input that is constant in time, one step is moved."""
    if inputs.stride(0) == 0:
        return sent(inputs[0], device).expand_as(inputs)
    return sent(inputs, device)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device. A copy from the CPU to a GPU of CUDA waits for no other work."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        # From memory that the system may move, torch waits for the GPU.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Return a context without autocast, for a type of device; mostly an empty one."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


@contextmanager
def fast_convolutions(device: torch.device) -> Iterator[None]:
    """Let cuDNN time its convolutions of each new shape in the `with` block and use the fastest.

    Other devices, and a program that asks for deterministic results, keep their settings.
    """
    library = torch.backends.cudnn
    fixed = library.deterministic or torch.are_deterministic_algorithms_enabled()
    if device.type != "cuda" or library.benchmark or fixed:
        yield
        return
    library.benchmark = True
    try:
        yield
    finally:
        library.benchmark = False


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory so far in MiB: of this process, or of the tensors on a GPU.

    It is NaN for the process on a system that does not count it, such as Windows.
    """
    instance("device", device, torch.device, "a device such as torch.device('cpu')")
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def step_memory_mb(step: Callable[[], object], device: torch.device) -> float:
    """Return the peak in MiB of what a step allocates beyond what is allocated before it.

    Args:
        step: computes on the device. It is called once.
        device: the device.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return float(torch.cuda.max_memory_allocated(device) - before) / 2**20
    # Torch's record of every allocation is exact. The size of the process is not: the C library
    # keeps some freed memory.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    assert profiled.profiler is not None and profiled.profiler.kineto_results is not None
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return max(held, default=0) / 2**20


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or in this process."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # Torch has no class of its own for the CPU.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


@contextmanager
def named_memory_errors() -> Iterator[None]:
    """Turn an error of the `with` block because memory ran out into one that says what to lower.

    Raises:
        SigpropError: if memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        where = "on the GPU" if isinstance(error, torch.OutOfMemoryError) else "in this process"
        raise SigpropError(
            f"memory ran out {where}; expected a smaller batch_size, fewer steps, smaller samples "
            "or a smaller network"
        ) from error


def keep_freed_memory() -> bool:
    """Let the C library keep freed blocks of up to 1 GiB for the next batch.

    By default glibc returns large blocks to the system, which fills them with zeros when they are
    allocated again. This can take as long as learning. The setting is for the whole process, so
    programs call this function and the library does not. It has no effect without glibc.

    Returns:
        Whether the C library accepted the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    accepted = [mallopt(option, _KEPT_BYTES) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)]
    return all(accepted)
