"""Learning signals: how the target enters; public names are in `sigprop_snn.network`."""
