"""Function calls that each run in a fresh process.

The peak memory of a call is then its own, and a call that crashes does not end the program.

A server process imports once the modules that every call needs, and forks for each call, so a call
starts at once. (The fork server of the standard library imports the main script again in every
process. This one does not, so any program can use it.)
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
from pathlib import Path
from typing import IO, Any

import sigprop_snn
from sigprop_snn.errors import SigpropError

_PATIENCE = 5.0  # seconds that a server may take to end after an error
# On other systems, libraries do not expect a fork.
_FORKS = sys.platform.startswith("linux")

# The server must import the same package as this process. `python -m` would search the current
# folder first, and find another `sigprop_snn` in a clone's root.
_SERVER = """
import sys
sys.path[:] = {path}
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("sigprop_snn", {package})
sys.modules["sigprop_snn"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["sigprop_snn"])
from sigprop_snn.processes.calls import serve
serve({preload})
"""


class CallFailedError(Exception):
    """A call in another process ended without a result. The message gives the reason."""


class FreshProcesses:
    """Runs calls one after the other, each in its own process.

    It is a context manager. A call that still runs at its end, or when this process ends, is
    killed.

    Args:
        preload: modules to import once, before the first call.
        environment: environment variables to add for the calls.
    """

    def __init__(
        self, preload: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._preload = tuple(preload)
        self._environment = dict(environment or {})
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> FreshProcesses:
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        if self._server is not None:
            assert self._server.stdin is not None
            self._server.stdin.close()  # the server ends when its input ends
            try:
                # It reads its input when its imports are done: nobody waits for them after Ctrl-C.
                self._server.wait(None if kind is None else _PATIENCE)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            assert self._server.stdout is not None
            self._server.stdout.close()
            self._server = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return `function(*arguments)`.

        The function, the arguments and the result must be picklable.

        Raises:
            CallFailedError: if the call raises an error or its process dies.
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
        """Return the server. Where processes can't fork, a server serves one call and ends."""
        if self._server is not None and self._server.poll() is not None:
            self.__exit__()
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _server_code(self._preload)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **self._environment},
            )
        return self._server


def _server_code(preload: Sequence[str]) -> str:
    # In ASCII, because the encoding of the command line may not hold other characters.
    return _SERVER.format(
        path=ascii([entry for entry in sys.path if isinstance(entry, str)]),
        package=ascii(str(Path(sigprop_snn.__file__).absolute())),
        preload=ascii(list(preload)),
    )


def _death(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", often because memory ran out" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with code {code} and no result"


def serve(preload: Sequence[str]) -> None:
    """Answer calls from standard input on standard output, until standard input ends.

    Args:
        preload: modules to import before the first call.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller handles Ctrl-C
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep what a call prints out of the answers
    for name in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Unbuffered, so that `select` in `_forked` sees everything that is not read yet.
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
    """Make the call in a new process. Return the process's exit code and the outcome."""
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
            if calls in ready:  # no call comes before the answer, so the caller has ended
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                sys.exit(0)
            part = pipe.read(1 << 16)
            if not part:
                break
            answer += part
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answer


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Return a pickled pair: whether the call succeeded, and its result or its error message."""
    warnings.showwarning = _say_warning
    try:
        return pickle.dumps((True, function(*arguments)))
    except SigpropError as error:
        return pickle.dumps((False, str(error)))
    except Exception as error:
        return pickle.dumps((False, f"{type(error).__name__}: {error}"))


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"sigprop-snn: {message}", file=sys.stderr)
