"""Reads files in a child process, because a damaged file can crash the library that reads it.

libhdf5 and aedat are compiled code. Some damaged files crash the whole process, and no `except`
can prevent that. A crash of the child process costs one file.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import subprocess
import sys
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_SCRIPT = Path(__file__).with_name("reader_process.py")


class FileFaultError(Exception):
    """A file that can't be used. Who asked for it raises an error that names the file.

    Attributes:
        fault: what is wrong, such as "contains no data set x".
        expected: what was expected; None is a complete, readable file.
    """

    def __init__(self, fault: str, expected: str | None = None) -> None:
        self.fault, self.expected = fault, expected
        super().__init__(f"the file {fault}; expected {expected or 'a complete, readable file'}")


class IsolatedReader:
    """A child process that reads files, one at a time.

    It starts with the first file and starts again after a crash.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def read(self, file: Path, job: str, *arguments: Any) -> list[NDArray[Any]]:
        """Return the arrays that a job of `reader_process` finds in a file.

        Args:
            file: path of the file.
            job: a name in `reader_process.JOBS`.
            arguments: the job's other arguments; plain values.

        Raises:
            FileFaultError: if the file can't be used or crashes the library that reads it.
        """
        request = json.dumps({"job": job, "arguments": [str(file), *arguments]}).encode() + b"\n"
        with self._lock:
            try:
                header, arrays = self._answer(request)
            except (OSError, EOFError, ValueError) as error:
                code = self.close()
                raise FileFaultError(
                    f"can't be read (the library that reads it crashed with code {code})"
                ) from error
            except BaseException:
                # After Ctrl-C the rest of this answer would be read as the next file's.
                self.close(kill=True)
                raise
        if "fault" in header:
            raise FileFaultError(header["fault"], header["expected"])
        if "error" in header:
            raise FileFaultError(f"can't be read ({' '.join(header['error'].split())})")
        return arrays

    def close(self, *, kill: bool = False) -> int | None:
        """End the child process, if there is one, and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        _close_pipes(process)  # the child ends when its input does
        try:
            if kill:
                process.kill()
            return process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def forget(self) -> None:
        """Drop the child process without ending it: after a fork it belongs to the parent."""
        process, self._process = self._process, None
        if process is not None:
            _close_pipes(process)
            process.returncode = 0  # so that Popen does not warn of a running child

    def _answer(self, request: bytes) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it ended while it had nothing to do
        if self._process is None:
            self._process = _start()
        requests, answers = _pipes(self._process)
        rest = memoryview(request)
        while rest:
            rest = rest[requests.write(rest) :]
        header = json.loads(_receive(answers, int.from_bytes(_receive(answers, 8), "little")))
        arrays = []
        for kind, shape in header.get("arrays", []):
            dtype = np.dtype(kind)
            body = _receive(answers, math.prod(shape) * dtype.itemsize)
            arrays.append(np.frombuffer(body, dtype).reshape(shape))
        return header, arrays


def _start() -> subprocess.Popen[bytes]:
    # `python reader_process.py` would put this folder first among the places of modules.
    start = f"import runpy; runpy.run_path({str(_SCRIPT)!r}, run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", start],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Without buffers, whose content and locks a fork would copy.
        bufsize=0,
        # Ctrl-C must reach this process only.
        start_new_session=True,
    )


def _pipes(process: subprocess.Popen[bytes]) -> tuple[FileIO, FileIO]:
    """Return the pipes to and from the process, which are FileIO because they have no buffer."""
    return cast("FileIO", process.stdin), cast("FileIO", process.stdout)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in _pipes(process):
        pipe.close()


def _receive(pipe: FileIO, size: int) -> bytearray:
    """Read exactly `size` bytes.

    Raises:
        EOFError: if the pipe ends earlier.
    """
    received = bytearray(size)
    rest = memoryview(received)
    while rest:
        count = pipe.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return received


_reader = IsolatedReader()


def read_isolated(file: Path, job: str, *arguments: Any) -> list[NDArray[Any]]:
    """Call `IsolatedReader.read` of this process's reader."""
    return _reader.read(file.absolute(), job, *arguments)


def _replace_after_fork() -> None:
    # Two processes that share one pipe would read each other's answers.
    global _reader
    _reader.forget()
    _reader = IsolatedReader()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_after_fork)
atexit.register(lambda: _reader.close())
