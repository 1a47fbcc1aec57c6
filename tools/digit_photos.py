"""Write digits as if they were a user's photos, to train on and to classify: python -m tools.digit_photos FOLDER

FOLDER/images/<word>/*.png   40 of each digit, under number words
FOLDER/new/*.png             2 more of each
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from modprompt.compat import find as compat

IN_FOLDERS, BESIDE = 40, 2


def write(folder: Path) -> None:
    """Write them, in the order of scikit-learn."""
    compat.add_to_path()
    from modprompt.data.readers.digits import CLASS_NAMES, Digits  # late: it needs Dassl

    images, labels = Digits.arrays()
    for label, word in enumerate(CLASS_NAMES):
        (folder / "images" / word).mkdir(parents=True, exist_ok=True)
        (folder / "new").mkdir(exist_ok=True)
        of_class = [image for image, one in zip(images, labels) if one == label][: IN_FOLDERS + BESIDE]
        for number, image in enumerate(of_class):
            is_new = number >= IN_FOLDERS
            path = folder / "new" / f"{word}_{number}.png" if is_new else folder / "images" / word / f"{number:02}.png"
            Image.fromarray(image).save(path)


def main(argv: list[str] | None = None) -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder to write")
    write(parser.parse_args(argv).folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
