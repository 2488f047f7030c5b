"""The command line `sigprop-snn`."""
