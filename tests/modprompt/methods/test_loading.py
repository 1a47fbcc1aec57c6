"""Saved prompts say what they are, and come back as they were, or not at all."""

import json
from dataclasses import dataclass

import pytest
import torch

import modprompt
from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io.records import KEY
from tests.conftest import ROOT, SAID, random_clip
from tests.methods import METHODS as ROWS
from tests.modprompt.methods.test_model import NAMES, on
from tests.modprompt.use import made

WORDS = ["zero", "one"]


@pytest.fixture
def glyph():
    return made.glyph()


def logits(model, size=32):
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(images)


def moved(model):
    with torch.no_grad():
        for parameter in model.prompt_learner.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape))
    return model


def test_file_holds_plain_values_that_say_what_it_is(glyph, tmp_path):
    model = on(modprompt.MPL, glyph, WORDS)
    model.save(tmp_path / "a.pt")
    record = torch.load(tmp_path / "a.pt", weights_only=True)[KEY]
    assert set(record) == {"version", "hash", "versions", "method", "schedules", "classes", "clip", "run"}
    assert (record["version"], record["method"]["name"]) == (2, "MPL")
    assert modprompt.MPL(**record["method"]["settings"]) == model.method
    assert record["classes"]["names"] == WORDS
    assert record["classes"]["templates"]
    sides = {side: [list(step) for step in steps] for side, steps in model.prompt_learner.schedules._asdict().items()}
    assert {side: schedule["steps"] for side, schedule in record["schedules"].items()} == sides
    clip = record["clip"]
    assert (clip["name"], clip["file"], clip["size"]) == ("glyph-clip", "", 32)
    assert len(clip["mean"]) == len(clip["std"]) == 3
    assert clip["fingerprint"] == glyph.fingerprint


def test_what_was_cast_is_saved_with_the_fingerprint_of_the_exact_weights(glyph, tmp_path):
    model = on(modprompt.MPL, glyph, WORDS).to(torch.bfloat16)
    model.save(tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True)[KEY]["clip"]["fingerprint"] == glyph.fingerprint


def test_a_clip_from_elsewhere_is_known_by_its_weights(tmp_path):
    clip_model = random_clip()
    model = moved(on(modprompt.MPL, clip_model))
    model.save(tmp_path / "a.pt")
    facts = torch.load(tmp_path / "a.pt", weights_only=True)[KEY]["clip"]
    assert (facts["name"], facts["file"], facts["size"], facts["mean"]) == ("", "", 32, [])
    with pytest.raises(
        UserError, match=r"a CLIP model that has no name \(32 pixels, fingerprint 2:.*Pass this CLIP model"
    ):
        modprompt.load(tmp_path / "a.pt")
    assert torch.equal(logits(modprompt.load(tmp_path / "a.pt", random_clip())), logits(model))
    with pytest.raises(UserError, match="was trained with the CLIP model without a name"):
        modprompt.load(tmp_path / "a.pt", random_clip(5))


@pytest.mark.slow
def test_a_clip_from_a_file_is_asked_for_by_its_name(clip_file, tmp_path):
    clip_model, _ = modprompt.load_clip(clip_file, device="cpu", **SAID)
    model = moved(on(modprompt.MPL, clip_model))
    model.save(tmp_path / "a.pt")
    with pytest.raises(
        UserError,
        match=r"with the CLIP model in the file clip.pt .*Pass this CLIP model as the second argument of load",
    ):
        modprompt.load(tmp_path / "a.pt")
    for clip in (clip_file, str(clip_file), clip_file.parent):
        assert torch.equal(logits(modprompt.load(tmp_path / "a.pt", clip, device="cpu")), logits(model))
    with pytest.raises(
        UserError, match="was trained with the CLIP model clip.pt .*, but glyph-clip has the fingerprint"
    ):
        modprompt.load(tmp_path / "a.pt", "glyph-clip")


@pytest.fixture
def run(command, clip_file, tmp_path):
    """The folder of a small run of MPL, and its CLIP."""
    assert train.main(command(ROWS["mpl"], "OPTIM.MAX_EPOCH", 2, "TRAIN.CHECKPOINT_FREQ", 1)) == 0
    return tmp_path / "out", modprompt.load_clip(clip_file, device="cpu", **SAID)[0]


