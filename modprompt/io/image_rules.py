"""What an image is: the one place that decides which 8-bit RGB picture a decoded file becomes, by one of two rules.

family: Pillow's convert("RGB") and nothing else, as the CoOp family reads: 16 bits are clipped at 255, what is
        transparent gets whatever colour is stored under it, nothing is turned.
people: as people see it: turned as its EXIF says, 16 bits scaled, transparency on white; floating-point refused.

Of several frames both use the first. Neither scales or crops anything.
"""

import contextlib
from typing import Any

from PIL import Image, ImageOps

from modprompt.io.safe_open import Refused

FAMILY, PEOPLE = "family", "people"
RULES = (FAMILY, PEOPLE)

_ORIENTATION = 0x0112  # in EXIF: 1 to 8
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_BITS, _PHOTOMETRIC = 258, 262  # tags of a TIFF


def as_rgb(image: Image.Image, rule: str) -> Image.Image:
    """An open image file in RGB, 8 bits a colour.

    Args:
        image: as Pillow opens it.
        rule: FAMILY or PEOPLE.

    Raises:
        Refused: if it is not defined what people see: floating-point numbers or 32 bits, under PEOPLE.
    """
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


def oddities(image: Image.Image) -> list[str]:
    """Why the two rules read an image, open and not decoded, differently; in words, empty for most images.

    What a PNG says behind its pixels is not looked at.
    """
    found = []
    if _is_deep(image):
        found.append("with more than 8 bits a colour")
    if _has_alpha(image):
        found.append("with transparency")
    if image.format != "TIFF" and 2 <= _orientation(image) <= 8:  # Pillow itself turns those
        found.append("turned by EXIF")
    if image.format != "MPO" and getattr(image, "is_animated", False):  # a phone's, whose second frame is a preview
        found.append("of several frames")
    return found


def _orientation(image: Image.Image) -> int:
    try:
        return int(Image.Image.getexif(image).get(_ORIENTATION, 1))  # a PNG's own would decode it
    except Exception:  # damaged metadata turns nothing; it raises errors of all kinds
        return 1


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def _in_eight_bits(image: Image.Image) -> Image.Image:
    import numpy as np  # late: most images have no need of it

    if image.mode == "F":
        raise Refused("its pixels are floating-point numbers, and which is white is not defined: save it with 16 bits")
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # where older Pillows give 16 bits so
        raise Refused("its pixels are signed or have 32 bits, and which is white is not defined: save it with 16 bits")
    tags: Any = getattr(image, "tag_v2", {})  # of a TIFF
    if tags.get(_PHOTOMETRIC) == 0:
        raise Refused("its 16 bits count from white to black: save it from black to white")
    bits = tags.get(_BITS, 16)
    white = 2 ** (bits[0] if isinstance(bits, tuple) else bits) - 1
    values = np.asarray(image).astype(np.float64) * (255 / white)
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if not _has_alpha(image):
        return image.convert("RGB")
    full = image.convert("RGBA")
    white = Image.new("RGBA", full.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, full).convert("RGB")
