"""Draw the two pictures of docs/architecture.md: the folders, and the path of a batch."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

INK, PAPER, EDGE, LINE = "#1f2933", "#eef3f8", "#7b8ea3", "#8a94a0"
OUT = Path(__file__).parent / "architecture"

# Lowest row first: a folder may import those in the rows below it.
ROOMS = [
    [
        ("surrogates", "f(u), df(u), the spike"),
        ("processes", "calls, isolated files, ranks"),
    ],
    [("neurons", "models in time"), ("neurons/engines", "reference · cpu · triton")],
    [("losses", "compare two streams"), ("signals", "how the target enters")],
    [("layers", "block, one pass, gradient paths")],
    [("rules", "signal propagation, relatives, baselines")],
    [("network", "Network, mlp, conv, vgg8, Online")],
    [("data, encoding", "time-first batches"), ("optimizers", "one for each layer")],
    [("settings", "of runs and comparisons")],
    [
        ("monitors", "cost, norms, voltages, health"),
        ("analysis", "angles, alignment, probes"),
        ("deploy", "fold, NIR, ONNX, NeuroBench"),
    ],
    [("fixed_point", "integers, C")],
    [("training", "loop, evaluation, checkpoints, run folder")],
    [("parallel", "layers and data on several processes")],
    [
        ("plots, figures, report", "pictures, one page"),
        ("comparison", "rules compared"),
    ],
    [("command_line", "the command sigprop-snn")],
]

WAY = [
    ("network/network.py", "learn: checks the labels and the shape"),
    ("signals/base.py", "enter: samples and contexts"),
    ("rules/signal_propagation.py", "two_streams, compared, learn_by_stages"),
    ("layers/layer_pass.py", "the one loop over blocks"),
    ("rules/rectified.py", "respond: the loss and its gradient in one call"),
    ("layers/block.py", "run: the block's parts, its engine"),
    ("neurons/engines/", "layer: spikes in, spikes and voltages out"),
    ("layers/norm.py", "observe, scale"),
    ("neurons/filters.py", "mean presynaptic trace"),
    ("losses/dot_product.py", "the settings of the loss"),
    ("layers/linear_current.py", "gradients of weights and normaliser"),
    ("layers/parameters.py", "add_gradient: into .grad"),
    ("optimizers/local_optimizers.py", "step: block 2 is updated"),
]


def box(ax: Axes, x: float, y: float, width: float, height: float, name: str, note: str) -> None:
    """Draw a folder or a file: its name above its task."""
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", fc=PAPER, ec=EDGE, lw=1
    )
    ax.add_patch(shape)
    middle = x + width / 2
    ax.text(middle, y + 0.63 * height, name, ha="center", va="center", color=INK, weight="bold")
    ax.text(middle, y + 0.28 * height, note, ha="center", va="center", color=INK, fontsize=9)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": LINE, "lw": 1.3})


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure without a background, so that it suits light and dark pages."""
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, width)
    ax.set_ylim(0, height)
    ax.axis("off")
    return figure, ax


def rooms() -> Figure:
    """Draw the folders; each imports from the rows below it."""
    high, gap, width = 0.72, 0.24, 9.4
    figure, ax = canvas(10, len(ROOMS) * (high + gap) + gap)
    for row, members in enumerate(ROOMS):
        y = gap + row * (high + gap)
        each = (width - 0.2 * (len(members) - 1)) / len(members)
        for column, (name, note) in enumerate(members):
            box(ax, 0.3 + column * (each + 0.2), y, each, high, name, note)
        if row:
            arrow(ax, (5, y), (5, y - gap))
    return figure


def way() -> Figure:
    """Draw the files that a batch passes, in order: down the left side, then down the right."""
    high, gap, wide, half = 0.66, 0.24, 4.5, -(-len(WAY) // 2)
    figure, ax = canvas(10, half * (high + gap) + gap)
    for index, (name, note) in enumerate(WAY):
        column, row = divmod(index, half)
        x, y = 0.3 + 4.9 * column, gap + (half - 1 - row) * (high + gap)
        box(ax, x, y, wide, high, f"{index + 1}  {name}", note)
        if row:
            arrow(ax, (x + wide / 2, y + high + gap), (x + wide / 2, y + high))
    top, bottom = gap + (half - 0.5) * (high + gap) - gap / 2, gap + high / 2
    ax.plot([4.8, 5.0, 5.0], [bottom, bottom, top], color=LINE, lw=1.3)
    arrow(ax, (5.0, top), (5.2, top))
    return figure


def main() -> None:
    """Write both pictures."""
    OUT.mkdir(exist_ok=True)
    rooms().savefig(OUT / "rooms.png", dpi=110, transparent=True)
    way().savefig(OUT / "batch.png", dpi=110, transparent=True)


if __name__ == "__main__":
    main()
