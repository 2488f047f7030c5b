"""The command line: `sigprop-snn train`, `resume`, `evaluate`, `plot`, `report` and `list`.

Each command is a dataclass whose fields are its flags and whose `run` does it. What takes seconds
to import is imported there, so that `--help` and a wrong flag are answered at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sigprop_snn.compare_config import CompareConfig
from sigprop_snn.config import TrainConfig
from sigprop_snn.errors import RunStoppedError, SigpropError

if TYPE_CHECKING:
    from sigprop_snn.training import Evaluation, Trained

_REFUSED, _INTERRUPTED = 2, 130  # what shells expect of a wrong argument and of Ctrl-C
_BY_SIGNAL = 128  # plus its number: what shells expect of a program that a signal ended


_Folder = Annotated[Path, tyro.conf.arg(metavar="RUN")]
_DataRoot = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
_Device = Annotated[
    Literal["auto", "cpu", "cuda"] | None,
    tyro.conf.arg(metavar="{auto,cpu,cuda}", help_behavior_hint=""),
]


@dataclass(frozen=True)
class Train:
    """Train a network and leave its run folder.

    Attributes:
        training: what to train, and how.
        config: a config.json to begin from, such as an earlier run's; flags override it.
    """

    training: TrainConfig
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None

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
        data_root: where the data lie now; where the run says if not given.
        device: where to compute now; where the run says if not given.
    """

    folder: _Folder
    data_root: _DataRoot = None
    device: _Device = None

    def run(self) -> None:
        """Resume, and draw the pictures."""
        from sigprop_snn.training import keep_freed_memory, resume

        keep_freed_memory()
        _finish(
            resume(self.folder, data_root=self.data_root, device=self.device, catch_signals=True)
        )


@dataclass(frozen=True)
class Evaluate:
    """Print how a run's network and each of its layers do on the test samples.

    Attributes:
        folder: the run folder.
        data_root: where the data lie now; where the run says if not given.
        device: where to compute now; where the run says if not given.
        out: a new JSON file that the figures are written to as well; none if not given.
    """

    folder: _Folder
    data_root: _DataRoot = None
    device: _Device = None
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None

    def run(self) -> None:
        """Evaluate and print."""
        from sigprop_snn.training import judge, keep_freed_memory, load_run

        if self.out is not None:
            _refuse_existing(self.out)
        keep_freed_memory()
        run = load_run(self.folder, data_root=self.data_root, device=self.device)
        found = judge(run.network, run.data.test, run.config.seed)
        print(
            f"{run.config.dataset}, {run.data.test.samples} test samples, network "
            f"{run.config.network}, rule {run.config.rule}, epoch {run.epoch} of "
            f"{run.config.epochs}" + (f" and {run.batch} batches of the next" if run.batch else "")
        )
        print(f"{'':10}  accuracy  spikes a step  silent neurons")
        for layer in found.layers:
            accuracy = "" if layer.accuracy is None else f"{layer.accuracy:.4f}"
            print(
                f"{layer.name:10}  {accuracy:>8}  {layer.spike_rate:13.4f}  "
                f"{layer.dead_fraction:14.4f}"
            )
        print(f"{'network':10}  {found.accuracy:8.4f}")
        if self.out is not None:
            _write_figures(self.out, run, found)


@dataclass(frozen=True)
class Plot:
    """Draw a run's figures again, from its checkpoint.

    Attributes:
        folder: the run folder.
        data_root: where the data lie now; where the run says if not given.
        device: where to compute now; where the run says if not given.
        sample: which test sample the raster and the voltages show.
    """

    folder: _Folder
    data_root: _DataRoot = None
    device: _Device = None
    sample: int = 0

    def run(self) -> None:
        """Draw."""
        from sigprop_snn.figures import draw_run
        from sigprop_snn.training import load_run

        run = load_run(self.folder, data_root=self.data_root, device=self.device)
        for picture in draw_run(run, self.sample):
            print(picture)


@dataclass(frozen=True)
class Report:
    """Write a run's report: one HTML page that needs nothing but itself.

    Attributes:
        folder: the run folder.
        out: where to write, ending in .html; report.html in the run folder if not given.
        data_root: where the data lie now; where the run says if not given.
        device: where to compute now; where the run says if not given.
        samples: about how many test samples cost, health and voltages stand on.
    """

    folder: _Folder
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    data_root: _DataRoot = None
    device: _Device = None
    samples: int = 500

    def run(self) -> None:
        """Write the page."""
        from sigprop_snn.report import write_report
        from sigprop_snn.training import keep_freed_memory

        keep_freed_memory()
        page = write_report(
            self.folder,
            self.out,
            data_root=self.data_root,
            device=self.device,
            samples=self.samples,
        )
        print(f"report: {page}")


