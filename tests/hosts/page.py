"""The part of docs/hosts.md that says for each codebase how MPL is started there, and what was seen.

python -m tests.hosts.page [--results FILE]     writes it anew, between two marker lines
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from modprompt.errors import UserError
from modprompt.hosts.trial import HOST, LAUNCHER
from modprompt.io.files import write_whole
from tests.conftest import ROOT
from tests.hosts.check import RESULTS, Results, differences
from tests.hosts.row import LINE
from tests.hosts.table import HOSTS, KEEP, Host

PAGE = ROOT / "docs" / "hosts.md"
BEGIN = "<!-- made by `python -m tests.hosts.page` from tests/hosts/table.py and results.json: change those -->"
END = "<!-- the end of what is made -->"
USUAL = "CoOp"  # is started as nearly all are
HEADS = {"base": "tested, base", "new": "tested, new", "resumed": "killed, resumed"}


def command(host: Host) -> str:
    """How MPL is started by the launcher, in lines that can be copied."""
    words = "--root DATA --seed 1 --output-dir output/mpl --config-file vit_b4_c1_add2_rm1"
    keep = f" {KEEP}" if host.keep else ""
    lines = [
        f"cd {'/'.join(part for part in (host.checkout, host.root) if part)}",
        f"modprompt launch train.py --trainer {host.trainer}{keep} \\",
        f"  {words} \\",
        f"  --dataset-config-file {host.dataset_config} DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base",
    ]
    return "\n".join(lines)


def is_plain(host: Host) -> bool:
    """Whether it is started as the usual one."""
    usual = next(one for one in HOSTS if one.name == USUAL)
    return all(getattr(host, name) == getattr(usual, name) for name in ("trainer", "keep", "dataset_config"))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return [*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)]


def by_name(hosts: Iterable[Host]) -> list[Host]:
    """In the order of a dictionary."""
    return sorted(hosts, key=lambda host: host.name.lower())


def to_find(hosts: Sequence[Host]) -> list[str]:
    """Where each codebase is, and what it needs."""
    rows = [
        (
            ", ".join([f"[{host.name}](https://github.com/{host.address})", *host.also]),
            host.commit,
            f"`{host.root}/`" if host.root else "",
            f"as {USUAL}" if is_plain(host) else "its own",
            f"{_code(host.packages)}{' for the import line' * (not host.needs)}" if host.packages else "",
            host.special,
        )
        for host in by_name(hosts)
    ]
    return table(("codebase", "commit", "folder", "command", "pip install", "what is special"), rows)


def _code(words: Sequence[str]) -> str:
    return f"`{' '.join(map(shlex.quote, words))}`" if words else ""


def commands(hosts: Sequence[Host]) -> list[str]:
    """The commands of the usual one, and of those that are started otherwise."""
    lines = []
    for host in by_name(hosts):
        if host.name == USUAL or not is_plain(host):
            lines += ["", f"{host.name}:", "", "```bash", command(host), "```"]
    return lines


def seen(hosts: Sequence[Host], rows: dict[str, dict]) -> list[str]:
    """What the check saw."""
    heads = ("codebase", f"`{HOST}`", LAUNCHER, *HEADS.values(), LINE, "git after", "doctor", "its seconds")
    made = []
    for host in by_name(hosts):
        row = rows.get(host.name)
        if row is None:
            made.append((f"{host.name} {host.commit}", "not run", *[""] * (len(heads) - 2)))
            continue
        cells = [row[HOST]["trained"], row[LAUNCHER]["trained"], *(_by_both(row, name) for name in HEADS), row[LINE]]
        doctor = row["doctor"]
        made.append(
            (
                f"{host.name} {row['commit']}",
                *cells,
                row["git"],
                doctor.get("wrong", "not asked") or "right",
                str(doctor.get("seconds", "")),
            )
        )
    return table(heads, made)


def _by_both(row: dict, name: str) -> str:
    """What came of it by either way, in one cell."""
    found = {way: row[way][name] for way in (HOST, LAUNCHER)}
    if len({*found.values()}) == 1:
        return found[HOST]
    return "; ".join(f"`{way}`: {text}" for way, text in found.items())


def told(hosts: Sequence[Host], rows: dict[str, dict]) -> list[str]:
    """What runs said of what they leave out, or find changed, by codebase."""
    made = []
    for host in by_name(hosts):
        row = rows.get(host.name, {})
        for way in (HOST, LAUNCHER):
            lines = row.get(way, {}).get("told", "").splitlines()
            made += [f"{host.name}, {way}: {line}" for line in lines]
    return ["```text", *made, "```"]


def ran_on(rows: dict[str, dict]) -> str:
    """The versions in one sentence."""
    pairs = sorted({(row["python"], row["torch"]) for row in rows.values()})
    versions = "; ".join(f"Python {python} and PyTorch {torch}" for python, torch in pairs)
    equal = sum({*differences(row)} <= {"doctor"} for row in rows.values())  # which has a column of its own
    return f"{versions}, 2 cores with other loads. In {equal} of {len(rows)} all ways are equal."


def made(rows: dict[str, dict], hosts: Sequence[Host] = HOSTS) -> str:
    """All between the marker lines."""
    parts = [
        *to_find(hosts),
        "",
        "### Commands by the launcher",
        *commands(hosts),
        "",
        "### What was seen",
        "",
        ran_on(rows),
        "",
        *seen(hosts, rows),
        "",
        "What runs said:",
        "",
        *told(hosts, rows),
    ]
    return "\n".join(parts)


def with_made(page: str, part: str) -> str:
    """The page with this between its marker lines.

    Raises:
        UserError: if it has not one of each.
    """
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"\n{END}")
    if not begin or not end or BEGIN in rest or END in after:
        raise UserError(f"docs/hosts.md needs these two lines once: {BEGIN} and {END}")
    return f"{before}{begin}{part}{end}{after}"


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after one line on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="of tests.hosts.check")
    try:
        path = parser.parse_args(argv).results
        rows = Results(path).rows
        if not rows:
            raise UserError(f"{path} has no results: python -m tests.hosts.check writes them")
        write_whole(PAGE, with_made(PAGE.read_text(), f"\n{made(rows)}\n"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
