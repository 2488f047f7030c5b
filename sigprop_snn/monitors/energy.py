"""The energy of an operation."""

from __future__ import annotations

from dataclasses import dataclass

from sigprop_snn.arguments import not_negative


@dataclass(frozen=True)
class EnergyModel:
    """Picojoules for each operation; the estimate is the sum over the operations.

    The defaults are for 32-bit floats in 45 nm at 0.9 V: 3.7 pJ a multiplication and 0.9 pJ an
    addition (M. Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9). They contain
    arithmetic only: no memory traffic, no network on chip, no static power. Give the values of
    your hardware.

    Args:
        mac: a multiplication and an addition, for a graded value that meets a weight.
        addition: an addition, for a spike that meets a weight.
        update: one step of one membrane: a multiplication with the leak and an addition. Models
            with more variables cost more.
        about: the source of the values, in one line.

    Raises:
        SigpropError: if a value is negative or not finite.
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
            not_negative(f"{name} of EnergyModel", getattr(self, name))

    def nanojoules(
        self, *, macs: float = 0.0, additions: float = 0.0, updates: float = 0.0
    ) -> float:
        """Return the energy of these numbers of operations, in nJ."""
        picojoules = self.mac * macs + self.addition * additions + self.update * updates
        return picojoules / 1000.0
