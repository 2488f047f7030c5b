"""The choices that make a comparison of rules."""

# As in `config`, what takes seconds to import is imported where it is used.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

_Own = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
_Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


@dataclass(frozen=True)
class CompareConfig:
    """One comparison: every rule and seed is a training run of its own.

    Attributes:
        dataset: which data set to learn (`sigprop-snn list` names them).
        rules: their names with commas between; every known rule if not given.
        seeds: how many seeds, from 0.
        network: which network all of them train; the data set's own if not given.
        epochs: passes over the training samples, the same for all; 5 on digits, else as many as
            the data set's recipe has, if not given.
        steps: time steps T, of every rule that does not fix its own; the data set's if not given.
        train_samples: how many training samples to use; all if not given.
        test_samples: how many test samples to use; all if not given.
        same_recipe: train every rule with the data set's recipe, instead of the learning rate,
            batch size and steps that were tuned for each rule.
        data_root: the folder that holds the data sets, or where they are downloaded to.
        out: the folder of the comparison; if there is one already, what it lacks is added. A new
            one under `runs` if not given.
        device: where to compute; "auto" takes a GPU if there is one.
    """

    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")]
    rules: Annotated[str | None, tyro.conf.arg(metavar="A,B,C", help_behavior_hint="")] = None
    seeds: int = 3
    network: _Own = None
    epochs: _Count = None
    steps: _Count = None
    train_samples: _Count = None
    test_samples: _Count = None
    same_recipe: bool = False
    data_root: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("data")
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
