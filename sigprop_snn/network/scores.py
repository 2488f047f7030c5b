"""The scores that a network in training returns: they say that they have no gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError


class Scores(Tensor):
    """Class scores without a gradient. `backward()` of a loss of them alone is an error.

    torch's own error for it names no network, and this is the first thing that a user of another
    library tries. Otherwise they are a tensor like any other; a copy or a file has a plain tensor.
    """

    @classmethod
    def of(cls, scores: Tensor) -> Tensor:
        """Return scores as such, where a caller could ask for a gradient."""
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return scores
        return scores.as_subclass(cls)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, after a check that it asks for no gradient.

        Raises:
            SigpropError: if it asks for the gradient of a loss that no parameter has a part in.
        """
        if func in (Tensor.backward, torch.autograd.grad):
            losses = args[0] if isinstance(args[0], tuple | list) else (args[0],)
            if not any(loss.requires_grad for loss in losses):
                raise SigpropError(
                    "the scores of network(x) have no gradient; expected network.learn(x, labels), "
                    "which gives every layer the gradient of its local loss. For backpropagation: "
                    "rule='backpropagation'"
                )
        return super().__torch_function__(  # type: ignore[no-untyped-call]
            func, types, args, kwargs or {}
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Return a copy as a plain tensor."""
        copied: Tensor = copy.deepcopy(self.as_subclass(Tensor), memo)
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what a file keeps: a plain tensor."""
        return self.as_subclass(Tensor).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:  # type: ignore[override]
        """Return the numbers, as a plain tensor does."""
        return repr(self.as_subclass(Tensor))
