"""The settings of a training run."""

# The command line reads its flags from this file, and its help must appear at once. Torch and the
# catalogues take seconds to import, so the functions that use them import them.

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import tyro

from sigprop_snn.arguments import (
    instance,
    names_of,
    not_negative,
    number,
    one_of,
    path,
    positive,
    truth,
    whole,
)
from sigprop_snn.errors import SigpropError
from sigprop_snn.predict import Predict
from sigprop_snn.recipe import DEFAULT_RECIPE, Recipe

if TYPE_CHECKING:
    import torch

    from sigprop_snn.data import Frames

__all__ = ["NOT_OF_THE_RESULT", "Predict", "Recipe", "TrainConfig"]

_RECIPE = "(default: the data set's)"
_Name = Annotated[str, tyro.conf.arg(metavar="NAME")]
_Own = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
_Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_RECIPE)]
_All = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]

_Size = Annotated[str | None, tyro.conf.arg(metavar="WIDTHxHEIGHT", help_behavior_hint="")]

NOT_OF_THE_RESULT = ("out", "data_root", "device", "graph", "tensorboard", "save_every")
"""Settings that do not change the result of a run."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. `resolved` replaces None by the default of the data set or the rule.

    Attributes:
        dataset: the data set (`sigprop-snn list` names all).
        rule: the learning rule.
        network: the network.
        sources: how many blocks below each block receives.
        epochs: passes over the training samples.
        steps: time steps T of a sample.
        batch_size: samples in a batch.
        learning_rate: learning rate in the first batch.
        optimizer: the optimizer of torch; each layer has its own.
        schedule: how the learning rate changes from the first batch to the last.
        weight_decay: weight decay of the optimizer (default: torch's).
        layer_rates: factors on the learning rate of single layers, such as: block1 0.5 readout 2.
        seed: seed of the weights, of the order of the samples and of all random numbers.
        neuron: the neuron model (default: the rule's, or lif).
        surrogate: the surrogate function of the neurons (default: the neuron model's).
        signal: how the target enters the first layer (default: the rule's).
        loss: how a layer compares samples and contexts (default: the rule's).
        update: when the layers update: once for each batch (sample), at every-step, or at every-K
            steps.
        precision: precision of matrix products; membrane voltages are always float32.
        encoding: how a picture enters: as direct current, or as spikes by rate, latency or delta.
        predict: how the network predicts: by the readout, by the nearest context at the last block,
            by the nearest of a subset of contexts that every block narrows, by contexts against a
            neutral context, by the readout and the last block together (both), or by a vote of all
            blocks.
        augment: shift training samples by a few pixels, mirror colour pictures, rotate and scale
            N-MNIST.
        train_samples: number of training samples (default: all).
        test_samples: number of test samples (default: all).
        validation: fraction of the training samples to keep for validation, which chooses the best
            epoch.
        patience: stop after this many epochs without a better validation accuracy.
        size: width and height of the frames of events, such as 128x128 (default: the data
            set's, or the sensor's, or at most 128 pixels a side for eventfolder).
        bin_width: microseconds of a time step of events (default: the duration divided by steps).
        denoise: remove events without an earlier one at a neighbouring pixel in so many
            microseconds.
        merge_polarities: count brighter and darker events together.
        sensor: width and height of the sensor of eventfolder, such as 346x260 (default: the
            smallest that includes every event).
        event_order: order of the columns of eventfolder's files without names, such as txyp.
        time_unit: unit of the times in eventfolder's .npy, .h5, .csv and .txt files.
        data_root: the folder that holds the data sets, or that they are downloaded to.
        init_from: the folder of an earlier run; layers start from its weights where name and shape
            agree (default: new weights).
        own_data: whether the data come from outside: `train(config, data=...)` sets it.
        out: the run folder (default: a new folder in `runs`).
        device: the device to compute on, any of torch: cpu, cuda, cuda:1, mps, xpu; "auto" is
            cuda if there is one, else cpu.
        graph: on a GPU of CUDA, learn from full batches by replays of one CUDA graph, where the
            rule, the neurons and the optimizer allow it.
        tensorboard: write records for TensorBoard into the run folder.
        save_every: seconds between checkpoints within an epoch; each epoch also ends with one.
    """

    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")]
    rule: _Name = "voltage"
    network: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint=_RECIPE)] = None
    sources: _Count = None
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
        tyro.conf.arg(
            metavar="{readout,context,subset,neutral,both,vote}", help_behavior_hint=_RECIPE
        ),
    ] = None
    augment: Annotated[
        bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint=_RECIPE)
    ] = None
    train_samples: _All = None
    test_samples: _All = None
    validation: Annotated[float, tyro.conf.arg(metavar="FRACTION")] = 0.0
    patience: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    size: _Size = None
    bin_width: Annotated[int | None, tyro.conf.arg(metavar="US", help_behavior_hint="")] = None
    denoise: Annotated[int | None, tyro.conf.arg(metavar="US", help_behavior_hint="")] = None
    merge_polarities: bool = False
    sensor: _Size = None
    event_order: Annotated[str | None, tyro.conf.arg(metavar="XYTP", help_behavior_hint="")] = None
    time_unit: Literal["us", "ns", "ms", "s"] = "us"
    data_root: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("data")
    init_from: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    own_data: Annotated[bool, tyro.conf.Suppress] = False
    out: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    graph: bool = True
    tensorboard: bool = False
    save_every: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 300.0

    def resolved(self) -> TrainConfig:
        """Return the run with every None replaced by its default.

        The data set's recipe for the network gives the defaults; those of the rule's own recipe
        come before it.

        Raises:
            SigpropError: if a name is unknown or a number is out of range.
        """
        from sigprop_snn.data import DATASETS
        from sigprop_snn.rules import RULES

        given = self._with_plain_types()
        if given is not self:
            return given.resolved()
        if not self.own_data:
            one_of("data set", self.dataset, DATASETS)
        one_of("rule", self.rule, RULES)
        known = DATASETS.get(self.dataset)
        recipe = DEFAULT_RECIPE if known is None else known.recipe_for(self.network)
        rule = RULES[self.rule]
        defaults = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
        defaults |= {"signal": rule.signal, "loss": rule.loss_of(recipe)}
        if self.own_data:
            defaults["size"] = None
        defaults["neuron"] = rule.neuron or "lif"
        defaults["predict"] = rule.predict or recipe.predict
        # A static picture gives a rate neuron the same activity at every step: one is enough.
        if (self.neuron or rule.neuron) == "rate" and known is not None and not known.events:
            defaults["steps"] = 1
        defaults |= rule.recipe
        config = replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) is None})
        config._check()
        return config

    def _with_plain_types(self) -> TrainConfig:
        """Return the run with Python's own numbers and paths.

        Raises:
            SigpropError: if a value has another type than its setting.
        """
        hints = get_type_hints(TrainConfig)
        plain = {f.name: _plain(f.name, getattr(self, f.name), hints[f.name]) for f in fields(self)}
        for name, value in plain.items():
            before = getattr(self, name)
            if type(before) is not type(value) or (before is not value and before != value):
                return replace(self, **plain)
        return self

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain values for a file, without `out`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "out"}
        return {k: str(v) if isinstance(v, Path) else v for k, v in plain.items()}

    def torch_device(self) -> torch.device:
        """Return the device to compute on.

        Raises:
            SigpropError: if torch has no such device here.
        """
        from sigprop_snn.device import chosen_device

        return chosen_device(self.device)

    def frames(self) -> Frames | None:
        """Return how events become frames; None if no setting says it.

        Raises:
            SigpropError: if a setting is out of range.
        """
        from sigprop_snn.data import Frames
        from sigprop_snn.data.events.recording import UNITS, checked_order

        one_of("time_unit", self.time_unit, UNITS)
        frames = Frames(
            bin_width=self.bin_width,
            denoise=self.denoise,
            size=_sides("size", self.size),
            merge_polarities=self.merge_polarities,
            sensor=_sides("sensor", self.sensor),
            order=checked_order("event_order", self.event_order),
            unit=self.time_unit,
        )
        return None if frames == Frames() else frames

    @property
    def update_every(self) -> int | None:
        """Time steps between two updates; None for one update per sample.

        Raises:
            SigpropError: if `update` is none of the known forms.
        """
        if self.update == "sample":
            return None
        steps = {"every-step": "1"}.get(self.update, self.update.removeprefix("every-"))
        if not self.update.startswith("every-") or not steps.isdecimal() or int(steps) < 1:
            raise SigpropError(
                f"update is {self.update!r}; expected 'sample', 'every-step' or, for an update "
                "at every fourth step, 'every-4'"
            )
        return int(steps)

    @property
    def chooses_epoch(self) -> bool:
        """Whether the run keeps the best epoch on validation samples, not the last."""
        return self.validation > 0 or self.patience is not None

    def _check(self) -> None:
        self._check_names()
        self._check_numbers()
        _ = self.update_every
        self.torch_device()

    def _check_names(self) -> None:
        from sigprop_snn.network import LOSSES, NETWORKS, SIGNALS
        from sigprop_snn.neurons import NEURONS
        from sigprop_snn.optimizers.catalogue import OPTIMIZERS
        from sigprop_snn.optimizers.schedules import SCHEDULES
        from sigprop_snn.surrogates import SURROGATES

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
            if getattr(self, kind) is not None:
                one_of(kind, getattr(self, kind), known)

    def _check_numbers(self) -> None:
        from sigprop_snn.data.catalogue import DATASETS, check_frames
        from sigprop_snn.data.preparation import Preparation

        assert self.steps is not None and self.batch_size is not None  # `resolved` sets them
        Preparation(
            steps=self.steps,
            encoding=self.encoding,
            batch_size=self.batch_size,
            validation=self.validation,
            seed=self.seed,
        ).checked(self.dataset)
        frames = self.frames()
        if not self.own_data:
            check_frames(self.dataset, DATASETS[self.dataset], frames)
        for name in ("epochs", "sources", "patience"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        positive("learning_rate", self.learning_rate)
        not_negative("save_every", self.save_every)
        not_negative("weight_decay", self.weight_decay or 0.0)
        for layer, rate in self.layer_rates.items():
            not_negative(f"layer_rates of {layer!r}", rate)


def _plain(name: str, value: Any, hint: Any) -> Any:
    """Return the value of a setting in the type of its hint.

    Raises:
        SigpropError: if it has another type.
    """
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    if kind is int:
        return whole(name, value, least=None)
    if kind is float:
        return number(name, value, valid=lambda x: True)
    if kind is bool:
        return truth(name, value)
    if kind is Path:
        return path(name, value)
    if get_origin(kind) is Literal:
        return one_of(name, value, get_args(kind))
    if get_origin(kind) is dict:
        rates = instance(name, value, Mapping, "numbers by the names of layers")
        names = names_of(name, list(rates))
        return {
            layer: number(f"{name} of {layer!r}", rates[layer], valid=lambda x: True)
            for layer in names
        }
    return instance(name, value, str, "text")


def _sides(name: str, value: str | None) -> tuple[int, int] | None:
    """Return the width and the height in text such as "128x96".

    Raises:
        SigpropError: if it is other text.
    """
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", value)
    if found is None:
        raise SigpropError(f"{name} is {value!r}; expected width and height, such as '128x96'")
    return int(found[1]), int(found[2])
