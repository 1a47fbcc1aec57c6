"""Which 8-bit RGB picture a file stands for, by each of the two rules."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from modprompt.errors import UserError
from modprompt.io.image_files import FAMILY, PEOPLE, as_people, oddities, opened, read_rgb

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # no turn leaves it as it is


def written(path, pixels, mode=None, **how):
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **how)
    return path


def grey_of(path, rule):
    pixels = np.asarray(read_rgb(path, rule))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def odd(path):
    with opened(path) as image:
        return oddities(image)


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_sixteen_bits_are_scaled_for_people_and_clipped_for_the_family(tmp_path, ending):
    path = written(tmp_path / f"a.{ending}", GREY.astype(np.uint16) * 257)
    assert np.array_equal(grey_of(path, PEOPLE), GREY)
    assert np.array_equal(grey_of(path, FAMILY), np.where(GREY > 0, 255, 0))
    assert odd(path) == ["with more than 8 bits a colour"]


@pytest.mark.parametrize(
    ("kind", "why"), [(np.float32, "floating-point numbers"), (np.int32, "signed or have 32 bits")]
)
def test_what_nobody_can_say_the_white_of_is_refused_for_people_alone(tmp_path, kind, why):
    path = written(tmp_path / "a.tiff", GREY.astype(kind))
    with pytest.raises(UserError, match=f"cannot read the image .*a.tiff .*{why}"):
        read_rgb(path, PEOPLE)
    read_rgb(path, FAMILY)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_for_people(tmp_path, mode):
    pixels = np.zeros((3, 4, 4), np.uint8)
    pixels[0, :, 3] = 255  # black, and else nothing
    if mode == "P":
        flat = Image.fromarray((pixels[..., 3] == 0).astype(np.uint8), "L").convert("P")
        flat.putpalette([0, 0, 0, 0, 0, 0])
        flat.save(tmp_path / "a.png", transparency=1)
    else:
        Image.fromarray(pixels, "RGBA").convert(mode).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    assert grey_of(path, PEOPLE).tolist() == [[0] * 4, [255] * 4, [255] * 4]
    assert grey_of(path, FAMILY).max() == 0
    assert odd(path) == ["with transparency"]


@pytest.mark.parametrize("white", [255, 65535])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_as_the_camera_was_for_people(tmp_path, orientation, white):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(tmp_path / "a.png", GREY if white == 255 else GREY.astype(np.uint16) * 257, exif=exif)
    turns = [GREY, np.fliplr(GREY), np.rot90(GREY, 2), np.flipud(GREY), GREY.T, np.rot90(GREY, -1)]
    wanted = [*turns, np.rot90(GREY, 2).T, np.rot90(GREY)][orientation - 1]
    assert np.array_equal(grey_of(path, PEOPLE), wanted)
    assert np.array_equal(np.asarray(as_people(read_rgb(path, PEOPLE)))[..., 0], wanted)
    assert grey_of(path, FAMILY).shape == GREY.shape
    assert ("turned by EXIF" in odd(path)) is (orientation > 1)


def test_a_png_may_be_turned_behind_its_pixels(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(tmp_path / "a.png", GREY, exif=exif)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    chunk = content[start : content.index(b"IDAT") - 4]
    path.write_bytes(content.replace(chunk, b"")[:-12] + chunk + content[-12:])
    assert np.array_equal(grey_of(path, PEOPLE), np.rot90(GREY, -1))
    assert np.array_equal(grey_of(path, FAMILY), GREY)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: pytest.fail("decoded"))
    assert odd(path) == []


def test_orientation_counts_though_the_rest_of_the_metadata_is_damaged(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    content = exif.tobytes().replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x01")  # the resolution is said to be bytes
    path = written(tmp_path / "a.png", GREY, exif=content)
    assert np.array_equal(grey_of(path, PEOPLE), np.rot90(GREY, -1))
    with Image.open(path) as image:  # a user's own is left as it is
        assert as_people(image).size == as_people(image).size == (3, 4)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_turns_nothing(tmp_path):
    path = written(tmp_path / "a.jpg", np.zeros((8, 6), np.uint8), exif=b"Exif\0\0II*\0 and no more")
    assert read_rgb(path, PEOPLE).size == (6, 8)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr"])
def test_images_that_are_not_odd_are_the_same_by_both_rules(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    path = written(tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"), pixels, mode)
    assert odd(path) == []
    assert read_rgb(path, PEOPLE).tobytes() == read_rgb(path, FAMILY).tobytes()


def test_of_several_frames_both_rules_take_the_first(tmp_path):
    first, second = (Image.new("L", (4, 3), value) for value in (10, 200))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert odd(tmp_path / "a.gif") == ["of several frames"]
    for rule in (FAMILY, PEOPLE):
        assert grey_of(tmp_path / "a.gif", rule).max() == 10
