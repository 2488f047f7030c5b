"""The training runs of a comparison."""

from __future__ import annotations

from dataclasses import replace

from sigprop_snn.arguments import instance, whole
from sigprop_snn.data import DATASETS, Data
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.recipe import DEFAULT_RECIPE
from sigprop_snn.rules import RULES
from sigprop_snn.settings.compare_config import CompareConfig
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training.own_data import config_for

# Fewer epochs than a training has, because a comparison trains all rules with several seeds.
_EPOCHS = {"digits": 5, "mnist": 5}


def trainings(config: CompareConfig, data: Data | None = None) -> list[TrainConfig]:
    """Return the resolved configurations of all runs: all rules with seed 0, then with seed 1, ...

    All runs have the same data, network and epochs. The other settings were tuned for each rule, or
    are the data set's if `config.same_recipe` is set. Data from outside decide the steps and the
    batch size of all runs.

    Args:
        config: the settings of the comparison.
        data: data from outside, or None for a named data set.

    Raises:
        SigpropError: if a name is unknown or a number is out of range.
    """
    instance("config", config, CompareConfig, "a CompareConfig")
    if data is not None:
        instance("data", data, Data, "a Data")
    elif config.dataset not in DATASETS:
        raise UnknownNameError("data set", config.dataset, DATASETS)
    whole("seeds", config.seeds)
    names = rule_names(config)
    return [_training(config, name, seed, data) for seed in range(config.seeds) for name in names]


def rule_names(config: CompareConfig) -> list[str]:
    """Return the names of the rules to compare, without repetitions.

    Raises:
        SigpropError: if there is no name, or a name is unknown.
    """
    if config.rules is None:
        return list(RULES)
    instance("rules", config.rules, str, "names of rules, separated by commas")
    names = list(dict.fromkeys(part.strip() for part in config.rules.split(",") if part.strip()))
    if not names:
        raise SigpropError(
            f"rules is {config.rules!r}; expected names of rules, separated by commas"
        )
    for name in names:
        if name not in RULES:
            raise UnknownNameError("rule", name, RULES)
    return names


def _training(config: CompareConfig, name: str, seed: int, data: Data | None) -> TrainConfig:
    known = DATASETS.get(config.dataset)
    recipe = DEFAULT_RECIPE if known is None else known.recipe_for(config.network)
    rule = RULES[name]
    epochs, steps = config.epochs, config.steps
    if config.same_recipe and steps is None:
        steps = recipe.steps
    # A rate network needs one step for a static picture, and some rules need their own number.
    if rule.neuron == "rate" or ("steps" in rule.recipe and not config.same_recipe):
        steps = None
    training = TrainConfig(
        config.dataset,
        rule=name,
        network=config.network or recipe.network,
        epochs=epochs if epochs is not None else _EPOCHS.get(config.dataset, recipe.epochs),
        steps=steps,
        sources=1,  # some rules need a row of blocks
        augment=recipe.augment if data is None else False,
        seed=seed,
        train_samples=config.train_samples,
        test_samples=config.test_samples,
        data_root=config.data_root,
        device=config.device,
    )
    if config.same_recipe:
        training = replace(training, learning_rate=recipe.learning_rate)
    if data is not None:
        training = config_for(replace(training, steps=config.steps), data)
    elif config.same_recipe:
        training = replace(training, batch_size=recipe.batch_size)
    return training.resolved()
