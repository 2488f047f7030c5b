"""What fires in a window of maps, place by place: what convolutions of spikes go by."""

from __future__ import annotations

import functools
from typing import Any

from sigprop_snn.neurons.kernels.packed import WINDOW


def list_groups(
    patterns: Any, part: int, base: int, sheet: int, broad: int, panel: int,
    active: Any, fired: Any, which: Any, where: Any, ends: Any,
) -> int:  # fmt: skip
    """List what fires in a window, place by place, and return for how many places and times.

    Args:
        patterns: of the window, `[H, W, K]`.
        part: which panel of the weights it is for.
        base: where the currents begin.
        sheet: from one step's currents to the next one's.
        broad: places in a row of currents.
        panel: channels of a place.
        active: room for the channels of a place that fire.
        fired: room for their patterns.
        which: where the channels go that fire, `part` counted in.
        where: where the place goes of each group's first current.
        ends: where in `which` each group ends.
    """
    raise AssertionError("compiled code only")


def _list_groups(
    patterns: Any, part: Any, base: Any, sheet: Any, broad: Any, panel: Any,
    active: Any, fired: Any, which: Any, where: Any, ends: Any,
) -> Any:  # fmt: skip
    # Whether a channel fires moves an index: no branch hangs on it.
    height, width, neurons = patterns.shape
    groups = spikes = 0
    for y in range(height):
        for x in range(width):
            found = 0
            for k in range(neurons):
                bits = patterns[y, x, k]
                active[found] = k
                fired[found] = bits
                found += bits != 0
            for t in range(WINDOW):
                before = spikes
                for event in range(found):
                    which[spikes] = part * neurons + active[event]
                    spikes += fired[event] >> t & 1
                where[groups] = base + t * sheet + (y * broad + x) * panel
                ends[groups] = spikes
                groups += spikes > before
    return groups


@functools.cache
def teach_lists() -> None:
    """Give `list_groups` its code."""
    from numba.extending import overload

    def typed(
        patterns: Any, part: Any, base: Any, sheet: Any, broad: Any, panel: Any,
        active: Any, fired: Any, which: Any, where: Any, ends: Any,
    ) -> Any:  # fmt: skip
        return _list_groups

    overload(list_groups)(typed)
