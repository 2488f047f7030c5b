from __future__ import annotations

import re
import shutil
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from sigprop_snn.data import DataNotFoundError, load
from sigprop_snn.data.sets.pictures import as_people_see
from sigprop_snn.errors import SigpropError

COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


def write_pictures(root, size=(20, 16), kind="png", train=6, test=3):
    for split, count in (("train", train), ("test", test)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                picture = Image.new("RGB", size, colour)
                picture.putpixel((0, 0), (i, count, 0))  # no two pictures are equal
                picture.save(folder / f"{i:03}.{kind}")


def test_folders_give_classes_and_pictures_keep_a_common_size(tmp_path):
    write_pictures(tmp_path)
    data = load("imagefolder", root=tmp_path, steps=3)
    assert (data.train.samples, data.test.samples, data.shape) == (12, 6, (3, 16, 20))
    assert data.classes == ("blue", "red")
    x, y = next(iter(data.test))
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    # 2 is full brightness and -2 is none, after standardisation.
    assert x[0, 0, :, 5, 5].tolist() == [-2, -2, 2]
    assert x[0, 5, :, 5, 5].tolist() == [2, -2, -2]


def test_pixels_keep_their_positions(tmp_path):
    write_pictures(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "test" / "blue" / "000.png")
    x, _ = next(iter(load("imagefolder", root=tmp_path, steps=1).test))
    expected = (pixels.transpose(2, 0, 1) / 255 - 0.5) / 0.25
    assert np.allclose(x[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*contains copies of files")
def test_pictures_of_different_or_large_size_are_resized(tmp_path):
    write_pictures(tmp_path / "mixed", kind="jpg", train=3, test=1)
    for number in range(8):
        file = tmp_path / "mixed" / "test" / "red" / f"grey{number}.jpg"
        Image.new("L", (50 + number, 70)).save(file)
    write_pictures(tmp_path / "great", size=(200, 200), train=2, test=1)
    assert load("imagefolder", root=tmp_path / "mixed").shape == (3, 32, 32)
    assert load("imagefolder", root=tmp_path / "great").shape == (3, 32, 32)


def test_one_picture_of_another_size_is_resized_to_the_size_of_the_others(tmp_path):
    write_pictures(tmp_path)
    sound = next(iter(load("imagefolder", root=tmp_path).test))[0]
    Image.new("L", (50, 70)).save(tmp_path / "test" / "red" / "odd.png")
    with pytest.warns(UserWarning, match=r"1 of 19 pictures .* 20x16.*odd\.png with 50x70"):
        data = load("imagefolder", root=tmp_path)
    assert torch.equal(next(iter(data.test))[0][:, :-1], sound)


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
    with pytest.raises(SigpropError, match=f"the picture {re.escape(str(file))} can't be read"):
        load("imagefolder", root=tmp_path)


def test_only_the_drawn_pictures_are_decoded(tmp_path):
    write_pictures(tmp_path, train=50)
    file = tmp_path / "train" / "red" / "000.png"
    Image.effect_noise((20, 16), 90).convert("RGB").save(file)
    # The header, which contains the size, is still complete.
    file.write_bytes(file.read_bytes()[:300])
    assert load("imagefolder", root=tmp_path, train_samples=2).train.samples == 2
    with pytest.raises(SigpropError, match=r"000\.png"):
        load("imagefolder", root=tmp_path)


def first_test_picture(root):
    """Return the first test picture as levels 0 to 255, `[3, H, W]`."""
    x, _ = next(iter(load("imagefolder", root=root, steps=1).test))
    return ((x[0, 0] * 0.25 + 0.5) * 255).round().numpy()


RAMP = np.linspace(0, 65_535, 20 * 16).reshape(16, 20)


@pytest.mark.parametrize(
    ("suffix", "levels"),
    [
        ("png", RAMP.astype(np.uint16)),
        ("tif", RAMP.astype(np.uint16)),
        ("pgm", RAMP.astype(np.uint16)),
        ("tiff", RAMP.astype(np.int32)),
        ("tif", (RAMP / 65_535).astype(np.float32)),
    ],
    ids=["16-bit png", "16-bit tiff", "16-bit pgm", "32-bit tiff", "float tiff"],
)
def test_grey_levels_of_more_than_8_bits_are_scaled(tmp_path, suffix, levels):
    write_pictures(tmp_path)
    file = tmp_path / "test" / "blue" / "000.png"
    file.unlink()
    Image.fromarray(levels).save(file.with_suffix(f".{suffix}"))
    seen = first_test_picture(tmp_path)
    assert np.abs(seen - RAMP / 257).max() <= 1


def tiff(levels, bits, white_is_zero):
    """Return a grey TIFF file without compression; 12 bits are packed, two levels in 3 bytes."""
    height, width = levels.shape
    if bits == 12:
        pairs = levels.astype(int).reshape(-1, 2)
        first, second = pairs.T
        packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
        body = packed.astype(np.uint8).tobytes()
    else:
        body = levels.astype("<u2").tobytes()
    photometric = 0 if white_is_zero else 1
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric),
               (273, 8), (277, 1), (278, height), (279, len(body))]  # fmt: skip
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    directory = struct.pack("<H", len(entries)) + tags + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + directory


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_tiff_files_of_12_bits_and_with_white_at_zero_are_seen_right(tmp_path, bits, white_is_zero):
    write_pictures(tmp_path)
    levels = np.rint(RAMP / 65_535 * (2**bits - 1))
    stored = 2**bits - 1 - levels if white_is_zero else levels
    (tmp_path / "test" / "blue" / "000.png").unlink()
    (tmp_path / "test" / "blue" / "000.tif").write_bytes(tiff(stored, bits, white_is_zero))
    assert np.abs(first_test_picture(tmp_path) - RAMP / 257).max() <= 1


@pytest.mark.parametrize("levels", [[-0.5, 1], [0, 255], [0, np.nan]])
def test_grey_levels_out_of_range_are_refused(tmp_path, levels):
    write_pictures(tmp_path)
    file = tmp_path / "test" / "blue" / "float.tif"
    Image.fromarray(np.resize(np.array(levels, np.float32), (16, 20))).save(file)
    with pytest.raises(SigpropError, match=r"float\.tif can't be used.* mode F; expected 0 to 1"):
        load("imagefolder", root=tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "RGB"])
