from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop_snn.data import Source, Split, prepare
from sigprop_snn.data.source import derive_seed, draw_balanced
from sigprop_snn.errors import SigpropError, UnknownNameError


def numbered(count: int, start: int = 0, classes: int = 3) -> Split:
    """Return pictures of 2x2; all pixels of a picture have the number of the sample."""
    numbers = torch.arange(start, start + count)
    pictures = numbers.to(torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Split.of(pictures, numbers % classes)


def source(train: int = 60, test: int = 20, top: float = 1.0) -> Source:
    return Source("numbers", numbered(train), numbered(test, 1000), ("a", "b", "c"), top)


def numbers(batches) -> list[int]:
    return [int(v) for x, _ in batches for v in x[0, :, 0, 0, 0]]


def test_batches_are_time_first_floats_with_int64_labels():
    data = prepare(source(), steps=4, batch_size=16)
    assert len(data.train) == 4
    batches = list(data.train)
    assert [len(y) for _, y in batches] == [16, 16, 16, 12]
    for x, y in batches:
        assert x.shape == (4, len(y), 1, 2, 2)
        assert x.dtype == torch.float32
        assert x.stride(0) == 0
        assert y.dtype == torch.int64
        assert torch.equal(x[0, :, 0, 0, 0].long() % 3, y)
    assert (data.shape, data.steps, data.classes) == ((1, 2, 2), 4, ("a", "b", "c"))
    assert (data.train.samples, data.test.samples, data.validation) == (60, 20, None)


def test_train_order_changes_each_epoch_and_follows_seed_and_epoch():
    data = prepare(source(), batch_size=16, seed=3)
    first, second = numbers(data.train), numbers(data.train)
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second
    resumed = prepare(source(), batch_size=16, seed=3).train
    resumed.set_epoch(1)
    assert numbers(resumed) == second
    assert numbers(prepare(source(), batch_size=16, seed=4).train) != first


def test_labels_alone_are_those_of_the_batches_in_every_epoch():
    data, other = (prepare(source(), steps=4, batch_size=16, seed=3) for _ in range(2))
    for _ in range(2):
        alone, batches = list(data.train.each_labels()), list(other.train)
        assert len(alone) == len(batches) == 4
        assert all(torch.equal(one, y) for one, (_, y) in zip(alone, batches, strict=True))


def test_test_and_validation_keep_their_order():
    data = prepare(source(), batch_size=16, validation=0.25)
    assert data.validation is not None
    for batches in (data.test, data.validation):
        first = numbers(batches)
        assert first == sorted(first) == numbers(batches)


def test_no_test_or_validation_sample_is_seen_in_training():
    data = prepare(source(), train_samples=40, test_samples=10, validation=0.2, seed=1)
    assert data.validation is not None
    train, validation, test = map(numbers, (data.train, data.validation, data.test))
    assert (len(train), len(validation), len(test)) == (32, 8, 10)
    assert not set(train) & set(validation)
    assert max(train + validation) < 1000 <= min(test)


def test_drawing_samples_is_balanced_and_seeded():
    y = torch.tensor([0] * 50 + [1] * 30 + [2] * 5)
    drawn = draw_balanced(y, 30, seed=2)
    assert len(set(drawn.tolist())) == 30
    assert sorted(y[drawn].bincount().tolist()) == [5, 12, 13]
    assert torch.equal(drawn, draw_balanced(y, 30, seed=2))
    assert not torch.equal(drawn, draw_balanced(y, 30, seed=3))
    assert set(draw_balanced(y, 12, seed=2).tolist()) <= set(drawn.tolist())
    assert torch.equal(draw_balanced(y, 85, seed=2), torch.arange(85))


def test_only_the_drawn_samples_are_read():
    read = []

    def note(index):
        read.extend(index.tolist())
        return torch.zeros(len(index), 1, 2, 2)

    lazy = Split(torch.arange(60) % 3, note)
    prepare(Source("lazy", lazy, numbered(20), ("a", "b", "c")), train_samples=6)
    assert len(read) == 6


def test_rate_coded_spikes_follow_seed_and_epoch_and_test_spikes_stay_the_same():
    grey = Split.of(torch.full((12, 1, 2, 2), 0.5), torch.arange(12) % 3)
    made = [
        prepare(Source("grey", grey, grey, ("a", "b", "c"), top=1.0), encoding="rate", steps=20)
        for _ in range(2)
    ]
    (first, _), (again, _) = (next(iter(data.train)) for data in made)
    assert torch.equal(first, again)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    (second, _) = next(iter(made[0].train))
    assert not torch.equal(first, second)
    assert torch.equal(next(iter(made[0].test))[0], next(iter(made[0].test))[0])


def test_iterating_does_not_change_the_global_generator():
    data = prepare(source(top=1060.0), encoding="rate", steps=2)
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    numbers(data.train)
    assert torch.equal(torch.rand(2), expected)


def test_only_direct_encoding_standardises_colour():
    x = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    both = Split.of(x, torch.tensor([0, 1]))
    colour = Source("colour", both, both, ("a", "b"), colour=True)
    (current, _) = next(iter(prepare(colour, steps=2).test))
    assert current[0, :, 0, 0, 0].tolist() == [-2.0, 2.0]
    (spikes, _) = next(iter(prepare(colour, steps=2, encoding="rate").test))
    assert spikes[:, :, 0, 0, 0].tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_event_frames_are_not_encoded():
    frames = torch.randint(0, 9, (6, 5, 2, 3, 4), dtype=torch.uint8)
    split = Split.of(frames, torch.arange(6) % 2)
    events = Source("events", split, split, ("a", "b"), timed=True)
    data = prepare(events, steps=5, batch_size=4)
    assert data.shape == (2, 3, 4)
    x = torch.cat([x for x, _ in data.test], dim=1)
    assert x.is_contiguous()
    assert torch.equal(x.transpose(0, 1), frames.float())
    with pytest.raises(SigpropError, match="encoding is 'rate' for 'events'"):
        prepare(events, steps=5, encoding="rate")
    with pytest.raises(SigpropError, match="7 steps"):
        prepare(events, steps=7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": float("nan")}, "validation is nan"),
        ({"validation": 0.001}, "holds out 0 of 60"),
        ({"train_samples": 0}, "train_samples is 0; expected 1 to 60, .* 'numbers'"),
        ({"train_samples": 61}, "train_samples is 61"),
        ({"train_samples": 2.5}, "train_samples is 2.5; expected a whole number"),
        ({"augment": "yes"}, "augment is 'yes'; expected True or False"),
        ({"test_samples": 21}, "test_samples is 21; expected 1 to 20, .* 'numbers'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(SigpropError, match=message):
        prepare(source(), **arguments)


def test_an_unknown_encoding_gets_the_nearest_known_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'direct'"):
        prepare(source(), encoding="dirct")


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(label):
    with pytest.raises(SigpropError, match=f"train sample 1 of 'x' has label {label}"):
        Source(
            "x",
            Split.of(torch.zeros(2, 1), torch.tensor([0, label])),
            numbered(3),
            ("a", "b", "c"),
        )


def test_empty_splits_and_unequal_shapes_are_refused():
    with pytest.raises(SigpropError, match="test split of 'numbers' is empty"):
        source(test=0)
    with pytest.raises(SigpropError, match="2 samples have 3 labels"):
        Split.of(torch.zeros(2, 1), torch.zeros(3))
    wide = Split.of(torch.zeros(4, 1, 2, 3), torch.arange(4) % 3)
    with pytest.raises(
        SigpropError,
        match=r"test samples of 'numbers' have shape \(1, 2, 3\); expected \(1, 2, 2\)",
    ):
        prepare(Source("numbers", numbered(9), wide, ("a", "b", "c")))


def test_pixels_that_are_not_finite_are_refused():
    x = torch.zeros(4, 1, 2, 2)
    x[2, 0, 1, 1] = float("nan")
    bad = Split.of(x, torch.arange(4) % 3)
    with pytest.raises(SigpropError, match=r"train samples of 'numbers' contain NaN.*sample 2"):
        prepare(Source("numbers", bad, numbered(9), ("a", "b", "c")))


def test_seeds_made_of_different_parts_differ():
    made = {derive_seed(a, b) for a in range(20) for b in range(20)}
    assert len(made) == 400
    assert all(0 <= seed < 2**63 for seed in made)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.integers(1, 90), min_size=2, max_size=2),
    fraction=st.floats(0.05, 0.9),
    drawn=st.integers(20, 60),
)
def test_splits_depend_only_on_the_seed_and_never_overlap(seed, sizes, fraction, drawn):
    found = []
    for batch_size, steps in zip(sizes, (2, 3), strict=True):
        data = prepare(
            source(),
            steps=steps,
            batch_size=batch_size,
            seed=seed,
            validation=fraction,
            train_samples=drawn,
            test_samples=15,
        )
        found.append([sorted(numbers(b)) for b in (data.train, data.validation, data.test)])
    assert found[0] == found[1]
    train, validation, test = map(set, found[0])
    assert len(train) + len(validation) == drawn
    assert len(validation) == round(fraction * drawn)
    assert not train & validation
    assert not (train | validation) & test


def test_a_source_can_have_validation_samples():
    given_apart = Source(
        "n", numbered(60), numbered(20, 1000), ("a", "b", "c"), 1.0, validation=numbered(9, 500)
    )
    data = prepare(given_apart)
    assert numbers(data.validation) == list(range(500, 509))
    assert sorted(numbers(data.train)) == list(range(60))
    carved = prepare(given_apart, validation=0.5)
    assert max(numbers(carved.validation)) < 60
    with pytest.raises(SigpropError, match="validation sample 0 of 'n' has label 7"):
        Source(
            "n",
            numbered(6),
            numbered(6),
            ("a", "b", "c"),
            validation=Split.of(torch.zeros(1, 1), torch.tensor([7])),
        )


def test_pictures_that_do_not_fit_in_memory_are_read_batch_by_batch(monkeypatch):
    read = []

    def note(index):
        read.append(len(index))
        return index.to(torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    large = Split(torch.arange(60) % 3, note, sample_bytes=16)
    lazy = Source("lazy", large, numbered(20, 1000), ("a", "b", "c"), 1.0)
    monkeypatch.setattr("sigprop_snn.data.preparation.IN_MEMORY", 16 * 40)
    data = prepare(lazy, batch_size=20, validation=0.5)
    # Half of the samples fit.
    assert read == [30, 30]
    read.clear()
    data = prepare(lazy, batch_size=20)
    assert read == [1]
    assert numbers(data.train) == numbers(prepare(source(), batch_size=20).train)
    assert read == [1, 20, 20, 20]
