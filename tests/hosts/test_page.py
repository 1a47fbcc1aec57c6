import shlex

import pytest

from modprompt.errors import UserError
from tests.hosts import page
from tests.hosts.check import COLUMNS, RESULTS, Results
from tests.hosts.table import HOSTS

ROW = {
    **dict.fromkeys(COLUMNS, "equal"),
    "git": "as before",
    "without": {"launcher": "equal", "installer": "exit code 1: ModuleNotFoundError: No module named 'wilds'"},
    "own": {"trainer": "CoOp", "before": "trained", "after": "equal"},
    "doctor": [{"wrong": "", "seconds": 9}, {"wrong": "", "seconds": 12}],
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
        if not page.is_plain(host):
            assert f"\n{host.name}:\n\n```bash\n{page.command(host)}\n```" in text
    assert "| CoOp ff61507 | equal |" in text
    assert "| TCP bd97bec | not run |" in text


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_commands_are_whole(host):
    cd, *rest = page.command(host).splitlines()
    assert cd == f"cd {host.checkout}/{host.root}".rstrip("/")
    words = shlex.split("\n".join(rest))
    assert words[:4] == ["python", "-m", "modprompt.launch", "train.py"]
    assert words[words.index("--trainer") + 1] == host.trainer
    options = words.index("DATASET.NUM_SHOTS")
    assert words[options - len(host.flags) : options] == [*host.flags]
    assert words[options + 4 :] == [*host.options]


def test_what_does_not_hold_is_shown():
    bad = {
        **ROW,
        "launcher": "losses differ by 1e-04",
        "doctor": [{"wrong": "", "seconds": 1}, {"wrong": "launcher: said 'x', happened: it did", "seconds": 2}],
        "own": {"trainer": "CoOp", "before": "trained", "after": "KeyError: 1"},
    }
    line = next(line for line in page.made({"CoOp": bad}).splitlines() if line.startswith("| CoOp ff61507"))
    cells = line.split(" | ")
    assert cells[1] == "losses differ by 1e-04"
    assert "launcher: said 'x', happened: it did" in cells
    assert cells[-1].startswith("CoOp: trained; afterwards: KeyError: 1")


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
