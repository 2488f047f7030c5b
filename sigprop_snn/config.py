"""The settings of a training run."""

# The command line reads its flags off this file, and its help must come at once: torch and the
# catalogues, which take seconds, are imported where they are used.

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.recipe import Predict

if TYPE_CHECKING:
    import torch

_RECIPE = "(default: the data set's)"
_Name = Annotated[str, tyro.conf.arg(metavar="NAME")]
_Own = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
_Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_RECIPE)]
_All = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]

NOT_OF_THE_RESULT = ("out", "data_root", "device", "tensorboard", "save_every")
"""Settings that say where and how a run is computed, not what comes out of it."""


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
        learning_rate: at the start of the schedule.
        optimizer: which optimizer of torch, one for each layer.
        schedule: how the learning rate moves from the first batch to the last.
        weight_decay: of the optimizer; its own default if not given.
        layer_rates: factors on the learning rate of single layers, as in: block1 0.5 readout 2.
        seed: of the weights, the order and the draws.
        neuron: which neuron model; the rule's own, or lif, if not given.
        surrogate: which surrogate function the neurons carry; the model's own if not given.
        signal: how the target enters the front; the rule's own if not given.
        loss: how the two streams are compared; the rule's own if not given.
        update: when a layer updates: after each sample, at every-step, or at every-K steps.
        precision: of the matrix products; membrane voltages are float32 either way.
        encoding: how a picture enters: direct current, or spikes by rate, latency or delta.
        predict: by the trained readout, the nearest context at the last block, or a vote of all.
        augment: shift the training samples by a few pixels, and mirror colour pictures.
        train_samples: how many training samples to use; all if not given.
        test_samples: how many test samples to use; all if not given.
        validation: fraction of the training samples to set apart and choose the best epoch by.
        patience: stop after so many epochs without a better one on the validation samples.
        data_root: the folder that holds the data sets, or where they are downloaded to.
        out: the run folder; a new one under `runs` if not given.
        device: where to compute; "auto" takes a GPU if there is one.
        tensorboard: write the records for TensorBoard as well, into the run folder.
        save_every: seconds between checkpoints within an epoch; its end always writes one.
    """

    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")]
    rule: _Name = "voltage"
    network: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint=_RECIPE)] = None
    epochs: _Count = None
    steps: _Count = None
    batch_size: _Count = None
    learning_rate: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=_RECIPE)
    ] = None
    optimizer: _Name = "adam"
    schedule: _Name = "linear"
    weight_decay: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = (
        None
    )
    layer_rates: Annotated[
        dict[str, float], tyro.conf.arg(metavar="LAYER FACTOR ...", help_behavior_hint="")
    ] = field(default_factory=dict)
    seed: int = 0
    neuron: _Own = None
    surrogate: _Own = None
    signal: _Own = None
    loss: _Own = None
    update: Annotated[str, tyro.conf.arg(metavar="{sample,every-step,every-K}")] = "sample"
    precision: Literal["float32", "bf16"] = "float32"
    encoding: _Name = "direct"
    predict: Annotated[
        Predict | None,
        tyro.conf.arg(metavar="{readout,context,vote}", help_behavior_hint=_RECIPE),
    ] = None
    augment: Annotated[
        bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint=_RECIPE)
    ] = None
    train_samples: _All = None
    test_samples: _All = None
    validation: Annotated[float, tyro.conf.arg(metavar="FRACTION")] = 0.0
    patience: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    data_root: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("data")
    out: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tensorboard: bool = False
    save_every: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 300.0

    def resolved(self) -> TrainConfig:
        """Return the run with every open choice filled in from the data set's recipe.

        Raises:
            SigpropError: if a name is unknown or a number can't be used.
        """
        from sigprop_snn.data import DATASETS
        from sigprop_snn.rules import RULES

        if self.dataset not in DATASETS:
            raise UnknownNameError("data set", self.dataset, DATASETS)
        if self.rule not in RULES:
            raise UnknownNameError("rule", self.rule, RULES)
        recipe, rule = DATASETS[self.dataset].recipe, RULES[self.rule]
        gaps = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
        gaps |= {"signal": rule.signal, "loss": rule.loss, "neuron": rule.neuron or "lif"}
        gaps["predict"] = rule.predict or recipe.predict
        # A static picture gives a rate neuron the same activity at every step: one is enough.
        if (self.neuron or rule.neuron) == "rate" and not DATASETS[self.dataset].events:
            gaps["steps"] = 1
        gaps |= rule.recipe
        whole = replace(self, **{k: v for k, v in gaps.items() if getattr(self, k) is None})
        whole._check()
        return whole

    def as_json(self) -> dict[str, Any]:
        """Return the choices as plain values, ready for a file; the run folder is not one."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "out"}
        return {k: str(v) if isinstance(v, Path) else v for k, v in plain.items()}

    def torch_device(self) -> torch.device:
        """Return the device to compute on.

        Raises:
            SigpropError: if a GPU is asked for and there is none.
        """
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise SigpropError("device is 'cuda' but torch finds no GPU; expected 'cpu' or 'auto'")
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    @property
    def update_every(self) -> int | None:
        """How many steps pass between two updates; None for one update a sample.

        Raises:
            SigpropError: if the choice can't be read.
        """
        if self.update == "sample":
            return None
        steps = {"every-step": "1"}.get(self.update, self.update.removeprefix("every-"))
        if not self.update.startswith("every-") or not steps.isdecimal() or int(steps) < 1:
            raise SigpropError(
                f"update is {self.update!r}; expected 'sample', 'every-step' or, for an update "
                "each four steps, 'every-4'"
            )
        return int(steps)

    @property
    def chooses_epoch(self) -> bool:
        """Whether the best epoch on validation samples is chosen, rather than the last."""
        return self.validation > 0 or self.patience is not None

    def _check(self) -> None:
        self._check_names()
        self._check_numbers()
        _ = self.update_every
        self.torch_device()

    def _check_names(self) -> None:
        from sigprop_snn.network import LOSSES, NETWORKS, SIGNALS
        from sigprop_snn.neurons import NEURONS
        from sigprop_snn.surrogates import SURROGATES
        from sigprop_snn.training.optimizers import OPTIMIZERS
        from sigprop_snn.training.schedule import SCHEDULES

        catalogues: dict[str, Iterable[str]] = {
            "network": NETWORKS,
            "neuron": NEURONS,
            "surrogate": SURROGATES,
            "signal": SIGNALS,
            "loss": LOSSES,
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
        }
        for kind, known in catalogues.items():
            if getattr(self, kind) not in {None, *known}:
                raise UnknownNameError(kind, getattr(self, kind), known)

    def _check_numbers(self) -> None:
        from sigprop_snn.data.preparation import check_arguments

        assert self.steps is not None and self.batch_size is not None  # `resolved` fills them
        check_arguments(
            self.dataset,
            steps=self.steps,
            encoding=self.encoding,
            batch_size=self.batch_size,
            validation=self.validation,
            seed=self.seed,
        )
        for name in ("epochs", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SigpropError(f"{name} is {value}; expected 1 or more")
        rate = self.learning_rate
        assert rate is not None  # resolved from the recipe
        if not (rate > 0 and math.isfinite(rate)):
            raise SigpropError(f"learning_rate is {rate}; expected a positive number")
        several = {f"layer_rates of {name!r}": value for name, value in self.layer_rates.items()}
        for name, value in {
            "save_every": self.save_every,
            "weight_decay": self.weight_decay or 0.0,
            **several,
        }.items():
            if not (value >= 0 and math.isfinite(value)):
                raise SigpropError(f"{name} is {value}; expected 0 or more")
