"""The kinds of answer that a network gives for a sample: one class, several labels, or values."""

from __future__ import annotations

from typing import Literal, get_args

Answers = Literal["classes", "labels", "values"]
"""A sample's class, `[B]`; which of K labels hold, or K values, both `[B, K]`."""

ANSWERS: tuple[Answers, ...] = get_args(Answers)
