"""Download and lay out data sets, or check those that are there.

modprompt prepare EuroSAT dtd --root data
modprompt prepare all --root data --check
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from modprompt.compat import find as compat  # noqa: E402

compat.add_to_path()


import modprompt.data.readers.all  # noqa: E402, F401
from modprompt.data.names import find  # noqa: E402
from modprompt.data.prepare.check import check  # noqa: E402
from modprompt.data.prepare.layout import prepare  # noqa: E402
from modprompt.data.prepare.recipes import RECIPES  # noqa: E402
from modprompt.errors import UserError  # noqa: E402
from modprompt.io.files import of_user  # noqa: E402
from modprompt.programs import report  # noqa: E402


def _names(given: list[str]) -> list[str]:
    if given == ["all"]:
        return list(RECIPES)
    names = [find(name)[1] for name in given]
    for name in names:
        if name not in RECIPES:
            raise UserError(f"{name} is not downloaded: its images come with a package, or are your own")
    return names


def _main(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help=f"all, or some of: {', '.join(RECIPES)}, or as in configs/datasets"
    )
    parser.add_argument(
        "--root", type=Path, default=Path(os.environ.get("DATA", "data")), help="folder of the data sets"
    )
    parser.add_argument("--check", action="store_true", help="only look: what is missing, miscounted, unreadable")
    parser.add_argument("--no-images", action="store_true", help="with --check: do not read the images themselves")
    args = parser.parse_args(argv)
    names = _names(args.names)
    root, faulty = of_user(args.root).absolute(), []
    for name in names:
        try:
            if args.check:
                faults = check(name, RECIPES[name], root, images=not args.no_images)
            else:
                faults = prepare(RECIPES[name], root) or check(name, RECIPES[name], root, images=False)
        except UserError as error:
            faults = str(error).split(" | ")
        for fault in faults:
            print(f"{name}: {fault}", file=sys.stderr)
        print(f"{name}: {'incomplete' if faults else 'complete'}")
        faulty += [name] if faults else []
    return 1 if faulty else 0


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 if every data set named is complete, 1 if one is not, 2 after a message on a wrong name."""
    return report(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
