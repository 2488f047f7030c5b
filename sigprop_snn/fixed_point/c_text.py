"""The text of C: arrays with their bytes, names and comments."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from torch import Tensor

from sigprop_snn.fixed_point.formats import Decay
from sigprop_snn.fixed_point.network import IntegerNetwork

_BYTES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "int32_t": 4, "uint32_t": 4}
_WIDTH = 96


class Arrays:
    """The arrays of a C program, with the bytes that they take."""

    def __init__(self) -> None:
        self._bytes = {True: 0, False: 0}
        self._lines: list[str] = []

    def add(
        self,
        kind: str,
        name: str,
        content: int | Tensor,
        *,
        constant: bool = False,
        public: bool = False,
        axes: str | None = None,
    ) -> None:
        """Declare an array.

        Args:
            kind: the type of C.
            name: its name.
            content: the number of its elements, which start at 0, or their values.
            constant: whether it is never written.
            public: whether other files may see it.
            axes: its axes in C, such as "[10][256]"; one axis if not given.
        """
        size = content if isinstance(content, int) else content.numel()
        self._bytes[constant] += size * _BYTES[kind]
        words = ("" if public else "static ") + ("const " if constant else "") + kind
        line = f"{words} {name}{axes or f'[{size}]'}"
        if isinstance(content, Tensor):
            numbers = ", ".join(map(str, content.contiguous().flatten().tolist()))
            wrapped = textwrap.fill(numbers, _WIDTH, break_long_words=False)
            line += " = {\n" + textwrap.indent(wrapped, "    ") + "\n}"
        self._lines.append(line + ";")

    def count(self, size: int) -> None:
        """Count bytes of variables that are declared elsewhere."""
        self._bytes[False] += size

    def bytes(self, *, constant: bool) -> int:
        """Return the bytes of the constants, or of what is written."""
        return self._bytes[constant]

    def text(self) -> str:
        """Return the declarations."""
        return "\n".join(self._lines)


def comment(lines: Sequence[str]) -> str:
    """Return a comment of C."""
    filled = [part for line in lines for part in (textwrap.wrap(line, _WIDTH) or [""])]
    safe = [line.replace("*/", "* /") for line in filled]
    return "/* " + "\n * ".join(safe).replace("\n * \n", "\n *\n") + "\n */"


def decay_text(decay: Decay) -> str:
    """Return the expression of C for `u` after the decay of one step."""
    if decay.multiplier is not None:
        return f"((u * {decay.multiplier}) >> {decay.bits})"
    return "u" + "".join(f" - (u >> {shift})" for shift in decay.shifts)


def state_type(bits: int) -> str:
    """Return the type of C for a membrane or a trace of so many bits."""
    return "int16_t" if bits == 16 else "int32_t"


def top_of(bits: int) -> int:
    """Return the largest signed integer of so many bits."""
    return int((1 << (bits - 1)) - 1)


def layer_name(network: IntegerNetwork, index: int) -> str:
    """Return the name in C of a layer of `network.weighted`."""
    return f"snn_block{index + 1}" if index < len(network.layers) else "snn_readout"


def joined(lines: Sequence[str]) -> str:
    """Return lines as one text; each ends with a line break."""
    return "".join(f"{line}\n" for line in lines)
