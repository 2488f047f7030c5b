"""Versions agree: of the citation, of the changelog, and the oldest allowed of each dependency."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = configparser.ConfigParser(interpolation=None)
SETTINGS.read(ROOT / "setup.cfg", encoding="utf-8")
VERSION = SETTINGS["metadata"]["version"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_has_the_version_of_setup_cfg():
    assert re.search(r"^version: (.+)$", text("CITATION.cff"), re.M)[1] == VERSION


def test_the_newest_entry_of_the_changelog_is_this_version():
    assert re.search(r"^## \[([^\]]+)\]", text("CHANGELOG.md"), re.M)[1] == VERSION


def test_the_oldest_versions_are_the_lower_bounds():
    required = [line for line in SETTINGS["options"]["install_requires"].split("\n") if line]
    bounds = dict(re.split(r"\s*>=\s*", line) for line in required)
    pinned = dict(re.findall(r"^([\w-]+) == ([\d.]+)$", text("constraints/oldest.txt"), re.M))
    assert {name: parts(version) for name, version in pinned.items()} == {
        name: parts(version) for name, version in bounds.items()
    }


def parts(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without zeros at the end: 1.6.0 is 1.6."""
    return tuple(int(part) for part in re.sub(r"(\.0)+$", "", version).split("."))


SCRIPTS = re.findall(r"(?<![\w/])\.ci/\w+", text(".github/workflows/checks.yml"))


@pytest.mark.parametrize("script", sorted(set(SCRIPTS)))
def test_a_script_of_the_workflow_can_be_run(script):
    assert os.access(ROOT / script, os.X_OK)


def test_the_workflow_is_yaml():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    for path in (ROOT / ".github").rglob("*.yml"):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path
