"""Runs of the trainers whose learned part is a head: what was searched, other classes, prompts in front, what is refused."""

import json
import shutil

import pytest
import torch
from PIL import Image

import modprompt
from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.conftest import SAID, bare, random_clip
from tests.methods import METHODS
from tests.modprompt.data import trees
from tests.stopping import stopped_before
from tests.test_runs import to
from tests.test_train import refusal

pytestmark = pytest.mark.filterwarnings("ignore:OPTIM")  # words for all trainers, also for those that do not read it
EPOCHS = ("OPTIM.MAX_EPOCH", "3")
TIP = "TRAINER.TIPADAPTER."
CACHE = (TIP + "AUGMENT_EPOCH", "2", TIP + "TRAIN_EPOCH", "3", TIP + "SEARCH_STEP", "[5, 4]")


def short(trainer):
    """Options of a run of a few epochs."""
    return CACHE if trainer.startswith("Tip") else EPOCHS


def state(folder, epoch=None):
    """What the last or an epoch's checkpoint of a run holds: tensors, and what it says."""
    (path,) = folder.glob(f"*/model.pth.tar-{epoch or '*'}")
    content = torch.load(path, weights_only=True)
    return content["state_dict"], content["modprompt"]


def result(tmp_path, out="out"):
    return json.loads((tmp_path / out / "result.json").read_text())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:several classes have the same name")
def test_a_new_class_of_caltech256_has_no_row_of_a_base_class_of_its_name(command, tmp_path, monkeypatch):
    root = tmp_path / "caltech"
    trees.caltech256(root)
    folder = root / "caltech-256" / "256_ObjectCategories"
    shutil.copytree(folder / "002.american-flag", folder / "300.american-eagle")
    for path in folder.rglob("*.jpg"):
        Image.new("RGB", (32, 32)).save(path)
    of_the_family = ("DATASET.NAME", "Caltech256", "DATASET.REFERENCE_NAMES", "True")
    words = command("TaskRes", *EPOCHS, "OPTIM.LR", "1", *of_the_family)
    words[words.index("--root") + 1] = str(root)
    assert train.main(words) == 0
    model, names = model_tested_by(monkeypatch, on_new(words, tmp_path))
    assert names == ["t", "clutter", "american"]
    assert "american" in state(tmp_path / "out")[1]["classes"]["names"]
    assert state(tmp_path / "out")[1]["classes"]["which"] == [0, 0, 0]
    assert model.made.places(names, model.classes.which).tolist() == [-1, -1, -1]


@pytest.mark.slow
def test_what_a_finished_training_took_stays_known_where_it_is_started_again(command, tmp_path):
    words = command("TaskRes", *EPOCHS)
    assert train.main(words) == 0
    took_s = result(tmp_path)["training_s"]
    assert took_s > 0
    assert train.main(words) == 0
    assert result(tmp_path)["training_s"] == took_s
    assert "testing_s" in result(tmp_path)
    assert train.main(on_new(words, tmp_path)) == 0
    assert "training_s" not in result(tmp_path, "new")


def model_tested_by(monkeypatch, words):
    """The model that a run tests."""
    seen, test = [], PromptTrainer.test

    def tested(trainer, *args, **kwargs):
        seen.append((trainer.model, list(trainer.dm.dataset.classnames)))
        return test(trainer, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(PromptTrainer, "test", tested)
        assert train.main(words) == 0
    return seen[-1]


def on_new(words, tmp_path):
    """The words of a test of a run on the new classes."""
    words = [str(tmp_path / "new") if word == str(tmp_path / "out") else word for word in words]
    words[words.index("base")] = "new"
    return ["--eval-only", "--model-dir", str(tmp_path / "out"), *words]


def test_as_many_new_classes_have_their_own_features(command, tmp_path, monkeypatch):
    words = command("TaskRes", *EPOCHS, "OPTIM.LR", "1")
    assert train.main(words) == 0
    model, names = model_tested_by(monkeypatch, on_new(words, tmp_path))
    trained = state(tmp_path / "out")[1]["classes"]["names"]
    assert len(names) == len(trained)
    assert not set(names) & set(trained)
    images = torch.randn(3, 3, 32, 32)
    zero_shot = modprompt.ZeroshotCLIP().on(model.clip_model, names, dataset="EuroSAT").eval()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), zero_shot(images), atol=1e-4, rtol=0)
    assert result(tmp_path, "new")["evaluated"]


