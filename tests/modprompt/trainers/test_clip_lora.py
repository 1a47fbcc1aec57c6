"""The trainer CLIPLoRA: its steps against the public program's, how many there are, resuming, files."""

import json
import math

import pytest
import torch

from modprompt.cli import train
from tests import plain_lora
from tests.conftest import ROOT, bare
from tests.modprompt.methods.record_clip_lora import BATCH, ITERS, SHOTS, inputs
from tests.modprompt.trainers.test_methods import Recorder

# Of the public program: PYTHONPATH=. python tests/modprompt/methods/record_clip_lora.py CHECKOUT OUT.json
REFERENCE = json.loads((ROOT / "tests/modprompt/methods/clip_lora.json").read_text())
SETTINGS = {  # of record_clip_lora.CASES
    "published": {},
    "vision": {"ENCODER": "vision", "POSITION": "up", "PARAMS": "q v o", "R": 4, "ALPHA": 2, "LR": 0.01},
    "text": {"ENCODER": "text", "POSITION": "half-bottom", "PARAMS": "v k", "LR": 0.01},
    "no dropout": {"DROPOUT": 0, "GRADIENT": "reference", "LR": 0.01},
}
CONFIG = """
DATALOADER:
  TRAIN_X:
    BATCH_SIZE: 8
  TEST:
    BATCH_SIZE: 256
  NUM_WORKERS: 0
INPUT:
  SIZE: (224, 224)
  INTERPOLATION: "bicubic"
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
  PIXEL_STD: [0.26862954, 0.26130258, 0.27577711]
  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]
OPTIM:
  NAME: "adamw"
  LR: 2e-4
  WEIGHT_DECAY: 0.01
TRAIN:
  PRINT_FREQ: 1
"""


@pytest.fixture(scope="session")
def recorded_inputs(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("clip_lora"))


@pytest.fixture
def words(recorded_inputs, tmp_path):
    """Words of a run on the inputs of the recording, with settings of the node; LR is OPTIM's."""
    weights, root = recorded_inputs
    (tmp_path / "lora.yaml").write_text(CONFIG)

    def of(*more, **settings):
        rate = settings.pop("LR", 2e-4)
        node = {"PREC": "fp32", "N_ITERS": ITERS, "LITERAL_SCALE": 100, **settings}
        return [
            *("--root", str(root), "--seed", "1", "--trainer", "CLIPLoRA", "--output-dir", str(tmp_path / "out")),
            *("--config-file", str(tmp_path / "lora.yaml")),
            *("--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml")),
            *bare(weights, (1, 2)),
            *("DATASET.NUM_SHOTS", str(SHOTS), "DATASET.VAL_FIRST", "True", "OPTIM.LR", str(rate)),
            *(word for key, value in node.items() for word in (f"TRAINER.CLIPLORA.{key}", str(value))),
            *map(str, more),
        ]

    return of


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("case", SETTINGS)
def test_steps_and_test_are_the_references(case, words, tmp_path, monkeypatch):
    """Every loss of two passes and a part of a third, the test, and the sums of what was learned."""
    seen, theirs = Recorder(monkeypatch), REFERENCE[case]
    assert train.main(words(**SETTINGS[case])) == 0
    assert [float(loss) for *_, loss in seen.batches] == pytest.approx(theirs["losses"], abs=1e-4)
    assert [len(labels) for _, labels, _ in seen.batches] == [BATCH, BATCH, 4, BATCH, BATCH, 4, BATCH, BATCH]
    assert result(tmp_path / "out")["correct"] == theirs["correct"]
    learned = dict(seen.trainer.model.prompt_learner.named_parameters())
    for name in "AB":
        total = sum(float(one.detach().double().abs().sum()) for key, one in learned.items() if key.endswith(name.lower()))
        assert total == pytest.approx(theirs[f"sum of {name}"], rel=1e-5)
    assert sum(one.numel() for one in learned.values()) == theirs["parameters"]


def small(words, *more, **settings):
    """Few additions, and few steps: 12 of 3 in a pass."""
    few = {"N_ITERS": 6, "POSITION": "half-up", "R": 1, "PARAMS": "v o", "LR": 0.01}
    return words(*more, **{**few, **settings})


