"""What a person sees while a run works: a bar over the whole run, and a word for a long wait."""

from __future__ import annotations

import math
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import TqdmWarning

from sigprop_snn.network import Learned

if TYPE_CHECKING:
    from sigprop_snn.training.run import TrainingRun

T = TypeVar("T")

SOON = 2.0
"""Seconds that a person waits without a word."""


@contextmanager
def waiting(say: Callable[[str], object], text: str) -> Iterator[None]:
    """Say a line if the `with` block takes more than two seconds.

    Args:
        say: receives the line, from another thread.
        text: what the program is doing.
    """
    timer = threading.Timer(SOON, say, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Progress:
    """A bar over all batches of a run, to learn from and to test on, with the time that is left.

    It is shown in a terminal and in a notebook. Without it, lines of text name the first long
    waits.

    Args:
        run: the run.
        say: receives lines of text.
    """

    def __init__(self, run: TrainingRun, say: Callable[[str], object]) -> None:
        self._run, self._say = run, say
        validation = run.data.validation if run.config.chooses_epoch else None
        self._each = len(run.data.train) + _count(validation) + _count(run.data.test)
        self._shown = sys.stderr.isatty() or _in_notebook()
        self._named = set[str]()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TqdmWarning)  # a notebook without widgets
            from tqdm.auto import tqdm

        run = self._run
        self._bar = tqdm(
            total=run.epochs * self._each,
            initial=len(run.history) * self._each + run.batch,
            unit="batch",
            smoothing=0,  # learning and testing take turns: their mean rate gives the time left
            leave=False,
            disable=not self._shown,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, text: str) -> None:
        """Say a line of text, above the bar."""
        self._bar.clear()
        self._say(text)
        self._bar.refresh()

    def learning(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches to learn from."""
        return self._through(batches, "")

    def testing(self, batches: Iterable[T], what: str = "testing") -> Iterator[T]:
        """Yield the batches to test on."""
        return self._through(batches, f", {what}")

    def learned(self, learned: Learned) -> None:
        """Show the loss of a batch. On a GPU the bar shows none: reading it would wait."""
        if self._shown and self._run.device.type == "cpu":
            losses = [layer.loss for layer in learned.layers if layer.loss is not None]
            if losses and math.isfinite(sum(losses)):
                self._bar.set_postfix_str(f"loss {sum(losses) / len(losses):.3f}", refresh=False)

    def first(self, text: str) -> AbstractContextManager[None]:
        """Say a line if the `with` block takes long, the first time in a run."""
        if text in self._named:
            return nullcontext()
        self._named.add(text)
        return waiting(self.say, text)

    def _through(self, batches: Iterable[T], what: str) -> Iterator[T]:
        epoch = len(self._run.history) + 1
        self._bar.set_description(f"epoch {epoch}/{self._run.epochs}{what}")
        for item in batches:
            yield item
            self._bar.update()


def _count(batches: Any) -> int:
    return 0 if batches is None else len(batches)


def _in_notebook() -> bool:
    """Return whether a Jupyter kernel shows what this process prints."""
    return type(sys.stderr).__module__.startswith("ipykernel")
