"""Reading in a process apart, for libraries that a damaged file can bring down.

libhdf5 and aedat are machine code. Some damaged files make them end the whole process, where no
`except` helps. Read apart, such a file costs a process that does nothing else.
"""

from __future__ import annotations

import atexit
import json
import math
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.data.events import EventFileError, unreadable

_SCRIPT = Path(__file__).with_name("apart_reader.py")


class _Apart:
    """A process that reads files. It starts with the first job and again after it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def read(self, file: Path, what: str, rest: tuple[Any, ...]) -> list[NDArray[Any]]:
        job = json.dumps({"what": what, "with": [str(file), *rest]}).encode() + b"\n"
        with self._lock:
            try:
                head, arrays = self._ask(job)
            except (OSError, EOFError, ValueError) as error:
                code = self.close()
                raise unreadable(
                    file, EOFError(f"the library that reads it died of it, code {code}")
                ) from error
        if "fault" in head:
            raise EventFileError(file, head["fault"], head["expected"])
        if "error" in head:
            raise unreadable(file, OSError(head["error"]))
        return arrays

    def close(self) -> int | None:
        """End the process, if there is one, and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            # Closes its input, which is how it knows that there is no more to do.
            process.communicate(timeout=5)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        return process.returncode

    def _ask(self, job: bytes) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        if self._process is None:
            # Not as a script of its own, whose folder would come first among the modules.
            start = f"import runpy; runpy.run_path({str(_SCRIPT)!r}, run_name='__main__')"
            self._process = subprocess.Popen(
                [sys.executable, "-c", start],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process alone
            )
        pipe, answer = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answer is not None
        pipe.write(job)
        pipe.flush()
        line = answer.readline()
        if not line:
            raise EOFError
        head = json.loads(line)
        arrays = []
        for kind, shape in head.get("arrays", []):
            dtype = np.dtype(kind)
            body = answer.read(math.prod(shape) * dtype.itemsize)
            arrays.append(np.frombuffer(body, dtype).reshape(shape))
        return head, arrays


_APART = _Apart()
atexit.register(_APART.close)


def read_apart(file: Path, what: str, *rest: Any) -> list[NDArray[Any]]:
    """Return the arrays that a job of `apart_reader` finds in a file.

    Args:
        file: the file.
        what: name of the job.
        rest: its further arguments, plain values.

    Raises:
        EventFileError: if it finds none, or the library that reads the file dies of it.
    """
    return _APART.read(file, what, rest)
