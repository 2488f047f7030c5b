"""The entry point of the command `sigprop-snn`: ready for Ctrl-C before anything is imported."""

from __future__ import annotations

import signal


def main() -> int:
    """Run the command line and return the exit code."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # Imports take a moment, and an exception within them would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sigprop_snn.command_line.cli import main as run

    return run(sigint=handler)
