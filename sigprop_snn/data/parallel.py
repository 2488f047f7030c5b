"""Work on many files at once, with a progress bar."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tqdm.auto import tqdm

_In = TypeVar("_In")
_Out = TypeVar("_Out")

THREADS = 4
_PART = 8  # items of one task
_AHEAD = 2 * THREADS  # tasks whose results may wait, so that memory stays small
_DELAY = 1.0  # seconds before the progress bar appears


def in_parallel(work: Callable[[_In], _Out], items: Sequence[_In], title: str) -> Iterator[_Out]:
    """Yield `work(item)` for every item, in order. Several threads work ahead by a few items.

    Args:
        work: the function; its first error is raised at the place of its item.
        items: the items.
        title: title of the progress bar, which appears after a second, in a terminal or a notebook.
    """
    parts = (items[start : start + _PART] for start in range(0, len(items), _PART))
    waiting: deque[Future[list[_Out]]] = deque()

    def done(part: Sequence[_In]) -> list[_Out]:
        return [work(item) for item in part]

    with (
        ThreadPoolExecutor(THREADS) as pool,
        # `disable=None` hides the bar where standard error is a file or a pipe.
        tqdm(total=len(items), desc=title, leave=False, disable=None, delay=_DELAY) as bar,
    ):
        for part in parts:
            waiting.append(pool.submit(done, part))
            if len(waiting) > _AHEAD:
                for result in waiting.popleft().result():
                    yield result
                    bar.update()
        while waiting:
            for result in waiting.popleft().result():
                yield result
                bar.update()
