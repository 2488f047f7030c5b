"""The layers of a network and their contracts; `sigprop_snn.network` gives them to users."""
