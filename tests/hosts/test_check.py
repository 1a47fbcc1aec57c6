import re
from itertools import groupby

import pytest
import torch

from modprompt.errors import UserError
from modprompt.hosts.doctor import HOST, LAUNCHER
from tests.hosts import check
from tests.hosts.bench import MODEL, checkpoint, difference, other_tensors, read_run, same_number
from tests.hosts.table import DASSL, HOSTS

BY_NAME = {host.name: host for host in HOSTS}
LOG = """
epoch [1/2] batch [1/2] time 0.1 (0.1) data 0.0 (0.0) loss 1.5816 (1.5816) lr 1.0e-05 eta 0:00:00
epoch [1/2] batch [2/2] time 0.1 (0.1) data 0.0 (0.0) loss 2.1899 (1.8858) lr 1.0e-05 eta 0:00:00
=> result
* total: 1,035
* correct: 207
* accuracy: 20.0%
* error: 80.0%
* macro_f1: 9.3%
"""
RUN = read_run(0, LOG, "")


def test_every_row_can_be_found_and_fetched():
    assert len({host.name for host in HOSTS}) == len({(host.checkout, host.root) for host in HOSTS}) == len(HOSTS) == 47
    for host in HOSTS:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", host.address), host
        assert re.fullmatch(r"[0-9a-f]{7}", host.commit), host
        assert re.fullmatch(r"configs/datasets/[\w/]+\.yaml", host.dataset_config), host
    for _, rows in groupby(sorted(HOSTS, key=lambda host: host.checkout), lambda host: host.checkout):
        assert len({(host.address, host.commit) for host in rows}) == 1


def test_rows_are_chosen_by_name_or_by_checkout():
    assert check.chosen(None) == [*HOSTS]
    assert [host.name for host in check.chosen(["PLOT"])] == ["PLOT", "PLOT++"]  # the checkout of both
    with pytest.raises(UserError, match=r"not in tests/hosts/table.py: Nothing; it has .*CoOp, "):
        check.chosen(["CoOp", "Nothing"])


def test_missing_checkouts_and_those_of_another_commit_are_named_with_the_command_that_makes_them(tmp_path, capsys):
    assert check.main([str(tmp_path), "--only", "CoOp", "KgCoOp"]) == 2
    said, coop = capsys.readouterr().err, tmp_path / "CoOp"
    assert f"git clone https://github.com/KaiyangZhou/CoOp {coop} && git -C {coop} checkout ff61507" in said
    assert f"https://github.com/{DASSL}" in said
    host, place = BY_NAME["KgCoOp"], tmp_path / "KgCoOp"  # which brings its own Dassl
    place.mkdir()
    check.git(place, "init", "--quiet")
    names = ("-c", "user.name=x", "-c", "user.email=x@y")
    check.git(place, *names, "commit", "--quiet", "--allow-empty", "--message", "x")
    with pytest.raises(UserError, match=f"checkout {host.commit}"):
        check.require(tmp_path, [host])
    check.require(tmp_path, [host._replace(commit=check.git(place, "rev-parse", "HEAD")[:7])])


@pytest.mark.parametrize(
    ("what", "text"),
    [(LAUNCHER, "losses differ by 1e-04"), ("line", "exit code 1: SyntaxError: x"), ("git", "?? left.txt")],
)
def test_row_holds_as_a_whole_or_differs_as_the_table_says(what, text):
    host, row = BY_NAME["CoOp"], dict.fromkeys([HOST, LAUNCHER, "line", "git", "doctor"], "equal")
    assert check.holds(host, row)
    assert not check.holds(host, {**row, what: text})
    assert check.holds(host._replace(differs={what: text[:9]}), {**row, what: text})
    assert not check.holds(host._replace(differs={what: "another cause"}), {**row, what: text})
    assert not check.holds(host._replace(differs={what: text}), row)  # it is equal by now
    asks = {**row, "line": "modprompt install: error: ... : pip install thop first"}
    assert (check.holds(host, asks), check.holds(BY_NAME["DeKg"], asks)) == (False, True)


WELL, NO, OPEN = "MPL trains and is tested", "MPL cannot run: KeyError: 1", "not tried: time ran out"


