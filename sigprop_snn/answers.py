"""What is asked of a sample."""

from __future__ import annotations

from typing import Literal, get_args

Answers = Literal["classes", "labels", "values"]
"""A sample's class, `[B]`; which of K labels hold, or K values, both `[B, K]`."""

ANSWERS: tuple[Answers, ...] = get_args(Answers)
