"""Download data sets and arrange their files, or check data sets that exist.

modprompt prepare EuroSAT dtd --root data
modprompt prepare all --root data --check
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from modprompt.compat import find as compat

compat.add_to_path()

from dassl.data.datasets import DATASET_REGISTRY  # noqa: E402

import modprompt.data.readers.all  # noqa: E402, F401
from modprompt.data.names import find  # noqa: E402
from modprompt.data.prepare.layout import check, prepare  # noqa: E402
from modprompt.data.prepare.recipes import RECIPES  # noqa: E402
from modprompt.errors import UserError  # noqa: E402
from modprompt.io.files import of_user  # noqa: E402
from modprompt.programs import Parser, report  # noqa: E402


def _main(argv: list[str] | None) -> int:
    parser = Parser(__doc__)
    named = f"names of data sets: all, {', '.join(RECIPES)}, or names in configs/datasets"
    parser.add_argument("names", nargs="+", metavar="NAME", help=named)
    data = Path(os.environ.get("DATA", "data"))
    parser.add_argument(
        "--root",
        type=Path,
        default=data,
        help="folder that contains the data sets (default: the environment variable DATA, else data)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="only report missing files, wrong numbers of images and unreadable images; change nothing",
    )
    parser.add_argument("--no-images", action="store_true", help="with --check, do not decode the images")
    args = parser.parse_args(argv)
    root, incomplete = of_user(args.root).absolute(), False
    names = list(RECIPES) if args.names == ["all"] else [find(name)[1] for name in args.names]
    others = [name for name in names if name not in RECIPES]
    if others:
        raise UserError(
            f"{others[0]} cannot be downloaded, because the images are part of a Python package or are your own "
            f"images. Remove {others[0]} from the command."
        )
    for name in names:
        steps, folder = RECIPES[name], root / DATASET_REGISTRY.get(name).dataset_dir
        try:
            by_hand = [] if args.check else prepare(steps, folder)
            faults = by_hand or check(name, steps, folder, images=args.check and not args.no_images)
        except (UserError, OSError) as error:
            faults = str(error).split(" | ")
        for fault in faults:
            print(f"{name}: {fault}", file=sys.stderr)
        print(f"The data set {name} is {'incomplete' if faults else 'complete'}.")
        incomplete |= bool(faults)
    return int(incomplete)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 if every data set named is complete, 1 if one is not, 2 after a message on a wrong name."""
    return report(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
