"""Check before a release that the tree has one version everywhere.

    python -m tools.release 0.3.0

The version of the package, the changelog's newest heading with its date, and CITATION.cff must be this one.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from modprompt.errors import UserError
from modprompt.programs import report
from modprompt.version import __version__

ROOT = Path(__file__).resolve().parent.parent
_HEADING = re.compile(r"^## (\d\S*) \((.+)\)$", re.MULTILINE)
_CITED = re.compile(r"^(version|date-released): (\S+)$", re.MULTILINE)


def headings(changelog: str) -> list[tuple[str, str]]:
    """(version, date or "unreleased") of a changelog, the newest first."""
    return _HEADING.findall(changelog)


def faults(version: str, package: str, changelog: str, citation: str) -> Iterator[str]:
    """What contradicts a release of this version.

    Args:
        version: to release.
        package: the version in modprompt/version.py.
        changelog: the text of CHANGELOG.md.
        citation: the text of CITATION.cff.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"{version} is not a release version, such as 0.3.0"
    if package != version:
        yield f"modprompt/version.py says {package}"
    newest, date = (headings(changelog) or [("no version", "no date")])[0]
    if newest != version or not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        yield f"CHANGELOG.md begins with {newest} ({date})"
    cited = dict(_CITED.findall(citation))
    if (cited.get("version"), cited.get("date-released")) != (version, date):
        yield f"CITATION.cff has version {cited.get('version')} of {cited.get('date-released')}"


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="the version to release")
    version = parser.parse_args(argv).version
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "CITATION.cff")]
    found = list(faults(version, __version__, *texts))
    if found:
        raise UserError(f"this tree is not a release of {version}: {'; '.join(found)}")
    print(f"{version}: package, changelog and citation agree")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or one of programs.report."""
    return report(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