def test_a_runs_folder_gives_the_last_or_an_epoch(run):
    folder, clip_model = run
    last, first = modprompt.load(folder, clip_model), modprompt.load(folder, clip_model, epoch=1)
    assert not torch.equal(last.prompt_learner.ctx, first.prompt_learner.ctx)
    assert last.classes.names == tuple(json.loads((folder / "result.json").read_text())["class_names"]["names"])
    file = folder / ROWS["mpl"].folder / "model.pth.tar-2"
    assert torch.equal(logits(modprompt.load(file, clip_model)), logits(last))
    result = json.loads((folder / "result.json").read_text())
    record = torch.load(folder / ROWS["mpl"].folder / "model.pth.tar-2", weights_only=True)[KEY]
    keys = ("method", "classes", "clip")
    assert [result["method"], result["class_names"], result["clip"]] == [record[key] for key in keys]
    with pytest.raises(UserError, match="The checkpoint model.pth.tar-7 does not exist"):
        modprompt.load(folder, clip_model, epoch=7)


def test_files_of_the_family_need_method_and_names(run, tmp_path):
    folder, clip_model = run
    model = modprompt.load(folder, clip_model)
    content = torch.load(folder / ROWS["mpl"].folder / "model.pth.tar-2", weights_only=True)
    torch.save({"state_dict": content["state_dict"], "epoch": 2}, tmp_path / "family.pth")
    with pytest.raises(UserError, match=r"does not record its method, .* Pass the method and the class names"):
        modprompt.load(tmp_path / "family.pth", clip_model)
    again = modprompt.load(tmp_path / "family.pth", clip_model, method=model.method, names=model.classes.names)
    assert torch.equal(logits(again), logits(model))
    with pytest.raises(UserError, match="does not fit this model: the file also contains compound_prompts_text.1"):
        modprompt.load(tmp_path / "family.pth", clip_model, method=modprompt.MPL(n_ctx=1, prompt_depth=2), names=NAMES)


def test_a_published_checkpoint_of_a_method_that_is_not_here_says_what_it_holds(glyph):
    path, holds = ROOT / "tests/modprompt/io/rpo/model.pth.tar-15", "img_prompt, text_prompt"
    with pytest.raises(
        UserError,
        match=rf"does not record its method, because a Dassl-based codebase wrote the file \(it contains {holds}\)",
    ):
        modprompt.load(path, glyph)
    with pytest.raises(
        UserError, match=f"is not a checkpoint of this method. The file has no ctx, but contains {holds}"
    ):
        modprompt.load(path, glyph, method=modprompt.CoOp(), names=["zero", "one"])


def altered(content, **changes):
    return {**content, KEY: {**content[KEY], **changes}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "has the format version 3, which this version of modprompt does not support"),
        ({"version": None}, "has the format version None"),
        ({"classes": {"names": ["two", "three"], "dataset": "", "templates": []}}, "its hash does not match"),
        ({"hash": "0" * 64}, "its hash does not match"),
    ],
)
def test_damaged_or_newer_records_are_refused(change, message, glyph, tmp_path):
    on(modprompt.MPL, glyph, WORDS).save(tmp_path / "a.pt")
    torch.save(altered(torch.load(tmp_path / "a.pt", weights_only=True), **change), tmp_path / "b.pt")
    with pytest.raises(UserError, match=message):
        modprompt.load(tmp_path / "b.pt")


