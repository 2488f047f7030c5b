"""One page that tells how a run went."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors import EnergyModel
from sigprop_snn.plots.saving import write_whole
from sigprop_snn.report.gather import gather
from sigprop_snn.report.page import page

__all__ = ["write_report"]

REPORT = "report.html"


def write_report(
    run: Path,
    out: Path | None = None,
    *,
    data_root: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    samples: int = 500,
    model: EnergyModel | None = None,
) -> Path:
    """Write a run's report as one HTML file that needs nothing but itself.

    Where the data or the weights can't be loaded any more, the page says so and shows what the
    run folder holds.

    Args:
        run: the run folder.
        out: where to write, ending in ".html"; `report.html` in the run folder if not given.
        data_root: where the data lie now, if not where the run says.
        device: where to compute now, if not where the run says.
        samples: about how many test samples cost, health and voltages stand on.
        model: what an operation costs; 32-bit floats in 45 nm if not given.

    Returns:
        The file written.

    Raises:
        SigpropError: if there is no run at that place, `samples` is not positive, or nothing can
            be written to `out`.
    """
    if samples < 1:
        raise SigpropError(f"samples is {samples}; expected 1 or more")
    target = out if out is not None else run / REPORT
    if target.suffix.lower() != ".html":
        raise SigpropError(f"out is {str(target)!r}; expected a name that ends in '.html'")
    found = gather(run, data_root=data_root, device=device, samples=samples, model=model)
    text = page(found)
    return write_whole(target, ".html", lambda part: part.write_text(text, encoding="utf-8"))
