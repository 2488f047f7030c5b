"""The wheel and the source archive hold the package, and nothing else.

.ci/release dist
"""

from __future__ import annotations

import configparser
import os
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
DIST = Path(os.environ.get("SIGPROP_DIST", "-")).resolve()

needs_dist = pytest.mark.skipif(not DIST.is_dir(), reason="SIGPROP_DIST names no release")

SETTINGS = configparser.ConfigParser(interpolation=None)
SETTINGS.read(ROOT / "setup.cfg", encoding="utf-8")
PACKAGES = SETTINGS["options"]["packages"].split()
_LINES = [line for line in SETTINGS["options"]["package_dir"].split("\n") if line]
FOLDERS = dict(line.replace(" ", "").split("=") for line in _LINES)
DATA = SETTINGS["options.package_data"]
VERSION = SETTINGS["metadata"]["version"]


def folder_of(package: str) -> Path:
    """Return the folder of the repository that holds a package."""
    if package in FOLDERS:
        return ROOT / FOLDERS[package]
    parent, _, name = package.rpartition(".")
    return folder_of(parent) / name


def expected() -> set[str]:
    """Return the files of the package as the wheel names them."""
    found = set()
    for package in PACKAGES:
        folder, patterns = folder_of(package), DATA.get(package, "").replace(" ", "").split(",")
        for path in (
            path for each in ["*.py", *filter(None, patterns)] for path in folder.glob(each)
        ):
            found.add(f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}")
    return found


@pytest.fixture(scope="module")
def wheel():
    (path,) = DIST.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode("utf-8"))


@needs_dist
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == expected()


@needs_dist
def test_the_wheel_has_types_and_the_licence(wheel):
    names = wheel.namelist()
    assert {"sigprop_snn/py.typed", "sigprop_snn/__init__.pyi"} <= set(names)
    (licence,) = [name for name in names if PurePosixPath(name).name == "LICENSE"]
    assert wheel.read(licence).decode("utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")


@needs_dist
def test_the_wheel_is_small(wheel):
    assert sum(part.compress_size for part in wheel.infolist()) < 2_000_000


@needs_dist
def test_the_metadata_say_what_setup_cfg_says(metadata):
    assert metadata["Version"] == VERSION
    assert metadata["Requires-Python"] == SETTINGS["options"]["python_requires"].replace(" ", "")
    assert "MIT" in (metadata["License"], metadata["License-Expression"])
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert set(metadata.get_all("Provides-Extra")) == set(SETTINGS["options.extras_require"])


@needs_dist
def test_the_source_archive_holds_what_a_build_needs():
    (path,) = DIST.glob("*.tar.gz")
    with tarfile.open(path) as opened:
        first, *names = opened.getnames()
    names = {PurePosixPath(name).relative_to(first).as_posix() for name in names}
    sources = {(folder_of(package) / "__init__.py").relative_to(ROOT) for package in PACKAGES}
    assert {path.as_posix() for path in sources} <= names
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.cfg", "sigprop_snn/py.typed"} <= names
    outside = {name.split("/")[0] for name in names if "/" in name}
    assert outside <= {"sigprop_snn", "neurons", "surrogates", "sigprop_snn.egg-info"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_of_setup_cfg_is_a_folder_with_code(package):
    assert (folder_of(package) / "__init__.py").is_file()


def test_no_folder_with_code_is_missing_in_setup_cfg():
    known = {folder_of(package) for package in PACKAGES}
    rooms = [ROOT / "sigprop_snn", ROOT / "neurons", ROOT / "surrogates"]
    folders = {init.parent for room in rooms for init in room.rglob("__init__.py")}
    assert folders == known
