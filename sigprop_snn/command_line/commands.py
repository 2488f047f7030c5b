"""The commands of `sigprop-snn`, each a dataclass.

Their fields are the flags, and `run` does the work. `run` imports the modules that take seconds to
import, so `--help` and a wrong flag are answered at once.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sigprop_snn.command_line import train_flags
from sigprop_snn.command_line.export import Export
from sigprop_snn.command_line.flags import DataRoot, Device, RunFolder
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import check_folder
from sigprop_snn.predict import PREDICTIONS_BY_NAME
from sigprop_snn.processes import launch
from sigprop_snn.processes.launch import Processes
from sigprop_snn.settings.compare_config import CompareConfig

if TYPE_CHECKING:
    from sigprop_snn.training import Evaluation, Trained

RUNS_FAILED = 1
"""The exit code if a run failed that a command began."""

_ALONE = Processes()


@dataclass(frozen=True)
class Train:
    """Train a network and write a run folder.

    Attributes:
        data: what the network learns from; the last seven flags are for recordings of events.
        model: the network and its learning rule; `sigprop-snn list` prints all names.
        optimisation: how the weights are updated; `sigprop-snn list` prints all names.
        run_settings: the seed, files and the device.
        config: a config.json with the settings to start from, such as that of an earlier run;
            flags override it.
        quiet: print the result only, without a line for each epoch.
        shared: several processes train together.
    """

    data: Annotated[Any, tyro.conf.arg(constructor=train_flags.DATA)]
    model: Annotated[Any, tyro.conf.arg(constructor=train_flags.MODEL)]
    optimisation: Annotated[Any, tyro.conf.arg(constructor=train_flags.OPTIMISATION)]
    run_settings: Annotated[Any, tyro.conf.arg(constructor=train_flags.RUN, name="run")]
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    quiet: Annotated[
        tyro.conf.FlagCreatePairsOff[bool],
        tyro.conf.arg(aliases=("-q",), help_behavior_hint=""),
    ] = False
    shared: Annotated[Processes, tyro.conf.arg(name="processes")] = _ALONE

    def run(self) -> None:
        """Train and draw the figures."""
        from sigprop_snn.training import keep_freed_memory, train

        settings = train_flags.joined(self.data, self.model, self.optimisation, self.run_settings)
        shared = self.shared.settings()
        keep_freed_memory()
        quiet: dict[str, Any] = {"say": lambda _: None} if self.quiet else {}
        if not launch.is_rank():
            _finish(train(settings, catch_signals=True, **quiet))
            return
        from sigprop_snn import parallel

        with launch.joined(settings.device):
            trained = parallel.train(settings, catch_signals=True, **shared, **quiet)
        if trained is not None:
            _finish(trained)


@dataclass(frozen=True)
class Resume:
    """Continue a run that was stopped or killed, or a finished run to more epochs.

    Attributes:
        folder: the run folder.
        epochs: the number of epochs of the whole run (default: as in the run); the learning rate
            continues as in a run that had this number from the start.
        data_root: the folder that holds the data sets now (default: as in the run).
        device: the device to compute on now (default: as in the run).
        shared: several processes go on together, as many as you like.
    """

    folder: RunFolder
    epochs: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    data_root: DataRoot = None
    device: Device = None
    shared: Annotated[Processes, tyro.conf.arg(name="processes")] = _ALONE

    def run(self) -> None:
        """Continue and draw the figures."""
        from sigprop_snn.training import keep_freed_memory, resume

        shared = self.shared.settings()
        keep_freed_memory()
        settings: dict[str, Any] = {
            "epochs": self.epochs,
            "data_root": self.data_root,
            "device": self.device,
            "catch_signals": True,
        }
        if not launch.is_rank():
            _finish(resume(self.folder, **settings))
            return
        from sigprop_snn import parallel

        with launch.joined(self.device or "auto"):
            trained = parallel.resume(self.folder, **settings, **shared)
        if trained is not None:
            _finish(trained)


@dataclass(frozen=True)
class Evaluate:
    """Print the test accuracy of a run's network and of each layer.

    Attributes:
        folder: the run folder.
        data_root: the folder that holds the data sets now (default: as in the run).
        device: the device to compute on now (default: as in the run).
        out: a new JSON file for the results (default: none).
    """

    folder: RunFolder
    data_root: DataRoot = None
    device: Device = None
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None

    def run(self) -> None:
        """Evaluate and print the results."""
        from sigprop_snn.training import judge, keep_freed_memory, load_run
        from sigprop_snn.training.progress import waiting

        out = None if self.out is None else self.out.expanduser()
        if out is not None:
            _refuse_existing(out)
            check_folder(out)
        keep_freed_memory()
        with waiting(say, "reading the run and its data"):
            run = load_run(self.folder, data_root=self.data_root, device=self.device)
        with run.precision(), waiting(say, f"testing on {run.data.test.samples:,} samples"):
            found = judge(run.network, run.data.test, run.config.seed)
        print(
            f"{run.config.dataset}, {run.data.test.samples} test samples, network "
            f"{run.config.network}, rule {run.config.rule}, epoch {run.epoch} of "
            f"{run.config.epochs}"
            + (f" and {run.batch} batches of the next epoch" if run.batch else "")
        )
        print(f"{'':10}  accuracy (%)  spike rate (%)  dead neurons (%)")
        for layer in found.layers:
            accuracy = "" if layer.accuracy is None else f"{100 * layer.accuracy:.2f}"
            print(
                f"{layer.name:10}  {accuracy:>12}  {100 * layer.spike_rate:14.2f}  "
                f"{100 * layer.dead_fraction:18.2f}"
            )
        print(f"{'network':10}  {100 * found.accuracy:12.2f}")
        if out is not None:
            _write_results(out, run, found)


@dataclass(frozen=True)
class Plot:
    """Draw the figures of a run again, from its checkpoint.

    Attributes:
        folder: the run folder.
        data_root: the folder that holds the data sets now (default: as in the run).
        device: the device to compute on now (default: as in the run).
        sample: number of the test sample that raster and voltages show, from 0; the names of the
            files hold it.
        layer: the block whose membrane voltages are drawn, such as block2 (default: the first).
        format: the format of the files.
        dpi: dots per inch.
        out: the folder of the figures (default: `figures` in the run folder).
    """

    folder: RunFolder
    data_root: DataRoot = None
    device: Device = None
    sample: int = 0
    layer: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    format: Literal["png", "svg", "pdf"] = "png"
    dpi: float = 150
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None

    def run(self) -> None:
        """Draw the figures."""
        from sigprop_snn.figures import draw_run
        from sigprop_snn.training import load_run
        from sigprop_snn.training.progress import waiting

        with waiting(say, "reading the run and its data"):
            run = load_run(self.folder, data_root=self.data_root, device=self.device)
        figures = draw_run(
            run, self.sample, layer=self.layer, out=self.out, form=self.format, dpi=self.dpi
        )
        for figure in figures:
            print(figure)


@dataclass(frozen=True)
class Report:
    """Write the report of a run: one HTML page without other files.

    Attributes:
        folder: the run folder.
        out: the file to write, ending in .html (default: report.html in the run folder).
        data_root: the folder that holds the data sets now (default: as in the run).
        device: the device to compute on now (default: as in the run).
        samples: about how many test samples to measure cost, health and voltages on.
    """

    folder: RunFolder
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    data_root: DataRoot = None
    device: Device = None
    samples: int = 500

    def run(self) -> None:
        """Write the report."""
        from sigprop_snn.report import write_report
        from sigprop_snn.training import keep_freed_memory
        from sigprop_snn.training.progress import waiting

        keep_freed_memory()
        with waiting(say, "reading the run, and measuring its network on the test samples"):
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
    """Train several rules on the same network and data, and compare them.

    The exit code is 1 if any run failed; the results of the others are written all the same.

    Attributes:
        comparison: settings of the comparison.
    """

    comparison: CompareConfig

    def run(self) -> int:
        """Compare and print the table."""
        from sigprop_snn.comparison import as_text, compare

        compared = compare(self.comparison)
        print(f"\n{as_text(compared.rows)}\n")
        if compared.figure is not None:
            print(f"figure: {compared.figure}")
        print(f"comparison folder: {compared.folder}")
        failed = sum(row.failed for row in compared.rows)
        if not failed:
            return 0
        print(
            f"sigprop-snn: {failed} of {len(compared.records)} runs failed. To try them again, "
            f"give the same command with --out {shlex.quote(str(compared.folder))}",
            file=sys.stderr,
        )
        return RUNS_FAILED


@dataclass(frozen=True)
class ListNames:
    """Print all names that the other commands accept."""

    def run(self) -> None:
        """Print every catalogue."""
        from sigprop_snn.data import DATASETS
        from sigprop_snn.encoding import ENCODINGS
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
            "encodings": ENCODINGS,
            "predictions": PREDICTIONS_BY_NAME,
        }
        for title, entries in catalogues.items():
            print(title)
            for name, entry in entries.items():
                about = entry if isinstance(entry, str) else (entry.__doc__ or "").split("\n")[0]
                print(f"  {name:26} {about}")


COMMANDS: dict[str, type] = {
    "train": Train,
    "resume": Resume,
    "evaluate": Evaluate,
    "plot": Plot,
    "report": Report,
    "export": Export,
    "compare": Compare,
    "list": ListNames,
}
"""The commands by name, in the order of the help."""


def say(text: str) -> None:
    """Print a line about the work to the stream of errors, so that results stay alone."""
    print(f"sigprop-snn: {text}", file=sys.stderr)


def _finish(trained: Trained) -> None:
    from sigprop_snn.figures import draw_run

    figures = draw_run(trained)
    print(f"test accuracy {100 * trained.summary['test_accuracy']:.2f} %")
    print(f"figures: {', '.join(str(figure) for figure in figures)}")
    print(f"run folder: {trained.folder.path}")


def _refuse_existing(path: Path) -> None:
    try:
        if not path.exists():
            return
    except OSError as error:
        raise SigpropError(f"{str(path)!r} can't be written ({error.strerror})") from error
    raise SigpropError(f"{str(path)!r} exists already; expected the name of a new file")


def _write_results(path: Path, run: Trained, found: Evaluation) -> None:
    from sigprop_snn.files import write_text_atomically

    content = {
        "dataset": run.config.dataset,
        "test_samples": run.data.test.samples,
        "epoch": run.epoch,
        "test_accuracy": found.accuracy,
        "layers": [asdict(layer) for layer in found.layers],
    }
    write_text_atomically(path, json.dumps(content, indent=2) + "\n")
