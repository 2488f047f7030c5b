"""Which engine runs: one for each kind of device, unless a program asks for another."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from sigprop_snn.arguments import instance, one_of
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.engines.engine import Engine
from sigprop_snn.neurons.engines.reference import ReferenceEngine

ENGINES = ("reference", "cpu", "triton")

_asked: ContextVar[Engine | None] = ContextVar("engine", default=None)


def engine_for(device: torch.device) -> Engine:
    """Return the engine that runs layers on a device.

    It is the one that `use_engine` asks for, else the device's own where its compiler (numba or
    Triton) is installed, else the reference engine.

    Raises:
        SigpropError: if it is no device of torch.
    """
    instance("device", device, torch.device, "a device such as weights.device")
    asked = _asked.get()
    return asked if asked is not None else _own(device.type)


@contextmanager
def use_engine(engine: Engine | str) -> Iterator[Engine]:
    """Run everything inside the block on one engine.

    Args:
        engine: an engine, or a name in `ENGINES`.

    Raises:
        UnknownNameError: if the name is unknown.
    """
    chosen = as_engine(engine)
    token = _asked.set(chosen)
    try:
        yield chosen
    finally:
        _asked.reset(token)


def as_engine(engine: Engine | str) -> Engine:
    """Return an engine, given itself or its name in `ENGINES`.

    Raises:
        UnknownNameError: if the name is unknown.
        SigpropError: if it is neither.
    """
    if isinstance(engine, str):
        return engine_named(engine)
    if isinstance(engine, type) or not hasattr(engine, "neurons"):
        raise SigpropError(f"engine is {engine!r}; expected an engine or one of {ENGINES}")
    return engine


def engine_named(name: str) -> Engine:
    """Return an engine by its name in `ENGINES`.

    Raises:
        UnknownNameError: if there is none of that name.
    """
    return _made(one_of("engine", name, ENGINES))


@functools.cache
def _made(name: str) -> Engine:
    # Imported on use: numba and Triton take a second, and not every machine has both.
    if name == "reference":
        return ReferenceEngine()
    if name == "cpu":
        from sigprop_snn.neurons.engines.cpu.engine import CpuEngine

        return CpuEngine()
    from sigprop_snn.neurons.engines.triton.engine import TritonEngine

    return TritonEngine()


@functools.cache
def _own(device: str) -> Engine:
    name, compiler = {"cpu": ("cpu", "numba"), "cuda": ("triton", "triton")}.get(
        device, ("reference", "torch")
    )
    found = importlib.util.find_spec(compiler) is not None
    return engine_named(name if found else "reference")
