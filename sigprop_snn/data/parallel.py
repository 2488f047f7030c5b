"""Work on many files at once, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm.auto import tqdm

_In = TypeVar("_In")
_Out = TypeVar("_Out")

THREADS = 4
_AHEAD = 4 * THREADS  # results that may wait, so that memory stays small
_DELAY = 1.0  # seconds before the progress bar appears


def in_parallel(work: Callable[[_In], _Out], items: Sequence[_In], title: str) -> Iterator[_Out]:
    """Yield `work(item)` for every item, in order. Several threads work ahead by a few items.

    Args:
        work: the function; its first error is raised at the place of its item.
        items: the items.
        title: title of the progress bar, which appears after a second, in a terminal or a notebook.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        ahead = [pool.submit(work, item) for item in items[:_AHEAD]]
        # `disable=None` hides the bar where standard error is a file or a pipe.
        with tqdm(total=len(items), desc=title, leave=False, disable=None, delay=_DELAY) as bar:
            for number in range(len(items)):
                yield ahead[number % _AHEAD].result()
                if number + _AHEAD < len(items):
                    ahead[number % _AHEAD] = pool.submit(work, items[number + _AHEAD])
                bar.update()