@pytest.mark.parametrize(
    ("trainer", "node", "more"), [("TipAdapterF", "TIPADAPTER", CACHE), ("TaskRes", "TaskRes", ())]
)
@pytest.mark.slow
def test_a_head_runs_behind_prompts_of_each_image(trainer, node, more, command, clip_file, tmp_path, monkeypatch):
    assert train.main(to(command("CoCoOp"), tmp_path / "front")) == 0
    words = command(trainer, *more, f"TRAINER.{node}.PROMPTS_FROM", tmp_path / "front")
    model, _ = model_tested_by(monkeypatch, words)
    assert train.main(on_new(words, tmp_path)) == 0
    images = torch.randn(3, 3, 32, 32)
    loaded = modprompt.load(tmp_path / "out", modprompt.load_clip(clip_file, device="cpu", **SAID)[0])
    before = modprompt.load(tmp_path / "front", loaded.clip_model)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model.eval()(images))
        new = loaded.with_classes(["river", "forest"]), before.with_classes(["river", "forest"])
        assert torch.equal(*(one(images).argsort(1) for one in new))  # nothing for new classes: the prompts' order


FLOW = ("TRAINER.HICROPL.FLOW", "written")


@pytest.mark.slow
@pytest.mark.parametrize(("front", "more"), [("coop_end", ("TRAINER.DEPT.ON", "True")), ("hicropl", FLOW)])
def test_a_head_runs_behind_a_joint_head_and_behind_written_prompts(front, more, command, tmp_path):
    assert train.main(to(command(METHODS[front], "OPTIM.MAX_EPOCH", 1, *more), tmp_path / "front")) == 0
    behind = command("TaskRes", "TRAINER.TaskRes.PROMPTS_FROM", tmp_path / "front", "OPTIM.MAX_EPOCH", 1)
    assert train.main(behind) == 0
    assert result(tmp_path)["images"] == result(tmp_path, "front")["images"]


def test_a_result_says_what_was_searched_on_which_images(command, tmp_path):
    assert train.main(command("TipAdapter", *CACHE)) == 0
    said = result(tmp_path)
    assert said["selected_on"] == "validation"
    assert "selected_on_test" not in said
    assert said["searched"]["grid"] == [7, 3, 5, 4]
    values = state(tmp_path / "out")
    assert float(values[0]["beta"]) == said["searched"]["beta"]
    assert values[1]["run"]["searched"] == said["searched"]


@pytest.mark.parametrize(
    ("more", "images", "marked"),
    [
        ((TIP + "SEARCH_ON", "validation split"), "the whole validation split", "the whole validation split"),
        ((TIP + "SEARCH_ON", "test"), "test", "test"),
        ((TIP + "BEST_EPOCH_ON", "test"), "test", "test"),
    ],
    ids=["whole", "test", "epoch"],
)
@pytest.mark.slow
def test_ways_beyond_the_rule_are_marked(more, images, marked, command, tmp_path):
    assert train.main(command("TipAdapterF", *CACHE, *more)) == 0
    said = result(tmp_path)
    assert (said["selected_on"], said["selected_on_test"]) == (images, f"selected on {marked}")
    tested = {"test": said["images"], "the whole validation split": said["searched"]["images"]}
    assert said["searched"]["images"] == tested[images] or "EPOCH" in more[0]


@pytest.mark.parametrize(
    ("more", "images", "marked"),
    [
        (("TRAINER.LPPLUSPLUS.BEST_EPOCH_ON", "as many"), "as many validation images as of training", True),
        (("TEST.FINAL_MODEL", "best_val"), "validation", False),
        ((), "", False),
    ],
    ids=["as many", "rule", "last"],
)
def test_a_probe_says_by_which_images_its_epoch_was_chosen(more, images, marked, command, tmp_path):
    assert train.main(command("LPPlusPlus", "TRAINER.LPPLUSPLUS.TRAIN_EPOCH", "3", *more)) == 0
    said = result(tmp_path)
    assert (said["selected_on"], said.get("selected_on_test", "")) == (
        images,
        f"selected on {images}" if marked else "",
    )


@pytest.mark.slow
def test_without_a_search_the_given_values_stay(command, tmp_path):
    more = (TIP + "SEARCH_HP", "False", TIP + "INIT_ALPHA", "2.5")
    assert train.main(command("TipAdapter", *CACHE, *more)) == 0
    assert float(state(tmp_path / "out")[0]["alpha"]) == 2.5
    assert "searched" not in result(tmp_path)
    assert not result(tmp_path)["selected_on"]


