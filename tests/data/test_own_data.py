"""Data from arrays, loaders, torch datasets and tonic datasets."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from tonic.io import make_structured_array
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import sigprop_snn as sp
from sigprop_snn.data import Data, Frames
from sigprop_snn.errors import SigpropError


def pictures(count=40, start=0):
    """Return pictures of 1x2x3 whose pixels are the number of the sample, and labels."""
    numbers = torch.arange(start, start + count, dtype=torch.uint8)
    return numbers.view(-1, 1, 1, 1).expand(-1, 1, 2, 3).clone(), torch.arange(count) % 3


TRAIN, TEST = pictures(40), pictures(9, start=100)


def numbers(batches):
    return [round(float(v) * 255) for x, _ in batches for v in x[0].flatten(1)[:, 0]]


@pytest.mark.parametrize("kind", ["tensor", "numpy", "list"])
def test_arrays_of_any_kind_become_time_first_batches(kind):
    convert = {"tensor": lambda v: v, "numpy": lambda v: v.numpy(), "list": lambda v: v.tolist()}
    pairs = [tuple(map(convert[kind], part)) for part in (TRAIN, TEST)]
    if kind == "list":
        pairs = [(np.asarray(x, np.uint8), y) for x, y in pairs]
    data = Data.from_arrays(*pairs, steps=4, batch_size=16, classes=["a", "b", "c"])
    assert (data.shape, data.steps, data.classes) == ((1, 2, 3), 4, ("a", "b", "c"))
    assert (data.train.samples, data.test.samples, data.validation) == (40, 9, None)
    x, y = next(iter(data.test))
    assert (x.shape, x.dtype, y.dtype) == ((4, 9, 1, 2, 3), torch.float32, torch.int64)
    assert numbers(data.test) == list(range(100, 109))
    assert sorted(numbers(data.train)) == list(range(40))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float64, torch.bfloat16])
def test_values_that_are_not_uint8_stay_as_they_are(dtype):
    x = torch.tensor([[0, 1], [1, 1], [1, 0]]).to(dtype)
    data = Data.from_arrays((x, [0, 1, 1]), (x, [0, 1, 0]), steps=2)
    assert torch.equal(next(iter(data.test))[0][1], x.float())


def test_any_array_of_numpy_is_taken():
    x, y = (part.numpy() for part in TEST)
    still = x.copy()
    still.flags.writeable = False
    labels = y.astype(np.uint16)
    for given in (np.flip(x, 3), x.astype(">i2"), still):
        data = Data.from_arrays((given, labels), (given, labels.astype(">u2")), steps=2)
        first = next(iter(data.test))[0][0]
        assert torch.equal(
            first,
            torch.tensor(given.astype(np.float32))
            / first.new_tensor(255.0 if given.dtype == np.uint8 else 1.0),
        )


def test_timed_arrays_keep_their_steps_and_can_hold_out_validation_samples():
    x = torch.rand(20, 5, 2, 3, 3)
    data = Data.from_arrays(
        (x, torch.arange(20) % 2), (x[:4], [0, 1, 0, 1]), timed=True, validation=0.2
    )
    assert (data.steps, data.shape) == (5, (2, 3, 3))
    assert data.validation is not None
    assert (data.train.samples, data.validation.samples) == (16, 4)
    assert torch.equal(next(iter(data.test))[0], x[:4].transpose(0, 1))


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (TRAIN[0], {}, "train is a Tensor of shape .* pair of samples and labels"),
        ((TRAIN[0], TRAIN[1].float()), {}, "train has labels as float32"),
        ((TRAIN[0], TRAIN[1][:, None]), {}, r"labels as int64 of shape \[40, 1\]"),
        ((TRAIN[0], TRAIN[1] - 1), {}, "the lowest -1"),
        ((TRAIN[0], TRAIN[1][:5]), {}, "40 samples have 5 labels"),
        ((TRAIN[0].float(), TRAIN[1]), {}, r"train torch\.float32, test torch\.uint8"),
        ((["a", "b"], [0, 1]), {}, "train is .* expected a tensor or an array of numbers"),
        ((torch.tensor([[1.0], [torch.nan]]), [0, 1]), {}, "train contains NaN"),
        ((TRAIN[0], TRAIN[1] * 0), {}, "expected two classes"),
        (TRAIN, {"classes": ["a", "b"]}, "classes has 2 names and the highest label is 2"),
        (TRAIN, {"classes": "abc"}, "classes has 1 names"),
        (TRAIN, {"steps": 0}, "steps is 0"),
        (TRAIN, {"encoding": "morse"}, "unknown encoding 'morse'"),
    ],
)
def test_arrays_that_can_not_be_used_are_refused_by_name(train, options, message):
    test = TEST if options or not message.endswith("classes") else (TEST[0], TEST[1] * 0)
    with pytest.raises(SigpropError, match=message):
        Data.from_arrays(train, test, **options)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"validation": torch.tensor(0.25)}, {"validation": 0.25}),
        ({"batch_size": np.int8(100)}, {"batch_size": 100}),
        ({"seed": torch.tensor(3)}, {"seed": 3}),
        ({"steps": torch.tensor(3)}, {"steps": 3}),
        ({"encoding": "rate", "seed": np.uint64(3)}, {"encoding": "rate", "seed": 3}),
    ],
)
def test_numbers_of_any_type_are_those_of_python(given, plain):
    train = pictures(200)  # an int8 can't count them
    data, expected = (Data.from_arrays(train, TEST, **options) for options in (given, plain))
    assert type(data.steps) is int
    assert data.steps == expected.steps
    assert (data.validation is None) == ("validation" not in given)
    for (x, y), (plain_x, plain_y) in zip(data.train, expected.train, strict=True):
        assert torch.equal(x, plain_x)
        assert torch.equal(y, plain_y)


def test_loaders_and_datasets_take_numbers_of_any_type():
    loaders = Data.from_loaders(timed_loader(), timed_loader(), seed=torch.tensor(3))
    assert len(list(loaders.train)) == 3
    sets = Data.from_torch(
        TensorDataset(*TRAIN),
        TensorDataset(*TEST),
        steps=torch.tensor(3),
        batch_size=np.int8(20),
        seed=torch.tensor(3),
    )
    assert type(sets.steps) is int
    assert [x.shape[:2] for x, _ in sets.train] == [(3, 20), (3, 20)]


def timed_loader(parts=3, labels=(0, 1, 2, 0)):
    return [(torch.full((5, 4, 2), float(i)), torch.tensor(labels)) for i in range(parts)]


def test_loaders_give_the_same_batches_in_every_epoch_or_their_own_order():
    data = Data.from_loaders(timed_loader(), timed_loader(2))
    assert (data.shape, data.steps, data.classes) == ((2,), 5, ("0", "1", "2"))
    assert (len(data.train), data.train.samples, data.test.samples) == (3, 12, 8)
    assert data.train.labels.tolist() == [0, 1, 2, 0] * 3
    for _ in range(2):
        assert [float(x[0, 0, 0]) for x, _ in data.test] == [0, 1]


@pytest.mark.parametrize("own_generator", [False, True])
def test_a_shuffled_loader_has_the_order_of_the_seed_and_the_epoch(own_generator):
    def made(seed=0, state=0):
        how = {"generator": torch.Generator().manual_seed(state)} if own_generator else {}
        train = DataLoader(TensorDataset(*TRAIN), 8, shuffle=True, **how)
        return Data.from_loaders(train, DataLoader(TensorDataset(*TEST), 4), steps=2, seed=seed)

    data = made()
    first, second = numbers(data.train), numbers(data.train)
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    torch.manual_seed(99)
    resumed = made(state=7)
    resumed.train.set_epoch(1)
    assert numbers(resumed.train) == second
    assert numbers(made(seed=1).train) != first
    assert numbers(data.test) == list(range(100, 109))


def test_reading_a_loader_leaves_the_random_numbers_of_the_process_alone():
    loader = DataLoader(TensorDataset(*TRAIN), 8, shuffle=True)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    expected = (torch.rand(1), np.random.rand(), random.random())
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    data = Data.from_loaders(loader, loader, steps=2)
    list(data.train)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


@pytest.mark.parametrize(
    ("batch", "options", "message"),
    [
        ((torch.zeros(4, 5, 2), [0, 1, 2, 1]), {}, r"\[4, 5, 2\] and 4 labels.*batch_first=True"),
        ((torch.zeros(4, 2), [0, 1, 2, 1]), {}, r"steps=\.\.\."),
        ((torch.zeros(4, 1, 6, 6), [0, 1, 2, 1]), {}, r"pictures.*steps=\.\.\..*batch_first=True"),
        ((torch.zeros(5, 4, 2), [0, 1, 2, 1]), {"batch_first": True}, "batch_first=False"),
        ((torch.zeros(5, 4, 2), [[0.0, 1.0]] * 4), {}, "has labels as float"),
        ((torch.full((5, 4, 2), torch.inf), [0, 1, 2, 1]), {}, "contains NaN or infinity"),
        ({"x": torch.zeros(5, 4, 2)}, {}, "expected a pair of inputs and labels"),
        ((torch.zeros(5, 4, 2), [0] * 4, [0] * 4), {}, "3 entries"),
    ],
)
def test_batches_that_can_not_be_used_are_named(batch, options, message):
    with pytest.raises(SigpropError, match=rf"(?s)batch 1 of test of 'loaders'.*{message}"):
        x, y = timed_loader(1)[0]
        sound = (x.transpose(0, 1), y) if options else (x, y)
        Data.from_loaders([sound], [sound, batch], **options)


def test_a_loader_with_another_number_of_batches_is_refused():
    class Growing(list):
        def __iter__(self):
            self.append(self[0])
            return super().__iter__()

    data = Data.from_loaders(Growing(timed_loader()), timed_loader())
    with pytest.raises(SigpropError, match="train of 'loaders' gives 5 batches, but 4 when"):
        list(data.train)


def test_loaders_that_can_be_read_once_or_are_empty_are_refused():
    with pytest.raises(SigpropError, match=r"train of 'loaders' is a generator.*only once"):
        Data.from_loaders((b for b in timed_loader()), timed_loader())
    with pytest.raises(SigpropError, match="test of 'loaders' gives no batch"):
        Data.from_loaders(timed_loader(), [])
    with pytest.raises(SigpropError, match="train of 'loaders' is 3"):
        Data.from_loaders(3, timed_loader())
    with pytest.raises(SigpropError, match=r"shape \[3\]; expected \[2\], as in train"):
        Data.from_loaders(timed_loader(), [(torch.zeros(5, 2, 3), [0, 1])])


class Noisy(Dataset):
    """Samples with random numbers of torch, numpy and Python."""

    classes = ("low", "high")

    def __len__(self):
        return 12

    def __getitem__(self, number):
        noise = [float(torch.rand(1)), np.random.rand(), random.random()]
        return np.array([number, *noise]), number % 2


@pytest.mark.parametrize("workers", [0, 2])
def test_random_transforms_are_drawn_anew_and_are_the_same_after_a_resume(workers):
    def made():
        return Data.from_torch(Noisy(), Noisy(), steps=1, batch_size=5, workers=workers)

    data = made()
    assert data.classes == ("low", "high")
    epochs = [torch.cat([x[0] for x, _ in data.train]) for _ in range(2)]
    assert len(torch.cat(epochs)[:, 1:].unique()) == 2 * 12 * 3
    resumed = made()
    resumed.train.set_epoch(1)
    assert torch.equal(torch.cat([x[0] for x, _ in resumed.train]), epochs[1])
    first, again = (torch.cat([x for x, _ in data.test], 1) for _ in range(2))
    assert torch.equal(first, again)


def test_samples_kept_in_memory_are_read_once():
    reads = []

    class Counting(Noisy):
        def __getitem__(self, number):
            reads.append(number)
            return super().__getitem__(number)

    data = Data.from_torch(Counting(), Counting(), steps=2, in_memory=True)
    assert sorted(reads) == sorted([*range(12), *range(12)])
    list(data.train)
    assert len(reads) == 24


class Pictures(Dataset):
    def __init__(self, mode):
        self.mode = mode

    def __len__(self):
        return 4

    def __getitem__(self, number):
        return Image.new("RGB", (3, 2), (255, 0, 51)).convert(self.mode), number % 2


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("RGBA", 3), ("L", 1)])
def test_pictures_of_pillow_are_taken_without_a_transform(mode, channels):
    data = Data.from_torch(Pictures(mode), Pictures(mode), steps=3)
    assert data.shape == (channels, 2, 3)
    x, _ = next(iter(data.test))
    if channels == 3:
        assert torch.allclose(x[0, 0, :, 0, 0], torch.tensor([1.0, 0.0, 0.2]))


class Stream(IterableDataset):
    def __iter__(self):
        for number in range(10):
            yield torch.full((2 + number % 3, 4), float(number)), number % 2


@pytest.mark.parametrize("workers", [0, 3])
def test_an_iterable_dataset_gives_each_sample_once_and_short_samples_are_padded(workers):
    data = Data.from_torch(Stream(), Stream(), timed=True, batch_size=4, workers=workers)
    assert (data.train.samples, data.shape) == (10, (4,))
    (x, y, lengths), *_ = data.test.with_lengths()
    assert x.shape == (4, 4, 4)
    assert lengths.tolist() == [0, 3, 4, 2], "sample 0 is empty"
    assert y.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (3, "sample 0 of train of 'mine' is 3; expected a pair"),
        ((torch.zeros(2), "dog"), "label is 'dog'; expected a number, or a name among classes"),
        ((torch.zeros(2), 0.5), "label is 0.5; expected a whole number"),
        (("text", 1), "sample 0 of train of 'mine' is 'text'"),
        ((make_structured_array([1], [1], [1], [1]), 0), r"Data\.from_tonic for events"),
    ],
)
def test_samples_that_can_not_be_used_are_named(item, message):
    with pytest.raises(SigpropError, match=message):
        Data.from_torch([item, item], [item, item], name="mine")


def test_labels_may_be_names_of_the_classes():
    samples = [(torch.zeros(2), "dog"), (torch.ones(2), "cat")]
    data = Data.from_torch(samples, samples, classes=["cat", "dog"])
    assert data.test.labels.tolist() == [1, 0]


class Events(Dataset):
    """Recordings as tonic's data sets have them."""

    def __init__(self, count=6, sensor=(10, 8, 2), **attributes):
        self.count, self.sensor_size = count, sensor
        self.last = attributes.pop("last", 1000)
        vars(self).update(attributes)

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        t = np.array([0, 400, self.last])
        return make_structured_array([number, 1, 2], [3, 4, 5], t + 77, [1, 0, 1]), number % 2


