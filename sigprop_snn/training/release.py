"""Trained networks as single files: weights, recipe and log, with a known hash."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigprop_snn.arguments import axes, instance, one_of
from sigprop_snn.arguments import path as as_path
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically
from sigprop_snn.network import Network
from sigprop_snn.settings.config_file import config_of, settings_of
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training.building import build_network
from sigprop_snn.training.checkpoint import check_content, load_checkpoint, write_checkpoint
from sigprop_snn.training.result import Trained

FORMAT = 1
"""Version of the content of a release file."""

FOLDER = "SIGPROP_PRETRAINED"
"""Environment variable with the folder of the release files."""

_CONTENT: dict[str, type] = {
    "release": int,
    "name": str,
    "config": dict,
    "shape": tuple,
    "classes": tuple,
    "history": list,
    "summary": dict,
    "network": dict,
}


@dataclass(frozen=True)
class Release:
    """A released network.

    Attributes:
        about: a description of one line.
        sha256: the SHA-256 of its file, in hexadecimal.
    """

    about: str
    sha256: str


PRETRAINED: dict[str, Release] = {
    "digits": Release(
        "three blocks of convolutions, voltage rule, 98.33 % on the embedded digits",
        "9c2e650e4564aff80dbc0d8ef28eda6f01feff3f75dc6b46b2b76e0ad70a4c8a",
    ),
    "mnist": Release(
        "three blocks of convolutions, voltage rule, 99.39 % on MNIST",
        "ee89afe40e7d84c41a4b4fe0a6835b2381f43eb1b45853009a81d2caa3d6988b",
    ),
    "nmnist": Release(
        "three blocks of convolutions, voltage rule, 94.00 % on 100 recordings of N-MNIST",
        "19251d7d0926a06cd302d41d33066b67f021f0c8ce130b76a8d48c36183fd3ca",
    ),
}
"""The released networks by name; `benchmarks/pretrained.py` trains them."""


@dataclass(frozen=True)
class Pretrained:
    """A trained network with its recipe and log.

    Attributes:
        name: its name.
        network: the network, in evaluation mode.
        config: the configuration of its training, resolved.
        shape: shape of one step of one sample.
        classes: the names of the classes.
        history: the records of the epochs, as in `metrics.jsonl`.
        summary: as in `summary.json`.
    """

    name: str
    network: Network
    config: TrainConfig
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    history: list[dict[str, Any]]
    summary: dict[str, Any]


def pretrained(name: str, *, folder: str | os.PathLike[str] | None = None) -> Pretrained:
    """Return a released network.

    The file is `<folder>/<name>.pt`, as a release has it. It is read as data: code in it never
    runs. Nothing is downloaded.

    Args:
        name: a name in `PRETRAINED`.
        folder: the folder of the files; the one that the environment variable SIGPROP_PRETRAINED
            names, or `pretrained` in the current folder, if not given.

    Raises:
        SigpropError: if the name is unknown, or the file is missing, has another SHA-256, or does
            not hold a released network.
    """
    one_of("pretrained network", name, PRETRAINED)
    home = as_path("folder", os.environ.get(FOLDER, "pretrained") if folder is None else folder)
    path = home / f"{name}.pt"
    if not path.is_file():
        raise SigpropError(
            f"no file {str(path)!r}; expected the release file {name}.pt. Put it there, or set "
            f"folder= or {FOLDER}; the sources of this package have it in pretrained/"
        )
    found, expected = _sha256(path), PRETRAINED[name].sha256
    if found != expected:
        raise SigpropError(f"{str(path)!r} has the SHA-256 {found}; expected {expected}")
    return load_release(path)


def load_release(path: str | os.PathLike[str]) -> Pretrained:
    """Return the network of a release file that `write_release` wrote. No hash has to be known.

    Raises:
        SigpropError: if the file is missing, damaged, or does not hold a released network.
    """
    path = as_path("path", path)
    place = f"release file {str(path)!r}"
    content = load_checkpoint(path)
    check_content(content, _CONTENT, place)
    if content["release"] != FORMAT:
        raise SigpropError(f"{place} has format {content['release']}; expected format {FORMAT}")
    config = config_of(settings_of(content["config"], place), place).resolved()
    shape, classes = axes("shape", content["shape"]), tuple(map(str, content["classes"]))
    network = build_network(config, shape, len(classes))
    try:
        network.load_state_dict(content["network"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())  # torch's messages have several lines
        raise SigpropError(
            f"{place} does not fit ({reason}); expected the weights of the network that its "
            "config describes"
        ) from error
    return Pretrained(
        content["name"], network.eval(), config, shape, classes, content["history"],
        content["summary"],
    )  # fmt: skip


def write_release(trained: Trained, path: str | os.PathLike[str]) -> str:
    """Write the network, recipe and log of a run to one file; return the SHA-256 of the file.

    The name of the network is the name of the file. Paths of this machine are left out.

    Args:
        trained: a finished run.
        path: the file, such as `digits.pt`.

    Raises:
        SigpropError: if the run is not finished, or the file can't be written.
    """
    instance("trained", trained, Trained, "a Trained, as `train` returns it")
    path = as_path("path", path)
    if not trained.summary:
        raise SigpropError(
            f"trained is the unfinished run {str(trained.folder.path)!r}; expected a finished one"
        )
    local = ("data_root", "device", "init_from")
    config = {k: v for k, v in trained.config.as_json().items() if k not in local}
    content = {
        "release": FORMAT,
        "name": path.stem,
        "config": config,
        "shape": tuple(trained.data.shape),
        "classes": tuple(trained.data.classes),
        "history": trained.history,
        "summary": trained.summary,
        "network": {k: v.cpu() for k, v in trained.network.state_dict().items()},
    }
    write_atomically(path, lambda target: write_checkpoint(target, content), make_folders=True)
    return _sha256(path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
