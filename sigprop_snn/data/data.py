"""`Data`, a data set ready for training, and the ways to make one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, names_of, refused, truth, whole
from sigprop_snn.data.augment import Augment
from sigprop_snn.data.batches import Batches
from sigprop_snn.data.dataset_events import event_frames
from sigprop_snn.data.events.frames import Frames
from sigprop_snn.data.loaders import BatchAxes, LoaderBatches, as_labels, as_values
from sigprop_snn.data.preparation import Preparation, batches_of
from sigprop_snn.data.samples import Collate, SampleReader, checked_dataset, loader_of
from sigprop_snn.data.source import Source, Split
from sigprop_snn.encoding import ENCODINGS
from sigprop_snn.errors import SigpropError


@dataclass(frozen=True)
class Data:
    """A data set ready for training.

    `load` makes one by name. `from_arrays`, `from_loaders`, `from_torch` and `from_tonic` make one
    from your own samples.

    Attributes:
        name: the data set's name.
        train: shuffled batches to learn from.
        test: batches to test on, always in the same order.
        validation: batches to choose settings or epochs by, never used in training: held out from
            the training samples, or the data set's own; or None.
        shape: shape of one step of one sample, such as `(1, 28, 28)`.
        classes: names of the classes; label i means `classes[i]`.
        steps: number of time steps T.
    """

    name: str
    train: Batches
    test: Batches
    validation: Batches | None
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    steps: int

    @classmethod
    def from_arrays(
        cls,
        train: tuple[Any, Any],
        test: tuple[Any, Any],
        *,
        validation: tuple[Any, Any] | float = 0.0,
        classes: Sequence[str] | None = None,
        timed: bool = False,
        steps: int = 10,
        encoding: str = "direct",
        batch_size: int = 128,
        seed: int = 0,
        augment: bool | Augment = False,
        name: str = "arrays",
    ) -> Data:
        """Make data from arrays: numpy arrays, tensors or lists.

        Values of pictures in uint8 are divided by 255; other values stay as they are.

        Args:
            train: samples `[N, ...]` and labels `[N]` to learn from. Timed samples are
                `[N, T, ...]`.
            test: the same to test on.
            validation: the same to validate on, or the fraction of the training samples to hold
                out, in [0, 1).
            classes: names of the classes; None numbers them.
            timed: whether the samples have a time axis, such as frames of events.
            steps: number of time steps T; not used for timed samples.
            encoding: how a sample without a time axis enters; see `load`.
            batch_size: samples in a batch.
            seed: seed of the order, the draws and the spikes, in [0, 2**63).
            augment: see `load`.
            name: name of the data.

        Raises:
            SigpropError: if a value can't be used.
        """
        arrays = {"train": _pair("train", train), "test": _pair("test", test)}
        fraction = 0.0
        if isinstance(validation, tuple | list):
            arrays["validation"] = _pair("validation", validation)
        else:
            fraction = validation
        how = Preparation(
            steps=steps,
            encoding=encoding,
            batch_size=batch_size,
            validation=fraction,
            seed=seed,
            augment=augment,
        )
        return _from_arrays(arrays, how, classes, name, timed=truth("timed", timed))

    @classmethod
    def from_loaders(
        cls,
        train: Iterable[Any],
        test: Iterable[Any],
        *,
        validation: Iterable[Any] | None = None,
        classes: Sequence[str] | None = None,
        steps: int | None = None,
        encoding: str = "direct",
        batch_first: bool = False,
        seed: int = 0,
        name: str = "loaders",
    ) -> Data:
        """Make data from loaders: a `DataLoader`, or any iterable that gives its batches again.

        Each loader is read once at the start, to count its samples and to check them. Whole
        numbers and booleans become float32. Pictures in uint8 are divided by 255.

        Args:
            train: pairs of inputs `[T, B, ...]` and labels `[B]` to learn from.
            test: the same to test on.
            validation: the same to validate on, or None.
            classes: names of the classes; None numbers them.
            steps: number of time steps T for batches of pictures `[B, ...]`, which `encoding`
                turns into spikes or current; None for batches with a time axis.
            encoding: how pictures enter; see `load`.
            batch_first: whether batches with a time axis are `[B, T, ...]`.
            seed: seed of the order and of random transforms. See `LoaderBatches`.
            name: name of the data.

        Raises:
            SigpropError: if a loader can be read only once, or a batch can't be used.
        """
        steps = None if steps is None else whole("steps", steps)
        how = Preparation(steps=steps or 1, encoding=encoding, seed=seed).checked(name)
        if steps is None and how.encoding != "direct":
            raise SigpropError(
                f"encoding is {encoding!r} for batches with a time axis; expected steps=... for "
                "batches of pictures, or no encoding"
            )
        axes = BatchAxes(steps, ENCODINGS[how.encoding], truth("batch_first", batch_first))
        parts = {"train": train, "test": test, "validation": validation}
        read = {
            place: LoaderBatches(
                loader, f"{place} of {name!r}", axes, how.seed, changes=place == "train"
            )
            for place, loader in parts.items()
            if loader is not None or place != "validation"
        }
        first = read["train"]
        for place, batches in read.items():
            if batches.shape != first.shape:
                raise SigpropError(
                    f"{place} of {name!r} has samples of shape {list(batches.shape)}; expected "
                    f"{list(first.shape)}, as in train"
                )
        names = _class_names(classes, [batches.labels for batches in read.values()])
        return cls(
            name, first, read["test"], read.get("validation"), first.shape, names, first.steps
        )

    @classmethod
    def from_torch(
        cls,
        train: Any,
        test: Any,
        *,
        validation: Any = None,
        classes: Sequence[str] | None = None,
        timed: bool = False,
        steps: int = 10,
        encoding: str = "direct",
        batch_size: int = 128,
        workers: int = 0,
        in_memory: bool = False,
        seed: int = 0,
        name: str = "dataset",
    ) -> Data:
        """Make data from torch datasets, map-style or iterable, with any transform.

        A sample is a pair of values and a label. Values are numbers of any kind, or a picture of
        Pillow; uint8 is divided by 255. Random transforms are drawn anew in every epoch, and are
        the same after a resume with the same number of workers. Each dataset is read once at the
        start.

        Args:
            train: samples to learn from. A map-style dataset is shuffled.
            test: samples to test on.
            validation: samples to validate on, or None.
            classes: names of the classes; None takes the dataset's own `classes` or numbers them.
            timed: whether the samples have a time axis, `[T, ...]`, such as frames of events.
                Shorter samples get empty steps at the end.
            steps: number of time steps T; not used for timed samples.
            encoding: how a sample without a time axis enters; see `load`.
            batch_size: samples in a batch.
            workers: processes that read samples; 0 reads in this one. An iterable dataset has at
                most one.
            in_memory: whether to read each sample once and keep it, for datasets without random
                transforms.
            seed: seed of the order and of random transforms.
            name: name of the data.

        Raises:
            SigpropError: if a sample can't be used.
        """
        return _from_datasets(
            {"train": train, "test": test, "validation": validation},
            Preparation(steps=steps, encoding=encoding, batch_size=batch_size, seed=seed),
            classes,
            name,
            timed=truth("timed", timed),
            frames=None,
            workers=workers,
            in_memory=in_memory,
        )

    @classmethod
    def from_tonic(
        cls,
        train: Any,
        test: Any,
        *,
        validation: Any = None,
        classes: Sequence[str] | None = None,
        frames: Frames | None = None,
        steps: int = 10,
        batch_size: int = 128,
        workers: int = 0,
        in_memory: bool = False,
        seed: int = 0,
        name: str = "tonic",
    ) -> Data:
        """Make data from tonic datasets, or from any dataset of events.

        Events become frames; times are microseconds, and a recording starts at its first event.
        Samples that a transform, such as `tonic.transforms.ToFrame`, has turned into arrays
        `[T, ...]` stay as they are.

        Args:
            train: recordings to learn from; a structured array with the fields x, y, t and p, and
                a label.
            test: recordings to test on.
            validation: recordings to validate on, or None.
            classes: names of the classes; None takes the dataset's own `classes` or numbers them.
            frames: how events become frames. Without `end` and `bin_width`, all recordings are
                read once to find the longest; without `sensor`, the dataset's own `sensor_size`
                counts, or else the smallest that includes every event.
            steps: number of time steps T of the frames.
            batch_size: samples in a batch.
            workers: see `from_torch`.
            in_memory: see `from_torch`.
            seed: see `from_torch`.
            name: name of the data.

        Raises:
            SigpropError: if a sample can't be used.
        """
        if frames is not None:
            instance("frames", frames, Frames, "a Frames")
        return _from_datasets(
            {"train": train, "test": test, "validation": validation},
            Preparation(steps=steps, batch_size=batch_size, seed=seed),
            classes,
            name,
            timed=True,
            frames=frames or Frames(),
            workers=workers,
            in_memory=in_memory,
        )


def prepare(
    source: Source,
    *,
    steps: int = 10,
    encoding: str = "direct",
    batch_size: int = 128,
    train_samples: int | None = None,
    test_samples: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    augment: bool | Augment = False,
) -> Data:
    """Make batches from a source: your own tensors, or a data set that `load` opened.

    Args:
        source: the training and test samples.
        steps: number of time steps T; for a timed source, the steps that its samples have.
        encoding: see `load`.
        batch_size: see `load`.
        train_samples: see `load`.
        test_samples: see `load`.
        validation: see `load`.
        seed: see `load`.
        augment: see `load`.

    Returns:
        The data set in time-first batches.

    Raises:
        UnknownNameError: if the encoding is unknown.
        SigpropError: if any other value can't be used.
    """
    how = Preparation(
        steps=steps,
        encoding=encoding,
        batch_size=batch_size,
        train_samples=train_samples,
        test_samples=test_samples,
        validation=validation,
        seed=seed,
        augment=augment,
    )
    return data_of(source, how)


def data_of(source: Source, how: Preparation) -> Data:
    """Make batches from a source, as `prepare` does.

    Raises:
        UnknownNameError: if the encoding is unknown.
        SigpropError: if any other value can't be used.
    """
    instance("source", source, Source, "a Source")
    how = how.checked(source.name)
    train, test, validation, shape = batches_of(source, how)
    return Data(source.name, train, test, validation, shape, source.classes, how.steps)


def _from_arrays(
    arrays: Mapping[str, tuple[Any, Any]],
    how: Preparation,
    classes: Sequence[str] | None,
    name: str,
    *,
    timed: bool,
) -> Data:
    """Make data from samples and labels by the name of their split."""
    read = {place: _values(place, *pair) for place, pair in arrays.items()}
    if len({x.dtype == torch.uint8 for x, _ in read.values()}) > 1:
        types = ", ".join(f"{place} {x.dtype}" for place, (x, _) in read.items())
        raise SigpropError(
            f"arrays have the types {types}; expected uint8 in all, whose pictures are divided by "
            "255, or in none"
        )
    x = read["train"][0]
    if timed and x.ndim < 3:
        raise SigpropError(
            f"train has shape {list(x.shape)} and timed is True; expected [N, T, ...]"
        )
    splits = {place: Split.of(*pair) for place, pair in read.items()}
    source = Source(
        name,
        splits["train"],
        splits["test"],
        _class_names(classes, [split.y for split in splits.values()]),
        top=255.0 if x.dtype == torch.uint8 else 1.0,
        timed=timed,
        validation=splits.get("validation"),
    )
    return data_of(source, replace(how, steps=x.shape[1]) if timed else how)


def _from_datasets(
    given: Mapping[str, Any],
    how: Preparation,
    classes: Sequence[str] | None,
    name: str,
    *,
    timed: bool,
    frames: Frames | None,
    workers: int,
    in_memory: bool,
) -> Data:
    """Make data from datasets by the name of their split; None is no validation split."""
    how = how.checked(name)
    if timed and how.encoding != "direct":
        raise SigpropError(f"encoding is {how.encoding!r} for samples with time; expected 'direct'")
    workers, in_memory = whole("workers", workers, 0), truth("in_memory", in_memory)
    datasets = {
        place: checked_dataset(place, dataset)
        for place, dataset in given.items()
        if dataset is not None or place != "validation"
    }
    own = getattr(datasets["train"], "classes", None)
    if classes is None and isinstance(own, Sequence) and all(isinstance(c, str) for c in own):
        classes = list(own)
    binner = event_frames(datasets, frames, how.steps, name)
    loaders = {
        place: loader_of(
            dataset,
            SampleReader(f"{place} of {name!r}", classes, binner),
            timed=timed,
            batch_size=how.batch_size,
            workers=workers,
            shuffle=place == "train" and not in_memory,
        )
        for place, dataset in datasets.items()
    }
    if in_memory:
        kept = {
            place: _read_all(loader, Collate(place, timed)) for place, loader in loaders.items()
        }
        if timed:
            longest = max(x.shape[1] for x, _ in kept.values())
            kept = {place: (_lengthened(x, longest), y) for place, (x, y) in kept.items()}
        return _from_arrays(kept, how, classes, name, timed=timed)
    return Data.from_loaders(
        loaders["train"],
        loaders["test"],
        validation=loaders.get("validation"),
        classes=classes,
        steps=None if timed else how.steps,
        encoding=how.encoding,
        batch_first=timed,
        seed=how.seed,
        name=name,
    )


def _read_all(loader: Iterable[tuple[Tensor, Tensor]], collate: Collate) -> tuple[Tensor, Tensor]:
    """Return all samples and labels; shorter timed samples get empty steps at the end."""
    samples = [(value, int(label)) for x, y in loader for value, label in zip(x, y, strict=True)]
    return collate(samples)


def _lengthened(x: Tensor, steps: int) -> Tensor:
    """Return samples `[N, T, ...]` as `[N, steps, ...]`: empty steps are added at the end."""
    return torch.cat([x, x.new_zeros(len(x), steps - x.shape[1], *x.shape[2:])], dim=1)


def _pair(place: str, value: Any) -> tuple[Any, Any]:
    if isinstance(value, tuple | list) and len(value) == 2:
        return value[0], value[1]
    raise refused(place, value, "a pair of samples and labels")


def _values(place: str, samples: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Return samples as uint8 or float32, and labels as int64."""
    x, y = as_values(samples, place), as_labels(labels, place)
    if x.ndim < 2:
        raise SigpropError(f"{place} has samples of shape {list(x.shape)}; expected [N, ...]")
    return x if x.dtype == torch.uint8 else x.to(torch.float32), y


def _class_names(classes: Sequence[str] | None, labels: Sequence[Tensor]) -> tuple[str, ...]:
    """Return the names of the classes, checked against the labels."""
    most = max(int(y.max()) + 1 if len(y) else 0 for y in labels)
    if classes is None:
        if most < 2:
            raise SigpropError("the labels are all 0; expected two classes or more")
        return tuple(str(number) for number in range(most))
    names = names_of("classes", classes)
    if len(names) < max(2, most):
        raise SigpropError(
            f"classes has {len(names)} names and the highest label is {most - 1}; expected two "
            "names or more, one for each label from 0"
        )
    return names
