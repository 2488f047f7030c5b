"""What is counted over an epoch, and the record, line and summary that are made of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from sigprop_snn.config import TrainConfig
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Learned
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

    def record(
        self, epoch: int, tested: Evaluation, chosen_by: Evaluation | None = None
    ) -> dict[str, Any]:
        """Return the epoch's record, a line of `metrics.jsonl`.

        Args:
            epoch: its number, from 1.
            tested: how the network does on the test samples.
            chosen_by: how it does on the validation samples, where the best epoch is chosen.
        """
        held = {} if chosen_by is None else {"validation_accuracy": chosen_by.accuracy}
        return {
            "epoch": epoch,
            "train_accuracy": self.right / self.samples,
            **held,
            "test_accuracy": tested.accuracy,
            "loss": sum(self.loss.values()) / self.samples / max(1, len(self.loss)),
            "seconds": self.seconds,
            "layers": [
                {**asdict(layer), "loss": self._mean_loss(layer.name)} for layer in tested.layers
            ],
        }

    def _mean_loss(self, name: str) -> float | None:
        return self.loss[name] / self.samples if name in self.loss else None


def line_of(record: dict[str, Any], epochs: int) -> str:
    """Return an epoch's record as a line for people."""
    held = record.get("validation_accuracy")
    validation = "" if held is None else f"validation {held:.4f}, "
    guesses = [layer for layer in record["layers"] if layer["accuracy"] is not None]
    layers = ", ".join(f"{layer['name']} {layer['accuracy']:.3f}" for layer in guesses)
    return (
        f"epoch {record['epoch']}/{epochs}: test accuracy {record['test_accuracy']:.4f} "
        + (f"({layers}), " if layers else "")
        + f"{validation}train {record['train_accuracy']:.4f}, loss {record['loss']:.3f}, "
        f"{record['seconds']:.1f} s"
    )


def summary_of(
    config: TrainConfig,
    history: Sequence[dict[str, Any]],
    epoch: int,
    *,
    samples: tuple[int, int],
    peak_memory_mb: float,
) -> dict[str, Any]:
    """Return what `summary.json` says of a finished run.

    Args:
        config: the run.
        history: the epochs' records.
        epoch: the epoch whose network was kept; which it is is said where it was chosen.
        samples: how many there were to learn from and to be tested on.
        peak_memory_mb: the most memory held.
    """
    kept_record = history[epoch - 1]
    chosen = (
        {"chosen_epoch": epoch, "validation_accuracy": kept_record["validation_accuracy"]}
        if config.chooses_epoch
        else {}
    )
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
        "test_accuracy": kept_record["test_accuracy"],
        "seconds_per_epoch": statistics.fmean(record["seconds"] for record in history),
        "peak_memory_mb": peak_memory_mb,
        "layers": [{key: layer[key] for key in kept} for layer in kept_record["layers"]],
        **chosen,
    }
