"""The package `nir`, which is an extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from sigprop_snn.errors import SigpropError


def nir_package() -> ModuleType:
    """Return the module `nir`.

    Raises:
        SigpropError: if it is not installed.
    """
    try:
        return importlib.import_module("nir")
    except ImportError as error:
        raise SigpropError(
            "the package nir is not installed; expected it for NIR graphs: "
            'pip install "sigprop-snn[nir]"'
        ) from error
