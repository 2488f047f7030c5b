"""
Events
======

An event camera does not take pictures. Each pixel reports when it becomes brighter or darker. A
spiking network can read these events. Here they are first counted in T time steps.
"""

# %%
# A simulated camera
# ------------------
# The data set ``digit-events`` shows the handwritten digits to a simulated camera of 16x16 pixels.
# A recording is divided into T = 12 frames; a frame counts the darker and the brighter events of
# each pixel, so a sample is ``[T, 2, 16, 16]``.

import torch

import sigprop_snn as sp

torch.manual_seed(0)
data = sp.load("digit-events", steps=12, batch_size=32)
x, labels = next(iter(data.test))
print("x", tuple(x.shape), "events of one digit:", int(x[:, 0].sum()))

# %%
sp.plots.event_frames(x[:, 0], columns=6, title=f"a {int(labels[0])}, seen by the camera")

# %%
# A convolutional network
# -----------------------
# Two blocks of feature maps. ``sp.conv`` centres the second block's gradient and lets the readout
# read both blocks. The surrogate rule learns through a smooth function of the voltage that is
# attached before the spike.

network = sp.conv(data.shape, len(data.classes), channels=(12, 24), rule=sp.SurrogateRule())
optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
for epoch in range(1, 4):
    for x, labels in data.train:
        network.learn(x, labels, optimizers.step)
    print(f"epoch {epoch}: test accuracy {100 * sp.evaluate(network, data.test).accuracy:.1f} %")

# %%
# One recording on its way through the network
# ---------------------------------------------

x, labels = next(iter(data.test))
recorded = network.record(x[:, :1], "spike", ["input", "block1", "block2"])
layers = {name: parts["spike"][:, 0].flatten(1) for name, parts in recorded.items()}
sp.plots.network_raster(layers, title=f"a {int(labels[0])} passes through the network")

# %%
# The price of one recording
# --------------------------
# A spike costs one addition for each weight that it meets. ``sp.cost`` counts these operations and
# estimates the energy; see :doc:`/how_to/measure`.

print(sp.cost(network, [(x, labels)]))

# %%
# Real recordings
# ---------------
# ``sp.load("nmnist", root="data")`` reads N-MNIST, and ``eventfolder`` your own recordings:
# :doc:`tutorial_6_own_data`.