def test_other_modes_become_colour(tmp_path, mode):
    write_pictures(tmp_path)
    file = tmp_path / "test" / "blue" / "000.tif"
    file.with_suffix(".png").unlink()
    Image.new("RGB", (20, 16), (255, 255, 255)).convert(mode).save(file)
    assert first_test_picture(tmp_path).min() >= 254


def palette_picture(index):
    picture = Image.new("P", (20, 16), index)
    picture.putpalette([9] * 768)
    return picture


TRANSPARENT = {
    "RGBA": (Image.new("RGBA", (20, 16), (9, 9, 9, 0)), {}),
    "LA": (Image.new("LA", (20, 16), (9, 0)), {}),
    "L with one transparent level": (Image.new("L", (20, 16), 9), {"transparency": 9}),
    "RGB with one transparent colour": (
        Image.new("RGB", (20, 16), (9, 8, 7)),
        {"transparency": (9, 8, 7)},
    ),
    "1 with one transparent level": (Image.new("1", (20, 16), 0), {"transparency": 0}),
    "P with one transparent colour": (palette_picture(3), {"transparency": 3}),
    "P with an alpha for each colour": (
        palette_picture(1),
        {"transparency": bytes([255, 0])},
    ),
    "16 bits with one transparent level": (
        Image.fromarray(np.full((16, 20), 900, np.uint16)),
        {"transparency": 900},
    ),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparent_parts_show_white(tmp_path, kind):
    write_pictures(tmp_path)
    picture, options = TRANSPARENT[kind]
    picture.save(tmp_path / "test" / "blue" / "000.png", **options)
    assert first_test_picture(tmp_path).min() == 255


def test_half_transparent_parts_are_mixed_with_white(tmp_path):
    write_pictures(tmp_path)
    Image.new("RGBA", (20, 16), (0, 255, 0, 51)).save(tmp_path / "test" / "blue" / "000.png")
    assert first_test_picture(tmp_path)[:, 5, 5].tolist() == [204, 255, 204]


@pytest.mark.parametrize(
    "mode", ["RGB", "RGBX", "RGBa", "PA", "CMYK", "YCbCr", "HSV", "LAB", "L", "La", "I;16B"]
)
def test_every_mode_of_pillow_gives_the_colours_that_people_see(mode):
    expected = (200, 30, 60)
    colour = Image.new("RGB", (2, 2), expected)
    if mode == "LAB":
        profiles = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
        transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
        picture = ImageCms.applyTransform(colour, transform)
    elif mode == "I;16B":
        picture = Image.fromarray(np.full((2, 2), 84 * 257, np.int32)).convert(mode)
    else:
        way = {"RGBa": ["RGBA"], "La": ["LA"], "PA": ["P"]}.get(mode, [])
        picture = colour
        for each in (*way, mode):
            picture = picture.convert(each)
    if mode in ("L", "La", "I;16B"):
        expected = (84, 84, 84)
    seen = np.array(as_people_see(picture).getpixel((0, 0)))
    assert np.abs(seen - expected).max() <= (25 if mode == "PA" else 2)


@pytest.mark.filterwarnings("ignore:.*contains copies of files")
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(tmp_path, suffix, orientation):
    """The stored picture is the upright one after the inverse turn, which EXIF describes."""
    upright = Image.new("RGB", (20, 16))
    upright.paste((255, 255, 255), (0, 0, 8, 4))
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for split in ("train", "test"):
        for name in COLOURS:
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            stored.save(folder / f"a.{suffix}", exif=exif)
    seen = first_test_picture(tmp_path)
    assert seen.shape == (3, 16, 20), "the size is the turned one"
    assert np.abs(seen - np.asarray(upright).transpose(2, 0, 1)).mean() < 6


@pytest.mark.filterwarnings("ignore:.*contains copies of files")
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_leaves_the_picture_as_it_is_stored(tmp_path):
    write_pictures(tmp_path, kind="jpg")
    Image.new("RGB", (20, 16), COLOURS["red"]).save(
        tmp_path / "test" / "blue" / "000.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"
    )
    assert first_test_picture(tmp_path).shape == (3, 16, 20)


def test_hidden_files_and_folders_are_left_out(tmp_path):
    write_pictures(tmp_path)
    picture = (tmp_path / "train" / "red" / "000.png").read_bytes()
    for place in (".ipynb_checkpoints", "red/.ipynb_checkpoints", "red"):
        (tmp_path / "train" / place).mkdir(exist_ok=True)
        (tmp_path / "train" / place / ".000-checkpoint.png").write_bytes(picture)
    (tmp_path / "train" / "red" / ".ipynb_checkpoints" / "000.png").write_bytes(picture)
    data = load("imagefolder", root=tmp_path, steps=1)
    assert data.classes == ("blue", "red")
    assert data.train.samples == 12


def test_files_that_are_left_out_are_named(tmp_path):
    write_pictures(tmp_path)
    Image.new("RGB", (20, 16)).save(tmp_path / "train" / "red" / "a.gif")
    with pytest.warns(UserWarning, match=r"train: left out .*1 \.gif\), such as "):
        assert load("imagefolder", root=tmp_path).train.samples == 12


def test_a_folder_of_one_class_is_refused(tmp_path):
    write_pictures(tmp_path)
    for split in ("train", "test"):
        shutil.rmtree(tmp_path / split / "red")
    with pytest.raises(SigpropError, match="train contains one class, 'blue'"):
        load("imagefolder", root=tmp_path)


def test_a_link_to_a_folder_above_does_not_repeat_its_pictures(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "train" / "red" / "loop").symlink_to(tmp_path / "train" / "red")
    assert load("imagefolder", root=tmp_path).train.samples == 12


def test_a_link_to_nothing_is_named(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "train" / "red" / "gone.png").symlink_to(tmp_path / "moved.png")
    with pytest.raises(SigpropError, match=r"gone\.png is a link to .*moved\.png"):
        load("imagefolder", root=tmp_path)
