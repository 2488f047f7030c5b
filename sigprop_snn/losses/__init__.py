"""Local losses: how a layer compares its two streams; `sigprop_snn.network` gives them to users."""
