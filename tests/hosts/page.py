"""The part of docs/hosts.md that says for each codebase how MPL is started there, and what was seen.

python -m tests.hosts.page [--results FILE]     writes it anew, between two marker lines
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Iterable, Sequence

from modprompt.errors import UserError
from modprompt.hosts.trial.missing import BY_LAUNCHER, PIP
from modprompt.storage.text import write_whole
from tests.conftest import ROOT
from tests.hosts.check import COLUMNS, RESULTS, Results
from tests.hosts.row import EQUAL
from tests.hosts.table import HOSTS, Host

PAGE = ROOT / "docs" / "hosts.md"
BEGIN = "<!-- made by `python -m tests.hosts.page` from tests/hosts/table.py and results.json: change those -->"
END = "<!-- the end of what is made -->"
HEADS = {
    "launcher": "launcher",
    "installer": "installer",
    "base": "tested, base",
    "new": "tested, new",
    "resumed": "killed, resumed",
    "scripts": "scripts",
}


def command(host: Host) -> str:
    """How MPL is started by the launcher, in lines that can be copied."""
    words = [
        "python -m modprompt.launch train.py --trainer",
        host.trainer,
        "--root DATA --seed 1 --output-dir output/mpl",
    ]
    config = f"configs/trainers/{host.ours}/vit_b4_c1_add2_rm1.yaml"
    lines = [
        f"cd {'/'.join(part for part in (host.checkout, host.root) if part)}",
        f"{' '.join(words)} \\",
        f"  --config-file {config} --dataset-config-file {host.dataset_config} \\",
        f"  {' '.join((*map(shlex.quote, host.flags), 'DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base', *host.options))}",
    ]
    return "\n".join(lines)


def is_plain(host: Host) -> bool:
    """Whether it is started as the first example of the page says."""
    usual = Host("", "", "")
    return all(
        getattr(host, name) == getattr(usual, name) for name in ("trainer", "flags", "options", "dataset_config")
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return [*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)]


def by_name(hosts: Iterable[Host]) -> list[Host]:
    """In the order of a dictionary."""
    return sorted(hosts, key=lambda host: host.name.lower())


def to_find(hosts: Sequence[Host]) -> list[str]:
    """Where each codebase is, and what it needs."""
    rows = []
    for host in by_name(hosts):
        packages = _code([*host.packages, *(PIP[name] for name in host.asks if name not in BY_LAUNCHER)])
        also = _code([PIP[name] for name in host.asks if name in BY_LAUNCHER and name != "wilds"])
        wanted = [packages] * bool(packages) + [f"{also} with the installer"] * bool(also)
        rows.append(
            (
                ", ".join([f"[{host.name}](https://github.com/{host.address})", *host.also]),
                host.commit,
                f"`{host.root}/`" if host.root else "",
                "as above" if is_plain(host) else "below",
                ", ".join(wanted),
                host.special,
            )
        )
    return table(("codebase", "commit", "folder", "command", "pip install", "what is special"), rows)


def _code(words: Sequence[str]) -> str:
    return f"`{' '.join(map(shlex.quote, words))}`" if words else ""


def commands(hosts: Sequence[Host]) -> list[str]:
    """The commands of those that are started otherwise."""
    lines = []
    for host in by_name(hosts):
        if not is_plain(host):
            lines += ["", f"{host.name}:", "", "```bash", command(host), "```"]
    return lines


def seen(hosts: Sequence[Host], rows: dict[str, dict]) -> list[str]:
    """What the check saw."""
    made = []
    for host in by_name(hosts):
        row = rows.get(host.name)
        if row is None:
            made.append((f"{host.name} {host.commit}", "not run", *[""] * (len(COLUMNS) + 3)))
            continue
        own = row["own"]
        doctor = [one["wrong"] or "right" for one in row["doctor"]]
        wrong = [one for one in doctor if one != "right"]
        without = "; ".join(f"{way}: {fault.partition('Error: ')[2] or fault}" for way, fault in row["without"].items())
        made.append(
            (
                f"{host.name} {row['commit']}",
                *(f"{row[name]}{', starting over' * (name == 'resumed' and host.starts_over)}" for name in COLUMNS),
                row["git"],
                "; ".join(wrong) or f"right, {len(doctor)} of {len(doctor)}",
                without,
                f"{own['trainer']}: {own['before'][:100]}"
                + ("" if own["after"] == EQUAL else f"; afterwards: {own['after'][:100]}"),
            )
        )
    heads = [HEADS[name] for name in COLUMNS]
    return table(("codebase", *heads, "git after", "doctor", "with nothing stood in for", "own trainer"), made)


def ran_on(rows: dict[str, dict]) -> str:
    """The versions in one sentence."""
    pairs = sorted({(row["python"], row["torch"]) for row in rows.values()})
    slowest = max(one["seconds"] for row in rows.values() for one in row["doctor"])
    versions = "; ".join(f"Python {python} and PyTorch {torch}" for python, torch in pairs)
    return f"{versions}, 2 cores. The doctor took {slowest} s at most, several of them at once."


def made(rows: dict[str, dict], hosts: Sequence[Host] = HOSTS) -> str:
    """All between the marker lines."""
    parts = [
        *to_find(hosts),
        "",
        "### Commands of those that are started otherwise",
        *commands(hosts),
        "",
        "### What was seen",
        "",
        ran_on(rows),
        "",
        *seen(hosts, rows),
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
