import pytest

from modprompt.errors import UserError
from modprompt.io import identity
from modprompt.io.folder import require_name_agrees
from modprompt.io.identity import BLENDED, CLIP, TEACHER, TEACHER_CKPT, differences
from modprompt.io.records import file_hash
from modprompt.methods.named_files import look_at_file

FOLDER = "/out/base2new/train_base/eurosat/shots_16/MPL/vit/seed1"


def test_what_decides_no_number_is_passed_over():
    recorded = {"OPTIM.LR": "1", "OUTPUT_DIR": "a", "DATALOADER.NUM_WORKERS": "2"}
    wanted = {"OPTIM.LR": "1", "OUTPUT_DIR": "b", "DATALOADER.NUM_WORKERS": "8"}
    assert differences(recorded, wanted, tests=True) == []
    assert differences(recorded, wanted) == ["DATALOADER.NUM_WORKERS 2 -> 8"]


def test_a_setting_is_free_or_decides_by_another():
    one, other = ({"DATALOADER.TEST.BATCH_SIZE": size} for size in ("100", "7"))
    writes = {"TRAINER.HICROPL.TESTS_WRITE": "True"}
    assert differences(one, other) == []
    assert differences({**one, **writes}, {**other, **writes}) == ["DATALOADER.TEST.BATCH_SIZE 100 -> 7"]


def test_what_a_side_lacks_has_its_default():
    assert differences({}, {"SEED": "1"}) == ["SEED not set -> 1"]
    assert differences({}, {"SEED": "1"}, defaults={"SEED": "1", "OPTIM.LR": "3"}) == []
    assert differences({"SEED": "2"}, {}, defaults={"SEED": "1"}) == ["SEED 2 -> 1"]


def test_other_facts_are_compared_where_both_have_them_or_if_all_must_be_there():
    assert differences({CLIP: "2:a"}, {}) == []
    assert differences({CLIP: "2:a"}, {CLIP: "2:b"}) == ["the weights of CLIP 2:a -> 2:b"]
    assert [*map(str, identity.differing({CLIP: "2:a"}, {}, whole=True))] == ["the weights of CLIP 2:a -> not set"]


def test_disk_is_looked_at_where_all_else_is_the_same():
    looks = {CLIP: lambda recorded: f"it was {recorded}", TEACHER: pytest.fail}
    assert differences({CLIP: "a", "SEED": "1"}, {"SEED": "2"}, {CLIP: pytest.fail}) == ["SEED 1 -> 2"]
    assert differences({CLIP: "a", "SEED": "1"}, {"SEED": "1"}, looks) == ["it was a"]  # nothing else is recorded


def test_a_result_says_its_facts_and_what_is_known_by_content_has_no_place():
    settings = {
        "TRAINER.KDPL.TEACHER": "t.pt",
        "TRAINER.KDPL.TEACHER_CKPT": "none",
        "MODEL.INIT_WEIGHTS": "w",
        "SEED": "1",
    }
    named = {"TRAINER.KDPL.TEACHER": TEACHER, "TRAINER.KDPL.TEACHER_CKPT": TEACHER_CKPT}
    contents = {TEACHER: "2:t", TEACHER_CKPT: "none", CLIP: "2:b"}
    result = {"settings": settings, identity.IDENTITY: identity.record(contents, named)}
    facts = identity.facts({**result, "files": {"s.json": "f"}, "input": {"INPUT.SIZE": "[32, 32]"}})
    assert facts == {
        **{
            "TRAINER.KDPL.TEACHER": "given",
            "TRAINER.KDPL.TEACHER_CKPT": "given",
            "MODEL.INIT_WEIGHTS": "w",
            "SEED": "1",
        },
        **{TEACHER: "2:t", TEACHER_CKPT: "none", "files/s.json": "f", "INPUT.SIZE of the images": "[32, 32]"},
        **{CLIP: "2:b", "the tokenizer of CLIP": "CLIP's own", "the images": ""},
    }
    moved = {**settings, "TRAINER.KDPL.TEACHER": "elsewhere/t.pt"}
    assert differences(facts, identity.wanted(moved, result)) == []


def test_a_second_clip_that_has_the_name_of_the_backbone_is_the_backbone():
    key = "TRAINER.HICROPL.TEACHER_NAME"
    result = {"settings": {}, identity.IDENTITY: identity.record({}, {key: BLENDED})}
    settings = {"MODEL.BACKBONE.NAME": "ViT-B/16", key: "ViT-B/16"}
    assert identity.wanted(settings, result)[key] == ""
    assert identity.wanted({**settings, "MODEL.BACKBONE.PATH": "other.pt"}, result)[key] == "ViT-B/16"


def test_facts_that_a_checkpoint_must_share_include_the_settings_beside_the_prompts():
    beside = {"node": "TRAINER.MMA", "config": {"DIM": 4}}
    record = {"node": "TRAINER.MPL", "config": {"N_CTX": 2}, "learner": "MPL", "beside": beside, TEACHER: "2:t"}
    found = identity.made_with({**record, "search": {"steps": 3}}, {CLIP: "2:b"})
    assert found == {
        **{"TRAINER.MPL.N_CTX": "2", "TRAINER.MMA.DIM": "4", "SEARCH.STEPS": "3"},
        **{TEACHER: "2:t", "the method": "MPL", CLIP: "2:b"},
    }


@pytest.mark.parametrize(
    ("folder", "shots", "seed", "classes", "message"),
    [
        (FOLDER, 16, 1, "base", ""),
        (FOLDER, 4, 1, "base", "DATASET.NUM_SHOTS is 4, but the name of the output folder .* says 16"),
        (FOLDER, 16, 2, "base", f"SEED is 2, but the name of the output folder {FOLDER} says 1"),
        (FOLDER, 16, 1, "new", "SUBSAMPLE_CLASSES is new, but the name of the output folder .* says base"),
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
        require_name_agrees(folder, shots, seed, classes)
        return
    with pytest.raises(UserError, match=message):
        require_name_agrees(folder, shots, seed, classes)


def test_file_that_changed_or_went_is_named(tmp_path):
    path = tmp_path / "split.json"
    path.write_text("[1]")
    look, recorded = look_at_file("split.json", lambda name: str(tmp_path / name)), file_hash(path)
    assert look(recorded) == ""
    path.write_text("[1, 2]")
    assert look(recorded) == "split.json has changed"
    path.unlink()
    assert look(recorded) == "split.json does not exist any more"