def elsewhere(words, folder):
    found = [*words]
    found[found.index("--output-dir") + 1] = str(folder)
    return found


def test_a_killed_training_goes_on_in_its_pass_and_at_its_rate(words, tmp_path, monkeypatch):
    from modprompt.trainers.prompt_trainer import PromptTrainer

    assert train.main(elsewhere(small(words), tmp_path / "whole")) == 0
    step, taken = PromptTrainer.forward_backward, []

    def killed(trainer, batch):
        taken.append(trainer.optim.param_groups[0]["lr"])
        if len(taken) == 8:  # the second of the third pass
            raise KeyboardInterrupt
        return step(trainer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(PromptTrainer, "forward_backward", killed)
        assert train.main(small(words)) == 130
    assert train.main(small(words)) == 0
    whole, gone_on = (result(tmp_path / name) for name in ("whole", "out"))
    assert whole["prompts_hash"] == gone_on["prompts_hash"]
    assert whole["correct"] == gone_on["correct"]
    rates = [taken[0], *taken[3:6]]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 4  # it falls at each step


def test_a_finished_training_is_tested_again_and_on_other_classes(words, tmp_path, capsys):
    base = small(words, "DATASET.SUBSAMPLE_CLASSES", "base")
    assert train.main(base) == 0
    out = capsys.readouterr().out
    # 10 images of 5 classes: 2 batches a pass
    assert "CLIPLoRA trains 12 steps (6 for each of 2 images of a class): 6 passes of up to 2 batches over 10 images" in out
    assert "Training: steps of batches of 8, adamw, rate 0.01" in out
    correct = result(tmp_path / "out")["correct"]
    assert train.main(base) == 0
    assert "is trained already (6 epochs): nothing to train, testing again" in capsys.readouterr().out
    assert result(tmp_path / "out")["correct"] == correct
    test = elsewhere(small(words, "DATASET.SUBSAMPLE_CLASSES", "new"), tmp_path / "new")
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *test]) == 0
    assert result(tmp_path / "new")["images"] == 25


@pytest.mark.parametrize(("shots", "counted"), [(2, 2), (-1, 4)])
def test_without_shots_the_images_of_a_class_are_counted(shots, counted, words, capsys):
    assert train.main(["--no-train", *small(words, "DATASET.NUM_SHOTS", shots, N_ITERS=1)]) == 0
    assert f"CLIPLoRA trains {counted} steps (1 for each of {counted} images of a class)" in capsys.readouterr().out


def test_steps_are_those_of_a_plain_loop(words, monkeypatch):
    """Without dropout, with the true gradient; AdamW and the cosine written out."""
    seen = Recorder(monkeypatch)
    assert train.main(small(words, N_ITERS=4, DROPOUT=0)) == 0
    clip_model, tokens, _, _ = seen.facts()
    params = {key: value.clone().requires_grad_(True) for key, value in seen.start.items()}
    means = {key: (torch.zeros_like(one), torch.zeros_like(one)) for key, one in params.items()}
    for number, (images, labels, said) in enumerate(seen.batches):
        logits = plain_lora.logits(clip_model, params, tokens, images, "vo", 1, 100)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        assert float(said) == pytest.approx(loss.item(), abs=1e-4), number
        rate = 1e-6 + (0.01 - 1e-6) * (1 + math.cos(math.pi * number / 8)) / 2
        gradients = torch.autograd.grad(loss, list(params.values()))
        for (key, value), gradient in zip(params.items(), gradients):
            first, second = means[key]
            first.mul_(0.9).add_(0.1 * gradient)
            second.mul_(0.999).add_(0.001 * gradient**2)
            mean, square = first / (1 - 0.9 ** (number + 1)), second / (1 - 0.999 ** (number + 1))
            with torch.no_grad():
                value.mul_(1 - 0.01 * rate).sub_(rate * mean / (square.sqrt() + 1e-8))
    for key, value in seen.trainer.model.prompt_learner.named_parameters():
        torch.testing.assert_close(value, params[key.removeprefix("additions.")], atol=1e-4, rtol=1e-3)
