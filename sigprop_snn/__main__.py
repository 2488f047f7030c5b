"""`python -m sigprop_snn` is the command `sigprop-snn`."""

import sys

from sigprop_snn.command_line.start import main

if __name__ == "__main__":
    sys.exit(main())
