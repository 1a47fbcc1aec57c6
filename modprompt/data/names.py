"""The two names of a data set: its config file's (dtd, used in scripts), and the registered one (DescribableTextures).

python -m modprompt.data.names NAME     prints the config file's name
"""

from __future__ import annotations

from pathlib import Path

from modprompt import places
from modprompt.checks import known_names, nearest
from modprompt.errors import UserError
from modprompt.io.records import read_yaml
from modprompt.programs import Parser, report


def config_file(name: str) -> Path:
    """The file of a data set's config name; it may be missing."""
    return places.configs() / "datasets" / f"{name}.yaml"


def config_names() -> list[str]:
    """Config names of the data sets that have a file in configs/datasets, sorted."""
    return sorted(path.stem for path in config_file("").parent.glob("*.yaml"))


def registered_names() -> dict[str, str]:
    """Registered names by config names."""
    return {name: str(read_yaml(config_file(name))["DATASET"]["NAME"]) for name in config_names()}


def find(name: str) -> tuple[str, str]:
    """The config name and the registered name of a data set, by either, in any case.

    Raises:
        UserError: if there is none; the message names the nearest.
    """
    known = registered_names()
    for pair in known.items():
        if name.lower() in (pair[0].lower(), pair[1].lower()):
            return pair
    near = nearest(name, [*known, *known.values()]) if name else ""
    shown = ", ".join(f"{config} ({registered})" for config, registered in known.items())
    raise UserError(f"Unknown data set {name!r}{near or '.'} Available data sets: {shown}.")


def path_of(word: str) -> Path:
    """The config file that a word means: a path, configs/... of this project, or either name of a data set.

    Raises:
        UserError: if there is none; known ones are named.
    """
    given = places.named_file(word)
    if given is not None:
        return given
    is_name = "/" not in word and not word.endswith(".yaml")
    try:
        if is_name:
            return config_file(find(word)[0])
        raise UserError(f"The config file {word} does not exist{known_names(Path(word).stem, config_names())}")
    except UserError:
        places.require_no_folder(word)
        raise


def _main(argv: list[str] | None) -> int:
    parser = Parser(__doc__)
    parser.add_argument("name", metavar="NAME")
    print(find(parser.parse_args(argv).name)[0])
    return 0


def main(argv: list[str] | None = None) -> int:
    """Print a data set's config name; exit code 2, after a message, if there is no such name."""
    return report(_main, argv)


if __name__ == "__main__":
    raise SystemExit(main())
