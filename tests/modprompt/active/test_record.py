"""Records of rounds: what is written is read, and what is damaged, of another round or made up is refused in a line."""

import json

import pytest

from modprompt.active import generators, record
from modprompt.active.record import Picked, Round
from modprompt.data.rounds import known
from modprompt.errors import UserError
from modprompt.io.records import sealed

PICKS = (Picked("a/1.jpg", 1, 0.5, -0.7, "entropy -0.7", None, 1), Picked("b 2.jpg", None, None, None, "drawn", 0, 0))

COUNTS = dict.fromkeys(("round", "picked", "free", "asked", "labels", "images"), 2)
FACTS = {
    **COUNTS,
    "accuracy_pct": 50.0,
    "new_accuracy_pct": None,
    "results": {"accuracy": 50.0},
    "trainer": {"OPTIM.LR": "0.1"},
    "elapsed_s": 1.5,
    "prompts_hash": "1f",
}


@pytest.fixture
def one():
    return Round(2, {"OPTIM.LR": "0.1"}, PICKS, generators.taken())


def test_what_is_written_is_read(tmp_path, one):
    record.write(tmp_path, one)
    assert record.read(tmp_path, 2, 3) == one
    assert one.labelled
    done = one._replace(facts=FACTS)
    record.write(tmp_path, done)
    assert record.read(tmp_path, 2, 3) == done
    assert record.read(tmp_path, 1, 3) is None
    assert known(tmp_path) == [2]
    assert not one._replace(picks=(PICKS[0]._replace(label=None),)).labelled


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("number", 3),
        ("picks", [{"file": "x"}]),
        ("picks", None),
        ("picks", [{**PICKS[0]._asdict(), "more": 1}]),
        ("picks", [PICKS[0]._replace(label=3)._asdict()]),
    ],
)
def test_records_of_something_else_are_refused(tmp_path, one, key, value):
    record.write(tmp_path, one)
    path = tmp_path / "round_2.json"
    content = {name: item for name, item in json.loads(path.read_text()).items() if name != "modprompt"}
    path.write_text(json.dumps(sealed({**content, key: value}, 1)))
    with pytest.raises(UserError, match="round_2.json is damaged"):
        record.read(tmp_path, 2, 3)


def test_records_without_a_hash_are_refused(tmp_path):
    (tmp_path / "round_0.json").write_text("{}")
    with pytest.raises(UserError, match="it has no hash"):
        record.read(tmp_path, 0, 3)


def test_rounds_of_another_run_are_copied_whole(tmp_path, one):
    source, target = tmp_path / "theirs" / "rounds", tmp_path / "mine" / "rounds"
    record.write(source, one)
    (source / "round_2" / "job").mkdir(parents=True)
    (source / "round_2" / "job" / "lock").touch()
    (source / "round_2" / "result.json").write_text("{}")
    target.parent.mkdir()
    record.copy_all(source, target)
    assert record.read(target, 2, 3) == one
    assert (target / "round_2" / "result.json").exists()
    assert not (target / "round_2" / "job").exists()
    assert list(target.parent.iterdir()) == [target]
