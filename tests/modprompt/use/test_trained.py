import json

import pytest
import torch

import modprompt
from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io.records import KEY, sealed
from modprompt.use.trained import Trained, adapted, open_trained
from tests.conftest import SAID, random_clip, slow_but
from tests.modprompt.use.made import glyph, model_of, write_run

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def logits(model):
    with torch.no_grad():
        return model(IMAGES)


@pytest.mark.parametrize("name", slow_but(["MPL", "CoOp", "CoCoOp", "CLIPLoRA", "TaskRes"], "CoCoOp", "TaskRes"))
def test_folder_and_file_give_the_model_and_other_classes(name, tmp_path):
    model = model_of(name)
    folder = write_run(tmp_path / "run", model)
    draws = torch.get_rng_state()
    trained = open_trained(folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), draws)
    assert torch.equal(logits(trained.model), logits(model))
    assert torch.equal(logits(open_trained(trained.path, device="cpu").model), logits(model))
    other = open_trained(folder, names=["four", "five"], device="cpu").model
    assert other.classes.names == ("four", "five")
    assert torch.equal(logits(other), logits(model.with_classes(["four", "five"])))


def test_zero_shot_has_no_checkpoint_and_no_epoch(tmp_path):
    folder = write_run(tmp_path / "run", model_of("ZeroshotCLIP"))
    assert open_trained(folder).path == folder / "result.json"
    with pytest.raises(UserError, match="belongs to a method without training, which has no epochs"):
        open_trained(folder, epoch=1)
    result = json.loads((folder / "result.json").read_text())
    result["class_names"]["names"] = 3
    result.pop(KEY)
    (folder / "result.json").write_text(json.dumps(sealed(result, 2)))
    with pytest.raises(UserError, match=r"result.json is damaged \("):
        open_trained(folder)


@pytest.mark.filterwarnings("ignore:.*mean.*:UserWarning")  # another than OpenAI's
@pytest.mark.slow
def test_a_real_run_with_a_clip_from_a_file(command, clip_file, tmp_path):
    words = command("CoCoOp", "TRAINER.COCOOP.N_CTX", 2, "TRAINER.COCOOP.PREC", "fp32", "OPTIM.MAX_EPOCH", 1)
    assert train.main([*words, "INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]"]) == 0
    clip_model = modprompt.load_clip(clip_file, device="cpu", **SAID)[0]
    trained = open_trained(tmp_path / "out", clip=clip_model)
    assert trained.preprocess.transforms[-1].mean == (0.5, 0.5, 0.5)  # the run's, not the CLIP's
    config = tmp_path / "out" / "config.yaml"
    for path in (tmp_path / "out", trained.path):  # by the path that the run recorded
        assert torch.equal(logits(open_trained(path, device="cpu").model), logits(trained.model))
    torch.save(random_clip(7, text_layers=4, vision_layers=4).state_dict(), tmp_path / "other.pt")
    for other, said in (
        ("other.pt", "was trained with the CLIP model "),
        ("gone.pt", "gone.pt recorded in .* do not exist"),
    ):
        config.write_text(f"MODEL: {{BACKBONE: {{PATH: {tmp_path / other}}}}}\n")
        with pytest.raises(UserError, match=said):
            open_trained(tmp_path / "out")
    config.unlink()
    with pytest.raises(
        UserError, match="clip.pt .*Pass this CLIP model as the second argument of load.* or with --clip on the command"
    ):
        open_trained(tmp_path / "out")  # no file is opened because a checkpoint names it


def test_a_saved_file_has_the_transform_of_its_clip(tmp_path):
    model_of("MPL").save(tmp_path / "a.pt")
    trained = open_trained(tmp_path / "a.pt", clip=glyph())
    assert str(trained.preprocess) == str(modprompt.load_clip("glyph-clip", device="cpu")[1])


@pytest.mark.parametrize("name", ["MMRL", "CoOp"])
def test_a_head_that_adapts_leaves_the_given_model_as_it_was(name):
    model = model_of(name)
    before = logits(model)
    adapted(Trained(model, None, "run"), "TDA")
    assert torch.equal(logits(model), before)
    assert all(one.requires_grad for one in model.prompt_learner.parameters())


def test_what_is_no_run_is_said(tmp_path):
    for name, said in (
        ("empty", "contains no trained model. Use the output folder of a run"),
        ("nosuch", "does not exist. Use"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=said):
            open_trained(tmp_path / name)