@dataclass(frozen=True)
class Compare:
    """Train every rule on the same network, data and budget, and compare them.

    Attributes:
        comparison: what to compare, and how.
    """

    comparison: CompareConfig

    def run(self) -> None:
        """Compare, and print the table."""
        from sigprop_snn.comparison import as_text, compare

        compared = compare(self.comparison)
        print(f"\n{as_text(compared.rows)}\n\ncomparison folder: {compared.folder}")


@dataclass(frozen=True)
class ListNames:
    """Print every name that can be chosen, with one line each."""

    def run(self) -> None:
        """Print the catalogues."""
        from sigprop_snn.data import DATASETS
        from sigprop_snn.network import LOSSES, NETWORKS, SIGNALS
        from sigprop_snn.neurons import NEURONS
        from sigprop_snn.rules import RULES
        from sigprop_snn.surrogates import SURROGATES
        from sigprop_snn.training import OPTIMIZERS, SCHEDULES

        catalogues: dict[str, Mapping[str, object]] = {
            "data sets": {name: dataset.about for name, dataset in DATASETS.items()},
            "networks": NETWORKS,
            "rules": {name: rule.about for name, rule in RULES.items()},
            "losses": LOSSES,
            "signals": SIGNALS,
            "neurons": NEURONS,
            "surrogates": SURROGATES,
            "optimizers": OPTIMIZERS,
            "schedules": SCHEDULES,
        }
        for title, entries in catalogues.items():
            print(title)
            for name, entry in entries.items():
                about = entry if isinstance(entry, str) else (entry.__doc__ or "").split("\n")[0]
                print(f"  {name:26} {about}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return what the shell is told.

    Args:
        arguments: the words behind `sigprop-snn`; those of the process if not given.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    warnings.showwarning = _say_warning
    try:
        command: Any = tyro.cli(
            _commands(arguments),
            prog="sigprop-snn",
            description="Spiking neural networks that learn in the forward pass.",
            args=arguments,
            config=(tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes),
        )
        command.run()
    except SigpropError as error:
        print(f"sigprop-snn: {error}", file=sys.stderr)
        return _REFUSED
    except RunStoppedError as error:
        print(f"sigprop-snn: {error}", file=sys.stderr)
        return _BY_SIGNAL + error.number
    except KeyboardInterrupt:
        print("sigprop-snn: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _commands(arguments: Sequence[str]) -> Any:
    """Return the commands; `train` begins from the file that `--config` names."""
    train = tyro.conf.subcommand("train")
    file = _config_file(arguments)
    if file is not None:
        from sigprop_snn.config_file import read_settings

        settings = {"dataset": tyro.MISSING} | read_settings(file)
        train = tyro.conf.subcommand("train", default=Train(TrainConfig(**settings), file))
    return (
        Annotated[Train, train]
        | Annotated[Resume, tyro.conf.subcommand("resume")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Plot, tyro.conf.subcommand("plot")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Compare, tyro.conf.subcommand("compare")]
        | Annotated[ListNames, tyro.conf.subcommand("list")]
    )


def _config_file(arguments: Sequence[str]) -> Path | None:
    """Return what `--config` names; tyro reads it again, and complains if it names nothing."""
    if not arguments or arguments[0] != "train":
        return None
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--config", nargs="?", type=Path)
    found: Path | None = reader.parse_known_args(arguments[1:])[0].config
    return found


def _finish(trained: Trained) -> None:
    from sigprop_snn.figures import draw_run

    pictures = draw_run(trained)
    print(f"test accuracy {trained.summary['test_accuracy']:.4f}")
    print(f"pictures: {', '.join(str(picture) for picture in pictures)}")
    print(f"run folder: {trained.folder.path}")


def _refuse_existing(path: Path) -> None:
    try:
        if not path.exists():
            return
    except OSError as error:
        raise SigpropError(f"{str(path)!r} can't be written ({error.strerror})") from error
    raise SigpropError(f"{str(path)!r} is there already; expected the name of a new file")


def _write_figures(path: Path, run: Trained, found: Evaluation) -> None:
    from sigprop_snn.training.folder import write_whole

    content = {
        "dataset": run.config.dataset,
        "test_samples": run.data.test.samples,
        "epoch": run.epoch,
        "test_accuracy": found.accuracy,
        "layers": [asdict(layer) for layer in found.layers],
    }
    text = json.dumps(content, indent=2) + "\n"
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"sigprop-snn: {message}", file=sys.stderr)
