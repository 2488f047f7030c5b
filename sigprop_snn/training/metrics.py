"""The results of an epoch and of a run: counted, written as records, and as lines for people."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Learned
from sigprop_snn.neurons.engines.late import raise_late
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training.evaluation import Evaluation

_TOGETHER = 32  # batches whose results are read from a GPU at once


@dataclass
class EpochMetrics:
    """Sums over the batches of an epoch.

    Attributes:
        samples: number of samples.
        right: number of samples that the network classified correctly while it learned.
        loss: sum of each layer's loss over the samples.
        seconds: time spent on learning.
    """

    samples: int = 0
    right: int = 0
    loss: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._waiting: list[tuple[Tensor, list[str], int]] = []

    def add(self, learned: Learned, labels: Tensor) -> None:
        """Add a batch.

        On a GPU, the results of several batches are read together, so that learning does not wait
        for each. They are copied there first: the next batch may overwrite the report.

        Raises:
            SigpropError: if a layer's loss is NaN, in this batch or in one that was not read yet.
        """
        self.samples += len(labels)
        self._waiting.append((*learned.results(), len(labels)))
        if labels.device.type == "cpu" or len(self._waiting) >= _TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Read the results of all batches.

        Raises:
            SigpropError: as in `add`.
        """
        if not self._waiting:
            return
        read = torch.cat([results for results, _, _ in self._waiting]).tolist()  # one copy
        raise_late()
        for _, layers, samples in self._waiting:
            correct, *losses = read[: 1 + len(layers)]
            del read[: 1 + len(layers)]
            self.right += int(correct)
            for name, loss in zip(layers, losses, strict=True):
                if math.isnan(loss):
                    raise SigpropError(
                        f"the loss of {name} became NaN; a smaller learning_rate usually helps"
                    )
                self.loss[name] = self.loss.get(name, 0.0) + loss * samples
        self._waiting.clear()

    def record(
        self, epoch: int, tested: Evaluation, validated: Evaluation | None = None
    ) -> dict[str, Any]:
        """Return the epoch's record, which becomes a line of `metrics.jsonl`.

        Args:
            epoch: its number, from 1.
            tested: evaluation on the test samples.
            validated: evaluation on the validation samples, if they choose the best epoch.
        """
        self.settle()
        validation = {} if validated is None else {"validation_accuracy": validated.accuracy}
        return {
            "epoch": epoch,
            "train_accuracy": self.right / self.samples,
            **validation,
            "test_accuracy": tested.accuracy,
            "loss": sum(self.loss.values()) / self.samples / max(1, len(self.loss)),
            "seconds": self.seconds,
            "layers": [
                {**asdict(layer), "loss": self._mean_loss(layer.name)} for layer in tested.layers
            ],
        }

    def _mean_loss(self, layer: str) -> float | None:
        return self.loss[layer] / self.samples if layer in self.loss else None


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """Return an epoch's record as a line of text.

    Args:
        record: the record.
        epochs: number of epochs in the run.
    """
    validation = record.get("validation_accuracy")
    layers = ", ".join(
        f"{layer['name']} {100 * layer['accuracy']:.1f}"
        for layer in record["layers"]
        if layer["accuracy"] is not None
    )
    return (
        f"epoch {record['epoch']}/{epochs}: test accuracy {100 * record['test_accuracy']:.2f} %"
        + (f" ({layers})" if layers else "")
        + (f", validation {100 * validation:.2f} %" if validation is not None else "")
        + f", train {100 * record['train_accuracy']:.2f} %, mean loss {record['loss']:.3f}, "
        f"{record['seconds']:.1f} s"
    )


def run_summary(
    config: TrainConfig,
    history: Sequence[dict[str, Any]],
    epoch: int,
    *,
    samples: tuple[int, int],
    peak_memory_mb: float,
) -> dict[str, Any]:
    """Return the content of `summary.json` for a finished run.

    Args:
        config: the run's resolved configuration.
        history: the records of its epochs.
        epoch: number of the epoch that the network is kept from.
        samples: numbers of training samples and of test samples.
        peak_memory_mb: peak memory in MiB.
    """
    record = history[epoch - 1]
    chosen = (
        {"chosen_epoch": epoch, "validation_accuracy": record["validation_accuracy"]}
        if config.chooses_epoch
        else {}
    )
    keys = ("name", "accuracy", "spike_rate", "dead_fraction")
    return {
        "dataset": config.dataset,
        "rule": config.rule,
        "network": config.network,
        "seed": config.seed,
        "steps": config.steps,
        "epochs": len(history),
        "train_samples": samples[0],
        "test_samples": samples[1],
        "test_accuracy": record["test_accuracy"],
        "seconds_per_epoch": statistics.fmean(record["seconds"] for record in history),
        "peak_memory_mb": peak_memory_mb,
        "layers": [{key: layer[key] for key in keys} for layer in record["layers"]],
        **chosen,
    }
