"""
Learning on a stream
====================

A sensor does not stop for the end of a batch. ``sp.Online`` learns at every time step, and keeps
only membrane voltages and presynaptic traces of the past.
"""

# %%
# A stream of events
# ------------------
# Eight simulated cameras look at digits. Every 12 steps the digits change.

from collections.abc import Iterator

import torch
from torch import Tensor

import sigprop_snn as sp

CAMERAS, STEPS = 8, 12


def stream(digits: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what all cameras record of a digit, ``[T, B, ...]``, and the labels."""
    data = sp.load("digit-events", steps=STEPS, batch_size=CAMERAS)
    shown = 0
    while True:
        for frames, labels in data.train:
            if len(labels) < CAMERAS:
                continue
            yield frames, labels
            shown += 1
            if shown == digits:
                return


# %%
# Learn from every step
# ---------------------
# ``online.learn`` takes the next steps, one or several, and every layer updates at once.
# ``online(frames)`` answers without learning: the answer for each digit is counted before the
# network learns from it.

torch.manual_seed(0)
network = sp.mlp((2, 16, 16), 10, hidden=(100, 100), rule=sp.VoltageRule())
optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=1e-3))
online = sp.Online(network)

curve, right = [], 0
for number, (frames, labels) in enumerate(stream(digits=150), start=1):
    right += int((online(frames).argmax(dim=1) == labels).sum())
    online.reset()
    for step in frames.split(1):
        online.learn(step, labels, optimizers.step)
    online.reset()
    if number % 30 == 0:
        curve.append(right / (30 * CAMERAS))
        print(f"after {number * STEPS:4} steps: {100 * curve[-1]:.0f} % right")
        right = 0

# %%
from matplotlib import pyplot as plt

plt.plot([30 * STEPS * point for point in range(1, len(curve) + 1)], [100 * y for y in curve])
plt.gca().set(xlabel="time steps", ylabel="right before learning, in %", ylim=(0, 100))
plt.title("eight cameras, learned step by step")

# %%
# What is kept
# ------------
# After a step the network holds, for each block, the state of the neurons, the presynaptic trace
# and the sum of the voltages. This does not grow: it is the same after ten steps and after a
# million.
#
# If the weights do not change during a sample, the gradient after its last step equals the gradient
# of the whole sample:

network = sp.mlp((12,), 3, hidden=(20, 20)).double().eval()
x, labels = (torch.rand(6, 4, 12) > 0.6).double(), torch.tensor([0, 1, 2, 0])


def gradients() -> list[Tensor]:
    """Return the gradient of every weight, and forget it."""
    found = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    return found


network.learn(x, labels)
whole_sample = gradients()

online = sp.Online(network)
for step in x:
    network.zero_grad()
    online.learn(step[None], labels)
step_by_step = gradients()

print(max(float((a - b).abs().max()) for a, b in zip(whole_sample, step_by_step, strict=True)))

# %%
# Whole samples
# -------------
# ``sp.learn_in_parts(network, x, labels, optimizers.step, every=4)`` does the same for samples that
# are already complete, and so does ``sigprop-snn train DATASET --update every-4``.
#
# ``examples/streaming.py`` learns from such a stream without an end and prints its memory.
#
# For a stream without an end, ``sp.Online(network, window=20)`` lets older steps fade.
