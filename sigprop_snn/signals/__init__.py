"""Learning signals: how the target enters; `sigprop_snn.network` gives them to users."""
