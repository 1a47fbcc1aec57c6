import json

import pytest

from modprompt.errors import UserError
from modprompt.hosts.trial import HOST, LAUNCHER
from tests.hosts import check
from tests.hosts.row import git
from tests.hosts.table import DASSL, HOSTS
from tests.hosts.test_page import ROW

BY_NAME = {host.name: host for host in HOSTS}


def test_rows_are_chosen_by_name_or_by_checkout():
    assert check.chosen(None) == [*HOSTS]
    assert [host.name for host in check.chosen(["PLOT"])] == ["PLOT", "PLOT++"]  # the checkout of both
    assert [host.name for host in check.chosen(["PLOT++", "CoOp"])] == ["CoOp", "PLOT++"]
    with pytest.raises(UserError, match="not in tests/hosts/table.py: Nothing; it has .*CoOp, "):
        check.chosen(["CoOp", "Nothing"])


def test_missing_checkouts_are_named_with_the_command_that_makes_them(tmp_path, capsys):
    assert check.main([str(tmp_path), "--only", "CoOp", "KgCoOp"]) == 2
    said = capsys.readouterr().err
    assert (
        f"git clone https://github.com/KaiyangZhou/CoOp {tmp_path / 'CoOp'} && git -C {tmp_path / 'CoOp'} checkout ff61507"
        in said
    )
    assert f"https://github.com/{DASSL}" in said
    assert check.main([str(tmp_path), "--only", "KgCoOp"]) == 2
    assert DASSL not in capsys.readouterr().err  # it brings its own


def test_checkout_of_another_commit_is_refused(tmp_path):
    host = BY_NAME["KgCoOp"]
    (tmp_path / host.checkout).mkdir()
    names = ("-c", "user.name=x", "-c", "user.email=x@y")
    git(tmp_path / host.checkout, "init", "--quiet")
    git(tmp_path / host.checkout, *names, "commit", "--quiet", "--allow-empty", "--message", "x")
    with pytest.raises(UserError, match=f"checkout {host.commit}"):
        check.require(tmp_path, [host])
    commit = git(tmp_path / host.checkout, "rev-parse", "HEAD")[:7]
    check.require(tmp_path, [host._replace(commit=commit)])


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({LAUNCHER: {**ROW[LAUNCHER], "trained": "losses differ by 1e-04"}}, "launcher trained"),
        ({HOST: {**ROW[HOST], "resumed": "it left no checkpoint"}}, "--host resumed"),
        ({"line": "exit code 1: SyntaxError: x"}, "line"),
        ({"git": "?? left.txt"}, "git"),
        ({"doctor": {**ROW["doctor"], "wrong": "exit code 0 in place of 1"}}, "doctor"),
        ({"doctor": {}}, "doctor"),
    ],
)
def test_row_holds_as_a_whole_or_differs_as_the_table_says(changes, found):
    host, bad = BY_NAME["CoOp"], {**ROW, **changes}
    text = check.differences(bad)[found]
    assert check.holds(host, ROW)
    assert not check.holds(host, bad)
    assert check.holds(host._replace(differs={found: text[:9]}), bad)
    assert not check.holds(host._replace(differs={found: "another cause"}), bad)
    assert not check.holds(host._replace(differs={found: text}), ROW)  # it is equal by now


def test_results_of_other_rows_stay_in_the_order_of_the_table(tmp_path):
    path = tmp_path / "results.json"
    check.Results(path).add(BY_NAME["TCP"], {"row": 1})
    again = check.Results(path)
    again.add(BY_NAME["CoOp"], {"row": 2})
    again.add(BY_NAME["TCP"], {"row": 3})
    assert [*json.loads(path.read_text()).items()] == [("CoOp", {"row": 2}), ("TCP", {"row": 3})]


def test_rows_that_are_there_are_left_out_unless_again(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(check, "require", lambda folder, hosts: None)
    monkeypatch.setattr(check, "Bench", lambda folder, python: None)
    monkeypatch.setattr(
        check, "visit", lambda bench, host, folder, packages: ran.append(host.name) or {**ROW, "doctor": {}}
    )
    monkeypatch.setattr(
        check, "ask_doctor", lambda bench, host, folder, packages, row: {**row, "doctor": ROW["doctor"]}
    )
    words = [str(tmp_path), "--results", str(tmp_path / "r.json"), "--only", "CoOp", "PLOT"]
    check.Results(tmp_path / "r.json").add(BY_NAME["PLOT"], ROW)
    assert check.main(words) == 0
    assert ran == ["CoOp", "PLOT++"]
    assert "3 of 3 hold" in capsys.readouterr().out
    assert check.main(words) == 0
    assert ran == ["CoOp", "PLOT++"]
    assert check.main([*words, "--again"]) == 0
    assert ran[2:] == ["CoOp", "PLOT", "PLOT++"]