@pytest.mark.parametrize(
    ("code", "states", "failed", "fault"),
    [
        (0, [WELL], ["", "it failed"], ""),
        (0, [WELL], ["it failed", ""], "launcher: said"),
        (0, [NO, WELL], ["it failed", ""], ""),
        (0, [NO, WELL], ["", ""], "launcher: said"),
        (0, [OPEN, WELL], ["", ""], ""),
        (1, [NO, NO], ["it failed", "it failed"], ""),
        (0, [NO, NO], ["it failed", "it failed"], "exit code 0 in place of 1"),
        (1, [NO, OPEN], ["it failed", ""], "exit code 1 in place of 2"),
        (0, [], ["", ""], "exit code 0 in place of 1"),
    ],
)
def test_wrong_verdicts_of_the_doctor_are_found(code, states, failed, fault):
    lines = [f"{way:<10}{state}" for way, state in zip((LAUNCHER, HOST), states)]
    found = check.wrong(code, "\n".join(["Dassl     0.6.3", *lines, ""]), dict(zip((LAUNCHER, HOST), failed)))
    assert fault in found
    assert bool(found) is bool(fault)


def test_what_a_run_printed_is_read():
    assert RUN[:3] == (0, (1.5816, 2.1899), ("1035", "207", "20.0", "9.3"))
    assert not RUN.failed
    assert read_run(0, "nothing", "").failed == "it tested nothing"
    bad = read_run(1, LOG, "Traceback\nyacs.X: no\nKeyError: 'a'\n  some note\n")
    assert bad.failed == "exit code 1: KeyError: 'a'"
    assert read_run(2, "", "error: there is no file x\n").failed == "exit code 2: error: there is no file x"


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [("37.1", "37.143", True), ("37.14", "37.143", True), ("37.1", "37.2", False), ("37.1", "37.20", False),
     ("26", "26", True), ("26", "27", False), ("20.0", "20.000", True), ("20.0", "20.060", False)],
)  # fmt: skip
def test_numbers_are_the_same_as_far_as_the_shorter_goes(a, b, same):
    assert same_number(a, b) is same_number(b, a) is same


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"losses": (1.5816, 2.1898)}, "losses differ by 1e-04"),
        ({"losses": (1.5816, float("nan"))}, "some losses are not finite"),
        ({"losses": (1.5816,)}, "1 steps in place of 2"),
        ({"tested": ("1035", "206", "20.0", "9.3")}, "other correct: "),
        ({"tested": ("1035", "207", "20.00", "9.30")}, ""),
        ({"code": 1, "error": "KeyError: 'a'"}, "exit code 1: KeyError: 'a'"),
        ({"tested": ()}, "it tested nothing"),
    ],
)
def test_what_tells_a_run_from_another_is_said(changes, said):
    found = difference(RUN._replace(**changes), RUN)
    assert found.startswith(said)
    assert bool(found) is bool(said)


def test_tensors_that_were_learned_otherwise_are_named(tmp_path):
    states = {"a": {"x": torch.ones(2)}, "b": {"x": torch.tensor([1, 1 + 2e-7])}, "c": {"y": torch.ones(2)}}
    for name, state in states.items():
        torch.save({"state_dict": state}, tmp_path / name)
    assert other_tensors(tmp_path / "a", tmp_path / "a") == ""
    assert other_tensors(tmp_path / "a", tmp_path / "b") == "x was learned otherwise"
    assert other_tensors(tmp_path / "a", tmp_path / "c") == "the checkpoint has other tensors"


def test_checkpoint_is_found_wherever_a_program_puts_it_but_not_what_is_kept_beside_it(tmp_path):
    for folder in ("job/kept", "EuroSAT/seed1"):
        assert checkpoint(tmp_path, 1) is None
        (tmp_path / folder / MODEL.format(1)).parent.mkdir(parents=True)
        (tmp_path / folder / MODEL.format(1)).touch()
    assert checkpoint(tmp_path, 1) == tmp_path / "EuroSAT/seed1" / MODEL.format(1)
    assert checkpoint(tmp_path, 2) is None
