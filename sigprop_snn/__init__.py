"""Spiking neural networks that learn in the forward pass, by signal propagation, on PyTorch."""

from pathlib import Path as _Path

# In a clone, `neurons` and `surrogates` stand beside this folder; an installation has them inside
# it. Python started in a clone's root finds this folder first, so it has to find those two as well.
_root = _Path(__file__).resolve().parent.parent
if (_root / "setup.cfg").is_file() and (_root / "neurons").is_dir():
    __path__.append(str(_root))
