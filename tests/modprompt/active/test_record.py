"""Records of rounds: what is written is read, and what is damaged, of another round or made up is refused in a line."""

import json

import pytest

from modprompt.active import generators, record
from modprompt.active.record import Picked, Round
from modprompt.active.settings import known
from modprompt.errors import UserError
from modprompt.io.checksum import KEY, sealed
from tests.mutations import mutations

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


def _read_or_told(folder):
    try:
        return record.read(folder, 2, 3)
    except UserError as error:
        return str(error)


@pytest.mark.slow
def test_flipped_bits_are_noticed(tmp_path, one):
    record.write(tmp_path, one)
    path = tmp_path / "round_2.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        told = _read_or_told(tmp_path)
        assert told == one or (str(path) in told and "move" in told)  # or a bit of the layout alone
    path.write_bytes(whole[:-20])
    with pytest.raises(UserError, match="round 2 on"):
        record.read(tmp_path, 2, 3)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("number", 3),
        ("picks", [{"file": "x"}]),
        ("picks", None),
        ("picks", [PICKS[0]._asdict(), PICKS[0]._asdict()]),
        ("picks", [PICKS[0]._replace(label=3)._asdict()]),
        ("picks", [PICKS[0]._replace(predicted=True)._asdict()]),
        ("picks", [{**PICKS[0]._asdict(), "file": 7}]),
        ("settings", [1]),
        ("generators", None),
        ("facts", 3),
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


def resealed(content):
    if not isinstance(content, dict) or not isinstance(content.get(KEY), dict):
        return content
    facts = {name: value for name, value in content[KEY].items() if name not in ("version", "hash")}
    plain = {name: value for name, value in content.items() if name != KEY}
    return sealed(plain, content[KEY].get("version"), **{str(name): value for name, value in facts.items()})


def test_every_part_is_looked_at_and_what_is_read_can_be_gone_on_with(tmp_path, one):
    record.write(tmp_path, one._replace(facts=FACTS))
    path = tmp_path / "round_2.json"
    refused, taken = 0, []
    for what, mutated in mutations(json.loads(path.read_text())):
        path.write_text(json.dumps(resealed(mutated)))
        told = _read_or_told(tmp_path)
        if isinstance(told, str):
            assert len(told.splitlines()) == 1, what
            assert len(told) < 800, what
            refused += 1
            continue
        taken.append(what)
        with generators.kept():
            generators.put(told.generators)
    assert refused > 300
    assert len(taken) < 60
    for part in ("generators.torch is missing", "facts.labels is '1'", "facts.elapsed_s is None", "facts.trainer is 7"):
        assert part not in taken
