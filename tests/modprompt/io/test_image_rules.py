"""Which 8-bit RGB picture a file stands for, by each of the two rules."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from modprompt.errors import UserError
from modprompt.io.image_files import opened, read_as, read_of_run, read_rgb
from modprompt.io.image_rules import FAMILY, PEOPLE, as_people, as_rgb, oddities

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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_as_the_camera_was_for_people(tmp_path, orientation):
    """What Pillow's own exif_transpose gives."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(tmp_path / "a.png", GREY, exif=exif)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(grey_of(path, PEOPLE), wanted)
    assert np.array_equal(np.asarray(as_people(read_rgb(path, PEOPLE)))[..., 0], wanted)
    assert np.array_equal(grey_of(path, FAMILY), GREY)
    assert odd(path) == (["turned by EXIF"] if orientation > 1 else [])


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def exif_of(orientation):
    """An eXIf chunk; one that says nothing of a turn without an orientation."""
    exif = Image.Exif()
    exif[0x0112 if orientation else 0x0131] = orientation or "a program"
    content = exif.tobytes()
    return chunk(b"eXIf", content[6:] if content.startswith(b"Exif") else content)


def profile_of(orientation):
    """As ImageMagick writes it."""
    content = b"Exif\0\0" + exif_of(orientation)[8:-4]
    text = f"\nexif\n{len(content):8d}\n{content.hex()}\n"
    return chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text.encode()))


def png(first=b"", last=b"", end=True, **how):
    """GREY with chunks before its pixels and behind them."""
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "png", **how)
    content = file.getvalue()
    pixels = content.index(b"IDAT") - 4
    return content[:pixels] + first + content[pixels:-12] + last + (content[-12:] if end else b"")


@pytest.mark.parametrize(
    ("content", "turned"),
    [
        (png(), False),
        (png(first=exif_of(6)), True),
        (png(last=exif_of(6)), True),
        (png(first=exif_of(None), last=exif_of(6)), True),
        (png(first=exif_of(6), last=exif_of(1)), False),
        (png(last=profile_of(6)), True),
        (png(last=exif_of(6), end=False), True),
        (png(last=exif_of(6), save_all=True, append_images=[Image.new("L", (4, 3))]), False),  # the second's
    ],
    ids=["no", "before", "behind", "behind another", "undone behind", "a profile", "no end", "of the second frame"],
)
def test_a_png_that_is_turned_behind_its_pixels_is_counted_without_decoding_it(tmp_path, monkeypatch, content, turned):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert (read_rgb(path, PEOPLE).size == (3, 4)) is turned
    with monkeypatch.context() as patched:
        patched.setattr(PngImagePlugin.PngImageFile, "load", lambda image: pytest.fail("decoded"))
        assert ("turned by EXIF" in odd(path)) is turned
    with opened(path) as image:
        oddities(image)
        assert (as_rgb(image, PEOPLE).size == (3, 4)) is turned


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_deep_and_turned_and_damaged_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(tmp_path / "a.png", GREY.astype(np.uint16) * 257, exif=exif)
    assert np.array_equal(grey_of(path, PEOPLE), np.rot90(GREY, -1))
    path = written(tmp_path / "b.jpg", np.zeros((8, 8), np.uint8), exif=b"Exif\0\0II*\0 and no more")
    assert read_rgb(path, PEOPLE).size == (8, 8)


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


def test_what_dassl_reads_with_follows_the_run(tmp_path, monkeypatch):
    monkeypatch.delenv("MODPROMPT_READ_AS", raising=False)
    path = written(tmp_path / "a.png", GREY.astype(np.uint16) * 257)
    assert np.asarray(read_of_run(path)).max() == 255
    read_as(PEOPLE)
    assert np.asarray(read_of_run(path)).max() == GREY.max()
    read_as(FAMILY)
    assert np.asarray(read_of_run(path)).max() == 255
    monkeypatch.setenv("MODPROMPT_READ_AS", "others")
    with pytest.raises(UserError, match="MODPROMPT_READ_AS must be family or people, got 'others'"):
        read_of_run(path)
