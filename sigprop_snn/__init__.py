"""Spiking neural networks that learn in the forward pass, by signal propagation, on PyTorch.

The names that most people need, such as `sigprop_snn.mlp` and `sigprop_snn.VoltageRule`, are listed
in `__init__.pyi` and loaded on use: torch is not imported before it is needed.
"""

from pathlib import Path as _Path

import lazy_loader as _lazy

# In a clone, `neurons` and `surrogates` stand beside this folder; an installation has them inside
# it. Python started in a clone's root finds this folder first, so it has to find those two as well.
_root = _Path(__file__).resolve().parent.parent
if (_root / "setup.cfg").is_file() and (_root / "neurons").is_dir():
    __path__.append(str(_root))

_attribute, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _attribute(name)
    except AttributeError:
        if name.startswith("_"):
            raise
        from sigprop_snn.missing import place_of

        hint = place_of(name, __all__, __path__)
        raise AttributeError(f"module 'sigprop_snn' has no attribute {name!r}{hint}") from None
