"""
Your first network
==================

Train a spiking network on handwritten digits, in the forward pass only, in a few seconds.
"""

# %%
# The data
# --------
# ``sp.load`` gives batches with the time first: ``x`` is ``[T, B, ...]``. A digit has 8x8 pixels;
# each pixel is a current that is the same at each of the T = 8 time steps.

import torch

import sigprop_snn as sp

torch.manual_seed(0)
data = sp.load("digits", steps=8, batch_size=32)
x, labels = next(iter(data.train))
print("x", tuple(x.shape), "labels", tuple(labels.shape))

# %%
# The network
# -----------
# Two blocks of 200 neurons. A block is a synapse, a normaliser and a neuron: here leaky
# integrate-and-fire. A readout above them answers.

network = sp.mlp(data.shape, len(data.classes), hidden=(200, 200), rule=sp.VoltageRule())
print(network)

# %%
# Learning
# --------
# ``network.learn`` is one forward pass. The digits enter the network, and beside them enters one
# *context* for each class. Each block compares the two streams, and its optimizer updates its
# weights before the next block runs. There is no backward pass through the layers or through time.

optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
for epoch in range(1, 6):
    for x, labels in data.train:
        network.learn(x, labels, optimizers.step)
    tested = sp.evaluate(network, data.test)
    print(f"epoch {epoch}: test accuracy {100 * tested.accuracy:.1f} %")

# %%
# What each block has learned
# ---------------------------
# Each block can answer alone: its answer is the class of the nearest context.

for layer in tested.layers:
    print(f"{layer.name}: {100 * layer.accuracy:.1f} %, spike rate {layer.spike_rate:.3f}")

# %%
# The spikes
# ----------
# ``network.record`` returns the activity of every block at every step. Here are the spikes of the
# second block for one digit: time goes to the right, each row is a neuron.

recorded = network.record(x[:, :1], ["spike", "voltage"])
sp.plots.raster(recorded["block2"]["spike"][:, 0], title="block 2, one digit")

# %%
# The voltages
# ------------
# The voltage rule learns from the membrane voltage. A neuron fires where its voltage is above the
# threshold, and the threshold is subtracted.

voltage, spike = (recorded["block2"][name][:, 0] for name in ("voltage", "spike"))
sp.plots.voltage_traces(voltage, spike, neurons=3)

# %%
# What next
# ---------
# Change ``sp.VoltageRule()`` to ``sp.SurrogateRule()``: the blocks then learn through a smooth
# function of the voltage. :doc:`tutorial_2_events` trains on recordings of an event camera.
