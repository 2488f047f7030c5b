"""The results of one rank, batch by batch, and those of all ranks together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sigprop_snn.layers.contracts import Learned
from sigprop_snn.parallel.report import RankReport, Report

_TOGETHER = 32  # batches whose results are read at once


class Results:
    """Sums over the batches since the last report.

    Args:
        waited: seconds that the rank had waited before.
        sent: bytes that it had sent before.
    """

    def __init__(self, waited: float = 0.0, sent: int = 0) -> None:
        self._before = waited, sent
        self._begun: float | None = None
        self._batches = 0
        self._unread: list[tuple[Learned, int]] = []
        self._samples = self._correct = 0
        self._losses: dict[str, float] = {}
        self._right: dict[str, int] = {}

    def begin(self) -> None:
        """Start the clock at the first batch."""
        if self._begun is None:
            self._begun = time.perf_counter()

    def add(self, learned: Learned, samples: int) -> None:
        """Take a batch of a number of samples."""
        self._batches += 1
        self._unread.append((learned, samples))
        if len(self._unread) >= _TOGETHER:
            self._settle()

    def sums(self) -> dict[str, Any]:
        """Return the sums as plain values."""
        self._settle()
        return {
            "samples": self._samples,
            "correct": self._correct,
            "losses": self._losses,
            "right": self._right,
        }

    def rank_report(
        self, rank: int, layers: tuple[str, ...], waited: float, sent: int, *, is_last: bool
    ) -> RankReport:
        """Return the work of this rank.

        Args:
            rank: its rank.
            layers: its layers.
            waited: seconds that it has waited in all.
            sent: bytes that it has sent in all.
            is_last: whether it has the last stage.
        """
        seconds = 0.0 if self._begun is None else time.perf_counter() - self._begun
        before, sent_before = self._before
        return RankReport(
            rank, layers, self._batches, seconds, waited - before, sent - sent_before, is_last
        )

    @staticmethod
    def joined(found: Sequence[tuple[RankReport, dict[str, Any]]]) -> Report:
        """Return the report of all ranks of a pipeline."""
        losses: dict[str, float] = {}
        right: dict[str, int] = {}
        for _, sums in found:
            for layer, total in sums["losses"].items():
                losses[layer] = losses.get(layer, 0.0) + total
            for layer, count in sums["right"].items():
                right[layer] = right.get(layer, 0) + count
        samples = sum(sums["samples"] for report, sums in found if report.is_last)
        return Report(
            samples,
            sum(sums["correct"] for _, sums in found),
            {layer: total / samples for layer, total in losses.items()},
            right,
            tuple(report for report, _ in found),
        )

    def _settle(self) -> None:
        """Read the results of the batches."""
        for learned, samples in self._unread:
            self._samples += samples
            self._correct += learned.correct
            for layer in learned.layers:
                if layer.loss is not None:
                    self._losses[layer.name] = self._losses.get(layer.name, 0.0) + (
                        layer.loss * samples
                    )
                if layer.correct is not None:
                    self._right[layer.name] = self._right.get(layer.name, 0) + layer.correct
        self._unread.clear()
