"""Image files, whatever their names, of the formats that data sets have; Pillow's own bound of pixels holds.

Pillow tells a format by content, and knows some that are programs (an EPS named .png runs Ghostscript).
"""

import contextlib
import errno
import os
from collections.abc import Iterator

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
RULE_VARIABLE = "MODPROMPT_READ_AS"  # of the environment, so that loaders' workers have it too


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
        Refused: in one line, if it has another format, is damaged, larger than Pillow allows, or the block fails on it.
        OSError: with its name, if this machine fails: no memory, no more open files, a disk that cannot be read.
    """
    with open_regular(path) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                yield image
        except (UserError, Refused):
            raise
        except UnidentifiedImageError:
            raise Refused(f"it is none of {', '.join(FORMATS)}, or damaged") from None
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
            return as_rgb(image, rule)
    except FileNotFoundError:
        raise FileNotFoundError(f"image not found: {path}") from None
    except Refused as error:
        raise UserError(f"cannot read the image {path} ({error}): replace the file") from None
