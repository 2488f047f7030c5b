"""The command `export`: the network of a run for other programs, in each format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sigprop_snn.command_line.flags import DataRoot, RunFolder
from sigprop_snn.errors import SigpropError

if TYPE_CHECKING:
    from sigprop_snn.training import Trained

_ENDINGS = {"torch": "pt2"}


@dataclass(frozen=True)
class Export:
    """Write the network of a run for other programs.

    Attributes:
        folder: the run folder.
        format: nir: a graph of NIR (HDF5), which snnTorch, norse, sinabs, spikingjelly and the
            tools of several chips read; see docs/nir.md. c: one C99 file in integer arithmetic;
            see docs/chips.md. onnx: a program for onnxruntime. torch: a program for
            torch.export.load, which needs torch alone.
        out: the file to write (default: `network` in the run folder, with the ending .nir, .c,
            .onnx or .pt2).
        convention: nir alone: how the program that reads the graph turns it into steps.
        bits: c alone: bits of a weight, from 2 to 8.
        learn: c alone: also write the voltage rule, which goes on learning from the weights.
        data_root: the folder that holds the data sets now (default: as in the run).
    """

    folder: RunFolder
    format: Literal["nir", "c", "onnx", "torch"] = "nir"
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    convention: Literal["nir", "snntorch", "norse", "sinabs", "spikingjelly"] = "nir"
    bits: int = 8
    learn: bool = False
    data_root: DataRoot = None

    def run(self) -> None:
        """Write the file and print its path."""
        self._check()
        from sigprop_snn.training import load_run

        run = load_run(self.folder, data_root=self.data_root, device="cpu")
        out = self.out or run.folder.path / f"network.{_ENDINGS.get(self.format, self.format)}"
        print(f"network: {_FORMATS[self.format](self, run, out)}")

    def _check(self) -> None:
        """Check that no flag of another format is given.

        Raises:
            SigpropError: if one is.
        """
        of_format = {"convention": "nir", "bits": "c", "learn": "c"}
        for field in fields(self):
            format_ = of_format.get(field.name, self.format)
            if format_ != self.format and getattr(self, field.name) != field.default:
                raise SigpropError(
                    f"--{field.name} is for --format {format_}; the format is {self.format}"
                )


def _export_nir(command: Export, run: Trained, out: Path) -> Path:
    """Write the graph of NIR and return its path."""
    from sigprop_snn.deploy import to_nir, write_nir

    return write_nir(to_nir(run.network, command.convention), out)


def _export_c(command: Export, run: Trained, out: Path) -> Path:
    """Write the C99 file and return its path."""
    from sigprop_snn.deploy import fold
    from sigprop_snn.fixed_point import (
        Format,
        integer_inputs,
        learner_of,
        levels_for,
        quantise,
        write_c,
    )

    inputs, _ = next(iter(run.data.test))
    levels = levels_for(inputs)
    integer_inputs(inputs, levels)  # refuses inputs below 0, such as standardised colours
    if command.learn:
        format_ = Format(command.bits, "tensor")
        learner = learner_of(run.network, format_, levels=levels, steps=run.data.steps)
        return write_c(learner, out, name=run.config.dataset)
    network = quantise(fold(run.network), Format(command.bits), levels=levels, steps=run.data.steps)
    return write_c(network, out, name=run.config.dataset)


def _export_onnx(command: Export, run: Trained, out: Path) -> Path:
    """Write the program of ONNX and return its path."""
    from sigprop_snn.deploy import write_onnx

    return write_onnx(run.network, out, _steps(run))


def _export_torch(command: Export, run: Trained, out: Path) -> Path:
    """Write the program of torch and return its path."""
    from sigprop_snn.deploy import write_program

    return write_program(run.network, out, _steps(run))


def _steps(run: Trained) -> int:
    """Return T of the test samples."""
    return len(next(iter(run.data.test))[0])


_FORMATS: dict[str, Callable[[Export, Trained, Path], Path]] = {
    "nir": _export_nir,
    "c": _export_c,
    "onnx": _export_onnx,
    "torch": _export_torch,
}
"""The function that writes each format."""
