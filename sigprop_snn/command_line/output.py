"""The output of a command, also when nobody reads it any more."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Output(io.TextIOBase):
    """A stream that goes on in silence when its reader has gone, as under `| head`.

    It writes each line at once, so that a pipe shows the progress of a run.

    Args:
        stream: the stream to write to.
        gone: receives the reason, once, when the stream can't be written to any more.
    """

    def __init__(self, stream: TextIO, gone: Any) -> None:
        self._stream, self._gone, self._is_gone = stream, gone, False

    def write(self, text: str) -> int:
        """Write a text."""
        self._do(lambda: self._stream.write(text))
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Pass on everything that was written."""
        self._do(self._stream.flush)

    def _do(self, write: Any) -> None:
        if self._is_gone:
            return
        try:
            write()
        except OSError as error:  # a closed pipe, a closed terminal, a full disk
            self._is_gone = True
            with suppress(OSError, ValueError):  # what the stream holds back must go somewhere
                number = self._stream.fileno()
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
            self._gone(error)

    def isatty(self) -> bool:
        """Return whether a person looks at a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the number of the file."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the text."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What happens to a character that the encoding lacks."""
        return self._stream.errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_output(note: str | None) -> Iterator[None]:
    """Let the `with` block write to standard output and error although nobody may read them.

    Args:
        note: a line for standard error when nobody reads standard output any more, or None.
    """

    def gone(error: OSError) -> None:
        if note is not None:
            print(f"sigprop-snn: {note} ({error.strerror})", file=sys.stderr)

    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Output(before[0], gone), Output(before[1], lambda _: None)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before
