"""The command line: `sigprop-snn train`, `resume`, `evaluate`, `plot` and `list`.

Each command is a dataclass whose fields are its flags and whose `run` does it. What takes seconds
to import is imported there, so that `--help` and a wrong flag are answered at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sigprop_snn.config import TrainConfig
from sigprop_snn.errors import RunStoppedError, SigpropError

if TYPE_CHECKING:
    from sigprop_snn.training import Trained

_REFUSED, _INTERRUPTED = 2, 130  # what shells expect of a wrong argument and of Ctrl-C
_BY_SIGNAL = 128  # plus its number: what shells expect of a program that a signal ended


@dataclass(frozen=True)
class Train:
    """Train a network and leave its run folder.

    Attributes:
        training: what to train, and how.
    """

    training: TrainConfig

    def run(self) -> None:
        """Train, and draw the pictures."""
        from sigprop_snn.training import keep_freed_memory, train

        keep_freed_memory()
        _finish(train(self.training, catch_signals=True))


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped or killed, as if it had never been.

    Attributes:
        folder: the run folder.
        data_root: where the data lie now, if not where the run says.
        device: where to compute now, if not where the run says.
    """

    folder: Path
    data_root: Path | None = None
    device: Literal["auto", "cpu", "cuda"] | None = None

    def run(self) -> None:
        """Resume, and draw the pictures."""
        from sigprop_snn.training import keep_freed_memory, resume

        keep_freed_memory()
        _finish(
            resume(self.folder, data_root=self.data_root, device=self.device, catch_signals=True)
        )


@dataclass(frozen=True)
class ListNames:
    """Print every name that can be chosen, with one line each."""

    def run(self) -> None:
        """Print the catalogues."""
        from sigprop_snn.data import DATASETS
        from sigprop_snn.network import LOSSES, NETWORKS, RULES, SIGNALS
        from sigprop_snn.neurons import NEURONS
        from sigprop_snn.surrogates import SURROGATES

        catalogues: dict[str, Mapping[str, object]] = {
            "data sets": {name: dataset.about for name, dataset in DATASETS.items()},
            "networks": NETWORKS,
            "rules": RULES,
            "losses": LOSSES,
            "signals": SIGNALS,
            "neurons": NEURONS,
            "surrogates": SURROGATES,
        }
        for title, entries in catalogues.items():
            print(title)
            for name, entry in entries.items():
                about = entry if isinstance(entry, str) else (entry.__doc__ or "").split("\n")[0]
                print(f"  {name:26} {about}")


_Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[ListNames, tyro.conf.subcommand("list")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return what the shell is told.

    Args:
        arguments: the words behind `sigprop-snn`; those of the process if not given.
    """
    command: Any = tyro.cli(
        _Command,  # type: ignore[arg-type]
        prog="sigprop-snn",
        description="Spiking neural networks that learn in the forward pass.",
        args=arguments,
        config=(tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes),
    )
    warnings.showwarning = _say_warning
    try:
        command.run()
    except SigpropError as error:
        print(f"sigprop-snn: {error}", file=sys.stderr)
        return _REFUSED
    except KeyboardInterrupt:
        print("sigprop-snn: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except RunStoppedError as error:
        print(f"sigprop-snn: {error}", file=sys.stderr)
        return _BY_SIGNAL + error.number
    return 0


def _finish(trained: Trained) -> None:
    from sigprop_snn.figures import draw_run

    pictures = draw_run(trained)
    print(f"test accuracy {trained.summary['test_accuracy']:.4f}")
    print(f"pictures: {', '.join(str(picture) for picture in pictures)}")
    print(f"run folder: {trained.folder.path}")


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"sigprop-snn: {message}", file=sys.stderr)