def test_events_of_tonic_become_frames():
    data = Data.from_tonic(Events(classes=["left", "right"]), Events(4), steps=2)
    assert (data.shape, data.steps, data.classes) == ((2, 8, 10), 2, ("left", "right"))
    x, _ = next(iter(data.test))
    assert x.sum((2, 3, 4)).tolist() == [[2] * 4, [1] * 4]
    assert x[0, 3, 1, 3, 3] == 1


def test_frames_decide_how_events_are_counted():
    frames = Frames(bin_width=300, size=(5, 4), merge_polarities=True)
    data = Data.from_tonic(Events(), Events(), steps=5, frames=frames)
    assert data.shape == (1, 4, 5)
    assert next(iter(data.test))[0].sum((1, 2, 3, 4)).tolist() == [6, 6, 0, 6, 0]


def test_the_sensor_is_found_where_the_data_set_has_none():
    data = Data.from_tonic(Events(sensor=None), Events(sensor=None), steps=2)
    assert data.shape == (2, 6, 6)
    with pytest.raises(SigpropError, match=r"sample 5 of train of 'tonic' has event 0 with x=5"):
        Data.from_tonic(Events(sensor=(5, 8, 2)), Events(1, sensor=(5, 8, 2)))


def test_arrays_that_a_transform_made_stay_as_they_are():
    from tonic.transforms import ToFrame

    to_frame = ToFrame((10, 8, 2), n_time_bins=3)

    class Framed(Events):
        def __getitem__(self, number):
            events, label = super().__getitem__(number)
            return to_frame(events), label

    for in_memory in (False, True):
        data = Data.from_tonic(Framed(), Framed(), in_memory=in_memory)
        assert (data.shape, data.steps) == ((2, 8, 10), 3)
        assert torch.equal(next(iter(data.test))[0][:, 1], torch.from_numpy(Framed()[1][0]).float())


def test_a_network_learns_from_own_data_and_is_evaluated():
    x, y = pictures(90)
    x = (y.view(-1, 1, 1, 1) * 100 + torch.zeros_like(x)).to(torch.uint8)
    data = sp.Data.from_torch(TensorDataset(x, y), TensorDataset(x[:9], y[:9]), steps=3)
    network = sp.mlp(data.shape, len(data.classes), hidden=(20,))
    for inputs, labels in data.train:
        network.learn(inputs, labels)
    assert 0 <= sp.evaluate(network, data.test).accuracy <= 1


def test_recordings_of_any_length_are_kept_in_memory():
    def recordings(lengths):
        return [(torch.ones(steps, 2, 3), steps % 2) for steps in lengths]

    data = Data.from_torch(recordings([4, 7, 5, 6]), recordings([3, 5]), timed=True, in_memory=True)
    assert (data.steps, data.shape) == (7, (2, 3))
    assert [int(x.sum()) for x, _ in data.test] == [6 * (3 + 5)]
