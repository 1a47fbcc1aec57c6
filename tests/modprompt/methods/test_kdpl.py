"""KDPL against its repository's numbers, beside all of its methods, and what it refuses."""

import json

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt import KDPL, MPL, VPT, CoCoOp, CoOp, KgCoOp, MaPLe, PromptSRC, UserError
from modprompt.cli import train
from modprompt.use.export_model import ExportedModel
from tests.conftest import ROOT, bare, published, random_clip
from tests.modprompt.methods import kdpl_reference as reference
from tests.modprompt.methods import reference_runs
from tests.modprompt.trainers.test_methods import Recorder
from tests.test_runs import to
from tests.test_train import refusal

OF_OURS = {  # what the repository's configs say beside BARE_CONFIG
    "coop": ("OPTIM.LR", "0.002", "TRAINER.COOP.CTX_INIT", "a photo of a"),
    "coop, random": ("OPTIM.LR", "0.002"),
    "cocoop": ("OPTIM.LR", "0.002", "TRAINER.COCOOP.N_CTX", "4", "TRAINER.COCOOP.CTX_INIT", "a photo of a"),
    "maple": ("TRAINER.MAPLE.N_CTX", "2", "TRAINER.MAPLE.CTX_INIT", "a photo of a"),
}
PHRASES = str(ROOT / "tests/eurosat_phrases.json")
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
    """The folder of a CLIP of other widths."""
    return reference.write_teacher(tmp_path / "teacher")


@pytest.mark.parametrize("name", reference.CASES)
def test_every_loss_and_all_counts_are_the_repositorys(name, teacher, tmp_path, monkeypatch):
    case, expected = reference.CASES[name], json.loads(reference.GOLDEN.read_text())[name]
    folder, seen, right = reference_runs.write_inputs(tmp_path), Recorder(monkeypatch), {}
    case.save_clip(tmp_path / "clip.pt")
    files = ["--config-file", str(folder / "config.yaml")]
    files += ["--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml")]
    taught = ["TRAINER.KDPL.ON", "True", "TRAINER.KDPL.TEACHER", str(teacher)]
    for classes, how in (("base", []), ("new", ["--eval-only", "--model-dir", str(folder / "base")])):
        words = [
            *reference_runs.flags(folder, classes, case.base),
            *files,
            *how,
            *bare(tmp_path / "clip.pt", case.heads),
        ]
        more = [*case.words(), *OF_OURS[name], *taught, "DATASET.SUBSAMPLE_CLASSES", classes]
        assert train.main([*words, *more]) == 0
        right[classes] = json.loads((folder / classes / "result.json").read_text())["correct"]
    assert [loss for *_, loss in seen.batches] == pytest.approx(expected["losses"], abs=1e-4)
    assert right == {classes: expected[classes] for classes in right}


@pytest.mark.parametrize("base", BASES)
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
    with pytest.raises(UserError, match="this model comes from a checkpoint, without its teacher"):
        loaded.loss(images, torch.tensor([0, 1, 1]))


@pytest.fixture
def words(teacher, command):
    """Words of a run of a trainer that the teacher teaches."""
    taught = ("TRAINER.KDPL.ON", "True", "TRAINER.KDPL.TEACHER", str(teacher))
    return lambda trainer, *more: command(trainer, *taught, *more)


@pytest.mark.filterwarnings("ignore:nothing says how images of")
@pytest.mark.parametrize(
    ("trainer", "more", "message"),
    [
        ("KgCoOp", (), "TRAINER.KDPL.ON does not work for KgCoOp: it is added to the prompts of CoOp, CoCoOp, VPT, "),
        ("PromptKD", (), "TRAINER.KDPL.ON does not work for PromptKD: it is added to"),
        ("TipAdapter", (), "TRAINER.KDPL.ON does not work for TipAdapter: it is added to"),
        ("CoOp", ("TRAINER.KDPL.TEACHER", "nowhere.pt"), "TRAINER.KDPL.TEACHER: "),
        ("CoOp", ("TRAINER.KDPL.TEACHER_CKPT", "nowhere.tar"), "TRAINER.KDPL.TEACHER_CKPT: "),
        ("CoOp", ("TRAINER.KDPL.CLASS_AGNOSTIC", "True"), "TRAINER.KDPL.CLASS_AGNOSTIC must be False: images are told"),
        ("CoOp", ("TRAINER.DEPT.ON", "True"), "TRAINER.DEPT.ON: KDPL is already added to the prompts"),
        ("CoOp", ("INPUT.TRANSFORMS", "['random_flip']"), "INPUT.TRANSFORMS has no 'normalize'"),
        ("CoOp", ("INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]"), "from which the teacher's images are made: leave it out"),
        (
            "CoOp",
            ("ACTIVE.METHOD", "entropy", "ACTIVE.ROUNDS", "2"),
            "KDPL reads no labels: it does not work in rounds",
        ),
        ("CoOp", ("TRAINER.COOP.PROGRAD_LAMBDA", "1.0"), "KDPL reads no labels, so it cannot project steps"),
        ("CoOp", ("TRAINER.COOP.AEPATH", PHRASES), "does not work with phrases"),
        ("MPL", ("SEARCH.ON", "True"), "SEARCH.ON does not work for MPL with KDPL"),
    ],
)
def test_what_does_not_go_is_one_line(trainer, more, message, words, capsys):
    assert message in refusal(capsys, *words(trainer, *more))


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
    torch.save(published(random_clip(8, **reference.TEACHER)), teacher / "open_clip_pytorch_model.bin")
    tested = ["--eval-only", "--model-dir", str(tmp_path / "out"), *to(run, tmp_path / "third")]
    assert said["the teacher"] in refusal(capsys, *tested)


