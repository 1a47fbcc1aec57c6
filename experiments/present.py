"""Which data sets of an experiment lie under the data root.

python -m experiments.present base2new --data data
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from experiments import arguments, spec
from modprompt.errors import UserError
from modprompt.given import read_settings


def is_present(dataset: str, data: Path) -> bool:
    """Whether the images of a data set, named as in configs/datasets, are there or are written at first use."""
    import compat

    compat.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import datasets.readers  # noqa: F401 - registers them

    reader = DATASET_REGISTRY.get(read_settings(str(spec.dataset_config(dataset)))["DATASET.NAME"])
    if getattr(reader, "makes_itself", False):
        return True
    return (data / reader.dataset_dir / reader.image_folder).is_dir()


def present(names: Sequence[str], data: Path) -> list[str]:
    """Those of the data sets that are there."""
    return [name for name in names if is_present(name, data)]


def main(argv: list[str] | None = None) -> int:
    """Print the names, one a line; 1 if there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="experiment file, or its name in configs/experiments")
    arguments.add_data(parser)
    args = parser.parse_args(argv)
    try:
        names = present(spec.read(spec.find(args.file)).datasets, args.data)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(names))
    return 0 if names else 1


if __name__ == "__main__":
    sys.exit(main())
