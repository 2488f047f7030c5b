"""Local losses: how a layer compares its two streams; public names are in `sigprop_snn.network`."""
