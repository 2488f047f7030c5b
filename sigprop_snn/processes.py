"""Calls in fresh processes, so that the memory and the death of each are its own.

A server imports once what every call needs and forks for each of them, which then begins at once.
(The standard library's fork server imports the main script again in every process; this one leaves
it alone, so that any program can use it.) Run as a program, this module is that server.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from sigprop_snn.errors import SigpropError

# Elsewhere libraries don't take well to a fork.
_FORKS = sys.platform.startswith("linux")


class CallFailedError(Exception):
    """A call in another process ended without a result; the message says how."""


class FreshProcesses:
    """Runs calls, one after the other, each in a process of its own.

    A context manager; whatever still runs ends with it, or with this process.

    Args:
        preload: modules that the calls need, imported once for all.
        environment: variables of the environment that the processes have beside this one's.
    """

    def __init__(
        self, preload: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._preload = tuple(preload)
        self._environment = dict(environment or {})
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> FreshProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            assert self._server.stdin is not None
            self._server.stdin.close()  # which tells the server to end
            self._server.wait()
            assert self._server.stdout is not None
            self._server.stdout.close()
            self._server = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return `function(*arguments)`; the function, the arguments and the result are pickled.

        Raises:
            CallFailedError: if the call raised an error or its process died.
        """
        server = self._running()
        assert server.stdin is not None and server.stdout is not None
        try:
            pickle.dump((function, arguments), server.stdin)
            server.stdin.flush()
            code, answer = pickle.load(server.stdout)
        except (EOFError, BrokenPipeError):
            code, answer = server.wait(), b""
        if not answer:
            raise CallFailedError(_death(code))
        succeeded, result = pickle.loads(answer)
        if not succeeded:
            raise CallFailedError(result)
        return result

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the server; where processes can't be forked it serves one call and ends."""
        if self._server is not None and self._server.poll() is not None:
            self.__exit__()
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "sigprop_snn.processes", *self._preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **self._environment},
            )
        return self._server


def _death(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", often for want of memory" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with code {code} and no result"


def serve(preload: Sequence[str]) -> None:
    """Serve calls from the standard input until it closes; the answers go to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to judge
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a call prints is no answer
    for name in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Unbuffered, so that what is not read yet can be seen from outside.
    calls = os.fdopen(os.dup(0), "rb", buffering=0)
    while True:
        try:
            function, arguments = pickle.load(calls)
        except EOFError:
            return
        if not _FORKS:
            pickle.dump((0, _outcome(function, arguments)), answers)
            answers.flush()
            return
        pickle.dump(_forked(function, arguments, calls), answers)
        answers.flush()


def _forked(
    function: Callable[..., Any], arguments: tuple[Any, ...], calls: IO[bytes]
) -> tuple[int, bytes]:
    """Return the exit code of a process that makes the call, and its outcome."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        with os.fdopen(into, "wb") as pipe:
            pipe.write(_outcome(function, arguments))
        os._exit(0)
    os.close(into)
    answer = b""
    with os.fdopen(out, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([calls, pipe], [], [])
            if calls in ready:  # no call comes before the answer: the caller is gone
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                sys.exit(0)
            part = pipe.read(1 << 16)
            if not part:
                break
            answer += part
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answer


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Return the pickled result of a call, or what it said when it failed."""
    warnings.showwarning = _say_warning
    try:
        return pickle.dumps((True, function(*arguments)))
    except SigpropError as error:
        return pickle.dumps((False, str(error)))
    except Exception as error:
        return pickle.dumps((False, f"{type(error).__name__}: {error}"))


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"sigprop-snn: {message}", file=sys.stderr)


if __name__ == "__main__":
    serve(sys.argv[1:])
