"""The command line `sigprop-snn`.

Each command is a dataclass: its fields are the flags, and its `run` does the work. `run` imports
the modules that take seconds to import, so `--help` and a wrong flag are answered at once.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import itertools
import json
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sigprop_snn import launch, train_flags
from sigprop_snn.compare_config import CompareConfig
from sigprop_snn.config import TrainConfig
from sigprop_snn.errors import RankLostError, RunStoppedError, SigpropError, UnknownNameError
from sigprop_snn.export_command import Export
from sigprop_snn.files import check_folder
from sigprop_snn.launch import Processes
from sigprop_snn.output import safe_output
from sigprop_snn.predict import PREDICTIONS_BY_NAME
from sigprop_snn.version import version

if TYPE_CHECKING:
    from sigprop_snn.training import Evaluation, Trained

# Exit codes as shells know them. A program that a signal ends returns 128 plus its number.
_RUNS_FAILED, _REFUSED, _BY_SIGNAL = 1, 2, 128
_INTERRUPTED = 130
_SOON = 1.0  # seconds

_DESCRIPTION = """Spiking neural networks that learn in the forward pass.

`sigprop-snn COMMAND --help` explains a command; `sigprop-snn --version` prints the version."""

_EXAMPLES = {
    "train": """
Examples:
    sigprop-snn train digits --rule surrogate --epochs 5
    sigprop-snn train mnist --network conv --data-root data --out runs/m1""",
    "compare": """
