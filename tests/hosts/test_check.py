import json

import pytest

from modprompt.errors import UserError
from tests.hosts import check
from tests.hosts.row import git
from tests.hosts.table import DASSL, HOSTS
from tests.hosts.test_page import ROW

BY_NAME = {host.name: host for host in HOSTS}


def test_rows_are_chosen_by_name_or_by_checkout():
    assert check.chosen(None) == [*HOSTS]
    assert [host.name for host in check.chosen(["PLOT"])] == ["PLOT", "PLOT++"]  # the checkout of both
    assert [host.name for host in check.chosen(["PLOT++", "CoOp"])] == ["CoOp", "PLOT++"]
    with pytest.raises(UserError, match="not in tests/hosts/table.py: Nothing; it has CoOp, "):
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
    "changes",
    [
        {"launcher": "losses differ by 1e-04"},
        {"scripts": "base2new_test.sh: exit code 1"},
        {"git": "CHANGED: ?? left.txt"},
        {"own": {"trainer": "CoOp", "before": "trained", "after": "KeyError: 1"}},
        {"doctor": [{"wrong": "exit code 0 in place of 1", "seconds": 2}]},
    ],
)
def test_row_holds_only_as_a_whole(changes):
    assert check.holds(ROW)
    assert not check.holds({**ROW, **changes})


def test_trainer_that_failed_before_cannot_be_hurt():
    assert check.holds({**ROW, "own": {"trainer": "CoOp", "before": "KeyError: 1", "after": "trained"}})


def test_results_of_other_rows_stay_in_the_order_of_the_table(tmp_path):
    path = tmp_path / "results.json"
    check.Results(path).add(BY_NAME["TCP"], {"row": 1})
    again = check.Results(path)
    again.add(BY_NAME["CoOp"], {"row": 2})
    again.add(BY_NAME["TCP"], {"row": 3})
    assert [*json.loads(path.read_text()).items()] == [("CoOp", {"row": 2}), ("TCP", {"row": 3})]


def test_python_without_pytorch_is_refused(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named torch' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(UserError, match="does not import PyTorch: No module named torch"):
        check.environment_of(str(python))
