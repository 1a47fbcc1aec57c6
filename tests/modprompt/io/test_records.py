import json

import pytest
import yaml

from modprompt.errors import UserError
from modprompt.io.files import Refused
from modprompt.io.records import check_seal, file_hash, parse_json, parse_yaml, read_yaml, sealed


def test_what_json_is_read_as_the_json_module_reads_it():
    text = '{"a": [1, 2.5, null, "\\ud800"], "b": {"c": 18446744073709551616}}'
    for one in (text, text.encode(), b"\xef\xbb\xbf" + text.encode()):
        assert parse_json(one) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]", "[" * 100_000, "1" * 5000, b"\xff\xfe{", b'"\xed\xa0\x80"', b"\0\0", "<!DOCTYPE html>\n"]
)
def test_all_else_is_a_line(text):
    with pytest.raises(Refused) as raised:
        parse_json(text)
    assert len(str(raised.value).splitlines()) == 1


def test_a_key_with_two_values_is_refused():
    assert parse_json('{"a": [1], "a": [1]}') == {"a": [1]}
    with pytest.raises(Refused, match="^the key 'a' has two values$"):
        parse_json('[{"a": 1, "b": 2, "a": 3}]')


TEXT = "a: 1\nb: [1.5, true, null, x]\nc: &c {d: 1:30}\ne: *c\nf: {<<: *c, g: 2}\n"


@pytest.mark.parametrize("once", [False, True])
def test_what_is_yaml_is_read_as_yaml_reads_it(once, tmp_path):
    assert parse_yaml(TEXT, once) == yaml.safe_load(TEXT)
    (tmp_path / "a.yaml").write_text("\ufeff" + TEXT)
    assert read_yaml(tmp_path / "a.yaml", once) == yaml.safe_load(TEXT)


@pytest.mark.parametrize("text", [
    '!!int ""', "!!bool x", "2001-99-99", "? [a]\n: b", "a: {<<: 1}", "!!python/object/apply:os.system ['true']",
    "!!python/name:os.system", "!mine 1", "a: 1\n---\nb: 2", "a: \0", "a: \ud800", "a:\n\t- b", "[1, 2", "*a", "1" * 5000,
    "[" * 1000,
])  # fmt: skip
def test_what_is_no_plain_value_is_a_line(text):
    for once in (False, True):
        with pytest.raises(Refused) as raised:
            parse_yaml(text, once)
        assert len(str(raised.value).splitlines()) == 1


def test_key_that_occurs_twice_is_refused_where_it_is_asked_for():
    assert parse_yaml("a: 1\nb: 2\na: 3") == {"a": 3, "b": 2}
    with pytest.raises(Refused, match="the key 'a' occurs twice, the second time in line 3"):
        parse_yaml("a: 1\nb: 2\na: 3", once=True)
    with pytest.raises(Refused, match="occurs twice"):
        parse_yaml("x: [{1: 1, '1': 2}]", once=True)


RECORD = {"accuracy_pct": 93.79, "names": ["zero", "one"], "settings": {"A.B": "1"}}


def test_record_that_was_not_touched_passes_however_it_is_laid_out():
    text = json.dumps(sealed(RECORD, 1, generator="x"), indent=4, sort_keys=True)
    assert check_seal(json.loads(text), "file")


def test_record_without_a_hash_is_told_apart_and_one_with_its_hash_taken_out_is_damaged():
    assert not check_seal(RECORD, "file")
    assert not check_seal({**RECORD, "modprompt": "text"}, "file")
    record = sealed(RECORD, 1)
    del record["modprompt"]["hash"]
    with pytest.raises(UserError, match="file is damaged or was edited by hand"):
        check_seal(record, "file")


def test_json_is_compared_by_what_it_says_and_other_files_by_their_bytes(tmp_path):
    one, other, damaged = (tmp_path / name for name in ("one.json", "other.json", "damaged.json"))
    one.write_text(json.dumps({"train": [1], "val": []}))
    other.write_text(json.dumps({"val": [], "train": [1]}, indent=4))
    damaged.write_text('{"train": [1], "val": [')
    assert file_hash(one) == file_hash(other)
    assert file_hash(one) != file_hash(damaged)
    (tmp_path / "one.pkl").write_bytes(one.read_bytes())
    assert file_hash(tmp_path / "one.pkl") != file_hash(one)
