from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sigprop_snn.data import DataNotFoundError, load
from sigprop_snn.errors import SigpropError

COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


def write_pictures(root, size=(20, 16), kind="png", train=6, test=3):
    for split, count in (("train", train), ("test", test)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", size, colour).save(folder / f"{i:03}.{kind}")


def test_folders_give_classes_and_pictures_keep_a_common_size(tmp_path):
    write_pictures(tmp_path)
    data = load("imagefolder", root=tmp_path, steps=3)
    assert (data.train.samples, data.test.samples, data.shape) == (12, 6, (3, 16, 20))
    assert data.classes == ("blue", "red")
    x, y = next(iter(data.test))
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    # Full and no brightness, standardised.
    assert x[0, 0, :, 5, 5].tolist() == [-2, -2, 2]
    assert x[0, 5, :, 5, 5].tolist() == [2, -2, -2]


def test_pixels_keep_their_positions(tmp_path):
    write_pictures(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "test" / "blue" / "000.png")
    x, _ = next(iter(load("imagefolder", root=tmp_path, steps=1).test))
    expected = (pixels.transpose(2, 0, 1) / 255 - 0.5) / 0.25
    assert np.allclose(x[0, 0].numpy(), expected, atol=1e-5)


def test_pictures_of_different_or_large_size_are_resized(tmp_path):
    write_pictures(tmp_path / "odd", kind="jpg")
    Image.new("L", (50, 70)).save(tmp_path / "odd" / "test" / "red" / "grey.jpg")
    write_pictures(tmp_path / "great", size=(200, 200), train=2, test=1)
    assert load("imagefolder", root=tmp_path / "odd").shape == (3, 32, 32)
    assert load("imagefolder", root=tmp_path / "great").shape == (3, 32, 32)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"(?s)train/<class>.*test/<class>"):
        load("imagefolder", root=tmp_path)


def test_classes_must_be_the_same_in_train_and_test(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "test" / "blue").rename(tmp_path / "test" / "green")
    with pytest.raises(SigpropError, match=r"different classes \(blue, green\)"):
        load("imagefolder", root=tmp_path)


def test_an_empty_class_is_named(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(SigpropError, match="train/empty contains no data"):
        load("imagefolder", root=tmp_path)


@pytest.mark.parametrize("cut", [0, 20, 400])
def test_an_unreadable_picture_is_named(tmp_path, cut):
    write_pictures(tmp_path, kind="jpg")
    file = tmp_path / "train" / "red" / "002.jpg"
    Image.effect_noise((20, 16), 90).convert("RGB").save(file)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(SigpropError, match=f"the picture {file} can't be read"):
        load("imagefolder", root=tmp_path)


def test_only_the_drawn_pictures_are_decoded(tmp_path):
    write_pictures(tmp_path, train=50)
    file = tmp_path / "train" / "red" / "000.png"
    Image.effect_noise((20, 16), 90).convert("RGB").save(file)
    # The header, which tells the size, stays whole.
    file.write_bytes(file.read_bytes()[:300])
    assert load("imagefolder", root=tmp_path, train_samples=2).train.samples == 2
    with pytest.raises(SigpropError, match=r"000\.png"):
        load("imagefolder", root=tmp_path)