def test_a_killed_run_goes_on_exactly_and_not_with_another_teacher(words, tmp_path, monkeypatch, capsys):
    from modprompt.trainers.resume import Resume

    run, end = words("CoOp"), Resume.end_epoch
    assert train.main(to(run, tmp_path / "whole")) == 0

    def killed(self):
        end(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Resume, "end_epoch", killed)
        train.main(run)
    other = reference.write_teacher(tmp_path / "other", seed=8)
    assert "the teacher" in refusal(capsys, *run, "TRAINER.KDPL.TEACHER", other)
    assert train.main(run) == 0
    whole, resumed = (torch.load(tmp_path / one / "prompt_learner/model.pth.tar-2") for one in ("whole", "out"))
    assert whole["state_dict"].keys() == resumed["state_dict"].keys()
    assert all(torch.equal(one, resumed["state_dict"][name]) for name, one in whole["state_dict"].items())


@pytest.mark.parametrize("resize", [False, True])
def test_a_teacher_of_another_size_is_given_a_resized_crop_when_asked_for(resize, teacher):
    taught = KDPL(teacher_name=str(teacher), teacher_resize=resize).over(CoOp(n_ctx=2))
    model, images = taught.on(random_clip(1, resolution=48), NAMES), torch.randn(2, 3, 48, 48)
    if not resize:
        with pytest.raises(UserError, match="TEACHER_RESIZE True"):
            model.loss(images, torch.zeros(2).long())
        return
    assert torch.isfinite(model.loss(images, torch.zeros(2).long()))


def test_the_teacher_has_the_data_sets_template_and_computes_as_the_student(teacher, clip_model):
    images = torch.randn(2, 3, 32, 32)
    own, _ = modprompt.load_clip(teacher, "cpu")
    plain = modprompt.ZeroshotCLIP().on(own, NAMES, dataset="EuroSAT").eval()
    model = KDPL(teacher_name=str(teacher)).over(CoOp(n_ctx=2)).on(clip_model, NAMES, dataset="EuroSAT")
    said = model.objective.terms[0].of.teacher
    with torch.no_grad():
        torch.testing.assert_close(said.class_features, plain.class_matrix())
        torch.testing.assert_close(said.logits(images), plain(images))
    model.bfloat16()
    assert torch.isfinite(model.loss(images.bfloat16(), torch.zeros(2).long()))
    assert model.objective.terms[0].of.teacher.model.clip_model.dtype == torch.bfloat16


def test_exported_and_asked_for_other_classes_without_the_teacher(teacher, clip_model, tmp_path):
    images = torch.randn(2, 3, 32, 32)
    model = KDPL(teacher_name=str(teacher)).over(MaPLe(prompt_depth=2)).on(clip_model, NAMES).eval()
    model.save(tmp_path / "saved.pt")
    back = modprompt.load(tmp_path / "saved.pt", clip_model)
    with torch.no_grad():
        torch.testing.assert_close(ExportedModel(back)(images)[1], model(images).softmax(-1), atol=1e-6, rtol=1e-5)
        assert torch.equal(back.with_classes(NAMES[:2])(images), model.with_classes(NAMES[:2])(images))


def test_it_is_no_method_by_itself(teacher, clip_model):
    with pytest.raises(UserError, match="KDPL is a loss for the prompts of a method"):
        KDPL(teacher_name=str(teacher)).on(clip_model, NAMES)
    with pytest.raises(UserError, match="does not work for KgCoOp"):
        KDPL(teacher_name=str(teacher)).over(KgCoOp())
