"""Which training runs a comparison is made of."""

from __future__ import annotations

from dataclasses import replace

from sigprop_snn.compare_config import CompareConfig
from sigprop_snn.config import TrainConfig
from sigprop_snn.data import DATASETS
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.rules import RULES

# Short enough for every rule and three seeds within ten minutes on two cores.
_EPOCHS = {"digits": 5}


def trainings(config: CompareConfig) -> list[TrainConfig]:
    """Return every training run, resolved: the first seed of all rules, then the next.

    All have the same data, network and epochs. The rest is the rule's own recipe, as it was tuned
    for it, or the data set's for all.

    Raises:
        SigpropError: if a name is unknown or a number can't be used.
    """
    if config.dataset not in DATASETS:
        raise UnknownNameError("data set", config.dataset, DATASETS)
    if config.seeds < 1:
        raise SigpropError(f"seeds is {config.seeds}; expected 1 or more")
    names = rule_names(config)
    return [_training(config, name, seed) for seed in range(config.seeds) for name in names]


def rule_names(config: CompareConfig) -> list[str]:
    """Return the rules to compare, each once.

    Raises:
        SigpropError: if there is none, or one of them is not known.
    """
    if config.rules is None:
        return list(RULES)
    names = list(dict.fromkeys(part.strip() for part in config.rules.split(",") if part.strip()))
    if not names:
        raise SigpropError(f"rules is {config.rules!r}; expected names with commas between")
    for name in names:
        if name not in RULES:
            raise UnknownNameError("rule", name, RULES)
    return names


def _training(config: CompareConfig, name: str, seed: int) -> TrainConfig:
    recipe, rule = DATASETS[config.dataset].recipe, RULES[name]
    epochs, steps = config.epochs, config.steps
    if config.same_recipe and steps is None:
        steps = recipe.steps
    # A rate network takes a static picture in one step, and some rules need so many steps.
    if rule.neuron == "rate" or ("steps" in rule.recipe and not config.same_recipe):
        steps = None
    training = TrainConfig(
        config.dataset,
        rule=name,
        network=config.network or recipe.network,
        epochs=epochs if epochs is not None else _EPOCHS.get(config.dataset, recipe.epochs),
        steps=steps,
        augment=recipe.augment,
        seed=seed,
        train_samples=config.train_samples,
        test_samples=config.test_samples,
        data_root=config.data_root,
        device=config.device,
    )
    if config.same_recipe:
        training = replace(
            training, batch_size=recipe.batch_size, learning_rate=recipe.learning_rate
        )
    return training.resolved()
