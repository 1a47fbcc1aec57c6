"""2SFS against its repository's numbers and plain loops, resuming in both stages, classes with and without a row."""

import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt import SettingError, TwoSFS, UserError
from modprompt.cli import train
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.use.export_model import ExportedModel
from tests.conftest import one_line, slow_but
from tests.methods import METHODS
from tests.modprompt.methods.reference_runs import require_recorded
from tests.recorder import Recorder
from tests.test_runs import to

NAMES, ROW = ["cat", "golden retriever", "dog"], METHODS["two_sfs"]
CASES = {  # as its own program has them; all with 4 steps a shot
    "published": ("2e-4", {}),
    "large": ("0.01", {}),
    "vision": ("0.01", {"LN_MODALITY": "vision", "LN_VISION_START": 1, "N_ITERS_FRAC": 0.3}),
}


@pytest.mark.parametrize("case", slow_but(CASES, "vision"))
def test_every_loss_of_both_stages_and_all_counts_are_the_repositorys(case, tmp_path, monkeypatch):
    rate, given = CASES[case]
    settings = {"PREC": "fp32", "N_ITERS": 4, **given}
    options = [word for key, value in settings.items() for word in (f"TRAINER.TWOSFS.{key}", str(value))]
    options += ["OPTIM.NAME", "adamw", "OPTIM.LR", rate, "OPTIM.WEIGHT_DECAY", "0.01"]
    require_recorded("twosfs", case, "", "TwoSFS", "", options, tmp_path, monkeypatch)


class Features(torch.nn.Module):
    """Unit features of a side of the stock CLIP, with other normalisations in its place."""

    def __init__(self, clip_model, side):
        super().__init__()
        self.clip, self.call = clip_model, {"text": clip_model.encode_text, "vision": clip_model.encode_image}[side]
        self.blocks = {"text": "clip.transformer.resblocks.", "vision": "clip.visual.transformer.resblocks."}

    def forward(self, x):
        return F.normalize(self.call(x), dim=1)

    def of(self, params, x):
        norms = {name: one for name, one in params.items() if "ln_" in name}
        named = {self.blocks[name.partition(".")[0]] + name.partition(".")[2]: one for name, one in norms.items()}
        return torch.func.functional_call(self, named, (x,))


def test_steps_are_those_of_two_plain_loops(command, monkeypatch):
    """AdamW of one stage, then of the other; 8 steps in passes of 5."""
    seen = Recorder(monkeypatch)
    assert train.main(command(ROW, "OPTIM.NAME", "adamw", "OPTIM.LR", 0.01)) == 0
    clip_model, tokens, _, _ = seen.facts()
    text, vision = (Features(clip_model, side) for side in ("text", "vision"))
    params = {name: one.requires_grad_(True) for name, one in copy.deepcopy(seen.start).items()}
    norms, rows = [one for name, one in params.items() if "ln_" in name], params["classifier"]
    for stage, learned in enumerate((norms, [rows])):
        if stage:
            with torch.no_grad():
                rows.copy_(text.of(params, tokens))
        optimiser = torch.optim.AdamW(learned, weight_decay=5e-4)
        for number, (images, labels, said) in enumerate(seen.batches[4 * stage : 4 * stage + 4]):
            optimiser.param_groups[0]["lr"] = 1e-6 + (0.01 - 1e-6) * (1 + math.cos(math.pi * number / 4)) / 2
            classes = F.normalize(rows, dim=1) if stage else text.of(params, tokens)
            loss = F.cross_entropy(clip_model.logit_scale.exp() * vision.of(params, images) @ classes.T, labels)
            assert float(said) == pytest.approx(loss.item(), abs=1e-4), (stage, number)
            optimiser.zero_grad()
            loss.backward(inputs=learned)
            optimiser.step()
    view = next(iter(seen.trainer._models.values()))
    for name, value in view.state_dict().items():
        torch.testing.assert_close(value, params[name].detach(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("step", [3, pytest.param(7, marks=pytest.mark.slow)])
def test_a_training_killed_in_either_stage_goes_on_to_the_same_numbers(step, command, tmp_path, monkeypatch):
    """8 steps, 4 in each stage, of 3 batches at most a pass: each stage ends within its second pass."""
    words = command(ROW, "OPTIM.NAME", "adamw", "OPTIM.LR", 0.01, "DATALOADER.TRAIN_X.BATCH_SIZE", 8)
    assert train.main(to(words, tmp_path / "whole")) == 0
    taken, forward = [], PromptTrainer.forward_backward

    def killed(trainer, batch):
        taken.append(trainer.optim.param_groups[0]["lr"])
        if len(taken) == step + 1:
            raise KeyboardInterrupt
        return forward(trainer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(PromptTrainer, "forward_backward", killed)
        assert train.main(words) == 130
    assert train.main(words) == 0
    whole, gone_on = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "out"))
    assert whole["prompts_hash"] == gone_on["prompts_hash"]
    assert whole["correct"] == gone_on["correct"]
    assert taken[:4] == sorted(taken[:4], reverse=True)
    assert taken[4:5] in ([], [0.01])
    steps = [row.split(",")[:2] for row in (tmp_path / "out/steps.csv").read_text().splitlines()[1:]]
    assert steps == [[str(epoch), str(number + 1)] for number, epoch in enumerate((1, 1, 1, 2, 3, 3, 3, 4))]


def with_rows(clip_model):
    """A model whose classes have rows that are not their text."""
    model = TwoSFS().on(clip_model, NAMES)
    with torch.no_grad():
        model.prompt_learner.class_rows.classifier.normal_()
    return model.eval()


def test_a_class_with_a_row_has_it_and_any_other_its_text(clip_model, tmp_path):
    model = with_rows(clip_model)
    rows = F.normalize(model.prompt_learner.class_rows.classifier.detach(), dim=1)
    mixed = ["horse", NAMES[2], NAMES[0]]
    text = TwoSFS().on(clip_model, mixed).eval().class_features()
    model.save(tmp_path / "saved.pt")
    for one in (model, modprompt.load(tmp_path / "saved.pt", clip_model)):
        torch.testing.assert_close(one.class_features(), rows)
        torch.testing.assert_close(one.with_classes(mixed).class_features(), torch.stack([text[0], rows[2], rows[0]]))
    torch.testing.assert_close(model.finished()["class_matrix"], rows)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ExportedModel(model)(images)[1], model(images).softmax(-1), atol=1e-5, rtol=1e-4)


