"""Everything that a report shows, gathered from a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors import EnergyModel
from sigprop_snn.report.folder import Contents, read_contents
from sigprop_snn.report.measure import Measured, measure
from sigprop_snn.training import Trained, load_run, randomness


@dataclass(frozen=True)
class Gathered:
    """A run as a report sees it.

    Attributes:
        contents: the plain files of the run folder.
        trained: the network and its data, if they can be loaded.
        measured: what the network does on the test samples, if it can be run.
        missing: why it can't.
    """

    contents: Contents
    trained: Trained | None
    measured: Measured | None
    missing: str


def gather(
    path: Path,
    *,
    data_root: Path | None,
    device: Literal["auto", "cpu", "cuda"] | None,
    samples: int,
    model: EnergyModel | None,
) -> Gathered:
    """Return what there is to say of a run.

    Raises:
        SigpropError: if there is no run at that place.
    """
    contents = read_contents(path)
    try:
        trained = load_run(path, data_root=data_root, device=device)
    except (SigpropError, OSError) as error:
        return Gathered(contents, None, None, str(error))
    with randomness.seeded(trained.config.seed):  # a noisy neuron gives the same report again
        measured = measure(trained.network, trained.data, samples, model)
    return Gathered(contents, trained, measured, "")