def test_a_method_that_is_not_ours_is_named(glyph, tmp_path):
    from modprompt.io import checkpoint

    on(modprompt.MPL, glyph, WORDS).save(tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    parts = {key: value for key, value in content[KEY].items() if key not in ("version", "hash")}
    parts["method"] = {**parts["method"], "name": "Growing"}
    torch.save({**content, KEY: checkpoint.record(**parts)}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="was saved by the method 'Growing', which modprompt does not provide"):
        modprompt.load(tmp_path / "b.pt")


@dataclass(frozen=True, repr=False)
class Mine(modprompt.MaPLe):
    node = "TRAINER.MINE"


def test_a_method_of_ones_own_comes_back_by_its_class(glyph, tmp_path):
    model = moved(Mine(n_ctx=1, prompt_depth=3).on(glyph, WORDS))
    model.save(tmp_path / "a.pt")
    with pytest.raises(
        UserError,
        match=r"was saved by the method 'Mine', which modprompt does not provide\. If you defined the method yourself, pass its class, as in load",
    ):
        modprompt.load(tmp_path / "a.pt", glyph)
    again = modprompt.load(tmp_path / "a.pt", glyph, method=Mine)
    assert again.method == model.method
    assert torch.equal(logits(again), logits(model))
    for wrong in ({"method": modprompt.MaPLe}, {"method": Mine, "names": WORDS}, {"method": Mine()}):
        with pytest.raises(UserError, match="already records a method and class names, so the arguments"):
            modprompt.load(tmp_path / "a.pt", glyph, **wrong)


def test_contexts_of_single_classes_come_back_for_these_classes_alone(glyph, tmp_path):
    model = moved(modprompt.CoOp(n_ctx=2, csc=True).on(glyph, WORDS))
    model.save(tmp_path / "a.pt")
    assert torch.equal(logits(modprompt.load(tmp_path / "a.pt", glyph)), logits(model))
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save({"state_dict": content["state_dict"]}, tmp_path / "b.pt")
    said = {"method": modprompt.CoOp(n_ctx=2, csc=True), "names": ["two", "three"]}
    with pytest.warns(UserWarning, match="contains a context for each class"):
        modprompt.load(tmp_path / "b.pt", glyph, **said)


def test_a_clip_with_other_weights_loaded_into_it_is_another(tmp_path):
    clip_model, _ = modprompt.load_clip("glyph-clip", device="cpu")
    model = modprompt.MPL(prompt_depth=6).on(clip_model, ["zero", "one"])
    model.save(tmp_path / "before.pt")
    clip_model.load_state_dict({name: 1.01 * value for name, value in clip_model.state_dict().items()})
    with pytest.raises(UserError, match="text weights of glyph-clip have changed .* Create the model again with .on"):
        model.save(tmp_path / "behind.pt")
    model = modprompt.MPL(prompt_depth=6).on(clip_model, ["zero", "one"])
    model.save(tmp_path / "behind.pt")
    with pytest.raises(
        UserError, match="trained with the CLIP model glyph-clip .*, but this CLIP model has the fingerprint"
    ):
        modprompt.load(tmp_path / "before.pt", clip_model)
    assert modprompt.load(tmp_path / "behind.pt", clip_model).classes == model.classes
    with pytest.raises(UserError, match="with a CLIP model that has no name"):
        modprompt.load(tmp_path / "behind.pt")


def test_what_is_not_understood_is_not_passed_over(glyph, tmp_path):
    model = modprompt.MPL(prompt_depth=6).on(glyph, ["zero", "one"])
    model.save(tmp_path / "new.pt")
    torch.save({"state_dict": torch.load(tmp_path / "new.pt", weights_only=True)["state_dict"]}, tmp_path / "old.pt")
    for given, message in (
        ({"method": model.method, "names": "zero"}, "names must be a list of class names, got the string 'zero'"),
        (
            {"method": modprompt.MPL, "names": ["zero"]},
            r"method must be an instance of a method such as MPL\(n_ctx=2\)",
        ),
        ({"epoch": 3}, "epoch=3 is only supported for the folder of a run, but .*old.pt is not"),
        ({"device": "cpu"}, "device cannot be set if clip is a module"),
    ):
        with pytest.raises(UserError, match=message):
            modprompt.load(tmp_path / "old.pt", glyph, **given)
    with pytest.raises(UserError, match="torch.nn.modules.linear.Linear is not a model of the `clip` package"):
        modprompt.load(tmp_path / "new.pt", torch.nn.Linear(2, 2))


def test_classes_of_one_name_come_back_with_a_warning(glyph, tmp_path):
    """As of a run on ImageNet, whose list has such."""
    names = ["one", "two", "one"]
    with pytest.warns(UserWarning, match=r"'one' \(0, 2\)"):
        model = modprompt.MPL(prompt_depth=6).on(glyph, names, listed=True)
    model.save(tmp_path / "own.pt")
    with pytest.warns(UserWarning, match=r"'one' \(0, 2\)"):
        again = modprompt.load(tmp_path / "own.pt", glyph)
    with pytest.warns(UserWarning, match=r"'one' \(0, 1\)"):
        assert again.with_classes(["one", "one"]).classes.names == ("one", "one")
    with pytest.raises(UserError, match="'two' is listed twice"):
        again.with_classes(["two", "two"])
