"""The command line: `sigprop-snn train` and `sigprop-snn list`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from sigprop_snn.data import DATASETS
from sigprop_snn.errors import SigpropError
from sigprop_snn.figures import draw_run
from sigprop_snn.network import LOSSES, NETWORKS, SIGNALS
from sigprop_snn.neurons import NEURONS
from sigprop_snn.rules import RULES
from sigprop_snn.surrogates import SURROGATES
from sigprop_snn.training import TrainConfig, keep_freed_memory, train

_REFUSED, _INTERRUPTED = 2, 130  # what shells expect of a wrong argument and of Ctrl-C


@dataclass(frozen=True)
class ListNames:
    """Print every data set, network, rule, loss, signal, neuron and surrogate."""


_Command = (
    Annotated[
        TrainConfig,
        tyro.conf.subcommand("train", description="Train a network and leave its run folder."),
    ]
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
        if isinstance(command, ListNames):
            _list_names()
        else:
            _train(command)
    except SigpropError as error:
        print(f"sigprop-snn: {error}", file=sys.stderr)
        return _REFUSED
    except KeyboardInterrupt:
        print("sigprop-snn: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _train(config: TrainConfig) -> None:
    keep_freed_memory()
    trained = train(config)
    pictures = draw_run(trained)
    print(f"test accuracy {trained.summary['test_accuracy']:.4f}")
    print(f"pictures: {', '.join(str(picture) for picture in pictures)}")
    print(f"run folder: {trained.folder.path}")


def _list_names() -> None:
    catalogues: dict[str, Mapping[str, object]] = {
        "data sets": {name: dataset.about for name, dataset in DATASETS.items()},
        "networks": NETWORKS,
        "rules": {name: rule.about for name, rule in RULES.items()},
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


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"sigprop-snn: {message}", file=sys.stderr)
