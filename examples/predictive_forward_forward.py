"""Learn to recognise and to draw digits with Predictive Forward-Forward.

The figure has one column for each class. It shows real digits, their reconstructions by the
generative circuit, and digits that the circuit generates from sampled latent states.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from sigprop_snn import plots
from sigprop_snn.data import Data, load
from sigprop_snn.network import Goodness, Network, mlp
from sigprop_snn.neurons import Rate
from sigprop_snn.rules import LatentPrior, PredictiveForwardForward
from sigprop_snn.training import LocalOptimizers, evaluate


def main() -> None:
    """Train, print the test accuracy after each epoch, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=300, help="neurons of each layer")
    parser.add_argument("--train-samples", type=int)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("drawn.png"))
    parser.add_argument("--quick", action="store_true", help="a smaller network, 5 epochs")
    args = parser.parse_args()
    hidden, epochs = (100, 5) if args.quick else (args.hidden, args.epochs)

    torch.manual_seed(0)
    data = load(
        args.dataset,
        root=args.data_root,
        steps=1,
        batch_size=32 if args.dataset == "digits" else 128,
        train_samples=args.train_samples,
    )
    network = mlp(
        data.shape,
        len(data.classes),
        hidden=(hidden, hidden),
        neuron=Rate,
        norm="length",
        gain=1.0,
        rule=PredictiveForwardForward,
        loss=Goodness(),
        predict="vote",
    )
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    for epoch in range(1, epochs + 1):
        for x, labels in data.train:
            network.learn(x, labels, optimizers.step)
        print(f"epoch {epoch}: test accuracy {evaluate(network, data.test).accuracy:.3f}")
    print(plots.save(pictures(network, data), args.out))


def pictures(network: Network, data: Data) -> Figure:
    """Return a figure of real digits, their reconstructions, and generated digits."""
    rule = network.rule
    assert isinstance(rule, PredictiveForwardForward)
    pairs = [(rule.latents(network, x, labels), labels) for x, labels in data.train]
    latents, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    prior = LatentPrior.fit(latents, labels)

    x, answers = next(iter(data.test))
    first = torch.stack([(answers == label).nonzero()[0, 0] for label in range(len(data.classes))])
    real = x[:, first]
    made = rule.generator.sample(rule.latents(network, real, answers[first]))
    wanted = torch.arange(len(data.classes)).repeat(4)
    drawn = rule.generator.sample(prior.sample(wanted))

    figure = Figure(figsize=(8, 6.2))
    rows = {"real": real[0], "reconstructed": made, "generated": drawn}
    heights = [1, 1, 4]
    panels = figure.subplots(3, 1, gridspec_kw={"height_ratios": heights})
    for ax, (title, row), height in zip(panels, rows.items(), heights, strict=True):
        picture = sheet(row.view(-1, *data.shape[1:]), height)
        ax.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, loc="left")
        ax.axis("off")
    return figure


def sheet(samples: Tensor, rows: int) -> Tensor:
    """Return pictures `[rows * columns, H, W]` as one sheet, with dark lines between them."""
    samples = F.pad(samples, (0, 1, 0, 1))
    height, width = samples.shape[1:]
    grid = samples.view(rows, -1, height, width).transpose(1, 2)
    return grid.reshape(rows * height, -1)


if __name__ == "__main__":
    main()
