"""The command `sigprop-snn export`: its fields are the flags."""

# `cli.py` imports this file, and the command line's help must appear at once: no torch here.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Folder = Annotated[Path, tyro.conf.arg(metavar="RUN")]
DataRoot = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]


@dataclass(frozen=True)
class Export:
    """Write the network of a run for other programs.

    Attributes:
        folder: the run folder.
        format: nir: a graph of NIR (HDF5), which snnTorch, norse, sinabs, spikingjelly and the
            tools of several chips read; see docs/nir.md.
        out: the file to write (default: `network.nir` in the run folder).
        convention: how the program that reads the graph turns it into steps.
        data_root: the folder that holds the data sets now (default: as in the run).
    """

    folder: Folder
    format: Literal["nir"] = "nir"
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    convention: Literal["nir", "snntorch", "norse", "sinabs", "spikingjelly"] = "nir"
    data_root: DataRoot = None

    def run(self) -> None:
        """Write the file and print its path."""
        from sigprop_snn.deploy import to_nir, write_nir
        from sigprop_snn.training import load_run

        run = load_run(self.folder, data_root=self.data_root, device="cpu")
        graph = to_nir(run.network, self.convention)
        out = self.out if self.out is not None else run.folder.path / "network.nir"
        print(f"network: {write_nir(graph, out)}")