Examples:
    sigprop-snn compare digits
    sigprop-snn compare mnist --rules voltage,surrogate --seeds 1 --data-root data""",
}

_ALONE = Processes()
_Folder = Annotated[Path, tyro.conf.arg(metavar="RUN")]
_DataRoot = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
_Device = Annotated[str | None, tyro.conf.arg(metavar="DEVICE", help_behavior_hint="")]


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

    folder: _Folder
    epochs: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    data_root: _DataRoot = None
    device: _Device = None
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

    folder: _Folder
    data_root: _DataRoot = None
    device: _Device = None
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
        with waiting(_say, "reading the run and its data"):
            run = load_run(self.folder, data_root=self.data_root, device=self.device)
        with run.precision(), waiting(_say, f"testing on {run.data.test.samples:,} samples"):
            found = judge(run.network, run.data.test, run.config.seed)
        print(
            f"{run.config.dataset}, {run.data.test.samples} test samples, network "
            f"{run.config.network}, rule {run.config.rule}, epoch {run.epoch} of "
            f"{run.config.epochs}"
            + (f" and {run.batch} batches of the next epoch" if run.batch else "")
        )
        print(f"{'':10}  accuracy (%)  spike rate (%)  silent neurons (%)")
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

    folder: _Folder
    data_root: _DataRoot = None
    device: _Device = None
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

        with waiting(_say, "reading the run and its data"):
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

    folder: _Folder
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    data_root: _DataRoot = None
    device: _Device = None
    samples: int = 500

    def run(self) -> None:
        """Write the report."""
        from sigprop_snn.report import write_report
        from sigprop_snn.training import keep_freed_memory
        from sigprop_snn.training.progress import waiting

        keep_freed_memory()
        with waiting(_say, "reading the run, and measuring its network on the test samples"):
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
        return _RUNS_FAILED


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


def main(arguments: Sequence[str] | None = None, *, sigint: Any = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: the words after `sigprop-snn` (default: those of this process).
        sigint: the handler of Ctrl-C to set, if not None.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    long = arguments[:1] in (["train"], ["resume"], ["compare"]) and "--help" not in arguments
    try:
        with safe_output("nobody reads the output any more; the run goes on" if long else None):
            if sigint is not None:
                signal.signal(signal.SIGINT, sigint)
            return _run(arguments)
    except KeyboardInterrupt:
        print("sigprop-snn: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"sigprop-snn {version()}")
        return 0
    warnings.showwarning = _print_warning
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        tyro._experimental_options["ansi_codes"] = False
    try:
        _refuse_typos(arguments)
        command: Any = tyro.cli(
            _commands(arguments),
            prog="sigprop-snn",
            description=_DESCRIPTION,
            args=arguments,
            config=(tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes),
        )
        if isinstance(command, Train | Resume):
            command.shared.settings()  # refuses flags that don't fit each other
            if command.shared.processes > 1 and not launch.is_rank():
                return launch.launch(command.shared.processes, arguments)
            launch.end_with_parent()
        _load()
        return command.run() or 0
    except SigpropError as error:
        _say_of_rank(str(error))
        return _REFUSED
    except RankLostError as error:
        _say_of_rank(str(error), lost=error.rank)
        return _RUNS_FAILED
    except RunStoppedError as error:
        _say_of_rank(str(error))
        return _BY_SIGNAL + error.number


def _say_of_rank(text: str, lost: int | None = None) -> None:
    """Say an error. Of several processes, the first says it, or the second if the first is lost."""
    if launch.rank() == (1 if lost == 0 else 0):
        print(f"sigprop-snn: {text}", file=sys.stderr)


def _load() -> None:
    """Import what every command needs; on a terminal, a line says so if it takes long."""
    note = threading.Timer(_SOON, _say, ("loading PyTorch",))
    note.daemon = True
    if sys.stderr.isatty():
        note.start()
    try:
        import sigprop_snn.training  # noqa: F401
    finally:
        note.cancel()


def _commands(arguments: Sequence[str]) -> Any:
    """Return the commands. The file after `--config` sets the defaults of `train`."""
    about: dict[str, str | None] = {"train": None, "compare": None}
    for name, kind in (("train", Train), ("compare", Compare)):
        if arguments[:1] == [name]:  # the list of all commands does not show examples
            about[name] = f"{inspect.getdoc(kind)}".split("\nAttributes:")[0] + _EXAMPLES[name]
    train = tyro.conf.subcommand("train", description=about["train"])
    file = _config_file(arguments)
    if file is not None:
        from sigprop_snn.config_file import read_settings

        groups = train_flags.grouped({"dataset": tyro.MISSING} | read_settings(file))
        groups["run_settings"] = groups.pop("run")
        default = Train(**groups, config=file)
        train = tyro.conf.subcommand("train", default=default, description=about["train"])
    return (
        Annotated[Train, train]
        | Annotated[Resume, tyro.conf.subcommand("resume")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Plot, tyro.conf.subcommand("plot")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Compare, tyro.conf.subcommand("compare", description=about["compare"])]
        | Annotated[ListNames, tyro.conf.subcommand("list")]
    )


_COMMANDS: dict[str, type] = {
    "train": Train,
    "resume": Resume,
    "evaluate": Evaluate,
    "plot": Plot,
    "report": Report,
    "export": Export,
    "compare": Compare,
    "list": ListNames,
}
# Positional arguments, groups of flags, and what only Python sets.
_NO_FLAGS = {
    "dataset",
    "folder",
    "own_data",
    "data",
    "model",
    "optimisation",
    "run_settings",
    "shared",
}
# Flags of other programs, with ours.
_FLAG_SYNONYMS = {"--lr": "--learning-rate", "--dataset": "DATASET", "--epoch": "--epochs"}


def _refuse_typos(arguments: Sequence[str]) -> None:
    """Check the names of the command and its flags, which tyro reports without a suggestion.

    Raises:
        SigpropError: if a name is unknown; it gives the nearest known one.
    """
    if not arguments or arguments[0].startswith("-"):
        return
    command, *rest = arguments
    if command not in _COMMANDS:
        raise UnknownNameError("command", command, _COMMANDS)
    known = _flags(command)
    for word in rest:
        flag = word.split("=")[0].replace("_", "-")
        if word.startswith("--") and len(word) > 2 and flag not in known:
            if command == "compare" and flag in _flags("train"):
                raise SigpropError(
                    f"compare has no {flag}; expected, for other data than the default, in "
                    "Python: compare(CompareConfig(name), data=sp.load(name, "
                    "frames=sp.Frames(size=(64, 48))))"
                    if flag[2:].replace("-", "_") in train_flags.GROUPS["data"]
                    else f"compare has no {flag}: every rule has its own setting"
                )
            longer = [each for each in known if each.startswith(flag)]
            near = longer or difflib.get_close_matches(flag, known, 1, 0.6)
            meant = _FLAG_SYNONYMS.get(flag, near[0] if near else None)
            hint = "" if meant is None else f" Did you mean {meant}?"
            raise SigpropError(
                f"unknown flag {word.split('=')[0]} of {command}.{hint} "
                f"`sigprop-snn {command} --help` lists all flags."
            )
    if command == "compare":
        _refuse_rules_without_commas(rest)


def _refuse_rules_without_commas(words: Sequence[str]) -> None:
    """Refuse `--rules a b`. If nothing comes before the flag, the last name is the data set."""
    if "--rules" not in words:
        return
    index = words.index("--rules")
    names = list(itertools.takewhile(lambda word: word[:1] != "-", words[index + 1 :]))
    if index == 0 and len(names) > 1:
        names.pop()  # the data set
    if len(names) > 1:
        raise SigpropError(
            f"--rules is {' '.join(names)!r}; expected names separated by commas, such as "
            f"{','.join(names)}"
        )


def _flags(command: str) -> list[str]:
    """Return the flags of a command, with those of tyro."""
    kinds = {
        "train": (TrainConfig, Train, Processes),
        "resume": (Resume, Processes),
        "compare": (CompareConfig,),
    }
    settings = [f.name for kind in kinds.get(command, (_COMMANDS[command],)) for f in fields(kind)]
    names = [name.replace("_", "-") for name in settings if name not in _NO_FLAGS]
    extra = ["help", "tyro-print-completion", "tyro-write-completion"]
    return [f"--{name}" for name in (*names, *(f"no-{name}" for name in names), *extra)]


def _config_file(arguments: Sequence[str]) -> Path | None:
    """Return the file after `--config`. Tyro reads the flag again and reports a missing name."""
    if not arguments or arguments[0] != "train":
        return None
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--config", nargs="?", type=Path)
    found: Path | None = reader.parse_known_args(arguments[1:])[0].config
    return None if found is None else found.expanduser()


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


def _say(text: str) -> None:
    print(f"sigprop-snn: {text}", file=sys.stderr)


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    if launch.rank() == 0:
        print(f"sigprop-snn: {message}", file=sys.stderr)
