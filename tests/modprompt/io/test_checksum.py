import json

import pytest

from modprompt.errors import UserError
from modprompt.io.checksum import check_seal, file_hash, sealed

RECORD = {"accuracy_pct": 93.79, "names": ["zero", "one"], "settings": {"A.B": "1"}}


def test_record_that_was_not_touched_passes_however_it_is_laid_out():
    text = json.dumps(sealed(RECORD, 1, generator="x"), indent=4, sort_keys=True)
    assert check_seal(json.loads(text), "file")


def test_record_without_a_hash_is_told_apart():
    assert not check_seal(RECORD, "file")
    assert not check_seal({**RECORD, "modprompt": "text"}, "file")


def test_record_with_its_hash_taken_out_is_damaged():
    record = sealed(RECORD, 1)
    del record["modprompt"]["hash"]
    with pytest.raises(UserError, match="file is damaged or was changed by hand"):
        check_seal(record, "file")


def test_seal_of_another_name_is_damage():
    """Where one bit of its name is another, the record would pass for one that never had a seal."""
    content = sealed({"a": 1}, 2)
    with pytest.raises(UserError, match="its seal has another name"):
        check_seal({"modpromqt": content["modprompt"], "a": 1}, "file")
    assert not check_seal({"a": 1, "clip": {"hash": "x"}}, "file")


def test_json_is_compared_by_what_it_says_and_other_files_by_their_bytes(tmp_path):
    one, other, damaged = (tmp_path / name for name in ("one.json", "other.json", "damaged.json"))
    one.write_text(json.dumps({"train": [1], "val": []}))
    other.write_text(json.dumps({"val": [], "train": [1]}, indent=4))
    damaged.write_text('{"train": [1], "val": [')
    assert file_hash(one) == file_hash(other)
    assert file_hash(one) != file_hash(damaged)
    (tmp_path / "one.pkl").write_bytes(one.read_bytes())
    assert file_hash(tmp_path / "one.pkl") != file_hash(one)
