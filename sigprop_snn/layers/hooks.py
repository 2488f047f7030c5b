"""Forward hooks of torch on blocks, neurons and readouts.

A pass does not call these modules one by one, so torch does not fire their hooks; it is done here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from sigprop_snn.errors import SigpropError, shown
from sigprop_snn.neurons.engines import Spikes


def is_hooked(module: nn.Module) -> bool:
    """Return whether a module has a forward hook, or a hook that comes before it."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def fire(name: str, module: nn.Module, inputs: Iterable[Tensor | Spikes], output: Any) -> None:
    """Call the hooks of a module with dense tensors without a gradient; nothing without a hook.

    Args:
        name: the module's name, for the message.
        module: the module.
        inputs: what went into it.
        output: what came out, a tensor or spikes.

    Raises:
        SigpropError: if a hook returns something: what a layer sends can't be replaced.
    """
    if not is_hooked(module):
        return
    given = tuple(_dense(each) for each in inputs)
    for key, before in module._forward_pre_hooks.items():
        extra: tuple[Any, ...] = ({},) if key in module._forward_pre_hooks_with_kwargs else ()
        _refuse(name, before(module, given, *extra))
    sent = _dense(output)
    for key, after in module._forward_hooks.items():
        extra = ({},) if key in module._forward_hooks_with_kwargs else ()
        _refuse(name, after(module, given, *extra, sent))


def _dense(activity: Tensor | Spikes) -> Tensor:
    return (activity if isinstance(activity, Tensor) else activity.dense()).detach()


def _refuse(name: str, returned: object) -> None:
    if returned is not None:
        raise SigpropError(
            f"a forward hook on {name} returned {shown(returned)}; expected None, because a hook "
            "can't replace what a layer receives or sends"
        )
