"""Spiking neural networks that learn in the forward pass, by signal propagation."""
