"""The table of what combines with what says what a small network does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sigprop_snn as sp

PAGE = Path(__file__).parents[2] / "docs/explanation/combinations.md"
PICTURES, VECTORS = (1, 8, 8), (12,)


def mlp(rule: str, neuron: str | None = None, sources: int = 1) -> sp.Network:
    chosen = neuron or sp.RULES[rule].neuron or "lif"
    return sp.mlp(VECTORS, 3, hidden=(8, 8, 8), rule=rule, neuron=chosen, sources=sources)


def conv(rule: str) -> sp.Network:
    return sp.conv(
        PICTURES, 3, channels=(4, 4), kernel=3, rule=rule, neuron=sp.RULES[rule].neuron or "lif"
    )


def every_step(rule: str) -> sp.Network:
    network = mlp(rule)
    sp.learn_in_parts(network, torch.rand(2, 6, *VECTORS), torch.arange(6) % 3, None, 1)
    return network


COLUMNS: dict[str, Callable[[str], sp.Network]] = {
    "spiking neurons": lambda rule: mlp(rule, "lif"),
    "adaptive neurons": lambda rule: mlp(rule, "alif"),
    "recurrent neurons": lambda rule: mlp(rule, "recurrent-lif"),
    "rate neurons": lambda rule: mlp(rule, "rate"),
    "snnTorch neurons": lambda rule: mlp(rule, "snntorch-leaky"),
    "convolutions": conv,
    "several blocks below": lambda rule: mlp(rule, sources=3),
    "an update at every step": every_step,
}


def works(rule: str, column: str) -> bool:
    """Return whether a network learns a batch; a refusal is an error that names the reason."""
    torch.manual_seed(0)
    steps = sp.RULES[rule].recipe.get("steps", 2)
    try:
        network = COLUMNS[column](rule)
        shape = PICTURES if column == "convolutions" else VECTORS
        network.learn(torch.rand(steps, 6, *shape), torch.arange(6) % 3)
    except sp.SigpropError:
        return False
    return True


def table() -> tuple[list[str], dict[str, list[str]]]:
    """Return the columns and the rows of the page's first table."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = {cell[0].strip("`"): cell[1:] for cell in cells if re.fullmatch(r"`[a-z-]+`", cell[0])}
    return cells[0][1:], {name: row for name, row in rows.items() if name in sp.RULES}


def test_the_table_has_every_rule_and_every_column():
    columns, rows = table()
    assert columns == list(COLUMNS)
    assert list(rows) == list(sp.RULES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule", sp.RULES)
def test_a_rule_works_where_the_table_says_so(rule):
    found = {column: "yes" if works(rule, column) else "no" for column in COLUMNS}
    assert found == dict(zip(table()[0], table()[1][rule], strict=True))
