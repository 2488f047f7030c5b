"""From a configuration to a run folder, and on from where a run was left."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from sigprop_snn.config import TrainConfig
from sigprop_snn.data import Data
from sigprop_snn.network import LOSSES, NETWORKS, SIGNALS, Network
from sigprop_snn.neurons import NEURONS
from sigprop_snn.rules import RULES
from sigprop_snn.surrogates import SURROGATES
from sigprop_snn.training.board import require_tensorboard
from sigprop_snn.training.folder import CHECKPOINT, CONFIG, RunFolder, free_name
from sigprop_snn.training.optimizers import LocalOptimizers, optimizer_of
from sigprop_snn.training.running import Run
from sigprop_snn.training.saved import load_data, read_run
from sigprop_snn.training.schedule import SCHEDULES, LocalSchedules
from sigprop_snn.training.state import RunState
from sigprop_snn.training.trained import Trained


def build_network(config: TrainConfig, shape: tuple[int, ...], classes: int) -> Network:
    """Return the untrained network that a resolved configuration describes.

    The weights follow from the configuration's seed; torch's own random state is left alone.

    Args:
        config: the run.
        shape: shape of one step of one sample.
        classes: C.
    """
    assert config.network is not None  # resolved
    assert config.neuron is not None and config.loss is not None and config.signal is not None
    neuron, rule = NEURONS[config.neuron], RULES[config.rule]
    # Another network than the rule's own has other options, and does without these.
    own = config.network == rule.recipe.get("network", config.network)
    if config.surrogate is not None:
        neuron = partial(neuron, surrogate=SURROGATES[config.surrogate]())
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return NETWORKS[config.network](
            shape,
            classes,
            neuron=neuron,
            rule=rule.make,
            loss=LOSSES[config.loss](),
            signal=SIGNALS[config.signal],
            predict=config.predict,
            **(rule.options if own else {}),
        )


def train(
    config: TrainConfig, say: Callable[[str], object] = print, *, catch_signals: bool = False
) -> Trained:
    """Train a network and write the run folder.

    Args:
        config: the run; what it leaves open comes from the data set's recipe.
        say: takes the lines that tell how it goes.
        catch_signals: whether SIGINT and SIGTERM save the run and leave; a choice for the whole
            process, so a program makes it.

    Raises:
        SigpropError: if the configuration, the data or the run folder can't be used. Nothing of
            the run is left behind if it fails before its first checkpoint.
        RunStoppedError: if a signal stopped it.
    """
    config = config.resolved()
    if config.tensorboard:
        require_tensorboard()
    data = load_data(config)
    state = fresh_state(config, data)
    stem = f"{config.dataset}-{config.network}-{config.rule}-seed{config.seed}"
    folder = RunFolder.create(config.out or free_name(Path("runs"), stem))
    run = Run(config, data, state, folder, say)
    with folder.locked():
        say(run.opening())
        try:
            folder.write_json(CONFIG, config.as_json())
            return run.finish(catch_signals=catch_signals)
        except BaseException:
            if not folder.has(CHECKPOINT):
                folder.remove()
            raise


def resume(
    path: Path,
    say: Callable[[str], object] = print,
    *,
    data_root: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    catch_signals: bool = False,
) -> Trained:
    """Go on with a run from where it was left, however it ended.

    On a CPU, with the same torch and as many threads, it ends in the same weights to the last bit
    as one that was never stopped. A run that is finished is given back as it is.

    Args:
        path: the run folder.
        say: as in `train`.
        data_root: where the data lie now, if not where the run says.
        device: where to compute now, if not where the run says.
        catch_signals: as in `train`.

    Raises:
        SigpropError: if no run lies there, a file of it is damaged or does not fit the others, or
            the data are not those that it began with. Nothing is written then.
        RunStoppedError: if a signal stopped it.
    """
    folder = RunFolder.existing(path)
    with folder.locked():
        saved = read_run(folder)
        config = saved.config_for(data_root, device)
        if config.tensorboard:
            require_tensorboard()
        data = load_data(config)
        saved.check_data(data)
        state = fresh_state(config, data)
        saved.restore(state)
        run = Run(config, data, state, folder, say)
        say(run.opening())
        say(run.where())
        for note in saved.notes():
            say(note)
        folder.sweep()
        if folder.metrics() != state.history:
            folder.write_metrics(state.history)
        return run.finish(saved, catch_signals=catch_signals)


def fresh_state(config: TrainConfig, data: Data) -> RunState:
    """Return the state of a run before its first batch."""
    assert config.learning_rate is not None  # resolved
    assert config.epochs is not None
    network = build_network(config, data.shape, len(data.classes)).to(config.torch_device())
    make = partial(optimizer_of, config.optimizer, weight_decay=config.weight_decay)
    rate = config.learning_rate
    optimizers = LocalOptimizers(
        network,
        make(rate=rate),
        {layer: make(rate=rate * factor) for layer, factor in config.layer_rates.items()},
    )
    batches = config.epochs * len(data.train)
    return RunState(
        network, optimizers, LocalSchedules(optimizers, SCHEDULES[config.schedule], batches)
    )
