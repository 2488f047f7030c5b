"""The choices that make a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sigprop_snn.data import DATASETS
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.rules import RULES
from sigprop_snn.training import RECIPES, TrainConfig

# Short enough for every rule and three seeds within ten minutes on two cores.
EPOCHS = {"digits": 5}


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

    dataset: str
    rules: str | None = None
    seeds: int = 3
    network: str | None = None
    epochs: int | None = None
    steps: int | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    same_recipe: bool = False
    data_root: Path = Path("data")
    out: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def rule_names(self) -> list[str]:
        """Return the rules to compare, each once.

        Raises:
            UnknownNameError: if one of them is not known.
        """
        if self.rules is None:
            return list(RULES)
        names = list(dict.fromkeys(part.strip() for part in self.rules.split(",") if part.strip()))
        for name in names:
            if name not in RULES:
                raise UnknownNameError("rule", name, RULES)
        if not names:
            raise SigpropError(f"rules is {self.rules!r}; expected names with commas between")
        return names

    def trainings(self) -> list[TrainConfig]:
        """Return every training run, resolved: of all rules the first seed, then the next.

        Raises:
            SigpropError: if a name is unknown or a number can't be used.
        """
        if self.dataset not in DATASETS:
            raise UnknownNameError("data set", self.dataset, DATASETS)
        if self.seeds < 1:
            raise SigpropError(f"seeds is {self.seeds}; expected 1 or more")
        names = self.rule_names()
        return [self._training(name, seed) for seed in range(self.seeds) for name in names]

    def _training(self, rule: str, seed: int) -> TrainConfig:
        recipe = RECIPES[self.dataset]
        fixes_steps = "steps" in RULES[rule].recipe and not self.same_recipe
        settings = {
            "network": self.network or recipe.network,
            "epochs": self.epochs if self.epochs is not None else self._epochs(),
            "steps": None if fixes_steps else self.steps,
            "augment": recipe.augment,
            "train_samples": self.train_samples,
            "test_samples": self.test_samples,
        }
        if self.same_recipe:
            settings |= {
                "steps": self.steps if self.steps is not None else recipe.steps,
                "batch_size": recipe.batch_size,
                "learning_rate": recipe.learning_rate,
            }
        return TrainConfig(
            self.dataset,
            rule=rule,
            seed=seed,
            data_root=self.data_root,
            device=self.device,
            **settings,  # type: ignore[arg-type]
        ).resolved()

    def _epochs(self) -> int:
        return EPOCHS.get(self.dataset, RECIPES[self.dataset].epochs)
