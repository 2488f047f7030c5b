"""The parameters of modules: what every batch asks of them, in few calls."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def add_gradient(parameter: Tensor | None, gradient: Tensor | None) -> bool:
    """Add a gradient to a parameter's, as a backward pass does; return whether it learns.

    Args:
        parameter: the parameter, or none.
        gradient: in its shape. It becomes the parameter's own.
    """
    if parameter is None or gradient is None or not parameter.requires_grad:
        return False
    hooks = parameter._backward_hooks or parameter._post_accumulate_grad_hooks
    if hooks or not parameter.is_leaf:
        parameter.backward(gradient)  # type: ignore[no-untyped-call]
    elif parameter.grad is not None:
        parameter.grad.add_(gradient)
    elif (gradient.dtype, gradient.stride()) == (parameter.dtype, parameter.stride()):
        parameter.grad = gradient
    else:  # fused optimizers read weights and gradients in one order of memory
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    return True


def first_parameter(module: nn.Module) -> nn.Parameter | None:
    """Return what `next(module.parameters(), None)` does, without its search for duplicates."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    for part in module._modules.values():
        found = None if part is None else first_parameter(part)
        if found is not None:
            return found
    return None
