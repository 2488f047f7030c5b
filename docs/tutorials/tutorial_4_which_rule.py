"""
Which rule when
===============

Signal propagation has two rules, and the toolkit has fourteen others to compare with. All of them
learn on the same blocks, so one loop tries them side by side.
"""

# %%
# One loop, several rules
# -----------------------
# The networks have the same blocks, data and number of epochs. The builders take a rule by its
# name;
# ``sigprop-snn list`` prints all names. Only ``rule=`` changes.

import torch

import sigprop_snn as sp

data = sp.load("digits", steps=8, batch_size=32)
CHOSEN = ["voltage", "surrogate", "local-readout", "e-prop", "ottt", "backpropagation"]
rows = []
for rule in CHOSEN:
    torch.manual_seed(0)
    network = sp.mlp(data.shape, len(data.classes), hidden=(100, 100), rule=rule)
    optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    for _ in range(3):
        for x, labels in data.train:
            network.learn(x, labels, optimizers.step)
    needs = sp.RULES[rule].needs
    rows.append((rule, sp.evaluate(network, data.test).accuracy, needs))

print(f"{'rule':18} accuracy  backward pass  feedback weights  stores activations")
for rule, accuracy, needs in rows:
    print(
        f"{rule:18} {100 * accuracy:6.1f} %  {needs.backward_pass!s:13}  "
        f"{needs.feedback_weights!s:16}  {needs.stored_activations or 'no'}"
    )

# %%
sp.plots.rule_spectrum(
    [
        {
            "rule": rule,
            "accuracy": accuracy,
            "backward_pass": needs.backward_pass,
            "symmetric_weights": needs.symmetric_weights,
            "feedback_weights": needs.feedback_weights,
            "stored_activations": needs.stored_activations,
        }
        for rule, accuracy, needs in rows
    ]
)

# %%
# This is one seed and three epochs: differences of a point or two are chance. ``sigprop-snn compare
# digits`` does the same over several seeds, with the time, the memory and the operations of each
# rule, as a table and a picture.
#
# How to choose
# -------------
#
# .. list-table::
#    :header-rows: 1
#
#    * - You want
#      - Take
#    * - the cheapest learning step, on a CPU or a chip; no derivative of the spike
#      - ``voltage``
#    * - the best accuracy on shallow networks without a backward pass
#      - ``surrogate``
#    * - the best accuracy on deep networks without a backward pass
#      - ``voltage``: on CIFAR-10 pictures it is one to two points better than ``surrogate``
#    * - to learn at every time step of a stream
#      - ``voltage`` or ``surrogate`` with ``sp.Online``
#    * - an upper bound to compare with
#      - ``backpropagation``
#    * - a local rule that needs no context, only a fixed random readout
#      - ``local-readout``
#    * - networks without spikes
#      - ``forward-forward``, or ``voltage`` with ``neuron="rate"``
#    * - no gradient at all
#      - ``hebbian``
#
# The two rules on deep networks
# ------------------------------
# ``sp.conv``, ``sp.vgg`` and ``sp.vgg8`` contain what makes deep networks learn: centred traces.
# The loss with a similarity term and several blocks below are one argument each.

loss = sp.DotProductLoss(grid=4) + 10 * sp.Similarity()
network = sp.vgg((1, 8, 8), 10, layers=(8, 16, 16), sources=3, loss=loss)
optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
data = sp.load("digits", steps=4, batch_size=64)
for _ in range(2):
    for x, labels in data.train:
        network.learn(x, labels, optimizers.step)
for layer in sp.evaluate(network, data.test).layers:
    print(f"{layer.name}: {100 * layer.accuracy:.1f} %")

# %%
# :doc:`/depth` explains the three ingredients, and :doc:`/explanation/combinations` says which rule
# works with which neuron, network and update.
