"""The shapes of a network, for everything that has to fit them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The shapes of a network's blocks; all without time and batch.

    Attributes:
        classes: C.
        inputs: shape of every block's input; the first is a sample's.
        currents: shape of every block's current, and so of its neurons.
        outputs: shape of every block's output, behind its pool.
        gain: root mean square of the first block's current at the start, in units of voltage.
        weights: shape of every weight of every block's synapse, biases left out.
    """

    classes: int
    inputs: tuple[tuple[int, ...], ...]
    currents: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    gain: float = 1.0
    weights: tuple[tuple[tuple[int, ...], ...], ...] = ()
