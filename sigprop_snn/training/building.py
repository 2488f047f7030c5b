"""What a training run begins with: its data and its untrained network, from its configuration."""

from __future__ import annotations

import warnings
from functools import partial

import torch

from sigprop_snn.arguments import instance
from sigprop_snn.data import DATASETS, Data, load
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.readout import READOUT
from sigprop_snn.network import LOSSES, NETWORKS, SIGNALS, Network
from sigprop_snn.neurons import NEURONS
from sigprop_snn.recipe import DEFAULT_RECIPE
from sigprop_snn.rules import RULES, SignalPropagation
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.surrogates import SURROGATES
from sigprop_snn.training import randomness


def load_data(config: TrainConfig) -> Data:
    """Return the data of a run.

    Args:
        config: the resolved configuration.

    Raises:
        SigpropError: if the data can't be loaded.
    """
    assert config.steps is not None and config.batch_size is not None  # resolved
    assert config.augment is not None
    data = load(
        config.dataset,
        root=config.data_root,
        steps=config.steps,
        encoding=config.encoding,
        batch_size=config.batch_size,
        train_samples=config.train_samples,
        test_samples=config.test_samples,
        validation=config.validation,
        seed=config.seed,
        augment=config.augment,
        frames=config.frames(),
    )
    return data


def check_validation(config: TrainConfig, data: Data) -> None:
    """Check that a run that chooses its best epoch has the samples to choose it on.

    Args:
        config: the resolved configuration.
        data: the data of the run.

    Raises:
        SigpropError: if it has none.
    """
    if config.chooses_epoch and data.validation is None:
        expected = (
            "data with validation batches"
            if config.own_data
            else "a fraction of the training samples with --validation"
        )
        raise SigpropError(
            f"patience is {config.patience} but {config.dataset!r} has no validation samples; "
            f"expected {expected}"
        )


def build_network(config: TrainConfig, shape: tuple[int, ...], classes: int) -> Network:
    """Return the untrained network of a run.

    The configuration's seed decides the weights. The random state of torch stays as it is.

    Args:
        config: the resolved configuration.
        shape: shape of one time step of one sample.
        classes: number of classes C.
    """
    instance("config", config, TrainConfig, "a TrainConfig")
    config = config.resolved() if config.network is None else config
    assert config.network is not None and config.neuron is not None
    assert config.loss is not None and config.signal is not None and config.sources is not None
    neuron, rule = NEURONS[config.neuron], RULES[config.rule]
    # The rule's options apply only to the network that the rule names.
    rules_network = config.network == rule.recipe.get("network", config.network)
    if config.surrogate is not None:
        neuron = partial(neuron, surrogate=SURROGATES[config.surrogate]())
    with randomness.kept():
        torch.manual_seed(config.seed)
        return NETWORKS[config.network](
            shape,
            classes,
            neuron=neuron,
            rule=rule.make,
            loss=LOSSES[config.loss](),
            signal=SIGNALS[config.signal],
            predict=config.predict,
            sources=config.sources,
            **(rule.options if rules_network else {}),
        )


def layer_rates(network: Network, config: TrainConfig) -> dict[str, float]:
    """Return the factors on the learning rate of single layers: a readout's own, and the run's."""
    rates = dict(config.layer_rates)
    if network.readout is not None and network.local_parameters().get(READOUT):
        rates[READOUT] = rates.get(READOUT, 1.0) * network.readout.rate
    return rates


def channels_last(network: Network, config: TrainConfig) -> bool:
    """Return whether a network's feature maps are channels-last, as the kernels of CUDA read them.

    Only under signal propagation with one update per sample, whose gradients autograd brings into
    the weights' order in memory. Fused optimizers refuse others.
    """
    return (
        next(network.parameters()).device.type == "cuda"
        and isinstance(network.rule, SignalPropagation)
        and config.update_every is None
    )


def warn_of_ignored(config: TrainConfig, network: Network) -> None:
    """Warn of every choice that has no effect under the rule of a run.

    Args:
        config: the resolved configuration. The rule's defaults are no choice.
        network: the network of the run.
    """
    rule = RULES[config.rule]
    dataset = DATASETS.get(config.dataset)  # data from outside have none
    recipe = DEFAULT_RECIPE if dataset is None else dataset.recipe_for(config.network)
    loss = rule.loss_of(recipe)
    defaults = {"signal": rule.signal, "loss": loss, "surrogate": None}
    graded = any(block.neuron.graded for block in network.each_block())
    for name in rule.ignores:
        chosen = getattr(config, name)
        has_effect = graded if name == "surrogate" else chosen == "label-overlay"
        if chosen == defaults[name] or has_effect:
            continue
        users = ", ".join(other for other, choice in RULES.items() if name not in choice.ignores)
        warnings.warn(
            f"{name} is {chosen!r}, which has no effect under the rule {config.rule!r}; rules that "
            f"use it: {users}",
            stacklevel=3,
        )