def test_a_cache_of_another_clip_is_refused(command, tmp_path, capsys):
    words = command("TipAdapter", *CACHE)
    assert train.main(words) == 0
    torch.save(random_clip(2, text_layers=4, vision_layers=4).state_dict(), tmp_path / "other.pt")
    other = [*on_new(words, tmp_path), *bare(tmp_path / "other.pt")]
    assert "was created with different settings: the weights of CLIP" in refusal(capsys, *other)


@pytest.mark.slow
def test_a_bank_of_another_run_is_refused(command, tmp_path, capsys):
    words = command("TipAdapterF", *CACHE)
    with stopped_before(PromptTrainer, 1):
        assert train.main(words) == 130
    path = tmp_path / "out" / "bank.pth.tar"
    content = read_tensors(path)
    content["settings"]["the weights of CLIP"] = f"2:{0:024}"
    write_tensors(path, content)
    assert "was made by a run with other settings (the weights of CLIP" in refusal(capsys, *words)
    path.write_bytes(b"nothing")
    assert "bank.pth.tar is damaged" in refusal(capsys, *words)
    path.unlink()
    assert "bank.pth.tar is missing, but the run in the output folder was made from this file" in refusal(
        capsys, *words
    )


@pytest.mark.slow
def test_files_of_the_reference_are_known_by_their_class_features(command, tmp_path, capsys):
    words = command("ADAPTER", *EPOCHS, "TRAINER.ADAPTER.VIEWS", "1")
    assert train.main(words) == 0
    (path,) = (tmp_path / "out").glob("*/model.pth.tar-3")
    tensors = torch.load(path, weights_only=True)["state_dict"]
    torch.save({"state_dict": tensors, "epoch": 3, "optimizer": None, "scheduler": None, "val_result": None}, path)
    test = ["--eval-only", "--model-dir", str(tmp_path / "out"), *to(words, tmp_path / "again")]
    assert train.main(test) == 0
    assert result(tmp_path, "again")["accuracy_pct"] == result(tmp_path)["accuracy_pct"]
    capsys.readouterr()
    assert "the class features in the file do not match the classes of this model" in refusal(
        capsys, *on_new(words, tmp_path)
    )


def test_an_enhanced_base_takes_the_place_of_the_text_projection(clip_model, tmp_path):
    own = clip_model.text_projection.detach().clone()
    torch.save({"state_dict": {"weight": 2 * own.t()}}, tmp_path / "base.pt")
    plain, enhanced = (
        modprompt.TaskRes(enhanced_base=base).on(clip_model, ["cat", "dog"])
        for base in ("none", str(tmp_path / "base.pt"))
    )
    torch.testing.assert_close(enhanced.raw_text(), 2 * plain.raw_text())
    assert torch.equal(clip_model.text_projection, own)
    torch.save({"state_dict": {"weight": own[:3]}}, tmp_path / "base.pt")
    with pytest.raises(UserError, match=r"ENHANCED_BASE: the projection in .* has the shape "):
        modprompt.TaskRes(enhanced_base=str(tmp_path / "base.pt")).on(clip_model, ["cat", "dog"])


def test_a_checkpoint_holds_its_enhanced_base(clip_model, tmp_path):
    own = clip_model.text_projection.detach()
    torch.save({"state_dict": {"weight": own.t() + 0.1 * torch.randn(own.t().shape)}}, tmp_path / "base.pt")
    model = modprompt.TaskRes(enhanced_base=str(tmp_path / "base.pt")).on(clip_model, ["cat", "dog"]).eval()
    model.head.build(model.bank([], []), model.scale())
    with torch.no_grad():
        model.head.text_feature_residuals.add_(0.1 * torch.randn(2, model.width))
    model.save(tmp_path / "own.pt")
    (tmp_path / "base.pt").unlink()
    images = torch.randn(3, 3, 32, 32)
    again = modprompt.load(tmp_path / "own.pt", clip_model)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
        assert torch.equal(again.with_classes(["cow"])(images), model.with_classes(["cow"])(images))
    again.save(tmp_path / "twice.pt")
    with torch.no_grad():
        assert torch.equal(modprompt.load(tmp_path / "twice.pt", clip_model)(images), model(images))
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    del content["state_dict"]["enhanced_base"]
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(UserError, match="was trained with the enhanced base .*, which the checkpoint does not contain"):
        modprompt.load(tmp_path / "own.pt", clip_model)
