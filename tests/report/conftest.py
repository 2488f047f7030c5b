"""Runs and their reports, made once for all tests of the room."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sigprop_snn.report import write_report
from sigprop_snn.training import TrainConfig, train

SMALL = {"epochs": 2, "steps": 4, "train_samples": 100, "test_samples": 30}


def quiet(_: str) -> None:
    """Takes the lines of a run and prints nothing."""


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(TrainConfig("digits", out=out, **SMALL), say=quiet)


@pytest.fixture(scope="session")
def report(run):
    return write_report(run.folder.path)


@pytest.fixture(scope="session")
def hostile_name():
    return "<img src=x onerror=alert(1)> $\\frac$ \"quote' &amp;"


@pytest.fixture(scope="session")
def hostile(tmp_path_factory, hostile_name):
    """The report of a run with markup in the names of a class and a file."""
    root = tmp_path_factory.mktemp("hostile")
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in (hostile_name, "plain"):
            folder = root / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = noise.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    config = TrainConfig(
        "imagefolder", data_root=root / "pictures", out=root / "run", network="mlp", epochs=1,
        steps=3,
    )  # fmt: skip
    train(config, say=quiet)
    (root / "run" / "<script>alert(2)<.txt").write_text("")
    return write_report(root / "run")


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(markup)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "source"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def read_page():
    """Returns a function that parses the page in a file."""
    return lambda path: Page(path.read_text(encoding="utf-8"))
