"""Image files, whatever their names: of the formats that data sets have, and no larger than a bound.

Pillow tells a format by content, and knows some that are programs (an EPS named .png runs Ghostscript).
"""

import contextlib
import errno
import math
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from modprompt.errors import UserError
from modprompt.io.image_rules import FAMILY, PEOPLE, RULES, as_rgb
from modprompt.io.safe_open import PathLike, Refused, open_regular
from modprompt.programs import one_line

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
# endings of files of these formats, in lower case
SUFFIXES = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
MOST_MEGAPIXELS = 100.0
# environment variables, so that loaders' workers have them too
VARIABLE, RULE_VARIABLE = "MODPROMPT_MAX_MEGAPIXELS", "MODPROMPT_READ_AS"


class TooLarge(Refused):
    """An image that is not read, though its file may be whole."""


class _PillowsBound:
    """Pillow's own bound is different, and applies to the whole process: it is off while any thread opens an image."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for the count alone: threads that read do not wait for one another
        self._inside = 0
        self._theirs: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self._theirs

    def admit(self, pixels: int) -> None:
        """Raise it to so many pixels, if it is lower."""
        with self._lock:
            theirs = self._theirs if self._inside else Image.MAX_IMAGE_PIXELS
            if theirs is None or theirs >= pixels:
                return
            if self._inside:
                self._theirs = pixels
            else:
                Image.MAX_IMAGE_PIXELS = pixels


_PILLOWS = _PillowsBound()


def bound(megapixels: float) -> None:
    """Set the bound, for this process and those that it starts: INPUT.MAX_MEGAPIXELS of a run.

    Args:
        megapixels: above 0; the default leaves what the environment says.

    Raises:
        UserError: if that is not a number above 0.
    """
    if megapixels != MOST_MEGAPIXELS:
        os.environ[VARIABLE] = repr(float(megapixels))
    most_megapixels()


def most_megapixels() -> float:
    """The bound of this process.

    Raises:
        UserError: if the environment variable is not a number above 0.
    """
    said = os.environ.get(VARIABLE)
    try:
        most = MOST_MEGAPIXELS if said is None else float(said)
    except ValueError:
        most = 0.0
    if not (most > 0 and math.isfinite(most)):
        raise UserError(f"{VARIABLE} must be a number above 0, got {said!r}")
    return most


def read_as(rule: str) -> None:
    """Set the rule by which a run's images are read, in this process and those that it starts: INPUT.READ_AS."""
    if rule == PEOPLE:
        os.environ[RULE_VARIABLE] = rule
    else:
        os.environ.pop(RULE_VARIABLE, None)


def rule_of_run() -> str:
    """The rule that read_as has set.

    Raises:
        UserError: if the environment variable is no rule.
    """
    rule = os.environ.get(RULE_VARIABLE, FAMILY)
    if rule not in RULES:
        raise UserError(f"{RULE_VARIABLE} must be {' or '.join(RULES)}, got {rule!r}")
    return rule


def is_image_name(name: str) -> bool:
    """Whether a file is named like an image."""
    return name.lower().endswith(SUFFIXES)


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[Image.Image]:
    """An image file, open and not decoded yet; what goes wrong with it in the block is also `Refused`.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it is not a regular file, or may not be read.
        Refused: in one line, if it has another format, is damaged, too large (`TooLarge`), or the block fails on it.
        OSError: with its name, if this machine fails: no memory, no more open files, a disk that cannot be read.
    """
    with open_regular(path) as file:
        try:
            with _identified(file) as image:
                _require_size(*image.size)
                yield image
        except (UserError, Refused):
            raise
        except MemoryError:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(path)) from None
        except Exception as error:  # decoders raise all kinds
            if isinstance(error, OSError) and error.errno is not None:  # Pillow's own have none
                raise OSError(error.errno, error.strerror, str(path)) from None
            raise Refused(one_line(error)[:120]) from None


def read_of_run(path: PathLike) -> Image.Image:
    """As read_rgb, by the rule of the run: what Dassl reads images with."""
    return read_rgb(path, rule_of_run())


def read_rgb(path: PathLike, rule: str = FAMILY) -> Image.Image:
    """An image file, decoded, in RGB.

    Later steps of Pillow, such as a crop, may check Pillow's own bound, which a larger image raises.

    Args:
        path: of the file.
        rule: how its pixels are understood, of io/image_rules.py.

    Raises:
        FileNotFoundError: if there is none; the message names it.
        UserError: in one line with its name, if it cannot be read as `opened` reads.
        OSError: as `opened`.
    """
    try:
        with opened(path) as image:
            _PILLOWS.admit(image.width * image.height)
            return as_rgb(image, rule)
    except FileNotFoundError:
        raise FileNotFoundError(f"image not found: {path}") from None
    except TooLarge as error:
        raise UserError(f"cannot read the image {path}: {error}") from None
    except Refused as error:
        raise UserError(f"cannot read the image {path} ({error}): replace the file") from None


def _identified(file: BinaryIO) -> Image.Image:
    with _PILLOWS:
        try:
            return Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise Refused(f"it is none of {', '.join(FORMATS)}, or damaged") from None


def _require_size(width: int, height: int) -> None:
    if width * height > most_megapixels() * 1e6:
        raise TooLarge(
            f"it has {width} x {height} pixels, more than {most_megapixels():g} megapixels: INPUT.MAX_MEGAPIXELS, or "
            f"{VARIABLE} in the environment, raises that"
        )
