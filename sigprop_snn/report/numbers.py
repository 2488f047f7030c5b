"""Numbers as a person reads them."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from sigprop_snn.monitors import format_energy


def known_number(value: Any) -> TypeGuard[float]:
    """Return whether a value out of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def percent(share: float) -> str:
    """Return a share in percent, with as many digits as it deserves."""
    digits = 2 if 0 < share < 0.1 else 1
    return f"{100 * share:.{digits}f} %"


def energy(nanojoules: float) -> str:
    """Return an energy in the unit that reads best."""
    return format_energy(nanojoules).replace("uJ", "µJ")


def short(count: float) -> str:
    """Return a count of three or four digits, with k, M or G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (1e3 if letter == 'k' else size):.3g} {letter}"
    return f"{count:,.0f}"


def spoken(seconds: float) -> str:
    """Return a length of time."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def file_size(size: int) -> str:
    """Return the size of a file."""
    for limit, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size} bytes"
