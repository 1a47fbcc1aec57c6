"""KDPL against its repository's numbers, beside all of its methods, and what it refuses."""

import json

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt import KDPL, MPL, VPT, CoCoOp, CoOp, KgCoOp, MaPLe, PromptSRC, UserError
from modprompt.cli import train
from tests.conftest import published, random_clip, slow_but
from tests.modprompt.methods.reference_runs import require_recorded
from tests.test_runs import to
from tests.test_train import refusal

CASES = {  # the base, options
    "coop": ("CoOp", ("OPTIM.LR", "0.002", "TRAINER.COOP.CTX_INIT", "a photo of a")),
    "coop, random": ("CoOp", ("OPTIM.LR", "0.002", "TRAINER.COOP.CTX_INIT", "", "TRAINER.COOP.N_CTX", "3")),
    "cocoop": ("CoCoOp", ("OPTIM.LR", "0.002", "TRAINER.COCOOP.N_CTX", "4", "TRAINER.COCOOP.CTX_INIT", "a photo of a")),
    "maple": ("MaPLe", ("TRAINER.MAPLE.PROMPT_DEPTH", "4", "TRAINER.MAPLE.N_CTX", "2", "TRAINER.MAPLE.CTX_INIT", "a photo of a")),
}  # fmt: skip
TEACHER = {"text_layers": 2, "vision_layers": 3, "text_width": 128, "vision_width": 192}
NAMES = ["cat", "golden retriever", "x"]
BASES = {
    "CoOp": CoOp(n_ctx=2),
    "CoCoOp": CoCoOp(n_ctx=2),
    "VPT": VPT(prompt_depth_vision=2),
    "MaPLe": MaPLe(prompt_depth=2),
    "PromptSRC": PromptSRC(prompt_depth_text=2, prompt_depth_vision=2, gpa_std=0.0),
    "MPL": MPL(n_ctx=1, prompt_depth=2),
}


@pytest.fixture
def teacher(tmp_path):
    """The folder of a CLIP of other widths than a student's."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    sides = {
        "vision_cfg": {"layers": 3, "width": 192, "head_width": 64, "patch_size": 16, "image_size": 32},
        "text_cfg": {"layers": 2, "width": 128, "heads": 2, "context_length": 77, "vocab_size": 49408},
    }
    torch.save(published(random_clip(7, **TEACHER)), folder / "open_clip_pytorch_model.bin")
    config = {"model_cfg": {"embed_dim": 32, "quick_gelu": True, **sides}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("case", slow_but(CASES, "coop", "cocoop"))
def test_every_loss_and_all_counts_are_the_repositorys(case, teacher, tmp_path, monkeypatch):
    base, options = CASES[case]
    taught = ["TRAINER.KDPL.ON", "True", "TRAINER.KDPL.TEACHER", str(teacher), f"TRAINER.{base.upper()}.PREC", "fp32"]
    require_recorded("kdpl", case, base, base, "", [*options, *taught], tmp_path, monkeypatch)


@pytest.mark.parametrize("base", slow_but(BASES, "CoOp", "CoCoOp", "MPL"))
def test_labels_are_not_read_and_other_terms_stay(base, teacher, clip_model, tmp_path):
    images = torch.randn(3, 3, 32, 32)
    method = KDPL(teacher_name=str(teacher)).over(BASES[base])
    model = method.on(clip_model, NAMES)
    loss = model.loss(images, torch.tensor([0, 1, 1]))
    assert torch.equal(loss, model.loss(images, torch.tensor([2, 0, 0])))
    loss.backward()
    assert [name for name, one in model.prompt_learner.named_parameters() if one.grad is None] == []
    said = model.output(images).logits.float().log_softmax(-1)
    terms = {term.name: term for term in model.objective.terms}
    goal = terms["distillation"].of.teacher.logits(images, model.cosine_scale()).log_softmax(-1)
    both = [F.kl_div(one, other, log_target=True, reduction="batchmean") for one, other in ((said, goal), (goal, said))]
    rest = sum(term.of(model.output(images), images, None) for name, term in terms.items() if name != "distillation")
    torch.testing.assert_close(loss, sum(both) / 2 + rest)
    assert ("regularisation" in terms) == (base == "PromptSRC")
    model.eval().save(tmp_path / "saved.pt")
    loaded = modprompt.load(tmp_path / "saved.pt", clip_model)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert not any("teacher" in name for name, _ in model.named_parameters())
    with pytest.raises(UserError, match="loaded from a checkpoint, which does not contain the teacher"):
        loaded.loss(images, torch.tensor([0, 1, 1]))


@pytest.fixture
def words(teacher, command):
    """Words of a run of a trainer that the teacher teaches."""
    taught = ("TRAINER.KDPL.ON", "True", "TRAINER.KDPL.TEACHER", str(teacher))
    return lambda trainer, *more: command(trainer, *taught, *more)


@pytest.mark.slow
def test_a_run_says_its_teacher_and_that_labels_were_not_read_and_takes_no_other(words, teacher, tmp_path, capsys):
    run = words("MaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", 2, "OPTIM.MAX_EPOCH", 1)
    assert train.main(run) == 0
    found = json.loads((tmp_path / "out/result.json").read_text())
    said = found["method"]["beside"]
    assert (said["name"], said["the teacher's prompts"]) == ("KDPL", "none")
    assert any("labels of the training images were not read" in note for note in found["notes"])
    assert "seen" not in found
    tested = ["--eval-only", "--model-dir", str(tmp_path / "out"), *to(run, tmp_path / "second")]
    assert train.main(tested) == 0
    assert json.loads((tmp_path / "second/result.json").read_text())["correct"] == found["correct"]
    torch.save(published(random_clip(8, **TEACHER)), teacher / "open_clip_pytorch_model.bin")
    tested = ["--eval-only", "--model-dir", str(tmp_path / "out"), *to(run, tmp_path / "third")]
    assert said["the teacher"] in refusal(capsys, *tested)


def test_it_is_no_method_by_itself(teacher, clip_model):
    with pytest.raises(UserError, match="KDPL cannot be used alone"):
        KDPL(teacher_name=str(teacher)).on(clip_model, NAMES)
    with pytest.raises(UserError, match="does not work for KgCoOp"):
        KDPL(teacher_name=str(teacher)).over(KgCoOp())
