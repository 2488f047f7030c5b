"""The settings of a comparison of rules."""

# The command line reads its flags from this file: import nothing here that takes seconds.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

_Own = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
_Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


@dataclass(frozen=True)
class CompareConfig:
    """One comparison of learning rules: one training run for each rule and seed.

    Attributes:
        dataset: the data set (`sigprop-snn list` names all).
        rules: names of rules, separated by commas (default: all rules).
        seeds: number of seeds; they are 0, 1, 2, ...
        network: the network that every rule trains (default: the data set's).
        epochs: passes over the training samples (default: 5 for digits, else the data set's).
        steps: time steps T, except for rules that set their own number (default: the data set's).
        train_samples: number of training samples (default: all).
        test_samples: number of test samples (default: all).
        same_recipe: use the data set's learning rate, batch size and steps for every rule, not
            those that were tuned for the rule.
        keep_networks: keep the run folder of every run, in `runs` of the comparison's folder.
        data_root: the folder that holds the data sets, or that they are downloaded to.
        out: the folder of the comparison; if it exists, the missing runs are added (default: a new
            folder in `runs`).
        device: the device to compute on, any of torch: cpu, cuda, cuda:1, mps, xpu; "auto" is
            cuda if there is one, else cpu.
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
    keep_networks: bool = True
    data_root: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("data")
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
