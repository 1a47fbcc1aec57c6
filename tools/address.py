"""The address of the project's repository: the one value for clone line, badges, links and citation.

    python -m tools.address                                  write them again from pyproject.toml's [tool.modprompt]
    python -m tools.address https://github.com/owner/name    set its value first; "" for none

While the value is empty, there is no repository, and nothing names one.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from modprompt.errors import UserError
from modprompt.io.files import write_whole
from modprompt.programs import report

ROOT = Path(__file__).resolve().parent.parent
_VALUE = re.compile(r'^repository = "([^"]*)"', re.MULTILINE)
_GITHUB = re.compile(r"https://github\.com/[A-Za-z0-9][\w-]*/[\w.-]+")


def stated(root: Path = ROOT) -> str:
    """The address; empty if there is no repository."""
    found = _VALUE.search((root / "pyproject.toml").read_text())
    return found[1] if found else ""


def badges(address: str) -> str:
    """The badges of the workflows for tests and docs."""
    names = {"ci": "tests", "docs": "docs"}
    return " ".join(
        f"[![{name}]({address}/actions/workflows/{file}.yml/badge.svg)]({address}/actions/workflows/{file}.yml)"
        for file, name in names.items()
    )


def clone(address: str) -> str:
    """The commands that clone it."""
    return f"```bash\ngit clone {address}.git\ncd {address.rpartition('/')[2]}\n```"


def urls(address: str) -> str:
    """The table of pyproject.toml."""
    rows = {"Repository": "", "Issues": "/issues", "Changelog": "/blob/main/CHANGELOG.md"}
    return "\n".join(["[project.urls]", *(f'{name} = "{address}{path}"' for name, path in rows.items())])


def code(address: str) -> str:
    """The line of CITATION.cff."""
    return f"repository-code: {address}"


def site(address: str) -> str:
    """The line of mkdocs.yml."""
    return f"repo_url: {address}"


PLACES: dict[str, dict[str, Callable[[str], str]]] = {
    "README.md": {"badges": badges, "clone": clone},
    "docs/INSTALL.md": {"clone": clone},
    "pyproject.toml": {"urls": urls},
    "CITATION.cff": {"code": code},
    "mkdocs.yml": {"site": site},
}


def rendered(name: str, text: str, address: str) -> str:
    """A file's text with its parts for the address, which are empty if the address is.

    Raises:
        UserError: if the marks of a part are missing in the text.
    """
    begin, end = ("<!-- ", " -->") if name.endswith(".md") else ("# ", "")
    for what, made in PLACES[name].items():
        first, last = f"{begin}address: {what}{end}", f"{begin}/address{end}"
        place = re.compile(rf"^{re.escape(first)}\n(.*?)^{re.escape(last)}$", re.MULTILINE | re.DOTALL)
        found = list(place.finditer(text))
        if len(found) != 1:
            raise UserError(f"{name}: the lines {first!r} and {last!r} must be there once")
        between = f"{made(address)}\n" if address else ""
        start, stop = found[0].span()
        text = f"{text[:start]}{first}\n{between}{last}{text[stop:]}"
    return text


def write(address: str, root: Path = ROOT) -> None:
    """Set the address, and write everything that depends on it.

    Raises:
        UserError: if it is not an address on GitHub, whose badges these are; nothing is written then.
    """
    if address and not _GITHUB.fullmatch(address.removesuffix(".git")):
        raise UserError(f"{address}: an address like https://github.com/owner/name is expected")
    address = address.removesuffix(".git")
    made = {name: rendered(name, (root / name).read_text(), address) for name in PLACES}
    made["pyproject.toml"] = _VALUE.sub(f'repository = "{address}"', made["pyproject.toml"])
    for name, text in made.items():
        write_whole(root / name, text)


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="?", help="address of the repository (default: the one in pyproject.toml)")
    given = parser.parse_args(argv).address
    write(stated() if given is None else given)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or one of programs.report."""
    return report(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
