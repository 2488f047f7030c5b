"""Draw docs/explanation/forward_pass.svg: the two streams, and what each block does with them.

python docs/explanation/forward_pass.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

INK, PAPER, EDGE = "#1f2933", "#eef3f8", "#7b8ea3"
SAMPLES, CONTEXTS = "#0072b2", "#d55e00"
OUT = Path(__file__).with_name("forward_pass.svg")

WIDTH, HEIGHT = 9.5, 4.9
UPPER, LOWER = 2.45, 1.15  # the height of the two streams
BLOCKS = [2.45, 5.0]  # the left sides of the blocks
WIDE = 1.75


def box(ax: Axes, x: float, y: float, width: float, height: float, *, fill: str = PAPER) -> None:
    """Draw a rounded box."""
    ax.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.1", fc=fill, ec=EDGE
        )
    )


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """Draw an arrow."""
    ax.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2.0, "shrinkB": 0}
    )


def say(ax: Axes, x: float, y: float, text: str, colour: str = INK, **how: object) -> None:
    """Write centred text."""
    ax.text(x, y, text, ha="center", va="center", color=colour, **{"fontsize": 11, **how})


def main() -> None:
    """Write the drawing."""
    mpl.rcParams["svg.hashsalt"] = "forward pass"
    figure = Figure(figsize=(WIDTH, HEIGHT))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, WIDTH)
    ax.set_ylim(0, HEIGHT)
    ax.axis("off")

    box(ax, 0.15, UPPER - 0.45, 1.5, 0.9)
    say(ax, 0.9, UPPER + 0.14, "B samples", SAMPLES, weight="bold")
    say(ax, 0.9, UPPER - 0.18, "spikes, T steps", fontsize=9.5)
    box(ax, 0.15, LOWER - 0.45, 1.5, 0.9)
    say(ax, 0.9, LOWER + 0.14, "C contexts", CONTEXTS, weight="bold")
    say(ax, 0.9, LOWER - 0.18, "one for each class", fontsize=9.5)

    for number, x in enumerate(BLOCKS, start=1):
        middle = x + WIDE / 2
        box(ax, x, LOWER - 0.55, WIDE, UPPER - LOWER + 1.1)
        say(ax, middle, (UPPER + LOWER) / 2 + 0.22, f"block {number}", weight="bold", fontsize=12)
        shared = ("both streams pass", "the same neurons") if number == 1 else (
            f"the same weights $W_{number}$", "for both streams"
        )  # fmt: skip
        say(ax, middle, (UPPER + LOWER) / 2 - 0.1, shared[0], fontsize=9.5)
        say(ax, middle, (UPPER + LOWER) / 2 - 0.36, shared[1], fontsize=9.5)
        for y, colour, name in ((UPPER, SAMPLES, "h"), (LOWER, CONTEXTS, "t")):
            start = 1.65 if number == 1 else BLOCKS[number - 2] + WIDE
            arrow(ax, (start, y), (x, y), colour)
            say(ax, middle, y + (0.2 if y == UPPER else -0.2), f"${name}_{number}$", colour)
        box(ax, x, 3.85, WIDE, 0.9, fill="#ffffff")
        say(ax, middle, 4.46, "local loss", weight="bold")
        say(ax, middle, 4.12, f"compares $h_{number}$ with $t_{number}$", fontsize=9.5)
        arrow(ax, (middle - 0.35, UPPER + 0.55), (middle - 0.35, 3.85), INK)
        arrow(ax, (middle + 0.35, 3.85), (middle + 0.35, UPPER + 0.55), INK)
        say(ax, middle - 0.82, 3.62, "voltages", fontsize=9)
        learned = "update $W_1, S_1$" if number == 1 else f"update $W_{number}$"
        say(ax, middle + 0.98, 3.22, learned, fontsize=9)
    say(ax, 2.05, UPPER + 0.18, "$W_1$", SAMPLES)
    say(ax, 2.05, LOWER + 0.18, "$S_1$", CONTEXTS)

    right = BLOCKS[-1] + WIDE
    box(ax, 7.75, UPPER - 0.45, 1.6, 0.9)
    say(ax, 8.55, UPPER + 0.14, "readout", weight="bold")
    say(ax, 8.55, UPPER - 0.18, "scores of the classes", fontsize=9)
    arrow(ax, (right, UPPER), (7.75, UPPER), SAMPLES)
    say(
        ax, WIDTH / 2, 0.22, "Only spikes pass from block to block. No gradient does: "
        "not across blocks, not back through time.", fontsize=10.5,
    )  # fmt: skip
    figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
