"""What the ranks of a job report together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RankReport:
    """The work of one rank since the last report.

    Attributes:
        rank: its rank.
        layers: the layers that it runs.
        batches: number of batches.
        seconds: seconds from the first batch to the report.
        waiting: seconds of these that it waited for other ranks: for a batch, a free buffer or a
            sum over replicas.
        sent_bytes: bytes that it sent to the next stage.
        is_last: whether it has the last stage.
    """

    rank: int
    layers: tuple[str, ...]
    batches: int
    seconds: float
    waiting: float
    sent_bytes: int
    is_last: bool

    @property
    def idle(self) -> float:
        """The share of time that it waited, from 0 to 1."""
        return self.waiting / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Report:
    """The results of all ranks since the last report.

    Attributes:
        samples: number of samples.
        correct: how many of them the network got right while it learned.
        losses: the mean loss of each layer.
        layer_correct: how many samples each layer alone got right, where it predicts.
        ranks: the work of each rank.
    """

    samples: int
    correct: int
    losses: dict[str, float]
    layer_correct: dict[str, int]
    ranks: tuple[RankReport, ...]

    @property
    def accuracy(self) -> float:
        """The fraction of samples that the network got right; 0 without samples."""
        return self.correct / self.samples if self.samples else 0.0
