"""How to add a data set: a function that opens it, and one entry in `DATASETS`.

In the package, the function goes into a file of its own in `sigprop_snn/data/` and the entry into
`sigprop_snn/data/catalogue.py`. In a program of your own, add the entry before you call `load` or
`train`, as here.
"""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.data import DATASETS, Dataset, Request, Source, Split, load
from sigprop_snn.recipe import DEFAULT_RECIPE, Recipe
from sigprop_snn.training import TrainConfig, train


def open_stripes(request: Request) -> Source:
    """Return pictures of 6x6 with one bright row or one bright column."""

    def draw(count: int) -> Split:
        x = torch.zeros(count, 1, 6, 6, dtype=torch.uint8)
        for sample in range(count):
            line = sample // 2 % 6
            x[(sample, 0, line) if sample % 2 == 0 else (sample, 0, slice(None), line)] = 255
        return Split.of(x, torch.arange(count) % 2)

    return Source("stripes", draw(48), draw(12), ("row", "column"))


STRIPES = Dataset(
    "drawn stripes: one row or one column of 6x6",
    open_stripes,
    recipe=Recipe("mlp", epochs=2, steps=3, batch_size=8),
)


@pytest.fixture
def stripes(monkeypatch):
    monkeypatch.setitem(DATASETS, "stripes", STRIPES)


def test_an_added_data_set_is_loaded_by_name(stripes):
    data = load("stripes", steps=3, batch_size=4)
    x, y = next(iter(data.test))
    assert x.shape == (3, 4, 1, 6, 6)
    assert y.tolist() == [0, 1, 0, 1]


def test_an_added_data_set_is_trained_with_its_recipe(stripes, tmp_path):
    trained = train(TrainConfig("stripes", out=tmp_path / "run"), say=lambda _: None)
    assert (trained.config.network, trained.config.epochs, trained.config.steps) == ("mlp", 2, 3)
    assert trained.data.classes == ("row", "column")


def test_a_data_set_without_a_recipe_is_trained_with_the_default(monkeypatch):
    monkeypatch.setitem(DATASETS, "plain", Dataset("stripes without a recipe", open_stripes))
    config = TrainConfig("plain").resolved()
    assert (config.network, config.batch_size) == (
        DEFAULT_RECIPE.network,
        DEFAULT_RECIPE.batch_size,
    )