def test_a_second_stage_leaves_normalisations_and_a_first_one_leaves_no_rows(clip_model):
    model, images, labels = with_rows(clip_model).train(), torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    rows, text = model.prompt_learner.class_rows.classifier, TwoSFS().on(clip_model, NAMES).eval().class_features()
    for stage, learns in ((1, {"classifier"}), (0, {"weight", "bias"})):
        model.zero_grad()
        with model.in_stage(stage):
            model.loss(images, labels).backward()
            torch.testing.assert_close(rows.detach(), text if stage else torch.zeros_like(text))
        learner = model.prompt_learner
        found = {name.rpartition(".")[2] for name, one in learner.named_parameters() if one.grad is not None}
        assert found == learns
    assert all(one.requires_grad for one in model.prompt_learner.parameters())


def test_a_stage_needs_its_number_and_the_classes_of_its_rows(clip_model):
    model, images = with_rows(clip_model), torch.randn(2, 3, 32, 32)
    before = model(images)
    for stage in (2, -1, "1"):
        with one_line("in_stage: stage must be 0 .* or 1 "), model.in_stage(stage):
            pass
    for names in (NAMES[:2], [*NAMES, "horse"], ["horse", *NAMES[1:]]):
        for begins in (True, False):
            with one_line("in_stage: .* but its classifier was made for a different set of 3 classes"):  # noqa: SIM117
                with model.with_classes(names).in_stage(1, begins):
                    pass
    torch.testing.assert_close(model(images), before)


@pytest.mark.parametrize("head", [modprompt.TaskRes, modprompt.TDA, modprompt.TipAdapter])
def test_a_head_uses_the_tuned_encoders_and_not_the_classifier(head, clip_model, tmp_path):
    model, images = with_rows(clip_model), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for one in model.prompt_learner.adapters.parameters():
            one.add_(0.1)
    model.save(tmp_path / "saved.pt")
    headed = head(prompts_from=str(tmp_path / "saved.pt")).on(clip_model, NAMES).eval()
    with torch.no_grad():
        torch.testing.assert_close(headed.encode_image(images), model.encode_image(images))
        torch.testing.assert_close(headed.class_features(), model._of_text_side()[1].float())
        assert not torch.allclose(headed.class_features(), model.class_features().float(), atol=1e-2)


def test_files_without_classes_and_other_clips_are_refused(clip_model, tmp_path):
    model = with_rows(clip_model)
    model.save(tmp_path / "saved.pt")
    torch.save({"state_dict": model.saved_state(), "epoch": 1}, tmp_path / "bare.pt")
    with pytest.raises(UserError, match="The classifier has 3 rows, but there are 2 classes"):
        modprompt.load(tmp_path / "bare.pt", clip_model, method=TwoSFS(), names=NAMES[:2]).class_features()
    with pytest.raises(
        SettingError, match="LN_VISION_START must be less than 3, the number of layers in this encoder, got 3"
    ):
        TwoSFS(ln_vision_start=3).on(clip_model, NAMES)
