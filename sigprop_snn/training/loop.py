"""The training loop: from a configuration to a run folder."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sigprop_snn.data import Data, load
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import LOSSES, NETWORKS, SIGNALS, Network
from sigprop_snn.neurons import NEURONS
from sigprop_snn.rules import RULES
from sigprop_snn.surrogates import SURROGATES
from sigprop_snn.training.config import TrainConfig
from sigprop_snn.training.evaluation import Evaluation, evaluate
from sigprop_snn.training.folder import CONFIG, SUMMARY, RunFolder, free_name
from sigprop_snn.training.memory import peak_memory_mb
from sigprop_snn.training.optimizers import LocalOptimizers

FINAL_RATE = 0.02  # share of the learning rate that is left at the last batch


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        network: the trained network, in evaluation mode.
        data: what it was trained and tested on.
        history: the epochs' records, as in `metrics.jsonl`.
        summary: as in `summary.json`.
        folder: where the run was written.
    """

    network: Network
    data: Data
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    folder: RunFolder


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
            **rule.options,
        )


def train(config: TrainConfig, say: Callable[[str], object] = print) -> Trained:
    """Train a network and write the run folder.

    Args:
        config: the run; what it leaves open comes from the data set's recipe.
        say: takes the lines that tell how it goes.

    Raises:
        SigpropError: if the configuration, the data or the run folder can't be used. Nothing of
            the run is left behind if it fails before its first epoch ends.
    """
    config = config.resolved()
    device = config.torch_device()
    data = _load(config)
    network = build_network(config, data.shape, len(data.classes)).to(device)
    stem = f"{config.dataset}-{config.network}-{config.rule}-seed{config.seed}"
    folder = RunFolder.create(config.out or free_name(Path("runs"), stem))
    say(
        f"{config.dataset}: {data.train.samples} training and {data.test.samples} test samples, "
        f"{config.steps} steps; network {config.network}, rule {config.rule}, on {device}"
    )
    history: list[dict[str, Any]] = []
    try:
        for record in _epochs(config, network, data, device, folder):
            history.append(record)
            say(_line(record, config))
    except BaseException:
        if not history:
            folder.remove()
        raise
    summary = _summary(config, data, history, device)
    folder.write_json(SUMMARY, summary)
    network.eval()
    return Trained(network, data, history, summary, folder)


def _load(config: TrainConfig) -> Data:
    assert config.steps is not None  # resolved
    assert config.batch_size is not None
    assert config.augment is not None
    return load(
        config.dataset,
        root=config.data_root,
        steps=config.steps,
        encoding=config.encoding,
        batch_size=config.batch_size,
        train_samples=config.train_samples,
        test_samples=config.test_samples,
        seed=config.seed,
        augment=config.augment,
    )


def _epochs(
    config: TrainConfig, network: Network, data: Data, device: torch.device, folder: RunFolder
) -> Iterator[dict[str, Any]]:
    assert config.epochs is not None  # resolved
    assert config.learning_rate is not None
    optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=config.learning_rate))
    batches = config.epochs * len(data.train)
    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        data.train.set_epoch(epoch - 1)
        tally = _EpochTally()
        for number, (inputs, labels) in enumerate(_progress(data.train, epoch, config.epochs)):
            done = ((epoch - 1) * len(data.train) + number) / batches
            optimizers.set_learning_rate(config.learning_rate * (1 - (1 - FINAL_RATE) * done))
            network.train()
            tally.add(network, to_device(inputs, device), labels.to(device), optimizers)
        seconds = time.perf_counter() - started
        tested = evaluate(network, data.test)
        record = tally.record(epoch, seconds, tested)
        if epoch == 1:
            folder.write_json(CONFIG, config.as_json())
        folder.save_checkpoint(
            {
                "epoch": epoch,
                "config": config.as_json(),
                "shape": list(data.shape),
                "classes": list(data.classes),
                "network": network.state_dict(),
                "optimizers": optimizers.state_dict(),
            }
        )
        folder.append_metrics(record)
        yield record


class _EpochTally:
    """Adds up what the layers report over an epoch."""

    def __init__(self) -> None:
        self.samples = self.right = 0
        self.loss: dict[str, float] = {}

    def add(
        self, network: Network, inputs: Tensor, labels: Tensor, optimizers: LocalOptimizers
    ) -> None:
        learned = network.learn(inputs, labels, optimizers.step)
        self.right += learned.correct
        self.samples += len(labels)
        for layer in learned.layers:
            if layer.loss is None:
                continue
            if layer.loss != layer.loss:
                raise SigpropError(
                    f"the loss of {layer.name} became NaN; a smaller learning_rate usually helps"
                )
            self.loss[layer.name] = self.loss.get(layer.name, 0.0) + layer.loss * len(labels)

    def _mean_loss(self, name: str) -> float | None:
        return self.loss[name] / self.samples if name in self.loss else None

    def record(self, epoch: int, seconds: float, tested: Evaluation) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "train_accuracy": self.right / self.samples,
            "test_accuracy": tested.accuracy,
            "loss": sum(self.loss.values()) / self.samples / max(1, len(self.loss)),
            "seconds": seconds,
            "layers": [
                {**asdict(layer), "loss": self._mean_loss(layer.name)} for layer in tested.layers
            ],
        }


def _progress(
    batches: Iterable[tuple[Tensor, Tensor]], epoch: int, epochs: int
) -> Iterable[tuple[Tensor, Tensor]]:
    """Show a bar on a terminal; elsewhere the epoch's line is enough."""
    bar: Iterable[tuple[Tensor, Tensor]] = tqdm(
        batches,
        desc=f"epoch {epoch}/{epochs}",
        unit="batch",
        leave=False,
        disable=not sys.stderr.isatty(),
    )
    return bar


def _line(record: dict[str, Any], config: TrainConfig) -> str:
    guesses = [layer for layer in record["layers"] if layer["accuracy"] is not None]
    layers = ", ".join(f"{layer['name']} {layer['accuracy']:.3f}" for layer in guesses)
    return (
        f"epoch {record['epoch']}/{config.epochs}: test accuracy {record['test_accuracy']:.4f} "
        + (f"({layers}), " if layers else "")
        + f"train {record['train_accuracy']:.4f}, loss {record['loss']:.3f}, "
        f"{record['seconds']:.1f} s"
    )


def _summary(
    config: TrainConfig, data: Data, history: list[dict[str, Any]], device: torch.device
) -> dict[str, Any]:
    last = history[-1]
    kept = ("name", "accuracy", "spike_rate", "dead_fraction")
    return {
        "dataset": config.dataset,
        "rule": config.rule,
        "network": config.network,
        "seed": config.seed,
        "steps": config.steps,
        "epochs": config.epochs,
        "train_samples": data.train.samples,
        "test_samples": data.test.samples,
        "test_accuracy": last["test_accuracy"],
        "seconds_per_epoch": statistics.fmean(record["seconds"] for record in history),
        "peak_memory_mb": peak_memory_mb(device),
        "layers": [{key: layer[key] for key in kept} for layer in last["layers"]],
    }
