"""The command line `sigprop-snn`: from the words of a terminal to a command and an exit code."""

from __future__ import annotations

import argparse
import functools
import inspect
import operator
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from sigprop_snn.command_line import train_flags
from sigprop_snn.command_line.commands import COMMANDS, RUNS_FAILED, Resume, Train, say
from sigprop_snn.command_line.output import safe_output
from sigprop_snn.command_line.typos import refuse_typos
from sigprop_snn.errors import RankLostError, RunStoppedError, SigpropError
from sigprop_snn.processes import launch
from sigprop_snn.version import version

# Exit codes as shells know them. A program that a signal ends returns 128 plus its number.
_REFUSED, _BY_SIGNAL = 2, 128
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
        refuse_typos(arguments)
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
        return RUNS_FAILED
    except RunStoppedError as error:
        _say_of_rank(str(error))
        return _BY_SIGNAL + error.number


def _say_of_rank(text: str, lost: int | None = None) -> None:
    """Say an error. Of several processes, the first says it, or the second if the first is lost."""
    if launch.rank() == (1 if lost == 0 else 0):
        print(f"sigprop-snn: {text}", file=sys.stderr)


def _load() -> None:
    """Import what every command needs; on a terminal, a line says so if it takes long."""
    note = threading.Timer(_SOON, say, ("loading PyTorch",))
    note.daemon = True
    if sys.stderr.isatty():
        note.start()
    try:
        import sigprop_snn.training  # noqa: F401
    finally:
        note.cancel()


def _commands(arguments: Sequence[str]) -> Any:
    """Return the union of the commands. The file after `--config` sets the defaults of `train`."""
    settings: dict[str, dict[str, Any]] = {name: {} for name in COMMANDS}
    typed = arguments[0] if arguments else ""
    if typed in _EXAMPLES:  # the list of all commands does not show examples
        about = f"{inspect.getdoc(COMMANDS[typed])}".split("\nAttributes:")[0]
        settings[typed]["description"] = about + _EXAMPLES[typed]
    file = _config_file(arguments)
    if file is not None:
        from sigprop_snn.settings.config_file import read_settings

        groups = train_flags.grouped({"dataset": tyro.MISSING} | read_settings(file))
        groups["run_settings"] = groups.pop("run")
        settings["train"]["default"] = Train(**groups, config=file)
    kinds: list[Any] = [
        Annotated[kind, tyro.conf.subcommand(name, **settings[name])]
        for name, kind in COMMANDS.items()
    ]
    return functools.reduce(operator.or_, kinds)


def _config_file(arguments: Sequence[str]) -> Path | None:
    """Return the file after `--config`. Tyro reads the flag again and reports a missing name."""
    if not arguments or arguments[0] != "train":
        return None
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--config", nargs="?", type=Path)
    found: Path | None = reader.parse_known_args(arguments[1:])[0].config
    return None if found is None else found.expanduser()


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    if launch.rank() == 0:
        print(f"sigprop-snn: {message}", file=sys.stderr)
