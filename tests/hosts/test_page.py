import shlex
from typing import Any

import pytest

from modprompt.errors import UserError
from modprompt.hosts.trial import HOST, LAUNCHER
from tests.hosts import page
from tests.hosts.check import DONE, RESULTS, Results
from tests.hosts.table import HOSTS, KEEP

EQUAL = {**dict.fromkeys(DONE, "equal"), "told": ""}
ROW: dict[str, Any] = {
    HOST: EQUAL,
    LAUNCHER: EQUAL,
    "line": "equal",
    "git": "clean",
    "doctor": {"code": 0, "states": {}, "seconds": 9, "wrong": ""},
    "commit": "ff61507",
    "python": "3.11.7",
    "torch": "2.13.0",
}


def test_page_is_what_table_and_results_make():
    text = page.PAGE.read_text()
    assert text == page.with_made(text, f"\n{page.made(Results(RESULTS).rows)}\n"), "run: python -m tests.hosts.page"


def test_results_are_of_the_commits_of_the_table():
    commits = {host.name: host.commit for host in HOSTS}
    assert {name: row["commit"] for name, row in Results(RESULTS).rows.items()} == commits


def test_every_codebase_is_found_by_each_of_its_names_with_its_command():
    text = page.made({"CoOp": ROW})
    for host in HOSTS:
        for name in (host.name, *host.also):
            assert f"[{name}]" in text or f", {name}" in text, name
        if host.name == page.USUAL or not page.is_plain(host):
            assert f"\n{host.name}:\n\n```bash\n{page.command(host)}\n```" in text
    assert "| CoOp ff61507 | equal | equal | equal | equal | equal | equal | clean | right | 9 |" in text
    assert "| TCP bd97bec | not run |" in text


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_commands_are_whole(host):
    cd, *rest = page.command(host).splitlines()
    assert cd == f"cd {host.checkout}/{host.root}".rstrip("/")
    words = shlex.split("\n".join(rest))
    assert words[:3] == ["modprompt", "launch", "train.py"]
    assert words[words.index("--trainer") + 1] == host.trainer
    assert words[words.index("--dataset-config-file") + 1] == host.dataset_config
    assert (KEEP in words[: words.index("DATASET.NUM_SHOTS")]) == host.keep


def test_what_does_not_hold_is_shown():
    bad = {
        **ROW,
        LAUNCHER: {**EQUAL, "trained": "losses differ by 1e-04", "new": "exit code 2", "told": "note: a\nnote: b"},
        "doctor": {"code": 1, "states": {}, "seconds": 1, "wrong": "launcher: said 'x', happened: it did"},
    }
    lines = page.made({"CoOp": bad}).splitlines()
    cells = next(line for line in lines if line.startswith("| CoOp ff61507")).split(" | ")
    assert cells[1:5] == ["equal", "losses differ by 1e-04", "equal", "`--host`: equal; `launcher`: exit code 2"]
    assert cells[8] == "launcher: said 'x', happened: it did"
    assert lines[lines.index("CoOp, launcher: note: a") + 1] == "CoOp, launcher: note: b"
    assert "In 0 of 1 all ways are equal." in "\n".join(lines)


def test_page_without_its_marker_lines_is_refused():
    with pytest.raises(UserError, match="needs these two lines once"):
        page.with_made("# A page\n", "")
    twice = f"{page.BEGIN}\n\n{page.END}\n" * 2
    with pytest.raises(UserError, match="needs these two lines once"):
        page.with_made(twice, "")
    assert page.with_made(f"a\n{page.BEGIN}\nold\n{page.END}\nb\n", "new") == f"a\n{page.BEGIN}\nnew\n{page.END}\nb\n"


def test_page_is_not_made_of_nothing(tmp_path, capsys):
    before = page.PAGE.read_text()
    assert page.main(["--results", str(tmp_path / "none.json")]) == 2
    assert "has no results: python -m tests.hosts.check writes them" in capsys.readouterr().err
    assert page.PAGE.read_text() == before
