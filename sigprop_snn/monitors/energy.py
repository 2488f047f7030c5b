"""What an operation costs."""

from __future__ import annotations

from dataclasses import dataclass

from sigprop_snn.errors import SigpropError


@dataclass(frozen=True)
class EnergyModel:
    """Picojoules for each operation; the sum over the operations is the estimate.

    The figures that stand here are those of 32-bit floats in 45 nm at 0.9 V: 3.7 pJ a multiply
    and 0.9 pJ an add (M. Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9). They
    are arithmetic alone: no memory traffic, no network on chip, no static power. Put in the
    figures of your own hardware.

    Args:
        mac: a multiply and an add, for a graded value that meets a weight.
        addition: an add, for a spike that meets a weight.
        update: one step of one membrane; a multiply with the leak and an add. Models with more
            variables cost more.
        about: where the figures come from, in one line.

    Raises:
        SigpropError: if a figure is negative or not finite.
    """

    mac: float = 4.6
    addition: float = 0.9
    update: float = 4.6
    about: str = (
        "32-bit floats in 45 nm (Horowitz, ISSCC 2014): 4.6 pJ a multiply-accumulate or membrane "
        "update, 0.9 pJ an addition; arithmetic only, no memory traffic"
    )

    def __post_init__(self) -> None:
        for name in ("mac", "addition", "update"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise SigpropError(f"{name} of EnergyModel is {value}; expected 0 pJ or more")

    def nanojoules(
        self, *, macs: float = 0.0, additions: float = 0.0, updates: float = 0.0
    ) -> float:
        """Return the energy of so many operations, in nJ."""
        picojoules = self.mac * macs + self.addition * additions + self.update * updates
        return picojoules / 1000.0
