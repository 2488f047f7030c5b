"""The choices that make a training run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from sigprop_snn.data import DATASETS
from sigprop_snn.encoding import ENCODINGS
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network import LOSSES, NETWORKS, SIGNALS, Predict
from sigprop_snn.neurons import NEURONS
from sigprop_snn.rules import RULES
from sigprop_snn.surrogates import SURROGATES


@dataclass(frozen=True)
class Recipe:
    """What a data set is trained with where a run says nothing else.

    Attributes:
        network: a name in `sigprop_snn.network.NETWORKS`.
        epochs: passes over the training samples.
        steps: T.
        batch_size: samples in a batch.
        learning_rate: of Adam at the start; it falls linearly towards zero.
        augment: whether training samples are shifted by a few pixels, and colours mirrored.
        predict: what the network's own scores come from; see `Network`.
    """

    network: str
    epochs: int
    steps: int
    batch_size: int
    learning_rate: float = 2e-3
    augment: bool = False
    predict: Predict = "readout"


# Tuned on validation samples set apart from the training samples, never on the test samples.
RECIPES: dict[str, Recipe] = {
    "digits": Recipe("mlp", epochs=20, steps=8, batch_size=32),
    "digit-events": Recipe("mlp", epochs=12, steps=12, batch_size=32),
    "mnist": Recipe("mlp", epochs=5, steps=8, batch_size=128),
    "fashion-mnist": Recipe("conv", epochs=10, steps=8, batch_size=32),
    "kmnist": Recipe("conv", epochs=10, steps=8, batch_size=32),
    "cifar10": Recipe("conv", epochs=10, steps=8, batch_size=32, augment=True),
    "cifar100": Recipe("conv", epochs=10, steps=8, batch_size=32, augment=True),
    "svhn": Recipe("conv", epochs=10, steps=8, batch_size=32, augment=True),
    "imagefolder": Recipe("conv", epochs=10, steps=8, batch_size=32, augment=True),
    "nmnist": Recipe("conv", epochs=30, steps=10, batch_size=32, augment=True, predict="vote"),
    # Not tuned: these can't be had where the others were.
    "poker-dvs": Recipe("conv", epochs=20, steps=10, batch_size=8, predict="vote"),
    "dvs-gesture": Recipe("conv", epochs=30, steps=16, batch_size=8, predict="vote"),
    "cifar10-dvs": Recipe("conv", epochs=30, steps=10, batch_size=16, augment=True, predict="vote"),
    "shd": Recipe("mlp", epochs=20, steps=50, batch_size=64),
    "ssc": Recipe("mlp", epochs=20, steps=50, batch_size=64),
    "eventfolder": Recipe("conv", epochs=20, steps=10, batch_size=16, predict="vote"),
}


@dataclass(frozen=True)
class TrainConfig:
    """One training run. What is None is taken from the data set's recipe by `resolved`.

    Attributes:
        dataset: which data set to learn (`sigprop-snn list` names them).
        rule: how the network learns.
        network: which network.
        epochs: passes over the training samples.
        steps: time steps T of each sample.
        batch_size: samples in a batch.
        learning_rate: of Adam at the start; it falls linearly towards zero.
        seed: of the weights, the order and the draws.
        neuron: which neuron model; the rule's own, or lif, if not given.
        surrogate: which surrogate function the neurons carry; the model's own if not given.
        signal: how the target enters the front; the rule's own if not given.
        loss: how the two streams are compared; the rule's own if not given.
        encoding: how a picture enters: as direct current or as rate-coded spikes.
        predict: by the trained readout, the nearest context at the last block, or a vote of all.
        augment: shift the training samples by a few pixels, and mirror colour pictures.
        train_samples: how many training samples to use; all if not given.
        test_samples: how many test samples to use; all if not given.
        data_root: the folder that holds the data sets, or where they are downloaded to.
        out: the run folder; a new one under `runs` if not given.
        device: where to compute; "auto" takes a GPU if there is one.
    """

    dataset: str
    rule: str = "voltage"
    network: str | None = None
    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    neuron: str | None = None
    surrogate: str | None = None
    signal: str | None = None
    loss: str | None = None
    encoding: str = "direct"
    predict: Predict | None = None
    augment: bool | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    data_root: Path = Path("data")
    out: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def resolved(self) -> TrainConfig:
        """Return the run with every open choice filled in from the data set's recipe.

        Raises:
            SigpropError: if a name is unknown or a number can't be used.
        """
        if self.dataset not in DATASETS:
            raise UnknownNameError("data set", self.dataset, DATASETS)
        if self.rule not in RULES:
            raise UnknownNameError("rule", self.rule, RULES)
        recipe, rule = RECIPES[self.dataset], RULES[self.rule]
        gaps = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
        gaps |= {"signal": rule.signal, "loss": rule.loss, "neuron": rule.neuron or "lif"}
        gaps["predict"] = rule.predict or recipe.predict
        gaps |= rule.recipe
        whole = replace(self, **{k: v for k, v in gaps.items() if getattr(self, k) is None})
        whole._check()
        return whole

    def as_json(self) -> dict[str, Any]:
        """Return the choices as plain values, ready for a file."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: str(v) if isinstance(v, Path) else v for k, v in plain.items()}

    def torch_device(self) -> torch.device:
        """Return the device to compute on.

        Raises:
            SigpropError: if a GPU is asked for and there is none.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise SigpropError("device is 'cuda' but torch finds no GPU; expected 'cpu' or 'auto'")
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def _check(self) -> None:
        catalogues: dict[str, Iterable[str]] = {
            "network": NETWORKS,
            "neuron": NEURONS,
            "surrogate": SURROGATES,
            "signal": SIGNALS,
            "loss": LOSSES,
            "encoding": ENCODINGS,
        }
        for kind, known in catalogues.items():
            if getattr(self, kind) not in {None, *known}:
                raise UnknownNameError(kind, getattr(self, kind), known)
        for name in ("epochs", "steps", "batch_size"):
            value = getattr(self, name)
            if value < 1:
                raise SigpropError(f"{name} is {value}; expected 1 or more")
        rate = self.learning_rate
        assert rate is not None  # resolved from the recipe
        if not (rate > 0 and math.isfinite(rate)):
            raise SigpropError(f"learning_rate is {rate}; expected a positive number")
        if not 0 <= self.seed < 2**63:
            raise SigpropError(f"seed is {self.seed}; expected 0 or more")
        self.torch_device()
