"""Image files of the formats that data sets have, whatever their names, and which 8-bit RGB picture each becomes.

Pillow tells a format by content, and knows some that are programs (an EPS named .png runs Ghostscript). Two rules:

dassl:  Pillow's convert("RGB") and nothing else, as the CoOp family reads: 16 bits are clipped at 255, what is
        transparent gets whatever colour is stored under it, nothing is turned.
photo:  as people see it: turned as its EXIF says, 16 bits scaled, transparency on white; floating-point refused.

Of several frames both use the first. Neither scales or crops anything.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, open_regular
from modprompt.programs import one_line

FAMILY, PEOPLE = "dassl", "photo"
RULES = (FAMILY, PEOPLE)
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
# endings of files of these formats, in lower case
SUFFIXES = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip

_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_BITS, _PHOTOMETRIC = 258, 262  # tags of a TIFF


def rule_of(cfg: Any) -> str:
    """Return the rule by which the images of a configuration are decoded, INPUT.DECODING; FAMILY if it names none."""
    return str(getattr(getattr(cfg, "INPUT", None), "DECODING", FAMILY))


def is_image_name(name: str) -> bool:
    """Whether a file is named like an image."""
    return name.lower().endswith(SUFFIXES)


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[Image.Image]:
    """An image file, open and not decoded yet; raises as open_regular.

    Raises Refused if it is a pipe or a device, has another format, is damaged, larger than Pillow allows, or the block
    fails on it; OSError with its name if this machine fails: no memory, no more open files, a disk that cannot be read.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise Refused(
            "the path is a pipe or a device, not a regular file"
        )  # opening a pipe waits until somebody writes
    with open_regular(path) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                yield image
        except (UserError, Refused):
            raise
        except UnidentifiedImageError:
            raise Refused(
                f"the file is damaged, or its format is not supported. Supported formats are {', '.join(FORMATS)}"
            ) from None
        except Exception as error:  # decoders raise all kinds
            number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
            if number is not None:  # Pillow's own have none
                raise OSError(number, os.strerror(number), str(path)) from None
            raise Refused(one_line(error)[:120]) from None


def read_rgb(path: PathLike, rule: str = FAMILY) -> Image.Image:
    """An image file, decoded, in RGB by a rule; raises as opened, but UserError with its name in place of Refused."""
    try:
        with opened(path) as image:
            return as_rgb(image, rule)
    except FileNotFoundError:
        raise FileNotFoundError(f"The image {path} does not exist.") from None
    except Refused as error:
        raise UserError(f"Cannot read the image {path} ({error}). Replace the file.") from None


def as_rgb(image: Image.Image, rule: str) -> Image.Image:
    """An open image in 8-bit RGB by a rule; Refused if PEOPLE see nothing defined (floating-point, 32 bits)."""
    if rule == FAMILY:
        return image.convert("RGB")
    image.load()  # an orientation behind the pixels is known then
    found = _in_eight_bits(image) if _is_deep(image) else _on_white(image)
    found.info = dict(image.info)
    with contextlib.suppress(Exception):  # damaged metadata turns nothing; or cannot be written anew, once turned
        ImageOps.exif_transpose(found, in_place=True)
    found.info = {}  # so that a second call does not turn it twice
    return found


def as_people(image: Image.Image) -> Image.Image:
    """As as_rgb under PEOPLE, a step of transforms; a second call changes nothing."""
    return as_rgb(image, PEOPLE)


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def has_one_colour_on_white(image: Image.Image) -> bool:
    """Return True if a decoded image has transparency and all its pixels get the same colour on a white background."""
    return _has_alpha(image) and _on_white(image).getcolors(maxcolors=1) is not None


def _in_eight_bits(image: Image.Image) -> Image.Image:
    import numpy as np  # late: most images have no need of it

    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):  # older Pillows give 16 bits so
        raise Refused(
            "the image has floating-point or 32-bit pixels, so it is not known which pixel value means white; save "
            "the image with 8 or 16 bits"
        )
    tags: Any = getattr(image, "tag_v2", {})  # of a TIFF
    if tags.get(_PHOTOMETRIC) == 0:
        raise Refused("in this 16-bit image 0 means white; save the image so that 0 means black")
    bits = tags.get(_BITS, 16)
    white = 2 ** (bits[0] if isinstance(bits, tuple) else bits) - 1
    values = np.asarray(image).astype(np.float64) * (255 / white)
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if not _has_alpha(image):
        return image.convert("RGB")
    full = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", full.size, (255, 255, 255, 255)), full).convert("RGB")
