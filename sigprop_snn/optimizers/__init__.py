"""One optimizer and one schedule for each layer; public names are in `sigprop_snn.training`."""
