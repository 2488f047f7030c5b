"""The reference has every public name, and an example for each name of the front door."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import sigprop_snn as sp

PAGES = Path(__file__).parents[2] / "docs/reference"
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in sorted(PAGES.glob("*.md")))
DOCUMENTED = set(re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)$", TEXT, re.M))
EXAMPLES = dict(re.findall(r"^## `(\w+)`\n\n```pycon\n(.*?)^```", TEXT, re.M | re.S))
PACKAGES = (
    "analysis", "comparison", "data", "deploy", "fixed_point", "monitors", "network", "neurons",
    "parallel", "plots", "report", "rules", "surrogates", "training",
)  # fmt: skip


@pytest.mark.parametrize("name", sp.__all__)
def test_a_name_of_the_front_door_has_an_example_that_uses_it(name):
    assert f"sigprop_snn.{name}" in DOCUMENTED
    assert re.search(rf"\bsp\.{name}\b", EXAMPLES[name])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_is_documented(package):
    public = importlib.import_module(f"sigprop_snn.{package}").__all__
    documented = {path.rsplit(".", 1)[-1] for path in DOCUMENTED}
    assert [name for name in public if name not in documented] == []
