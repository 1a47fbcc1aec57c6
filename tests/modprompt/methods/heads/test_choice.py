"""By which images a run of a head has chosen: what it may not take, what result and checkpoint say, and what is kept."""

import json
import shutil
import time

import pytest
import torch

from modprompt.cli import train
from modprompt.io import run_files
from modprompt.io.arrays import read_arrays
from modprompt.trainers.heads import HeadTrainer
from tests.conftest import ROOT
from tests.modprompt.data import trees
from tests.modprompt.methods.heads.test_run import CACHE, TIP, on_new, result


def checkpoint_of(folder, name):
    (path,) = folder.rglob(name)
    content = torch.load(path, weights_only=True)
    return content, content["modprompt"]["run"]


def instead(words, **more):
    """Words with other values behind some of them; `out` and `root` are folders."""
    words = list(words)
    for key, value in more.items():
        flag = {"out": "--output-dir", "root": "--root", "seed": "--seed", "shots": "DATASET.NUM_SHOTS"}[key]
        words[words.index(flag) + 1] = str(value)
    return words


@pytest.fixture
def own(command, tmp_path):
    """Words of a run on own folders with so many images of each of four classes in a part."""

    def words(parts, trainer, *more):
        for part, size in parts.items():
            trees.pictures(tmp_path / "own" / part, dict.fromkeys("abcd", size))
        made = instead(command(trainer, *more), root=tmp_path / "own")
        made[made.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/image_folder.yaml")
        return made

    return words


@pytest.mark.parametrize(("shots", "more"), [(6, ()), (-1, (TIP + "SEARCH_ON", "validation split"))])
def test_test_images_that_stand_in_for_validation_images_choose_nothing(shots, more, own, tmp_path, capsys):
    words = instead(own({"train": 6, "test": 5}, "TipAdapter", *CACHE, *more), shots=shots)
    assert train.main(words) == 0
    said = result(tmp_path)
    assert (said["selected_on"], said.get("searched"), said.get("selected_on_test")) == ("", None, None)
    assert "The data set has no validation images, so alpha and beta are not searched" in capsys.readouterr().out


@pytest.mark.slow
def test_kept_features_are_those_of_the_test_whatever_was_encoded_last(own, tmp_path):
    more = ("TRAINER.ADAPTER.VIEWS", "2", "OPTIM.MAX_EPOCH", "2", "TEST.FINAL_MODEL", "best_val")
    words = own({"train": 6, "val": 4, "test": 4}, "ADAPTER", *more, "TEST.KEEP_FEATURES", "True")
    assert train.main(words) == 0
    assert train.main(on_new(words, tmp_path)) == 0
    of_all = instead(words, out=tmp_path / "all")
    of_all[of_all.index("base")] = "all"
    of_all = ["--eval-only", "--model-dir", str(tmp_path / "out"), *of_all, "TEST.BASE_NEW", "True"]
    kept = f"{tmp_path / 'out'}:{tmp_path / 'new'}"
    assert train.main([*of_all, "TEST.FEATURES_OF", kept]) == 0
    assert train.main(instead(of_all, out=tmp_path / "anew")) == 0
    assert result(tmp_path, "all")["halves"] == result(tmp_path, "anew")["halves"]
    images = read_arrays(run_files.path_of_test(tmp_path / "out", run_files.FEATURES), "features", "images")
    assert [len(one) for one in images.values()] == [result(tmp_path)["images"]] * 2


def rates(folder):
    rows = [line.split(",") for line in (folder / "steps.csv").read_text().splitlines()]
    return [float(row[rows[0].index("lr")]) for row in rows[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["TipAdapterF", "LPPlusPlus"])
def test_checkpoints_of_another_folder_are_gone_on_with_at_their_rates(trainer, command, tmp_path):
    more = CACHE if trainer == "TipAdapterF" else ("TRAINER.LPPLUSPLUS.TRAIN_EPOCH", "3")
    words = command(trainer, *more, "TRAIN.CHECKPOINT_FREQ", "1", "OPTIM.WARMUP_EPOCH", "-1")
    assert train.main(words) == 0
    (folder,) = (tmp_path / "out").glob("*/model.pth.tar-1")
    shutil.copytree(folder.parent, tmp_path / "other" / folder.parent.name)
    for later in (tmp_path / "other").rglob("model.pth.tar-[23]"):
        later.unlink()
    (tmp_path / "other" / folder.parent.name / "checkpoint").write_text("model.pth.tar-1\n")
    assert train.main([*instead(words, out=tmp_path / "on"), "RESUME", str(tmp_path / "other")]) == 0
    whole, on = (checkpoint_of(tmp_path / name, "model.pth.tar-3")[0]["state_dict"] for name in ("out", "on"))
    first = checkpoint_of(tmp_path / "other", "model.pth.tar-1")[0]["state_dict"]
    assert any(not torch.equal(first[name], on[name]) for name in on), "nothing was trained"
    assert whole.keys() == on.keys()
    assert rates(tmp_path / "on") == pytest.approx(rates(tmp_path / "out")[-len(rates(tmp_path / "on")) :], rel=1e-6)


@pytest.mark.slow
def test_initial_weights_are_what_the_training_starts_from(command, tmp_path):
    words = command("TipAdapterF", *CACHE, TIP + "SEARCH_HP", "False")
    assert train.main(words) == 0
    (path,) = (tmp_path / "out").rglob("model.pth.tar-3")
    still = ["TRAINER.TIPADAPTER.LR", "0", "OPTIM.WEIGHT_DECAY", "0"]
    assert train.main([*instead(words, out=tmp_path / "again"), *still, "MODEL.INIT_WEIGHTS", str(path)]) == 0
    second, _ = checkpoint_of(tmp_path / "again", path.name)
    torch.testing.assert_close(second["state_dict"]["keys"], torch.load(path, weights_only=True)["state_dict"]["keys"])


def test_a_test_takes_its_mark_from_the_checkpoint(command, tmp_path):
    words = command("TipAdapter", *CACHE, TIP + "SEARCH_ON", "test", "TEST.NO_TEST", "True")
    assert train.main(words) == 0
    assert not (tmp_path / "out" / "result.json").exists()
    words = instead(command("TipAdapter", *CACHE), out=tmp_path / "new")
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *words]) == 0
    said = result(tmp_path, "new")
    assert (said["selected_on"], said["selected_on_test"]) == ("test", "selected on test")
    assert said["searched"] == checkpoint_of(tmp_path / "out", "model.pth.tar-1")[1]["searched"]


