import json

import pytest

from modprompt.errors import UserError
from modprompt.io import compare

FOLDER = "/out/base2new/train_base/eurosat/shots_16/MPL/vit/seed1"


def test_what_decides_no_number_is_passed_over():
    recorded = {"OPTIM.LR": "1", "OUTPUT_DIR": "a", "DATALOADER.NUM_WORKERS": "2"}
    wanted = {"OPTIM.LR": "1", "OUTPUT_DIR": "b", "DATALOADER.NUM_WORKERS": "8"}
    assert compare.differing_settings(recorded, wanted, tests=True) == []
    assert compare.differing_settings(recorded, wanted, tests=False) == ["DATALOADER.NUM_WORKERS 2 -> 8"]


def test_what_a_side_lacks_has_its_default():
    assert compare.differing_settings({}, {"SEED": "1"}, False) == ["SEED not set -> 1"]
    assert compare.differing_settings({}, {"SEED": "1"}, False, {"SEED": "1", "OPTIM.LR": "3"}) == []
    assert compare.differing_settings({"SEED": "2"}, {}, False, {"SEED": "1"}) == ["SEED 2 -> 1"]


@pytest.mark.parametrize(
    ("folder", "shots", "seed", "classes", "message"),
    [
        (FOLDER, 16, 1, "base", ""),
        (FOLDER, 4, 1, "base", "DATASET.NUM_SHOTS is 4, but the output folder is for 16"),
        (FOLDER, 16, 2, "base", "SEED is 2, but the output folder is for 1"),
        (FOLDER, 16, 1, "new", "DATASET.SUBSAMPLE_CLASSES is new, but the output folder is for base"),
        ("/out/eurosat/CoOp/rn50_4shots/nctx16_cscTrue_ctpend/seed3", 8, 3, "all", "NUM_SHOTS is 8"),
        ("/out/eurosat/MPL/eval/vit_8shots/seed3", 8, 3, "all", ""),
        ("/out/crossdataset/evaluation/dtd/MPL/vit_16shots/seed3", -1, 3, "all", ""),
        ("/out/evaluation/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/dtd/seed3", -1, 3, "all", ""),
        (f"/home/me/evaluation{FOLDER}", 4, 1, "base", "NUM_SHOTS is 4"),  # no word of ours
        ("/shots_4/out/eurosat/shots_16/seed1", 16, 1, "all", ""),  # the innermost one counts
        ("/home/me/my_run", 3, 4, "base", ""),
        ("", 3, 4, "base", ""),
    ],
)
def test_folder_that_states_something_must_be_right(folder, shots, seed, classes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not message:
        compare.require_folder_agrees(folder, shots, seed, classes)
        return
    with pytest.raises(UserError, match=message):
        compare.require_folder_agrees(folder, shots, seed, classes)


def test_json_is_compared_by_what_it_says_and_other_files_by_their_bytes(tmp_path):
    one, other, damaged = (tmp_path / name for name in ("one.json", "other.json", "damaged.json"))
    one.write_text(json.dumps({"train": [1], "val": []}))
    other.write_text(json.dumps({"val": [], "train": [1]}, indent=4))
    damaged.write_text('{"train": [1], "val": [')
    assert compare.file_hash(one) == compare.file_hash(other)
    assert compare.file_hash(one) != compare.file_hash(damaged)
    (tmp_path / "one.pkl").write_bytes(one.read_bytes())
    assert compare.file_hash(tmp_path / "one.pkl") != compare.file_hash(one)


def test_file_that_changed_or_went_is_named(tmp_path):
    path = tmp_path / "split.json"
    path.write_text("[1]")
    recorded = {"split.json": compare.file_hash(path)}

    def find(name):
        return str(tmp_path / name) if (tmp_path / name).exists() else None

    assert compare.differing_files(recorded, find) == []
    path.write_text("[1, 2]")
    assert compare.differing_files(recorded, find) == ["split.json has changed"]
    path.unlink()
    assert compare.differing_files(recorded, find) == ["split.json is not there any more"]


def test_clips_are_compared_by_their_hashes():
    assert compare.differing_clip("2:new", "2:new") == compare.differing_clip("", "2:new") == []
    assert compare.differing_clip("2:other", "2:new") == ["CLIP 2:other -> 2:new"]
