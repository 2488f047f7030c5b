"""What is counted over an epoch, and the record, line and summary that are made of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from sigprop_snn.config import TrainConfig
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Learned, correct
from sigprop_snn.training.evaluation import Evaluation


@dataclass
class EpochTally:
    """Adds up what the layers report over an epoch.

    Attributes:
        samples: how many were learned from.
        right: how many of them the network had right as it learned.
        loss: each layer's loss, summed over the samples.
        seconds: time spent learning.
    """

    samples: int = 0
    right: int = 0
    loss: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, learned: Learned, labels: Tensor) -> None:
        """Add a batch.

        Raises:
            SigpropError: if a layer's loss is NaN.
        """
        self.right += int(correct(learned.scores, labels).sum())
        self.samples += len(labels)
        for layer in learned.layers:
            if layer.loss != layer.loss:
                raise SigpropError(
                    f"the loss of {layer.name} became NaN; a smaller learning_rate usually helps"
                )
            self.loss[layer.name] = self.loss.get(layer.name, 0.0) + layer.loss * len(labels)

    def record(self, epoch: int, tested: Evaluation) -> dict[str, Any]:
        """Return the epoch's record, a line of `metrics.jsonl`."""
        return {
            "epoch": epoch,
            "train_accuracy": self.right / self.samples,
            "test_accuracy": tested.accuracy,
            "loss": sum(self.loss.values()) / self.samples / len(self.loss),
            "seconds": self.seconds,
            "layers": [
                {**asdict(layer), "loss": self.loss[layer.name] / self.samples}
                for layer in tested.layers
            ],
        }


def line_of(record: dict[str, Any], config: TrainConfig) -> str:
    """Return an epoch's record as a line for people."""
    layers = ", ".join(f"{layer['name']} {layer['accuracy']:.3f}" for layer in record["layers"])
    return (
        f"epoch {record['epoch']}/{config.epochs}: test accuracy {record['test_accuracy']:.4f} "
        f"({layers}), train {record['train_accuracy']:.4f}, loss {record['loss']:.3f}, "
        f"{record['seconds']:.1f} s"
    )


def summary_of(
    config: TrainConfig,
    history: Sequence[dict[str, Any]],
    *,
    samples: tuple[int, int],
    peak_memory_mb: float,
) -> dict[str, Any]:
    """Return what `summary.json` says of a finished run.

    Args:
        config: the run.
        history: the epochs' records.
        samples: how many there were to learn from and to be tested on.
        peak_memory_mb: the most memory held.
    """
    last = history[-1]
    kept = ("name", "accuracy", "spike_rate", "dead_fraction")
    return {
        "dataset": config.dataset,
        "rule": config.rule,
        "network": config.network,
        "seed": config.seed,
        "steps": config.steps,
        "epochs": len(history),
        "train_samples": samples[0],
        "test_samples": samples[1],
        "test_accuracy": last["test_accuracy"],
        "seconds_per_epoch": statistics.fmean(record["seconds"] for record in history),
        "peak_memory_mb": peak_memory_mb,
        "layers": [{key: layer[key] for key in kept} for layer in last["layers"]],
    }