@pytest.mark.slow
def test_prompts_that_test_images_chose_mark_the_head_behind_them(command, tmp_path):
    chosen = ("TEST.FINAL_MODEL", "best_val", "DATASET.VAL_FROM_TEST", "True")
    shutil.copytree(*_without_val(command, tmp_path))
    words = instead(command("CoOp", *chosen), out=tmp_path / "front", root=tmp_path / "bare")
    words[words.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/image_folder.yaml")
    assert train.main(words) == 0
    assert result(tmp_path, "front")["selected_on_test"] == "selected on test"
    head = [*command("TaskRes", "OPTIM.MAX_EPOCH", "1"), "TRAINER.TaskRes.PROMPTS_FROM", str(tmp_path / "front")]
    head = instead(head, root=tmp_path / "bare")
    head[head.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/image_folder.yaml")
    assert train.main(head) == 0
    said = result(tmp_path)
    assert (said["selected_on"], said["selected_on_test"]) == ("test", "selected on test")
    (tmp_path / "front" / "result.json").unlink()  # a test knows it by the checkpoint alone
    tested = ["--eval-only", "--model-dir", str(tmp_path / "front"), *instead(words, out=tmp_path / "again")]
    assert train.main(tested) == 0
    assert result(tmp_path, "again")["selected_on_test"] == "selected on test"


def _without_val(command, tmp_path):
    for part, size in (("train", 6), ("test", 3)):
        trees.pictures(tmp_path / "made" / part, dict.fromkeys("abcd", size))
    return tmp_path / "made", tmp_path / "bare"


@pytest.mark.slow
@pytest.mark.filterwarnings("always:The prompts in:UserWarning")
@pytest.mark.parametrize(
    ("more", "said"),
    [({"seed": 2}, "SEED was 1 and is 2 here"), ({"shots": 1}, "DATASET.NUM_SHOTS was 4 and is 1 here")],
)
def test_prompts_of_other_images_are_warned_of(more, said, command, tmp_path, capsys):
    assert train.main(instead(command("CoOp"), out=tmp_path / "front")) == 0
    head = [*command("TaskRes", "OPTIM.MAX_EPOCH", "1"), "TRAINER.TaskRes.PROMPTS_FROM", str(tmp_path / "front")]
    assert train.main(instead(head, out=tmp_path / "same")) == 0
    assert "were trained on different images" not in capsys.readouterr().err
    assert train.main(instead(head, **more)) == 0
    line = f"The prompts in {tmp_path / 'front'} and this head were trained on different images ({said}), so some "
    assert line in capsys.readouterr().err


@pytest.mark.slow
def test_encoding_test_images_is_testing(command, tmp_path, monkeypatch):
    batches, seen = HeadTrainer.test_batches, []

    def slow(trainer, split):
        if split != "val" and not seen:
            time.sleep(0.5)
            seen.append(split)
        return batches(trainer, split)

    monkeypatch.setattr(HeadTrainer, "test_batches", slow)
    assert train.main(command("TipAdapter", *CACHE)) == 0
    said = result(tmp_path)
    assert said["testing_s"] > 0.5
    assert said["training_s"] > 0
    assert said["training_s"] + said["testing_s"] <= said["elapsed_s"] + 0.01


@pytest.mark.slow
def test_the_last_epoch_s_file_stays_where_the_best_is_searched_behind(command, tmp_path):
    words = command("TipAdapterF", *CACHE, "TEST.FINAL_MODEL", "best_val", TIP + "LR", "1")
    assert train.main([*words, TIP + "SEARCH_HP", "False"]) == 0
    plain = {name: checkpoint_of(tmp_path / "out", name)[0] for name in ("model.pth.tar-3", "model-best.pth.tar")}
    assert train.main(instead(words, out=tmp_path / "searched")) == 0
    for name, before in plain.items():
        after, _ = checkpoint_of(tmp_path / "searched", name)
        assert torch.equal(before["state_dict"]["keys"], after["state_dict"]["keys"]), name
        assert (before["epoch"], before["val_result"]) == (after["epoch"], after["val_result"])
    assert result(tmp_path, "searched")["searched"]


@pytest.mark.slow
def test_a_test_on_more_classes_says_how_many_parameters_were_trained(command, tmp_path):
    words = command("ADAPTER", "OPTIM.MAX_EPOCH", "1", "TRAINER.ADAPTER.VIEWS", "2")
    assert train.main(words) == 0
    of_all = instead(words, out=tmp_path / "all")
    of_all[of_all.index("base")] = "all"
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *of_all]) == 0
    assert result(tmp_path, "all")["trained_parameters"] == result(tmp_path)["trained_parameters"] > 0
    assert json.loads((tmp_path / "all" / "result.json").read_text())["classes"] == "all"


def test_where_all_images_are_trained_on_few_validation_images_are_all(command, tmp_path):
    assert train.main(instead(command("TipAdapter", *CACHE), shots=-1)) == 0
    said = result(tmp_path)
    assert said["selected_on"] == said["searched"]["on"] == "the whole validation split"
    assert said["selected_on_test"] == "selected on the whole validation split"
