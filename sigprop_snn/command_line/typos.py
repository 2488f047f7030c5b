"""Names of commands and flags that were typed wrong, with the nearest known name."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import fields

from sigprop_snn.command_line import train_flags
from sigprop_snn.command_line.commands import COMMANDS, Resume, Train
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.processes.launch import Processes
from sigprop_snn.settings.compare_config import CompareConfig
from sigprop_snn.settings.train_config import TrainConfig

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
# Flags that `sp.Frames` takes in Python.
_OF_FRAMES = {
    "size", "bin_width", "denoise", "merge_polarities", "sensor", "event_order", "time_unit",
}  # fmt: skip
# Flags of other programs, with ours.
_FLAG_SYNONYMS = {"--lr": "--learning-rate", "--dataset": "DATASET", "--epoch": "--epochs"}


def refuse_typos(arguments: Sequence[str]) -> None:
    """Check the names of the command and its flags, which tyro reports without a suggestion.

    Raises:
        SigpropError: if a name is unknown; it gives the nearest known one.
    """
    if not arguments or arguments[0].startswith("-"):
        return
    command, *rest = arguments
    if command not in COMMANDS:
        raise UnknownNameError("command", command, COMMANDS)
    known = _flags(command)
    for word in rest:
        flag = word.split("=")[0].replace("_", "-")
        if word.startswith("--") and len(word) > 2 and flag not in known:
            longer = [each for each in known if each.startswith(flag)]
            of_train = flag in _flags("train")
            if of_train and command in ("compare", "resume") and not longer:
                raise SigpropError(f"{command} has no {flag}: {_instead(command, flag)}")
            near = longer or difflib.get_close_matches(flag, known, 1, 0.6)
            meant = _FLAG_SYNONYMS.get(flag, near[0] if near else None)
            hint = "" if meant is None else f" Did you mean {meant}?"
            raise SigpropError(
                f"unknown flag {word.split('=')[0]} of {command}.{hint} "
                f"`sigprop-snn {command} --help` lists all flags."
            )
    if command == "compare":
        _refuse_rules_without_commas(rest)


def _instead(command: str, flag: str) -> str:
    """Return why a command lacks a flag of `train`, and what takes its place."""
    if command == "resume":
        return (
            "a run keeps its settings; expected, for a new run with others, "
            f"sigprop-snn train --config RUN/config.json {flag} ..."
        )
    name = flag[2:].replace("-", "_")
    if name in train_flags.GROUPS["data"]:
        given = "frames=sp.Frames(size=(64, 48))" if name in _OF_FRAMES else f"{name}=..."
        return (
            "expected, for other data than the default, in Python: compare(CompareConfig(name), "
            f"data=sp.load(name, {given}))"
        )
    return "every rule has its own setting"


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
    settings = [f.name for kind in kinds.get(command, (COMMANDS[command],)) for f in fields(kind)]
    names = [name.replace("_", "-") for name in settings if name not in _NO_FLAGS]
    extra = ["help", "tyro-print-completion", "tyro-write-completion"]
    return [f"--{name}" for name in (*names, *(f"no-{name}" for name in names), *extra)]
